"""Tables of numbers from the files that people have: `.npy`, `.npz` and `.csv`.

The object is an array of N rows, float64 unless the file says otherwise.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from sidle.data import archives
from sidle.errors import ArgumentError, DataError

_MAX_LINE_BYTES = 4 * 2**20


def read_rows(path: str | Path, *, name: str | None = None) -> np.ndarray[Any, Any]:
    """Read numbers from ``path``.

    Args:
        path: `.npy`; `.npz`; or `.csv`, plain or gzip: numbers separated by commas, one row a
            line, a first line of column names passed over.
        name: which array of an `.npz` file; None where it holds one only.

    Returns:
        Finite numbers, shape (N,) or (N, ...) with N >= 1, in the file's own number type.

    Raises:
        ArgumentError: another kind of file; a name for a file without names, or none for a file
            with several arrays.
        DataNotFoundError: there is no such file.
        DataError: damaged; not numbers; NaN or infinite; rows of different lengths; no rows.
        StorageError: the operating system refused.
    """
    path = Path(path)
    kind = path.name.removesuffix(".gz").rpartition(".")[2]
    if kind not in ("npy", "npz", "csv"):
        raise ArgumentError(f"{path}: expected a name that ends in .npy, .npz, .csv or .csv.gz.")
    if name is not None and kind != "npz":
        raise ArgumentError(f"{path}: only .npz files hold arrays by name; leave '{name}' away.")
    if kind == "csv":
        return _read_csv(path)
    array = archives.read_npy(path) if kind == "npy" else _one_of(path, name)
    if array.dtype.kind not in "biuf" or array.ndim == 0 or len(array) == 0:
        raise DataError(
            path,
            f"expected rows of real numbers, found {array.dtype} of shape {array.shape}.",
            "Save an array of numbers with one row a sample.",
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        row = int(np.flatnonzero(~np.isfinite(array.reshape(len(array), -1)).all(1))[0])
        raise DataError(
            path, f"row {row} (from 0) holds NaN or infinity.", "Drop or repair such rows first."
        )
    return array


def _one_of(path: Path, name: str | None) -> np.ndarray[Any, Any]:
    arrays = archives.read_npz(path, None if name is None else [name])
    if name is not None and name not in arrays:
        names = ", ".join(archives.read_npz(path))
        raise ArgumentError(f"{path}: holds no array '{name}'. It holds: {names}.")
    if len(arrays) != 1:
        raise ArgumentError(
            f"{path}: holds {len(arrays)} arrays ({', '.join(arrays)}); say which one."
        )
    array: np.ndarray[Any, Any] = next(iter(arrays.values()))
    return array


def _read_csv(path: Path) -> np.ndarray[Any, Any]:
    rows: list[list[float]] = []
    for number, cells in _csv_lines(path):
        values = _numbers(cells)
        if values is None and number == 1:
            continue  # names of columns
        if values is None or not np.isfinite(values).all():
            raise DataError(
                path,
                f"expected finite numbers separated by commas, found {','.join(cells)[:60]!r}.",
                "Correct or drop this line.",
                line=number,
            )
        if rows and len(values) != len(rows[0]):
            raise DataError(
                path,
                f"expected {len(rows[0])} numbers as in the lines before, found {len(values)}.",
                "Correct or drop this line.",
                line=number,
            )
        rows.append(values)
    if not rows:
        raise DataError(path, "holds no rows of numbers.", "Is this the right file?")
    return np.array(rows)


def _csv_lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield number and cells of each line; a line is a row, so that errors can name it."""
    with archives.content(path) as content:
        for number, line in enumerate(content.lines(_MAX_LINE_BYTES), start=1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
                yield number, next(csv.reader([text], strict=True), [])
            except (UnicodeDecodeError, csv.Error) as error:
                raise DataError(
                    path, f"not CSV in UTF-8: {error}.", "Save the file as such.", line=number
                ) from error


def _numbers(cells: list[str]) -> list[float] | None:
    try:
        return [float(cell) for cell in cells] or None
    except ValueError:
        return None
