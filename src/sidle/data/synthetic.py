"""Synthetic speech with known phones and speakers: the embedded default for audio.

A source-filter synthesiser in the manner of [K]. The source is a train of glottal pulses with
jitter and shimmer, or noise; the filter is a cascade of resonances whose first three move from
phone to phone (coarticulation), and for turbulence a parallel bank. A speaker is a pitch, a
length of the vocal tract (which scales all resonances), a breathiness, a jitter and a rate.
What is said are random syllables, so neither words nor sentences can be learned from it. It is
synthetic, and named so wherever it appears.

The filter changes every `_FRAME_SECONDS`; each frame of the source, under a Hann window, is
multiplied by the filter's frequency response, and the frames are added where they overlap.
Letters: M = samples, P = phones, T = frames, F = frequencies of the transform, K = keypoints.
Reference: [K] Klatt 1980, J. Acoust. Soc. Am. 67, 971-995; more in `phones`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sidle import seeding
from sidle.data.phones import CONSONANTS, PHONE_NAMES, PHONES, SILENCE, VOWELS, Phone
from sidle.data.recordings import Recordings, Segments, offsets_of, to_int16
from sidle.errors import ArgumentError

MIN_SECONDS, MAX_SECONDS = 1.0, 600.0
"""The shortest and the longest utterance that can be asked for."""

# Averages over the vowels of [PB] table II: pitch of men and of women, and how much higher the
# formants of women lie.
_PITCH_HZ = (132.0, 223.0)
_FORMANT_SCALE = (1.0, 1.16)

_FRAME_SECONDS = 0.010
_TRANSFORM_FRAMES = 6  # the response of the narrowest resonance, 40 Hz, sinks by 43 dB in four
_FRAMES_AT_ONCE = 128  # some 5 MB of spectra
_HIGH_FORMANTS = np.array([3300.0, 3750.0, 4900.0, 5900.0, 6900.0, 7900.0])  # to F6: [K] table I
_HIGH_BANDWIDTHS = np.array([250.0, 200.0, 1000.0, 1000.0, 1000.0, 1000.0])
_GLOTTAL_BANDWIDTH = 100.0  # [K]: two poles at 0 Hz turn pulses into puffs of air
_NASAL_POLE, _NASAL_ZERO, _NASAL_BANDWIDTH = 270.0, 450.0, 100.0  # [K] table III
# [K]: what the program adds to the levels of F2, F3, F4, F5, F6 and the unfiltered path, in dB.
_NOISE_SCALE = np.array([-65.0, -75.0, -78.0, -79.0, -80.0, -84.0])

# Levels of the sources against a vowel's voicing, set by measuring: fricatives then lie 8 to 25
# dB below vowels, as in speech.
_NOISE_GAIN = 0.5
_ASPIRATION_GAIN = 0.012
_VOICED_FRICATIVE, _VOICE_BAR, _NASAL_VOICING = 0.4, 0.15, 0.8
_SHIMMER = 0.04
_FORMANT_SPREAD = 0.05  # of the logarithm; no two tokens of a phone are alike
_BACKGROUND = 3e-4  # of full scale
_PEAK = 0.6  # of full scale
_RAMP_SECONDS = 0.005
_BURST_SECONDS = 0.012


@dataclass(frozen=True)
class Voice:
    """A synthetic speaker.

    Attributes:
        pitch_hz: average frequency of the vocal folds.
        formant_scale: factor on all resonances; 1 is the average man's vocal tract.
        breathiness: noise in voiced sounds, 0 to 1.
        jitter: standard deviation of a period against the mean, 0 to 0.05.
        rate: factor on all durations.
    """

    pitch_hz: float
    formant_scale: float
    breathiness: float
    jitter: float
    rate: float


@dataclass(frozen=True)
class _Tract:
    """The vocal tract during one utterance of P phones.

    Attributes:
        scale: the speaker's factor on all resonances.
        phones: what is said.
        formants_P3: F1 to F3 of each, in Hz, the speaker's factor included.
    """

    scale: float
    phones: Sequence[Phone]
    formants_P3: np.ndarray[Any, Any]

    @property
    def widths_P3(self) -> np.ndarray[Any, Any]:
        """B1 to B3 of each phone, in Hz."""
        return np.array([phone.bandwidths for phone in self.phones]) * self.scale


def voices(n_speakers: int, seed: int) -> tuple[Voice, ...]:
    """Return the speakers of `speech`, in turn with a low and with a high voice.

    Raises:
        ArgumentError: fewer than one speaker, or a seed that is none.
    """
    if n_speakers < 1:
        raise ArgumentError(f"voices: n_speakers must be at least 1, got {n_speakers}.")
    speakers = []
    for speaker in range(n_speakers):
        generator = seeding.numpy_generator(seeding.split(seed, "voice", speaker))
        speakers.append(
            Voice(
                pitch_hz=_PITCH_HZ[speaker % 2] * float(np.exp(generator.normal(0, 0.1))),
                formant_scale=_FORMANT_SCALE[speaker % 2] * float(generator.uniform(0.93, 1.07)),
                breathiness=float(generator.uniform(0.05, 0.6)),
                jitter=float(generator.uniform(0.003, 0.015)),
                rate=float(generator.uniform(0.85, 1.2)),
            )
        )
    return tuple(speakers)


def speech(
    n_speakers: int,
    n_utterances: int,
    *,
    seed: int,
    seconds: float = 2.0,
    sample_rate: int = 16_000,
) -> Recordings:
    """Synthesise utterances of random syllables.

    Speaker s and utterance u depend on ``seed``, s and u only: asking for more adds to what
    there was.

    Args:
        n_speakers: how many speakers, at least 1.
        n_utterances: how many utterances of each, at least 1.
        seed: a non-negative integer.
        seconds: length of every utterance, `MIN_SECONDS` to `MAX_SECONDS`.
        sample_rate: 8,000 to 48,000 Hz.

    Returns:
        n_speakers x n_utterances recordings of equal length, speaker by speaker, named
        "synthetic-speaker00/utterance000" and so on; the segments cover each from end to end,
        their phones are numbered as in `phones.PHONES`; the transcript lists the phones.

    Raises:
        ArgumentError: an argument out of its range.
    """
    if n_utterances < 1:
        raise ArgumentError(f"speech: n_utterances must be at least 1, got {n_utterances}.")
    if not MIN_SECONDS <= seconds <= MAX_SECONDS:
        raise ArgumentError(
            f"speech: seconds must be from {MIN_SECONDS} to {MAX_SECONDS}, got {seconds}."
        )
    if not 8_000 <= sample_rate <= 48_000:
        raise ArgumentError(
            f"speech: sample_rate must be from 8,000 to 48,000 Hz, got {sample_rate}."
        )
    pieces, names, speakers, phones, bounds = [], [], [], [], []
    for speaker, voice in enumerate(voices(n_speakers, seed)):
        for utterance in range(n_utterances):
            stream = seeding.split(seed, "utterance", speaker, utterance)
            generator = seeding.numpy_generator(stream)
            said, ends = _syllables(voice, round(seconds * sample_rate), sample_rate, generator)
            pieces.append(_utter(voice, said, ends, sample_rate, generator))
            speakers.append(f"synthetic-speaker{speaker:02d}")
            names.append(f"{speakers[-1]}/utterance{utterance:03d}")
            phones.append(said)
            bounds.append(ends)
    segments = Segments(
        np.repeat(np.arange(len(phones)), [len(said) for said in phones]).astype(np.int64),
        np.concatenate([ends[:-1] for ends in bounds]),
        np.concatenate([ends[1:] for ends in bounds]),
        np.concatenate([np.array(said, np.int64) for said in phones]),
        PHONE_NAMES,
    )
    return Recordings(
        np.concatenate(pieces),
        offsets_of([len(piece) for piece in pieces]),
        sample_rate,
        tuple(names),
        tuple(speakers),
        tuple(" ".join(PHONE_NAMES[phone] for phone in said) for said in phones),
        segments,
    )


def _syllables(
    voice: Voice, n_samples: int, sample_rate: int, generator: np.random.Generator
) -> tuple[list[int], np.ndarray[Any, Any]]:
    """Draw phones that fill ``n_samples``; return them and their bounds, one more, int64."""
    said, bounds = [SILENCE], [0]

    def length(phone: int) -> int:
        spread = float(np.exp(generator.normal(0, 0.15)))
        return round(PHONES[phone].seconds * voice.rate * spread * sample_rate)

    bounds.append(length(SILENCE))
    while True:
        syllable = [int(generator.choice(VOWELS))]
        if generator.random() < 0.85:
            syllable.insert(0, int(generator.choice(CONSONANTS)))
        if generator.random() < 0.35:
            syllable.append(int(generator.choice(CONSONANTS)))
        if generator.random() < 0.15:
            syllable.append(SILENCE)
        ends = bounds[-1] + np.cumsum([length(phone) for phone in syllable])
        if ends[-1] + PHONES[SILENCE].seconds / 2 * sample_rate > n_samples:
            break
        said += syllable
        bounds += ends.tolist()
    if said[-1] == SILENCE:  # the last one lasts to the end
        bounds[-1] = n_samples
    else:
        said.append(SILENCE)
        bounds.append(n_samples)
    return said, np.array(bounds, np.int64)


def _utter(
    voice: Voice,
    said: Sequence[int],
    bounds: np.ndarray[Any, Any],
    sample_rate: int,
    generator: np.random.Generator,
) -> np.ndarray[Any, Any]:
    """Return the samples of one utterance, int16, as long as the last of ``bounds``."""
    n_samples = int(bounds[-1])
    times_M = np.arange(n_samples) / sample_rate
    times_K, levels_K3 = _levels(said, bounds / sample_rate)
    voicing_M, aspiration_M, frication_M = (
        np.interp(times_M, times_K, level_K) for level_K in levels_K3.T
    )
    formants_P3 = np.array([PHONES[phone].formants for phone in said]) * voice.formant_scale
    formants_P3 *= np.exp(generator.normal(0, _FORMANT_SPREAD, formants_P3.shape))
    pulses_M = _pulses(voice, n_samples, sample_rate, generator)
    noise_2M = generator.standard_normal((2, n_samples), np.float32)
    breath_M = aspiration_M + voice.breathiness * voicing_M
    sources_3M = np.stack(
        [
            pulses_M * voicing_M,
            noise_2M[0] * breath_M * _ASPIRATION_GAIN,
            noise_2M[1] * frication_M * _NOISE_GAIN,
        ]
    )
    tract = _Tract(voice.formant_scale, [PHONES[phone] for phone in said], formants_P3)
    sound_M = _filtered(sources_3M.astype(np.float32), tract, bounds / sample_rate, sample_rate)
    loudest = max(float(np.abs(sound_M).max()), 1e-9)
    background_M = _BACKGROUND * generator.standard_normal(n_samples, np.float32)
    return to_int16(sound_M * (_PEAK / loudest) + background_M)


def _levels(
    said: Sequence[int], bounds: np.ndarray[Any, Any]
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return times of shape (K,), seconds, and levels of shape (K, 3) to interpolate between.

    The levels are of voicing, aspiration and frication; a vowel's voicing is 1.
    """
    rows: list[tuple[float, float, float, float]] = []
    for phone, start, end in zip(said, bounds[:-1], bounds[1:], strict=True):
        first, last = start + _RAMP_SECONDS, end - _RAMP_SECONDS
        kind, voiced = PHONES[phone].kind, PHONES[phone].voiced
        if kind == "plosive":
            # Closure (a voiced one hums), burst, and for a voiceless one breath until the end.
            hum, breath = (_VOICE_BAR, 0.0) if voiced else (0.0, 1.0)
            release = start + 0.55 * (end - start)
            rows.append((first, hum, 0.0, 0.0))
            rows.append((release - 0.001, hum, 0.0, 0.0))
            rows.append((release, hum, breath, 1.0))
            rows.append((min(release + _BURST_SECONDS, last - 0.001), hum, breath, 0.0))
            rows.append((last, hum, breath, 0.0))
            continue
        level = {
            "silence": (0.0, 0.0, 0.0),
            "vowel": (1.0, 0.0, 0.0),
            "approximant": (0.8, 0.0, 0.0),
            "nasal": (_NASAL_VOICING, 0.0, 0.0),
            "fricative": (_VOICED_FRICATIVE if voiced else 0.0, 0.0, 0.5 if voiced else 1.0),
        }[kind]
        rows += [(first, *level), (last, *level)]
    table = np.array(rows)
    return table[:, 0], table[:, 1:]


def _pulses(
    voice: Voice, n_samples: int, sample_rate: int, generator: np.random.Generator
) -> np.ndarray[Any, Any]:
    """Return one impulse for each closure of the vocal folds, shape (M,)."""
    n_knots = max(2, round(4 * n_samples / sample_rate))  # four turns of the melody a second
    melody = np.exp(generator.normal(0, 0.05, n_knots))
    melody *= np.linspace(1.08, 0.92, n_knots)  # the voice sinks towards the end
    positions_M = np.arange(n_samples)
    pitch_M = voice.pitch_hz * np.interp(positions_M, np.linspace(0, n_samples, n_knots), melody)
    periods_M = np.cumsum(pitch_M) / sample_rate  # periods since the beginning
    n_pulses = int(periods_M[-1])
    steps = 1 + voice.jitter * generator.standard_normal(n_pulses)
    at = np.interp(np.cumsum(np.clip(steps, 0.5, 1.5)), periods_M, positions_M)
    heights = 1 + _SHIMMER * generator.standard_normal(n_pulses)
    # An impulse between two samples is shared out between them.
    whole = np.minimum(at.astype(np.int64), n_samples - 2)
    part = at - whole
    pulses_M = np.bincount(whole, heights * (1 - part), n_samples)
    pulses_M += np.bincount(whole + 1, heights * part, n_samples)
    return pulses_M


def _filtered(
    sources_3M: np.ndarray[Any, Any],
    tract: _Tract,
    bounds: np.ndarray[Any, Any],
    sample_rate: int,
) -> np.ndarray[Any, Any]:
    """Send voicing, aspiration and frication through the vocal tract; return the sum, (M,).

    ``bounds`` are those of the phones, in seconds.
    """
    from scipy import fft

    n_samples = sources_3M.shape[1]
    hop = round(_FRAME_SECONDS * sample_rate)
    n_frames = n_samples // hop + 2
    window = (0.5 - 0.5 * np.cos(np.pi * np.arange(2 * hop) / hop)).astype(np.float32)
    padded = np.zeros((3, (n_frames + 1) * hop), np.float32)
    padded[:, hop : hop + n_samples] = sources_3M
    frames_3TW = np.lib.stride_tricks.sliding_window_view(padded, 2 * hop, axis=1)[:, ::hop]
    hertz_F = fft.rfftfreq(_TRANSFORM_FRAMES * hop, 1 / sample_rate).astype(np.float32)
    sound = np.zeros((n_frames + _TRANSFORM_FRAMES, hop), np.float32)
    for first in range(0, n_frames, _FRAMES_AT_ONCE):
        rows = slice(first, min(first + _FRAMES_AT_ONCE, n_frames))
        times_T = np.arange(rows.start, rows.stop) * (hop / sample_rate)
        filters_3TF = _responses(tract, bounds, times_T, hertz_F)
        spectra_3TF = fft.rfft(frames_3TW[:, rows] * window, _TRANSFORM_FRAMES * hop)
        heard_TF = sum(s * f for s, f in zip(spectra_3TF, filters_3TF, strict=True))
        parts_TKH = fft.irfft(heard_TF).reshape(len(times_T), _TRANSFORM_FRAMES, hop)
        for k in range(_TRANSFORM_FRAMES):
            sound[rows.start + k : rows.stop + k] += parts_TKH[:, k]
    heard_M: np.ndarray[Any, Any] = sound.reshape(-1)[hop : hop + n_samples]
    return heard_M


def _responses(
    tract: _Tract,
    bounds: np.ndarray[Any, Any],
    times_T: np.ndarray[Any, Any],
    hertz_F: np.ndarray[Any, Any],
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return the filters of voicing, aspiration and frication, each (T, F), at ``times_T``."""
    starts, spans = bounds[:-1], np.diff(bounds)
    # Steady in the middle of each phone, straight lines between: half of it is transition.
    knots_K = np.stack([starts + 0.25 * spans, starts + 0.75 * spans], axis=1).reshape(-1)

    def track_T(values_P: Any) -> np.ndarray[Any, Any]:
        values_T: np.ndarray[Any, Any] = np.interp(times_T, knots_K, np.repeat(values_P, 2))
        return values_T.astype(np.float32)

    formants = [track_T(formant_P) for formant_P in tract.formants_P3.T]
    widths = [track_T(width_P) for width_P in tract.widths_P3.T]
    tract_TF = _resonance(hertz_F, formants[0][:, None], widths[0][:, None])
    for formant_T, width_T in zip(formants[1:], widths[1:], strict=True):
        tract_TF *= _resonance(hertz_F, formant_T[:, None], width_T[:, None])
    for formant, width in zip(_HIGH_FORMANTS, _HIGH_BANDWIDTHS, strict=True):
        tract_TF *= _resonance(hertz_F, np.array([formant * tract.scale]), width)
    nasality_T = track_T([float(phone.kind == "nasal") for phone in tract.phones])
    nasal = nasality_T > 0.01
    zero = _NASAL_POLE + nasality_T[nasal, None] * (_NASAL_ZERO - _NASAL_POLE)
    tract_TF[nasal] *= _resonance(hertz_F, np.array([_NASAL_POLE]), _NASAL_BANDWIDTH)
    tract_TF[nasal] /= _resonance(hertz_F, zero, _NASAL_BANDWIDTH)
    # Puffs of air through the glottis, and the lips, where pressure is the flow's derivative;
    # the factor makes both together 1 at 1 kHz.
    glottis_F = 1j * hertz_F / (1 + 2j * hertz_F / _GLOTTAL_BANDWIDTH) ** 2 * (0.4 + 0j)
    voiced_TF: np.ndarray[Any, Any] = tract_TF * glottis_F.astype(np.complex64)
    return (
        voiced_TF,
        tract_TF,
        _turbulence(tract, starts, times_T, hertz_F, formants, widths),
    )


def _turbulence(
    tract: _Tract,
    starts: np.ndarray[Any, Any],
    times_T: np.ndarray[Any, Any],
    hertz_F: np.ndarray[Any, Any],
    formants: Sequence[np.ndarray[Any, Any]],
    widths: Sequence[np.ndarray[Any, Any]],
) -> np.ndarray[Any, Any]:
    """Return how turbulence is coloured, (T, F), real: noise has no phase to keep."""
    response_TF = np.zeros((len(times_T), len(hertz_F)), np.float32)
    phone_T = np.searchsorted(starts, times_T, side="right") - 1
    noisy = np.flatnonzero([bool(tract.phones[k].noise) for k in phone_T])
    levels = np.array([tract.phones[k].noise for k in phone_T[noisy]]).reshape(-1, 6) + _NOISE_SCALE
    gains = (10 ** (levels / 10)).astype(np.float32)  # of power, (noisy frames, 6)
    power = np.repeat(gains[:, 5:], len(hertz_F), axis=1)
    square_F = hertz_F * hertz_F
    for k in range(5):
        if k < 2:
            centre, width = formants[k + 1][noisy, None], widths[k + 1][noisy, None]
        else:
            centre, width = _HIGH_FORMANTS[k - 2] * tract.scale, _HIGH_BANDWIDTHS[k - 2]
        # The square of `_resonance`.
        total = np.square(centre).astype(np.float32) + np.square(width / 2).astype(np.float32)
        power += gains[:, k, None] * (
            np.square(total) / (np.square(total - square_F) + np.square(width) * square_F)
        ).astype(np.float32)
    response_TF[noisy] = np.sqrt(power)
    return response_TF


def _resonance(hertz_F: np.ndarray[Any, Any], centre: Any, width: Any) -> np.ndarray[Any, Any]:
    """Return the response of a pair of poles, 1 at 0 Hz ([K], the analog equivalent)."""
    square = (centre * centre + (width / 2) ** 2).astype(np.float32)
    poles = np.empty(np.broadcast_shapes(square.shape, hertz_F.shape), np.complex64)
    poles.real = square - hertz_F * hertz_F
    poles.imag = hertz_F * width
    response: np.ndarray[Any, Any] = square / poles
    return response
