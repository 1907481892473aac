"""Read a bound on pairs that its network never saw.

The pairs are dealt at random into disjoint batches of K. The value is the mean over batches,
averaged over several such partitions; the interval comes from one partition, whose batches are
independent.

Letters: N = pairs; K = pairs in a batch; P = random partitions of rows into batches; M = batches
in each partition.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sidle import seeding
from sidle.evaluation.statistics import t_interval
from sidle.mi import intervals, rows
from sidle.mi.bounds import infonce_bound
from sidle.mi.critics import takes_leading_dimensions
from sidle.mi.guarantees import BOUNDS, Bound, Guarantee, outputs
from sidle.mi.rows import Pair

TEST_BATCHES = 64  # that a value is averaged over, by repeated partition where one has fewer
CONFIDENCE_OF_ONE_END = 0.975
MOST_CONFIDENCE_BATCHES = 4096  # more would be slow and hardly narrower
MOST_TAIL_WEIGHTS = 2**22  # the shape of a tail needs no more
SCORES_AT_ONCE = 2**20  # in memory, 8 MB
# Closer than both, an estimate says more about K than about the data.
NATS_BELOW_CEILING, SHARE_OF_CEILING = 1.0, 0.7


@dataclass(frozen=True)
class Estimate:
    """What a bound read on held-out pairs.

    Attributes:
        bound: name of the bound, a key of `BOUNDS`.
        nats: the estimate of I(X; Y): mean over disjoint test batches, averaged over several
            random partitions of the test rows. Not clipped: chance may take it below zero.
        guarantee: what its expectation is to I(X; Y): "lower", "upper" or "none".
        ceiling: the most this bound can read in expectation at this batch size, in nats; None if
            unlimited.
        interval: in nats, or None where there is none; `notes` says why. For InfoNCE the low end
            is a lower confidence bound on I(X; Y) itself (97.5 %, valid at every sample size, never
            below 0 unless ``nats`` is). All other ends are those of a 95 % t-interval over
            disjoint test batches, for the expectation of the bound with this network and batch
            size, not for I(X; Y); with a single batch, InfoNCE's high end is its ceiling.
        n_train: pairs the network was trained on.
        n_validation: pairs that chose the moment of training.
        n_test: pairs that were read.
        batch_size: K, in training and in reading.
        steps: training steps behind the network that was read.
        seed: the seed given.
        pareto_shape: k-hat of the exponentials that the bound averages, None where it averages
            none or their tail is short; above 0.7 they have no reliable mean.
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
    pareto_shape: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def bits(self) -> float:
        """The estimate in bits."""
        return self.nats / math.log(2)

    @property
    def sampling(self) -> str:
        """Under which sampling `guarantee` holds, or why there is none."""
        return BOUNDS[self.bound].sampling

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values: fields by name, ``interval`` and ``notes`` as lists; `sampling`."""
        interval = None if self.interval is None else list(self.interval)
        lists = {"interval": interval, "notes": list(self.notes)}
        return asdict(self) | lists | {"sampling": self.sampling}


@dataclass(frozen=True)
class Clip:
    """How InfoNCE is read for its lower confidence bound; chosen before the test rows are read.

    InfoNCE leaves a function of x free in its critic, which may drift far. So the critic is first
    normalised, f(x, y) - log mean over r of exp f(x, y_r), by reference rows y_r that are fixed
    beforehand; then, with a constant taken off, clipped to +-c. The result is a critic as well, so
    that the expectation still is a lower bound, and each value now lies in [-2c, log K].

    Attributes:
        reference_RE: rows of y to normalise by, shape (R, E), scaled.
        low: scores below are raised to it, in nats.
        high: scores above are lowered to it; 2c above ``low``.
        batch_size: K of this reading: the smaller, the more independent batches and the lower
            their ceiling.
    """

    reference_RE: Tensor
    low: float
    high: float
    batch_size: int

    def values(self, scores: Iterable[Tensor]) -> intervals.Values:
        """Return InfoNCE of each batch of `normalised_scores`, clipped."""
        found = [infonce_bound(scores_MKK.clamp(self.low, self.high)) for scores_MKK in scores]
        return torch.cat(found).cpu().numpy()

    def lower_confidence_bound(self, values_M: intervals.Values) -> float:
        """Return the bound on I(X; Y), in nats, from the values of disjoint batches."""
        return intervals.lower_confidence_bound(
            values_M,
            self.low - self.high,
            math.log(self.batch_size),
            confidence=CONFIDENCE_OF_ONE_END,
        )


@dataclass(frozen=True)
class Reading:
    """What was read: mean, interval, tail.

    Attributes:
        nats: mean over all batches.
        interval: as in `Estimate`.
        pareto_shape: as in `Estimate`.
    """

    nats: float
    interval: tuple[float, float] | None
    pareto_shape: float | None


def read(
    network: nn.Module,
    bound: Bound,
    pair: Pair,
    K: int,
    *,
    limit: float,
    clip: Clip | None,
    seed: int,
) -> Reading:
    """Read the bound on all rows of ``pair``, at least K.

    Args:
        network: what the bound needs, trained on other rows.
        bound: what to read.
        pair: x_ND and y_NE, scaled.
        K: pairs in a batch.
        limit: scores are limited from above by it, in nats.
        clip: for InfoNCE, how to read its lower confidence bound; None for the others.
        seed: names the random partitions.
    """
    rows_PMK = rows.partitions(len(pair[0]), K, TEST_BATCHES, seed)
    values_PM = values(network, bound, pair, rows_PMK, function=bound.value, limit=limit)
    nats, interval = _t_interval(values_PM)
    shape = _tail(network, bound, pair, rows_PMK[0], limit) if bound.exponential else None
    if shape is not None and shape > intervals.MEANINGFUL_PARETO_SHAPE:
        interval = None
    if clip is not None:
        low = lower_confidence_bound(network, pair, clip, seed=seed)
        # Without two batches of K there is no t-interval; log K is an upper end in any case.
        high = math.log(K) if interval is None else interval[1]
        interval = (min(low, nats), high)
    return Reading(nats, interval, shape)


def lower_confidence_bound(network: nn.Module, pair: Pair, clip: Clip, *, seed: int) -> float:
    """Return InfoNCE's 97.5 % lower confidence bound on I(X; Y), in nats, at least 0 as I is."""
    rows_1MK = rows.partitions(len(pair[0]), clip.batch_size, 1, seeding.split(seed, "confidence"))
    # Rows are in random order, so that the first batches are as good as any.
    rows_1MK = rows_1MK[:, :MOST_CONFIDENCE_BATCHES]
    found = normalised_scores(network, pair, rows_1MK, clip.reference_RE)
    return max(clip.lower_confidence_bound(clip.values(found)), 0.0)


def values(
    network: nn.Module,
    bound: Bound,
    pair: Pair,
    rows_PMK: Tensor,
    *,
    function: Callable[..., Tensor],
    limit: float = math.inf,
) -> Tensor:
    """Return the value or objective of each batch, scores limited from above; shape (P, M)."""
    found = [
        function(*_shifted(bound, batches, limit))
        for _, batches in _outputs(network, pair, rows_PMK)
    ]
    return torch.cat(found).reshape(rows_PMK.shape[:2]).cpu()


def scores(network: nn.Module, pair: Pair, rows_PMK: Tensor) -> Iterator[Tensor]:
    """Yield the scores of some batches after the other, shape (M, K, K), float64."""
    return (part[0] for _, part in _outputs(network, pair, rows_PMK))


@torch.no_grad()
def normalised_scores(
    network: nn.Module, pair: Pair, rows_PMK: Tensor, reference_RE: Tensor
) -> Iterator[Tensor]:
    """Yield `scores` less the log mean exp of those with the reference rows."""
    x_ND, _ = pair
    rows_at_once = max(1, SCORES_AT_ONCE // len(reference_RE))
    for rows_MK, (scores_MKK, *_) in _outputs(network, pair, rows_PMK):
        # One row of x has one score with each reference row, whatever batch it is in.
        log_sums = [
            _wide(network(x_ND[some], reference_RE)).logsumexp(dim=1)
            for some in torch.split(rows_MK.flatten(), rows_at_once)
        ]
        log_mean = torch.cat(log_sums) - math.log(len(reference_RE))
        yield scores_MKK - log_mean.reshape(*rows_MK.shape, 1)


def notes(bound: Bound, reading: Reading, K: int, n_test: int) -> tuple[str, ...]:
    """Return what a reader of the number should know, one sentence each."""
    found = []
    tail = reading.pareto_shape
    if tail is not None and tail > intervals.MEANINGFUL_PARETO_SHAPE:
        found.append(
            f"No interval: the exponentials it averages have a Pareto tail of shape {tail:.2f}, "
            f"above {intervals.MEANINGFUL_PARETO_SHAPE:g}, so their mean rests on pairs that this "
            "sample does not hold; trust InfoNCE instead."
        )
    elif reading.interval is None:
        found.append(
            f"No interval: the {n_test} test rows hold fewer than two disjoint batches of {K}; "
            "give more rows or a smaller batch_size."
        )
    ceiling = bound.ceiling(K)
    if ceiling is not None and reading.nats > max(
        ceiling - NATS_BELOW_CEILING, SHARE_OF_CEILING * ceiling
    ):
        found.append(
            f"Close to the ceiling of {ceiling:.2f} nats: I(X; Y) may be much larger; a larger "
            "batch_size raises the ceiling."
        )
    return tuple(found)


@torch.no_grad()
def _outputs(
    network: nn.Module, pair: Pair, rows_PMK: Tensor
) -> Iterator[tuple[Tensor, tuple[Tensor, ...]]]:
    """Yield rows (M, K) and what the network puts out for them, float64, M batches at a time."""
    network.eval()
    x_ND, y_NE = pair
    K = rows_PMK.shape[-1]
    at_once = max(1, SCORES_AT_ONCE // K**2) if takes_leading_dimensions(network) else 1
    for rows_MK in torch.split(rows_PMK.flatten(0, 1).to(x_ND.device), at_once):
        if takes_leading_dimensions(network):
            found = outputs(network, x_ND[rows_MK], y_NE[rows_MK])
        else:
            alone = outputs(network, x_ND[rows_MK[0]], y_NE[rows_MK[0]])
            found = tuple(part[None] for part in alone)
        yield rows_MK, tuple(_wide(part) for part in found)


def _wide(part: Tensor) -> Tensor:
    """Return it in float64, where exp of a wild score is huge rather than infinite."""
    return part.cpu().double()  # some devices have no float64


def _shifted(bound: Bound, batches: tuple[Tensor, ...], limit: float) -> tuple[Tensor, ...]:
    if bound.density:
        return batches
    return (batches[0].clamp(max=limit) + bound.shift, *batches[1:])


def _tail(
    network: nn.Module, bound: Bound, pair: Pair, rows_MK: Tensor, limit: float
) -> float | None:
    log_weights = []
    rows_MK = rows_MK[: max(1, MOST_TAIL_WEIGHTS // rows_MK.shape[1] ** 2)]
    for _, batches in _outputs(network, pair, rows_MK[None]):
        scores_MKK, *more = _shifted(bound, batches, limit)
        if bound.name == "flo":  # its exponentials are relative to each row's f + u
            row_MK = scores_MKK.diagonal(dim1=-2, dim2=-1) + more[0]
            scores_MKK = scores_MKK - row_MK[..., None]
        own_KK = torch.eye(scores_MKK.shape[-1], dtype=torch.bool, device=scores_MKK.device)
        log_weights.append(scores_MKK[:, ~own_KK].flatten().cpu())
    return intervals.pareto_shape(torch.cat(log_weights).numpy())


def _t_interval(values_PM: Tensor) -> tuple[float, tuple[float, float] | None]:
    """Return the mean over all batches and a 95 % interval around it, in nats."""
    nats = values_PM.mean().item()
    if values_PM.shape[1] < 2:
        return nats, None
    found = [t_interval(values_M.tolist()) for values_M in values_PM]
    # Batches of different partitions share rows, so each partition gives an interval of its own.
    # Their typical half-width is kept: averaging can only have narrowed the spread of the mean.
    half = math.sqrt(sum((i.high - i.low) ** 2 / 4 for i in found) / len(found))
    return nats, (nats - half, nats + half)
