"""Suites of attacks: which ones, how far, how long.

    fast   FGSM; PGD of 20 steps in L-inf, L2 and L1, by cross-entropy and by margin, once each;
           expectation over 8 draws
    full   PGD as before from 5 starting points; Square; Carlini-Wagner, boundary and HopSkipJump in
           L2; rotations and shifts; expectation over 16 draws. For some hundred images.

A budget is how far an image may be moved. The usual ones are kept where images have the usual size;
L2 and L1 grow with the square root of the number of entries, so that an image of another size is
changed as visibly.

Letters: N = images; D = entries of an image.
References: Croce et al. 2021, "RobustBench", arXiv:2010.09670 (colour: 8/255, 0.5, 12). Madry et
al. 2018, arXiv:1706.06083 and Maini et al. 2020, arXiv:1909.04068 (grey: 0.3, 2, 10; ours in L-inf
and L2 are smaller, as clothes are told apart by finer traits than digits).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from torch import Tensor

from sidle.errors import ArgumentError, ShapeError
from sidle.evaluation import attacks
from sidle.evaluation.attacks import Attacked, Norm
from sidle.evaluation.classifiers import Classifier

SuiteName = Literal["fast", "full"]
SUITES: tuple[SuiteName, ...] = get_args(SuiteName)


@dataclass(frozen=True)
class Budgets:
    """How far images with values in [0, 1] may be moved.

    Attributes:
        linf: largest change of an entry.
        l2: Euclidean length of the change.
        l1: sum of changes.

    Raises:
        ArgumentError: one is not positive.
    """

    linf: float
    l2: float
    l1: float

    def __post_init__(self) -> None:
        for norm in ("linf", "l2", "l1"):
            if not (0 < getattr(self, norm) < math.inf):
                raise ArgumentError(f"Budgets: {norm} must be positive, got {getattr(self, norm)}.")

    @classmethod
    def for_images(cls, shape: tuple[int, ...]) -> Budgets:
        """Return the usual budgets for images of a shape (C, H, W).

        Colour (C = 3): 8/255, 0.5 and 12 at 3 x 32 x 32. Others: 0.1, 1.5 and 10 at 28 x 28.
        """
        if len(shape) != 3:
            raise ShapeError(f"Budgets: expected a shape (C, H, W), got {shape}.")
        if shape[0] == 3:
            scale = math.sqrt(math.prod(shape) / (3 * 32 * 32))
            return cls(8 / 255, 0.5 * scale, 12 * scale)
        scale = math.sqrt(math.prod(shape) / (28 * 28))
        return cls(0.1, 1.5 * scale, 10 * scale)

    def of(self, norm: Norm) -> float:
        """Return the budget in a norm."""
        return float(getattr(self, norm))


@dataclass(frozen=True)
class PlannedAttack:
    """An attack of a suite.

    Attributes:
        name: what it is called in tables.
        norm: in which it is bound; None: by none (rotations and shifts).
        epsilon: its budget; infinite where ``norm`` is None.
        run: ``run(model, x, y, samples=, seed=, batch_size=, device=) -> Attacked``.
        nearest: whether it looks for the nearest change instead of one within the budget.
    """

    name: str
    norm: Norm | None
    epsilon: float
    run: Callable[..., Attacked]
    nearest: bool = False

    def robust_accuracy(self, found: Attacked) -> float:
        """Return the share of images that it did not break within its budget."""
        return 1 - float(self.broken(found).double().mean())

    def broken(self, found: Attacked) -> Tensor:
        """Return whom it broke within its budget, bool (N,)."""
        inside = found.distance <= self.epsilon * (1 + 1e-6)
        return found.success & inside if self.nearest else found.success


@dataclass(frozen=True)
class Suite:
    """Attacks with all their settings.

    Attributes:
        name: "fast" or "full".
        attacks: in the order in which they are run.
        samples: draws of a classifier that draws.
    """

    name: SuiteName
    attacks: tuple[PlannedAttack, ...]
    samples: int


def suite(name: SuiteName, budgets: Budgets) -> Suite:
    """Return a suite of attacks within ``budgets``.

    Raises:
        ArgumentError: there is no suite of that name.
    """
    if name not in SUITES:
        raise ArgumentError(f"suite: expected one of {', '.join(SUITES)}, got {name!r}.")
    restarts = {"fast": 1, "full": 5}[name]
    planned = [_bound("fgsm", attacks.fgsm, "linf", budgets, {"norm": "linf"})]
    for norm in attacks.NORMS:
        for loss in attacks.LOSSES:
            settings = {"norm": norm, "loss": loss, "n_steps": 20, "restarts": restarts}
            label = "pgd" if loss == "cross-entropy" else "pgd-margin"
            planned.append(_bound(f"{label}-{norm}", attacks.pgd, norm, budgets, settings))
    if name == "full":
        spatial = functools.partial(_foolbox, attack="spatial", settings={})
        planned += [
            _bound("square", attacks.square, "linf", budgets, {"n_queries": 1000}),
            _near("carlini-wagner", budgets, {"binary_search_steps": 5, "steps": 200}),
            _near("boundary", budgets, {"steps": 1000}),
            _near("hop-skip-jump", budgets, {"steps": 20}),
            PlannedAttack("spatial", None, math.inf, spatial),
        ]
    return Suite(name, tuple(planned), {"fast": 8, "full": 16}[name])


def _bound(
    name: str,
    method: Callable[..., Attacked],
    norm: Norm,
    budgets: Budgets,
    settings: Mapping[str, Any],
) -> PlannedAttack:
    epsilon = budgets.of(norm)
    return PlannedAttack(
        name, norm, epsilon, functools.partial(method, epsilon=epsilon, **settings)
    )


def _near(attack: str, budgets: Budgets, settings: Mapping[str, Any]) -> PlannedAttack:
    run = functools.partial(_foolbox, attack=attack, settings=settings, epsilon=budgets.l2)
    return PlannedAttack(attack, "l2", budgets.l2, run, nearest=True)


def _foolbox(
    model: Classifier,
    x: Tensor,
    y: Tensor,
    *,
    attack: str,
    **common: Any,
) -> Attacked:
    return attacks.foolbox_attack(model, x, y, attack, **common)
