"""Where data is: a name becomes a path, and what `sidle data` lists and fetches.

A name is looked for in this order: as a path that exists; in the folders that the environment
variable SIDLE_DATA lists (separated as in PATH); in the user's cache. Inside such a folder, a
known set is complete when all files of one of its alternatives are there (`catalogue.DataSet`).
Nothing is ever downloaded unless `fetch` is called.
"""

from __future__ import annotations

import contextlib
import logging
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal
from urllib.parse import urlsplit

from sidle import progress as displays
from sidle import storage
from sidle.data.archives import damage_in
from sidle.data.catalogue import KNOWN, DataSet, Download
from sidle.errors import ArgumentError, DataError, DataNotFoundError

VARIABLE = "SIDLE_DATA"
"""The environment variable that lists the user's data folders."""

_CHUNK_BYTES = 64 * 2**10
_TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True)
class Row:
    """One line of `sidle data list`.

    Attributes:
        name, kind, description, licence: as in `catalogue.DataSet`.
        status: embedded (needs no file), found (see ``path``), fetchable (`sidle data fetch`
            gets it) or missing (to be got by hand; the error of `resolve` says how).
        path: the folder that holds it, or None.
    """

    name: str
    kind: str
    description: str
    licence: str
    status: Literal["embedded", "found", "fetchable", "missing"]
    path: Path | None


def resolve(name_or_path: str | Path) -> Path:
    """Return the folder or file that ``name_or_path`` stands for.

    Args:
        name_or_path: a path that exists; else the name of a known set, or of any file or folder
            in the data folders (``"my_images"``, ``"cifar10/cifar10_u8_small.npz"``).

    Raises:
        DataNotFoundError: it is nowhere, or not complete; says where it was looked for, which
            files to put where, and the command that fetches them if there is one.
        StorageError: the operating system refused to look.
    """
    name = str(name_or_path)
    with storage.refusals_of_disk(name):
        explicit = Path(name).expanduser()
        found = explicit if explicit.exists() else _found(name)
        if found is None:
            raise DataNotFoundError(_directions(name))
    return found


def listing() -> list[Row]:
    """Return a row for every known data set, the embedded ones first."""
    return [where(name) for name in KNOWN]


def where(name: str) -> Row:
    """Return the row of the known data set ``name``.

    Raises:
        ArgumentError: no data set of that name is known.
    """
    data_set = _known(name, "where")
    path = _found(name)
    status: Literal["embedded", "found", "fetchable", "missing"] = "missing"
    if data_set.embedded:
        status, path = "embedded", None
    elif path is not None:
        status = "found"
    elif data_set.downloads:
        status = "fetchable"
    return Row(
        name, data_set.kind, data_set.description, data_set.licence, status=status, path=path
    )


def fetch(name: str, progress: bool = True) -> Path:
    """Download the known data set ``name`` into the user's cache; return its folder.

    A file gets its name only after its checksum was compared with the one that the publisher
    states, so that half a download is never seen. Files already there are kept.

    Args:
        name: a known set that is fetchable.
        progress: whether to show a bar for each file (on a terminal only).

    Raises:
        ArgumentError: no data set of that name is known.
        DataNotFoundError: the set is not fetchable, or the network or the server refused.
        DataError: what arrived has another checksum than the publisher states.
        StorageError: the disk refused.
    """
    data_set = _known(name, "fetch")
    if not data_set.downloads:
        raise DataNotFoundError(_directions(name))
    folder = cache_folder() / name
    with storage.refusals_of_disk(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for download in data_set.downloads:
            wanted = download.unpacks_to
            if wanted and all((folder / member).is_file() for member in wanted):
                continue
            path = _retrieve(download, folder, progress)
            if wanted:
                _unpack(path, wanted, folder)
                path.unlink()
    return folder


def data_folders() -> list[Path]:
    """Return the folders where names are looked for, in order: SIDLE_DATA, then the cache."""
    listed = os.environ.get(VARIABLE, "").split(os.pathsep)
    return [*(Path(folder).expanduser() for folder in listed if folder), cache_folder()]


def cache_folder() -> Path:
    """Return the folder in the user's cache that `fetch` writes to; it may not exist yet."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("sidle")) / "data"


def _known(name: str, function: str) -> DataSet:
    if name not in KNOWN:
        names = ", ".join(KNOWN)
        raise ArgumentError(f"{function}: no data set '{name}' is known. One of: {names}.")
    return KNOWN[name]


def _found(name: str) -> Path | None:
    for root in data_folders():
        path = root / name
        if name not in KNOWN:
            if path.exists():
                return path
        elif any(not _missing(path, files) for files in KNOWN[name].files):
            return path
    return None


def _missing(folder: Path, files: tuple[str, ...]) -> list[str]:
    """Return those of ``files`` that ``folder`` lacks, with and without ``.gz``."""
    return [
        file
        for file in files
        if not (folder / file).exists()
        and (file.endswith(".npz") or not (folder / f"{file}.gz").is_file())
    ]


def _directions(name: str) -> str:
    """Return where ``name`` was looked for, and how to make it be found there."""
    folders = " and ".join(str(folder) for folder in data_folders())
    if name not in KNOWN:
        return (
            f"{name}: there is no such path, and nothing of that name in {folders}. "
            f"Check the path, or add the folder that holds it to {VARIABLE}; "
            "`sidle data list` shows the names that are known."
        )
    data_set = KNOWN[name]
    if data_set.embedded:
        return f"{name}: is embedded and has no files; {data_set.publisher} returns it."
    lacking = [
        f"{folder / name} lacks {' and '.join(_missing(folder / name, data_set.files[0]))}"
        for folder in data_folders()
        if (folder / name).is_dir()
    ]
    needed = " or ".join(" + ".join(files) for files in data_set.files)
    parts = [
        f"{name}: not found in {folders}" + "".join(f"; {line}" for line in lacking) + ".",
        f"Put {needed} (.gz may be added, but not to .npz) into {cache_folder() / name}, "
        f"or into a folder '{name}' inside one that {VARIABLE} lists.",
    ]
    if data_set.downloads:
        parts.append(f"Or run: sidle data fetch {name}")
    elif data_set.publisher:
        parts.append(
            f"It cannot be fetched, as no publisher's checksum is known; see {data_set.publisher}"
        )
    return " ".join(parts)


def _retrieve(download: Download, folder: Path, progress: bool) -> Path:
    import pooch
    import requests

    name = PurePosixPath(urlsplit(download.url).path).name
    bar = _Bar(name)
    shown = bar if progress else False
    downloader = pooch.HTTPDownloader(shown, chunk_size=_CHUNK_BYTES, timeout=_TIMEOUT_SECONDS)
    with _quiet(pooch.get_logger()):
        try:
            pooch.retrieve(download.url, download.checksum, name, folder, downloader=downloader)
        except requests.RequestException as error:
            raise DataNotFoundError(
                f"{download.url}: could not be downloaded: {error}. Check the network and try "
                f"again, or get the file another way and put it into {folder}."
            ) from error
        except ValueError as error:  # pooch's word for a checksum that differs
            raise DataError(
                folder / name,
                f"what {download.url} sent has not the checksum {download.checksum} that "
                f"{download.stated_at} states; it was deleted.",
                "Try again; if it fails again, the publisher's file has changed.",
            ) from error
        finally:
            bar.close()
    return folder / name


def _unpack(path: Path, members: tuple[str, ...], folder: Path) -> None:
    """Copy ``members``, by file name, out of the tar archive ``path``; each appears whole."""
    with damage_in(path), tarfile.open(path) as archive:
        inside = {PurePosixPath(member.name).name: member for member in archive.getmembers()}
        for name in members:
            source = archive.extractfile(inside[name]) if name in inside else None
            if source is None:
                raise DataError(path, f"the archive lacks '{name}'.", "Fetch it again.")
            with storage.replacing(folder / name) as temporary, temporary.open("wb") as file:
                while block := source.read(_CHUNK_BYTES):
                    file.write(block)


@contextlib.contextmanager
def _quiet(logger: logging.Logger) -> Iterator[None]:
    """Keep pooch's chatter off stderr; the bar and the errors say all that it would."""
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


class _Bar:
    """What pooch expects of a progress bar, shown by `sidle.progress` in KiB."""

    def __init__(self, name: str) -> None:
        self.total = 0  # bytes; set by pooch once the server said it, 0 where it did not
        self._name, self._stack = name, contextlib.ExitStack()
        self._shown: displays.Bar | None = None

    def update(self, n_bytes: int) -> None:
        if self._shown is None:
            total = -(-self.total // 1024) or None
            self._shown = self._stack.enter_context(displays.bar(f"{self._name} (KiB)", total))
        self._shown.advance(n_bytes // 1024)

    def reset(self) -> None:
        """Take the bar away: pooch calls this at the end, to fill it up again."""
        self.close()

    def close(self) -> None:
        self._stack.close()
        self._shown = None
