"""Slow, obvious versions of InfoNCE as a loss: the whole matrix, and autograd for the rest."""

from __future__ import annotations

import torch


def softmax_loss(positive, negatives, mask=None):
    """-log of the positive's share; positive (...,), negatives (..., P), mask bool (..., P)."""
    if mask is not None:
        negatives = torch.where(mask, negatives, -torch.inf)
    both = torch.cat([positive[..., None], negatives], dim=-1)
    return both.logsumexp(-1) - positive


def info_nce(query_ND, key_MD, positive_NQ, mask_NM=None):
    """Loss of every positive, one query and one positive at a time."""
    scores_NM = query_ND @ key_MD.T
    losses = []
    for i, row in enumerate(positive_NQ.tolist()):
        own = {p for p in row if p >= 0}
        keep = [
            j
            for j in range(len(key_MD))
            if j not in own and (mask_NM is None or bool(mask_NM[i, j]))
        ]
        losses += [softmax_loss(scores_NM[i, p], scores_NM[i, keep]) for p in row if p >= 0]
    return torch.stack(losses)
