"""The study's cells compute what they say, and its claims measure what they say."""

import dataclasses
import math
from collections import Counter

import numpy as np
import pytest
import torch

from sidle import runs, seeding
from sidle.errors import ArgumentError, DataNotFoundError
from sidle.evaluation import statistics
from sidle.mi.beyond_normal import BEYOND_NORMAL
from sidle.mi.problems import CorrelatedGaussians
from sidle.studies import execution, find
from sidle.studies import mutual_information as study
from sidle.studies import mutual_information_cells as cells
from sidle.studies import mutual_information_claims as claims
from sidle.studies.study import Cell, Record, judge

TINY = study.Settings(
    seeds=1,
    bounds=("infonce", "nwj", "js"),
    alphas=(0.01, 0.5),
    transforms=("cubic",),
    dim=3,
    levels=(0.5, 1.5),
    steps_per_level=60,
    batch_size=32,
    hidden=16,
    layers=1,
    learning_rate=3e-3,
    read_batches=50,
    critic_steps=40,
    sandwich_nats=1.0,
    sandwich_sizes=(4, 64),
    sandwich_pairs=4096,
    negatives_steps=100,
    tasks=2,
    task_pairs=400,
    task_bounds=("infonce",),
    redraws=10,
    rows_batch_size=32,
    rows_steps=60,
    image_rows=1200,
)
FORTY = ("confidence-bound-covers", "interval-below-truth", "closer-than-ksg", "closer-than-cca")


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
    [
        {"bounds": ("foo",)},
        {"bounds": ("club",)},
        {"levels": (2.0,)},
        {"rows_noise": ()},
        {"alphas": (1.5,)},
        {"transforms": ("none",)},
        {"transformed_bounds": ("club",)},
        {"tasks": 41},
        {"datasets": ("mnist",)},
        {"rows_bounds": ()},
        {"task_bounds": ()},
        {"sandwich_sizes": (1,)},
    ],
)
def test_settings_out_of_range_are_refused_before_any_work(wrong):
    with pytest.raises(ArgumentError, match=next(iter(wrong))):
        study.Settings(**wrong)


def test_every_cell_finishes_and_every_claim_and_figure_is_served(outcome):
    assert outcome.failures == {}
    kinds = Counter(record["kind"] for record in outcome.records)
    assert kinds == {
        "staircase": 3 + 1 + 2,
        "critic": 1,
        "sandwich": 1,
        "negatives": 2,
        "task": 2,
        "rows": 4 * 2 + 4 + 1,
        "processing": 2,
        "additivity": 2,
    }
    for claim in claims.CLAIMS:
        found = judge(claim, outcome.records)
        if claim.id in FORTY:
            assert found.interval is None, claim.id  # two tasks say nothing about forty
        else:
            assert found.interval.n in (1, 10), claim.id
    figures = study.STUDY.figures(outcome.records)
    assert len({figure.id for figure in figures}) == len(figures) == 15


def test_cells_depend_on_the_settings_they_use_and_no_others():
    one = study.cells(study.Settings(seeds=1))
    other = study.cells(study.Settings(seeds=1, rows_steps=7, image_rows=500))
    same = {cell.label for cell in one if cell in other}
    assert same == {cell.label for cell in other if not cell.label.startswith("digits")}


def test_staircases_come_ten_seeds_at_a_time():
    def stairs(seeds):
        cells = study.cells(study.Settings(seeds=seeds))
        return [cell for cell in cells if cell.label.startswith("staircase")]

    assert stairs(1) == stairs(10)
    assert len(stairs(11)) == 2 * len(stairs(10))
    assert stairs(11)[-1].settings["seeds"] == list(range(10, 20))


def test_every_cell_of_standard_has_its_like_in_full():
    standard, full = (
        {cell.label for cell in study.cells(dataclasses.replace(settings, datasets=("digits",)))}
        for settings in (study.PRESETS["standard"], study.PRESETS["full"])
    )
    assert standard < full


@pytest.mark.parametrize("bound", ["infonce", "nwj"])
def test_exact_readings_agree_with_theory(outcome, bound):
    means, deviations = (
        claims.staircase(outcome.records, bound, what, read="exact")
        for what in ("mean", "deviation")
    )
    assert sorted(means) == list(range(10))
    for seed in means:
        for nats, mean, deviation in zip(TINY.levels, means[seed], deviations[seed], strict=True):
            slack = 4 * deviation / math.sqrt(TINY.read_batches)
            assert mean <= nats + slack
            if bound == "nwj":  # tight with the exact critic
                assert mean == pytest.approx(nats, abs=slack)
            else:
                assert mean <= math.log(TINY.batch_size)


def test_a_critic_is_the_same_beside_others_as_alone(tmp_path):
    cell = next(c for c in study.cells(TINY) if c.label == "staircase-infonce-seeds0to9")
    alone = Cell(cell.label, cell.settings | {"seeds": [3]}, 3)
    whole, _ = compute(cell, tmp_path / "ten")
    single, _ = compute(alone, tmp_path / "one")
    # Batched products round otherwise than single ones; 120 steps keep that below 1e-3 nats.
    assert single["reads"]["infonce"]["mean"][0] == pytest.approx(
        whole["reads"]["infonce"]["mean"][3], abs=1e-3
    )
    assert single["reads"]["exact"]["mean"][0] == whole["reads"]["exact"]["mean"][3]


def test_bounds_with_more_than_a_critic_train_beside_each_other_too(tmp_path):
    settings = dataclasses.replace(TINY, bounds=("tuba", "mine", "flo"), alphas=())
    for cell in study.cells(settings):
        if cell.label.startswith("staircase") and "cubic" not in cell.label:
            found, _ = compute(cell, tmp_path / cell.label)
            name = cell.settings["bound"]
            assert np.shape(found["reads"][name]["mean"]) == (10, 2)
            assert np.isfinite(found["reads"][name]["mean"]).all()


def test_structured_bounds_enclose_the_truth(outcome):
    (found,) = (r for r in outcome.records if r["kind"] == "sandwich")
    assert found["lower"][0] < found["lower"][1] < 1.0 < found["upper"][1] < found["upper"][0]


def test_a_task_is_estimated_near_its_truth(outcome):
    (found,) = (r for r in outcome.records if r.cell.label == "task-1v1-normal-0.75-seed0")
    assert found["truth"] == pytest.approx(0.413, abs=1e-3)
    assert found["nats"]["infonce"] == pytest.approx(found["truth"], abs=0.15)
    assert found["ksg"] == pytest.approx(found["truth"], abs=0.15)
    assert found["cca"] == pytest.approx(found["truth"], abs=0.15)
    assert found["low"]["infonce"] < found["truth"]
    assert found["coverage"] == 1.0


def test_additivity_reads_two_images_and_one_from_as_many(outcome):
    (found,) = (r for r in outcome.records if r["kind"] == "additivity" and r["bound"] == "infonce")
    assert 0 < found["alone_nats"] < found["ceiling"] == math.log(32)
    assert claims.additivity_ratio(outcome.records, "infonce") == {
        0: found["nats"] / found["alone_nats"]
    }


def test_a_control_with_another_images_rows_reads_nothing(outcome):
    labels = ("digits-infonce-control-seed0", "digits-infonce-rows-8-noise96-seed0")
    control, own = (next(r for r in outcome.records if r.cell.label == name) for name in labels)
    assert control["nats"] < 0.2 < 1.0 < own["nats"]


@pytest.mark.parametrize("dataset", ["fashion_mnist", "cifar10"])
def test_other_images_go_the_same_way(dataset, tmp_path):
    settings = dataclasses.replace(
        TINY,
        datasets=(dataset,),
        rows_bounds=("smile",),
        rows_noise=(96.0,),
        rows_batch_size=8,
        rows_steps=2,
        image_rows=200,
    )
    try:
        wanted = [cell for cell in study.cells(settings) if cell.label.startswith(dataset)]
    except DataNotFoundError:
        pytest.skip(f"needs {dataset} in a folder of SIDLE_DATA")
    rows = [cell.settings["rows"] for cell in wanted if cell.settings["kind"] == "rows"]
    quarter = cells.ROW_QUARTERS[dataset]
    assert rows == [quarter, 2 * quarter, 3 * quarter, 4 * quarter, 4 * quarter]  # and the control
    records = []
    for cell in wanted:  # those with half of the rows: all that the two ratios take
        if cell.settings["rows"] != 2 * quarter:
            continue
        result, _ = compute(cell, tmp_path / cell.label)
        assert np.isfinite(result["nats"])
        records.append(Record(cell, result, {}, 1.0, "run", False))
    assert set(claims.processing_ratio(records, "smile", dataset=dataset)) == {0}
    assert set(claims.additivity_ratio(records, "smile", dataset=dataset)) == {0}
    drawn = {figure.id for figure in study.STUDY.figures(records)}
    assert drawn == {f"rows-{dataset}", "processing", "additivity"}


def compute(cell, folder):
    with runs.open_run(folder, cell.identity("")) as run, seeding.scope(0):
        return study.run_cell(cell, run), run.metrics()


@pytest.mark.parametrize("label", ["staircase-nwj-seeds0to9", "digits-smile-rows-4-noise96-seed0"])
def test_interrupted_cell_ends_with_the_same_result(label, tmp_path, monkeypatch):
    cell = next(cell for cell in study.cells(TINY) if cell.label == label)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(runs.Run, "log", interrupting(runs.Run.log, 20))
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
    centred = cells.centred(exact)
    assert cells.r_squared(cells.centred(exact + 9 * of_x), centred) == pytest.approx(1.0)
    assert cells.r_squared(cells.centred(exact + 9 * of_y), centred) < 0.9


def stairs(bound, *, transform="none", alpha=None, **reads):
    """Record a staircase of seeds 4 and 5; each read-out is (means, deviations) of both."""
    settings = {
        "kind": "staircase",
        "bound": bound,
        "transform": transform,
        "alpha": alpha,
        "seeds": [4, 5],
        "levels": [2.0, 4.0, 6.0],
        "batch_size": 64,
    }
    return record(
        settings,
        {
            "reads": {
                name: {"mean": [mean, mean], "deviation": [deviation, deviation]}
                for name, (mean, deviation) in reads.items()
            }
        },
    )


def test_variance_growth_of_an_exponential_variance():
    deviation = [math.exp(0.5 * 0.7 * nats) for nats in (2.0, 4.0, 6.0)]
    records = [stairs("nwj", nwj=([0] * 3, deviation), exact=([0] * 3, [1.0] * 3))]
    assert claims.variance_growth(records) == pytest.approx({4: 0.7, 5: 0.7})
    assert claims.variance_growth(records, "exact") == pytest.approx({4: 0.0, 5: 0.0})


def test_claims_about_staircases_compare_the_right_cells():
    records = [
        stairs("infonce", infonce=([1.0, 2.0, 4.0], [9.0, 9.0, 0.1])),
        stairs("infonce", transform="cubic", infonce=([0.5, 1.5, 3.5], [9.0, 9.0, 9.0])),
        stairs("nwj", nwj=([1.0, 4.0, 8.0], [9.0, 9.0, 0.2])),
        stairs("js", dv=([0.0] * 3, [1.0, 1.0, 6.0]), smile=([0.0] * 3, [1.0, 1.0, 2.0])),
        stairs("interpolated", alpha=0.01, interpolated=([0.0, 0.0, 7.0], [1.0, 1.0, 3.0])),
        stairs("interpolated", alpha=0.1, interpolated=([0.0, 0.0, 9.0], [1.0, 1.0, 9.0])),
        stairs("interpolated", alpha=0.5, interpolated=([0.0, 0.0, 5.0], [1.0, 1.0, 1.0])),
        stairs("interpolated", alpha=1.0, interpolated=([0.0, 0.0, 1.0], [1.0, 1.0, 0.1])),
    ]
    expected = {
        "infonce-saturates": 4.0 / math.log(64),
        "infonce-low-variance": math.log(2),
        "clip-tames-js": math.log(3),
        "cubic-is-harder": 0.5,
        "alpha-trades-variance": math.log(3),
        "alpha-for-bias": 2.0,
    }
    for claim in claims.CLAIMS:
        if claim.id in expected:
            value = expected[claim.id]
            assert claim.differences(records) == pytest.approx({4: value, 5: value}), claim.id


def test_claims_about_images_compare_the_right_cells():
    rows = {"kind": "rows", "dataset": "digits", "bound": "infonce", "paired": True}
    records = [
        record(rows | {"rows": t, "noise": noise}, {"nats": nats})
        for noise, values in ((0.0, [3.0, 2.0, 1.0]), (96.0, [1.0, 2.0, 3.0]))
        for t, nats in enumerate(values, start=1)
    ]
    records.append(record(rows | {"rows": 3, "noise": 96.0, "paired": False}, {"nats": 0.5}))
    assert claims.growth_with_rows(records) == pytest.approx({0: 1.0})
    assert claims.control_is_silent(records) == pytest.approx({0: 1 - 0.5 / 3})
    processing = rows | {"kind": "processing", "rows": 2, "noise": 96.0}
    records.append(record(processing, {"nats": 2.5}))
    assert claims.unchanged_by_processing(records, "infonce") == pytest.approx({0: 0.75})
    additivity = rows | {"kind": "additivity", "rows": 2, "noise": 96.0}
    records.append(record(additivity, {"nats": 3.0, "alone_nats": 2.0}))
    assert claims.short_of_additive(records, "infonce") == pytest.approx({0: 0.5})
    assert claims.short_of_additive(records, "smile") == {}


def test_claims_about_tasks_take_all_forty():
    def task(name, error):
        result = {"truth": 1.0, "nats": {"infonce": 1.0 + error}, "low": {"infonce": 1.0 - error}}
        result |= {"coverage": 1 - error, "ksg": 1.0 - 3 * error, "cca": 1.0 + error / 2}
        return record({"kind": "task", "task": name}, result)

    names = list(BEYOND_NORMAL)
    records = [task(name, 0.1) for name in names[:-1]] + [task(names[-1], 0.02)]
    assert claims.worst_coverage(records[:-1]) == {}
    assert claims.worst_coverage(records) == pytest.approx({0: 0.9})
    assert claims.share_below_truth(records) == {0: 1.0}
    high = task(names[0], -0.1)  # its interval begins above the truth
    high.result["low"]["nwj"] = None  # refused, and so no claim
    assert claims.share_below_truth([high, *records[1:]]) == pytest.approx({0: 39 / 40})
    assert claims.closer_than(records, "ksg") == pytest.approx({0: 0.2})
    assert claims.closer_than(records, "cca") == pytest.approx({0: -0.05})


def test_claims_about_negatives_and_sandwich():
    records = [
        record({"kind": "negatives", "negatives": kind}, {"class_accuracy": a, "within_nats": w})
        for kind, a, w in (("all classes", 0.9, 0.1), ("same class", 0.6, 0.4))
    ]
    bounds = {"lower": [1.0, 2.9], "upper": [5.0, 3.5]}
    records.append(record({"kind": "sandwich", "sandwich_nats": 3.0}, bounds))
    found = {claim.id: claim.differences(records) for claim in claims.CLAIMS}
    assert found["negatives-decide-class"] == pytest.approx({0: 0.3})
    assert found["negatives-decide-detail"] == pytest.approx({0: 0.3})
    assert found["sandwich-closes"] == pytest.approx({0: math.log(2 / 0.5)})


def test_evidence_stays_small(outcome):
    sizes = [len(str(np.array(r.result, dtype=object))) for r in outcome.records]
    assert max(sizes) < 8000
