"""Named streams are independent, stable, and leave the caller's generators alone."""

import random

import numpy as np
import pytest
import torch

from sidle import seeding
from sidle.errors import ArgumentError


def test_streams_are_stable_across_versions():
    # A change here would change every result ever made with a seed.
    assert seeding.split(0, "data_order") == 7896299983270025250
    assert seeding.split(7, "batch", 3) == seeding.split(np.int64(7), "batch", 3)


def test_names_seeds_and_indices_all_matter():
    streams = [
        seeding.split(0, "a"),
        seeding.split(1, "a"),
        seeding.split(0, "b"),
        seeding.split(0, "a", 0),
        seeding.split(0, "a", 1),
        seeding.split(0, "a", "1"),
        seeding.split(0, "a\n1"),
        seeding.split(10, "a"),
    ]
    assert len(set(streams)) == len(streams)
    assert all(0 <= stream < 2**63 for stream in streams)


def test_neighbouring_streams_are_uncorrelated():
    draws = np.stack(
        [
            seeding.numpy_generator(seeding.split(0, "batch", i)).standard_normal(400)
            for i in range(40)
        ]
    )
    correlations = np.corrcoef(draws)[np.triu_indices(40, 1)]
    # 780 correlations of 400 draws: standard deviation 1/20 each; 4.5 of them at most.
    assert np.abs(correlations).max() < 4.5 / 20
    assert abs(correlations.mean()) < 4.5 / 20 / np.sqrt(780)


def draw():
    return (torch.rand(1).item(), np.random.rand(), random.random())


def test_scope_repeats_and_restores():
    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)
    outside = [draw(), draw()]
    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)
    first = draw()
    with seeding.scope(5):
        inside = draw()
    with pytest.raises(ZeroDivisionError), seeding.scope(5):
        assert draw() == inside
        _ = 1 / 0
    assert [first, draw()] == outside
    with seeding.scope(6):
        assert draw() != inside


def test_generators_depend_on_their_seed_alone():
    a, b = (torch.rand(3, generator=seeding.torch_generator(4)) for _ in range(2))
    assert torch.equal(a, b)
    assert not torch.equal(a, torch.rand(3, generator=seeding.torch_generator(5)))


def test_bad_seeds_are_refused():
    for seed in (-1, 1.5, "0", True, None):
        with pytest.raises(ArgumentError, match="seed must be an integer of at least 0"):
            seeding.split(seed, "a")
    with pytest.raises(ArgumentError, match="at least one name"):
        seeding.split(0)
