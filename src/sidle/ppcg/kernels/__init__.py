"""Compiled code of `sidle.ppcg`: the engine that interprets a game's tables."""

from pathlib import Path

from sidle.ppcg.compiled import forget_stale

forget_stale(Path(__file__).parent)
