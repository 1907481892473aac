"""What each bound needs, what it reads, and what that promises: the table `BOUNDS`.

A bound trains a *network*, whose outputs on a batch of pairs go to ``objective`` in training and
to ``value`` in reading. For most bounds the network is a critic and its output scores_BB. Bounds
whose inputs only a known model can give (Barber-Agakov, VUB, the structured ones) are functions of
`sidle.mi.densities` and not in the table.

Letters: B = pairs in the batch (K in the papers).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor, nn

from sidle.mi import bounds, densities
from sidle.mi.conditionals import AutoregressiveClassifier, GaussianConditional
from sidle.mi.critics import BaselineCritic, FenchelCritic, MovingAverageCritic

Guarantee = Literal["lower", "upper", "none"]
CriticBuilder = Callable[[int, int], nn.Module]

# Of the published continuum, alpha near 0 keeps the ceiling 1 + log(K / alpha) out of the way.
ALPHA = 0.01


@dataclass(frozen=True)
class Bound:
    """A bound as data.

    Attributes:
        name: key in `BOUNDS`.
        title: name for people.
        objective: maximised in training; network outputs -> scalar tensor.
        value: read out, in nats; likewise. Leading dimensions of the outputs are kept.
        guarantee: what the expectation of ``value`` is to I(X; Y) for a fixed network.
        sampling: under which sampling that holds, or why it does not.
        ceiling: batch size -> largest possible expectation of ``value`` in nats, None if there is
            none.
        shift: log p(x, y) / (p(x) p(y)) + shift is an optimal critic of ``objective``.
        source: paper and equation.
        network: (critic builder, dim_x, dim_y) -> module mapping x_BD, y_BE to the outputs; a
            tensor or a tuple of tensors.
        density: whether the network models q(y | x) and takes no critic.
        selection: which of the two picks the moment of training on validation pairs. A value that
            is no bound may rise as the network gets worse.
        exponential: whether ``value`` averages exponentials of scores over product pairs, which
            makes it heavy-tailed.
    """

    name: str
    title: str
    objective: Callable[..., Tensor]
    value: Callable[..., Tensor]
    guarantee: Guarantee
    sampling: str
    ceiling: Callable[[int], float | None]
    shift: float
    source: str
    network: Callable[[CriticBuilder, int, int], nn.Module]
    density: bool = False
    selection: Literal["value", "objective"] = "value"
    exponential: bool = False


def outputs(network: nn.Module, x_BD: Tensor, y_BE: Tensor) -> tuple[Tensor, ...]:
    """Return what the network puts out for a batch, as a tuple."""
    found = network(x_BD, y_BE)
    return found if isinstance(found, tuple) else (found,)


def exact_outputs(bound: Bound, log_ratio_BB: Tensor) -> tuple[Tensor, ...]:
    """Return the outputs of an optimal network, given the exact log density ratio.

    Args:
        bound: one that takes a critic.
        log_ratio_BB: log p(x_i, y_j) / (p(x_i) p(y_j)), shape (..., B, B).
    """
    scores_BB = log_ratio_BB + bound.shift
    if bound.name == "flo":
        return scores_BB, -log_ratio_BB.diagonal(dim1=-2, dim2=-1)
    if bound.name == "mine":
        return scores_BB, torch.zeros_like(scores_BB[..., 0, 0])
    return (scores_BB,)


def _critic_alone(build: CriticBuilder, dim_x: int, dim_y: int) -> nn.Module:
    return build(dim_x, dim_y)


def _with_baseline(build: CriticBuilder, dim_x: int, dim_y: int) -> nn.Module:
    return BaselineCritic(build(dim_x, dim_y), dim_x)


def _with_average(build: CriticBuilder, dim_x: int, dim_y: int) -> nn.Module:
    return MovingAverageCritic(build(dim_x, dim_y))


def _with_u(build: CriticBuilder, dim_x: int, dim_y: int) -> nn.Module:
    return FenchelCritic(build(dim_x, dim_y), dim_x, dim_y)


def _gaussian(build: CriticBuilder, dim_x: int, dim_y: int) -> nn.Module:
    return GaussianConditional(dim_x, dim_y)


def _classifier(build: CriticBuilder, dim_x: int, dim_y: int) -> nn.Module:
    return AutoregressiveClassifier(dim_x, dim_y)


def _baseline_one(scores_BB: Tensor) -> Tensor:
    return bounds.tuba_bound(scores_BB, 0.0)  # the critic has its baseline taken off already


def _dv_of_scores(scores_BB: Tensor, log_average: Tensor) -> Tensor:
    return bounds.dv_estimate(scores_BB)


def _sum_of_log_likelihoods(log_conditional_B: Tensor, log_marginal_B: Tensor) -> Tensor:
    return log_conditional_B.mean(-1) + log_marginal_B.mean(-1)


def _no_ceiling(batch_size: int) -> None:
    return None


def _interpolated_ceiling(batch_size: int) -> float:
    return 1 + math.log((batch_size - 1) / ALPHA)


_interpolated = functools.partial(bounds.interpolated_bound, alpha=ALPHA)

_FIXED_CRITIC = "in expectation over batches of independent pairs that the critic never saw"
_LOG_OF_MEAN = "the log of a batch's mean is biased; a lower bound only as B grows"
_LEARNED = "an upper bound only with the true p(y | x), which is learned here"

BOUNDS: Mapping[str, Bound] = MappingProxyType(
    {
        bound.name: bound
        for bound in (
            Bound(
                name="infonce",
                title="InfoNCE",
                objective=bounds.infonce_bound,
                value=bounds.infonce_bound,
                guarantee="lower",
                sampling=_FIXED_CRITIC,
                ceiling=math.log,
                shift=0.0,
                source="van den Oord et al. 2018, eq. 4; Poole et al. 2019, eq. 12",
                network=_critic_alone,
            ),
            Bound(
                name="nwj",
                title="NWJ",
                objective=bounds.nwj_bound,
                value=bounds.nwj_bound,
                guarantee="lower",
                sampling=_FIXED_CRITIC,
                ceiling=_no_ceiling,
                shift=1.0,
                source="Nguyen, Wainwright, Jordan 2010; Poole et al. 2019, section 2.2",
                network=_critic_alone,
                exponential=True,
            ),
            Bound(
                name="tuba",
                title="TUBA",
                objective=_baseline_one,
                value=_baseline_one,
                guarantee="lower",
                sampling=_FIXED_CRITIC,
                ceiling=_no_ceiling,
                shift=0.0,
                source="Poole et al. 2019, section 2.2",
                network=_with_baseline,
                exponential=True,
            ),
            Bound(
                name="js",
                title="Jensen-Shannon",
                objective=bounds.js_objective,
                value=bounds.js_bound,
                guarantee="lower",
                sampling=_FIXED_CRITIC,
                ceiling=_no_ceiling,
                shift=0.0,
                source="Nowozin et al. 2016, eq. 7 and 8; Poole et al. 2019, on I_JS",
                network=_critic_alone,
                exponential=True,
            ),
            Bound(
                name="interpolated",
                title=f"I_alpha, alpha {ALPHA:g}",
                objective=_interpolated,
                value=_interpolated,
                guarantee="lower",
                sampling=_FIXED_CRITIC,
                ceiling=_interpolated_ceiling,
                shift=1.0,
                source="Poole et al. 2019, section 2.4",
                network=_critic_alone,
                exponential=True,
            ),
            Bound(
                name="flo",
                title="FLO",
                objective=bounds.flo_bound,
                value=bounds.flo_bound,
                guarantee="lower",
                sampling=_FIXED_CRITIC,
                ceiling=_no_ceiling,
                shift=0.0,
                source="Guo et al. 2022, eq. 8",
                network=_with_u,
                exponential=True,
            ),
            Bound(
                name="dv",
                title="Donsker-Varadhan",
                objective=bounds.dv_estimate,
                value=bounds.dv_estimate,
                guarantee="none",
                sampling=_LOG_OF_MEAN,
                ceiling=_no_ceiling,
                shift=0.0,
                source="Donsker, Varadhan 1983; Poole et al. 2019, section 2.2",
                network=_critic_alone,
                exponential=True,
            ),
            Bound(
                name="mine",
                title="MINE",
                objective=bounds.mine_objective,
                value=_dv_of_scores,
                guarantee="none",
                sampling=_LOG_OF_MEAN,
                ceiling=_no_ceiling,
                shift=0.0,
                source="Belghazi et al. 2018, section 3.2",
                network=_with_average,
                exponential=True,
            ),
            Bound(
                name="smile",
                title="SMILE, tau 5",
                objective=bounds.js_objective,
                value=bounds.smile_estimate,
                guarantee="none",
                sampling="the clip biases it in either direction",
                ceiling=_no_ceiling,
                shift=0.0,
                source="Song, Ermon 2020, eq. 11",
                network=_critic_alone,
                selection="objective",
            ),
            Bound(
                name="l1out",
                title="Leave-one-out",
                objective=densities.log_likelihood,
                value=densities.leave_one_out_upper_bound,
                guarantee="none",
                sampling=_LEARNED,
                ceiling=_no_ceiling,
                shift=0.0,
                source="Poole et al. 2019, section 2.1",
                network=_gaussian,
                density=True,
                selection="objective",
            ),
            Bound(
                name="club",
                title="CLUB",
                objective=densities.log_likelihood,
                value=densities.club_estimate,
                guarantee="none",
                sampling=_LEARNED,
                ceiling=_no_ceiling,
                shift=0.0,
                source="Cheng et al. 2020, eq. 7",
                network=_gaussian,
                density=True,
                selection="objective",
            ),
            Bound(
                name="njee",
                title="NJEE",
                objective=_sum_of_log_likelihoods,
                value=densities.njee_estimate,
                guarantee="none",
                sampling="a difference of two entropies, each too large",
                ceiling=_no_ceiling,
                shift=0.0,
                source="Shalev, Painsky, Ben-Gal 2022, eq. 11",
                network=_classifier,
                density=True,
                selection="objective",
            ),
        )
    }
)
