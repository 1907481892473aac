"""Pictures put onto a frame.

Letters: S = sprites, P = pictures, T = pixels of a tile's side, H, W = pixels of the frame.
"""

from __future__ import annotations

import numba


@numba.njit(cache=True, nogil=True)
def put_pictures(frame_HW3, pictures_PTT4, index_S, left_S, top_S):
    """Blend pictures onto a frame one after the other; what lies outside is left out.

    Preconditions: uint8 frame and pictures (straight alpha), int64 index, left and top;
    0 <= index < P.
    """
    height, width = frame_HW3.shape[0], frame_HW3.shape[1]
    tile = pictures_PTT4.shape[1]
    for s in range(len(index_S)):
        picture = pictures_PTT4[index_S[s]]
        left, top = left_S[s], top_S[s]
        for row in range(max(0, -top), min(tile, height - top)):
            for column in range(max(0, -left), min(tile, width - left)):
                alpha = int(picture[row, column, 3])
                if alpha == 0:
                    continue
                for band in range(3):
                    old = int(frame_HW3[top + row, left + column, band])
                    new = int(picture[row, column, band])
                    mixed = (new * alpha + old * (255 - alpha) + 127) // 255
                    frame_HW3[top + row, left + column, band] = mixed
