"""Train the network of a bound on paired rows, so that it can be read on others.

The rows are divided at random: *train* (60 %) fits the scaling of the columns, then the network,
in minibatches of K; *validation* (15 %) picks the moment of training that reads highest, limits
the scores to what was seen there, and chooses how InfoNCE's lower confidence bound is read;
*test* (25 %) is left for reading.

Letters: N = pairs; D, E = dimensions of x and of y; K = pairs in a batch; M = batches.
Reference: [VBMI] Poole et al. 2019, arXiv:1905.06922.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn

from sidle import seeding, training
from sidle.errors import ArgumentError
from sidle.mi import reading, rows
from sidle.mi.guarantees import Bound, CriticBuilder, outputs
from sidle.mi.reading import Clip, Estimate
from sidle.mi.rows import Matrix, Pair, Scaling
from sidle.runs import Run

STEPS_BETWEEN_EVALUATIONS = 25
EVALUATIONS_WITHOUT_IMPROVEMENT = 20
# Batches a validation value is averaged over, by repeated partition where there are fewer.
FEWEST_VALIDATION_BATCHES, MOST_VALIDATION_BATCHES = 16, 64
# Between which ends the scores of InfoNCE may be clipped: the upper one a quantile of the joint
# pairs' scores, the lower one so many nats below.
CLIP_QUANTILES, CLIP_WIDTHS = (0.1, 0.25, 0.5, 0.75, 1.0), (0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0)
REFERENCE_ROWS = 256  # of y, by which a critic is normalised
LARGEST_CONFIDENCE_BATCH = 256  # larger ones leave too few batches to win


@final
@dataclass(frozen=True)
class Fitted:
    """A trained network with all that reading it on new pairs takes.

    Attributes:
        bound: what it was trained for.
        network: on its device.
        scale_x: scaling of the columns of x.
        scale_y: scaling of the columns of y.
        batch_size: K.
        limit: largest score seen on validation; scores are limited to it. Higher ones are
            extrapolation, and one of them under an exponential can outweigh all other pairs. The
            critic so limited is a critic too, fixed before the test rows are read, so that every
            guarantee stands.
        clip: how InfoNCE's lower confidence bound is read; None for other bounds.
        steps: training steps behind the weights.
        n_train: pairs it was trained on.
        n_validation: pairs that chose the moment of training.
        seed: the seed given.
        device: where it is read.
    """

    bound: Bound
    network: nn.Module
    scale_x: Scaling
    scale_y: Scaling
    batch_size: int
    limit: float
    clip: Clip | None
    steps: int
    n_train: int
    n_validation: int
    seed: int
    device: str | torch.device

    def read(self, x_ND: Matrix, y_NE: Matrix) -> Estimate:
        """Read the bound on fresh pairs, at least K, that training never saw."""
        pair = _on_device(self.scale_x(x_ND), self.scale_y(y_NE), self.device)
        found = reading.read(
            self.network,
            self.bound,
            pair,
            self.batch_size,
            limit=self.limit,
            clip=self.clip,
            seed=seeding.split(self.seed, "test"),
        )
        return Estimate(
            bound=self.bound.name,
            nats=found.nats,
            guarantee=self.bound.guarantee,
            ceiling=self.bound.ceiling(self.batch_size),
            interval=found.interval,
            n_train=self.n_train,
            n_validation=self.n_validation,
            n_test=len(x_ND),
            batch_size=self.batch_size,
            steps=self.steps,
            seed=self.seed,
            pareto_shape=found.pareto_shape,
            notes=reading.notes(self.bound, found, self.batch_size, len(x_ND)),
        )

    def lower_confidence_bound(self, x_ND: Matrix, y_NE: Matrix) -> float:
        """Return the low end of InfoNCE's interval on fresh pairs, without the rest of `read`."""
        if self.clip is None:
            raise ArgumentError(
                f"lower_confidence_bound: expected InfoNCE with two test batches, got "
                f"{self.bound.title}. Fit with bound='infonce' on more rows."
            )
        pair = _on_device(self.scale_x(x_ND), self.scale_y(y_NE), self.device)
        return reading.lower_confidence_bound(
            self.network, pair, self.clip, seed=seeding.split(self.seed, "test")
        )


def fit(
    x_ND: Matrix,
    y_NE: Matrix,
    bound: Bound,
    build: CriticBuilder,
    *,
    batch_size: int,
    n_steps: int,
    learning_rate: float,
    seed: int,
    device: str | torch.device,
    run: Run | None,
) -> tuple[Fitted, tuple[Matrix, Matrix]]:
    """Train on part of the rows; return what was trained, and the rows left for the test.

    Args:
        x_ND: all rows of x.
        y_NE: all rows of y.
        bound: what to train for.
        build: makes the critic from (D, E).
        batch_size: K.
        n_steps: training steps at most.
        learning_rate: of Adam.
        seed: names division, initial weights, and batches.
        device: where to train.
        run: keeps checkpoints and metrics; None keeps nothing.
    """
    train_R, validation_R, test_R = rows.divide(len(x_ND), seed)
    scale_x, scale_y = Scaling.of(x_ND[train_R]), Scaling.of(y_NE[train_R])
    train, validation = (
        _on_device(scale_x(x_ND[part]), scale_y(y_NE[part]), device)
        for part in (train_R, validation_R)
    )
    with seeding.scope(seeding.split(seed, "critic")):
        network = bound.network(build, x_ND.shape[1], y_NE.shape[1]).to(device)
    steps = _train(network, bound, train, validation, batch_size, n_steps, learning_rate, seed, run)
    limit, clip = math.inf, None
    if not bound.density:
        limit = _largest_score(network, validation, batch_size, seed)
    if bound.name == "infonce":
        reference_RE = train[1][:REFERENCE_ROWS]  # in random order already
        clip = _choose_clip(network, validation, reference_RE, batch_size, len(test_R), seed)
    fitted = Fitted(
        bound=bound,
        network=network,
        scale_x=scale_x,
        scale_y=scale_y,
        batch_size=batch_size,
        limit=limit,
        clip=clip,
        steps=steps,
        n_train=len(train_R),
        n_validation=len(validation_R),
        seed=seed,
        device=device,
    )
    return fitted, (x_ND[test_R], y_NE[test_R])


def _on_device(x: Any, y: Any, device: str | torch.device) -> Pair:
    return torch.from_numpy(x).to(device), torch.from_numpy(y).to(device)


def _validation(validation: Pair, K: int, seed: int) -> tuple[Pair, Tensor]:
    """Return as many validation rows as are read, and their partition into batches."""
    # The rows are in random order already.
    x_ND, y_NE = (part[: K * MOST_VALIDATION_BATCHES] for part in validation)
    rows_PMK = rows.partitions(
        len(x_ND), K, FEWEST_VALIDATION_BATCHES, seeding.split(seed, "validation")
    )
    return (x_ND, y_NE), rows_PMK


def _train(
    network: nn.Module,
    bound: Bound,
    train: Pair,
    validation: Pair,
    K: int,
    n_steps: int,
    learning_rate: float,
    seed: int,
    run: Run | None,
) -> int:
    """Leave in the network the weights that read highest on validation; return their step."""
    optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate, fused=True)
    best = _BestWeights(network)
    pair, rows_PMK = _validation(validation, K, seed)
    judge = bound.value if bound.selection == "value" else bound.objective

    def loss(module: nn.Module, batch: Pair) -> Tensor:
        scores, *more = outputs(module, *batch)
        # The critic learns the log ratio for every bound, so that each starts near zero nats.
        return -bound.objective(scores + bound.shift, *more)

    def evaluate(step: int) -> dict[str, float]:
        judged = reading.values(network, bound, pair, rows_PMK, function=judge).mean().item()
        best.offer(judged, step)
        return {"validation": judged}

    every = min(STEPS_BETWEEN_EVALUATIONS, n_steps)
    if bound.name != "mine":  # its moving average is not a number before the first step
        evaluate(0)  # where there is nothing to learn, the untrained critic is the best one
    training.fit(
        training.supervised(network, optimizer, loss),
        training.minibatches(train, K, seed=seeding.split(seed, "batches")),
        n_steps,
        state={"critic": network, "optimizer": optimizer, "best": best},
        run=run,
        evaluate=evaluate,
        evaluate_every=every,
        stop=training.Patience(
            "validation", EVALUATIONS_WITHOUT_IMPROVEMENT, lower_is_better=False
        ),
        log_every=every,
        description=f"training for {bound.title}",
    )
    best.restore()
    return best.step


def _largest_score(network: nn.Module, validation: Pair, K: int, seed: int) -> float:
    pair, rows_PMK = _validation(validation, K, seed)
    return max(scores_MKK.max().item() for scores_MKK in reading.scores(network, pair, rows_PMK))


def _choose_clip(
    network: nn.Module, validation: Pair, reference_RE: Tensor, K: int, n_test: int, seed: int
) -> Clip | None:
    """Return the clip whose lower confidence bound is expected to be highest on n_test rows.

    Smaller batches give more of them, and so a narrower bound, under a lower ceiling; ends closer
    together narrow the range of a value but make the critic a poorer one.
    """
    pair, _ = _validation(validation, K, seed)
    most = min(K, LARGEST_CONFIDENCE_BATCH)
    sizes = {min(most, 2**power) for power in range(2, most.bit_length() + 1)}
    best, highest = None, -math.inf
    for size in sorted(sizes):
        n_batches = min(n_test // size, reading.MOST_CONFIDENCE_BATCHES)
        if n_batches < 2:
            continue
        rows_1MK = rows.partitions(len(pair[0]), size, 1, seeding.split(seed, "clip", size))
        found = reading.normalised_scores(network, pair, rows_1MK, reference_RE)
        scores_MKK = torch.cat(list(found))
        joint = scores_MKK.diagonal(dim1=-2, dim2=-1).flatten()
        for quantile, width in itertools.product(CLIP_QUANTILES, CLIP_WIDTHS):
            high = joint.quantile(quantile).item()
            clip = Clip(reference_RE, high - width, high, size)
            # As if the test rows gave the values seen here, over and over.
            values = np.resize(clip.values([scores_MKK]), n_batches)
            expected = clip.lower_confidence_bound(values)
            if expected > highest:
                best, highest = clip, expected
    return best


@final
class _BestWeights:
    """The weights of a module that read highest so far; part of the training state."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self.nats, self.step = -math.inf, 0
        self._weights: dict[str, Tensor] = {}

    def offer(self, nats: float, step: int) -> None:
        """Keep a copy of the present weights if ``nats`` beats all before."""
        if nats > self.nats or not self._weights:
            self.nats, self.step = nats, step
            self._weights = {
                name: value.detach().clone() for name, value in self._module.state_dict().items()
            }

    def restore(self) -> None:
        """Put the kept weights into the module."""
        self._module.load_state_dict(self._weights)

    def state_dict(self) -> dict[str, Any]:
        """Return value, step and weights."""
        return {"nats": self.nats, "step": self.step, "weights": self._weights}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        self.nats, self.step = float(state_dict["nats"]), int(state_dict["step"])
        self._weights = dict(state_dict["weights"])
