"""One pass in which each sample has its own active set, as in SLIDE ([S], section 3).

A set is the labels of the sample, what the hash tables return for its hidden row, and a uniform
tail that fills what they leave; the tail is weighted as in `pools`, so that the estimate of each
sample's partition function is unbiased as long as the set has a tail.
Letters: N = samples, D = features, L = outputs, A = outputs of all sets, E = labels of all rows.
Reference: [S] Chen et al. 2020, arXiv:1903.03129.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sidle import seeding
from sidle.slide.grouping import Grouper
from sidle.slide.kernels import per_sample as kernels
from sidle.slide.row_updates import RowUpdates
from sidle.slide.threads import spread

_Array = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False)
class ActiveSets:
    """The outputs of every sample.

    Attributes:
        indptr: int64, (N + 1,): where each set begins, and the end.
        outputs: int32, (A,): labels, found by hashing, tail.
        n_labels: int64, (N,).
        n_hashed: int64, (N,): how many the tables returned.
        log_weight: float64, (N,): log of what an output of the tail stands for.
    """

    indptr: _Array
    outputs: _Array
    n_labels: _Array
    n_hashed: _Array
    log_weight: _Array


class SetSampler:
    """Draws active sets; holds the scratch memory that this takes.

    Args:
        n_outputs: L.
        seed: of the tails.
        threads: how many share the work; results do not depend on it.
    """

    def __init__(self, n_outputs: int, seed: int, threads: int) -> None:
        self._n_outputs, self._seed, self._threads = n_outputs, seed, threads
        self._marks: list[tuple[_Array]] = []

    def draw(
        self,
        label_indptr_N: _Array,
        labels_E: _Array,
        candidates: int,
        step: int,
        found: tuple[_Array, _Array] | None = None,
        most_found: int = 0,
    ) -> ActiveSets:
        """Return sets of the labels and ``candidates`` other outputs each, or all there are.

        Args:
            label_indptr_N: where each sample's labels begin, and the end.
            labels_E: int64, none twice in a sample.
            candidates: outputs beside the labels.
            step: number of the draw: the tails depend on seed, step and sample alone.
            found: outputs that the tables returned (N, C), and their numbers (N,).
            most_found: how many of the candidates may come from ``found``.
        """
        if not self._marks:
            self._marks = [(np.zeros(self._n_outputs, np.uint8),) for _ in range(self._threads)]
        n_labels_N = np.diff(label_indptr_N)
        n = len(n_labels_N)
        sizes_N = np.minimum(n_labels_N + candidates, self._n_outputs)
        indptr_N = np.concatenate([[0], np.cumsum(sizes_N)])
        sets = ActiveSets(
            indptr_N, np.empty(indptr_N[-1], np.int32), n_labels_N, np.zeros(n, np.int64),
            np.zeros(n),
        )  # fmt: skip
        items_NC, numbers_N = found or (np.empty((n, 0), np.int32), np.zeros(n, np.int64))
        spread(
            kernels.draw, label_indptr_N, labels_E, items_NC, numbers_N, most_found, indptr_N,
            np.uint64(seeding.split(self._seed, "tails", step)), sets.outputs, sets.n_hashed,
            sets.log_weight, items=n, threads=self._threads, least=8, of_part=self._marks,
        )  # fmt: skip
        return sets


class PerSamplePass:
    """What forward computes, and backward needs; float32 throughout.

    Args:
        weight: (L, D).
        bias: (L,) or None.
        hidden_ND: float32.
        sets: the active sets.
        objective: see `WideSoftmax`.
        grouper: for the updates; its parts say whether they are deterministic.
        threads: how many share the work.

    Attributes:
        loss: mean over samples, nats; NaN where scores are NaN or infinite.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        hidden_ND: Tensor,
        sets: ActiveSets,
        objective: str,
        grouper: Grouper,
        threads: int,
    ) -> None:
        self._sets, self._hidden_ND, self._grouper = sets, hidden_ND.numpy(), grouper
        self._threads = threads
        bias_L = np.zeros(len(weight), np.float32) if bias is None else bias.detach().numpy()
        self._gradient_A = np.empty(len(sets.outputs), np.float32)
        self._hidden_gradient_ND = torch.empty_like(hidden_ND)
        loss_N = np.empty(len(hidden_ND))
        kernel = kernels.one_versus_all if objective == "one_versus_all" else kernels.softmax
        spread(
            kernel, self._hidden_ND, weight.detach().numpy(), bias_L, sets.indptr, sets.outputs,
            sets.n_labels, sets.n_hashed, sets.log_weight, 1 / len(loss_N), self._gradient_A,
            self._hidden_gradient_ND.numpy(), loss_N,
            items=len(loss_N), threads=threads, least=4,
        )  # fmt: skip
        self.loss = float(loss_N.mean())

    def hidden_gradient(self) -> Tensor:
        """Return d loss / d hidden, float32, (N, D)."""
        return self._hidden_gradient_ND

    def gradients(self) -> tuple[_Array, Tensor, Tensor]:
        """Return the rows touched, int64 (U,), their gradients (U, D), and their biases' (U,)."""
        sets = self._sets
        grouped = self._grouper.group(sets.indptr, sets.outputs, self._gradient_A)
        gradient_UD = grouped.gradient(self._hidden_ND, self._threads)
        return grouped.rows, gradient_UD, torch.from_numpy(grouped.sums())

    def update(
        self,
        weight: Tensor,
        updates: RowUpdates,
        bias: tuple[Tensor, RowUpdates] | None,
        *,
        scale: float,
        step: int,
        lr: float,
    ) -> list[_Array]:
        """Move the rows of all sets; return which they are, part by part."""
        values_A = self._gradient_A if scale == 1 else self._gradient_A * np.float32(scale)
        grouped = self._grouper.update(
            weight, updates, bias, (self._sets.indptr, self._sets.outputs, values_A),
            self._hidden_ND, step=step, lr=lr, threads=self._threads,
        )  # fmt: skip
        return [part.rows for part in grouped]
