"""Levels are where and what they are said to be, are renewed when they were played, and counted."""

import numpy as np
import pytest

from sidle import checkpoint
from sidle.errors import ArgumentError
from sidle.ppcg import playable
from sidle.ppcg.level_store import LevelStore

FROGS = playable.find("frogs")


def at(*bins):
    weights = np.zeros(101)
    weights[list(bins)] = 1 / len(bins)
    return weights


def test_bins_are_filled_when_they_may_come_next_and_not_before():
    store = LevelStore(FROGS, seed=0, levels_per_bin=5)
    weights = store.weigh_bins(at(20))
    assert np.allclose(weights, 0.2)
    assert (store.bank.difficulties == 0.2).all()
    weights = store.weigh_bins(at(20, 90))
    assert store.bank.difficulties.tolist() == [0.2] * 5 + [0.9] * 5
    assert np.allclose(weights, 0.1)
    assert store.weigh_bins(at(90)).tolist() == [0.0] * 5 + [0.2] * 5
    assert len(store.bank) == 10


def test_the_number_of_a_level_is_the_seed_that_makes_it_again():
    store = LevelStore(FROGS, seed=3, levels_per_bin=4)
    store.weigh_bins(at(0, 37, 100))
    for place in range(len(store.bank)):
        again = FROGS.generator.generate(
            float(store.bank.difficulties[place]), int(store.bank.ids[place])
        )
        assert np.array_equal(store.bank.characters[place], again)
    assert len(set(store.bank.ids.tolist())) == 12


def test_levels_that_were_played_are_replaced_once_enough_episodes_began():
    store = LevelStore(FROGS, seed=0, levels_per_bin=6, renew_after=4, most_uses=2)
    store.weigh_bins(at(10, 60))
    before = store.bank.ids.copy()
    store.bank.uses[[1, 7]] = 2
    store.bank.uses[3] = 1
    store.begun = 3
    store.renew_if_due()
    assert np.array_equal(store.bank.ids, before)
    store.begun = 4
    store.renew_if_due()
    assert np.flatnonzero(store.bank.ids != before).tolist() == [1, 7]
    assert store.bank.difficulties.tolist() == [0.1] * 6 + [0.6] * 6  # others of their bins
    assert store.bank.uses.tolist() == [0, 0, 0, 1] + [0] * 8
    assert store.begun == 0
    statistics = store.statistics
    assert statistics.pop("seconds") > 0
    assert statistics == {
        "levels": 12, "generated": 14, "renewals": 1, "played": 3, "begun": 5, "reuse": 5 / 3
    }  # fmt: skip


def test_given_levels_are_never_renewed():
    store = LevelStore(FROGS, seed=0, renew_after=1)
    places = store.add(FROGS.levels)
    assert places.tolist() == [0, 1, 2, 3, 4]
    store.weigh_bins(at(50))
    weights = store.weigh_bins(at(50))
    assert (weights[:5] == 0).all()  # they have no difficulty
    assert weights.sum() == pytest.approx(1)
    for place, level in enumerate(FROGS.levels):
        assert store.bank.level(place).rows == level.rows


def test_the_same_seed_makes_the_same_levels():
    ids = []
    for seed in (1, 1, 2):
        store = LevelStore(FROGS, seed=seed)
        store.weigh_bins(at(5))
        ids.append(store.bank.ids.tolist())
    assert ids[0] == ids[1]
    assert not set(ids[0]) & set(ids[2])


def test_a_store_kept_in_a_file_goes_on(tmp_path):
    first = LevelStore(FROGS, seed=0, levels_per_bin=3, renew_after=2)
    first.add(FROGS.levels[:2])
    first.weigh_bins(at(10, 20))
    first.add(FROGS.levels[2:3])  # stretches with and without a difficulty in turn
    first.bank.uses[[0, 4]] = 3
    first.begun = 1
    checkpoint.save(tmp_path / "store", {"store": first.state_dict()})
    second = LevelStore(FROGS, seed=9, levels_per_bin=3, renew_after=2)
    second.load_state_dict(checkpoint.load(tmp_path / "store")["store"])
    for step in range(3):
        for name in ("characters", "sizes", "difficulties", "ids", "uses"):
            one, other = getattr(first.bank, name), getattr(second.bank, name)
            assert np.array_equal(one, other, equal_nan=name == "difficulties")
        for store in (first, second):
            store.begun += 1
            store.bank.uses[3] += 1
            # Given levels are in no bin: here only generated ones may be worn.
            store.bank.uses[:2] = 0
            store.renew_if_due()
            store.weigh_bins(at(10, 30 + step))
        assert first.statistics["generated"] == second.statistics["generated"]
        assert first.begun == second.begun


@pytest.mark.parametrize("name", ["levels_per_bin", "renew_after", "most_uses"])
def test_numbers_below_one_are_refused(name):
    with pytest.raises(ArgumentError, match="at least 1"):
        LevelStore(FROGS, seed=0, **{name: 0})
