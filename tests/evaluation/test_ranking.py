"""Ranking metrics against slow references, closed forms and invariances."""

import math

import numpy as np
import pytest
from scipy.sparse import csr_array

from reference import ranking as reference
from sidle.errors import ArgumentError, ShapeError
from sidle.evaluation import ranking


@pytest.fixture
def case():
    rng = np.random.default_rng(0)
    labels = csr_array((rng.random((60, 12)) < 0.2).astype(np.float32))
    ranked = np.stack([rng.permutation(12)[:6] for _ in range(60)])
    ranked[rng.random((60, 6)) < 0.1] = -1
    truths = [set(labels.indices[labels.indptr[i] : labels.indptr[i + 1]]) for i in range(60)]
    assert min(map(len, truths)) == 0  # rows without labels are among them
    return ranked, labels, truths


@pytest.mark.parametrize("k", [1, 3, 5, 6])
def test_matches_the_slow_reference(case, k):
    ranked, labels, truths = case
    p = np.linspace(0.1, 1, 12)
    rows = ranked.tolist()
    # Both sum some hundred float64 numbers below 10.
    assert ranking.precision_at_k(ranked, labels, k) == pytest.approx(
        np.mean([reference.precision(r, t, k) for r, t in zip(rows, truths, strict=True)]),
        abs=1e-12,
    )
    assert ranking.ndcg_at_k(ranked, labels, k) == pytest.approx(
        np.mean([reference.ndcg(r, t, k) for r, t in zip(rows, truths, strict=True)]), abs=1e-12
    )
    assert ranking.psp_at_k(ranked, labels, p, k) == pytest.approx(
        reference.psp(rows, truths, p, k), abs=1e-12
    )


def test_a_perfect_ranking_scores_one_where_it_can():
    labels = csr_array(np.array([[1, 1, 0, 0], [0, 0, 0, 1]], np.float32))
    ranked = np.array([[1, 0, 2], [3, 0, 1]])
    assert ranking.precision_at_k(ranked, labels, 1) == 1
    assert ranking.precision_at_k(ranked, labels, 2) == 0.75  # the second row has one label only
    assert ranking.ndcg_at_k(ranked, labels, 3) == 1
    assert ranking.psp_at_k(ranked, labels, np.array([0.2, 0.9, 1, 0.5]), 3) == 1


def test_one_hit_at_the_third_place_gains_half_of_the_best():
    labels = csr_array(np.array([[0, 0, 1]], np.float32))
    # log2(1 + 1) / log2(1 + 3) = 1 / 2.
    assert ranking.ndcg_at_k(np.array([[0, 1, 2]]), labels, 3) == pytest.approx(0.5, abs=1e-15)


def test_equal_propensities_turn_psp_into_precision_over_its_best(case):
    ranked, labels, truths = case
    k = 3
    best = np.mean([min(len(true), k) / k for true in truths])
    assert ranking.psp_at_k(ranked, labels, np.full(12, 0.3), k) == pytest.approx(
        ranking.precision_at_k(ranked, labels, k) / best, abs=1e-12
    )


def test_propensities_follow_their_formula_and_rise_with_frequency():
    labels = csr_array(np.array([[1, 1], [1, 0], [1, 0], [0, 0]], np.float32))
    found = ranking.propensities(labels, a=0.6, b=2.6)
    c = (math.log(4) - 1) * 3.6**0.6
    assert found == pytest.approx(
        [1 / (1 + c * math.exp(-0.6 * math.log(n + 2.6))) for n in (3, 1)]
    )
    assert found[0] > found[1]


def test_entries_of_zero_are_no_labels():
    labels = csr_array((np.array([0.0, 1.0]), np.array([0, 1]), np.array([0, 2])), shape=(1, 3))
    assert ranking.precision_at_k(np.array([[0]]), labels, 1) == 0
    assert ranking.ndcg_at_k(np.array([[1, 0]]), labels, 2) == 1
    assert ranking.psp_at_k(np.array([[1]]), labels, np.full(3, 0.5), 1) == 1


def test_all_metrics_come_by_name(case):
    ranked, labels, _ = case
    found = ranking.ranking_metrics(ranked, labels, ranking.propensities(labels), cutoffs=(1, 2))
    assert list(found) == ["p@1", "p@2", "ndcg@1", "ndcg@2", "psp@1", "psp@2"]
    assert "psp@1" not in ranking.ranking_metrics(ranked, labels)


def test_refuses_what_cannot_be_ranked(case):
    ranked, labels, _ = case
    with pytest.raises(ShapeError, match="at least 7"):
        ranking.precision_at_k(ranked, labels, 7)
    with pytest.raises(ShapeError, match="CSR"):
        ranking.precision_at_k(ranked, labels.toarray(), 1)
    with pytest.raises(ArgumentError, match="from 0 to 11"):
        ranking.precision_at_k(ranked + 10, labels, 1)
    with pytest.raises(ArgumentError, match="twice"):
        ranking.precision_at_k(np.zeros_like(ranked), labels, 2)
    with pytest.raises(ArgumentError, match="in \\(0, 1\\]"):
        ranking.psp_at_k(ranked, labels, np.zeros(12), 1)
    with pytest.raises(ShapeError, match="propensities"):
        ranking.psp_at_k(ranked, labels, np.ones(11), 1)
    with pytest.raises(ArgumentError, match="at least 3 rows"):
        ranking.propensities(labels[:2])
