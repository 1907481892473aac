"""An audit for masked gradients: can a robust accuracy be believed?

An attack that follows gradients fails on a robust classifier, and on one whose gradients vanish,
lie, or are drowned in noise. Athalye et al. list how the second kind gives itself away. Each sign
is a check here, made anew on some images, in one norm, with the budget of the attacks:

    random-noise floor   random points of the ball break no image that the attack did not
    unbounded            an attack without a budget breaks every image
    black-box            SPSA (and Square in L-inf), which ask for no gradient, break no image more
                         than gradients do
    loss surface         a short step along the gradient raises the loss by what the gradient says,
                         and more than random steps of the same length do
    expectation          more draws of a classifier that draws, or noise on the input of one that
                         does not, break no more

A check that fails says that the robust accuracy of this classifier in this norm is too high; none
that passes proves it right. Checks that find images that an attack missed tell how many: they may
be counted as broken. One image in fifty is allowed, as attacks draw at random.

Letters: N = images.
References: [OBFUSCATED] Athalye, Carlini & Wagner 2018, arXiv:1802.00420, section 3.1. [EVALUATING]
Carlini et al. 2019, arXiv:1902.06705, section 4.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from sidle import seeding
from sidle.errors import ArgumentError
from sidle.evaluation import attacks, classifiers
from sidle.evaluation.attacks import Attacked, Norm, norms, objectives
from sidle.evaluation.classifiers import Classifier, Predictor

Outcome = Literal["passed", "failed", "not applicable"]
Verdict = Literal["passed", "suspect"]

ALLOWED = 0.02  # share of images by which an attack may be beaten
NOISE_DRAWS = 20  # random points of each ball
UNBOUNDED_STEPS = 100
SPSA_STEPS, SPSA_PAIRS = 20, 32
SQUARE_QUERIES = 300
MORE_DRAWS = 4  # times the draws of the attack
SHORT_STEP = 0.01  # of the budget: along the gradient
RANDOM_DIRECTIONS = 10
AGREEMENT = (0.5, 2.0)  # rise of the loss over what the gradient says, the median
ENOUGH = 0.9  # share of images on which the loss surface must be as it should


@dataclass(frozen=True)
class Check:
    """One sign of masked gradients looked for.

    Attributes:
        name: as in the module's table.
        outcome: "passed", "failed" or "not applicable".
        value: what was measured.
        bound: what it must not exceed; for "loss surface" what it must reach.
        detail: both in words.
    """

    name: str
    outcome: Outcome
    value: float
    bound: float
    detail: str


@dataclass(frozen=True)
class Audit:
    """All checks in one norm.

    Attributes:
        norm: which.
        epsilon: the budget.
        n_images: images looked at.
        robust_accuracy: of the attack that was audited, on them.
        checks: what was found.
    """

    norm: Norm
    epsilon: float
    n_images: int
    robust_accuracy: float
    checks: tuple[Check, ...]

    @property
    def verdict(self) -> Verdict:
        """ "suspect" if a check failed, else "passed"."""
        return "suspect" if any(one.outcome == "failed" for one in self.checks) else "passed"

    @property
    def failed(self) -> tuple[str, ...]:
        """Names of the checks that failed."""
        return tuple(one.name for one in self.checks if one.outcome == "failed")

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return asdict(self) | {"verdict": self.verdict}


def audit(
    model: Classifier,
    x: Tensor,
    y: Tensor,
    *,
    epsilon: float,
    norm: Norm = "linf",
    broken: Tensor | None = None,
    n_steps: int = 20,
    samples: int = 1,
    seed: int = 0,
    batch_size: int = attacks.BATCH_SIZE,
    device: str = "cpu",
) -> Audit:
    """Look for signs that gradients of a classifier are masked.

    Args:
        model: a classifier (`sidle.evaluation.classifiers`).
        x: images, (N, C, H, W) in [0, 1]; fifty are enough for most purposes.
        y: labels (N,).
        epsilon: the budget of the attacks to be audited.
        norm: "linf", "l2" or "l1".
        broken: whom they broke, bool (N,); None: `pgd` with both losses is run here.
        n_steps: its steps.
        samples: draws of a classifier that draws, as the attacks took.
        seed, batch_size, device: as for `pgd`.

    Raises:
        ShapeError, ArgumentError, NonFiniteError: as `pgd`.
    """
    norms.check_ball("audit", norm, epsilon)
    classifiers.check_images("audit", x)
    classifiers.check_labels("audit", y, len(x))
    if broken is not None and broken.shape != (len(x),):
        raise ArgumentError(
            f"audit: broken must tell of each of {len(x)} images, got {tuple(broken.shape)}."
        )
    ball: dict[str, Any] = {"epsilon": epsilon, "norm": norm}
    common: dict[str, Any] = {"samples": samples, "batch_size": batch_size, "device": device}

    def named(*name: str) -> int:
        return seeding.split(seed, "audit", norm, *name)

    def pgd(name: str, **settings: Any) -> Attacked:
        given = {"n_steps": n_steps, **ball, **common} | settings
        return attacks.pgd(model, x, y, seed=named(name), **given)

    if broken is None:
        broken = pgd("cross-entropy").success | pgd("margin", loss="margin").success
    broken = broken.cpu()
    before = _wrong(model, x, y, samples, named("before"), batch_size, device)
    random = classifiers.is_random(model, x[: classifiers.ROWS_TO_TELL], device=device)
    by_gradient = broken | before
    whole = pgd("unbounded", epsilon=_whole(norm, x), n_steps=UNBOUNDED_STEPS, loss="margin")
    by_noise = _broken_by_noise(model, x, y, ball, common, random, named("noise"))
    by_queries = _black_box(model, x, y, ball, common, named)
    checks = (
        _missed("random-noise floor", "random points of the ball", by_gradient, by_noise),
        _unbounded(whole),
        _missed("black-box", "attacks without gradients", by_gradient, by_queries),
        _loss_surface(model, x, y, ball, common, named("surface"), before),
        _expectation(pgd, by_gradient, random, samples, epsilon, norm, x),
    )
    return Audit(
        norm=norm,
        epsilon=epsilon,
        n_images=len(x),
        robust_accuracy=1 - float(broken.double().mean()),
        checks=checks,
    )


def _missed(name: str, who: str, by_gradient: Tensor, by_other: Tensor) -> Check:
    """Return whether another way broke images that the attack did not."""
    share = float((by_other & ~by_gradient).double().mean())
    return Check(
        name,
        "failed" if share > ALLOWED else "passed",
        share,
        ALLOWED,
        f"{who} broke {share:.0%} of the images that gradients did not (allowed: {ALLOWED:.0%})",
    )


def _unbounded(found: Attacked) -> Check:
    left = found.robust_accuracy
    return Check(
        "unbounded",
        "failed" if left > ALLOWED else "passed",
        left,
        ALLOWED,
        f"without a budget {left:.0%} of the images withstood (allowed: {ALLOWED:.0%})",
    )


def _whole(norm: Norm, x: Tensor) -> float:
    """Return a radius at which the ball holds every image."""
    D = math.prod(x.shape[1:])
    return {"linf": 1.0, "l2": math.sqrt(D), "l1": float(D)}[norm]


def _wrong(
    model: Classifier, x: Tensor, y: Tensor, samples: int, seed: int, batch_size: int, device: str
) -> Tensor:
    logits = classifiers.logits(
        model, x, samples=samples, seed=seed, batch_size=batch_size, device=device
    )
    return logits.argmax(1) != y.cpu()


def _broken_by_noise(
    model: Classifier,
    x: Tensor,
    y: Tensor,
    ball: dict[str, Any],
    common: dict[str, Any],
    random: bool,
    seed: int,
) -> Tensor:
    """Return whom a random point of the ball breaks, of several on its surface."""
    generator = seeding.torch_generator(seed)
    found = torch.zeros(len(x), dtype=torch.bool)
    for draw in range(NOISE_DRAWS):
        moved = norms.random_points(x, **ball, generator=generator, surface=True)
        wrong = _wrong(model, moved, y, seed=seeding.split(seed, draw), **common)
        if random and bool(wrong.any()):
            # Wrong once of many draws may be luck of the classifier's own: asked again.
            again = _wrong(
                model, moved[wrong], y[wrong], seed=seeding.split(seed, -draw - 1), **common
            )
            wrong[wrong.clone()] = again
        found |= wrong
    return found


def _black_box(
    model: Classifier,
    x: Tensor,
    y: Tensor,
    ball: dict[str, Any],
    common: dict[str, Any],
    named: Any,
) -> Tensor:
    found = attacks.spsa(
        model, x, y, **ball, **common, n_steps=SPSA_STEPS, n_pairs=SPSA_PAIRS, seed=named("spsa")
    ).success
    if ball["norm"] == "linf" and x.ndim == 4:
        found = found | attacks.square(
            model, x, y, epsilon=ball["epsilon"], n_queries=SQUARE_QUERIES, seed=named("square"),
            **common,
        ).success  # fmt: skip
    return found


def _loss_surface(
    model: Classifier,
    x: Tensor,
    y: Tensor,
    ball: dict[str, Any],
    common: dict[str, Any],
    seed: int,
    wrong: Tensor,
) -> Check:
    """Return whether the loss rises along the gradient as the gradient says.

    The margin, whose slope does not vanish where a classifier is certain. Classifiers that draw are
    asked with the same draws before and after the step.
    """
    name, norm = "loss surface", ball["norm"]
    rows = torch.nonzero(~wrong)[:, 0]
    if len(rows) == 0:
        return Check(name, "not applicable", 0.0, ENOUGH, "no image is classified rightly")
    length = SHORT_STEP * ball["epsilon"]
    images, labels = x[rows], y[rows]
    generator = seeding.torch_generator(seeding.split(seed, "directions"))

    with classifiers.frozen(model, common["device"], seed, gradients=True) as place:
        predictor = Predictor(model, common["samples"])
        images, labels = images.to(place), labels.to(place)

        def loss(moved: Tensor) -> Tensor:
            with seeding.scope(seed):
                return objectives.losses(predictor(moved), labels, "margin")

        moving = images.clone().requires_grad_(True)
        values = loss(moving)
        (gradient,) = torch.autograd.grad(values.sum(), moving)
        with torch.no_grad():
            values = values.detach().double()

            def rises(direction: Tensor) -> tuple[Tensor, Tensor]:
                moved = norms.project(images + length * direction, images, length, norm)
                said = ((moved - images) * gradient).flatten(1).sum(1)
                return loss(moved).double() - values, said.double()

            along, said = rises(norms.ascent(gradient, images, norm))
            others = []
            for _ in range(RANDOM_DIRECTIONS):
                point = norms.random_points(images.cpu(), length, norm, generator, surface=True).to(
                    images
                )
                others.append(loss(point).double() - values)
            highest = torch.stack(others).amax(0)
    as_said = (along >= AGREEMENT[0] * said) & (along <= AGREEMENT[1] * said) & (said > 0)
    share = float((as_said & (along > highest)).double().mean())
    return Check(
        name,
        "passed" if share >= ENOUGH else "failed",
        share,
        ENOUGH,
        f"on {share:.0%} of the images the loss rises along the gradient as it says, and more than "
        f"in {RANDOM_DIRECTIONS} random directions (at least {ENOUGH:.0%})",
    )


def _expectation(
    pgd: Any, by_gradient: Tensor, random: bool, samples: int, epsilon: float, norm: Norm, x: Tensor
) -> Check:
    """Return whether expectation over more draws, or over noise, breaks more."""
    if random:
        found = pgd("expectation", samples=MORE_DRAWS * samples, loss="margin")
        who = f"{MORE_DRAWS * samples} draws a step"
    else:
        found = pgd("expectation", samples=8, noise=_input_noise(epsilon, norm, x), loss="margin")
        who = "gradients averaged over noise"
    return _missed("expectation", who, by_gradient, found.success)


def _input_noise(epsilon: float, norm: Norm, x: Tensor) -> float:
    """Return a standard deviation per entry whose noise is about half the budget's length."""
    D = math.prod(x.shape[1:])
    per_entry = {"linf": epsilon, "l2": epsilon / math.sqrt(D), "l1": epsilon / D}[norm]
    return per_entry / 2
