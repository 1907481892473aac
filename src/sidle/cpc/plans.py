"""Index plans: which latents are the negatives of which anchor, to be printed and to be tested.

A plan is made by a policy (`sidle.cpc.negatives`) before any score is computed. It is all that the
loss knows of negatives, so that what a plan says is what happens.

Letters: as `sidle.cpc.positions`; P = negatives of an anchor; G = 1 where all steps share an
anchor's negatives, else S.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from sidle.cpc.positions import Positions
from sidle.errors import ArgumentError

_SHOWN_ANCHORS, _SHOWN_NEGATIVES = 3, 8


@dataclass(frozen=True, eq=False)
class NegativePlan:
    """The negatives of every anchor.

    Attributes:
        positions: the batch they lie in.
        policy: what made the plan, in words.
        index_GNP: int64 (G, N, P), places in the pool; 0 where the mask is False. None: all of the
            pool but each step's own positive.
        mask_GNP: bool (G, N, P), which are negatives; None: all. Only these two may lie on another
            device than the CPU.
        n_negatives_GN: int64 (G, N) or (1, 1) on the CPU, how many there are; None: counted.
        guaranteed: whether log N minus the loss is a lower bound on the information, for sequences
            that are independent of each other and stationary.
        n_candidates_SN: int64 (S, N), N of every softmax: its negatives and its positive.
        weight_SN: float32 (S, N), share of each loss in the loss of its step: equal for all that
            have a positive and a negative, else 0. Rows sum to 1, or to 0 where there are none.

    Raises:
        ArgumentError: no anchor has a negative.
    """

    positions: Positions
    policy: str
    index_GNP: Tensor | None
    mask_GNP: Tensor | None = None
    n_negatives_GN: Tensor | None = None
    guaranteed: bool = False
    n_candidates_SN: Tensor = field(init=False)
    weight_SN: Tensor = field(init=False)

    def __post_init__(self) -> None:
        positive_SN = self.positions.positive_SN
        n_negatives_GN = self.n_negatives_GN
        if n_negatives_GN is None:
            n_negatives_GN = self._count()
            object.__setattr__(self, "n_negatives_GN", n_negatives_GN)
        told_SN = (positive_SN >= 0) & (n_negatives_GN > 0)
        weight_SN = told_SN.to(torch.float32)
        weight_SN /= weight_SN.sum(1, keepdim=True).clamp_min(1)
        object.__setattr__(self, "n_candidates_SN", (n_negatives_GN + 1).expand(positive_SN.shape))
        object.__setattr__(self, "weight_SN", weight_SN)
        if not bool(told_SN.any()):
            raise ArgumentError(
                f"{self.policy} finds no negatives: the batch holds {len(self.positions.length_B)} "
                f"sequences and {self.positions.n_latents} latents, none of which it allows. Put "
                "more sequences into a batch, or choose another policy."
            )

    def _count(self) -> Tensor:
        if self.index_GNP is None:
            return torch.tensor([[self.positions.n_latents - 1]])
        if self.mask_GNP is None:
            return torch.tensor([[self.index_GNP.shape[2]]])
        return self.mask_GNP.sum(2)

    @property
    def effective_S(self) -> Tensor:
        """Effective N of each step: the mean number of candidates, the positive included, (S,)."""
        return (self.n_candidates_SN * self.weight_SN).sum(1)

    @property
    def ceiling_S(self) -> Tensor:
        """Mean log N of each step, in nats, (S,): what the bound cannot exceed."""
        return (self.n_candidates_SN.to(torch.float64).log() * self.weight_SN).sum(1).float()

    def negatives(self, step: int, anchor: int) -> Tensor:
        """Return the negatives of one softmax, places in the pool, int64.

        Args:
            step: which of the steps, from 0.
            anchor: which anchor, from 0.
        """
        if self.index_GNP is None:
            everything = torch.arange(self.positions.n_latents)
            return everything[everything != self.positions.positive_SN[step, anchor]]
        g = step if len(self.index_GNP) > 1 else 0
        index_P = self.index_GNP[g, anchor].cpu()
        return index_P if self.mask_GNP is None else index_P[self.mask_GNP[g, anchor].cpu()]

    def check(self) -> None:
        """Look at every softmax that counts.

        Raises:
            ArgumentError: one has its positive, or a copy of it, or the same twice among its
                negatives, or something that is not in the pool.
        """
        positions = self.positions
        positive_SN, item_M = positions.positive_SN, positions.item_M
        for step, anchor in self.weight_SN.nonzero().tolist():
            index_P = self.negatives(step, anchor)
            if not bool(((index_P >= 0) & (index_P < positions.n_latents)).all()):
                raise ArgumentError(f"anchor {anchor}, step {step}: a negative is not in the pool.")
            item_P = item_M[index_P]
            if bool((item_P == item_M[positive_SN[step, anchor]]).any()):
                raise ArgumentError(f"anchor {anchor}, step {step}: its positive is a negative.")
            if len(torch.unique(item_P)) < len(item_P):
                raise ArgumentError(f"anchor {anchor}, step {step}: a negative occurs twice.")

    def __str__(self) -> str:
        positions = self.positions
        lines = [
            f"{self.policy}: {len(positions.anchor_N)} anchors in {len(positions.length_B)} "
            f"sequences, a pool of {positions.n_latents} latents",
            f"{'step':>6}{'softmaxes':>11}{'N':>9}{'ceiling':>15}",
        ]
        counted_S = (self.weight_SN > 0).sum(1).tolist()
        rows = zip(
            positions.steps, counted_S, self.effective_S.tolist(), self.ceiling_S.tolist(),
            strict=True,
        )  # fmt: skip
        lines += [f"{k:>6}{n:>11}{mean:>9.1f}{top:>10.3f} nats" for k, n, mean, top in rows]
        counted_N = self.weight_SN.sum(0).nonzero().squeeze(1)
        for anchor in counted_N[:_SHOWN_ANCHORS].tolist():
            step = int(self.weight_SN[:, anchor].nonzero()[0])
            negative_P = self.negatives(step, anchor)
            shown = " ".join(self._named(m) for m in negative_P[:_SHOWN_NEGATIVES].tolist())
            more = len(negative_P) - _SHOWN_NEGATIVES
            lines.append(
                f"{self._named(int(positions.anchor_N[anchor]))}, {positions.steps[step]} ahead: "
                f"positive {self._named(int(positions.positive_SN[step, anchor]))}, negatives "
                f"{shown}{f' and {more} more' if more > 0 else ''}"
            )
        return "\n".join(lines)

    def _named(self, m: int) -> str:
        """Return ``sequence:time``, or ``sequence:time:site`` where there are several."""
        parts = [self.positions.sequence_M[m], self.positions.time_M[m]]
        parts += [self.positions.site_M[m]] if self.positions.n_sites > 1 else []
        return ":".join(str(int(part)) for part in parts)
