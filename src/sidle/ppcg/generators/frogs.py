"""Frogs's level generator; what it draws is told in `kernels/frogs.py`."""

from __future__ import annotations

from sidle.ppcg.generators.generator import Generator
from sidle.ppcg.generators.kernels import frogs as kernels

GENERATOR = Generator("frogs", (kernels.HEIGHT, kernels.WIDTH), kernels.fill)
"""Streets and rivers to cross: wider, higher, less grass with difficulty; plain grass at 0."""
