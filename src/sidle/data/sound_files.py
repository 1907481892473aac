"""Reading one WAV, FLAC or NIST SPHERE file, with memory bounded by the size of the file.

libsndfile does the work, through soundfile. What it raises over hostile bytes becomes a
`DataError`, and so does a file that ends before its header says, which it would let pass.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from sidle.data import archives
from sidle.data.recordings import MAX_SAMPLE_RATE, MIN_SAMPLE_RATE, to_int16
from sidle.errors import DataError

SUFFIXES = (".wav", ".flac")
"""The ends of the names of sound files, in lower case."""

_FORMATS = ("WAV", "WAVEX", "RF64", "FLAC", "NIST")
_BLOCK_VALUES = 2**20
_MOST_FRAMES = 2**62
_AGAIN = "Copy the file again from where it came."
# libsndfile's log of a WAV file whose data chunk is longer than the file.
_CUT_WAV = re.compile(r"^data : (\d+) \(should be (\d+)\)", re.MULTILINE)
_NIST_COUNT = re.compile(rb"^sample_count -i (\d+)\s*$", re.MULTILINE)
_NIST_HEADER_BYTES = 1024
# What programs that write to a pipe put for a length that they do not know.
_UNKNOWN_LENGTHS = (0, 0x7FFFFFFF, 0xFFFFFFFF)


def read(path: str | Path) -> tuple[np.ndarray[Any, Any], int]:
    """Read a sound file.

    Several channels are mixed down to their mean. Samples of more than 16 bits are rounded.

    Returns:
        Samples, int16, shape (M,) with M >= 1; and the sample rate, from `MIN_SAMPLE_RATE` to
        `MAX_SAMPLE_RATE`.

    Raises:
        DataNotFoundError: there is no such file.
        DataError: another format, damaged, cut off, empty, not finite, louder than full scale
            (floating-point files can be), or decoded larger than `archives.most_content`.
        StorageError: the operating system refused.
    """
    import soundfile

    with archives.opened(path) as (raw, n_bytes):
        header = raw.read(_NIST_HEADER_BYTES)
    with archives.damage_in(path), soundfile.SoundFile(path) as file:
        if file.format not in _FORMATS:
            raise DataError(path, f"the format {file.format} is not read.", "Convert it to WAV.")
        if not MIN_SAMPLE_RATE <= file.samplerate <= MAX_SAMPLE_RATE:
            raise DataError(
                path,
                f"the sample rate {file.samplerate} Hz lies outside {MIN_SAMPLE_RATE} to "
                f"{MAX_SAMPLE_RATE}.",
                "Resample it with another program.",
            )
        if file.frames >= _MOST_FRAMES:  # FLAC that was written to a pipe
            raise DataError(path, "does not say how long it is.", "Convert it to a file anew.")
        _refuse_cut(path, file, header)
        blocks = []
        n_frames = 0
        most_frames = archives.most_content(n_bytes) // (2 * file.channels)
        while True:
            block = file.read(_BLOCK_VALUES // file.channels, dtype="float32", always_2d=True)
            if len(block) == 0:
                break
            n_frames += len(block)
            if n_frames > most_frames:
                raise DataError(
                    path,
                    f"decodes to over {archives.MAX_COMPRESSION_RATIO} times its size.",
                    "If you trust it, convert it to WAV.",
                )
            blocks.append(_mixed(path, block))
        if n_frames == 0:
            raise DataError(path, "holds no samples.", _AGAIN)
        return np.concatenate(blocks), int(file.samplerate)


def _mixed(path: str | Path, block: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    peak = float(np.abs(block).max())
    if not peak <= 1.0:  # NaN is not
        raise DataError(
            path,
            f"samples must be finite and within full scale, found {peak:g} times full scale.",
            "Scale the recording into [-1, 1].",
        )
    return to_int16(block.mean(axis=1, dtype=np.float64))


def _refuse_cut(path: str | Path, file: Any, header: bytes) -> None:
    """Refuse a file that ends before its header says; of FLAC, libsndfile does so itself."""
    promised = None
    if file.format == "NIST":
        match = _NIST_COUNT.search(header)
        promised = int(match[1]) if match else None
    elif cut := _CUT_WAV.search(file.extra_info):
        frame = file.frames and int(cut[2]) // file.frames
        if int(cut[1]) not in _UNKNOWN_LENGTHS and frame:
            promised = int(cut[1]) // frame
    if promised is not None and promised > file.frames:
        raise DataError(path, f"ends after {file.frames} of {promised} samples.", _AGAIN)
