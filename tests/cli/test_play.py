"""`sidle play`: what is begun, what is refused, and that Ctrl-C ends it well."""

import json
import signal
import subprocess
import sys
import types
import urllib.request

import numpy as np
import pytest

from sidle.cli import main
from sidle.ppcg import playable
from sidle.ppcg.play import Episode
from sidle.ppcg.play import recording as recordings

pytest.importorskip("fastapi", reason="the extra 'play' is not installed")
pytest.importorskip("uvicorn", reason="the extra 'play' is not installed")


@pytest.fixture
def frog_recording(tmp_path):
    stage = playable.find("frogs")
    episode = Episode(stage.game, stage.levels[0], 3)
    for action in (0, 1, 2):
        episode.step(action)
    path = tmp_path / "frogs.json"
    path.write_text(json.dumps(recordings.record(episode).as_dict()))
    return path


def run(*words):
    return main.main(["play", *words])


def test_a_dry_run_says_what_would_be_played(capsys):
    assert run("zelda", "--dry-run") == 0
    printed = capsys.readouterr().out
    assert "Zelda: 5 levels, and generated ones by difficulty." in printed
    assert "http://127.0.0.1:" in printed
    assert "Nothing was started." in printed


def test_json_is_as_documented(capsys):
    assert run("frogs", "--difficulty", "0.4", "--dry-run", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found.pop("url").startswith("http://127.0.0.1:")
    assert found == {
        "game": "frogs",
        "title": "Frogs",
        "levels": 5,
        "generates": True,
        "agent": None,
    }


def test_addresses_are_not_to_be_guessed(capsys):
    tokens = set()
    for _ in range(3):
        run("zelda", "--dry-run", "--json")
        tokens.add(json.loads(capsys.readouterr().out)["url"].split("/")[3])
    assert len(tokens) == 3
    assert min(map(len, tokens)) >= 32  # 24 random bytes


def test_a_recording_is_opened_by_its_file(frog_recording, capsys):
    assert run(str(frog_recording), "--dry-run", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["game"], found["levels"], found["generates"]) == ("frogs", 1, False)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["zelda", "--level", "0", "--difficulty", "0.5"], 2, "--level or --difficulty, not both"),
        (["zelda", "--level", "5"], 1, "numbered 0 to 4, got 5"),
        (["zelda", "--difficulty", "1.5"], 1, "in [0, 1], got 1.5"),
        (["zelad"], 1, "Did you mean 'zelda'?"),
        (["none.vgdl"], 1, "none.vgdl"),
        (["none.json"], 1, "none.json"),
        (["zelda", "--port", "70000"], 1, "Port 70000"),
    ],
)
def test_what_cannot_be_played_is_refused_before_anything_starts(words, code, message, capsys):
    assert run(*words, "--dry-run") == code
    assert message in capsys.readouterr().err


def test_a_recording_that_was_changed_is_refused(frog_recording, capsys):
    saved = json.loads(frog_recording.read_text())
    saved["outcome"]["score"] = 9
    frog_recording.write_text(json.dumps(saved))
    assert run(str(frog_recording), "--dry-run") == 1
    error = capsys.readouterr().err
    assert "frogs.json" in error
    assert "recorded was 9" in error


def test_a_recording_needs_no_level(frog_recording, capsys):
    assert run(str(frog_recording), "--level", "1") == 2
    assert "a recording needs no level" in capsys.readouterr().err


def test_without_the_extra_it_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "fastapi", None)
    monkeypatch.delitem(sys.modules, "sidle.ppcg.play.server", raising=False)
    import sidle.ppcg.play

    monkeypatch.delattr(sidle.ppcg.play, "server", raising=False)
    assert run("zelda", "--dry-run") == 1
    assert "pip install 'sidle[play]'" in capsys.readouterr().err


def agents_module(digest, shape):
    class Agent:
        game = "zelda"

        def act(self, planes, rng):
            assert planes.dtype == np.int8
            return np.full(len(planes), 4)

    Agent.digest, Agent.shape = digest, shape
    return types.SimpleNamespace(load=lambda folder: Agent())


@pytest.mark.parametrize(
    ("digest", "shape", "message"),
    [
        (None, None, None),
        ("other", None, "learned zelda by other rules"),
        (None, (4, 4), "sees levels of 4 x 4 cells, those here have 9 x 13"),
    ],
)
def test_an_agent_is_watched_on_the_game_it_learned(
    digest, shape, message, tmp_path, monkeypatch, capsys
):
    stage = playable.find("zelda")
    found = agents_module(digest or stage.game.digest, shape or stage.shape)
    monkeypatch.setitem(sys.modules, "sidle.ppcg.agents", found)
    code = run("zelda", "--agent", str(tmp_path / "runner"), "--dry-run", "--json")
    printed = capsys.readouterr()
    if message is None:
        assert json.loads(printed.out)["agent"] == "runner"
        assert code == 0
    else:
        assert message in printed.err
        assert code == 1


def test_it_serves_until_ctrl_c():
    program = "from sidle.cli.main import entry_point; entry_point()"
    command = [sys.executable, "-c", program, "play", "zelda", "--no-browser", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        printed = ""
        while not printed.endswith("}\n"):
            line = process.stdout.readline()
            assert line, process.stderr.read()
            printed += line
        url = json.loads(printed)["url"]
        with urllib.request.urlopen(f"{url}game", timeout=20) as answer:
            assert json.load(answer)["title"] == "Zelda"
    finally:
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    assert "Traceback" not in err
