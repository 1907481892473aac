"""Softmax against many keys, chunk by chunk: the autograd functions under `sidle.mi.contrast`.

With s_ij = <q_i, k_j>, the positive's score p_i and z_i = log sum of exp s_ij over the negatives, a
row's loss is

    l_i = log(exp p_i + exp z_i) - p_i = softplus(z_i - p_i)

    d l_i / d p_i = -sigmoid(z_i - p_i),   d l_i / d s_ij = sigmoid(z_i - p_i) exp(s_ij - z_i)

so that a chunk of rows needs its scores, their row-wise softmax in place, and two products to hand
the gradient on; then it is overwritten by the next. `one_pass` does all of it in the forward pass,
for a weighted sum of losses: 6 N M D operations, as many as with the whole matrix. `two_passes`
gives each row's loss (and each column's), whose weights are known only in the backward pass, where
scores are computed again: 8 N M D. Memory beyond inputs and gradients is one chunk.

Letters: N = queries (rows); M = keys (columns); D = dimensions; Q = positives of a row; S = queries
that share negatives (steps); P = negatives of a row; R = rows in a chunk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from sidle.errors import ArgumentError

Rows = slice
Columns = Callable[[Rows], Tensor]


@dataclass(frozen=True)
class Keys:
    """Which keys are negatives of which rows.

    Attributes:
        rows: R, rows in a chunk, at least 1.
        excluded_NQ: columns that are no negatives of their row, int64; None if there are none.
        allowed: rows -> bool (R, M), which columns may be negatives; None: all.
        counts: rows -> float (R, M), how often each column is a negative; None: once.
        bias_M: added to all scores of a column; None: nothing.
    """

    rows: int
    excluded_NQ: Tensor | None = None
    allowed: Columns | None = None
    counts: Columns | None = None
    bias_M: Tensor | None = None

    def chunks(self, n: int) -> Iterator[Rows]:
        """Yield the rows of each chunk of n."""
        return (slice(start, min(start + self.rows, n)) for start in range(0, n, self.rows))

    def scores(self, query_ND: Tensor, key_MD: Tensor, rows: Rows, out_RM: Tensor) -> Tensor:
        """Return the scores of these rows, minus infinity for what is no negative."""
        scores_RM = torch.mm(query_ND[rows], key_MD.T, out=out_RM[: rows.stop - rows.start])
        if self.bias_M is not None:
            scores_RM += self.bias_M
        if self.excluded_NQ is not None:
            scores_RM.scatter_(1, self.excluded_NQ[rows], -torch.inf)
        if self.allowed is not None:
            scores_RM.masked_fill_(~self.allowed(rows), -torch.inf)
        return scores_RM

    def buffer(self, query_ND: Tensor, key_MD: Tensor) -> Tensor:
        """Return room for the scores of a chunk."""
        return query_ND.new_empty(min(self.rows, len(query_ND)), len(key_MD))


def one_pass(
    query_ND: Tensor, key_MD: Tensor, positive_NQ: Tensor, weight_NQ: Tensor, keys: Keys
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the weighted sum of losses, and without gradient losses and hits.

    Args:
        query_ND: float32 or float64.
        key_MD: of the same dtype.
        positive_NQ: scores of the positives.
        weight_NQ: of each loss in the sum; no gradient flows into it.
        keys: which of them are negatives.

    Returns:
        The sum, a scalar; loss_NQ in nats; hit_NQ, whether the positive beats all negatives.
    """
    found: tuple[Tensor, Tensor, Tensor] = _OnePass.apply(  # type: ignore[no-untyped-call]
        query_ND, key_MD, positive_NQ, weight_NQ, keys
    )
    return found


def two_passes(
    query_ND: Tensor, key_MD: Tensor, positive_NQ: Tensor, keys: Keys, *, columns: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the losses of rows and of columns, and hits of rows without gradient.

    Args:
        query_ND, key_MD, positive_NQ, keys: as for `one_pass`; keys without counts.
        columns: whether to give column losses; then Q = 1, M = N, and row i belongs with column i.

    Returns:
        loss_NQ; loss_M of columns (empty without them); hit_NQ.
    """
    found: tuple[Tensor, Tensor, Tensor] = _TwoPasses.apply(  # type: ignore[no-untyped-call]
        query_ND, key_MD, positive_NQ, keys, columns
    )
    return found


def one_pass_own(
    query_NSD: Tensor,
    key_MD: Tensor,
    index_NP: Tensor | None,
    positive_NS: Tensor,
    weight_NS: Tensor,
    rows: int,
    allowed_NP: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """As `one_pass`, each row with negatives of its own, which its S queries share.

    Args:
        query_NSD: float32 or float64.
        key_MD: the pool that ``index_NP`` points into; or (N, P, D), the negatives themselves.
        index_NP: int64; None if the negatives themselves are given.
        positive_NS: scores of the positives.
        weight_NS: of each loss in the sum.
        rows: R, rows in a chunk.
        allowed_NP: bool, which are negatives; None: all.
    """
    found: tuple[Tensor, Tensor, Tensor] = _OnePassOwn.apply(  # type: ignore[no-untyped-call]
        query_NSD, key_MD, index_NP, positive_NS, weight_NS, rows, allowed_NP
    )
    return found


def _softmax_(scores: Tensor, counts: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Turn scores into exp(score - largest), as often as counted; return log sum, sum, largest."""
    if counts is not None:
        scores.masked_fill_(counts == 0, -torch.inf)
    # A row without negatives has minus infinity for largest, which no finite number may be less.
    largest = scores.amax(-1, keepdim=True).clamp_min_(torch.finfo(scores.dtype).min)
    scores.sub_(largest).exp_()
    if counts is not None:
        scores.mul_(counts)
    sums = scores.sum(-1, keepdim=True)
    return largest + sums.log(), sums, largest


def _check_first_derivative() -> None:
    if torch.is_grad_enabled():  # as autograd runs a backward pass with create_graph
        raise ArgumentError(
            "InfoNCE in chunks has first derivatives only, and create_graph=True asks for more. "
            "Compute sidle.mi.bounds.infonce_bound of the matrix of scores instead."
        )


class _OnePass(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query_ND: Tensor,
        key_MD: Tensor,
        positive_NQ: Tensor,
        weight_NQ: Tensor,
        keys: Keys,
    ) -> tuple[Tensor, Tensor, Tensor]:
        wanted = ctx.needs_input_grad[:3]
        query_gradient_ND, key_gradient_MD, positive_gradient_NQ = (
            torch.zeros_like(part) if needed else None
            for part, needed in zip((query_ND, key_MD, positive_NQ), wanted, strict=True)
        )
        loss_NQ = torch.empty_like(positive_NQ)
        hit_NQ = torch.empty_like(positive_NQ, dtype=torch.bool)
        out_RM = keys.buffer(query_ND, key_MD)
        for rows in keys.chunks(len(query_ND)):
            scores_RM = keys.scores(query_ND, key_MD, rows, out_RM)
            counts_RM = None if keys.counts is None else keys.counts(rows)
            log_sum_R1, sums_R1, largest_R1 = _softmax_(scores_RM, counts_RM)
            margin_RQ = log_sum_R1 - positive_NQ[rows]
            loss_NQ[rows], hit_NQ[rows] = softplus(margin_RQ), positive_NQ[rows] > largest_R1
            share_RQ = margin_RQ.sigmoid() * weight_NQ[rows]
            if positive_gradient_NQ is not None:
                positive_gradient_NQ[rows] = -share_RQ
            if query_gradient_ND is None and key_gradient_MD is None:
                continue
            tiny = torch.finfo(scores_RM.dtype).tiny
            scores_RM *= share_RQ.sum(-1, keepdim=True) / sums_R1.clamp_min(tiny)
            if query_gradient_ND is not None:
                torch.mm(scores_RM, key_MD, out=query_gradient_ND[rows])
            if key_gradient_MD is not None:
                key_gradient_MD.addmm_(scores_RM.T, query_ND[rows])
        ctx.save_for_backward(query_gradient_ND, key_gradient_MD, positive_gradient_NQ)
        ctx.mark_non_differentiable(loss_NQ, hit_NQ)
        return (loss_NQ * weight_NQ).sum(), loss_NQ, hit_NQ

    @staticmethod
    def backward(ctx: Any, incoming: Tensor, *others: Tensor) -> tuple[Tensor | None, ...]:
        _check_first_derivative()
        scaled = (None if part is None else part * incoming for part in ctx.saved_tensors)
        return (*scaled, None, None)


class _TwoPasses(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query_ND: Tensor, key_MD: Tensor, positive_NQ: Tensor, keys: Keys, columns: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        log_sum_N1 = torch.empty_like(query_ND[:, :1])
        largest_N1 = torch.empty_like(log_sum_N1)
        log_sum_M = key_MD.new_full((len(key_MD) if columns else 0,), -torch.inf)
        out_RM = keys.buffer(query_ND, key_MD)
        for rows in keys.chunks(len(query_ND)):
            scores_RM = keys.scores(query_ND, key_MD, rows, out_RM)
            if columns:
                torch.logaddexp(log_sum_M, scores_RM.logsumexp(0), out=log_sum_M)
            log_sum_N1[rows], _, largest_N1[rows] = _softmax_(scores_RM)
        ctx.save_for_backward(query_ND, key_MD, positive_NQ, log_sum_N1, log_sum_M)
        ctx.keys, ctx.columns = keys, columns
        hit_NQ = positive_NQ > largest_N1
        ctx.mark_non_differentiable(hit_NQ)
        loss_M = softplus(log_sum_M - positive_NQ[:, 0]) if columns else log_sum_M
        return softplus(log_sum_N1 - positive_NQ), loss_M, hit_NQ

    @staticmethod
    def backward(
        ctx: Any, incoming_NQ: Tensor, incoming_M: Tensor, *others: Tensor
    ) -> tuple[Tensor | None, ...]:
        _check_first_derivative()
        query_ND, key_MD, positive_NQ, log_sum_N1, log_sum_M = ctx.saved_tensors
        keys: Keys = ctx.keys
        share_NQ = (log_sum_N1 - positive_NQ).sigmoid() * incoming_NQ
        positive_gradient_NQ = -share_NQ
        share_N1 = share_NQ.sum(-1, keepdim=True)
        share_M = torch.empty_like(log_sum_M)
        if ctx.columns:
            share_M = (log_sum_M - positive_NQ[:, 0]).sigmoid() * incoming_M
            positive_gradient_NQ = positive_gradient_NQ - share_M[:, None]
        query_gradient_ND, key_gradient_MD = (
            torch.zeros_like(part) if needed else None
            for part, needed in zip((query_ND, key_MD), ctx.needs_input_grad[:2], strict=True)
        )
        # Rows and columns without negatives have minus infinity: any finite number does there.
        lowest = torch.finfo(query_ND.dtype).min
        log_sum_N1, log_sum_M = log_sum_N1.clamp_min(lowest), log_sum_M.clamp_min(lowest)
        out_RM = keys.buffer(query_ND, key_MD)
        other_RM = torch.empty_like(out_RM) if ctx.columns else out_RM
        for rows in keys.chunks(len(query_ND)):
            scores_RM = keys.scores(query_ND, key_MD, rows, out_RM)
            gradient_RM = scores_RM
            if ctx.columns:
                gradient_RM = torch.sub(scores_RM, log_sum_M, out=other_RM[: len(scores_RM)])
                gradient_RM.exp_().mul_(share_M)
                scores_RM.sub_(log_sum_N1[rows]).exp_()
                gradient_RM.addcmul_(scores_RM, share_N1[rows])
            else:
                gradient_RM.sub_(log_sum_N1[rows]).exp_().mul_(share_N1[rows])
            if query_gradient_ND is not None:
                torch.mm(gradient_RM, key_MD, out=query_gradient_ND[rows])
            if key_gradient_MD is not None:
                key_gradient_MD.addmm_(gradient_RM.T, query_ND[rows])
        return query_gradient_ND, key_gradient_MD, positive_gradient_NQ, None, None


class _OnePassOwn(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query_NSD: Tensor,
        key: Tensor,
        index_NP: Tensor | None,
        positive_NS: Tensor,
        weight_NS: Tensor,
        rows_at_once: int,
        allowed_NP: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        wanted = ctx.needs_input_grad
        query_gradient_NSD = torch.empty_like(query_NSD) if wanted[0] else None
        key_gradient = torch.zeros_like(key) if wanted[1] else None
        positive_gradient_NS = torch.empty_like(positive_NS) if wanted[3] else None
        loss_NS = torch.empty_like(positive_NS)
        hit_NS = torch.empty_like(positive_NS, dtype=torch.bool)
        for rows in Keys(rows_at_once).chunks(len(query_NSD)):
            query_RSD = query_NSD[rows]
            negative_RPD = key[rows] if index_NP is None else key[index_NP[rows]]
            scores_RSP = torch.bmm(query_RSD, negative_RPD.mT)
            if allowed_NP is not None:
                scores_RSP.masked_fill_(~allowed_NP[rows, None], -torch.inf)
            log_sum_RS1, sums_RS1, largest_RS1 = _softmax_(scores_RSP)
            margin_RS = log_sum_RS1.squeeze(-1) - positive_NS[rows]
            loss_NS[rows] = softplus(margin_RS)
            hit_NS[rows] = positive_NS[rows] > largest_RS1.squeeze(-1)
            share_RS = margin_RS.sigmoid() * weight_NS[rows]
            if positive_gradient_NS is not None:
                positive_gradient_NS[rows] = -share_RS
            tiny = torch.finfo(scores_RSP.dtype).tiny
            scores_RSP *= share_RS[..., None] / sums_RS1.clamp_min(tiny)
            if query_gradient_NSD is not None:
                torch.bmm(scores_RSP, negative_RPD, out=query_gradient_NSD[rows])
            if key_gradient is not None and index_NP is None:
                torch.bmm(scores_RSP.mT, query_RSD, out=key_gradient[rows])
            elif key_gradient is not None and index_NP is not None:
                gradient_RPD = torch.bmm(scores_RSP.mT, query_RSD)
                key_gradient.index_add_(0, index_NP[rows].flatten(), gradient_RPD.flatten(0, 1))
        ctx.save_for_backward(query_gradient_NSD, key_gradient, positive_gradient_NS)
        ctx.mark_non_differentiable(loss_NS, hit_NS)
        return (loss_NS * weight_NS).sum(), loss_NS, hit_NS

    @staticmethod
    def backward(ctx: Any, incoming: Tensor, *others: Tensor) -> tuple[Tensor | None, ...]:
        _check_first_derivative()
        query, key, positive = (
            None if part is None else part * incoming for part in ctx.saved_tensors
        )
        return query, key, None, positive, None, None, None
