"""Checkpoints of agents: nothing is lost, nothing is code, and what does not fit is refused."""

import copyreg
import os
import pickle
import signal

import numpy as np
import pytest
import torch
from safetensors import safe_open
from sb3_contrib import RecurrentPPO
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.callbacks import BaseCallback

from cpc.small_game import STEPS, model, settings, weights
from sidle import checkpoint, runs, seeding
from sidle.cpc import agent_checkpoint
from sidle.cpc.agent import ContrastiveCallback
from sidle.cpc.agent_checkpoint import KeepCheckpoints
from sidle.errors import ArgumentError, CheckpointError


class Killed(Exception):
    """As if the process had ended."""


class Breaking(BaseCallback):
    """Does something at one environment step, the first of which is 1."""

    def __init__(self, at, what):
        super().__init__()
        self.at, self.what = at, what

    def _on_step(self):
        if self.n_calls == self.at:
            self.what()
        return True


def killed():
    raise Killed


def chosen(algorithm):
    return settings(
        context="agent" if algorithm is RecurrentPPO else "own",
        pieces=6,
        updates=2,
        final_weight=0.0,
        anneal_steps=4 * STEPS,
    )


def trained(algorithm, where=None, at=None, what=killed, seconds=0.0, rollouts=4, seed=0):
    """Train, perhaps until something happens; go on from what lies at ``where``, if anything."""
    learner, auxiliary = model(algorithm, seed=seed), ContrastiveCallback(chosen(algorithm), seed=3)
    callbacks = [auxiliary]
    keeper = None
    if where is not None:
        keeper = KeepCheckpoints(where, auxiliary, seconds=seconds)
        callbacks.append(keeper)
    if at is not None:
        callbacks.append(Breaking(at, what))
    with seeding.scope(seed):
        left = rollouts * STEPS
        if where is not None and where.exists():
            left -= agent_checkpoint.load(where, learner, auxiliary)
        if keeper is None:
            learner.learn(left, callback=callbacks, reset_num_timesteps=False)
        else:
            with keeper.interrupts_wait():
                learner.learn(left, callback=callbacks, reset_num_timesteps=False)
    return learner


@pytest.mark.parametrize("algorithm", [A2C, PPO, RecurrentPPO])
def test_killed_within_a_rollout_it_comes_to_the_same_end(algorithm, tmp_path):
    path = tmp_path / "agent.safetensors"
    expected = weights(trained(algorithm))
    with pytest.raises(Killed):
        trained(algorithm, path, at=2 * 32 + 11)
    assert checkpoint.load(path)["num_timesteps"] == 2 * STEPS
    # Another seed: nothing of the new model, environment or global generators may be left.
    assert torch.equal(weights(trained(algorithm, path, seed=9)), expected)
    assert checkpoint.load(path)["num_timesteps"] == 4 * STEPS


def test_a_first_interrupt_waits_for_the_rollout_and_is_kept(tmp_path):
    path = tmp_path / "agent.safetensors"
    expected = weights(trained(A2C))

    def interrupt():
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        trained(A2C, path, at=32 + 5, what=interrupt, seconds=1e9)
    assert signal.getsignal(signal.SIGINT) is before
    assert checkpoint.load(path)["num_timesteps"] == 2 * STEPS
    assert torch.equal(weights(trained(A2C, path, seed=9)), expected)


def test_an_interrupt_in_the_last_rollout_is_not_swallowed(tmp_path):
    path = tmp_path / "agent.safetensors"
    with pytest.raises(KeyboardInterrupt):
        trained(A2C, path, at=3 * 32 + 5, what=lambda: os.kill(os.getpid(), signal.SIGINT))
    assert checkpoint.load(path)["num_timesteps"] == 4 * STEPS


def test_a_second_interrupt_does_not_wait(tmp_path):
    path = tmp_path / "agent.safetensors"

    def twice():
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        trained(A2C, path, at=5, what=twice, seconds=1e9)
    assert not path.exists()


def test_writes_as_often_as_asked_and_when_training_ends(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(
        agent_checkpoint, "save", lambda *given: written.append(given[1].num_timesteps)
    )
    # Nothing is kept before anything is learned; the end is always kept.
    for seconds, expected in ((0.0, [STEPS, 2 * STEPS, 3 * STEPS]), (1e9, [3 * STEPS])):
        written.clear()
        model(A2C).learn(3 * STEPS, callback=KeepCheckpoints(tmp_path / "a", seconds=seconds))
        assert written == expected
    with pytest.raises(ArgumentError, match="seconds"):
        KeepCheckpoints(tmp_path / "a", seconds=-1)


def test_a_run_keeps_it_as_its_own_checkpoint(tmp_path):
    identity = runs.Identity({"a": 1})
    auxiliary = ContrastiveCallback(settings(), seed=3)
    learner = model(A2C)
    with runs.open_run(tmp_path / "run", identity) as run, seeding.scope(0):
        learner.learn(2 * STEPS, callback=[auxiliary, KeepCheckpoints(run, auxiliary)])
    other, second = model(A2C, seed=9), ContrastiveCallback(settings(), seed=3)
    with runs.open_run(tmp_path / "run", identity) as run, seeding.scope(0):
        step, tree = run.resume()
        assert step == 2 * STEPS == agent_checkpoint.restore_training(other, tree, second)
    assert torch.equal(weights(other), weights(learner))


def assert_same(one, two):
    """Compare trees, leaf by leaf."""
    assert type(one) is type(two)
    if isinstance(one, dict):
        assert one.keys() == two.keys()
        for name in one:
            assert_same(one[name], two[name])
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(two)
        for a, b in zip(one, two, strict=True):
            assert_same(a, b)
    elif isinstance(one, (torch.Tensor, np.ndarray)):
        np.testing.assert_array_equal(one, two)
    else:
        assert one == two


@pytest.mark.parametrize("algorithm", [A2C, RecurrentPPO])
def test_everything_comes_back_through_the_file(algorithm, tmp_path):
    learner, auxiliary = model(algorithm), ContrastiveCallback(chosen(algorithm), seed=3)
    with seeding.scope(0):
        learner.learn(2 * STEPS, callback=auxiliary)
        agent_checkpoint.save(tmp_path / "one", learner, auxiliary)
    other, second = model(algorithm, seed=9), ContrastiveCallback(chosen(algorithm), seed=3)
    with seeding.scope(5):
        assert agent_checkpoint.load(tmp_path / "one", other, second) == 2 * STEPS
        agent_checkpoint.save(tmp_path / "two", other, second)
    assert_same(checkpoint.load(tmp_path / "one"), checkpoint.load(tmp_path / "two"))
    moments = [state["square_avg" if algorithm is A2C else "exp_avg_sq"]
               for state in other.policy.optimizer.state.values()]  # fmt: skip
    assert moments
    assert all((moment > 0).any() for moment in moments)
    assert second.n_rollouts == 2
    assert len(other.ep_info_buffer) == len(learner.ep_info_buffer) > 0


def test_nothing_in_the_file_is_code(tmp_path, monkeypatch):
    learner, auxiliary = model(A2C), ContrastiveCallback(settings(), seed=3)
    learner.learn(STEPS, callback=auxiliary)

    def refuse(*given, **named):
        raise AssertionError("a pickle")

    for name in ("dumps", "dump", "loads", "load", "Pickler", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    monkeypatch.setattr(torch, "save", refuse)
    monkeypatch.setattr(torch, "load", refuse)
    monkeypatch.setattr(copyreg, "__reduce_ex__", refuse)
    path = tmp_path / "agent.safetensors"
    agent_checkpoint.save(path, learner, auxiliary)
    agent_checkpoint.load(path, model(A2C), ContrastiveCallback(settings(), seed=3))
    with safe_open(path, framework="pt") as file:
        kept = {tuple(file.get_tensor(name).shape) for name in file.keys()}  # noqa: SIM118
    for part in learner.policy.parameters():
        assert tuple(part.shape) in kept


def test_a_damaged_file_changes_nothing(tmp_path):
    learner = model(A2C)
    learner.learn(STEPS)
    path = tmp_path / "agent.safetensors"
    agent_checkpoint.save(path, learner)
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    other = model(A2C, seed=9)
    before = weights(other)
    with pytest.raises(CheckpointError, match="SHA-256"):
        agent_checkpoint.load(path, other)
    assert torch.equal(weights(other), before)


def test_what_does_not_fit_is_refused_with_its_reason(tmp_path):
    learner, auxiliary = model(A2C), ContrastiveCallback(settings(), seed=3)
    with pytest.raises(ArgumentError, match="before `learn` has begun"):
        agent_checkpoint.save(tmp_path / "a", learner, auxiliary)
    with pytest.raises(ArgumentError, match="nothing to keep"):
        auxiliary.state_dict()
    with pytest.raises(ArgumentError, match="attach"):
        auxiliary.load_state_dict({})
    learner.learn(STEPS, callback=auxiliary)
    path = tmp_path / "agent.safetensors"
    agent_checkpoint.save(path, learner, auxiliary)

    def other():
        return ContrastiveCallback(settings(), seed=3)

    with pytest.raises(CheckpointError, match="is of A2C, the model is a PPO"):
        agent_checkpoint.load(path, model(PPO), other())
    with pytest.raises(CheckpointError, match="give it too"):
        agent_checkpoint.load(path, model(A2C))
    with pytest.raises(CheckpointError, match="does not fit the model's policy"):
        wide = {"features_extractor_kwargs": {"features_dim": 16}}
        agent_checkpoint.load(path, model(A2C, policy_kwargs=wide), other())
    with pytest.raises(CheckpointError, match="does not fit the settings"):
        longer = ContrastiveCallback(settings(actions=False), seed=3)
        agent_checkpoint.load(path, model(A2C), longer)
    plain = model(A2C)
    plain.learn(STEPS)
    agent_checkpoint.save(path, plain)
    with pytest.raises(CheckpointError, match="written without one"):
        agent_checkpoint.load(path, model(A2C), other())


def test_noise_that_depends_on_states_is_refused():
    learner = model(A2C, actions="box", use_sde=True)
    learner.learn(STEPS)
    with pytest.raises(ArgumentError, match="use_sde"):
        agent_checkpoint.training_state(learner)


def test_the_memory_of_a_recurrent_policy_is_part_of_it(tmp_path):
    learner = model(RecurrentPPO)
    with seeding.scope(0):
        learner.learn(STEPS)
    tree = agent_checkpoint.training_state(learner)
    assert any(np.any(np.asarray(part) != 0) for parts in tree["memory"] for part in parts)
