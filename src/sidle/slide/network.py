"""The network of the extreme classifier: embedding bag, optional residual block, wide softmax.

    hidden = sum of the embeddings of a row's words, weighted by tf-idf, + bias
    hidden = hidden + V relu(U hidden)             with a residual block
    scores = W dropout(hidden) + b                 one for each label

It starts with sense: the embedding from a singular value decomposition of training rows, and each
output from the mean of its rows, so that before the first step a score is a cosine to a label.
Letters: N = rows, D = features, H = width, L = labels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor, nn

from sidle import seeding
from sidle.slide.embedding import SparseEmbedding
from sidle.slide.layers import WideSoftmax
from sidle.slide.row_updates import BETAS
from sidle.slide.weighting import WeightedRows, some_of

_DENSE_OUTPUTS = 8192  # up to so many outputs all are scored at each step
_MOST_DECOMPOSED = 2**17  # rows; directions of more are the same but for chance
_POWER_ITERATIONS = 2  # of the decomposition; Halko, Martinsson & Tropp 2011, section 4.5
_OVERSAMPLING = 10
_MOST_STRETCH = 5.0  # of a weak direction against the strongest
_OUTPUT_LENGTH = 8.0  # of the rows that the outputs start with
_CHUNK_SCORES = 2**24  # scores computed at a time
_Array = np.ndarray[Any, Any]


class BagNetwork(nn.Module):
    """Embedding bag, optional residual block and wide softmax; updates itself in backward passes.

    Args:
        n_features: D.
        n_labels: L, at least 2.
        hidden: H.
        residual: whether there is a residual block.
        dropout: share of hidden units dropped in training, in [0, 1).
        learning_rate: Adam's, at its highest.
        candidates: outputs scored at a step beside the labels, where not all are.
        betas: Adam's, of embedding and outputs.
        seed: names initial weights, candidates and dropout.
        threads: how many share the work.
        engine: "dense" scores all outputs at a step, "sampled" candidates; None: dense up to 8192
            outputs.
    """

    def __init__(
        self,
        n_features: int,
        n_labels: int,
        *,
        hidden: int,
        residual: bool,
        dropout: float,
        learning_rate: float,
        candidates: int,
        seed: int,
        threads: int,
        betas: tuple[float, float] = BETAS,
        engine: Literal["dense", "sampled"] | None = None,
    ) -> None:
        super().__init__()
        self.dropout, self.learning_rate, self.seed = dropout, learning_rate, seed
        self.embedding = SparseEmbedding(
            n_features, hidden, lr=learning_rate, betas=betas, bias=True, threads=threads,
            seed=seeding.split(seed, "embedding"),
        )  # fmt: skip
        default = "dense" if n_labels <= _DENSE_OUTPUTS else "sampled"
        self.output = WideSoftmax(
            hidden, n_labels, lr=learning_rate, betas=betas, objective="multilabel",
            threads=threads, engine=engine or default,
            candidates=candidates, seed=seeding.split(seed, "output"),
        )  # fmt: skip
        self.block: nn.Sequential | None = None
        self.optimizer: torch.optim.Adam | None = None
        if residual:
            with seeding.scope(seeding.split(seed, "block")):
                self.block = nn.Sequential(
                    nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, hidden)
                )
            with torch.no_grad():  # the block starts as the identity
                for last in self.block[2].parameters():
                    last.zero_()
            self.optimizer = torch.optim.Adam(self.block.parameters(), lr=learning_rate)

    def encode(self, rows: csr_array) -> Tensor:
        """Return the hidden vectors of weighted rows, (N, H)."""
        hidden: Tensor = self.embedding(rows)
        return hidden if self.block is None else hidden + self.block(hidden)

    @torch.no_grad()
    def start(self, rows: WeightedRows, labels: csr_array, numbers: _Array) -> None:
        """Start from a decomposition of rows and the means of labels' rows.

        Args:
            rows: (N, D).
            labels: CSR, (N, L).
            numbers: of the rows to start from, (M,); of more than 131,072, so many are drawn for
                the decomposition.
        """
        width = self.embedding.weight.shape[1]
        if min(len(numbers), rows.shape[1]) <= width + _OVERSAMPLING:
            return
        seed = seeding.split(self.seed, "decomposition")
        vectors, values = _principal(
            rows.take(some_of(numbers, _MOST_DECOMPOSED, seeding.split(seed, "rows"))), width, seed
        )
        stretch = torch.sqrt(values[0] / values.clamp_min(1e-12)).clamp_max(_MOST_STRETCH)
        vectors = vectors * stretch
        means, total = np.zeros(self.output.weight.shape, np.float32), 0.0
        for some, block in rows.blocks(numbers):
            hidden = torch.from_numpy(np.ascontiguousarray(block @ vectors.numpy()))
            total += float(hidden.norm(dim=1).sum())
            directions = nn.functional.normalize(hidden, dim=1).numpy()
            _add_by_label(means, labels[some], directions)
        self.embedding.weight.copy_(vectors / max(total / len(numbers), 1e-12))
        lengthened = nn.functional.normalize(torch.from_numpy(means), dim=1) * _OUTPUT_LENGTH
        self.output.weight.copy_(lengthened)

    def step(self, schedule: Callable[[int], float]) -> Callable[[Any], dict[str, Tensor]]:
        """Return ``step(batch)`` for `training.fit`; batches are (number, rows, labels).

        Args:
            schedule: the factor of the learning rate at a step's number, counted from 0.
        """

        def step(batch: tuple[int, csr_array, csr_array]) -> dict[str, Tensor]:
            number, rows, labels = batch
            if not self.training:
                self.train()
            rate = self.learning_rate * schedule(number)
            self.embedding.lr = self.output.lr = rate
            hidden = self.encode(rows)
            if self.dropout > 0:
                generator = seeding.torch_generator(seeding.split(self.seed, "dropout", number))
                kept = torch.rand(hidden.shape, generator=generator) >= self.dropout
                hidden = hidden * kept / (1 - self.dropout)
            if self.optimizer is not None:
                self.optimizer.param_groups[0]["lr"] = rate
                self.optimizer.zero_grad(set_to_none=True)
            loss: Tensor = self.output(hidden, labels)
            loss.backward()  # type: ignore[no-untyped-call]
            if self.optimizer is not None:
                self.optimizer.step()
            return {"loss": loss.detach()}

        return step

    @torch.no_grad()
    def best(self, hidden: Tensor, k: int) -> _Array:
        """Return the k labels of the highest scores, (N, k) int64, best first; exact."""
        at_once = max(1, _CHUNK_SCORES // self.output.out_features)
        found = [self.output.topk(part, k, exact=True)[1] for part in torch.split(hidden, at_once)]
        return torch.cat(found).numpy()

    def training_state(self) -> dict[str, Any]:
        """Return weights and all else that the next step depends on."""
        state: dict[str, Any] = {
            "weights": self.state_dict(),
            "embedding": self.embedding.training_state(),
            "output": self.output.training_state(),
        }
        if self.optimizer is not None:
            state["block"] = self.optimizer.state_dict()
        return state

    def load_training_state(self, state: Mapping[str, Any]) -> None:
        """Take over what `training_state` returned."""
        self.load_state_dict(state["weights"])
        self.embedding.load_training_state(state["embedding"])
        self.output.load_training_state(state["output"])
        if self.optimizer is not None:
            self.optimizer.load_state_dict(state["block"])


class TrainingState:
    """A network's state as `checkpoint` wants it."""

    def __init__(self, network: BagNetwork) -> None:
        self._network = network

    def state_dict(self) -> dict[str, Any]:
        """Return `BagNetwork.training_state`."""
        return self._network.training_state()

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        self._network.load_training_state(state_dict)


class BestWeights:
    """The weights of a network at its best evaluation; part of the state of training."""

    def __init__(self, network: BagNetwork) -> None:
        self._network = network
        self._score = -math.inf
        self._weights: dict[str, Tensor] = {}

    def offer(self, score: float) -> None:
        """Keep the present weights if ``score`` is the best so far."""
        if score > self._score:
            self._score = score
            self._weights = {
                name: value.clone() for name, value in self._network.state_dict().items()
            }

    def restore(self) -> None:
        """Put the best weights back, if there are any."""
        if self._weights:
            self._network.load_state_dict(self._weights)

    def state_dict(self) -> dict[str, Any]:
        """Return score and weights."""
        return {"score": self._score, "weights": self._weights}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        self._score, self._weights = float(state_dict["score"]), dict(state_dict["weights"])


def warm_up_then_fall(n_steps: int, warm_up: int) -> Callable[[int], float]:
    """Return a schedule: it rises to 1 over ``warm_up`` steps while it falls linearly to 0."""

    def factor(step: int) -> float:
        return max(min(1.0, (step + 1) / warm_up) * (1 - step / n_steps), 1e-3)

    return factor


def minibatches(
    rows: WeightedRows, labels: csr_array, numbers: _Array, batch_size: int, seed: int
) -> Callable[[int], tuple[int, csr_array, csr_array]]:
    """Return ``batches(i)``: rows in a new order each epoch; the order depends on its number.

    Args:
        rows: (N, D).
        labels: CSR, (N, L).
        numbers: of the rows to learn from, (M,).
        batch_size: of all batches but the last of an epoch.
        seed: names the orders.
    """
    n = len(numbers)
    per_epoch = math.ceil(n / batch_size)
    orders: dict[int, _Array] = {}

    def batches(i: int) -> tuple[int, csr_array, csr_array]:
        epoch, position = divmod(i, per_epoch)
        if epoch not in orders:
            orders.clear()
            generator = seeding.numpy_generator(seeding.split(seed, "epoch", epoch))
            orders[epoch] = generator.permutation(n)
        some = numbers[orders[epoch][position * batch_size : (position + 1) * batch_size]]
        return i, rows.take(some), labels[some]

    return batches


def _add_by_label(sums_LH: _Array, labels: csr_array, directions_NH: _Array) -> None:
    """Add to each label's row the directions of the rows that have it, in place."""
    named, where = np.unique(labels.indices, return_inverse=True)
    small = csr_array((labels.data, where, labels.indptr), shape=(labels.shape[0], len(named)))
    sums_LH[named] += small.T.astype(np.float32) @ directions_NH


def _principal(rows: csr_array, width: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return the leading right singular vectors (D, H) and singular values (H,), about."""
    generator = seeding.torch_generator(seed)
    start = torch.randn(rows.shape[1], width + _OVERSAMPLING, generator=generator)
    turned = rows.T.tocsr()
    image = rows @ start.numpy()
    for _ in range(_POWER_ITERATIONS):
        image = rows @ _orthonormal(turned @ image).numpy()
    small = turned @ _orthonormal(image).numpy()  # (D, H + 10)
    vectors, values, _ = torch.linalg.svd(torch.from_numpy(small), full_matrices=False)
    return vectors[:, :width].contiguous(), values[:width]


def _orthonormal(columns: _Array) -> Tensor:
    basis: Tensor = torch.linalg.qr(torch.from_numpy(np.ascontiguousarray(columns)))[0]
    return basis
