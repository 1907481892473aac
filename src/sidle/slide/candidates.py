"""Hash tables over the outputs of a layer, kept up to date while it trains.

An output is its weight row with its bias beside it, a query a hidden row with a 1 beside it, so
that their product is the score. From all outputs their mean is taken away: that adds one number to
all scores of a query, so that the ranking stays, and spreads the outputs over the buckets, which
hidden rows of one sign would otherwise crowd. SimHash then finds outputs by angle, not by product:
those of long rows are found somewhat too rarely ([S], appendix; [N]).
Letters: N = rows, D = features, L = outputs, C = candidates, K = best outputs.
References: [S] Chen et al. 2020, arXiv:1903.03129; [N] Neyshabur & Srebro 2015, arXiv:1410.5518.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sidle.errors import CheckpointError
from sidle.slide.hashing import make_family
from sidle.slide.rebuilds import RebuildSchedule
from sidle.slide.tables import HashTables, Scratch

_ITEMS_PER_BUCKET = 16  # aimed at where the number of digits is left open
_SAMPLED = 1024  # outputs whose codes the drift schedule looks at
_Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Hashing:
    """Settings of the hash tables of a layer.

    Attributes:
        family: one of `sidle.slide.hashing.FAMILIES`.
        n_digits: K, digits of a bucket; None: so many that a bucket holds about 16 outputs.
        n_tables: tables.
        bucket_size: most outputs of a bucket.
        policy: what full buckets keep, "reservoir" or "fifo".
        rebuild: when tables are brought up to date: "fixed", "exponential", "drift" or "never".
        every: steps between updates (of "exponential": the first two) or between looks at drift.
        growth: of the gaps of "exponential".
        threshold: share of codes that may be out of date under "drift".
    """

    family: str = "simhash"
    n_digits: int | None = None
    n_tables: int = 24
    bucket_size: int = 128
    policy: str = "reservoir"
    rebuild: str = "exponential"
    every: int = 50
    growth: float = 0.1
    threshold: float = 0.1

    def digits(self, n_outputs: int) -> int:
        """Return K for ``n_outputs``."""
        if self.n_digits is not None:
            return self.n_digits
        bits = max(1, round(math.log2(max(n_outputs / _ITEMS_PER_BUCKET, 2))))
        per_digit = {"wta": 3, "dwta": 3, "minhash": 4}.get(self.family, 1)
        return max(1, round(bits / per_digit))


class _Vectors:
    """Rows (w, b) - mean of a layer; slices and index arrays give tensors."""

    def __init__(self, weight: Tensor, bias: Tensor | None, mean: Tensor) -> None:
        self._weight, self._bias, self._mean = weight.detach(), bias, mean
        self.shape = (len(weight), len(mean))

    def __getitem__(self, rows: Any) -> Tensor:
        vectors = self._weight[rows]
        if self._bias is not None:
            vectors = torch.cat([vectors, self._bias.detach()[rows].unsqueeze(1)], dim=1)
        return vectors - self._mean


class OutputIndex:
    """Finds outputs of high score.

    Args:
        weight: (L, D), the layer's own.
        bias: (L,) or None.
        hashing: settings.
        seed: of hash functions and reservoirs.
        threads: how many share the work; results do not depend on it.

    Attributes:
        rebuilds: how often the tables were brought up to date after they were built.
        seconds: spent in building and updating.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor | None, hashing: Hashing, seed: int, threads: int
    ) -> None:
        self.hashing, self.threads = hashing, threads
        self._weight, self._bias = weight, bias
        self._schedule = RebuildSchedule(
            hashing.rebuild, hashing.every, hashing.growth, hashing.threshold
        )
        n_outputs, width = weight.shape[0], weight.shape[1] + (bias is not None)
        family = make_family(
            hashing.family, width, n_digits=hashing.digits(n_outputs),
            n_tables=hashing.n_tables, seed=seed,
        )  # fmt: skip
        self._mean = torch.zeros(width)
        self.tables = HashTables(
            family, n_outputs, bucket_size=hashing.bucket_size, policy=hashing.policy, seed=seed,
            threads=threads,
        )  # fmt: skip
        self._touched = np.zeros(n_outputs, np.bool_)
        self._scratch: list[Scratch] = []
        self._built_at = -1  # step; -1: not yet
        self._seen: tuple[int, ...] = ()
        self.rebuilds, self.seconds = 0, 0.0

    @property
    def built(self) -> bool:
        """Whether the tables were ever built."""
        return self._built_at >= 0

    def note(self, rows_M: _Array) -> None:
        """Remember that these outputs' weights moved."""
        self._touched[rows_M] = True

    def refresh(self, step: int) -> None:
        """Build the tables, or bring them up to date if the schedule says so."""
        if not self.built:
            self._build(step)
        elif step > self._built_at and self._schedule.due(
            step - self._built_at, self.rebuilds, self._drift
        ):
            self._update(step)
            self.rebuilds += 1

    def catch_up(self, step: int) -> None:
        """Make the tables those of the weights as they are now."""
        if not self.built or self._versions() != self._seen:
            self._build(step)
        elif self._touched.any():
            self._update(step)

    def find(self, hidden_ND: Tensor, most: int) -> tuple[_Array, _Array]:
        """Return for each row up to ``most`` outputs, most hit first: (N, C) and numbers (N,)."""
        return self.tables.query(self._queries(hidden_ND), most, self._scratches())

    def state(self) -> dict[str, Any]:
        """Return what later steps depend on, by name; tensors share memory."""
        if not self.built:
            return {"built_at": self._built_at}
        own = {f"tables.{name}": value for name, value in self.tables.state().items()}
        return own | {
            "built_at": self._built_at, "rebuilds": self.rebuilds, "mean": self._mean,
            "touched": torch.from_numpy(self._touched),
        }  # fmt: skip

    def load(self, state: Mapping[str, Any]) -> None:
        """Take over what `state` returned.

        Raises:
            CheckpointError: it does not fit.
        """
        self._built_at = int(state.get("built_at", -1))
        if not self.built:
            return
        mean, touched = state.get("mean"), state.get("touched")
        if not isinstance(mean, Tensor) or mean.shape != self._mean.shape or touched is None:
            raise CheckpointError(
                "load_training_state: the hash tables' state does not fit. Load the state of a "
                "layer of the same size and hashing."
            )
        prefix = "tables."
        self.tables.load({k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)})
        self._mean, self.rebuilds = mean.clone(), int(state["rebuilds"])
        self._touched[:] = np.asarray(touched)
        self._seen = self._versions()

    def _queries(self, hidden_ND: Tensor) -> Tensor:
        if self._bias is None:
            return hidden_ND
        return torch.cat([hidden_ND, hidden_ND.new_ones(len(hidden_ND), 1)], dim=1)

    def _vectors(self) -> _Vectors:
        return _Vectors(self._weight, self._bias, self._mean)

    def _build(self, step: int) -> None:
        started = time.perf_counter()
        self._mean[: self._weight.shape[1]] = self._weight.detach().mean(dim=0)
        if self._bias is not None:
            self._mean[-1] = self._bias.detach().mean()
        self.tables.build(self._vectors())
        self._done(step, started)

    def _update(self, step: int) -> None:
        """Re-insert what moved; where that is most of all, build anew, which is faster then."""
        moved = np.flatnonzero(self._touched)
        if 2 * len(moved) > len(self._touched):
            self._build(step)
            return
        started = time.perf_counter()
        self.tables.update(moved, self._vectors()[torch.from_numpy(moved)])
        self._done(step, started)

    def _done(self, step: int, started: float) -> None:
        self._touched[:] = False
        self._built_at, self._seen = step, self._versions()
        self.seconds += time.perf_counter() - started

    def _versions(self) -> tuple[int, ...]:
        """Return what tells that PyTorch changed the parameters, which kernels do not count."""
        parameters = [p for p in (self._weight, self._bias) if p is not None]
        return tuple(n for p in parameters for n in (p._version, p.data_ptr()))

    def _drift(self) -> float:
        started = time.perf_counter()
        some = np.linspace(0, len(self._touched) - 1, min(_SAMPLED, len(self._touched)))
        rows = np.unique(some.astype(np.int64))
        share = self.tables.out_of_date(rows, self._vectors()[torch.from_numpy(rows)])
        self.seconds += time.perf_counter() - started
        return share

    def _scratches(self) -> list[Scratch]:
        if not self._scratch:
            self._scratch = [Scratch(len(self._touched)) for _ in range(self.threads)]
        return self._scratch
