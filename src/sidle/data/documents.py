"""Documents of a user's own: folders of text files, as sentences in their order.

A sentence ends with a full stop, question or exclamation mark (quotes and brackets behind it stay
with it) before a blank and a capital, digit or quote, or at an empty line. Headings and fragments
are sentences too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sidle import storage
from sidle.data import text
from sidle.errors import DataError, DataNotFoundError

SUFFIXES = (".txt", ".md", ".rst")
_END = re.compile(r"""([.!?]["'”’)\]]*)\s+(?=["'“‘(\[]*[A-Z0-9])""")


@dataclass(frozen=True)
class Documents:
    """Texts.

    Attributes:
        names: of N documents: paths below their folder.
        sentences: of each, in their order.
    """

    names: tuple[str, ...]
    sentences: tuple[tuple[str, ...], ...]

    def __len__(self) -> int:
        return len(self.names)

    def digest(self) -> str:
        """Return the SHA-256 of names and sentences, 64 hexadecimal digits."""
        lines = (line for some in self.sentences for line in (str(len(some)), *some))
        return storage.digest(*self.names, *lines)


def read_folder(path: str | Path, *, encoding: str = "utf-8") -> Documents:
    """Read all text files (.txt, .md, .rst) below a folder, in the order of their names.

    Raises:
        DataNotFoundError: there is no such folder.
        DataError: no text file, none with a sentence, or bytes that are no text, with file and
            line.
        StorageError: the operating system refused.
    """
    path = Path(path)
    with storage.refusals_of_disk(path):
        if not path.is_dir():
            raise DataNotFoundError(f"{path}: there is no such folder. Check the path.")
        files = sorted(
            file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file()
        )
    if not files:
        raise DataError(
            path, f"expected text files ({', '.join(SUFFIXES)}), found none.", "Check the path."
        )
    found = [tuple(split(text.read_lines(file, encoding=encoding))) for file in files]
    if not any(found):
        raise DataError(path, "expected sentences, found only empty files.", "Check the files.")
    names = tuple(file.relative_to(path).as_posix() for file in files)
    return Documents(names, tuple(found))


def split(lines: Iterator[str]) -> Iterator[str]:
    """Yield the sentences of a text given as lines; blanks and line ends become one blank."""
    paragraph: list[str] = []
    for line in (*lines, ""):
        if line.strip():
            paragraph.append(line)
        elif paragraph:
            yield from _END.sub(r"\1\n", " ".join(" ".join(paragraph).split())).split("\n")
            paragraph = []
