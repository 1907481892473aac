"""Windows of the observation planes around each avatar.

Letters: N = levels, C = planes, H, W = rows and columns of a level, K = side of a window (odd).
"""

from __future__ import annotations

import numba


@numba.njit(cache=True, nogil=True)
def crop(planes, avatars, centres, out):
    """Copy a window around the avatar of each level.

    planes is int8 (N, C, H, W), avatars int64 (A,) the planes of avatar types, centres int64
    (N, 2) the last known row and column of each avatar, updated here, out int8 (N, C, K, K). What
    lies outside of the level is 0. An avatar that is gone is taken to be where it was last.
    """
    n, n_channels, height, width = planes.shape
    side = out.shape[2]
    reach = side // 2
    for level in range(n):
        is_found = False
        for avatar in avatars:
            for row in range(height):
                for column in range(width):
                    if planes[level, avatar, row, column]:
                        centres[level, 0] = row
                        centres[level, 1] = column
                        is_found = True
                        break
                if is_found:
                    break
            if is_found:
                break
        top, left = centres[level, 0] - reach, centres[level, 1] - reach
        first, last = max(0, -left), min(side, width - left)
        for channel in range(n_channels):
            for row in range(side):
                source = top + row
                for column in range(side):
                    out[level, channel, row, column] = 0
                if 0 <= source < height:
                    for column in range(first, last):
                        out[level, channel, row, column] = planes[
                            level, channel, source, left + column
                        ]
