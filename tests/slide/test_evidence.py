"""What training rows say about labels, against dense sums written out."""

import numpy as np
import pytest
from scipy.sparse import csr_array, random_array

from sidle.errors import ArgumentError
from sidle.slide import memory, weighting
from sidle.slide.evidence import FEATURES, Evidence

N, D, L = 60, 40, 12
EVERYTHING = 10**9


@pytest.fixture(scope="module")
def data():
    generator = np.random.default_rng(0)
    rows = [
        weighting.weigh(
            csr_array(random_array((n, D), density=0.15, rng=generator, dtype=np.float32)), None
        )
        for n in (N, 9)
    ]
    labels = csr_array((generator.random((N, L)) < 0.15).astype(np.float32))
    return rows[0], labels, rows[1]


def index(data, **changes):
    settings = {"neighbours": 5, "budget": EVERYTHING, "candidates": L, "threads": 1} | changes
    return Evidence(data[0], data[1], **settings)


def number(features, name):
    return features[:, :, FEATURES.index(name)]


def nothing(n):
    return np.full((n, 0), -1, np.int64)


def dense(data):
    """Return cosine, word share, votes, sharp votes and largest product, each (9, L)."""
    rows, labels, asked = (part.toarray().astype(np.float64) for part in data)
    sums = labels.T @ rows
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    profiles = np.divide(sums, lengths, out=np.zeros_like(sums), where=lengths > 0)
    share = labels.T @ (rows != 0) / ((rows != 0).sum(axis=0) + 2)
    products = asked @ rows.T
    near = np.argsort(-products, axis=1)[:, :5]
    votes, sharp, largest = (np.zeros((len(asked), L)) for _ in range(3))
    for n in range(len(asked)):
        best = np.maximum(products[n, near[n]], 0)
        votes[n] = best**2 @ labels[near[n]] / max((best**2).sum(), 1e-12)
        sharp[n] = best**4 @ labels[near[n]] / max((best**4).sum(), 1e-12)
        largest[n] = (best[:, None] * labels[near[n]]).max(axis=0)
    return asked @ profiles.T, asked**2 @ share.T, votes, sharp, largest


def test_numbers_are_those_of_dense_sums(data):
    found, features = index(data)(data[2], np.tile(np.arange(L), (9, 1)))
    names = ("cosine", "word share", "votes", "sharp votes", "largest product")
    for name, expected in zip(names, dense(data), strict=True):
        for n in range(9):
            there = found[n] >= 0
            assert sorted(found[n, there]) == list(range(L))
            # float32 sums of at most 60 terms of at most 1
            assert number(features, name)[n, there] == pytest.approx(
                expected[n, found[n, there]], abs=1e-5
            )


def test_logarithms_and_label_counts_follow_from_the_numbers(data):
    found, features = index(data)(data[2], nothing(9))
    there = found >= 0
    cosine = number(features, "cosine")[there]
    assert number(features, "log cosine")[there] == pytest.approx(
        np.log(np.maximum(cosine, 0) + 0.01), rel=1e-5
    )
    counts = np.asarray(data[1].sum(axis=0)).ravel()
    assert number(features, "log rows")[there] == pytest.approx(
        np.log1p(counts[found[there]]), rel=1e-5
    )


def test_names_the_labels_of_most_merit(data):
    cosine, share, _, sharp, _ = dense(data)
    _, _, asked = data
    rows = data[0].toarray().astype(np.float64)
    products = np.sort(asked.toarray() @ rows.T, axis=1)[:, -5:]
    total4 = (np.maximum(products, 0) ** 4).sum(axis=1, keepdims=True)
    merit = cosine + 0.5 * share + sharp * np.sqrt(total4)
    found, _ = index(data, candidates=3)(asked, nothing(9))
    for n in range(9):
        assert set(found[n]) == set(np.argsort(-merit[n])[:3])


def test_proposed_labels_come_last_and_never_twice(data):
    proposed = np.tile(np.array([0, 3, -1]), (9, 1))
    found, _ = index(data, candidates=2)(data[2], proposed)
    for row in found:
        named = row[row >= 0]
        assert len(set(named)) == len(named)
        assert {0, 3} <= set(named)


def test_without_neighbours_nobody_votes(data):
    _, features = index(data, neighbours=0)(data[2], nothing(9))
    assert (number(features, "votes") == 0).all()
    assert (number(features, "largest product") == 0).all()


def test_a_small_budget_reads_the_rarest_word_alone(data):
    rows, labels, asked = data
    found, _ = index(data, budget=1, neighbours=0)(asked, nothing(9))
    frequency = (labels.toarray().T @ rows.toarray() != 0).sum(axis=0)
    for n in range(9):
        words = asked.indices[asked.indptr[n] : asked.indptr[n + 1]]
        rarest = words[np.argmin(frequency[words])]
        known = labels.toarray()[rows.toarray()[:, rarest] > 0].sum(axis=0) > 0
        assert set(found[n][found[n] >= 0]) == set(np.flatnonzero(known))


def test_an_empty_row_and_threads_change_nothing(data):
    asked = csr_array(np.concatenate([data[2].toarray(), np.zeros((40, D), np.float32)]))
    one = index(data)(asked, nothing(49))
    two = index(data, threads=2)(asked, nothing(49))
    assert np.array_equal(one[0], two[0])
    assert np.array_equal(one[1], two[1])
    assert (one[0][9:] == -1).all()


def test_refuses_an_index_larger_than_memory(data, monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 1000)
    with pytest.raises(ArgumentError, match="links from words to labels"):
        index(data)
