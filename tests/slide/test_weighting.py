"""Weights of words against the formula written out."""

import math

import numpy as np
import pytest
from scipy.sparse import csr_array

from sidle.slide import weighting

COUNTS = csr_array(np.array([[2, 1, 0], [0, 3, 0], [0, 0, 0], [0, 1, 0]], np.float32))


def test_inverse_frequencies_are_those_of_the_formula():
    found = weighting.inverse_frequency(COUNTS)
    expected = [math.log(1 + 4 / 1), math.log(1 + 4 / 3), math.log(1 + 4)]
    assert found == pytest.approx(expected, rel=1e-6)  # float32


def test_rows_weigh_what_the_formula_says_and_have_length_one():
    idf = weighting.inverse_frequency(COUNTS)
    found = weighting.weigh(COUNTS, idf).toarray()
    a, b = (1 + math.log(2)) * math.log(5), math.log(1 + 4 / 3)
    expected = [[a / math.hypot(a, b), b / math.hypot(a, b), 0], [0, 1, 0], [0, 0, 0], [0, 1, 0]]
    assert found == pytest.approx(np.array(expected), rel=1e-6)


def test_without_frequencies_rows_are_only_scaled():
    rows = csr_array(np.array([[3, -4]], np.float32))
    assert weighting.weigh(rows, None).toarray() == pytest.approx(np.array([[0.6, -0.8]]))
    assert rows.toarray().tolist() == [[3, -4]]  # what was given stays


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_squares_of_tiny_and_huge_entries_neither_vanish_nor_overflow(size):
    rows = csr_array(np.array([[3 * size, 4 * size]], np.float32))
    assert weighting.weigh(rows, None).toarray() == pytest.approx(np.array([[0.6, 0.8]]))


@pytest.mark.parametrize(
    ("entries", "counts"), [([1, 2], True), ([0.5, 2], False), ([-1, 2], False), ([0, 0], False)]
)
def test_counts_are_whole_numbers_from_one_on(entries, counts):
    assert weighting.are_counts(csr_array(np.array([entries], np.float32))) is counts
