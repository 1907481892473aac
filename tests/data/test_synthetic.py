import time

import numpy as np
import pytest

from sidle.data import synthetic
from sidle.data.phones import CONSONANTS, PHONE_NAMES, PHONES, SILENCE, VOWELS
from sidle.errors import ArgumentError

N_WINDOW = 400  # 25 ms


@pytest.fixture(scope="module")
def spoken():
    return synthetic.speech(8, 6, seed=0)


def middles(recordings, phones):
    """Yield phone, recording and the 25 ms in the middle of each segment of ``phones``."""
    found = recordings.segments
    for phone, row, start, end in zip(
        found.phone, found.recording, found.start, found.end, strict=True
    ):
        first = (start + end - N_WINDOW) // 2
        if phone in phones and end - start > N_WINDOW:
            yield phone, row, recordings.waveform(int(row))[first : first + N_WINDOW]


def mel_spectrum(window, sample_rate=16_000, n_bands=24):
    """The log energies of triangular bands, equally wide on the mel scale, without their mean."""
    power = np.abs(np.fft.rfft(window * np.hanning(len(window)), 1024)) ** 2
    hertz = np.fft.rfftfreq(1024, 1 / sample_rate)
    highest = 2595 * np.log10(1 + 5000 / 700)
    edges = 700 * (10 ** (np.linspace(80, highest, n_bands + 2) / 2595) - 1)
    bands = [
        np.clip(np.minimum((hertz - low) / (mid - low), (high - hertz) / (high - mid)), 0, None)
        for low, mid, high in zip(edges, edges[1:], edges[2:], strict=False)
    ]
    energies = np.log(np.stack(bands) @ power + 1e-9)
    return energies - energies.mean()


def spectra(recordings, phones):
    rows = [(mel_spectrum(window), phone) for phone, _, window in middles(recordings, phones)]
    return np.stack([row[0] for row in rows]), np.array([row[1] for row in rows])


def pitch(window, sample_rate=16_000):
    """The frequency, 60 to 400 Hz, whose period correlates: the shortest of those almost as good.

    (Two periods correlate as well as one.)
    """
    window = window - window.mean()
    shortest, longest = sample_rate // 400, sample_rate // 60
    correlation = np.array(
        [np.corrcoef(window[lag:], window[:-lag])[0, 1] for lag in range(shortest, longest)]
    )
    good = correlation > 0.85 * correlation.max()
    first = int(good.argmax())
    stretch = int((~good[first:]).argmax()) or len(good)
    return sample_rate / (shortest + first + int(correlation[first : first + stretch].argmax()))


def test_vowels_of_speakers_never_heard_can_be_told_apart(spoken):
    train, train_labels = spectra(spoken, VOWELS)
    test, test_labels = spectra(synthetic.speech(8, 6, seed=1), VOWELS)
    centroids = np.stack([train[train_labels == vowel].mean(axis=0) for vowel in VOWELS])
    distances = ((test[:, None] - centroids) ** 2).sum(axis=2)
    accuracy = (np.array(VOWELS)[distances.argmin(axis=1)] == test_labels).mean()
    assert len(test_labels) > 200
    assert accuracy > 0.85  # 0.94; chance is 0.1


def test_kinds_of_phones_can_be_told_apart(spoken):
    phones = VOWELS + CONSONANTS
    train, train_labels = spectra(spoken, phones)
    test, test_labels = spectra(synthetic.speech(8, 6, seed=1), phones)
    centroids = np.stack([train[train_labels == phone].mean(axis=0) for phone in phones])
    distances = ((test[:, None] - centroids) ** 2).sum(axis=2)
    found = np.array(phones)[distances.argmin(axis=1)]
    assert (found == test_labels).mean() > 0.7  # 0.86; chance is 1 in 29


@pytest.mark.parametrize("phone", ["aa", "iy", "uw", "er"])
def test_a_vowel_resonates_at_its_formants(phone, monkeypatch):
    """The response of the filter peaks where the table says, times the speaker's factor."""
    monkeypatch.setattr(synthetic, "_FORMANT_SPREAD", 0.0)
    index = PHONE_NAMES.index(phone)
    expected = np.array(PHONES[index].formants)[None] * 1.1
    tract = synthetic._Tract(1.1, [PHONES[index]], expected)
    hertz = np.arange(0, 5000, 5.0, np.float32)
    _, response, _ = synthetic._responses(tract, np.array([0.0, 1.0]), np.array([0.5]), hertz)
    gain = np.abs(response[0])
    peaks = hertz[1:-1][(gain[1:-1] > gain[:-2]) & (gain[1:-1] > gain[2:])]
    for formant in expected[0]:
        # Neighbouring resonances pull a peak a little way.
        assert np.abs(peaks - formant).min() < 0.03 * formant


@pytest.mark.parametrize("seed", [0, 1])
def test_measured_pitch_is_the_speakers(seed):
    recordings = synthetic.speech(4, 4, seed=seed)
    for speaker, voice in enumerate(synthetic.voices(4, seed)):
        rows = range(4 * speaker, 4 * speaker + 4)
        found = [pitch(window) for _, row, window in middles(recordings, VOWELS) if row in rows]
        assert len(found) > 12
        # The melody of four utterances averages out to about two percent.
        assert abs(np.median(found) / voice.pitch_hz - 1) < 0.04


def test_pulses_keep_the_period_between_samples():
    """A pulse between two samples is shared out, so that its place is exact on average."""
    steady = synthetic.Voice(123.4, 1.0, 0.0, 0.0, 1.0)
    pulses = synthetic._pulses(steady, 16_000, 16_000, np.random.default_rng(0))
    whole = np.flatnonzero(pulses)
    starts = whole[np.diff(whole, prepend=-9) > 1]
    heights = np.array([pulses[start : start + 2].sum() for start in starts])
    assert heights.mean() == pytest.approx(1.0, abs=0.02)  # shimmer: 0.04 over 120 pulses
    places = starts + np.array([pulses[start + 1] for start in starts]) / heights
    # The melody bends slowly, so neighbouring periods hardly differ.
    assert np.abs(np.diff(places, 2)).max() < 1.0


def envelope(waveform, hertz):
    """The average log spectrum at ``hertz``, smooth enough to hide the harmonics."""
    windows = np.lib.stride_tricks.sliding_window_view(waveform, 800)[::200] * np.hanning(800)
    power = (np.abs(np.fft.rfft(windows, 2048)) ** 2).mean(axis=0)
    smooth = np.convolve(power, np.hanning(25), "same")
    return np.interp(hertz, np.fft.rfftfreq(2048, 1 / 16_000), np.log(smooth))


@pytest.mark.parametrize("factor", [0.9, 1.2])
def test_a_shorter_vocal_tract_moves_the_whole_spectrum(factor, monkeypatch):
    monkeypatch.setattr(synthetic, "_FORMANT_SPREAD", 0.0)
    said, bounds = [PHONE_NAMES.index("ae")], np.array([0, 16_000])
    waveforms = [
        synthetic._utter(
            synthetic.Voice(100.0, scale, 0.1, 0.01, 1.0), said, bounds, 16_000,
            np.random.default_rng(0),
        )
        for scale in (1.0, factor)
    ]  # fmt: skip
    hertz = np.arange(300.0, 3000.0, 10.0)
    moved = envelope(waveforms[1] / 32768, hertz)
    factors = np.arange(0.8, 1.3, 0.01)
    fits = [
        np.corrcoef(envelope(waveforms[0] / 32768, hertz / guess), moved)[0, 1] for guess in factors
    ]
    assert factors[np.argmax(fits)] == pytest.approx(factor, abs=0.03)


def test_speakers_differ_in_pitch_and_tract():
    voices = synthetic.voices(40, 3)
    low, high = voices[::2], voices[1::2]
    assert max(voice.pitch_hz for voice in low) < min(voice.pitch_hz for voice in high)
    scales = [np.mean([voice.formant_scale for voice in half]) for half in (low, high)]
    assert scales[1] / scales[0] == pytest.approx(1.16, abs=0.04)
    assert len({voice.pitch_hz for voice in voices}) == 40


def levels(recordings, names):
    """The median level in dB of the middles of the phones ``names``."""
    phones = [PHONE_NAMES.index(name) for name in names]
    return np.median(
        [10 * np.log10((window**2).mean()) for *_, window in middles(recordings, phones)]
    )


def test_phones_have_the_levels_of_speech(spoken):
    vowels = levels(spoken, ["aa", "iy", "uw", "ae"])
    assert -25 < vowels < -10
    assert levels(spoken, ["sil"]) < vowels - 40
    assert vowels - 12 < levels(spoken, ["m", "n"]) < vowels
    assert vowels - 30 < levels(spoken, ["s", "sh", "f"]) < vowels - 3


def centre(window):
    """The average frequency of the power spectrum, in Hz."""
    power = np.abs(np.fft.rfft(window * np.hanning(len(window)))) ** 2
    return (np.fft.rfftfreq(len(window), 1 / 16_000) * power).sum() / power.sum()


def test_fricatives_hiss_and_vowels_do_not(spoken):
    found = {name: [] for name in PHONE_NAMES}
    for phone, _, window in middles(spoken, range(len(PHONES))):
        found[PHONE_NAMES[phone]].append(centre(window))
    medians = {name: np.median(values) for name, values in found.items() if values}
    assert medians["s"] > medians["sh"] + 1000 > medians["aa"] + 2000
    assert medians["f"] > medians["sh"]
    assert max(medians[name] for name in ("m", "n", "uw", "iy")) < 1000


def test_a_plosive_is_silent_before_it_bursts(spoken):
    found = spoken.segments
    ratios = []
    for phone, row, start, end in zip(
        found.phone, found.recording, found.start, found.end, strict=True
    ):
        if PHONE_NAMES[phone] in ("t", "k"):
            power = spoken.waveform(int(row))[start:end] ** 2
            closure = power[len(power) // 4 : len(power) // 2]
            burst = power[int(0.55 * len(power)) : int(0.75 * len(power))]
            ratios.append(burst.mean() / closure.mean())
    assert np.median(ratios) > 30


def test_the_same_seed_gives_the_same_bits_and_another_does_not():
    first = synthetic.speech(2, 2, seed=7)
    assert first.digest() == synthetic.speech(2, 2, seed=7).digest()
    assert first.digest() != synthetic.speech(2, 2, seed=8).digest()


def test_asking_for_more_adds_to_what_there_was():
    few, many = synthetic.speech(2, 2, seed=7), synthetic.speech(3, 3, seed=7)
    assert many.select([0, 1, 3, 4]).digest() == few.digest()


def test_global_random_state_is_left_alone():
    np.random.seed(5)  # noqa: NPY002
    expected = np.random.random()  # noqa: NPY002
    np.random.seed(5)  # noqa: NPY002
    synthetic.speech(1, 1, seed=0)
    assert np.random.random() == expected  # noqa: NPY002


@pytest.mark.parametrize(("seconds", "sample_rate"), [(1.0, 8000), (1.5, 44_100), (10.0, 16_000)])
def test_segments_cover_each_recording_from_end_to_end(seconds, sample_rate):
    recordings = synthetic.speech(2, 3, seed=1, seconds=seconds, sample_rate=sample_rate)
    assert len(recordings) == 6
    assert recordings.sample_rate == sample_rate
    assert set(np.diff(recordings.offsets)) == {round(seconds * sample_rate)}
    found = recordings.segments
    assert found.phone_names == PHONE_NAMES
    for row in range(6):
        inside = found.recording == row
        start, end, phone = found.start[inside], found.end[inside], found.phone[inside]
        assert (start[0], end[-1]) == (0, round(seconds * sample_rate))
        assert (start[1:] == end[:-1]).all()
        assert (end - start).min() > 0.02 * sample_rate
        assert phone[0] == phone[-1] == SILENCE
        assert not ((phone[1:] == SILENCE) & (phone[:-1] == SILENCE)).any()
        assert recordings.texts[row] == " ".join(PHONE_NAMES[k] for k in phone)
        peak = np.abs(recordings.waveform(row)).max()
        assert 0.55 < peak < 0.65  # loud, and nothing was held at full scale
    assert recordings.names[4] == "synthetic-speaker01/utterance001"
    assert recordings.speakers[4] == "synthetic-speaker01"


def test_all_phones_occur():
    recordings = synthetic.speech(1, 2, seed=0, seconds=60.0)
    assert set(recordings.segments.phone) == set(range(len(PHONES)))


def test_synthesis_runs_fifty_times_faster_than_speech():
    synthetic.speech(1, 1, seed=0)  # imports
    best = np.inf
    for _ in range(3):
        started = time.process_time()
        synthetic.speech(2, 5, seed=0)
        best = min(best, time.process_time() - started)
    assert 20.0 / best > 50  # some 200 when nothing else runs


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_speakers": 0}, "n_speakers must be at least 1"),
        ({"n_utterances": 0}, "n_utterances must be at least 1"),
        ({"seconds": 0.9}, "seconds must be from 1.0 to 600.0"),
        ({"seconds": 601.0}, "seconds must be from"),
        ({"seconds": float("nan")}, "seconds must be from"),
        ({"sample_rate": 7999}, "sample_rate must be from 8,000"),
        ({"sample_rate": 48_001}, "sample_rate must be from 8,000"),
        ({"seed": -1}, "seed must be"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        synthetic.speech(**{"n_speakers": 1, "n_utterances": 1, "seed": 0, **arguments})
