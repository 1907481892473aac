"""How robust a classifier is: a suite of attacks, worst cases, and the audit beside.

A robust accuracy is the share of images, of all that were attacked, which are classified rightly
before and after. The *worst case* in a norm counts an image as broken if any of its attacks broke
it; overall, if any attack did. Each norm brings its audit for masked gradients
(`sidle.evaluation.audit`), without which none of these numbers should be read.

Letters: N = images.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sidle import seeding
from sidle.errors import ArgumentError, ShapeError
from sidle.evaluation import attacks, audit, classifiers, suites
from sidle.evaluation.attacks import Norm, breadth
from sidle.evaluation.audit import Audit
from sidle.evaluation.classifiers import Classifier
from sidle.evaluation.suites import Budgets, SuiteName

FULL_IMAGES = 100  # that the full suite takes unless told otherwise


@dataclass(frozen=True, eq=False)
class AttackResult:
    """What an attack of a suite did.

    Attributes:
        name: as in the suite.
        norm: in which it is bound; None: by none.
        epsilon: its budget.
        robust_accuracy: share of all images that withstood.
        broken: whom it broke, bool (N,).
        seconds: how long it took.
    """

    name: str
    norm: Norm | None
    epsilon: float
    robust_accuracy: float
    broken: Tensor
    seconds: float


@dataclass(frozen=True, eq=False)
class Robustness:
    """What a suite found on N images.

    Attributes:
        suite: its name.
        n_images: N.
        samples: draws of a classifier that draws.
        accuracy: share classified rightly before any attack.
        attacks: in the suite's order.
        worst: robust accuracy in the worst case, by norm.
        worst_overall: over all attacks.
        audit: by norm.
    """

    suite: SuiteName
    n_images: int
    samples: int
    accuracy: float
    attacks: tuple[AttackResult, ...]
    worst: Mapping[Norm, float]
    worst_overall: float
    audit: Mapping[Norm, Audit]

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain values, for JSON; a budget that is infinite as None."""
        return {
            "suite": self.suite,
            "n_images": self.n_images,
            "samples": self.samples,
            "accuracy": self.accuracy,
            "attacks": [
                {
                    "name": one.name,
                    "norm": one.norm,
                    "epsilon": None if one.norm is None else one.epsilon,
                    "robust_accuracy": one.robust_accuracy,
                    "seconds": round(one.seconds, 3),
                }
                for one in self.attacks
            ],
            "worst": dict(self.worst),
            "worst_overall": self.worst_overall,
            "audit": {norm: one.as_dict() for norm, one in self.audit.items()},
        }


def robustness(
    model: Classifier,
    x: Tensor,
    y: Tensor,
    suite: SuiteName = "fast",
    *,
    budgets: Budgets | None = None,
    samples: int | None = None,
    n_images: int | None = None,
    audit_images: int = 50,
    seed: int = 0,
    batch_size: int = attacks.BATCH_SIZE,
    device: str = "cpu",
    progress: Callable[[str, int, int], None] | None = None,
) -> Robustness:
    """Attack a classifier by a suite, and audit it.

    Args:
        model: a classifier (`sidle.evaluation.classifiers`).
        x: images, (N, C, H, W) in [0, 1].
        y: labels (N,).
        suite: "fast" or "full" (`sidle.evaluation.suites`).
        budgets: how far; None: the usual ones for such images.
        samples: draws of a classifier that draws; None: the suite's.
        n_images: attack the first so many; None: all, for "full" the first 100.
        audit_images: the first so many of these are audited; 0: no audit.
        seed: of all attacks.
        batch_size: images at once.
        device: where to compute.
        progress: called before each step with what it is, its place and how many there are.

    Raises:
        ShapeError, ArgumentError, NonFiniteError: bad images, labels or logits; no images with
            channels for "full".
        MissingExtraError: "full" without foolbox.
    """
    classifiers.check_images("robustness", x)
    classifiers.check_labels("robustness", y, len(x))
    if audit_images < 0 or (n_images is not None and n_images < 1):
        raise ArgumentError(
            "robustness: expected n_images of at least 1 and audit_images of at least 0, got "
            f"{n_images} and {audit_images}."
        )
    if suite == "full":  # said before minutes of attacks, not after
        if x.ndim != 4:
            raise ShapeError(
                "robustness: the full suite is for images of shape (N, C, H, W), got "
                f"{tuple(x.shape)}. Take the fast one."
            )
        breadth.check_installed()
    planned = suites.suite(suite, budgets or Budgets.for_images(tuple(x.shape[1:])))
    samples = planned.samples if samples is None else samples
    most = n_images or (FULL_IMAGES if suite == "full" else len(x))
    x, y = x[:most], y[:most]
    common: dict[str, Any] = {"samples": samples, "batch_size": batch_size, "device": device}
    in_norms = dict.fromkeys(one.norm for one in planned.attacks if one.norm is not None)
    n_steps = len(planned.attacks) + (len(in_norms) if audit_images else 0)

    def tell(what: str, step: int) -> None:
        if progress is not None:
            progress(what, step, n_steps)

    logits = classifiers.logits(model, x, seed=seeding.split(seed, "before"), **common)
    classifiers.check_classes("robustness", y, logits.shape[1])
    wrong = logits.argmax(1) != y.cpu()
    results = []
    for step, one in enumerate(planned.attacks):
        tell(one.name, step)
        began = time.perf_counter()
        found = one.run(model, x, y, seed=seeding.split(seed, one.name), **common)
        broken = one.broken(found) | wrong
        results.append(
            AttackResult(
                one.name,
                one.norm,
                one.epsilon,
                1 - float(broken.double().mean()),
                broken,
                time.perf_counter() - began,
            )
        )
    worst = {
        norm: torch.stack([r.broken for r in results if r.norm == norm]).any(0) for norm in in_norms
    }
    audits: dict[Norm, Audit] = {}
    for step, norm in enumerate(in_norms if audit_images else ()):
        tell(f"audit in {norm}", len(planned.attacks) + step)
        few = slice(audit_images)
        epsilon = next(r.epsilon for r in results if r.norm == norm)
        audits[norm] = audit.audit(
            model, x[few], y[few], epsilon=epsilon, norm=norm, broken=worst[norm][few],
            seed=seeding.split(seed, "audit"), **common,
        )  # fmt: skip
    return Robustness(
        suite=suite,
        n_images=len(x),
        samples=samples,
        accuracy=1 - float(wrong.double().mean()),
        attacks=tuple(results),
        worst={norm: 1 - float(one.double().mean()) for norm, one in worst.items()},
        worst_overall=1 - float(torch.stack([r.broken for r in results]).any(0).double().mean()),
        audit=audits,
    )
