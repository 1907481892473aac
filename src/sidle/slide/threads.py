"""Kernels over ranges, in several threads.

A kernel here takes ``(..., start, stop)`` and works on items start to stop; what one item writes,
no other does, so that results do not depend on the number of threads.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from sidle import progress, provenance
from sidle.errors import ArgumentError

_LEAST_ITEMS = 64  # of a thread; waking one takes about as long as this many rows


def spread(kernel: Callable[..., Any], *arguments: Any, items: int, threads: int) -> None:
    """Call ``kernel(*arguments, start, stop)`` so that all of ``range(items)`` is done."""
    with progress.compiling(kernel):
        parts = max(1, min(threads, items // _LEAST_ITEMS))
        if parts == 1:
            kernel(*arguments, 0, items)
            return
        bounds = [items * part // parts for part in range(parts + 1)]
        pending = [
            _pool(threads).submit(kernel, *arguments, bounds[part], bounds[part + 1])
            for part in range(1, parts)
        ]
        kernel(*arguments, bounds[0], bounds[1])
        for part in pending:
            part.result()


def check_threads(threads: int, where: str) -> int:
    """Return ``threads``, or refuse it.

    Raises:
        ArgumentError: fewer than one thread, or more than there are cores.
    """
    cores = provenance.usable_cores()
    if not 1 <= threads <= cores:
        raise ArgumentError(
            f"{where}: threads must be from 1 to the {cores} cores of this machine, got {threads}."
        )
    return threads


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads - 1, thread_name_prefix="sidle-slide")
