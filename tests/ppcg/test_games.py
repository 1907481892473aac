"""The built-in games: rules that compile, levels that can be won, play that keeps the rules."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from programs.solve_games import wins
from sidle.errors import ArgumentError
from sidle.ppcg import games, generators, vgdl
from sidle.ppcg.engine import Engine

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


def verdict(rules, state, most):
    """Return what the TerminationSet, read word by word, says about a state: won, lost or None."""
    alive = Counter()
    for kind, _, _, *extras in state["sprites"]:
        if not (extras and extras[0].get("disabled")):
            for name, below in rules.subtypes.items():
                alive[name] += rules.types.index(kind) in below
    lines = rules.text.split("TerminationSet\n")[1].split("    LevelMapping")[0].splitlines()
    for kind, *words in (line.split() for line in lines):
        given = dict(word.split("=") for word in words)
        limit = int(given["limit"])
        count = sum(alive[given[key]] for key in given if key.startswith("stype"))
        holds = {
            "SpriteCounter": count <= limit,
            "MultiSpriteCounter": count >= limit if "min" in given else count == limit,
            "Timeout": state["tick"] >= limit,
        }[kind]
        if holds:
            return "PLAYER_WINS" if given["win"] == "True" else "PLAYER_LOSES"
    return "PLAYER_LOSES" if state["tick"] >= most else "NO_WINNER"


def play_at_random(name, seed, copies):
    """Play each of eight levels ``copies`` times to its end, checking all; return the ticks."""
    game, rules = games.load(name), compiled(name)
    generator = generators.find(name)
    levels = [game.grid(index) for index in range(5)]
    levels += [generator.generate(difficulty, 7 + seed) for difficulty in (0.0, 0.5, 1.0)]
    slots = [rules.level(grid) for grid in levels for _ in range(copies)]
    height, width = game.shape
    most = 300
    engine = Engine(
        rules, len(slots), height=height, width=width, seed=seed, autoreset="disabled",
        observe=False, most_ticks=most,
    )  # fmt: skip
    engine.reset(slots)
    avatars = [rules.types[number] for number in rules.avatars()]
    rng = np.random.default_rng(seed)
    total = np.zeros(len(slots), np.int64)
    while not engine.dones.all():
        playing = ~engine.dones
        engine.step(rng.integers(0, len(rules.actions), len(slots)))
        total += np.where(playing, engine.rewards, 0)
        places = np.concatenate([engine.sprites(avatar) for avatar in avatars])
        where = places[playing[places[:, 0]], 1:]
        assert len(where) == playing.sum()  # one avatar each, dead or alive
        assert (where >= 0).all()
        assert (where <= 10 * np.array([width - 1, height - 1])).all()
        for slot in np.flatnonzero(playing)[:: copies // 2]:
            state = engine.state(int(slot))
            assert state["winner"] == verdict(rules, state, most)
            assert state["over"] == (state["winner"] != "NO_WINNER") == engine.dones[slot]
    for slot in range(len(slots)):
        state = engine.state(slot)
        assert state["winner"] == verdict(rules, state, most)
        assert engine.wins[slot] == (state["winner"] == "PLAYER_WINS")
    assert (total == engine.scores).all()
    return int((engine.ticks + 1).sum())


@pytest.mark.parametrize("name", NAMES)
def test_random_play_ends_when_the_rules_say_and_keeps_the_avatar_inside(name):
    assert play_at_random(name, seed=3, copies=20) >= 8 * 20


@pytest.mark.long
@pytest.mark.parametrize("name", NAMES)
def test_a_million_random_ticks_keep_to_the_rules(name):
    ticks = seed = 0
    while ticks < 1_000_000:
        ticks += play_at_random(name, seed, copies=500)
        seed += 1
