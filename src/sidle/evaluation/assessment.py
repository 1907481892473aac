"""Everything that evaluation knows about a classifier, in one call.

    found = assess(model, x, y)
    found.robustness.worst["linf"], found.robustness.audit["linf"].verdict
    found.calibration.ece, found.outliers["uniform"]["energy"].auroc, found.corruptions.mean

Nothing is trained, and the classifier is left as it was (`sidle.evaluation.classifiers`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from sidle import seeding
from sidle.errors import ArgumentError
from sidle.evaluation import attacks, calibration, classifiers, corruptions, outliers, robustness
from sidle.evaluation.calibration import Calibration
from sidle.evaluation.classifiers import Classifier
from sidle.evaluation.corruptions import CorruptionAccuracy
from sidle.evaluation.outliers import Detection
from sidle.evaluation.robustness import Robustness
from sidle.evaluation.suites import Budgets

SuiteChoice = Literal["fast", "full", "none"]
SAMPLES = 8  # draws of a classifier that draws, for everything but attacks

Progress = Callable[[str, int, int], None]
"""``progress(what, place, of how many)``, called before each piece of work."""


@dataclass(frozen=True, eq=False)
class Assessment:
    """What is known of a classifier.

    Attributes:
        n: examples for accuracy, calibration and outliers.
        draws: whether it draws at random.
        calibration: with its accuracy.
        robustness: None if no suite was asked for.
        outliers: by set, then by score; empty if there are no sets.
        corruptions: None if they were not asked for.
    """

    n: int
    draws: bool
    calibration: Calibration
    robustness: Robustness | None
    outliers: Mapping[str, Mapping[str, Detection]]
    corruptions: CorruptionAccuracy | None

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain values, for JSON."""
        return {
            "n": self.n,
            "draws": self.draws,
            "accuracy": self.calibration.accuracy,
            "calibration": self.calibration.as_dict(),
            "robustness": None if self.robustness is None else self.robustness.as_dict(),
            "outliers": {
                name: {score: one.as_dict() for score, one in some.items()}
                for name, some in self.outliers.items()
            },
            "corruptions": None if self.corruptions is None else self.corruptions.as_dict(),
        }


def assess(
    model: Classifier,
    x: Tensor,
    y: Tensor,
    *,
    suite: SuiteChoice = "fast",
    outlier_sets: Mapping[str, Tensor] | None = None,
    with_corruptions: bool | None = None,
    budgets: Budgets | None = None,
    samples: int = SAMPLES,
    n_images: int | None = None,
    audit_images: int = 50,
    seed: int = 0,
    batch_size: int = attacks.BATCH_SIZE,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Assessment:
    """Assess a classifier on test examples.

    Args:
        model: a classifier (`sidle.evaluation.classifiers`).
        x: inputs (N, ...) in [0, 1]; images (N, C, H, W) for the usual budgets and corruptions.
        y: labels (N,).
        suite: of attacks: "fast", "full" or "none".
        outlier_sets: inputs of another kind, by name; None: uniform noise, and images upside down.
        with_corruptions: whether to corrupt; None: where inputs are images with 1 or 3 channels.
        budgets: of attacks; None: the usual ones for such images.
        samples: draws of a classifier that draws; attacks take the suite's.
        n_images: attack the first so many; None: all, for "full" 100.
        audit_images: the first so many of them are audited.
        seed: of everything that is drawn.
        batch_size: examples at once.
        device: where to compute.
        progress: told before each piece of work.

    Raises:
        ShapeError, ArgumentError, NonFiniteError: bad inputs, labels, settings or logits.
        MissingExtraError: the full suite without foolbox.
    """
    classifiers.check_images("assess", x)
    classifiers.check_labels("assess", y, len(x))
    if suite not in ("fast", "full", "none"):
        raise ArgumentError(f"assess: suite must be fast, full or none, got {suite!r}.")
    common: dict[str, Any] = {"samples": samples, "batch_size": batch_size, "device": device}

    def named(name: str) -> int:
        return seeding.split(seed, "assess", name)

    def tell(what: str, place: int, total: int) -> None:
        if progress is not None:
            progress(what, place, total)

    tell("accuracy and calibration", 0, 1)
    logits = classifiers.logits(model, x, seed=named("logits"), **common)
    classifiers.check_classes("assess", y, logits.shape[1])
    attacked = None
    if suite != "none":
        attacked = robustness.robustness(
            model, x, y, suite, budgets=budgets, n_images=n_images, audit_images=audit_images,
            seed=named("robustness"), batch_size=batch_size, device=device, progress=progress,
        )  # fmt: skip
    sets = made_outliers(x, named("outliers")) if outlier_sets is None else outlier_sets
    tell("outliers", 0, 1)
    table = outliers.outlier_table(model, x, sets, seed=named("scores"), **common) if sets else {}
    corrupted = None
    images = x.ndim == 4 and x.shape[1] in (1, 3)
    if images if with_corruptions is None else with_corruptions:
        corrupted = corruptions.corruption_accuracy(
            model, x, y, seed=named("corruptions"), progress=progress, **common
        )
    few = x[: classifiers.ROWS_TO_TELL]
    return Assessment(
        n=len(x),
        draws=classifiers.is_random(model, few, device=device),
        calibration=calibration.calibration(logits, y.cpu()),
        robustness=attacked,
        outliers=table,
        corruptions=corrupted,
    )


def made_outliers(x: Tensor, seed: int) -> dict[str, Tensor]:
    """Return sets of outliers that need no file: "uniform" noise; images "upside-down"."""
    noise = torch.rand(x.shape, generator=seeding.torch_generator(seed)).to(x.dtype)
    return {"uniform": noise} | ({"upside-down": x.flip(2)} if x.ndim == 4 else {})
