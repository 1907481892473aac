"""Results in the order in which episodes began, whatever order they end in."""

import math

import numpy as np
import pytest

from sidle.errors import ArgumentError
from sidle.ppcg.episode_order import EpisodeOrder

ALL = 10_000  # more than there are


def played(n_slots, n_steps, lengths, rng, win_probability=0.5):
    """Yield (clock, slot, length, result) of slots side by side that begin anew at once.

    `lengths` are those of a loss and of a win.
    """
    left, length, won = (np.zeros(n_slots, int) for _ in range(3))
    for clock in range(n_steps):
        for slot in np.flatnonzero(left == 0).tolist():
            if clock:
                yield clock, slot, int(length[slot]), bool(won[slot])
            won[slot] = rng.random() < win_probability
            left[slot] = length[slot] = lengths[won[slot]]
        left -= 1


def test_results_come_in_the_order_of_beginning():
    rng = np.random.default_rng(0)
    order = EpisodeOrder(longest_wait=100, at_once=ALL)
    order.begin(5)
    ended, given = [], []
    for clock in range(1, 500):
        for slot in range(5):
            if rng.random() < 0.1:
                began = max([c for c, s, _ in ended if s == slot], default=0)
                # The result is a name: when it began, and where.
                ended.append((clock, slot, (began, slot)))
                given += order.end(slot, clock - began, (began, slot), clock=clock)
    names = [name for _, _, name in ended]
    assert given == sorted(names)[: len(given)]
    assert names != sorted(names)
    assert len(given) > len(names) - 30  # those that wait for what is under way


@pytest.mark.parametrize("at_once", [1, 12, ALL])
def test_the_share_of_wins_is_that_of_the_first_to_begin(at_once):
    """64 slots, losses of 5 ticks, wins of 100, one in five won: by ending, all wins come late."""
    first, probability = 250, 0.2
    order = EpisodeOrder(at_once=at_once)
    order.begin(64)
    by_end, by_beginning = [], []
    rng = np.random.default_rng(3)
    for clock, slot, length, won in played(64, 8000, (5, 100), rng, probability):
        by_end.append(won)
        by_beginning += order.end(slot, length, won, clock=clock)
        if len(by_beginning) >= first:
            break
    # Before its first win, a slot loses four times on average: some 64 times 4 losses in all.
    assert np.mean(by_end[:first]) < 0.02
    # Four standard errors of the share of wins.
    allowed = 4 * math.sqrt(probability * (1 - probability) / first)
    assert abs(np.mean(by_beginning[:first]) - probability) < allowed


def test_no_more_count_at_a_time_than_asked():
    """What counts is settled at the beginning: a plain account of who is under way."""
    at_once = 5
    order = EpisodeOrder(longest_wait=ALL, at_once=at_once)
    order.begin(9)
    counts = [slot < at_once for slot in range(9)]
    began = [0] * 9
    open_ones = {(0, slot) for slot in range(at_once)}  # under way or waiting
    results, given, expected = {}, [], []
    for clock, slot, length, won in played(9, 600, (2, 11), np.random.default_rng(0)):
        given += order.end(slot, length, won, clock=clock)
        if counts[slot]:
            results[began[slot], slot] = won
        while open_ones and min(open_ones) in results:
            expected.append(results[min(open_ones)])
            open_ones.remove(min(open_ones))
        began[slot] = clock
        counts[slot] = len(open_ones) < at_once
        if counts[slot]:
            open_ones.add((clock, slot))
        assert len(open_ones) <= at_once
        assert given == expected
    assert len(given) > 150


def test_nobody_waits_longer_than_asked():
    order = EpisodeOrder(longest_wait=20, at_once=ALL)
    order.begin(2)  # slot 0 goes on and on
    given = [len(order.end(1, 1, True, clock=clock)) for clock in range(1, 40)]
    # From tick 21 on slot 0 is not waited for: what waited comes at once, the rest as it ends.
    assert given == [0] * 20 + [21] + [1] * 18
    assert order.end(0, 40, False, clock=40) == [False]


def test_without_waiting_results_come_as_they_end():
    order = EpisodeOrder(longest_wait=0)
    order.begin(3)
    for clock, slot, length, won in played(3, 200, (2, 9), np.random.default_rng(0)):
        assert order.end(slot, length, won, clock=clock) in ([won], [])
    # Two that end at once may be in either order, but none is kept beyond its tick.
    assert len(order.state_dict()["waiting"]) <= 3


def test_lengths_tell_the_time_where_no_clock_does():
    told, untold = EpisodeOrder(at_once=2), EpisodeOrder(at_once=2)
    one, other = [], []
    for order in (told, untold):
        order.begin(4)
    for clock, slot, length, won in played(4, 300, (3, 17), np.random.default_rng(1)):
        one += told.end(slot, length, won, clock=clock)
        other += untold.end(slot, length, won)
    assert one == other
    assert len(one) > 30


def test_episodes_begun_anew_are_forgotten():
    order = EpisodeOrder()
    order.begin(2)
    assert order.end(1, 3, True, clock=3) == []  # waits for slot 0, which began earlier
    assert order.begin(2, [0], clock=4) == [True]  # that one is given up
    assert order.end(0, 2, False, clock=6) == []  # slot 1 began at 3
    assert order.begin(2, clock=6) == [False]
    assert order.begin(3, clock=7) == []  # another number of slots: nothing is known of them


def test_a_kept_state_goes_on():
    first = EpisodeOrder()
    first.begin(6)
    episodes = list(played(6, 400, (2, 30), np.random.default_rng(5)))
    half = len(episodes) // 2
    for clock, slot, length, won in episodes[:half]:
        first.end(slot, length, won, clock=clock)
    second = EpisodeOrder()
    second.load_state_dict(first.state_dict())
    assert len(first.state_dict()["waiting"]) > 0
    for clock, slot, length, won in episodes[half:]:
        a, b = (order.end(slot, length, won, clock=clock) for order in (first, second))
        assert a == b


def test_misuse_is_named():
    with pytest.raises(ArgumentError, match="got -1 and 12"):
        EpisodeOrder(-1)
    with pytest.raises(ArgumentError, match="got 250 and 0"):
        EpisodeOrder(at_once=0)
    with pytest.raises(ArgumentError, match="from 0 to 0, got 3"):
        EpisodeOrder().end(3, 1, True)
