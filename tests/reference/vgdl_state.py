"""What follows from the state of a level in words: its observation, and whether it is over.

Slow and obvious. A state is what `Engine.state` returns; games are read by `compiling.describe`.
"""

import math

import numpy as np


def observation(game, state, height, width):
    """The planes that the documentation of the engine promises, int8 (C, H, W)."""
    planes = np.zeros((len(game.channels), height, width), np.int8)
    plane = dict(zip(game.channels, planes, strict=True))
    for number, name in enumerate(game.types):
        for kind, x, y, *_ in state["sprites"]:
            column, row = math.floor((x + 5) / 10), math.floor((y + 5) / 10)
            if kind == name and 0 <= row < height and 0 <= column < width:
                planes[number, row, column] = 1
                if is_still(game, number):
                    continue
                plane["offset_x"][row, column] = x - 10 * column
                plane["offset_y"][row, column] = y - 10 * row
    for kind, _, _, *extras in state["sprites"]:
        if game.types.index(kind) in game.avatars() and not (extras and "disabled" in extras[0]):
            for resource in game.resources:
                held = extras[0].get("res", {}).get(resource, 0) if extras else 0
                plane[f"resource:{resource}"][:] = min(held, 127)
            if "health" in plane:
                plane["health"][:] = min(extras[0].get("hp", 0) if extras else 0, 127)
    return planes


def is_still(game, number):
    return game.classes[number] in ("Immovable", "Door", "Passive", "Resource", "SpawnPoint")


def verdict(description, counts, tick, most_ticks):
    """(over, won) by the terminations of a game, given the living sprites of each name."""
    for ending in description.endings:
        given = ending.parameters
        limit = given.get("limit", 0)
        names = [given[key] for key in ("stype", "stype1", "stype2", "stype3") if key in given]
        count = sum(counts(name) for name in names)
        holds = {
            "SpriteCounter": count <= limit,
            "MultiSpriteCounter": count >= limit if given.get("min") else count == limit,
            "Timeout": tick >= limit,
        }[ending.kind]
        if holds:
            return True, given["win"]
    return tick >= most_ticks, False
