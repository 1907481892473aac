"""Schedules of rho: begin with almost no compression and tighten while training.

A network that is compressed from the start may never leave the point where z says nothing
[CEB2, section 3.1, which anneals rho from 100].

References: [CEB2] Fischer and Alemi 2020, doi:10.3390/e22101081.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from sidle.ceb.objectives import check_rho, multiplier
from sidle.errors import ArgumentError


@dataclass(frozen=True)
class Annealing:
    """rho as a function of the step: from ``start`` to ``end``, then constant.

    Attributes:
        start: rho at step 0; for "multiplier" it may be infinite.
        end: rho from step ``n_steps`` on.
        n_steps: how many steps that takes; 0 begins at the end.
        shape: linear in rho ("rho"), or linear in e^-rho ("multiplier"), which is the weight of Re.

    Raises:
        ArgumentError: a value lies outside its range.
    """

    start: float
    end: float
    n_steps: int
    shape: Literal["rho", "multiplier"] = "rho"

    def __post_init__(self) -> None:
        check_rho("Annealing: start", self.start)
        check_rho("Annealing: end", self.end)
        if self.n_steps < 0:
            raise ArgumentError(f"Annealing: n_steps must be at least 0, got {self.n_steps}.")
        if self.shape not in ("rho", "multiplier"):
            raise ArgumentError(
                f"Annealing: shape must be 'rho' or 'multiplier', got {self.shape!r}."
            )
        if self.shape == "rho" and not (math.isfinite(self.start) and math.isfinite(self.end)):
            raise ArgumentError(
                f"Annealing: a line in rho cannot join {self.start} and {self.end}. Give finite "
                "numbers, or shape='multiplier'."
            )

    def __call__(self, step: int) -> float:
        """Return rho at a step, counted from 0."""
        share = 1.0 if step >= self.n_steps else step / self.n_steps
        if share == 1.0:
            return self.end
        if self.shape == "rho":
            return self.start + share * (self.end - self.start)
        mixed = (1 - share) * multiplier(self.start) + share * multiplier(self.end)
        return -math.log(mixed) if mixed > 0 else math.inf
