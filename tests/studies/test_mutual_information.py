"""The study's cells compute what they say, and its claims measure what they say."""

import math

import numpy as np
import pytest
import torch

from sidle import runs, seeding
from sidle.errors import ArgumentError
from sidle.evaluation import statistics
from sidle.mi.problems import CorrelatedGaussians
from sidle.studies import execution, find
from sidle.studies import mutual_information as study
from sidle.studies.study import Cell, Record, judge

TINY = study.Settings(
    seeds=1,
    bounds=("infonce", "nwj"),
    dim=3,
    levels=(0.5, 1.5),
    steps_per_level=60,
    batch_size=32,
    hidden=16,
    layers=1,
    learning_rate=3e-3,
    read_batches=50,
    critic_steps=40,
    rows=(1, 3),
    rows_batch_size=32,
    rows_steps=25,
)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    root = tmp_path_factory.mktemp("study")
    places = execution.Places(root / "runs", root / "evidence")
    return execution.execute(study.STUDY, study.cells(TINY), places, workers=1)


def record(settings, result, seed=0):
    return Record(Cell(f"{settings}", settings, seed), result, {}, 1.0, "run", False)


def test_it_is_found_by_name_and_has_enough_seeds():
    assert find("mutual-information") is study.STUDY
    assert {"quick", "standard"} <= set(study.STUDY.presets)
    for preset in study.STUDY.presets.values():
        assert preset.seeds >= statistics.SEEDS_FOR_A_VERDICT


@pytest.mark.parametrize(
    "wrong",
    [{"rows": (9,)}, {"rows": ()}, {"bounds": ("foo",)}, {"levels": (2.0,)}, {"rows_noise": ()}],
)
def test_settings_out_of_range_are_refused_before_any_work(wrong):
    with pytest.raises(ArgumentError, match=next(iter(wrong))):
        study.Settings(**wrong)


def test_every_cell_finishes_and_every_claim_and_figure_is_served(outcome):
    assert outcome.failures == {}
    assert len(outcome.records) == 2 + 1 + 2 * 2 + 1
    for claim in study.CLAIMS:
        assert judge(claim, outcome.records).interval.n == 1, claim.id
    figures = study.STUDY.figures(outcome.records)
    assert len({figure.id for figure in figures}) == len(figures) == 6


def test_cells_depend_on_the_settings_they_use_and_no_others():
    more_rows = study.cells(study.Settings(seeds=1, rows=(1, 2)))
    fewer = study.cells(study.Settings(seeds=1, rows=(1,), rows_steps=7))
    same = {cell.label for cell in more_rows if cell in fewer}
    assert same == {cell.label for cell in fewer if not cell.label.startswith("digits")}


def test_exact_readings_agree_with_theory(outcome):
    for bound in ("infonce", "nwj"):
        cell = next(r for r in outcome.records if r.cell.label == f"staircase-{bound}-seed0")
        for nats, mean, deviation in zip(
            cell["levels"], cell["exact_mean"], cell["exact_deviation"], strict=True
        ):
            slack = 4 * deviation / math.sqrt(TINY.read_batches)
            assert mean <= nats + slack
            if bound == "nwj":  # tight with the exact critic
                assert mean == pytest.approx(nats, abs=slack)
            else:
                assert mean <= math.log(TINY.batch_size)


def test_a_control_with_another_images_rows_reads_nothing(outcome):
    control = next(r for r in outcome.records if r.cell.label == "digits-control-seed0")
    own = next(r for r in outcome.records if r.cell.label == "digits-3-rows-noise0-seed0")
    assert control["nats"] < 0.2 < 1.0 < own["nats"]


def compute(cell, folder):
    with runs.open_run(folder, cell.identity("")) as run, seeding.scope(0):
        return study.run_cell(cell, run), run.metrics()


@pytest.mark.parametrize("label", ["staircase-nwj-seed0", "digits-3-rows-noise96-seed0"])
def test_interrupted_cell_ends_with_the_same_result(label, tmp_path, monkeypatch):
    cell = next(cell for cell in study.cells(TINY) if cell.label == label)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(runs.Run, "log", interrupting(runs.Run.log, 12))
        compute(cell, tmp_path / "halves")
    done = len(runs.read_metrics(tmp_path / "halves"))
    resumed, whole = compute(cell, tmp_path / "halves"), compute(cell, tmp_path / "whole")
    assert 0 < done <= len(whole[1])
    assert resumed == whole


def interrupting(log, step):
    """Press Ctrl-C once the run has logged this step."""
    import signal

    def log_and_interrupt(run, number, metrics):
        log(run, number, metrics)
        if number >= step and not getattr(run, "pressed", False):
            run.pressed = True
            signal.raise_signal(signal.SIGINT)

    return log_and_interrupt


def test_critic_fit_forgives_a_function_of_x_and_nothing_else():
    problem = CorrelatedGaussians(2, 2.0)
    exact = problem.log_ratio(*problem.sample(200, seeding.torch_generator(0)))
    of_x, of_y = torch.randn(200, 1), torch.randn(1, 200)
    centred = study._centred(exact)
    assert study._r_squared(study._centred(exact + 9 * of_x), centred) == pytest.approx(1.0)
    assert study._r_squared(study._centred(exact + 9 * of_y), centred) < 0.9


def test_variance_growth_of_an_exponential_variance():
    levels = [2.0, 4.0, 6.0]
    deviation = [math.exp(0.5 * 0.7 * nats) for nats in levels]
    records = [
        record(
            {"kind": "staircase", "bound": "nwj", "levels": levels},
            {"deviation": deviation, "exact_deviation": [1.0, 1.0, 1.0]},
        )
    ]
    assert study.variance_growth(records)[0] == pytest.approx(0.7)
    assert study.exact_variance_growth(records)[0] == pytest.approx(0.0)


def test_claims_compare_the_right_cells():
    stairs = {"kind": "staircase", "batch_size": 64}
    records = [
        record(stairs | {"bound": "infonce"}, {"mean": [1.0, 4.0], "deviation": [9.0, 0.1]}),
        record(stairs | {"bound": "nwj"}, {"mean": [1.0, 8.0], "deviation": [9.0, 0.2]}),
    ]
    assert study.share_of_ceiling(records)[0] == pytest.approx(4.0 / math.log(64))
    assert study.deviation_ratio(records)[0] == pytest.approx(math.log(2))
    digits = [
        record({"kind": "digits", "rows": t, "noise": noise, "paired": True}, {"nats": nats})
        for noise, values in ((0.0, [3.0, 2.0, 1.0]), (96.0, [1.0, 2.0, 3.0]))
        for t, nats in enumerate(values, start=1)
    ]
    digits.append(
        record({"kind": "digits", "rows": 3, "noise": 96.0, "paired": False}, {"nats": 0.5})
    )
    assert study.growth_with_rows(digits)[0] == pytest.approx(1.0)
    assert study.gap_to_control(digits)[0] == pytest.approx(2.5)


def test_evidence_stays_small(outcome):
    sizes = [len(str(np.array(r.result, dtype=object))) for r in outcome.records]
    assert max(sizes) < 8000
