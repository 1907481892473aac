"""Kernels over ranges, in several threads.

A kernel here takes ``(..., start, stop)`` and works on items start to stop; what one item writes,
no other does, so that results do not depend on the number of threads.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from sidle import progress, provenance
from sidle.errors import ArgumentError

Result = TypeVar("Result")

_LEAST_ITEMS = 64  # of a thread; waking one takes about as long as this many rows


def spread(
    kernel: Callable[..., Any],
    *arguments: Any,
    items: int,
    threads: int,
    least: int = _LEAST_ITEMS,
    of_part: Sequence[tuple[Any, ...]] = (),
) -> None:
    """Call ``kernel(*arguments, start, stop)`` so that all of ``range(items)`` is done.

    Args:
        kernel: compiled, and free of the interpreter's lock.
        arguments: what all threads share.
        items: how many there are.
        threads: how many share the work.
        least: items of a thread, where there is more than one.
        of_part: what each thread has for itself, handed over after ``arguments``.
    """
    own = of_part or [()] * threads
    with progress.compiling(kernel):
        parts = max(1, min(threads, items // least, len(own)))
        if parts == 1:
            kernel(*arguments, *own[0], 0, items)
            return
        bounds = [items * part // parts for part in range(parts + 1)]
        pending = [
            _pool(threads).submit(kernel, *arguments, *own[part], bounds[part], bounds[part + 1])
            for part in range(1, parts)
        ]
        kernel(*arguments, *own[0], bounds[0], bounds[1])
        for part in pending:
            part.result()


def at_once(works: Sequence[Callable[[], Result]]) -> list[Result]:
    """Return what the callables return, each in its own thread."""
    pending = [_pool(len(works)).submit(work) for work in works[1:]]
    return [works[0](), *(each.result() for each in pending)]


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
