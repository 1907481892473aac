"""The generators of the built-in games, by name."""

from __future__ import annotations

import functools

from sidle.ppcg import games
from sidle.ppcg.generators import boulderdash, frogs, solarfox, zelda
from sidle.ppcg.generators.general import from_levels
from sidle.ppcg.generators.generator import Generator

_PAPER = {
    module.GENERATOR.name: module.GENERATOR for module in (zelda, solarfox, frogs, boulderdash)
}

CONSTRUCTIVE = tuple(_PAPER)
"""The games that have the paper's own generator; all others have the general one."""


@functools.cache
def find(name: str) -> Generator:
    """Return the level generator of a built-in game.

    Args:
        name: one of `sidle.ppcg.games.names`.

    Raises:
        ArgumentError: there is no such game.
    """
    game = games.load(name)
    return _PAPER[name] if name in _PAPER else from_levels(name, game.levels)
