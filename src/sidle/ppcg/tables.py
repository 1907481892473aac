"""A described game as tables of integers, which the kernels interpret.

Sprites are kept in two ways. A type is fixed when no rule can move it, turn it, give it health or
resources, or bring it forth after the start: then a bit of its cell says all there is to know
(walls, floors, doors, most items). The sprites of all other types are records. Rules between two
fixed types would need neither; one of the two is then kept as records.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sidle.ppcg import vocabulary
from sidle.ppcg.compiling import Description, Rule, SpriteType, Value
from sidle.ppcg.kernels import codes

Table = npt.NDArray[np.int64]

_DEFAULT_RESOURCE_LIMIT = 2
_DEFAULT_HEALTH_LIMIT = 1000
_MEETINGS = 4  # sprites of a type that one sprite overlaps, as a rule
_GENERATIONS = 3  # births in a tick that come of each other
_LARGEST_BROOD = 16
_STILL_CLASSES = ("Immovable", "Door", "Passive", "Resource")
_FIRST_STAYS_FIXED = frozenset(
    {
        "killSprite",
        "killBoth",
        "stepBack",
        "undoAll",
        "transformTo",
        "spawn",
        "shieldFrom",
        "killIfHasLess",
        "killIfOtherHasMore",
        "killIfFromAbove",
        "collectResource",
        "transformToAll",
    }
)
"""Effects that leave a first sprite which cannot move as it was, or remove it."""


@dataclass(frozen=True)
class RuleTables:
    """What the kernels interpret; the columns are named in `kernels.codes`.

    Attributes:
        types: int64 (T, TYPE_COLUMNS), in order of definition.
        rules: int64 (R, RULE_COLUMNS): first the passes over the edge of the level, one row for
            each time a rule is run, then the pair rules in the order in which they run.
        gates: int64 (R, GATE_COLUMNS), masks of the types of the rules' sprites.
        n_edge_rules: how many of them concern the edge.
        terminations: int64 (X, TERMINATION_COLUMNS).
        lists: int64, numbers of types that the other tables point into.
        broods: int64 (T, T): births of the first type that a sprite of the second causes in a
            tick, itself or by what it brings forth, as a rule.
        n_resources: resources that are counted.
    """

    types: Table
    rules: Table
    gates: Table
    n_edge_rules: int
    terminations: Table
    lists: Table
    broods: Table
    n_resources: int


def resources(game: Description) -> tuple[int, ...]:
    """Return the numbers of the types that are counted: collected, named as resource or ammo."""
    named = {
        str(rule.parameters["resource"]) for rule in game.rules if "resource" in rule.parameters
    }
    named |= {str(leaf.parameters["ammo"]) for leaf in game.types if "ammo" in leaf.parameters}
    counted = {number for name in named for number in game.subtypes[name]}
    for rule in game.rules:
        if rule.effect == "collectResource":
            counted |= {
                number
                for number in game.subtypes[rule.first]
                if game.types[number].class_name == "Resource"
            }
    return tuple(sorted(counted))


def compile_tables(game: Description) -> RuleTables:
    """Return the tables of ``game``."""
    return _Compiler(game).compile()


class _Compiler:
    def __init__(self, game: Description) -> None:
        self.game = game
        self.lists: list[int] = [0]  # offset 0 stands for "nothing"
        self.resources = {number: place for place, number in enumerate(resources(game))}
        self.edge_rules, self.pair_rules = _in_order(game.rules)
        self.fixed = _fixed_types(game)

    def compile(self) -> RuleTables:
        ordered = [*self.edge_rules, *self.pair_rules]
        types = np.zeros((len(self.game.types), codes.TYPE_COLUMNS), np.int64)
        for number in range(len(types)):
            self._fill_type(types[number], number)
        rules = np.zeros((len(ordered), codes.RULE_COLUMNS), np.int64)
        n_pulls = 0
        for row, rule in zip(rules, ordered, strict=True):
            self._fill_rule(row, rule)
            if rule.effect == "pullWithIt":
                row[codes.R_BIT] = 1 << (n_pulls % 31)
                n_pulls += 1
        self._fill_shields(rules, ordered)
        for born in (types[:, codes.T_CHILD], rules[:, codes.R_TYPE]):
            types[born[born >= 0], codes.T_BORN] = 1
        endings = np.zeros((len(self.game.endings), codes.TERMINATION_COLUMNS), np.int64)
        for row, ending in zip(endings, self.game.endings, strict=True):
            row[codes.X_KIND] = vocabulary.TERMINATIONS[ending.kind].number
            counted = [
                number
                for key in ("stype", "stype1", "stype2", "stype3")
                if key in ending.parameters
                for number in self.game.subtypes[str(ending.parameters[key])]
            ]
            row[codes.X_LIST], row[codes.X_LIST_END] = self._list(counted)
            row[codes.X_LIMIT] = _integer(ending.parameters.get("limit", 0))
            row[codes.X_MINIMUM] = bool(ending.parameters.get("min", False))
            row[codes.X_WIN] = bool(ending.parameters["win"])
        lists = np.array(self.lists, np.int64)
        gates, broods = self._gates(ordered), self._broods(types, rules, lists)
        for table in (types, rules, gates, endings, lists, broods):
            table.flags.writeable = False
        return RuleTables(
            types, rules, gates, len(self.edge_rules), endings, lists, broods, len(self.resources)
        )

    def _gates(self, ordered: Sequence[Rule]) -> Table:
        gates = np.zeros((len(ordered), codes.GATE_COLUMNS), np.int64)
        for row, rule in zip(gates, ordered, strict=True):
            first = set(self.game.subtypes[rule.first])
            second = set(self.game.subtypes.get(rule.second, ()))
            row[codes.G_FIRST_RECORDS] = _mask(first - self.fixed)
            row[codes.G_SECOND_RECORDS] = _mask(second - self.fixed)
            row[codes.G_FIRST_FIXED] = _mask(first & self.fixed)
            row[codes.G_SECOND_FIXED] = _mask(second & self.fixed)
        return gates

    def _broods(self, types: Table, rules: Table, lists: Table) -> Table:
        """Return how many births of the first type one sprite of the second causes in a tick."""
        broods = np.zeros((len(types), len(types)), np.int64)
        for parent, row in enumerate(types):
            if row[codes.T_CHILD] >= 0:
                spreads = row[codes.T_CLASS] == codes.SPREADER
                broods[row[codes.T_CHILD], parent] += 4 if spreads else 1
        for row in rules:
            if row[codes.R_TYPE] < 0:
                continue
            everywhere = row[codes.R_EFFECT] == codes.TRANSFORM_TO_ALL
            start, stop = (
                (codes.R_LIST, codes.R_LIST_END)
                if everywhere
                else (codes.R_FIRST, codes.R_FIRST_END)
            )
            # A transformed sprite is gone; one that spawns may do so for each sprite it meets.
            transforms = everywhere or row[codes.R_EFFECT] == codes.TRANSFORM_TO
            parents = lists[row[start] : row[stop]]
            broods[row[codes.R_TYPE], parents] += 1 if transforms else _MEETINGS
        total = generation = broods
        for _ in range(_GENERATIONS - 1):
            generation = np.minimum(broods @ generation, _LARGEST_BROOD)
            total = total + generation
        return np.minimum(total, _LARGEST_BROOD)

    def _fill_type(self, row: npt.NDArray[np.int64], number: int) -> None:
        leaf = self.game.types[number]
        kind = vocabulary.CLASSES[leaf.class_name]
        given = leaf.parameters
        speed = _number(given.get("speed", kind.speed))
        oriented = kind.oriented or "orientation" in given
        direction = given.get("orientation", kind.orientation)
        moves = _moves(leaf)
        health, maximum = (
            _integer(given.get("healthPoints", 0)),
            _integer(given.get("maxHealthPoints", 0)),
        )
        row[codes.T_CLASS] = kind.number
        row[codes.T_MOVES] = moves
        row[codes.T_ORIENTED] = oriented
        row[codes.T_DX], row[codes.T_DY] = _direction(direction)
        if leaf.class_name == "RandomMissile" and "orientation" not in given:
            row[codes.T_DX] = row[codes.T_DY] = codes.UNDRAWN
        row[codes.T_PIXELS] = int(speed * codes.TILE)
        row[codes.T_SPEED] = int(speed)
        row[codes.T_ACTIVE_PIXELS] = int((speed or 1.0) * codes.TILE)
        row[codes.T_COOLDOWN] = max(1, _integer(given.get("cooldown", 1)))
        row[codes.T_SINGLETON] = self._singleton(leaf)
        flicker = leaf.class_name in ("Flicker", "OrientedFlicker", "Spreader")
        limit = _DEFAULT_RESOURCE_LIMIT if leaf.class_name == "Resource" else int(flicker)
        row[codes.T_LIMIT] = _integer(given.get("limit", limit))
        row[codes.T_VALUE] = _integer(given.get("value", 1))
        row[codes.T_TOTAL] = _integer(given.get("total", 0))
        row[codes.T_PROBABILITY] = _probability(given.get("prob", 1.0))
        row[codes.T_CHILD] = self._child(leaf, number)
        spawned = given.get("spawnorientation")
        row[codes.T_CHILD_ORIENTED] = spawned is not None
        row[codes.T_CHILD_DX], row[codes.T_CHILD_DY] = _direction(spawned or (0, 0))
        row[codes.T_SPREAD] = _probability(given.get("spreadprob", 1.0))
        row[codes.T_CONS] = _integer(given.get("cons", 0))
        # The largest distance is compared with whole pixels.
        row[codes.T_DISTANCE] = math.floor(_number(given.get("maxDistance", -1)))
        row[codes.T_HEALTH] = min(health, maximum) if maximum else health
        row[codes.T_HEALTH_MAXIMUM] = maximum or health
        row[codes.T_HEALTH_LIMIT] = _integer(given.get("limitHealthPoints", _DEFAULT_HEALTH_LIMIT))
        rotates = leaf.class_name in ("OrientedAvatar", "ShootAvatar")
        row[codes.T_ROTATE] = oriented and bool(given.get("rotateInPlace", rotates))
        ammo = given.get("ammo")
        row[codes.T_AMMO] = -1 if ammo is None else self._resource(str(ammo))
        row[codes.T_RESOURCE] = self.resources.get(number, -1)
        row[codes.T_FIXED] = number in self.fixed
        if leaf.class_name == "Chaser":
            targets = self.game.subtypes[str(given["stype"])]
            row[codes.T_TARGETS], row[codes.T_TARGETS_END] = self._list(targets)
        row[codes.T_ACTIONS] = kind.actions
        for rule in self.pair_rules:
            first, second = (set(self.game.subtypes[name]) for name in (rule.first, rule.second))
            if (number in first and second & self.fixed) or (
                number in second and first & self.fixed
            ):
                row[codes.T_TOUCHES] = 1

    def _fill_rule(self, row: npt.NDArray[np.int64], rule: Rule) -> None:
        given = rule.parameters
        first = self.game.subtypes[rule.first]
        second = () if rule.second == "EOS" else self.game.subtypes[rule.second]
        row[codes.R_EFFECT] = vocabulary.EFFECTS[rule.effect].number
        row[codes.R_FIRST], row[codes.R_FIRST_END] = self._list(first)
        row[codes.R_SECOND], row[codes.R_SECOND_END] = self._list(second)
        row[codes.R_SCORE] = _integer(given.get("scoreChange", 0))
        # The edge takes no notice of repeat.
        row[codes.R_REPEAT] = _integer(given.get("repeat", 1)) if second else 1
        row[codes.R_TYPE] = -1
        stype = given.get("stype")
        born = given.get("stypeTo") if rule.effect == "transformToAll" else stype
        if rule.effect in ("transformTo", "transformToAll", "spawn", "spawnIfHasMore"):
            row[codes.R_TYPE] = self.game.subtypes[str(born)][0]
        if rule.effect == "subtractHealthPoints" and stype is not None:
            row[codes.R_LIST], row[codes.R_LIST_END] = self._list(self.game.subtypes[str(stype)])
        elif rule.effect == "transformToAll":
            row[codes.R_LIST], row[codes.R_LIST_END] = self._list(self._leaf(str(stype)))
        if "resource" in given:
            place = self._resource(str(given["resource"]))
            row[codes.R_RESOURCE] = place
            item = self.game.types[self.game.subtypes[str(given["resource"])][0]]
            row[codes.R_RESOURCE_LIMIT] = _integer(
                item.parameters.get("limit", _DEFAULT_RESOURCE_LIMIT)
            )
        row[codes.R_LIMIT] = _integer(given.get("limit", 0))
        row[codes.R_VALUE] = _integer(given.get("value", 1))
        row[codes.R_PROBABILITY] = _probability(given.get("prob", 1.0))
        row[codes.R_KILL_SECOND] = bool(given.get("killSecond", False))
        row[codes.R_FORCE_ORIENTATION] = bool(given.get("forceOrientation", False))
        row[codes.R_PIXEL_PERFECT] = bool(given.get("pixelPerfect", False))
        row[codes.R_ALIGN] = bool(given.get("align", False))
        row[codes.R_SUBTRACT] = bool(given.get("subtract", False))
        row[codes.R_SPEND] = _integer(given.get("spend", 0))
        row[codes.R_KILL_RESOURCE] = bool(
            given.get("killResource", rule.effect == "collectResource")
        )
        offset = _number(given.get("offset", 0.0)) * codes.TILE
        row[codes.R_OFFSET], row[codes.R_OFFSET_FAR] = int(offset), math.ceil(offset)
        row[codes.R_SCORE_IF_KILLED] = _integer(given.get("scoreChangeIfKilled", 0))
        if "notStype" in given:
            row[codes.R_EXCEPT] = _mask(self._leaf(str(given["notStype"])))

    def _fill_shields(self, rules: Table, ordered: Sequence[Rule]) -> None:
        """Write what each shieldFrom blocks: rules for the very leaf type and the named second."""
        for row, rule in zip(rules, ordered, strict=True):
            if rule.effect != "shieldFrom":
                continue
            blocked_by_type = []
            for number in range(len(self.game.types)):
                blocked = [
                    place
                    for place, other in enumerate(ordered)
                    if other.effect == rule.parameters["ftype"]
                    and other.second == rule.parameters["stype"]
                    and other.first == self.game.types[number].name
                    and number in self.game.subtypes[rule.first]
                ]
                start = len(self.lists) if blocked else 0
                if blocked:
                    # A count, then the rules.
                    self.lists.extend([len(blocked), *blocked])
                    rules[blocked, codes.R_BLOCKABLE] = 1
                blocked_by_type.append(start)
            row[codes.R_SHIELD] = len(self.lists)
            self.lists.extend(blocked_by_type)

    def _child(self, leaf: SpriteType, number: int) -> int:
        if "stype" in leaf.parameters and leaf.class_name != "Chaser":
            named = str(leaf.parameters["stype"])
            if leaf.class_name in ("SpawnPoint", "Bomber", "Spreader", "ShootAvatar"):
                return self.game.subtypes[named][0]
        return number if leaf.class_name == "Spreader" else -1

    def _singleton(self, leaf: SpriteType) -> int:
        names = [name for name in (leaf.name, *leaf.parents) if name in self.game.singletons]
        return _mask({number for name in names for number in self.game.subtypes[name]})

    def _leaf(self, name: str) -> tuple[int, ...]:
        """Return the number of the very type ``name``; a parent's name means nothing here."""
        numbers = self.game.subtypes[name]
        return numbers if self.game.types[numbers[0]].name == name else ()

    def _resource(self, name: str) -> int:
        return self.resources[self.game.subtypes[name][0]]

    def _list(self, numbers: Sequence[int]) -> tuple[int, int]:
        start = len(self.lists)
        self.lists.extend(numbers)
        return start, len(self.lists)


def _in_order(rules: Sequence[Rule]) -> tuple[list[Rule], list[Rule]]:
    """Return the rules of the edge and of pairs as they are run in a tick.

    Edge: for each rule, all rules of its type; so n rules of one type run n times each.
    Pairs: all rules of a pair where that pair is first mentioned.
    """
    edge = [rule for rule in rules if rule.second == "EOS"]
    passes = [other for rule in edge for other in edge if other.first == rule.first]
    pairs: dict[tuple[str, str], list[Rule]] = {}
    for rule in rules:
        if rule.second != "EOS":
            pairs.setdefault((rule.first, rule.second), []).append(rule)
    return passes, [rule for group in pairs.values() for rule in group]


def _fixed_types(game: Description) -> set[int]:
    """Return the numbers of the types whose sprites are bits of their cells."""
    everything = set(range(len(game.types)))
    fixed = {
        number
        for number, leaf in enumerate(game.types)
        if leaf.class_name in _STILL_CLASSES
        and not _moves(leaf)
        and not leaf.parameters.get("healthPoints")
        and not leaf.parameters.get("maxHealthPoints")
        and not {leaf.name, *leaf.parents} & set(game.singletons)
    }

    def drop(name: Value | None) -> None:
        if name is not None:
            fixed.difference_update(game.subtypes[str(name)])

    for leaf in game.types:
        drop(leaf.parameters.get("stype"))
    for placed in game.mapping.values():
        for name in placed:
            if placed.count(name) > 1:
                drop(name)
    for rule in game.rules:
        if rule.second == "EOS" or rule.effect not in _FIRST_STAYS_FIXED:
            drop(rule.first)
        if rule.effect == "collectResource" or rule.parameters.get("subtract"):
            drop(rule.second)
        if rule.effect != "shieldFrom":
            drop(rule.parameters.get("stype"))
        drop(rule.parameters.get("stypeTo"))
    for rule in game.rules:
        if rule.second != "EOS":
            first, second = (set(game.subtypes[n]) & fixed for n in (rule.first, rule.second))
            if first and second:
                fixed -= first if len(first) < len(second) else second
    return fixed & everything


def _moves(leaf: SpriteType) -> bool:
    kind = vocabulary.CLASSES[leaf.class_name]
    oriented = kind.oriented or "orientation" in leaf.parameters
    return not kind.static and oriented and _number(leaf.parameters.get("speed", kind.speed)) > 0


def _mask(numbers: Any) -> int:
    return sum(1 << number for number in numbers)


def _integer(value: Value) -> int:
    return int(value)  # type: ignore[arg-type]


def _number(value: Value) -> float:
    return float(value)  # type: ignore[arg-type]


def _direction(value: Value) -> tuple[int, int]:
    return value  # type: ignore[return-value]


def _probability(value: Value) -> int:
    return round(_number(value) * codes.CERTAIN)
