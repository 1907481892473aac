"""How often each character occurs in each of many levels.

Letters: M = levels, H, W = rows and columns.
"""

from __future__ import annotations

import numba


@numba.njit(cache=True, nogil=True)
def count_characters(codes_MHW, counts):
    """Add the number of times that each code occurs in each level to counts, int64 (M, 256)."""
    n, height, width = codes_MHW.shape
    for level in range(n):
        for row in range(height):
            for column in range(width):
                counts[level, codes_MHW[level, row, column]] += 1
