"""`sidle data list`, `where`, `fetch` and `pack`: data sets and where they are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro

from sidle.cli import console
from sidle.data import sources
from sidle.data.catalogue import KNOWN
from sidle.errors import UsageError


@dataclass(frozen=True)
class ListOptions:
    """List the data sets that sidle knows, and where each was found."""

    json: bool = False
    """Print {"data": [{"name", "kind", "description", "licence", "status", "path"}]} as JSON."""


@dataclass(frozen=True)
class WhereOptions:
    """Print where a data set was found, or what to put where.

    Looked for as a path, in the folders that SIDLE_DATA lists, and in the user's cache.
    """

    name: tyro.conf.Positional[str]
    """Name of a data set, or a path."""
    json: bool = False
    """Print {"name", "path"} as JSON; path is null for a set that needs no file."""


@dataclass(frozen=True)
class FetchOptions:
    """Download a data set into the user's cache; checksums are the publisher's."""

    name: tyro.conf.Positional[str]
    """Name of a data set that `sidle data list` calls fetchable."""
    dry_run: bool = False
    """Only say what would be downloaded."""
    json: bool = False
    """Print {"name", "path"} as JSON; with --dry-run {"name", "urls"}."""


@dataclass(frozen=True)
class PackOptions:
    """Pack a data set into one compact .npz file that is read without decoding.

    Images need folders train/CLASS and test/CLASS, IDX files or CIFAR-10 batches; audio a folder
    of WAV or FLAC files, or a TIMIT tree.
    """

    source: tyro.conf.Positional[str]
    """Folder, or name of a known data set."""
    out: tyro.conf.Positional[Path]
    """The .npz file to write."""
    kind: tyro.conf.Positional[Literal["images", "audio"]]
    """What the folder holds."""
    json: bool = False
    """Print {"path", "kind", "bytes"} as JSON."""


def list_data(arguments: list[str]) -> int:
    """Run ``sidle data list`` with ``arguments``; return the exit code."""
    options = console.parse(ListOptions, "data list", arguments, example="sidle data list")
    rows = sources.listing()
    if options.json:
        console.print_json({"data": [_as_json(row) for row in rows]})
        return 0
    made = console.table("Data sets", ("name", "kind", "status", "what it is"))
    for row in rows:
        made.add_row(row.name, row.kind, row.status, row.description)
    console.show(made, "`sidle data where NAME` prints a path, or what to put where.")
    return 0


def where(arguments: list[str]) -> int:
    """Run ``sidle data where`` with ``arguments``; return the exit code."""
    options = console.parse(
        WhereOptions, "data where", arguments, example="sidle data where fashion_mnist"
    )
    embedded = options.name in KNOWN and KNOWN[options.name].embedded
    path = None if embedded else sources.resolve(options.name)
    if options.json:
        console.print_json({"name": options.name, "path": None if path is None else str(path)})
    elif path is None:
        console.show(f"{options.name} is embedded: it needs no file.")
    else:
        print(path)
    return 0


def fetch(arguments: list[str]) -> int:
    """Run ``sidle data fetch`` with ``arguments``; return the exit code."""
    options = console.parse(
        FetchOptions, "data fetch", arguments, example="sidle data fetch fashion_mnist"
    )
    if options.dry_run:
        sources.where(options.name)  # refuses unknown names
        urls = [download.url for download in KNOWN[options.name].downloads]
        if options.json:
            console.print_json({"name": options.name, "urls": urls})
        else:
            console.show(*(urls or [f"{options.name} is not fetchable; see `sidle data where`."]))
        return 0
    path = sources.fetch(options.name, progress=not options.json)
    if options.json:
        console.print_json({"name": options.name, "path": str(path)})
    else:
        print(path)
    return 0


def pack(arguments: list[str]) -> int:
    """Run ``sidle data pack`` with ``arguments``; return the exit code."""
    options = console.parse(
        PackOptions, "data pack", arguments, example="sidle data pack photos photos.npz images"
    )
    if options.out.suffix != ".npz":
        raise UsageError(f"sidle data pack: the file to write must end in .npz, got {options.out}.")
    if options.kind == "images":
        from sidle.data import images

        images.pack(*images.load(options.source), options.out)
    else:
        from sidle.data import audio

        audio.pack(audio.load(options.source), options.out)
    n_bytes = options.out.stat().st_size
    if options.json:
        console.print_json({"path": str(options.out), "kind": options.kind, "bytes": n_bytes})
    else:
        console.show(f"Wrote {options.out}, {console.size(n_bytes)}.")
    return 0


def _as_json(row: sources.Row) -> dict[str, Any]:
    return {
        "name": row.name,
        "kind": row.kind,
        "description": row.description,
        "licence": row.licence,
        "status": row.status,
        "path": None if row.path is None else str(row.path),
    }
