"""Balls of perturbations: distances, projections, steepest ascent and random points.

The objects all functions share are the images x0 (B, ...) in [0, 1], the perturbed images x of the
same shape, and a ball around each x0 in one of three norms over all entries of an image. Every
function treats each image on its own. What is allowed is the part of the ball inside [0, 1].

    linf   largest change of an entry     l2   Euclidean     l1   sum of changes

Letters: B = images; D = entries of an image.
References: [PGD] Madry et al. 2018, arXiv:1706.06083. [L1] Tramèr & Boneh 2019, "Adversarial
training and robustness for multiple perturbations", arXiv:1904.13000, section 2.2 (sparse ascent).
[BOX] Croce & Hein 2021, "Mind the box: l1-APGD for sparse adversarial attacks on image
classifiers", arXiv:2103.01208, proposition 2.1 (projection onto ball and box at once).
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor

from sidle.errors import ArgumentError

Norm = Literal["linf", "l2", "l1"]
NORMS: tuple[Norm, ...] = get_args(Norm)

SPARSE_SHARE = 0.01
"""Share of the entries that one step of sparse ascent in L1 moves, as in [L1]."""


def check_ball(function: str, norm: str, epsilon: float) -> None:
    """Raise ArgumentError unless ``norm`` is one of `NORMS` and ``epsilon`` positive and finite."""
    if norm not in NORMS:
        raise ArgumentError(f"{function}: norm must be one of {', '.join(NORMS)}, got {norm!r}.")
    if not (0 < epsilon < math.inf):
        raise ArgumentError(
            f"{function}: epsilon must be positive, in the unit of the images (0 to 1), got "
            f"{epsilon}."
        )


def distance(x: Tensor, x0: Tensor, norm: Norm) -> Tensor:
    """Return how far each image was moved, shape (B,), at least 0."""
    moved_BD = (x - x0).flatten(1)
    found: Tensor = torch.linalg.vector_norm(moved_BD, ord=_ORDERS[norm], dim=1)
    return found


_ORDERS = {"linf": math.inf, "l2": 2.0, "l1": 1.0}


def project(x: Tensor, x0: Tensor, epsilon: float, norm: Norm) -> Tensor:
    """Return a point of the ball inside [0, 1] for every image of ``x``.

    L-inf and L1: the nearest such point, exactly ([BOX] for L1). L2: the nearest point of the
    ball, then of [0, 1], which leads no further from x0: allowed, though not always the nearest.
    """
    if norm == "linf":
        return x.clamp(x0 - epsilon, x0 + epsilon).clamp(0, 1)
    if norm == "l2":
        moved = x - x0
        lengths = _per_image(torch.linalg.vector_norm(moved.flatten(1), dim=1), moved)
        shrunk = moved * (epsilon / lengths.clamp_min(1e-12)).clamp_max(1)
        return (x0 + shrunk).clamp(0, 1)
    return _project_l1(x, x0, epsilon)


def _project_l1(x: Tensor, x0: Tensor, epsilon: float) -> Tensor:
    """Solve the projection of [BOX]: every change shrinks by the same amount, within its room.

    A change a_i >= 0 with room r_i up to the side of the box becomes min(max(a_i - t, 0), r_i).
    Their sum f(t) = sum_i max(a_i - t, 0) - max(a_i - r_i - t, 0) falls, linearly between the
    points a_i and a_i - r_i; t is where it equals epsilon.
    """
    moved_BD = (x - x0).flatten(1)
    start_BD = x0.flatten(1)
    room_BD = torch.where(moved_BD > 0, 1 - start_BD, start_BD)
    size_BD = moved_BD.abs()
    clipped_BD = torch.minimum(size_BD, room_BD)
    far = clipped_BD.sum(1) > epsilon
    if not far.any():
        return (x0 + (clipped_BD * moved_BD.sign()).view_as(x)).clamp(0, 1)
    # In double: sums of thousands of entries are subtracted from each other.
    a_FD, r_FD = size_BD[far].double(), room_BD[far].double()
    points, order = torch.cat([a_FD, (a_FD - r_FD).clamp_min(0)], dim=1).sort(1, descending=True)
    signs = torch.ones_like(points)
    signs[:, a_FD.shape[1] :] = -1
    slopes = signs.gather(1, order).cumsum(1)
    weighted = (signs.gather(1, order) * points).cumsum(1)
    values = weighted - points * slopes  # f at each of the points, rising along the row
    last = (values <= epsilon).sum(1, keepdim=True) - 1  # the last point at which f is small enough
    # On the stretch below that point f(t) = weighted - t slopes; it must fall there, for f(0) is
    # larger than epsilon.
    slope, sum_ = slopes.gather(1, last), weighted.gather(1, last)
    t = (sum_ - epsilon) / slope.clamp_min(1)
    shrunk_FD = torch.minimum((a_FD - t).clamp_min(0), r_FD)
    clipped_BD[far] = shrunk_FD.to(clipped_BD.dtype)
    return (x0 + (clipped_BD * moved_BD.sign()).view_as(x)).clamp(0, 1)


def ascent(gradient: Tensor, x: Tensor, norm: Norm) -> Tensor:
    """Return the direction of length 1 in ``norm`` to step in, for every image.

    L-inf: the sign of each entry. L2: the gradient over its length. L1: the same amount on the
    1 % of entries with the largest gradient that have room to move inside [0, 1] ([L1]: steepest
    ascent proper would move one entry a step). Where the gradient is 0 the direction is too; an
    entry that is no number counts as 0, an infinite one as the largest number there is.
    """
    gradient = gradient.nan_to_num(0.0)
    if norm == "linf":
        return gradient.sign()
    if norm == "l2":
        # Over their largest entry first, whose square might vanish or overflow.
        largest = gradient.flatten(1).abs().amax(1).clamp_min(torch.finfo(gradient.dtype).tiny)
        relative = gradient / _per_image(largest, gradient)
        lengths = torch.linalg.vector_norm(relative.flatten(1), dim=1)
        return relative / _per_image(lengths, gradient).clamp_min(1)
    stuck = ((x <= 0) & (gradient < 0)) | ((x >= 1) & (gradient > 0))
    slope_BD = gradient.masked_fill(stuck, 0).flatten(1)
    D = slope_BD.shape[1]
    k = math.floor(SPARSE_SHARE * (D - 1)) + 1
    largest, where = slope_BD.abs().topk(k, dim=1)
    signs = slope_BD.gather(1, where).sign()
    counts = (largest > 0).sum(1, keepdim=True).clamp_min(1)
    direction_BD = torch.zeros_like(slope_BD).scatter_(1, where, signs / counts)
    return direction_BD.view_as(gradient)


def random_points(
    x0: Tensor, epsilon: float, norm: Norm, generator: torch.Generator, *, surface: bool = False
) -> Tensor:
    """Return a random point of each ball, uniform by volume, clipped to [0, 1].

    With ``surface``, a point at distance epsilon (before clipping): a corner of the cube for L-inf,
    else uniform as a random direction is.
    """
    shape = (len(x0), math.prod(x0.shape[1:]))
    if norm == "linf":
        drawn = 2 * torch.rand(shape, generator=generator) - 1
        drawn = drawn.sign() if surface else drawn
    elif norm == "l2":
        drawn = torch.randn(shape, generator=generator)
        drawn = drawn / torch.linalg.vector_norm(drawn, dim=1, keepdim=True)
        if not surface:  # the volume inside radius r grows as r^D
            drawn = drawn * torch.rand(len(x0), 1, generator=generator) ** (1 / shape[1])
    else:
        # Exponentials over their sum are uniform on the simplex; one more of them fills the ball.
        parts = torch.empty(len(x0), shape[1] + 1).exponential_(generator=generator)
        signs = (torch.rand(shape, generator=generator) - 0.5).sign()
        kept = parts[:, :-1]
        total = kept.sum(1, keepdim=True) if surface else parts.sum(1, keepdim=True)
        drawn = signs * kept / total
    moved = (epsilon * drawn).view(x0.shape).to(device=x0.device, dtype=x0.dtype)
    return (x0 + moved).clamp(0, 1)


def _per_image(values_B: Tensor, like: Tensor) -> Tensor:
    return values_B.view(-1, *[1] * (like.ndim - 1))
