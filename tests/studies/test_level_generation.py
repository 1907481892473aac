"""The study's cells compute what they say, and its claims measure what they say."""

import dataclasses
import math
from collections import Counter

import numpy as np
import pytest

from sidle import runs
from sidle.errors import ArgumentError
from sidle.evaluation import statistics
from sidle.ppcg import playable
from sidle.ppcg.curriculum import PPCG, Fixed, LevelSet, Uniform
from sidle.ppcg.level_replay import PrioritizedReplay
from sidle.studies import execution, find
from sidle.studies import level_generation as study
from sidle.studies import level_generation_cells as cells
from sidle.studies import level_generation_claims as claims
from sidle.studies.study import Cell, Record, judge

pytest.importorskip("stable_baselines3", reason="the extra rl is not installed")

DIFFICULTIES = [0.0, 0.5, 1.0]
TINY = study.Settings(
    seeds=1,
    agents=("frogs/one-level", "frogs/fixed-1", "frogs/ppcg-uniform", "frogs/fixed-1/dqn"),
    steps=512,
    difficulties=(0.0, 1.0),
    test_levels=4,
    repeats=1,
    random_levels=6,
    n_envs=8,
    rollout=16,
    minibatch=64,
    filters=4,
    features=16,
    map_levels=6,
)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    root = tmp_path_factory.mktemp("study")
    places = execution.Places(root / "runs", root / "evidence")
    return execution.execute(study.STUDY, study.cells(TINY), places, workers=1)


def played(*rates, hand=(0.0,) * 5):
    return {"generated": {"win_rate": list(rates)}, "hand_made": {"win_rate": list(hand)}}


def agent(name, *rates, seed=0, hand=(0.0,) * 5):
    parts = study.agent_of(name)
    settings = {"kind": "agent", **dataclasses.asdict(parts), "difficulties": DIFFICULTIES}
    settings["algorithm"] = parts.algorithm or "ppo"
    result = {
        "sampled": played(*rates, hand=hand),
        "greedy": played(*(0 for _ in rates), hand=hand),
        "curve": {"step": [1, 2], "win_rate": [0.1, 0.2], "difficulty": [0.0, 0.1]},
    }
    return Record(Cell(f"{name}-seed{seed}", settings, seed), result, {}, 1.0, "run", False)


def chance(game, *rates, seed=0):
    settings = {"kind": "random", "game": game, "difficulties": DIFFICULTIES}
    result = {"sampled": played(*rates)}
    return Record(Cell(f"{game}-random-seed{seed}", settings, seed), result, {}, 1.0, "run", False)


def test_it_is_found_by_name_and_has_enough_seeds():
    assert find("level-generation") is study.STUDY
    assert set(study.STUDY.presets) == {"quick", "standard", "full", "paper"}
    for preset in study.STUDY.presets.values():
        assert preset.seeds >= statistics.SEEDS_FOR_A_VERDICT


@pytest.mark.parametrize(
    "wrong",
    [
        {"agents": ()},
        {"agents": ("zelda/uniform", "zelda/uniform")},
        {"agents": ("chess/uniform",)},
        {"agents": ("zelda/sometimes",)},
        {"agents": ("zelda/fixed-2",)},
        {"agents": ("zelda/fixed-hard",)},
        {"agents": ("zelda/uniform/magic",)},
        {"algorithm": "dqn"},
        {"rewards": "none"},
        {"difficulties": (0.5, 1.5)},
        {"steps": 0},
        {"ego_window": 4},
        {"alpha": 0.0},
    ],
)
def test_settings_out_of_range_are_refused_before_any_work(wrong):
    with pytest.raises(ArgumentError, match=next(iter(wrong))):
        study.Settings(**wrong)


def test_every_cell_finishes_and_every_figure_is_drawn(outcome):
    assert outcome.failures == {}
    assert Counter(record["kind"] for record in outcome.records) == {
        "agent": 4, "random": 1, "levels": 1,
    }  # fmt: skip
    figures = study.STUDY.figures(outcome.records)
    assert [figure.id for figure in figures] == [
        "frogs-generalisation", "frogs-hand-made", "frogs-training", "frogs-difficulty", "actions",
        "frogs-pca", "frogs-tsne", "sparsity",
    ]  # fmt: skip
    for record in outcome.records:
        if record["kind"] == "agent":
            assert record["own"] == (1 if record["regime"] == "one-level" else 0)
            for actions in ("sampled", "greedy"):
                for levels, n in (("generated", 2), ("hand_made", 5)):
                    found = record[actions][levels]
                    assert {len(column) for column in found.values()} == {n}
                    for low, rate, high in zip(
                        found["low"], found["win_rate"], found["high"], strict=True
                    ):
                        assert 0 <= low <= rate <= high <= 1
    judged = {claim.id: judge(claim, outcome.records) for claim in claims.CLAIMS}
    assert {name for name, found in judged.items() if found.interval is None} == {
        "generated-levels-beat-one", "sparse-rewards-need-progress",
    }  # fmt: skip


def test_regimes_of_a_seed_play_the_same_held_out_levels():
    frogs = playable.find("frogs")
    one, same, other = (cells.held_out_levels(frogs, 1.0, 5, seed) for seed in (0, 0, 1))
    assert [level.rows for level in one] == [level.rows for level in same]
    assert [level.rows for level in one] != [level.rows for level in other]


def test_regimes_are_the_curricula_they_name():
    frogs = playable.find("frogs")

    def of(name):
        parts = dataclasses.asdict(study.agent_of(f"frogs/{name}"))
        return cells.regime_of(Cell("", {**parts, "alpha": 0.5}, 0), frogs)

    assert isinstance(of("uniform"), Uniform)
    assert isinstance(of("replay"), PrioritizedReplay)
    assert isinstance(of("fixed-0.25"), Fixed)
    assert of("fixed-0.25").difficulty == pytest.approx(0.25)
    exact, uniform = of("ppcg"), of("ppcg-uniform")
    assert isinstance(exact, PPCG)
    assert (exact.variant, uniform.variant, exact.alpha) == ("exact", "uniform", 0.5)
    assert isinstance(of("one-level"), LevelSet)
    assert of("one-level").levels == frogs.levels[:1]
    assert of("several-levels").levels == frogs.levels[:4]


def test_cells_depend_on_the_settings_they_use_and_no_others():
    one = study.cells(study.Settings(seeds=1))
    other = study.cells(study.Settings(seeds=1, alpha=0.5, map_levels=7))
    changed = {cell.label for cell in one if cell not in other}
    assert changed == {
        "frogs-ppcg-uniform-seed0", "zelda-ppcg-uniform-seed0", "zelda-levels", "frogs-levels",
    }  # fmt: skip
    assert len({cell.label for cell in one}) == len(one)


def test_full_holds_all_games_and_regimes_and_dqn():
    labels = {cell.label for cell in study.cells(study.PRESETS["full"])}
    standard = {cell.label for cell in study.cells(study.PRESETS["standard"])}
    assert standard < labels
    assert "frogs-fixed-1-dqn-seed4" in labels
    assert "boulderdash-replay-seed0" in labels


def test_a_killed_cell_goes_on_to_the_same_result(tmp_path, monkeypatch):
    from sidle.ppcg.agents import learning

    cell = next(c for c in study.cells(TINY) if c.label == "frogs-ppcg-uniform-seed0")
    with runs.open_run(tmp_path / "whole", cell.identity("")) as run:
        expected = cells.run_cell(cell, run)
    monkeypatch.setattr(learning, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(cells, "tested", lambda *_: (_ for _ in ()).throw(MemoryError))
        with pytest.raises(MemoryError), runs.open_run(tmp_path / "cut", cell.identity("")) as run:
            cells.run_cell(cell, run)
    with runs.open_run(tmp_path / "cut", cell.identity("")) as run:
        assert cells.run_cell(cell, run) == expected


def test_features_count_what_stands_in_a_level():
    zelda = playable.find("zelda")
    names = sorted(set(zelda.game.mapping) - {"A"})
    level = zelda.game.level(["wwwwww", "wA +gw", "w 1 1w", "wwwwww"])
    found = cells.level_features(zelda, level)
    table = dict(zip(names, found[: 2 * len(names)].reshape(-1, 2).tolist(), strict=True))
    assert table["+"] == [1, 2]
    assert table["1"] == [2, 2]
    assert table["2"] == [0, 10]  # none: rows plus columns of the level
    assert table["w"][0] == 16
    assert found[-2:].tolist() == [1, 3]


def test_overfitting_is_own_minus_other_hand_made_levels():
    records = [
        agent("zelda/one-level", 0, 0, 0, hand=(0.9, 0.1, 0.2, 0.3, 0.2)),
        agent("frogs/one-level", 0, 0, 0, hand=(0.5, 0.3, 0.3, 0.3, 0.3)),
    ]
    assert claims.overfitting(records) == {0: pytest.approx((0.7 + 0.2) / 2)}


def test_generated_beat_one_level_is_a_difference_of_means():
    records = [
        agent("zelda/one-level", 0.1, 0.2, 0.0),
        agent("zelda/fixed-0.5", 0.6, 0.6, 0.3),
        agent("zelda/fixed-1", 1.0, 1.0, 1.0),
        agent("zelda/fixed-0.5", 1.0, 1.0, 1.0, seed=1),
    ]
    assert claims.generated_beat_one_level(records) == {0: pytest.approx(0.4)}


def test_the_frogs_claims_compare_at_maximal_difficulty_and_everywhere():
    records = [
        agent("frogs/fixed-1", 0.0, 0.0, 0.1),
        agent("frogs/ppcg", 1.0, 1.0, 1.0),
        agent("frogs/ppcg-uniform", 0.9, 0.6, 0.3),
        agent("frogs/fixed-1/dqn", 0.0, 0.0, 0.5),
    ]
    # Of both variants, the first of PROGRESSIVE is compared; DQN is not the usual agent.
    assert claims.frogs_gain(records) == {0: pytest.approx(0.2)}
    assert claims.frogs_gain_everywhere(records) == {0: pytest.approx(0.6 - 0.1 / 3)}
    assert claims.dqn_stays_at_chance([*records, chance("frogs", 1, 0, 0.3)]) == {
        0: pytest.approx(0.8)
    }


def test_claims_of_some_games_take_the_game_where_the_effect_is_largest():
    records = [
        agent("zelda/fixed-0.5", 0.0, 0.4, 0.0),
        agent("zelda/ppcg", 0.1, 0.1, 0.1),
        chance("zelda", 0.0, 0.1, 0.0),
        agent("frogs/fixed-1", 0.0, 0.0, 0.2),
        agent("frogs/ppcg", 0.9, 0.9, 0.9),
        chance("frogs", 0.0, 0.0, 0.1),
    ]
    assert claims.within_distribution(records) == {0: pytest.approx(0.3)}
    assert claims.single_difficulty_as_good(records) == {0: pytest.approx(0.4 / 3 - 0.1)}


def test_sparser_gains_more_is_a_rank_correlation_by_seed():
    records = []
    for game, random, gained in (
        ("zelda", (0.3, 0.2), (0.1, 0.2)), ("frogs", (0.1, 0.0), (0.3, 0.4)),
    ):  # fmt: skip
        records += [
            chance(game, 0.0, *random),
            agent(f"{game}/ppcg-uniform", 0.0, 0.5, 0.5),
            agent(f"{game}/fixed-0.5", 0.0, 0.5 - gained[0], 0.0),
            agent(f"{game}/fixed-1", 0.0, 0.0, 0.5 - gained[1]),
        ]
    assert claims.sparser_gains_more(records) == {0: pytest.approx(1.0)}
    assert claims.sparser_gains_more(records[:4]) == {}  # two points say nothing


def test_verdicts_follow_the_interval_over_seeds():
    by_id = {claim.id: claim for claim in claims.CLAIMS}

    def verdict(gains):
        records = []
        for seed, gained in enumerate(gains):
            records += [
                agent("frogs/fixed-1", 0, 0, 0.1, seed=seed),
                agent("frogs/ppcg-uniform", 0, 0, 0.1 + gained, seed=seed),
            ]
        return judge(by_id["progressive-reaches-maximal"], records).verdict

    assert verdict([0.4, 0.5, 0.45, 0.5, 0.4]) == "holds"
    assert verdict([-0.01, -0.02, -0.01, -0.03, -0.02]) == "does not hold"
    assert verdict([0.5, -0.5, 0.4, -0.4, 0.1]) == "undecided"
    assert verdict([0.4, 0.5]) == "undecided"


def test_figures_average_over_seeds():
    records = [
        agent("zelda/fixed-0.5", 0.2, 0.4, 0.6),
        agent("zelda/fixed-0.5", 0.4, 0.4, 0.8, seed=1),
        chance("zelda", 0.0, 0.1, 0.0),
    ]
    figure = next(f for f in study.STUDY.figures(records) if f.id == "zelda-generalisation")
    line = next(t for t in figure.plotly["data"] if t.get("name") == "difficulty 0.5" and "y" in t)
    assert line["x"] == DIFFICULTIES
    assert np.allclose(line["y"], [0.3, 0.4, 0.7])
    assert all(math.isfinite(value) for value in line["y"])
