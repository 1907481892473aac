"""Which latents are the negatives: policies, each of which yields an index plan.

    policy = SameGroup(key="speaker", n=128)
    plan = policy.plan(positions, generator)
    print(plan)

A policy says from which sequences the anchors of a sequence may take negatives. Common to all:

- **No positive is a negative.** Where the steps share an anchor's negatives (the default), none of
  its positives is among them; with ``per_step`` each step draws its own and leaves out its own.
- **No negative occurs twice** in a softmax: draws are without replacement. Where the batch says
  which latents are copies of each other (``items``), copies count as one.
- ``n`` is how many are drawn; where fewer are allowed, all of them are taken and the plan says so.
  ``n=None`` takes all that are allowed.
- ``gap`` leaves out latents of the own sequence less than ``gap`` steps from a positive, at any
  site; with 0, only the positives themselves.

The paper's table 2 compares `Mixed`, `SameGroup` ("same speaker"), both with
``exclude_sequence``, and `SameSequence` [CPC]. Only negatives that are independent draws of what
the positive is drawn from make log N minus the loss a lower bound on the information [VBMI, section
2]. Latents of one sequence are not: strictly, ``OtherSequences(one_each=True)`` gives a bound, and
the others an estimate that lies below it as they are harder to tell apart, or above.

Letters: as `sidle.cpc.positions`; P = negatives of an anchor; G = 1 or S; R = permutations; L =
latents that a list holds; W = latents looked at to find P.
References: [CPC] van den Oord, Li & Vinyals 2018, arXiv:1807.03748. [VBMI] Poole et al. 2019,
arXiv:1905.06922. [HCL] Robinson et al. 2021, arXiv:2010.04592.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, final

import torch
from torch import Tensor

from sidle.cpc.plans import NegativePlan
from sidle.cpc.positions import Positions
from sidle.errors import ArgumentError

_MOST_PERMUTED = 2**18  # entries sorted for a plan, beyond one permutation of each list
_CHUNK_SCORES = 2**22  # latents gathered at a time to find hard negatives


@dataclass(frozen=True)
class Policy(ABC):
    """Chooses negatives; see the module.

    Args:
        n: negatives of an anchor, at least 1; None: all that are allowed.
        gap: steps from a positive within which the own sequence has no negatives, at least 0.
        per_step: each step draws its own negatives. Costs as many times more as there are steps.

    Raises:
        ArgumentError: a number is too small.
    """

    n: int | None = 128
    gap: int = 0
    per_step: bool = False

    def __post_init__(self) -> None:
        if (self.n is not None and self.n < 1) or self.gap < 0:
            raise ArgumentError(
                f"{type(self).__name__}: n must be at least 1 or None and gap at least 0, got "
                f"{self.n} and {self.gap}."
            )

    @abstractmethod
    def allowed(self, positions: Positions) -> Tensor:
        """Return bool (B, B): may the anchors of sequence i take negatives from sequence j?

        Raises:
            ArgumentError: the batch does not say what it depends on.
        """

    def plan(self, positions: Positions, generator: torch.Generator) -> NegativePlan:
        """Return which latents are the negatives of which anchor.

        Args:
            positions: the latents of a batch.
            generator: on the CPU; all chance comes from it.

        Raises:
            ArgumentError: the batch does not say what the policy depends on, or no anchor has a
                negative.
        """
        allowed_BB = self.allowed(positions)
        steps = positions.steps
        parts = [
            _draw(self, allowed_BB, positions, some, generator)
            for some in ([(k,) for k in steps] if self.per_step else [steps])
        ]
        index_GNP, mask_GNP = (torch.stack(part) for part in zip(*parts, strict=True))
        # What no anchor has is no negative.
        taken = max(1, int(mask_GNP.sum(2).max()))
        index_GNP, mask_GNP = index_GNP[..., :taken], mask_GNP[..., :taken]
        all_there = bool(mask_GNP.all())
        return NegativePlan(positions, str(self), index_GNP, None if all_there else mask_GNP)

    def narrow(self, plan: NegativePlan, prediction_SND: Tensor, pool_MD: Tensor) -> NegativePlan:
        """Return the plan that remains once predictions and latents are known; here, the same."""
        return plan

    def __str__(self) -> str:
        told = [
            f"{part.name}={getattr(self, part.name)!s}"
            for part in dataclasses.fields(self)
            if part.name in ("n", "key") or getattr(self, part.name) != part.default
        ]
        return f"{type(self).__name__}({', '.join(told)})"


@final
@dataclass(frozen=True)
class Mixed(Policy):
    """Any latent of the batch.

    With ``n=None`` all of it: scores are then one matrix product, and each step leaves out only its
    own positive.

    Args:
        exclude_sequence: leave out the anchor's own sequence, as `OtherSequences`.
    """

    exclude_sequence: bool = False

    def allowed(self, positions: Positions) -> Tensor:
        """Return all, or all but the diagonal."""
        B = len(positions.length_B)
        return _others(B) if self.exclude_sequence else torch.ones(B, B, dtype=torch.bool)

    def plan(self, positions: Positions, generator: torch.Generator) -> NegativePlan:
        """Return which latents are the negatives of which anchor; see `Policy.plan`."""
        if (
            self.n is None
            and not self.exclude_sequence
            and not self.gap
            and positions.items is None
        ):
            return NegativePlan(positions, str(self), None)
        return super().plan(positions, generator)


@final
@dataclass(frozen=True)
class SameSequence(Policy):
    """Latents of the anchor's own sequence."""

    def allowed(self, positions: Positions) -> Tensor:
        """Return the diagonal."""
        return torch.eye(len(positions.length_B), dtype=torch.bool)


@final
@dataclass(frozen=True)
class TimeGap(Policy):
    """Latents of the anchor's own sequence, at least ``gap`` steps from all of its positives."""

    gap: int = 8

    def allowed(self, positions: Positions) -> Tensor:
        """Return the diagonal."""
        return torch.eye(len(positions.length_B), dtype=torch.bool)


@final
@dataclass(frozen=True)
class OtherSequences(Policy):
    """Latents of other sequences than the anchor's.

    Args:
        one_each: at most one of each sequence, at a random place: independent draws, where
            sequences are independent, so that log N minus the loss is a lower bound on the
            information of stationary sequences. Needs n below the number of sequences.
    """

    one_each: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.one_each and self.n is None:
            raise ArgumentError(
                "OtherSequences: one_each draws a number of sequences; give n, not None."
            )

    def allowed(self, positions: Positions) -> Tensor:
        """Return all but the diagonal."""
        return _others(len(positions.length_B))

    def plan(self, positions: Positions, generator: torch.Generator) -> NegativePlan:
        """Return which latents are the negatives of which anchor; see `Policy.plan`."""
        if not self.one_each:
            return super().plan(positions, generator)
        n_groups = len(positions.steps) if self.per_step else 1
        parts = [_one_each(self.n or 1, positions, generator) for _ in range(n_groups)]
        index_GNP, mask_GNP = (torch.stack(part) for part in zip(*parts, strict=True))
        all_there = bool(mask_GNP.all())
        return NegativePlan(
            positions, str(self), index_GNP, None if all_there else mask_GNP, guaranteed=all_there
        )


@final
@dataclass(frozen=True)
class SameGroup(Policy):
    """Latents of sequences of the anchor's group: the same speaker, document, level.

    Args:
        key: which of the batch's ``groups``.
        exclude_sequence: leave out the anchor's own sequence.
    """

    key: str = "speaker"
    exclude_sequence: bool = False

    def allowed(self, positions: Positions) -> Tensor:
        """Return where two sequences have one group."""
        group_B = positions.group(self.key)
        same_BB = group_B[:, None] == group_B
        return same_BB & _others(len(group_B)) if self.exclude_sequence else same_BB


@final
@dataclass(frozen=True)
class Hard(Policy):
    """Of what another policy draws, the negatives that look most like the positive [HCL].

    For every step and anchor, those with the highest scores are kept. Log N minus the loss is no
    bound then.

    Args:
        n: how many are kept, at least 1.
        candidates: draws what they are chosen from; its ``gap`` and ``per_step`` count.
    """

    n: int | None = 16
    candidates: Policy = field(default_factory=Mixed)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n is None or self.gap or self.per_step or isinstance(self.candidates, Hard):
            raise ArgumentError(
                "Hard: give n, and gap and per_step to the candidates, which may be any policy but "
                "Hard."
            )

    def allowed(self, positions: Positions) -> Tensor:
        """Return what the candidates' policy allows."""
        return self.candidates.allowed(positions)

    def plan(self, positions: Positions, generator: torch.Generator) -> NegativePlan:
        """Return the candidates; `narrow` chooses among them."""
        return self.candidates.plan(positions, generator)

    @torch.no_grad()
    def narrow(self, plan: NegativePlan, prediction_SND: Tensor, pool_MD: Tensor) -> NegativePlan:
        """Return the plan of the candidates with the highest scores.

        Args:
            plan: of the candidates, index and mask on the device of the scores.
            prediction_SND: the prediction of each step at each anchor.
            pool_MD: the latents.
        """
        kept = self.n or 1
        n_negatives_GN = plan.n_negatives_GN
        assert n_negatives_GN is not None
        index_SNP, mask_SNP = _hardest(plan, prediction_SND, pool_MD, kept)
        # Known without waiting for the scores.
        whole = bool((n_negatives_GN >= kept).all())
        return NegativePlan(
            plan.positions,
            f"{self} of {plan.policy}",
            index_SNP,
            None if whole else mask_SNP,
            n_negatives_GN.clamp_max(kept).expand(len(index_SNP), index_SNP.shape[1]),
        )


POLICIES: Mapping[str, type[Policy]] = {
    kind.__name__: kind for kind in (Mixed, SameSequence, OtherSequences, SameGroup, TimeGap, Hard)
}


def policy_as_dict(policy: Policy) -> dict[str, Any]:
    """Return a policy of this module as a tree of plain values.

    Raises:
        ArgumentError: the policy is of another kind.
    """
    if POLICIES.get(type(policy).__name__) is not type(policy):
        raise ArgumentError(
            f"{type(policy).__name__} is no policy of sidle.cpc.negatives, so that a file could "
            "not say what it is."
        )
    values = {part.name: getattr(policy, part.name) for part in dataclasses.fields(policy)}
    return {"policy": type(policy).__name__} | {
        name: policy_as_dict(value) if isinstance(value, Policy) else value
        for name, value in values.items()
    }


def policy_of_dict(tree: Mapping[str, Any]) -> Policy:
    """Return the policy that `policy_as_dict` turned into a tree.

    Raises:
        ArgumentError: it is none that this version knows.
    """
    kind = POLICIES.get(str(tree.get("policy")))
    values = {name: value for name, value in tree.items() if name != "policy"}
    if kind is None or set(values) != {part.name for part in dataclasses.fields(kind)}:
        raise ArgumentError(f"no policy of negatives is written as {dict(tree)}.")
    found: Any = kind
    policy: Policy = found(**{
        name: policy_of_dict(value) if isinstance(value, Mapping) else value
        for name, value in values.items()
    })  # fmt: skip
    return policy


def _others(n: int) -> Tensor:
    return ~torch.eye(n, dtype=torch.bool)


def _draw(
    policy: Policy,
    allowed_BB: Tensor,
    positions: Positions,
    steps: tuple[int, ...],
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Return negatives of each anchor that are none of its positives, (N, P), and a mask.

    Each sequence's latents are put in a random order once, or a few times; an anchor takes the
    first P in it that it may, from a random place on and around the end. Each anchor's negatives
    are thus a random subset, all subsets alike; those of two anchors are not independent.
    """
    list_N, permuted_RL, length_R = _permutations(allowed_BB, positions, generator, policy.n)
    anchor_N = positions.anchor_N
    longest = permuted_RL.shape[1]
    n_excluded = _most_excluded(policy.gap, steps, positions)
    wanted = longest if policy.n is None else policy.n
    W = min(longest, wanted + n_excluded)
    length_N = length_R[list_N]
    offset_W = torch.arange(W)
    if policy.n is None:
        place_NW = offset_W.expand(len(anchor_N), W)
    else:
        draw_N = torch.rand(len(anchor_N), generator=generator, dtype=torch.float64)
        first_N = (draw_N * length_N).long()
        place_NW = (first_N[:, None] + offset_W) % length_N.clamp_min(1)[:, None]
    index_NW = permuted_RL[list_N[:, None], place_NW]
    may_NW = (offset_W < length_N[:, None]) & ~_excluded(index_NW, policy.gap, steps, positions)
    # The first `wanted` that may: each goes to the place of its rank, what is left to a last one.
    rank_NW = may_NW.cumsum(1) - 1
    n_kept = min(wanted, W)
    rank_NW = torch.where(may_NW & (rank_NW < n_kept), rank_NW, n_kept)
    index_NP = torch.zeros(len(anchor_N), n_kept + 1, dtype=torch.int64)
    index_NP.scatter_(1, rank_NW, index_NW)
    mask_NP = torch.arange(n_kept) < may_NW.sum(1, keepdim=True)
    return torch.where(mask_NP, index_NP[:, :n_kept], 0), mask_NP


def _permutations(
    allowed_BB: Tensor, positions: Positions, generator: torch.Generator, n: int | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return each anchor's list, int64 (N,), and the lists in random order, (R, L), with lengths.

    Sequences that may take the same negatives share lists.
    """
    rows_LB, list_B = torch.unique(allowed_BB, dim=0, return_inverse=True)
    sole_M = _first_of_its_kind(positions.item_M)
    in_list_LM = rows_LB[:, positions.sequence_M] & sole_M
    length_L = in_list_LM.sum(1)
    longest = max(1, int(length_L.max()))
    list_E, member_E = in_list_LM.nonzero(as_tuple=True)
    before_L = length_L.cumsum(0) - length_L
    members_LL = torch.zeros(len(rows_LB), longest, dtype=torch.int64)
    members_LL[list_E, torch.arange(len(list_E)) - before_L[list_E]] = member_E
    sequence_N = positions.sequence_M[positions.anchor_N]
    if n is None:
        return list_B[sequence_N], members_LL, length_L
    copies = max(1, min(len(list_B), _MOST_PERMUTED // members_LL.numel()))
    list_R = torch.arange(len(rows_LB)).repeat_interleave(copies)
    key_RL = torch.rand(len(list_R), longest, generator=generator)
    behind_RL = torch.arange(longest) >= length_L[list_R][:, None]
    order_RL = key_RL.masked_fill_(behind_RL, 2.0).argsort(dim=1)
    list_N = list_B[sequence_N] * copies + sequence_N % copies
    return list_N, members_LL[list_R].gather(1, order_RL), length_L[list_R]


def _first_of_its_kind(item_M: Tensor) -> Tensor:
    """Return bool (M,): is no earlier latent a copy of this one?"""
    _, kind_M = torch.unique(item_M, return_inverse=True)
    M = len(item_M)
    first_K = torch.full((M,), M).scatter_reduce_(0, kind_M, torch.arange(M), "amin")
    return first_K[kind_M] == torch.arange(M)


def _most_excluded(gap: int, steps: tuple[int, ...], positions: Positions) -> int:
    """Return how many latents of a list an anchor may have to pass over at most."""
    own = len(_near(gap, steps)) * (positions.n_sites if gap else 1)
    return own + (len(steps) if positions.items is not None else 0)


def _near(gap: int, steps: tuple[int, ...]) -> set[int]:
    """Return how far ahead of the anchor no negative may lie in its own sequence."""
    reach = max(gap - 1, 0)
    return {k + d for k in steps for d in range(-reach, reach + 1)}


def _excluded(index_NW: Tensor, gap: int, steps: tuple[int, ...], positions: Positions) -> Tensor:
    """Return where a latent is a positive of the anchor, near one, or a copy of one."""
    anchor_N1 = positions.anchor_N[:, None]
    ahead_NW = positions.time_M[index_NW] - positions.time_M[anchor_N1]
    T = positions.n_times
    near_A = torch.zeros(2 * T + 1, dtype=torch.bool)  # by how far ahead, from -T to T
    for ahead in _near(gap, steps):
        if abs(ahead) <= T:
            near_A[ahead + T] = True
    excluded_NW = near_A[ahead_NW + T]
    excluded_NW &= positions.sequence_M[index_NW] == positions.sequence_M[anchor_N1]
    if not gap:
        excluded_NW &= positions.site_M[index_NW] == positions.site_M[anchor_N1]
    if positions.items is not None:
        item_NW = positions.item_M[index_NW]
        for step in steps:
            positive_N = positions.positive_SN[positions.steps.index(step)]
            copied_N = positions.item_M[positive_N.clamp_min(0)]
            excluded_NW |= (item_NW == copied_N[:, None]) & (positive_N >= 0)[:, None]
    return excluded_NW


def _one_each(n: int, positions: Positions, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return a latent at random of each of n other sequences at random, (N, P), and a mask."""
    length_B = positions.start_B.diff()
    sequence_N = positions.sequence_M[positions.anchor_N]
    N, B = len(sequence_N), len(length_B)
    if n > B - 1:
        raise ArgumentError(
            f"OtherSequences(one_each=True): n must be below the number of sequences in a batch, "
            f"got {n} and {B}. Draw fewer, or put more sequences into a batch."
        )
    key_NB = torch.rand(N, B, generator=generator)
    key_NB[torch.arange(N), sequence_N] = 2.0
    key_NB[:, length_B == 0] = 2.0
    chosen_NP = key_NB.argsort(dim=1)[:, :n]
    mask_NP = key_NB.gather(1, chosen_NP) < 2
    draw_NP = torch.rand(N, n, generator=generator, dtype=torch.float64)
    index_NP = positions.start_B[chosen_NP] + (draw_NP * length_B[chosen_NP]).long()
    index_NP = torch.where(mask_NP, index_NP, 0)
    if positions.items is not None:
        # Copies in other sequences: of the positives, and of negatives further to the left.
        mask_NP &= ~_excluded(index_NP, 0, positions.steps, positions)
        item_NP = positions.item_M[index_NP].masked_fill(~mask_NP, -1)
        same_NPP = (item_NP[:, :, None] == item_NP[:, None]) & mask_NP[:, None]
        mask_NP &= ~same_NPP.tril(-1).any(2)
    return torch.where(mask_NP, index_NP, 0), mask_NP


def _hardest(
    plan: NegativePlan, prediction_SND: Tensor, pool_MD: Tensor, kept: int
) -> tuple[Tensor, Tensor]:
    """Return the candidates with the highest scores, (S, N, kept), and which of them exist."""
    S, N, D = prediction_SND.shape
    index_GNP, mask_GNP = plan.index_GNP, plan.mask_GNP
    P = plan.positions.n_latents if index_GNP is None else index_GNP.shape[2]
    kept = min(kept, P - (index_GNP is None))
    found, there = [], []
    rows = max(1, _CHUNK_SCORES // (P * D))
    for s in range(S):
        g = s if index_GNP is not None and len(index_GNP) > 1 else 0
        for some in torch.split(torch.arange(N), N if index_GNP is None else rows):
            part = slice(int(some[0]), int(some[-1]) + 1)
            query_ND = prediction_SND[s, part]
            if index_GNP is None:
                score_NP = query_ND @ pool_MD.T
                own_N = plan.positions.positive_SN[s, part].clamp_min(0).to(pool_MD.device)
                score_NP.scatter_(1, own_N[:, None], -torch.inf)
            else:
                score_NP = torch.einsum("nd,npd->np", query_ND, pool_MD[index_GNP[g, part]])
                if mask_GNP is not None:
                    score_NP.masked_fill_(~mask_GNP[g, part], -torch.inf)
            top_NP = score_NP.topk(kept, dim=1)
            places_NP = top_NP.indices
            if index_GNP is not None:
                places_NP = index_GNP[g, part].gather(1, places_NP)
            exists_NP = top_NP.values > -torch.inf
            found.append(torch.where(exists_NP, places_NP, 0))
            there.append(exists_NP)
    return torch.cat(found).reshape(S, N, kept), torch.cat(there).reshape(S, N, kept)
