"""One call assesses everything, each part as its own function would."""

import pytest
import torch
from torch import nn

from sidle import seeding
from sidle.errors import ArgumentError
from sidle.evaluation import calibration, classifiers
from sidle.evaluation.assessment import assess, made_outliers
from sidle.evaluation.suites import Budgets


def network(noise=0.0):
    class Small(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))

        def forward(self, x):
            return self.layers(x) + noise * torch.randn(len(x), 3)

    with seeding.scope(0):
        return Small()


X = torch.rand(30, 1, 8, 8, generator=torch.Generator().manual_seed(0))
Y = torch.arange(30) % 3


def test_every_part_is_there_and_says_what_its_own_function_says():
    model, told = network(), []
    found = assess(model, X, Y, audit_images=5, progress=lambda *some: told.append(some))
    own = calibration.calibration(classifiers.logits(model, X), Y)
    assert found.calibration.as_dict() == own.as_dict()
    assert not found.draws
    assert found.n == 30
    assert found.robustness.accuracy == pytest.approx(own.accuracy)
    assert set(found.outliers) == {"uniform", "upside-down"}
    assert set(found.outliers["uniform"]) == {"entropy", "max-probability", "energy"}
    assert found.corruptions.clean == pytest.approx(own.accuracy)
    assert len(found.corruptions.accuracy) == 13
    plain = found.as_dict()
    assert plain["accuracy"] == own.accuracy
    assert plain["robustness"]["audit"]["linf"]["n_images"] == 5
    assert (
        plain["outliers"]["uniform"]["energy"]["auroc"] == found.outliers["uniform"]["energy"].auroc
    )
    stages = [what for what, _, _ in told]
    assert stages[0] == "accuracy and calibration"
    assert {"fgsm", "audit in l1", "outliers", "fog"} <= set(stages)


def test_parts_can_be_left_out_and_inputs_need_be_no_images():
    flat = X.flatten(1)
    model = nn.Linear(64, 3)
    found = assess(model, flat, Y, budgets=Budgets(0.1, 0.5, 2.0), audit_images=0)
    assert found.corruptions is None
    assert set(found.outliers) == {"uniform"}
    assert found.robustness.audit == {}
    bare = assess(network(), X, Y, suite="none", outlier_sets={}, with_corruptions=False)
    assert (bare.robustness, bare.outliers, bare.corruptions) == (None, {}, None)
    assert bare.as_dict()["robustness"] is None


def test_a_classifier_that_draws_is_judged_by_its_mean_and_the_same_seed():
    first = assess(network(noise=1.0), X, Y, suite="none", with_corruptions=False, seed=3)
    assert first.draws
    again = assess(network(noise=1.0), X, Y, suite="none", with_corruptions=False, seed=3)
    assert first.as_dict() == again.as_dict()
    other = assess(network(noise=1.0), X, Y, suite="none", with_corruptions=False, seed=4)
    assert first.calibration.nll != other.calibration.nll


def test_made_outliers_have_the_shape_of_the_images():
    sets = made_outliers(X, 0)
    assert torch.equal(sets["upside-down"], X.flip(2))
    assert sets["uniform"].shape == X.shape
    assert torch.equal(sets["uniform"], made_outliers(X, 0)["uniform"])


def test_bad_suites_are_refused():
    with pytest.raises(ArgumentError, match="fast, full or none"):
        assess(network(), X, Y, suite="medium")
