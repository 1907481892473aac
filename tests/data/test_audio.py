import io
import struct

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from data.damage import damaged, refuses_or_reads, shared
from sidle.data import audio, sound_files
from sidle.data.audio import Recordings, Segments
from sidle.data.recordings import offsets_of, to_int16
from sidle.errors import ArgumentError, DataError, DataNotFoundError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("audio")


def tone(n, hertz=440.0, sample_rate=16_000, peak=0.5):
    return to_int16(peak * np.sin(2 * np.pi * hertz * np.arange(n) / sample_rate))


def three(**changes):
    """Three recordings with everything that recordings can have."""
    samples = np.random.default_rng(0).integers(-9000, 9000, 1000).astype(np.int16)
    arguments = {
        "samples": samples,
        "offsets": np.array([0, 300, 300, 1000]),
        "sample_rate": 16_000,
        "names": ("a", "b", "c"),
        "speakers": ("x", "y", "x"),
        "texts": ("one", "two", "drei"),
        "segments": segments(),
    }
    return Recordings(**{**arguments, **changes})


def segments(**changes):
    arguments = {
        "recording": np.array([0, 0, 2, 2]),
        "start": np.array([0, 100, 50, 400]),
        "end": np.array([100, 300, 300, 650]),
        "phone": np.array([0, 1, 1, 2]),
        "phone_names": ("sil", "aa", "s", "unused"),
    }
    return Segments(**{**arguments, **changes})


def write(path, samples, sample_rate=16_000, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, sample_rate, **options)
    return path


# Recordings


def test_waveforms_are_float32_below_one():
    recordings = three(samples=np.full(1000, -32768, np.int16))
    waveform = recordings.waveform(2)
    assert (waveform.shape, waveform.dtype) == ((700,), np.float32)
    assert (waveform == -1).all()
    assert three(samples=np.full(1000, 32767, np.int16)).waveform(0).max() < 1
    assert recordings.waveform(1).shape == (0,)
    for row in (-1, 3):
        with pytest.raises(ArgumentError, match="row must be at least 0 and below 3"):
            recordings.waveform(row)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"samples": np.zeros(1000, np.float32)}, "samples must be int16"),
        ({"offsets": np.array([0, 300, 200, 1000])}, "offsets must rise"),
        ({"offsets": np.array([0, 300, 300, 999])}, "offsets must rise from 0 to the 1000"),
        ({"offsets": np.array([0, 1000])}, "names must have one entry for each of the 1"),
        ({"sample_rate": 999}, "sample_rate must be from 1000"),
        ({"sample_rate": 10**6}, "sample_rate must be from 1000 to 192000"),
        ({"speakers": ("x",)}, "speakers must have one entry"),
        ({"texts": ("x",) * 4}, "texts must have one entry"),
        ({"segments": segments(recording=np.array([0, 0, 2, 3]))}, "from 0 to 2, got 0 to 3"),
        ({"segments": segments(recording=np.array([-1, 0, 2, 2]))}, "from 0 to 2, got -1"),
        (
            {"segments": segments(end=np.array([100, 300, 300, 701]))},
            "segment 3 ends 1 samples after its recording 'c'",
        ),
    ],
)
def test_recordings_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(ArgumentError, match=message):
        three(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"start": np.array([0, 100, 50])}, "must be int64 of one shape"),
        ({"phone": np.array([0, 1, 1, 2], np.int32)}, "must be int64 of one shape"),
        ({"recording": np.array([0, 2, 0, 2])}, "in the order of recording, then start"),
        ({"start": np.array([100, 0, 50, 400])}, "in the order of recording, then start"),
        ({"start": np.array([-1, 100, 50, 400])}, "0 <= start <= end"),
        ({"end": np.array([100, 99, 300, 700])}, "0 <= start <= end"),
        ({"phone": np.array([0, 1, 1, 4])}, "below 4"),
    ],
)
def test_segments_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(ArgumentError, match=message):
        segments(**changes)


def test_phones_at_agrees_with_looking_one_by_one():
    recordings = three()
    for row in range(3):
        positions = np.arange(-5, 720)
        expected = np.full(len(positions), -1)
        for k in range(4):
            if segments().recording[k] == row:
                inside = (positions >= segments().start[k]) & (positions < segments().end[k])
                expected[inside] = segments().phone[k]
        np.testing.assert_array_equal(recordings.phones_at(row, positions), expected)
    assert recordings.phones_at(0, np.array([[0, 150]])).tolist() == [[0, 1]]
    with pytest.raises(ArgumentError, match="without phone segments"):
        three(segments=None).phones_at(0, np.arange(3))


def test_select_keeps_all_that_belongs_to_a_recording():
    chosen = three().select([2, 0, 2])
    assert chosen.names == ("c", "a", "c")
    assert chosen.speakers == ("x", "x", "x")
    assert chosen.texts == ("drei", "one", "drei")
    for row, source in enumerate([2, 0, 2]):
        np.testing.assert_array_equal(chosen.waveform(row), three().waveform(source))
        positions = np.arange(700)
        np.testing.assert_array_equal(
            chosen.phones_at(row, positions), three().phones_at(source, positions)
        )
    assert three().select([0, 1, 2]).digest() == three().digest()
    assert len(three().select([])) == 0
    with pytest.raises(ArgumentError, match="select: row must be"):
        three().select([0, 3])


def test_digest_depends_on_everything():
    changes = [
        {},
        {"samples": three().samples + np.int16(1)},
        {"offsets": np.array([0, 300, 301, 1000])},
        {"sample_rate": 8000},
        {"names": ("a", "b", "d")},
        {"speakers": None},
        {"speakers": ("x", "y", "y")},
        {"texts": None},
        {"segments": None},
        {"segments": segments(phone=np.array([0, 1, 1, 3]))},
        {"segments": segments(phone_names=("sil", "aa", "s", "z"))},
    ]
    assert len({three(**change).digest() for change in changes}) == len(changes)
    assert three().digest() == three().digest()


@pytest.mark.parametrize("wanted", [8000, 11_025, 48_000])
def test_resampling_keeps_a_tone_and_moves_segments(wanted):
    samples = np.concatenate([tone(1600), tone(3200, 1000.0)])
    bounds = [np.array([0, 1]), np.array([160, 1600]), np.array([800, 3200]), np.array([0, 0])]
    recordings = Recordings(
        samples, offsets_of([1600, 3200]), 16_000, ("a", "b"), None, None,
        Segments(*bounds, ("aa",)),
    )  # fmt: skip
    moved = recordings.resampled(wanted)
    assert moved.sample_rate == wanted
    assert np.diff(moved.offsets).tolist() == [-(-1600 * wanted // 16_000), 3200 * wanted // 16_000]
    expected = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(len(moved.waveform(1))) / wanted)
    middle = slice(len(expected) // 4, 3 * len(expected) // 4)
    # The filter's ripple in the pass band, and rounding to 16 bits.
    assert np.abs(moved.waveform(1) - expected)[middle].max() < 0.01
    assert moved.segments.start.tolist() == [160 * wanted // 16_000, 1600 * wanted // 16_000]
    assert moved.segments.end.tolist() == [800 * wanted // 16_000, 3200 * wanted // 16_000]
    assert recordings.resampled(16_000) is recordings
    with pytest.raises(ArgumentError, match="sample_rate must be from"):
        recordings.resampled(0)


# Sound files


@pytest.mark.parametrize(
    ("suffix", "options"),
    [("wav", {}), ("flac", {}), ("WAV", {"format": "NIST"}), ("wav", {"format": "WAVEX"})],
)
def test_reads_sixteen_bits_exactly(tmp_path, suffix, options):
    samples = np.random.default_rng(0).integers(-32768, 32768, 5000).astype(np.int16)
    path = write(tmp_path / f"a.{suffix}", samples, 22_050, **options)
    read, rate = sound_files.read(path)
    assert rate == 22_050
    assert read.dtype == np.int16
    np.testing.assert_array_equal(read, samples)


def test_long_files_are_read_in_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(sound_files, "_BLOCK_VALUES", 1000)
    samples = tone(4321)
    stereo = np.stack([samples, np.zeros_like(samples)], axis=1)
    read, _ = sound_files.read(write(tmp_path / "a.wav", stereo))
    # The mean of both channels, rounded to even.
    np.testing.assert_array_equal(read, np.rint(samples / 2).astype(np.int16))


def test_floating_point_files(tmp_path):
    waveform = np.array([-1.0, -0.5, 0.0, 0.25, 1.0])
    read, _ = sound_files.read(write(tmp_path / "a.wav", waveform, subtype="FLOAT"))
    assert read.tolist() == [-32768, -16384, 0, 8192, 32767]
    for spoilt, message in (
        (1.5, "found 1.5 times full scale"),
        (np.nan, "found nan"),
        (np.inf, "found inf"),
    ):
        path = write(tmp_path / "b.wav", np.array([0.0, spoilt]), subtype="FLOAT")
        with pytest.raises(DataError, match=message):
            sound_files.read(path)


@pytest.mark.parametrize(
    ("suffix", "options"), [("wav", {}), ("flac", {}), ("WAV", {"format": "NIST"})]
)
def test_files_that_end_early_are_refused(tmp_path, suffix, options):
    noise = np.random.default_rng(0).integers(-9000, 9000, 20_000).astype(np.int16)
    path = write(tmp_path / f"a.{suffix}", noise, **options)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(DataError, match=r"ends after|damaged") as refused:
        sound_files.read(path)
    assert str(path) in str(refused.value)


@pytest.mark.parametrize("unknown", [0xFFFFFFFF, 0x7FFFFFFF])
def test_a_wav_written_to_a_pipe_does_not_know_its_length(tmp_path, unknown):
    path = write(tmp_path / "a.wav", tone(500))
    content = bytearray(path.read_bytes())
    at = content.index(b"data") + 4
    content[at : at + 4] = struct.pack("<I", unknown)
    path.write_bytes(content)
    assert len(sound_files.read(path)[0]) == 500


def test_a_flac_written_to_a_pipe_does_not_know_its_length(tmp_path):
    path = write(tmp_path / "a.flac", tone(500))
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0  # the 36 bits of the length, in the stream's first block
    content[22:26] = bytes(4)
    path.write_bytes(content)
    with pytest.raises(DataError, match="does not say how long it is"):
        sound_files.read(path)


def test_what_is_no_speech_is_refused(tmp_path):
    with pytest.raises(DataNotFoundError, match="no such file"):
        sound_files.read(tmp_path / "absent.wav")
    (tmp_path / "a.wav").write_bytes(b"this is no sound at all")
    with pytest.raises(DataError, match=r"a.wav: the content is damaged"):
        sound_files.read(tmp_path / "a.wav")
    write(tmp_path / "b.wav", np.zeros(0, np.int16))
    with pytest.raises(DataError, match="holds no samples"):
        sound_files.read(tmp_path / "b.wav")
    write(tmp_path / "c.wav", tone(10), format="OGG")
    with pytest.raises(DataError, match="format OGG is not read"):
        sound_files.read(tmp_path / "c.wav")
    write(tmp_path / "d.wav", tone(10), 500)
    with pytest.raises(DataError, match="sample rate 500 Hz lies outside"):
        sound_files.read(tmp_path / "d.wav")


def test_a_flac_bomb_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(sound_files.archives, "ALLOWANCE_BYTES", 2**16)
    path = write(tmp_path / "silence.flac", np.zeros(10**7, np.int16))
    assert path.stat().st_size < 2**18
    monkeypatch.setattr(sound_files, "_BLOCK_VALUES", 2**14)
    with pytest.raises(DataError, match="over 100 times its size"):
        sound_files.read(path)


# Folders


def test_reads_a_folder_of_speakers(tmp_path):
    write(tmp_path / "anna" / "x" / "2.flac", tone(200))
    write(tmp_path / "anna" / "1.WAV", tone(100))
    write(tmp_path / "ben" / "1.wav", np.stack([tone(300)] * 2, axis=1))
    (tmp_path / "readme.txt").write_text("passed over")
    recordings = audio.load(tmp_path)
    assert recordings.names == ("anna/1.WAV", "anna/x/2.flac", "ben/1.wav")
    assert recordings.speakers == ("anna", "anna", "ben")
    assert recordings.texts is None
    assert np.diff(recordings.offsets).tolist() == [100, 200, 300]
    np.testing.assert_array_equal(recordings.waveform(2), tone(300) / np.float32(32768))
    write(tmp_path / "0.wav", tone(10))
    assert audio.load(tmp_path).speakers is None


def test_names_of_spoken_digits_tell_digit_and_speaker(tmp_path):
    for name in ("7_jackson_32", "0_theo_4"):
        write(tmp_path / "recordings" / f"{name}.wav", tone(50, sample_rate=8000), 8000)
    recordings = audio.load(tmp_path)
    assert recordings.speakers == ("theo", "jackson")
    assert recordings.texts == ("0", "7")


def test_sample_rates_must_agree_unless_one_is_given(tmp_path):
    write(tmp_path / "a.wav", tone(1600))
    write(tmp_path / "b.wav", tone(800, sample_rate=8000), 8000)
    with pytest.raises(DataError, match=r"b.wav: expected 16000 Hz .* found 8000 Hz"):
        audio.load(tmp_path)
    recordings = audio.load(tmp_path, sample_rate=16_000)
    assert np.diff(recordings.offsets).tolist() == [1600, 1600]
    assert np.abs(recordings.waveform(1) - recordings.waveform(0))[200:-200].max() < 0.01
    with pytest.raises(ArgumentError, match="read_folder: sample_rate"):
        audio.load(tmp_path, sample_rate=1)


def test_folders_without_sound_are_refused(tmp_path):
    with pytest.raises(DataNotFoundError, match="no WAV or FLAC file"):
        audio.load(tmp_path)
    with pytest.raises(DataNotFoundError, match="there is no such folder"):
        audio.read_folder(tmp_path / "absent")
    with pytest.raises(DataNotFoundError, match=r"synthetic.speech returns it"):
        audio.load("synthetic_speech")


# The TIMIT tree

PHONES = "0 300 h#\n300 900 sh\n900 1601 iy\n"


def timit(folder, phones=PHONES, texts=True):
    for name, n in (("TRAIN/DR1/FCJF0/SA1", 1600), ("TEST/DR2/MABC0/SI22", 2400)):
        path = write(folder / f"{name}.WAV", tone(n), format="NIST")
        path.with_suffix(".PHN").write_text(phones)
        if texts:
            path.with_suffix(".TXT").write_text(f"0 {n} She had your dark suit.\n")
    return folder


def test_reads_a_timit_tree(tmp_path):
    timit(tmp_path)
    write(tmp_path / "TRAIN" / "DR1" / "FCJF0" / "SA1.WAV.wav", tone(9))  # a converted copy
    recordings = audio.load(tmp_path)
    assert recordings.names == ("test/dr2/mabc0/si22", "train/dr1/fcjf0/sa1")
    assert recordings.speakers == ("mabc0", "fcjf0")
    assert recordings.texts == ("She had your dark suit.",) * 2
    assert recordings.sample_rate == 16_000
    found = recordings.segments
    assert found.phone_names == ("h#", "iy", "sh")
    assert found.recording.tolist() == [0, 0, 0, 1, 1, 1]
    assert found.start.tolist() == [0, 300, 900] * 2
    assert found.end.tolist() == [300, 900, 1601, 300, 900, 1600]  # one sample late: cut
    assert found.phone.tolist() == [0, 2, 1] * 2
    halved = audio.load(tmp_path, sample_rate=8000)
    assert halved.segments.end.tolist() == [150, 450, 800, 150, 450, 800]
    timit(tmp_path / "without", texts=False)
    assert audio.load(tmp_path / "without").texts is None


@pytest.mark.parametrize(
    ("phones", "line"),
    [
        ("0 300 h#\n300 900\n", 2),
        ("0 300 h#\n\n300 900 sh\n", 2),
        ("0 x h#\n", 1),
        ("0 300 h#\n300 200 sh\n", 2),
        ("300 900 sh\n0 300 h#\n", 2),
        ("0 300 h#\n300 1602 sh\n", 2),
        ("-3 300 h#\n", 1),
        ("0 300 h#\n300 900 s h\n", 2),
        ("0 300 " + "h" * 5000, 1),
    ],
)
def test_malformed_phone_files_are_refused_with_their_line(tmp_path, phones, line):
    timit(tmp_path)
    path = tmp_path / "TRAIN" / "DR1" / "FCJF0" / "SA1.PHN"
    path.write_text(phones)
    with pytest.raises(DataError) as refused:
        audio.load(tmp_path)
    assert str(refused.value).startswith(f"{path}:{line}: ")


def test_a_tree_without_phones_is_no_timit(tmp_path):
    write(tmp_path / "a" / "b.wav", tone(10))
    with pytest.raises(DataNotFoundError, match="has a phone file beside it"):
        audio.read_timit(tmp_path)
    with pytest.raises(ArgumentError, match="read_timit: sample_rate"):
        audio.read_timit(tmp_path, sample_rate=5)


# Packed files


@pytest.mark.parametrize("missing", [{}, {"segments": None}, {"speakers": None, "texts": None}])
def test_pack_and_load_give_the_same_recordings(tmp_path, missing):
    recordings = three(**missing)
    audio.pack(recordings, tmp_path / "set.npz")
    assert audio.load(tmp_path / "set.npz").digest() == recordings.digest()
    assert audio.load(tmp_path).digest() == recordings.digest()
    assert audio.load(tmp_path, sample_rate=8000).sample_rate == 8000


def repacked(folder, drop=(), **changes):
    """A packed file of `three` with some of its arrays changed."""
    path = folder / "set.npz"
    audio.pack(three(), path)
    arrays = {**np.load(path), **changes}
    np.savez(path, **{name: array for name, array in arrays.items() if name not in drop})
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"drop": ["samples"]}, "expected an array 'samples'"),
        ({"drop": ["phone_start"]}, "expected an array 'phone_start'"),
        ({"drop": ["sample_rate"]}, "has no array 'sample_rate'"),
        ({"samples": np.zeros(1000)}, "'samples' must be integer"),
        ({"samples": np.zeros(1000, np.int32)}, "samples must be int16"),
        ({"samples": np.zeros((10, 100), np.int16)}, "with 1 dimensions"),
        ({"offsets": np.array([0, 300, 200, 1000])}, "offsets must rise"),
        ({"offsets": np.array([0, 300, 300, 1001])}, "offsets must rise"),
        ({"offsets": np.array([], np.int64)}, "offsets must be"),
        ({"names": np.array(["a"])}, "names must have one entry"),
        ({"sample_rate": np.array([16_000])}, "'sample_rate' must be integer with 0"),
        ({"sample_rate": np.array(7)}, "sample_rate must be from"),
        ({"phone_utt": np.array([0, 0, 2, 3])}, "segments must name recordings"),
        ({"phone_utt": np.array([0, 0, 2])}, "differ in length"),
        ({"phone_end": np.array([100, 302, 300, 700])}, "segment 1 ends 2 samples after"),
        ({"phone_names": np.array(["sil", "aa"])}, "or name a phone that phone_names lacks"),
        ({"phone_names": np.array([], np.str_)}, "or name a phone that phone_names lacks"),
        ({"texts": np.array([{}] * 3)}, "objects would have to be unpickled"),
    ],
)
def test_malformed_packed_files_are_refused(tmp_path, changes, message):
    path = repacked(tmp_path, **changes)
    with pytest.raises(DataError, match=message) as refused:
        audio.read_packed(path)
    assert str(path) in str(refused.value)


def test_a_packed_phone_may_end_one_sample_late(tmp_path):
    path = repacked(tmp_path, phone_end=np.array([100, 301, 300, 700]))
    assert audio.read_packed(path).segments.end.tolist() == [100, 300, 300, 700]


def test_shared_spoken_digits():
    recordings = audio.load(shared("fsdd"))
    assert (len(recordings), recordings.sample_rate) == (3000, 8000)
    assert round(len(recordings.samples) / 8000) == 1312
    assert set(recordings.speakers) == {
        "george", "jackson", "lucas", "nicolas", "theo", "yweweler",
    }  # fmt: skip
    assert {recordings.texts.count(str(digit)) for digit in range(10)} == {300}


def test_shared_timit_sample():
    recordings = audio.load(shared("timit_sample"))
    assert (len(recordings), recordings.sample_rate) == (160, 16_000)
    assert len(set(recordings.speakers)) == 16
    assert recordings.speakers[0] == "fvmh0"
    assert recordings.texts[0] == "She had your dark suit in greasy wash water all year."
    assert len(recordings.segments) == 6185
    assert len(recordings.segments.phone_names) == 61
    names = [
        recordings.segments.phone_names[k] for k in recordings.phones_at(0, np.array([0, 8000]))
    ]
    assert names == ["h#", "sh"]


# Damage


def sound(**options):
    stream = io.BytesIO()
    soundfile.write(stream, tone(400), 16_000, **options)
    return stream.getvalue()


SOUNDS = {
    "wav": sound(format="WAV"),
    "float": sound(format="WAV", subtype="FLOAT"),
    "flac": sound(format="FLAC"),
    "nist": sound(format="NIST"),
}


@pytest.mark.parametrize("kind", SOUNDS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_damaged_sound_files(folder, kind, data):
    path = folder / f"a.{'flac' if kind == 'flac' else 'wav'}"
    refuses_or_reads(sound_files.read, path, data.draw(damaged(SOUNDS[kind])))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_damaged_packed_files(folder, data):
    path = folder / "set.npz"
    audio.pack(three(), path)
    arrays = dict(np.load(path))
    refuses_or_reads(audio.read_packed, path, data.draw(damaged(path.read_bytes())))
    name = data.draw(st.sampled_from(sorted(arrays)))
    array = arrays[name]
    spoilt = data.draw(damaged(array.tobytes()))
    spoilt = spoilt[: len(spoilt) // array.itemsize * array.itemsize]
    arrays[name] = np.frombuffer(spoilt, array.dtype)
    np.savez(path, **arrays)
    refuses_or_reads(audio.read_packed, path, path.read_bytes())


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_damaged_phone_files(folder, data):
    timit(folder / "timit")
    path = folder / "timit" / "TRAIN" / "DR1" / "FCJF0" / "SA1.PHN"
    refuses_or_reads(
        lambda _: audio.load(folder / "timit"), path, data.draw(damaged(PHONES.encode()))
    )
