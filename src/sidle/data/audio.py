"""Speech from folders of WAV and FLAC, from the TIMIT tree and from packed files.

All functions return `Recordings`: int16 samples end to end, with names and, where the source
tells them, speakers, transcripts and phone segments. `load` recognises what a folder holds:

    packed          one .npz file (see below); of several, the largest
    TIMIT tree      sound files with phone files beside them (SA1.WAV, SA1.PHN, SA1.TXT)
    folder          WAV and FLAC files at any depth

The packed form: ``samples`` int16 (M,), ``offsets`` int64 (N + 1,), ``names`` text (N,);
where known also ``sample_rate`` (one integer), ``speakers`` and ``texts`` text (N,),
``phone_utt`` integers (S,), the row of each segment, ``phone_start`` and ``phone_end`` integers
(S,), in samples from the start of the recording, ``phone`` text (S,), and ``phone_names`` text,
all that there are (where it is missing, those that occur, sorted). `pack` writes all.

Names speak where nothing else does. ``<digit>_<speaker>_<take>.wav`` is the Free Spoken Digit
Dataset: 8,000 Hz, and the digit is the transcript. ``dr<region>-<speaker>/<sentence>`` is the
TIMIT sample: 16,000 Hz; its array ``text`` holds TIMIT's lines, "first last transcript".
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sidle import progress, storage
from sidle.data import archives, sound_files, sources
from sidle.data.recordings import Recordings, Segments, check_rate, offsets_of, resample
from sidle.errors import DataError, DataNotFoundError

__all__ = ["Recordings", "Segments", "load", "pack", "read_folder", "read_packed", "read_timit"]

_FSDD_NAME = re.compile(r"(?:.*/)?(\d)_([A-Za-z]+)_(\d+)(?:\.wav|\.flac)?")
_FSDD_RATE = 8_000
_TIMIT_SAMPLE_NAME = re.compile(r"dr\d-(\w+)/\w+")
_TIMIT_RATE = 16_000
_PHONE_LINE = re.compile(rb"\s*(\d{1,18})\s+(\d{1,18})\s+([!-~]+)\s*")
_TIMIT_LINE = re.compile(r"\d+ \d+ ")
_MAX_LINE_BYTES = 4096
_PACKED_NAMES = (
    "samples", "offsets", "names", "sample_rate", "speakers", "texts", "text",
    "phone_utt", "phone_start", "phone_end", "phone", "phone_names",
)  # fmt: skip


def load(name_or_path: str | Path, *, sample_rate: int | None = None) -> Recordings:
    """Return the recordings of a known set, a folder or a packed file.

    Args:
        name_or_path: whatever `sources.resolve` takes. (The embedded synthetic speech needs a
            seed: `synthetic.speech` makes it.)
        sample_rate: what to resample to; where None, the source's own rate is kept.

    Raises:
        ArgumentError: ``sample_rate`` out of range.
        DataNotFoundError: nothing is there, or no sound files.
        DataError: a file is malformed, or sample rates differ and ``sample_rate`` is None.
        StorageError: the operating system refused.
    """
    path = sources.resolve(name_or_path)
    with storage.refusals_of_disk(path):
        if path.is_dir() and (packed := list(path.glob("*.npz"))):
            path = max(packed, key=lambda file: (file.stat().st_size, file.name))
        if not path.is_dir():
            recordings = read_packed(path)
            return recordings if sample_rate is None else recordings.resampled(sample_rate)
        if any(_phone_file(file) for file in _sound_files(path)):
            return read_timit(path, sample_rate=sample_rate)
    return read_folder(path, sample_rate=sample_rate)


def read_folder(path: str | Path, *, sample_rate: int | None = None) -> Recordings:
    """Read all WAV and FLAC files below the folder ``path``, in the order of their names.

    Several channels are mixed down to their mean. Names are paths below the folder. Speakers
    and transcripts come from names as in the Free Spoken Digit Dataset; else, where every file
    lies in a sub-folder, the first folder of its name is taken for the speaker, as in
    LibriSpeech.

    Args:
        path: the folder.
        sample_rate: what to resample to; where None, all files must have one rate.

    Raises:
        ArgumentError: ``sample_rate`` out of range.
        DataNotFoundError: there is no such folder, or no sound file in it.
        DataError: a file is damaged, or has another rate than the first.
        StorageError: the operating system refused.
    """
    path = Path(path)
    if sample_rate is not None:
        check_rate(sample_rate, "read_folder")
    files = _sound_files(path)
    if not files:
        raise DataNotFoundError(f"{path}: no WAV or FLAC file is in this folder. Name another.")
    pieces, rate = _read_files(files, sample_rate)
    names = tuple(file.relative_to(path).as_posix() for file in files)
    speakers, texts = _told_by_names(names)
    if speakers is None and all("/" in name for name in names):
        speakers = tuple(name.split("/")[0] for name in names)
    offsets = offsets_of([len(piece) for piece in pieces])
    return Recordings(np.concatenate(pieces), offsets, rate, names, speakers, texts)


def read_timit(path: str | Path, *, sample_rate: int | None = None) -> Recordings:
    """Read a TIMIT tree: every sound file below ``path`` with a phone file (.PHN) beside it.

    Names are the paths below the folder in lower case without suffix ("train/dr1/fcjf0/sa1"),
    the speaker is the last folder ("fcjf0"), the transcript that of the .TXT file, if all have
    one. A last phone that ends one sample late, as some of TIMIT's do, is cut to the recording.

    Args:
        path: the folder.
        sample_rate: what to resample to; where None, all files must have one rate.

    Raises:
        ArgumentError: ``sample_rate`` out of range.
        DataNotFoundError: there is no such folder, or nothing in it is as said.
        DataError: a file is damaged; a phone file has a malformed line (named).
        StorageError: the operating system refused.
    """
    path = Path(path)
    if sample_rate is not None:
        check_rate(sample_rate, "read_timit")
    phone_files = {file: found for file in _sound_files(path) if (found := _phone_file(file))}
    if not phone_files:
        raise DataNotFoundError(
            f"{path}: no sound file has a phone file beside it, as in SA1.WAV and SA1.PHN. "
            "Name the folder that holds TIMIT's TRAIN and TEST."
        )
    files = list(phone_files)
    pieces, rate = _read_files(files, None)
    texts = [text for file in files if (text := _read_transcript(file)) is not None]
    phones = [
        _read_phones(phone_files[file], row, len(pieces[row])) for row, file in enumerate(files)
    ]
    recordings = Recordings(
        np.concatenate(pieces),
        offsets_of([len(piece) for piece in pieces]),
        rate,
        tuple(file.relative_to(path).with_suffix("").as_posix().lower() for file in files),
        tuple(file.absolute().parent.name.lower() for file in files),
        tuple(texts) if len(texts) == len(files) else None,
        _segments([segment for inside in phones for segment in inside]),
    )
    return recordings if sample_rate is None else recordings.resampled(sample_rate)


def read_packed(path: str | Path) -> Recordings:
    """Read recordings from a packed file (see the module).

    Raises:
        DataNotFoundError: there is no such file.
        DataError: it is damaged, lacks an array, or holds one that does not fit; it has no
            ``sample_rate`` and names that do not tell it.
        StorageError: the operating system refused.
    """
    arrays = archives.read_npz(path, _PACKED_NAMES)
    samples = archives.column(path, arrays, "samples", "i")
    offsets = archives.column(path, arrays, "offsets", "iu").astype(np.int64)
    names = _texts(path, arrays, "names")
    told_speakers, told_texts = _told_by_names(names)
    speakers = _texts(path, arrays, "speakers") if "speakers" in arrays else told_speakers
    texts = told_texts
    if "texts" in arrays:
        texts = _texts(path, arrays, "texts")
    elif "text" in arrays:
        texts = tuple(_TIMIT_LINE.sub("", line, count=1) for line in _texts(path, arrays, "text"))
    with archives.refused_values(path):
        segments = _packed_segments(path, arrays, np.diff(offsets))
        rate = _packed_rate(path, arrays, names)
        return Recordings(samples, offsets, rate, names, speakers, texts, segments)


def pack(recordings: Recordings, path: str | Path) -> None:
    """Write ``recordings`` to the packed file ``path``, whole or not at all.

    Raises:
        StorageError: the disk refused; ``path`` keeps its old content.
    """
    arrays = {
        "samples": recordings.samples,
        "offsets": recordings.offsets,
        "names": np.array(recordings.names, np.str_),
        "sample_rate": np.array(recordings.sample_rate),
    }
    if recordings.speakers is not None:
        arrays["speakers"] = np.array(recordings.speakers, np.str_)
    if recordings.texts is not None:
        arrays["texts"] = np.array(recordings.texts, np.str_)
    if (segments := recordings.segments) is not None:
        arrays["phone_utt"] = segments.recording
        arrays["phone_start"], arrays["phone_end"] = segments.start, segments.end
        names = np.array(segments.phone_names, np.str_)
        arrays["phone"], arrays["phone_names"] = names[segments.phone], names
    archives.write_npz(path, arrays)


def _sound_files(folder: Path) -> list[Path]:
    """Return the sound files below ``folder`` in the order of their paths."""
    with storage.refusals_of_disk(folder):
        if not folder.is_dir():
            raise DataNotFoundError(f"{folder}: there is no such folder. Check the path.")
        return sorted(
            Path(inside, name)
            for inside, _, names in os.walk(folder)
            for name in names
            if name.lower().endswith(sound_files.SUFFIXES)
        )


def _read_files(
    files: Sequence[Path], sample_rate: int | None
) -> tuple[list[np.ndarray[Any, Any]], int]:
    """Read ``files`` at ``sample_rate``, or at the one rate that they have."""
    pieces = []
    rate = sample_rate
    with progress.bar("reading recordings", len(files)) as bar:
        for file in files:
            samples, found = sound_files.read(file)
            if sample_rate is not None and found != sample_rate:
                samples = resample(samples, found, sample_rate)
            elif rate is not None and found != rate:
                raise DataError(
                    file,
                    f"expected {rate} Hz as in the first file, found {found} Hz.",
                    "Give sample_rate to resample all.",
                )
            rate = rate or found
            pieces.append(samples)
            bar.advance()
    return pieces, rate or 0


def _phone_file(file: Path) -> Path | None:
    return _beside(file, (".phn", ".PHN"))


def _beside(file: Path, suffixes: tuple[str, ...]) -> Path | None:
    found = (file.with_suffix(suffix) for suffix in suffixes)
    return next((path for path in found if path.is_file()), None)


def _read_phones(path: Path, row: int, n_samples: int) -> list[tuple[int, int, int, str]]:
    """Read TIMIT's phone file of recording ``row``; return (row, start, end, phone) for each."""
    segments = []
    before = 0
    with archives.content(path) as content:
        for number, line in enumerate(content.lines(_MAX_LINE_BYTES), start=1):
            match = _PHONE_LINE.fullmatch(line)
            start, end = (int(match[1]), int(match[2])) if match else (0, 0)
            if match is None or not before <= start < end <= n_samples + 1:
                raise DataError(
                    path,
                    f"expected `start end phone` with {before} <= start < end <= {n_samples}, "
                    f"found {line[:40]!r}.",
                    "Copy the file again from where it came.",
                    line=number,
                )
            segments.append((row, start, min(end, n_samples), match[3].decode("ascii")))
            before = start
    return segments


def _read_transcript(file: Path) -> str | None:
    path = _beside(file, (".txt", ".TXT"))
    if path is None:
        return None
    with archives.content(path) as content:
        lines = [line.decode("latin-1") for line in content.lines(_MAX_LINE_BYTES)]
    return _TIMIT_LINE.sub("", " ".join(lines).strip(), count=1)


def _segments(
    found: Sequence[tuple[int, int, int, str]], phone_names: tuple[str, ...] | None = None
) -> Segments:
    """Return ``found``, (row, start, end, phone) each, as arrays."""
    if phone_names is None:
        phone_names = tuple(sorted({phone for *_, phone in found}))
    index = {phone: k for k, phone in enumerate(phone_names)}
    numbers = [(row, start, end, index[phone]) for row, start, end, phone in found]
    columns = np.array(numbers, np.int64).reshape(-1, 4).T.copy()
    return Segments(columns[0], columns[1], columns[2], columns[3], phone_names)


def _packed_segments(
    path: str | Path, arrays: Mapping[str, Any], lengths: np.ndarray[Any, Any]
) -> Segments | None:
    if "phone" not in arrays:
        return None
    numbers = [
        archives.column(path, arrays, f"phone_{what}", "iu").astype(np.int64).tolist()
        for what in ("utt", "start", "end")
    ]
    phones = _texts(path, arrays, "phone")
    names = _texts(path, arrays, "phone_names") if "phone_names" in arrays else None
    unknown = set(phones) - set(phones if names is None else names)
    if {len(column) for column in numbers} != {len(phones)} or unknown:
        raise DataError(
            path,
            "phone_utt, phone_start, phone_end and phone differ in length, or name a phone that "
            "phone_names lacks.",
            "Write the file again with `sidle data pack`.",
        )
    limits = lengths.tolist()
    found = [
        # As in TIMIT's own files, an end may lie one sample late.
        (row, start, end - (0 <= row < len(limits) and end == limits[row] + 1), phone)
        for row, start, end, phone in zip(*numbers, phones, strict=True)
    ]
    return _segments(found, names)


def _packed_rate(path: str | Path, arrays: Mapping[str, Any], names: Sequence[str]) -> int:
    if "sample_rate" in arrays:
        return int(archives.column(path, arrays, "sample_rate", "iu", ndim=0))
    for pattern, rate in ((_FSDD_NAME, _FSDD_RATE), (_TIMIT_SAMPLE_NAME, _TIMIT_RATE)):
        if names and all(pattern.fullmatch(name) for name in names):
            return rate
    raise DataError(
        path,
        "has no array 'sample_rate', and its names do not tell it.",
        "Add it, one integer in Hz, or write the file with `sidle data pack`.",
    )


def _told_by_names(
    names: Sequence[str],
) -> tuple[tuple[str, ...] | None, tuple[str, ...] | None]:
    """Return speakers and transcripts where all ``names`` tell them, else None."""
    spoken = [_FSDD_NAME.fullmatch(name) for name in names]
    if names and all(spoken):
        found = [match for match in spoken if match]
        return tuple(match[2] for match in found), tuple(match[1] for match in found)
    read = [_TIMIT_SAMPLE_NAME.fullmatch(name) for name in names]
    if names and all(read):
        return tuple(match[1] for match in read if match), None
    return None, None


def _texts(path: str | Path, arrays: Mapping[str, Any], name: str) -> tuple[str, ...]:
    return tuple(archives.column(path, arrays, name, "U").tolist())
