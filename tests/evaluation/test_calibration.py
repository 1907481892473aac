"""Calibration counts what a slow reading of its definition counts."""

import math

import numpy as np
import pytest
import torch

from sidle.errors import ArgumentError, NonFiniteError, ShapeError
from sidle.evaluation import calibration as module


def drawn(n=400, classes=5, seed=0, scale=2.0):
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(n, classes, generator=generator, dtype=torch.float64)
    y = torch.distributions.Categorical(logits=0.5 * logits).probs.multinomial(
        1, generator=generator
    )[:, 0]
    return logits, y


def slow_error(confidence, right, ends):
    """Expected calibration error over bins (low, high], one example at a time."""
    total, low = 0.0, -math.inf
    for high in ends:
        inside = [i for i, sure in enumerate(confidence) if low < sure <= high]
        if inside:
            gap = np.mean([right[i] for i in inside]) - np.mean([confidence[i] for i in inside])
            total += len(inside) / len(confidence) * abs(gap)
        low = high
    return total


@pytest.mark.parametrize("n_bins", [1, 4, 15])
def test_errors_are_those_of_bins_counted_one_by_one(n_bins):
    logits, y = drawn()
    p = logits.softmax(1)
    confidence, right = p.amax(1).tolist(), (p.argmax(1) == y).double().tolist()
    width = module.expected_calibration_error(p, y, n_bins=n_bins)
    assert width == pytest.approx(
        slow_error(confidence, right, [(k + 1) / n_bins for k in range(n_bins)]), abs=1e-12
    )
    ordered = sorted(confidence)
    ends = [ordered[math.ceil((k + 1) * len(y) / n_bins) - 1] for k in range(n_bins)]
    adaptive = module.expected_calibration_error(p, y, n_bins=n_bins, bins="adaptive")
    assert adaptive == pytest.approx(slow_error(confidence, right, ends), abs=1e-12)


def test_adaptive_bins_hold_equal_numbers_and_never_part_equal_confidences():
    logits, y = drawn(n=90)
    bins = module.reliability(logits.softmax(1), y, n_bins=9, bins="adaptive")
    assert bins.count == (10,) * 9
    tied = module.reliability(
        torch.tensor([[0.6, 0.4]] * 7 + [[0.9, 0.1]] * 3), torch.zeros(10, dtype=torch.int64),
        n_bins=5, bins="adaptive",
    )  # fmt: skip
    assert tied.count == (7, 3)
    assert tied.error == pytest.approx(0.7 * 0.4 + 0.3 * 0.1)


def test_an_honest_classifier_is_calibrated_and_a_boastful_one_is_not():
    generator = torch.Generator().manual_seed(0)
    p = torch.rand(60_000, generator=generator, dtype=torch.float64) / 2 + 0.5
    y = (torch.rand(60_000, generator=generator, dtype=torch.float64) > p).long()
    honest = torch.stack([p, 1 - p], 1)
    assert module.expected_calibration_error(honest, y) < 0.01
    boastful = torch.stack([torch.full_like(p, 0.99), torch.full_like(p, 0.01)], 1)
    assert module.expected_calibration_error(boastful, y) == pytest.approx(0.24, abs=0.01)


def test_a_certain_prediction_lies_in_the_last_bin_and_a_boundary_in_the_lower_one():
    p = torch.tensor([[1.0, 0.0], [0.5, 0.5], [0.75, 0.25]], dtype=torch.float64)
    bins = module.reliability(p, torch.tensor([0, 1, 0]), n_bins=4)
    assert bins.count == (0, 1, 1, 1)
    assert bins.lower == (0.0, 0.25, 0.5, 0.75)
    assert bins.upper == (0.25, 0.5, 0.75, 1.0)
    assert bins.accuracy[1:] == (0.0, 1.0, 1.0)
    assert math.isnan(bins.accuracy[0])
    over = p[:1].float() * (1 + 1e-6)  # rounding may end above 1
    assert module.reliability(over, torch.tensor([0]), n_bins=4).count == (0, 0, 0, 1)


def test_everything_together_agrees_with_its_parts():
    logits, y = drawn()
    found = module.calibration(logits, y)
    p = logits.softmax(1)
    one_hot = torch.nn.functional.one_hot(y, 5)
    assert found.brier == pytest.approx(float(((p - one_hot) ** 2).sum(1).mean()), abs=1e-12)
    assert found.nll == pytest.approx(float(-p[range(400), y].log().mean()), abs=1e-12)
    assert found.accuracy == pytest.approx(float((p.argmax(1) == y).double().mean()))
    assert found.confidence == pytest.approx(float(p.amax(1).mean()))
    assert found.ece == found.bins.error
    assert found.ece_adaptive == found.adaptive_bins.error
    plain = found.as_dict()
    assert plain["bins"]["accuracy"][0] is None  # no confidence below 1/5, and JSON knows no NaN
    assert plain["bins"]["count"] == list(found.bins.count)


def test_certainties_stay_finite():
    found = module.calibration(
        torch.tensor([[200.0, -200.0], [-200.0, 200.0]]), torch.tensor([0, 0])
    )
    assert found.nll == pytest.approx(200.0)
    assert found.brier == pytest.approx(1.0)
    assert found.ece == pytest.approx(0.5)


P = torch.tensor([[0.7, 0.3], [0.2, 0.8]])
Y = torch.tensor([0, 1])


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: module.reliability(2 * P, Y), ArgumentError, "softmax"),
        (lambda: module.reliability(P - 0.5, Y), ArgumentError, "at least 0"),
        (lambda: module.reliability(P, Y, n_bins=0), ArgumentError, "n_bins"),
        (lambda: module.reliability(P, Y, bins="wide"), ArgumentError, "wide"),
        (lambda: module.reliability(P[:, 0], Y), ShapeError, r"\(N, C\)"),
        (lambda: module.brier(P, Y[:1]), ShapeError, r"\(2,\)"),
        (lambda: module.brier(P, torch.tensor([0, 2])), ArgumentError, "from 0 to 1"),
        (lambda: module.calibration(P / 0, Y), NonFiniteError, "logits"),
        (lambda: module.negative_log_likelihood(P, Y.double()), ShapeError, "integer"),
    ],
)
def test_bad_input_is_refused(call, error, says):
    with pytest.raises(error, match=says):
        call()
