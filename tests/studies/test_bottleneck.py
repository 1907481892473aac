"""The study's cells train, measure and attack as they say, and go on after a kill."""

import dataclasses
import math
import warnings

import pytest
import torch
from torch import nn

from sidle import runs, seeding, training
from sidle.errors import ArgumentError
from sidle.evaluation import attacks, statistics
from sidle.studies import bottleneck as study
from sidle.studies import bottleneck_cells as cells
from sidle.studies import bottleneck_claims as claims
from sidle.studies import bottleneck_tasks as tasks
from sidle.studies import bottleneck_training, bottleneck_trials, execution, find
from sidle.studies.bottleneck_tasks import method
from sidle.studies.bottleneck_trials import Subject
from sidle.studies.study import judge

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # foolbox imports names that SciPy has moved
    pytest.importorskip("foolbox", reason="the extra `attacks` is not installed")

SHORT = dataclasses.replace(tasks.TASKS["digits"], epochs=3, hidden=16, dim=8, widths=(8, 8))
TINY = dataclasses.replace(
    study.PRESETS["quick"],
    seeds=1,
    methods=("deterministic", "vib-0.119", "ceb-0", "ceb-2", "ceb-4.6", "adversarial-linf"),
    random_label_images=100,
    random_label_epochs=2,
    train_images=300,
    test_images=60,
    curve_points=3,
    curve_images=50,
    attack_images=6,
    audit_images=2,
    paper_steps=3,
    carlini_wagner_steps=5,
    samples=2,
    corruption_images=10,
)


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setitem(tasks.TASKS, "digits", SHORT)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    root = tmp_path_factory.mktemp("study")
    places = execution.Places(root / "runs", root / "evidence")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(tasks.TASKS, "digits", SHORT)
        return execution.execute(study.STUDY, study.cells(TINY), places, workers=1)


def cell_called(name, settings=TINY):
    return next(cell for cell in study.cells(settings) if cell.label == name)


def test_it_is_found_by_name_and_has_enough_seeds():
    assert find("bottleneck") is study.STUDY
    for name in ("standard", "full"):
        assert study.PRESETS[name].seeds >= statistics.SEEDS_FOR_A_VERDICT


@pytest.mark.parametrize(
    "wrong",
    [
        {"tasks": ("mnist",)},
        {"tasks": ()},
        {"methods": ()},
        {"suite": "slow"},
        {"outliers": ()},
        {"samples": 0},
        {"train_images": -1},
        {"epoch_share": 0.0},
        {"random_label_rate": 0.0},
    ],
)
def test_settings_out_of_range_are_refused_before_any_work(wrong):
    with pytest.raises(ArgumentError, match=next(iter(wrong))):
        study.Settings(**wrong)


def test_presets_train_what_the_claims_ask_for():
    standard, full = study.PRESETS["standard"], study.PRESETS["full"]
    assert standard.train_images == 10_000
    assert set(standard.methods) < set(full.methods)
    assert {"label-smoothing", "vib-0.5", "ceb-1", "adversarial-l2"} <= set(full.methods)
    labels = [cell.label for cell in study.cells(standard)]
    assert len(labels) == 5 * (7 + 3)
    assert all("seed0" in label for label in labels[:10])  # seed by seed


def test_every_cell_finishes_and_every_claim_and_figure_is_served(outcome):
    assert outcome.failures == {}
    assert len(outcome.records) == len(TINY.methods) + len(TINY.random_label_methods)
    # No label smoothing, one VIB, no CEB at rho 1 at quick; others wait for equal accuracy.
    without = {
        "rate-reaches-log-classes-at-1", "residual-vanishes-at-1",
        "better-calibrated-than-smoothing", "vib-spreads-wider",
    }  # fmt: skip
    for claim in claims.CLAIMS:
        found = judge(claim, outcome.records)
        assert found.verdict == "undecided"  # one seed
        if claim.id not in without | {"better-calibrated"}:
            assert found.interval is not None, claim.id
    figures = study.STUDY.figures(outcome.records)
    assert len({figure.id for figure in figures}) == len(figures) == 15


def test_a_cell_holds_everything_its_figures_need(outcome):
    by_label = {record.cell.label: record for record in outcome.records}
    ceb, plain = by_label["digits-ceb-2-seed0"], by_label["digits-deterministic-seed0"]
    assert ceb["log_classes"] == pytest.approx(math.log(10), abs=1e-6)
    assert set(ceb["train"]) == set(ceb["test"]) == {"accuracy", "R", "Re", "I"}
    assert set(plain["train"]) == {"accuracy"}
    assert plain["peak"] == {}
    assert ceb["peak"]["test_R"] == max(ceb["curve"]["test_R"])
    # 300 images in batches of 50, three epochs, at most three points: every 6 of 18 steps.
    assert ceb["curve"]["share"] == pytest.approx([1 / 3, 2 / 3, 1], abs=1e-4)
    for found in (ceb, plain):
        assert set(found["robustness"]["worst"]) == {"linf", "l2", "l1"}
        assert set(found["paper_protocol"]) == {"pgd-linf", "pgd-l2", "carlini-wagner"}
        assert len(found["corruptions"]) >= 10
        assert all(len(row) == 5 for row in found["corruptions"].values())
    # Rates tell outliers only where z is drawn and the marginal was trained.
    assert {"R", "Re"} <= set(ceb["outliers"]["uniform"])
    assert not {"R", "Re"} & set(plain["outliers"]["uniform"])


def test_random_labels_are_drawn_and_the_same_for_every_method(short):
    seen, rates = {}, set()
    with pytest.MonkeyPatch.context() as patch:

        def train(task, chosen, images, test, settings, *rest, **keywords):
            seen[chosen.name] = images[1]
            rates.add(task.learning_rate)
            raise KeyboardInterrupt

        patch.setattr(bottleneck_training, "train", train)
        for name in TINY.random_label_methods:
            with pytest.raises(KeyboardInterrupt):
                cells.run_cell(cell_called(f"digits-random-labels-{name}-seed0"), None)
    first, second = seen.values()
    assert torch.equal(first, second)
    assert rates == {TINY.random_label_rate}
    true = tasks.split(SHORT, TINY.random_label_images).train[1]
    # One in ten agrees by chance: of 100 labels, 10 with a standard deviation of 3.
    assert int((first == true).sum()) < 22


@pytest.mark.parametrize("name", ["ceb-2", "vib-0.119", "adversarial-linf"])
def test_a_killed_cell_goes_on_and_ends_the_same(name, outcome, short, tmp_path, monkeypatch):
    cell = cell_called(f"digits-{name}-seed0")
    whole = next(record for record in outcome.records if record.cell.label == cell.label)
    real, steps, wanted = training.fit, [], []

    def killed(step, batches, n_steps, **keywords):
        wanted[:] = [*range(7), "killed", *range(7, n_steps)]

        def counted(batch):
            if len(steps) == 7:
                steps.append("killed")
                raise RuntimeError("killed")
            steps.append(batch[0])
            return step(batch)

        return real(counted, batches, n_steps, checkpoint_every=0.0, **keywords)

    monkeypatch.setattr(training, "fit", killed)
    identity = cell.identity("")
    with (
        pytest.raises(RuntimeError, match="killed"),
        runs.open_run(tmp_path / "run", identity) as run,
        seeding.scope(cell.seed),
    ):
        cells.run_cell(cell, run)
    with runs.open_run(tmp_path / "run", identity) as run, seeding.scope(cell.seed + 1):
        found = cells.run_cell(cell, run)
    assert len(wanted) > 10
    assert steps == wanted  # nothing twice
    assert found == whole.result


def images(n=200):
    return tasks.split(SHORT, n).train


def trained(name, *, epochs=3, seed=0, n=200, task=SHORT):
    settings = {"samples": 4, "curve_points": 2, "curve_images": 50, "device": "cpu"}
    return bottleneck_training.train(
        task, method(name), images(n), None, settings, seed, None, epochs=epochs
    )


def test_all_methods_begin_with_one_encoder_and_seeds_with_others():
    def weights(name, seed=0):
        model = bottleneck_training.make(SHORT, method(name), 4, "cpu", seed).model
        return model.encoder.state_dict()

    first = weights("deterministic")
    for name in ("ceb-0", "vib-0.119", "consistent-2", "adversarial-l2"):
        for key, value in weights(name).items():
            assert torch.equal(value, first[key]), key
    assert not torch.equal(weights("ceb-0", 1)["stem.weight"], first["stem.weight"])


def test_measuring_the_rate_does_not_touch_the_network(monkeypatch):
    def encoder():
        return trained("ceb-2")[0].model.encoder.state_dict()

    before = encoder()
    monkeypatch.setattr(bottleneck_training, "MARGINAL_RATE", 0.0)
    for key, value in encoder().items():
        assert torch.equal(value, before[key]), key


def test_the_backward_encoder_of_vib_learns_beside_without_touching_the_network(monkeypatch):
    network, _ = trained("vib-0.119", epochs=8)
    x, y = images()
    found = network.measure(x, y, seed=0)["Re"]
    with torch.no_grad():
        network.model.backward_CP.mul_(0)
    assert found < 0.8 * network.measure(x, y, seed=0)["Re"]


def test_rho_falls_from_where_annealing_begins_to_its_value():
    task = dataclasses.replace(SHORT, annealing=0.5)
    rhos = []
    network = bottleneck_training.make(task, method("ceb-1"), 4, "cpu", 0)
    step, _ = bottleneck_training._step(network, task, method("ceb-1"), 8, 0)
    x, y = images(50)
    for index in range(8):
        step((index, x, y))
        rhos.append(network.model.rho)
    start = bottleneck_training.ANNEALED_FROM
    line = [start + (1.0 - start) * share for share in (0, 0.25, 0.5, 0.75, 1)]
    assert rhos == pytest.approx([*line, 1.0, 1.0, 1.0])


def test_adversarial_training_sees_attacked_images_within_their_ball(monkeypatch):
    seen = []
    task = dataclasses.replace(SHORT, attack_steps=2)
    network = bottleneck_training.make(task, method("adversarial-linf"), 4, "cpu", 0)
    real = network.model.loss
    monkeypatch.setattr(
        network.model, "loss", lambda x, *a, **k: seen.append(x) or real(x, *a, **k)
    )
    step, _ = bottleneck_training._step(network, task, method("adversarial-linf"), 4, 0)
    x, y = images(50)
    step((0, x, y))
    moved = (seen[0] - tasks.scaled(x)).abs()
    assert 0.05 < float(moved.max()) <= 0.1 + 1e-6


def test_measures_are_those_of_the_mean_prediction():
    network, curve = trained("ceb-4.6", epochs=40)
    x, y = images()
    found = network.measure(x, y, seed=5)
    subject = network.subject()
    with torch.no_grad(), seeding.scope(0):
        accuracy = (subject.predicts(tasks.scaled(x)).argmax(1) == y).double().mean()
    assert accuracy > 0.5
    # Other draws: a few of 200 images may turn.
    assert found["accuracy"] == pytest.approx(float(accuracy), abs=0.05)
    with torch.no_grad():
        mean_BD = network.model.encode(tasks.scaled(x))
        closed = 0.5 * (mean_BD - network.model.backward_CP[y]).square().sum(1).mean()
    assert found["Re"] == pytest.approx(float(closed), rel=1e-4)
    assert found["I"] <= math.log(10)
    assert len(curve["R"]) == len(curve["share"]) == 2


class _ByBrightness(nn.Module):
    """Class 1 if the mean is above a half, else 0, surer the farther; never class 2."""

    def forward(self, x):
        over = 20 * (x.flatten(1).mean(1) - 0.5)
        return torch.stack([-over, over, torch.full_like(over, -50.0)], 1)


SETTINGS = {
    "device": "cpu", "classes": 3, "task": {"target": 1}, "paper_steps": 10,
    "carlini_wagner_steps": 200, "outlier_sets": ["uniform"], "samples": 1,
}  # fmt: skip


def test_the_papers_protocol_counts_who_is_taken_for_the_target(monkeypatch):
    model = _ByBrightness()
    subject = Subject(model, model)
    # Means may be moved by 0.1: 0.45 over the border to the target, 0.2 and 0.8 not. The third
    # image is wrong from the start, but never of its target.
    means = torch.tensor([0.45, 0.2, 0.35, 0.8])
    wanted = torch.tensor([1, 1, 2, 0])
    monkeypatch.setattr(attacks, "choose_targets", lambda *_, **__: wanted)
    x = means[:, None, None, None].expand(4, 1, 28, 28).contiguous()
    y = torch.tensor([0, 0, 1, 1])
    found, attacked = bottleneck_trials.paper_protocol(subject, x, y, SETTINGS, 0)
    assert found["pgd-linf"] == {"accuracy": 0.5, "success": 0.25, "epsilon": 0.1}
    assert found["pgd-l2"]["success"] == 0.25  # 1.5 moves the mean by 1.5 / 28
    # Carlini-Wagner may go as far as it takes: both of class 0 reach class 1.
    assert found["carlini-wagner"]["success"] == 1.0
    assert len(attacked) == 2
    # 0.05 and 0.3 of the mean are 1.4 and 8.4 in L2; the median of two is the lower.
    assert found["carlini-wagner"]["distance"] == pytest.approx(1.4, rel=0.1)


def test_outliers_bring_their_own_sets_and_the_attacked_ones():
    model = _ByBrightness()
    x = torch.full((6, 1, 8, 8), 0.9)
    subject = Subject(model, model)
    table = bottleneck_trials.outlier_table(subject, x, x[:0], SETTINGS, 0)
    assert list(table) == ["uniform"]
    # Uniform noise has a mean near a half, where this model is unsure.
    assert table["uniform"]["entropy"]["auroc"] == 1.0
    assert list(bottleneck_trials.outlier_table(subject, x, x[:2], SETTINGS, 0)) == [
        "uniform",
        "attacked",
    ]
