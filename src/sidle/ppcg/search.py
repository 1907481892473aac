"""Search for a way to win a level: breadth first, all actions of all states side by side.

    solve(game, game.level(rows), seed=0, near=("key", "exit")).actions

States that differ in nothing but score are followed once; so are those that differ in the order
in which sprites of a type were born, which rarely matters. Of more states than fit into the
beam, those of the highest value go on: 50 for a point, minus 50 for each sprite that the avatar
has still to visit, minus its distance to the nearest of those that come first: on foot, in levels
of more than 2,500 cells as the crow flies. A fifth of the beam is drawn by chance, for what looks
best may be a dead end.

Chance is part of the state: a way found wins if the level is played with the same seed
(slot 0, first episode), and need not with another.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import shortest_path

from sidle import seeding
from sidle.errors import ArgumentError
from sidle.ppcg.engine import MOST_TICKS, Engine, Snapshot
from sidle.ppcg.kernels.codes import TILE, TIMEOUT, X_KIND
from sidle.ppcg.vgdl import Game, Level

_POINT = 50.0  # worth more steps than a usual level is wide
_SHARE_BY_CHANCE = 0.2
_MOST_CELLS = 2500  # of a level whose distances are kept, at most 50 MB of them
# What makes the same state go on otherwise at another tick, or by chance.
_RESTLESS = frozenset(
    {"SpawnPoint", "RandomMissile", "RandomNPC", "Chaser", "Bomber", "Spreader", "Flicker"}
)


@dataclass(frozen=True)
class Outcome:
    """What a search found.

    Attributes:
        actions: places in `Game.actions` that win, one a tick; None if none were found.
        complete: whether no state was left out. Without a way found, there is then none of that
            length under this seed.
        n_states: states looked at.
    """

    actions: tuple[int, ...] | None
    complete: bool
    n_states: int


def solve(
    game: Game,
    level: Level,
    *,
    seed: int = 0,
    near: Sequence[str] = (),
    width: int = 1000,
    most_ticks: int = 300,
) -> Outcome:
    """Return actions that win ``level``, as few as the beam allows.

    Args:
        game: the compiled game.
        level: where to begin.
        seed: of the chance in the game, as `Engine` takes it.
        near: types (or parents) that the avatar has to visit, all of one before the next; they only
            steer what the beam keeps.
        width: states kept a tick, at least 1. Where all fit, the search is complete.
        most_ticks: length of the longest way looked at, from 1 to 2,001.

    Raises:
        ArgumentError: a number lies outside its range, or a type is unknown.
    """
    if width < 1 or not 1 <= most_ticks <= MOST_TICKS + 1:
        raise ArgumentError(
            f"search.solve: width must be at least 1 and most_ticks from 1 to {MOST_TICKS + 1}, "
            f"got {width} and {most_ticks}."
        )
    unknown = [name for name in near if name not in game.subtypes]
    if unknown:
        raise ArgumentError(
            f"search.solve: no type '{unknown[0]}' in {game.name}. The types are: "
            f"{', '.join(game.types)}."
        )
    rng = np.random.default_rng(seeding.split(seed, "ppcg_search"))
    n_actions = len(game.actions)
    engine = Engine(
        game, 1, height=level.height, width=level.width, seed=seed, autoreset="disabled",
        observe=False,
    )  # fmt: skip
    engine.reset(level)
    distances_CC = _walking_distances(engine) if near else None
    seen: set[int] | None = None if _is_restless(game) else set(engine.keys([0]).tolist())
    kept = np.zeros(1, np.int64)
    steps: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]] = []  # parents and actions
    complete, n_states = True, 1
    for _ in range(most_ticks):
        parents = np.repeat(np.arange(len(kept)), n_actions)
        actions = np.tile(np.arange(n_actions), len(kept))
        snapshot = engine.snapshot(kept[parents])
        n = len(parents)
        if n > engine.n:
            engine = _grown(engine, snapshot, 2 * n)
        engine.restore(snapshot, np.arange(n))
        engine.step(np.concatenate([actions, np.zeros(engine.n - n, np.int64)]))
        n_states += n
        won = np.flatnonzero(engine.wins[:n])
        if len(won):
            best = won[engine.scores[won].argmax()]
            return Outcome(_way(steps, parents, actions, int(best)), complete, n_states)
        alive = np.flatnonzero(~engine.dones[:n])
        found = engine.keys(alive)
        if seen is None:
            found ^= engine.snapshot(alive).streams  # what comes by chance, comes from there
        keys, first = np.unique(found, return_index=True)
        if seen is not None:
            new = np.array([key not in seen for key in keys.tolist()], bool)
            keys, first = keys[new], first[new]
            seen.update(keys.tolist())
        kept = alive[first]
        if len(kept) == 0:
            break
        if len(kept) > width:
            complete = False
            kept = _chosen(engine, kept, near, distances_CC, width, rng)
        steps.append((parents[kept], actions[kept]))
    return Outcome(None, complete, n_states)


def _grown(engine: Engine, snapshot: Snapshot, n: int) -> Engine:
    """Return an engine like ``engine`` with ``n`` slots, each of which holds some state."""
    grown = Engine(
        engine.game, n, height=engine.height, width=engine.width, seed=engine.seed,
        autoreset="disabled", observe=False,
    )  # fmt: skip
    one = dataclasses.replace(
        snapshot,
        **{name: getattr(snapshot, name)[:1] for name in
           ("states", "cells", "streams", "placed", "placed_sizes")},
    )  # fmt: skip
    grown.restore(one, np.arange(n))
    return grown


def _way(
    steps: Sequence[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]],
    parents: npt.NDArray[np.int64],
    actions: npt.NDArray[np.int64],
    last: int,
) -> tuple[int, ...]:
    """Return the actions that led to child ``last`` of the last tick."""
    made, at = [int(actions[last])], int(parents[last])
    for kept_parents, kept_actions in reversed(steps):
        made.append(int(kept_actions[at]))
        at = int(kept_parents[at])
    return tuple(reversed(made))


def _chosen(
    engine: Engine,
    slots: npt.NDArray[np.int64],
    near: Sequence[str],
    distances_CC: npt.NDArray[np.float64] | None,
    width: int,
    rng: np.random.Generator,
) -> npt.NDArray[np.int64]:
    """Return ``width`` of ``slots``: most by value, some by chance."""
    values = _POINT * engine.scores[slots] - _still_to_go(engine, near, distances_CC)[slots]
    values += rng.random(len(slots))  # among equals, by chance
    n_best = width - int(_SHARE_BY_CHANCE * width)
    order = np.argsort(-values)
    others = rng.permutation(order[n_best:])[: width - n_best]
    chosen: npt.NDArray[np.int64] = slots[np.concatenate([order[:n_best], others])]
    return chosen


def _still_to_go(
    engine: Engine, near: Sequence[str], distances_CC: npt.NDArray[np.float64] | None
) -> npt.NDArray[np.float64]:
    """Return of each slot `_POINT` for each of ``near``, and the distance to the next."""
    to_go, nearest = np.zeros(engine.n), np.zeros(engine.n)
    if not near:
        return to_go
    avatar = np.zeros(engine.n, np.int64)
    for number in engine.game.avatars():
        slots, cells = _slots_and_cells(engine, engine.game.types[number])
        avatar[slots] = cells
    farthest = float(engine.height + engine.width)
    for name in reversed(near):
        slots, cells = _slots_and_cells(engine, name)
        counts = np.bincount(slots, minlength=engine.n)
        if distances_CC is None:
            here, there = np.divmod(avatar[slots], engine.width), np.divmod(cells, engine.width)
            steps = np.abs(np.subtract(here, there)).sum(axis=0)
        else:
            steps = distances_CC[avatar[slots], cells]
        distances = np.full(engine.n, farthest)
        np.minimum.at(distances, slots, steps)
        to_go += _POINT * counts
        nearest = np.where(counts > 0, distances, nearest)
    return to_go + nearest


def _slots_and_cells(
    engine: Engine, name: str
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the slots and the cells (row by row) of the sprites of a type, those inside."""
    slots, x, y = engine.sprites(name).T
    x, y = (x + TILE // 2) // TILE, (y + TILE // 2) // TILE
    inside = (x >= 0) & (x < engine.width) & (y >= 0) & (y < engine.height)
    return slots[inside], (y * engine.width + x)[inside]


def _walking_distances(engine: Engine) -> npt.NDArray[np.float64] | None:
    """Return the steps from cell to cell around the walls of slot 0, (C, C), inf if none lead.

    None for large levels: there, distances go straight through walls.
    """
    n_cells = engine.height * engine.width
    if n_cells > _MOST_CELLS:
        return None
    free = np.ones(n_cells, bool)
    if "wall" in engine.game.subtypes:
        free[_slots_and_cells(engine, "wall")[1]] = False
    cells = np.arange(n_cells).reshape(engine.height, engine.width)
    sides = [(cells[:, :-1], cells[:, 1:]), (cells[:-1], cells[1:])]
    ends = np.concatenate([np.stack([a.ravel(), b.ravel()]) for a, b in sides], axis=1)
    ends = ends[:, free[ends].all(axis=0)]
    graph = coo_array((np.ones(ends.shape[1]), tuple(ends)), shape=(n_cells, n_cells))
    made: npt.NDArray[np.float64] = shortest_path(graph, directed=False, unweighted=True)
    return made


def _is_restless(game: Game) -> bool:
    """Return whether states that look alike may go on differently."""
    timed = bool((game.tables.terminations[:, X_KIND] == TIMEOUT).any())
    return timed or "prob=" in game.text or not _RESTLESS.isdisjoint(game.classes)
