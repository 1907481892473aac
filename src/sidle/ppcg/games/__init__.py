"""The built-in games: rules in VGDL, and five levels each, made by hand.

from sidle.ppcg import games
print(games.load("zelda").levels[0])
"""

from sidle.ppcg.games.catalogue import Game, load, names, pad

__all__ = ["Game", "load", "names", "pad"]
