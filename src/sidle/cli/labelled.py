"""Labelled examples that users name on the command line, as tensors a network takes.

FILE.npz    arrays x (N, ...) and y (N,), integers from 0; floating x as float32, bytes as
            float32 in [0, 1], other integers (tokens) as int64
NAME        a set of images that `sidle data list` knows, a folder or a packed file: float32 in
            [0, 1], shape (N, C, H, W)
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from sidle.data import archives
from sidle.errors import DataError

Split = Literal["train", "test"]

_REMEDY = "Save both with numpy.savez(path, x=..., y=...)."


def read(name: str, split: Split) -> tuple[Tensor, Tensor]:
    """Return inputs and int64 labels of the file or set ``name``.

    Args:
        name: see the module.
        split: which part of a set of images; a file of arrays has but one.

    Raises:
        DataNotFoundError: there is no such file or set.
        DataError: damaged, no labels, lengths that differ, no examples, or values not finite.
        StorageError: the operating system refused.
    """
    arrays = _arrays(name)
    if arrays is not None:
        x = _inputs(name, arrays)
        labels = archives.column(name, arrays, "y", "iu") if "y" in arrays else None
        if labels is None:
            raise DataError(name, "expected an array 'y' with the labels, found none.", _REMEDY)
        if len(labels) != len(x):
            raise DataError(
                name, f"x holds {len(x)} examples, y {len(labels)} labels.", "Save them together."
            )
        return x, torch.from_numpy(labels.astype(np.int64))
    return _images(name, split)


def read_inputs(name: str, split: Split) -> Tensor:
    """Return inputs alone: array x of a file, which needs no y, or a part of a set of images.

    Raises:
        DataNotFoundError, DataError, StorageError: as `read`.
    """
    arrays = _arrays(name)
    return _images(name, split)[0] if arrays is None else _inputs(name, arrays)


def _arrays(name: str) -> dict[str, Any] | None:
    """Return arrays x and y of an .npz file; None if ``name`` is no such file."""
    path = Path(name).expanduser()
    if path.suffix != ".npz" or not path.is_file():
        return None
    arrays = archives.read_npz(path, ("x", "y"))
    return arrays if "x" in arrays else None


def _inputs(name: str, arrays: dict[str, Any]) -> Tensor:
    x = arrays["x"]
    if x.dtype.kind not in "iuf" or x.ndim == 0 or len(x) == 0:
        raise DataError(
            name, f"expected numbers x of shape (N, ...), found {x.dtype} {x.shape}.", _REMEDY
        )
    if x.dtype.kind == "f":
        if not np.isfinite(x).all():
            row = int(np.flatnonzero(~np.isfinite(x.reshape(len(x), -1)).all(1))[0])
            raise DataError(
                name, f"x holds a NaN or an infinity in row {row} (from 0).", "Repair or drop it."
            )
        return torch.from_numpy(x.astype(np.float32))
    if x.dtype == np.uint8:
        return torch.from_numpy(x.astype(np.float32) / np.float32(255))
    return torch.from_numpy(x.astype(np.int64))


def _images(name: str, split: Split) -> tuple[Tensor, Tensor]:
    from sidle.data import images

    train, test = images.load(name)
    found = train if split == "train" else test
    if len(found) == 0:
        raise DataError(name, f"holds no {split} images.", "Name another set.")
    pixels = found.pixels.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
    return torch.from_numpy(np.ascontiguousarray(pixels)), torch.from_numpy(found.labels.copy())
