"""Synthetic rows have the sizes asked for, power laws, and features that tell labels."""

import numpy as np
import pytest

from sidle.data.synthetic_extreme import power_law_rows
from sidle.errors import ArgumentError

SIZES = {"n_features": 3000, "n_labels": 2000, "features_per_row": 40.0, "labels_per_row": 3.0}


@pytest.fixture(scope="module")
def rows():
    return power_law_rows(9000, **SIZES, seed=0)


def test_sizes_are_as_asked(rows):
    assert rows.features.shape == (9000, 3000)
    assert rows.labels.shape == (9000, 2000)
    # Repeated draws are one: up to a fifth fewer.
    assert 0.75 * 40 < rows.features.nnz / 9000 < 40
    assert 0.75 * 3 < rows.labels.nnz / 9000 < 3
    assert np.diff(rows.features.indptr).min() >= 1
    assert np.diff(rows.labels.indptr).min() >= 1
    np.testing.assert_allclose(rows.features.power(2).sum(axis=1), 1, rtol=1e-5)
    assert (rows.labels.data == 1).all()
    assert rows.features.has_canonical_format
    assert rows.labels.has_canonical_format


def test_popularity_follows_a_power_law(rows):
    counts = np.sort(np.bincount(rows.labels.indices, minlength=2000))[::-1]
    slope = np.polyfit(np.log(np.arange(10, 500)), np.log(counts[10:500]), 1)[0]
    assert -0.8 < slope < -0.4  # first labels are drawn with exponent 0.6


def test_features_tell_labels(rows):
    """Nearest label centroid, from other rows, finds a label far more often than chance."""
    test = power_law_rows(500, **SIZES, seed=0, part="test")
    centroids = rows.labels.T @ rows.features
    scores = np.asarray((test.features @ centroids.T).todense())
    norms = np.sqrt(np.asarray(centroids.power(2).sum(axis=1)).ravel())
    best = (scores / np.maximum(norms, 1e-9)).argmax(axis=1)
    truth = np.asarray(test.labels.todense()) > 0
    assert truth[np.arange(500), best].mean() > 0.2  # the most frequent label: 1 %


def test_rows_depend_on_seed_and_part_only():
    def draw(seed, part):
        return power_law_rows(50, **SIZES, seed=seed, part=part).features

    assert (draw(1, "train") != draw(1, "train")).nnz == 0
    assert (draw(1, "train") != draw(1, "test")).nnz > 0
    assert (draw(1, "train") != draw(2, "train")).nnz > 0


def test_more_rows_begin_with_the_same_blocks(rows):
    more = power_law_rows(9000, **SIZES, seed=0)
    assert (more.features[:8192] != rows.features[:8192]).nnz == 0


@pytest.mark.parametrize(
    "changed", [{"n_rows": 0}, {"n_features": 31}, {"n_labels": 11}, {"features_per_row": 0.5},
                {"labels_per_row": 501.0}],
)  # fmt: skip
def test_refuses_bad_sizes(changed):
    with pytest.raises(ArgumentError, match="power_law_rows"):
        power_law_rows(**{"n_rows": 10, "seed": 0} | SIZES | changed)
