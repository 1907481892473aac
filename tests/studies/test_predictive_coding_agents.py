"""Cells of agents compute what they say, and claims and figures measure what they say."""

import dataclasses
import functools

import numpy as np
import pytest
import torch

pytest.importorskip("sb3_contrib", reason="the extra rl is not installed")

from sidle import runs
from sidle.cpc.agent import AuxiliarySettings
from sidle.cpc.agent_checkpoint import KeepCheckpoints
from sidle.errors import ArgumentError
from sidle.evaluation import statistics
from sidle.report import figures as drawing
from sidle.studies import predictive_coding_agents as agents
from sidle.studies import predictive_coding_agents_cells as cells
from sidle.studies import predictive_coding_agents_claims as claims
from sidle.studies import predictive_coding_agents_figures as figures
from sidle.studies.predictive_coding_agents import AgentSettings
from sidle.studies.study import Cell, Record, judge

TINY = AgentSettings(
    memory=("orchard",),
    reactive=("solarfox",),
    losses=agents.LOSSES,
    steps=5 * 32 * 8,
    n_envs=8,
    longest=20,
    # So large that every update shows in what is played.
    learning_rate=0.05,
    cpc_learning_rate=0.05,
    filters=4,
    features=8,
    units=8,
    ahead=2,
    negatives=16,
)


def made(cell, folder):
    with runs.open_run(folder / cell.label, cell.identity("code")) as run:
        found = agents.run_cell(cell, run)
        run.finish(found)
    return found


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    folder = tmp_path_factory.mktemp("agents")
    return [
        Record(cell, made(cell, folder), {}, 1.0, "run", False) for cell in agents.cells(TINY, 1)
    ]


def of(records, game, loss):
    (record,) = claims.agents_of(records, game=game, loss=loss)
    return record


def test_every_game_is_played_with_every_loss(records):
    played = [(record["game"], record["loss"]) for record in records]
    assert played == [("orchard", loss) for loss in agents.LOSSES] + [
        ("solarfox", loss) for loss in ("none", "cpc", "no-loss")
    ]
    for record in records:
        curve = record["curve"]
        assert curve["step"][-1] == TINY.steps
        assert len({len(column) for column in curve.values()}) == 1
        assert curve["step"][-2:] == [1_024, 1_280]  # the last quarter
        assert record["score"] == pytest.approx(np.mean(curve["score"][-2:]), abs=1e-4)
        assert 0 <= record["win_rate"] <= 1
        assert (record["loss"] == "none") == ("bound" not in curve)
        assert 0 < max(curve["length"]) <= TINY.longest


def test_the_same_compute_without_the_loss_ends_as_none(records):
    for game in ("orchard", "solarfox"):
        without = of(records, game, "none")["curve"]
        thrown_away = of(records, game, "no-loss")["curve"]
        assert all(thrown_away[name] == column for name, column in without.items())


def test_each_loss_leaves_its_mark(records):
    ends = {
        loss: tuple(
            value
            for name in ("score", "length")
            for value in of(records, "orchard", loss)["curve"][name]
        )
        for loss in ("none", "cpc", "shuffled-time", "augmentation-alone")
    }
    assert len(set(ends.values())) == 4


def test_all_losses_begin_from_the_same_weights_on_the_same_levels():
    one, *others = (
        cells_of(loss) for loss in ("none", "cpc", "shuffled-time", "augmentation-alone")
    )
    seen = []
    for cell in (one, *others):
        with cells.seeding.scope(cells.seeding.split(cell.seed, "predictive_coding", "agent")):
            model = cells.agent_of(cell)
            levels = model.env.reset()
        seen.append((levels, [part.detach().clone() for part in model.policy.parameters()]))
    for levels, weights in seen[1:]:
        np.testing.assert_array_equal(levels, seen[0][0])
        assert all(torch.equal(a, b) for a, b in zip(weights, seen[0][1], strict=True))


def cells_of(loss, game="orchard", seed=0, settings=TINY):
    (cell,) = (
        cell
        for cell in agents.cells(settings, seed + 1)
        if (cell.seed, cell.settings["game"], cell.settings["loss"]) == (seed, game, loss)
    )
    return cell


def test_the_loss_is_what_the_cell_says():
    cell = cells_of("cpc", settings=dataclasses.replace(TINY, cpc_learning_rate=7e-4))
    expected = AuxiliarySettings(
        steps=2, context="agent", context_features=8, negatives=16, learning_rate=7e-4
    )
    assert cells.loss_of(cell) == expected
    assert cells.loss_of(cells_of("none")) is None
    assert cells.loss_of(cells_of("shuffled-time")).shuffled_time
    moved = cells.loss_of(cells_of("augmentation-alone"))
    assert (moved.shift, moved.weight) == (1, 0.0)


def test_one_pass_over_all_of_a_rollout_makes_it_a2c():
    # Of recurrent PPO: with no second step, every ratio is 1 and nothing is clipped.
    model = cells.agent_of(cells_of("none"))
    model.learn(TINY.steps, log_interval=1_000)
    told = model.logger.name_to_value
    assert told["train/clip_fraction"] == 0.0
    assert abs(told["train/approx_kl"]) < 1e-6


@pytest.mark.parametrize("loss", ["none", "cpc"])
def test_killed_within_a_rollout_a_cell_comes_to_the_same_result(
    loss, records, tmp_path, monkeypatch
):
    cell = cells_of(loss)
    expected = dict(of(records, "orchard", loss).result)

    class Killed(Exception):
        pass

    class Stopping(cells.Recorder):
        def _on_step(self):
            if self.n_calls == 32 + 10:
                raise Killed
            return super()._on_step()

    monkeypatch.setattr(cells, "KeepCheckpoints", functools.partial(KeepCheckpoints, seconds=0.0))
    monkeypatch.setattr(cells, "Recorder", Stopping)
    with pytest.raises(Killed):
        made(cell, tmp_path)
    monkeypatch.undo()
    assert made(cell, tmp_path) == expected


def test_a_cell_killed_after_its_training_only_sums_up(records, tmp_path, monkeypatch):
    cell = cells_of("cpc")
    with runs.open_run(tmp_path / "run", cell.identity("code")) as run:
        first = agents.run_cell(cell, run)
    monkeypatch.setattr(cells.RecurrentPPO, "learn", None)
    with runs.open_run(tmp_path / "run", cell.identity("code")) as run:
        assert agents.run_cell(cell, run) == first
    assert first == of(records, "orchard", "cpc").result


def test_presets():
    assert set(agents.PRESETS) == {"quick", "full", "paper"}
    for settings in agents.PRESETS.values():
        assert len({cell.label for cell in agents.cells(settings, 5)}) == len(
            agents.cells(settings, 5)
        )
    full = agents.PRESETS["full"]
    assert {"none", "cpc", "shuffled-time", "augmentation-alone"} == set(full.losses)
    assert set(full.memory) == set(claims.GAMES)
    assert full.reactive


def test_a_cell_is_named_by_what_it_depends_on_alone():
    plain = cells_of("none").settings
    assert not {"negatives", "ahead", "cpc_learning_rate", "context"} & set(plain)
    assert "shift" not in cells_of("cpc").settings
    assert cells_of("none").data_digest == agents.digest_of("orchard") != agents.digest_of("embers")


@pytest.mark.parametrize(
    "wrong",
    [
        {"memory": ("chess",)},
        {"memory": ("orchard",), "reactive": ("orchard",)},
        {"losses": ()},
        {"losses": ("magic",)},
        {"difficulty": 1.5},
        {"window": 4},
        {"reactive_window": -1},
        {"context": "both"},
        {"rollout": 16},
        {"steps": 100},
    ],
)
def test_settings_out_of_range_are_refused_before_any_work(wrong):
    with pytest.raises(ArgumentError, match=next(iter(wrong))):
        AgentSettings(**wrong)


def record(game, loss, score, seed, memory=True):
    settings = {"kind": "agent", "game": game, "loss": loss, "memory": memory, "window": 5}
    curve = {"step": [1, 2], "score": [0.0, score]}
    if loss != "none":
        curve |= {"bound": [0.0, 1.0], "ceiling": [4.9, 4.9]}
    result = {"score": score, "win_rate": 0.0, "curve": curve}
    return Record(Cell(f"{game}-{loss}-{seed}", settings, seed), result, {}, 1.0, "run", False)


def some(gains, memory=True, base=10.0):
    """Return records of games by their gains, one for each seed."""
    return [
        record(game, loss, base + (each[seed] if loss == "cpc" else 0.0), seed, memory)
        for game, each in gains.items()
        for seed in range(len(each))
        for loss in ("none", "cpc", "shuffled-time")
    ]


def claim(name):
    return next(claim for claim in claims.CLAIMS if claim.id == f"agents-{name}")


def test_gains_are_paired_by_seed():
    found = some({"orchard": [1.0, -2.0, 3.0]})
    assert claims.gain(found, "orchard") == {0: 1.0, 1: -2.0, 2: 3.0}
    assert claim("orchard").differences(found) == {0: 1.0, 1: -2.0, 2: 3.0}
    assert claims.gain([*found, record("orchard", "cpc", 5.0, 7)], "orchard").keys() == {0, 1, 2}


def test_games_are_counted_and_ties_by_half():
    found = some({"orchard": [1.0, -1.0], "embers": [2.0, 0.0], "graveyard": [-5.0, -1.0]})
    found += some({"solarfox": [-9.0, -9.0]}, memory=False)
    assert claims.share_of_games(found) == {0: pytest.approx(2 / 3), 1: pytest.approx(1 / 6)}
    assert claim("time-matters").differences(found) == claims.share_of_games(found)
    assert claim("not-augmentation").differences(found) == {}


def test_a_reactive_gain_is_a_share_of_the_score():
    found = some({"solarfox": [1.0, -2.0]}, memory=False)
    assert claims.reactive(found) == {0: pytest.approx(0.9), 1: pytest.approx(1.2)}
    assert claims.reactive(some({"orchard": [1.0]})) == {}


def test_verdicts():
    better = some({"orchard": [1.0, 1.1, 0.9, 1.0, 1.2], "embers": [1.0] * 5})
    assert judge(claim("most-games"), better).verdict == "holds"
    assert judge(claim("orchard"), better).verdict == "holds"
    worse = some({"orchard": [-1.0, -1.1, -0.9, -1.0, -1.2]})
    assert judge(claim("orchard"), worse).verdict == "does not hold"
    few = some({"orchard": [1.0] * (statistics.SEEDS_FOR_A_VERDICT - 1)})
    assert judge(claim("orchard"), few).verdict == "undecided"
    assert judge(claim("reactive-no-gain"), []).verdict == "undecided"
    assert len({each.id for each in claims.CLAIMS}) == len(claims.CLAIMS)


def test_figures_show_what_there_is(records):
    assert figures.figures([]) == []
    found = {figure.id: figure for figure in figures.figures(records)}
    assert list(found) == [
        "agents-scores", "agents-orchard-training", "agents-solarfox-training",
        "agents-information",
    ]  # fmt: skip
    for figure in found.values():
        assert drawing.problem(figure.plotly) is None
    assert "1 to 2 ticks ahead" in found["agents-information"].caption
    assert found["agents-scores"].plotly["layout"]["xaxis"]["ticktext"] == ["Orchard", "Solarfox"]
    shown = found["agents-scores"].plotly["data"]
    assert [trace["name"] for trace in shown] == list(figures.TITLES.values())
    for trace, loss in zip(shown, figures.TITLES, strict=True):
        played = claims.agents_of(records, loss=loss)
        assert trace["y"] == [record["score"] for record in played]
    assert "the whole level." in found["agents-solarfox-training"].caption
    assert "has to remember" in found["agents-orchard-training"].caption
