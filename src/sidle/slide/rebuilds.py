"""When hash tables are brought up to date with the vectors they index.

    fixed         every `every` steps
    exponential   gaps of every * e^(growth * i) steps after the i-th update, as in SLIDE ([S],
                  section 3.1): early in training weights turn fast, later they hardly do
    drift         looks every `every` steps at the codes of a few items, and updates once the share
                  of them that changed exceeds `threshold`
    never         keeps what was built first

Reference: [S] Chen et al. 2020, arXiv:1903.03129.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from sidle.errors import ArgumentError

KINDS = ("fixed", "exponential", "drift", "never")


@dataclass(frozen=True)
class RebuildSchedule:
    """When to update tables.

    Attributes:
        kind: one of `KINDS`.
        every: steps between updates, or looks; at least 1.
        growth: of the gaps of "exponential", at least 0.
        threshold: share of codes that may be out of date under "drift", 0 to 1.

    Raises:
        ArgumentError: a value out of its range.
    """

    kind: str = "exponential"
    every: int = 50
    growth: float = 0.1
    threshold: float = 0.1

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ArgumentError(f"RebuildSchedule: kind must be one of {KINDS}, got {self.kind!r}.")
        if self.every < 1 or not self.growth >= 0 or not 0 <= self.threshold <= 1:
            raise ArgumentError(
                "RebuildSchedule: every must be at least 1, growth at least 0 and threshold from 0 "
                f"to 1, got {self.every}, {self.growth} and {self.threshold}."
            )

    def due(self, since: int, n_updates: int, drift: Callable[[], float]) -> bool:
        """Return whether to update now.

        Args:
            since: steps since the last update (the first build counts as one), at least 1.
            n_updates: updates so far, the first build not counted.
            drift: computes the share of codes that are out of date; called under "drift" only.
        """
        if self.kind == "never":
            return False
        if self.kind == "fixed":
            return since >= self.every
        if self.kind == "exponential":
            return since >= self.every * math.exp(min(self.growth * n_updates, 700.0))
        return since % self.every == 0 and drift() > self.threshold
