"""Scores, loss and the best outputs of a wide layer over all of its outputs, in blocks.

Letters: N = rows, D = features, L = outputs, E = labels of all rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

_BLOCK = 4 * 2**20
"""Scores computed at a time: 16 MB of float32, which is faster than larger blocks, for it stays in
an outer cache, and bounds the memory."""


def scores(hidden_ND: Tensor, weight_LD: Tensor, bias_L: Tensor | None) -> Tensor:
    """Return all scores, float32, (N, L)."""
    return functional.linear(hidden_ND, weight_LD, bias_L)


def row_blocks(n_rows: int, n_outputs: int) -> Iterator[slice]:
    """Return slices of rows such that a block of all scores stays within bounds."""
    size = max(1, _BLOCK // n_outputs)
    for first in range(0, n_rows, size):
        yield slice(first, min(first + size, n_rows))


def mean_loss(
    hidden_ND: Tensor,
    weight_LD: Tensor,
    bias_L: Tensor | None,
    indptr_N: np.ndarray[Any, Any],
    labels_E: np.ndarray[Any, Any],
    objective: str,
) -> Tensor:
    """Return the mean over rows of the objective over all outputs, in nats, float32 scalar."""
    total = torch.zeros((), dtype=torch.float64)
    numbers = np.diff(indptr_N)
    for rows in row_blocks(len(hidden_ND), len(weight_LD)):
        scores_NL = scores(hidden_ND[rows], weight_LD, bias_L)
        first, last = int(indptr_N[rows.start]), int(indptr_N[rows.stop])
        row_E = torch.from_numpy(np.repeat(np.arange(rows.stop - rows.start), numbers[rows]))
        label_E = torch.from_numpy(labels_E[first:last])
        score_E = scores_NL[row_E, label_E].double()
        if objective == "one_versus_all":
            total += functional.softplus(scores_NL).sum(dtype=torch.float64) - score_E.sum()
        else:
            share_E = torch.from_numpy(1.0 / np.repeat(numbers[rows], numbers[rows]))
            total += torch.logsumexp(scores_NL, 1).sum(dtype=torch.float64)
            total -= (share_E * score_E).sum()
    return (total / max(len(hidden_ND), 1)).float()


def top(
    hidden_ND: Tensor, weight_LD: Tensor, bias_L: Tensor | None, k: int
) -> tuple[Tensor, Tensor]:
    """Return the k highest scores and their outputs, both (N, k), best first."""
    values = torch.empty(len(hidden_ND), k)
    indices = torch.empty(len(hidden_ND), k, dtype=torch.int64)
    for rows in row_blocks(len(hidden_ND), len(weight_LD)):
        values[rows], indices[rows] = scores(hidden_ND[rows], weight_LD, bias_L).topk(k, dim=1)
    return values, indices
