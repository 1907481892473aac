"""Agents act as their network says, and come back from a folder as they went in."""

import numpy as np
import pytest
import torch

from sidle import checkpoint, seeding, storage
from sidle.errors import ArgumentError, CheckpointError, DataError, StorageError
from sidle.ppcg import agents, playable
from sidle.ppcg.agents import agent as module
from sidle.ppcg.engine import Engine

ZELDA = playable.find("zelda")


def made(ego_window=None, **settings):
    settings = agents.NetworkSettings(ego_window=ego_window, **settings)
    agent = module.build(ZELDA.game, ZELDA.shape, "ppo", settings)
    with seeding.scope(3):
        for weight in agent.network.parameters():
            torch.nn.init.normal_(weight, std=0.3)
    return agent


def seen(n=5):
    engine = Engine(ZELDA.game, n, height=9, width=13, seed=0)
    engine.reset([ZELDA.generated(0.7, seed) for seed in range(n)])
    engine.step(np.zeros(n, np.int64))
    return engine.planes.copy()


@pytest.mark.parametrize("window", [None, 5])
def test_what_is_saved_and_loaded_acts_the_same(window, tmp_path):
    agent = made(ego_window=window, stride=1)
    agent.save(tmp_path / "agent")
    again = agents.load(tmp_path / "agent")
    names = ("game", "digest", "shape", "channels", "avatars", "n_actions", "algorithm", "settings")
    assert all(getattr(again, name) == getattr(agent, name) for name in names)
    planes = seen()
    one, other = (
        [player.act(planes, np.random.default_rng(0)) for _ in range(3)]
        for player in (agent, again)
    )
    assert np.array_equal(one, other)
    agents.check_plays(again, ZELDA.game, ZELDA.shape)


def test_actions_are_drawn_from_the_softmax_of_the_scores():
    agent = made()
    planes = seen(2)
    with torch.inference_mode():
        chances = agent.network(torch.from_numpy(planes).float()).softmax(1).numpy()
    rng = np.random.default_rng(1)
    n = 4000
    drawn = np.stack([agent.act(planes, rng) for _ in range(n)])
    shares = np.stack([(drawn == action).mean(0) for action in range(agent.n_actions)], axis=1)
    # Five standard deviations of a share.
    assert np.all(abs(shares - chances) < 5 * np.sqrt(chances * (1 - chances) / n) + 1e-3)
    assert np.array_equal(agent.act(planes, rng, greedy=True), chances.argmax(1))


def test_a_window_is_what_lies_around_the_avatar():
    agent = made(ego_window=5)
    planes = seen(4)
    rows_and_columns = [np.argwhere(planes[i, list(agent.avatars)].any(0))[0] for i in range(4)]
    padded = np.pad(planes, ((0, 0), (0, 0), (2, 2), (2, 2)))
    windows = np.stack(
        [padded[i, :, r : r + 5, c : c + 5] for i, (r, c) in enumerate(rows_and_columns)]
    )
    with torch.inference_mode():
        expected = agent.network(torch.from_numpy(windows).float()).argmax(1).numpy()
    assert np.array_equal(agent.act(planes, np.random.default_rng(0), greedy=True), expected)


def test_the_random_agent_draws_every_action_alike():
    actions = agents.RandomAgent(6).act(
        np.zeros((60_000, 1, 1, 1), np.int8), np.random.default_rng(0)
    )
    counts = np.bincount(actions, minlength=6)
    assert np.all(abs(counts - 10_000) < 5 * np.sqrt(60_000 * (1 / 6) * (5 / 6)))


def test_planes_of_another_shape_are_refused():
    with pytest.raises(ArgumentError, match="expected planes"):
        made().act(np.zeros((1, 13, 9, 12), np.int8), np.random.default_rng(0))


def test_another_game_or_shape_is_refused():
    agent = made()
    frogs = playable.find("frogs")
    with pytest.raises(ArgumentError, match="other rules"):
        agents.check_plays(agent, frogs.game, frogs.shape)
    with pytest.raises(ArgumentError, match="9 x 13"):
        agents.check_plays(agent, ZELDA.game, (9, 14))


def test_damaged_and_foreign_agents_are_refused(tmp_path):
    with pytest.raises(StorageError):
        agents.load(tmp_path)
    made().save(tmp_path)
    path = tmp_path / module.AGENT
    good = storage.read_json(path)
    for wrong in (
        {"format": 99},
        {"algorithm": "magic"},
        {"network": {"layers": 3}},
        {"shape": [9]},
        {"n_actions": None},
    ):
        storage.write_json(path, good | wrong)
        with pytest.raises(DataError, match=r"agent\.json"):
            agents.load(tmp_path)
    storage.write_json(path, good | {"n_actions": 4})
    with pytest.raises(CheckpointError, match="not the weights"):
        agents.load(tmp_path)
    storage.write_json(path, good)
    checkpoint.save(tmp_path / module.WEIGHTS, {"other": 1})
    with pytest.raises(CheckpointError, match="not the weights"):
        agents.load(tmp_path)


@pytest.mark.parametrize("wrong", [{"kernel": 2}, {"filters": 0}, {"ego_window": 4}, {"stride": 0}])
def test_settings_of_a_network_out_of_range_are_refused(wrong):
    with pytest.raises(ArgumentError, match=next(iter(wrong))):
        agents.NetworkSettings(**wrong)
