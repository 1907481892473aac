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

from sidle.ppcg.kernels import codes
from sidle.ppcg.vgdl import Game

WINNERS = ("NO_WINNER", "PLAYER_WINS", "PLAYER_LOSES")


@dataclass(frozen=True, eq=False)
class Layout:
    """The layout of states of one game, for levels of up to height x width cells.

    Attributes:
        rooms: int64 (T,), records each type has room for; 0 for fixed types.
        segments: int64 (T, 2), first record and room of each type.
        sizes: int64 (DIMENSIONS,), see `kernels.codes`.
        words: integers in a state.
        n_channels: planes of the observation.
    """

    game: Game
    height: int
    width: int
    rooms: npt.NDArray[np.int64]
    segments: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]
    words: int
    n_channels: int

    @classmethod
    def make(cls, game: Game, height: int, width: int, rooms: npt.NDArray[np.int64]) -> Layout:
        """Return the layout with so much room."""
        n_types, n_resources = len(game.types), len(game.resources)
        capacity = int(rooms.sum())
        segments = np.zeros((n_types, 2), np.int64)
        segments[:, codes.BASE] = np.cumsum(rooms) - rooms
        segments[:, codes.ROOM] = rooms
        has_health = int(game.channels[-1] == "health")
        sizes = np.zeros(codes.DIMENSIONS, np.int64)
        sizes[codes.D_TYPES] = n_types
        sizes[codes.D_CAPACITY] = capacity
        sizes[codes.D_SHOWN] = codes.HEADER + n_types
        sizes[codes.D_RECORDS] = sizes[codes.D_SHOWN] + n_resources + has_health
        sizes[codes.D_RESOURCES] = n_resources
        sizes[codes.D_AMOUNTS] = sizes[codes.D_RECORDS] + codes.FIELDS * capacity
        sizes[codes.D_HEALTH] = has_health
        sizes[codes.D_HEIGHT], sizes[codes.D_WIDTH] = height, width
        words = int(sizes[codes.D_AMOUNTS]) + n_resources * capacity
        return cls(game, height, width, rooms, segments, sizes, words, len(game.channels))

    def scratch(self) -> tuple[npt.NDArray[np.int64], ...]:
        """Return clean working arrays for one thread, as `kernels.codes` lists them."""
        n_types, capacity = len(self.rooms), int(self.rooms.sum())
        n_cells = self.height * self.width
        lengths = {
            codes.MARKS: codes.MARKS_SIZE,
            codes.NEAR: n_types,
            codes.LISTED: n_types,
            codes.TOUCH: capacity,
            codes.DYING: n_cells,
            codes.DOOMED: n_cells * n_types,
            codes.FOUND: capacity + 4 * n_types,
            codes.BLOCKED: len(self.game.tables.rules),
        }
        return tuple(np.zeros(lengths[place], np.int64) for place in sorted(lengths))

    def moved_from(self, states: npt.NDArray[np.int32], other: Layout) -> npt.NDArray[np.int32]:
        """Return ``states`` (N, W') of a layout with less room in this one, (N, W)."""
        made = np.zeros((len(states), self.words), np.int32)
        fixed_part = int(self.sizes[codes.D_RECORDS])
        made[:, :fixed_part] = states[:, :fixed_part]
        blocks = [(codes.D_RECORDS, codes.FIELDS), (codes.D_AMOUNTS, len(self.game.resources))]
        for start, n_fields in blocks:
            for field in range(n_fields):
                for kind, room in enumerate(other.rooms.tolist()):
                    source, target = (
                        int(layout.sizes[start])
                        + field * int(layout.sizes[codes.D_CAPACITY])
                        + int(layout.segments[kind, codes.BASE])
                        for layout in (other, self)
                    )
                    made[:, target : target + room] = states[:, source : source + room]
        # The one record that the header names moves with its stretch.
        for row in made:
            kind = int(row[codes.H_AVATAR_TYPE])
            if row[codes.H_AVATAR] >= 0:
                row[codes.H_AVATAR] += int(
                    self.segments[kind, codes.BASE] - other.segments[kind, codes.BASE]
                )
        return made

    def places(
        self, states: npt.NDArray[np.int32], cells: npt.NDArray[np.int64], kind: int
    ) -> npt.NDArray[np.int64]:
        """Return (slot, x, y) of all sprites of a type in ``states`` (N, W), int64 (S, 3)."""
        if self.game.tables.types[kind, codes.T_FIXED]:
            slots, at = np.nonzero(cells >> kind & 1)
            x, y = at % self.width * codes.TILE, at // self.width * codes.TILE
            return np.stack([slots, x, y], axis=1)
        room, first = int(self.rooms[kind]), int(self.segments[kind, codes.BASE])
        alive = np.arange(room) < states[:, codes.HEADER + kind, np.newaxis]
        slots, records = np.nonzero(alive)
        start, capacity = (int(self.sizes[d]) for d in (codes.D_RECORDS, codes.D_CAPACITY))
        x, y = (
            states[slots, start + field * capacity + first + records].astype(np.int64)
            for field in (codes.F_X, codes.F_Y)
        )
        return np.stack([slots, x, y], axis=1)

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
            first = int(self.segments[kind, codes.BASE])
            count = int(state[codes.HEADER + kind])
            sprites.extend(self._sprite(state, name, first + place) for place in range(count))
        sprites.sort(key=lambda sprite: (sprite[:3], str(sprite[3:])))
        return {
            "tick": int(state[codes.H_TICK]),
            "score": int(state[codes.H_SCORE]),
            "winner": WINNERS[state[codes.H_WINNER]],
            "over": bool(state[codes.H_OVER]),
            "sprites": sprites,
        }

    def _sprite(self, state: npt.NDArray[np.int32], name: str, record: int) -> list[Any]:
        capacity = int(self.sizes[codes.D_CAPACITY])
        start = int(self.sizes[codes.D_RECORDS]) + record
        fields = state[start : start + codes.FIELDS * capacity : capacity].tolist()
        amounts = int(self.sizes[codes.D_AMOUNTS]) + record
        extras: dict[str, Any] = {}
        if fields[codes.F_DX] or fields[codes.F_DY]:
            extras["ori"] = [fields[codes.F_DX], fields[codes.F_DY]]
        held = {
            resource: int(state[amounts + place * capacity])
            for place, resource in enumerate(self.game.resources)
            if state[amounts + place * capacity] > 0
        }
        if held:
            extras["res"] = held
        if fields[codes.F_HEALTH] or fields[codes.F_HEALTH_MAXIMUM]:
            extras["hp"] = fields[codes.F_HEALTH]
        if fields[codes.F_FLAGS] & codes.DISABLED:
            extras["disabled"] = True
        place = [name, fields[codes.F_X], fields[codes.F_Y]]
        return [*place, extras] if extras else place


def placing(game: Game) -> tuple[npt.NDArray[np.int64], ...]:
    """Return what characters place, as arrays for the kernels.

    The mask of fixed types of each of 256 characters; where the types of each, that are kept as
    records, start in the third array (257); those types.
    """
    fixed = np.zeros(256, np.int64)
    kinds_of: list[list[int]] = [[] for _ in range(256)]
    for character, names in game.mapping.items():
        for name in names:
            kind = game.types.index(name)
            if game.tables.types[kind, codes.T_FIXED]:
                fixed[ord(character)] |= 1 << kind
            else:
                kinds_of[ord(character)].append(kind)
    start = np.cumsum([0, *(len(kinds) for kinds in kinds_of)])
    flat = [kind for kinds in kinds_of for kind in kinds]
    return fixed, start.astype(np.int64), np.array(flat, np.int64)


def most_records(game: Game, characters: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """Return how many records of each type a level places at most, (T,).

    Args:
        characters: (M, H, W), codes, 0 outside of a level.
    """
    most = np.zeros(len(game.types), np.int64)
    flat = characters.reshape(len(characters), -1)
    counts: dict[int, npt.NDArray[np.int64]] = {}
    for character, names in game.mapping.items():
        for name in names:
            kind = game.types.index(name)
            if not game.tables.types[kind, codes.T_FIXED]:
                here = (flat == ord(character)).sum(axis=1)
                counts[kind] = counts.get(kind, np.zeros(len(flat), np.int64)) + here
    for kind, per_level in counts.items():
        most[kind] = per_level.max(initial=0)
    return most
