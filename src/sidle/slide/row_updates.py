"""Optimisers that update only the rows of a matrix that a batch touched.

A `RowUpdates` belongs to one matrix (R, D) and holds what its optimiser remembers. Adam's moments
decay over the steps in which a row was not touched exactly as they would have; the little that
dense Adam would have moved the row meanwhile is dropped (see `kernels.rows`). If every row is
touched in every step, the result is dense Adam's.
Letters: R = rows of the matrix, D = columns, M = touched rows.
References: Adam: Kingma & Ba 2015, arXiv:1412.6980, algorithm 1; Adagrad: Duchi, Hazan & Singer
2011, JMLR 12, figure 1 (diagonal); row-wise, one second moment a row, the mean of the squares of
its gradient: Naumov et al. 2019, arXiv:1906.00091 (DLRM).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sidle.errors import ArgumentError, CheckpointError
from sidle.slide.kernels import embedding as grouped
from sidle.slide.kernels import rows as kernels
from sidle.slide.threads import spread

OPTIMIZERS = ("adam", "adagrad", "rowwise_adagrad", "sgd")
# Adam's defaults. A first moment would have to be dropped wherever a row is not touched, and costs
# a third of the memory; without it P@1 is higher on rare labels (docs/slide-engine.md).
BETAS = (0.0, 0.999)


@dataclass(frozen=True)
class RowOptimizer:
    """Which optimiser, and its constants.

    Attributes:
        name: one of `OPTIMIZERS`.
        betas: decay of Adam's moments per step, each in [0, 1).
        eps: added to the root of the second moment, above 0.

    Raises:
        ArgumentError: a value out of its range.
    """

    name: str = "adam"
    betas: tuple[float, float] = BETAS
    eps: float = 1e-8

    def __post_init__(self) -> None:
        if self.name not in OPTIMIZERS:
            raise ArgumentError(
                f"optimizer must be one of {', '.join(OPTIMIZERS)} or None, got {self.name!r}."
            )
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ArgumentError(f"betas must be in [0, 1), got {self.betas}.")
        if not self.eps > 0:
            raise ArgumentError(f"eps must be above 0, got {self.eps}.")

    def row_bytes(self, columns: int) -> int:
        """Return the bytes that it remembers of a row."""
        last = 4 if self.name == "adam" else 0
        return 4 * len(self.moments) * self.moment_columns(columns) + last

    def moment_columns(self, columns: int) -> int:
        """Return how many numbers a row of a moment has."""
        return 1 if self.name == "rowwise_adagrad" else columns

    @property
    def moments(self) -> tuple[str, ...]:
        """Names of the matrices it remembers; Adam with a first beta of 0 has no mean."""
        adam = ("mean", "square") if self.betas[0] > 0 else ("square",)
        return adam if self.name == "adam" else () if self.name == "sgd" else ("square",)


class RowUpdates:
    """The optimiser of one matrix.

    Args:
        weight: float32, (R, D), contiguous, on the CPU; updated in place.
        optimizer: which one.
    """

    def __init__(self, weight: Tensor, optimizer: RowOptimizer) -> None:
        self.optimizer = optimizer
        self._names = optimizer.moments
        # Zeros that calloc promises cost no memory until a row is touched.
        shape = len(weight), optimizer.moment_columns(weight.shape[1])
        self.moments = [np.zeros(shape, np.float32) for _ in self._names]
        self.last = np.zeros(len(weight) if optimizer.name == "adam" else 0, np.int32)

    def update(
        self,
        weight: Tensor,
        rows_M: np.ndarray[Any, Any],
        gradient_MD: np.ndarray[Any, Any],
        *,
        scale: float,
        step: int,
        lr: float,
        threads: int = 1,
    ) -> None:
        """Move ``weight[rows_M]`` against ``scale * gradient_MD``.

        Args:
            weight: the matrix that this object was made for.
            rows_M: int64, none twice.
            gradient_MD: float32, or the bits of bfloat16 as uint16.
            scale: factor of the gradient.
            step: number of this update, from 1; larger than at the call before.
            lr: learning rate.
            threads: how many share the work; the result does not depend on it.
        """
        w = weight.detach().numpy()
        name, n = self.optimizer.name, len(rows_M)
        if name == "adam" and len(self.moments) == 1:
            spread(
                kernels.adam_without_mean, w, *self.moments, self.last, rows_M, gradient_MD,
                scale, step, lr, self.optimizer.betas[1], self.optimizer.eps,
                items=n, threads=threads,
            )  # fmt: skip
        elif name == "adam":
            spread(
                kernels.adam, w, *self.moments, self.last, rows_M, gradient_MD,
                scale, step, lr, *self.optimizer.betas, self.optimizer.eps,
                items=n, threads=threads,
            )  # fmt: skip
        elif name.endswith("adagrad"):
            kernel = kernels.adagrad if name == "adagrad" else kernels.rowwise_adagrad
            spread(
                kernel, w, *self.moments, rows_M, gradient_MD,
                scale, lr, self.optimizer.eps,
                items=n, threads=threads,
            )  # fmt: skip
        else:
            spread(kernels.sgd, w, rows_M, gradient_MD, scale, lr, items=n, threads=threads)

    def update_grouped(
        self,
        weight: Tensor,
        starts: np.ndarray[Any, Any],
        samples: np.ndarray[Any, Any],
        values: np.ndarray[Any, Any],
        source_ND: np.ndarray[Any, Any],
        rows_U: np.ndarray[Any, Any],
        *,
        step: int,
        lr: float,
        threads: int = 1,
    ) -> None:
        """Move rows whose gradients are sums of value * source, summed in registers.

        Args:
            weight: the matrix that this object was made for.
            starts: (U + 1,), where each row's entries begin, and the end.
            samples: row of ``source_ND`` of each entry.
            values: factor of each entry.
            source_ND: float32, (N, D).
            rows_U: int64, (U,), none twice.
            step: number of this update, from 1; not smaller than at the call before.
            lr: learning rate.
            threads: how many share the work; the result does not depend on it.
        """
        w, rule = weight.detach().numpy(), self.optimizer
        given = (starts, samples, values, source_ND, rows_U, w, *self.moments)
        work: dict[str, Any] = {"items": len(rows_U), "threads": threads}
        if rule.name == "adam" and len(self.moments) == 1:
            constants = (step, lr, rule.betas[1], rule.eps)
            spread(grouped.adam_without_mean, *given, self.last, *constants, **work)
        elif rule.name == "adam":
            spread(grouped.adam, *given, self.last, step, lr, *rule.betas, rule.eps, **work)
        elif rule.name.endswith("adagrad"):
            kernel = grouped.adagrad if rule.name == "adagrad" else grouped.rowwise_adagrad
            spread(kernel, *given, lr, rule.eps, **work)
        else:
            spread(grouped.sgd, *given, lr, **work)

    def state(self, prefix: str) -> dict[str, Tensor]:
        """Return what is remembered, by name; the tensors share memory with this object."""
        named: dict[str, np.ndarray[Any, Any]] = {
            f"{prefix}.{name}": m for name, m in zip(self._names, self.moments, strict=True)
        }
        if self.last.size:
            named[f"{prefix}.last"] = self.last
        return {name: torch.from_numpy(array) for name, array in named.items()}

    def load(self, prefix: str, state: Mapping[str, Any]) -> None:
        """Take over what `state` returned.

        Raises:
            CheckpointError: something is missing or has another shape.
        """
        for name, own in self.state(prefix).items():
            found = state.get(name)
            if not isinstance(found, Tensor) or found.shape != own.shape:
                raise CheckpointError(
                    f"load_training_state: expected {name!r} of shape {tuple(own.shape)}, got "
                    f"{'nothing' if found is None else tuple(getattr(found, 'shape', ()))}. Load "
                    "the state of a layer of the same size and optimizer."
                )
            own.copy_(found)


def check_rate(lr: float, where: str) -> None:
    """Refuse a learning rate that is negative or no number.

    Raises:
        ArgumentError: so.
    """
    if not (isinstance(lr, (int, float)) and math.isfinite(lr) and lr >= 0):
        raise ArgumentError(f"{where}: lr must be a finite number of at least 0, got {lr!r}.")
