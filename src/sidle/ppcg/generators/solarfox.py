"""Solarfox's level generator; what it draws is told in `kernels/solarfox.py`."""

from __future__ import annotations

from sidle.ppcg.generators.generator import Generator
from sidle.ppcg.generators.kernels import solarfox as kernels

GENERATOR = Generator("solarfox", (kernels.HEIGHT, kernels.WIDTH), kernels.fill)
"""Symmetric gems in a room of 8 x 9: more of them, more widely spread with difficulty."""
