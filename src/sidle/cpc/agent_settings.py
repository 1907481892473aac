"""What can be chosen about the loss beside an agent's, and what it is compared with.

References: [CPC] van den Oord, Li & Vinyals 2018, arXiv:1807.03748, section 3.4. [PBL] Guo et al.
2018, "Neural Predictive Belief Representations", arXiv:1811.06407. [CURL] Laskin, Srinivas &
Abbeel 2020, arXiv:2004.04136. [DrQ] Kostrikov, Yarats & Fergus 2020, arXiv:2004.13649.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Literal

from sidle.errors import ArgumentError

SHORTEST_ROLLOUT = 32  # steps; with fewer there is hardly a future to predict


@dataclass(frozen=True)
class AuxiliarySettings:
    """How CPC trains an agent's encoder; the paper predicts up to 30 of 100 steps."""

    steps: int = 8
    """Steps ahead that are predicted, K."""
    weight: float = 1.0
    """How much the loss moves the shared encoder: a factor of ``learning_rate`` for its weights,
    since Adam does not notice the scale of a loss. With 0 the same is computed and the agent is
    left as it is, to the last bit."""
    final_weight: float | None = None
    """What the weight falls or rises to in a straight line; None: it stays."""
    anneal_steps: int | None = None
    """Environment steps after which ``final_weight`` is reached; None: at the end of training."""
    context: Literal["own", "agent"] = "own"
    """What sums up the past: a GRU of its own, or the LSTM of a recurrent policy, which then learns
    from the loss too, as in the paper."""
    context_features: int = 128
    """Units of the GRU."""
    actions: bool = True
    """Predict from the actions in between as well: a GRU is unrolled over them [PBL]. Else a
    linear map a step, as in the paper."""
    negatives: int = 128
    """Other steps of the rollout that what came is told from; none of them looks like it."""
    updates: int = 1
    """Steps of the optimiser a rollout."""
    pieces: int | None = None
    """Pieces of episodes in one such step, drawn anew for each; None: all of the rollout."""
    learning_rate: float = 3e-4
    """Of Adam, for encoder and predictions."""
    largest_gradient: float = 10.0
    """Norm that gradients are clipped to."""
    shift: int = 0
    """Pixels by which images are moved at random [DrQ] before CPC *and* the agent learn from them;
    0: they are left alone."""
    shuffled_time: bool = False
    """Put the steps of each piece in random order: a control, nothing of time is left to learn."""

    def __post_init__(self) -> None:
        for name in ("steps", "context_features", "negatives", "updates"):
            if getattr(self, name) < 1:
                raise ArgumentError(f"{name} must be at least 1, got {getattr(self, name)}.")
        for name in ("pieces", "anneal_steps"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ArgumentError(f"{name} must be None or at least 1, got {value}.")
        for name in ("weight", "final_weight"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                raise ArgumentError(f"{name} must be at least 0, got {value}.")
        for name in ("learning_rate", "largest_gradient"):
            if not 0 < getattr(self, name) < math.inf:
                raise ArgumentError(f"{name} must be above 0, got {getattr(self, name)}.")
        if self.shift < 0:
            raise ArgumentError(f"shift must be at least 0, got {self.shift}.")
        if self.anneal_steps is not None and self.final_weight is None:
            raise ArgumentError("anneal_steps says when final_weight is reached; give that too.")
        if self.context not in ("own", "agent"):
            raise ArgumentError(f"context must be 'own' or 'agent', got {self.context!r}.")

    def weight_at(self, n_steps: int, total: int) -> float:
        """Return the weight after ``n_steps`` of ``total`` environment steps."""
        if self.final_weight is None:
            return self.weight
        share = min(1.0, n_steps / (self.anneal_steps or total))
        return self.weight + share * (self.final_weight - self.weight)


def controls(settings: AuxiliarySettings, *, shift: int = 4) -> dict[str, AuxiliarySettings]:
    """Return what to compare ``settings`` with, to see that it is the loss that helps.

    Args:
        settings: what is to be judged.
        shift: of "augmentation-alone", where ``settings`` move no images.

    Returns:
        "no-loss": the same is computed, and the encoder left as it is; "shuffled-time": the loss
        of the same steps in random order; "augmentation-alone": the agent learns from moved images,
        and the encoder is left as it is.
    """
    still = dataclasses.replace(settings, weight=0.0, final_weight=None, anneal_steps=None)
    return {
        "no-loss": dataclasses.replace(still, shift=0),
        "shuffled-time": dataclasses.replace(settings, shuffled_time=True),
        "augmentation-alone": dataclasses.replace(still, shift=settings.shift or shift),
    }
