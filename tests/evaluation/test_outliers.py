"""Measures of detection count pairs and thresholds exactly, ties too; scores are what they say."""

import itertools
import math

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import nn

from sidle.errors import ArgumentError, NonFiniteError, ShapeError
from sidle.evaluation import outliers as module

LEVELS = {"ties": 4, "few ties": 60, "one score": 1}


def some(levels, seed=0, n=37, m=23):
    generator = np.random.default_rng(seed)
    inside = generator.integers(0, levels, n).astype(float)
    outside = generator.integers(0, levels, m).astype(float) + generator.integers(0, 2, m)
    return inside, outside


@pytest.mark.parametrize("levels", LEVELS.values(), ids=LEVELS.keys())
def test_auroc_is_the_share_of_pairs_in_order(levels):
    inside, outside = some(levels)
    pairs = [(a < b) + (a == b) / 2 for a, b in itertools.product(inside, outside)]
    assert module.auroc(inside, outside) == pytest.approx(np.mean(pairs), abs=1e-15)


@pytest.mark.parametrize("levels", LEVELS.values(), ids=LEVELS.keys())
def test_measures_agree_with_scikit_learn(levels):
    inside, outside = some(levels, seed=1)
    labels = np.r_[np.zeros(len(inside)), np.ones(len(outside))]
    scores = np.r_[inside, outside]
    found = module.detection(inside, outside)
    assert found.auroc == pytest.approx(roc_auc_score(labels, scores))
    assert found.aupr_out == pytest.approx(average_precision_score(labels, scores))
    assert found.aupr_in == pytest.approx(average_precision_score(1 - labels, -scores))


@pytest.mark.parametrize("levels", LEVELS.values(), ids=LEVELS.keys())
@pytest.mark.parametrize("tpr", [0.05, 0.5, 0.95, 1.0])
def test_false_positives_are_those_of_the_strictest_threshold_that_accepts_enough(levels, tpr):
    inside, outside = some(levels, seed=2)
    allowed = [t for t in np.unique(inside) if np.mean(inside <= t) >= tpr]
    assert module.fpr_at_tpr(inside, outside, tpr) == np.mean(outside <= min(allowed))


def test_nineteen_of_twenty_inliers_are_95_percent():
    inside = np.arange(20.0)
    assert module.fpr_at_tpr(inside, np.array([18.0, 18.5, 19.0])) == pytest.approx(1 / 3)


def test_order_does_not_matter_and_a_turned_score_turns_the_measure():
    inside, outside = some(9, seed=3)
    generator = np.random.default_rng(0)
    shuffled = module.detection(generator.permutation(inside), generator.permutation(outside))
    assert shuffled == module.detection(inside, outside)
    assert module.auroc(-inside, -outside) == pytest.approx(1 - module.auroc(inside, outside))
    apart = module.detection(inside, inside.max() + 1 + outside)
    assert apart == module.Detection(1.0, 1.0, 1.0, 0.0)
    endless = module.auroc(np.array([-np.inf, 0.0]), np.array([np.inf]))
    assert endless == 1.0


def test_scores_of_predictions_are_what_they_say():
    logits = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    p = logits.softmax(1)
    torch.testing.assert_close(module.entropy(logits), -(p * p.log()).sum(1))
    torch.testing.assert_close(module.max_probability(logits), -p.amax(1).log())
    torch.testing.assert_close(module.energy(logits), -logits.exp().sum(1).log())
    torch.testing.assert_close(module.energy(logits, 3.0), -3.0 * (logits / 3.0).exp().sum(1).log())
    certain = torch.tensor([[60.0, 0.0], [61.0, 0.0]])  # float32 cannot tell their probabilities
    sure = module.max_probability(certain)
    assert sure[0] > sure[1] > 0
    assert module.entropy(torch.tensor([[900.0, -900.0]])).item() == 0.0


class Network(nn.Module):
    """Linear logits of the first two pixels; offers a score of its own, asked in eval mode."""

    def __init__(self, normalised=False):
        super().__init__()
        self.layer = nn.Linear(3, 3)
        self.normalised = normalised

    def forward(self, x):
        logits = self.layer(x)
        return logits.log_softmax(1) if self.normalised else logits

    def outlier_scores(self, x):
        assert not self.training
        return {"R": x.sum(1)}


def test_scores_of_a_model_and_further_ones_stand_beside_those_of_its_prediction():
    torch.manual_seed(0)
    x, network = torch.rand(7, 3), Network().train()
    found = module.outlier_scores(network, x, scores={"first": lambda x: x[:, 0]}, batch_size=3)
    assert list(found) == ["entropy", "max-probability", "energy", "R", "first"]
    torch.testing.assert_close(found["R"], x.sum(1).double())
    torch.testing.assert_close(found["first"], x[:, 0].double())
    torch.testing.assert_close(found["energy"], module.energy(network(x)).detach())
    assert network.training
    # Log probabilities have the energy 0, which is no score.
    assert "energy" not in module.outlier_scores(Network(normalised=True), x)


def test_a_table_names_sets_and_scores():
    torch.manual_seed(0)
    inside, odd = torch.rand(40, 3) / 2, {"bright": torch.rand(30, 3) / 2 + 0.5}
    table = module.outlier_table(Network(), inside, odd)
    assert list(table) == ["bright"]
    assert table["bright"]["R"].auroc == pytest.approx(
        module.auroc(inside.sum(1), odd["bright"].sum(1))
    )
    assert table["bright"]["R"].auroc > 0.95


SCORES = np.array([0.0, 1.0])


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: module.auroc(SCORES, []), ShapeError, "outliers"),
        (lambda: module.auroc(SCORES[:, None], SCORES), ShapeError, "inliers"),
        (lambda: module.auroc(SCORES, SCORES * math.nan), NonFiniteError, "NaN"),
        (lambda: module.aupr(SCORES, SCORES, "both"), ArgumentError, "both"),
        (lambda: module.fpr_at_tpr(SCORES, SCORES, 0.0), ArgumentError, "tpr"),
        (lambda: module.energy(torch.zeros(2, 2), 0.0), ArgumentError, "temperature"),
        (lambda: module.entropy(torch.zeros(2, 1)), ShapeError, "C >= 2"),
        (
            lambda: module.outlier_scores(Network(), torch.rand(4, 3), scores={"s": lambda x: x}),
            ShapeError,
            "'s'",
        ),
    ],
)
def test_bad_input_is_refused(call, error, says):
    with pytest.raises(error, match=says):
        call()
