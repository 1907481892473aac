"""The objectives of bottlenecks, and the one knob rho with its three names.

CEB minimises I(X;Z|Y) - gamma I(Y;Z) [CEB1, equation 12]: keep little of X that says nothing of
Y, and much that does. With a forward encoder e, a backward encoder b and a classifier c,

    I(X;Z|Y) <= E[log e(z|x) - log b(z|y)] = Re,        the residual information,
    I(Y;Z)   >= H(Y) + E[log c(y|z)],

so that E[log e(z|x) - log b(z|y) - gamma log c(y|z)] is minimised. Z depends on X alone, hence
I(X;Z|Y) = I(X;Z) - I(Y;Z), and the same trade is written in three ways:

1. gamma = e^rho, the weight of -log c [CEB1; CEB2, section 2];
2. e^-rho, the weight of Re where -log c has weight 1: (1) divided by gamma;
3. beta_VIB = 1 / (1 + e^rho), the weight of the rate R where -log c has weight 1. For
   I(X;Z) - (1 + gamma) I(Y;Z) is (1) once more, and divided by 1 + gamma it is the objective
   beta I(X;Z) - I(Y;Z) of the variational information bottleneck [VIB], which bounds I(X;Z) by
   R = E[log e(z|x) - log m(z)] with a marginal m.

rho 0 is gamma 1, beta_VIB 1/2: the minimum necessary information (MNI) is the optimum there,
I(X;Z) = I(Y;Z) = I(X;Y), if it can be reached. Higher rho allows more residual information; an
infinite one asks for none of this. The losses below have form 2 and 3: the step of the classifier
then does not depend on rho. All in nats.

References: [CEB1] Fischer 2020, doi:10.3390/e22090999. [CEB2] Fischer and Alemi 2020,
doi:10.3390/e22101081. [VIB] Alemi et al. 2017, arXiv:1612.00410.
"""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor

from sidle.errors import ArgumentError

Objective = Literal["ceb", "vib", "deterministic", "label-smoothing"]
OBJECTIVES: tuple[Objective, ...] = ("ceb", "vib", "deterministic", "label-smoothing")
RANDOM: tuple[Objective, ...] = ("ceb", "vib")


def gamma(rho: float) -> float:
    """Return e^rho, the weight of -log c(y|z) beside Re; infinite where it exceeds floats."""
    check_rho("gamma", rho)
    return math.exp(rho) if rho < 709 else math.inf


def multiplier(rho: float) -> float:
    """Return e^-rho, the weight of Re beside -log c(y|z)."""
    check_rho("multiplier", rho)
    return math.exp(-rho)


def beta_vib(rho: float) -> float:
    """Return 1 / (1 + e^rho), in [0, 1): the weight of R beside -log c(y|z) in VIB."""
    check_rho("beta_vib", rho)
    # Without a large power on either side.
    return math.exp(-rho) / (1 + math.exp(-rho)) if rho > 0 else 1 / (1 + math.exp(rho))


def rho_from_beta_vib(beta: float) -> float:
    """Return the rho whose `beta_vib` is ``beta``, in (0, 1).

    Raises:
        ArgumentError: ``beta`` lies outside (0, 1).
    """
    if not 0 < beta < 1:
        raise ArgumentError(f"rho_from_beta_vib: beta must lie in (0, 1), got {beta}.")
    return math.log1p(-beta) - math.log(beta)


def rho_from_gamma(value: float) -> float:
    """Return log gamma.

    Raises:
        ArgumentError: gamma is not above 0.
    """
    if not value > 0:
        raise ArgumentError(f"rho_from_gamma: gamma must be above 0, got {value}.")
    return math.log(value)


def conventions(rho: float) -> str:
    """Return the knob under all of its names, for people to read."""
    return (
        f"rho={rho:g} (gamma=e^rho={gamma(rho):.4g}, multiplier e^-rho={multiplier(rho):.4g}, "
        f"beta_VIB=1/(1+e^rho)={beta_vib(rho):.4g})"
    )


def ceb_loss(residual: Tensor, log_likelihood: Tensor, rho: float) -> Tensor:
    """Return the CEB objective divided by gamma: e^-rho Re - log c, in nats.

    Args:
        residual: Re, log e(z|x) - log b(z|y) or its expectation; any shape.
        log_likelihood: log c(y|z); same shape.
        rho: the knob, up to infinity.

    Returns:
        A scalar: the mean.
    """
    distortion = -log_likelihood.mean()
    weight = multiplier(rho)
    # 0 times an infinite Re is no number, and nothing is asked of Re then.
    return distortion if weight == 0 else weight * residual.mean() + distortion


def vib_loss(rate: Tensor, log_likelihood: Tensor, rho: float) -> Tensor:
    """Return the VIB objective with beta = 1 / (1 + e^rho): beta R - log c, in nats.

    Arguments as for `ceb_loss`, ``rate`` being log e(z|x) - log m(z).
    """
    distortion = -log_likelihood.mean()
    weight = beta_vib(rho)
    return distortion if weight == 0 else weight * rate.mean() + distortion


def check_rho(function: str, rho: float) -> None:
    """Raise ArgumentError unless rho is a number in [-700, infinity]."""
    if not rho >= -700:  # e^-rho is a float there; also refuses what is not a number
        raise ArgumentError(
            f"{function}: rho must be a number of at least -700, got {rho}. Useful values lie "
            "between 0 (minimum necessary information) and 10; infinity asks for no compression."
        )
