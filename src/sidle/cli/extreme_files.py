"""Rows with labels that users name on the command line, for extreme classification.

XC text     header `n_rows n_features n_labels`, lines `l1,l2 f:v f:v`, also .gz (`data.extreme`)
FILE.npz    features as `scipy.sparse.save_npz` writes them; labels in another such file
text        any other file: a line a row, `__label__NAME` for each label, then words; words and
            pairs of neighbouring words are counted in 2^18 columns chosen by a hash
"""

from __future__ import annotations

import gzip
import itertools
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_array, load_npz

from sidle import storage
from sidle.data import extreme, sources
from sidle.errors import DataError, UsageError

ROWS_AT_ONCE = 20_000
TEXT_FEATURES = 2**18
MARK = "__label__"

_HEADER = re.compile(rb"\d+[ \t]+\d+[ \t]+\d+[ \t]*\r?\n?")


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of one file, or a part of it.

    Attributes:
        features: CSR, (N, D).
        labels: CSR, (N, L), or None where the file has none.
        names: of the labels, where the file has them.
    """

    features: csr_array
    labels: csr_array | None
    names: tuple[str, ...] = ()


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


def read(path: Path, labels: Path | None) -> Rows:
    """Read a whole file to train on.

    Raises:
        DataError, DataNotFoundError, StorageError: it is not there, or broken.
        UsageError: labels for a file that has its own, or none for one that has not.
    """
    kind = kind_of(path)
    _check_labels_file(path, kind, labels, needed=True)
    if kind == "xc":
        found = extreme.read_xc(path)
        return Rows(found.features, found.labels)
    if kind == "npz":
        assert labels is not None
        return Rows(_read_npz(path), _read_npz(labels))
    numbers: dict[str, int] = {}
    parts = list(_text_blocks(path, numbers))
    if not parts:
        raise DataError(path, "the file is empty.", f"Write lines like `{MARK}cats a soft paw`.")
    from scipy.sparse import vstack

    marks = [csr_array((p[1].data, p[1].indices, p[1].indptr), shape=(p[1].shape[0], len(numbers)))
             for p in parts]  # fmt: skip
    return Rows(
        csr_array(vstack([p[0] for p in parts], format="csr")),
        csr_array(vstack(marks, format="csr")),
        tuple(numbers),
    )


def blocks(
    path: Path, labels: Path | None, names: Mapping[str, int], *, needed: bool
) -> Iterator[Rows]:
    """Yield the rows of a file in parts of at most 20,000, reading text as it goes.

    Args:
        path: the file.
        labels: of an .npz file.
        names: of the labels that a model knows, for text; others get numbers beyond.
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
        numbers = dict(names)
        for rows, marks in _text_blocks(path, numbers):
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


def digest(rows: Rows) -> str:
    """Return the SHA-256 of features, labels and names."""
    parts: list[Any] = ["\n".join(rows.names)]
    for matrix in (rows.features, rows.labels):
        if matrix is not None:
            parts += [str(matrix.shape), matrix.indptr, matrix.indices, matrix.data]
    return storage.digest(*parts)
