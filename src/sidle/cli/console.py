"""What all commands share: flags into dataclasses, tables, JSON, sizes and durations."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from rich.table import Table

T = TypeVar("T")


def parse(
    options: Callable[..., T],
    command: str,
    arguments: Sequence[str],
    *,
    example: str,
    default: Any = None,
    flat: bool = True,
) -> T:
    """Return ``options`` (a dataclass) filled from command-line ``arguments``.

    The dataclass's docstring, with ``example`` below it, heads the help page. A bad command line
    prints what was wrong and exits with code 2. ``flat`` leaves the names of parts out of flags.
    """
    import tyro

    keywords = {} if default is None else {"default": default}
    markers: tuple[Any, ...] = (tyro.conf.FlagCreatePairsOff,)
    parsed: T = tyro.cli(
        options,
        prog=f"sidle {command}",
        description=f"{inspect.getdoc(options)}\n\nExample: {example}",
        args=list(arguments),
        config=(tyro.conf.OmitArgPrefixes, *markers) if flat else markers,
        **keywords,
    )
    return parsed


def print_json(value: Any) -> None:
    """Print ``value`` as JSON on stdout."""
    from sidle import storage

    print(storage.to_json(value, indent=2))


def table(title: str, columns: Sequence[str], *, right: Sequence[str] = ()) -> Table:
    """Return an empty table; columns named in ``right`` are aligned to the right."""
    from rich import box
    from rich.table import Table

    made = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return made


def show(*items: Any) -> None:
    """Print tables and text on stdout; text is taken literally, never as markup."""
    from rich.console import Console

    console = Console(markup=False, highlight=False)
    for item in items:
        console.print(item)


def seconds(value: float) -> str:
    """Return a duration as people say it: 8.2 s, 4 min 05 s, 2 h 10 min."""
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def size(n_bytes: int) -> str:
    """Return a number of bytes as people say it: 512 B, 3.4 MB."""
    value, unit = float(n_bytes), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
