"""Attacks on classifiers: small changes of an image that change what it is taken for.

Our own: `fgsm` and `pgd` follow the gradient in L-inf, L2 or L1; `spsa` and `square` never ask for
one; `transfer` attacks another classifier. The breadth is foolbox's: `foolbox_attack`. All return
an `Attacked`, recounted on fresh draws where a classifier draws.
"""

from sidle.evaluation.attacks.attacked import BATCH_SIZE, Attacked, choose_targets
from sidle.evaluation.attacks.breadth import FOOLBOX_ATTACKS, foolbox_attack
from sidle.evaluation.attacks.gradient_free import spsa, square
from sidle.evaluation.attacks.norms import NORMS, Norm
from sidle.evaluation.attacks.objectives import LOSSES, Loss
from sidle.evaluation.attacks.projected_gradient import fgsm, pgd
from sidle.evaluation.attacks.transfer import transfer

__all__ = [
    "BATCH_SIZE",
    "FOOLBOX_ATTACKS",
    "LOSSES",
    "NORMS",
    "Attacked",
    "Loss",
    "Norm",
    "choose_targets",
    "fgsm",
    "foolbox_attack",
    "pgd",
    "spsa",
    "square",
    "transfer",
]
