"""Reading files that others made without believing them: bounded memory, one kind of error.

Plain and gzip content (told apart by its first bytes), `.npy` and `.npz`. No size that a header
claims is allocated before it was compared with the size of the file on disk, nothing is ever
unpickled, and whatever is damaged, cut off or hostile becomes a `DataError`.

The bound on everything compressed: a file of S bytes may hold 64 MiB + 100 S bytes. Real sets
stay below a ratio of 20; what is refused can be stored uncompressed and read then.
"""

from __future__ import annotations

import contextlib
import errno
import gzip
import math
import os
import stat
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import numpy as np

from sidle import storage
from sidle.errors import (
    ArgumentError,
    DataError,
    DataNotFoundError,
    ShapeError,
    SidleError,
    StorageError,
)

MAX_COMPRESSION_RATIO = 100
"""A compressed file may hold this many times its own size, and `ALLOWANCE_BYTES` more."""

ALLOWANCE_BYTES = 64 * 2**20
"""What any compressed file may hold, whatever its ratio."""

_DEFLATE_RATIO = 1032  # the most that deflate can do: https://zlib.net/zlib_tech.html
_BLOCK_BYTES = 2**20
_GZIP_MAGIC = b"\x1f\x8b"
_AGAIN = "Copy the file again from where it came."
_KINDS = {"b": "bool", "i": "integer", "u": "integer", "f": "float", "c": "complex", "U": "text"}


def most_content(n_bytes_on_disk: int) -> int:
    """Return how many bytes compressed data of ``n_bytes_on_disk`` bytes may grow to."""
    return ALLOWANCE_BYTES + MAX_COMPRESSION_RATIO * n_bytes_on_disk


@contextlib.contextmanager
def opened(path: str | Path) -> Iterator[tuple[BinaryIO, int]]:
    """Open the regular file ``path``; yield it and its size in bytes.

    Raises:
        DataNotFoundError: there is no such file.
        DataError: it is a folder, a pipe or a device.
        StorageError: the operating system refused.
    """
    path = Path(path)
    with storage.refusals_of_disk(path), contextlib.ExitStack() as stack:
        try:
            status = path.stat()
            if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
                raise DataError(path, "expected a file, found something else.", "Name a file.")
            file = stack.enter_context(path.open("rb"))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise DataNotFoundError(f"{path}: there is no such file. Check the path.") from error
        yield file, os.fstat(file.fileno()).st_size


@contextlib.contextmanager
def damage_in(path: str | Path) -> Iterator[None]:
    """Turn whatever a parser raises over the content of ``path`` into one clear `DataError`.

    For parsers that promise no particular exceptions on hostile bytes. Refusals of the disk
    become `StorageError`; running out of memory stays what it is.
    """
    try:
        yield
    except (SidleError, MemoryError):
        raise
    except Exception as error:
        # A parser that was sent to an impossible place in the file also gets an OSError.
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise StorageError(f"{path}: the operating system refused: {error}.") from error
        problem = " ".join(f"{error}".split()).rstrip(".") or type(error).__name__
        raise DataError(path, f"the content is damaged or cut off: {problem}.", _AGAIN) from error


@contextlib.contextmanager
def refused_values(path: str | Path) -> Iterator[None]:
    """Turn the refusal of a value that was built from ``path`` into a `DataError` that names it."""
    try:
        yield
    except ArgumentError as error:
        raise DataError(path, str(error), "Correct the file, or make it again.") from error


class Content:
    """What an open file holds, decompressed if it is gzip; made by `content`.

    Attributes:
        most_bytes: no more than this can come out: the size of a plain file, the bound of a
            compressed one.
    """

    def __init__(self, path: Path, file: BinaryIO, n_bytes: int) -> None:
        self._path, self._delivered = path, 0
        self.compressed = file.read(2) == _GZIP_MAGIC
        file.seek(0)
        self._source: Any = gzip.GzipFile(fileobj=file, mode="rb") if self.compressed else file
        self.most_bytes = n_bytes
        if self.compressed:
            self.most_bytes = min(most_content(n_bytes), _DEFLATE_RATIO * n_bytes)

    def read(self, n_bytes: int) -> bytes:
        """Return the next ``n_bytes`` bytes; fewer only at the end.

        Raises:
            DataError: the compressed data is damaged, cut off, or larger than its bound.
            StorageError: the disk refused.
        """
        with self._refusals():
            return self._counted(self._source.read(n_bytes))

    def fill(self, array: np.ndarray[Any, Any]) -> int:
        """Read into the C-contiguous ``array``; return the bytes read, fewer only at the end."""
        view = array.reshape(-1).view(np.uint8).data
        filled = 0
        while filled < len(view):
            block = self.read(min(_BLOCK_BYTES, len(view) - filled))
            if not block:
                break
            view[filled : filled + len(block)] = block
            filled += len(block)
        return filled

    def lines(self, max_line_bytes: int) -> Iterator[bytes]:
        """Yield the lines without their ends (LF or CRLF).

        Raises:
            DataError: as `read`, or a line is longer than ``max_line_bytes``. Names the line.
        """
        number = 0
        while True:
            number += 1
            with self._refusals(number):
                line = self._counted(self._source.readline(max_line_bytes + 3))
            if not line:
                return
            line = line.removesuffix(b"\n").removesuffix(b"\r")
            if len(line) > max_line_bytes:
                raise DataError(
                    self._path,
                    f"the line is longer than {max_line_bytes} bytes.",
                    "Is this a text file? If so, break its long lines.",
                    line=number,
                )
            yield line

    def _counted(self, block: bytes) -> bytes:
        self._delivered += len(block)
        if self.compressed and self._delivered > self.most_bytes:
            _refuse_bomb(self._path)
        return block

    @contextlib.contextmanager
    def _refusals(self, line: int | None = None) -> Iterator[None]:
        with storage.refusals_of_disk(self._path):
            try:
                yield
            except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                problem = f"the compressed data is damaged or cut off: {error}."
                raise DataError(self._path, problem, _AGAIN, line=line) from error


@contextlib.contextmanager
def content(path: str | Path) -> Iterator[Content]:
    """Open the content of ``path``, plain or gzip.

    Raises:
        DataNotFoundError, DataError, StorageError: as `opened`.
    """
    with opened(path) as (file, n_bytes):
        yield Content(Path(path), file, n_bytes)


def read_npy(path: str | Path) -> np.ndarray[Any, Any]:
    """Read the array in the `.npy` file ``path``, in the byte order of this machine.

    Raises:
        DataNotFoundError: there is no such file.
        DataError: no `.npy` file; cut off or longer than its header says; an array of objects
            or of records (reading those would run code, or needs pickle).
        StorageError: the operating system refused.
    """
    with opened(path) as (file, n_bytes), damage_in(path):
        return _read_array(path, Path(path).name, file, n_bytes)


def read_npz(path: str | Path, names: Iterable[str] | None = None) -> dict[str, Any]:
    """Read arrays of the `.npz` file ``path``, in the byte order of this machine.

    Args:
        path: the file; members that are not arrays are passed over.
        names: which arrays to read; all where None. Those that the file lacks are left out.

    Returns:
        Arrays of booleans, numbers or text by name, in the order of the file.

    Raises:
        DataNotFoundError: there is no such file.
        DataError: no `.npz` file; damaged; the arrays would take more than `most_content` of
            the file's size; an array of objects or of records.
        StorageError: the operating system refused.
    """
    wanted = None if names is None else set(names)
    with opened(path) as (file, n_bytes), damage_in(path), zipfile.ZipFile(file) as archive:
        members: dict[str, zipfile.ZipInfo] = {}
        for member in archive.infolist():
            name = member.filename.removesuffix(".npy")
            if name == member.filename or (wanted is not None and name not in wanted):
                continue
            if name in members:
                raise DataError(path, f"array '{name}' occurs twice.", "Write the file again.")
            _check_member(path, member)
            members[name] = member
        if sum(member.file_size for member in members.values()) > most_content(n_bytes):
            _refuse_bomb(path)
        arrays = {}
        for name, member in members.items():
            with archive.open(member) as stream:
                arrays[name] = _read_array(path, name, stream, member.file_size)
        return arrays


def write_npz(path: str | Path, arrays: Mapping[str, np.ndarray[Any, Any]]) -> None:
    """Write ``arrays`` compressed to ``path``, whole or not at all.

    Raises:
        ArgumentError: an array holds objects.
        StorageError: the disk refused; ``path`` keeps its old content.
    """
    for name, array in arrays.items():
        if array.dtype.kind not in _KINDS:
            raise ArgumentError(f"write_npz: '{name}' holds {array.dtype}; give plain arrays.")
    with storage.replacing(path) as temporary, temporary.open("wb") as file:
        members: dict[str, Any] = dict(arrays)
        np.savez_compressed(file, **members)


def column(
    path: str | Path, arrays: Mapping[str, Any], name: str, kinds: str, ndim: int = 1
) -> np.ndarray[Any, Any]:
    """Return ``arrays[name]`` once it is what was expected.

    Args:
        path: where the arrays come from, for the error.
        arrays: what `read_npz` returned.
        name: which array.
        kinds: the letters of NumPy's ``dtype.kind`` that are accepted, such as ``"iu"``.
        ndim: the number of dimensions.

    Raises:
        DataError: it is missing, of another kind, or has other dimensions.
    """
    remedy = "`sidle data pack` writes files that can be read."
    if name not in arrays:
        found = ", ".join(arrays) or "none"
        raise DataError(path, f"expected an array '{name}', found {found}.", remedy)
    array: np.ndarray[Any, Any] = arrays[name]
    if array.dtype.kind not in kinds or array.ndim != ndim:
        expected = " or ".join(dict.fromkeys(_KINDS[kind] for kind in kinds))
        raise DataError(
            path,
            f"array '{name}' must be {expected} with {ndim} dimensions, "
            f"found {array.dtype} of shape {array.shape}.",
            remedy,
        )
    return array


def check_offsets(offsets: np.ndarray[Any, Any], n_content: int, function: str) -> None:
    """Check that ``offsets`` cut ``n_content`` elements into rows: row i is offsets[i:i+2].

    Raises:
        ShapeError: not an int64 array of one dimension with at least one element.
        ArgumentError: they do not rise from 0 to ``n_content``.
    """
    if offsets.ndim != 1 or offsets.dtype != np.int64 or offsets.size == 0:
        raise ShapeError(
            f"{function}: offsets must be int64 of shape (N + 1,), "
            f"got {offsets.dtype} {offsets.shape}."
        )
    if offsets[0] != 0 or offsets[-1] != n_content or (offsets[1:] < offsets[:-1]).any():
        raise ArgumentError(
            f"{function}: offsets must rise from 0 to the {n_content} elements that they cut, "
            f"got {offsets[0]} to {offsets[-1]}, or a step back between."
        )


def _check_member(path: str | Path, member: zipfile.ZipInfo) -> None:
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise DataError(
            path,
            f"'{member.filename}' is compressed in a way whose size cannot be bounded.",
            "Write it with numpy.savez or numpy.savez_compressed.",
        )
    if member.file_size > _DEFLATE_RATIO * member.compress_size:
        raise DataError(
            path,
            f"'{member.filename}' claims {member.file_size} bytes, more than its "
            f"{member.compress_size} compressed bytes can hold.",
            _AGAIN,
        )


def _read_array(path: str | Path, name: str, stream: Any, n_bytes: int) -> np.ndarray[Any, Any]:
    """Read one array in `.npy` form from ``stream``, which is said to hold ``n_bytes``."""
    version = np.lib.format.read_magic(stream)
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in readers:
        raise DataError(path, f"'{name}' has the unknown .npy version {version}.", _AGAIN)
    shape, is_fortran, dtype = readers[version](stream)
    if dtype.kind not in _KINDS or dtype.itemsize == 0:
        raise DataError(
            path,
            f"'{name}' holds {dtype}; only booleans, numbers and text are read.",
            "Save plain arrays; objects would have to be unpickled, which can run code.",
        )
    n_left = n_bytes - stream.tell()
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != n_left:
        raise DataError(
            path, f"'{name}' promises {dtype} of shape {shape}, but holds {n_left} bytes.", _AGAIN
        )
    array = np.empty(math.prod(shape), dtype)
    view = array.view(np.uint8).data
    filled = 0
    while filled < n_left and (count := stream.readinto(view[filled : filled + _BLOCK_BYTES])):
        filled += count
    if filled < n_left:  # (the last read compared the checksum, in a zip)
        raise DataError(path, f"'{name}' ends after {filled} of {n_left} bytes.", _AGAIN)
    array = array.astype(dtype.newbyteorder("="), copy=False)
    if dtype.kind == "U":
        _check_characters(path, name, array)
    return array.reshape(shape, order="F" if is_fortran else "C")


def _check_characters(path: str | Path, name: str, array: np.ndarray[Any, Any]) -> None:
    """Refuse what is no text: such an array would fail wherever it is first looked at."""
    codes = array.view(np.uint32)
    if ((codes > 0x10FFFF) | ((codes >= 0xD800) & (codes < 0xE000))).any():
        raise DataError(path, f"'{name}' holds codes that are no characters.", _AGAIN)


def _refuse_bomb(path: str | Path) -> NoReturn:
    raise DataError(
        path,
        f"the content is more than {MAX_COMPRESSION_RATIO} times larger than its compressed file.",
        "If you trust it, store it uncompressed (gunzip, numpy.savez) and read that.",
    )
