"""The type that all speech has: recordings end to end, who speaks, what is said, which phones.

Letters: N = recordings, M = samples of all recordings, S = phone segments.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sidle import storage
from sidle.data.archives import check_offsets
from sidle.errors import ArgumentError, ShapeError

FULL_SCALE = 32768
"""The sample value that stands for 1.0."""

MIN_SAMPLE_RATE, MAX_SAMPLE_RATE = 1_000, 192_000
"""Sample rates outside of this are damage, and would make resampling take all memory."""


@dataclass(frozen=True, eq=False)
class Segments:
    """Which phone sounds from when to when.

    Attributes:
        recording: shape (S,), int64, the row of the recording; never falls.
        start, end: shape (S,), int64, in samples from the start of the recording; the phone
            sounds in [start, end). Starts never fall within a recording.
        phone: shape (S,), int64, in [0, len(phone_names)).
        phone_names: what phone k is called.

    Raises:
        ShapeError: arrays of other shapes or types.
        ArgumentError: values outside of what is said above.
    """

    recording: np.ndarray[Any, Any]
    start: np.ndarray[Any, Any]
    end: np.ndarray[Any, Any]
    phone: np.ndarray[Any, Any]
    phone_names: tuple[str, ...]

    def __post_init__(self) -> None:
        arrays = (self.recording, self.start, self.end, self.phone)
        if any(array.dtype != np.int64 or array.ndim != 1 for array in arrays) or (
            len({len(array) for array in arrays}) != 1
        ):
            raise ShapeError(
                "Segments: recording, start, end and phone must be int64 of one shape (S,), got "
                + ", ".join(f"{array.dtype} {array.shape}" for array in arrays)
                + "."
            )
        if len(self) == 0:
            return
        step = np.diff(self.recording)
        if (step < 0).any() or ((step == 0) & (np.diff(self.start) < 0)).any():
            raise ArgumentError("Segments: must be in the order of recording, then start.")
        if self.start.min() < 0 or (self.end < self.start).any():
            raise ArgumentError("Segments: each must have 0 <= start <= end.")
        if not 0 <= self.phone.min() <= self.phone.max() < len(self.phone_names):
            raise ArgumentError(
                f"Segments: phone must be at least 0 and below {len(self.phone_names)}, the "
                f"number of names, got {self.phone.min()} to {self.phone.max()}."
            )

    def __len__(self) -> int:
        return len(self.recording)


@dataclass(frozen=True, eq=False)
class Recordings:
    """Recordings of one sample rate.

    Attributes:
        samples: shape (M,), int16; 32,768 would be full scale.
        offsets: shape (N + 1,), int64; recording i is ``samples[offsets[i]:offsets[i + 1]]``.
        sample_rate: samples a second.
        names: N names.
        speakers: N names of speakers, or None where they are not known.
        texts: N transcripts, or None.
        segments: the phones of all recordings, or None.

    Raises:
        ShapeError: arrays of other shapes or types.
        ArgumentError: values that do not fit together.
    """

    samples: np.ndarray[Any, Any]
    offsets: np.ndarray[Any, Any]
    sample_rate: int
    names: tuple[str, ...]
    speakers: tuple[str, ...] | None = None
    texts: tuple[str, ...] | None = None
    segments: Segments | None = None

    def __post_init__(self) -> None:
        if self.samples.dtype != np.int16 or self.samples.ndim != 1:
            raise ShapeError(
                "Recordings: samples must be int16 of shape (M,), "
                f"got {self.samples.dtype} {self.samples.shape}."
            )
        check_offsets(self.offsets, len(self.samples), "Recordings")
        check_rate(self.sample_rate, "Recordings")
        for what in ("names", "speakers", "texts"):
            values = getattr(self, what)
            if values is not None and len(values) != len(self):
                raise ArgumentError(
                    f"Recordings: {what} must have one entry for each of the {len(self)} "
                    f"recordings, got {len(values)}."
                )
        if self.segments is not None and len(self.segments):
            rows = self.segments.recording
            if rows[0] < 0 or rows[-1] >= len(self):
                raise ArgumentError(
                    f"Recordings: segments must name recordings from 0 to {len(self) - 1}, "
                    f"got {rows[0]} to {rows[-1]}."
                )
            excess = self.segments.end - np.diff(self.offsets)[rows]
            if excess.max() > 0:
                worst = int(excess.argmax())
                raise ArgumentError(
                    f"Recordings: segment {worst} ends {excess[worst]} samples after its "
                    f"recording '{self.names[rows[worst]]}'."
                )

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def waveform(self, row: int) -> np.ndarray[Any, Any]:
        """Return recording ``row`` as float32 in [-1, 1).

        Raises:
            ArgumentError: there is no such row.
        """
        self._check_row(row, "waveform")
        samples = self.samples[self.offsets[row] : self.offsets[row + 1]]
        return samples.astype(np.float32) / np.float32(FULL_SCALE)

    def phones_at(self, row: int, positions: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return which phone sounds in recording ``row`` at each of ``positions``.

        Args:
            row: which recording.
            positions: integers, any shape, in samples from the start of the recording.

        Returns:
            int64, the shape of ``positions``; the index of the phone that began last, -1 where
            none sounds.

        Raises:
            ArgumentError: there is no such row, or the recordings have no segments.
        """
        self._check_row(row, "phones_at")
        if self.segments is None:
            raise ArgumentError("phones_at: these recordings come without phone segments.")
        first, last = np.searchsorted(self.segments.recording, [row, row + 1])
        if first == last:
            return np.full(np.shape(positions), -1, np.int64)
        found = np.searchsorted(self.segments.start[first:last], positions, side="right") - 1
        sounds = (found >= 0) & (positions < self.segments.end[first:last][found])
        return np.where(sounds, self.segments.phone[first:last][found], -1)

    def select(self, rows: Sequence[int] | np.ndarray[Any, Any]) -> Recordings:
        """Return the recordings ``rows``, integers in any order, with all that belongs to them.

        Raises:
            ArgumentError: there is no such row.
        """
        rows = np.asarray(rows, dtype=np.int64).reshape(-1)
        for row in rows:
            self._check_row(int(row), "select")
        pieces = [self.samples[self.offsets[row] : self.offsets[row + 1]] for row in rows]
        segments = None
        if self.segments is not None:
            bounds = np.searchsorted(self.segments.recording, np.stack([rows, rows + 1]))
            chosen = [np.arange(first, last) for first, last in bounds.T]
            flat = np.concatenate([np.empty(0, np.int64), *chosen])
            segments = Segments(
                np.repeat(np.arange(len(rows)), [len(part) for part in chosen]).astype(np.int64),
                self.segments.start[flat],
                self.segments.end[flat],
                self.segments.phone[flat],
                self.segments.phone_names,
            )
        return Recordings(
            np.concatenate([np.empty(0, np.int16), *pieces]),
            offsets_of([len(piece) for piece in pieces]),
            self.sample_rate,
            tuple(self.names[row] for row in rows),
            None if self.speakers is None else tuple(self.speakers[row] for row in rows),
            None if self.texts is None else tuple(self.texts[row] for row in rows),
            segments,
        )

    def resampled(self, sample_rate: int) -> Recordings:
        """Return the recordings at ``sample_rate``, segments included.

        Polyphase filtering by `scipy.signal.resample_poly`. The filter can overshoot loud
        samples by a few percent; what passes full scale is held there.

        Raises:
            ArgumentError: ``sample_rate`` outside `MIN_SAMPLE_RATE` to `MAX_SAMPLE_RATE`.
        """
        check_rate(sample_rate, "resampled")
        if sample_rate == self.sample_rate:
            return self
        pieces = [
            resample(self.samples[first:last], self.sample_rate, sample_rate)
            for first, last in zip(self.offsets[:-1], self.offsets[1:], strict=True)
        ]
        lengths = np.array([len(piece) for piece in pieces], np.int64)
        segments = self.segments
        if segments is not None:
            limit = lengths[segments.recording]
            segments = replace(
                segments,
                start=np.minimum(segments.start * sample_rate // self.sample_rate, limit),
                end=np.minimum(segments.end * sample_rate // self.sample_rate, limit),
            )
        return replace(
            self,
            samples=np.concatenate([np.empty(0, np.int16), *pieces]),
            offsets=offsets_of(lengths),
            sample_rate=sample_rate,
            segments=segments,
        )

    def digest(self) -> str:
        """Return the SHA-256 of everything in here, 64 hexadecimal digits."""
        parts: list[str | np.ndarray[Any, Any]] = [
            self.samples,
            self.offsets,
            f"{self.sample_rate}",
        ]
        for values in (self.names, self.speakers, self.texts):
            parts += ["none"] if values is None else [f"{len(values)}", *values]
        if self.segments is not None:
            segments = self.segments
            parts += [segments.recording, segments.start, segments.end, segments.phone]
            parts += segments.phone_names
        return storage.digest(*parts)

    def _check_row(self, row: int, function: str) -> None:
        if not 0 <= row < len(self):
            raise ArgumentError(
                f"{function}: row must be at least 0 and below {len(self)}, got {row}."
            )


def offsets_of(lengths: Sequence[int] | np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return where recordings of ``lengths`` begin and end, end to end: int64, shape (N + 1,)."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])


def resample(
    samples: np.ndarray[Any, Any], sample_rate: int, wanted_rate: int
) -> np.ndarray[Any, Any]:
    """Return int16 ``samples`` of one recording at another rate; see `Recordings.resampled`."""
    from scipy.signal import resample_poly

    divisor = math.gcd(sample_rate, wanted_rate)
    filtered = resample_poly(
        samples.astype(np.float64), wanted_rate // divisor, sample_rate // divisor
    )
    return to_int16(filtered / FULL_SCALE)


def to_int16(waveform: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return samples in [-1, 1] as int16, rounded; what passes full scale is held there."""
    scaled = np.rint(np.asarray(waveform, np.float64) * FULL_SCALE)
    return np.clip(scaled, -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)


def check_rate(sample_rate: int, function: str) -> None:
    """Refuse a sample rate outside `MIN_SAMPLE_RATE` to `MAX_SAMPLE_RATE`.

    Raises:
        ArgumentError: it is; the message names ``function``.
    """
    if not MIN_SAMPLE_RATE <= sample_rate <= MAX_SAMPLE_RATE:
        raise ArgumentError(
            f"{function}: sample_rate must be from {MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE} Hz, "
            f"got {sample_rate}."
        )
