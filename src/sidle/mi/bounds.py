"""Variational bounds on mutual information, computed from a matrix of critic scores.

Every function takes scores_BB with scores_BB[i, j] = f(x_i, y_j), the critic f on B independent
pairs (x_i, y_i), and returns a scalar tensor in nats. The B diagonal scores are draws from the
joint distribution. Expectations under the product of marginals are means over the B (B - 1)
off-diagonal scores, each made of an x and a y from different pairs; InfoNCE alone averages over
whole rows, diagonal included, as its proof needs. Half precision is widened to float32 first;
float32 and float64 stay as they are.

`BOUNDS` describes each bound as data: what to train, what to read out, what that guarantees.

Letters: B = pairs in the batch (K in the papers).
References: [CPC] van den Oord et al. 2018, arXiv:1807.03748. [VBMI] Poole et al. 2019,
arXiv:1905.06922. [NWJ] Nguyen, Wainwright, Jordan 2010, IEEE Trans. Inf. Theory 56(11). [DV]
Donsker, Varadhan 1983, Comm. Pure Appl. Math. 36(2). [FGAN] Nowozin et al. 2016,
arXiv:1606.00709.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import softplus

from sidle.errors import ArgumentError, ShapeError

Guarantee = Literal["lower", "upper", "none"]


def infonce_bound(scores_BB: Tensor) -> Tensor:
    """InfoNCE lower bound on I(X; Y), in nats [CPC, eq. 4; VBMI, eq. 12].

    Row i asks which of y_1 ... y_B belongs to x_i: the mean over i of
    f(x_i, y_i) - log (1/B) sum_j exp f(x_i, y_j).

    Args:
        scores_BB: critic scores, shape (B, B), floating point, B >= 2.

    Returns:
        Scalar tensor, at most log B, unchanged by any offset to f that depends on x alone. In
        expectation it is a lower bound; one batch may exceed the true value.

    Raises:
        ShapeError: scores_BB is not a square matrix with at least two rows.
        ArgumentError: scores_BB is not floating point.
    """
    scores_BB = _checked(scores_BB, "infonce_bound")
    log_ratio_B = scores_BB.diagonal() - scores_BB.logsumexp(dim=1)  # (B,), each <= 0
    # log B goes in last: subtracted from large float32 scores it would lose digits.
    return log_ratio_B.mean() + math.log(scores_BB.shape[0])


def nwj_bound(scores_BB: Tensor) -> Tensor:
    """NWJ lower bound on I(X; Y), in nats [NWJ; VBMI, section 2.2]: E f - E exp(f - 1).

    The optimal critic is 1 + log p(x, y) / (p(x) p(y)).

    Args:
        scores_BB: critic scores, shape (B, B), floating point, B >= 2.

    Returns:
        Scalar tensor without ceiling or floor. In expectation it is a lower bound; its variance
        grows at least like exp(I), so that a few batches may lie far off.

    Raises:
        ShapeError: scores_BB is not a square matrix with at least two rows.
        ArgumentError: scores_BB is not floating point.
    """
    scores_BB = _checked(scores_BB, "nwj_bound")
    # One exponential of the whole, not exp(-1) times a mean that may have overflowed.
    return scores_BB.diagonal().mean() - (_log_mean_exp_of_product(scores_BB) - 1).exp()


def dv_estimate(scores_BB: Tensor) -> Tensor:
    """Donsker-Varadhan estimate of I(X; Y), in nats [DV; VBMI, section 2.2]: E f - log E exp f.

    Args:
        scores_BB: critic scores, shape (B, B), floating point, B >= 2.

    Returns:
        Scalar tensor, unchanged by any constant offset to f. With exact expectations it is a
        lower bound. On a batch it is none: the log of a sample mean lies below the log of the
        mean on average, which pushes the estimate up.

    Raises:
        ShapeError: scores_BB is not a square matrix with at least two rows.
        ArgumentError: scores_BB is not floating point.
    """
    scores_BB = _checked(scores_BB, "dv_estimate")
    return scores_BB.diagonal().mean() - _log_mean_exp_of_product(scores_BB)


def js_objective(scores_BB: Tensor) -> Tensor:
    """Jensen-Shannon training objective [FGAN, eq. 7 and 8]: E -softplus(-f) - E softplus(f).

    Minus the cross-entropy, in nats, of telling joint from product pairs by sigmoid(f). Its
    optimal critic is the log density ratio log p(x, y) / (p(x) p(y)); its value is no
    information between x and y, so read out `js_bound` instead.

    Args:
        scores_BB: critic scores, shape (B, B), floating point, B >= 2.

    Returns:
        Scalar tensor, at most 0; -2 log 2 for a critic that is zero everywhere.

    Raises:
        ShapeError: scores_BB is not a square matrix with at least two rows.
        ArgumentError: scores_BB is not floating point.
    """
    scores_BB = _checked(scores_BB, "js_objective")
    B = scores_BB.shape[0]
    # Masked, not "sum of all minus sum of the diagonal", which cancels when the diagonal is large.
    product_BB = softplus(scores_BB).masked_fill(_diagonal(scores_BB), 0.0)
    return -softplus(-scores_BB.diagonal()).mean() - product_BB.sum() / (B * (B - 1))


def js_bound(scores_BB: Tensor) -> Tensor:
    """Read-out for a critic trained by `js_objective`: a lower bound on I(X; Y), in nats.

    1 + E f - E exp(f), that is `nwj_bound` of f + 1: the JS critic estimates the log density
    ratio, to which the optimal NWJ critic adds one ([VBMI], on I_JS).

    Args:
        scores_BB: critic scores, shape (B, B), floating point, B >= 2.

    Returns:
        Scalar tensor with the properties of `nwj_bound`.

    Raises:
        ShapeError: scores_BB is not a square matrix with at least two rows.
        ArgumentError: scores_BB is not floating point.
    """
    return nwj_bound(_checked(scores_BB, "js_bound") + 1)


@dataclass(frozen=True)
class Bound:
    """A bound as data.

    Attributes:
        name: key in `BOUNDS`.
        title: name for people.
        objective: maximised in training; scores_BB -> scalar tensor.
        value: read out, in nats; scores_BB -> scalar tensor.
        guarantee: what the expectation of ``value`` is to I(X; Y) for a fixed critic.
        sampling: under which sampling that holds, or why it does not.
        ceiling: batch size -> largest possible ``value`` in nats, None if there is none.
        shift: log p(x, y) / (p(x) p(y)) + shift is an optimal critic of ``objective``.
        source: paper and equation.
    """

    name: str
    title: str
    objective: Callable[[Tensor], Tensor]
    value: Callable[[Tensor], Tensor]
    guarantee: Guarantee
    sampling: str
    ceiling: Callable[[int], float | None]
    shift: float
    source: str


def _no_ceiling(batch_size: int) -> None:
    return None


_FIXED_CRITIC = "in expectation over batches of independent pairs that the critic never saw"

BOUNDS: Mapping[str, Bound] = MappingProxyType(
    {
        bound.name: bound
        for bound in (
            Bound(
                name="infonce",
                title="InfoNCE",
                objective=infonce_bound,
                value=infonce_bound,
                guarantee="lower",
                sampling=_FIXED_CRITIC,
                ceiling=math.log,
                shift=0.0,
                source="van den Oord et al. 2018, eq. 4; Poole et al. 2019, eq. 12",
            ),
            Bound(
                name="nwj",
                title="NWJ",
                objective=nwj_bound,
                value=nwj_bound,
                guarantee="lower",
                sampling=_FIXED_CRITIC,
                ceiling=_no_ceiling,
                shift=1.0,
                source="Nguyen, Wainwright, Jordan 2010; Poole et al. 2019, section 2.2",
            ),
            Bound(
                name="dv",
                title="Donsker-Varadhan",
                objective=dv_estimate,
                value=dv_estimate,
                guarantee="none",
                sampling="the log of a batch's mean is biased; a lower bound only as B grows",
                ceiling=_no_ceiling,
                shift=0.0,
                source="Donsker, Varadhan 1983; Poole et al. 2019, section 2.2",
            ),
            Bound(
                name="js",
                title="Jensen-Shannon",
                objective=js_objective,
                value=js_bound,
                guarantee="lower",
                sampling=_FIXED_CRITIC,
                ceiling=_no_ceiling,
                shift=0.0,
                source="Nowozin et al. 2016, eq. 7 and 8; Poole et al. 2019, on I_JS",
            ),
        )
    }
)


def _checked(scores_BB: Tensor, function: str) -> Tensor:
    """Return the scores in at least float32, or raise for a wrong shape or dtype."""
    if scores_BB.ndim != 2 or scores_BB.shape[0] != scores_BB.shape[1] or scores_BB.shape[0] < 2:
        raise ShapeError(
            f"{function}: scores_BB must have shape (B, B) with B >= 2, "
            f"got {tuple(scores_BB.shape)}. Row i must score x_i against every y_j."
        )
    if not scores_BB.is_floating_point():
        raise ArgumentError(
            f"{function}: scores_BB must be floating point, got {scores_BB.dtype}. "
            "Convert it with scores_BB.float()."
        )
    return scores_BB.to(torch.promote_types(scores_BB.dtype, torch.float32))


def _diagonal(scores_BB: Tensor) -> Tensor:
    return torch.eye(scores_BB.shape[0], dtype=torch.bool, device=scores_BB.device)


def _log_mean_exp_of_product(scores_BB: Tensor) -> Tensor:
    """Log of the mean of exp over the B (B - 1) off-diagonal scores."""
    B = scores_BB.shape[0]
    product_BB = scores_BB.masked_fill(_diagonal(scores_BB), -math.inf)
    return product_BB.logsumexp(dim=(0, 1)) - math.log(B * (B - 1))
