"""The extreme classifier: scikit-learn's checks, learning, refusals, resuming, model folders."""

import json

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array, csr_matrix
from sklearn.utils.estimator_checks import parametrize_with_checks

from sidle import runs
from sidle.data.synthetic_extreme import power_law_rows
from sidle.errors import ArgumentError, CheckpointError, NonFiniteError
from sidle.evaluation.ranking import precision_at_k
from sidle.slide import memory
from sidle.slide.classifier import ExtremeClassifier

SIZES = {"n_features": 400, "n_labels": 60, "features_per_row": 12, "labels_per_row": 2, "seed": 0}


def quick(**changes):
    return ExtremeClassifier(**{"hidden": 16, "n_epochs": 4, "threads": 1} | changes)


@pytest.fixture(scope="module")
def data():
    train = power_law_rows(900, part="train", **SIZES)
    test = power_law_rows(300, part="test", **SIZES)
    return train, test


@pytest.fixture(scope="module")
def fitted(data):
    train, _ = data
    return quick().fit(train.features, train.labels)


@parametrize_with_checks([quick(n_epochs=30)])
def test_passes_the_checks_of_scikit_learn(estimator, check):
    check(estimator)


def test_ranks_true_labels_far_above_the_commonest(fitted, data):
    train, test = data
    ranked, scores = fitted.predict_topk(test.features, 5)
    common = np.argsort(-np.bincount(train.labels.indices, minlength=60))[:1]
    constant = precision_at_k(np.repeat(common[None], 300, 0), test.labels, 1)
    assert precision_at_k(ranked, test.labels, 1) > constant + 0.1
    assert (np.diff(scores, axis=1) <= 0).all()
    assert all(len(set(row)) == 5 for row in ranked)


def test_evidence_and_network_complement_each_other(fitted):
    assert set(fitted.validation_) >= {"p@1", "p@3", "p@5"}
    assert len(fitted.blend_.weights) == 11


def test_same_seed_gives_the_same_model_on_any_number_of_threads(data, fitted):
    train, test = data
    again = quick().fit(train.features, train.labels)
    assert torch.equal(again.network_.output.weight, fitted.network_.output.weight)
    found, again = fitted.predict_topk(test.features, 3), again.predict_topk(test.features, 3)
    assert np.array_equal(found[0], again[0])
    assert np.array_equal(found[1], again[1])


def test_rows_are_predicted_alike_alone_and_together(fitted, data):
    rows = data[1].features[:20]
    together = fitted.predict_topk(rows, 4)[0]
    alone = np.concatenate([fitted.predict_topk(rows[[i]], 4)[0] for i in range(20)])
    assert np.array_equal(together, alone)


def test_predictions_come_in_the_form_of_y(data):
    train, test = data
    sparse = quick(n_epochs=1).fit(train.features, train.labels)
    dense = quick(n_epochs=1).fit(train.features.toarray(), train.labels.toarray())
    assert isinstance(sparse.predict(test.features), csr_array)
    assert np.array_equal(
        dense.predict(test.features.toarray()), sparse.predict(csr_matrix(test.features)).toarray()
    )
    probabilities = sparse.predict_proba(test.features)
    assert probabilities.shape == (300, 60)
    assert ((probabilities.data >= 0) & (probabilities.data <= 1)).all()


def test_classes_may_have_names(data):
    train, test = data
    first = train.labels.indices[train.labels.indptr[:-1]]
    names = np.array([f"class {number}" for number in first])
    model = quick(n_epochs=1).fit(train.features, names)
    assert set(model.predict(test.features)) <= set(names)
    assert model.predict_proba(test.features).sum(axis=1) == pytest.approx(1, abs=1e-6)


def test_a_model_folder_gives_the_same_predictions(fitted, data, tmp_path):
    fitted.save(tmp_path, source="a test")
    loaded = ExtremeClassifier.load(tmp_path)
    for one, other in zip(
        fitted.predict_topk(data[1].features, 5), loaded.predict_topk(data[1].features, 5),
        strict=True,
    ):  # fmt: skip
        assert np.array_equal(one, other)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.json", "model.safetensors"]
    assert json.loads((tmp_path / "model.json").read_text())["source"] == "a test"


def test_a_foreign_folder_is_refused(tmp_path):
    (tmp_path / "model.json").write_text('{"format": 99}')
    with pytest.raises(CheckpointError, match="format 2"):
        ExtremeClassifier.load(tmp_path)


def test_interrupted_training_resumes_to_the_same_model(data, fitted, tmp_path, monkeypatch):
    train, test = data
    from sidle.slide.network import BagNetwork

    original, steps = BagNetwork.step, []

    def breaking(self, schedule):
        inner = original(self, schedule)

        def step(batch):
            steps.append(batch[0])
            if len(steps) == 12:
                raise KeyboardInterrupt
            return inner(batch)

        return step

    monkeypatch.setattr(BagNetwork, "step", breaking)
    monkeypatch.setattr("sidle.training.SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    monkeypatch.setitem(
        __import__("sidle.training", fromlist=["fit"]).fit.__kwdefaults__, "checkpoint_every", 0.0
    )
    identity = runs.Identity(settings={"test": 1})
    with pytest.raises(KeyboardInterrupt), runs.open_run(tmp_path, identity) as run:
        quick().fit(train.features, train.labels, run=run)
    with runs.open_run(tmp_path, identity) as run:
        resumed = quick().fit(train.features, train.labels, run=run)
    assert steps[12] == 11  # went on where it stopped, not from the beginning
    assert torch.equal(resumed.network_.output.weight, fitted.network_.output.weight)
    assert np.array_equal(
        resumed.predict_topk(test.features, 5)[1], fitted.predict_topk(test.features, 5)[1]
    )


def test_residual_block_and_dropout_train(data):
    train, _ = data
    model = quick(residual=True, dropout=0.5).fit(train.features, train.labels)
    assert not (model.network_.block[2].weight == 0).all()
    losses = [record["loss"] for record in model.history_]
    assert losses[-1] < losses[0]


def test_rows_without_features_or_labels_are_taken(data):
    train, _ = data
    features, labels = train.features.toarray(), train.labels.toarray()
    features[:5], labels[5:10] = 0, 0
    model = quick(n_epochs=1).fit(csr_array(features), csr_array(labels))
    ranked, _ = model.predict_topk(csr_array((2, 400), dtype=np.float32), 3)
    assert (ranked >= 0).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden": 0}, "hidden must be at least 1"),
        ({"dropout": 1.0}, "dropout must lie in"),
        ({"weighting": "bm25"}, "weighting must be one of"),
        ({"neighbours": -1}, "neighbours must be at least 0"),
    ],
)
def test_refuses_settings_out_of_range(settings, message, data):
    with pytest.raises(ArgumentError, match=message):
        quick(**settings).fit(data[0].features, data[0].labels)


def test_refuses_bad_data_in_words(fitted, data):
    train, test = data
    with pytest.raises(ArgumentError, match="no row has a label"):
        quick().fit(train.features, csr_array(train.labels.shape, dtype=np.float32))
    with pytest.raises(ArgumentError, match="entries 0 and 1"):
        quick().fit(train.features, train.labels * 2)
    with pytest.raises(ArgumentError, match="inconsistent"):
        quick().fit(train.features[:10], train.labels)
    with pytest.raises(ArgumentError, match="399 features"):
        fitted.predict_topk(test.features[:, :399])
    with pytest.raises(ArgumentError, match="k must be from 1 to 60"):
        fitted.predict_topk(test.features, 61)
    broken = test.features.copy()
    broken.indices[3] = 400
    with pytest.raises(ArgumentError, match="index is out of range"):
        fitted.predict_topk(broken)
    broken = train.labels.copy()
    broken.indices[3] = 60
    with pytest.raises(ArgumentError, match="index is out of range"):
        quick().fit(train.features, broken)
    broken = test.features.copy()
    broken.data[3] = np.nan
    with pytest.raises(NonFiniteError, match="NaN"):
        fitted.predict_topk(broken)
    with pytest.raises(ArgumentError, match="counts above 0"):
        quick(weighting="tfidf").fit(-train.features, train.labels)


def test_refuses_more_outputs_than_memory_holds_before_allocating(data, monkeypatch):
    train, _ = data
    wide = csr_array(
        (train.labels.data, train.labels.indices, train.labels.indptr), shape=(900, 2**31 - 1)
    )
    with pytest.raises(ArgumentError, match=r"GB of memory, but .* available"):
        quick().fit(train.features, wide)
    monkeypatch.setattr(memory, "available", lambda: 200_000)
    with pytest.raises(ArgumentError, match=r"need .* of memory"):
        quick().fit(train.features, train.labels)
