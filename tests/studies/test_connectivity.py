"""The study's cells compute what they say, and its claims measure what they say."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from sidle import runs, seeding
from sidle.errors import ArgumentError
from sidle.evaluation import statistics
from sidle.lmc import Mask
from sidle.studies import connectivity as study
from sidle.studies import connectivity_cells as cells
from sidle.studies import connectivity_claims as claims
from sidle.studies import connectivity_effects as effects
from sidle.studies import connectivity_tasks as tasks
from sidle.studies import execution, find
from sidle.studies.study import Cell, Record, judge

SHORT = {
    "lenet-digits": dataclasses.replace(tasks.TASKS["lenet-digits"], steps=20),
    "resnet-digits": dataclasses.replace(
        # Not thinner: with fewer than 8 channels, innermost, a strided 1 x 1 convolution of torch
        # 2.13 overwrites memory in its backward pass on processors without AVX-512.
        tasks.TASKS["resnet-digits"],
        steps=20,
        drops=(10, 15),
        width=8,
    ),
}
TINY = dataclasses.replace(
    study.PRESETS["quick"],
    seeds=1,
    train_images=300,
    path_images=100,
    path_train_images=60,
    points=5,
    schedule_reset=True,
    controls=("random", "reinitialised", "snip", "magnitude"),
    learning_rate_rewinds=(0.2,),
)


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    root = tmp_path_factory.mktemp("study")
    return execution.Places(root / "runs", root / "evidence")


@pytest.fixture(scope="module")
def outcome(places):
    with pytest.MonkeyPatch.context() as patch:
        for name, task in SHORT.items():
            patch.setitem(tasks.TASKS, name, task)
        return execution.execute(study.STUDY, study.cells(TINY), places, workers=1)


def record(settings, result, seed=0):
    return Record(Cell(f"{settings}", settings, seed), result, {}, 1.0, "run", False)


def test_it_is_found_by_name_and_has_enough_seeds():
    assert find("connectivity") is study.STUDY
    for name in ("quick", "standard", "full"):
        assert study.PRESETS[name].seeds >= statistics.SEEDS_FOR_A_VERDICT


@pytest.mark.parametrize(
    "wrong",
    [
        {"hard": ("lenet-cifar100",)},
        {"easy": ("resnet-cifar10",)},
        {"shares": (0.0, 1.0)},
        {"shares": ()},
        {"copies": 1},
        {"points": 2},
        {"fraction": 1.0},
        {"rounds": 0},
        {"controls": ("foo",)},
        {"control_rounds": (5,)},
        {"train_images": 1},
    ],
)
def test_settings_out_of_range_are_refused_before_any_work(wrong):
    with pytest.raises(ArgumentError, match=next(iter(wrong))):
        study.Settings(**wrong)


def test_every_cell_finishes_and_every_claim_and_figure_is_served(outcome):
    assert outcome.failures == {}
    labels = sorted(record.cell.label for record in outcome.records)
    assert labels == [
        "lenet-digits-dense-seed0",
        "lenet-digits-tickets-at-0-seed0",
        "resnet-digits-dense-seed0",
        "resnet-digits-learning-rate-tickets-at-0.2-seed0",
        "resnet-digits-tickets-at-0-seed0",
        "resnet-digits-tickets-at-0.2-seed0",
    ]
    for claim in claims.CLAIMS:
        found = judge(claim, outcome.records)
        assert found.verdict == "undecided"  # one seed
        # Whether some ticket is unstable, or matches, is for the networks to say.
        if claim.id not in ("matching-are-stable", "unstable-do-not-match"):
            assert found.interval.n == 1, claim.id
    figures = study.STUDY.figures(outcome.records)
    assert len({figure.id for figure in figures}) == len(figures) > 15


def test_a_dense_cell_holds_a_curve_and_its_control(outcome):
    (found,) = [r for r in outcome.records if r.cell.label == "resnet-digits-dense-seed0"]
    assert [entry["k"] for entry in found["curve"]] == [0, 4]
    assert [entry["k"] for entry in found["reset"]] == [4]  # at k = 0 it is no control
    for entry in found["curve"]:
        assert len(entry["path"]) == TINY.points
        ends = (entry["path"][0] + entry["path"][-1]) / 2
        assert entry["error"] == pytest.approx(ends, abs=1e-5)
        # The mean over pairs of largest minus mean of the ends; there is one pair.
        assert entry["instability"] == pytest.approx(max(entry["path"]) - ends, abs=2e-5)
        assert entry["re_estimated"] is not None
    lenet = next(r for r in outcome.records if r.cell.label == "lenet-digits-dense-seed0")
    assert all(entry["re_estimated"] is None for entry in lenet["curve"])  # has no BatchNorm


def test_ticket_cells_hold_rounds_and_controls_as_sparse_as_asked(outcome):
    (found,) = [r for r in outcome.records if r.cell.label == "resnet-digits-tickets-at-0.2-seed0"]
    rows = found["rows"]
    assert [row["name"] for row in rows] == [
        "dense", "ticket", "ticket", "random", "reinitialised", "snip", "magnitude",
    ]  # fmt: skip
    for row in rows:
        kept = (1 - TINY.fraction) ** row["round"]
        assert row["density"] == pytest.approx(kept, abs=2e-3)  # whole weights are pruned
        assert len(row["errors"]) == (1 if row["name"] == "dense" else TINY.copies)
        assert row["error"] == pytest.approx(np.mean(row["errors"]), abs=1e-5)
    early = next(r for r in outcome.records if r.cell.label == "resnet-digits-tickets-at-0-seed0")
    assert {row["name"] for row in early["rows"]} == {"dense", "ticket"}


def test_what_was_trained_is_deleted_once_a_cell_has_its_result(outcome, places):
    folders = [path.parent for path in places.runs.rglob("run.json")]
    assert len(folders) == len(outcome.records)
    assert not [folder for folder in folders if (folder / "stretches").exists()]


def test_a_killed_cell_goes_on_and_ends_the_same(outcome, tmp_path, monkeypatch):
    for name, task in SHORT.items():
        monkeypatch.setitem(tasks.TASKS, name, task)
    cell = next(
        cell for cell in study.cells(TINY) if cell.label == "resnet-digits-tickets-at-0.2-seed0"
    )
    whole = next(r for r in outcome.records if r.cell.label == cell.label)
    calls = []
    real = tasks.Training.__call__

    def counted(self, state, start, stop, seed, **keywords):
        calls.append((start, stop, seed, keywords.get("mask") is not None))
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(self, state, start, stop, seed, **keywords)

    monkeypatch.setattr(tasks.Training, "__call__", counted)
    identity = cell.identity("")
    with pytest.raises(KeyboardInterrupt), runs.open_run(tmp_path / "run", identity) as run:
        cells.run_cell(cell, run)
    done = calls[:3]
    with runs.open_run(tmp_path / "run", identity) as run:
        found = cells.run_cell(cell, run)
    assert found == whole.result
    assert not set(done) & set(calls[4:])  # nothing is trained twice


def test_training_in_stretches_is_training_in_one():
    task = dataclasses.replace(SHORT["resnet-digits"], augment=True)
    split = tasks.split("digits", 200, 50, 50)
    train = tasks.Training(task, *split.train)
    with seeding.scope(0):
        start = {"model": tasks.network(task).state_dict()}
    once = train(start, 0, 12, 5)
    half = train(train(start, 0, 7, 5), 7, 12, 5)
    for name, tensor in once["model"].items():
        assert torch.equal(tensor, half["model"][name]), name


def test_rates_warm_up_and_drop():
    task = tasks.Task("lenet", "digits", 100, 10, "sgd", 1.0, warmup=4, drops=(50, 75))
    assert [task.rate(step) for step in (0, 1, 3, 4, 49)] == [0.25, 0.5, 1.0, 1.0, 1.0]
    assert [task.rate(step) for step in (50, 74)] == pytest.approx([0.1, 0.1])
    assert task.rate(75) == pytest.approx(0.01)


def test_augmentation_mirrors_and_moves_within_its_bounds():
    x = torch.arange(1.0, 1 + 2 * 8 * 8).reshape(1, 2, 8, 8).repeat(400, 1, 1, 1)
    moved = tasks.augmented(x, seeding.torch_generator(3))
    padded = torch.nn.functional.pad(x[0], (4, 4, 4, 4))
    possible = {}
    for mirrored in (False, True):
        for i in range(9):
            for j in range(9):
                window = padded[:, i : i + 8, j : j + 8]
                possible[(window.flip(-1) if mirrored else window).numpy().tobytes()] = mirrored
    seen = [possible[image.contiguous().numpy().tobytes()] for image in moved]
    # 400 fair coins: four standard deviations of 10 around 200.
    assert 160 <= sum(seen) <= 240
    assert len({image.contiguous().numpy().tobytes() for image in moved}) > 100


def test_paper_settings_are_the_papers():
    paper = study.PRESETS["paper"]
    assert (paper.points, paper.copies, paper.fraction, paper.seeds) == (30, 3, 0.2, 3)
    resnet = tasks.TASKS["resnet-20-paper"]
    assert (resnet.steps, resnet.drops, resnet.learning_rate) == (63_000, (32_000, 48_000), 0.1)
    assert tasks.TASKS["lenet-paper"].learning_rate == 1.2e-3
    assert len(study.cells(dataclasses.replace(TINY, easy=(), seeds=2))) == 2 * 4


def dense_record(curve, seed=0, group="hard"):
    settings = {"kind": "dense", "group": group, "name": group, "task": {"steps": 100}}
    return record(settings, {"curve": curve}, seed)


def ticket_record(share, rows, seed=0, rewind="weights"):
    settings = {
        "kind": "tickets", "group": "hard", "name": "hard", "task": {"steps": 100},
        "share": share, "rewind": rewind,
    }  # fmt: skip
    return record(settings, {"rows": rows}, seed)


def row(name, number, error, instability=math.nan, density=0.5):
    return {
        "name": name, "round": number, "density": density, "error": error,
        "instability": instability, "split": instability, "loss_instability": instability,
    }  # fmt: skip


def entry(k, instability, **others):
    return {
        "k": k, "share": k / 100, "instability": instability, "split": instability - 0.01,
        "loss_instability": 3 * instability, "re_estimated": instability / 2,
    } | others  # fmt: skip


RECORDS = [
    dense_record([entry(0, 0.3), entry(5, 0.1), entry(10, 0.015)]),
    ticket_record(
        0.0, [row("dense", 0, 0.20), row("ticket", 1, 0.25, 0.10), row("ticket", 2, 0.30, 0.20)]
    ),
    ticket_record(
        0.1,
        [
            row("dense", 0, 0.22),
            row("ticket", 1, 0.21, 0.01),
            row("ticket", 2, 0.24, 0.03),
            row("random", 2, 0.40, 0.13),
        ],
    ),
]


@pytest.mark.parametrize(
    ("effect", "expected"),
    [
        (effects.unstable_at_start, 0.29),
        (effects.stable_early, 0.005),
        (effects.falls_with_k, 1.0),
        (effects.loss_agrees, 1.0),
        (effects.lowered_by_re_estimation, 0.15),
        # The full network's error is 0.21, the mean over both cells.
        (effects.sparsest_gap, 0.03),
        (effects.unstable_gap, np.mean([0.04, 0.09, 0.03])),
        (effects.matching_stable, 0.01),
        (lambda r: effects.tickets_stable(r, group="hard"), 0.0),
        (lambda r: effects.tickets_stable(r, group="hard", sparsest=True), -0.01),
        (lambda r: effects.control_minus_ticket(r, "random", "error"), 0.16),
        (lambda r: effects.control_minus_ticket(r, "random", "instability"), 0.10),
        (lambda r: effects.later_rewinding(r, "error"), 0.05),
        (lambda r: effects.later_rewinding(r, "instability"), 0.13),
        (lambda r: effects.link(r, "share"), 1.0),
        (lambda r: effects.link(r, "round"), 1.0),
    ],
)
def test_claims_measure_what_they_say(effect, expected):
    assert effect(RECORDS) == {0: pytest.approx(expected)}


def test_masks_of_a_ticket_hold_in_training():
    split = tasks.split("digits", 200, 50, 50)
    task = SHORT["resnet-digits"]
    with seeding.scope(0):
        model = tasks.network(task)
    mask = Mask.ones(model)
    kept = {key: value.clone() for key, value in mask.items()}
    name = next(iter(kept))
    kept[name][0] = False
    trained = tasks.Training(task, *split.train)(
        {"model": model.state_dict()}, 0, 5, 1, mask=Mask(kept)
    )
    assert (trained["model"][name][0] == 0).all()
    assert (trained["model"][name][1] != 0).any()
