"""An evaluation plays each level once and counts what happened."""

import numpy as np
import pytest
from scipy import stats

from sidle.errors import ArgumentError
from sidle.ppcg import agents, playable
from sidle.ppcg.agents.evaluation import Evaluation
from sidle.ppcg.engine import Engine

GRASS = playable.find("frogs")  # at difficulty 0 the way up is free


class Upwards:
    """Goes up; counts how often it was asked."""

    asked = 0

    def act(self, planes_NCHW, rng, *, greedy=False):
        self.asked += len(planes_NCHW)
        return np.full(len(planes_NCHW), GRASS.game.actions.index("ACTION_UP"))


def test_each_level_is_played_as_the_engine_plays_it_alone():
    levels = agents.generated_levels(GRASS, 0.0, 12, seed=4)
    player = Upwards()
    found = agents.evaluate_agent(player, GRASS, levels, seed=1, most_ticks=30)
    up = GRASS.game.actions.index("ACTION_UP")
    for index, level in enumerate(levels):
        engine = Engine(
            GRASS.game, 1, height=10, width=27, seed=0, autoreset="disabled", most_ticks=30
        )
        engine.reset(level)
        while not engine.dones[0]:
            engine.step([up])
        (episode,) = engine.episodes()
        assert found.wins_L[index] == episode["won"]
        assert found.scores_L[index] == episode["score"]
        assert found.lengths_L[index] == episode["length"]
    assert found.wins_L.sum() > 0
    # What is over is not looked at any longer.
    assert player.asked == found.lengths_L.sum()


def test_intervals_are_those_of_the_textbooks():
    won = np.arange(100) < 7
    found = Evaluation(won, np.arange(100), np.full(100, 3))
    # Clopper-Pearson: the beta quantiles.
    assert found.win_rate.mean == 0.07
    assert found.win_rate.low == pytest.approx(stats.beta.ppf(0.025, 7, 94))
    assert found.win_rate.high == pytest.approx(stats.beta.ppf(0.975, 8, 93))
    assert found.score.mean == 49.5
    assert (found.length.low, found.length.high) == (3, 3)
    assert found.as_dict() == {"levels": 100, "win_rate": 0.07, "score": 49.5, "length": 3.0}


def test_a_score_can_count_as_a_win():
    boulderdash = playable.find("boulderdash")
    levels = list(boulderdash.levels)
    player = agents.RandomAgent(len(boulderdash.game.actions))
    found = agents.evaluate_agent(player, boulderdash, levels, win="score", most_ticks=200)
    assert np.array_equal(found.wins_L, found.scores_L >= boulderdash.win_score)
    with pytest.raises(ArgumentError, match="no score counts"):
        agents.evaluate_agent(player, GRASS, levels, win="score")


def test_the_same_seed_plays_the_same_and_levels_are_held_out_by_seed():
    levels = agents.generated_levels(GRASS, 0.8, 20, seed=4)
    player = agents.RandomAgent(len(GRASS.game.actions))
    one, same, other = (
        agents.evaluate_agent(player, GRASS, levels, seed=seed).lengths_L for seed in (0, 0, 1)
    )
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)
    again = agents.generated_levels(GRASS, 0.8, 20, seed=4)
    others = agents.generated_levels(GRASS, 0.8, 20, seed=5)
    assert [level.rows for level in levels] == [level.rows for level in again]
    assert not {level.rows for level in levels} & {level.rows for level in others}


def test_nothing_to_play_is_refused():
    with pytest.raises(ArgumentError, match="at least one level"):
        agents.evaluate_agent(agents.RandomAgent(5), GRASS, [])
    with pytest.raises(ArgumentError, match="difficulty"):
        agents.generated_levels(GRASS, 1.5, 3, seed=0)
