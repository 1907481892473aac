"""Agents learn, and a training that was killed comes to the same agent."""

import dataclasses
import signal
import sys

import numpy as np
import pytest
import torch

from sidle import checkpoint, runs
from sidle.errors import ArgumentError, MissingExtraError
from sidle.ppcg import agents, curriculum, playable
from sidle.ppcg.agents import learning, training
from sidle.ppcg.level_replay import PrioritizedReplay

pytest.importorskip("stable_baselines3", reason="the extra rl is not installed")

from sidle.ppcg.stable_baselines import StableBaselinesEnvironment
from sidle.ppcg.vector_environment import VectorEnvironment

FROGS = playable.find("frogs")
NETWORK = agents.NetworkSettings(filters=4, features=16, ego_window=5)
TINY = agents.TrainSettings(
    steps=1280, n_envs=8, rollout=16, minibatch=64, epochs=2, log_every=200, network=NETWORK
)
CURRICULA = {
    "ppcg": curriculum.PPCG,
    "uniform": curriculum.Uniform,
    "replay": lambda: PrioritizedReplay(capacity=16),
    "levels": lambda: curriculum.LevelSet(FROGS.levels[:2]),
}


class Killed(Exception):
    pass


def opened(folder, settings):
    return runs.open_run(folder, runs.Identity(settings=dataclasses.asdict(settings), seed=1))


def same(one, other):
    mine, theirs = (agent.network.state_dict() for agent in (one, other))
    return all(torch.equal(mine[name], theirs[name]) for name in mine)


@pytest.mark.parametrize("algorithm", ["ppo", "a2c"])
@pytest.mark.parametrize("kind", list(CURRICULA))
def test_a_killed_training_goes_on_to_the_same_agent(algorithm, kind, tmp_path, monkeypatch):
    settings = dataclasses.replace(TINY, algorithm=algorithm, anneal=True)
    with opened(tmp_path / "whole", settings) as run:
        whole = agents.train(FROGS, CURRICULA[kind](), settings, seed=1, run=run)
        expected = run.metrics()
    monkeypatch.setattr(learning, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    step = learning.Keeper._on_step

    def killed(keeper):
        if keeper.num_timesteps >= 700:  # in the middle of a rollout
            raise Killed
        return step(keeper)

    with monkeypatch.context() as patch:
        patch.setattr(learning.Keeper, "_on_step", killed)
        with pytest.raises(Killed), opened(tmp_path / "killed", settings) as run:
            agents.train(FROGS, CURRICULA[kind](), settings, seed=1, run=run)
    with opened(tmp_path / "killed", settings) as run:
        again = agents.train(FROGS, CURRICULA[kind](), settings, seed=1, run=run)
        assert run.metrics() == expected
    assert len(expected) >= 5
    assert same(whole, again)


def test_ctrl_c_waits_for_the_rollout_and_keeps_it(tmp_path, monkeypatch):
    whole = agents.train(FROGS, curriculum.PPCG(), TINY, seed=1)
    step = learning.Keeper._on_step

    def interrupted(keeper):
        if keeper.num_timesteps == 400:
            signal.raise_signal(signal.SIGINT)
        return step(keeper)

    with monkeypatch.context() as patch:
        patch.setattr(learning.Keeper, "_on_step", interrupted)
        with pytest.raises(KeyboardInterrupt), opened(tmp_path, TINY) as run:
            agents.train(FROGS, curriculum.PPCG(), TINY, seed=1, run=run)
    saved = checkpoint.load(tmp_path / runs.CHECKPOINT)["step"]
    assert saved == 512  # the end of the rollout of 8 x 16 ticks
    with opened(tmp_path, TINY) as run:
        assert same(agents.train(FROGS, curriculum.PPCG(), TINY, seed=1, run=run), whole)


def test_another_seed_is_another_agent_and_the_callers_chance_is_left_alone():
    before = torch.get_rng_state()
    one, again, other = (
        agents.train(FROGS, curriculum.PPCG(), TINY, seed=seed) for seed in (0, 0, 1)
    )
    assert same(one, again)
    assert not same(one, other)
    assert torch.equal(before, torch.get_rng_state())


def test_dqn_learns_from_as_many_ticks_as_ppo():
    settings = dataclasses.replace(TINY, algorithm="dqn", epochs=3)
    environment = StableBaselinesEnvironment(
        VectorEnvironment(FROGS, settings.n_envs, difficulty=0.0, ego_window=NETWORK.ego_window)
    )
    model = learning.make_model(environment, settings, FROGS.game.channels)
    assert model.gradient_steps * 64 == 3 * settings.n_envs * settings.rollout


def test_dqn_trains_and_is_kept(tmp_path):
    settings = dataclasses.replace(TINY, algorithm="dqn", rollout=4, steps=640, memory=500)
    agent = agents.train(FROGS, curriculum.Fixed(1.0), settings)
    agent.save(tmp_path)
    planes = np.zeros((3, len(FROGS.game.channels), *FROGS.shape), np.int8)
    rng = np.random.default_rng(0)
    assert np.array_equal(agents.load(tmp_path).act(planes, rng), agent.act(planes, rng))


def test_the_agent_acts_as_the_policy_that_was_trained():
    from sidle.ppcg.stable_baselines import StableBaselinesEnvironment
    from sidle.ppcg.vector_environment import VectorEnvironment

    environment = VectorEnvironment(FROGS, 8, difficulty=0.9, ego_window=5)
    model = learning.make_model(StableBaselinesEnvironment(environment), TINY, FROGS.game.channels)
    agent = agents.agent.build(FROGS.game, FROGS.shape, "ppo", NETWORK)
    agent.network.load_state_dict(learning.weights_of(model))
    seen, _ = environment.reset(seed=0)
    chosen = agent.act(environment.simulation.planes, np.random.default_rng(0), greedy=True)
    assert np.array_equal(chosen, model.predict(seen, deterministic=True)[0])


def test_it_learns_to_walk_up():
    """On grass the goal is straight up: an untrained agent needs hundreds of ticks."""
    settings = dataclasses.replace(TINY, steps=40_000, n_envs=32, learning_rate=3e-3)
    levels = agents.generated_levels(FROGS, 0.0, 50, seed=9)
    agent = agents.train(FROGS, curriculum.Fixed(0.0), settings)
    trained, untrained = (
        agents.evaluate_agent(player, FROGS, levels, most_ticks=60).wins_L.mean()
        for player in (agent, agents.RandomAgent(agent.n_actions))
    )
    assert trained > untrained + 0.3


def test_settings_out_of_range_are_refused():
    for wrong in (
        {"steps": 0},
        {"learning_rate": 0.0},
        {"discount": 1.1},
        {"algorithm": "sarsa"},
        {"entropy": -1.0},
    ):
        with pytest.raises(ArgumentError, match=next(iter(wrong))):
            agents.TrainSettings(**wrong)


def test_what_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sidle.ppcg.agents.learning", None)
    monkeypatch.delattr(agents, "learning")
    with pytest.raises(MissingExtraError, match=r"sidle\[rl\]"):
        training.train(FROGS, curriculum.PPCG(), TINY)
