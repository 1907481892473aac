"""Prioritised level replay: play again the levels from which there is most to learn.

The score of a level is the mean size of the learner's advantage estimates in its last episode
there (the value loss, [PLR, section 3.1]). A level of those scored is drawn with probability

    (1 - staleness) rank^(-1 / temperature) / Z + staleness (c - c_i) / Z'        [PLR, eq. 1 to 3]

where rank 1 is the highest score, c counts episodes and c_i is the one in which the level was
last played; with what is left of the probability of replay, a level not played yet is drawn.

Two settings. With given levels, as in [PLR], the probability of replay is the share of them that
was scored. With a generator, as in [DCD], there is always a new level: a buffer keeps the
`capacity` best ones, replay has a fixed probability once half of the buffer is filled, and the
level least likely to be replayed gives its place to a new one.

References: [PLR] M. Jiang, E. Grefenstette, T. Rocktaeschel 2021, arXiv:2010.03934. [DCD] M. Jiang
et al. 2021, arXiv:2110.02439 (replay from a buffer of generated levels).
Letters: M = levels in the store, T = steps, N = slots.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sidle.errors import ArgumentError
from sidle.ppcg.bank import N_BINS
from sidle.ppcg.curriculum import Curriculum, Weights, weights_between
from sidle.ppcg.level_store import LevelStore
from sidle.ppcg.vgdl import Level

_FILLED_BEFORE_REPLAY = 0.5  # share of the buffer, [DCD], appendix


class PrioritizedReplay(Curriculum):
    """Levels by how much there is to learn from them [PLR].

    Args:
        levels: replay among these; by default levels are generated.
        capacity: how many generated levels the buffer keeps, at least 2.
        replay_probability: of playing a generated level again rather than a new one, in (0, 1).
        temperature: of the ranks, above 0; lower is greedier.
        staleness: share of the draw that goes by how long ago a level was played, in [0, 1].
        low: least difficulty of generated levels.
        high: greatest difficulty of generated levels, drawn evenly between the two.

    Raises:
        ArgumentError: an argument outside its range, or an empty list of levels.
    """

    learns_from_rollouts = True

    def __init__(
        self,
        levels: Sequence[Level] | None = None,
        *,
        capacity: int = 512,
        replay_probability: float = 0.5,
        temperature: float = 0.1,
        staleness: float = 0.1,
        low: float = 0.0,
        high: float = 1.0,
    ) -> None:
        if levels is not None and len(levels) == 0:
            raise ArgumentError("PrioritizedReplay: expected at least one level, got none.")
        if capacity < 2 or not 0 < replay_probability < 1 or not temperature > 0:
            raise ArgumentError(
                "PrioritizedReplay: capacity must be at least 2, replay_probability lie in (0, 1) "
                f"and temperature above 0, got {capacity}, {replay_probability}, {temperature}."
            )
        if not 0 <= staleness <= 1 or not 0 <= low <= high <= 1:
            raise ArgumentError(
                "PrioritizedReplay: staleness must lie in [0, 1], and low and high too, in this "
                f"order, got {staleness}, {low}, {high}."
            )
        self.levels = None if levels is None else tuple(levels)
        self.capacity, self.replay_probability = capacity, replay_probability
        self.temperature, self.staleness = temperature, staleness
        self._fresh_bins = weights_between(low, high)
        size = capacity + capacity // 2 if levels is None else len(levels)
        self._scores_M = np.full(size, np.nan)  # NaN: not scored yet
        self._played_M = np.zeros(size, np.int64)  # the episode in which it was played last
        self._n_episodes = 0
        self._weights_M = np.full(size, 1 / size)
        self._difficulties_M = np.full(size, np.nan)
        self._sums_N = np.zeros(0)  # sizes of advantages of the episodes under way
        self._steps_N = np.zeros(0, np.int64)

    @property
    def difficulty(self) -> float:
        """The mean difficulty of what comes next; NaN where levels have none."""
        known = self._weights_M > 0
        if np.isnan(self._difficulties_M[known]).any():
            return math.nan
        return float(self._weights_M[known] @ self._difficulties_M[known])

    def arrange(self, store: LevelStore) -> Weights:
        """Put levels into the store, give the places of the least useful to new ones, weigh all."""
        if len(store.bank) == 0:
            if self.levels is None:
                # Scores of a store before this one are of other levels.
                self._scores_M[:], self._played_M[:] = np.nan, 0
                store.generate(self._draw_bins(store, len(self._scores_M)))
            else:
                store.add(self.levels)
        elif self.levels is None:
            self._renew(store)
        store.begun = 0
        uses_M = np.array(store.bank.uses)
        self._difficulties_M = np.array(store.bank.difficulties)
        self._weights_M = self._weigh(uses_M)
        return self._weights_M

    def sample(self, rng: np.random.Generator, k: int = 1) -> list[int]:
        """Return the numbers of ``k`` levels of the store."""
        return rng.choice(len(self._weights_M), size=k, p=self._weights_M).tolist()  # type: ignore[no-any-return]

    def begin(self, n_slots: int, slots: npt.ArrayLike | None = None, *, clock: int = 0) -> None:
        """Forget what was under way in the slots."""
        if n_slots != len(self._sums_N):
            self._sums_N, self._steps_N = np.zeros(n_slots), np.zeros(n_slots, np.int64)
        where = slice(None) if slots is None else np.asarray(slots, np.int64)
        self._sums_N[where], self._steps_N[where] = 0.0, 0

    def update_on_rollout(
        self,
        levels_TN: npt.NDArray[np.int64],
        ended_TN: npt.NDArray[np.bool_],
        advantages_TN: npt.NDArray[np.float32],
    ) -> None:
        """Score the levels whose episodes ended: mean of the sizes of the advantages."""
        if levels_TN.shape[1] != len(self._sums_N):
            self.begin(levels_TN.shape[1])
        for levels_N, ended_N, advantages_N in zip(levels_TN, ended_TN, advantages_TN, strict=True):
            self._sums_N += np.abs(advantages_N, dtype=np.float64)
            self._steps_N += 1
            for slot in np.flatnonzero(ended_N).tolist():
                level = int(levels_N[slot])
                if level >= 0:
                    self._n_episodes += 1
                    self._scores_M[level] = self._sums_N[slot] / self._steps_N[slot]
                    self._played_M[level] = self._n_episodes
            self._sums_N[ended_N], self._steps_N[ended_N] = 0.0, 0
        self.version += 1

    def state_dict(self) -> dict[str, Any]:
        """Return scores, times, weights and what is under way."""
        return super().state_dict() | {
            "scores": self._scores_M.copy(),
            "played": self._played_M.copy(),
            "n_episodes": self._n_episodes,
            "weights": self._weights_M.copy(),
            "difficulties": self._difficulties_M.copy(),
            "sums": self._sums_N.copy(),
            "steps": self._steps_N.copy(),
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        super().load_state_dict(state_dict)
        self._scores_M = np.array(state_dict["scores"], np.float64)
        self._played_M = np.array(state_dict["played"], np.int64)
        self._n_episodes = int(state_dict["n_episodes"])
        self._weights_M = np.array(state_dict["weights"], np.float64)
        self._difficulties_M = np.array(state_dict["difficulties"], np.float64)
        self._sums_N = np.array(state_dict["sums"], np.float64)
        self._steps_N = np.array(state_dict["steps"], np.int64)

    def replay_distribution(self) -> Weights:
        """Return how likely each level is to be replayed, (M,), 0 where it has no score.

        [PLR, eq. 1]; all 0 before the first score.
        """
        weights_M = np.zeros(len(self._scores_M))
        scored = np.flatnonzero(~np.isnan(self._scores_M))
        if len(scored) == 0:
            return weights_M
        ranks = np.empty(len(scored))
        ranks[np.argsort(-self._scores_M[scored], kind="stable")] = np.arange(1, len(scored) + 1)
        # 1 / rank to the power of 1 / temperature: at most 1, so that nothing overflows.
        by_score = (1 / ranks) ** (1 / self.temperature)
        waited = (self._n_episodes - self._played_M[scored]).astype(np.float64)
        by_time = waited / waited.sum() if waited.any() else np.full(len(scored), 1 / len(scored))
        weights_M[scored] = (
            1 - self.staleness
        ) * by_score / by_score.sum() + self.staleness * by_time
        return weights_M

    def _weigh(self, uses_M: npt.NDArray[np.int64]) -> Weights:
        scored_M = ~np.isnan(self._scores_M)
        n_scored = int(scored_M.sum())
        if self.levels is not None:
            fresh_M = ~scored_M
            replay = n_scored / len(scored_M)
        else:
            # Played, not scored: under way for the first time.
            fresh_M = ~scored_M & (uses_M == 0)
            is_filled = n_scored >= _FILLED_BEFORE_REPLAY * self.capacity
            replay = self.replay_probability if is_filled else 0.0
            if not fresh_M.any():
                replay = 1.0 if n_scored else 0.0
        if replay == 0.0 and not fresh_M.any():
            fresh_M = np.ones_like(scored_M)
        weights_M = replay * self.replay_distribution()
        if replay < 1.0:
            weights_M[fresh_M] += (1 - replay) / fresh_M.sum()
        return weights_M

    def _renew(self, store: LevelStore) -> None:
        """Give places to new levels while there are more scored ones than the buffer keeps."""
        n_excess = int((~np.isnan(self._scores_M)).sum()) - self.capacity
        if n_excess <= 0:
            return
        likely_M = self.replay_distribution()
        likely_M[np.isnan(self._scores_M)] = np.inf
        gone = np.argsort(likely_M, kind="stable")[:n_excess]
        store.generate(self._draw_bins(store, n_excess), gone)
        self._scores_M[gone], self._played_M[gone] = np.nan, 0

    def _draw_bins(self, store: LevelStore, k: int) -> npt.NDArray[np.int64]:
        return store.rng.choice(N_BINS, size=k, p=self._fresh_bins)
