"""Bars show on terminals only, after a second, and nest."""

import contextlib
import io
import threading
import time

import pytest
import rich.progress

from sidle import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def show_at_once(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(progress, "SECONDS_BEFORE_SHOWN", 0.0)


def on(screen):
    # Inside the test, not in a fixture: pytest puts its own stderr back between the two.
    return contextlib.redirect_stderr(screen)


def work():
    with progress.bar("outer", 10, done=2) as outer:
        outer.advance(3, note="halfway")
        with progress.bar("inner", 4) as inner:
            inner.advance()
            progress._display.refresh()
        outer.advance(5)


def test_bars_show_count_note_and_nest():
    with on(Terminal()) as screen:
        work()
    assert all(text in screen.getvalue() for text in ("outer", "5/10", "halfway", "inner", "1/4"))
    assert progress._display is None


def test_what_is_done_while_the_timer_shows_the_line_is_shown(monkeypatch):
    monkeypatch.setattr(progress.threading, "Timer", lambda *_: threading.Thread())  # does nothing
    monkeypatch.setattr(progress.threading.Thread, "cancel", lambda _: None, raising=False)
    with on(Terminal()), progress.bar("outer", 10), progress.bar("inner", 10) as inner:
        add_task = rich.progress.Progress.add_task

        def slow(display, *args, **kwargs):
            task = add_task(display, *args, **kwargs)  # with the counts of now
            worker.start()
            time.sleep(0.1)  # the worker counts on, and waits for the line
            return task

        worker = threading.Thread(target=lambda: inner.advance(3, note="halfway"))
        monkeypatch.setattr(rich.progress.Progress, "add_task", slow)
        inner.show()
        worker.join()
        (line,) = [task for task in progress._display.tasks if task.description == "inner"]
        assert (line.completed, line.fields["note"]) == (3, "halfway")


def test_an_error_takes_the_display_down():
    with (
        on(Terminal()) as screen,
        pytest.raises(ZeroDivisionError),
        progress.bar("outer", 10) as bar,
    ):
        bar.advance()
        _ = 1 / 0
    assert "outer" in screen.getvalue()
    assert progress._display is None


def test_quiet_where_stderr_is_no_terminal():
    with on(io.StringIO()) as pipe, progress.bar("outer", 10) as bar:
        bar.advance()
    assert pipe.getvalue() == ""


def test_quiet_when_silenced_or_too_quick(monkeypatch):
    monkeypatch.setattr(progress, "SECONDS_BEFORE_SHOWN", 60.0)
    with on(Terminal()) as screen, progress.bar("outer", 10) as bar:
        bar.advance()
    monkeypatch.setattr(progress, "SECONDS_BEFORE_SHOWN", 0.0)
    monkeypatch.setattr(progress, "_silent", True)
    with on(screen), progress.bar("outer", 10) as bar:
        bar.advance()
    assert screen.getvalue() == ""


def test_compiling_is_said_at_the_first_call_only(monkeypatch):
    class Kernel:
        signatures: tuple[str, ...] = ()

    with on(Terminal()) as screen, progress.compiling(Kernel):
        time.sleep(0.1)
    assert "compiling kernels" in screen.getvalue()
    Kernel.signatures = ("(int64,)",)
    with on(Terminal()) as screen, progress.compiling(Kernel):
        time.sleep(0.1)
    assert screen.getvalue() == ""


def test_a_bar_shows_before_its_first_unit_is_done(monkeypatch):
    monkeypatch.setattr(progress, "SECONDS_BEFORE_SHOWN", 0.05)
    with on(Terminal()) as screen, progress.bar("compiling kernels", None):
        deadline = time.monotonic() + 10
        while "compiling kernels" not in screen.getvalue() and time.monotonic() < deadline:
            time.sleep(0.01)
    assert "compiling kernels" in screen.getvalue()
    assert progress._display is None
