"""The pool of outputs that one mini-batch is scored against.

A pool has three parts, none twice: the labels of the batch; outputs that the hash tables return for
its rows, the best of every row first; and a tail drawn uniformly without replacement from all
others. Each output of the tail stands for all that were not drawn: its weight is the inverse of its
probability to be drawn (Horvitz & Thompson 1952), so that

    Z_hat = sum over labels and found of e^s + (left / drawn) * sum over the tail of e^s

is an unbiased estimate of the partition function, whatever the tables returned. log Z_hat is not
unbiased: by Jensen's inequality it lies below log Z on average.
Letters: L = outputs, M = pool, E = labels of all rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from sidle import seeding
from sidle.slide.kernels import sampling as kernels

_Array = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False)
class Pool:
    """The outputs of one mini-batch.

    Attributes:
        outputs: int64, (M,), none twice: labels, then found by hashing, then the tail.
        n_labels: how many are labels.
        n_found: how many the tables returned.
        log_weight: float32, (M,): log of what each stands for, 0 outside the tail.
        label_places: int64, (E,): where each label lies in ``outputs``.
    """

    outputs: _Array
    n_labels: int
    n_found: int
    log_weight: _Array
    label_places: _Array

    def __len__(self) -> int:
        return len(self.outputs)

    @property
    def n_tail(self) -> int:
        """How many were drawn uniformly."""
        return len(self) - self.n_labels - self.n_found


class PoolSampler:
    """Makes pools; holds the scratch memory that this takes.

    Args:
        n_outputs: L.
        seed: of the tail.
    """

    def __init__(self, n_outputs: int, seed: int) -> None:
        self._n_outputs, self._seed = n_outputs, seed
        self._place = np.full(n_outputs, -1, np.int32)

    def everything(self, labels_E: _Array) -> Pool:
        """Return the pool of all outputs, in their order."""
        n = self._n_outputs
        return Pool(np.arange(n), 0, n, np.zeros(n, np.float32), labels_E)

    def draw(
        self,
        labels_E: _Array,
        candidates: int,
        step: int,
        found: tuple[_Array, _Array] | None = None,
        most_found: int = 0,
    ) -> Pool:
        """Return the pool of labels and ``candidates`` others.

        Args:
            labels_E: int64.
            candidates: how many others; if fewer than twice as many outputs are left, the pool
                takes in all outputs.
            step: number of the draw: the tail depends on seed and step alone.
            found: what the tables returned for each row, best first (N, C), and how many (N,).
            most_found: how many of the candidates may come from ``found``.
        """
        room = min(self._n_outputs, len(labels_E) + 2 * candidates)
        outputs, places = np.empty(room, np.int64), np.empty(len(labels_E), np.int64)
        n_labels = n = kernels.add_labels(labels_E, self._place, outputs, places)
        if found is not None:
            n = kernels.add_found(*found, most_found, self._place, outputs, n)
        n_found = n - n_labels
        n_tail, left = candidates - n_found, self._n_outputs - n
        if left <= 2 * n_tail:
            outputs = np.concatenate([outputs[:n], np.empty(left, np.int64)])
            size = kernels.add_rest(self._place, outputs, n)
        else:
            seed = np.uint64(seeding.split(self._seed, "tail", step))
            size = kernels.add_uniform(seed, n_tail, self._place, outputs, n)
        kernels.forget(outputs, size, self._place)
        log_weight = np.zeros(size, np.float32)
        if size > n:
            log_weight[n:] = math.log(left / (size - n))
        return Pool(outputs[:size], n_labels, n_found, log_weight, places)
