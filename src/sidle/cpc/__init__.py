"""Contrastive Predictive Coding: one API for sound, images, text and agents.

from sidle.cpc import ContrastivePredictiveCoding
model = ContrastivePredictiveCoding.audio(sample_rate=16_000)
"""

from sidle.cpc import batches, contexts, encoders, negatives, patches, predictors
from sidle.cpc.batches import Batch
from sidle.cpc.fitting import train, training_step
from sidle.cpc.losses import StepLosses
from sidle.cpc.model import ContrastivePredictiveCoding
from sidle.cpc.plans import NegativePlan
from sidle.cpc.positions import Positions
from sidle.cpc.settings import (
    AudioSettings,
    ImageSettings,
    ObservationSettings,
    TextSettings,
)

__all__ = [
    "AudioSettings",
    "Batch",
    "ContrastivePredictiveCoding",
    "ImageSettings",
    "NegativePlan",
    "ObservationSettings",
    "Positions",
    "StepLosses",
    "TextSettings",
    "batches",
    "contexts",
    "encoders",
    "negatives",
    "patches",
    "predictors",
    "train",
    "training_step",
]
