"""Mutual information: variational bounds, critics, problems with known truth, and estimates.

from sidle.mi import estimate
print(estimate(x, y).nats)
"""

from sidle.mi.bounds import (
    BOUNDS,
    Bound,
    dv_estimate,
    infonce_bound,
    js_bound,
    js_objective,
    nwj_bound,
)
from sidle.mi.critics import CRITICS, BilinearCritic, SeparableCritic
from sidle.mi.estimate import Estimate, default_batch_size, estimate, estimate_all
from sidle.mi.problems import CorrelatedGaussians, Staircase

__all__ = [
    "BOUNDS",
    "CRITICS",
    "BilinearCritic",
    "Bound",
    "CorrelatedGaussians",
    "Estimate",
    "SeparableCritic",
    "Staircase",
    "default_batch_size",
    "dv_estimate",
    "estimate",
    "estimate_all",
    "infonce_bound",
    "js_bound",
    "js_objective",
    "nwj_bound",
]
