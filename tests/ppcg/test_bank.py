"""The bank of levels: what it keeps, how resets draw from it, and what it refuses."""

import numpy as np
import pytest

from sidle.errors import ArgumentError, DataError, ShapeError
from sidle.ppcg import generators, playable
from sidle.ppcg.bank import LevelBank
from sidle.ppcg.engine import Engine

STAGE = playable.find("zelda")
GAME = STAGE.game
HEIGHT, WIDTH = STAGE.shape
SMALL = GAME.level(["wwwww", "wA+gw", "wwwww"])
# Quantile of the chi-square distribution that a fair draw exceeds once in 100,000 times, by the
# number of categories less one.
UNLIKELY = {2: 23.0, 3: 25.9}


def levels_of(n, difficulty=0.5):
    return generators.find("zelda").generate_many(np.full(n, difficulty), np.arange(n))


def bank_of(levels=(), **given):
    bank = LevelBank(GAME, height=HEIGHT, width=WIDTH)
    if len(levels):
        bank.add(levels, **given)
    return bank


def drawn(bank, n, prepare=lambda engine: None, seed=1):
    """Return which levels ``n`` slots begin with."""
    engine = Engine(GAME, n, height=HEIGHT, width=WIDTH, seed=seed, bank=bank, observe=False)
    prepare(engine)
    engine.reset()
    return engine.levels.copy()


def chi_square(found, shares):
    counts, expected = np.bincount(found, minlength=len(shares)), np.array(shares) * len(found)
    assert not counts[expected == 0].any()
    counts, expected = counts[expected > 0], expected[expected > 0]
    return float(((counts - expected) ** 2 / expected).sum())


def test_levels_come_back_as_they_were_given():
    bank = bank_of()
    assert len(bank) == 0
    grids = levels_of(100)  # more than there is room for at first
    assert bank.add(grids, difficulties=0.5).tolist() == list(range(100))
    assert bank.add([SMALL], ids=[77]).tolist() == [100]
    assert np.array_equal(bank.characters[:100], grids)
    assert bank.level(100) == SMALL
    assert bank.sizes[99].tolist() == [HEIGHT, WIDTH]
    assert bank.sizes[100].tolist() == [3, 5]
    assert not bank.characters[100, 3:].any()
    assert not bank.characters[100, :, 5:].any()
    assert bank.ids.tolist() == [*range(100), 77]
    assert bank.difficulties[:100].tolist() == [0.5] * 100
    assert np.isnan(bank.difficulties[100])


def test_bins_hold_the_nearest_hundredth():
    difficulties = [0.0, 0.004, 0.006, 0.294, 0.996, 1.0]
    bank = bank_of(levels_of(6), difficulties=difficulties)
    assert bank.bins().tolist() == [0, 0, 1, 29, 100, 100]
    bank.replace([1], [SMALL])
    assert bank.bins()[1] == -1


def test_room_is_that_of_the_fullest_level():
    bank = bank_of([SMALL])
    kinds = {name: GAME.types.index(name) for name in ("slow", "normal", "quick")}
    assert [bank.rooms[kind] for kind in kinds.values()] == [0, 0, 0]
    level = GAME.level(["wwwwww", "wA+gww", "w1122w", "wwwwww"])
    placed = {name: level.rows[2].count(c) for c in "123" for name in GAME.mapping[c]}
    bank.add([level])
    assert {name: bank.rooms[kind] for name, kind in kinds.items()} == {
        name: placed.get(name, 0) for name in kinds
    }


def test_resets_draw_evenly_or_by_weights():
    bank = bank_of(levels_of(4), difficulties=[0.1, 0.2, 0.2, 0.2])
    n = 8000
    assert chi_square(drawn(bank, n), [0.25] * 4) < UNLIKELY[3]
    weights = [3.0, 0.0, 2.0, 1.0]
    found = drawn(bank, n, lambda engine: engine.weigh_levels(weights))
    assert chi_square(found, np.array(weights) / 6) < UNLIKELY[2]
    bins = np.zeros(101)
    bins[[10, 20]] = 0.4, 1.2
    found = drawn(bank, n, lambda engine: engine.weigh_bins(bins))
    assert chi_square(found, [0.25, 0.25, 0.25, 0.25]) < UNLIKELY[3]
    bins[10] = 0.0
    found = drawn(bank, n, lambda engine: engine.weigh_bins(bins))
    assert chi_square(found, [0, 1 / 3, 1 / 3, 1 / 3]) < UNLIKELY[2]
    assert chi_square(found, [0, 0.4, 0.3, 0.3]) > UNLIKELY[2]  # the test has the power


def test_a_level_asked_for_is_played_once_and_uses_are_counted():
    bank = bank_of(levels_of(5))
    engine = Engine(GAME, 3, height=HEIGHT, width=WIDTH, seed=0, bank=bank, most_ticks=1)
    engine.weigh_levels([0, 0, 0, 0, 1])
    engine.reset(indices=[2, 2, 3])
    assert engine.levels.tolist() == [2, 2, 3]
    assert bank.uses.tolist() == [0, 0, 2, 1, 0]
    engine.next_levels[1] = 0
    for _ in range(2):
        engine.step([0, 0, 0])
    assert engine.dones.all()
    assert engine.levels.tolist() == [4, 0, 4]
    assert engine.next_levels.tolist() == [-1] * 3
    assert bank.uses.tolist() == [1, 0, 2, 1, 2]
    log = engine.episodes()
    assert log["level"].tolist() == log["id"].tolist() == [2, 2, 3]
    assert log["length"].tolist() == [2, 2, 2]


def test_replaced_levels_are_played_from_the_next_episode_on():
    bank = bank_of(levels_of(1), difficulties=[0.5])
    engine = Engine(GAME, 2, height=HEIGHT, width=WIDTH, seed=0, bank=bank, most_ticks=2)
    engine.reset()
    version, before = bank.version, [engine.state(slot)["sprites"] for slot in range(2)]
    bank.replace([0], [SMALL], ids=[9])
    assert bank.version > version
    assert [engine.state(slot)["sprites"] for slot in range(2)] == before
    assert bank.uses.tolist() == [0]
    for _ in range(3):
        engine.step([0, 0])
    assert engine.dones.all()
    # The level below is filled to the bank's size with nothing.
    walls = GAME.channels.index("wall")
    expected = np.zeros((HEIGHT, WIDTH), np.int8)
    expected[:3, :5] = SMALL.characters == ord("w")
    assert np.array_equal(engine.planes[0, walls], expected)
    assert bank.uses.tolist() == [2]


def test_what_is_refused_changes_nothing():
    bank = bank_of(levels_of(3), difficulties=0.25)
    before = (len(bank), bank.version, bank.characters.copy(), bank.ids.copy())
    unknown = levels_of(2)
    unknown[1, 4, 6] = ord("?")
    crowded = levels_of(1)
    crowded[0, 1, 1:3] = ord("A")
    for levels, given, error, words in (
        (unknown, {}, DataError, r"'\?' in row 5, column 7 has no meaning"),
        (crowded, {}, DataError, "avatars in it"),
        (np.zeros((1, 10, 13), np.uint8), {}, ShapeError, "10 x 13 cells does not fit into 9 x 13"),
        (np.zeros((1, 9, 13), np.int64), {}, ShapeError, "must be uint8 of shape"),
        (levels_of(2), {"difficulties": [0.5, 1.5]}, ArgumentError, r"must lie in \[0, 1\]"),
        (levels_of(2), {"difficulties": [0.5, np.nan]}, ArgumentError, r"must lie in \[0, 1\]"),
        (levels_of(2), {"ids": [1]}, ShapeError, "2 levels need as many ids"),
    ):
        with pytest.raises(error, match=words):
            bank.add(levels, **given)
    with pytest.raises(ShapeError, match="3 levels need as many indices"):
        bank.replace([0], levels_of(3))
    with pytest.raises(ArgumentError, match="from 0 to 2, got -1 to 3"):
        bank.replace([-1, 3], levels_of(2))
    assert (len(bank), bank.version) == before[:2]
    assert np.array_equal(bank.characters, before[2])
    assert np.array_equal(bank.ids, before[3])


def test_weights_that_do_not_fit_are_refused():
    bank = bank_of(levels_of(3), difficulties=0.25)
    engine = Engine(GAME, 2, height=HEIGHT, width=WIDTH, seed=0, bank=bank)
    for weights, error, words in (
        ([1.0, 1.0], ShapeError, "expected 3 weights"),
        ([1.0, -1.0, 1.0], ArgumentError, "finite, at least 0"),
        ([1.0, np.nan, 1.0], ArgumentError, "finite, at least 0"),
        ([0.0, 0.0, 0.0], ArgumentError, "not all 0"),
    ):
        with pytest.raises(error, match=words):
            engine.weigh_levels(weights)
    with pytest.raises(ShapeError, match="expected 101 weights"):
        engine.weigh_bins([1.0])
    with pytest.raises(ArgumentError, match=r"bin 0 .* has a weight and no level"):
        engine.weigh_bins(np.ones(101))
    with pytest.raises(ArgumentError, match="has no levels"):
        Engine(GAME, 2, height=HEIGHT, width=WIDTH, seed=0, bank=bank_of()).reset()


@pytest.mark.parametrize("size", [(0, 5), (5, 256)])
def test_sizes_beyond_a_level_are_refused(size):
    with pytest.raises(ArgumentError, match="from 1 to 255"):
        LevelBank(GAME, height=size[0], width=size[1])
