"""Tables hold every item in the bucket of its code, keep fair samples, find what they should."""

import math

import numpy as np
import pytest

from sidle.errors import ArgumentError, CheckpointError
from sidle.provenance import usable_cores
from sidle.slide.hashing import SimHash
from sidle.slide.tables import HashTables, Scratch, recall

N, D = 600, 16


def vectors(n=N, seed=0):
    return np.random.default_rng(seed).normal(size=(n, D)).astype(np.float32)


def make(n=N, *, digits=4, tables=5, seed=0, **settings):
    return HashTables(SimHash(D, digits, tables, seed=seed), n, **settings)


def buckets(tables):
    """Return {(table, bucket): items} as the flat arrays say."""
    found = {}
    for t, b in np.ndindex(*tables._filled.shape):
        first = tables._starts[t, b]
        found[t, b] = tables._items[first : first + tables._filled[t, b]].tolist()
    return found


def expected_buckets(codes_NT, n_buckets):
    """Return the same by a slow loop, buckets without bounds."""
    found = {(t, b): [] for t in range(codes_NT.shape[1]) for b in range(n_buckets)}
    for item, codes in enumerate(codes_NT):
        for t, code in enumerate(codes):
            found[t, int(code)].append(item)
    return found


@pytest.mark.parametrize("policy", ["reservoir", "fifo"])
def test_every_item_lies_in_its_buckets(policy):
    tables = make(bucket_size=N, policy=policy)
    tables.build(vectors())
    assert buckets(tables) == expected_buckets(tables.family.codes(vectors()), 16)
    occupancy = tables.occupancy()
    assert (occupancy.kept, occupancy.n_buckets) == (1.0, 80)
    assert occupancy.mean == pytest.approx(N * 5 / (80 * occupancy.used))


def test_fifo_keeps_the_latest():
    tables = make(bucket_size=7, policy="fifo")
    tables.build(vectors())
    whole = expected_buckets(tables.family.codes(vectors()), 16)
    assert buckets(tables) == {place: items[-7:] for place, items in whole.items()}


def test_reservoirs_keep_each_item_alike():
    same = np.ones((20, D), np.float32)  # one bucket for all
    kept = np.zeros(20)
    trials = 3000
    for seed in range(trials):
        tables = make(20, tables=1, bucket_size=5, seed=0)
        tables._seed = seed
        tables.build(same)
        kept[next(items for items in buckets(tables).values() if items)] += 1
    # Binomial with p = 1/4: five standard deviations.
    assert np.abs(kept / trials - 0.25).max() < 5 * math.sqrt(0.25 * 0.75 / trials)


@pytest.mark.parametrize("policy", ["reservoir", "fifo"])
def test_update_moves_items_as_a_build_would_place_them(policy):
    before, after = vectors(), vectors()
    moved = np.random.default_rng(1).permutation(N)[:40]
    after[moved] = vectors(40, seed=2)
    tables = make(bucket_size=N, policy=policy)
    tables.build(before)
    tables._starts[:], tables._items = spacious(tables)  # so that nothing finds a bucket full
    assert tables.out_of_date(moved, after[moved]) > 0.5
    tables.update(moved, after[moved])
    assert tables.out_of_date(np.arange(N), after) == 0
    found, expected = buckets(tables), expected_buckets(tables.family.codes(after), 16)
    assert {place: sorted(items) for place, items in found.items()} == expected


def spacious(tables):
    """Return starts and items of the same buckets with room for all items in each."""
    items, starts = np.empty(tables._filled.size * N, np.int32), tables._starts.copy()
    for place, (t, b) in enumerate(np.ndindex(*tables._filled.shape)):
        starts[t, b], old = place * N, tables._starts[t, b]
        items[place * N : place * N + tables._filled[t, b]] = tables._items[
            old : old + tables._filled[t, b]
        ]
    starts[:, -1] = starts[:, -2] + N
    return starts, items


@pytest.mark.parametrize("policy", ["reservoir", "fifo"])
def test_full_buckets_stay_within_their_room(policy):
    tables = make(bucket_size=6, policy=policy)
    x = vectors()
    tables.build(x)
    for step in range(30):
        moved = np.random.default_rng(step).permutation(N)[:50]
        x[moved] = vectors(50, seed=100 + step)
        tables.update(moved, x[moved])
    codes = tables.family.codes(x)
    assert np.array_equal(tables._codes.T, codes)
    counts = np.stack([np.bincount(codes[:, t], minlength=16) for t in range(5)])
    assert np.array_equal(tables._seen, counts)
    for (t, b), items in buckets(tables).items():
        assert len(set(items)) == len(items) <= tables._starts[t, b + 1] - tables._starts[t, b]
        assert (codes[items, t] == b).all()


def test_query_returns_items_by_the_number_of_tables_that_hit():
    tables = make(bucket_size=N)
    x, queries = vectors(), vectors(9, seed=3)
    tables.build(x)
    items, n = tables.query(queries, N, [Scratch(N)])
    hits = (tables.family.codes(queries)[:, None] == tables.family.codes(x)[None]).sum(axis=2)
    for q in range(9):
        found = items[q, : n[q]]
        assert sorted(found.tolist()) == np.flatnonzero(hits[q]).tolist()
        assert (np.diff(hits[q, found]) <= 0).all()
    fewer, n_fewer = tables.query(queries, 10, [Scratch(N)])
    assert (n_fewer == np.minimum(n, 10)).all()
    assert all(np.array_equal(fewer[q, :m], items[q, :m]) for q, m in enumerate(n_fewer))


def test_queries_leave_scratch_as_it_was():
    tables, scratch = make(bucket_size=N), Scratch(N)
    tables.build(vectors())
    tables.query(vectors(9, seed=3), 4, [scratch])
    assert not scratch.hits.any()


def test_recall_against_exact_search():
    """Items near a query are found as often as the collision probability says."""
    x = vectors()
    queries = x[:200] + 1.2 * vectors(200, seed=4)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    best = (queries @ unit.T).argmax(axis=1)[:, None]
    chances = [
        1 - (1 - SimHash.collision_probability(q, x[b]) ** 6) ** 8
        for q, b in zip(queries, best[:, 0], strict=True)
    ]
    found = []
    for seed in range(10):
        tables = make(digits=6, tables=8, bucket_size=N, seed=seed)
        tables.build(x)
        found.append(recall(tables.query(queries, N, [Scratch(N)]), best))
    # Over 400 seeds the standard deviation was 0.028: of a mean of ten, 0.009.
    assert np.mean(found) == pytest.approx(np.mean(chances), abs=0.04)
    assert 0.7 < np.mean(found) < 0.9
    nothing = (np.empty((2, 3), np.int32), np.zeros(2, np.int64))
    assert recall(nothing, np.array([[0], [1]])) == 0


@pytest.mark.skipif(usable_cores() < 2, reason="needs two cores")
@pytest.mark.parametrize("policy", ["reservoir", "fifo"])
def test_threads_change_nothing(policy):
    results = []
    for threads in (1, 2):
        tables = make(bucket_size=9, policy=policy, threads=threads)
        tables.build(vectors())
        moved = np.arange(0, N, 7)
        tables.update(moved, vectors(len(moved), seed=5))
        items, n = tables.query(vectors(300, seed=6), 20, [Scratch(N) for _ in range(threads)])
        results.append(
            (buckets(tables), [row[:m].tolist() for row, m in zip(items, n, strict=True)])
        )
    assert results[0] == results[1]


def test_state_continues_the_same_way():
    first, second = (make(bucket_size=9) for _ in range(2))
    first.build(vectors())
    second.load(first.state())
    for tables in (first, second):
        tables.update(np.arange(50), vectors(50, seed=7))
        tables.build(vectors(seed=8))
    assert buckets(first) == buckets(second)


def test_refuses_state_of_other_tables():
    state = make(tables=4).state()
    with pytest.raises(CheckpointError, match="do not fit"):
        make().load(state)
    with pytest.raises(CheckpointError, match="do not fit"):
        make().load({})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"policy": "lru"}, "policy must be one of"),
        ({"bucket_size": 0}, "bucket_size at least 1"),
        ({"n": 0}, "n_items must be from 1"),
    ],
)
def test_refuses_bad_settings(settings, message):
    with pytest.raises(ArgumentError, match=message):
        make(**settings)


def test_refuses_another_number_of_vectors():
    with pytest.raises(ArgumentError, match="expected 600 vectors, got 599"):
        make().build(vectors(N - 1))
