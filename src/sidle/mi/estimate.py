"""Estimate mutual information from paired data: train a critic, read a bound on held-out pairs.

The object all functions share is a pair of matrices x_ND and y_NE, row n of one belonging to row
n of the other, rows independent draws of one distribution. The rows are divided at random:

- *train* (60 %): fits the scaling of the columns, then the critic, in minibatches of K;
- *validation* (15 %): picks the moment of training that reads highest, so that neither too little
  training nor overfitting is read out, and limits the scores to what was seen there;
- *test* (25 %): read once, at the end, in disjoint batches of K.

Since the critic never saw the test rows, the value of a lower bound is one in expectation, however
poorly the critic was trained: a weak critic reads too low, not too high.

Letters: N = pairs; D, E = dimensions of x and of y; K = pairs in a batch; P = random partitions of
rows into batches; M = batches in each partition.
Reference: [VBMI] Poole et al. 2019, arXiv:1905.06922.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from sidle import seeding, training
from sidle.errors import ArgumentError, NonFiniteError, ShapeError
from sidle.evaluation.statistics import t_interval
from sidle.mi.bounds import BOUNDS, Bound, Guarantee
from sidle.mi.critics import CRITICS
from sidle.runs import Run

Array = npt.ArrayLike | Tensor
Parts = Mapping[str, tuple[Tensor, Tensor]]
T = TypeVar("T")

VALIDATION_PERCENT, TEST_PERCENT = 15, 25
SMALLEST_BATCH, LARGEST_BATCH = 8, 256  # what `default_batch_size` chooses between
BATCHES_FOR_AN_INTERVAL = 5  # that `default_batch_size` leaves where it can
STEPS_BETWEEN_EVALUATIONS = 25
EVALUATIONS_WITHOUT_IMPROVEMENT = 20
# Batches a value is averaged over, by repeated random partition where one has fewer.
FEWEST_VALIDATION_BATCHES, MOST_VALIDATION_BATCHES, TEST_BATCHES = 16, 64, 64
NORMAL_QUARTILE_RANGE = 1.349  # of a standard normal variable
NATS_BELOW_CEILING = 1.0  # closer than this, an estimate says more about K than about the data


@dataclass(frozen=True)
class Estimate:
    """What a bound read on held-out pairs.

    Attributes:
        bound: name of the bound, a key of `BOUNDS`.
        nats: the estimate of I(X; Y): mean over disjoint test batches, averaged over several
            random partitions of the test rows. Not clipped: chance may take it below zero.
        guarantee: what its expectation is to I(X; Y): "lower", "upper" or "none".
        ceiling: the most this bound can read at this batch size, in nats; None if unlimited.
        interval: 95 % t-interval in nats over disjoint test batches, None if there are fewer than
            two. It covers the expectation of the bound for this critic and batch size, not
            I(X; Y). For a lower bound I(X; Y) lies above its low end with at least 97.5 %
            confidence. Values of NWJ, DV and JS are heavy-tailed where I is large: it is then too
            short.
        n_train: pairs the critic was trained on.
        n_validation: pairs that chose the moment of training.
        n_test: pairs that were read.
        batch_size: K, in training and in reading.
        steps: training steps behind the critic that was read.
        seed: the seed given.
        notes: what a reader of the number should know, one sentence each; often empty.
    """

    bound: str
    nats: float
    guarantee: Guarantee
    ceiling: float | None
    interval: tuple[float, float] | None
    n_train: int
    n_validation: int
    n_test: int
    batch_size: int
    steps: int
    seed: int
    notes: tuple[str, ...] = ()

    @property
    def bits(self) -> float:
        """The estimate in bits."""
        return self.nats / math.log(2)

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values: the fields by name, with ``interval`` and ``notes`` as lists."""
        return {
            "bound": self.bound,
            "nats": self.nats,
            "guarantee": self.guarantee,
            "ceiling": self.ceiling,
            "interval": None if self.interval is None else list(self.interval),
            "n_train": self.n_train,
            "n_validation": self.n_validation,
            "n_test": self.n_test,
            "batch_size": self.batch_size,
            "steps": self.steps,
            "seed": self.seed,
            "notes": list(self.notes),
        }


def estimate(
    x: Array,
    y: Array,
    *,
    bound: str = "infonce",
    critic: str | Callable[[int, int], nn.Module] = "separable",
    batch_size: int | None = None,
    n_steps: int = 4000,
    learning_rate: float = 5e-4,
    seed: int = 0,
    device: str | torch.device = "cpu",
    run: Run | None = None,
) -> Estimate:
    """Estimate I(X; Y) from paired rows, in nats.

    Each column is centred at its median, divided by its spread and passed through asinh, which
    tames heavy tails. That is one-to-one, so that I(X; Y) is what it was, and makes the estimate
    independent of units. A constant column is harmless. Categories should come one-hot. Rows must
    be independent: neighbouring rows of a time series, or repeated ones, leak from train to test
    and let the estimate read too high.

    Args:
        x: N rows, shape (N,) or (N, D); NumPy, torch, or what `numpy.asarray` takes; finite real
            numbers, integers or booleans.
        y: N rows, shape (N,) or (N, E), likewise.
        bound: "infonce", "nwj", "dv" or "js".
        critic: "separable", "bilinear", or a function from (D, E) to a module that maps (x_BD,
            y_CE) to scores_BC, such as ``partial(SeparableCritic, hidden=64)``.
        batch_size: K >= 2; None takes `default_batch_size`. InfoNCE cannot exceed log K.
        n_steps: training steps at most; training stops early when the validation value has not
            improved for 500 steps.
        learning_rate: of Adam, above 0.
        seed: names division, initial weights, and batches. Same seed, same bits.
        device: where the critic is trained and read.
        run: an open run that keeps checkpoints and metrics, so that an interrupted estimate
            resumes and ends with the same result; None keeps nothing.

    Raises:
        ShapeError: x or y is no vector or matrix, has no columns, or their rows differ in number.
        NonFiniteError: x or y holds a NaN or an infinity, or training diverged.
        ArgumentError: not numbers, an unknown bound or critic, a setting outside its range, or
            too few rows for the batch size; says how many rows would do.
    """
    x_ND, y_NE = _matrix(x, "x"), _matrix(y, "y")
    if len(x_ND) != len(y_NE):
        raise ShapeError(
            f"estimate: x and y must have the same number of rows, got {len(x_ND)} and "
            f"{len(y_NE)}. Row n of x must belong to row n of y."
        )
    chosen, build = _look_up(bound, BOUNDS, "bound"), critic
    if isinstance(build, str):
        build = _look_up(build, CRITICS, "critic")
    if n_steps < 1 or not 0 < learning_rate < math.inf:
        raise ArgumentError(
            f"estimate: n_steps must be at least 1 and learning_rate above 0, got {n_steps} and "
            f"{learning_rate}."
        )
    K = default_batch_size(len(x_ND)) if batch_size is None else batch_size
    _check_rows(len(x_ND), K, chosen=batch_size is not None)

    parts = _divide(x_ND, y_NE, seed, device)
    with seeding.scope(seeding.split(seed, "critic")):
        module = build(x_ND.shape[1], y_NE.shape[1]).to(device)
    steps, limit = _train(module, chosen, parts, K, n_steps, learning_rate, seed, run)
    n_train, n_validation, n_test = (len(part[0]) for part in parts.values())
    rows_PMK = _partitions(n_test, K, TEST_BATCHES, seeding.split(seed, "test"))
    values_PM = _read(module, chosen, parts["test"], rows_PMK, limit=limit)
    nats, interval = _summary(values_PM)
    ceiling = chosen.ceiling(K)
    return Estimate(
        bound=bound,
        nats=nats,
        guarantee=chosen.guarantee,
        ceiling=ceiling,
        interval=interval,
        n_train=n_train,
        n_validation=n_validation,
        n_test=n_test,
        batch_size=K,
        steps=steps,
        seed=seed,
        notes=_notes(nats, ceiling, interval, K, n_test),
    )


def estimate_all(
    x: Array,
    y: Array,
    *,
    critic: str | Callable[[int, int], nn.Module] = "separable",
    batch_size: int | None = None,
    n_steps: int = 4000,
    learning_rate: float = 5e-4,
    seed: int = 0,
    device: str | torch.device = "cpu",
) -> list[Estimate]:
    """Return `estimate` with every bound of `BOUNDS`, on the same division into parts.

    The largest of the lower bounds is no lower bound: picking it favours chance. Choose the bound
    before looking, or raise the bar accordingly.

    Args, raises: as `estimate`.
    """
    return [
        estimate(
            x,
            y,
            bound=name,
            critic=critic,
            batch_size=batch_size,
            n_steps=n_steps,
            learning_rate=learning_rate,
            seed=seed,
            device=device,
        )
        for name in BOUNDS
    ]


def default_batch_size(n: int) -> int:
    """Return K for n pairs: a fifth of the test rows, but at least 8 and at most 256.

    A larger K raises InfoNCE's ceiling log K; five disjoint test batches keep its interval
    useful. 256 are reached at 5,120 pairs; 54 pairs are the fewest that K = 8 can work with.
    """
    _, _, n_test = _sizes(n)
    return min(max(n_test // BATCHES_FOR_AN_INTERVAL, SMALLEST_BATCH), LARGEST_BATCH)


def _matrix(values: Array, name: str) -> npt.NDArray[np.float64]:
    """Return the values as a float64 matrix, or raise for what cannot be one."""
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        values = (values.double() if values.is_floating_point() else values).numpy()
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise ArgumentError(
            f"estimate: {name} must hold real numbers, got dtype {array.dtype}. Encode categories "
            "one-hot."
        )
    if array.ndim not in (1, 2) or (array.ndim == 2 and array.shape[1] == 0):
        raise ShapeError(
            f"estimate: {name} must have shape (N,) or (N, D) with D >= 1, got {array.shape}. "
            "Flatten each sample into one row."
        )
    matrix = array.astype(np.float64).reshape(len(array), -1 if len(array) else 1)
    bad = np.flatnonzero(~np.isfinite(matrix).all(axis=1))
    if len(bad):
        raise NonFiniteError(
            f"estimate: {name} must be finite, but {len(bad)} of {len(matrix)} rows hold a NaN or "
            f"an infinity, the first in row {bad[0]} (counted from 0). Drop these rows from x and "
            "from y."
        )
    return matrix


def _look_up(name: str, table: Mapping[str, T], what: str) -> T:
    if name not in table:
        known = ", ".join(table)
        raise ArgumentError(f"estimate: {what} must be one of {known}, got {name!r}.")
    return table[name]


def _sizes(n: int) -> tuple[int, int, int]:
    """Return how many of n rows are for training, validation and test."""
    n_validation, n_test = n * VALIDATION_PERCENT // 100, n * TEST_PERCENT // 100
    return n - n_validation - n_test, n_validation, n_test


def _check_rows(n: int, K: int, *, chosen: bool) -> None:
    if K < 2:
        raise ArgumentError(f"estimate: batch_size must be at least 2, got {K}.")
    if min(_sizes(n)) < K:
        needed = -(-100 * K // VALIDATION_PERCENT)  # validation is the smallest part
        raise ArgumentError(
            f"estimate: a batch of {K} needs at least {needed} rows, of which "
            f"{VALIDATION_PERCENT} % are for validation, got {n}. "
            + (
                "Give more rows or a smaller batch_size."
                if chosen
                else "Give more rows; a smaller batch_size works, but its ceiling log K is low."
            )
        )


def _divide(
    x_ND: npt.NDArray[np.float64],
    y_NE: npt.NDArray[np.float64],
    seed: int,
    device: str | torch.device,
) -> Parts:
    """Return the scaled rows of train, validation and test, in this order."""
    order = seeding.numpy_generator(seeding.split(seed, "division")).permutation(len(x_ND))
    rows = np.split(order, np.cumsum(_sizes(len(order)))[:-1])
    x_parts, y_parts = (
        [torch.from_numpy(part).to(device) for part in _scaled(matrix, rows)]
        for matrix in (x_ND, y_NE)
    )
    return {
        name: (x_parts[i], y_parts[i]) for i, name in enumerate(("train", "validation", "test"))
    }


def _scaled(
    matrix: npt.NDArray[np.float64], rows: list[npt.NDArray[np.int64]]
) -> list[npt.NDArray[np.float32]]:
    """Return the parts of the matrix, columns scaled one-to-one by what the first part says."""
    train = matrix[rows[0]]
    low, centre, high = np.quantile(train, (0.25, 0.5, 0.75), axis=0)
    # A column that mostly repeats one value has no quartile range; a constant one, no spread.
    spread = np.where(high > low, (high - low) / NORMAL_QUARTILE_RANGE, train.std(axis=0))
    spread = np.where(train.max(axis=0) > train.min(axis=0), spread, 1.0)
    return [np.arcsinh((matrix[part] - centre) / spread).astype(np.float32) for part in rows]


def _train(
    module: nn.Module,
    bound: Bound,
    parts: Parts,
    K: int,
    n_steps: int,
    learning_rate: float,
    seed: int,
    run: Run | None,
) -> tuple[int, float]:
    """Leave in the module the weights that read highest on validation.

    Returns:
        The step of those weights, and their largest score on validation. Higher scores are
        extrapolation, and one of them under an exponential can outweigh all other pairs. The
        critic limited to that score is a critic too, fixed before the test rows are read, so that
        every guarantee stands.
    """
    optimizer = torch.optim.Adam(module.parameters(), lr=learning_rate, fused=True)
    best = _BestWeights(module)
    # The rows are in random order already.
    x_ND, y_NE = (part[: K * MOST_VALIDATION_BATCHES] for part in parts["validation"])
    rows_PMK = _partitions(
        len(x_ND), K, FEWEST_VALIDATION_BATCHES, seeding.split(seed, "validation")
    )

    def loss(critic: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        # The critic learns the log ratio for every bound, so that each starts near zero nats.
        return -bound.objective(critic(*batch) + bound.shift)

    def evaluate(step: int) -> dict[str, float]:
        nats = _read(module, bound, (x_ND, y_NE), rows_PMK).mean().item()
        best.offer(nats, step)
        return {"validation_nats": nats}

    every = min(STEPS_BETWEEN_EVALUATIONS, n_steps)
    evaluate(0)  # where there is nothing to learn, the untrained critic is the best one
    training.fit(
        training.supervised(module, optimizer, loss),
        training.minibatches(parts["train"], K, seed=seeding.split(seed, "batches")),
        n_steps,
        state={"critic": module, "optimizer": optimizer, "best": best},
        run=run,
        evaluate=evaluate,
        evaluate_every=every,
        stop=training.Patience(
            "validation_nats", EVALUATIONS_WITHOUT_IMPROVEMENT, lower_is_better=False
        ),
        log_every=every,
        description=f"training the {bound.title} critic",
    )
    best.restore()
    limit = max(scores_KK.max().item() for scores_KK in _scores(module, (x_ND, y_NE), rows_PMK))
    return best.step, limit


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


def _partitions(n: int, K: int, n_batches: int, seed: int) -> Tensor:
    """Return row numbers, shape (P, M, K): random partitions into M = n // K disjoint batches.

    As many partitions as it takes to have ``n_batches`` batches in all, at least one; the rows
    left over differ from one partition to the next.
    """
    M = n // K
    orders = [
        torch.randperm(n, generator=seeding.torch_generator(seeding.split(seed, "partition", i)))
        for i in range(-(-n_batches // M))
    ]
    return torch.stack([order[: M * K].reshape(M, K) for order in orders])


@torch.no_grad()
def _scores(module: nn.Module, pair: tuple[Tensor, Tensor], rows_PMK: Tensor) -> Iterator[Tensor]:
    """Yield the scores of each batch of rows, shape (K, K), float64."""
    module.eval()
    x_ND, y_NE = pair
    for rows_K in rows_PMK.flatten(0, 1).to(x_ND.device):
        # In float64, exp of a wild score is huge rather than infinite.
        yield module(x_ND[rows_K], y_NE[rows_K]).double()


def _read(
    module: nn.Module,
    bound: Bound,
    pair: tuple[Tensor, Tensor],
    rows_PMK: Tensor,
    *,
    limit: float = math.inf,
) -> Tensor:
    """Return the bound of each batch of rows, its scores limited from above; shape (P, M)."""
    values = [
        bound.value(scores_KK.clamp(max=limit) + bound.shift)
        for scores_KK in _scores(module, pair, rows_PMK)
    ]
    return torch.stack(values).reshape(rows_PMK.shape[:2]).cpu()


def _summary(values_PM: Tensor) -> tuple[float, tuple[float, float] | None]:
    """Return the mean over all batches and a 95 % interval around it, in nats."""
    nats = values_PM.mean().item()
    if values_PM.shape[1] < 2:
        return nats, None
    intervals = [t_interval(values_M.tolist()) for values_M in values_PM]
    # Batches of different partitions share rows, so each partition gives an interval of its own.
    # Their typical half-width is kept: averaging can only have narrowed the spread of the mean.
    half = math.sqrt(sum((i.high - i.low) ** 2 / 4 for i in intervals) / len(intervals))
    return nats, (nats - half, nats + half)


def _notes(
    nats: float, ceiling: float | None, interval: tuple[float, float] | None, K: int, n_test: int
) -> tuple[str, ...]:
    notes = []
    if interval is None:
        notes.append(
            f"No interval: the {n_test} test rows hold fewer than two disjoint batches of {K}; "
            "give more rows or a smaller batch_size."
        )
    if ceiling is not None and nats > ceiling - NATS_BELOW_CEILING:
        notes.append(
            f"Close to the ceiling of {ceiling:.2f} nats: I(X; Y) may be much larger; a larger "
            "batch_size raises the ceiling."
        )
    return tuple(notes)
