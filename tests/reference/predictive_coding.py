"""Contrastive Predictive Coding written out: one softmax at a time, one negative at a time.

References: [CPC] van den Oord, Li & Vinyals 2018, arXiv:1807.03748, equations 3 and 4.
"""

from __future__ import annotations

import torch
from torch import Tensor


def step_losses(
    z_BTUD: Tensor, context_BTUH: Tensor, weight_SHD: Tensor, plan, temperature: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Return loss and accuracy of each step, (S,), of predictions W_k c against latents."""
    positions = plan.positions
    pool = [
        z_BTUD[b, t, u]
        for b, length in enumerate(positions.length_B.tolist())
        for t in range(length)
        for u in range(positions.n_sites)
    ]
    losses, hits = [], []
    for s, ahead in enumerate(positions.steps):
        of_step, hit = [], []
        for n, anchor in enumerate(positions.anchor_N.tolist()):
            b = int(positions.sequence_M[anchor])
            t, u = int(positions.time_M[anchor]), int(positions.site_M[anchor])
            if t + ahead >= int(positions.length_B[b]):
                continue
            prediction = weight_SHD[s].T @ context_BTUH[b, t, u]
            positive = prediction @ z_BTUD[b, t + ahead, u] / temperature
            others = [prediction @ pool[m] / temperature for m in plan.negatives(s, n).tolist()]
            if not others:
                continue
            of_step.append(torch.logsumexp(torch.stack([positive, *others]), 0) - positive)
            hit.append(float(all(positive > other for other in others)))
        losses.append(torch.stack(of_step).mean())
        hits.append(sum(hit) / len(hit))
    return torch.stack(losses), torch.tensor(hits)
