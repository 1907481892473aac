"""Probes read what is linear, choose without test rows, and hold groups together."""

import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from sidle.errors import ArgumentError, NonFiniteError, ShapeError
from sidle.evaluation import probes


def blobs(n, classes=3, features=4, spread=1.0, seed=0):
    generator = np.random.default_rng(seed)
    centres = 3 * np.random.default_rng(99).standard_normal((classes, features))
    y = generator.integers(0, classes, n)
    return centres[y] + spread * generator.standard_normal((n, features)), y


def test_a_single_strength_is_the_fit_of_scikit_learn():
    (x, y), (x_test, y_test) = blobs(200, spread=3.0), blobs(300, spread=3.0, seed=1)
    found = probes.linear_probe(x, y, x_test, y_test, strengths=(0.5,))
    scaler = StandardScaler().fit(x)
    own = LogisticRegression(C=2.0, max_iter=1000).fit(scaler.transform(x), y)
    assert found.accuracy == pytest.approx(own.score(scaler.transform(x_test), y_test), abs=0.01)
    assert found.train_accuracy == pytest.approx(own.score(scaler.transform(x), y), abs=0.01)
    assert (found.n_train, found.n_test, found.n_classes) == (200, 300, 3)
    assert found.converged
    assert found.as_dict()["strength"] == 0.5


def test_scale_and_shift_of_features_change_nothing():
    (x, y), (x_test, y_test) = blobs(100), blobs(100, seed=1)
    plain = probes.linear_probe(x, y, x_test, y_test)
    moved = probes.linear_probe(
        torch.from_numpy(1000 * x + 7), torch.from_numpy(y), 1000 * x_test + 7, y_test
    )
    assert moved.accuracy == pytest.approx(plain.accuracy, abs=0.011)


def test_what_is_not_linear_is_not_read():
    generator = np.random.default_rng(0)
    x = generator.standard_normal((600, 2))
    y = (x[:, 0] * x[:, 1] > 0).astype(int)
    found = probes.linear_probe(x[:400], y[:400], x[400:], y[400:])
    assert abs(found.accuracy - 0.5) < 0.1
    product = (x[:, 0] * x[:, 1])[:, None]
    assert probes.linear_probe(product[:400], y[:400], product[400:], y[400:]).accuracy > 0.95


def test_many_noisy_features_ask_for_a_strong_penalty_and_few_rows_for_none_at_all():
    generator = np.random.default_rng(1)
    x = generator.standard_normal((120, 300))
    y = (x[:, 0] + 1.5 * generator.standard_normal(120) > 0).astype(int)
    assert probes.linear_probe(x, y, x, y).strength >= 1.0
    # Two rows: nothing can be held out.
    assert probes.linear_probe(x[:2], np.array([0, 1]), x, y).strength == max(probes.STRENGTHS)


def test_groups_are_held_out_whole_and_classes_keep_their_share():
    y = np.repeat(np.arange(4), 50)
    group = np.repeat(np.arange(40), 5)
    held_out = probes._held_out(y, group, 0)
    for name in range(40):
        assert len(set(held_out[group == name])) == 1
    for label in range(4):
        assert held_out[y == label].mean() == pytest.approx(0.2)
    assert not np.array_equal(held_out, probes._held_out(y, group, 1))


def test_rows_of_a_group_do_not_help_to_choose():
    # Ten copies of each row: without groups, the copies make the weakest penalty look best.
    generator = np.random.default_rng(2)
    x = np.repeat(generator.standard_normal((40, 200)), 10, axis=0)
    y = np.repeat(generator.integers(0, 2, 40), 10)
    group = np.repeat(np.arange(40), 10)
    test = generator.standard_normal((50, 200)), generator.integers(0, 2, 50)
    copied = probes._held_out(y, np.arange(400), 0)
    fit = probes._Fit(x[~copied], y[~copied], 300)
    fit.with_strength(1e-4)
    assert (fit.predict(x[copied]) == y[copied]).mean() > 0.95
    honest = probes._held_out(y, group, 0)
    fit = probes._Fit(x[~honest], y[~honest], 300)
    fit.with_strength(1e-4)
    assert (fit.predict(x[honest]) == y[honest]).mean() < 0.9
    assert probes.linear_probe(x, y, *test, groups=group).n_train == 400


def test_the_search_ends_at_the_strength_that_reads_held_out_rows_best():
    # Twenty directions tell the class a little, 100 do not: too little penalty fits the noise.
    generator = np.random.default_rng(5)
    y = generator.integers(0, 3, 300)
    x = generator.standard_normal((300, 120))
    x[:, :20] += 0.5 * generator.standard_normal((3, 20))[y]
    held_out = probes._held_out(y, np.arange(300), 0)
    scores = {}
    for strength in probes.STRENGTHS:
        fit = probes._Fit(x[~held_out], y[~held_out], 300)
        fit.with_strength(strength)
        scores[strength] = (fit.predict(x[held_out]) == y[held_out]).mean()
    best = max(scores, key=scores.__getitem__)
    assert best == 100.0
    assert scores[best] > scores[1.0]
    assert probes.linear_probe(x, y, x, y).strength == best


def test_a_fit_from_the_last_one_is_the_fit_from_nothing():
    generator = np.random.default_rng(6)
    y = generator.integers(0, 3, 200)
    x = generator.standard_normal((200, 10)) + y[:, None]
    warm, cold = probes._Fit(x, y, 300), probes._Fit(x, y, 300)
    warm.with_strength(100.0)
    assert warm.with_strength(1.0)
    assert cold.with_strength(1.0)
    np.testing.assert_allclose(warm.model.coef_, cold.model.coef_, atol=5e-3)


def test_frames_are_rows_with_their_sequence_as_group():
    x = torch.arange(2 * 3 * 2).view(2, 3, 2)
    y = torch.tensor([[4, -1, 5], [6, 7, 8]])
    rows, labels, groups = probes.frames(x, y, torch.tensor([3, 2]))
    assert rows.tolist() == [[0, 1], [4, 5], [6, 7], [8, 9]]
    assert labels.tolist() == [4, 5, 6, 7]
    assert groups.tolist() == [0, 0, 1, 1]
    _, labels, _ = probes.frames(x, torch.tensor([1, 2]))
    assert labels.tolist() == [1, 1, 1, 2, 2, 2]


def test_fractions_keep_a_share_of_each_class_and_nest():
    y = np.repeat(np.arange(5), [100, 50, 20, 3, 1])
    tenth, whole = (probes.label_fraction(y, f, seed=1) for f in (0.1, 1.0))
    assert np.bincount(y[tenth]).tolist() == [10, 5, 2, 1, 1]
    assert whole.tolist() == list(range(174))
    assert set(tenth) <= set(probes.label_fraction(y, 0.5, seed=1))
    assert tenth.tolist() != probes.label_fraction(y, 0.1, seed=2).tolist()


def test_every_group_is_left_out_once():
    found = list(probes.leave_groups_out(["a", "b", "a", "c"]))
    assert [name for name, _, _ in found] == ["a", "b", "c"]
    assert found[0][1].tolist() == [1, 3]
    assert found[0][2].tolist() == [0, 2]


X, Y = blobs(20)


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: probes.linear_probe(X, Y[:3], X, Y), ShapeError, "training features"),
        (lambda: probes.linear_probe(X, Y, X[:, :2], Y), ShapeError, "test rows 2"),
        (lambda: probes.linear_probe(X, Y * 1.0, X, Y), ShapeError, "whole numbers"),
        (lambda: probes.linear_probe(X * math.nan, Y, X, Y), NonFiniteError, "training feature"),
        (lambda: probes.linear_probe(X, Y * 0, X, Y), ArgumentError, "two classes"),
        (lambda: probes.linear_probe(X, Y, X, Y, strengths=()), ArgumentError, "strengths"),
        (lambda: probes.linear_probe(X, Y, X, Y, groups=Y[:2]), ShapeError, "20 groups"),
        (lambda: probes.frames(X, Y), ShapeError, r"\(B, T, F\)"),
        (lambda: probes.label_fraction(Y, 0.0), ArgumentError, r"\(0, 1\]"),
        (lambda: list(probes.leave_groups_out(["a", "a"])), ArgumentError, "two groups"),
    ],
)
def test_bad_input_is_refused(call, error, says):
    with pytest.raises(error, match=says):
        call()
