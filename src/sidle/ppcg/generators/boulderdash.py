"""Boulderdash's level generator; what it draws is told in `kernels/boulderdash.py`."""

from __future__ import annotations

from sidle.ppcg.generators.generator import Generator
from sidle.ppcg.generators.kernels import boulderdash as kernels

GENERATOR = Generator("boulderdash", (kernels.HEIGHT, kernels.WIDTH), kernels.fill)
"""Caves with gems: larger, with more boulders and enemies and fewer gems with difficulty."""
