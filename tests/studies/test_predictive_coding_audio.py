"""The study's cells of sound learn, compare and hold out what they say."""

import dataclasses

import numpy as np
import pytest

from sidle import runs
from sidle.data.recordings import Recordings
from sidle.errors import ArgumentError
from sidle.studies import predictive_coding_audio as study

TINY = study.AudioDomainSettings(
    datasets=("synthetic",), steps=6, features=8, context_features=8, ahead=3, n_negatives=8,
    batch_size=2, window=0.4, ahead_variants=(2,), negatives_variants=("same-speaker",),
    probe_frames=300, supervised_steps=4,
)  # fmt: skip


def outcome(cell, place):
    with runs.open_run(place, cell.identity("code")) as run:
        return study.run_cell(cell, run)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    cells = study.cells(TINY, 1)
    return {cell.label: outcome(cell, tmp_path_factory.mktemp("audio") / "run") for cell in cells}


def test_cells_are_one_a_variant_and_only_the_first_compares(found):
    assert list(found) == [
        "audio-synthetic-seed0", "audio-synthetic-ahead-2-seed0",
        "audio-synthetic-same-speaker-seed0",
    ]  # fmt: skip
    first, second, third = found.values()
    for what in ("content", "speaker"):
        assert set(first[what]) == {"cpc", "random", "mfcc", "supervised"}
        assert all(0 <= value <= 1 for value in first[what].values())
    assert set(second["content"]) == set(third["content"]) == {"cpc"}
    assert second["speaker"] == {}
    assert first["pretraining"]["ceiling"] == pytest.approx(np.log(9), abs=1e-4)
    assert first["pretraining"]["curve"]["step"][-1] == 6
    assert first["speaker"]["mfcc"] > 0.45  # of four speakers: the probe works


def test_the_same_cell_gives_the_same_result(found, tmp_path):
    cell = study.cells(TINY, 1)[1]
    assert outcome(cell, tmp_path / "again") == found[cell.label]
    other = dataclasses.replace(cell, seed=1)
    assert outcome(other, tmp_path / "other") != found[cell.label]


def digits(n_takes=12):
    """Clips whose samples tell their row, of two speakers."""
    names, speakers, texts, pieces = [], [], [], []
    for speaker in ("ann", "bob"):
        for digit in range(10):
            for take in range(n_takes):
                row = len(names)
                names.append(f"{digit}_{speaker}_{take}.wav")
                speakers.append(speaker)
                texts.append(str(digit))
                pieces.append(np.full(100 + 10 * (row % 3), row, np.int16))
    offsets = np.concatenate([[0], np.cumsum([len(piece) for piece in pieces])]).astype(np.int64)
    return Recordings(
        np.concatenate(pieces), offsets, 8000, tuple(names), tuple(speakers), tuple(texts)
    )


def test_digits_become_sequences_of_one_speaker_with_a_digit_at_each_latent(monkeypatch):
    recordings = digits()
    monkeypatch.setattr(study, "_load", lambda name: recordings)
    data = study.data_of("fsdd", 10, 4, seed=0)
    digit = np.array([int(text) for text in recordings.texts])
    takes = np.array([study._take(name) for name in recordings.names])
    heard = {}
    for name, corpus in (("train", data.train), ("test", data.test)):
        rows = []
        for i in range(len(corpus)):
            samples = corpus.recordings.samples[
                corpus.recordings.offsets[i] : corpus.recordings.offsets[i + 1]
            ]
            assert len({recordings.speakers[row] for row in np.unique(samples)}) == 1
            centres = np.arange(len(samples) // 10) * 10 + 5
            assert np.array_equal(corpus.content[i], digit[samples[centres]])
            rows += list(np.unique(samples))
        assert len(rows) == len(set(rows))
        heard[name] = set(rows)
    assert heard["test"] == set(np.flatnonzero(takes < study.TEST_TAKES))
    assert heard["train"] == set(np.flatnonzero(takes >= study.TEST_TAKES))
    assert data.n_speakers == 2
    again = study.data_of("fsdd", 10, 4, seed=1)
    assert not np.array_equal(again.train.recordings.samples, data.train.recordings.samples)


def test_five_means_cover_a_clip_however_short():
    x = np.arange(20.0).reshape(10, 2)
    found = study._five_means(x).reshape(5, 2)
    np.testing.assert_allclose(found, x.reshape(5, 2, 2).mean(1))
    assert study._five_means(x[:1]).reshape(5, 2).tolist() == [[0, 1]] * 5


def test_bad_settings_are_refused():
    with pytest.raises(ArgumentError, match="negatives"):
        study.AudioDomainSettings(negatives="none")
    with pytest.raises(ArgumentError, match=r"audio\.steps"):
        study.AudioDomainSettings(steps=0)
