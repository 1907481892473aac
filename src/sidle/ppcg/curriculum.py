"""Curricula: which levels come next, and how that follows from the episodes that ended.

A curriculum gives weights to the levels of a store, from which the engine draws inside its own
auto-reset, and hears of every episode that ended. The interface has the shape of Syllabus's
(`sample`, `update_on_episode`).

Difficulties lie in [0, 1] and are drawn in steps of 0.01, the bins of the store.

Many levels at once. Where N levels are played side by side, episodes that end soon are heard of
first. Losses are often short, so that just after the start, and after every change of difficulty,
mostly losses are heard: with N = 64, losses of 5 and wins of 100 ticks, and one episode in five
won, the first 250 episodes to end are lost. A curriculum that goes down with every loss is driven
down by that. `PPCG` therefore takes results in the order in which episodes *began*, as one player
after another would see them: among the first K to begin the share of wins is unbiased. And it
lets only 12 episodes count at a time, the others being practice: 64 results that all come from
the difficulty before the last would move it by up to 0.64, past its aim and back. See
`sidle.ppcg.episode_order`.

Letters: M = levels in the store, K = episodes or tasks.
References: [PPCG] N. Justesen et al. 2018, arXiv:1806.10729, section 4.2. [DR] J. Tobin et al.
2017, arXiv:1703.06907 (domain randomisation). [SYL] R. Sullivan et al. 2024, arXiv:2411.11318.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from sidle.errors import ArgumentError
from sidle.ppcg.bank import N_BINS
from sidle.ppcg.episode_order import AT_ONCE, LONGEST_WAIT, EpisodeOrder
from sidle.ppcg.level_store import LevelStore
from sidle.ppcg.vgdl import Level

Weights = npt.NDArray[np.float64]

_FINEST = 1e-9  # differences between difficulties that rounding makes


class Curriculum(abc.ABC):
    """What every curriculum does.

    Attributes:
        version: raised whenever the weights of levels may have changed.
        learns_from_rollouts: whether `update_on_rollout` tells it anything.
    """

    version: int = 0
    learns_from_rollouts: bool = False

    @property
    @abc.abstractmethod
    def difficulty(self) -> float:
        """The mean difficulty of what comes next; NaN where levels have none."""

    @abc.abstractmethod
    def arrange(self, store: LevelStore) -> Weights:
        """See to it that ``store`` holds what may come next; return the weights of its levels.

        Called between steps when `version` rose or the store is due for new levels.

        Returns:
            float64 (M,), at least 0, not all 0.

        Raises:
            ArgumentError: the game has no generator, and the curriculum needs one.
        """

    @abc.abstractmethod
    def sample(self, rng: np.random.Generator, k: int = 1) -> list[Any]:
        """Return ``k`` tasks as the engine would draw them: difficulties, or numbers of levels."""

    def begin(  # noqa: B027 (most curricula need not know)
        self, n_slots: int, slots: npt.ArrayLike | None = None, *, clock: int = 0
    ) -> None:
        """Note that an episode of the curriculum's own begins in some of ``n_slots`` slots now.

        Args:
            n_slots: how many levels are played side by side.
            slots: which of them begin, by default all. What was under way there is forgotten.
            clock: the step at which they begin.
        """

    def update_on_episode(  # noqa: B027
        self,
        episode_return: float,
        length: int,
        task: Any,
        progress: float,
        env_id: int = 0,
        *,
        clock: int | None = None,
    ) -> None:
        """Note how an episode ended; the next one begins in its slot at once.

        Args:
            episode_return: the score.
            length: ticks played.
            task: what was played, as `sample` names it.
            progress: share of the task that was completed: 1 won, 0 lost or cut off.
            env_id: the slot.
            clock: the step at which it ended; by default the lengths of the slot's episodes added.
        """

    def update_on_rollout(  # noqa: B027
        self,
        levels_TN: npt.NDArray[np.int64],
        ended_TN: npt.NDArray[np.bool_],
        advantages_TN: npt.NDArray[np.float32],
    ) -> None:
        """Note what the learner found in T steps of N slots: for curricula that go by regret.

        Args:
            levels_TN: number of the level played in each step, -1 where it is not in the store.
            ended_TN: whether the episode ended with the step.
            advantages_TN: generalised advantage estimates.
        """

    def state_dict(self) -> dict[str, Any]:
        """Return all that changes, as a tree for `sidle.checkpoint`."""
        return {"version": self.version}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        self.version = int(state_dict["version"])


class DifficultyCurriculum(Curriculum):
    """A curriculum that says how likely each difficulty is."""

    @abc.abstractmethod
    def bin_weights(self) -> Weights:
        """Return how likely each bin of difficulty comes next, float64 (101,), sum 1."""

    @property
    def difficulty(self) -> float:
        """The mean difficulty of what comes next."""
        return float(self.bin_weights() @ np.arange(N_BINS)) / (N_BINS - 1)

    def arrange(self, store: LevelStore) -> Weights:
        """Renew levels that were played, fill the bins that may come next."""
        store.renew_if_due()
        return store.weigh_bins(self.bin_weights())

    def sample(self, rng: np.random.Generator, k: int = 1) -> list[float]:
        """Return ``k`` difficulties."""
        bins = rng.choice(N_BINS, size=k, p=self.bin_weights())
        return (bins / (N_BINS - 1)).tolist()  # type: ignore[no-any-return]


class Fixed(DifficultyCurriculum):
    """Generated levels of one difficulty.

    Args:
        difficulty: in [0, 1]; between two bins, both are drawn in such shares that it is the mean.

    Raises:
        ArgumentError: it lies outside.
    """

    def __init__(self, difficulty: float) -> None:
        check_difficulty(difficulty, "Fixed")
        self._weights = weights_at(difficulty)

    def bin_weights(self) -> Weights:
        """Return 1 at the difficulty's bin, or shares of its neighbours."""
        return self._weights


class Uniform(DifficultyCurriculum):
    """Generated levels of all difficulties between two, evenly: domain randomisation [DR].

    Args:
        low: in [0, 1].
        high: in [low, 1].

    Raises:
        ArgumentError: they lie outside.
    """

    def __init__(self, low: float = 0.0, high: float = 1.0) -> None:
        check_difficulty(low, "Uniform")
        check_difficulty(high, "Uniform")
        if high < low:
            raise ArgumentError(f"Uniform: high must be at least low, got {low} and {high}.")
        self._weights = weights_between(low, high)

    def bin_weights(self) -> Weights:
        """Return the share of each bin between the two."""
        return self._weights


class PPCG(DifficultyCurriculum):
    """Progressive procedural content generation [PPCG]: up on a win, down on a loss.

    Args:
        alpha: how far, in (0, 1].
        start: the difficulty at the beginning, in [0, 1].
        variant: ``exact``: levels of the present difficulty d; ``uniform``: of U(0, d).
        order: in which order results count: as episodes ``begun``, unbiased where many levels are
            played at once (see the module), or as they ``ended``, as published.
        longest_wait: for ``begun``, ticks that a result waits for one that began earlier.
        at_once: for ``begun``, episodes that count at a time; results of others are dropped.

    Attributes:
        present: the difficulty d; ``exact`` draws it, ``uniform`` up to it.
        n_results: how many episodes counted.

    Raises:
        ArgumentError: an argument outside its range.
    """

    def __init__(
        self,
        alpha: float = 0.01,
        *,
        start: float = 0.0,
        variant: Literal["exact", "uniform"] = "exact",
        order: Literal["begun", "ended"] = "begun",
        longest_wait: int = LONGEST_WAIT,
        at_once: int = AT_ONCE,
    ) -> None:
        if not 0 < alpha <= 1:
            raise ArgumentError(f"PPCG: alpha must lie in (0, 1], got {alpha}.")
        check_difficulty(start, "PPCG")
        if variant not in ("exact", "uniform") or order not in ("begun", "ended"):
            raise ArgumentError(
                "PPCG: variant must be 'exact' or 'uniform' and order 'begun' or 'ended', "
                f"got {variant!r} and {order!r}."
            )
        self.alpha, self.variant, self.order = alpha, variant, order
        self.present = start
        self.n_results = 0
        self._order = EpisodeOrder(longest_wait, at_once)
        self._weights = self._weights_now()

    def bin_weights(self) -> Weights:
        """Return the weights of the present difficulty, or of all up to it."""
        return self._weights

    def begin(self, n_slots: int, slots: npt.ArrayLike | None = None, *, clock: int = 0) -> None:
        """Note which slots begin anew; with all of them, results that waited count at once."""
        if self.order == "begun":
            self._take(self._order.begin(n_slots, slots, clock=clock))

    def update_on_episode(
        self,
        episode_return: float,
        length: int,
        task: Any,
        progress: float,
        env_id: int = 0,
        *,
        clock: int | None = None,
    ) -> None:
        """Go up by alpha for a win (progress 1) and down by alpha for all else, in order."""
        won = progress >= 1
        if self.order == "begun":
            self._take(self._order.end(env_id, length, won, clock=clock))
        else:
            self._take([won])

    def state_dict(self) -> dict[str, Any]:
        """Return the present difficulty and the results that wait."""
        return super().state_dict() | {
            "present": self.present,
            "n_results": self.n_results,
            "order": self._order.state_dict(),
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        super().load_state_dict(state_dict)
        self.present = float(state_dict["present"])
        self.n_results = int(state_dict["n_results"])
        self._order.load_state_dict(state_dict["order"])
        self._weights = self._weights_now()

    def _take(self, results: Sequence[bool]) -> None:
        if not results:
            return
        before = self.present
        for won in results:
            # Rounded, so that a hundred wins from 0 make 1.
            moved = round(self.present + (self.alpha if won else -self.alpha), 12)
            self.present = min(1.0, max(0.0, moved))
        self.n_results += len(results)
        if self.present != before:
            self._weights = self._weights_now()
            self.version += 1

    def _weights_now(self) -> Weights:
        if self.variant == "exact":
            return weights_at(self.present)
        return weights_between(0.0, self.present)


class LevelSet(Curriculum):
    """The same levels again and again: one, several, or those made by hand.

    Args:
        levels: at least one, of the game that is played.
        weights: how likely each is; by default all the same.

    Raises:
        ArgumentError: no levels, or weights that do not fit.
    """

    def __init__(self, levels: Sequence[Level], *, weights: npt.ArrayLike | None = None) -> None:
        if len(levels) == 0:
            raise ArgumentError("LevelSet: expected at least one level, got none.")
        self.levels = tuple(levels)
        given = np.ones(len(levels)) if weights is None else np.array(weights, np.float64)
        if given.shape != (len(levels),) or not (given >= 0).all() or not 0 < given.sum() < np.inf:
            raise ArgumentError(
                f"LevelSet: expected {len(levels)} finite weights of at least 0, not all 0."
            )
        self._weights: Weights = given / given.sum()

    @property
    def difficulty(self) -> float:
        """NaN: given levels have none."""
        return math.nan

    def arrange(self, store: LevelStore) -> Weights:
        """Put the levels into the store, once."""
        if len(store.bank) == 0:
            store.add(self.levels)
        return self._weights

    def sample(self, rng: np.random.Generator, k: int = 1) -> list[int]:
        """Return the numbers of ``k`` levels."""
        return rng.choice(len(self.levels), size=k, p=self._weights).tolist()  # type: ignore[no-any-return]


def check_difficulty(difficulty: float, name: str) -> None:
    """Raise ArgumentError unless ``difficulty`` lies in [0, 1]."""
    if not 0 <= difficulty <= 1:
        raise ArgumentError(f"{name}: a difficulty must lie in [0, 1], got {difficulty}.")


def weights_at(difficulty: float) -> Weights:
    """Return weights of bins, (101,), whose mean is ``difficulty``: of the nearest one or two."""
    place = difficulty * (N_BINS - 1)
    lower = min(math.floor(place + _FINEST), N_BINS - 2)
    share = place - lower
    share = 0.0 if share < _FINEST else 1.0 if share > 1 - _FINEST else share
    weights = np.zeros(N_BINS)
    weights[lower], weights[lower + 1] = 1 - share, share
    return weights


def weights_between(low: float, high: float) -> Weights:
    """Return weights of bins, (101,), of a difficulty even between two; bin b is the nearest."""
    if high - low < _FINEST:
        return weights_at(high)
    edges = np.clip((np.arange(N_BINS + 1) - 0.5) / (N_BINS - 1), low, high)
    shares: Weights = np.diff(edges)
    shares[shares < _FINEST] = 0.0
    weights: Weights = shares / shares.sum()
    return weights
