"""Where a level's state lies in a row of integers, and what it says in words.

A row is int32 (W,): header, number of sprites of each type, amounts on display, then the records
field by field, then the amounts of the resources. Each type has a stretch of records with room
for so many; a `Layout` with more room holds the same state in a longer row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sidle.ppcg.kernels import codes, counting
from sidle.ppcg.vgdl import Game

WINNERS = ("NO_WINNER", "PLAYER_WINS", "PLAYER_LOSES")


@dataclass(frozen=True, eq=False)
class Layout:
    """The layout of states of one game, for levels of up to height x width cells.

    Attributes:
        rooms: int64 (T,), records each type has room for; 0 for fixed types.
        image: int64, the game's tables and these sizes, as the kernels read them.
        words: integers in a state.
        work_words: integers in a thread's working memory.
    """

    game: Game
    height: int
    width: int
    rooms: npt.NDArray[np.int64]
    image: npt.NDArray[np.int64]
    words: int
    work_words: int

    @classmethod
    def make(cls, game: Game, height: int, width: int, rooms: npt.NDArray[np.int64]) -> Layout:
        """Return the layout with so much room."""
        n_types, n_rules, n_resources = len(game.types), len(game.tables.rules), len(game.resources)
        capacity, n_cells = int(rooms.sum()), height * width
        image = _tables(game)
        has_health = int(game.channels[-1] == "health")
        shown = codes.HEADER + n_types
        records = -(-(shown + n_resources + has_health) // codes.FIELDS) * codes.FIELDS
        amounts = records + codes.FIELDS * capacity
        words = -(-(amounts + n_resources * capacity) // codes.FIELDS) * codes.FIELDS
        blocked = codes.TOUCH + capacity
        found = blocked + n_rules
        doomed = found + capacity + 4 * n_types
        dying = doomed + n_cells * n_types
        cover = dying + n_cells
        covered = cover + 2 * n_cells
        for place, value in (
            (codes.D_TYPES, n_types),
            (codes.D_CAPACITY, capacity),
            (codes.D_SHOWN, shown),
            (codes.D_RECORDS, records),
            (codes.D_RESOURCES, n_resources),
            (codes.D_AMOUNTS, amounts),
            (codes.D_HEALTH, has_health),
            (codes.D_HEIGHT, height),
            (codes.D_WIDTH, width),
            (codes.D_BLOCKED, blocked),
            (codes.D_FOUND, found),
            (codes.D_DOOMED, doomed),
            (codes.D_DYING, dying),
            (codes.D_COVER, cover),
            (codes.D_COVERED, covered),
        ):
            image[place] = value
        segments = image[codes.SEGMENTS : codes.SEGMENTS + 2 * n_types].reshape(n_types, 2)
        segments[:, codes.BASE] = np.cumsum(rooms) - rooms
        segments[:, codes.ROOM] = rooms
        image.flags.writeable = False
        return cls(game, height, width, rooms, image, words, covered + capacity)

    def first(self, kind: int) -> int:
        """Return where the records of a type begin in a state."""
        base = int(self.image[codes.SEGMENTS + 2 * kind + codes.BASE])
        return int(self.image[codes.D_RECORDS]) + codes.FIELDS * base

    def amounts(self, kind: int) -> int:
        """Return where the amounts of the records of a type begin in a state."""
        base = int(self.image[codes.SEGMENTS + 2 * kind + codes.BASE])
        return int(self.image[codes.D_AMOUNTS]) + len(self.game.resources) * base

    def moved_from(self, states: npt.NDArray[np.int32], other: Layout) -> npt.NDArray[np.int32]:
        """Return ``states`` (N, W') of a layout with less room in this one, (N, W)."""
        made = np.zeros((len(states), self.words), np.int32)
        fixed_part = int(self.image[codes.D_RECORDS])
        made[:, :fixed_part] = states[:, :fixed_part]
        n_resources = len(self.game.resources)
        for kind, room in enumerate(other.rooms.tolist()):
            for target, source, length in (
                (self.first(kind), other.first(kind), codes.FIELDS * room),
                (self.amounts(kind), other.amounts(kind), n_resources * room),
            ):
                made[:, target : target + length] = states[:, source : source + length]
            # The one record that the header names moves with its stretch.
            moved = (self.first(kind) - other.first(kind)) // codes.FIELDS
            named = (states[:, codes.H_AVATAR_TYPE] == kind) & (states[:, codes.H_AVATAR] >= 0)
            made[named, codes.H_AVATAR] += moved
        return made

    def places(
        self, states: npt.NDArray[np.int32], cells: npt.NDArray[np.int64], kind: int
    ) -> npt.NDArray[np.int64]:
        """Return (slot, x, y) of all sprites of a type in ``states`` (N, W), int64 (S, 3)."""
        if self.game.tables.types[kind, codes.T_FIXED]:
            slots, at = np.nonzero(cells >> kind & 1)
            x, y = at % self.width * codes.TILE, at // self.width * codes.TILE
            return np.stack([slots, x, y], axis=1)
        room = int(self.rooms[kind])
        alive = np.arange(room) < states[:, codes.HEADER + kind, np.newaxis]
        slots, records = np.nonzero(alive)
        at = self.first(kind) + codes.FIELDS * records
        x, y = (states[slots, at + field].astype(np.int64) for field in (codes.F_X, codes.F_Y))
        return np.stack([slots, x, y], axis=1)

    def living(self, states: npt.NDArray[np.int32], kind: int) -> npt.NDArray[np.int64]:
        """Return how many sprites of a type live in each of ``states`` (N, W), int64 (N,)."""
        counts = states[:, codes.HEADER + kind].astype(np.int64)
        if self.game.tables.types[kind, codes.T_ACTIONS]:
            alive = np.arange(int(self.rooms[kind])) < counts[:, np.newaxis]
            flags = states[:, self.first(kind) + codes.F_FLAGS :: codes.FIELDS][:, : alive.shape[1]]
            counts -= (alive & (flags & codes.DISABLED != 0)).sum(axis=1)
        return counts

    def describe(
        self, state: npt.NDArray[np.int32], cells: npt.NDArray[np.int64]
    ) -> dict[str, Any]:
        """Return a state in words.

        Args:
            state: int32 (W,).
            cells: int64 (H W,), masks of fixed types.

        Returns:
            ``{"tick", "score", "winner", "over", "sprites"}``; a sprite is ``[type, x, y]`` in
            pixels or ``[type, x, y, extras]``, where extras hold the orientation ("ori") unless
            it is (0, 0), amounts of resources above 0 ("res"), health ("hp") where it or its
            maximum is not 0, and "disabled" for a killed avatar. Sorted by type, x, y.
        """
        sprites: list[list[Any]] = []
        types = self.game.tables.types
        for kind, name in enumerate(self.game.types):
            if types[kind, codes.T_FIXED]:
                dx, dy = types[kind, [codes.T_DX, codes.T_DY]].tolist()
                extras = {"ori": [dx, dy]} if dx or dy else {}
                for cell in np.flatnonzero(cells >> kind & 1).tolist():
                    x, y = cell % self.width * codes.TILE, cell // self.width * codes.TILE
                    sprites.append([name, x, y, extras] if extras else [name, x, y])
                continue
            count = int(state[codes.HEADER + kind])
            sprites.extend(self._sprite(state, kind, place) for place in range(count))
        sprites.sort(key=lambda sprite: (sprite[:3], str(sprite[3:])))
        return {
            "tick": int(state[codes.H_TICK]),
            "score": int(state[codes.H_SCORE]),
            "winner": WINNERS[state[codes.H_WINNER]],
            "over": bool(state[codes.H_OVER]),
            "sprites": sprites,
        }

    def _sprite(self, state: npt.NDArray[np.int32], kind: int, place: int) -> list[Any]:
        at = self.first(kind) + codes.FIELDS * place
        fields = state[at : at + codes.FIELDS].tolist()
        at = self.amounts(kind) + len(self.game.resources) * place
        amounts = state[at : at + len(self.game.resources)].tolist()
        extras: dict[str, Any] = {}
        if fields[codes.F_DX] or fields[codes.F_DY]:
            extras["ori"] = [fields[codes.F_DX], fields[codes.F_DY]]
        held = {
            resource: amount
            for resource, amount in zip(self.game.resources, amounts, strict=True)
            if amount > 0
        }
        if held:
            extras["res"] = held
        if fields[codes.F_HEALTH] or fields[codes.F_HEALTH_MAXIMUM]:
            extras["hp"] = fields[codes.F_HEALTH]
        if fields[codes.F_FLAGS] & codes.DISABLED:
            extras["disabled"] = True
        found = [self.game.types[kind], fields[codes.F_X], fields[codes.F_Y]]
        return [*found, extras] if extras else found


def _tables(game: Game) -> npt.NDArray[np.int64]:
    """Return the image of a game, all but what depends on the size of levels.

    Numbers that point into lists are turned into places in the image.
    """
    tables = game.tables
    types, rules, endings = tables.types.copy(), tables.rules.copy(), tables.terminations.copy()
    parts: list[npt.NDArray[np.int64]] = []
    end = codes.TYPES + codes.MOST_TYPES * codes.TYPE_COLUMNS

    def append(part: npt.NDArray[np.int64]) -> int:
        nonlocal end
        parts.append(part.ravel())
        end += part.size
        return end - part.size

    lists = tables.lists.copy()
    start = append(lists)
    types[:, [codes.T_TARGETS, codes.T_TARGETS_END]] += start
    lists_of_rules = (codes.R_FIRST, codes.R_SECOND, codes.R_LIST)
    for column in lists_of_rules:
        rules[:, [column, column + 1]] += start
    endings[:, [codes.X_LIST, codes.X_LIST_END]] += start
    for row in rules[rules[:, codes.R_EFFECT] == codes.SHIELD_FROM]:
        lists[row[codes.R_SHIELD] : row[codes.R_SHIELD] + len(types)] += start
    rules[:, codes.R_SHIELD] += start
    fixed = types[:, codes.T_FIXED] > 0
    recorded = np.flatnonzero(~fixed)
    updated = [kind for kind in recorded[::-1].tolist() if not types[kind, codes.T_ACTIONS]]
    touching = np.flatnonzero(~fixed & (types[:, codes.T_TOUCHES] > 0))
    placed_fixed, placed = np.zeros(256, np.int64), [[0] * 0 for _ in range(256)]
    for character, names in game.mapping.items():
        for kind in map(game.types.index, names):
            if fixed[kind]:
                placed_fixed[ord(character)] |= 1 << kind
            else:
                placed[ord(character)].append(kind)
    placed_start = np.cumsum([0, *map(len, placed)])
    meetings = tables.gates[tables.n_edge_rules :]
    meetings = meetings[(meetings[:, : codes.G_SECOND_RECORDS + 1] != 0).all(axis=1)]
    sizes = {
        codes.D_MEETING_SECOND: np.bitwise_or.reduce(
            meetings[:, codes.G_SECOND_RECORDS], initial=0
        ),
        codes.D_EDGE_RULES: tables.n_edge_rules,
        codes.D_ALL_RULES: len(rules),
        codes.D_RULES: append(rules),
        codes.D_GATES: append(tables.gates),
        codes.D_ENDINGS: append(endings),
        codes.D_ENDINGS_END: end,
        codes.D_UPDATED: append(np.array(updated, np.int64)),
        codes.D_UPDATED_END: end,
        codes.D_RECORDED: append(recorded),
        codes.D_RECORDED_END: end,
        codes.D_TOUCHING: append(touching),
        codes.D_TOUCHING_END: end,
        codes.D_BROODS: append(tables.broods),
        codes.D_PLACED_FIXED: append(placed_fixed),
    }
    kinds = np.array([kind for kinds in placed for kind in kinds], np.int64)
    sizes[codes.D_PLACED] = append(append(kinds) + placed_start)
    image = np.zeros(end, np.int64)
    for place, value in sizes.items():
        image[place] = value
    image[codes.TYPES : codes.TYPES + types.size] = types.ravel()
    image[codes.TYPES + codes.MOST_TYPES * codes.TYPE_COLUMNS :] = np.concatenate(parts)
    return image


def count_characters(levels: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """Return how often each code occurs in each of ``levels`` (M, H, W), int64 (M, 256)."""
    counts = np.zeros((len(levels), 256), np.int64)
    counting.count_characters(levels, counts)
    return counts


def placing(game: Game) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the codes of the characters that place something, (P,), and of what how many, (P, T).

    Both kinds of sprites are counted, records and fixed ones.
    """
    characters = np.array([ord(character) for character in game.mapping], np.int64)
    amounts = np.zeros((len(characters), len(game.types)), np.int64)
    for row, names in zip(amounts, game.mapping.values(), strict=True):
        for name in names:
            row[game.types.index(name)] += 1
    return characters, amounts


def most_records(game: Game, placed: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return how many records of each type a level has at most, (T,), 0 for fixed types.

    Args:
        placed: sprites of each type in each level, (M, T).
    """
    return np.where(game.tables.types[:, codes.T_FIXED], 0, placed.max(axis=0, initial=0))
