"""Features of latents become features of sequences, padding left out.

Letters: B = sequences; T = steps; U = sites; F = features.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from sidle.errors import ArgumentError, ShapeError

Pool = Literal["mean", "max", "last", "quarters"] | int | None


def pooled(features: Tensor, length_B: Tensor | None, pool: Pool) -> Tensor:
    """Return features of sequences.

    Args:
        features: (B, T, F) or (B, T, U, F); of images T is rows and U columns of patches.
        length_B: int64, steps of each sequence; None: T.
        pool: None: as they are, 0 behind the end of a sequence; "mean", "max": over steps and
            sites; "last": of the last step, the mean over sites; a number k: means over sites and
            over segment j of k, steps j n / k up to (j + 1) n / k of the n a sequence has, side by
            side. A segment in which no step begins is taken for the step it lies in. "quarters", of
            images: means over the upper left, upper right, lower left and lower right quarter, side
            by side; those of an odd number of rows or columns share the middle one.

    Returns:
        The shape of the features without pooling, else (B, F), (B, k F) or (B, 4 F).

    Raises:
        ArgumentError: another way of pooling.
        ShapeError: a sequence without a step to pool.
    """
    if isinstance(pool, int) and not isinstance(pool, bool) and pool >= 1:
        n_segments = pool
    elif pool in (None, "mean", "max", "last", "quarters"):
        n_segments = 0
    else:
        raise ArgumentError(
            f"pool must be None, mean, max, last, quarters or a number of segments, got {pool!r}."
        )
    if pool == "quarters":
        return _quarters(features, length_B)
    B, T = features.shape[:2]
    length_B = torch.full((B,), T) if length_B is None else length_B.cpu()
    if pool is not None and bool((length_B < 1).any()):
        raise ShapeError(
            f"sequence {int((length_B < 1).nonzero()[0])} has no latent to pool. Give longer ones."
        )
    features_BTUF = features[:, :, None] if features.ndim == 3 else features
    is_step_BT = (torch.arange(T) < length_B[:, None]).to(features.device)
    kept_BTUF = features_BTUF.masked_fill(~is_step_BT[:, :, None, None], 0)
    if pool is None:
        return kept_BTUF.reshape(features.shape)
    if pool == "max":
        lowest = torch.finfo(features.dtype).min
        return features_BTUF.masked_fill(~is_step_BT[:, :, None, None], lowest).amax((1, 2))
    step_BTF = kept_BTUF.mean(2)
    if pool == "last":
        return step_BTF[torch.arange(B, device=features.device), (length_B - 1).to(features.device)]
    if pool == "mean":
        n_segments = 1
    edge_K = torch.arange(n_segments)
    first_BK = (edge_K * length_B[:, None]) // n_segments
    last_BK = torch.maximum(((edge_K + 1) * length_B[:, None]) // n_segments, first_BK + 1)
    # Segments as sums of steps: a matrix of zeros and shares.
    time_T = torch.arange(T)
    inside_BKT = (time_T >= first_BK[..., None]) & (time_T < last_BK[..., None])
    share_BKT = inside_BKT / inside_BKT.sum(2, keepdim=True)
    return torch.bmm(share_BKT.to(step_BTF), step_BTF).flatten(1)


def _quarters(features: Tensor, length_B: Tensor | None) -> Tensor:
    if features.ndim != 4 or length_B is not None:
        raise ShapeError(
            "pool: quarters are of images, features (B, R, C, F) without lengths, got "
            f"{tuple(features.shape)}."
        )
    quarter_BF22 = functional.adaptive_avg_pool2d(features.permute(0, 3, 1, 2), 2)
    return quarter_BF22.permute(0, 2, 3, 1).flatten(1)
