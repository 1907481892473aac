"""From the lines of a game to its sprite types, rules and terminations, names resolved.

`describe` reads the four sections and checks every name and value; what it returns is still in
words. `tables` turns that into the integers that the kernels interpret.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sidle.errors import DataError
from sidle.ppcg import parsing, vocabulary
from sidle.ppcg.parsing import Definition, Line

MOST_TYPES = 63
"""Leaf types of a game: a cell keeps one bit for each in 64, the sign left alone."""

_RESERVED = ("EOS", "TIME")
_LARGEST_NUMBER = 1_000_000  # of any parameter; scores and clocks stay far inside 32 bits

Value = int | float | bool | str | tuple[int, int]


@dataclass(frozen=True)
class SpriteType:
    """A leaf type: name, class, its parameters parsed and as written, names of its parents."""

    name: str
    class_name: str
    parameters: Mapping[str, Value]
    written: Mapping[str, str]
    parents: tuple[str, ...]
    line: int | None


@dataclass(frozen=True)
class Rule:
    """What happens when `first` meets `second` ("EOS": leaves the level)."""

    first: str
    second: str
    effect: str
    parameters: Mapping[str, Value]
    line: int


@dataclass(frozen=True)
class Ending:
    """A termination: its kind and its parameters."""

    kind: str
    parameters: Mapping[str, Value]
    line: int


@dataclass
class Description:
    """A game, names resolved and values parsed.

    Attributes:
        types: leaf types in order of definition.
        subtypes: each name, of a leaf or a parent -> its leaf types' numbers, in order.
        singletons: names, of leaves or parents, of which one sprite at most may exist.
        mapping: character -> names of the leaf types it places.
        rules: in order, one for each pair of names.
        endings: in order.
        warnings: what is legal and probably not meant.
    """

    types: list[SpriteType] = field(default_factory=list)
    subtypes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    singletons: list[str] = field(default_factory=list)
    mapping: dict[str, tuple[str, ...]] = field(default_factory=dict)
    rules: list[Rule] = field(default_factory=list)
    endings: list[Ending] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def describe(text: str, path: str | Path) -> Description:
    """Return the game in ``text``; ``path`` is how errors call it.

    Raises:
        DataError: anything in it is malformed, undefined, or outside the vocabulary; the message
            gives the line, the name, and what is known instead.
    """
    found = parsing.sections(text, path)
    return _Reader(path).read(found)


class _Reader:
    """Builds a Description; one method a section."""

    def __init__(self, path: str | Path) -> None:
        self.path = path
        self.game = Description()
        # Types may be named before they are defined: (name, parameter, line), checked last.
        self._pending: list[tuple[str, str, int]] = []

    def read(self, found: Mapping[str, Sequence[Line]]) -> Description:
        self._read_sprites(found)
        self._read_mapping(found["LevelMapping"])
        self._read_rules(found["InteractionSet"])
        self._read_endings(found["TerminationSet"])
        self._check_references()
        self._warn_of_the_useless()
        return self.game

    # Sprites.

    def _read_sprites(self, found: Mapping[str, Sequence[Line]]) -> None:
        leaves: list[SpriteType] = []
        for line in found["SpriteSet"]:
            self._read_sprite(line, None, {}, (), leaves)
        names = {name for leaf in leaves for name in (leaf.name, *leaf.parents)}
        # VGDL knows these two without a definition.
        defaults = []
        if "wall" not in names:
            defaults.append(SpriteType("wall", "Immovable", {}, {}, (), None))
        has_avatar = any(vocabulary.CLASSES[leaf.class_name].actions for leaf in leaves)
        if "avatar" not in names and (not has_avatar or self._mentions(found, "avatar")):
            defaults.append(SpriteType("avatar", "MovingAvatar", {}, {}, (), None))
        self.game.types = [*defaults, *leaves]
        if len(self.game.types) > MOST_TYPES:
            raise DataError(
                self.path,
                f"{len(self.game.types)} sprite types without children; "
                f"at most {MOST_TYPES} are supported.",
                "Join types that play the same part.",
            )
        subtypes: dict[str, list[int]] = {}
        for number, leaf in enumerate(self.game.types):
            for name in (*leaf.parents, leaf.name):
                subtypes.setdefault(name, []).append(number)
        self.game.subtypes = {name: tuple(numbers) for name, numbers in subtypes.items()}

    def _read_sprite(
        self,
        line: Line,
        class_name: str | None,
        inherited: Mapping[str, str],
        parents: tuple[str, ...],
        leaves: list[SpriteType],
    ) -> None:
        given = parsing.definition(line, self.path)
        name = self._one_name(given, "sprite type")
        known = {other for leaf in leaves for other in (leaf.name, *leaf.parents)}
        if name in known or name in parents:
            raise self._error(
                given.line,
                f"sprite type '{name}' is defined twice"
                + (", the second time inside itself." if name in parents else "."),
                "Give each type its own name.",
            )
        if name in _RESERVED:
            raise self._error(given.line, f"'{name}' is no name for a type.", "Rename it.")
        if len(given.right) > 1:
            raise self._error(
                given.line,
                f"expected one class for '{name}', found '{' '.join(given.right)}'.",
                "Parameters are written key=value.",
            )
        for own in given.right:
            if own not in vocabulary.CLASSES:
                raise self._unknown(given.line, "sprite class", own, vocabulary.CLASSES)
        # A parent's class overrides that of its children (the nearest parent's, where several
        # have one), a child's parameters those of its parent.
        own_class = given.right[0] if given.right else None
        children_class = own_class or class_name
        class_name = class_name or own_class
        written = {**inherited, **given.parameters}
        parameters = self._sprite_parameters(given.parameters, given.line)
        if "singleton" in given.parameters and parameters["singleton"]:
            self.game.singletons.append(name)
        if line.children:
            for child in line.children:
                self._read_sprite(child, children_class, written, (*parents, name), leaves)
            return
        if class_name is None:
            raise self._error(
                given.line,
                f"sprite type '{name}' has no class.",
                f"Write one behind the '>': {', '.join(vocabulary.CLASSES)}.",
            )
        everything = self._sprite_parameters(written, given.line)
        leaves.append(SpriteType(name, class_name, everything, written, parents, given.line))

    def _sprite_parameters(self, written: Mapping[str, str], line: int) -> dict[str, Value]:
        parsed: dict[str, Value] = {}
        for key, text in written.items():
            if key in vocabulary.DRAWING_PARAMETERS:
                continue
            if key == "physicstype":
                if text != "GRID":
                    raise self._error(
                        line,
                        f"physicstype={text} is not supported.",
                        "Only the grid's physics (GRID) are.",
                    )
                continue
            kind = vocabulary.SPRITE_PARAMETERS.get(key)
            if kind is None:
                raise self._unknown(line, "sprite parameter", key, vocabulary.SPRITE_PARAMETERS)
            parsed[key] = self._value(key, text, kind, line)
        return parsed

    # The other sections.

    def _read_mapping(self, lines: Sequence[Line]) -> None:
        for line in lines:
            given = parsing.definition(line, self.path)
            character = self._one_name(given, "character")
            if len(character) != 1 or not 32 < ord(character) < 127:
                raise self._error(
                    given.line,
                    f"expected one printable ASCII character before the '>', found '{character}'.",
                    "Map single characters to sprite types.",
                )
            if character in self.game.mapping:
                raise self._error(
                    given.line, f"character '{character}' is mapped twice.", "Join the two lines."
                )
            for name in given.right:
                self._leaf(name, given.line, f"character '{character}' places")
            if given.parameters:
                raise self._error(
                    given.line, "a level mapping takes no parameters.", "Remove them."
                )
            self._warn_children(given)
            self.game.mapping[character] = given.right
        for character, name in (("w", "wall"), ("A", "avatar")):
            leaf = any(found.name == name for found in self.game.types)
            if leaf and character not in self.game.mapping:
                self.game.mapping[character] = (name,)

    def _read_rules(self, lines: Sequence[Line]) -> None:
        for line in lines:
            given = parsing.definition(line, self.path)
            self._warn_children(given)
            if "TIME" in given.left:
                raise self._error(given.line, "timed rules (TIME) are not supported.", "Remove it.")
            if len(given.left) < 2:
                raise self._error(
                    given.line,
                    f"a rule names two sprite types or more, found '{' '.join(given.left)}'.",
                    "Write: first second > effect (second may be EOS, the edge of the level).",
                )
            first, *seconds = given.left
            if first == "EOS":
                raise self._error(given.line, "EOS cannot come first.", "Write: type EOS > effect.")
            self._known(first, given.line)
            if len(given.right) != 1:
                raise self._error(
                    given.line,
                    f"expected one effect, found '{' '.join(given.right)}'.",
                    "Parameters are written key=value.",
                )
            name = given.right[0]
            if name not in vocabulary.EFFECTS:
                raise self._unknown(given.line, "effect", name, vocabulary.EFFECTS)
            effect = vocabulary.EFFECTS[name]
            parameters = self._parameters(
                given.parameters,
                {**vocabulary.EFFECT_PARAMETERS, **effect.parameters},
                effect.required,
                name,
                given.line,
            )
            if name == "addHealthPoints" and "stype" in parameters:
                self.game.warnings.append(
                    f"line {given.line}: addHealthPoints takes no notice of stype=; the first "
                    "sprite gets the points."
                )
            for second in seconds:
                if second == "EOS" and effect.needs_second:
                    raise self._error(
                        given.line,
                        f"{name} needs a second sprite, and EOS is none.",
                        "Name a sprite type.",
                    )
                if second != "EOS":
                    self._known(second, given.line)
                elif name == "changeResource":
                    self.game.warnings.append(
                        f"line {given.line}: changeResource at the edge (EOS) changes nothing "
                        "but the score."
                    )
                self.game.rules.append(Rule(first, second, name, parameters, given.line))

    def _read_endings(self, lines: Sequence[Line]) -> None:
        for line in lines:
            words, written = parsing.words_and_parameters(line.text, line.number, self.path)
            if len(words) != 1 or words[0] not in vocabulary.TERMINATIONS:
                raise self._unknown(
                    line.number, "termination", " ".join(words), vocabulary.TERMINATIONS
                )
            ending = vocabulary.TERMINATIONS[words[0]]
            parameters = self._parameters(
                written, ending.parameters, ending.required, words[0], line.number
            )
            self.game.endings.append(Ending(words[0], parameters, line.number))

    # Names and values.

    def _parameters(
        self,
        written: Mapping[str, str],
        kinds: Mapping[str, str],
        required: Iterable[str],
        owner: str,
        line: int,
    ) -> dict[str, Value]:
        for key in required:
            if key not in written:
                raise self._error(line, f"{owner} needs {key}=.", f"Add {key}= ({kinds[key]}).")
        parsed = {}
        for key, text in written.items():
            if key not in kinds:
                raise self._unknown(line, f"parameter of {owner}", key, kinds)
            parsed[key] = self._value(key, text, kinds[key], line)
        if "ftype" in parsed and parsed["ftype"] not in vocabulary.EFFECTS:
            raise self._unknown(line, "effect", str(parsed["ftype"]), vocabulary.EFFECTS)
        if "repeat" in parsed and not 1 <= int(str(parsed["repeat"])) <= 1000:
            raise self._error(line, f"repeat={parsed['repeat']}.", "Expected 1 to 1000.")
        return parsed

    def _value(self, key: str, text: str, kind: str, line: int) -> Value:
        value = _parse(text, kind)
        if value is None:
            raise self._error(line, f"{key}={text}: expected {kind}.", "Correct the value.")
        if kind == vocabulary.TYPE:
            self._pending.append((str(value), key, line))
        return value

    def _check_references(self) -> None:
        for name, key, line in self._pending:
            self._known(name, line)
            if key == "stypeTo":
                self._leaf(name, line, "stypeTo names")
        for leaf in self.game.types:
            line = leaf.line or 0
            if leaf.class_name in ("SpawnPoint", "Bomber", "Spreader", "ShootAvatar"):
                child = leaf.parameters.get("stype")
                if child is None and leaf.class_name in ("SpawnPoint", "Bomber"):
                    raise self._error(
                        line,
                        f"'{leaf.name}' is a {leaf.class_name} without stype=.",
                        "Name the type it brings forth.",
                    )
                if child is not None:
                    self._leaf(str(child), line, f"stype of '{leaf.name}' names")
            if leaf.class_name == "Chaser" and "stype" not in leaf.parameters:
                raise self._error(
                    line, f"'{leaf.name}' is a Chaser without stype=.", "Name whom it chases."
                )
            if "ammo" in leaf.parameters:
                self._resource(str(leaf.parameters["ammo"]), line)
        for rule in self.game.rules:
            if "resource" in rule.parameters:
                self._resource(str(rule.parameters["resource"]), rule.line)
            if rule.effect in ("transformTo", "spawn", "spawnIfHasMore"):
                stype = str(rule.parameters["stype"])
                self._leaf(stype, rule.line, f"{rule.effect} stype= names")

    def _warn_of_the_useless(self) -> None:
        """Warn of a game that cannot be won and of types that never appear."""
        if not any(ending.parameters["win"] for ending in self.game.endings):
            self.game.warnings.append("no termination has win=True: the game cannot be won.")
        appearing = {name for placed in self.game.mapping.values() for name in placed}
        parameters = [leaf.parameters for leaf in self.game.types]
        parameters += [rule.parameters for rule in self.game.rules]
        for given in parameters:
            appearing |= {str(given[key]) for key in ("stype", "stypeTo") if key in given}
        for leaf in self.game.types:
            counted = leaf.class_name == "Resource"  # an amount needs no sprite
            named = {leaf.name, *leaf.parents} & appearing
            if leaf.line is not None and not counted and not named:
                self.game.warnings.append(
                    f"line {leaf.line}: '{leaf.name}' never appears: no character places it and "
                    "nothing brings it forth."
                )

    def _known(self, name: str, line: int) -> None:
        if name not in self.game.subtypes:
            raise self._unknown(line, "sprite type", name, self.game.subtypes)

    def _leaf(self, name: str, line: int, what: str) -> None:
        self._known(name, line)
        if all(leaf.name != name for leaf in self.game.types):
            children = [self.game.types[number].name for number in self.game.subtypes[name]]
            raise self._error(
                line,
                f"{what} '{name}', which has subtypes.",
                f"Name one of them: {', '.join(children)}.",
            )

    def _resource(self, name: str, line: int) -> None:
        classes = {self.game.types[n].class_name for n in self.game.subtypes.get(name, ())}
        if classes != {"Resource"} or len(self.game.subtypes[name]) != 1:
            raise self._error(
                line,
                f"'{name}' is not a type of class Resource.",
                "Only those are counted.",
            )

    def _one_name(self, given: Definition, what: str) -> str:
        if len(given.left) != 1:
            raise self._error(
                given.line,
                f"expected one {what} before the '>', found '{' '.join(given.left)}'.",
                "Define one a line.",
            )
        return given.left[0]

    def _mentions(self, found: Mapping[str, Sequence[Line]], name: str) -> bool:
        return any(
            name in line.text.replace("=", " ").split()
            for lines in found.values()
            for line in lines
        )

    def _warn_children(self, given: Definition) -> None:
        for child in given.children:
            self.game.warnings.append(
                f"line {child.number}: '{child.text}' is indented below line {given.line} "
                "and therefore ignored, as VGDL does."
            )

    def _unknown(self, line: int, what: str, name: str, known: Iterable[str]) -> DataError:
        names = list(known)
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"Did you mean '{near[0]}'? " if near else ""
        return self._error(line, f"unknown {what} '{name}'.", f"{hint}Known: {', '.join(names)}.")

    def _error(self, line: int, problem: str, remedy: str) -> DataError:
        return DataError(self.path, problem, remedy, line=line or None)


def _parse(text: str, kind: str) -> Value | None:
    """Return the value of ``text``, None where it is not of this kind."""
    if kind in (vocabulary.TYPE, vocabulary.WORD):
        return text
    if kind == vocabulary.FLAG:
        return {"true": True, "false": False}.get(text.lower())
    if kind == vocabulary.DIRECTION:
        return vocabulary.DIRECTIONS.get(text)
    try:
        number = float(text)
    except ValueError:
        return None
    if not math.isfinite(number) or abs(number) > _LARGEST_NUMBER:
        return None
    if kind in (vocabulary.INTEGER, vocabulary.COUNT):
        whole = number == int(number) and (number >= 0 or kind == vocabulary.INTEGER)
        return int(number) if whole else None
    if number < 0 or (kind == vocabulary.SHARE and number > 1):
        return None
    return number
