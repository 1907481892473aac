"""Sparse rows and their labels on disk, mapped into memory instead of read into it.

A folder holds the arrays of two CSR matrices, features (N, D) and labels (N, L), a file each, and
``rows.json``, which is written last and says what they are. `write` takes blocks of rows as they
come and holds one of them at a time; `read` returns matrices whose entries stay in their files: the
operating system fetches what is looked at and drops it when memory is wanted elsewhere.
"""

from __future__ import annotations

import hashlib
import secrets
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from sidle import storage
from sidle.errors import DataError

DESCRIPTION = "rows.json"
FORMAT = 1
MOST_ENTRIES = 2**31 - 1  # so that indices are of 32 bits

_PARTS = ("features", "labels")
_TYPES: dict[str, np.dtype[Any]] = {
    "starts": np.dtype("<i8"),
    "indices": np.dtype("<i4"),
    "values": np.dtype("<f4"),
}
_Array = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False)
class StoredRows:
    """Rows that lie on disk.

    Attributes:
        features: CSR (N, D), float32, canonical, without zeros; mapped.
        labels: CSR (N, L), float32; mapped.
        digest: SHA-256 of everything in them.
        notes: what else `write` was given.
    """

    features: csr_array
    labels: csr_array
    digest: str
    notes: Mapping[str, Any]


def write(
    folder: Path,
    blocks: Iterable[tuple[csr_array, csr_array]],
    notes: Callable[[], Mapping[str, Any]],
) -> None:
    """Write blocks of rows into ``folder``, whole or not at all; what was there is replaced.

    Args:
        folder: where; its parents are made if needed.
        blocks: features (n, D) and labels (n, L) of some rows; L may grow from block to block.
        notes: called at the end; JSON values to keep beside the rows.

    Raises:
        StorageError: the disk refused.
        DataError: there are over 2^31 - 1 features or labels in all.
    """
    temporary = folder.with_name(f".{folder.name}.{secrets.token_hex(6)}")
    try:
        with storage.refusals_of_disk(folder):
            temporary.mkdir(parents=True)
            shapes, digest = _write_arrays(temporary, folder, blocks)
        description = {"format": FORMAT, "shapes": shapes, "digest": digest, "notes": notes()}
        storage.write_json(temporary / DESCRIPTION, description)
        with storage.refusals_of_disk(folder):
            shutil.rmtree(folder, ignore_errors=True)
            temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write_arrays(
    temporary: Path, folder: Path, blocks: Iterable[tuple[csr_array, csr_array]]
) -> tuple[dict[str, list[int]], str]:
    """Return N, columns and entries of both matrices, and the digest of their arrays."""
    names = [(part, kind) for part in _PARTS for kind in _TYPES]
    files = {name: (temporary / ".".join(name)).open("wb") for name in names}
    digests = {name: hashlib.sha256() for name in names}
    shapes = {part: [0, 0, 0] for part in _PARTS}

    def append(name: tuple[str, str], array: _Array) -> None:
        content = np.ascontiguousarray(array.astype(_TYPES[name[1]], copy=False)).data.cast("B")
        files[name].write(content)
        digests[name].update(content)

    try:
        for part in _PARTS:
            append((part, "starts"), np.zeros(1, np.int64))
        for block in blocks:
            for part, matrix in zip(_PARTS, map(_canonical, block), strict=True):
                rows, columns, entries = shapes[part]
                append((part, "starts"), matrix.indptr[1:].astype(np.int64) + entries)
                append((part, "indices"), matrix.indices)
                append((part, "values"), matrix.data)
                shapes[part] = [
                    rows + matrix.shape[0], max(columns, matrix.shape[1]), entries + matrix.nnz,
                ]  # fmt: skip
                if shapes[part][2] > MOST_ENTRIES:
                    raise DataError(
                        folder, f"there are more than {MOST_ENTRIES:,} {part}.",
                        "Learn from fewer rows.",
                    )  # fmt: skip
    finally:
        for file in files.values():
            file.close()
    parts = [f"{shapes[part]}" for part in _PARTS] + [digests[name].hexdigest() for name in names]
    return shapes, storage.digest(*parts)


def _canonical(matrix: csr_array) -> csr_array:
    """Return the matrix with sorted indices, none twice, and no zeros."""
    if not matrix.has_canonical_format:
        matrix = matrix.copy()
        matrix.sum_duplicates()
    if matrix.nnz and not matrix.data.all():
        matrix = matrix.copy()
        matrix.eliminate_zeros()
    return matrix


def read(folder: Path) -> StoredRows:
    """Return what `write` wrote.

    Raises:
        StorageError: it is not there.
        DataError: it is something else, or cut off.
    """
    path = folder / DESCRIPTION
    description = storage.read_json(path)
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise DataError(path, "these are no rows of this version.", "Delete the folder.")
    matrices = [_mapped(folder, part, *description["shapes"][part]) for part in _PARTS]
    return StoredRows(matrices[0], matrices[1], description["digest"], description["notes"])


def _mapped(folder: Path, part: str, rows: int, columns: int, entries: int) -> csr_array:
    lengths = {"starts": rows + 1, "indices": entries, "values": entries}
    arrays = {
        kind: _array(folder / f"{part}.{kind}", kind, length) for kind, length in lengths.items()
    }
    starts = np.asarray(arrays["starts"], np.int32)  # as indices are: else both would be copied
    found = csr_array((arrays["values"], arrays["indices"], starts), shape=(rows, columns))
    found.has_sorted_indices = found.has_canonical_format = True
    return found


def _array(path: Path, kind: str, length: int) -> _Array:
    with storage.refusals_of_disk(path):
        size = path.stat().st_size
    if size != length * _TYPES[kind].itemsize:
        raise DataError(path, f"expected {length:,} numbers, found {size:,} bytes.", "Delete it.")
    if length == 0:
        return np.empty(0, _TYPES[kind])
    with storage.refusals_of_disk(path):
        found: _Array = np.memmap(path, _TYPES[kind], "r", shape=(length,))
    return found
