"""Blends: scores against softmax written out, weights recovered, curves that are calibrated."""

import numpy as np
import pytest

from sidle.slide.blending import Blend, fit_blend


def problem(n, weights, seed=0):
    """Return features, candidates and one true label a row, drawn from the softmax of scores."""
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(n, 6, len(weights))).astype(np.float32)
    scores = features @ np.array(weights)
    # The largest of scores with Gumbel noise is distributed as the softmax.
    best = np.argmax(scores + generator.gumbel(size=scores.shape), axis=1)
    candidates = np.tile(np.arange(6), (n, 1))
    return features, candidates, candidates == best[:, None]


def test_scores_are_log_softmax_over_the_candidates_that_are_there():
    features = np.array([[[1.0, 0.0], [0.0, 1.0], [5.0, 5.0]]], np.float32)
    found = Blend((2.0, 3.0)).scores(features, np.array([[4, 7, -1]]))
    total = np.log(np.exp(2) + np.exp(3))
    assert found[0, :2] == pytest.approx([2 - total, 3 - total])
    assert found[0, 2] == -np.inf


def test_a_row_without_candidates_has_no_scores():
    found = Blend((1.0,)).scores(np.zeros((1, 2, 1), np.float32), np.array([[-1, -1]]))
    assert (found == -np.inf).all()


def test_finds_the_weights_that_made_the_labels():
    weights = [1.0, -0.5, 0.0]
    found = fit_blend(*problem(20_000, weights), np.array([0.3, 0.3, 0.3]))
    # The standard error of a weight is about 1 / sqrt(20,000 x 0.8) = 0.008; five of them.
    assert found.weights == pytest.approx(weights, abs=0.04)


def test_few_rows_stay_near_the_weights_they_start_from():
    start = np.array([0.7, 0.1])
    few = fit_blend(*problem(1, [-3.0, 3.0]), start)
    many = fit_blend(*problem(5000, [-3.0, 3.0]), start)
    assert np.abs(np.array(few.weights) - start).max() < 1.0 < np.abs(many.weights - start).max()


def test_without_true_candidates_the_start_is_kept():
    features, candidates, true = problem(10, [1.0])
    found = fit_blend(features, candidates, np.zeros_like(true), np.array([2.0]))
    assert found.weights == (2.0,)


def test_probabilities_are_calibrated_and_rise_with_the_score():
    features, candidates, true = problem(20_000, [1.5])
    blend = fit_blend(features, candidates, true, np.array([1.0]))
    found = blend.probabilities(blend.scores(features, candidates))
    # Fitting an intercept makes the mean that of the labels; it is pulled by 1e-2 of a pair only.
    assert found.mean() == pytest.approx(true.mean(), rel=1e-3)
    assert (np.diff(blend.probabilities(np.linspace(-9, 0, 20))) > 0).all()
    assert blend.probabilities(np.array([-np.inf])) == pytest.approx(0, abs=1e-6)
