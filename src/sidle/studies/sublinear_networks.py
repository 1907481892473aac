"""The networks that the study `sublinear` trains: one sparse layer in, one wide layer out.

hidden = relu(sum of the rows of W_in at a row's features + b_in), scores = W_out hidden + b_out.
All begin with the same weights of a seed and train by Adam without a first moment, for which
updating touched rows alone is exact (docs, "Adam on rows that are seldom touched"). They differ in
how the wide layer is trained. A *method* is one of

    dense         PyTorch: every output of every sample, fused Adam over every weight
    matrix        the same with rows of features spelled out, zeros included
    hashed        each sample its own set from hash tables, as in [S]; schedule of rebuilds is
    hashed-...    exponential, or fixed, drift or never
    mixed         each sample its own set, half from hash tables, half uniform and weighted
    uniform       each sample its own set, drawn uniformly and weighted
    popular       each sample its own set, drawn by how often labels occur [J], in PyTorch
    pool          one set a batch, drawn uniformly and weighted
    pool-hashed   the same, half of it from hash tables
    pool-popular  one set a batch, drawn by how often labels occur, in PyTorch

Letters: N = rows of a batch, F = features, D = hidden, L = outputs, G = sets, M = outputs of a
set, E = labels of all rows.
Reference: [S] Chen et al. 2020, arXiv:1903.03129 (SLIDE); [J] Jean, Cho, Memisevic & Bengio 2015,
arXiv:1412.2007 (sampled softmax).
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.sparse import csr_array
from torch import Tensor, nn

from sidle import seeding
from sidle.errors import ArgumentError
from sidle.slide import Hashing, SparseEmbedding, WideSoftmax

METHODS = (
    "dense", "matrix", "hashed", "hashed-fixed", "hashed-drift", "hashed-never", "mixed",
    "uniform", "popular", "pool", "pool-hashed", "pool-popular",
)  # fmt: skip
BETAS = (0.0, 0.999)
_ROWS_AT_ONCE = 256  # scored at once when tested


@dataclass(frozen=True)
class Sizes:
    """Sizes of a network and of its sets.

    Attributes:
        n_features: F.
        hidden: D.
        n_outputs: L.
        active: outputs of a sample's own set, beside its labels.
        pool: outputs of a batch's set, beside its labels.
    """

    n_features: int
    hidden: int
    n_outputs: int
    active: int
    pool: int


class Network(ABC):
    """What all methods share.

    Attributes:
        seconds: spent in training steps, of one processor core.
    """

    seconds: float = 0.0

    def train(self, features: csr_array, labels: csr_array, rate: float) -> float:
        """Do one step on a batch with a learning rate; return its loss in nats."""
        began = time.process_time()
        loss = self._step(features, labels, rate)
        self.seconds += time.process_time() - began
        return loss

    @torch.no_grad()
    def test(self, features: csr_array, labels: csr_array, k: int) -> dict[str, float]:
        """Score all outputs of some rows.

        Returns:
            ``p@1`` and ``p@k``: shares of the best 1 and k outputs that are labels; ``nats``: mean
            cross-entropy to labels that share the target.
        """
        weight, bias = self.output_weights()
        first = at_k = nats = 0.0
        for start in range(0, features.shape[0], _ROWS_AT_ONCE):
            part = labels[start : start + _ROWS_AT_ONCE]
            hidden = self.hidden(features[start : start + _ROWS_AT_ONCE])
            scores_NL = F.linear(hidden, weight, bias)
            best_NK = scores_NL.topk(k, dim=1).indices.numpy()
            hits_NK = part[np.repeat(np.arange(len(best_NK)), k), best_NK.ravel()]
            hits_NK = np.asarray(hits_NK).reshape(best_NK.shape)
            rows, columns, shares = shared(part)
            first += float(hits_NK[:, 0].sum())
            at_k += float(hits_NK.sum()) / k
            nats += float(torch.logsumexp(scores_NL, dim=1).sum())
            nats -= float((scores_NL[rows, columns] * shares).sum())
        n = features.shape[0]
        return {"p@1": first / n, f"p@{k}": at_k / n, "nats": nats / n}

    @abstractmethod
    def _step(self, features: csr_array, labels: csr_array, rate: float) -> float: ...

    @abstractmethod
    def hidden(self, features: csr_array) -> Tensor:
        """Return hidden rows, (N, D)."""

    @abstractmethod
    def output_weights(self) -> tuple[Tensor, Tensor]:
        """Return weight (L, D) and bias (L,) of the wide layer."""

    @abstractmethod
    def n_bytes(self, batch_size: int) -> int:
        """Return the memory it trains in: weights, what is kept about them, scores of a batch."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Return all that training goes on from."""

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Take over what `state_dict` returned."""

    def report(self) -> dict[str, float]:
        """Return what the wide layer did so far; empty where it is not `sidle.slide`'s.

        Returns:
            ``active_per_sample``, ``active_per_batch``: outputs scored, means over steps;
            ``hashed_share``: of those beside labels, from the tables; ``rebuilds``;
            ``rebuild_share``: of the layer's time; ``rebuild_seconds``, building included.
        """
        return {}


def make(
    method: str,
    sizes: Sizes,
    *,
    hashing: Mapping[str, Any],
    counts: np.ndarray[Any, Any],
    seed: int,
) -> Network:
    """Return a new network.

    Args:
        method: see the module.
        sizes: of the network.
        hashing: settings of the tables, see `sidle.slide.Hashing`.
        counts: how often each label occurs in training, (L,), for popular.
        seed: of weights, tables and draws.

    Raises:
        ArgumentError: there is no such method.
    """
    if method not in METHODS:
        raise ArgumentError(f"methods: expected some of {', '.join(METHODS)}, got '{method}'.")
    if method in ("dense", "matrix"):
        return _Dense(sizes, seed, spelled_out=method == "matrix")
    first = _first(sizes, seed)
    if method in ("popular", "pool-popular"):
        return _Popular(first, sizes, counts, seed, per_sample=method == "popular")
    kind, _, schedule = method.partition("-")
    settings = dict(hashing)
    if kind == "hashed":
        settings["rebuild"] = schedule or "exponential"
    share = {"hashed": 1.0, "mixed": 0.5, "uniform": 0.0, "pool": 0.5 if schedule else 0.0}[kind]
    last = WideSoftmax(
        sizes.hidden,
        sizes.n_outputs,
        betas=BETAS,
        objective="multilabel",
        sampling="per_batch" if kind == "pool" else "per_sample",
        engine="sampled",
        candidates=sizes.pool if kind == "pool" else sizes.active,
        hashed_share=share,
        hashing=Hashing(**settings),
        seed=seed,
    )
    return Sampled(first, last)


def _first(sizes: Sizes, seed: int) -> SparseEmbedding:
    return SparseEmbedding(sizes.n_features, sizes.hidden, betas=BETAS, bias=True, seed=seed)


def _last(sizes: Sizes, seed: int) -> WideSoftmax:
    """Return a layer with the weights that all methods begin with."""
    return WideSoftmax(sizes.hidden, sizes.n_outputs, optimizer=None, seed=seed)


class Sampled(Network):
    """Both layers are sidle's."""

    def __init__(self, first: SparseEmbedding, last: WideSoftmax) -> None:
        self.first, self.last = first, last
        self._before: dict[str, float] = {}  # sums of a session that ended

    def _step(self, features: csr_array, labels: csr_array, rate: float) -> float:
        self.first.lr = self.last.lr = rate
        loss = self.last(self.hidden(features), labels)
        loss.backward()
        return float(loss.detach())

    def hidden(self, features: csr_array) -> Tensor:
        """Return hidden rows, (N, D)."""
        hidden: Tensor = self.first(features)
        return hidden.relu()

    def output_weights(self) -> tuple[Tensor, Tensor]:
        """Return weight (L, D) and bias (L,) of the wide layer."""
        assert self.last.bias is not None
        return self.last.weight.detach(), self.last.bias.detach()

    def n_bytes(self, batch_size: int) -> int:
        """Return the memory it trains in."""
        report = self.report()
        scores = 4 * batch_size * round(report["active_per_sample"])
        gathered = 4 * round(report["active_per_batch"]) * self.last.in_features
        return _bytes_in(self.state_dict()) + scores + gathered

    def state_dict(self) -> dict[str, Any]:
        """Return all that training goes on from."""
        layers = {"first": self.first, "last": self.last}
        return {"seconds": self.seconds, "sums": self._sums()} | {
            name: {"weights": layer.state_dict(), "training": layer.training_state()}
            for name, layer in layers.items()
        }

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Take over what `state_dict` returned."""
        self.seconds, self._before = state["seconds"], dict(state["sums"])
        for layer, name in ((self.first, "first"), (self.last, "last")):
            layer.load_state_dict(state[name]["weights"])
            layer.load_training_state(state[name]["training"])

    def report(self) -> dict[str, float]:
        """Return what the wide layer did so far."""
        sums = self._sums()
        steps = max(sums["steps"], 1.0)
        found = {name: sums[name] / steps for name in _MEANS}
        found["rebuilds"] = float(self.last.report().rebuilds)
        found["rebuild_share"] = sums["rebuild_seconds"] / max(sums["seconds"], 1e-9)
        return found | {"rebuild_seconds": sums["rebuild_seconds"]}

    def _sums(self) -> dict[str, float]:
        """Return sums over all steps, of earlier sessions too: the layer forgets those."""
        report = self.last.report()
        found = {name: report.steps * getattr(report, name) for name in _MEANS}
        found |= {name: float(getattr(report, name)) for name in _SUMS}
        return {name: value + self._before.get(name, 0.0) for name, value in found.items()}


_MEANS = ("active_per_sample", "active_per_batch", "hashed_share")
_SUMS = ("steps", "rebuild_seconds", "seconds")


class _Dense(Network):
    """Both layers are PyTorch's."""

    def __init__(self, sizes: Sizes, seed: int, *, spelled_out: bool) -> None:
        self._spelled_out = spelled_out
        self._input = nn.Parameter(_first(sizes, seed).weight.detach().clone())
        self._input_bias = nn.Parameter(torch.zeros(sizes.hidden))
        twin = _last(sizes, seed)
        assert twin.bias is not None
        self._output = nn.Parameter(twin.weight.detach())
        self._output_bias = nn.Parameter(twin.bias.detach())
        self._parameters = [self._input, self._input_bias, self._output, self._output_bias]
        self._optimizer = torch.optim.Adam(self._parameters, betas=BETAS, fused=True)

    def _step(self, features: csr_array, labels: csr_array, rate: float) -> float:
        self._optimizer.param_groups[0]["lr"] = rate
        self._optimizer.zero_grad()
        scores_NL = F.linear(self.hidden(features), self._output, self._output_bias)
        rows, columns, shares = shared(labels)
        loss = -(scores_NL.log_softmax(dim=1)[rows, columns] * shares).sum() / len(scores_NL)
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        return float(loss.detach())

    def hidden(self, features: csr_array) -> Tensor:
        """Return hidden rows, (N, D)."""
        if self._spelled_out:
            summed = torch.from_numpy(features.toarray()) @ self._input
        else:
            indices, offsets = (
                torch.from_numpy(np.asarray(part, np.int64))
                for part in (features.indices, features.indptr)
            )
            summed = F.embedding_bag(
                indices, self._input, offsets, mode="sum", include_last_offset=True,
                per_sample_weights=torch.from_numpy(features.data),
            )  # fmt: skip
        return (summed + self._input_bias).relu()

    def output_weights(self) -> tuple[Tensor, Tensor]:
        """Return weight (L, D) and bias (L,) of the wide layer."""
        return self._output.detach(), self._output_bias.detach()

    def n_bytes(self, batch_size: int) -> int:
        """Return the memory it trains in: gradients are as large as weights, scores as theirs."""
        gradients = _bytes_in([parameter.detach() for parameter in self._parameters])
        return _bytes_in(self.state_dict()) + gradients + 2 * 4 * batch_size * len(self._output)

    def state_dict(self) -> dict[str, Any]:
        """Return all that training goes on from."""
        names = ("input", "input_bias", "output", "output_bias")
        weights = {n: p.detach() for n, p in zip(names, self._parameters, strict=True)}
        return {
            "seconds": self.seconds, "weights": weights,
            "optimizer": self._optimizer.state_dict(),
        }  # fmt: skip

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Take over what `state_dict` returned."""
        self.seconds = state["seconds"]
        with torch.no_grad():
            for own, found in zip(self._parameters, state["weights"].values(), strict=True):
                own.copy_(found)
        self._optimizer.load_state_dict(state["optimizer"])


class _Popular(Network):
    """Sampled softmax: outputs drawn by popularity, their scores corrected by it."""

    def __init__(
        self,
        first: SparseEmbedding,
        sizes: Sizes,
        counts: np.ndarray[Any, Any],
        seed: int,
        *,
        per_sample: bool,
    ) -> None:
        self._first, self._per_sample = first, per_sample
        self._drawn = min(sizes.active if per_sample else sizes.pool, sizes.n_outputs)
        twin = _last(sizes, seed)
        assert twin.bias is not None
        # The last column is the bias, so that one row holds all of an output.
        rows = torch.cat([twin.weight.detach(), twin.bias.detach().unsqueeze(1)], dim=1)
        self._rows = nn.Parameter(rows)
        self._optimizer = torch.optim.SparseAdam([self._rows], betas=BETAS)
        share = torch.from_numpy((counts + 1) / (counts + 1).sum())
        self._cumulative = share.cumsum(0)
        # Expected number of draws of each output, by which e^score would be counted too often.
        self._log_expected = torch.log(self._drawn * share).float()
        self._generator = seeding.torch_generator(seeding.split(seed, "popular"))

    def _step(self, features: csr_array, labels: csr_array, rate: float) -> float:
        self._optimizer.param_groups[0]["lr"] = self._first.lr = rate
        self._optimizer.zero_grad()
        hidden_ND = self.hidden(features)
        n, rows_E, columns_E, shares_E = len(hidden_ND), *shared(labels)
        groups = n if self._per_sample else 1
        uniform = torch.rand(groups, self._drawn, generator=self._generator, dtype=torch.float64)
        drawn_GM = torch.searchsorted(self._cumulative, uniform)
        drawn_GM = drawn_GM.clamp_(max=len(self._cumulative) - 1)
        negatives_GMD = F.embedding(drawn_GM, self._rows, sparse=True)
        positives_ED = F.embedding(columns_E, self._rows, sparse=True)
        bias_GM = negatives_GMD[:, :, -1] - self._log_expected[drawn_GM]
        products = hidden_ND.view(groups, n // groups, -1) @ negatives_GMD[:, :, :-1].mT
        scores_NM = (products + bias_GM.unsqueeze(1)).view(n, -1)
        scores_E = (hidden_ND[rows_E] * positives_ED[:, :-1]).sum(1) + positives_ED[:, -1]
        # A label that was drawn as well is no negative of its row.
        drawn_EM = drawn_GM[rows_E] if self._per_sample else drawn_GM
        hits_EM = (columns_E[:, None] == drawn_EM).float()
        own_NM = torch.zeros_like(scores_NM).index_add_(0, rows_E, hits_EM) > 0
        scores_NM = scores_NM.masked_fill(own_NM, -torch.inf)
        log_z_N = torch.logsumexp(torch.cat([scores_NM, _padded(scores_E, rows_E, labels)], 1), 1)
        loss = ((log_z_N[rows_E] - scores_E) * shares_E).sum() / n
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()  # type: ignore[no-untyped-call]
        return float(loss.detach())

    def hidden(self, features: csr_array) -> Tensor:
        """Return hidden rows, (N, D)."""
        hidden: Tensor = self._first(features)
        return hidden.relu()

    def output_weights(self) -> tuple[Tensor, Tensor]:
        """Return weight (L, D) and bias (L,) of the wide layer."""
        rows = self._rows.detach()
        return rows[:, :-1].contiguous(), rows[:, -1].contiguous()

    def n_bytes(self, batch_size: int) -> int:
        """Return the memory it trains in, with scores and their gradient."""
        gathered = 4 * self._drawn * self._rows.shape[1] * (batch_size if self._per_sample else 1)
        return _bytes_in(self.state_dict()) + 2 * (4 * batch_size * self._drawn + gathered)

    def state_dict(self) -> dict[str, Any]:
        """Return all that training goes on from."""
        return {
            "seconds": self.seconds,
            "first": {
                "weights": self._first.state_dict(), "training": self._first.training_state(),
            },
            "rows": self._rows.detach(),
            "optimizer": self._optimizer.state_dict(),
            "generator": self._generator.get_state(),
        }  # fmt: skip

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Take over what `state_dict` returned."""
        self.seconds = state["seconds"]
        self._first.load_state_dict(state["first"]["weights"])
        self._first.load_training_state(state["first"]["training"])
        with torch.no_grad():
            self._rows.copy_(state["rows"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._generator.set_state(state["generator"])


def shared(labels: csr_array) -> tuple[Tensor, Tensor, Tensor]:
    """Return row, label and share of the target of each entry, (E,) each; shares of a row sum to 1.

    Every row has a label.
    """
    numbers = np.diff(labels.indptr)
    rows = torch.from_numpy(np.repeat(np.arange(len(numbers)), numbers))
    columns = torch.from_numpy(labels.indices.astype(np.int64))
    shares = torch.from_numpy(np.repeat(1 / numbers, numbers).astype(np.float32))
    return rows, columns, shares


def _padded(scores_E: Tensor, rows_E: Tensor, labels: csr_array) -> Tensor:
    """Return the labels' scores a row a line, filled up with -inf."""
    starts = torch.from_numpy(labels.indptr[:-1].astype(np.int64))
    place_E = torch.arange(len(rows_E)) - starts[rows_E]
    padded = scores_E.new_full((len(starts), int(place_E.max()) + 1), -torch.inf)
    return padded.index_put((rows_E, place_E), scores_E)


def _bytes_in(tree: Any) -> int:
    """Return the bytes of all tensors of a tree of dictionaries and lists."""
    if isinstance(tree, Tensor):
        return tree.numel() * tree.element_size()
    if isinstance(tree, Mapping):
        return sum(_bytes_in(part) for part in tree.values())
    if isinstance(tree, list | tuple):
        return sum(_bytes_in(part) for part in tree)
    return 0
