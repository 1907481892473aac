"""Decoding PNG and JPEG into arrays, with memory bounded by the size of the files.

Pillow does the work. What it raises over hostile bytes becomes a `DataError`; a picture's size
is compared with what was expected before any pixel is decoded.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from sidle import progress
from sidle.data import archives
from sidle.errors import DataError

MAX_PIXELS = 2**24
"""A picture with more pixels (4096x4096) is refused."""

_SUFFIXES = (".png", ".jpg", ".jpeg")
_GREY_MODES = ("1", "L", "LA")
_COLOUR_MODES = ("P", "RGB", "RGBA", "CMYK", "YCbCr")


def find(folder: Path) -> list[Path]:
    """Return the PNG and JPEG files directly inside ``folder``, in the order of their names."""
    return sorted(file for file in folder.iterdir() if file.suffix.lower() in _SUFFIXES)


def decode_files(files: Sequence[Path], size: tuple[int, int] | None) -> np.ndarray[Any, Any]:
    """Decode picture files.

    Args:
        files: at least one file.
        size: (height, width) to resize to, bilinear; where None, all must have one size.

    Returns:
        Shape (N, H, W, C), uint8; C is 3 if any of the pictures has colour, else 1.

    Raises:
        DataError: a picture is damaged, too large, or of another size than the first.
        StorageError: the operating system refused.
    """
    decoder = _Decoder(size)
    with progress.bar("decoding pictures", len(files)) as bar:
        for file in files:
            with archives.opened(file) as (stream, n_bytes):
                decoder.add(stream, file, "", n_bytes)
            bar.advance()
    return decoder.pixels()


def decode_packed(
    path: str | Path, encoded: np.ndarray[Any, Any], offsets: np.ndarray[Any, Any]
) -> np.ndarray[Any, Any]:
    """Decode pictures that lie end to end in one array.

    Args:
        path: where they come from, for the error.
        encoded: uint8, shape (M,).
        offsets: int64, shape (N + 1,); picture i is ``encoded[offsets[i]:offsets[i + 1]]``.

    Returns:
        Shape (N, H, W, C), uint8; C is 3 if any of the pictures has colour, else 1.

    Raises:
        DataError: the offsets do not fit, or as `decode_files`.
    """
    with archives.refused_values(path):
        archives.check_offsets(offsets, len(encoded), "decode_packed")
    decoder = _Decoder(None)
    with progress.bar("decoding pictures", len(offsets) - 1) as bar:
        for row in range(len(offsets) - 1):
            content = encoded[offsets[row] : offsets[row + 1]].tobytes()
            decoder.add(io.BytesIO(content), path, f"picture {row}: ", len(content))
            bar.advance()
    return decoder.pixels()


class _Decoder:
    """Pictures decoded one after the other.

    Args:
        size: (height, width) to resize to; None to demand the size of the first.
    """

    def __init__(self, size: tuple[int, int] | None) -> None:
        self._size, self._resized = size, size is not None
        self._decoded: list[np.ndarray[Any, Any]] = []
        self._n_encoded = self._n_decoded = 0  # bytes

    def add(self, stream: BinaryIO, path: str | Path, which: str, n_bytes: int) -> None:
        """Decode the picture in ``stream``, ``n_bytes`` long; errors name ``path``, ``which``."""
        from PIL import Image

        with archives.damage_in(path), Image.open(stream, formats=("PNG", "JPEG")) as picture:
            found = picture.height, picture.width
            self._n_encoded += n_bytes
            self._n_decoded += 3 * found[0] * found[1]
            if picture.mode not in _GREY_MODES + _COLOUR_MODES:
                raise DataError(
                    path, f"{which}mode {picture.mode} is not read.", "Save it with 8 bits."
                )
            if found[0] * found[1] > MAX_PIXELS:
                raise DataError(
                    path, f"{which}has {found[0]}x{found[1]} pixels.", "Make it smaller."
                )
            if self._size is None:
                self._size = found
            if not self._resized and found != self._size:
                raise DataError(
                    path,
                    f"{which}expected {self._size[0]}x{self._size[1]} pixels (height, width) as "
                    f"in the first picture, found {found[0]}x{found[1]}.",
                    "Give size=(height, width) to resize all.",
                )
            if not self._resized and self._n_decoded > archives.most_content(self._n_encoded):
                raise DataError(
                    path,
                    f"{which}the pictures take over {archives.MAX_COMPRESSION_RATIO} times the "
                    "size of their files.",
                    "Give size=(height, width) to make them smaller, or pack them as pixels.",
                )
            plain = picture.convert("L" if picture.mode in _GREY_MODES else "RGB")
            if self._resized:
                height, width = self._size
                plain = plain.resize((width, height), Image.Resampling.BILINEAR)
            self._decoded.append(np.asarray(plain))

    def pixels(self) -> np.ndarray[Any, Any]:
        """Return what was decoded, shape (N, H, W, C)."""
        height, width = self._size or (0, 0)
        n_channels = 3 if any(array.ndim == 3 for array in self._decoded) else 1
        pixels = np.empty((len(self._decoded), height, width, n_channels), np.uint8)
        for row, array in enumerate(self._decoded):
            pixels[row] = array if array.ndim == 3 else array[..., None]  # grey fills all channels
        return pixels
