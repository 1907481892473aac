"""Checkpoints of agents of Stable-Baselines3 in our format, from which training goes on exactly.

    model = A2C("CnnPolicy", environment, n_steps=32)
    auxiliary = agent.ContrastiveCallback(seed=0)
    keeper = agent_checkpoint.KeepCheckpoints("agent.safetensors", auxiliary)
    with keeper.interrupts_wait():
        model.learn(1_000_000, callback=[auxiliary, keeper])

    # later, model, environment and callbacks made as before
    left = 1_000_000 - agent_checkpoint.load("agent.safetensors", model, auxiliary)
    model.learn(left, callback=[auxiliary, keeper], reset_num_timesteps=False)

One safetensors file (`sidle.checkpoint`) holds policy, optimisers, the CPC module, the environment,
the last observations, the memory of recurrent policies, and random states. Nothing in it is code,
unlike the archives of ``model.save``, which hold pickles. States are taken between rollouts, where
nothing is under way.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np

from sidle import checkpoint, seeding
from sidle.cpc.agent_environments import environment_state, restore_environment
from sidle.errors import ArgumentError, CheckpointError, MissingExtraError
from sidle.runs import Run

try:
    from sb3_contrib.common.recurrent.type_aliases import RNNStates
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
except ImportError as error:
    raise MissingExtraError("Training agents with Stable-Baselines3", "rl") from error

SECONDS_BETWEEN_CHECKPOINTS = 30.0
_EPISODE = ("r", "l", "t")  # what `Monitor` notes of an episode


class Auxiliary(Protocol):
    """What learns beside the policy and has a state of its own, `ContrastiveCallback` say."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state as a tree."""
        ...

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        ...

    def attach(self, model: OnPolicyAlgorithm) -> None:
        """Make what learns, of the model's shapes."""
        ...


def training_state(model: OnPolicyAlgorithm, auxiliary: Auxiliary | None = None) -> dict[str, Any]:
    """Return all that the next rollout and what follows depend on, as a tree.

    Call it between rollouts: after ``learn`` has returned, or in a callback's
    ``_on_rollout_start``.

    Args:
        model: A2C, PPO or RecurrentPPO, whose ``learn`` has begun.
        auxiliary: the callback that trains beside it, if any.

    Raises:
        ArgumentError: the model has not begun, explores by noise that depends on states (which
            is drawn before a rollout starts), or its environment does not say what its state is.
    """
    if model._last_obs is None or model.env is None:
        raise ArgumentError("training_state: nothing to keep before `learn` has begun.")
    if model.use_sde:
        raise ArgumentError(
            "training_state: use_sde=True draws its noise before a rollout starts, where a "
            "checkpoint could not go on exactly. Train with use_sde=False, or without checkpoints."
        )
    found: dict[str, Any] = {
        "algorithm": type(model).__name__,
        "policy": model.policy.state_dict(),
        "optimizer": model.policy.optimizer.state_dict(),
        "num_timesteps": model.num_timesteps,
        "n_updates": model._n_updates,
        "last_observation": model._last_obs,
        "episode_starts": np.asarray(model._last_episode_starts, np.bool_),
        "episodes": [
            {name: float(episode[name]) for name in _EPISODE}
            for episode in model.ep_info_buffer or ()
        ],
        "successes": [float(success) for success in model.ep_success_buffer or ()],
        "environment": environment_state(model.env),
        "global_states": seeding.global_states(),
    }
    if (memory := getattr(model, "_last_lstm_states", None)) is not None:
        found["memory"] = [list(memory.pi), list(memory.vf)]
    if auxiliary is not None:
        found["auxiliary"] = auxiliary.state_dict()
    return found


def restore_training(
    model: OnPolicyAlgorithm, tree: Mapping[str, Any], auxiliary: Auxiliary | None = None
) -> int:
    """Put the state that `training_state` returned back into a model made alike.

    The global generators of torch, NumPy and `random` take over their states as well, because
    Stable-Baselines3 draws from them; `sidle.seeding.scope` keeps the caller's.

    Returns:
        Steps done so far; ``model.learn(total - steps, reset_num_timesteps=False)`` goes on.

    Raises:
        CheckpointError: the state is of another algorithm, policy, environment or callback.
        ArgumentError: as `training_state`.
    """
    if tree.get("algorithm") != type(model).__name__:
        raise CheckpointError(
            f"The checkpoint is of {tree.get('algorithm')}, the model is a {type(model).__name__}. "
            "Make the model as it was when the checkpoint was written."
        )
    if ("auxiliary" in tree) != (auxiliary is not None):
        raise CheckpointError(
            "The checkpoint was written "
            + ("with a callback that learns; give it too." if auxiliary is None else "without one.")
        )
    if model.env is None:
        raise ArgumentError("restore_training: the model has no environment.")
    try:
        model.policy.load_state_dict(tree["policy"])
        model.policy.optimizer.load_state_dict(tree["optimizer"])
    except (RuntimeError, ValueError) as error:
        raise CheckpointError(
            f"The checkpoint does not fit the model's policy: {error}. Make the model as it was "
            "when the checkpoint was written."
        ) from error
    model.num_timesteps, model._n_updates = int(tree["num_timesteps"]), int(tree["n_updates"])
    model._last_obs = tree["last_observation"]
    model._last_episode_starts = np.asarray(tree["episode_starts"], np.bool_)
    size = model._stats_window_size
    model.ep_info_buffer = deque((dict(row) for row in tree["episodes"]), maxlen=size)
    model.ep_success_buffer = deque(tree["successes"], maxlen=size)
    if "memory" in tree:
        memory = [tuple(part.to(model.device) for part in parts) for parts in tree["memory"]]
        cast(Any, model)._last_lstm_states = RNNStates(*memory)
    if auxiliary is not None:
        auxiliary.attach(model)
        auxiliary.load_state_dict(tree["auxiliary"])
    restore_environment(model.env, tree["environment"])
    seeding.restore_global_states(tree["global_states"])
    return model.num_timesteps


def save(path: str | Path, model: OnPolicyAlgorithm, auxiliary: Auxiliary | None = None) -> None:
    """Write `training_state` to ``path``, whole or not at all.

    Raises:
        ArgumentError: as `training_state`.
        StorageError: the disk refused; a previous checkpoint is intact.
    """
    checkpoint.save(path, training_state(model, auxiliary))


def load(path: str | Path, model: OnPolicyAlgorithm, auxiliary: Auxiliary | None = None) -> int:
    """Go on from the checkpoint at ``path``; as `restore_training`.

    Raises:
        StorageError: the file cannot be read.
        CheckpointError: it is damaged, or does not fit.
        ArgumentError: as `training_state`.
    """
    return restore_training(model, checkpoint.load(path), auxiliary)


class KeepCheckpoints(BaseCallback):
    """Writes a checkpoint every so often between rollouts, and when training ends.

    Args:
        where: the file, or an open run, whose checkpoint it then is.
        auxiliary: the callback that trains beside the policy, if any.
        seconds: between checkpoints, at least 0.

    Raises:
        ArgumentError: negative seconds.
    """

    def __init__(
        self,
        where: str | Path | Run,
        auxiliary: Auxiliary | None = None,
        *,
        seconds: float = SECONDS_BETWEEN_CHECKPOINTS,
    ) -> None:
        super().__init__()
        if not seconds >= 0:
            raise ArgumentError(f"KeepCheckpoints: seconds must be at least 0, got {seconds}.")
        self.where, self.auxiliary, self.seconds = where, auxiliary, seconds
        self._saved_at = time.monotonic()
        self._interrupted = False

    @contextlib.contextmanager
    def interrupts_wait(self) -> Iterator[None]:
        """Let the first Ctrl-C in the block wait for a checkpoint, a second one not.

        Signals reach the main thread of a process only; in another nothing is changed.

        Raises:
            KeyboardInterrupt: once the rollout under way is learned from and kept.
        """

        def request(number: int, frame: object) -> None:
            if self._interrupted:
                raise KeyboardInterrupt
            self._interrupted = True

        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self._interrupted = False
        before = signal.signal(signal.SIGINT, request)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)
        if self._interrupted:  # behind the last rollout, whose checkpoint is written
            raise KeyboardInterrupt

    def _on_training_start(self) -> None:
        self._saved_at = time.monotonic()

    def _on_rollout_start(self) -> None:
        begun = self.model.num_timesteps > 0
        due = time.monotonic() - self._saved_at >= self.seconds
        if begun and (due or self._interrupted):
            self._write()
        if self._interrupted:
            raise KeyboardInterrupt

    def _on_step(self) -> bool:
        return True

    def _on_training_end(self) -> None:
        self._write()

    def _write(self) -> None:
        model = cast(OnPolicyAlgorithm, self.model)
        if isinstance(self.where, Run):
            self.where.save(model.num_timesteps, training_state(model, self.auxiliary))
        else:
            save(self.where, model, self.auxiliary)
        self._saved_at = time.monotonic()
