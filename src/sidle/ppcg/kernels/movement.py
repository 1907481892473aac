"""The first half of a tick: the avatar acts, then every other sprite updates.

Types update in reverse order of definition, sprites of a type in order of birth. Before a sprite
updates, its rectangle is remembered and its clock advances. A move needs a clock of at least the
cooldown and sets it to 0.
"""

from __future__ import annotations

import numba
import numpy as np

from sidle.ppcg.kernels.codes import (
    BASE,
    BOMBER,
    CHASER,
    D_AMOUNTS,
    D_CAPACITY,
    D_RECORDS,
    D_TYPES,
    DISABLED,
    DOWN,
    F_AGE,
    F_CLOCK,
    F_DX,
    F_DY,
    F_FLAGS,
    F_LAST_X,
    F_LAST_Y,
    F_PULLED,
    F_START,
    F_X,
    F_Y,
    FIRST_AVATAR,
    FLICKER,
    FRESH,
    H_AVATAR,
    H_AVATAR_TYPE,
    H_TICK,
    HEADER,
    LEFT,
    MISSILE_AVATAR,
    ONGOING_AVATAR,
    ORIENTED_AVATAR,
    ORIENTED_FLICKER,
    RANDOM_MISSILE,
    RANDOM_NPC,
    RIGHT,
    SHOOT_AVATAR,
    SPAWN_POINT,
    SPREADER,
    T_ACTIONS,
    T_ACTIVE_PIXELS,
    T_AMMO,
    T_CHILD,
    T_CHILD_DX,
    T_CHILD_DY,
    T_CHILD_ORIENTED,
    T_CLASS,
    T_CONS,
    T_COOLDOWN,
    T_DISTANCE,
    T_FIXED,
    T_LIMIT,
    T_MOVES,
    T_ORIENTED,
    T_PIXELS,
    T_PROBABILITY,
    T_PULLED,
    T_ROTATE,
    T_SPEED,
    T_SPREAD,
    T_TARGETS,
    T_TARGETS_END,
    T_TOTAL,
    TILE,
    UP,
    USE,
)
from sidle.ppcg.kernels.records import give_birth, kill
from sidle.ppcg.kernels.streams import draw_below, happens

STAYED, TURNED, MOVED = range(3)


@numba.njit(cache=True, nogil=True)
def shift(state, at, capacity, dx, dy, pixels, fallback, cooldown):
    """Move the record by ``pixels`` (``fallback`` where that is 0) if its clock allows it."""
    if pixels == 0:
        pixels = fallback
    if pixels == 0 or (dx == 0 and dy == 0) or state[at + F_CLOCK * capacity] < cooldown:
        return False
    state[at + F_X * capacity] += dx * pixels
    state[at + F_Y * capacity] += dy * pixels
    state[at + F_CLOCK * capacity] = 0
    return True


@numba.njit(cache=True, nogil=True)
def drift(types, kind, state, at, capacity):
    """Move the record along its orientation; its first update passes idle."""
    flags = state[at + F_FLAGS * capacity]
    if flags & FRESH:
        state[at + F_FLAGS * capacity] = flags & ~FRESH
    elif types[kind, T_MOVES]:
        shift(
            state,
            at,
            capacity,
            state[at + F_DX * capacity],
            state[at + F_DY * capacity],
            types[kind, T_PIXELS],
            types[kind, T_SPEED],
            types[kind, T_COOLDOWN],
        )


@numba.njit(cache=True, nogil=True)
def push(types, kind, state, at, capacity, dx, dy, pixels):
    """Move the record in a direction given from outside; return STAYED, TURNED or MOVED."""
    if dx == 0 and dy == 0:
        return STAYED
    if types[kind, T_ROTATE] and (
        state[at + F_DX * capacity] != dx or state[at + F_DY * capacity] != dy
    ):
        state[at + F_DX * capacity] = dx
        state[at + F_DY * capacity] = dy
        return TURNED
    cooldown = types[kind, T_COOLDOWN]
    if shift(state, at, capacity, dx, dy, pixels, types[kind, T_SPEED], cooldown):
        return MOVED
    return STAYED


@numba.njit(cache=True, nogil=True)
def begin_update(types, kind, state, at, capacity):
    """Remember the rectangle and advance the clock."""
    state[at + F_LAST_X * capacity] = state[at + F_X * capacity]
    state[at + F_LAST_Y * capacity] = state[at + F_Y * capacity]
    state[at + F_CLOCK * capacity] += 1
    if types[kind, T_PULLED]:
        state[at + F_PULLED * capacity] = 0


@numba.njit(cache=True, nogil=True)
def update_avatar(types, segments, sizes, state, cells, scratch, action):
    """Let the avatar act; an action it lacks counts as NIL."""
    capacity = sizes[D_CAPACITY]
    record, kind = np.int64(state[H_AVATAR]), np.int64(state[H_AVATAR_TYPE])
    at = sizes[D_RECORDS] + record
    if state[at + F_FLAGS * capacity] & DISABLED:
        return
    begin_update(types, kind, state, at, capacity)
    if action >= types[kind, T_ACTIONS]:
        action = 0
    dx = np.int64(action == RIGHT) - np.int64(action == LEFT)
    dy = np.int64(action == DOWN) - np.int64(action == UP)
    category = types[kind, T_CLASS]
    if category == ONGOING_AVATAR:
        if dx != 0 or dy != 0:
            state[at + F_DX * capacity] = dx
            state[at + F_DY * capacity] = dy
        drift(types, kind, state, at, capacity)
        return
    if category == MISSILE_AVATAR:
        drift(types, kind, state, at, capacity)
        return
    result = push(types, kind, state, at, capacity, dx, dy, types[kind, T_ACTIVE_PIXELS])
    if result == MOVED and (category == ORIENTED_AVATAR or category == SHOOT_AVATAR):
        state[at + F_DX * capacity] = dx
        state[at + F_DY * capacity] = dy
    if category == SHOOT_AVATAR and result == STAYED and action == USE:
        _shoot(types, segments, sizes, state, cells, scratch, kind, record)


@numba.njit(cache=True, nogil=True)
def _shoot(types, segments, sizes, state, cells, scratch, kind, record):
    child = types[kind, T_CHILD]
    if child < 0:
        return
    capacity = sizes[D_CAPACITY]
    at = sizes[D_RECORDS] + record
    ammunition = types[kind, T_AMMO]
    purse = sizes[D_AMOUNTS] + ammunition * capacity + record
    if ammunition >= 0 and state[purse] <= 0:
        return
    dx, dy = state[at + F_DX * capacity], state[at + F_DY * capacity]
    x = state[at + F_X * capacity] + dx * TILE
    y = state[at + F_Y * capacity] + dy * TILE
    shot = give_birth(types, segments, sizes, state, cells, scratch, child, x, y, False)
    if shot >= 0:
        if types[child, T_ORIENTED]:
            state[sizes[D_RECORDS] + F_DX * capacity + shot] = dx
            state[sizes[D_RECORDS] + F_DY * capacity + shot] = dy
        if ammunition >= 0:
            state[purse] -= 1


@numba.njit(cache=True, nogil=True)
def update_others(types, lists, segments, sizes, state, cells, scratch, streams, slot):
    """Update every sprite but the avatars."""
    capacity = sizes[D_CAPACITY]
    for kind in range(sizes[D_TYPES] - 1, -1, -1):
        count = state[HEADER + kind]
        category = types[kind, T_CLASS]
        if count == 0 or types[kind, T_FIXED] or category >= FIRST_AVATAR:
            continue
        first = sizes[D_RECORDS] + segments[kind, BASE]
        plain = (
            category < RANDOM_MISSILE  # IMMOVABLE to MISSILE
        )
        if plain:
            moves = types[kind, T_MOVES]
            for at in range(first, first + count):
                begin_update(types, kind, state, at, capacity)
                if moves:
                    drift(types, kind, state, at, capacity)
            continue
        for at in range(first, first + count):
            begin_update(types, kind, state, at, capacity)
            _update_special(
                types, lists, segments, sizes, state, cells, scratch, streams, slot, kind, at
            )


@numba.njit(cache=True, nogil=True)
def _update_special(types, lists, segments, sizes, state, cells, scratch, streams, slot, kind, at):
    capacity = sizes[D_CAPACITY]
    category = types[kind, T_CLASS]
    record = at - sizes[D_RECORDS]
    if category == RANDOM_MISSILE:
        if state[at + F_DX * capacity] == 0 and state[at + F_DY * capacity] == 0:
            dx, dy = _direction(draw_below(streams, slot, 4))
            state[at + F_DX * capacity] = dx
            state[at + F_DY * capacity] = dy
        drift(types, kind, state, at, capacity)
    elif category == FLICKER or category == ORIENTED_FLICKER or category == SPREADER:
        drift(types, kind, state, at, capacity)
        if state[at + F_AGE * capacity] > types[kind, T_LIMIT]:
            kill(types, sizes, state, scratch, kind, record)
        state[at + F_AGE * capacity] += 1
        if category == SPREADER and state[at + F_AGE * capacity] == 2:
            x, y = state[at + F_LAST_X * capacity], state[at + F_LAST_Y * capacity]
            child = types[kind, T_CHILD]
            for code in range(4):
                if happens(streams, slot, types[kind, T_SPREAD]):
                    dx, dy = _direction(code)
                    give_birth(
                        types,
                        segments,
                        sizes,
                        state,
                        cells,
                        scratch,
                        child,
                        x + dx * TILE,
                        y + dy * TILE,
                        False,
                    )
    elif category == SPAWN_POINT or category == BOMBER:
        _bring_forth(types, segments, sizes, state, cells, scratch, streams, slot, kind, at)
        if category == BOMBER:
            drift(types, kind, state, at, capacity)
        total = types[kind, T_TOTAL]
        if total > 0 and state[at + F_AGE * capacity] >= total:
            kill(types, sizes, state, scratch, kind, record)
    elif category == RANDOM_NPC or category == CHASER:
        drift(types, kind, state, at, capacity)
        code = -1
        if category == CHASER:
            code = _towards_nearest(types, lists, segments, sizes, state, streams, slot, kind, at)
        if code < 0:
            code = _wander(types, state, at, capacity, streams, slot, kind)
        if code >= 0:
            dx, dy = _direction(code)
            push(types, kind, state, at, capacity, dx, dy, types[kind, T_ACTIVE_PIXELS])


@numba.njit(cache=True, nogil=True)
def _direction(code):
    """Return (dx, dy) of direction 0 to 3: up, left, down, right."""
    return np.int64(code == 3) - np.int64(code == 1), np.int64(code == 2) - np.int64(code == 0)


@numba.njit(cache=True, nogil=True)
def _bring_forth(types, segments, sizes, state, cells, scratch, streams, slot, kind, at):
    """A SpawnPoint's or Bomber's turn; its records' F_AGE counts the births."""
    capacity = sizes[D_CAPACITY]
    tick = state[H_TICK]
    if state[at + F_START * capacity] < 0:
        state[at + F_START * capacity] = tick
    if (state[at + F_START * capacity] + tick) % types[kind, T_COOLDOWN] != 0:
        return
    if not happens(streams, slot, types[kind, T_PROBABILITY]):
        return
    x, y = state[at + F_X * capacity], state[at + F_Y * capacity]
    child = types[kind, T_CHILD]
    born = give_birth(types, segments, sizes, state, cells, scratch, child, x, y, False)
    if born < 0:
        return
    state[at + F_AGE * capacity] += 1
    born_at = sizes[D_RECORDS] + born
    if types[kind, T_CHILD_ORIENTED]:
        state[born_at + F_DX * capacity] = types[kind, T_CHILD_DX]
        state[born_at + F_DY * capacity] = types[kind, T_CHILD_DY]
    elif state[born_at + F_DX * capacity] == 0 and state[born_at + F_DY * capacity] == 0:
        state[born_at + F_DX * capacity] = state[at + F_DX * capacity]
        state[born_at + F_DY * capacity] = state[at + F_DY * capacity]


@numba.njit(cache=True, nogil=True)
def _wander(types, state, at, capacity, streams, slot, kind):
    """Return a RandomNPC's direction, -1 while it has none; F_START keeps it, F_AGE its use."""
    if state[at + F_AGE * capacity] < types[kind, T_CONS]:
        state[at + F_AGE * capacity] += 1
        return np.int64(state[at + F_START * capacity])
    state[at + F_AGE * capacity] = 0
    code = draw_below(streams, slot, 4)
    state[at + F_START * capacity] = code
    return code


@numba.njit(cache=True, nogil=True)
def _towards_nearest(types, lists, segments, sizes, state, streams, slot, kind, at):
    """Return a direction that brings a Chaser nearer to one of its nearest targets, -1 if none.

    Distances are Manhattan, between corners. Each of the nearest targets adds every direction in
    which one pixel brings it nearer; one is drawn from all of them.
    """
    capacity = sizes[D_CAPACITY]
    x, y = state[at + F_X * capacity], state[at + F_Y * capacity]
    nearest = np.int64(1) << 40
    votes_up = votes_left = votes_down = votes_right = 0
    for place in range(types[kind, T_TARGETS], types[kind, T_TARGETS_END]):
        target = lists[place]
        first = sizes[D_RECORDS] + segments[target, BASE]
        for other in range(first, first + state[HEADER + target]):
            across = state[other + F_X * capacity] - x
            down = state[other + F_Y * capacity] - y
            distance = abs(across) + abs(down)
            if distance > nearest:
                continue
            if distance < nearest:
                nearest = distance
                votes_up = votes_left = votes_down = votes_right = 0
            votes_up += down < 0
            votes_down += down > 0
            votes_left += across < 0
            votes_right += across > 0
    if types[kind, T_DISTANCE] >= 0 and nearest > types[kind, T_DISTANCE]:
        return np.int64(-1)
    votes = votes_up + votes_left + votes_down + votes_right
    if votes == 0:
        return np.int64(-1)
    drawn = draw_below(streams, slot, votes)
    if drawn < votes_up:
        return np.int64(0)
    if drawn < votes_up + votes_left:
        return np.int64(1)
    if drawn < votes_up + votes_left + votes_down:
        return np.int64(2)
    return np.int64(3)
