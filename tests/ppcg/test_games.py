"""The built-in games: rules that compile, levels that can be won, play that keeps the rules."""

import json
from pathlib import Path

import numpy as np
import pytest

from programs.solve_games import wins
from sidle.errors import ArgumentError
from sidle.ppcg import games, vgdl

SOLUTIONS = Path(__file__).parent / "solutions"
NAMES = games.names()


def compiled(name):
    return vgdl.compile_game(games.load(name).rules, name=name)


def test_the_papers_games_come_first_and_there_are_ten_more():
    assert NAMES[:4] == ("zelda", "solarfox", "frogs", "boulderdash")
    assert NAMES[4:] == tuple(sorted(NAMES[4:]))
    assert len(NAMES) >= 14


def test_an_unknown_game_is_answered_with_those_there_are():
    with pytest.raises(ArgumentError, match=r"no game 'pong'; one of: zelda, solarfox"):
        games.load("pong")


@pytest.mark.parametrize("name", NAMES)
def test_a_game_compiles_without_warning_and_says_what_it_is(name):
    game = games.load(name)
    rules = vgdl.compile_game(game.rules, name=name)
    assert rules.warnings == ()
    assert game.title
    assert game.summary.endswith(".")
    # Each character is explained, and so is each type pictured.
    assert set(game.characters) == set(rules.mapping)
    assert all(parameters.get("img") for parameters in rules.parameters)
    assert game.identifier == "".join(part.title() for part in name.split("_"))


def test_levels_are_padded_with_walls_on_all_sides():
    grid = games.pad("wAw\nw w", (5, 6))
    rows = [bytes(row).decode() for row in grid]
    assert rows == ["wwwwww", "wwAwww", "ww www", "wwwwww", "wwwwww"]
    assert (games.pad(grid, (5, 6)) == grid).all()


@pytest.mark.parametrize(
    ("level", "message"),
    [
        ("", r"rows must have one length, got \[\]"),
        ("www\nwA", r"rows must have one length, got \[3, 2\]"),
        ("wAé", "characters must be ASCII, got 'wA"),
        ("wwwwwA\nwwwwww", r"a level of shape \(2, 6\) does not fit into \(3, 5\)"),
        ("A\nw\nw\nw", r"a level of shape \(4, 1\) does not fit into \(3, 5\)"),
    ],
)
def test_what_cannot_be_padded_is_refused(level, message):
    with pytest.raises(ArgumentError, match=message):
        games.pad(level, (3, 5))


@pytest.mark.parametrize("name", NAMES)
def test_hand_made_levels_load_and_use_what_the_mapping_names(name):
    game, rules = games.load(name), compiled(name)
    assert len(game.levels) == games.catalogue.N_LEVELS
    used = set()
    for index, text in enumerate(game.levels):
        level = rules.level(text)
        rim = np.concatenate(
            [level.characters[[0, -1]].ravel(), level.characters[:, [0, -1]].ravel()]
        )
        assert (rim != ord("A")).all()
        assert rules.level(game.grid(index)).characters.shape == game.shape
        used |= set(text)
    assert len(set(game.levels)) == len(game.levels)
    assert used - {" ", "\n"} == set(game.characters)


def test_there_are_no_levels_beyond_the_fifth():
    with pytest.raises(ArgumentError, match="zelda has levels 0 to 4, got 5"):
        games.load("zelda").grid(5)


@pytest.mark.parametrize("name", NAMES)
def test_each_hand_made_level_can_be_won(name):
    kept = json.loads((SOLUTIONS / f"{name}.json").read_text(encoding="utf-8"))
    assert (kept["seed"], len(kept["actions"])) == (0, 5)
    rules = compiled(name)
    for index, actions in enumerate(kept["actions"]):
        assert wins(rules, rules.level(games.load(name).grid(index)), actions), index


def test_a_way_that_does_not_win_is_not_taken_for_one():
    rules = compiled("frogs")
    level = rules.level(games.load("frogs").grid(0))
    kept = json.loads((SOLUTIONS / "frogs.json").read_text(encoding="utf-8"))["actions"][0]
    assert wins(rules, level, kept)
    assert not wins(rules, level, kept[:-1])
    assert not wins(rules, level, kept + "N")
    assert not wins(rules, level, "N" * len(kept))
