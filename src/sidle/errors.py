"""Every error sidle raises on purpose.

All share the root `SidleError`, and each also inherits the built-in it refines, so that both
``except SidleError`` and ``except ValueError`` work. A message says where, what was expected,
what was found, and what to do.

    SidleError
    ├── ArgumentError (ValueError)           an argument outside its range
    │   ├── ShapeError                       an array or tensor of the wrong shape
    │   └── UsageError                       a command line that cannot be understood
    ├── DataError (ValueError)               a file whose content is malformed
    ├── DataNotFoundError (FileNotFoundError)  data that is not where it was looked for
    ├── StorageError (OSError)               a disk that refused a read or a write
    ├── CheckpointError (ValueError)         a checkpoint that is damaged, foreign or mismatched
    ├── RunError (RuntimeError)              a run folder that cannot be used as asked
    ├── NonFiniteError (ArithmeticError)     a NaN or an infinity where a number is needed
    └── MissingExtraError (ImportError)      an optional dependency that is not installed
"""

from __future__ import annotations

from pathlib import Path


class SidleError(Exception):
    """Root of all errors that sidle raises on purpose."""


class ArgumentError(SidleError, ValueError):
    """An argument outside its documented range."""


class ShapeError(ArgumentError):
    """An array or tensor whose shape does not fit."""


class UsageError(ArgumentError):
    """A command line that cannot be understood (exit code 2)."""


class DataError(SidleError, ValueError):
    """A data file whose content is malformed.

    Args:
        path: the file.
        problem: what was expected and what was found.
        remedy: what the user can do about it.
        line: 1-based line number in a text file, if the problem lies on one line.
    """

    def __init__(
        self, path: str | Path, problem: str, remedy: str, *, line: int | None = None
    ) -> None:
        place = f"{path}:{line}" if line is not None else f"{path}"
        super().__init__(f"{place}: {problem} {remedy}")
        self.path, self.line = Path(path), line
        self._arguments = (path, problem, remedy, line)

    def __reduce__(self) -> tuple[object, ...]:
        # Errors travel between processes; the default would call __init__ with the message alone.
        return _rebuild_data_error, self._arguments


def _rebuild_data_error(path: str, problem: str, remedy: str, line: int | None) -> DataError:
    return DataError(path, problem, remedy, line=line)


class DataNotFoundError(SidleError, FileNotFoundError):
    """Data that is not in any of the places where it was looked for."""


class StorageError(SidleError, OSError):
    """A disk that refused a read or a write: full, over quota, read-only, no permission."""


class CheckpointError(SidleError, ValueError):
    """A checkpoint that is damaged, foreign, or does not match what it is loaded into."""


class RunError(SidleError, RuntimeError):
    """A run folder that cannot be used as asked."""


class NonFiniteError(SidleError, ArithmeticError):
    """A NaN or an infinity where a finite number is needed."""


class MissingExtraError(SidleError, ImportError):
    """An optional dependency that is not installed.

    Args:
        feature: what the user asked for.
        extra: the extra of the sidle package that brings it.
    """

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(
            f"{feature} needs the extra '{extra}', which is not installed. "
            f"Install it with: pip install 'sidle[{extra}]'"
        )
        self.feature, self.extra = feature, extra

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.feature, self.extra)
