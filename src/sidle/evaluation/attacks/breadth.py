"""The breadth of published attacks, by foolbox.

Our own core (`pgd`, `fgsm`, `spsa`, `square`) is exact to its definitions; the rest are foolbox's,
run in our frame: same checks, seeds and honest recounting. foolbox judges an image by one call of
the classifier, so a classifier that draws is wrapped in its mean prediction; attacks from decisions
alone see the same draws at every call, as they search for a boundary that must not move.

    attack            finds                                        made by
    deepfool          near, L2 or L-inf ("deepfool-linf")          Moosavi-Dezfooli et al. 2016
    carlini-wagner    nearest in L2                                Carlini & Wagner 2017
    ddn               nearest in L2, few steps                     Rony et al. 2019
    ead               nearest in L1                                Chen et al. 2018
    boundary          near in L2, from decisions alone             Brendel et al. 2018
    hop-skip-jump     near in L2, from decisions alone             Chen et al. 2020
    spatial           rotation and shift on a grid                 Engstrom et al. 2019
    salt-and-pepper   more and more black and white pixels         (a control)
    contrast          the least loss of contrast                   (a control)

None of them has a budget: `Attacked.robust_accuracy_within` counts what lies inside one. They stop
just behind the boundary, from where fresh draws of a classifier that draws may lead back; told a
budget, they go on to its end there, if that takes the classifier farther from right.
Reference: Rauber et al. 2020, "Foolbox Native", JOSS 5(53).
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from sidle import seeding
from sidle.errors import ArgumentError, MissingExtraError
from sidle.evaluation.attacks import attacked, norms, objectives
from sidle.evaluation.attacks.attacked import Attacked, Batch
from sidle.evaluation.attacks.norms import Norm
from sidle.evaluation.classifiers import Classifier, Predictor

# Class of foolbox, norm in which it is near, whether it takes a class wanted.
FOOLBOX_ATTACKS: Mapping[str, tuple[str, Norm, bool]] = MappingProxyType(
    {
        "deepfool": ("L2DeepFoolAttack", "l2", False),
        "deepfool-linf": ("LinfDeepFoolAttack", "linf", False),
        "carlini-wagner": ("L2CarliniWagnerAttack", "l2", True),
        "ddn": ("DDNAttack", "l2", True),
        "ead": ("EADAttack", "l1", True),
        "boundary": ("BoundaryAttack", "l2", True),
        "hop-skip-jump": ("HopSkipJumpAttack", "l2", True),
        "spatial": ("SpatialAttack", "l2", False),
        "salt-and-pepper": ("SaltAndPepperNoiseAttack", "l2", True),
        "contrast": ("LinearSearchContrastReductionAttack", "l2", False),
    }
)
_FROM_DECISIONS = ("boundary", "hop-skip-jump")


def foolbox_attack(
    model: Classifier,
    x: Tensor,
    y: Tensor,
    attack: str,
    *,
    target: Tensor | None = None,
    settings: Mapping[str, Any] | None = None,
    epsilon: float | None = None,
    samples: int = 1,
    seed: int = 0,
    batch_size: int = attacked.BATCH_SIZE,
    device: str = "cpu",
) -> Attacked:
    """Attack by one of foolbox's methods.

    Args:
        model: a classifier (`sidle.evaluation.classifiers`).
        x: images, (N, C, H, W), in [0, 1].
        y: labels, integers (N,).
        attack: a name of `FOOLBOX_ATTACKS`.
        target: the class wanted for each image, integers (N,), for attacks that take one; attacks
            from decisions alone need a start, which targeted ones take from ``x`` itself.
        settings: of foolbox's class, such as ``steps``.
        epsilon: a budget, in the attack's norm. A change that lies within it is lengthened to it
            where the classifier draws and this takes it farther from right; None: no change is.
        samples: draws of a classifier that draws, for each image.
        seed: of everything that is drawn.
        batch_size: images at once.
        device: where to compute.

    Returns:
        What was found; images where nothing was are unchanged, at distance 0 and no success.

    Raises:
        MissingExtraError: foolbox is not installed.
        ArgumentError: there is no such attack or setting, or it takes no target.
        ShapeError, ArgumentError, NonFiniteError: as `pgd`.
    """
    if attack not in FOOLBOX_ATTACKS:
        raise ArgumentError(
            f"foolbox_attack: expected one of {', '.join(FOOLBOX_ATTACKS)}, got {attack!r}."
        )
    name, norm, takes_target = FOOLBOX_ATTACKS[attack]
    if epsilon is not None:
        norms.check_ball("foolbox_attack", norm, epsilon)
    if target is not None and not takes_target:
        raise ArgumentError(f"foolbox_attack: {attack} takes no class wanted. Leave out target.")
    foolbox = _foolbox()
    given = {"channel_axis": 1} if attack == "salt-and-pepper" else {}
    try:
        made = getattr(foolbox.attacks, name)(**given | dict(settings or {}))
    except TypeError as error:
        raise ArgumentError(
            f"foolbox_attack: {attack} does not take these settings: {error}."
        ) from error

    def method(batch: Batch) -> Tensor:
        asked = _Wrapped(batch.predictor)
        wrapped = foolbox.PyTorchModel(asked, bounds=(0, 1), device=batch.x.device)
        rows = torch.arange(len(batch.x), device=batch.x.device)
        more: dict[str, Any] = {}
        if attack in _FROM_DECISIONS:
            if batch.random:
                asked.draws_of = int(torch.randint(2**31, (), generator=batch.generator))
            starts, rows = _starts(batch, asked, x.to(batch.x))
            more["starting_points"] = starts
        if len(rows) == 0:
            return batch.x
        criteria = foolbox.criteria
        wanted = (
            criteria.TargetedMisclassification if batch.targeted else criteria.Misclassification
        )
        with torch.enable_grad(), warnings.catch_warnings():
            # Of functions that foolbox calls; nobody here can do anything about it.
            warnings.filterwarnings("ignore", "torch.meshgrid", UserWarning)
            _, found, success = made(
                wrapped, batch.x[rows], wanted(batch.y[rows]), epsilons=None, **more
            )
        result = batch.x.clone()
        result[rows[success]] = found.detach().clamp(0, 1)[success]
        if batch.random and epsilon is not None:
            asked.draws_of = None
            return _lengthened(batch, asked, result, epsilon, norm)
        return result

    return attacked.run(
        "foolbox_attack",
        method,
        model,
        x,
        y,
        norm=norm,
        target=target,
        samples=samples,
        seed=seed,
        batch_size=batch_size,
        device=device,
        gradients=True,
    )


def check_installed() -> None:
    """Raise MissingExtraError unless foolbox is there."""
    _foolbox()


class _Wrapped(nn.Module):
    """A predictor as the module in evaluation mode that foolbox asks for.

    Attributes:
        draws_of: seed of what the classifier draws at every call; None: it goes on drawing.
    """

    def __init__(self, predictor: Predictor) -> None:
        super().__init__()
        self.predictor = predictor
        self.draws_of: int | None = None
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        if self.draws_of is None:
            return self.predictor(x)
        with seeding.scope(self.draws_of):
            return self.predictor(x)


@torch.no_grad()
def _lengthened(
    batch: Batch, asked: nn.Module, found: Tensor, epsilon: float, norm: Norm
) -> Tensor:
    """Return the changes within ``epsilon`` stretched to it, where that raises the margin."""
    length_B = norms.distance(found, batch.x, norm)
    factor_B = torch.where((length_B > 0) & (length_B < epsilon), epsilon / length_B, 1.0)
    factor = factor_B.view(-1, *[1] * (found.ndim - 1))
    longer = (batch.x + factor * (found - batch.x)).clamp(0, 1)
    before, after = (
        objectives.losses(asked(x), batch.y, "margin", targeted=batch.targeted)
        for x in (found, longer)
    )
    return torch.where((after > before).view_as(factor), longer, found)


@torch.no_grad()
def _starts(batch: Batch, asked: nn.Module, pool: Tensor) -> tuple[Tensor, Tensor]:
    """Return for attacks from decisions where to start, (R, ...), and which R rows have a start.

    The image of ``pool`` that the classifier is surest to take for what the attacker wants.
    """
    parts = torch.split(pool, len(batch.x))
    logits_MC = torch.cat([batch.predictor(part) for part in parts])
    M, B = len(pool), len(batch.x)
    losses = objectives.losses(
        logits_MC.repeat_interleave(B, 0), batch.y.repeat(M), "margin", targeted=batch.targeted
    ).view(M, B)
    starts = pool[losses.argmax(0)]
    rows = torch.arange(B, device=pool.device)
    # As often as some fall out: what a classifier draws for an image depends on the others.
    while len(rows):
        logits = asked(starts[rows])
        good = objectives.broken(logits, batch.y[rows], targeted=batch.targeted)
        if bool(good.all()):
            break
        rows = rows[good]
    return starts[rows], rows


def _foolbox() -> Any:
    try:
        with warnings.catch_warnings():
            # Of a function that foolbox takes from where SciPy no longer wants it taken.
            warnings.simplefilter("ignore", DeprecationWarning)
            return importlib.import_module("foolbox")
    except ImportError as error:
        raise MissingExtraError("foolbox_attack", "attacks") from error
