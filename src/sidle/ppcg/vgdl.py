"""Games and levels written in VGDL, checked and compiled.

    game = compile_game(Path("mine.txt").read_text(), path="mine.txt")
    level = game.level(["wwwww", "wA.ew", "wwwww"])

A `Game` holds the rules as tables that `sidle.ppcg.engine` interprets; nothing is compiled per
game. What is supported is listed in `vocabulary`; all else is refused by name and line.
References: T. Schaul, CIG 2013 (VGDL); D. Perez-Liebana et al., General Video Game AI: a
multi-track framework, IEEE Transactions on Games 2019 (the dialect and its semantics).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from sidle.errors import DataError, DataNotFoundError
from sidle.ppcg import compiling, vocabulary
from sidle.ppcg.tables import RuleTables, compile_tables, resources

LONGEST_SIDE = 255
"""Most rows and most columns of a level."""
MOST_CELLS = 10_000
"""Most cells of a level."""


@dataclass(frozen=True)
class Level:
    """The characters of a level, checked against its game.

    Attributes:
        characters: uint8 (H, W), read-only: ASCII codes.
    """

    characters: npt.NDArray[np.uint8]

    @property
    def height(self) -> int:
        """Rows."""
        return int(self.characters.shape[0])

    @property
    def width(self) -> int:
        """Columns."""
        return int(self.characters.shape[1])

    @property
    def rows(self) -> tuple[str, ...]:
        """The rows as text."""
        return tuple(row.tobytes().decode("ascii") for row in self.characters)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Level) and self.rows == other.rows

    def __hash__(self) -> int:
        return hash(self.rows)


@dataclass(frozen=True, eq=False)
class Game:
    """A compiled game.

    Attributes:
        name: what it is called.
        text: its description, as given.
        types: leaf sprite types in order of definition; a type's number is its place.
        classes: the class of each.
        parameters: the parameters of each as written, those for drawing included.
        subtypes: each name, of a leaf or a parent type -> numbers of its leaf types.
        mapping: level character -> the types it places, in order. A blank places nothing.
        actions: the actions some avatar of the game takes; an action given to the engine is a
            place in this list, and one the present avatar lacks counts as ACTION_NIL.
        resources: the types that are counted (coins, keys, ammunition).
        channels: names of the observation planes, see `sidle.ppcg.engine`.
        warnings: what is legal and probably not meant.
        tables: the rules as integers.
    """

    name: str
    text: str = field(repr=False)
    types: tuple[str, ...]
    classes: tuple[str, ...]
    parameters: tuple[Mapping[str, str], ...] = field(repr=False)
    subtypes: Mapping[str, tuple[int, ...]] = field(repr=False)
    mapping: Mapping[str, tuple[str, ...]] = field(repr=False)
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    channels: tuple[str, ...] = field(repr=False)
    warnings: tuple[str, ...]
    tables: RuleTables = field(repr=False)

    @property
    def digest(self) -> str:
        """A hash of the description, in hexadecimal."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def level(
        self,
        rows: str | Sequence[str] | npt.NDArray[np.uint8],
        *,
        path: str | Path | None = None,
        first_line: int = 1,
    ) -> Level:
        """Return a level of this game, checked.

        Args:
            rows: lines of characters, one text or one a row; or their codes, uint8 (H, W). Empty
                lines before the first and after the last row do not count.
            path: the file they come from, for errors.
            first_line: the line of the first row in that file.

        Raises:
            DataError: no rows, rows of different lengths, a character without meaning, not
                exactly one avatar, more than 255 rows or columns or 10,000 cells.
        """
        place = path if path is not None else f"level of {self.name}"
        if isinstance(rows, np.ndarray):
            if rows.ndim != 2 or rows.dtype != np.uint8:
                raise DataError(
                    place,
                    f"expected uint8 codes of shape (H, W), got {rows.dtype} {rows.shape}.",
                    "Give one level.",
                )
            _check_size(rows.shape[0], rows.shape[1], place, None)
            codes_HW = np.ascontiguousarray(rows)
        else:
            lines = rows.splitlines() if isinstance(rows, str) else list(rows)
            lines = [line.rstrip("\r\n") for line in lines]
            while lines and not lines[0]:
                lines, first_line = lines[1:], first_line + 1
            while lines and not lines[-1]:
                lines = lines[:-1]
            _check_size(len(lines), max(map(len, lines), default=0), place, first_line)
            for number, line in enumerate(lines):
                if len(line) != len(lines[0]):
                    remedy = "Fill short rows with blanks; all rows of a level are equally long."
                    if not line.strip():
                        remedy = "To divide levels, take its blanks away; else make it as long."
                    raise DataError(
                        place,
                        f"row {number + 1} has {len(line)} characters, "
                        f"the rows above have {len(lines[0])}.",
                        remedy,
                        line=first_line + number,
                    )
                if not line.isascii():
                    odd = next(character for character in line if not character.isascii())
                    self._unknown_character(odd, number, line.index(odd), place, first_line)
            codes_HW = np.frombuffer("".join(lines).encode("ascii"), np.uint8)
            codes_HW = codes_HW.reshape(len(lines), len(lines[0]))
        self._check_characters(codes_HW, place, first_line)
        owned = codes_HW.copy()
        owned.flags.writeable = False
        return Level(owned)

    def levels(self, text: str, *, path: str | Path | None = None) -> tuple[Level, ...]:
        """Return the levels in ``text``, separated by empty lines; errors as `level`."""
        found: list[Level] = []
        rows: list[str] = []
        start = 1
        for number, line in enumerate([*text.splitlines(), ""], start=1):
            if line:
                if not rows:
                    start = number
                rows.append(line)
            elif rows:
                found.append(self.level(rows, path=path, first_line=start))
                rows = []
        if not found:
            raise DataError(
                path if path is not None else f"levels of {self.name}",
                "no level in it.",
                "Write rows of characters, and an empty line between two levels.",
            )
        return tuple(found)

    def avatars(self) -> tuple[int, ...]:
        """Return the numbers of the types that are avatars."""
        return tuple(
            number
            for number, name in enumerate(self.classes)
            if vocabulary.CLASSES[name].actions > 0
        )

    def _check_characters(
        self, codes_HW: npt.NDArray[np.uint8], place: str | Path, first_line: int
    ) -> None:
        counts = np.bincount(codes_HW.ravel(), minlength=256)
        known = np.zeros(256, bool)
        known[[ord(" "), *(ord(character) for character in self.mapping)]] = True
        if counts[~known].any():
            row, column = np.argwhere(~known[codes_HW])[0].tolist()
            self._unknown_character(chr(codes_HW[row, column]), row, column, place, first_line)
        avatars = {self.types[number] for number in self.avatars()}
        placed = np.zeros(256, np.int64)
        for character, names in self.mapping.items():
            placed[ord(character)] = sum(name in avatars for name in names)
        n_avatars = int(placed @ counts)
        if n_avatars != 1:
            written = [f"'{character}'" for character in self.mapping if placed[ord(character)]]
            # Of several, the line of the first that is too many.
            rows = np.cumsum(placed[codes_HW].sum(axis=1))
            row = int(np.argmax(rows > 1)) if n_avatars else 0
            raise DataError(
                place,
                f"{'no avatar' if n_avatars == 0 else f'{n_avatars} avatars'} in the level.",
                f"Place exactly one; it is written {' or '.join(written) or '(no character)'}.",
                line=first_line + row,
            )

    def _unknown_character(
        self, character: str, row: int, column: int, place: str | Path, first_line: int
    ) -> None:
        known = " ".join(self.mapping) or "none"
        raise DataError(
            place,
            f"character {character!r} in row {row + 1}, column {column + 1} has no meaning.",
            f"The game's LevelMapping defines: {known} (a blank is an empty cell).",
            line=first_line + row,
        )


def compile_game(text: str, *, name: str | None = None, path: str | Path | None = None) -> Game:
    """Return the game described by ``text``.

    Args:
        text: the description in VGDL.
        name: what to call it; by default the stem of ``path``.
        path: the file it comes from, for errors.

    Raises:
        DataError: anything in it is malformed, undefined or not supported; the message names it
            and its line, and says what is known instead.
    """
    if name is None:
        name = Path(path).stem if path is not None else "game"
    game = compiling.describe(text, path if path is not None else name)
    counted = tuple(game.types[number].name for number in resources(game))
    n_actions = max(vocabulary.CLASSES[leaf.class_name].actions for leaf in game.types)
    has_health = any(rule.effect.endswith("HealthPoints") for rule in game.rules)
    channels = (
        *(leaf.name for leaf in game.types),
        "orientation_x",
        "orientation_y",
        "offset_x",
        "offset_y",
        *(f"resource:{resource}" for resource in counted),
        *(["health"] if has_health else []),
    )
    return Game(
        name=name,
        text=text,
        types=tuple(leaf.name for leaf in game.types),
        classes=tuple(leaf.class_name for leaf in game.types),
        parameters=tuple(MappingProxyType(dict(leaf.written)) for leaf in game.types),
        subtypes=MappingProxyType(game.subtypes),
        mapping=MappingProxyType(game.mapping),
        actions=vocabulary.ACTIONS[: max(n_actions, 1)],
        resources=counted,
        channels=channels,
        warnings=tuple(game.warnings),
        tables=compile_tables(game),
    )


def read_game(path: str | Path) -> Game:
    """Return the game described in the file at ``path``; errors as `compile_game`.

    Raises:
        DataNotFoundError: there is no such file.
    """
    return compile_game(read_text(path), path=path)


def read_text(path: str | Path) -> str:
    """Return the text of a game or level file.

    Raises:
        DataNotFoundError: there is no such file.
        DataError: it is no text in UTF-8, or longer than any game or level can be.
    """
    path = Path(path)
    if not path.is_file():
        raise DataNotFoundError(f"There is no file {path}. Check the name.")
    if path.stat().st_size > _LARGEST_FILE:
        raise DataError(
            path,
            f"{path.stat().st_size} bytes; at most {_LARGEST_FILE} are read.",
            f"A level has at most {LONGEST_SIDE} rows and columns and {MOST_CELLS} cells.",
        )
    try:
        return path.read_text(encoding="utf-8-sig")  # some editors put a mark in front
    except UnicodeDecodeError as error:
        raise DataError(path, "not a text in UTF-8.", "Save it as plain text.") from error


_LARGEST_FILE = 4_000_000


def _check_size(height: int, width: int, place: str | Path, line: int | None) -> None:
    if height == 0 or width == 0:
        raise DataError(place, "the level has no rows.", "Write at least one row of characters.")
    if height > LONGEST_SIDE or width > LONGEST_SIDE or height * width > MOST_CELLS:
        raise DataError(
            place,
            f"the level has {height} rows of {width} characters.",
            f"At most {LONGEST_SIDE} rows and columns and {MOST_CELLS} cells are supported.",
            line=line,
        )
