"""Zelda's level generator; what it draws is told in `kernels/zelda.py`."""

from __future__ import annotations

from sidle.ppcg.generators.generator import Generator
from sidle.ppcg.generators.kernels import zelda as kernels

GENERATOR = Generator("zelda", (kernels.HEIGHT, kernels.WIDTH), kernels.fill)
"""Mazes of 13 x 9: fewer walls taken out, more monsters, key and exit farther with difficulty."""
