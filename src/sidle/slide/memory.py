"""Refusing what would not fit into memory, before anything is allocated."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from sidle.errors import ArgumentError

_CGROUP = Path("/sys/fs/cgroup")


def available() -> int:
    """Return how many bytes this process may still take, as far as the system says.

    On Linux the smaller of what the kernel calls available and what the control group leaves;
    elsewhere all of the machine's memory.
    """
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    with contextlib.suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        line = next(line for line in lines if line.startswith("MemAvailable:"))
        found.append(int(line.split()[1]) * 1024)
    with contextlib.suppress(OSError, ValueError):  # "max" is no number: no limit
        limit, used = (int((_CGROUP / f"memory.{name}").read_text()) for name in ("max", "current"))
        found.append(max(limit - used, 0))
    return min(found)


_REMEDY = (
    "Use fewer rows or columns, or an optimizer with less state (rowwise_adagrad, sgd), or a "
    "larger machine."
)


def require(needed: int, where: str, what: str, *, remedy: str = _REMEDY) -> None:
    """Refuse to go on where ``needed`` bytes are not there.

    Args:
        needed: bytes.
        where: for the message: which layer.
        what: for the message: what takes the memory.
        remedy: for the message: what to do.

    Raises:
        ArgumentError: less is available.
    """
    there = available()
    if needed > there:
        raise ArgumentError(
            f"{where}: {what} need {_shown(needed)} of memory, but {_shown(there)} are available. "
            f"{remedy}"
        )


def _shown(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:,.2f} GB" if n_bytes >= 1e7 else f"{n_bytes / 1e6:,.2f} MB"
