"""Mel-frequency cepstral coefficients (MFCC): what speech was recognised by before networks.

The power spectrum of windows of 25 ms every 10 ms, summed into triangles evenly spaced on the mel
scale, its logarithm, and the first coefficients of its cosine transform [DM]. `stacked` puts the
frames around each one beside it, so that a linear classifier sees some context.

Letters: L = samples; T = frames; K = coefficients; B = mel bands.
References: [DM] Davis & Mermelstein 1980, IEEE Trans. Acoustics, Speech and Signal Processing
28(4). [HTK] Young et al. 2006, The HTK Book, section 5.4 (mel scale, pre-emphasis 0.97).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.fft import dct

from sidle.errors import ArgumentError, ShapeError

Array = np.ndarray[Any, Any]

WINDOW_SECONDS = 0.025
PRE_EMPHASIS = 0.97
_SMALLEST = 1e-10  # power of a band, against logarithms of nothing


def mfcc(
    waveform_L: Array,
    sample_rate: int,
    *,
    hop: int,
    n_coefficients: int = 13,
    n_bands: int = 26,
) -> Array:
    """Return MFCC of a waveform, float32 (T, K), T = L // hop.

    Frame t is centred at sample hop t + hop / 2, as latents of `sidle.cpc`'s encoder of sound; the
    waveform is taken for silence beyond its ends.

    Args:
        waveform_L: samples, floating point.
        sample_rate: samples a second.
        hop: samples between frames.
        n_coefficients: K, the first of them the log energy's mean.
        n_bands: B, at least K.

    Raises:
        ShapeError: not one dimension, or shorter than a hop.
        ArgumentError: numbers out of range.
    """
    if waveform_L.ndim != 1 or len(waveform_L) < hop:
        raise ShapeError(
            f"mfcc: expected a waveform (L,) with L >= {hop}, got shape {waveform_L.shape}."
        )
    if not 1 <= n_coefficients <= n_bands or hop < 1 or sample_rate < 1:
        raise ArgumentError(
            "mfcc: expected 1 <= n_coefficients <= n_bands and positive hop and sample_rate, got "
            f"{n_coefficients}, {n_bands}, {hop} and {sample_rate}."
        )
    size = round(WINDOW_SECONDS * sample_rate)
    transform = 1 << max(1, size - 1).bit_length()
    plain = waveform_L.astype(np.float64)
    emphasised = np.append(plain[:1], plain[1:] - PRE_EMPHASIS * plain[:-1])
    before = max(0, (size - hop) // 2)
    padded = np.pad(emphasised, (before, size))
    n_frames = len(plain) // hop
    windows_TL = np.lib.stride_tricks.sliding_window_view(padded, size)[: n_frames * hop : hop]
    power_TF = (
        np.abs(np.fft.rfft(windows_TL * np.hamming(size), transform, axis=1)) ** 2 / transform
    )
    bands_TB = power_TF @ mel_filters(n_bands, transform, sample_rate).T
    found: Array = dct(np.log(bands_TB + _SMALLEST), type=2, norm="ortho", axis=1)
    return found[:, :n_coefficients].astype(np.float32)


def mel_filters(n_bands: int, transform: int, sample_rate: int) -> Array:
    """Return triangles evenly spaced on the mel scale, (B, transform // 2 + 1), heights at most 1.

    They reach from 0 to half of the sample rate, each from its neighbour's top to the other's.
    """
    top = _mel(sample_rate / 2)
    edges = _hertz(np.linspace(0, top, n_bands + 2))
    hertz_F = np.fft.rfftfreq(transform, 1 / sample_rate)
    rising = (hertz_F - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - hertz_F) / (edges[2:] - edges[1:-1])[:, None]
    found: Array = np.clip(np.minimum(rising, falling), 0, None)
    return found


def stacked(features_TK: Array, context: int) -> Array:
    """Return each frame with ``context`` frames before and after beside it, (T, (2 c + 1) K).

    Beyond the ends the first and the last frame stand in.
    """
    if context < 0 or features_TK.ndim != 2:
        raise ArgumentError(
            f"stacked: expected features (T, K) and a context of at least 0, got "
            f"{features_TK.shape} and {context}."
        )
    T = len(features_TK)
    around = np.clip(np.arange(T)[:, None] + np.arange(-context, context + 1), 0, T - 1)
    found: Array = features_TK[around].reshape(T, -1)
    return found


def _mel(hertz: float) -> float:
    return float(2595 * np.log10(1 + hertz / 700))


def _hertz(mel: Array) -> Array:
    found: Array = 700 * (10 ** (mel / 2595) - 1)
    return found
