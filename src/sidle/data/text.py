"""Text: lines, sentences with classes, vocabularies, and the embedded source of Python itself.

A line is at most `MAX_LINE_BYTES` long; the number of the line is in every error. Compressed
files are told by their first bytes.

The embedded default is real text that every machine has: the source of the Python standard
library. `source_tokens` makes a stream with a wide vocabulary of it, for predicting the next
token; `sentences` finds the English in its docstrings and comments. It differs between versions
of Python, so results made with it must record its digest.
"""

from __future__ import annotations

import functools
import os
import re
import sysconfig
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sidle import storage
from sidle.data import archives
from sidle.errors import ArgumentError, DataError, DataNotFoundError, ShapeError

MAX_LINE_BYTES = 2**20
"""A longer line is refused, its end not counted."""

UNKNOWN = "<unk>"
"""The word that stands for all that a vocabulary lacks; its index is 0."""

_LABELLED = re.compile(r"([+-]?[0-9]{1,9}) (.*)")

# Folders of the standard library left out: tests, what is no part of it, and tables of codes
# that a program wrote.
_LEFT_OUT = frozenset(
    ("test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__", "encodings")
)
_LEFT_OUT_STARTS = ("config-", "_sysconfigdata")  # these differ from machine to machine
_MAX_SOURCE_BYTES = 2**24
_MIN_SOURCE_FILES = 100
_SOURCE_TOKEN = re.compile(
    r"[^\W\d]\w*"  # names and words
    r"|\d[\w.]*"  # numbers
    r"|\*\*=?|//=?|<<=?|>>=?|->|:=|\.\.\.|[-+*/%&|^@=!<>]=|[^\w\s]"  # operators, punctuation
)
_WORD = re.compile(r"[^\W_]+(?:['-][^\W_]+)*|[^\w\s]")
_PROSE = re.compile(
    r"(?P<quote>\"\"\"|''')(?P<string>.*?)(?P=quote)|(?P<comment>(?:^[ \t]*#[^\n]*\n)+)",
    re.DOTALL | re.MULTILINE,
)
_COMMENT_START = re.compile(r"^[ \t]*#+ ?", re.MULTILINE)
_PARAGRAPH_END = re.compile(r"\n[ \t]*\n|^[ \t]*(?:>>>|\.\.\.|[-*] ).*$", re.MULTILINE)
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")
_SENTENCE = re.compile(r"[A-Z][\w ,;:'()/\"-]*[.!?]")
_MIN_WORDS, _MAX_WORDS = 4, 60


@dataclass(frozen=True, eq=False)
class LabelledSentences:
    """Sentences, each of one class.

    Attributes:
        labels: shape (N,), int64, at least 0.
        sentences: N sentences, words separated by blanks.

    Raises:
        ShapeError: the two differ in length, or labels are not int64.
    """

    labels: np.ndarray[Any, Any]
    sentences: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.labels.dtype != np.int64 or self.labels.shape != (len(self.sentences),):
            raise ShapeError(
                f"LabelledSentences: labels must be int64 of shape ({len(self.sentences)},), "
                f"got {self.labels.dtype} {self.labels.shape}."
            )

    def __len__(self) -> int:
        return len(self.sentences)

    def digest(self) -> str:
        """Return the SHA-256 of labels and sentences, 64 hexadecimal digits."""
        return storage.digest(self.labels, *self.sentences)


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """Words and their indices.

    Attributes:
        words: word k is called k; ``words[0]`` is `UNKNOWN`.
        counts: how often each occurred, shape (len(words),), int64; of `UNKNOWN`, the tokens
            whose words were left out.
    """

    words: tuple[str, ...]
    counts: np.ndarray[Any, Any]

    def __len__(self) -> int:
        return len(self.words)

    def encode(self, tokens: Iterable[str]) -> np.ndarray[Any, Any]:
        """Return the indices of ``tokens``: int64, one dimension, 0 for unknown words."""
        index = self._index
        return np.fromiter((index.get(token, 0) for token in tokens), np.int64)

    @functools.cached_property
    def _index(self) -> dict[str, int]:
        return {word: k for k, word in enumerate(self.words)}

    def digest(self) -> str:
        """Return the SHA-256 of words and counts, 64 hexadecimal digits."""
        return storage.digest(self.counts, *self.words)


@dataclass(frozen=True, eq=False)
class SourceText:
    """Files of program text.

    Attributes:
        names: paths below their root, with forward slashes, sorted.
        texts: what each holds.
    """

    names: tuple[str, ...]
    texts: tuple[str, ...]

    def digest(self) -> str:
        """Return the SHA-256 of names and texts, 64 hexadecimal digits."""
        return storage.digest(*self.names, *self.texts)


def read_lines(path: str | Path, *, encoding: str = "utf-8") -> Iterator[str]:
    """Return an iterator over the lines of a text file, plain or gzip, without their ends.

    A byte order mark at the beginning of UTF-8 is passed over.

    Raises:
        DataNotFoundError: there is no such file (at once).
        DataError: bytes that are no text in ``encoding``, or a line longer than
            `MAX_LINE_BYTES`, with its number; compressed data that is damaged (when reached).
        StorageError: the operating system refused.
    """
    with archives.opened(path):
        return _lines(path, encoding)


def read_labelled_sentences(path: str | Path) -> LabelledSentences:
    """Read sentences with classes: a class number, a blank, the sentence; latin-1, may be gzip.

    The form of MR, CR, SUBJ, MPQA and TREC in harvardnlp/sent-conv-torch, where a few sentences
    are empty.

    Raises:
        DataNotFoundError: there is no such file.
        DataError: an empty line, a line without a label, a negative class, a file without
            lines; names the line.
        StorageError: the operating system refused.
    """
    remedy = "Each line must be a class number, a blank and a sentence."
    labels, sentences = [], []
    for number, line in enumerate(read_lines(path, encoding="latin-1"), start=1):
        match = _LABELLED.fullmatch(line)
        if match is None:
            found = f"{line[:40]!r}" if line.strip() else "an empty line"
            problem = f"expected a class number, a blank and a sentence, found {found}."
            raise DataError(path, problem, remedy, line=number)
        if int(match[1]) < 0:
            raise DataError(path, f"the class {match[1]} is negative.", remedy, line=number)
        labels.append(int(match[1]))
        sentences.append(match[2].strip(" "))
    if not labels:
        raise DataError(path, "the file has no lines.", remedy)
    return LabelledSentences(np.array(labels, np.int64), tuple(sentences))


def words(sentence: str) -> list[str]:
    """Return the words and punctuation marks of ``sentence`` in lower case."""
    return _WORD.findall(sentence.lower())


def vocabulary(
    tokens: Iterable[str], *, min_count: int = 1, max_size: int | None = None
) -> Vocabulary:
    """Return the words of ``tokens``, the most frequent first, equal ones by alphabet.

    Args:
        tokens: words, in any order.
        min_count: rarer words are left out, at least 1.
        max_size: the most words to keep, `UNKNOWN` included, at least 1; None to keep all.

    Raises:
        ArgumentError: ``min_count`` or ``max_size`` below 1.
    """
    if min_count < 1 or (max_size is not None and max_size < 1):
        raise ArgumentError(
            "vocabulary: min_count and max_size must be at least 1, "
            f"got {min_count} and {max_size}."
        )
    counts = Counter(tokens)
    n_tokens = counts.total()
    counts.pop(UNKNOWN, None)
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    kept = [item for item in ranked if item[1] >= min_count]
    kept = kept if max_size is None else kept[: max_size - 1]
    n_unknown = n_tokens - sum(count for _, count in kept)
    return Vocabulary(
        (UNKNOWN, *(word for word, _ in kept)),
        np.array([n_unknown, *(count for _, count in kept)], np.int64),
    )


def standard_library(*, max_bytes: int = _MAX_SOURCE_BYTES) -> SourceText:
    """Return the embedded default: the source of the Python standard library on this machine.

    All .py files but tests, installed packages, tables of character codes, and files that
    differ from machine to machine, in the order of their names, until ``max_bytes`` (16 MiB, as
    it is today about three quarters of that) would be passed.

    Raises:
        DataNotFoundError: the source is not there, as in a Python that is zipped or stripped.
    """
    root = Path(sysconfig.get_path("stdlib"))
    names, texts = [], []
    with storage.refusals_of_disk(root):
        for name in sorted(_source_files(root)):
            content = (root / name).read_bytes()
            max_bytes -= len(content)
            if max_bytes < 0:
                break
            names.append(name)
            texts.append(content.decode("utf-8", errors="replace"))
    if len(names) < _MIN_SOURCE_FILES:
        raise DataNotFoundError(
            f"{root}: expected the source of the Python standard library, found {len(names)} "
            "files. Use a Python that comes with it (python.org, a distribution's full package), "
            "or a text of your own."
        )
    return SourceText(tuple(names), tuple(texts))


def source_tokens(source: SourceText) -> list[str]:
    """Return the tokens of all files one after the other: names, numbers, operators, marks.

    Strings and comments are taken apart into words and marks like all else; blanks, line ends
    and indentation leave no token. The rules do not depend on the version of Python.
    """
    return [token for text in source.texts for token in _SOURCE_TOKEN.findall(text)]


def sentences(source: SourceText) -> tuple[tuple[str, ...], ...]:
    """Return the English sentences in docstrings and comments, for each file in their order.

    A sentence begins with a capital, ends with a full stop, question or exclamation mark, has 4
    to 60 words and no characters beyond letters, digits and common punctuation. Code among the
    prose is mostly left out, not always.
    """
    return tuple(tuple(_sentences(text)) for text in source.texts)


def _lines(path: str | Path, encoding: str) -> Iterator[str]:
    with archives.content(path) as content:
        for number, line in enumerate(content.lines(MAX_LINE_BYTES), start=1):
            try:
                text = line.decode(encoding)
            except UnicodeDecodeError as error:
                raise DataError(
                    path,
                    f"byte {error.start + 1} of the line, {line[error.start]:#04x}, is not "
                    f"{encoding}.",
                    "Save the file as UTF-8.",
                    line=number,
                ) from error
            yield text.removeprefix("\ufeff") if number == 1 else text


def _source_files(root: Path) -> Iterator[str]:
    """Yield the names of the files of the standard library to take, below ``root``."""
    for folder, inside, files in os.walk(root):
        inside[:] = [
            name
            for name in inside
            if name not in _LEFT_OUT and not name.startswith(_LEFT_OUT_STARTS)
        ]
        for name in files:
            if name.endswith(".py") and not name.startswith(_LEFT_OUT_STARTS):
                yield Path(folder, name).relative_to(root).as_posix()


def _sentences(text: str) -> Iterator[str]:
    for match in _PROSE.finditer(text):
        prose = match["string"] or _COMMENT_START.sub("", match["comment"] or "")
        for paragraph in _PARAGRAPH_END.split(prose):
            for sentence in _SENTENCE_END.split(" ".join(paragraph.split())):
                n_words = sentence.count(" ") + 1
                if _MIN_WORDS <= n_words <= _MAX_WORDS and _SENTENCE.fullmatch(sentence):
                    yield sentence
