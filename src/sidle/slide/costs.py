"""What a training step costs on this machine, dense and sampled, and where sampling begins to pay.

Seconds of a step, from constants that are measured once in a process (some tenths of a second):

    dense        N L (6 D p + s) + L D u
    per batch    N M (6 D p + s) + M D (u + c),    M = candidates + distinct labels
    per sample   N A (D r + g) + U D u,            A = candidates + labels of a row

p: seconds per flop of a matrix product in the precision used; s: of softmax and its gradient per
score; u: of the optimiser's update per weight in scattered rows; c: of gathering a weight; r: of
the dot product and the sum of gradients per weight of an active set; g: of drawing, sorting by row
and summing per active output; U: outputs touched, taken as all those of the sets. Labels are taken
as distinct, which overstates M a little. The model knows nothing of caches that a large N L falls
out of, so that dense costs somewhat more than it says for very many outputs.
Letters: N = rows of a batch, D = features, L = outputs, M = pool, A = active set, E = labels.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from sidle.errors import ArgumentError
from sidle.slide.grouping import Grouper
from sidle.slide.per_sample import PerSamplePass, SetSampler
from sidle.slide.pooled import PooledPass
from sidle.slide.pools import PoolSampler
from sidle.slide.row_updates import RowOptimizer, RowUpdates

SAMPLINGS = ("per_batch", "per_sample")
CANDIDATES = {"per_batch": 4096, "per_sample": 1024}
"""Candidates beside the labels where the user does not say."""
PRECISIONS = ("auto", "float32", "bfloat16")

_N, _D, _M, _L = 128, 64, 2048, 32_768  # sizes that constants are measured at
_REPEATS = 3
_FASTER = 1.5  # times that bfloat16 products must be faster, for their roundings to be worth it


@dataclass(frozen=True)
class Costs:
    """Constants of one precision, in seconds; see the module's formulas.

    Attributes:
        product: p, per flop.
        softmax: s, per score.
        update: u, per weight.
        gather: c, per weight.
        row: r, per weight of an active set.
        set: g, per output of an active set.
    """

    product: float
    softmax: float
    update: float
    gather: float
    row: float
    set: float

    def dense(self, n: int, d: int, n_outputs: int) -> float:
        """Return the seconds of a dense step."""
        return n_outputs * self._per_output(n, d)

    def sampled(self, n: int, d: int, active: int, sampling: str) -> float:
        """Return the seconds of a sampled step.

        Args:
            n: N.
            d: D.
            active: outputs of the pool, or of all active sets together.
            sampling: "per_batch" or "per_sample".
        """
        if sampling == "per_sample":
            return active * (d * (self.row + self.update) + self.set)
        return active * (self._per_output(n, d) + d * self.gather)

    def _per_output(self, n: int, d: int) -> float:
        return n * (6 * d * self.product + self.softmax) + d * self.update


def crossover(
    in_features: int,
    *,
    batch: int = 512,
    candidates: int | None = None,
    labels_per_row: float = 1.0,
    sampling: str = "per_batch",
    precision: str = "auto",
) -> int:
    """Return how many outputs a layer needs on this machine for a sampled step to be faster.

    Below it a dense step is faster, and exact. It says nothing about what a step achieves.

    Args:
        in_features: D.
        batch: N.
        candidates: as `WideSoftmax` has it.
        labels_per_row: mean number.
        sampling: "per_batch" or "per_sample".
        precision: "float32", "bfloat16" or "auto".

    Raises:
        ArgumentError: a value out of its range.
    """
    if min(in_features, batch) < 1 or labels_per_row < 0 or sampling not in SAMPLINGS:
        raise ArgumentError(
            "crossover: in_features and batch must be at least 1, labels_per_row at least 0 and "
            f"sampling one of {SAMPLINGS}, got {in_features}, {batch}, {labels_per_row} and "
            f"{sampling!r}."
        )
    own = CANDIDATES[sampling] if candidates is None else candidates
    costs = measured(dtype_of(precision))
    n_labels = math.ceil(batch * labels_per_row)
    active = batch * own + n_labels if sampling == "per_sample" else own + n_labels
    seconds = costs.sampled(batch, in_features, active, sampling)
    return math.ceil(seconds / costs.dense(batch, in_features, 1))


def choose(
    in_features: int,
    out_features: int,
    batch: int,
    n_labels: int,
    candidates: int,
    sampling: str,
    dtype: torch.dtype,
) -> str:
    """Return "dense" or "sampled", whichever takes less time for a step of ``batch`` rows."""
    costs = measured(dtype)
    active = batch * candidates + n_labels if sampling == "per_sample" else candidates + n_labels
    if sampling == "per_batch" and active >= out_features:
        return "dense"
    sampled = costs.sampled(batch, in_features, active, sampling)
    return "dense" if costs.dense(batch, in_features, out_features) <= sampled else "sampled"


def dtype_of(precision: str) -> torch.dtype:
    """Return the number format of ``precision``; "auto" asks the machine.

    Raises:
        ArgumentError: not one of `PRECISIONS`.
    """
    if precision not in PRECISIONS:
        raise ArgumentError(f"precision must be one of {PRECISIONS}, got {precision!r}.")
    if precision == "auto":
        return torch.bfloat16 if has_fast_bfloat16() else torch.float32
    return torch.bfloat16 if precision == "bfloat16" else torch.float32


@functools.cache
def has_fast_bfloat16() -> bool:
    """Return whether products of bfloat16 are much faster here than those of float32."""
    return _product(torch.bfloat16) * _FASTER < _product(torch.float32)


@functools.cache
def _product(dtype: torch.dtype) -> float:
    """Return the seconds per flop of a matrix product."""
    left, right = torch.ones(_N, _D, dtype=dtype), torch.ones(_M, _D, dtype=dtype)
    return _seconds(lambda: left @ right.T) / (2 * _N * _M * _D)


@functools.cache
def measured(dtype: torch.dtype) -> Costs:
    """Return the constants of this machine, one thread."""
    product = _product(dtype)
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(_L, _D, generator=generator)
    hidden = torch.randn(_N, _D, generator=generator)
    updates, grouper = RowUpdates(weight, RowOptimizer()), Grouper(_L)
    label_starts, labels = np.arange(_N + 1), np.arange(_N)
    pool = PoolSampler(_L, 0).draw(labels, _M - _N, 0)
    steps = iter(range(1, 100))

    def pooled() -> PooledPass:
        return PooledPass(weight, None, hidden, label_starts, pool, "softmax", dtype, 1)

    def rows() -> None:
        updates.update(weight, pool.outputs, gradient, scale=1.0, step=next(steps), lr=0.0)

    sampler, candidates = SetSampler(_L, 0, 1), 256

    def sets() -> PerSamplePass:
        drawn = sampler.draw(label_starts, labels, candidates, 0)
        return PerSamplePass(weight, None, hidden, drawn, "softmax", grouper, 1)

    gradient = np.zeros((_M, _D), np.float32)
    gathered = torch.empty(_M, _D)
    outputs = torch.from_numpy(pool.outputs)
    gather = _seconds(lambda: torch.index_select(weight, 0, outputs, out=gathered)) / (_M * _D)
    forward = _seconds(pooled) - 2 * _N * _M * _D * product - _M * _D * gather
    update = _seconds(rows) / (_M * _D)
    active = _N * (candidates + 1)
    per_output = _seconds(sets) / active
    grouping = _seconds(sets().gradients) / active  # sorts, and sums all gradients once
    return Costs(
        product=product,
        softmax=max(forward, 0.0) / (_N * _M),
        update=update,
        gather=gather,
        row=per_output / _D,
        set=grouping,
    )


def _seconds(work: Callable[[], object]) -> float:
    """Return the least time that ``work`` takes, once it is compiled and warm."""
    work()
    least = math.inf
    for _ in range(_REPEATS):
        started = time.perf_counter()
        work()
        least = min(least, time.perf_counter() - started)
    return least
