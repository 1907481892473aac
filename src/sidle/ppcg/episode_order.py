"""Results of episodes in the order in which the episodes began.

Of episodes played side by side the short ones end first. To whoever takes results as they come,
a short kind of outcome is overrepresented until the slots have been through their longest
episodes. Taken in the order of beginning, the first K results are those of K given episodes,
whatever their lengths, so that the share of each outcome among them is unbiased.

The price is waiting for the slowest. Meanwhile further episodes would begin, with what is known
now, and whoever acts on their results would act many times on the same news: of 64 slots with
losses of 5 and wins of 30 ticks hundreds of losses wait at a time. So only `at_once` episodes
count at a time. Which ones is settled as they begin: those that begin while fewer are under way or
wait for others. All others are practice, their results are dropped.

An episode that has lasted longer than `longest_wait` ticks is no longer waited for; its result
counts when it comes. So the order is exact, and the share of outcomes unbiased, where no episode
lasts longer than that; else what is left of the bias is that of the episodes beyond it.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from sidle.errors import ArgumentError

LONGEST_WAIT = 250
"""Ticks: an eighth of the longest game; most wins of the published games take fewer."""

AT_ONCE = 12
"""Episodes: as many as were played side by side in arXiv:1806.10729."""


class EpisodeOrder:
    """Takes results as they come, gives back those that count in the order of beginning.

    Args:
        longest_wait: ticks after which an episode is no longer waited for, at least 0.
        at_once: episodes that count at a time, at least 1.

    Raises:
        ArgumentError: a number below its least.
    """

    def __init__(self, longest_wait: int = LONGEST_WAIT, at_once: int = AT_ONCE) -> None:
        if longest_wait < 0 or at_once < 1:
            raise ArgumentError(
                "EpisodeOrder: longest_wait must be at least 0 and at_once at least 1, got "
                f"{longest_wait} and {at_once}."
            )
        self.longest_wait, self.at_once = longest_wait, at_once
        self._began = np.zeros(1, np.int64)  # when the present episode of each slot began
        self._counts = np.ones(1, np.bool_)  # ... and whether it counts
        self._waiting: list[tuple[int, int, bool]] = []  # began, slot, result

    def begin(
        self, n_slots: int, slots: npt.ArrayLike | None = None, *, clock: int = 0
    ) -> list[bool]:
        """Note that episodes begin in ``slots`` (default: all) of ``n_slots``; forget those before.

        Returns:
            The results that need not wait any longer.
        """
        if n_slots != len(self._began):
            self._began = np.full(n_slots, clock, np.int64)
            self._counts = np.zeros(n_slots, np.bool_)
        where = np.arange(n_slots) if slots is None else np.asarray(slots, np.int64)
        self._began[where] = clock
        self._counts[where] = False
        due = self._due(clock)
        self._counts[where[: self._room(clock)]] = True
        return due

    def end(self, slot: int, length: int, result: bool, *, clock: int | None = None) -> list[bool]:
        """Note a result; the next episode begins in the slot at once.

        Args:
            slot: where.
            length: ticks it lasted.
            result: whether it was won.
            clock: when it ended; by default ``length`` after it began.

        Returns:
            The results that need not wait any longer, in order.

        Raises:
            ArgumentError: there is no such slot.
        """
        if not 0 <= slot < len(self._began):
            raise ArgumentError(
                f"EpisodeOrder: env_id must be from 0 to {len(self._began) - 1}, got {slot}. "
                "Say with begin how many levels are played side by side."
            )
        ended = int(self._began[slot]) + length if clock is None else clock
        if self._counts[slot]:
            heapq.heappush(self._waiting, (ended - length, slot, result))
        self._began[slot], self._counts[slot] = ended, False
        due = self._due(ended)
        self._counts[slot] = self._room(ended) > 0
        return due

    def state_dict(self) -> dict[str, Any]:
        """Return when the episodes under way began, which count, and the results that wait."""
        return {
            "began": self._began.copy(),
            "counts": self._counts.copy(),
            "waiting": np.array(self._waiting, np.int64).reshape(-1, 3),
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        self._began = np.array(state_dict["began"], np.int64)
        self._counts = np.array(state_dict["counts"], np.bool_)
        waiting = np.asarray(state_dict["waiting"], np.int64).tolist()
        self._waiting = [(began, slot, bool(result)) for began, slot, result in waiting]

    def _waited_for(self, now: int) -> npt.NDArray[np.bool_]:
        waited_for: npt.NDArray[np.bool_] = self._counts & (self._began >= now - self.longest_wait)
        return waited_for

    def _room(self, now: int) -> int:
        """Return how many more episodes may count."""
        return max(0, self.at_once - int(self._waited_for(now).sum()) - len(self._waiting))

    def _due(self, now: int) -> list[bool]:
        """Return the results of episodes that began before all that are still waited for."""
        if not self._waiting:
            return []
        waited_for = np.flatnonzero(self._waited_for(now))
        first = (now + 1, 0)
        if len(waited_for):
            slot = int(waited_for[np.argmin(self._began[waited_for])])
            first = (int(self._began[slot]), slot)
        due = []
        while self._waiting and self._waiting[0][:2] < first:
            due.append(heapq.heappop(self._waiting)[2])
        return due
