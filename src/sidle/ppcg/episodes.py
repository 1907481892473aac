"""The episodes that ended in an engine since somebody asked."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sidle.ppcg.bank import LevelBank
from sidle.ppcg.kernels import stepping

EPISODE = np.dtype(
    [
        ("slot", np.int64),
        ("level", np.int64),
        ("id", np.int64),
        ("difficulty", np.float64),
        ("won", np.bool_),
        ("score", np.int64),
        ("length", np.int64),
    ]
)
"""A finished episode: slot, index in the bank (-1: placed by hand), the level's id and
difficulty when the log was read (-1 and NaN without a bank), outcome, ticks played."""

_COLUMNS = (
    ("slot", stepping.L_SLOT),
    ("level", stepping.L_LEVEL),
    ("won", stepping.L_WON),
    ("score", stepping.L_SCORE),
    ("length", stepping.L_LENGTH),
)


class EpisodeLog:
    """A log that a step of ``n`` slots can write to without asking for memory.

    Attributes:
        rows: int64 (E, 5), written by the kernel from row `filled` on.
        filled: rows that hold an episode.
    """

    def __init__(self, n: int) -> None:
        self._n = n
        self.rows = np.zeros((4 * n, stepping.LOG_COLUMNS), np.int64)
        self.filled = 0

    def make_room(self) -> None:
        """Make sure that every slot can log an episode more."""
        if self.filled + self._n > len(self.rows):
            self.rows = np.concatenate([self.rows, np.zeros_like(self.rows)])

    def take(self) -> npt.NDArray[np.int64]:
        """Return the rows and forget them; a view, overwritten by the next step."""
        taken = self.rows[: self.filled]
        self.filled = 0
        return taken


def described(rows: npt.NDArray[np.int64], bank: LevelBank | None) -> npt.NDArray[np.void]:
    """Return rows of a log as an array of dtype `EPISODE`, with what the bank says of levels."""
    made = np.zeros(len(rows), EPISODE)
    for name, column in _COLUMNS:
        made[name] = rows[:, column]
    made["id"], made["difficulty"] = -1, np.nan
    known = made["level"] >= 0
    if bank is not None and known.any():
        made["id"][known] = bank.ids[made["level"][known]]
        made["difficulty"][known] = bank.difficulties[made["level"][known]]
    return made
