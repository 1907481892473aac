"""What is seen of a level, from its state in words.

Slow and obvious. A state is what `Engine.state` returns; games are read by `compiling.describe`.
"""

import math

import numpy as np

ORIENTED = (
    "Missile", "RandomMissile", "Bomber", "OrientedFlicker", "ShootAvatar", "OngoingAvatar",
    "OrientedAvatar", "MissileAvatar",
)  # fmt: skip


def observation(game, state, height, width):
    """The planes that the documentation of the engine promises, int8 (C, H, W).

    Without those of orientation and offset, which are 0 here: see `motions`.
    """
    planes = np.zeros((len(game.channels), height, width), np.int8)
    plane = dict(zip(game.channels, planes, strict=True))
    for kind, x, y, *extras in state["sprites"]:
        row, column = cell_of(x, y)
        if 0 <= row < height and 0 <= column < width:
            planes[game.types.index(kind), row, column] = 1
        if game.types.index(kind) in game.avatars() and not (extras and "disabled" in extras[0]):
            for resource in game.resources:
                held = extras[0].get("res", {}).get(resource, 0) if extras else 0
                plane[f"resource:{resource}"][:] = min(held, 127)
            if "health" in plane:
                plane["health"][:] = min(extras[0].get("hp", 0) if extras else 0, 127)
    return planes


def motions(game, state, ignored):
    """What may be seen in each cell of orientation and offset: {(row, column): {(dx, dy, x, y)}}.

    Where sprites share a cell, the type defined last is seen; of its sprites any one may be, since
    a state does not tell who was born last. Types in ``ignored`` never are.
    """
    found = {}
    for number, name in enumerate(game.types):
        here = {}
        for kind, x, y, *extras in state["sprites"]:
            if kind == name and name not in ignored:
                row, column = cell_of(x, y)
                facing = (
                    extras[0].get("ori", (0, 0)) if extras and is_oriented(game, number) else (0, 0)
                )
                here.setdefault((row, column), set()).add((*facing, x - 10 * column, y - 10 * row))
        found |= here
    return found


def cell_of(x, y):
    """Row and column of the cell that a sprite at (x, y) has its centre in."""
    return math.floor((y + 5) / 10), math.floor((x + 5) / 10)


def is_oriented(game, number):
    """Whether the class of a type has a direction, or its definition gives it one."""
    return game.classes[number] in ORIENTED or "orientation" in game.parameters[number]
