"""`sidle levels draw`: what is printed and what is written."""

import json

import numpy as np
import pytest
from PIL import Image

from sidle.cli import main
from sidle.ppcg import games, render, vgdl


def run(*words):
    return main.main(["levels", "draw", *words])


def drawn(capsys, *words):
    assert run(*words, "--json") == 0
    return json.loads(capsys.readouterr().out)


def test_levels_are_generated_by_difficulty_and_seed(capsys):
    found = drawn(capsys, "zelda", "--difficulty", "0.7", "--n", "3")
    assert found["game"] == "zelda"
    assert [level["difficulty"] for level in found["levels"]] == [0.7] * 3
    assert len({tuple(level["rows"]) for level in found["levels"]}) == 3
    assert found == drawn(capsys, "zelda", "--difficulty", "0.7", "--n", "3")
    assert found != drawn(capsys, "zelda", "--difficulty", "0.7", "--n", "3", "--seed", "1")
    first = found["levels"][0]
    from sidle.ppcg import generators

    grid = generators.find("zelda").generate(0.7, first["seed"])
    assert first["rows"] == [row.tobytes().decode() for row in grid]


def test_without_a_difficulty_it_rises(capsys):
    found = drawn(capsys, "frogs", "--n", "5")
    assert [level["difficulty"] for level in found["levels"]] == [0, 0.25, 0.5, 0.75, 1]


def test_hand_made_levels_are_the_games_own(capsys):
    found = drawn(capsys, "zelda", "--hand-made")
    assert len(found["levels"]) == 5
    assert found["levels"][2] == {
        "rows": games.load("zelda").levels[2].splitlines(),
        "difficulty": None,
        "seed": None,
    }


def test_the_terminal_shows_characters(capsys):
    assert run("zelda", "--hand-made") == 0
    printed = capsys.readouterr().out
    for i, level in enumerate(games.load("zelda").levels):
        assert f"level {i}" in printed
        for row in level.splitlines():
            assert " ".join(row) in printed
    assert "\x1b" not in printed  # no colours into a file


def test_levels_too_wide_for_gaps_are_shown_without(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "53")
    assert run("frogs", "--hand-made") == 0  # 27 cells
    printed = capsys.readouterr().out
    assert games.load("frogs").levels[4].splitlines()[1] in printed
    monkeypatch.setenv("COLUMNS", "54")
    assert run("frogs", "--hand-made") == 0
    assert " ".join(games.load("frogs").levels[4].splitlines()[1]) in capsys.readouterr().out


def test_a_terminal_gets_colours(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLORTERM", "truecolor")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert run("zelda", "--hand-made") == 0
    assert "\x1b[" in capsys.readouterr().out


def test_a_picture_shows_every_level(tmp_path, capsys):
    path = tmp_path / "sheets" / "zelda.png"
    assert run("zelda", "--hand-made", "--tile", "10", "--out", str(path)) == 0
    assert f"Written to {path}" in capsys.readouterr().out.replace("\n", "")
    picture = np.asarray(Image.open(path))
    game = vgdl.compile_game(games.load("zelda").rules, name="zelda")
    renderer = render.Renderer(game, tile=10)
    for text in games.load("zelda").levels:
        frame = renderer.level(game.level(text))
        height, width, _ = frame.shape
        places = np.argwhere((picture[: -height + 1, : -width + 1] == frame[0, 0]).all(axis=2))
        assert any((picture[y : y + height, x : x + width] == frame).all() for y, x in places)


def test_a_users_own_levels_are_drawn(tmp_path, capsys):
    rules, levels = tmp_path / "mine.vgdl", tmp_path / "other.txt"
    rules.write_text(games.load("zelda").rules)
    levels.write_text("wwwww\nwA+gw\nwwwww\n")
    found = drawn(capsys, str(rules), "--levels", str(levels), "--hand-made")
    assert found["levels"][0]["rows"] == ["wwwww", "wA+gw", "wwwww"]
    found = drawn(capsys, str(rules), "--levels", str(levels), "--n", "2")
    assert [len(level["rows"]) for level in found["levels"]] == [3, 3]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["zelda", "--difficulty", "2"], 1, "in [0, 1], got 2.0"),
        (["zelda", "--n", "0"], 1, "--n must be from 1 to 1000, got 0"),
        (["zelda", "--n", "1001"], 1, "got 1001"),
        (["zelda", "--hand-made", "--difficulty", "0.5"], 2, "have no --difficulty"),
        (["zelda", "--out", "levels.jpg"], 2, "must end in .png"),
        (["zelda", "--out", "x.png", "--tile", "200"], 1, "from 4 to 128 pixels"),
        (["zelda", "--out", "x.png", "--tile", "128", "--n", "900"], 1, "too large to open"),
        (["zelad"], 1, "Did you mean 'zelda'?"),
    ],
)
def test_what_cannot_be_drawn_is_refused(words, code, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(*words) == code
    assert message in " ".join(capsys.readouterr().err.split())
    assert not list(tmp_path.iterdir())
