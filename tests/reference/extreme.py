"""Slow, obvious reader of XC text: split, one regular expression a token, Python's int and float.

The format is described in `sidle.data.extreme`. Nothing here is limited: neither lines nor size.
"""

from __future__ import annotations

import gzip
import io
import math
import re
from dataclasses import dataclass

import numpy as np

HEADER = re.compile(rb"(\d{1,19})[ \t]+(\d{1,19})[ \t]+(\d{1,19})[ \t]*")
INDEX = re.compile(rb"\d+")
DECIMAL = re.compile(rb"\+?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


@dataclass
class Parsed:
    """Shapes, and per row the sorted labels and the features as sorted (index, value) pairs."""

    shape: tuple[int, int, int]
    labels: list[list[int]]
    features: list[list[tuple[int, float]]]


def decompress(content: bytes) -> bytes:
    """Return the text in the bytes of a file, plain or gzip; errors are those of `gzip`."""
    if content[:2] != b"\x1f\x8b":
        return content
    with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
        return file.read()


def parse(text: bytes) -> Parsed:
    """Read XC text.

    Raises:
        ValueError: a rule of the format is broken; the message begins with the 1-based line.
    """
    lines = text.split(b"\n")
    if lines[-1] == b"":
        lines.pop()  # what stands behind the end of the last line
    lines = [line.removesuffix(b"\r") for line in lines]
    header = HEADER.fullmatch(lines[0]) if lines else None
    if header is None:
        raise ValueError("1: header")
    n_rows, n_features, n_labels = map(int, header.groups())
    if max(n_features, n_labels) > 2**31 - 1:
        raise ValueError("1: too many columns")
    parsed = Parsed((n_rows, n_features, n_labels), [], [])
    for number, line in enumerate(lines[1:], start=2):
        if number > n_rows + 1:
            raise ValueError(f"{number}: too many rows")
        try:
            labels, features = _parse_row(line, n_features, n_labels)
        except ValueError as error:
            raise ValueError(f"{number}: {error}") from error
        parsed.labels.append(labels)
        parsed.features.append(features)
    if len(parsed.labels) != n_rows:
        raise ValueError(f"{len(lines) + 1}: too few rows")
    return parsed


def _parse_row(
    line: bytes, n_features: int, n_labels: int
) -> tuple[list[int], list[tuple[int, float]]]:
    first, *tokens = re.split(rb"[ \t]+", line)
    labels = [_index(text, n_labels) for text in first.split(b",")] if first else []
    features = []
    for token in tokens:
        if token:
            index, colon, value = token.partition(b":")
            if not colon:
                raise ValueError("no colon")
            features.append((_index(index, n_features), _value(value)))
    if not labels and not features:
        raise ValueError("blank row")
    indices = [index for index, _ in features]
    if len(set(labels)) < len(labels) or len(set(indices)) < len(indices):
        raise ValueError("duplicate")
    return sorted(labels), sorted(features)


def _index(text: bytes, bound: int) -> int:
    # Python refuses to convert more digits than 4300, which are out of range all the same.
    digits = text.lstrip(b"0") if INDEX.fullmatch(text) else None
    if digits is None or len(digits) > 10 or int(digits or b"0") >= bound:
        raise ValueError("index")
    return int(digits or b"0")


def _value(text: bytes) -> float:
    if not DECIMAL.fullmatch(text):
        raise ValueError("value")
    with np.errstate(over="ignore"):
        value = float(np.float32(float(text)))
    if math.isinf(value):
        raise ValueError("value too large")
    return value
