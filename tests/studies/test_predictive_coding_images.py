"""The study's cells of images learn without labels, and compare by the same labels."""

import dataclasses

import numpy as np
import pytest

from sidle import runs
from sidle.errors import ArgumentError
from sidle.studies import predictive_coding_images as study

TINY = study.ImagesSettings(
    datasets=("digits",), train_images=200, test_images=100, steps=8, batch_size=20, grid=3,
    encoder="residual", width=4, features=8, context_features=8, ahead=(1, 2), n_negatives=16,
    fractions=(0.1, 1.0), supervised_steps=20, supervised_rates=(1e-3, 3e-3),
)  # fmt: skip


def outcome(cell, place):
    with runs.open_run(place, cell.identity("code")) as run:
        return study.run_cell(cell, run)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    (cell,) = study.cells(TINY, 1)
    return outcome(cell, tmp_path_factory.mktemp("images") / "run")


def test_all_methods_are_given_each_share_of_the_labels(found):
    assert set(found["accuracy"]) == {"cpc", "random", "pca", "pixels", "supervised"}
    for by_share in found["accuracy"].values():
        assert set(by_share) == {"0.1", "1"}
    assert found["accuracy"]["pixels"]["1"] > 0.8
    assert found["accuracy"]["pixels"]["1"] > found["accuracy"]["pixels"]["0.1"]
    assert found["pretraining"]["ceiling"] == pytest.approx(np.log(17), abs=1e-4)


def test_the_same_cell_gives_the_same_result(found, tmp_path):
    (cell,) = study.cells(TINY, 1)
    assert outcome(cell, tmp_path / "again") == found
    assert outcome(dataclasses.replace(cell, seed=1), tmp_path / "other") != found


def test_training_with_labels_learns_from_the_given_rows_alone(monkeypatch):
    (cell,) = study.cells(
        dataclasses.replace(TINY, supervised_steps=80, supervised_rates=(2e-2,)), 1
    )
    training, test = study._rows(cell)
    rows = np.arange(150)
    choice = study.chosen(cell, training, rows)
    plain = study.supervised(cell, choice, training, test, rows)
    changed = dataclasses.replace(training, labels=training.labels.copy())
    changed.labels[150:] = 0
    assert study.chosen(cell, changed, rows) == choice
    assert study.supervised(cell, choice, changed, test, rows) == plain
    changed.labels[:] = np.random.default_rng(0).permutation(training.labels)
    assert study.supervised(cell, choice, changed, test, rows) < plain - 0.08
    assert plain > 0.2


def test_few_labels_are_drawn_several_times_and_all_of_them_once(monkeypatch, tmp_path):
    (cell,) = study.cells(dataclasses.replace(TINY, label_draws=3, supervised_steps=2), 1)
    seen = []
    monkeypatch.setattr(
        study, "supervised", lambda cell, choice, training, test, rows: seen.append(rows) or 0.5
    )
    monkeypatch.setattr(study, "pretrained", lambda *given: {})
    values = iter([0.1, 0, 0, 0, 0.2, 0, 0, 0, 0.6, 0, 0, 0, 0.9, 0, 0, 0])  # "cpc" comes first
    order = []

    def probe(x, y, x_test, y_test, *, seed):
        order.append(len(y))
        found = dataclasses.make_dataclass("Found", ["accuracy"])
        return found(next(values))

    monkeypatch.setattr(study.probes, "linear_probe", probe)
    monkeypatch.setattr(study, "_number_of_components", lambda *given: 4)
    with runs.open_run(tmp_path / "run", cell.identity("code")) as run:
        result = study.run_cell(cell, run)
    assert [len(rows) for rows in seen] == [19, 19, 19, 200]  # a share of each class
    assert len({tuple(rows) for rows in seen}) == 4
    assert order == [19] * 12 + [200] * 4
    assert result["accuracy"]["supervised"] == {"0.1": 0.5, "1": 0.5}
    assert result["accuracy"]["cpc"] == {"0.1": 0.3, "1": 0.9}  # the mean of three, and one


def test_as_many_components_are_taken_as_tell_held_out_labels_best():
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(2), 40)
    x = generator.standard_normal((80, 512)).astype(np.float32)
    x[:, 3] += 6 * labels  # the first sixteen know all, the others nothing
    assert study._number_of_components(x, labels, np.arange(80), 0) == 16
    x[:, 3] -= 6 * labels
    x[:, 500] += 100 * labels
    x[:, 300:500] += labels[:, None]
    assert study._number_of_components(x, labels, np.arange(80), 0) == 512


def test_bad_settings_are_refused():
    with pytest.raises(ArgumentError, match="fractions"):
        study.ImagesSettings(fractions=(0.0,))
    with pytest.raises(ArgumentError, match=r"images\.steps"):
        study.ImagesSettings(steps=0)
    with pytest.raises(ArgumentError, match="brightness"):
        study.ImagesSettings(brightness=1.0)
