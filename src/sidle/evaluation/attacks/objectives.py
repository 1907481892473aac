"""What an attack raises: losses of a prediction, one an image, and when an image counts as broken.

The object all functions share is the logits (B, C) of B images. An attack is *untargeted*, and y
holds the true labels, or *targeted*, and y holds the classes wanted. Every loss is written so that
the attacker wants it large.

Letters: B = images; C = classes.
References: [FGSM] Goodfellow et al. 2015, arXiv:1412.6572. [CW] Carlini & Wagner 2017,
arXiv:1608.04644, section V (the margin of the logits).
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from sidle.errors import ArgumentError

Loss = Literal["cross-entropy", "margin"]
LOSSES: tuple[Loss, ...] = get_args(Loss)


def check_loss(function: str, loss: str) -> None:
    """Raise ArgumentError unless ``loss`` is one of `LOSSES`."""
    if loss not in LOSSES:
        raise ArgumentError(f"{function}: loss must be one of {', '.join(LOSSES)}, got {loss!r}.")


def losses(logits_BC: Tensor, y_B: Tensor, loss: Loss, *, targeted: bool = False) -> Tensor:
    """Return what the attacker raises, shape (B,).

    "cross-entropy": -log p(y), in nats [FGSM]; "margin": the largest logit of another class minus
    that of y [CW]. Targeted attacks raise minus that.
    """
    if loss == "cross-entropy":
        values = F.cross_entropy(logits_BC, y_B, reduction="none")
    else:
        own_B = logits_BC.gather(1, y_B[:, None])[:, 0]
        mask = torch.nn.functional.one_hot(y_B, logits_BC.shape[1]).bool()
        values = logits_BC.masked_fill(mask, -torch.inf).amax(1) - own_B
    return -values if targeted else values


def gradient(function: str, losses_B: Tensor, x: Tensor) -> Tensor:
    """Return the gradient of each loss with respect to its image; parameters are not asked.

    Raises:
        ArgumentError: no gradient leads from the losses to ``x``.
    """
    found = None
    if losses_B.requires_grad:
        (found,) = torch.autograd.grad(losses_B.sum(), x, allow_unused=True)
    if found is None:
        raise ArgumentError(
            f"{function}: no gradient leads from the model's logits back to its input, so nothing "
            "can be said by following it. Look for torch.no_grad, detach and NumPy in the model, "
            "or attack without gradients: spsa, square."
        )
    return found


def broken(logits_BC: Tensor, y_B: Tensor, *, targeted: bool = False) -> Tensor:
    """Return which images the attacker has won, bool (B,): wrong, or of the class wanted."""
    predicted_B = logits_BC.argmax(1)
    return predicted_B == y_B if targeted else predicted_B != y_B
