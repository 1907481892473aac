"""Curricula against processes whose probability of winning is known at every difficulty."""

import math

import numpy as np
import pytest
from scipy import stats

from sidle import seeding
from sidle.errors import ArgumentError
from sidle.ppcg import curriculum, playable
from sidle.ppcg.level_store import LevelStore

BINS = np.arange(101) / 100


def play(chosen, n_episodes, win_probability, rng, lengths=(1, 1), n_slots=1):
    """Play episodes side by side on tasks that are drawn as they begin; yield the difficulty.

    A loss takes lengths[0] ticks, a win lengths[1]. It is yielded after each tick with an end.
    """
    chosen.begin(n_slots)
    left = np.zeros(n_slots, int)
    under_way = [None] * n_slots
    clock = ended = 0
    while ended < n_episodes:
        any_ended = False
        for slot in np.flatnonzero(left == 0).tolist():
            if under_way[slot] is not None:
                task, won, length = under_way[slot]
                chosen.update_on_episode(float(won), length, task, float(won), slot, clock=clock)
                ended, any_ended = ended + 1, True
            (task,) = chosen.sample(rng)
            won = rng.random() < win_probability(task)
            left[slot] = lengths[won]
            under_way[slot] = task, won, lengths[won]
        left -= 1
        clock += 1
        if any_ended:
            yield chosen.difficulty


def test_one_player_at_a_time_ends_up_at_even_odds_as_ehrenfests_urn():
    """Up with probability 1 - d, down with d: Ehrenfest's urn of 100 balls, in the long run
    binomial with n = 100 and p = 1/2."""
    rng = np.random.default_rng(0)
    walk = list(play(curriculum.PPCG(), 20_000, lambda d: 1 - d, rng))
    assert walk[:40] != [0.01] * 40
    settled = np.array(walk[1000:])
    # Independent after some 50 steps: standard error 0.05 / sqrt(19000 / 100) = 0.0036.
    assert abs(settled.mean() - 0.5) < 0.015
    # Of a standard deviation, 1 / sqrt(2 * 190) = 5 %.
    assert abs(settled.std() / 0.05 - 1) < 0.2


@pytest.mark.parametrize("even", [0.2, 0.7])
def test_settles_where_half_of_the_episodes_are_won(even):
    """Whatever the curve of winning, with 64 levels at once, losses short and wins long."""
    found = {}
    for order in ("begun", "ended"):
        chosen = curriculum.PPCG(order=order, start=even)
        curve = lambda d: 1 / (1 + math.exp((d - even) / 0.05))  # noqa: E731
        rng = np.random.default_rng(1)
        walk = list(play(chosen, 15_000, curve, rng, lengths=(5, 30), n_slots=64))
        found[order] = np.array(walk[len(walk) // 4 :])
    # Some 100 independent places, 0.04 around the aim: four standard errors are 0.016.
    assert abs(found["begun"].mean() - even) < 0.016
    # By ending, 64 results from the difficulty before carry it past its aim and back.
    assert found["ended"].std() > 3 * found["begun"].std()


def test_fast_losses_hold_it_down_by_ending_and_do_not_by_beginning():
    """One episode in five won at any difficulty, losses of 5 ticks and wins of 100.

    After K results the walk is 0.6 K alpha lower on average, by Wald's identity."""
    k, n_walks, alpha, probability = 250, 10, 0.001, 0.2
    surplus = {"begun": [], "ended": []}
    for order, found in surplus.items():
        for seed in range(n_walks):
            chosen = curriculum.PPCG(alpha, start=0.5, order=order)
            rng = np.random.default_rng(seed)
            for place in play(chosen, 10**9, lambda d: probability, rng, (5, 100), n_slots=64):
                if chosen.n_results >= k:
                    found.append(place - 0.5 - alpha * chosen.n_results * (2 * probability - 1))
                    break
    # Standard deviation of a walk of some 260 steps of -1 or 1, in units of difficulty.
    spread = alpha * math.sqrt(260 * 4 * probability * (1 - probability))
    assert abs(np.mean(surplus["begun"])) < 4 * spread / math.sqrt(n_walks)
    # By ending, nearly all of them are losses: 2 p K alpha lower than it should be.
    assert np.mean(surplus["ended"]) < -0.8 * 2 * probability * k * alpha


def test_a_hundred_wins_lead_to_exactly_one_and_no_further():
    chosen = curriculum.PPCG()
    seen = []
    for _ in range(103):
        chosen.update_on_episode(1.0, 1, chosen.difficulty, 1.0)
        seen.append(chosen.present)
    assert seen == [round(0.01 * i, 2) for i in range(1, 101)] + [1.0] * 3
    for _ in range(105):
        chosen.update_on_episode(0.0, 1, chosen.difficulty, 0.99)  # nearly is not won
    assert chosen.present == 0.0
    assert chosen.n_results == 208


def test_variants_draw_exactly_d_or_evenly_up_to_d():
    exact = curriculum.PPCG(start=0.37)
    assert set(exact.sample(np.random.default_rng(0), 50)) == {0.37}
    assert exact.difficulty == pytest.approx(0.37)
    uniform = curriculum.PPCG(start=0.4, variant="uniform")
    drawn = uniform.sample(np.random.default_rng(0), 20_000)
    expected = stats.uniform(0, 0.4)
    # Bins of 0.01 move the distribution function by at most half of 0.01 / 0.4 at either side.
    distance = stats.kstest(drawn, expected.cdf).statistic
    assert distance < 0.0125 + 1.63 / math.sqrt(20_000) * 1.5
    assert max(drawn) == 0.4
    assert uniform.difficulty == pytest.approx(0.2, abs=1e-12)


@pytest.mark.parametrize("difficulty", [0.0, 0.005, 0.29, 0.333, 0.999, 1.0])
def test_a_fixed_difficulty_is_the_mean_of_its_bins(difficulty):
    weights = curriculum.Fixed(difficulty).bin_weights()
    assert weights.sum() == pytest.approx(1)
    assert weights @ BINS == pytest.approx(difficulty, abs=1e-12)
    filled = np.flatnonzero(weights)
    assert len(filled) == (1 if round(100 * difficulty, 6).is_integer() else 2)
    assert np.abs(BINS[filled] - difficulty).max() < 0.01


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (0.2, 0.4), (0.111, 0.114), (0.5, 0.5)])
def test_uniform_bins_hold_what_rounds_to_them(low, high):
    weights = curriculum.Uniform(low, high).bin_weights()
    drawn = np.random.default_rng(0).uniform(low, high, 200_000)
    expected = np.bincount(np.rint(100 * drawn).astype(int), minlength=101) / 200_000
    # Standard error of a share at most sqrt(0.25 / 200000) = 0.0011.
    assert np.abs(weights - expected).max() < 0.005
    assert weights.sum() == pytest.approx(1)


def test_level_sets_draw_by_weight_and_put_their_levels_into_the_store_once():
    zelda = playable.find("zelda")
    chosen = curriculum.LevelSet(zelda.levels, weights=[1, 0, 0, 3, 0])
    store = LevelStore(zelda, seed=0)
    assert chosen.arrange(store).tolist() == [0.25, 0, 0, 0.75, 0]
    chosen.arrange(store)
    assert len(store.bank) == 5
    drawn = chosen.sample(np.random.default_rng(0), 4000)
    assert set(drawn) == {0, 3}
    assert abs(np.mean(np.array(drawn) == 3) - 0.75) < 4 * math.sqrt(0.1875 / 4000)
    assert math.isnan(chosen.difficulty)


@pytest.mark.parametrize("name", ["Fixed", "Uniform", "PPCG"])
def test_the_engine_draws_what_the_curriculum_says(name):
    """The weights of levels, added up by bin, are the weights of bins."""
    chosen = {
        "Fixed": lambda: curriculum.Fixed(0.123),
        "Uniform": lambda: curriculum.Uniform(0.3, 0.62),
        "PPCG": lambda: curriculum.PPCG(start=0.25, variant="uniform"),
    }[name]()
    store = LevelStore(playable.find("frogs"), seed=0, levels_per_bin=3)
    weights = chosen.arrange(store)
    by_bin = np.bincount(store.bank.bins(), weights, minlength=101)
    assert np.allclose(by_bin, chosen.bin_weights(), atol=1e-12)
    assert by_bin @ BINS == pytest.approx(chosen.difficulty, abs=1e-12)


def test_ppcg_tells_that_weights_changed():
    chosen = curriculum.PPCG(order="ended")
    versions = [chosen.version]
    for progress in (0.0, 1.0, 1.0, 0.0, 0.0):
        chosen.update_on_episode(0.0, 1, 0.0, progress)
        versions.append(chosen.version)
    # A loss at 0 changes nothing.
    assert np.diff(versions).tolist() == [0, 1, 1, 1, 1]


def test_a_kept_state_goes_on():
    first, second = curriculum.PPCG(0.02), curriculum.PPCG(0.02)
    rng = seeding.numpy_generator(1)
    for _ in play(first, 300, lambda d: 1 - d, rng, (3, 20), n_slots=8):
        pass
    second.load_state_dict(first.state_dict())
    assert second.present == first.present > 0
    for clock in range(10_000, 10_400, 7):
        for slot in range(8):
            won = float(rng.random() < 0.5)
            for one in (first, second):
                one.update_on_episode(won, 7, 0.0, won, slot, clock=clock)
        assert second.present == first.present
        assert second.version == first.version
        assert np.array_equal(second.bin_weights(), first.bin_weights())


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: curriculum.PPCG(0), r"alpha must lie in \(0, 1\]"),
        (lambda: curriculum.PPCG(start=1.1), r"difficulty must lie in \[0, 1\]"),
        (lambda: curriculum.PPCG(start=math.nan), r"difficulty must lie in \[0, 1\]"),
        (lambda: curriculum.PPCG(variant="about"), "'exact' or 'uniform'"),
        (lambda: curriculum.PPCG(order="random"), "'begun' or 'ended'"),
        (lambda: curriculum.Fixed(-0.01), r"difficulty must lie in \[0, 1\]"),
        (lambda: curriculum.Uniform(0.5, 0.4), "high must be at least low"),
        (lambda: curriculum.LevelSet([]), "at least one level"),
        (lambda: curriculum.LevelSet([None], weights=[0]), "not all 0"),
        (lambda: curriculum.LevelSet([None], weights=[1, 2]), "expected 1 finite weights"),
    ],
)
def test_bad_arguments_are_named(make, words):
    with pytest.raises(ArgumentError, match=words):
        make()
