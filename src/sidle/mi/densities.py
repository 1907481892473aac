"""Bounds on mutual information that are computed from log densities instead of a critic.

Some take log_conditional_BC with entry [i, j] = log q(y_j | x_i) for B draws of x and C draws of
y, y_j drawn with x_j (B >= C: further rows are extra draws of x); the others take one value for
each of N joint pairs. With q the true p(y | x) (*structured* bounds: the encoder is known) they
bound I(X; Y), two of them from both sides. With a learned q the upper ones lose their promise: a
poor q makes them read anything. Leading dimensions are separate problems: (..., B, C) gives (...,).
All in nats; half precision is widened to float32.

Letters: B, C = draws of x and of y; N = joint pairs.
References: [VBMI] Poole et al. 2019, arXiv:1905.06922. [BA] Barber & Agakov 2003, NeurIPS. [CLUB]
Cheng et al. 2020, arXiv:2006.12013. [NJEE] Shalev, Painsky, Ben-Gal 2022, arXiv:2012.11197.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sidle.errors import ArgumentError, ShapeError


def barber_agakov_bound(log_conditional_N: Tensor, entropy: float) -> Tensor:
    """Barber-Agakov lower bound on I(X; Y), in nats [BA; VBMI, section 2.1]: E log q(y|x) + H(Y).

    Args:
        log_conditional_N: log q(y_n | x_n) of joint pairs, shape (..., N), floating point; q any
            normalised density.
        entropy: H(Y) in nats, differential where q is a density; it must be known.

    Returns:
        Shape (...,). In expectation a lower bound; equal to I(X; Y) if q is p(y | x).

    Raises:
        ShapeError: log_conditional_N is empty.
        ArgumentError: log_conditional_N is not floating point.
    """
    (log_conditional_N,) = _paired("barber_agakov_bound", log_conditional_N=log_conditional_N)
    return log_conditional_N.mean(-1) + entropy


def unnormalized_barber_agakov_bound(scores_N: Tensor, log_partition_N: Tensor) -> Tensor:
    """Unnormalised Barber-Agakov lower bound, in nats [VBMI, section 2.2, I_UBA]: E f - E log Z.

    Barber-Agakov with q(y | x) = p(y) exp f(x, y) / Z(x), whose unknown parts cancel. The partition
    function Z(x) = E_y exp f(x, y) must be known exactly: an estimated one makes this an
    overestimate, which is why the bounds of `sidle.mi.bounds` exist.

    Args:
        scores_N: f(x_n, y_n) of joint pairs, shape (..., N), floating point.
        log_partition_N: log Z(x_n), same shape.

    Returns:
        Shape (...,). In expectation a lower bound; equal to I(X; Y) if f is the log density ratio
        up to a function of x.

    Raises:
        ShapeError: the shapes differ or hold nothing.
        ArgumentError: a tensor is not floating point.
    """
    scores_N, log_partition_N = _paired(
        "unnormalized_barber_agakov_bound", scores_N=scores_N, log_partition_N=log_partition_N
    )
    return (scores_N - log_partition_N).mean(-1)


def variational_upper_bound(log_conditional_N: Tensor, log_marginal_N: Tensor) -> Tensor:
    """Variational upper bound on I(X; Y), in nats [VBMI, section 2.1]: E log p(y|x) / r(y).

    The rate R of the bottleneck literature.

    Args:
        log_conditional_N: log p(y_n | x_n) of joint pairs, shape (..., N), floating point; p the
            true conditional density.
        log_marginal_N: log r(y_n), same shape; r any normalised density.

    Returns:
        Shape (...,). In expectation an upper bound; equal to I(X; Y) if r is p(y).

    Raises:
        ShapeError: the shapes differ or hold nothing.
        ArgumentError: a tensor is not floating point.
    """
    log_conditional_N, log_marginal_N = _paired(
        "variational_upper_bound",
        log_conditional_N=log_conditional_N,
        log_marginal_N=log_marginal_N,
    )
    return (log_conditional_N - log_marginal_N).mean(-1)


def structured_lower_bound(log_conditional_BC: Tensor) -> Tensor:
    """Minibatch lower bound with a known encoder, in nats [VBMI, section 2.5].

    Mean over j of log p(y_j | x_j) - log (1/B) sum_i p(y_j | x_i): InfoNCE with the optimal
    critic, the marginal p(y_j) replaced by its estimate from the batch.

    Args:
        log_conditional_BC: log p(y_j | x_i), shape (..., B, C), floating point, B >= C, B >= 2.

    Returns:
        Shape (...,), at most log B. In expectation a lower bound, for any function in place of
        log p(y | x).

    Raises:
        ShapeError: log_conditional_BC is no such matrix.
        ArgumentError: it is not floating point.
    """
    log_conditional_BC = _checked("structured_lower_bound", log_conditional_BC)
    log_marginal_C = log_conditional_BC.logsumexp(-2)
    joint_C = log_conditional_BC.diagonal(dim1=-2, dim2=-1)
    return (joint_C - log_marginal_C).mean(-1) + math.log(log_conditional_BC.shape[-2])


def leave_one_out_upper_bound(log_conditional_BC: Tensor) -> Tensor:
    """Leave-one-out upper bound, L1Out, in nats [VBMI, section 2.1 and 2.5].

    `structured_lower_bound` with y_j's own x left out of the estimate of p(y_j): mean over j of
    log p(y_j | x_j) - log (1/(B-1)) sum over i != j of p(y_j | x_i). Together the two enclose
    I(X; Y).

    Args:
        log_conditional_BC: log p(y_j | x_i), shape (..., B, C), floating point, B >= C, B >= 2.

    Returns:
        Shape (...,). In expectation an upper bound if p is the true conditional density; with a
        learned one, no bound.

    Raises:
        ShapeError: log_conditional_BC is no such matrix.
        ArgumentError: it is not floating point.
    """
    log_conditional_BC = _checked("leave_one_out_upper_bound", log_conditional_BC)
    own_BC = _own(log_conditional_BC)
    log_others_C = log_conditional_BC.masked_fill(own_BC, -math.inf).logsumexp(-2)
    joint_C = log_conditional_BC.diagonal(dim1=-2, dim2=-1)
    return (joint_C - log_others_C).mean(-1) + math.log(log_conditional_BC.shape[-2] - 1)


def club_estimate(log_conditional_BC: Tensor) -> Tensor:
    """CLUB estimate of I(X; Y), in nats [CLUB, eq. 5 and 7]: E log q(y|x) - E log q(y'|x).

    The second mean is over the pairs of different draws, which makes it unbiased; the paper's vCLUB
    takes in the joint pairs as well.

    Args:
        log_conditional_BC: log q(y_j | x_i), shape (..., B, C), floating point, B >= C, B >= 2.

    Returns:
        Shape (...,). In expectation an upper bound if q is p(y | x); with a learned q (vCLUB) not a
        bound. It can lie far above I(X; Y) even with the true one.

    Raises:
        ShapeError: log_conditional_BC is no such matrix.
        ArgumentError: it is not floating point.
    """
    log_conditional_BC = _checked("club_estimate", log_conditional_BC)
    own_BC = _own(log_conditional_BC)
    product = log_conditional_BC.masked_fill(own_BC, 0.0).sum((-2, -1)) / (~own_BC).sum()
    return log_conditional_BC.diagonal(dim1=-2, dim2=-1).mean(-1) - product


def njee_estimate(log_conditional_N: Tensor, log_marginal_N: Tensor) -> Tensor:
    """NJEE estimate of I(X; Y), in nats [NJEE, eq. 11]: H(Y) - H(Y|X), both as cross-entropies.

    Y is discrete; the entropies are summed along the chain rule over its components
    (`sidle.mi.conditionals.AutoregressiveClassifier`).

    Args:
        log_conditional_N: log q(y_n | x_n) of joint pairs, shape (..., N), floating point.
        log_marginal_N: log r(y_n), same shape.

    Returns:
        Shape (...,). Not a bound: each cross-entropy lies above its entropy, the difference
        anywhere.

    Raises:
        ShapeError: the shapes differ or hold nothing.
        ArgumentError: a tensor is not floating point.
    """
    log_conditional_N, log_marginal_N = _paired(
        "njee_estimate", log_conditional_N=log_conditional_N, log_marginal_N=log_marginal_N
    )
    return log_conditional_N.mean(-1) - log_marginal_N.mean(-1)


def log_likelihood(log_conditional_BC: Tensor) -> Tensor:
    """Training objective of a learned q(y | x): mean log q(y_j | x_j) of joint pairs, in nats.

    Args:
        log_conditional_BC: log q(y_j | x_i), shape (..., B, C), floating point, B >= C, B >= 2.

    Returns:
        Shape (...,), to be maximised.

    Raises:
        ShapeError: log_conditional_BC is no such matrix.
        ArgumentError: it is not floating point.
    """
    log_conditional_BC = _checked("log_likelihood", log_conditional_BC)
    return log_conditional_BC.diagonal(dim1=-2, dim2=-1).mean(-1)


def _checked(function: str, log_conditional_BC: Tensor) -> Tensor:
    """Return the log densities in at least float32, or raise for a wrong shape or dtype."""
    shape = log_conditional_BC.shape
    if len(shape) < 2 or shape[-2] < 2 or not 1 <= shape[-1] <= shape[-2]:
        raise ShapeError(
            f"{function}: log_conditional_BC must have shape (..., B, C) with B >= C and B >= 2, "
            f"got {tuple(shape)}. Entry [i, j] is log p(y_j | x_i), y_j drawn with x_j."
        )
    return _floating(function, "log_conditional_BC", log_conditional_BC)


def _paired(function: str, **tensors: Tensor) -> list[Tensor]:
    shapes = {tensor.shape for tensor in tensors.values()}
    if len(shapes) > 1 or any(t.ndim == 0 or t.numel() == 0 for t in tensors.values()):
        found = ", ".join(f"{name} {tuple(tensor.shape)}" for name, tensor in tensors.items())
        raise ShapeError(
            f"{function}: expected shape (..., N) with N >= 1, the same for each tensor, got "
            f"{found}."
        )
    return [_floating(function, name, tensor) for name, tensor in tensors.items()]


def _floating(function: str, name: str, tensor: Tensor) -> Tensor:
    if not tensor.is_floating_point():
        raise ArgumentError(f"{function}: {name} must be floating point, got {tensor.dtype}.")
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _own(log_conditional_BC: Tensor) -> Tensor:
    """Bool (B, C): x_j with its own y_j."""
    return torch.eye(
        *log_conditional_BC.shape[-2:], dtype=torch.bool, device=log_conditional_BC.device
    )
