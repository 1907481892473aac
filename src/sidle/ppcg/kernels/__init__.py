"""Compiled code of `sidle.ppcg`: the engine that interprets a game's tables."""
