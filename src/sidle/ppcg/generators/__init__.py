"""Level generators: the paper's for four games, and a general one for all others.

from sidle.ppcg import generators
grid_HW = generators.find("zelda").generate(difficulty=0.7, seed=1)
"""

from sidle.ppcg.generators.catalogue import CONSTRUCTIVE, find
from sidle.ppcg.generators.general import LONGEST_SIDE, SHORTEST_SIDE, from_levels
from sidle.ppcg.generators.generator import Generator

__all__ = ["CONSTRUCTIVE", "LONGEST_SIDE", "SHORTEST_SIDE", "Generator", "find", "from_levels"]
