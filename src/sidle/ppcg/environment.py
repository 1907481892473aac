"""One level of a game as a Gymnasium environment.

    import gymnasium
    import sidle.ppcg

    env = gymnasium.make("sidle/Zelda-v0", difficulty=0.5)
    observation, info = env.reset(seed=0, options={"difficulty": 0.9})

Letters: C = planes, H, W = rows and columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

import gymnasium
import numpy as np
from gymnasium import spaces

from sidle import seeding
from sidle.errors import ArgumentError
from sidle.ppcg import playable as playables
from sidle.ppcg.curriculum import Curriculum
from sidle.ppcg.observation import Planes, View
from sidle.ppcg.playable import Playable
from sidle.ppcg.render import Frame, Renderer
from sidle.ppcg.simulation import Rewards, Rows, Simulation, Win, choose_curriculum
from sidle.ppcg.vector_environment import FRAMES_PER_SECOND, TILE, checked_options
from sidle.ppcg.vgdl import Level


class GameEnvironment(gymnasium.Env[Planes, np.int64]):
    """A game; each `reset` plays the next level.

    Args:
        game: name of a built-in game, path of a VGDL file, or a `Playable`.
        levels: ``generated``, ``hand_made``, or the levels to play; by default generated where the
            game has a generator.
        difficulty: of generated levels, in [0, 1]; by default all, evenly.
        curriculum: which levels come next, instead of the two above.
        ego_window: side of a window around the avatar, odd; by default all is seen.
        rewards: ``score``: the change of score; ``sign``: its sign; ``outcome``: 1 for a win and
            -1 for a loss at the end.
        win: ``rules``, or ``score``: with the score that published code counts as a win.
        max_episode_steps: ticks after which an episode is cut off (truncated); by default never,
            as games end by their rules at the latest after 2,000 ticks.
        render_mode: "rgb_array" or None.
        tile: pixels of a tile in frames: 10 as in the paper, 32 for handsome ones.

    Observations are int8 (C, H, W), see `sidle.ppcg.observation`. Infos: ``score``, ``level`` (seed
    of a generated level, number of one made by hand, -1 of any other), ``difficulty`` (NaN where
    there is none) and ``win``.

    Raises:
        ArgumentError, DataError, DataNotFoundError: there is no such game or level, or an argument
            lies outside its range.
    """

    metadata: ClassVar[dict[str, Any]] = {  # type: ignore[misc]
        "render_modes": ["rgb_array"],
        "render_fps": FRAMES_PER_SECOND,
    }

    def __init__(
        self,
        game: str | Path | Playable,
        *,
        levels: Literal["generated", "hand_made"] | Sequence[Level | Rows] | None = None,
        difficulty: float | None = None,
        curriculum: Curriculum | None = None,
        ego_window: int | None = None,
        rewards: Rewards = "score",
        win: Win = "rules",
        max_episode_steps: int | None = None,
        render_mode: str | None = None,
        tile: int = TILE,
    ) -> None:
        if render_mode not in (None, "rgb_array"):
            raise ArgumentError(f"render_mode must be 'rgb_array' or None, got {render_mode!r}.")
        playable = game if isinstance(game, Playable) else playables.find(game)
        self.playable, self.render_mode = playable, render_mode
        self.simulation = Simulation(
            playable,
            1,
            curriculum=choose_curriculum(playable, levels, difficulty, curriculum),
            autoreset="disabled",
            rewards=rewards,
            win=win,
            max_episode_steps=max_episode_steps,
        )
        self.view = View(playable.game, 1, playable.shape, ego_window=ego_window)
        self.observation_space = cast(spaces.Space[Planes], self.view.space())
        self.action_space = spaces.Discrete(len(playable.game.actions))
        self._renderer = None if render_mode is None else Renderer(playable.game, tile=tile)
        self._action = np.zeros(1, np.int64)
        self._is_seeded = self._is_reset = False

    def reset(
        self, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[Planes, dict[str, Any]]:
        """Begin a new episode.

        Args:
            seed: begin all over with this seed; by default chance goes on, the first time from a
                seed of its own.
            options: ``level``: play the level of this number made by hand, or these rows;
                ``difficulty``: play a new generated level of this difficulty.

        Raises:
            ArgumentError, DataError, ShapeError: an unknown option, or a value that does not fit.
        """
        super().reset(seed=seed)
        if seed is None and not self._is_seeded:
            seed = int(self.np_random.integers(2**63))
        self._is_seeded = True
        asked = checked_options(options or {})
        begun = None if seed is None else seeding.split(seed, "environment")
        self.simulation.reset(seed=begun, **asked)
        self._is_reset = True
        return self._seen(), self._info()

    def step(self, action: Any) -> tuple[Planes, float, bool, bool, dict[str, Any]]:
        """Play a tick.

        Args:
            action: place in ``playable.game.actions``.

        Raises:
            ArgumentError: no action of the game, or nothing was reset yet.
        """
        simulation = self.simulation
        self._action[0] = action
        simulation.step(self._action)
        return (
            self._seen(),
            float(simulation.rewards[0]),
            bool(simulation.terminated[0]),
            bool(simulation.truncated[0]),
            self._info(),
        )

    def render(self) -> Frame | None:
        """Return a frame, uint8 (pixels, pixels, 3); None without a render mode.

        Raises:
            ArgumentError: nothing was reset yet.
        """
        if self._renderer is None:
            return None
        if not self._is_reset:
            raise ArgumentError("render: nothing to draw yet. Call reset first.")
        return self._renderer.frame(self.simulation.engine.state(0), self.playable.shape)

    def _seen(self) -> Planes:
        seen: Planes = self.view.of(self.simulation.planes)[0].copy()
        return seen

    def _info(self) -> dict[str, Any]:
        simulation = self.simulation
        return {
            "win": bool(simulation.won[0]),
            "score": int(simulation.engine.scores[0]),
            "level": int(simulation.ids[0]),
            "difficulty": float(simulation.difficulties[0]),
        }
