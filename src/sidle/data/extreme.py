"""Data sets for extreme classification (XC), read from and written to text.

The format: a header ``n_rows n_features n_labels``, then one line a row,
``l1,l2,... f:v f:v ...``, plain or compressed with gzip (told apart by their first bytes).
Indices count from 0. The label list may be empty (the line then begins with a blank), a row may
have labels and no features, a row with neither is an error. Values are decimals of at least 0,
``5``, ``.42``, ``1e-3``, ``+0.5``. Blanks are spaces and tabs, any number where there is one;
lines end in LF or CRLF, the last one may lack its end.

Nothing is allocated because a header says so: memory follows what was read. Reading a plain
file takes, beside the arrays it returns, some 10 MB and up to an eighth of their size.
Letters: N = rows, D = features, L = labels.
Reference: the Extreme Classification Repository, http://manikvarma.org/downloads/XC/.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import re
import stat
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from scipy.sparse import csr_array, get_index_dtype

from sidle import progress, storage
from sidle.data.archives import MAX_COMPRESSION_RATIO, most_content
from sidle.data.kernels import extreme as kernels
from sidle.errors import ArgumentError, DataError, DataNotFoundError, ShapeError

MAX_LINE_BYTES = 4 * 2**20
"""A line longer than this, its end not counted, is refused."""

MAX_COLUMNS = 2**31 - 1
"""The most features, and the most labels, that a header may name."""

_BLOCK_BYTES = 2**20  # read at a time; stays in a level-2 cache until it is parsed
_WRITTEN_ROWS = 4096  # formatted at a time
_MOST_SHORT_ENTRIES = 2**31 - 1  # that index arrays of int32 can count
_QUOTED_BYTES = 40  # of the user's text in a message
_HEADER = re.compile(rb"(\d{1,19})[ \t]+(\d{1,19})[ \t]+(\d{1,19})[ \t]*\r?\n")
_GZIP_MAGIC = b"\x1f\x8b"

_REFUSALS = {
    kernels.BLANK_ROW: (
        "expected a row, found neither labels nor features.",
        "Delete the line, and lower the first number of the header if it counts.",
    ),
    kernels.LINE_TOO_LONG: (
        f"expected a line of at most {MAX_LINE_BYTES} bytes, found a longer one.",
        "Look for a lost line end; rows this long cannot be read.",
    ),
    kernels.BAD_LABEL: (
        "expected labels as integers of at least 0, found {token}.",
        "Write a list as 3,17 with nothing else in it; begin a row without labels with a blank.",
    ),
    kernels.LABEL_OUT_OF_RANGE: (
        "label {index} is not below the number of labels in the header.",
        "Correct the third number of the header; labels count from 0.",
    ),
    kernels.DUPLICATE_LABEL: ("label {twice} comes twice in the row.", "Keep one of them."),
    kernels.BAD_FEATURE: (
        "expected index:value with an integer index of at least 0, found {token}.",
        "Write features as 5:.42 with a blank between two.",
    ),
    kernels.FEATURE_OUT_OF_RANGE: (
        "feature {index} is not below the number of features in the header.",
        "Correct the second number of the header; features count from 0.",
    ),
    kernels.DUPLICATE_FEATURE: ("feature {twice} comes twice in the row.", "Keep one of them."),
    kernels.BAD_VALUE: (
        "expected a finite decimal of at least 0 behind the colon, found {token}.",
        "Write values as 5, .42 or 1e-3; shift or drop what is negative or not a number.",
    ),
    kernels.VALUE_TOO_LARGE: ("{token} is beyond the range of float32.", "Scale the values down."),
}


@dataclass(frozen=True)
class ExtremeHeader:
    """The first line of an XC file: how many rows, features and labels it announces."""

    n_rows: int
    n_features: int
    n_labels: int


@dataclass(frozen=True, eq=False)
class ExtremeDataset:
    """Rows of sparse features, and the set of labels of each.

    Attributes:
        features: `scipy.sparse.csr_array`, shape (N, D), float32, finite and at least 0. Zeros
            that the file spells out are kept as entries.
        labels: `scipy.sparse.csr_array`, shape (N, L), float32, every entry 1.

    Both are canonical (indices sorted, none twice) when they come from a reader here. Their
    index arrays are int32, or int64 where a matrix has more than 2^31 - 1 entries.

    Raises:
        ShapeError: features and labels differ in their number of rows.
    """

    features: csr_array
    labels: csr_array

    def __post_init__(self) -> None:
        if self.features.shape[0] != self.labels.shape[0]:
            raise ShapeError(
                "ExtremeDataset: features and labels must have the same number of rows, got "
                f"shapes {self.features.shape} and {self.labels.shape}."
            )

    @property
    def header(self) -> ExtremeHeader:
        """The header that a file of these rows has."""
        n_rows, n_features = self.features.shape
        return ExtremeHeader(n_rows, n_features, self.labels.shape[1])

    def digest(self) -> str:
        """Return the SHA-256 of shapes and entries in their order, 64 hexadecimal digits."""
        parts: list[Any] = [str(self.header)]
        for matrix in (self.features, self.labels):
            index = get_index_dtype(maxval=max(matrix.nnz, *matrix.shape))
            parts += [part.astype(index, copy=False) for part in (matrix.indptr, matrix.indices)]
            parts.append(matrix.data)
        return storage.digest(*parts)


def read_xc_header(path: str | Path) -> ExtremeHeader:
    """Return the header of the XC file ``path``; the rows are not looked at.

    Raises:
        DataNotFoundError: there is no such file.
        DataError: no header, or one that a file of this size cannot honour.
        StorageError: the operating system refused to read it.
    """
    with contextlib.closing(_Reader(path)) as reader:
        return reader.header


def read_xc(path: str | Path) -> ExtremeDataset:
    """Read the whole XC file ``path``, plain or gzip.

    Each value is the float32 nearest to the float64 nearest to the decimal, as in
    ``np.float32(float(text))``.

    Raises:
        DataNotFoundError: there is no such file.
        DataError: the content breaks a rule of the format (see the module), a line exceeds
            `MAX_LINE_BYTES`, a compressed file `archives.most_content`. Names file and line.
        StorageError: the operating system refused to read it.
    """
    with contextlib.closing(_Reader(path)) as reader:
        dataset = reader.read(reader.header.n_rows)
        reader.expect_end()
        return dataset


def iterate_xc(path: str | Path, rows_per_block: int) -> Iterator[ExtremeDataset]:
    """Return an iterator over the XC file ``path`` in blocks of rows, in the order of the file.

    The header is read and checked at once, before the first block is asked for (to see it, call
    `read_xc_header`). Each block has shapes (rows, D) and (rows, L) with rows equal to
    ``rows_per_block``, in the last block perhaps fewer. Memory stays with one block and some
    10 MB. A damaged end, and the checksum of a compressed file, show only after the last block.

    Raises:
        ArgumentError: ``rows_per_block`` is below 1.
        DataNotFoundError, DataError, StorageError: as `read_xc`, also during the iteration.
    """
    if rows_per_block < 1:
        raise ArgumentError(f"iterate_xc: rows_per_block must be at least 1, got {rows_per_block}.")
    read_xc_header(path)
    return _blocks(path, rows_per_block)


def write_xc(path: str | Path, dataset: ExtremeDataset) -> None:
    """Write ``dataset`` to ``path``, whole or not at all; a name in ``.gz`` is compressed.

    Values are written with the fewest digits that give the same float32, so that `read_xc`
    returns equal arrays. The same data always makes the same bytes.

    Raises:
        ArgumentError: features are not float32, or one is negative or not finite; a label's
            entry is not 1; a row has neither labels nor features.
        StorageError: the disk refused; ``path`` keeps its old content.
    """
    features, labels = _checked(dataset)
    with storage.replacing(path) as temporary, temporary.open("wb") as file:
        if Path(path).suffix == ".gz":
            # No name and no time inside, so that the bytes depend on the data alone.
            with gzip.GzipFile("", "wb", compresslevel=6, fileobj=file, mtime=0) as compressed:
                _write_rows(compressed, features, labels)
        else:
            _write_rows(file, features, labels)


class _Matrix:
    """The arrays of a CSR matrix under construction, with room for more than they hold.

    Args:
        valued: whether entries have values of their own; else each is 1 in the finished matrix.
    """

    def __init__(self, *, valued: bool) -> None:
        self._valued = valued
        self.indptr = np.empty(0, np.int32)
        self.indices = np.empty(0, np.int32)
        self.values = np.empty(0, np.float32)

    def with_room(self, rows: int, entries: int) -> tuple[Any, ...]:
        """Return indptr, indices and, if it has them, values, with room for what is named."""
        if entries > _MOST_SHORT_ENTRIES and self.indices.dtype == np.int32:
            # scipy wants one type for both.
            self.indptr, self.indices = self.indptr.astype(np.int64), self.indices.astype(np.int64)
        self.indptr = _grown(self.indptr, rows + 1)
        self.indptr[0] = 0
        self.indices = _grown(self.indices, entries)
        if not self._valued:
            return self.indptr, self.indices
        self.values = _grown(self.values, entries)
        return self.indptr, self.indices, self.values

    def finish(self, rows: int, entries: int, n_columns: int) -> csr_array:
        """Return the matrix, and with it the arrays, cut to size."""
        self.indptr.resize(rows + 1, refcheck=False)
        self.indices.resize(entries, refcheck=False)
        if self._valued:
            self.values.resize(entries, refcheck=False)
        else:
            self.values = np.ones(entries, np.float32)
        matrix = csr_array((self.values, self.indices, self.indptr), shape=(rows, n_columns))
        matrix.has_sorted_indices = matrix.has_canonical_format = True
        return matrix


def _grown(array: np.ndarray[Any, Any], needed: int) -> np.ndarray[Any, Any]:
    """Return ``array`` with room for at least ``needed`` elements; what it holds stays."""
    if array.size == 0:
        return np.empty(needed, array.dtype)
    if array.size < needed:
        # On Linux the memory is remapped, not copied, so that old and new never exist together.
        array.resize(needed + needed // 8, refcheck=False)
    return array


class _Reader:
    """An open XC file: its header, then as many rows as are asked for, in order."""

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._file, self._size, self._compressed = _open(self._path)
        self._source: Any = self._file
        self._most_text = self._size  # bytes
        if self._compressed:
            self._source = gzip.GzipFile(fileobj=self._file, mode="rb")
            self._most_text = most_content(self._size)
        # Whole lines lie in buffer[cursor[POSITION]:stop], part of one more in [stop:filled].
        self._buffer = bytearray(MAX_LINE_BYTES + _BLOCK_BYTES + 1)
        self._bytes = np.frombuffer(self._buffer, np.uint8)
        self._stop = self._filled = self._delivered = 0
        self._cursor = np.zeros(kernels.CURSOR_SIZE, np.int64)
        self._cursor[kernels.ROW_START] = -1
        self._line = 1  # that the cursor's first row stands on
        try:
            self.header = self._read_header()
        except BaseException:
            self._file.close()
            raise

    def close(self) -> None:
        self._file.close()

    def read(self, n_rows: int) -> ExtremeDataset:
        """Return the next ``n_rows`` rows."""
        cursor, header = self._cursor, self.header
        features, labels = _Matrix(valued=True), _Matrix(valued=False)
        cursor[[kernels.ROWS, kernels.FEATURES, kernels.LABELS]] = 0
        while cursor[kernels.ROWS] < n_rows:
            if cursor[kernels.POSITION] == self._stop and not self._refill():
                self._fail(
                    f"the header promises {header.n_rows} rows, but the text ends here.",
                    "Correct the first number of the header, or get the whole file.",
                )
            left = self._stop - int(cursor[kernels.POSITION])
            rows = min(n_rows, int(cursor[kernels.ROWS]) + left // 2 + 1)
            # A feature takes at least four bytes, as in " 3:1", and a label two, as in "3,".
            arrays = features.with_room(rows, int(cursor[kernels.FEATURES]) + left // 4 + 1)
            arrays += labels.with_room(rows, int(cursor[kernels.LABELS]) + left // 2 + 1)
            limits = n_rows, header.n_features, header.n_labels, MAX_LINE_BYTES
            with progress.compiling(kernels.parse_rows):
                status = kernels.parse_rows(self._bytes, self._stop, *limits, cursor, *arrays)
            if status == kernels.UNDECIDED:
                self._decide(features.values)
            elif status != kernels.OK:
                self._fail(*self._explain(status))
        self._line += n_rows
        n_features, n_labels = int(cursor[kernels.FEATURES]), int(cursor[kernels.LABELS])
        cursor[kernels.ROWS] = 0
        return ExtremeDataset(
            features.finish(n_rows, n_features, header.n_features),
            labels.finish(n_rows, n_labels, header.n_labels),
        )

    def expect_end(self) -> None:
        """Refuse a file that goes on."""
        if self._cursor[kernels.POSITION] < self._stop or self._refill():
            self._fail(
                f"the header promises {self.header.n_rows} rows, but the text goes on.",
                "Correct the first number of the header, or delete the lines from here on.",
            )

    def _read_header(self) -> ExtremeHeader:
        remedy = "The first line must be `n_rows n_features n_labels`, three integers."
        if not self._refill():
            self._fail("the file is empty.", remedy)
        end = self._buffer.find(b"\n") + 1
        match = _HEADER.fullmatch(self._buffer, 0, end)
        if match is None:
            self._fail(f"expected a header, found {_quoted(bytes(self._buffer[:end]))}.", remedy)
        header = ExtremeHeader(*(int(number) for number in match.groups()))
        if 2 * header.n_rows > self._most_text - end + 1:  # a row takes two bytes, as in "3\n"
            self._fail(
                f"the header promises {header.n_rows} rows, more than {self._most_text} bytes "
                "of text can hold.",
                "Correct the first number of the header, or get the whole file; decompress "
                f"(gunzip) a file compressed more than {MAX_COMPRESSION_RATIO} times.",
            )
        if max(header.n_features, header.n_labels) > MAX_COLUMNS:
            self._fail(
                f"the header names {header.n_features} features and {header.n_labels} labels; "
                f"at most {MAX_COLUMNS} of each can be read.",
                "Correct the header, or number features and labels more densely.",
            )
        self._cursor[kernels.POSITION] = end
        self._line = 2
        return header

    def _refill(self) -> bool:
        """Put the next whole lines into the used-up buffer; return whether there are any."""
        carried = self._filled - self._stop
        with memoryview(self._buffer) as view:
            view[:carried] = view[self._stop : self._filled]
            end = 0
            while end == 0:
                if carried > MAX_LINE_BYTES:
                    self._fail(*self._explain(kernels.LINE_TOO_LONG))
                n_bytes = self._read_into(view[carried : carried + _BLOCK_BYTES])
                if n_bytes == 0 and carried > 0:  # the last line has no end
                    self._buffer[carried] = ord("\n")
                    end = carried = carried + 1
                elif n_bytes == 0:
                    break
                else:
                    end = self._buffer.rfind(b"\n", carried, carried + n_bytes) + 1
                    carried += n_bytes
        self._cursor[kernels.POSITION] = 0
        self._stop, self._filled = end, carried
        return end > 0

    def _read_into(self, view: memoryview) -> int:
        """Read text into ``view``; return the number of bytes, 0 at the end of the text."""
        with storage.refusals_of_disk(self._path):
            try:
                n_bytes = int(self._source.readinto(view))
            except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                self._fail(
                    f"the compressed data is damaged or cut off: {error}.",
                    "Copy the file again from where it came.",
                    cause=error,
                )
        self._delivered += n_bytes
        if self._compressed and self._delivered > self._most_text:
            self._fail(
                f"the text is more than {MAX_COMPRESSION_RATIO} times larger than its file.",
                "If you trust it, decompress it (gunzip) and read the plain file.",
            )
        return n_bytes

    def _decide(self, values: np.ndarray[Any, Any]) -> None:
        """Do for one value, exactly, what the kernel could not."""
        cursor = self._cursor
        text = self._buffer[cursor[kernels.POSITION] : cursor[kernels.DETAIL]]
        with np.errstate(over="ignore"):
            value = np.float32(float(text))
        if np.isinf(value):
            self._fail(*self._explain(kernels.VALUE_TOO_LARGE))
        values[cursor[kernels.FEATURES]] = value
        cursor[kernels.FEATURES] += 1
        cursor[kernels.POSITION] = cursor[kernels.DETAIL]

    def _explain(self, status: int) -> tuple[str, str]:
        """Return problem and remedy for what the kernel refused."""
        position = self._cursor[kernels.POSITION]
        if status == kernels.BAD_LABEL:  # show what stands before it too
            position = max(position - _QUOTED_BYTES // 2, self._cursor[kernels.ROW_START])
        text = bytes(self._buffer[position : position + _QUOTED_BYTES + 1])
        token = re.split(rb"[ \t\r\n]", text, maxsplit=1)[0]
        problem, remedy = _REFUSALS[status]
        index = re.split(rb"[,:]", token, maxsplit=1)[0]
        twice = self._cursor[kernels.DETAIL]
        return problem.format(token=_quoted(token), index=_quoted(index), twice=twice), remedy

    def _fail(self, problem: str, remedy: str, *, cause: Exception | None = None) -> NoReturn:
        line = self._line + int(self._cursor[kernels.ROWS])
        raise DataError(self._path, problem, remedy, line=line) from cause


def _open(path: Path) -> tuple[io.FileIO, int, bool]:
    """Return ``path`` opened for reading, its size in bytes, and whether it is compressed."""
    with storage.refusals_of_disk(path):
        try:
            status = path.stat()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise DataNotFoundError(
                f"{path}: there is no such file. Check the path; a file in XC text was expected."
            ) from error
        if not stat.S_ISREG(status.st_mode):
            kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe or device"
            raise DataError(path, f"expected a file, found {kind}.", "Give a file in XC text.")
        with path.open("rb") as file:
            compressed = file.read(2) == _GZIP_MAGIC
        return io.FileIO(path), status.st_size, compressed


def _quoted(text: bytes) -> str:
    """Return ``text`` printable and short."""
    if len(text) > _QUOTED_BYTES:
        text = text[: _QUOTED_BYTES - 3] + b"..."
    return repr(text)[1:]


def _blocks(path: str | Path, rows_per_block: int) -> Iterator[ExtremeDataset]:
    with contextlib.closing(_Reader(path)) as reader:
        for start in range(0, reader.header.n_rows, rows_per_block):
            yield reader.read(min(rows_per_block, reader.header.n_rows - start))
        reader.expect_end()


def _checked(dataset: ExtremeDataset) -> tuple[csr_array, csr_array]:
    """Return features and labels of ``dataset`` in canonical form, fit to be written."""
    features, labels = _canonical(dataset.features), _canonical(dataset.labels)
    if features.dtype != np.float32:
        raise ArgumentError(
            f"write_xc: features must be float32, got {features.dtype}. Convert them first."
        )
    if not np.isfinite(features.data).all() or np.signbit(features.data).any():
        raise ArgumentError(
            "write_xc: features must be finite and at least 0, found others. Shift or drop them."
        )
    if not (labels.data == 1).all():
        raise ArgumentError(
            "write_xc: every entry of labels must be 1, found others. Drop zeros and weights."
        )
    blank = (np.diff(features.indptr) == 0) & (np.diff(labels.indptr) == 0)
    if blank.any():
        raise ArgumentError(
            f"write_xc: row {int(blank.argmax())} has neither labels nor features. Drop such rows."
        )
    return features, labels


def _canonical(matrix: csr_array) -> csr_array:
    matrix = csr_array(matrix)  # shares its arrays if it was one
    if not matrix.has_canonical_format:
        matrix = matrix.copy()
        matrix.sum_duplicates()
    return matrix


def _write_rows(file: io.BufferedIOBase, features: csr_array, labels: csr_array) -> None:
    n_rows, n_features = features.shape
    file.write(f"{n_rows} {n_features} {labels.shape[1]}\n".encode())
    for start in range(0, n_rows, _WRITTEN_ROWS):
        file.write(_format_rows(features, labels, start, min(start + _WRITTEN_ROWS, n_rows)))


def _format_rows(features: csr_array, labels: csr_array, start: int, stop: int) -> bytes:
    """Return the lines of the rows from ``start`` to ``stop``."""
    features, labels = features[start:stop], labels[start:stop]
    # NumPy's text of a float32 has the fewest digits that read back as the same float32.
    values = [text.removesuffix(".0") for text in features.data.astype(str).tolist()]
    pairs = list(map("{}:{}".format, features.indices.tolist(), values))
    names = list(map(str, labels.indices.tolist()))
    pair_ends, name_ends = features.indptr.tolist(), labels.indptr.tolist()
    lines = []
    for row in range(stop - start):
        row_names = ",".join(names[name_ends[row] : name_ends[row + 1]])
        lines.append(" ".join([row_names, *pairs[pair_ends[row] : pair_ends[row + 1]]]) + "\n")
    return "".join(lines).encode()
