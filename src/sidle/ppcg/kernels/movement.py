"""The first half of a tick: the avatar acts, then every other sprite updates.

Types update in reverse order of definition, sprites of a type in order of birth. Before a sprite
updates, its rectangle is remembered and its clock advances. A move needs a clock of at least the
cooldown and sets it to 0.
"""

from __future__ import annotations

import numba
import numpy as np

from sidle.ppcg.kernels.codes import (
    BOMBER,
    CHASER,
    D_RECORDS,
    D_UPDATED,
    D_UPDATED_END,
    DISABLED,
    DOWN,
    F_AGE,
    F_CLOCK,
    F_DX,
    F_DY,
    F_FLAGS,
    F_LAST_X,
    F_LAST_Y,
    F_START,
    F_X,
    F_Y,
    FIELDS,
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
    T_LIMIT,
    T_MOVES,
    T_ORIENTED,
    T_PIXELS,
    T_PROBABILITY,
    T_ROTATE,
    T_SPEED,
    T_SPREAD,
    T_TARGETS,
    T_TARGETS_END,
    T_TOTAL,
    TILE,
    UNDRAWN,
    UP,
    USE,
)
from sidle.ppcg.kernels.memory import first_of, of_type
from sidle.ppcg.kernels.records import amount_at, give_birth, kill, record_at
from sidle.ppcg.kernels.streams import draw_below, happens

STAYED, TURNED, MOVED = range(3)


@numba.njit(cache=True, nogil=True)
def shift(state, at, dx, dy, pixels, fallback, cooldown):
    """Move the record by ``pixels`` (``fallback`` where that is 0) if its clock allows it."""
    if pixels == 0:
        pixels = fallback
    if pixels == 0 or (dx == 0 and dy == 0) or state[at + F_CLOCK] < cooldown:
        return False
    state[at + F_X] += dx * pixels
    state[at + F_Y] += dy * pixels
    state[at + F_CLOCK] = 0
    return True


@numba.njit(cache=True, nogil=True)
def drift(game, kind, state, at):
    """Move the record along its orientation; its first update passes idle."""
    flags = state[at + F_FLAGS]
    if flags & FRESH:
        state[at + F_FLAGS] = flags & ~FRESH
    elif of_type(game, kind, T_MOVES):
        shift(
            state,
            at,
            state[at + F_DX],
            state[at + F_DY],
            of_type(game, kind, T_PIXELS),
            of_type(game, kind, T_SPEED),
            of_type(game, kind, T_COOLDOWN),
        )


@numba.njit(cache=True, nogil=True)
def push(game, kind, state, at, dx, dy, pixels):
    """Move the record in a direction given from outside; return STAYED, TURNED or MOVED."""
    if dx == 0 and dy == 0:
        return STAYED
    if of_type(game, kind, T_ROTATE) and (state[at + F_DX] != dx or state[at + F_DY] != dy):
        state[at + F_DX] = dx
        state[at + F_DY] = dy
        return TURNED
    cooldown = of_type(game, kind, T_COOLDOWN)
    if shift(state, at, dx, dy, pixels, of_type(game, kind, T_SPEED), cooldown):
        return MOVED
    return STAYED


@numba.njit(cache=True, nogil=True)
def begin_update(game, kind, state, at):
    """Remember the rectangle and advance the clock."""
    state[at + F_LAST_X] = state[at + F_X]
    state[at + F_LAST_Y] = state[at + F_Y]
    state[at + F_CLOCK] += 1


@numba.njit(cache=True, nogil=True)
def update_avatar(game, state, cells, work, action):
    """Let the avatar act; an action it lacks counts as NIL."""
    record, kind = np.int64(state[H_AVATAR]), np.int64(state[H_AVATAR_TYPE])
    at = record_at(game, record)
    if state[at + F_FLAGS] & DISABLED:
        return
    begin_update(game, kind, state, at)
    if action >= of_type(game, kind, T_ACTIONS):
        action = 0
    dx = np.int64(action == RIGHT) - np.int64(action == LEFT)
    dy = np.int64(action == DOWN) - np.int64(action == UP)
    category = of_type(game, kind, T_CLASS)
    if category == ONGOING_AVATAR:
        if dx != 0 or dy != 0:
            state[at + F_DX] = dx
            state[at + F_DY] = dy
        drift(game, kind, state, at)
        return
    if category == MISSILE_AVATAR:
        drift(game, kind, state, at)
        return
    result = push(game, kind, state, at, dx, dy, of_type(game, kind, T_ACTIVE_PIXELS))
    if result == MOVED and (category in (ORIENTED_AVATAR, SHOOT_AVATAR)):
        state[at + F_DX] = dx
        state[at + F_DY] = dy
    if category == SHOOT_AVATAR and result == STAYED and action == USE:
        _shoot(game, state, cells, work, kind, record)


@numba.njit(cache=True, nogil=True)
def _shoot(game, state, cells, work, kind, record):
    child = of_type(game, kind, T_CHILD)
    if child < 0:
        return
    at = record_at(game, record)
    ammunition = of_type(game, kind, T_AMMO)
    purse = amount_at(game, record, ammunition)
    if ammunition >= 0 and state[purse] <= 0:
        return
    dx, dy = state[at + F_DX], state[at + F_DY]
    x = state[at + F_X] + dx * TILE
    y = state[at + F_Y] + dy * TILE
    shot = give_birth(game, state, cells, work, child, x, y, False)
    if shot >= 0:
        if of_type(game, child, T_ORIENTED):
            state[record_at(game, shot) + F_DX] = dx
            state[record_at(game, shot) + F_DY] = dy
        if ammunition >= 0:
            state[purse] -= 1


@numba.njit(cache=True, nogil=True)
def update_others(game, state, cells, work, stream):
    """Update every sprite but the avatars."""
    for place in range(game[D_UPDATED], game[D_UPDATED_END]):
        kind = game[place]
        count = np.int64(state[HEADER + kind])
        if count == 0:
            continue
        first = record_at(game, first_of(game, kind))
        last = first + (count - 1) * FIELDS
        category = of_type(game, kind, T_CLASS)
        if category < RANDOM_MISSILE:  # IMMOVABLE to MISSILE
            moves = of_type(game, kind, T_MOVES)
            for at in range(first, last + 1, FIELDS):
                begin_update(game, kind, state, at)
                if moves:
                    drift(game, kind, state, at)
            continue
        for at in range(first, last + 1, FIELDS):
            begin_update(game, kind, state, at)
            _update_special(game, state, cells, work, stream, kind, at)


@numba.njit(cache=True, nogil=True)
def _update_special(game, state, cells, work, stream, kind, at):
    category = of_type(game, kind, T_CLASS)
    record = (at - game[D_RECORDS]) // FIELDS
    if category == RANDOM_MISSILE:
        if state[at + F_DX] == UNDRAWN and state[at + F_DY] == UNDRAWN:
            dx, dy = _direction(draw_below(stream, 4))
            state[at + F_DX] = dx
            state[at + F_DY] = dy
        drift(game, kind, state, at)
    elif category in (FLICKER, ORIENTED_FLICKER, SPREADER):
        drift(game, kind, state, at)
        if state[at + F_AGE] > of_type(game, kind, T_LIMIT):
            kill(game, state, work, kind, record)
        state[at + F_AGE] += 1
        if category == SPREADER and state[at + F_AGE] == 2:
            x, y = state[at + F_LAST_X], state[at + F_LAST_Y]
            child = of_type(game, kind, T_CHILD)
            for code in range(4):
                if happens(stream, of_type(game, kind, T_SPREAD)):
                    dx, dy = _direction(code)
                    give_birth(
                        game,
                        state,
                        cells,
                        work,
                        child,
                        x + dx * TILE,
                        y + dy * TILE,
                        False,
                    )
    elif category in (SPAWN_POINT, BOMBER):
        _bring_forth(game, state, cells, work, stream, kind, at)
        if category == BOMBER:
            drift(game, kind, state, at)
        total = of_type(game, kind, T_TOTAL)
        if total > 0 and state[at + F_AGE] >= total:
            kill(game, state, work, kind, record)
    elif category in (RANDOM_NPC, CHASER):
        drift(game, kind, state, at)
        code = -1
        if category == CHASER:
            code = _towards_nearest(game, state, stream, kind, at)
        if code < 0:
            code = _wander(game, state, at, stream, kind)
        if code >= 0:
            dx, dy = _direction(code)
            push(game, kind, state, at, dx, dy, of_type(game, kind, T_ACTIVE_PIXELS))


@numba.njit(cache=True, nogil=True)
def _direction(code):
    """Return (dx, dy) of direction 0 to 3: up, left, down, right."""
    return np.int64(code == 3) - np.int64(code == 1), np.int64(code == 2) - np.int64(code == 0)


@numba.njit(cache=True, nogil=True)
def _bring_forth(game, state, cells, work, stream, kind, at):
    """A SpawnPoint's or Bomber's turn; its records' F_AGE counts the births."""
    tick = state[H_TICK]
    if state[at + F_START] < 0:
        state[at + F_START] = tick
    if (state[at + F_START] + tick) % of_type(game, kind, T_COOLDOWN) != 0:
        return
    if not happens(stream, of_type(game, kind, T_PROBABILITY)):
        return
    x, y = state[at + F_X], state[at + F_Y]
    child = of_type(game, kind, T_CHILD)
    born = give_birth(game, state, cells, work, child, x, y, False)
    if born < 0:
        return
    state[at + F_AGE] += 1
    born_at = record_at(game, born)
    if of_type(game, kind, T_CHILD_ORIENTED):
        state[born_at + F_DX] = of_type(game, kind, T_CHILD_DX)
        state[born_at + F_DY] = of_type(game, kind, T_CHILD_DY)
    elif state[born_at + F_DX] == 0 and state[born_at + F_DY] == 0:
        state[born_at + F_DX] = state[at + F_DX]
        state[born_at + F_DY] = state[at + F_DY]


@numba.njit(cache=True, nogil=True)
def _wander(game, state, at, stream, kind):
    """Return a RandomNPC's direction, -1 while it has none; F_START keeps it, F_AGE its use."""
    if state[at + F_AGE] < of_type(game, kind, T_CONS):
        state[at + F_AGE] += 1
        return np.int64(state[at + F_START])
    state[at + F_AGE] = 0
    code = draw_below(stream, 4)
    state[at + F_START] = code
    return code


@numba.njit(cache=True, nogil=True)
def _towards_nearest(game, state, stream, kind, at):
    """Return a direction that brings a Chaser nearer to one of its nearest targets, -1 if none.

    Distances are Manhattan, between corners. Each of the nearest targets adds every direction in
    which one pixel brings it nearer; one is drawn from all of them.
    """
    x, y = state[at + F_X], state[at + F_Y]
    nearest = np.int64(1) << 40
    votes_up = votes_left = votes_down = votes_right = 0
    for place in range(of_type(game, kind, T_TARGETS), of_type(game, kind, T_TARGETS_END)):
        target = game[place]
        first = record_at(game, first_of(game, target))
        last = first + (np.int64(state[HEADER + target]) - 1) * FIELDS
        for other in range(first, last + 1, FIELDS):
            across = state[other + F_X] - x
            down = state[other + F_Y] - y
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
    if of_type(game, kind, T_DISTANCE) >= 0 and nearest > of_type(game, kind, T_DISTANCE):
        return np.int64(-1)
    votes = votes_up + votes_left + votes_down + votes_right
    if votes == 0:
        return np.int64(-1)
    drawn = draw_below(stream, votes)
    if drawn < votes_up:
        return np.int64(0)
    if drawn < votes_up + votes_left:
        return np.int64(1)
    if drawn < votes_up + votes_left + votes_down:
        return np.int64(2)
    return np.int64(3)
