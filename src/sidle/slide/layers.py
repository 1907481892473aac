"""`WideSoftmax`: an output layer and its loss whose cost hardly grows with the number of outputs.

It is ``nn.Linear`` followed by a loss, in one module: ``loss = layer(hidden, labels)``. For each
mini-batch it scores a pool of outputs (`pools`), estimates the partition function from it without
bias, and returns the loss with the exact gradient of that sampled objective; the backward pass
updates the rows of the pool, and no others, with the layer's own optimiser.

The loss that training reports is the sampled objective: its log of an estimated partition function
lies below the true one on average. In evaluation mode the loss is exact.
Letters: N = rows of the batch, D = in_features, L = out_features, M = pool, E = labels of all rows.
Reference: [S] Chen, Medini, Farwell, Gobriel, Tai & Shrivastava 2020, arXiv:1903.03129 (SLIDE).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from sidle import seeding
from sidle.errors import ArgumentError, NonFiniteError, ShapeError
from sidle.slide import exact
from sidle.slide.embedding import SparseEmbedding
from sidle.slide.fused import FusedLayer, plain, row_sparse
from sidle.slide.kernels import rows as row_kernels
from sidle.slide.kernels import softmax as kernels
from sidle.slide.pools import Pool, PoolSampler
from sidle.slide.row_updates import RowOptimizer, RowUpdates
from sidle.slide.sparse_rows import read_labels
from sidle.slide.threads import spread

__all__ = ["SparseEmbedding", "WideSoftmax"]

OBJECTIVES = ("softmax", "multilabel", "one_versus_all")
_NAME = "WideSoftmax"
_Array = np.ndarray[Any, Any]


@dataclass(eq=False)
class _Pass:
    """What the backward pass needs of a forward pass."""

    pool: Pool
    hidden_ND: Tensor
    weight_MD: Tensor
    gradient_NM: Tensor


class WideSoftmax(FusedLayer):
    """A linear layer with very many outputs, and its loss.

    Args:
        in_features: D.
        out_features: L, at least 2.
        optimizer: "adam", "adagrad", "sgd": ``backward()`` updates the rows of the pool once, with
            the gradient scaled by what comes in; None: gradients are sparse tensors for the
            optimizer of your choice.
        lr: learning rate; the attribute ``lr`` may be set between steps.
        betas: Adam's.
        eps: Adam's and Adagrad's.
        bias: whether each output has a bias.
        objective: "softmax": cross-entropy, one label a row. "multilabel": softmax whose target is
            shared equally by the labels of a row, as in [S]. "one_versus_all": a logistic loss for
            each output, summed over outputs.
        sampling: "per_batch": one pool for the batch.
        engine: "sampled", "dense" (all outputs, with the same kernels) or "auto".
        candidates: how many outputs a batch is scored against beside its labels.
        hashed_share: how many of them at most come from the hash tables, 0 to 1.
        precision: of the products: "float32", "bfloat16" (rounded inputs and scores), or "auto".
        seed: of the initial weights, tables and tails.
        threads: how many share the work.

    Raises:
        ArgumentError: an argument out of its range, or more memory needed than there is.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        optimizer: str | None = "adam",
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        bias: bool = True,
        objective: str = "softmax",
        engine: str = "auto",
        candidates: int | None = None,
        precision: str = "auto",
        seed: int = 0,
        threads: int = 1,
    ) -> None:
        rule = None if optimizer is None else RowOptimizer(optimizer, betas, eps)
        super().__init__(_NAME, (out_features, in_features), rule, lr=lr, threads=threads)
        if objective not in OBJECTIVES:
            raise ArgumentError(f"{_NAME}: objective must be one of {OBJECTIVES}, got {objective}.")
        self.in_features, self.out_features = in_features, out_features
        self.objective, self.engine = objective, engine
        self.precision = precision
        self.candidates = candidates if candidates is not None else 4096
        self.weight = nn.Parameter(
            torch.empty(out_features, in_features), requires_grad=rule is None
        )
        generator = seeding.torch_generator(seeding.split(seed, "wide_softmax"))
        with torch.no_grad():
            self.weight.uniform_(-(in_features**-0.5), in_features**-0.5, generator=generator)
        self.bias = (
            nn.Parameter(torch.zeros(out_features), requires_grad=rule is None) if bias else None
        )
        if rule is not None:
            self._updates["weight"] = RowUpdates(self.weight, rule)
            if self.bias is not None:
                self._updates["bias"] = RowUpdates(self.bias.unsqueeze(1), rule)
        self._sampler = PoolSampler(out_features, seeding.split(seed, "pool"))
        self._draws = 0

    def forward(self, hidden: Tensor, labels: Any) -> Tensor:
        """Return the mean loss of the batch, in nats, a scalar.

        In training mode with gradients enabled: the sampled objective. Otherwise: the exact one.

        Args:
            hidden: float32, (N, D), N >= 1.
            labels: integers (N,), or CSR (N, L), SciPy's or torch's, with entries 1.

        Raises:
            ShapeError, ArgumentError: shapes, label numbers or labels out of range.
            PassOrderError: the backward pass of the forward before is still to come.
            NonFiniteError: hidden or the loss is NaN or infinite.
        """
        self._check_parameters()
        self._check_hidden(hidden)
        indptr_N, labels_E = read_labels(
            labels, len(hidden), self.out_features, self.objective, _NAME
        )
        if not (self.training and torch.is_grad_enabled()):
            return exact.mean_loss(
                plain(hidden), self.weight.detach(), self._bias(), indptr_N, labels_E,
                self.objective,
            )  # fmt: skip
        if self.optimizer is not None:
            self._begin()
        loss: Tensor = _Loss.apply(  # type: ignore[no-untyped-call]
            self, indptr_N, labels_E, hidden, self.weight, self.bias, self._anchor
        )
        return loss

    def scores(self, hidden: Tensor) -> Tensor:
        """Return the scores of all outputs, (N, L)."""
        self._check_hidden(hidden)
        return exact.scores(hidden, self.weight, self.bias)

    def log_prob(self, hidden: Tensor) -> Tensor:
        """Return exact log-probabilities of all outputs, (N, L).

        Under "one_versus_all" each output's own, log sigmoid; they do not sum to 1.
        """
        scores_NL = self.scores(hidden)
        if self.objective == "one_versus_all":
            return nn.functional.logsigmoid(scores_NL)
        return scores_NL.log_softmax(dim=1)

    @torch.no_grad()
    def topk(self, hidden: Tensor, k: int, exact: bool = False) -> tuple[Tensor, Tensor]:
        """Return the k highest scores and their outputs, both (N, k), best first."""
        self._check_hidden(hidden)
        if not 1 <= k <= self.out_features:
            raise ArgumentError(f"{_NAME}.topk: k must be from 1 to {self.out_features}, got {k}.")
        return _top(plain(hidden), self.weight, self.bias, k)

    def training_state(self) -> dict[str, Any]:
        """Return what training needs besides ``state_dict()``: tensors and numbers by name.

        The tensors share memory with the layer; save or copy them before the next step.
        """
        return super().training_state() | {"draws": self._draws}

    def load_training_state(self, state: Any) -> None:
        """Take over what `training_state` of a layer of the same kind and sizes returned."""
        super().load_training_state(state)
        self._draws = int(state["draws"])

    def _bias(self) -> Tensor | None:
        return None if self.bias is None else self.bias.detach()

    def _check_hidden(self, hidden: Tensor) -> None:
        if hidden.ndim != 2 or hidden.shape[1] != self.in_features or len(hidden) == 0:
            raise ShapeError(
                f"{_NAME}: hidden must have shape (N, {self.in_features}) with N >= 1, got "
                f"{tuple(hidden.shape)}. Flatten leading dimensions first."
            )
        if not bool(torch.isfinite(hidden.detach().sum())):
            raise NonFiniteError(f"{_NAME}: hidden holds a NaN or an infinity.")

    def _pool(self, labels_E: _Array) -> Pool:
        self._draws += 1
        if self.engine == "dense":
            return self._sampler.everything(labels_E)
        return self._sampler.draw(labels_E, self.candidates, self._draws)

    def _sampled_loss(
        self, hidden_ND: Tensor, indptr_N: _Array, labels_E: _Array
    ) -> tuple[Tensor, _Pass]:
        pool = self._pool(labels_E)
        N, M = len(hidden_ND), len(pool)
        half = self.precision != "float32"
        dtype = torch.bfloat16 if half else torch.float32
        weight_MD = torch.empty(M, self.in_features, dtype=dtype)
        spread(
            row_kernels.gather, self.weight.detach().numpy(), pool.outputs, bits(weight_MD),
            items=M, threads=self.threads,
        )  # fmt: skip
        bias_M = np.zeros(M, np.float32)
        if self.bias is not None:
            bias_M = self.bias.detach().numpy()[pool.outputs]
        hidden_ND = hidden_ND.to(dtype)
        gradient_NM = hidden_ND @ weight_MD.T
        loss_N = np.empty(N)
        kernel, weight_M = kernels.softmax, pool.log_weight
        if self.objective == "one_versus_all":
            kernel, weight_M = kernels.one_versus_all, np.exp(pool.log_weight)
        spread(
            kernel, bits(gradient_NM), bias_M, weight_M, indptr_N, pool.label_places, 1 / N,
            bits(gradient_NM), loss_N, items=N, threads=self.threads,
        )  # fmt: skip
        loss = float(loss_N.mean())
        if not np.isfinite(loss):
            self.discard()
            raise NonFiniteError(f"{_NAME}: the loss is {loss}. No weight was changed.")
        return torch.tensor(loss), _Pass(pool, hidden_ND, weight_MD, gradient_NM)

    def _update(self, made: _Pass, scale: float) -> None:
        """Move the rows of the pool."""
        self._finish()
        assert self.optimizer is not None
        step: dict[str, Any] = {
            "scale": scale,
            "step": self.steps,
            "lr": self.lr,
            "threads": self.threads,
        }
        gradient_MD = made.gradient_NM.T @ made.hidden_ND
        self._updates["weight"].update(self.weight, made.pool.outputs, bits(gradient_MD), **step)
        if self.bias is not None:
            gradient_M = self._bias_gradient(made)
            self._updates["bias"].update(
                self.bias.unsqueeze(1), made.pool.outputs, gradient_M[:, None], **step
            )

    def _bias_gradient(self, made: _Pass) -> _Array:
        gradient_M = np.empty(len(made.pool), np.float32)
        kernels.add_rows(bits(made.gradient_NM), gradient_M)
        return gradient_M

    def _sparse_gradients(self, made: _Pass, scale: float) -> tuple[Tensor, Tensor | None]:
        """Return the gradients of weight (L, D) and bias (L,) as coalesced sparse tensors."""
        rows_M = made.pool.outputs
        gradient_MD = (made.gradient_NM.T @ made.hidden_ND).float() * scale
        weight = row_sparse(rows_M, gradient_MD, self.weight.shape)
        if self.bias is None:
            return weight, None
        gradient_M = torch.from_numpy(self._bias_gradient(made)) * scale
        return weight, row_sparse(rows_M, gradient_M, self.bias.shape)

    def extra_repr(self) -> str:
        """Return what ``repr`` shows in the parentheses."""
        return (
            f"{self.in_features}, {self.out_features}, {self._described()}, "
            f"objective={self.objective}, engine={self.engine}"
        )


class _Loss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        layer: WideSoftmax,
        indptr_N: _Array,
        labels_E: _Array,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        anchor: Tensor,
    ) -> Tensor:
        loss, ctx.made = layer._sampled_loss(plain(hidden), indptr_N, labels_E)
        ctx.layer = layer
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_loss: Tensor) -> tuple[Any, ...]:
        layer: WideSoftmax = ctx.layer
        made: _Pass = ctx.made
        scale = float(grad_loss)
        if not np.isfinite(scale):
            raise NonFiniteError(f"{_NAME}: the gradient that comes back is {scale}.")
        grad_hidden = None
        if ctx.needs_input_grad[3]:
            grad_hidden = (made.gradient_NM @ made.weight_MD).float() * scale
        if layer.optimizer is not None:
            layer._update(made, scale)
            return None, None, None, grad_hidden, None, None, None
        weight, bias = layer._sparse_gradients(made, scale)
        return None, None, None, grad_hidden, weight, bias, None


def bits(tensor: Tensor) -> _Array:
    """Return the memory of a float32 tensor, or of a bfloat16 one as uint16."""
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.uint16).numpy()
    return tensor.numpy()


def _top(hidden: Tensor, weight: Tensor, bias: Tensor | None, k: int) -> tuple[Tensor, Tensor]:
    return exact.top(hidden, weight.detach(), None if bias is None else bias.detach(), k)
