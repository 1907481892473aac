"""Recordings replay to the same state, and refuse whatever was tampered with."""

import json

import numpy as np
import pytest

from sidle.errors import ArgumentError, DataError, DataNotFoundError
from sidle.ppcg import play, playable
from sidle.ppcg.play import recording as recordings


def played(name, n, seed=5):
    stage = playable.find(name)
    episode = play.Episode(stage.game, stage.generated(0.6, 1), seed)
    rng = np.random.default_rng(0)
    for action in rng.integers(0, len(stage.game.actions), n).tolist():
        if episode.is_over:
            break
        episode.step(action)
    return episode


@pytest.fixture(scope="module")
def saved():
    """A recording of random play, as read from JSON; copies may be changed."""
    return json.loads(json.dumps(recordings.record(played("zelda", 40)).as_dict()))


@pytest.mark.parametrize("name", ["zelda", "solarfox", "frogs", "boulderdash"])
def test_a_recording_replays_to_the_same_state(name, tmp_path):
    episode = played(name, 60)
    path = tmp_path / "played.json"
    path.write_text(json.dumps(recordings.record(episode).as_dict()))
    found = play.read(path)
    again = play.replay(found)
    assert again.state() == episode.state()
    assert again.actions == episode.actions
    assert again.outcome() == episode.outcome() == dict(found.outcome)


def test_a_recording_is_documented_as_it_is(saved):
    assert set(saved) == {"format", "game", "level", "seed", "actions", "outcome"}
    assert set(saved["game"]) == {"name", "digest", "rules"}
    assert set(saved["outcome"]) == {"ticks", "score", "winner", "state"}


def test_seeds_beyond_what_json_numbers_hold_survive():
    episode = played("zelda", 30, seed=2**63 - 1)
    text = json.dumps(recordings.record(episode).as_dict())
    assert play.replay(recordings.parse(text)).seed == 2**63 - 1


def test_another_seed_ends_elsewhere(saved):
    changed = {**saved, "seed": str(int(saved["seed"]) + 1)}
    with pytest.raises(DataError, match=r"the replay ends with .* recorded was"):
        play.replay(recordings.from_dict(changed))


def test_another_action_ends_elsewhere():
    stage = playable.find("zelda")
    episode = play.Episode(stage.game, stage.levels[0], 0)
    for action in (4, 4, 2, 2):
        episode.step(action)
    changed = recordings.record(episode).as_dict()
    changed["actions"][-1] = 1
    with pytest.raises(DataError, match="the replay ends with"):
        play.replay(recordings.from_dict(changed))


@pytest.mark.parametrize("name", ["ticks", "score", "winner", "state"])
def test_a_better_outcome_than_the_real_one_is_found_out(saved, name):
    lie = {"ticks": 1, "score": 999, "winner": "PLAYER_WINS", "state": "0" * 64}[name]
    changed = {**saved, "outcome": {**saved["outcome"], name: lie}}
    with pytest.raises(DataError, match=f"the replay ends with {name}"):
        play.replay(recordings.from_dict(changed))


def test_actions_after_the_end_are_refused():
    stage = playable.find("frogs")
    episode = play.Episode(stage.game, stage.generated(0.0, 1), 0)
    while not episode.is_over:
        episode.step(0)
    # 2,001 ticks without an action: the game is lost by time, and a recording is full.
    assert len(episode.actions) == 2001
    changed = recordings.record(episode).as_dict()
    play.replay(recordings.from_dict(changed))
    with pytest.raises(DataError, match="2002 actions; a game lasts at most 2001 ticks"):
        recordings.from_dict({**changed, "actions": [*changed["actions"], 0]})
    with pytest.raises(ArgumentError, match="The game is over"):
        episode.step(0)


def without(value, *path):
    if len(path) == 1:
        return {key: part for key, part in value.items() if key != path[0]}
    return {**value, path[0]: without(value[path[0]], *path[1:])}


@pytest.mark.parametrize(
    "path",
    [
        ("format",),
        ("game",),
        ("game", "name"),
        ("game", "digest"),
        ("game", "rules"),
        ("level",),
        ("seed",),
        ("actions",),
        ("outcome",),
        ("outcome", "state"),
    ],
)
def test_a_missing_part_is_named(saved, path):
    with pytest.raises(DataError, match=rf"{path[-1]}.*found nothing"):
        recordings.from_dict(without(saved, *path))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "sidle recording 2"}, "expected format 'sidle recording 1'"),
        ({"game": []}, r"game: expected an object, found \[\]"),
        ({"seed": 5}, "seed: expected text, found 5"),
        ({"seed": "-1"}, "seed: expected digits below 2"),
        ({"seed": str(2**63)}, "seed: expected digits below 2"),
        ({"seed": "٣"}, "seed: expected digits below 2"),
        ({"level": ["wwww", 3]}, "level: expected a list of rows of text"),
        ({"level": ["wAw", "w"]}, "row 2 has 1 characters"),
        ({"level": ["A?"]}, r"character '\?'"),
        ({"level": ["A" * 300]}, "At most 255 rows"),
        ({"actions": [0, 9]}, "action 1: expected 0 to 5, found 9"),
        ({"actions": [True]}, "action 0: expected 0 to 5, found True"),
        ({"actions": [0.5]}, "action 0"),
        ({"actions": "00"}, "actions: expected a list"),
        ({"outcome": {"ticks": True}}, "outcome.ticks: expected a whole number, found True"),
    ],
)
def test_a_malformed_part_is_named(saved, changes, message):
    with pytest.raises(DataError, match=message):
        recordings.from_dict({**saved, **changes})


def test_other_rules_than_those_played_are_found_out(saved):
    rules = saved["game"]["rules"].replace("limit=0 win=True", "limit=1 win=True")
    with pytest.raises(DataError, match="its rules have digest"):
        recordings.from_dict({**saved, "game": {**saved["game"], "rules": rules}})


def test_rules_that_are_none_are_named(saved):
    with pytest.raises(DataError, match="BasicGame"):
        recordings.from_dict({**saved, "game": {**saved["game"], "rules": "print(1)"}})


@pytest.mark.parametrize("value", [None, 3, [], "text", {}])
def test_json_that_is_no_recording_is_refused(value):
    with pytest.raises(DataError, match="expected format"):
        recordings.from_dict(value)


@pytest.mark.parametrize("text", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
def test_what_is_not_json_is_refused(text):
    with pytest.raises(DataError, match="expected a recording in JSON"):
        recordings.parse(text)


def test_files_that_are_missing_or_too_large_are_named(tmp_path):
    with pytest.raises(DataNotFoundError, match=r"none\.json"):
        play.read(tmp_path / "none.json")
    large = tmp_path / "large.json"
    large.write_bytes(b" " * (recordings.LARGEST + 1))
    with pytest.raises(DataError, match=f"At most {recordings.LARGEST} are read"):
        play.read(large)
