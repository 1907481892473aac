"""`sidle levels check`: what is printed, and how faulty games are refused."""

import json

import pytest

from sidle.cli import main

RULES = """BasicGame
    SpriteSet
        goal > Door
    LevelMapping
        g > goal
    InteractionSet
        avatar wall EOS > stepBack
        goal avatar > killSprite scoreChange=5
    TerminationSet
        SpriteCounter stype=goal limit=0 win=True
"""
LEVELS = "wwwww\nwA gw\nwwwww\n\nwAgw\n"


@pytest.fixture
def rules(tmp_path):
    path = tmp_path / "mine.vgdl"
    path.write_text(RULES)
    path.with_suffix(".txt").write_text(LEVELS)
    return path


def check(*words):
    return main.main(["levels", "check", *map(str, words)])


def test_a_game_in_order_is_summed_up(rules, capsys):
    assert check(rules) == 0
    printed = capsys.readouterr().out
    assert "mine: 3 types, 5 actions, 1 termination; 2 levels." in printed
    assert "20 episodes of random play on each level" in printed
    assert "100%" in printed
    assert "All is in order." in printed


def test_json_has_the_documented_keys(rules, capsys):
    assert check(rules, "--json", "--episodes", "5") == 0
    found = json.loads(capsys.readouterr().out)
    levels = found.pop("levels")
    assert found == {
        "game": "mine",
        "types": ["wall", "avatar", "goal"],
        "actions": [f"ACTION_{name}" for name in ("NIL", "LEFT", "RIGHT", "UP", "DOWN")],
        "terminations": 1,
        "warnings": [],
    }
    assert len(levels) == 2
    documented = {"height", "width", "won", "score", "length", "longest", "solution", "complete"}
    assert set(levels[0]) == documented
    assert levels[0]["solution"] is None
    assert levels[1]["won"] == 1
    assert levels[1]["score"] == 5
    assert check(rules, "--json", "--episodes", "0") == 0
    (level, _) = json.loads(capsys.readouterr().out)["levels"]
    assert level["won"] is None
    assert level["longest"] == 0


def test_ways_to_win_are_searched_for(rules, capsys):
    shut = "wwwww\nwAwgw\nwwwww\n"
    rules.with_suffix(".txt").write_text(f"{LEVELS}\n{shut}")
    assert check(rules, "--episodes", "5") == 0
    printed = capsys.readouterr().out
    assert "Random play never won level 2; --solve searches for a way to win." in printed
    assert "a way to win" not in printed.replace("a way to win.", "")
    assert check(rules, "--episodes", "5", "--solve") == 0
    printed = capsys.readouterr().out
    rows = [line.split() for line in printed.splitlines()]
    assert [row[-2:] for row in rows if row and row[0] in ("0", "1")] == [["2", "ticks"]] * 1 + [
        ["1", "tick"]
    ]
    assert "there is none" in printed
    assert "Warning: level 2 cannot be won within 300 ticks" in printed
    assert "--solve" not in printed
    assert check(rules, "--episodes", "0", "--solve", "--json") == 0
    found = json.loads(capsys.readouterr().out)["levels"]
    assert [(level["solution"], level["complete"]) for level in found] == [
        (2, True), (1, True), (None, True),
    ]  # fmt: skip


def test_warnings_are_printed(rules, capsys):
    rules.write_text(RULES.replace("win=True", "win=False"))
    assert check(rules) == 0
    printed = capsys.readouterr().out
    assert "Warning: no termination has win=True: the game cannot be won." in printed
    assert "No errors." in printed
    assert "All is in order" not in printed


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("> Door", "> Dor", "mine.vgdl:3: unknown sprite class 'Dor'. Did you mean 'Door'?"),
        ("> stepBack", "> stepback", "mine.vgdl:7: unknown effect 'stepback'."),
        ("SpriteCounter", "Counter", "mine.vgdl:10: unknown termination 'Counter'."),
    ],
)
def test_a_faulty_game_is_one_message_and_exit_code_1(rules, capsys, old, new, message):
    rules.write_text(RULES.replace(old, new))
    assert check(rules) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("sidle: ")
    assert message in captured.err
    assert captured.out == ""
    assert "Traceback" not in captured.err


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        ("wwwww\nwA xw\nwwwww\n", "mine.txt:2: character 'x' in row 2, column 4"),
        (LEVELS + "\nwwwww\nwAw\n", "mine.txt:8: row 2 has 3 characters"),
        ("wwwww\nw  gw\nwwwww\n", "mine.txt:1: no avatar in the level."),
        ("wwwww\nwAAgw\nwwwww\n", "mine.txt:2: 2 avatars in the level."),
        ("\n\n", "mine.txt: no level in it."),
    ],
)
def test_a_faulty_level_is_one_message_and_exit_code_1(rules, capsys, levels, message):
    rules.with_suffix(".txt").write_text(levels)
    assert check(rules) == 1
    assert message in capsys.readouterr().err


def test_a_level_of_10_000_by_10_000_is_refused(rules, capsys):
    with rules.with_suffix(".txt").open("wb") as file:
        file.writelines(b"w" * 10_000 + b"\n" for _ in range(400))
    assert check(rules) == 1
    assert "4000400 bytes; at most 4000000 are read" in capsys.readouterr().err
    rules.with_suffix(".txt").write_text(("w" * 10_000 + "\n") * 300)
    assert check(rules) == 1
    assert "the level has 300 rows of 10000 characters" in capsys.readouterr().err


def test_the_help_page_has_an_example(capsys):
    with pytest.raises(SystemExit) as ended:
        check("--help")
    assert ended.value.code == 0
    assert "sidle levels check mine.vgdl" in capsys.readouterr().out
