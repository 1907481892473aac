"""The audit catches classifiers that mask their gradients and passes honest ones; suites count."""

import math

import pytest
import torch
from torch import nn

from sidle import seeding
from sidle.errors import ArgumentError, MissingExtraError, ShapeError
from sidle.evaluation import attacks, audit, suites
from sidle.evaluation.adversarial import adversarial_batch
from sidle.evaluation.robustness import robustness
from sidle.evaluation.suites import Budgets, PlannedAttack

SHAPE = (1, 6, 6)


class Honest(nn.Module):
    """A small network with a wide margin."""

    def __init__(self, noise=0.0):
        super().__init__()
        with seeding.scope(3):
            self.layers = nn.Sequential(
                nn.Flatten(), nn.Linear(36, 24), nn.Softplus(), nn.Linear(24, 3)
            )
        self.noise = noise

    def forward(self, x):
        seen = x + self.noise * torch.randn_like(x) if self.noise else x
        return 3 * self.layers(4 * seen - 2)


class Quantised(Honest):
    """Rounds its input, so that no gradient gets through."""

    def forward(self, x):
        return super().forward(torch.round(x * 16) / 16)


class Steep(Honest):
    """Logits so large, and bounded, that the gradient vanishes in rounding."""

    def forward(self, x):
        return torch.tanh(1e4 * super().forward(x))


def images(model, n=40):
    x = torch.rand(n, *SHAPE, generator=torch.Generator().manual_seed(1))
    return x, Honest()(x).argmax(1)


def outcomes(found):
    return {check.name: check.outcome for check in found.checks}


@pytest.mark.parametrize(("norm", "epsilon"), [("linf", 0.03), ("l2", 0.15), ("l1", 0.8)])
def test_an_honest_classifier_passes_every_check(norm, epsilon):
    model = Honest()
    x, y = images(model)
    found = audit.audit(model, x, y, epsilon=epsilon, norm=norm)
    assert outcomes(found) == dict.fromkeys(
        ("random-noise floor", "unbounded", "black-box", "loss surface", "expectation"), "passed"
    )
    assert found.verdict == "passed"
    assert 0.1 < found.robust_accuracy < 0.95
    assert found.n_images == 40


def test_a_classifier_whose_gradient_breaks_off_is_caught():
    model = Quantised()
    x, y = images(model)
    found = audit.audit(model, x, y, epsilon=0.05, norm="linf")
    assert found.verdict == "suspect"
    assert {"unbounded", "black-box", "loss surface"} <= set(found.failed)
    # It looks far more robust than it is.
    assert found.robust_accuracy > 0.2 + audit.audit(Honest(), x, y, epsilon=0.05).robust_accuracy


def test_a_classifier_whose_gradient_vanishes_is_caught():
    x, y = images(Steep())
    found = audit.audit(Steep(), x, y, epsilon=0.05, norm="linf")
    assert found.verdict == "suspect"
    assert "loss surface" in found.failed


def test_a_gradient_that_is_true_but_not_the_whole_is_caught():
    # Slopes are what the gradient says along it, and steeper where it sees nothing.
    across = torch.tensor([1.0, -1.0]).repeat(18)

    def model(x):
        moved = (x - 0.5).flatten(1)
        other = moved.sum(1) + 50 * (moved.detach() @ across).abs()
        return torch.stack([torch.full_like(other, 9.0), other], 1)

    x, y = torch.full((10, *SHAPE), 0.5), torch.zeros(10, dtype=torch.int64)
    found = audit.audit(model, x, y, epsilon=0.05, broken=torch.ones(10, dtype=torch.bool))
    assert "loss surface" in found.failed


def test_noise_that_drowns_gradients_is_seen_through_by_more_draws():
    model = Honest(noise=0.3)
    x, y = images(model)
    x, y = x[Honest()(x).softmax(1).amax(1) > 0.6], y[Honest()(x).softmax(1).amax(1) > 0.6]
    drowned = audit.audit(model, x, y, epsilon=0.06, n_steps=5, samples=1)
    assert drowned.verdict == "suspect"


def test_checks_tell_what_they_measured():
    model = Honest()
    x, y = images(model, 10)
    nobody = torch.zeros(10, dtype=torch.bool)
    found = audit.audit(model, x, y, epsilon=0.1, broken=nobody)
    checks = {check.name: check for check in found.checks}
    assert found.robust_accuracy == 1.0
    # The attack "missed" all that the others found.
    assert checks["black-box"].outcome == "failed"
    assert checks["black-box"].value > 0.3
    assert "broke" in checks["black-box"].detail
    assert found.as_dict()["verdict"] == "suspect"
    assert found.as_dict()["checks"][0]["name"] == "random-noise floor"
    wrong = audit.audit(model, x, (y + 1) % 3, epsilon=0.1)
    assert outcomes(wrong)["loss surface"] == "not applicable"
    assert wrong.robust_accuracy == 0.0


def test_a_suite_counts_worst_cases_image_by_image():
    model = Honest()
    x, y = images(model, 30)
    y[:3] = (y[:3] + 1) % 3
    told = []
    found = robustness(
        model, x, y, "fast", budgets=Budgets(0.03, 0.15, 0.8), audit_images=12,
        progress=lambda *some: told.append(some),
    )  # fmt: skip
    assert [one.name for one in found.attacks] == [
        "fgsm", "pgd-linf", "pgd-margin-linf", "pgd-l2", "pgd-margin-l2", "pgd-l1", "pgd-margin-l1",
    ]  # fmt: skip
    assert found.accuracy == pytest.approx(0.9)
    together = torch.zeros(30, dtype=torch.bool)
    for norm in attacks.NORMS:
        some = [one for one in found.attacks if one.norm == norm]
        broken = torch.stack([one.broken for one in some]).any(0)
        together |= broken
        assert found.worst[norm] == pytest.approx(1 - float(broken.double().mean()))
        assert broken[:3].all()
        assert {one.epsilon for one in some} == {Budgets(0.03, 0.15, 0.8).of(norm)}
        assert found.audit[norm].n_images == 12
        assert found.audit[norm].robust_accuracy == pytest.approx(
            1 - float(broken[:12].double().mean())
        )
    assert found.worst_overall == pytest.approx(1 - float(together.double().mean()))
    assert [some[1] for some in told] == list(range(10))
    assert told[0] == ("fgsm", 0, 10)
    plain = found.as_dict()
    assert plain["attacks"][0]["robust_accuracy"] == found.attacks[0].robust_accuracy
    assert plain["audit"]["l1"]["verdict"] == "passed"
    without = robustness(model, x, y, "fast", audit_images=0, n_images=5)
    assert without.audit == {}
    assert without.n_images == 5


def test_the_full_suite_runs_everything_within_its_budgets():
    pytest.importorskip("foolbox")
    model = Honest()
    x, y = images(model, 3)
    found = robustness(model, x, y, "full", audit_images=0, seed=1)
    names = [one.name for one in found.attacks]
    assert names[7:] == ["square", "carlini-wagner", "boundary", "hop-skip-jump", "spatial"]
    assert found.as_dict()["attacks"][-1]["epsilon"] is None
    assert set(found.worst) == set(attacks.NORMS)


def test_a_nearest_attack_counts_within_its_budget_alone():
    moved = attacks.Attacked(
        x=torch.rand(4, *SHAPE),
        success=torch.tensor([True, True, False, True]),
        distance=torch.tensor([0.1, 0.9, 0.0, 0.5]),
        norm="l2",
        n_evaluations=4,
    )
    planned = PlannedAttack("some", "l2", 0.5, attacks.pgd, nearest=True)
    assert planned.broken(moved).tolist() == [True, False, False, True]
    assert planned.robust_accuracy(moved) == 0.5
    assert PlannedAttack("some", "l2", 0.5, attacks.pgd).robust_accuracy(moved) == 0.25


def test_usual_budgets_grow_with_the_image():
    assert Budgets.for_images((3, 32, 32)) == Budgets(8 / 255, 0.5, 12.0)
    assert Budgets.for_images((1, 28, 28)) == Budgets(0.1, 1.5, 10.0)
    assert Budgets.for_images((1, 14, 14)) == Budgets(0.1, 0.75, 5.0)
    assert suites.suite("fast", Budgets(1, 1, 1)).samples == 8
    assert suites.suite("full", Budgets(1, 1, 1)).samples == 16


def test_what_the_full_suite_lacks_is_said_before_any_attack(monkeypatch):
    told = []
    flat = nn.Linear(36, 3)
    common = {"budgets": Budgets(0.1, 0.5, 1.0), "progress": lambda *some: told.append(some)}
    with pytest.raises(ShapeError, match="the fast one"):
        robustness(flat, torch.rand(4, 36), torch.zeros(4, dtype=torch.int64), "full", **common)

    def gone(name):
        raise ImportError(name)

    monkeypatch.setattr("importlib.import_module", gone)
    model = Honest()
    with pytest.raises(MissingExtraError, match=r"sidle\[attacks\]"):
        robustness(model, *images(model, 4), "full", **common)
    assert told == []


@pytest.mark.parametrize("norm", attacks.NORMS)
def test_adversarial_batches_lie_in_the_ball_and_raise_the_loss(norm):
    model = Honest().train()
    x, y = images(model, 20)
    epsilon = {"linf": 0.05, "l2": 0.3, "l1": 1.0}[norm]
    before = [one.grad for one in model.parameters()]

    def made(seed, **settings):
        generator = torch.Generator().manual_seed(seed)
        return adversarial_batch(
            model, x, y, epsilon=epsilon, norm=norm, generator=generator, **settings
        )

    moved = made(0)
    loss = nn.functional.cross_entropy
    assert loss(model(moved), y) > 1.1 * loss(model(x), y)
    distance = attacks.norms.distance(moved, x, norm)
    assert (distance <= epsilon * (1 + 1e-5)).all()
    assert moved.min() >= 0
    assert moved.max() <= 1
    assert not moved.requires_grad
    assert model.training
    assert [one.grad for one in model.parameters()] == before
    assert torch.equal(made(0), moved)
    assert not torch.equal(made(1, n_steps=1), made(2, n_steps=1))


def test_parts_kept_in_evaluation_stay_so_in_adversarial_training():
    model = nn.Sequential(nn.BatchNorm2d(1), nn.Dropout(), Honest()).train()
    model[0].eval()
    x, y = images(Honest(), 4)
    adversarial_batch(model, x, y, epsilon=0.1, n_steps=1, generator=torch.Generator())
    assert [one.training for one in (model, *model)] == [True, False, True, True]


X, Y = images(Honest(), 4)


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: Budgets(0.1, math.inf, 1.0), ArgumentError, "l2"),
        (lambda: Budgets.for_images((28, 28)), ShapeError, r"\(C, H, W\)"),
        (lambda: suites.suite("slow", Budgets(1, 1, 1)), ArgumentError, "fast, full"),
        (lambda: robustness(Honest(), X, Y, n_images=0), ArgumentError, "n_images"),
        (lambda: robustness(Honest(), X, Y + 3), ArgumentError, "belong together"),
        (
            lambda: audit.audit(Honest(), X, Y, epsilon=0.1, broken=Y[:2] > 0),
            ArgumentError,
            "broken",
        ),
        (lambda: audit.audit(Honest(), X, Y, epsilon=0.0), ArgumentError, "epsilon"),
        (
            lambda: adversarial_batch(
                Honest(), X, Y, epsilon=0.1, n_steps=0, generator=torch.Generator()
            ),
            ArgumentError,
            "n_steps",
        ),
    ],
)
def test_bad_input_is_refused(call, error, says):
    with pytest.raises(error, match=says):
        call()
