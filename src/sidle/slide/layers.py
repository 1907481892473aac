"""`WideSoftmax`: an output layer and its loss whose cost hardly grows with the number of outputs.

It is ``nn.Linear`` followed by a loss, in one module: ``loss = layer(hidden, labels)``. It scores
few of the outputs: for each mini-batch one pool of them (`pools`), or for each sample an active set
of its own, as SLIDE does ([S], `per_sample`). The partition function is estimated from them without
bias, the loss comes with the exact gradient of that sampled objective, and the backward pass
updates the rows that were scored, and no others, with the layer's own optimiser.

The loss that training reports is the sampled objective: its log of an estimated partition function
lies below the true one on average. In evaluation mode the loss is exact.
Letters: N = rows of the batch, D = in_features, L = out_features, E = labels of all rows.
Reference: [S] Chen, Medini, Farwell, Gobriel, Tai & Shrivastava 2020, arXiv:1903.03129 (SLIDE).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from sidle import seeding
from sidle.errors import ArgumentError, NonFiniteError, ShapeError
from sidle.slide import costs, exact
from sidle.slide.candidates import Hashing, OutputIndex
from sidle.slide.embedding import SparseEmbedding
from sidle.slide.fused import FusedLayer, plain, row_sparse
from sidle.slide.grouping import Grouper
from sidle.slide.kernels import per_sample as set_kernels
from sidle.slide.per_sample import PerSamplePass, SetSampler
from sidle.slide.pooled import PooledPass
from sidle.slide.pools import PoolSampler
from sidle.slide.row_updates import BETAS, RowOptimizer, RowUpdates
from sidle.slide.sparse_rows import read_labels
from sidle.slide.tables import recall
from sidle.slide.threads import spread

__all__ = ["Report", "SparseEmbedding", "WideSoftmax"]

OBJECTIVES = ("softmax", "multilabel", "one_versus_all")
ENGINES = ("auto", "dense", "sampled")
_NAME = "WideSoftmax"
_Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Report:
    """Training so far, since the layer was made or its state loaded; means are over steps.

    Attributes:
        steps: forward passes that trained.
        active_per_sample: outputs that a sample was scored against.
        active_per_batch: different outputs that a batch was scored against; with
            ``sampling="per_sample"`` those that its backward pass updated.
        hashed_share: of the candidates beside the labels, those from the hash tables.
        occupancy: outputs of a bucket that holds any; 0 without tables.
        rebuilds: how often the tables were brought up to date.
        rebuild_seconds: spent in building tables and bringing them up to date.
        seconds: spent in forward and backward of this layer, rebuilds included.
    """

    steps: int
    active_per_sample: float
    active_per_batch: float
    hashed_share: float
    occupancy: float
    rebuilds: int
    rebuild_seconds: float
    seconds: float


@dataclass
class _Counts:
    """Sums that `Report` is made of."""

    steps: int = 0
    backwards: int = 0
    per_sample: float = 0.0
    per_batch: float = 0.0
    candidates: float = 0.0
    hashed: float = 0.0
    seconds: float = 0.0


class WideSoftmax(FusedLayer):
    """A linear layer with very many outputs, and its loss.

    Args:
        in_features: D.
        out_features: L, at least 2.
        optimizer: "adam", "adagrad", "rowwise_adagrad" (one second moment a row: half the memory),
            "sgd": ``backward()`` updates the rows of the pool once, with the gradient scaled by
            what comes in; None: gradients are sparse tensors for the optimizer of your choice.
        lr: learning rate; the attribute ``lr`` may be set between steps.
        betas: Adam's.
        eps: Adam's and Adagrad's.
        bias: whether each output has a bias.
        objective: "softmax": cross-entropy, one label a row. "multilabel": softmax whose target is
            shared equally by the labels of a row, as in [S]. "one_versus_all": a logistic loss for
            each output, summed over outputs.
        sampling: "per_batch": one pool of outputs for the batch; "per_sample": each sample has an
            active set of its own, as in [S], in float32.
        engine: "sampled"; "dense": all outputs, with the same kernels; "auto": what a measured
            model of costs (`costs`) says is faster here, decided at the first training step.
        candidates: how many outputs a batch, or with "per_sample" a sample, is scored against
            beside its labels; None: 4096 and 1024.
        hashed_share: how many of them at most come from the hash tables, 0 to 1; the rest, and
            what the tables do not return, is drawn uniformly. With no uniform part the partition
            function is underestimated.
        hashing: settings of the tables; None: `Hashing()`.
        precision: of the products of "per_batch": "float32", "bfloat16" (rounded inputs and
            scores), or "auto": bfloat16 where the processor has instructions for it.
        seed: of the initial weights, tables and tails.
        threads: how many share the work.
        deterministic: whether results do not depend on threads; False: with "per_sample" threads
            update rows without locks (`grouping`).
        device: only "cpu".

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
        betas: tuple[float, float] = BETAS,
        eps: float = 1e-8,
        bias: bool = True,
        objective: str = "softmax",
        sampling: str = "per_batch",
        engine: str = "auto",
        candidates: int | None = None,
        hashed_share: float = 0.0,
        hashing: Hashing | None = None,
        precision: str = "auto",
        seed: int = 0,
        threads: int = 1,
        deterministic: bool = True,
        device: str = "cpu",
    ) -> None:
        rule = None if optimizer is None else RowOptimizer(optimizer, betas, eps)
        super().__init__(_NAME, (out_features, in_features), rule, lr=lr, threads=threads)
        for name, value, allowed in (
            ("objective", objective, OBJECTIVES), ("sampling", sampling, costs.SAMPLINGS),
            ("engine", engine, ENGINES), ("precision", precision, costs.PRECISIONS),
            ("device", device, ("cpu",)),
        ):  # fmt: skip
            if value not in allowed:
                raise ArgumentError(f"{_NAME}: {name} must be one of {allowed}, got {value!r}.")
        self.in_features, self.out_features = in_features, out_features
        self.objective, self.engine, self.sampling = objective, engine, sampling
        self.precision = precision
        self.candidates = costs.CANDIDATES[sampling] if candidates is None else candidates
        self.hashed_share = hashed_share
        if self.candidates < 1 or not 0 <= hashed_share <= 1:
            raise ArgumentError(
                f"{_NAME}: candidates must be at least 1 and hashed_share from 0 to 1, got "
                f"{self.candidates} and {hashed_share}."
            )
        self.engine_used: str | None = None if engine == "auto" else engine
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
        self._set_sampler = SetSampler(out_features, seeding.split(seed, "sets"), threads)
        self._grouper = Grouper(out_features, 1 if deterministic else threads)
        self._index = OutputIndex(
            self.weight, self.bias, hashing or Hashing(), seeding.split(seed, "index"), threads
        )
        self._draws = 0
        self._counts = _Counts()

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
    def topk(
        self, hidden: Tensor, k: int, exact: bool = False, candidates: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the k highest scores and their outputs, both (N, k), best first.

        Args:
            hidden: (N, D).
            k: how many, from 1 to L.
            exact: True: of all outputs. False: of those that the hash tables return; the tables
                are first brought up to date with the weights. Rows for which they return fewer
                than k are searched exactly.
            candidates: how many outputs a row are scored at most, those that most tables return;
                None: as many as the layer's ``candidates``, but no fewer than 16 k. Fewer of them
                from more tables is often faster at the same recall, see `recall`.

        Raises:
            ArgumentError: ``k`` or ``candidates`` lies outside its range.
            ShapeError: ``hidden`` does not fit.
        """
        self._check_parameters()
        self._check_hidden(hidden)
        if not 1 <= k <= self.out_features:
            raise ArgumentError(f"{_NAME}.topk: k must be from 1 to {self.out_features}, got {k}.")
        given = plain(hidden)
        if exact:
            return _top(given, self.weight, self.bias, k)
        found_NC, numbers_N = self._find(given, k, candidates)
        few = torch.from_numpy(np.flatnonzero(numbers_N < k))
        values, outputs = torch.empty(len(given), k), torch.empty(len(given), k, dtype=torch.int64)
        spread(
            set_kernels.best, given.numpy(), self.weight.numpy(), self._bias_or_zeros(), found_NC,
            numbers_N, values.numpy(), outputs.numpy(),
            items=len(given), threads=self.threads, least=4,
        )  # fmt: skip
        if len(few):
            values[few], outputs[few] = _top(given[few], self.weight, self.bias, k)
        return values, outputs

    @torch.no_grad()
    def recall(self, hidden: Tensor, k: int, candidates: int | None = None) -> float:
        """Return the share of the exact top k of each row that the tables return for it.

        They return as many outputs a row as `topk` scores. Tables that are in use for training are
        taken as they are; otherwise they are brought up to date.
        """
        self._check_hidden(hidden)
        given = plain(hidden)
        in_use = self.training and self.hashed_share > 0 and self._index.built
        found = self._find(given, k, candidates, catch_up=not in_use)
        return recall(found, _top(given, self.weight, self.bias, k)[1].numpy())

    def report(self) -> Report:
        """Return what training did so far."""
        counts, index = self._counts, self._index
        steps = max(counts.steps, 1)
        per_batch = counts.backwards if self.sampling == "per_sample" else steps
        return Report(
            steps=counts.steps,
            active_per_sample=counts.per_sample / steps,
            active_per_batch=counts.per_batch / max(per_batch, 1),
            hashed_share=counts.hashed / max(counts.candidates, 1),
            occupancy=index.tables.occupancy().mean if index.built else 0.0,
            rebuilds=index.rebuilds,
            rebuild_seconds=index.seconds,
            seconds=counts.seconds,
        )

    def training_state(self) -> dict[str, Any]:
        """Return what training needs besides ``state_dict()``: tensors and numbers by name.

        The tensors share memory with the layer; save or copy them before the next step.
        """
        index = {f"index.{name}": value for name, value in self._index.state().items()}
        used = ENGINES.index(self.engine_used or "auto")
        return super().training_state() | {"draws": self._draws, "engine": used} | index

    def load_training_state(self, state: Any) -> None:
        """Take over what `training_state` of a layer of the same kind and sizes returned."""
        super().load_training_state(state)
        self._draws = int(state["draws"])
        used = ENGINES[int(state["engine"])]
        if self.engine == "auto" and used != "auto":
            self.engine_used = used
        prefix = "index."
        self._index.load({k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)})
        self._counts = _Counts()

    def _bias(self) -> Tensor | None:
        return None if self.bias is None else self.bias.detach()

    def _bias_or_zeros(self) -> _Array:
        if self.bias is None:
            return np.zeros(self.out_features, np.float32)
        return self.bias.detach().numpy()

    def _check_hidden(self, hidden: Tensor) -> None:
        if hidden.ndim != 2 or hidden.shape[1] != self.in_features or len(hidden) == 0:
            raise ShapeError(
                f"{_NAME}: hidden must have shape (N, {self.in_features}) with N >= 1, got "
                f"{tuple(hidden.shape)}. Flatten leading dimensions first."
            )
        if not bool(torch.isfinite(hidden.detach().sum())):
            raise NonFiniteError(f"{_NAME}: hidden holds a NaN or an infinity.")

    def _find(
        self, hidden_ND: Tensor, k: int, candidates: int | None, catch_up: bool = True
    ) -> tuple[_Array, _Array]:
        most = max(self.candidates, 16 * k) if candidates is None else candidates
        if most < k:
            raise ArgumentError(
                f"{_NAME}: candidates must be at least k, which is {k}, got {candidates}."
            )
        if catch_up:
            self._index.catch_up(self._draws)
        return self._index.find(hidden_ND, min(most, self.out_features))

    def _run(
        self, hidden_ND: Tensor, indptr_N: _Array, labels_E: _Array
    ) -> PooledPass | PerSamplePass:
        """Compute a training pass."""
        started = time.perf_counter()
        self._draws += 1
        self._counts.steps += 1
        if self.engine_used is None:
            self.engine_used = costs.choose(
                self.in_features, self.out_features, len(hidden_ND), len(labels_E),
                self.candidates, self.sampling, costs.dtype_of(self.precision),
            )  # fmt: skip
        if self.engine_used == "sampled" and self.hashed_share > 0:
            self._index.refresh(self._draws)
        if self.engine_used == "sampled" and self.sampling == "per_sample":
            made: PooledPass | PerSamplePass = self._run_sets(hidden_ND, indptr_N, labels_E)
        else:
            made = self._run_pool(hidden_ND, indptr_N, labels_E)
        self._counts.seconds += time.perf_counter() - started
        if not np.isfinite(made.loss):
            self.discard()
            raise NonFiniteError(f"{_NAME}: the loss is {made.loss}. No weight was changed.")
        return made

    def _run_pool(self, hidden_ND: Tensor, indptr_N: _Array, labels_E: _Array) -> PooledPass:
        if self.engine_used == "dense":
            pool = self._sampler.everything(labels_E)
        else:
            most = round(self.hashed_share * self.candidates)
            # Rows share much of what they find: ask each for four times its part.
            each = min(4 * -(-most // len(hidden_ND)), self.out_features)
            found = self._index.find(hidden_ND, each) if most else None
            pool = self._sampler.draw(labels_E, self.candidates, self._draws, found, most)
        self._counts.per_sample += len(pool)
        self._counts.per_batch += len(pool)
        self._counts.candidates += len(pool) - pool.n_labels
        self._counts.hashed += pool.n_found
        return PooledPass(
            self.weight, self.bias, hidden_ND, indptr_N, pool, self.objective,
            costs.dtype_of(self.precision), self.threads,
        )  # fmt: skip

    def _run_sets(self, hidden_ND: Tensor, indptr_N: _Array, labels_E: _Array) -> PerSamplePass:
        most = round(self.hashed_share * self.candidates)
        room = min(most + int(np.diff(indptr_N).max()), self.out_features)  # labels are found too
        found = self._index.find(hidden_ND, room) if most else None
        sets = self._set_sampler.draw(indptr_N, labels_E, self.candidates, self._draws, found, most)
        self._counts.per_sample += len(sets.outputs) / len(hidden_ND)
        self._counts.candidates += len(sets.outputs) - len(labels_E)
        self._counts.hashed += int(sets.n_hashed.sum())
        return PerSamplePass(
            self.weight, self.bias, hidden_ND, sets, self.objective, self._grouper, self.threads
        )

    def _update(self, made: PooledPass | PerSamplePass, scale: float) -> None:
        """Move the rows that were scored."""
        self._finish()
        bias = None if self.bias is None else (self.bias, self._updates["bias"])
        touched = made.update(
            self.weight, self._updates["weight"], bias, scale=scale, step=self.steps, lr=self.lr
        )
        for rows in touched:
            self._index.note(rows)
        if isinstance(made, PerSamplePass):
            self._counts.per_batch += sum(len(rows) for rows in touched)

    def _sparse_gradients(
        self, made: PooledPass | PerSamplePass, scale: float
    ) -> tuple[Tensor, Tensor | None]:
        """Return the gradients of weight (L, D) and bias (L,) as coalesced sparse tensors."""
        rows_M, gradient_MD, gradient_M = made.gradients()
        self._index.note(rows_M)  # the user's optimizer will move them
        if isinstance(made, PerSamplePass):
            self._counts.per_batch += len(rows_M)
        weight = row_sparse(rows_M, gradient_MD * scale, self.weight.shape)
        if self.bias is None:
            return weight, None
        return weight, row_sparse(rows_M, gradient_M * scale, self.bias.shape)

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
        ctx.layer, ctx.made = layer, layer._run(plain(hidden), indptr_N, labels_E)
        return torch.tensor(ctx.made.loss)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_loss: Tensor) -> tuple[Any, ...]:
        layer: WideSoftmax = ctx.layer
        made: PooledPass | PerSamplePass = ctx.made
        scale = float(grad_loss)
        if not np.isfinite(scale):
            raise NonFiniteError(f"{_NAME}: the gradient that comes back is {scale}.")
        started = time.perf_counter()
        layer._counts.backwards += 1
        grad_hidden = weight = bias = None
        if ctx.needs_input_grad[3]:
            grad_hidden = made.hidden_gradient() * scale
        if layer.optimizer is not None:
            layer._update(made, scale)
        else:
            weight, bias = layer._sparse_gradients(made, scale)
        layer._counts.seconds += time.perf_counter() - started
        return None, None, None, grad_hidden, weight, bias, None


def _top(hidden: Tensor, weight: Tensor, bias: Tensor | None, k: int) -> tuple[Tensor, Tensor]:
    return exact.top(hidden, weight.detach(), None if bias is None else bias.detach(), k)
