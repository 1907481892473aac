"""Rows with labels that users name on the command line, for extreme classification.

XC text     header `n_rows n_features n_labels`, lines `l1,l2 f:v f:v`, also .gz (`data.extreme`)
FILE.npz    features as `scipy.sparse.save_npz` writes them; labels in another such file
text        any other file: a line a row, `__label__NAME` for each label, then words; words and
            pairs of neighbouring words are counted in 2^18 columns chosen by a hash

Rows to train on are written to disk as they are read, and mapped from there (`data.stored_rows`):
a file of text may be larger than memory. An .npz file is read as a whole.
"""

from __future__ import annotations

import contextlib
import gzip
import itertools
import re
import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.sparse import csr_array, load_npz

from sidle import progress, storage
from sidle.data import extreme, sources, stored_rows
from sidle.data.stored_rows import StoredRows
from sidle.errors import DataError, SidleError, UsageError

ROWS_AT_ONCE = 20_000
TEXT_FEATURES = 2**18
MARK = "__label__"
_FOLDER = "rows-"  # of rows to train on

_HEADER = re.compile(rb"\d+[ \t]+\d+[ \t]+\d+[ \t]*\r?\n?")


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of one file, or a part of it.

    Attributes:
        features: CSR, (N, D).
        labels: CSR, (N, L), or None where the file has none.
    """

    features: csr_array
    labels: csr_array | None


def kind_of(path: Path) -> str:
    """Return "xc", "npz" or "text".

    Raises:
        StorageError: the file cannot be read.
        DataError: it claims to be compressed and is not.
    """
    if path.suffix == ".npz":
        return "npz"
    with storage.refusals_of_disk(path):
        try:
            with gzip.open(path) if _is_compressed(path) else path.open("rb") as file:
                line = file.readline(200)
        except (EOFError, gzip.BadGzipFile) as error:
            raise DataError(path, f"damaged gzip: {error}.", "Get the whole file.") from error
    return "xc" if _HEADER.fullmatch(line) else "text"


def find(name: Path) -> Path:
    """Return the path of a file, or of one in a known data set's folder (`xc_bibtex/test.txt.gz`).

    Raises:
        DataNotFoundError: it is in neither place.
    """
    if not name.exists() and len(name.parts) > 1 and not name.is_absolute():
        return sources.resolve(name.parts[0]).joinpath(*name.parts[1:])
    return sources.resolve(name)


def shape(path: Path, labels: Path | None) -> dict[str, int]:
    """Return the numbers of rows, features and labels of a file to train on, reading it once."""
    n_rows = n_features = n_labels = 0
    for part in blocks(path, labels, {}, needed=True):
        assert part.labels is not None
        n_rows += part.features.shape[0]
        n_features = max(n_features, part.features.shape[1])
        n_labels = max(n_labels, part.labels.shape[1])
    if n_rows == 0:
        raise _empty(path)
    return {"rows": n_rows, "features": n_features, "labels": n_labels}


@contextlib.contextmanager
def stored(path: Path, labels: Path | None, model: Path) -> Iterator[StoredRows]:
    """Yield the rows of a file to train on, mapped from a folder inside the model's.

    The folder is there until the block ends well, so that interrupted training need not read the
    file again if it is the same; notes are {"names": of the labels, where the file has them}.

    Raises:
        DataError, DataNotFoundError, StorageError: it is not there, or broken.
        UsageError: labels for a file that has its own, or none for one that has not.
    """
    folder = model / f"{_FOLDER}{_fingerprint(path, labels)[:12]}"
    made = not (folder / stored_rows.DESCRIPTION).exists()
    if made:
        _store(path, labels, folder)
    try:
        yield stored_rows.read(folder)
    except SidleError:
        if made:  # it may be another run's folder
            shutil.rmtree(folder, ignore_errors=True)
        raise
    for old in model.glob(f"{_FOLDER}*"):
        shutil.rmtree(old, ignore_errors=True)


def _store(path: Path, labels: Path | None, folder: Path) -> None:
    numbers: dict[str, int] = {}

    def parts() -> Iterator[tuple[csr_array, csr_array]]:
        n_rows = 0
        with progress.bar("reading rows", None) as bar:
            for part in blocks(path, labels, numbers, needed=True):
                assert part.labels is not None
                n_rows += part.features.shape[0]
                yield part.features, part.labels
                bar.advance(part.features.shape[0])
        if n_rows == 0:
            raise _empty(path)

    stored_rows.write(folder, parts(), lambda: {"names": list(numbers)})


def _empty(path: Path) -> DataError:
    return DataError(path, "there are no rows.", f"Write lines like `{MARK}cats a soft paw`.")


def _fingerprint(*paths: Path | None) -> str:
    """Return what changes when one of the files does."""
    told = []
    for path in paths:
        if path is not None:
            with storage.refusals_of_disk(path):
                status = path.stat()
            told.append(f"{path.resolve()} {status.st_size} {status.st_mtime_ns}")
    return storage.digest(*told)


def blocks(
    path: Path, labels: Path | None, names: dict[str, int], *, needed: bool
) -> Iterator[Rows]:
    """Yield the rows of a file in parts of at most 20,000, reading text as it goes.

    Args:
        path: the file.
        labels: of an .npz file.
        names: numbers of the labels that are known, for text; others are entered, with numbers
            beyond.
        needed: whether labels are.
    """
    kind = kind_of(path)
    _check_labels_file(path, kind, labels, needed=needed)
    if kind == "xc":
        for part in extreme.iterate_xc(path, ROWS_AT_ONCE):
            yield Rows(part.features, part.labels)
    elif kind == "npz":
        features = _read_npz(path)
        truth = None if labels is None else _read_npz(labels)
        if truth is not None and truth.shape[0] != features.shape[0]:
            raise DataError(
                labels or path,
                f"expected labels of {features.shape[0]} rows, found {truth.shape[0]}.",
                "Name the labels of the same rows.",
            )
        for start in range(0, features.shape[0], ROWS_AT_ONCE):
            rows = slice(start, start + ROWS_AT_ONCE)
            yield Rows(features[rows], None if truth is None else truth[rows])
    else:
        for rows, marks in _text_blocks(path, names):
            yield Rows(rows, marks)


def _check_labels_file(path: Path, kind: str, labels: Path | None, *, needed: bool) -> None:
    if kind == "npz" and labels is None and needed:
        raise UsageError(f"{path}: an .npz file holds features; name the labels with --labels.")
    if kind != "npz" and labels is not None:
        raise UsageError(f"{path}: the file has labels of its own; leave --labels out.")


def _read_npz(path: Path) -> csr_array:
    with storage.refusals_of_disk(path):
        path.open("rb").close()
    try:
        matrix = csr_array(load_npz(path))
        matrix.check_format(full_check=True)
    except (ValueError, KeyError, TypeError, OSError, zipfile.BadZipFile) as error:
        raise DataError(
            path, f"expected a sparse matrix: {error}",
            "Save it with scipy.sparse.save_npz(path, matrix.tocsr()).",
        ) from error  # fmt: skip
    if not np.isfinite(matrix.data).all():
        raise DataError(path, "a value is NaN or infinite.", "Clean the matrix first.")
    matrix.sum_duplicates()
    return matrix


def _text_blocks(path: Path, numbers: dict[str, int]) -> Iterator[tuple[csr_array, csr_array]]:
    """Yield counts of words and labels; new names of labels are entered into ``numbers``."""
    from sklearn.feature_extraction.text import HashingVectorizer

    counter = HashingVectorizer(
        n_features=TEXT_FEATURES, alternate_sign=False, norm=None, ngram_range=(1, 2),
        dtype=np.float32,
    )  # fmt: skip
    for lines in _lines(path):
        texts: list[str] = []
        found: list[int] = []
        starts = [0]
        for line in lines:
            words = line.split()
            n = next((i for i, w in enumerate(words) if not w.startswith(MARK)), len(words))
            row = {numbers.setdefault(w[len(MARK) :], len(numbers)) for w in words[:n]}
            found += sorted(row)
            starts.append(len(found))
            texts.append(" ".join(words[n:]))
        marks = csr_array(
            (
                np.ones(len(found), np.float32),
                np.array(found, np.int32),
                np.array(starts, np.int32),
            ),
            shape=(len(texts), max(len(numbers), 1)),
        )
        yield csr_array(counter.transform(texts)), marks


def _is_compressed(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _lines(path: Path) -> Iterator[list[str]]:
    with (
        storage.refusals_of_disk(path),
        (gzip.open if _is_compressed(path) else open)(path, "rt", encoding="utf-8") as file,
    ):
        try:
            while part := list(itertools.islice(file, ROWS_AT_ONCE)):
                yield part
        except UnicodeDecodeError as error:
            raise DataError(
                path, f"expected UTF-8: {error}.", "Convert the file to UTF-8."
            ) from error
