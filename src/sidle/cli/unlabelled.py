"""What `sidle cpc` learns from: a folder of sound, images or text, or a set that sidle knows.

audio     WAV and FLAC files at any depth, or whatever `sidle.data.audio.load` takes
images    PNG and JPEG files at any depth, resized to one size, or the training images of a set
text      .txt, .md and .rst files at any depth, each a document
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from sidle import storage
from sidle.cpc import batches
from sidle.data import documents, images, pictures, text
from sidle.data.documents import Documents
from sidle.data.recordings import FULL_SCALE, Recordings
from sidle.errors import DataError

Domain = Literal["audio", "images", "text"]


@dataclass(frozen=True)
class Pictures:
    """Images of one size, pixels (N, H, W, C) uint8, with their names."""

    names: tuple[str, ...]
    pixels: np.ndarray[Any, Any]

    def __len__(self) -> int:
        return len(self.names)

    def digest(self) -> str:
        """Return the SHA-256 of names and pixels."""
        return storage.digest(self.pixels, *self.names)


Content = Recordings | Pictures | Documents


def read(
    name: str, domain: Domain, *, sample_rate: int | None = None, size: int | None = None
) -> Content:
    """Return what the folder or set ``name`` holds.

    Args:
        name: see the module.
        domain: which kind of content.
        sample_rate: to resample sound to; None: as it is.
        size: height and width to resize images to; None: as they are.

    Raises:
        DataNotFoundError: there is no such folder or set.
        DataError: nothing of that kind is in it, or a file is damaged.
        StorageError: the operating system refused.
    """
    if domain == "audio":
        from sidle.data import audio

        return audio.load(name, sample_rate=sample_rate)
    if domain == "text":
        return documents.read_folder(name)
    folder, shape = Path(name).expanduser(), None if size is None else (size, size)
    if folder.is_dir():
        with storage.refusals_of_disk(folder):
            files = sorted(
                file for place in (folder, *_folders(folder)) for file in pictures.find(place)
            )
        if files:
            names = tuple(file.relative_to(folder).as_posix() for file in files)
            return Pictures(names, pictures.decode_files(files, shape))
    train, _ = images.load(name)
    if shape is not None and train.pixels.shape[1:3] != shape:
        height, width = train.pixels.shape[1:3]
        raise DataError(
            name, f"holds images of {height} x {width} pixels.", "Leave out --size for this set."
        )
    return Pictures(tuple(str(i) for i in range(len(train))), train.pixels)


def _folders(folder: Path) -> list[Path]:
    return sorted(place for place in folder.rglob("*") if place.is_dir())


def vocabulary(found: Documents, most: int) -> text.Vocabulary:
    """Return the ``most`` most frequent words of documents that occur twice."""
    words = (word for some in found.sentences for sentence in some for word in text.words(sentence))
    return text.vocabulary(words, min_count=2, max_size=most)


def encoded(
    found: Documents, words: text.Vocabulary, max_words: int, piece_words: int | None
) -> list[list[np.ndarray[Any, Any]]]:
    """Return the numbers of the words of each sentence, or piece of one, of each document."""
    made = []
    for some in found.sentences:
        numbers = [words.encode(text.words(one)[:max_words]) for one in some]
        made.append(numbers if piece_words is None else batches.pieces(numbers, piece_words))
    return made


def padded(rows: Sequence[np.ndarray[Any, Any]]) -> tuple[Tensor, Tensor]:
    """Return recordings from -1 to 1 side by side, (B, L) float32, and their lengths."""
    lengths = torch.tensor([len(row) for row in rows])
    x_BL = np.zeros((len(rows), int(lengths.max())), np.float32)
    for b, row in enumerate(rows):
        x_BL[b, : len(row)] = row
    return torch.from_numpy(x_BL / np.float32(FULL_SCALE)), lengths


def passages(document_words: Sequence[np.ndarray[Any, Any]]) -> Tensor:
    """Return a document as one passage, (1, T, W) int64, -1 behind the end of a sentence."""
    width = max(1, *(len(words) for words in document_words), 1)
    x_1TW = np.full((1, len(document_words), width), -1, np.int64)
    for t, words in enumerate(document_words):
        x_1TW[0, t, : len(words)] = words
    return torch.from_numpy(x_1TW)
