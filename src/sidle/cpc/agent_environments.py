"""The state of an environment under training, through what Stable-Baselines3 wraps around it.

Whatever plays must say what its state is: it has ``state_dict()``, which returns a tree for
`sidle.checkpoint`, and ``load_state_dict(tree)``. That may be a whole ``VecEnv`` (the games of
sidle are one), or each Gymnasium environment inside a ``DummyVecEnv``. The wrappers listed here
are known; any other must have the two methods as well. Asking a wrapper for ``state_dict`` that
does not define it would find the one of what it wraps, and silently lose its own state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

import numpy as np

from sidle.checkpoint import Stateful
from sidle.errors import ArgumentError, CheckpointError, MissingExtraError

try:
    import gymnasium
    from gymnasium.wrappers import OrderEnforcing, PassiveEnvChecker, TimeLimit
    from stable_baselines3.common.monitor import Monitor
    from stable_baselines3.common.running_mean_std import RunningMeanStd
    from stable_baselines3.common.vec_env import (
        DummyVecEnv,
        VecCheckNan,
        VecEnv,
        VecFrameStack,
        VecMonitor,
        VecNormalize,
        VecTransposeImage,
    )
    from stable_baselines3.common.vec_env.base_vec_env import VecEnvWrapper
    from stable_baselines3.common.vec_env.stacked_observations import StackedObservations
except ImportError as error:
    raise MissingExtraError("Training agents with Stable-Baselines3", "rl") from error

# What each known wrapper changes as it goes; clocks and log files aside.
_CHANGING: Mapping[type, tuple[str, ...]] = {
    TimeLimit: ("_elapsed_steps",),
    OrderEnforcing: ("_has_reset",),
    PassiveEnvChecker: ("checked_reset", "checked_step", "checked_render", "close_called"),
    Monitor: (
        "rewards", "needs_reset", "episode_returns", "episode_lengths", "episode_times",
        "total_steps",
    ),
    VecMonitor: ("episode_count", "episode_returns", "episode_lengths"),
    VecTransposeImage: (),
    VecCheckNan: (),
    VecNormalize: ("returns", "old_reward", "training"),
    VecFrameStack: (),
}  # fmt: skip
_MOMENTS = ("mean", "var", "count")


def environment_state(environment: VecEnv | gymnasium.Env[Any, Any]) -> dict[str, Any]:
    """Return the state of ``environment`` and of what it wraps, as a tree.

    Raises:
        ArgumentError: a part of it does not say what its state is.
    """
    if _keeps_state(environment):
        return {"own": dict(environment.state_dict())}
    if isinstance(environment, DummyVecEnv):
        return {"each": [environment_state(each) for each in environment.envs]}
    inside = _inside(environment)
    found = {name: getattr(environment, name) for name in _CHANGING[type(environment)]}
    if isinstance(environment, VecNormalize):
        found |= {name: _moments(rms) for name, rms in _running(environment).items()}
    if isinstance(environment, VecFrameStack):
        found |= {f"stack {name}": part.stacked_obs for name, part in _stacks(environment).items()}
    return {"wrapper": found, "inside": environment_state(inside)}


def restore_environment(
    environment: VecEnv | gymnasium.Env[Any, Any], tree: Mapping[str, Any]
) -> None:
    """Put the state that `environment_state` returned back into an environment made alike.

    Raises:
        ArgumentError: a part of it does not say what its state is.
        CheckpointError: the state is of another environment.
    """
    try:
        if _keeps_state(environment):
            environment.load_state_dict(tree["own"])
            return
        if isinstance(environment, DummyVecEnv):
            for each, state in zip(environment.envs, tree["each"], strict=True):
                restore_environment(each, state)
            return
        inside, found = _inside(environment), tree["wrapper"]
        for name in _CHANGING[type(environment)]:
            setattr(environment, name, _copied(found[name]))
        if isinstance(environment, VecNormalize):
            for name, rms in _running(environment).items():
                for moment in _MOMENTS:
                    setattr(rms, moment, _copied(found[name][moment]))
        if isinstance(environment, VecFrameStack):
            for name, part in _stacks(environment).items():
                part.stacked_obs[...] = found[f"stack {name}"]
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"The state of the environment does not fit {type(environment).__name__}: {error!r}. "
            "Make the environment, its wrappers and how many are played at once as they were when "
            "the checkpoint was written."
        ) from error
    restore_environment(inside, tree["inside"])


def _keeps_state(environment: object) -> TypeGuard[Stateful]:
    return all(hasattr(type(environment), name) for name in ("state_dict", "load_state_dict"))


def _inside(environment: VecEnv | gymnasium.Env[Any, Any]) -> Any:
    """Return what a known wrapper wraps."""
    if type(environment) in _CHANGING:
        return (
            environment.venv if isinstance(environment, VecEnvWrapper) else environment.env  # type: ignore[union-attr]
        )
    raise ArgumentError(
        f"The environment's {type(environment).__name__} does not say what its state is, so that a "
        "checkpoint could not go on from it. Give it state_dict() and load_state_dict(), or train "
        "without checkpoints."
    )


def _running(environment: VecNormalize) -> dict[str, RunningMeanStd]:
    found = {"returns_moments": environment.ret_rms}
    if environment.norm_obs:
        moments: Any = environment.obs_rms
        if isinstance(moments, Mapping):
            found |= {f"moments {key}": rms for key, rms in moments.items()}
        else:
            found["moments"] = moments
    return found


def _moments(rms: RunningMeanStd) -> dict[str, Any]:
    return {name: getattr(rms, name) for name in _MOMENTS}


def _stacks(environment: VecFrameStack) -> dict[str, StackedObservations[Any]]:
    stacks: Any = environment.stacked_obs
    parts: dict[str, StackedObservations[Any]]
    parts = getattr(stacks, "sub_stacked_observations", {"": stacks})
    return parts


def _copied(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.copy()
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
