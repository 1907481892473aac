"""Variational bounds on mutual information, computed from a matrix of critic scores.

Every function takes scores_BC with scores_BC[i, j] = f(x_i, y_j), the critic f on B draws of x and
C draws of y, and returns nats. Which pairs are what:

- *joint*: pairs drawn together. Row i belongs with column i, unless ``positives_BC`` (bool) says
  which pairs belong together; several in a row are several y drawn with one x.
- *product*: pairs that stand for independent draws of x and y: all pairs that are not joint, or
  those of them that ``mask_BC`` (bool) allows. Rows or columns beyond the pairs (B != C) are extra
  draws and serve as product pairs.

Expectations are means over these pairs; InfoNCE alone normalises each joint pair by its own row,
itself included, as its proof needs. Leading dimensions are separate problems side by side:
(..., B, C) gives (...,). Half precision is widened to float32; float32 and float64 stay as they
are. Bounds that need densities instead of a critic stand in `sidle.mi.densities`; what each bound
promises, as data, in `sidle.mi.guarantees`.

Letters: B, C = draws of x and of y (K in the papers, where they are equal).
References: [CPC] van den Oord et al. 2018, arXiv:1807.03748. [VBMI] Poole et al. 2019,
arXiv:1905.06922. [NWJ] Nguyen, Wainwright, Jordan 2010, IEEE Trans. Inf. Theory 56(11). [DV]
Donsker, Varadhan 1983, Comm. Pure Appl. Math. 36(2). [FGAN] Nowozin et al. 2016,
arXiv:1606.00709. [MINE] Belghazi et al. 2018, arXiv:1801.04062. [SMILE] Song & Ermon 2020,
arXiv:1910.06222. [FLO] Guo et al. 2022, arXiv:2107.01131.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import softplus

from sidle.errors import ArgumentError, ShapeError


def infonce_bound(
    scores_BC: Tensor, *, positives_BC: Tensor | None = None, mask_BC: Tensor | None = None
) -> Tensor:
    """InfoNCE lower bound on I(X; Y), in nats [CPC, eq. 4; VBMI, eq. 12].

    Row i asks which of its K candidates belongs to x_i: the mean over joint pairs (i, p) of
    f(x_i, y_p) - log (1/K) sum_j exp f(x_i, y_j), j over p and the product pairs of the row.

    Args:
        scores_BC: critic scores, shape (..., B, C), floating point, at least two of them.
        positives_BC: bool, shape (..., B, C), which pairs are joint; None: row i with column i.
            Each is contrasted with the product pairs alone, not with the others of its row.
        mask_BC: bool, shape (..., B, C), which pairs may be product pairs; None: all. Masked for
            what they hold (those alike left out, say), the rest are no independent draws any more,
            and the reading is no bound.

    Returns:
        Shape (...,), at most the mean of log K (log C without further arguments), unchanged by any
        offset to f that depends on x alone. In expectation it is a lower bound; one batch may
        exceed the true value.

    Raises:
        ShapeError: scores_BC is no matrix of at least two scores, or another shape differs.
        ArgumentError: scores_BC is not floating point, positives or mask are not bool, or no pair
            is joint.
    """
    scores_BC = _checked("infonce_bound", scores_BC, positives_BC, mask_BC)
    if positives_BC is None and mask_BC is None:
        log_ratio_B = _diagonal(scores_BC) - scores_BC.logsumexp(dim=-1)[..., : _pairs(scores_BC)]
        # log C goes in last: subtracted from large float32 scores it would lose digits.
        return log_ratio_B.mean(-1) + math.log(scores_BC.shape[-1])
    joint_BC = _pair_mask(scores_BC) if positives_BC is None else positives_BC
    product_BC = ~joint_BC if mask_BC is None else mask_BC & ~joint_BC
    negatives_B1 = scores_BC.masked_fill(~product_BC, -math.inf).logsumexp(-1, keepdim=True)
    log_candidates_B1 = product_BC.sum(-1, keepdim=True).to(scores_BC.dtype).log1p()
    log_ratio_BC = scores_BC - torch.logaddexp(scores_BC, negatives_B1) + log_candidates_B1
    return _mean_over(log_ratio_BC, joint_BC)


def tuba_bound(
    scores_BC: Tensor,
    log_baseline_B: Tensor | float,
    *,
    positives_BC: Tensor | None = None,
    mask_BC: Tensor | None = None,
) -> Tensor:
    """TUBA lower bound on I(X; Y), in nats [VBMI, section 2.2, I_TUBA].

    1 + E (f - log a(x)) - E exp(f) / a(x), for any positive baseline a; the paper has a(y), with
    the parts of x and y exchanged. Best baseline: a(x) = E_y exp f(x, y), for every critic f.

    Args:
        scores_BC: as for `infonce_bound`.
        log_baseline_B: log a(x_i), shape (..., B), or one number.
        positives_BC: as for `infonce_bound`.
        mask_BC: as for `infonce_bound`.

    Returns:
        Shape (...,), without ceiling or floor. In expectation a lower bound of high variance.

    Raises:
        ShapeError, ArgumentError: as `infonce_bound`; also if no pair is a product pair.
    """
    scores_BC = _checked("tuba_bound", scores_BC, positives_BC, mask_BC)
    if isinstance(log_baseline_B, Tensor):
        log_baseline_B = _row_values("tuba_bound", "log_baseline_B", log_baseline_B, scores_BC)
        log_baseline_B = log_baseline_B[..., None]
    relative_BC = scores_BC - log_baseline_B
    joint_BC, product_BC = _joint_and_product("tuba_bound", relative_BC, positives_BC, mask_BC)
    log_excess = _log_mean_exp_over(relative_BC, product_BC)
    return 1 + _mean_over_joint(relative_BC, joint_BC) - log_excess.exp()


def nwj_bound(
    scores_BC: Tensor, *, positives_BC: Tensor | None = None, mask_BC: Tensor | None = None
) -> Tensor:
    """NWJ lower bound on I(X; Y), in nats [NWJ; VBMI, section 2.2]: E f - E exp(f - 1).

    TUBA with the baseline e, also known as MINE-f and f-GAN KL. The optimal critic is
    1 + log p(x, y) / (p(x) p(y)).

    Args:
        scores_BC, positives_BC, mask_BC: as for `infonce_bound`.

    Returns:
        Shape (...,), without ceiling or floor. In expectation it is a lower bound; its variance
        grows at least like exp(I), so that a few batches may lie far off.

    Raises:
        ShapeError, ArgumentError: as `infonce_bound`; also if no pair is a product pair.
    """
    scores_BC = _checked("nwj_bound", scores_BC, positives_BC, mask_BC)
    joint_BC, product_BC = _joint_and_product("nwj_bound", scores_BC, positives_BC, mask_BC)
    # One exponential of the whole, not exp(-1) times a mean that may have overflowed.
    log_excess = _log_mean_exp_over(scores_BC, product_BC) - 1
    return _mean_over_joint(scores_BC, joint_BC) - log_excess.exp()


def dv_estimate(
    scores_BC: Tensor, *, positives_BC: Tensor | None = None, mask_BC: Tensor | None = None
) -> Tensor:
    """Donsker-Varadhan estimate of I(X; Y), in nats [DV; VBMI, section 2.2]: E f - log E exp f.

    Args:
        scores_BC, positives_BC, mask_BC: as for `infonce_bound`.

    Returns:
        Shape (...,), unchanged by any constant offset to f. With exact expectations it is a lower
        bound. On a batch it is none: the log of a sample mean lies below the log of the mean on
        average, which pushes the estimate up.

    Raises:
        ShapeError, ArgumentError: as `infonce_bound`; also if no pair is a product pair.
    """
    scores_BC = _checked("dv_estimate", scores_BC, positives_BC, mask_BC)
    joint_BC, product_BC = _joint_and_product("dv_estimate", scores_BC, positives_BC, mask_BC)
    return _mean_over_joint(scores_BC, joint_BC) - _log_mean_exp_over(scores_BC, product_BC)


def mine_objective(
    scores_BC: Tensor,
    log_average: Tensor,
    *,
    positives_BC: Tensor | None = None,
    mask_BC: Tensor | None = None,
) -> Tensor:
    """MINE's training objective with the corrected gradient [MINE, section 3.2].

    The gradient of `dv_estimate` divides E exp(f) df by the mean of exp(f) over the same batch,
    which biases it. Here the denominator is a moving average over batches: E f - E exp(f) / a,
    whose gradient is that of the Donsker-Varadhan objective with a in the denominator.

    Args:
        scores_BC, positives_BC, mask_BC: as for `infonce_bound`.
        log_average: log a, shape (...,), no gradient flows into it; a moving average of the mean
            of exp(f) over product pairs (`sidle.mi.critics.MovingAverageCritic` keeps one).

    Returns:
        Shape (...,), to be maximised. Its value is no information: read `dv_estimate`.

    Raises:
        ShapeError, ArgumentError: as `infonce_bound`; also if no pair is a product pair.
    """
    scores_BC = _checked("mine_objective", scores_BC, positives_BC, mask_BC)
    joint_BC, product_BC = _joint_and_product("mine_objective", scores_BC, positives_BC, mask_BC)
    log_mean = _log_mean_exp_over(scores_BC, product_BC)
    return _mean_over_joint(scores_BC, joint_BC) - (log_mean - log_average.detach()).exp()


def js_objective(
    scores_BC: Tensor, *, positives_BC: Tensor | None = None, mask_BC: Tensor | None = None
) -> Tensor:
    """Jensen-Shannon training objective [FGAN, eq. 7 and 8]: E -softplus(-f) - E softplus(f).

    Minus the cross-entropy, in nats, of telling joint from product pairs by sigmoid(f). Its
    optimal critic is the log density ratio log p(x, y) / (p(x) p(y)); its value is no
    information between x and y, so read out `js_bound` or `smile_estimate` instead.

    Args:
        scores_BC, positives_BC, mask_BC: as for `infonce_bound`.

    Returns:
        Shape (...,), at most 0; -2 log 2 for a critic that is zero everywhere.

    Raises:
        ShapeError, ArgumentError: as `infonce_bound`; also if no pair is a product pair.
    """
    scores_BC = _checked("js_objective", scores_BC, positives_BC, mask_BC)
    joint_BC, product_BC = _joint_and_product("js_objective", scores_BC, positives_BC, mask_BC)
    joint = _mean_over_joint(-softplus(-scores_BC), joint_BC)
    return joint - _mean_over(softplus(scores_BC), product_BC)


def js_bound(
    scores_BC: Tensor, *, positives_BC: Tensor | None = None, mask_BC: Tensor | None = None
) -> Tensor:
    """Read-out for a critic trained by `js_objective`: a lower bound on I(X; Y), in nats.

    1 + E f - E exp(f), that is `nwj_bound` of f + 1: the JS critic estimates the log density
    ratio, to which the optimal NWJ critic adds one ([VBMI], on I_JS).

    Args:
        scores_BC, positives_BC, mask_BC: as for `infonce_bound`.

    Returns:
        Shape (...,), with the properties of `nwj_bound`.

    Raises:
        ShapeError, ArgumentError: as `nwj_bound`.
    """
    scores_BC = _checked("js_bound", scores_BC, positives_BC, mask_BC)
    return nwj_bound(scores_BC + 1, positives_BC=positives_BC, mask_BC=mask_BC)


def smile_estimate(
    scores_BC: Tensor,
    tau: float = 5.0,
    *,
    positives_BC: Tensor | None = None,
    mask_BC: Tensor | None = None,
) -> Tensor:
    """SMILE estimate of I(X; Y), in nats [SMILE, eq. 11]: E f - log E clip(exp f, e^-tau, e^tau).

    For critics that estimate the log density ratio (`js_objective` trains one). The clip bounds
    the variance of the second term; a finite tau biases it, in either direction.

    Args:
        scores_BC, positives_BC, mask_BC: as for `infonce_bound`.
        tau: above 0; infinity gives `dv_estimate`.

    Returns:
        Shape (...,). Not a bound.

    Raises:
        ShapeError, ArgumentError: as `infonce_bound`; also if no pair is a product pair, or tau
            is not above 0.
    """
    scores_BC = _checked("smile_estimate", scores_BC, positives_BC, mask_BC)
    if not tau > 0:
        raise ArgumentError(f"smile_estimate: tau must be above 0, got {tau}.")
    joint_BC, product_BC = _joint_and_product("smile_estimate", scores_BC, positives_BC, mask_BC)
    clipped = _log_mean_exp_over(scores_BC.clamp(-tau, tau), product_BC)
    return _mean_over_joint(scores_BC, joint_BC) - clipped


def interpolated_bound(
    scores_BC: Tensor, alpha: float, log_baseline_B: Tensor | float = 1.0
) -> Tensor:
    """Interpolated lower bound I_alpha on I(X; Y), in nats [VBMI, section 2.4].

    1 + E (f - log b) - E exp(f) / b with b = alpha m + (1 - alpha) q: q a baseline that may depend
    on x, m the mean of exp(f) over K = C - 1 candidates of the row. alpha = 1 is InfoNCE with K
    candidates, averaged over which one is left out; alpha = 0 is TUBA, and NWJ with log q = 1.
    (The notebook published with the paper names the two ends the other way round.)

    In the joint term the candidates hold the partner of x_i and all others but one, averaged over
    which one; in the product term, all but the partner. So both terms have K of them.

    Args:
        scores_BC: critic scores, shape (..., B, C), floating point, C >= 3, B <= C; row i belongs
            with column i.
        alpha: in [0, 1].
        log_baseline_B: log q(x_i), shape (..., B), or one number.

    Returns:
        Shape (...,), at most 1 + log(K / alpha), for alpha = 1 at most log K. In expectation a
        lower bound. ([VBMI] gives log(K / alpha) as the most it can read in expectation. That takes
        the mean of exp(f) / b to be 1; it is so for alpha = 1, else it may come close to 0.)

    Raises:
        ShapeError: the scores are no such matrix, or the baseline has another shape.
        ArgumentError: scores_BC is not floating point, or alpha lies outside [0, 1].
    """
    scores_BC = _checked("interpolated_bound", scores_BC, None, None)
    B, C = scores_BC.shape[-2:]
    if not 0 <= alpha <= 1:
        raise ArgumentError(f"interpolated_bound: alpha must lie in [0, 1], got {alpha}.")
    if C < 3 or B > C:
        raise ShapeError(
            "interpolated_bound: scores_BC must have shape (..., B, C) with C >= 3 and B <= C, got "
            f"{tuple(scores_BC.shape)}. Each row needs its partner and two others."
        )
    if isinstance(log_baseline_B, Tensor):
        log_baseline_B = _row_values(
            "interpolated_bound", "log_baseline_B", log_baseline_B, scores_BC
        )
    log_q = torch.as_tensor(log_baseline_B, dtype=scores_BC.dtype, device=scores_BC.device)
    log_q_B1 = log_q.expand(scores_BC.shape[:-1])[..., None]
    log_m_BC = _log_mean_exp_without_each(scores_BC)  # [i, j]: over all candidates of i but j
    if alpha == 0:
        log_b_BC = log_q_B1.expand_as(scores_BC)
    elif alpha == 1:
        log_b_BC = log_m_BC
    else:
        log_b_BC = torch.logaddexp(math.log(alpha) + log_m_BC, math.log1p(-alpha) + log_q_B1)
    product_BC = ~_pair_mask(scores_BC)
    partner_B1 = _diagonal(scores_BC)[..., None]
    joint = _mean_over(partner_B1 - log_b_BC, product_BC)
    excess_BC = scores_BC - _diagonal(log_b_BC)[..., None]
    return 1 + joint - _log_mean_exp_over(excess_BC, product_BC).exp()


def flo_bound(scores_BC: Tensor, u_B: Tensor) -> Tensor:
    """FLO lower bound on I(X; Y), in nats [FLO, eq. 8]: 1 - E u - E exp(f(x, y') - f(x, y) - u).

    A Fenchel-Legendre view of InfoNCE: u(x, y) stands for the log of the mean of
    exp(f(x, y') - f(x, y)) over y', learned instead of taken over the batch. It is `tuba_bound`
    with a baseline exp(f + u) that sees the partner too. Optimal u: minus the log density ratio.

    Args:
        scores_BC: critic scores, shape (..., B, C), floating point, B <= C, C >= 2; row i belongs
            with column i.
        u_B: u(x_i, y_i), shape (..., B).

    Returns:
        Shape (...,), without ceiling or floor. In expectation a lower bound.

    Raises:
        ShapeError: the scores are no such matrix, or u_B has another shape.
        ArgumentError: a tensor is not floating point.
    """
    scores_BC = _checked("flo_bound", scores_BC, None, None)
    if scores_BC.shape[-2] > scores_BC.shape[-1]:
        raise ShapeError(
            "flo_bound: scores_BC must have shape (..., B, C) with B <= C, got "
            f"{tuple(scores_BC.shape)}: every x needs its partner."
        )
    u_B = _row_values("flo_bound", "u_B", u_B, scores_BC)
    excess_BC = scores_BC - (_diagonal(scores_BC) + u_B)[..., None]
    return 1 - u_B.mean(-1) - _log_mean_exp_over(excess_BC, ~_pair_mask(excess_BC)).exp()


def _checked(
    function: str, scores_BC: Tensor, positives_BC: Tensor | None, mask_BC: Tensor | None
) -> Tensor:
    """Return the scores in at least float32, or raise for a wrong shape or dtype."""
    if scores_BC.ndim < 2 or scores_BC.shape[-2] < 1 or scores_BC.shape[-2:].numel() < 2:
        raise ShapeError(
            f"{function}: scores_BC must have shape (..., B, C) with at least two scores, got "
            f"{tuple(scores_BC.shape)}. Row i must score x_i against every y_j."
        )
    if not scores_BC.is_floating_point():
        raise ArgumentError(
            f"{function}: scores_BC must be floating point, got {scores_BC.dtype}. "
            "Convert it with scores_BC.float()."
        )
    for name, which_BC in (("positives_BC", positives_BC), ("mask_BC", mask_BC)):
        if which_BC is None:
            continue
        if which_BC.shape[-2:] != scores_BC.shape[-2:] or which_BC.ndim > scores_BC.ndim:
            raise ShapeError(
                f"{function}: {name} must have the shape of the scores, "
                f"{tuple(scores_BC.shape)}, got {tuple(which_BC.shape)}."
            )
        if which_BC.dtype != torch.bool:
            raise ArgumentError(f"{function}: {name} must be bool, got {which_BC.dtype}.")
    if positives_BC is not None and not bool(positives_BC.flatten(-2).any(-1).all()):
        raise ArgumentError(f"{function}: positives_BC marks no pair; it must mark at least one.")
    return scores_BC.to(torch.promote_types(scores_BC.dtype, torch.float32))


def _row_values(function: str, name: str, values_B: Tensor, scores_BC: Tensor) -> Tensor:
    if values_B.shape != scores_BC.shape[:-1]:
        raise ShapeError(
            f"{function}: {name} must have shape {tuple(scores_BC.shape[:-1])}, one value for each "
            f"row of the scores, got {tuple(values_B.shape)}."
        )
    return values_B.to(scores_BC.dtype)


def _pairs(scores_BC: Tensor) -> int:
    return min(scores_BC.shape[-2:])


def _diagonal(scores_BC: Tensor) -> Tensor:
    return scores_BC.diagonal(dim1=-2, dim2=-1)


def _pair_mask(scores_BC: Tensor) -> Tensor:
    """Bool (B, C): row i with column i."""
    return torch.eye(*scores_BC.shape[-2:], dtype=torch.bool, device=scores_BC.device)


def _joint_and_product(
    function: str, scores_BC: Tensor, positives_BC: Tensor | None, mask_BC: Tensor | None
) -> tuple[Tensor | None, Tensor]:
    """Return which pairs are joint (None: row i with column i) and which are product pairs."""
    joint_BC = _pair_mask(scores_BC) if positives_BC is None else positives_BC
    product_BC = ~joint_BC if mask_BC is None else mask_BC & ~joint_BC
    usual = positives_BC is None and mask_BC is None
    if not usual and not bool(product_BC.flatten(-2).any(-1).all()):
        raise ArgumentError(
            f"{function}: positives_BC and mask_BC leave no product pair; at least one is needed."
        )
    return (None if positives_BC is None else joint_BC), product_BC


def _mean_over_joint(values_BC: Tensor, joint_BC: Tensor | None) -> Tensor:
    return _diagonal(values_BC).mean(-1) if joint_BC is None else _mean_over(values_BC, joint_BC)


def _mean_over(values_BC: Tensor, which_BC: Tensor) -> Tensor:
    # Masked, not "sum of all minus sum of the rest", which cancels when the rest is large.
    sums = values_BC.masked_fill(~which_BC, 0.0).sum((-2, -1))
    return sums / which_BC.sum((-2, -1))


def _log_mean_exp_over(values_BC: Tensor, which_BC: Tensor) -> Tensor:
    log_sums = values_BC.masked_fill(~which_BC, -math.inf).logsumexp(dim=(-2, -1))
    return log_sums - which_BC.sum((-2, -1)).to(values_BC.dtype).log()


def _log_mean_exp_without_each(scores_BC: Tensor) -> Tensor:
    """Entry [i, j]: log of the mean of exp over row i without column j."""
    log_sum_B1 = scores_BC.logsumexp(-1, keepdim=True)
    largest_B1 = scores_BC.argmax(-1, keepdim=True)
    # Any entry but the largest has at most half of the sum, so that what is left is precise. The
    # largest may have all of it: there the sum is taken anew.
    is_largest_BC = torch.zeros_like(scores_BC, dtype=torch.bool).scatter(-1, largest_B1, True)
    share_BC = (scores_BC - log_sum_B1).masked_fill(is_largest_BC, -math.inf).exp()
    without_B1 = scores_BC.masked_fill(is_largest_BC, -math.inf).logsumexp(-1, keepdim=True)
    left_BC = torch.where(is_largest_BC, without_B1, log_sum_B1 + torch.log1p(-share_BC))
    return left_BC - math.log(scores_BC.shape[-1] - 1)
