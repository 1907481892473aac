"""Thousands of levels of one VGDL game, stepped at once.

    engine = Engine(game, 64, height=9, width=13, seed=0)
    engine.reset(game.level(rows))
    engine.step(actions)            # planes, rewards, dones, wins now say what happened

One kernel interprets the tables of any game. Sprites that can never move or change are bits of
their cells; all others are records, a structure of arrays. Each slot has its own random stream,
named by the seed, the slot and the episode, so that what happens in it depends neither on the
number of slots nor on the number of threads.

Observation planes, int8 (N, C, H, W), named by `Game.channels`: one for each type, 1 where a
sprite of it has its centre in the cell; ``orientation_x`` and ``orientation_y``, -1, 0 or 1, of
oriented sprites; ``offset_x`` and ``offset_y``, pixels from the cell's corner, -5 to 4 of 10; one
``resource:<type>`` for each counted resource, the avatar's amount all over, at most 127;
``health`` likewise. Where sprites share a cell, orientation and offset are those of the type
defined last, of its sprites the one born last. Cells outside of a smaller level are 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from sidle import seeding
from sidle.errors import ArgumentError, ShapeError
from sidle.ppcg import episodes
from sidle.ppcg.bank import LevelBank
from sidle.ppcg.episodes import EpisodeLog
from sidle.ppcg.kernels import codes, searching, stepping
from sidle.ppcg.layout import Layout
from sidle.ppcg.level_source import LevelSource
from sidle.ppcg.rooms import RoomError, enough
from sidle.ppcg.vgdl import Game, Level

Autoreset = Literal["same_step", "next_step", "disabled"]

MOST_TICKS = 2000
"""At the end of this tick a game not won is lost."""

_AUTORESETS = {
    "disabled": stepping.DISABLED,
    "same_step": stepping.SAME_STEP,
    "next_step": stepping.NEXT_STEP,
}


@dataclass(frozen=True, eq=False)
class Snapshot:
    """States of some slots, exact: positions, clocks, scores and random streams.

    Attributes:
        states: int32 (S, W) in ``layout``.
        cells: int64 (S, H W).
        streams: uint64 (S,).
        placed: uint8 (S, H, W) and their sizes, levels placed by hand.
    """

    layout: Layout
    states: npt.NDArray[np.int32]
    cells: npt.NDArray[np.int64]
    streams: npt.NDArray[np.uint64]
    placed: npt.NDArray[np.uint8]
    placed_sizes: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.states)


class Engine:
    """Plays ``n`` levels of ``game`` side by side.

    Args:
        game: the compiled game.
        n: slots, levels played at once.
        height: rows of the largest level, which is that of the observations.
        width: columns of the largest level.
        seed: names the random streams of all slots.
        threads: threads a step is divided among; results do not depend on it.
        autoreset: a finished level is replaced in the same step (the planes then show the new
            one), in the next step (which ignores the action and pays nothing), or never.
        bank: levels that resets draw from; without it a slot's level begins anew.
        observe: whether planes are written.
        keep_final: whether `final_planes` keeps the last observation (same_step only).
        most_ticks: the tick at whose end a game not won is lost.

    Attributes:
        planes: int8 (N, C, H, W), see the module; all arrays are overwritten by the next step.
        rewards: int32 (N,), change of score in the step.
        dones: bool (N,), whether the episode is over after the step.
        wins: bool (N,), whether it was won.
        final_planes: int8 (N, C, H, W) or None, of the episodes that just ended.
        next_levels: int64 (N,), index in the bank of the level a slot plays next, -1 to draw one.
    """

    def __init__(
        self,
        game: Game,
        n: int,
        *,
        height: int,
        width: int,
        seed: int,
        threads: int = 1,
        autoreset: Autoreset = "same_step",
        bank: LevelBank | None = None,
        observe: bool = True,
        keep_final: bool = False,
        most_ticks: int = MOST_TICKS,
    ) -> None:
        if n < 1 or threads < 1 or most_ticks < 0:
            raise ArgumentError(
                f"Engine: n and threads must be at least 1 and most_ticks at least 0, "
                f"got {n}, {threads}, {most_ticks}."
            )
        if not (1 <= height <= 255 and 1 <= width <= 255):
            raise ArgumentError(
                f"Engine: height and width must be from 1 to 255, got {height} x {width}."
            )
        if autoreset not in _AUTORESETS:
            raise ArgumentError(
                f"Engine: autoreset must be one of {', '.join(_AUTORESETS)}, got {autoreset!r}."
            )
        if bank is not None and (
            bank.game is not game or (bank.height, bank.width) != (height, width)
        ):
            raise ArgumentError(
                f"Engine: the bank holds levels of {bank.game.name}, {bank.height} x {bank.width}; "
                f"expected the same game object and {height} x {width}."
            )
        if keep_final and (autoreset != "same_step" or not observe):
            raise ArgumentError("Engine: keep_final needs autoreset='same_step' and observe=True.")
        self.game, self.n, self.height, self.width = game, n, height, width
        self.seed, self.threads, self.autoreset, self.bank = seed, threads, autoreset, bank
        self.observe, self.most_ticks = observe, most_ticks
        self._stream_seed = np.uint64(seeding.split(seed, "ppcg_engine"))
        self._layout = Layout.make(game, height, width, np.zeros(len(game.types), np.int64))
        n_channels = len(game.channels)
        self._states = np.zeros((n, self._layout.words), np.int32)
        self._states[:, codes.H_AVATAR] = -1
        self._states[:, codes.H_OVER] = 1
        self._cells = np.zeros((n, height * width), np.int64)
        n_pixels = n_channels * height * width
        self._flat_planes = np.zeros((n, n_pixels if observe else 0), np.int8)
        self._flat_final = np.zeros((n if keep_final else 0, n_pixels), np.int8)
        self.planes = self._flat_planes.reshape(n, -1, height, width) if observe else None
        self.final_planes = (
            self._flat_final.reshape(n, n_channels, height, width) if keep_final else None
        )
        self._streams = np.zeros(n, np.uint64)
        self.rewards = np.zeros(n, np.int32)
        self.dones = np.zeros(n, np.bool_)
        self.wins = np.zeros(n, np.bool_)
        self.next_levels = np.full(n, -1, np.int64)
        self._ended = np.zeros((n, stepping.LOG_COLUMNS), np.int64)
        self._log = EpisodeLog(n)
        self._source = LevelSource(game, n, height=height, width=width, bank=bank)
        self._pool = ThreadPoolExecutor(threads) if threads > 1 else None
        self._ready = False
        self._to_reset = np.zeros(n, np.int64)
        self._settings = np.zeros(stepping.SETTINGS, np.int64)
        for place, value in (
            (stepping.S_ACTIONS, len(game.actions)),
            (stepping.S_MOST_TICKS, most_ticks),
            (stepping.S_OBSERVED, observe),
            (stepping.S_AUTORESET, _AUTORESETS[autoreset]),
            (stepping.S_KEEP_FINAL, keep_final),
        ):
            self._settings[place] = value
        self._settings[stepping.S_BY_LEVEL] = self._source.by_level
        self._settings[stepping.S_FROM_BANK] = bank is not None
        self._give_room(self._layout.rooms)

    # What happened.

    @property
    def scores(self) -> npt.NDArray[np.int32]:
        """Score of each slot's present episode, int32 (N,), a view."""
        return self._states[:, codes.H_SCORE]

    @property
    def ticks(self) -> npt.NDArray[np.int32]:
        """The last tick played in each slot, int32 (N,), -1 before the first, a view."""
        return self._states[:, codes.H_TICK]

    @property
    def levels(self) -> npt.NDArray[np.int32]:
        """Index in the bank of each slot's level, int32 (N,), -1 if placed by hand, a view."""
        return self._states[:, codes.H_LEVEL]

    def state(self, slot: int) -> dict[str, Any]:
        """Return the state of a slot in words, see `Layout.describe`."""
        self._check_slots(np.array([slot]), "state")
        return self._layout.describe(self._states[slot], self._cells[slot])

    def sprites(self, name: str) -> npt.NDArray[np.int64]:
        """Return where the sprites of a type are: (S, 3), slot, x, y in pixels.

        A parent's name means all its subtypes. In order of type, slot and birth; killed avatars
        are among them.

        Raises:
            ArgumentError: the game has no such type.
        """
        if name not in self.game.subtypes:
            known = ", ".join(self.game.types)
            raise ArgumentError(f"Engine.sprites: no type '{name}'. The types are: {known}.")
        found = [
            self._layout.places(self._states, self._cells, kind)
            for kind in self.game.subtypes[name]
        ]
        return np.concatenate(found)

    def count(self, name: str) -> npt.NDArray[np.int64]:
        """Return how many sprites of a type live in each slot, int64 (N,).

        A parent's name means all its subtypes. Killed avatars do not count.

        Raises:
            ArgumentError: the game has no such type.
        """
        if name not in self.game.subtypes:
            known = ", ".join(self.game.types)
            raise ArgumentError(f"Engine.count: no type '{name}'. The types are: {known}.")
        found = np.zeros(self.n, np.int64)
        for kind in self.game.subtypes[name]:
            found += self._layout.living(self._states, kind)
        return found

    def episodes(self) -> npt.NDArray[np.void]:
        """Return the episodes that ended since the last call, of dtype `episodes.EPISODE`, in
        order.

        Steps are in order, within one step slots are.
        """
        return episodes.described(self.ended(), self.bank)

    def ended(self) -> npt.NDArray[np.int64]:
        """Return the episodes that ended since the last call in short, int64 (E, 5).

        Columns: slot, index in the bank, whether won, score, length; a view, overwritten by the
        next step. What it returns, `episodes` does not return again.
        """
        return self._log.take()

    # What to play.

    def reset(
        self,
        levels: Level | Sequence[Level] | None = None,
        *,
        slots: npt.ArrayLike | None = None,
        indices: npt.ArrayLike | None = None,
    ) -> None:
        """Begin a new episode in some slots or all.

        Args:
            levels: place this level in each slot, or one in each. Without a bank the slots keep
                it for later resets.
            slots: which ones, by default all.
            indices: play these levels of the bank. Without both, levels are drawn from the bank;
                without a bank, each slot's level begins anew.

        Raises:
            ArgumentError, ShapeError: numbers do not fit, there is nothing to play, or a level is
                larger than the engine's.
        """
        where = self._slots(slots, "reset")
        if levels is not None and indices is not None:
            raise ArgumentError("Engine.reset: give levels or indices, not both.")
        if levels is not None:
            one_each = [levels] * len(where) if isinstance(levels, Level) else levels
            self._room_for(self._source.place(where, one_each))
        if indices is not None:
            chosen = np.broadcast_to(np.asarray(indices, np.int64), len(where))
            size = 0 if self.bank is None else len(self.bank)
            if len(chosen) and (chosen.min() < 0 or chosen.max() >= size):
                raise ArgumentError(
                    f"Engine.reset: indices must be from 0 to {size - 1} (the bank has {size} "
                    f"levels), got {chosen.min()} to {chosen.max()}."
                )
            self.next_levels[where] = chosen
        by_hand = levels is not None
        if not by_hand and self.bank is None and not self._source.placed_sizes[where].all():
            raise ArgumentError(
                "Engine.reset: no level to play. Give levels, or make the engine with a bank."
            )
        self._refresh_bank(must=not by_hand)
        self._run_resets(where, by_hand)
        self.rewards[where], self.dones[where], self.wins[where] = 0, False, False
        if self.bank is not None and not by_hand:
            np.add.at(self.bank.uses, self.levels[where], 1)
        self._ready = self._ready or len(np.unique(where)) == self.n or self._all_set()

    def weigh_bins(self, weights: npt.ArrayLike) -> None:
        """Draw a bin of difficulty by these weights (101,), then one of its levels evenly.

        Raises:
            ShapeError, ArgumentError: not 101 weights of at least 0, all 0, or one of an empty bin.
        """
        self._source.weigh(weights, by_level=False)

    def weigh_levels(self, weights: npt.ArrayLike | None) -> None:
        """Draw levels by these weights (M,); None: evenly. Levels added later weigh 0.

        Raises:
            ShapeError, ArgumentError: not as many weights as levels, negative ones, or all 0.
        """
        self._source.weigh(weights, by_level=True)

    def step(self, actions: npt.ArrayLike) -> None:
        """Play one tick in every slot.

        Args:
            actions: integers (N,), places in `Game.actions`.

        Raises:
            ShapeError, ArgumentError: not N actions of this game, or nothing was reset yet.
            RoomError: sprites multiplied beyond all room within the tick.
        """
        given = np.ascontiguousarray(actions, np.int64)
        if given.shape != (self.n,):
            raise ShapeError(f"Engine.step: expected {self.n} actions, got shape {given.shape}.")
        if not self._ready:
            raise ArgumentError("Engine.step: some slot has no level yet. Call reset first.")
        if self._source.changed:
            self._refresh_bank(must=self.autoreset != "disabled")
        self._log.make_room()
        if self._pool is None:
            report = self._step_some(0, self.n, self._works[0], given)
        else:
            bounds = np.linspace(0, self.n, self.threads + 1).astype(int).tolist()
            report = max(
                self._pool.map(
                    lambda part: self._step_some(
                        bounds[part], bounds[part + 1], self._works[part], given
                    ),
                    range(self.threads),
                )
            )
        if report == stepping.BAD_ACTION:
            raise ArgumentError(
                f"Engine.step: actions must be from 0 to {len(self.game.actions) - 1} "
                f"({', '.join(self.game.actions)}), got {given.min()} to {given.max()}."
            )
        self._log.filled = stepping.log_episodes(
            self.dones,
            self._ended,
            self._to_reset,
            self._states,
            self._log.rows,
            self._log.filled,
            self._source.uses,
            self.autoreset == "same_step",
        )
        if report:
            self._make_room(report)

    # Search, replay, branching.

    def snapshot(self, slots: npt.ArrayLike | None = None) -> Snapshot:
        """Return the exact state of some slots, by default all."""
        where = self._slots(slots, "snapshot")
        return Snapshot(
            self._layout,
            self._states[where],
            self._cells[where],
            self._streams[where],
            self._source.placed[where],
            self._source.placed_sizes[where],
        )

    def restore(self, snapshot: Snapshot, slots: npt.ArrayLike | None = None) -> None:
        """Put states back, into the first slots by default; a single one into all given slots.

        What follows is what followed then, given the same actions and, for later episodes, the
        same slots and bank.

        Raises:
            ArgumentError, ShapeError: the snapshot is of another game or size, or the numbers of
                states and slots differ.
        """
        if snapshot.layout.game is not self.game or (
            (snapshot.layout.height, snapshot.layout.width) != (self.height, self.width)
        ):
            raise ArgumentError("Engine.restore: the snapshot is of another game or level size.")
        where = np.arange(len(snapshot)) if slots is None else self._slots(slots, "restore")
        self._check_slots(where, "restore")
        if len(snapshot) not in (1, len(where)):
            raise ShapeError(
                f"Engine.restore: {len(snapshot)} states for {len(where)} slots. "
                "Give as many slots, or a single state."
            )
        if (snapshot.layout.rooms > self._layout.rooms).any():
            self._give_room(np.maximum(snapshot.layout.rooms, self._layout.rooms))
        states = snapshot.states
        if snapshot.layout is not self._layout:
            states = self._layout.moved_from(states, snapshot.layout)
        self._states[where], self._cells[where] = states, snapshot.cells
        self._streams[where] = snapshot.streams
        self._source.placed[where] = snapshot.placed
        self._source.placed_sizes[where] = snapshot.placed_sizes
        self.rewards[where] = 0
        over = self._states[where, codes.H_OVER] != 0
        self.dones[where] = over
        self.wins[where] = over & (self._states[where, codes.H_WINNER] == codes.PLAYER_WINS)
        if self.observe:
            searching.redraw(
                where,
                self._layout.image,
                self._states,
                self._cells,
                self._flat_planes,
            )
        self._ready = self._ready or self._all_set()

    def branch(self, source: int, slots: npt.ArrayLike) -> None:
        """Copy the state of one slot into others."""
        self.restore(self.snapshot([source]), slots)

    def keys(self, slots: npt.ArrayLike | None = None) -> npt.NDArray[np.uint64]:
        """Return a hash of each state for sets of visited states, uint64 (S,).

        Equal for states from which the same actions lead to the same, but for the tick, the score
        and random draws: clocks count up to the cooldown only.
        """
        where = self._slots(slots, "keys")
        made = np.zeros(len(where), np.uint64)
        searching.hash_states(
            where,
            self._layout.image,
            self._states,
            self._cells,
            made,
        )
        return made

    # Inside.

    def _step_some(
        self, begin: int, end: int, work: npt.NDArray[np.int64], actions: npt.NDArray[np.int64]
    ) -> int:
        report: int = stepping.step_slots(
            begin,
            end,
            self._settings,
            self._layout.image,
            self._states,
            self._cells,
            self._flat_planes,
            self._flat_final,
            work,
            self._streams,
            self._stream_seed,
            actions,
            self.rewards,
            self.dones,
            self.wins,
            self._ended,
            self._to_reset,
            *self._source.arrays,
            self.next_levels,
        )
        return report

    def _run_resets(self, where: npt.NDArray[np.int64], by_hand: bool) -> None:
        settings = self._settings.copy()
        settings[stepping.S_FROM_BANK] &= not by_hand
        report = stepping.reset_slots(
            where,
            settings,
            self._layout.image,
            self._states,
            self._cells,
            self._flat_planes,
            self._works[0],
            self._streams,
            self._stream_seed,
            *self._source.arrays,
            self.next_levels,
        )
        assert report == 0, "the face makes room for every level"

    def _refresh_bank(self, *, must: bool) -> None:
        """Look at the bank and the weights anew where they changed."""
        if self.bank is None or not self._source.changed:
            return
        if must and len(self.bank) == 0:
            raise ArgumentError("Engine: the bank has no levels. Add some first.")
        self._room_for(self.bank.rooms)
        self._source.refresh()
        self._settings[stepping.S_BY_LEVEL] = self._source.by_level

    def _room_for(self, most: npt.NDArray[np.int64]) -> None:
        rooms = enough(self.game, self._layout.rooms, most)
        if rooms is not self._layout.rooms:
            self._give_room(rooms)

    def _make_room(self, report: int) -> None:
        """Make room for the next tick, if there was enough for this one."""
        if report == stepping.FULL:
            kind = int(self._states[:, codes.H_FULL].max()) - 1
            self._states[:, codes.H_FULL] = 0
            raise RoomError(
                f"Engine.step: sprites of type '{self.game.types[kind]}' multiplied within one "
                f"tick beyond all room ({int(self._layout.rooms[kind])} in a level). The levels "
                "are in the middle of that tick: reset them, and limit how the game brings "
                "forth this type."
            )
        n_types = len(self.game.types)
        counts = self._states[:, codes.HEADER : codes.HEADER + n_types]
        records = self.game.tables.types[:, codes.T_FIXED] == 0
        self._room_for(np.where(records, counts.max(axis=0), 0).astype(np.int64))

    def _give_room(self, rooms: npt.NDArray[np.int64]) -> None:
        old = self._layout
        self._layout = Layout.make(self.game, self.height, self.width, rooms)
        self._states = self._layout.moved_from(self._states, old)
        self._works = [np.zeros(self._layout.work_words, np.int64) for _ in range(self.threads)]

    def _all_set(self) -> bool:
        return bool((self._states[:, codes.H_AVATAR] >= 0).all())

    def _slots(self, slots: npt.ArrayLike | None, function: str) -> npt.NDArray[np.int64]:
        where = np.arange(self.n) if slots is None else np.atleast_1d(np.asarray(slots, np.int64))
        self._check_slots(where, function)
        return where

    def _check_slots(self, where: npt.NDArray[np.int64], function: str) -> None:
        if where.ndim != 1 or (len(where) and (where.min() < 0 or where.max() >= self.n)):
            raise ArgumentError(
                f"Engine.{function}: slots must be from 0 to {self.n - 1}, got {where.tolist()}."
            )
