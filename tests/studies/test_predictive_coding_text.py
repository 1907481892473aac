"""The study's cells of text learn from running text and compare on the same splits."""

import dataclasses

import numpy as np
import pytest

from sidle import runs
from sidle.data.text import SourceText
from sidle.errors import ArgumentError
from sidle.studies import predictive_coding_text as study

TINY = study.TextDomainSettings(
    corpora=("standard-library",), sets=("standard-library",), steps=4, batch_size=4, pieces=3,
    vocabulary=100, word_features=8, features=8, context_features=8, ahead=2, n_negatives=4,
)  # fmt: skip
TOPICS = {
    "json": ("string", "decoder", "object"),
    "email": ("message", "header", "address"),
    "http": ("server", "request", "cookie"),
}


@pytest.fixture
def library(monkeypatch):
    """A small library whose packages speak of different things."""
    generator = np.random.default_rng(0)
    names, contents = [], []
    for package, words in TOPICS.items():
        for file in range(6):
            said = [
                f"The {generator.choice(words)} takes the {generator.choice(words)} and a value."
                for _ in range(8)
            ]
            names.append(f"{package}/file{file}.py")
            contents.append('"""' + " ".join(said) + '"""\n')
    found = SourceText(tuple(names), tuple(contents))
    monkeypatch.setattr(study.text, "standard_library", lambda **_: found)
    for cached in (study.running_text, study.labelled_sentences):
        cached.cache_clear()
    yield found
    for cached in (study.running_text, study.labelled_sentences):
        cached.cache_clear()


def outcome(cell, place):
    with runs.open_run(place, cell.identity("code")) as run:
        return study.run_cell(cell, run)


@pytest.mark.usefixtures("library")
def test_all_methods_are_read_on_held_out_files(tmp_path):
    (cell,) = study.cells(TINY, 1)
    found = outcome(cell, tmp_path / "one")
    accuracies = found["accuracy"]["standard-library"]
    assert set(accuracies) == {"cpc", "random", "random-words", "lsa", "words", "tf-idf"}
    assert accuracies["words"] > 0.9  # topics are told by their words
    assert accuracies["tf-idf"] > 0.9
    assert found["pretraining"]["ceiling"] == pytest.approx(np.log(5), abs=1e-4)
    assert outcome(cell, tmp_path / "again") == found
    other = dataclasses.replace(cell, seed=1)
    assert outcome(other, tmp_path / "other") != found


def test_files_are_held_out_whole(library):
    labelled = study.labelled_sentences("standard-library")
    ((fitted, tested),) = labelled.splits
    assert len(fitted) + len(tested) == len(labelled.labels) == len(labelled.sentences) == 144
    assert len(tested) == 4 * 8  # a quarter of 18 files
    files = np.repeat(np.arange(18), 8)
    assert not set(files[fitted]) & set(files[tested])
    assert len(library.names) == 18


def test_folds_test_every_sentence_once(monkeypatch, tmp_path):
    lines = [f"{i % 2} sentence number {i}" for i in range(37)]
    (tmp_path / "custrev.all.gz").write_text("\n".join(lines) + "\n", encoding="latin-1")
    monkeypatch.setattr(study.sources, "resolve", lambda name: tmp_path)
    study.labelled_sentences.cache_clear()
    labelled = study.labelled_sentences("CR")
    study.labelled_sentences.cache_clear()
    assert len(labelled.splits) == study.FOLDS
    tested = np.concatenate([part for _, part in labelled.splits])
    assert sorted(tested) == list(range(37))
    for fitted, own in labelled.splits:
        assert not set(fitted) & set(own)
        assert len(fitted) + len(own) == 37


def test_bad_settings_are_refused():
    with pytest.raises(ArgumentError, match=r"text\.sets"):
        study.TextDomainSettings(sets=("SST",))
    with pytest.raises(ArgumentError, match="pieces"):
        study.TextDomainSettings(pieces=1)
