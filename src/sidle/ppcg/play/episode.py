"""One level of a game being played, tick by tick, with every action kept."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt

from sidle import storage
from sidle.errors import ArgumentError
from sidle.ppcg.engine import Engine
from sidle.ppcg.vgdl import Game, Level


class Episode:
    """A level from its first tick to the last one played.

    Args:
        game: the game.
        level: the level.
        seed: names the random stream, in [0, 2^63); with it and the same actions, all repeats.

    Attributes:
        actions: those taken so far, places in `Game.actions`.
    """

    def __init__(self, game: Game, level: Level, seed: int) -> None:
        self.game, self.level, self.seed = game, level, seed
        self.actions: list[int] = []
        self._engine = Engine(
            game, 1, height=level.height, width=level.width, seed=seed, autoreset="disabled"
        )
        self._engine.reset(level)

    @property
    def is_over(self) -> bool:
        """Whether the game has ended."""
        return bool(self._engine.dones[0])

    @property
    def is_won(self) -> bool:
        """Whether it was won."""
        return bool(self._engine.wins[0])

    @property
    def score(self) -> int:
        """Points so far."""
        return int(self._engine.scores[0])

    @property
    def planes(self) -> npt.NDArray[np.int8]:
        """What an agent sees, int8 (1, C, H, W), overwritten by the next tick."""
        assert self._engine.planes is not None
        return self._engine.planes

    def step(self, action: int) -> None:
        """Play one tick.

        Raises:
            ArgumentError: the game is over, or has no such action.
        """
        if self.is_over:
            raise ArgumentError("The game is over; begin it anew.")
        if not 0 <= action < len(self.game.actions):
            raise ArgumentError(
                f"An action must be from 0 to {len(self.game.actions) - 1} "
                f"({', '.join(self.game.actions)}), got {action}."
            )
        self._engine.step(np.array([action]))
        self.actions.append(action)

    def state(self) -> dict[str, Any]:
        """Return the state as `Engine.state` does."""
        return self._engine.state(0)

    def outcome(self) -> dict[str, Any]:
        """Return how things stand: ``{"ticks", "score", "winner", "state"}``, a digest the last."""
        state = self.state()
        return {
            "ticks": len(self.actions),
            "score": state["score"],
            "winner": state["winner"],
            "state": hashlib.sha256(storage.to_json(state).encode()).hexdigest(),
        }
