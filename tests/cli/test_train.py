"""`sidle train`: one command trains, tests and keeps an agent, of a game of one's own too."""

import json

import pytest
import torch

from sidle.cli import main
from sidle.ppcg import agents, playable
from sidle.ppcg.agents import learning

pytest.importorskip("stable_baselines3", reason="the extra rl is not installed")

SHORT = (
    "--steps", "512", "--n-envs", "8", "--rollout", "16", "--minibatch", "64", "--filters", "4",
    "--features", "16", "--test-levels", "3",
)  # fmt: skip

GAME = """
BasicGame
    SpriteSet
        wall > Immovable
        cheese > Immovable
        mouse > MovingAvatar
    InteractionSet
        mouse wall > stepBack
        cheese mouse > killSprite scoreChange=1
    TerminationSet
        SpriteCounter stype=cheese limit=0 win=True
        Timeout limit=30 win=False
    LevelMapping
        w > wall
        c > cheese
        A > mouse
"""
LEVELS = "wwwww\nwA cw\nwwwww\n\nwwwwww\nwA  cw\nw    w\nwwwwww\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.vgdl").write_text(GAME)
    (tmp_path / "mine.txt").write_text(LEVELS)
    return tmp_path


def run(*words):
    return main.main(["train", *words])


@pytest.mark.parametrize(
    "curriculum", [("ppcg",), ("fixed", "--difficulty", "0.5"), ("uniform",), ("levels",), ("plr",)]
)
def test_a_game_of_ones_own_is_trained_on_and_watched_with_one_command_each(
    curriculum, folder, capsys
):
    assert run("mine.vgdl", "--curriculum", *curriculum, *SHORT, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert {key: found[key] for key in ("game", "curriculum", "steps", "agent")} == {
        "game": "mine", "curriculum": curriculum[0], "steps": 512, "agent": "mine-agent",
    }  # fmt: skip
    assert [test["difficulty"] for test in found["tests"]] == [0.0, 0.5, 1.0, None]
    assert [test["n"] for test in found["tests"]] == [3, 3, 3, 40]
    for test in found["tests"]:
        assert 0 <= test["win_rate"]["low"] <= test["win_rate"]["mean"] <= test["win_rate"]["high"]
    agent = agents.load("mine-agent")
    mine = playable.find("mine.vgdl")
    agents.check_plays(agent, mine.game, mine.shape)
    pytest.importorskip("fastapi", reason="the extra 'play' is not installed")
    assert main.main(["play", "mine.vgdl", "--agent", "mine-agent", "--dry-run"]) == 0
    assert "mine-agent plays" in capsys.readouterr().out


def test_the_same_command_trains_once_and_another_is_refused(folder, capsys, monkeypatch):
    assert run("mine.vgdl", *SHORT, "--json") == 0
    first = capsys.readouterr().out
    monkeypatch.setattr(agents, "train", None)  # would fail if it were called
    assert run("mine.vgdl", *SHORT, "--json") == 0
    assert capsys.readouterr().out == first
    assert run("mine.vgdl", *SHORT, "--seed", "1") == 1
    assert "mine-agent" in capsys.readouterr().err


def test_an_interrupted_training_says_how_to_go_on_and_does(folder, capsys, monkeypatch):
    assert run("mine.vgdl", *SHORT, "--out", "whole") == 0
    step = learning.Keeper._on_step

    def interrupted(keeper):
        if keeper.num_timesteps == 400:
            raise KeyboardInterrupt
        return step(keeper)

    monkeypatch.setattr(learning, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(learning.Keeper, "_on_step", interrupted)
        assert run("mine.vgdl", *SHORT) == 1
    assert "sidle train mine.vgdl --steps 512" in capsys.readouterr().err
    assert run("mine.vgdl", *SHORT) == 0
    whole, again = (agents.load(name).network.state_dict() for name in ("whole", "mine-agent"))
    assert all(torch.equal(again[name], weights) for name, weights in whole.items())


def test_the_outcome_is_a_table_with_the_command_that_shows_the_agent(folder, capsys):
    assert run("mine.vgdl", "--curriculum", "levels", *SHORT, "--out", "clever mouse") == 0
    printed = capsys.readouterr().out
    assert "it learned on these" in printed
    assert "sidle play mine.vgdl --agent 'clever mouse'" in printed


def test_a_game_without_walls_has_no_generator_but_levels_to_learn_on(folder, capsys):
    open_levels = LEVELS.replace("w", " ")
    (folder / "mine.txt").write_text(open_levels.replace("A  c", "A .c").replace(".", " "))
    assert run("mine.vgdl", *SHORT) == 1
    assert "Put walls" in capsys.readouterr().err
    assert run("mine.vgdl", "--curriculum", "levels", *SHORT, "--json") == 0
    assert [test["difficulty"] for test in json.loads(capsys.readouterr().out)["tests"]] == [None]


def test_difficulty_belongs_to_fixed_alone(folder, capsys):
    assert run("mine.vgdl", "--difficulty", "0.5", *SHORT) == 2
    assert run("mine.vgdl", "--curriculum", "fixed", *SHORT) == 2
    assert run("mine.vgdl", "--curriculum", "fixed", "--difficulty", "2", *SHORT) == 1
    assert run("nosuch", *SHORT) == 1
    assert not (folder / "mine-agent").exists()


def test_a_dry_run_starts_nothing(folder, capsys):
    assert run("zelda", "--dry-run") == 0
    printed = capsys.readouterr().out
    assert "Nothing was started" in printed
    assert "zelda-agent" in printed
    assert not (folder / "zelda-agent").exists()
    assert run("zelda", "--dry-run", "--json") == 0
    assert json.loads(capsys.readouterr().out)["curriculum"] == "ppcg"


def test_what_is_missing_is_named(folder, capsys, monkeypatch):
    from sidle import provenance

    monkeypatch.setattr(provenance, "missing_packages", lambda extra: ["stable-baselines3"])
    assert run("mine.vgdl", *SHORT) == 1
    assert "sidle[rl]" in capsys.readouterr().err
    assert not (folder / "mine-agent").exists()
