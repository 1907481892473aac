"""Rollouts as sequences: pieces of episodes, read before Stable-Baselines3 flattens them.

A rollout holds T steps of N environments, which begin new episodes at any of them. It is cut into
B pieces, each of one episode and one environment: what lies in one piece may be predicted from
what lies before it in the same piece, and nothing else.

Letters: T = steps of a rollout; N = environments; B = pieces; L = steps of the longest piece;
R = T N steps of all; C, H, W = channels, rows and columns of an image.
References: [CURL] Laskin, Srinivas & Abbeel 2020, arXiv:2004.04136. [DrQ] Kostrikov, Yarats &
Fergus 2020, arXiv:2004.13649.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sidle.errors import ShapeError

Observations = dict[str, Tensor]  # by key; of a space that is no Dict the only key is ""


@dataclass(frozen=True)
class Pieces:
    """Which steps of a rollout make up which piece.

    Attributes:
        row_BL: int64 (B, L), place t N + n of step t of environment n; 0 behind the end of a piece.
        length_B: int64 (B,), steps of each piece.
        n_steps: R, steps of the whole rollout.
    """

    row_BL: Tensor
    length_B: Tensor
    n_steps: int

    @property
    def mask_BL(self) -> Tensor:
        """Bool (B, L), where a piece has a step."""
        return torch.arange(self.row_BL.shape[1]) < self.length_B[:, None]

    def some(self, index_S: Tensor) -> Pieces:
        """Return the pieces at ``index_S``, int64 (S,)."""
        length_S = self.length_B[index_S]
        longest = int(length_S.max()) if len(length_S) else 0
        return Pieces(self.row_BL[index_S, :longest], length_S, self.n_steps)

    def shuffled(self, generator: torch.Generator) -> Pieces:
        """Return the pieces with the steps of each in random order: no time is left in them."""
        draw_BL = torch.rand(self.row_BL.shape, generator=generator)
        # What lies behind the end of a piece stays there.
        order_BL = draw_BL.masked_fill(~self.mask_BL, 2.0).argsort(dim=1)
        return Pieces(self.row_BL.gather(1, order_BL), self.length_B, self.n_steps)


def cut(episode_starts_TN: npt.NDArray[np.float32], *, shortest: int = 2) -> Pieces:
    """Cut a rollout where episodes begin.

    Args:
        episode_starts_TN: not 0 where step t of environment n is the first of an episode, as
            ``RolloutBuffer.episode_starts`` holds it.
        shortest: pieces with fewer steps are left out, at least 1; with 2 each has something to
            predict.

    Returns:
        Pieces of environment 0 in order, then of environment 1, and so on.

    Raises:
        ShapeError: not an array (T, N).
    """
    if episode_starts_TN.ndim != 2:
        raise ShapeError(
            f"cut: episode_starts must have shape (T, N), got {episode_starts_TN.shape}. "
            "Stable-Baselines3 flattens its buffer when it trains; read it before that."
        )
    T, N = episode_starts_TN.shape
    begins_NT = (episode_starts_TN != 0).T.copy()
    begins_NT[:, :1] = True
    place_B = np.flatnonzero(begins_NT)  # n T + t
    length_B = np.diff(place_B, append=N * T)
    place_B, length_B = place_B[length_B >= shortest], length_B[length_B >= shortest]
    offset_L = np.arange(length_B.max(initial=0))
    slot_B1, step_B1 = place_B[:, None] // T, place_B[:, None] % T
    row_BL = np.where(offset_L < length_B[:, None], (step_B1 + offset_L) * N + slot_B1, 0)
    return Pieces(torch.from_numpy(row_BL), torch.from_numpy(length_B), T * N)


def shifted(image_RCHW: Tensor, most: int, generator: torch.Generator) -> Tensor:
    """Return images moved by up to ``most`` pixels each way, edges repeated [DrQ, section 3.1].

    Args:
        image_RCHW: (R, C, H, W), of any dtype.
        most: at least 0; each image moves by its own draw, from -most to most, in both directions.
        generator: on the CPU.
    """
    R, _, H, W = image_RCHW.shape
    move_R2 = torch.randint(-most, most + 1, (R, 2), generator=generator)
    row_RH = (torch.arange(H) + move_R2[:, :1]).clamp(0, H - 1).to(image_RCHW.device)
    column_RW = (torch.arange(W) + move_R2[:, 1:]).clamp(0, W - 1).to(image_RCHW.device)
    each_R = torch.arange(R, device=image_RCHW.device)
    moved_RHWC = image_RCHW.permute(0, 2, 3, 1)[
        each_R[:, None, None], row_RH[:, :, None], column_RW[:, None, :]
    ]
    return moved_RHWC.permute(0, 3, 1, 2).contiguous()
