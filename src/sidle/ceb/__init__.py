"""The Conditional Entropy Bottleneck: classifiers that keep what the label needs.

`Bottleneck` is the head for any classifier, `attach` puts it on one that is there, `measure` says
what a representation holds. Read `bottleneck` first, then `objectives` for the knob rho.
"""

from sidle.ceb.attaching import attach
from sidle.ceb.bottleneck import Bottleneck, BottleneckLoss, MeanPrediction, Terms
from sidle.ceb.families import Diagonal, Family, FullCovariance, Identity, VonMisesFisher
from sidle.ceb.hierarchical import HierarchicalBottleneck, HierarchicalLoss
from sidle.ceb.information import Information, measure
from sidle.ceb.marginals import MixtureMarginal
from sidle.ceb.objectives import (
    beta_vib,
    conventions,
    gamma,
    multiplier,
    rho_from_beta_vib,
    rho_from_gamma,
)
from sidle.ceb.predictive import PredictiveBottleneck, PredictiveLoss
from sidle.ceb.schedules import Annealing
from sidle.ceb.two_views import TwoViewsBottleneck, TwoViewsLoss

__all__ = [
    "Annealing",
    "Bottleneck",
    "BottleneckLoss",
    "Diagonal",
    "Family",
    "FullCovariance",
    "HierarchicalBottleneck",
    "HierarchicalLoss",
    "Identity",
    "Information",
    "MeanPrediction",
    "MixtureMarginal",
    "PredictiveBottleneck",
    "PredictiveLoss",
    "Terms",
    "TwoViewsBottleneck",
    "TwoViewsLoss",
    "VonMisesFisher",
    "attach",
    "beta_vib",
    "conventions",
    "gamma",
    "measure",
    "multiplier",
    "rho_from_beta_vib",
    "rho_from_gamma",
]
