"""Files written whole or not at all, and digests of what they hold.

A reader of a file written here sees the old content or the new one, never a part: the content
goes to a temporary name in the same folder, is forced to disk, and is renamed over the target.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from sidle.errors import ArgumentError, DataError, SidleError, StorageError

_SPACE = "Free some space or choose another folder; what was there before is intact."
_PERMISSION = "Check the permissions, or choose another folder."
_REMEDIES = {
    errno.ENOSPC: _SPACE,
    errno.EDQUOT: _SPACE,
    errno.EFBIG: _SPACE,
    errno.EACCES: _PERMISSION,
    errno.EPERM: _PERMISSION,
    errno.EROFS: _PERMISSION,
}


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path; when the block ends well, put that file in the place of ``path``.

    The parent folder is made if needed. If the block raises, the temporary file is removed and
    ``path`` keeps its old content.

    Raises:
        StorageError: the disk refused (full, quota, permission); ``path`` keeps its old content.
    """
    path = Path(path)
    with refusals_of_disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
        temporary.touch(exist_ok=False)
        try:
            yield temporary
            _force_to_disk(temporary)
            temporary.replace(path)
            _force_to_disk(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def refusals_of_disk(path: str | Path) -> Iterator[None]:
    """Turn the operating system's refusals inside the block into one clear `StorageError`."""
    try:
        yield
    except SidleError:
        raise
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0, "Check the path and the disk.")
        raise StorageError(
            f"{path}: the operating system refused: {error.strerror or error}. {remedy}"
        ) from error


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` as UTF-8 to ``path``, whole or not at all.

    Raises:
        StorageError: the disk refused; ``path`` keeps its old content.
    """
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Write ``value`` as indented JSON to ``path``, whole or not at all.

    Raises:
        ArgumentError: ``value`` holds something JSON cannot carry (NaN and infinity included).
        StorageError: the disk refused; ``path`` keeps its old content.
    """
    write_text(path, to_json(value, indent=2) + "\n")


def read_json(path: str | Path) -> Any:
    """Read the JSON file ``path``.

    Raises:
        StorageError: the file cannot be read.
        DataError: its content is not JSON.
    """
    with refusals_of_disk(path):
        content = Path(path).read_bytes()
    try:
        return json.loads(content)
    except ValueError as error:
        raise DataError(
            path, f"expected JSON: {error}.", "Delete the file; it can be made again."
        ) from error


def to_json(value: Any, *, indent: int | None = None) -> str:
    """Return ``value`` as standard JSON, keys in sorted order.

    Raises:
        ArgumentError: ``value`` holds something JSON cannot carry (NaN and infinity included).
    """
    try:
        return json.dumps(value, indent=indent, sort_keys=True, allow_nan=False, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise ArgumentError(
            f"to_json: the value cannot be written as JSON: {error}. "
            "Use finite numbers, strings, booleans, None, lists and dictionaries."
        ) from error


def digest(*parts: bytes | str | np.ndarray[Any, Any]) -> str:
    """Return the SHA-256 of ``parts`` as 64 hexadecimal digits.

    Arrays count with dtype and shape. Each part is preceded by its length, so that moving a
    byte from one part to the next changes the digest.
    """
    state = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            content: Any = np.ascontiguousarray(part).reshape(-1).view(np.uint8).data
            label = f"{part.dtype.str}{part.shape}"
        else:
            content = part.encode() if isinstance(part, str) else part
            label = "bytes"
        state.update(f"{label}:{len(content)}:".encode())
        state.update(content)
    return state.hexdigest()


def _force_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
