"""Prioritised level replay against its formula worked out by hand, and what its buffer keeps."""

import math

import numpy as np
import pytest

from sidle.errors import ArgumentError
from sidle.ppcg import playable
from sidle.ppcg.level_replay import PrioritizedReplay
from sidle.ppcg.level_store import LevelStore

ZELDA = playable.find("zelda")


def hear(replay, level, score, n_steps=1):
    """Tell of one episode on ``level``, in a single slot, whose mean advantage is ``score``."""
    ended = np.zeros((n_steps, 1), bool)
    ended[-1] = True
    levels = np.full((n_steps, 1), level)
    replay.update_on_rollout(levels, ended, np.full((n_steps, 1), score, np.float32))


def test_probabilities_are_those_of_the_formula():
    """Four levels; three scored 0.5, 2 and 1 in this order; temperature 0.5, staleness 0.25.

    Ranks 3, 1, 2: rank^-2 is 1/9, 1, 1/4, in all 49/36: shares 4/49, 36/49, 9/49.
    Episodes 1, 2, 3 of 3: waited 2, 1, 0, shares 2/3, 1/3, 0.
    Replay 3/4 of the time, for three of four are scored; else the fourth.
    """
    replay = PrioritizedReplay(ZELDA.levels[:4], temperature=0.5, staleness=0.25)
    store = LevelStore(ZELDA, seed=0)
    assert replay.arrange(store).tolist() == [0.25] * 4
    for level, score in ((0, 0.5), (1, -2.0), (2, 1.0)):  # sizes count, not signs
        hear(replay, level, score)
    expected = 0.75 * np.array([4 / 49, 36 / 49, 9 / 49]) + 0.25 * np.array([2 / 3, 1 / 3, 0])
    assert np.allclose(replay.replay_distribution(), [*expected, 0], atol=1e-12)
    assert np.allclose(replay.arrange(store), [*(0.75 * expected), 0.25], atol=1e-12)
    hear(replay, 3, 0.1)
    hear(replay, 0, 9.0)
    # Ranks 1, 2, 3, 4 (shares of 1 + 1/4 + 1/9 + 1/16 = 205/144); waited 0, 3, 2, 1 of 6.
    ranks = np.array([144, 36, 16, 9]) / 205
    expected = 0.75 * ranks + 0.25 * np.array([0, 3, 2, 1]) / 6
    assert np.allclose(replay.arrange(store), expected, atol=1e-12)
    drawn = replay.sample(np.random.default_rng(0), 20_000)
    shares = np.bincount(drawn, minlength=4) / 20_000
    assert np.abs(shares - expected).max() < 4 * math.sqrt(0.25 / 20_000)


def test_extreme_temperatures_are_greedy_and_even():
    scores = [0.3, 0.9, 0.1, 0.5]
    for temperature, expected in ((1e-3, [0, 1, 0, 0]), (1e9, [0.25] * 4)):
        replay = PrioritizedReplay(ZELDA.levels[:4], temperature=temperature, staleness=0.0)
        for level, score in enumerate(scores):
            hear(replay, level, score)
        assert np.allclose(replay.replay_distribution(), expected, atol=1e-6)


def test_a_score_is_the_mean_over_the_episode_across_rollouts():
    """Two slots; one episode spans two rollouts, another ends within the first."""
    replay = PrioritizedReplay(ZELDA.levels, staleness=0.0, temperature=1.0)
    levels = np.array([[0, 1], [0, 2], [0, 2]])
    ended = np.array([[False, True], [False, False], [False, False]])
    advantages = np.array([[1, 7], [-2, 1], [3, 1]], np.float32)
    replay.update_on_rollout(levels, ended, advantages)
    assert replay.replay_distribution().tolist() == [0, 1, 0, 0, 0]
    levels, ended = np.array([[0, 2], [3, 2]]), np.array([[True, False], [False, True]])
    replay.update_on_rollout(levels, ended, np.array([[10, 1], [50, 0]], np.float32))
    # Level 0: (1 + 2 + 3 + 10) / 4 = 4; level 1: 7; level 2: (1 + 1 + 1 + 0) / 4; 3 is under way.
    state = replay.state_dict()
    assert state["scores"][:3].tolist() == [4.0, 7.0, 0.75]
    assert np.isnan(state["scores"][3:]).all()
    weights = np.array([1 / 2, 1, 1 / 3])
    assert np.allclose(replay.replay_distribution()[:3], weights / weights.sum())


def test_slots_that_begin_anew_forget_what_was_under_way():
    replay = PrioritizedReplay(ZELDA.levels)
    replay.begin(1)
    replay.update_on_rollout(np.array([[0]]), np.array([[False]]), np.array([[100.0]], np.float32))
    replay.begin(1, [0])
    hear(replay, 0, 2.0)
    assert replay.state_dict()["scores"][0] == 2.0


def test_levels_that_are_gone_are_not_scored():
    replay = PrioritizedReplay(ZELDA.levels)
    hear(replay, -1, 3.0)
    assert np.isnan(replay.state_dict()["scores"]).all()


def test_a_buffer_keeps_the_best_of_what_was_generated():
    capacity = 6
    replay = PrioritizedReplay(capacity=capacity, staleness=0.0, low=0.2, high=0.4)
    store = LevelStore(ZELDA, seed=0)
    weights = replay.arrange(store)
    size = capacity + capacity // 2
    assert len(store.bank) == size
    assert np.allclose(weights, 1 / size)  # only new ones
    assert ((store.bank.difficulties >= 0.2) & (store.bank.difficulties <= 0.4)).all()
    assert replay.difficulty == pytest.approx(store.bank.difficulties.mean())
    value = dict(zip(store.bank.ids.tolist(), np.linspace(0.1, 1, size), strict=True))
    rng = np.random.default_rng(0)
    best = {}
    for episode in range(60):
        level = int(rng.choice(size, p=weights))
        name = int(store.bank.ids[level])
        score = value.setdefault(name, float(rng.random()))
        store.bank.uses[level] += 1
        best[name] = score
        hear(replay, level, score)
        n_scored = int((~np.isnan(replay.state_dict()["scores"])).sum())
        weights = replay.arrange(store)
        assert weights.sum() == pytest.approx(1)
        kept = ~np.isnan(replay.state_dict()["scores"])
        assert kept.sum() == min(n_scored, capacity)
        fresh = weights[~kept].sum()
        # Replay begins with half a buffer, and then takes half of the draws.
        assert fresh == pytest.approx(0.5 if kept.sum() >= capacity / 2 else 1.0)
        if episode > 50:
            ids = set(store.bank.ids[kept].tolist())
            assert ids == set(sorted(best, key=best.get)[-capacity:])
    assert len(best) > 2 * capacity
    assert store.statistics["generated"] == size + len(best) - capacity


def test_new_levels_are_not_drawn_a_second_time_before_they_are_scored():
    replay = PrioritizedReplay(capacity=4)
    store = LevelStore(ZELDA, seed=0)
    replay.arrange(store)
    store.bank.uses[2] = 1  # under way
    replay.version += 1
    weights = replay.arrange(store)
    assert weights[2] == 0
    assert np.allclose(np.delete(weights, 2), 1 / 5)
    store.bank.uses[:] = 1
    assert np.allclose(replay.arrange(store), 1 / 6)  # nothing else is left


def test_scores_are_of_the_store_they_were_heard_of():
    replay = PrioritizedReplay(capacity=4)
    replay.arrange(LevelStore(ZELDA, seed=0))
    for level in range(4):
        hear(replay, level, 1.0)
    assert np.allclose(replay.arrange(LevelStore(ZELDA, seed=1)), 1 / 6)


def test_a_kept_state_goes_on():
    first, second = (PrioritizedReplay(ZELDA.levels) for _ in range(2))
    store = LevelStore(ZELDA, seed=0)
    first.arrange(store)
    rng = np.random.default_rng(0)
    tell = lambda: (rng.integers(5, size=(7, 3)), rng.random((7, 3)) < 0.3, rng.random((7, 3)))  # noqa: E731
    for _ in range(4):
        first.update_on_rollout(*tell())
    first.arrange(store)
    second.load_state_dict(first.state_dict())
    for _ in range(4):
        told = tell()
        for replay in (first, second):
            replay.update_on_rollout(*told)
        assert np.array_equal(first.arrange(store), second.arrange(store))
        assert first.version == second.version
    assert np.isnan(first.difficulty)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"levels": []}, "at least one level"),
        ({"capacity": 1}, "capacity must be at least 2"),
        ({"replay_probability": 1.0}, r"in \(0, 1\)"),
        ({"temperature": 0.0}, "temperature above 0"),
        ({"staleness": 1.5}, r"staleness must lie in \[0, 1\]"),
        ({"low": 0.6, "high": 0.5}, "low and high too"),
    ],
)
def test_bad_arguments_are_named(arguments, words):
    with pytest.raises(ArgumentError, match=words):
        PrioritizedReplay(**arguments)
