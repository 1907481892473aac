"""Digits agree as often as formulas and enumeration say; codes use all of a table."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from sidle.errors import ArgumentError, ShapeError
from sidle.provenance import usable_cores
from sidle.slide.hashing import (
    FAMILIES,
    DensifiedMinHash,
    DensifiedWTA,
    SimHash,
    SparseSimHash,
    WinnerTakeAll,
    make_family,
)

X = np.array([0.9, -0.2, 0.4, 1.3, -0.7, 0.1], np.float32)
Y = np.array([1.0, 0.3, -0.5, 0.8, -0.1, 0.6], np.float32)


def vectors(n=40, d=24, seed=0, density=1.0):
    generator = np.random.default_rng(seed)
    dense = generator.normal(size=(n, d)).astype(np.float32)
    dense[generator.random(dense.shape) > density] = 0
    return dense


def agreement(family, x, y):
    """The share of functions whose digits agree, and its standard error."""
    one, other = family.digits(np.stack([x, y]))
    share = float((one == other).mean())
    return share, math.sqrt(share * (1 - share) / family.n_functions)


def assert_near(found, expected):
    share, error = found
    # Functions are independent draws (those of one permutation nearly so): five standard errors.
    assert abs(share - expected) < 5 * error + 1e-9, (share, expected, error)


@pytest.mark.parametrize("angle", [0.2, 1.0, 2.5])
def test_simhash_agrees_by_the_angle(angle):
    x = np.zeros(20, np.float32)
    y = np.zeros(20, np.float32)
    x[0], y[0], y[1] = 2.0, 3 * math.cos(angle), 3 * math.sin(angle)
    assert SimHash.collision_probability(x, y) == pytest.approx(1 - angle / math.pi, abs=1e-6)
    assert_near(agreement(SimHash(20, 20, 1000, seed=0), x, y), 1 - angle / math.pi)


def test_simhash_codes_agree_by_the_power_of_the_digits():
    x, y = vectors(2, 20, seed=3)
    y = x + 0.7 * y
    family = SimHash(20, 4, 20_000, seed=1)
    one, other = family.codes(np.stack([x, y]))
    share = float((one == other).mean())
    expected = SimHash.collision_probability(x, y) ** 4
    assert abs(share - expected) < 5 * math.sqrt(expected * (1 - expected) / 20_000)


def test_simhash_of_sparse_rows_equals_that_of_dense_ones():
    family, x = SimHash(24, 6, 30, seed=0), vectors(density=0.3)
    x[5] = 0
    differ = family.digits(x) != family.digits(csr_array(x))
    # Only where a projection is a rounding away from 0; an empty row projects to exactly 0.
    assert differ.mean() < 1e-3
    assert not differ[5].any()


@pytest.mark.parametrize("n_places", [None, 4, 24])
def test_sparse_projections_agree_by_the_angle(n_places):
    x, y = vectors(2, 24, seed=5)
    y = x + 0.8 * y
    family = SparseSimHash(24, 10, 2000, seed=0, n_places=n_places)
    assert family._places.shape == (20_000, n_places or 8)
    share, _ = agreement(family, x, y)
    # Sums of a few terms are not normal: near the formula for normal directions, not equal to it.
    assert abs(share - SimHash.collision_probability(x, y)) < 0.04


def test_sparse_projections_are_those_of_their_places_and_signs():
    family, x = SparseSimHash(24, 3, 7, seed=0), vectors().astype(np.float64)
    planes = np.zeros((21, 24))
    for h in range(21):
        planes[h, family._places[h]] = family._signs[h]
        assert len(set(family._places[h].tolist())) == 8
    expected = x @ planes.T
    clear = np.abs(expected) > 1e-5
    assert np.array_equal(family.digits(x)[clear], (expected > 0)[clear])


def test_wta_agrees_as_enumeration_says():
    expected = WinnerTakeAll.collision_probability(X, Y, 3)
    assert 0.3 < expected < 0.9
    assert_near(agreement(WinnerTakeAll(6, 4, 5000, seed=0, bin_size=3), X, Y), expected)


def test_wta_digits_are_the_winners():
    family, x = WinnerTakeAll(24, 2, 9, seed=0, bin_size=5), vectors()
    expected = x[:, family._places].argmax(axis=2)
    assert np.array_equal(family.digits(x), expected)


def dwta_agreement(x, y, size):
    """P(one digit agrees), by enumeration of what a bin can hold.

    Both go through the same random bins; each takes the first that holds one of its non-zeros.
    """

    def digit(v, places):
        filled = [slot for slot, place in enumerate(places) if v[place]]
        return max(filled, key=lambda slot: v[places[slot]]) if filled else None

    bins = [(digit(x, p), digit(y, p)) for p in itertools.permutations(range(len(x)), size)]

    def shares(values):
        return np.bincount([v for v in values if v is not None], minlength=size) / len(bins)

    x_filled, y_filled = shares([a for a, _ in bins]), shares([b for _, b in bins])
    x_only = shares([a for a, b in bins if b is None])
    y_only = shares([b for a, b in bins if a is None])
    same = sum(a is not None and a == b for a, b in bins) / len(bins)
    neither = sum(a is None and b is None for a, b in bins) / len(bins)
    later = x_only @ y_filled / y_filled.sum() + y_only @ x_filled / x_filled.sum()
    return (same + later) / (1 - neither)


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (X, Y),
        (X * [1, 0, 1, 0, 0, 1], Y * [1, 0, 1, 0, 0, 1]),  # one support
        (X * [0, 0, 0, 1, 0, 1], Y * [1, 0, 0, 1, 0, 0]),  # supports that overlap
        (X * [1, 0, 0, 0, 0, 0], Y * [0, 1, 0, 0, 0, 0]),  # supports that do not
    ],
)
def test_densified_wta_agrees_as_enumeration_says(x, y):
    family = DensifiedWTA(6, 4, 5000, seed=0, bin_size=3)
    expected = dwta_agreement(x, y, 3)
    if x.all():
        assert expected == pytest.approx(WinnerTakeAll.collision_probability(x, y, 3))
    assert_near(agreement(family, x.astype(np.float32), y.astype(np.float32)), expected)


@pytest.mark.parametrize("bits", [1, 4])
@pytest.mark.parametrize("shared", [0, 15, 30])
def test_densified_minhash_agrees_by_the_jaccard_similarity(shared, bits):
    x, y = np.zeros((2, 400), np.float32)
    x[:30] = 1
    y[30 - shared : 60 - shared] = 1
    jaccard = shared / (60 - shared)
    shares = []
    for seed in range(300):  # functions of one seed share a permutation: independent seeds
        family = DensifiedMinHash(400, 2, 20, seed=seed, digit_bits=bits)
        shares.append(agreement(family, x, y)[0])
        expected = family.collision_probability(x, y)
    assert expected == pytest.approx(jaccard + (1 - jaccard) / 2**bits)
    error = np.std(shares) / math.sqrt(len(shares))
    assert abs(np.mean(shares) - expected) < 5 * error + 1e-9


@pytest.mark.parametrize("name", FAMILIES)
def test_families_are_seeded_and_scale_free(name):
    x = vectors(density=0.5)

    def codes(seed, given=x):
        return make_family(name, 24, n_digits=2, n_tables=9, seed=seed).codes(given)

    assert codes(0).shape == (40, 9)
    assert np.array_equal(codes(0), codes(0))
    assert not np.array_equal(codes(0), codes(1))
    assert np.array_equal(codes(0, 2 * x), codes(0))
    assert np.array_equal(codes(0, torch.from_numpy(x)), codes(0))
    assert len(np.unique(codes(0), axis=0)) > 20


@pytest.mark.parametrize("name", ["dwta", "minhash"])
def test_families_of_sparse_vectors_take_csr(name):
    x = vectors(density=0.2)
    x[3] = 0  # nothing to hash
    family = make_family(name, 24, n_digits=3, n_tables=40, seed=0)
    codes = family.codes(csr_array(x))
    assert np.array_equal(codes, family.codes(x))
    assert not codes[3].any()


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.skipif(usable_cores() < 2, reason="needs two cores")
def test_threads_change_nothing(name):
    family = make_family(name, 24, n_digits=3, n_tables=5, seed=0)
    x = vectors(500, density=0.5)
    assert np.array_equal(family.codes(x, threads=2), family.codes(x))


def test_digits_are_packed_side_by_side():
    family = WinnerTakeAll(24, 3, 5, seed=0, bin_size=5)
    assert family.table_bits == 9
    x = vectors()
    digits = family.digits(x).reshape(40, 5, 3).astype(int)
    expected = digits[..., 0] + 8 * digits[..., 1] + 64 * digits[..., 2]
    assert np.array_equal(family.codes(x), expected)


def test_all_buckets_are_reached():
    """The published code packs digits with shifts that overlap; 4 % of its buckets are reached."""
    x = vectors(40_000, 24)
    for family in (SimHash(24, 9, 2, seed=0), SimHash(24, 30, 2, seed=0, table_bits=9)):
        for table in range(2):
            counts = np.bincount(family.codes(x)[:, table], minlength=512)
            assert (counts > 0).mean() > 0.95


def test_mixed_codes_tell_all_digits_apart():
    x, y = vectors(2, 24, seed=8)
    mixed = SimHash(24, 24, 2000, seed=0)
    assert mixed.table_bits == 16
    y = x + 0.02 * y
    share = float(np.equal(*mixed.codes(np.stack([x, y]))).mean())
    assert share == pytest.approx(SimHash.collision_probability(x, y) ** 24, abs=0.05)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SimHash(0, 1, 1, seed=0), "must be at least 1"),
        (lambda: SimHash(8, 4, 1, seed=0, table_bits=5), "table_bits must be from 1 to 4"),
        (lambda: SparseSimHash(8, 4, 1, seed=0, n_places=9), "n_places must be from 1 to 8"),
        (lambda: WinnerTakeAll(8, 4, 1, seed=0, bin_size=9), "bin_size must be from 2 to 8"),
        (lambda: DensifiedWTA(8, 4, 1, seed=0, bin_size=1), "bin_size must be from 2 to 8"),
        (lambda: DensifiedMinHash(8, 4, 1, seed=0, digit_bits=9), "digit_bits"),
        (lambda: make_family("md5", 8, n_digits=1, n_tables=1, seed=0), "family must be one of"),
    ],
)
def test_refuses_bad_settings(make, message):
    with pytest.raises(ArgumentError, match=message):
        make()


def test_refuses_vectors_of_another_length():
    family = SimHash(8, 2, 2, seed=0)
    for wrong in (vectors(3, 9), csr_array(vectors(3, 9)), [[1.0] * 8], vectors(3, 8)[0]):
        with pytest.raises(ShapeError, match="expected"):
            family.codes(wrong)
    with pytest.raises(ShapeError, match="expected float32"):
        WinnerTakeAll(8, 2, 2, seed=0).codes(csr_array(vectors(3, 8)))
