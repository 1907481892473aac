"""Play every game in the interpreter, with kernels that may not leave their arrays.

Compiled kernels work on plain addresses, so that nothing checks their indices. Here an address is
an array that knows its ends, and Numba compiles nothing. Prints the games' names; the first index
outside of its array raises IndexError.
"""

import os

os.environ["NUMBA_DISABLE_JIT"] = "1"

import warnings

import numpy as np

from sidle.ppcg import games, playable
from sidle.ppcg.kernels import memory

TICKS = 30


class Strict:
    """A stretch of an array, from its beginning on."""

    def __init__(self, array):
        self.array = array

    def _checked(self, place):
        if not 0 <= place < len(self.array):
            raise IndexError(f"{place} is not among 0 to {len(self.array) - 1}")
        return place

    def __getitem__(self, place):
        return self.array[self._checked(place)]

    def __setitem__(self, place, value):
        self.array[self._checked(place)] = value


memory.address = lambda array: Strict(array.reshape(-1))
memory.ahead = lambda start, count: Strict(start.array[start._checked(count) :])

from sidle.ppcg.engine import Engine  # noqa: E402 (kernels take these two by name)


def main():
    # Streams of random numbers overflow on purpose.
    warnings.simplefilter("ignore", RuntimeWarning)
    for name in games.names():
        stage = playable.find(name)
        height, width = stage.shape
        rng = np.random.default_rng(0)
        # One slot: the end of its memory is the end of the array.
        engine = Engine(stage.game, 1, height=height, width=width, seed=0)
        generated = stage.game.level(stage.generator.generate(1.0, 0))
        for level in (stage.levels[0], stage.levels[4], generated):
            engine.reset(level)
            for _ in range(TICKS):
                engine.step(rng.integers(len(stage.game.actions), size=1))
        print(name, flush=True)


main()
