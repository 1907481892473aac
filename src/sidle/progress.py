"""Progress bars with rate and time left, on a terminal only.

A bar appears once its work has lasted a second, even if no unit is done by then; it goes when the
work ends, and nests: bars opened inside another's block join its display. Nothing is written where
stderr is not a terminal.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

SECONDS_BEFORE_SHOWN = 1.0

_silent = False
_display: Progress | None = None
_lock = threading.RLock()  # a bar is shown by its timer's thread or by its own


def silence() -> None:
    """Show no bars in this process from now on (a worker whose parent shows them)."""
    global _silent
    _silent = True


@contextlib.contextmanager
def bar(description: str, total: int | None, *, done: int = 0) -> Iterator[Bar]:
    """Show progress of the block; call ``advance`` on what it yields.

    Args:
        description: a word or two: what is going on.
        total: how many units there are; None where that is unknown.
        done: units already done before the block (a resumed run).
    """
    shown = Bar(description, total, done)
    timer = threading.Timer(SECONDS_BEFORE_SHOWN, shown.show)
    timer.daemon = True
    if _visible():
        timer.start()
    try:
        yield shown
    finally:
        timer.cancel()
        shown.close()


@contextlib.contextmanager
def compiling(kernel: Any) -> Iterator[None]:
    """Say so while the block makes the first call of a Numba ``kernel``, which compiles it."""
    if kernel.signatures:
        yield
        return
    with bar("compiling kernels", None):
        yield


class Bar:
    """One line of the display; made by `bar`."""

    def __init__(self, description: str, total: int | None, done: int) -> None:
        self._description, self._total, self._done = description, total, done
        self._note = ""
        self._started = time.monotonic()
        self._owns_display = self._closed = False
        self._task: TaskID | None = None

    def advance(self, n: int = 1, *, note: str = "") -> None:
        """Count ``n`` units as done; ``note`` (a loss, a name) replaces the note at the end."""
        self._done += n
        self._note = note or self._note
        if (
            self._task is None
            and time.monotonic() - self._started > SECONDS_BEFORE_SHOWN
            and _visible()
        ):
            self.show()
        # Also a line just shown: the timer may have read the counts before they rose.
        if self._task is not None and _display is not None:
            _display.update(self._task, completed=self._done, note=self._note)

    def show(self) -> None:
        """Put the line on the display; nothing happens if it is there or was taken off."""
        global _display
        with _lock:
            if self._task is not None or self._closed:
                return
            if _display is None:
                _display = _new_display()
                _display.start()
                self._owns_display = True
            self._task = _display.add_task(
                self._description, total=self._total, completed=self._done, note=self._note
            )

    def close(self) -> None:
        """Take the line off the display."""
        global _display
        with _lock:
            self._closed = True
            if self._task is None or _display is None:
                return
            _display.remove_task(self._task)
            if self._owns_display:
                _display.stop()
                _display = None
            self._task = None


def _visible() -> bool:
    return not _silent and sys.stderr.isatty()


def _new_display() -> Progress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class RateColumn(ProgressColumn):
        """Units a second."""

        def render(self, task: Task) -> Text:
            return Text("" if not task.speed else f"{task.speed:,.3g}/s", style="cyan")

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        RateColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[note]}", style="dim"),
        console=Console(stderr=True),
        transient=True,
    )
