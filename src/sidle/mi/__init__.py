"""Mutual information: variational bounds, critics, problems with known truth, and estimates.

from sidle.mi import estimate
print(estimate(x, y).nats)
"""

from sidle.mi.agreement import cross_checks, disagreements
from sidle.mi.beyond_normal import BEYOND_NORMAL
from sidle.mi.bounds import (
    dv_estimate,
    flo_bound,
    infonce_bound,
    interpolated_bound,
    js_bound,
    js_objective,
    mine_objective,
    nwj_bound,
    smile_estimate,
    tuba_bound,
)
from sidle.mi.classical import cca, ksg
from sidle.mi.conditionals import AutoregressiveClassifier, GaussianConditional
from sidle.mi.contrast import (
    Contrast,
    InfoNCELoss,
    info_nce,
    info_nce_with_negatives,
    info_nce_with_sampler,
)
from sidle.mi.critics import (
    CRITICS,
    BaselineCritic,
    BilinearCritic,
    ConcatenatedCritic,
    FenchelCritic,
    MovingAverageCritic,
    OptimalCritic,
    SeparableCritic,
)
from sidle.mi.densities import (
    barber_agakov_bound,
    club_estimate,
    leave_one_out_upper_bound,
    njee_estimate,
    structured_lower_bound,
    unnormalized_barber_agakov_bound,
    variational_upper_bound,
)
from sidle.mi.estimate import default_batch_size, estimate, estimate_all
from sidle.mi.estimator import MutualInformationEstimator
from sidle.mi.gradient_cache import backward_through_encoders
from sidle.mi.guarantees import BOUNDS, Bound
from sidle.mi.problems import CorrelatedGaussians, Staircase
from sidle.mi.reading import Estimate
from sidle.mi.stacked import StackedSeparableCritic, stack, staircase_batches

__all__ = [
    "BEYOND_NORMAL",
    "BOUNDS",
    "CRITICS",
    "AutoregressiveClassifier",
    "BaselineCritic",
    "BilinearCritic",
    "Bound",
    "ConcatenatedCritic",
    "Contrast",
    "CorrelatedGaussians",
    "Estimate",
    "FenchelCritic",
    "GaussianConditional",
    "InfoNCELoss",
    "MovingAverageCritic",
    "MutualInformationEstimator",
    "OptimalCritic",
    "SeparableCritic",
    "StackedSeparableCritic",
    "Staircase",
    "backward_through_encoders",
    "barber_agakov_bound",
    "cca",
    "club_estimate",
    "cross_checks",
    "default_batch_size",
    "disagreements",
    "dv_estimate",
    "estimate",
    "estimate_all",
    "flo_bound",
    "info_nce",
    "info_nce_with_negatives",
    "info_nce_with_sampler",
    "infonce_bound",
    "interpolated_bound",
    "js_bound",
    "js_objective",
    "ksg",
    "leave_one_out_upper_bound",
    "mine_objective",
    "njee_estimate",
    "nwj_bound",
    "smile_estimate",
    "stack",
    "staircase_batches",
    "structured_lower_bound",
    "tuba_bound",
    "unnormalized_barber_agakov_bound",
    "variational_upper_bound",
]
