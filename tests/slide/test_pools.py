"""Pools hold labels, what was found, and a uniform tail, each output once."""

import math

import numpy as np

from sidle.slide.pools import PoolSampler

L = 50


def test_labels_come_first_and_nothing_comes_twice():
    labels = np.array([7, 3, 7, 49])
    pool = PoolSampler(L, 0).draw(labels, 10, 1)
    assert pool.outputs[:3].tolist() == [7, 3, 49]
    assert len(set(pool.outputs.tolist())) == len(pool) == 13
    assert pool.outputs[pool.label_places].tolist() == labels.tolist()
    assert (pool.n_labels, pool.n_found, pool.n_tail) == (3, 0, 10)
    np.testing.assert_allclose(pool.log_weight, [0] * 3 + [math.log(47 / 10)] * 10, rtol=1e-6)


def test_the_best_of_every_row_are_taken_first():
    found = np.array([[8, 5, 1], [6, 8, 2], [9, 5, 0]], np.int32), np.array([3, 3, 1])
    pool = PoolSampler(L, 0).draw(np.array([8]), 6, 1, found, most_found=4)
    assert pool.outputs[:5].tolist() == [8, 6, 9, 5, 1]
    assert (pool.n_labels, pool.n_found, pool.n_tail) == (1, 4, 2)


def test_every_other_output_is_equally_likely():
    sampler, counts = PoolSampler(L, 0), np.zeros(L)
    draws = 4000
    for step in range(draws):
        counts[sampler.draw(np.array([4]), 10, step).outputs] += 1
    assert counts[4] == draws
    rest = np.delete(counts, 4) / draws
    # Each is binomial with p = 10 / 49; five standard deviations leave 3e-5 for all 49 together.
    assert np.abs(rest - 10 / 49).max() < 5 * math.sqrt(10 / 49 * 39 / 49 / draws)


def test_few_outputs_left_are_all_taken():
    pool = PoolSampler(L, 0).draw(np.array([4]), 30, 1)
    assert sorted(pool.outputs.tolist()) == list(range(L))
    assert not pool.log_weight.any()


def test_the_tail_depends_on_seed_and_step_alone():
    def tail(seed, step):
        sampler = PoolSampler(1000, seed)
        sampler.draw(np.array([1, 2]), 5, 99)
        return sampler.draw(np.array([4]), 10, step).outputs.tolist()

    assert tail(0, 1) == tail(0, 1)
    assert tail(0, 1) != tail(0, 2) != tail(1, 2)
