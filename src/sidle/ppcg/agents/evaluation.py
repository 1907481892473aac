"""How well a player plays levels: win rate, score and length with intervals.

Each level is played once. Levels are the unit of chance: an interval speaks of levels drawn as
these were, for this one agent.

Letters: L = levels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from sidle import seeding
from sidle.errors import ArgumentError
from sidle.evaluation.statistics import CONFIDENCE, Interval, t_interval
from sidle.ppcg.agents.agent import Agent, Player, check_plays
from sidle.ppcg.engine import MOST_TICKS, Engine
from sidle.ppcg.playable import Playable
from sidle.ppcg.simulation import Win
from sidle.ppcg.vgdl import Level


@dataclass(frozen=True, eq=False)
class Evaluation:
    """How L levels were played.

    Attributes:
        wins_L: bool (L,).
        scores_L: int64 (L,).
        lengths_L: int64 (L,), ticks.
    """

    wins_L: npt.NDArray[np.bool_]
    scores_L: npt.NDArray[np.int64]
    lengths_L: npt.NDArray[np.int64]

    @property
    def win_rate(self) -> Interval:
        """Share of levels won, with its Clopper-Pearson interval of 95 %."""
        n, won = len(self.wins_L), int(self.wins_L.sum())
        found = stats.binomtest(won, n).proportion_ci(CONFIDENCE, method="exact")
        return Interval(won / n, float(found.low), float(found.high), n, CONFIDENCE)

    @property
    def score(self) -> Interval:
        """Mean score, with Student's interval."""
        return t_interval(self.scores_L.astype(float).tolist())

    @property
    def length(self) -> Interval:
        """Mean ticks, with Student's interval."""
        return t_interval(self.lengths_L.astype(float).tolist())

    def as_dict(self) -> dict[str, Any]:
        """Return means as JSON values."""
        return {
            "levels": len(self.wins_L),
            "win_rate": float(self.wins_L.mean()),
            "score": float(self.scores_L.mean()),
            "length": float(self.lengths_L.mean()),
        }


def evaluate_agent(
    player: Player,
    playable: Playable,
    levels: Sequence[Level],
    *,
    seed: int = 0,
    greedy: bool = False,
    win: Win = "rules",
    most_ticks: int = MOST_TICKS,
) -> Evaluation:
    """Let ``player`` play each level once.

    Args:
        player: an `Agent`, a `RandomAgent`, or anything that acts like them.
        playable: the game.
        levels: at least one.
        seed: names all chance, of the game and of the player.
        greedy: take the most likely actions instead of drawing them.
        win: ``rules``, or ``score``: with the score that published code counts as a win.
        most_ticks: ticks after which a level that is not won is lost.

    Raises:
        ArgumentError: no levels, or another game than the agent's.
    """
    n = len(levels)
    if n == 0:
        raise ArgumentError("evaluate_agent: expected at least one level, got none.")
    if win == "score" and playable.win_score is None:
        raise ArgumentError(f"{playable.game.name}: no score counts as a win. Use win='rules'.")
    if isinstance(player, Agent):
        check_plays(player, playable.game, playable.shape)
    height, width = playable.shape
    engine = Engine(
        playable.game,
        n,
        height=height,
        width=width,
        seed=seeding.split(seed, "evaluation"),
        autoreset="disabled",
        most_ticks=most_ticks,
    )
    engine.reset(list(levels))
    rng = seeding.numpy_generator(seeding.split(seed, "evaluation", "player"))
    actions = np.zeros(n, np.int64)
    assert engine.planes is not None
    while len(playing := np.flatnonzero(~engine.dones)):
        # What is over stays as it is, so nobody need look at it.
        actions[playing] = player.act(engine.planes[playing], rng, greedy=greedy)
        engine.step(actions)
    ended = engine.episodes()
    order = np.argsort(ended["slot"], kind="stable")
    scores = ended["score"][order]
    won = scores >= (playable.win_score or 0) if win == "score" else ended["won"][order]
    return Evaluation(won, scores, ended["length"][order])


def generated_levels(playable: Playable, difficulty: float, n: int, seed: int) -> list[Level]:
    """Return ``n`` generated levels of a difficulty in [0, 1], named by ``seed``.

    Raises:
        ArgumentError: the game has no generator, or the difficulty lies outside.
    """
    if not 0 <= difficulty <= 1 or math.isnan(difficulty):
        raise ArgumentError(f"generated_levels: difficulty must lie in [0, 1], got {difficulty}.")
    return [
        playable.generated(difficulty, seeding.split(seed, "level", f"{difficulty:.6f}", i))
        for i in range(n)
    ]
