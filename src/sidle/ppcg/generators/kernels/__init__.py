"""Compiled level generators: one stream of random bits in, one grid of characters out."""

from pathlib import Path

from sidle.ppcg.compiled import forget_stale

forget_stale(Path(__file__).parent)
