"""A `VectorEnvironment` with the face that Stable-Baselines3 expects of a ``VecEnv``.

    model = PPO("MlpPolicy", StableBaselinesEnvironment(VectorEnvironment("zelda", 64)))

Each level's info holds ``score``, ``level``, ``difficulty`` and ``win``; where an episode ended
also ``episode`` (return ``r``, length ``l``, time ``t``, as `Monitor` writes it), ``is_success``,
``terminal_observation`` and ``TimeLimit.truncated``.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sidle.errors import ArgumentError, MissingExtraError
from sidle.ppcg.observation import Planes
from sidle.ppcg.render import Frame
from sidle.ppcg.vector_environment import VectorEnvironment

try:
    from stable_baselines3.common.vec_env import VecEnv
except ImportError as error:
    raise MissingExtraError("Training agents with Stable-Baselines3", "rl") from error


class StableBaselinesEnvironment(VecEnv):
    """N levels of a game for Stable-Baselines3.

    Args:
        environment: with autoreset mode ``same_step``; it serves this adapter alone.

    Raises:
        ArgumentError: another autoreset mode.
    """

    def __init__(self, environment: VectorEnvironment) -> None:
        if environment.simulation.autoreset != "same_step":
            raise ArgumentError(
                "StableBaselinesEnvironment: Stable-Baselines3 expects finished episodes to be "
                "replaced in the same step. Make the environment with "
                "autoreset_mode='same_step'."
            )
        self.environment = environment
        super().__init__(
            environment.num_envs,
            environment.single_observation_space,
            environment.single_action_space,
        )
        self._actions = np.zeros(self.num_envs, np.int64)
        self._returns = np.zeros(self.num_envs)
        self._began = time.time()

    def reset(self) -> Planes:
        """Begin all episodes anew; after `seed` with the first level's seed, for all of them."""
        (seed,), (options, *others) = self._seeds[:1], self._options
        if any(other != options for other in others):
            raise ArgumentError("StableBaselinesEnvironment: options must be the same for all.")
        observations, infos = self.environment.reset(seed=seed, options=options or None)
        self._reset_seeds()
        self._reset_options()
        self._returns[:] = 0.0
        self.reset_infos = self._infos(infos)
        return observations

    def step_async(self, actions: npt.NDArray[np.int64]) -> None:
        """Note the actions of the next `step_wait`."""
        self._actions = actions

    def step_wait(
        self,
    ) -> tuple[Planes, npt.NDArray[np.float32], npt.NDArray[np.bool_], list[dict[str, Any]]]:
        """Play a tick of each level."""
        environment = self.environment
        observations, rewards, terminated, truncated, infos = environment.step(self._actions)
        self._returns += rewards
        found = self._infos(infos)
        ended = environment.simulation.ended
        for slot, length in zip(ended["slot"].tolist(), ended["length"].tolist(), strict=True):
            final, info = infos["final_info"], found[slot]
            for name in ("score", "level", "difficulty", "win"):
                info[name] = final[name][slot].item()
            info["episode"] = {
                "r": float(self._returns[slot]),
                "l": length,
                "t": round(time.time() - self._began, 6),
            }
            info["is_success"] = info["win"]
            info["terminal_observation"] = infos["final_obs"][slot]
            info["TimeLimit.truncated"] = bool(truncated[slot])
            self._returns[slot] = 0.0
        return observations, rewards.astype(np.float32), terminated | truncated, found

    def close(self) -> None:
        """Close the environment."""
        self.environment.close()

    def get_images(self) -> Sequence[Frame | None]:
        """Return a frame of each level, None without a render mode."""
        return self.environment.render() or [None] * self.num_envs

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Return an attribute of the vector environment, once a level."""
        value = getattr(self.environment, attr_name)
        return [value for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set an attribute of the vector environment, which is one for all levels.

        Raises:
            ArgumentError: of some levels alone.
        """
        self._check_all(indices)
        setattr(self.environment, attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any
    ) -> list[Any]:
        """Call a method of the vector environment, once for all levels.

        Raises:
            ArgumentError: for some levels alone.
        """
        self._check_all(indices)
        result = getattr(self.environment, method_name)(*method_args, **method_kwargs)
        return [result] * self.num_envs

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """Return False for each level: none is wrapped."""
        return [False for _ in self._get_indices(indices)]

    def state_dict(self) -> dict[str, Any]:
        """Return everything as a tree for `sidle.checkpoint`: what follows then, follows again."""
        return {"environment": self.environment.state_dict(), "returns": self._returns.copy()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> Planes:
        """Take over what `state_dict` returned; returns the observations."""
        self._returns = np.array(state_dict["returns"], np.float64)
        return self.environment.load_state_dict(state_dict["environment"])

    def _check_all(self, indices: Any) -> None:
        if len(list(self._get_indices(indices))) != self.num_envs:
            raise ArgumentError("StableBaselinesEnvironment: all levels are one environment.")

    def _infos(self, infos: dict[str, Any]) -> list[dict[str, Any]]:
        names = ("score", "level", "difficulty", "win")
        columns = (infos[name].tolist() for name in names)
        return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
