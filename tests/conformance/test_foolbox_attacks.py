"""Our attacks and foolbox's break the same images: one step exactly, many steps nearly."""

import pytest
import torch
from torch import nn

from sidle import seeding
from sidle.evaluation import attacks

foolbox = pytest.importorskip("foolbox")

EPSILON = {"linf": 0.08, "l2": 0.3, "l1": 1.5}
SHAPE = (1, 6, 6)


@pytest.fixture(scope="module")
def problem():
    with seeding.scope(0):
        model = nn.Sequential(nn.Flatten(), nn.Linear(36, 40), nn.ReLU(), nn.Linear(40, 4)).eval()
        x = 0.2 + 0.6 * torch.rand(200, *SHAPE)
    return model, x, model(x).argmax(1)


def theirs(attack, problem, epsilon, **settings):
    model, x, y = problem
    with seeding.scope(1):
        wrapped = foolbox.PyTorchModel(model, bounds=(0, 1))
        _, moved, success = attack(**settings)(wrapped, x, y, epsilons=epsilon)
    return moved, success


@pytest.mark.parametrize(
    ("norm", "attack"),
    [
        ("linf", foolbox.attacks.LinfFastGradientAttack),
        ("l2", foolbox.attacks.L2FastGradientAttack),
    ],
)
def test_one_step_is_the_same_step(problem, norm, attack):
    model, x, y = problem
    moved, success = theirs(attack, problem, EPSILON[norm])
    found = attacks.fgsm(model, x, y, epsilon=EPSILON[norm], norm=norm)
    torch.testing.assert_close(found.success, success)
    # Where the step does not break an image, ours goes on holding the worse of both ends.
    broken = found.success
    torch.testing.assert_close(found.x[broken], moved[broken], atol=1e-5, rtol=0)
    assert 0.05 < float(success.float().mean()) < 0.95


@pytest.mark.parametrize(
    ("norm", "attack"),
    [
        ("linf", foolbox.attacks.LinfProjectedGradientDescentAttack),
        ("l2", foolbox.attacks.L2ProjectedGradientDescentAttack),
        ("l1", foolbox.attacks.SparseL1DescentAttack),
    ],
)
def test_many_steps_break_as_many_images_and_nearly_the_same(problem, norm, attack):
    model, x, y = problem
    settings = {"steps": 20, "rel_stepsize": 2.5 / 20}
    if norm == "l1":
        settings |= {"quantile": 0.99, "random_start": True}
    _, success = theirs(attack, problem, EPSILON[norm], **settings)
    found = attacks.pgd(model, x, y, epsilon=EPSILON[norm], norm=norm)
    share, own = float(success.float().mean()), float(found.success.float().mean())
    assert own >= share - 0.02  # never weaker
    assert float((found.success ^ success).float().mean()) < (0.25 if norm == "l1" else 0.04)
    assert 0.05 < share < 0.95


def test_the_nearest_changes_of_deepfool_are_no_nearer_than_our_balls(problem):
    model, x, y = problem
    near = attacks.foolbox_attack(model, x, y, "deepfool")
    assert near.success.all()
    # In a ball a little larger than the distance found, ours finds something too.
    found = [
        attacks.pgd(
            model, x[rows], y[rows], epsilon=1.15 * float(near.distance[rows]), norm="l2",
            loss="margin", n_steps=40, restarts=3,
        ).success
        for rows in torch.arange(40).split(1)
    ]  # fmt: skip
    assert torch.cat(found).float().mean() >= 0.95
