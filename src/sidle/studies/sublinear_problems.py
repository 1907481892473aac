"""The problems of the study `sublinear`: sparse rows with very many possible labels.

- ``python``, ``python-small``: the next token of the Python standard library's source from the
  `CONTEXT` tokens before it; a feature is a token at a place. Real text that every machine has; a
  tenth of the files is held out. The small one reads a part of the files.
- ``xc_...``: sets of extreme classification, with their own split.
- ``power-law-...``: synthetic rows (`sidle.data.synthetic_extreme`).

A problem comes with a *plan*: sizes of the network and of the sets of outputs, and learning rates.
Each was chosen among 0.001, 0.003, 0.01 and 0.03 by P@1 on held-out training rows, once, for a
seed that no cell has; no test row was looked at.
Letters: N = rows, F = features, L = labels.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from sidle import seeding, storage
from sidle.data import extreme, sources, text
from sidle.data.extreme import ExtremeDataset
from sidle.data.synthetic_extreme import power_law_rows
from sidle.errors import ArgumentError

CONTEXT = 4  # tokens that are seen
HELD_OUT = 10  # one file in so many
_SOURCE_BYTES = {"python-small": 2**22, "python": 2**24}
_SYNTHETIC = {  # rows to train and to test on, features, labels, features and labels a row
    "power-law-50k": (100_000, 10_240, 50_000, 50_000, 49.0, 2.9),
    "power-law-670k": (490_449, 10_240, 135_909, 670_091, 75.0, 5.0),
}
_Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Plan:
    """How networks are trained on a problem.

    Attributes:
        scale: what features are multiplied by, so that hidden rows begin near 1.
        hidden: D.
        batch_size: rows of a step.
        active: outputs that a sample is scored against beside its labels, with sets of its own.
        pool: outputs that a batch is scored against beside its labels, with shared pools.
        rate: learning rate at the first step; it falls to 0 in a line. For weighted sets.
        hashed_rate: the same for sets from tables alone.
        popular_rate: for sets by popularity.
        dense_rate: for the dense network.
    """

    scale: float
    hidden: int
    batch_size: int
    active: int
    pool: int
    rate: float
    hashed_rate: float
    popular_rate: float
    dense_rate: float

    def rate_of(self, method: str) -> float:
        """Return the learning rate at the first step of a method's training."""
        if method in ("dense", "matrix"):
            return self.dense_rate
        if "popular" in method:
            return self.popular_rate
        return self.hashed_rate if method.startswith("hashed") else self.rate


PLANS = {
    "python-small": Plan(4.0, 64, 256, 100, 2048, 0.01, 0.003, 0.01, 0.01),
    "python": Plan(4.0, 64, 256, 200, 4096, 0.01, 0.003, 0.01, 0.01),
    "xc_finna_yso": Plan(8.0, 64, 256, 100, 2048, 0.003, 0.003, 0.003, 0.003),
    "xc_delicious": Plan(1.0, 64, 128, 100, 256, 0.01, 0.003, 0.01, 0.01),
    "xc_bibtex": Plan(1.0, 64, 128, 30, 64, 0.01, 0.003, 0.01, 0.01),
    "xc_rcv1sub1": Plan(1.0, 64, 128, 30, 64, 0.01, 0.003, 0.01, 0.01),
    "power-law-50k": Plan(8.0, 128, 256, 240, 4096, 0.01, 0.003, 0.01, 0.01),
    "power-law-670k": Plan(8.0, 128, 256, 3000, 16_384, 0.01, 0.003, 0.01, 0.01),
}


@dataclass(frozen=True, eq=False)
class Problem:
    """Rows to train and to test on; every row has a label.

    Attributes:
        train: features and labels.
        test: the same.
    """

    train: ExtremeDataset
    test: ExtremeDataset

    @property
    def n_features(self) -> int:
        """F."""
        return int(self.train.features.shape[1])

    @property
    def n_labels(self) -> int:
        """L."""
        return int(self.train.labels.shape[1])

    def counts(self) -> _Array:
        """Return how often each label occurs in training, int64, (L,)."""
        found: _Array = np.bincount(self.train.labels.indices, minlength=self.n_labels)
        return found

    def scaled(self, factor: float) -> Problem:
        """Return the problem with all features multiplied."""
        parts = (
            ExtremeDataset(one.features * np.float32(factor), one.labels)
            for one in (self.train, self.test)
        )
        return Problem(*parts)

    def some_test_rows(self, most: int) -> tuple[csr_array, csr_array]:
        """Return features and labels of at most so many test rows, the same ones at each call."""
        generator = seeding.numpy_generator(seeding.split(0, "sublinear", "test rows"))
        rows = np.sort(generator.permutation(self.test.features.shape[0])[:most])
        return self.test.features[rows], self.test.labels[rows]


@functools.lru_cache(maxsize=2)
def load(name: str, train_rows: int = 0) -> Problem:
    """Return a problem by name.

    Args:
        name: one of `PLANS`.
        train_rows: how many rows to train on at most, the same ones at each call; 0: all.

    Raises:
        ArgumentError: there is no such problem.
        DataNotFoundError: its files are not on this machine.
    """
    problem = _whole(name)
    n = problem.train.features.shape[0]
    if not 0 < train_rows < n:
        return problem
    generator = seeding.numpy_generator(seeding.split(0, "sublinear", "train rows"))
    rows = np.sort(generator.permutation(n)[:train_rows])
    train = problem.train
    return Problem(ExtremeDataset(train.features[rows], train.labels[rows]), problem.test)


def _whole(name: str) -> Problem:
    check(name)
    if name in _SOURCE_BYTES:
        return _next_token(_SOURCE_BYTES[name])
    if name in _SYNTHETIC:
        n_train, n_test, *_ = _SYNTHETIC[name]
        return Problem(_drawn(name, n_train, "train"), _drawn(name, n_test, "test"))
    folder = sources.resolve(name)
    train, test = (
        extreme.read_xc(sources.resolve(folder / f"{part}.txt.gz")) for part in ("train", "test")
    )
    return Problem(_labelled(train), _labelled(test))


def check(name: str) -> None:
    """Refuse a name that is no problem's.

    Raises:
        ArgumentError: so.
    """
    if name not in PLANS:
        raise ArgumentError(f"problems: expected some of {', '.join(PLANS)}, got '{name}'.")


def digest(name: str, train_rows: int = 0) -> str:
    """Return the digest of the rows of a problem; of synthetic ones, of what they are drawn by."""
    if name in _SYNTHETIC:
        return storage.digest(name, *map(str, (*_SYNTHETIC[name], train_rows)))
    problem = load(name, train_rows)
    return storage.digest(problem.train.digest(), problem.test.digest())


def _drawn(name: str, n: int, part: str) -> ExtremeDataset:
    _, _, n_features, n_labels, features_per_row, labels_per_row = _SYNTHETIC[name]
    return power_law_rows(
        n, n_features=n_features, n_labels=n_labels, features_per_row=features_per_row,
        labels_per_row=labels_per_row, seed=0, part=part,
    )  # fmt: skip


def _labelled(dataset: ExtremeDataset) -> ExtremeDataset:
    """Return the rows that have a label."""
    rows = np.flatnonzero(np.diff(dataset.labels.indptr))
    return ExtremeDataset(dataset.features[rows], dataset.labels[rows])


def _next_token(max_bytes: int) -> Problem:
    source = text.standard_library(max_bytes=max_bytes)
    files = [text.source_tokens(text.SourceText(("",), (content,))) for content in source.texts]
    tokens = [token for file in files for token in file]
    words = text.vocabulary(tokens)
    ends = np.cumsum([len(file) for file in files])
    coded = np.split(words.encode(tokens), ends[:-1])
    train = [file for i, file in enumerate(coded) if i % HELD_OUT]
    test = [file for i, file in enumerate(coded) if i % HELD_OUT == 0]
    return Problem(_windows(train, len(words)), _windows(test, len(words)))


def _windows(files: list[_Array], n_words: int) -> ExtremeDataset:
    """Return each token of each file with the tokens before it."""
    windows = np.concatenate(
        [
            np.lib.stride_tricks.sliding_window_view(file, CONTEXT + 1)
            for file in files
            if len(file) > CONTEXT
        ]
    )
    n = len(windows)
    starts = np.arange(n + 1, dtype=np.int32)
    places = (windows[:, :CONTEXT] + n_words * np.arange(CONTEXT)).astype(np.int32)
    ones = np.ones(n * CONTEXT, np.float32)
    labels = windows[:, CONTEXT].astype(np.int32)
    return ExtremeDataset(
        csr_array((ones, places.ravel(), starts * CONTEXT), shape=(n, n_words * CONTEXT)),
        csr_array((ones[:n], labels, starts), shape=(n, n_words)),
    )
