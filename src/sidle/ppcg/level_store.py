"""The levels an engine draws from: kept by bin of difficulty, renewed outside of the step.

Policy. Each bin that may come next holds `levels_per_bin` generated levels. A level is drawn with
its bin's weight divided by the number of levels in it. Once `renew_after` episodes have begun,
every level that was played `most_uses` times or more is replaced by a new one of its bin. So with
the default values and a single bin in use, a level is played 1.1 times on average; with many bins
in use, once. What happened is in `statistics`.

A generated level is its difficulty and its seed: the number by which the bank calls it is the
seed, ``generator.generate(difficulty, seed)`` makes it again.
Letters: M = levels, K = levels made at once.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sidle import seeding
from sidle.errors import ArgumentError
from sidle.ppcg.bank import N_BINS, LevelBank
from sidle.ppcg.generators import Generator
from sidle.ppcg.playable import Playable
from sidle.ppcg.vgdl import Level

_LARGEST_SEED = 2**63


class LevelStore:
    """A bank of levels of one game, with a generator to fill it.

    Args:
        playable: the game and its generator.
        seed: names the generated levels.
        levels_per_bin: how many a bin holds, at least 1.
        renew_after: how many episodes begin until levels that were played are replaced.
        most_uses: how often a level may be played before it is replaced.

    Attributes:
        bank: what the engine draws from.
        begun: episodes that began since levels were last renewed.
        rng: what levels are drawn with.

    Raises:
        ArgumentError: a number below 1.
    """

    def __init__(
        self,
        playable: Playable,
        *,
        seed: int,
        levels_per_bin: int = 64,
        renew_after: int = 16,
        most_uses: int = 1,
    ) -> None:
        if min(levels_per_bin, renew_after, most_uses) < 1:
            raise ArgumentError(
                "LevelStore: levels_per_bin, renew_after and most_uses must be at least 1, got "
                f"{levels_per_bin}, {renew_after} and {most_uses}."
            )
        self.playable = playable
        self.levels_per_bin, self.renew_after, self.most_uses = (
            levels_per_bin,
            renew_after,
            most_uses,
        )
        self.rng = seeding.numpy_generator(seeding.split(seed, "ppcg_levels"))
        self.begun = 0
        self._filled = np.zeros(N_BINS, np.int64)
        self._retired = {"levels": 0, "uses": 0}  # replaced levels that were played, and how often
        self._counts = {"generated": 0, "renewals": 0}
        self._seconds = 0.0
        self.bank = self._new_bank()

    @property
    def is_due(self) -> bool:
        """Whether enough episodes began to renew levels."""
        return self.begun >= self.renew_after

    @property
    def statistics(self) -> dict[str, float]:
        """What happened so far.

        ``levels``: in the store; ``generated``; ``renewals``: how often some were replaced;
        ``played``: different levels that were played; ``begun``: episodes; ``reuse``: episodes a
        level, 1 if each was played once; ``seconds``: spent making levels in this process.
        """
        uses = self.bank.uses
        played = self._retired["levels"] + int((uses > 0).sum())
        begun = self._retired["uses"] + int(uses.sum())
        return {
            "levels": len(self.bank),
            "generated": self._counts["generated"],
            "renewals": self._counts["renewals"],
            "played": played,
            "begun": begun,
            "reuse": begun / played if played else 0.0,
            "seconds": self._seconds,
        }

    def add(self, levels: Sequence[Level]) -> npt.NDArray[np.int64]:
        """Append given levels; return their numbers."""
        return self.bank.add(list(levels))

    def generate(
        self, bins_K: npt.NDArray[np.int64], places: npt.NDArray[np.int64] | None = None
    ) -> npt.NDArray[np.int64]:
        """Generate a level for each of ``bins_K``; return their numbers.

        Args:
            bins_K: bins of difficulty, 0 to 100.
            places: the levels they replace; by default they are appended.

        Raises:
            ArgumentError: the game has no generator.
        """
        started = time.perf_counter()
        generator = self._generator()
        difficulties_K = bins_K / (N_BINS - 1)
        seeds_K = self.rng.integers(0, _LARGEST_SEED, size=len(bins_K), dtype=np.int64)
        grids_KHW = np.empty((len(bins_K), *generator.shape), np.uint8)
        generator.fill(difficulties_K, seeds_K.astype(np.uint64), grids_KHW)
        if places is None:
            places = self.bank.add(grids_KHW, difficulties=difficulties_K, ids=seeds_K)
        else:
            uses = self.bank.uses[places]
            self._retired["levels"] += int((uses > 0).sum())
            self._retired["uses"] += int(uses.sum())
            self.bank.replace(places, grids_KHW, difficulties=difficulties_K, ids=seeds_K)
        self._counts["generated"] += len(bins_K)
        self._seconds += time.perf_counter() - started
        return places

    def renew_if_due(self) -> None:
        """Replace the levels that were played by others of their bins, if it is time."""
        if not self.is_due:
            return
        self.begun = 0
        worn = np.flatnonzero(self.bank.uses >= self.most_uses)
        if len(worn):
            self.generate(self.bank.bins()[worn], worn)
            self._counts["renewals"] += 1

    def weigh_bins(self, weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return the weights of levels, (M,), from those of bins, (101,); fill empty bins first.

        Raises:
            ArgumentError: the game has no generator.
        """
        empty = np.flatnonzero((weights > 0) & (self._filled == 0))
        if len(empty):
            self.generate(np.repeat(empty, self.levels_per_bin))
            self._filled[empty] = self.levels_per_bin
        per_level = np.divide(weights, self._filled, where=self._filled > 0, out=np.zeros(N_BINS))
        # Bin -1, of levels without difficulty, finds the zero at the end.
        return np.append(per_level, 0.0)[self.bank.bins()]

    def state_dict(self) -> dict[str, Any]:
        """Return the levels and all counts as a tree."""
        bank = self.bank
        return {
            "characters": bank.characters.copy(),
            "sizes": bank.sizes.copy(),
            "difficulties": bank.difficulties.copy(),
            "ids": bank.ids.copy(),
            "uses": bank.uses.copy(),
            "filled": self._filled.copy(),
            "begun": self.begun,
            "retired": dict(self._retired),
            "counts": dict(self._counts),
            "rng": self.rng.bit_generator.state,
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned; the bank is a new one."""
        self.bank = self._new_bank()
        codes, sizes = state_dict["characters"], state_dict["sizes"]
        difficulties = np.array(state_dict["difficulties"], np.float64)
        ids = np.array(state_dict["ids"], np.int64)
        levels = [
            Level(np.array(grid[:height, :width], np.uint8))
            for grid, (height, width) in zip(codes, np.asarray(sizes).tolist(), strict=True)
        ]
        # The bank takes levels with a difficulty or without; stretches of each are added in turn.
        rated = ~np.isnan(difficulties)
        cuts = [0, *(np.flatnonzero(np.diff(rated)) + 1).tolist(), len(levels)]
        for begin, end in itertools.pairwise(cuts):
            if begin < end:
                self.bank.add(
                    levels[begin:end],
                    difficulties=difficulties[begin:end] if rated[begin] else None,
                    ids=ids[begin:end],
                )
        self.bank.uses[:] = state_dict["uses"]
        self._filled = np.array(state_dict["filled"], np.int64)
        self.begun = int(state_dict["begun"])
        self._retired = {name: int(state_dict["retired"][name]) for name in self._retired}
        self._counts = {name: int(state_dict["counts"][name]) for name in self._counts}
        self.rng.bit_generator.state = state_dict["rng"]

    def _new_bank(self) -> LevelBank:
        height, width = self.playable.shape
        return LevelBank(self.playable.game, height=height, width=width)

    def _generator(self) -> Generator:
        generator = self.playable.generator
        if generator is None:
            raise ArgumentError(
                f"{self.playable.game.name}: levels are generated after levels with walls, of 3 to "
                "64 cells a side. Put walls around those made by hand, or give levels instead."
            )
        return generator
