"""Calibration: does a classifier that says 80 % hit 80 % of the time?

The objects all functions share are predictions for N examples, as logits or as probabilities
(N, C), with labels y (N,). The *confidence* of a prediction is its largest probability. Everything
is computed in double.

Letters: N = examples; C = classes; K = bins.
References: [ECE] Guo et al. 2017, arXiv:1706.04599, equation 3. [ADAPTIVE] Nixon et al. 2019,
arXiv:1904.01685, section 4.2 (bins of equal numbers). [BRIER] Brier 1950, Monthly Weather
Review 78.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sidle.errors import ArgumentError, NonFiniteError, ShapeError
from sidle.evaluation import classifiers

_Array = np.ndarray[Any, Any]

Binning = Literal["equal-width", "adaptive"]

N_BINS = 15
"""As in [ECE]."""


@dataclass(frozen=True)
class Bins:
    """Predictions sorted into K bins by confidence; the reliability diagram in numbers.

    Attributes:
        lower: lower end of each bin; the bin does not hold it (the first bin of all does).
        upper: upper end, which the bin holds.
        count: predictions in it.
        confidence: their mean confidence; NaN where there are none.
        accuracy: the share that is right; NaN where there are none.
    """

    lower: tuple[float, ...]
    upper: tuple[float, ...]
    count: tuple[int, ...]
    confidence: tuple[float, ...]
    accuracy: tuple[float, ...]

    @property
    def error(self) -> float:
        """Expected calibration error: mean over predictions of |accuracy - confidence| of bins."""
        total = sum(self.count)
        return math.fsum(
            n * abs(right - sure) / total
            for n, right, sure in zip(self.count, self.accuracy, self.confidence, strict=True)
            if n
        )


@dataclass(frozen=True)
class Calibration:
    """How far probabilities can be believed.

    Attributes:
        accuracy: share of examples whose largest probability is that of the label.
        confidence: mean of the largest probabilities.
        ece: expected calibration error over bins of equal width [ECE], in [0, 1].
        ece_adaptive: over bins of equal numbers of examples [ADAPTIVE].
        nll: mean negative log probability of the label, in nats.
        brier: mean over examples of the squared distance to the label's unit vector, in [0, 2].
        bins: bins of equal width.
        adaptive_bins: bins of equal numbers.
    """

    accuracy: float
    confidence: float
    ece: float
    ece_adaptive: float
    nll: float
    brier: float
    bins: Bins
    adaptive_bins: Bins

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain values; None for what an empty bin does not have."""
        found = asdict(self)
        for bins in (found["bins"], found["adaptive_bins"]):
            for name, values in bins.items():
                bins[name] = [None if math.isnan(value) else value for value in values]
        return found


def calibration(logits: Tensor, y: Tensor, *, n_bins: int = N_BINS) -> Calibration:
    """Return all measures of calibration.

    Args:
        logits: (N, C), finite.
        y: labels, integers (N,) from 0 to C - 1.
        n_bins: K, at least 1.

    Raises:
        ShapeError, ArgumentError, NonFiniteError: bad logits, labels or number of bins.
    """
    log_p = _log_probabilities("calibration", logits, y)
    probabilities = log_p.exp()
    bins = reliability(probabilities, y, n_bins=n_bins)
    adaptive = reliability(probabilities, y, n_bins=n_bins, bins="adaptive")
    return Calibration(
        accuracy=float((log_p.argmax(1) == y).double().mean()),
        confidence=float(probabilities.amax(1).mean()),
        ece=bins.error,
        ece_adaptive=adaptive.error,
        nll=negative_log_likelihood(logits, y),
        brier=brier(probabilities, y),
        bins=bins,
        adaptive_bins=adaptive,
    )


def expected_calibration_error(
    probabilities: Tensor, y: Tensor, *, n_bins: int = N_BINS, bins: Binning = "equal-width"
) -> float:
    """Return the expected calibration error; arguments and errors as in `reliability`."""
    return reliability(probabilities, y, n_bins=n_bins, bins=bins).error


def reliability(
    probabilities: Tensor, y: Tensor, *, n_bins: int = N_BINS, bins: Binning = "equal-width"
) -> Bins:
    """Sort predictions into bins by confidence.

    Args:
        probabilities: (N, C), each row at least 0 and of sum 1 up to rounding.
        y: labels, integers (N,) from 0 to C - 1.
        n_bins: K, at least 1.
        bins: "equal-width": K intervals ((k - 1) / K, k / K]; "adaptive": ends at the quantiles of
            the confidences, so that bins hold about equal numbers. Equal confidences share a bin,
            so there may be fewer than K adaptive bins.

    Raises:
        ShapeError, ArgumentError, NonFiniteError: bad probabilities, labels, K or ``bins``.
    """
    plain = _probabilities("reliability", probabilities, y)
    if n_bins < 1 or bins not in ("equal-width", "adaptive"):
        raise ArgumentError(
            "reliability: expected n_bins of at least 1 and bins 'equal-width' or 'adaptive', got "
            f"{n_bins} and {bins!r}."
        )
    confidence_N = plain.amax(1).numpy()
    right_N = (plain.argmax(1) == y.cpu()).numpy().astype(np.float64)
    if bins == "equal-width":
        ends = np.arange(1, n_bins + 1) / n_bins
    else:
        ranks = np.ceil(np.arange(1, n_bins + 1) * len(confidence_N) / n_bins).astype(np.int64)
        ends = np.unique(np.sort(confidence_N)[np.maximum(ranks, 1) - 1])
        ends[-1] = max(ends[-1], 1.0)
    # Rounding may put a certain prediction a hair above 1: it belongs to the last bin.
    which_N = np.minimum(np.searchsorted(ends, confidence_N, side="left"), len(ends) - 1)
    count = np.bincount(which_N, minlength=len(ends))
    means = []
    for values in (confidence_N, right_N):
        sums = np.bincount(which_N, weights=values, minlength=len(ends))
        means.append(np.divide(sums, count, out=np.full(len(ends), np.nan), where=count > 0))
    return Bins(
        lower=(0.0, *map(float, ends[:-1])),
        upper=tuple(map(float, ends)),
        count=tuple(map(int, count)),
        confidence=tuple(map(float, means[0])),
        accuracy=tuple(map(float, means[1])),
    )


def negative_log_likelihood(logits: Tensor, y: Tensor) -> float:
    """Return the mean negative log probability of the label, in nats; at least 0.

    Args:
        logits: (N, C), finite.
        y: labels, integers (N,) from 0 to C - 1.

    Raises:
        ShapeError, ArgumentError, NonFiniteError: bad logits or labels.
    """
    log_p = _log_probabilities("negative_log_likelihood", logits, y)
    return float(F.nll_loss(log_p, y.cpu().to(torch.int64)))


def brier(probabilities: Tensor, y: Tensor) -> float:
    """Return the Brier score [BRIER]: the mean of sum_c (p_c - [c = y])^2, in [0, 2].

    Arguments and errors as in `reliability`.
    """
    plain = _probabilities("brier", probabilities, y)
    own = plain.gather(1, y.cpu().to(torch.int64)[:, None])[:, 0]
    return float(((plain**2).sum(1) - own**2 + (1 - own) ** 2).mean())


def _log_probabilities(function: str, logits: Tensor, y: Tensor) -> Tensor:
    _check_rows(function, "logits", logits, y)
    return F.log_softmax(logits.detach().cpu().double(), dim=1)


def _probabilities(function: str, probabilities: Tensor, y: Tensor) -> Tensor:
    _check_rows(function, "probabilities", probabilities, y)
    plain = probabilities.detach().cpu().double()
    # Float16 probabilities of 1,000 classes add up to 1 within about 1e-2.
    if float(plain.min()) < 0 or float((plain.sum(1) - 1).abs().max()) > 1e-2:
        raise ArgumentError(
            f"{function}: expected probabilities, at least 0 and of sum 1 in each row. Apply "
            "softmax to logits first."
        )
    return plain


def _check_rows(function: str, name: str, values: Tensor, y: Tensor) -> None:
    floating = isinstance(values, Tensor) and values.is_floating_point()
    if not floating or values.ndim != 2 or len(values) == 0 or values.shape[1] < 2:
        found = f"{values.dtype} {tuple(values.shape)}" if isinstance(values, Tensor) else values
        raise ShapeError(
            f"{function}: expected {name} of shape (N, C), floating, with N >= 1 and C >= 2, got "
            f"{found}."
        )
    classifiers.check_labels(function, y, len(values))
    classifiers.check_classes(function, y, values.shape[1])
    if not bool(values.isfinite().all()):
        raise NonFiniteError(f"{function}: the {name} hold a NaN or an infinity.")
