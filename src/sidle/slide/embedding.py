"""`SparseEmbedding`: the input layer for rows with few entries among very many features.

out_n = sum over entries (f, x) of row n of x W_f, plus a bias if there is one: what
``nn.EmbeddingBag(mode="sum")`` computes with per-sample weights. The matrix is stored input-major
(a feature's weights side by side), a step reads and writes only rows of features that occur in the
batch, and the backward pass updates each of them once, while its gradient is in registers.
Letters: N = rows, F = features, D = dim, E = entries of all rows, U = features in the batch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from sidle import seeding
from sidle.errors import ArgumentError, NonFiniteError, ShapeError
from sidle.slide.fused import FusedLayer, row_sparse
from sidle.slide.grouping import Grouper
from sidle.slide.kernels import embedding as kernels
from sidle.slide.row_updates import BETAS, RowOptimizer, RowUpdates
from sidle.slide.sparse_rows import SparseRows, checked, read_rows
from sidle.slide.threads import spread

_NAME = "SparseEmbedding"
_Array = np.ndarray[Any, Any]


class SparseEmbedding(FusedLayer):
    """Sums of weight rows, with updates of the touched rows inside ``backward()``.

    Training with an optimizer: each forward in training mode must be followed by its backward,
    which updates the rows once; a second forward before raises. Under ``torch.no_grad()`` or in
    evaluation mode forward remembers nothing. With ``optimizer=None`` gradients are sparse tensors
    for the optimizer of your choice (``torch.optim.SparseAdam``).

    Args:
        num_features: F, at least 1.
        dim: D, at least 1.
        optimizer: "adam", "adagrad", "rowwise_adagrad" (one second moment a row), "sgd" or None.
        lr: learning rate; the attribute ``lr`` may be set between steps.
        betas: Adam's.
        eps: Adam's and Adagrad's.
        bias: whether a vector (D,) is added to every row.
        seed: of the initial weights, normal with standard deviation 1 / sqrt(D).
        threads: how many share the work.
        deterministic: whether results do not depend on threads; False: Hogwild (`grouping`).

    Raises:
        ArgumentError: an argument out of its range, or more memory needed than there is.
    """

    def __init__(
        self,
        num_features: int,
        dim: int,
        *,
        optimizer: str | None = "adam",
        lr: float = 1e-3,
        betas: tuple[float, float] = BETAS,
        eps: float = 1e-8,
        bias: bool = False,
        seed: int = 0,
        threads: int = 1,
        deterministic: bool = True,
    ) -> None:
        rule = None if optimizer is None else RowOptimizer(optimizer, betas, eps)
        super().__init__(_NAME, (num_features, dim), rule, lr=lr, threads=threads)
        self.num_features, self.dim = num_features, dim
        self.weight = nn.Parameter(torch.empty(num_features, dim), requires_grad=rule is None)
        generator = seeding.torch_generator(seeding.split(seed, "embedding"))
        with torch.no_grad():
            self.weight.normal_(0, dim**-0.5, generator=generator)
        self.bias = nn.Parameter(torch.zeros(dim), requires_grad=rule is None) if bias else None
        self._grouper = Grouper(num_features, 1 if deterministic else threads)
        if rule is not None:
            self._updates["weight"] = RowUpdates(self.weight, rule)
            if self.bias is not None:
                self._updates["bias"] = RowUpdates(self.bias.unsqueeze(0), rule)

    def forward(self, rows: Any, offsets: Any = None, weights: Any = None) -> Tensor:
        """Return the sums, float32 of shape (N, D).

        Args:
            rows: CSR of shape (N, F), SciPy's or torch's; or, with ``offsets``, the features of
                all rows one after the other, integers of shape (E,).
            offsets: where each row begins, and the end: integers of shape (N + 1,).
            weights: what each entry counts, shape (E,); None: 1.

        Raises:
            ShapeError: shapes that do not fit.
            ArgumentError: a feature out of range; parameters moved or converted.
            PassOrderError: the backward pass of the forward before is still to come.
            NonFiniteError: a value is NaN or infinite.
        """
        self._check_parameters()
        entries = self._read(rows, offsets, weights)
        track = torch.is_grad_enabled() and self.training
        if not track:
            return self._sums(entries)
        if self.optimizer is not None:
            self._begin()
        out: Tensor = _Embed.apply(  # type: ignore[no-untyped-call]
            self, entries, self.weight, self.bias, self._anchor
        )
        return out

    def _read(self, rows: Any, offsets: Any, weights: Any) -> SparseRows:
        if offsets is None:
            if weights is not None:
                raise ArgumentError(f"{_NAME}: weights go with offsets; CSR has its own values.")
            return read_rows(rows, self.num_features, _NAME)
        indices, starts = (np.asarray(part) for part in (rows, offsets))
        if isinstance(weights, Tensor) and weights.requires_grad:
            raise ArgumentError(f"{_NAME}: weights cannot require gradients; detach them.")
        values = np.ones(indices.shape, np.float32) if weights is None else np.asarray(weights)
        if any(part.ndim != 1 for part in (indices, starts, values)):
            raise ShapeError(f"{_NAME}: indices, offsets and weights must have one dimension.")
        return checked(starts, indices, values, self.num_features, _NAME)

    def _sums(self, entries: SparseRows) -> Tensor:
        out = torch.empty(len(entries), self.dim)
        bias = np.zeros(self.dim, np.float32) if self.bias is None else self.bias.detach().numpy()
        spread(
            kernels.forward, entries.indptr, entries.indices, entries.values,
            self.weight.detach().numpy(), bias, out.numpy(),
            items=len(entries), threads=self.threads,
        )  # fmt: skip
        return out

    def _update(self, entries: SparseRows, gradient_ND: _Array) -> None:
        """Update the rows that ``entries`` touch."""
        self._finish()
        self._grouper.update(
            self.weight, self._updates["weight"], None,
            (entries.indptr, entries.indices, entries.values), gradient_ND,
            step=self.steps, lr=self.lr, threads=self.threads,
        )  # fmt: skip
        if self.bias is not None:
            row, total = np.zeros(1, np.int64), gradient_ND.sum(axis=0, keepdims=True)
            self._updates["bias"].update(
                self.bias.unsqueeze(0), row, total, scale=1.0, step=self.steps, lr=self.lr
            )

    def _sparse_gradient(self, entries: SparseRows, gradient_ND: _Array) -> Tensor:
        """Return the gradient of the weight as a coalesced sparse tensor (F, D)."""
        grouped = self._grouper.group(entries.indptr, entries.indices, entries.values)
        gradient = grouped.gradient(gradient_ND, self.threads)
        return row_sparse(grouped.rows, gradient, self.weight.shape)

    def extra_repr(self) -> str:
        """Return what ``repr`` shows in the parentheses."""
        return f"{self.num_features}, {self.dim}, {self._described()}"


class _Embed(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        layer: SparseEmbedding,
        entries: SparseRows,
        weight: Tensor,
        bias: Tensor | None,
        anchor: Tensor,
    ) -> Tensor:
        ctx.layer, ctx.entries = layer, entries
        return layer._sums(entries)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Any, ...]:
        layer: SparseEmbedding = ctx.layer
        gradient_ND = grad_out.detach().float().contiguous().numpy()
        if not np.isfinite(gradient_ND.sum(dtype=np.float64)):
            raise NonFiniteError(f"{_NAME}: the gradient that comes back is NaN or infinite.")
        if layer.optimizer is not None:
            layer._update(ctx.entries, gradient_ND)
            return None, None, None, None, None
        sparse = layer._sparse_gradient(ctx.entries, gradient_ND)
        return None, None, sparse, grad_out.sum(0) if layer.bias is not None else None, None
