"""Cepstra are what their definition says, and hear what they should."""

import math

import numpy as np
import pytest

from sidle.data import cepstra
from sidle.errors import ArgumentError, ShapeError

RATE, HOP = 8000, 80


def tone(hertz, seconds=0.5):
    return np.sin(2 * math.pi * hertz * np.arange(int(seconds * RATE)) / RATE)


def test_a_frame_is_the_definition_computed_by_hand():
    x = np.random.default_rng(0).standard_normal(800)
    found = cepstra.mfcc(x, RATE, hop=HOP)
    assert found.shape == (10, 13)
    t, size = 4, 200
    emphasised = np.concatenate([x[:1], x[1:] - 0.97 * x[:-1]])
    start = t * HOP + HOP // 2 - size // 2
    window = emphasised[start : start + size] * np.hamming(size)
    power = np.array(
        [
            abs(sum(window[n] * np.exp(-2j * math.pi * f * n / 256) for n in range(size))) ** 2
            / 256
            for f in range(129)
        ]
    )
    logs = np.log(cepstra.mel_filters(26, 256, RATE) @ power + 1e-10)
    for k in range(13):
        scale = math.sqrt((1 if k == 0 else 2) / 26)
        expected = scale * sum(
            logs[b] * math.cos(math.pi * k * (2 * b + 1) / 52) for b in range(26)
        )
        assert found[t, k] == pytest.approx(expected, abs=1e-4)


def test_filters_are_triangles_that_add_up_to_one_between_the_outer_tops():
    filters = cepstra.mel_filters(20, 512, RATE)
    assert filters.shape == (20, 257)
    assert filters.max() <= 1
    tops = filters.argmax(1)
    assert (np.diff(tops) > 0).all()
    np.testing.assert_allclose(filters[:, tops[0] + 1 : tops[-1]].sum(0), 1, atol=1e-9)
    assert (np.diff(tops[10:]) >= np.diff(tops[9:-1]) - 1).all()  # wider further up


def test_loudness_moves_the_first_coefficient_alone_and_pitch_the_others():
    x = tone(500) + 0.01 * np.random.default_rng(1).standard_normal(4000)
    quiet, loud = (cepstra.mfcc(a * x, RATE, hop=HOP)[5:45] for a in (1.0, 3.0))
    np.testing.assert_allclose(loud[:, 0] - quiet[:, 0], math.sqrt(26) * 2 * math.log(3), atol=1e-3)
    np.testing.assert_allclose(loud[:, 1:], quiet[:, 1:], atol=1e-3)
    other = cepstra.mfcc(tone(2000), RATE, hop=HOP)[5:45]
    assert np.abs(other[:, 1:] - quiet[:, 1:]).mean() > 1


def test_silence_is_finite_and_frames_are_centred():
    assert np.isfinite(cepstra.mfcc(np.zeros(400), RATE, hop=HOP)).all()
    click = np.zeros(1600)
    click[10 * HOP + HOP // 2] = 1
    energy = cepstra.mfcc(click, RATE, hop=HOP)[:, 0]
    heard = np.flatnonzero(energy > energy.min() + 1)
    assert (heard.min() + heard.max()) / 2 == 10


def test_stacking_puts_neighbours_beside():
    x = np.arange(4.0)[:, None]
    assert cepstra.stacked(x, 1).tolist() == [[0, 0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 3]]
    assert cepstra.stacked(x, 0).tolist() == x.tolist()


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: cepstra.mfcc(np.zeros((2, 200)), RATE, hop=HOP), ShapeError, "waveform"),
        (lambda: cepstra.mfcc(np.zeros(79), RATE, hop=HOP), ShapeError, "L >= 80"),
        (
            lambda: cepstra.mfcc(np.zeros(200), RATE, hop=HOP, n_coefficients=30),
            ArgumentError,
            "n_bands",
        ),
        (lambda: cepstra.stacked(np.zeros((3, 2)), -1), ArgumentError, "context"),
    ],
)
def test_bad_input_is_refused(call, error, says):
    with pytest.raises(error, match=says):
        call()
