"""Text of a game in VGDL into a tree of lines, and lines into names and parameters.

VGDL describes a game by indentation: a line belongs to the nearest line above that is indented
less. Four blocks matter (SpriteSet, LevelMapping, InteractionSet, TerminationSet), each a list of
lines ``left > right key=value ...``. A ``#`` starts a comment. What the names mean is not known
here; see `vocabulary` and `compiling`.
Reference: T. Schaul, A video game description language for model-based or interactive learning,
CIG 2013.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sidle.errors import DataError

SECTIONS = ("SpriteSet", "LevelMapping", "InteractionSet", "TerminationSet")
_TAB = 8  # columns a tab stands for, as in Python's own tokenizer
_DEEPEST = 50  # levels of indentation; published games have up to 6
_LARGEST_TEXT = 1_000_000  # characters; the longest published game has about 10,000
_LONGEST_LINE = 1000  # characters, comments apart; errors quote lines


@dataclass
class Line:
    """A line of the description with the lines indented below it.

    Attributes:
        text: without comment, indentation and trailing blanks.
        number: 1-based number in the file.
        indentation: columns before the text.
        children: the lines that belong to it.
    """

    text: str
    number: int
    indentation: int
    children: list[Line] = field(default_factory=list)


@dataclass(frozen=True)
class Definition:
    """``left > right``: the words before the arrow, the words and the parameters after it."""

    left: tuple[str, ...]
    right: tuple[str, ...]
    parameters: Mapping[str, str]
    line: int
    children: tuple[Line, ...]


def sections(text: str, path: str | Path) -> dict[str, list[Line]]:
    """Return the lines of each section of the game in ``text``.

    Sections that are missing are empty.

    Raises:
        DataError: there is no BasicGame, a section is unknown or comes twice, lines are nested
            deeper than 50, the text is longer than a million characters or a line than 1,000, or
            a character cannot be printed.
    """
    if len(text) > _LARGEST_TEXT:
        raise DataError(
            path,
            f"a game of {len(text)} characters; at most {_LARGEST_TEXT} are read.",
            "Is this a VGDL description?",
        )
    roots = _tree(text, path)
    if not roots or roots[0].text.split()[0] != "BasicGame":
        found = f"the first line is '{roots[0].text}'" if roots else "the text is empty"
        raise DataError(
            path,
            f"expected 'BasicGame' as the first line, {found}.",
            "Begin the game with a line 'BasicGame' and indent the four sections below it.",
            line=roots[0].number if roots else None,
        )
    if len(roots) > 1:
        raise DataError(
            path,
            f"'{roots[1].text}' stands outside of BasicGame.",
            "Indent all sections below the line 'BasicGame'.",
            line=roots[1].number,
        )
    found_sections: dict[str, list[Line]] = {}
    for section in roots[0].children:
        if section.text not in SECTIONS:
            raise DataError(
                path,
                f"unknown section '{section.text}'.",
                f"The sections are {', '.join(SECTIONS)}.",
                line=section.number,
            )
        if section.text in found_sections:
            raise DataError(
                path,
                f"section {section.text} comes twice.",
                "Join the two.",
                line=section.number,
            )
        found_sections[section.text] = section.children
    return {name: found_sections.get(name, []) for name in SECTIONS}


def definition(line: Line, path: str | Path) -> Definition:
    """Return ``left > right key=value ...`` taken apart.

    Raises:
        DataError: there is no ``>``, a word follows after a parameter, or a parameter comes twice.
    """
    left, arrow, right = line.text.partition(">")
    if not arrow:
        raise DataError(
            path,
            f"expected 'name > description', found '{line.text}'.",
            "Put a '>' between what is defined and its definition.",
            line=line.number,
        )
    words, parameters = words_and_parameters(right, line.number, path)
    return Definition(tuple(left.split()), words, parameters, line.number, tuple(line.children))


def words_and_parameters(
    text: str, number: int, path: str | Path
) -> tuple[tuple[str, ...], dict[str, str]]:
    """Return the plain words and the ``key=value`` pairs of ``text``; see `definition`."""
    words: list[str] = []
    parameters: dict[str, str] = {}
    for word in text.split():
        key, equals, value = word.partition("=")
        if not equals:
            if parameters:
                raise DataError(
                    path,
                    f"'{word}' follows after a parameter.",
                    "Write parameters last and without blanks, as key=value.",
                    line=number,
                )
            words.append(word)
            continue
        if not key or not value:
            raise DataError(
                path,
                f"expected key=value, found '{word}'.",
                "Write parameters without blanks, as key=value.",
                line=number,
            )
        if key in parameters:
            raise DataError(
                path,
                f"parameter {key} comes twice.",
                "Keep one of the two.",
                line=number,
            )
        parameters[key] = value
    return tuple(words), parameters


def _tree(text: str, path: str | Path) -> list[Line]:
    """Return the lines without a parent, the others below them."""
    roots: list[Line] = []
    open_lines: list[Line] = []  # from a root down to the line above
    for number, raw in enumerate(text.splitlines(), start=1):
        content = raw.partition("#")[0].expandtabs(_TAB).rstrip()
        if not content.strip():
            continue
        if len(content) > _LONGEST_LINE or not content.isprintable():
            raise DataError(
                path,
                f"a line of {len(content)} characters; at most {_LONGEST_LINE} are read."
                if content.isprintable()
                else f"character {next(c for c in content if not c.isprintable())!r} in the line.",
                "Is this a VGDL description? It is plain text.",
                line=number,
            )
        line = Line(content.strip(), number, len(content) - len(content.lstrip()))
        while open_lines and open_lines[-1].indentation >= line.indentation:
            open_lines.pop()
        if len(open_lines) >= _DEEPEST:
            raise DataError(
                path,
                f"'{line.text}' is nested deeper than {_DEEPEST} lines.",
                "Indent lines that belong side by side alike.",
                line=number,
            )
        (open_lines[-1].children if open_lines else roots).append(line)
        open_lines.append(line)
    return roots
