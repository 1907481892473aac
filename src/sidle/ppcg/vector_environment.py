"""Many levels of a game as one Gymnasium vector environment, stepped by one kernel.

    envs = VectorEnvironment("zelda", 64, curriculum=curriculum.PPCG())
    observations, infos = envs.reset(seed=0)
    observations, rewards, terminations, truncations, infos = envs.step(actions)

Infos hold arrays (N,) of the episodes whose observations are returned: ``score``, ``level`` (seed
of a generated level, number of one made by hand, -1 of any other), ``difficulty`` (NaN where there
is none), ``win`` (whether it is won). Where episodes ended and were replaced in the same step,
``final_obs`` and ``final_info`` hold what they ended with, as Gymnasium defines it.

Letters: N = levels side by side, C = planes, H, W = rows and columns.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from sidle.errors import ArgumentError, ShapeError
from sidle.ppcg import playable as playables
from sidle.ppcg.curriculum import Curriculum
from sidle.ppcg.engine import Autoreset
from sidle.ppcg.observation import Planes, View
from sidle.ppcg.playable import Playable
from sidle.ppcg.render import Frame, Renderer
from sidle.ppcg.simulation import Rewards, Rows, Simulation, Win, choose_curriculum
from sidle.ppcg.vgdl import Level

TILE = 10  # pixels of a tile in frames, as in the paper
FRAMES_PER_SECOND = 15

_MODES: dict[AutoresetMode, Autoreset] = {
    AutoresetMode.SAME_STEP: "same_step",
    AutoresetMode.NEXT_STEP: "next_step",
    AutoresetMode.DISABLED: "disabled",
}


class VectorEnvironment(VectorEnv[Planes, npt.NDArray[np.int64], npt.NDArray[Any]]):
    """N levels of a game.

    Args:
        game: name of a built-in game, path of a VGDL file, or a `Playable`.
        num_envs: N.
        levels: ``generated``, ``hand_made``, or the levels to play; by default generated where the
            game has a generator.
        difficulty: of generated levels, in [0, 1]; by default all, evenly.
        curriculum: which levels come next, instead of the two above.
        ego_window: side of a window around the avatar, odd; by default all is seen.
        rewards: ``score``: the change of score; ``sign``: its sign; ``outcome``: 1 for a win and
            -1 for a loss at the end (0 where an episode is cut off).
        win: ``rules``, or ``score``: with the score that published code counts as a win.
        max_episode_steps: ticks after which an episode is cut off (truncated); by default never,
            as games end by their rules at the latest after 2,000 ticks.
        autoreset_mode: when a finished episode is replaced: in the same step, in the next step, or
            never (then by ``reset(options={"reset_mask": ...})``).
        seed: names all chance until `reset` is given another.
        render_mode: "rgb_array" or None.
        tile: pixels of a tile in frames: 10 as in the paper, 32 for handsome ones.
        threads: threads of a step; results do not depend on it.
        copy: whether observations are copies. Else they are overwritten by the next step, which
            saves time for those who store them elsewhere at once.

    Attributes:
        simulation: what plays; its ``statistics`` say how levels are refilled and used again.

    Raises:
        ArgumentError, DataError, DataNotFoundError: there is no such game or level, or an argument
            lies outside its range.
    """

    def __init__(
        self,
        game: str | Path | Playable,
        num_envs: int = 1,
        *,
        levels: Literal["generated", "hand_made"] | Sequence[Level | Rows] | None = None,
        difficulty: float | None = None,
        curriculum: Curriculum | None = None,
        ego_window: int | None = None,
        rewards: Rewards = "score",
        win: Win = "rules",
        max_episode_steps: int | None = None,
        autoreset_mode: str | AutoresetMode = AutoresetMode.SAME_STEP,
        seed: int = 0,
        render_mode: str | None = None,
        tile: int = TILE,
        threads: int = 1,
        copy: bool = True,
    ) -> None:
        mode = autoreset_of(autoreset_mode)
        if render_mode not in (None, "rgb_array"):
            raise ArgumentError(f"render_mode must be 'rgb_array' or None, got {render_mode!r}.")
        playable = game if isinstance(game, Playable) else playables.find(game)
        self.playable, self.num_envs, self.render_mode, self.copy = (
            playable, num_envs, render_mode, copy,
        )  # fmt: skip
        self.simulation = Simulation(
            playable,
            num_envs,
            curriculum=choose_curriculum(playable, levels, difficulty, curriculum),
            seed=seed,
            autoreset=_MODES[mode],
            rewards=rewards,
            win=win,
            max_episode_steps=max_episode_steps,
            threads=threads,
        )
        self.metadata = {
            "render_modes": ["rgb_array"],
            "render_fps": FRAMES_PER_SECOND,
            "autoreset_mode": mode,
        }
        self.view = View(playable.game, num_envs, playable.shape, ego_window=ego_window)
        self.single_observation_space = self.view.space()
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.single_action_space = spaces.Discrete(len(playable.game.actions))
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._renderer = None if render_mode is None else Renderer(playable.game, tile=tile)
        self._all = np.ones(num_envs, np.bool_)
        self._all.flags.writeable = False  # all infos share it
        self._is_reset = False

    def reset(
        self, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[Planes, dict[str, Any]]:
        """Begin new episodes.

        Args:
            seed: begin all over with this seed; by default chance goes on.
            options: ``level``: play the level of this number made by hand, or these rows, in each;
                ``difficulty``: play new generated levels of this difficulty, one number or one a
                level; ``reset_mask``: bool (N,), which begin anew.

        Returns:
            Observations, int8 (N, C, H, W), and infos.

        Raises:
            ArgumentError, DataError, ShapeError: an unknown option, or a value that does not fit.
        """
        chosen = dict(options or {})
        slots = self._masked(chosen.pop("reset_mask", None), seed)
        asked = checked_options(chosen, also=("reset_mask",))
        if seed is not None:
            super().reset(seed=seed)
        self.simulation.reset(seed=seed, slots=slots, **asked)
        self._is_reset = True
        return self._seen(), self._infos()

    def step(
        self, actions: npt.NDArray[np.int64]
    ) -> tuple[
        Planes,
        npt.NDArray[np.float64],
        npt.NDArray[np.bool_],
        npt.NDArray[np.bool_],
        dict[str, Any],
    ]:
        """Play a tick of each level.

        Args:
            actions: integers (N,), places in ``playable.game.actions``.

        Returns:
            Observations int8 (N, C, H, W), rewards float64 (N,), terminations and truncations
            bool (N,), infos.

        Raises:
            ArgumentError, ShapeError: not N actions of the game, or nothing was reset yet.
        """
        simulation = self.simulation
        simulation.step(actions)
        seen = self._seen()
        infos = self._infos()
        if len(simulation.ended) and simulation.autoreset == "same_step":
            self._add_final(infos)
        return (
            seen,
            simulation.rewards.copy(),
            simulation.terminated.copy(),
            simulation.truncated.copy(),
            infos,
        )

    def render(self) -> tuple[Frame, ...] | None:
        """Return a frame of each level, uint8 (pixels, pixels, 3); None without a render mode.

        Raises:
            ArgumentError: nothing was reset yet.
        """
        if self._renderer is None:
            return None
        if not self._is_reset:
            raise ArgumentError("render: nothing to draw yet. Call reset first.")
        shape = self.playable.shape
        engine = self.simulation.engine
        return tuple(
            self._renderer.frame(engine.state(slot), shape) for slot in range(self.num_envs)
        )

    def state_dict(self) -> dict[str, Any]:
        """Return everything as a tree for `sidle.checkpoint`: what follows then, follows again."""
        return {"simulation": self.simulation.state_dict(), "view": self.view.state_dict()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Planes:
        """Take over what `state_dict` returned; returns the observations.

        Raises:
            CheckpointError: it is of other slots, another game or another size of levels.
        """
        self.simulation.load_state_dict(state_dict["simulation"])
        self.view.load_state_dict(state_dict["view"])
        self._is_reset = True
        return self._seen()

    def _masked(self, mask: Any, seed: int | None) -> npt.NDArray[np.int64] | None:
        if mask is None:
            return None
        if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_:
            raise ArgumentError("reset_mask must be a NumPy array of truth values.")
        if mask.shape != (self.num_envs,):
            raise ShapeError(f"reset_mask must have shape ({self.num_envs},), got {mask.shape}.")
        if not mask.any():
            raise ArgumentError("reset_mask must be true somewhere.")
        if seed is not None and not mask.all():
            raise ArgumentError("reset: a seed is of all levels; give no reset_mask with it.")
        return np.flatnonzero(mask)

    def _seen(self) -> Planes:
        seen = self.view.of(self.simulation.planes)
        return seen.copy() if self.copy else seen

    def _infos(self) -> dict[str, Any]:
        simulation, everywhere = self.simulation, self._all
        return {
            "score": simulation.engine.scores.copy(),
            "_score": everywhere,
            "level": simulation.ids.copy(),
            "_level": everywhere,
            "difficulty": simulation.difficulties.copy(),
            "_difficulty": everywhere,
            # Replaced in the same step, a level is a new one.
            "win": simulation.won & (simulation.autoreset != "same_step"),
            "_win": everywhere,
        }

    def _add_final(self, infos: dict[str, Any]) -> None:
        """Note with what the episodes ended that were replaced."""
        ended, n = self.simulation.ended, self.num_envs
        slots = ended["slot"]
        where = np.zeros(n, np.bool_)
        where[slots] = True
        last = np.empty(n, object)
        for slot, planes in zip(
            slots.tolist(),
            self.view.of_some(self.simulation.final_planes[slots], slots),
            strict=True,
        ):
            last[slot] = planes
        final: dict[str, Any] = {}
        for name, column, empty in (
            ("score", "score", np.zeros(n, np.int32)),
            ("level", "id", np.zeros(n, np.int64)),
            ("difficulty", "difficulty", np.zeros(n)),
            ("win", "won", np.zeros(n, np.bool_)),
        ):
            empty[slots] = ended[column]
            final[name], final[f"_{name}"] = empty, where
        infos |= {
            "final_obs": last, "_final_obs": where,
            "final_info": final, "_final_info": where,
        }  # fmt: skip


def autoreset_of(mode: str | AutoresetMode) -> AutoresetMode:
    """Return Gymnasium's autoreset mode from it or its name: same_step, next_step, disabled.

    Raises:
        ArgumentError: there is no such mode.
    """
    if isinstance(mode, AutoresetMode):
        return mode
    for known, name in _MODES.items():
        if mode in (name, known.value):
            return known
    raise ArgumentError(
        f"autoreset_mode must be 'same_step', 'next_step' or 'disabled', got {mode!r}."
    )


def checked_options(options: Mapping[str, Any], *, also: Sequence[str] = ()) -> dict[str, Any]:
    """Return the options of a reset, ``level`` and ``difficulty``, checked by name.

    Raises:
        ArgumentError: there is no such option.
    """
    if unknown := [name for name in options if name not in ("level", "difficulty")]:
        known = ", ".join(("level", "difficulty", *also))
        raise ArgumentError(f"reset: unknown option {unknown[0]!r}. The options are: {known}.")
    found = dict(options)
    if isinstance(found.get("level"), np.integer):
        found["level"] = operator.index(found["level"])
    return found
