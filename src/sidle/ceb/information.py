"""What a representation holds: rate, residual information and what it tells of the label.

Letters: B = rows; C = classes; N = examples.
References: [CEB1] Fischer 2020, doi:10.3390/e22090999, section 4 (the information plane).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from sidle import seeding
from sidle.ceb.bottleneck import Bottleneck
from sidle.errors import ArgumentError, ShapeError
from sidle.evaluation import classifiers


@dataclass(frozen=True)
class Information:
    """Measures over N examples; informations in nats.

    Attributes:
        rate: R = E[log e(z|x) - log m(z)], an upper bound on I(X;Z).
        residual: Re = E[log e(z|x) - log b(z|y)], an upper bound on I(X;Z|Y).
        label: H(Y) + E[log c(y|z)], a lower bound on I(Y;Z); H(Y) of the labels measured.
        entropy: H(Y), which ``label`` cannot exceed; where rate = label = entropy and residual = 0
            the representation has the minimum necessary information.
        nll: mean of -log c(y|z).
        accuracy: share of draws of z from which the classifier tells the label.
    """

    rate: float
    residual: float
    label: float
    entropy: float
    nll: float
    accuracy: float

    def as_dict(self) -> dict[str, float]:
        """Return all numbers by name."""
        return asdict(self)


@torch.no_grad()
def measure(
    model: Bottleneck,
    x: Tensor,
    y: Tensor,
    *,
    samples: int = 1,
    batch_size: int = 500,
    seed: int = 0,
) -> Information:
    """Measure a bottleneck on examples, as it is in evaluation mode.

    The rate is only as tight as the marginal m(z), which must have been trained (`Bottleneck`).

    Args:
        model: a bottleneck; its mode is as before afterwards.
        x: inputs, (N, ...).
        y: labels, int64 (N,).
        samples: draws of z for each example, at least 1.
        batch_size: examples at once.
        seed: of the draws.

    Raises:
        ArgumentError, ShapeError: no examples, labels that do not fit, or counts below 1.
    """
    if samples < 1 or batch_size < 1:
        raise ArgumentError(
            f"measure: samples and batch_size must be at least 1, got {samples} and {batch_size}."
        )
    if len(x) == 0 or y.shape != (len(x),):
        raise ShapeError(
            f"measure: expected N >= 1 inputs and labels of shape (N,), got {tuple(x.shape)} and "
            f"{tuple(y.shape)}."
        )
    sums: Mapping[str, float] = dict.fromkeys(("R", "Re", "log_c", "right"), 0.0)
    with classifiers.evaluating(model), seeding.scope(seed):
        for rows in torch.split(torch.arange(len(x)), batch_size):
            labels = y[rows].to(model.device)
            terms = model.terms(x[rows].to(model.device), labels, samples)
            found = {
                "R": terms.rate,
                "Re": terms.residual[None],  # in closed form: no draws of it
                "log_c": terms.log_likelihood,
                "right": (terms.logits.argmax(-1) == labels).double(),
            }
            # Means over however many draws there are: nothing drawn is one.
            sums = {
                name: sums[name] + float(value.double().mean(0).sum())
                for name, value in found.items()
            }
    n = len(x)
    entropy = label_entropy(y)
    return Information(
        rate=sums["R"] / n,
        residual=sums["Re"] / n,
        label=entropy + sums["log_c"] / n,
        entropy=entropy,
        nll=-sums["log_c"] / n,
        accuracy=sums["right"] / n,
    )


def label_entropy(y: Tensor) -> float:
    """Return the entropy of labels as often as they occur in ``y``, int64 (N,), in nats."""
    counts = torch.unique(y, return_counts=True)[1].double()
    share = counts / counts.sum()
    return math.fsum((-share * share.log()).tolist())
