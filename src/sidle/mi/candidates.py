"""Which keys are candidates of which query: checks of positives, negatives and masks.

Letters: N = queries; M = keys; D = dimensions; Q = positives of a query; P = negatives of a query.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sidle.errors import ArgumentError, ShapeError
from sidle.mi.chunked import Keys


def places_of_positives(
    function: str, positive: Tensor | None, lead: torch.Size, M: int, device: torch.device
) -> tuple[Tensor, Tensor, bool]:
    """Return the places of the positives, shape (N, Q), which are not filling, and if all are."""
    N = lead.numel()
    if positive is None:
        if lead[-1] > M:
            raise ShapeError(
                f"{function}: key i belongs to query i, but there are {lead[-1]} queries and only "
                f"{M} keys. Give positive."
            )
        index_N1 = torch.arange(lead[-1], device=device).expand(lead).reshape(N, 1)
        return index_N1, torch.ones_like(index_N1, dtype=torch.bool), True
    if (
        positive.dtype != torch.int64
        or positive.shape[: len(lead)] != lead
        or (positive.ndim > len(lead) + 1)
    ):
        raise ShapeError(
            f"{function}: positive must be int64 of shape {tuple(lead)}, or with one dimension "
            f"more for several, got {positive.dtype} {tuple(positive.shape)}."
        )
    index_NQ = positive.reshape(N, -1)
    valid_NQ = index_NQ >= 0
    if index_NQ.max() >= M or index_NQ.min() < -1 or not bool(valid_NQ[:, 0].all()):
        raise ArgumentError(
            f"{function}: positive must lie in [0, {M}), -1 filling up rows from the second place "
            f"on, got {int(index_NQ.min())} to {int(index_NQ.max())}."
        )
    # A place that only fills up repeats the first: excluded twice, weighted zero.
    whole = bool(valid_NQ.all())
    index_NQ = torch.where(valid_NQ, index_NQ, index_NQ[:, :1])
    return index_NQ.to(device, non_blocking=True), valid_NQ.to(device, non_blocking=True), whole


def allowed_negatives(
    function: str,
    mask_NM: Tensor | None,
    groups: tuple[Tensor, Tensor] | None,
    N: int,
    M: int,
) -> Callable[[slice], Tensor] | None:
    """Return rows -> bool (R, M), which keys may be negatives; None if all may."""
    if mask_NM is not None and (mask_NM.shape != (N, M) or mask_NM.dtype != torch.bool):
        raise ShapeError(
            f"{function}: mask_NM must be bool of shape ({N}, {M}), got {mask_NM.dtype} "
            f"{tuple(mask_NM.shape)}."
        )
    if groups is None:
        return None if mask_NM is None else lambda rows: mask_NM[rows]
    query_N, key_M = groups
    if query_N.shape != (N,) or key_M.shape != (M,):
        raise ShapeError(
            f"{function}: groups must have shapes ({N},) and ({M},), got {tuple(query_N.shape)} "
            f"and {tuple(key_M.shape)}."
        )

    def allowed(rows: slice) -> Tensor:
        others_RM = query_N[rows, None] != key_M
        return others_RM if mask_NM is None else others_RM & mask_NM[rows]

    return allowed


def count_candidates(keys: Keys, index_NQ: Tensor, N: int, M: int) -> tuple[Tensor, Tensor]:
    """Return how many candidates positives have, themselves included.

    Returns:
        Keys that each positive is among, shape (N, Q); queries that each key may be asked for by,
        shape (M,), where key i is the positive of query i alone.
    """
    if keys.allowed is None:
        sorted_NQ = index_NQ.sort(dim=1).values
        distinct_N = 1 + (sorted_NQ[:, 1:] != sorted_NQ[:, :-1]).sum(1)
        n_candidates_M = torch.full((M,), N, device=index_NQ.device)
        return (M - distinct_N + 1)[:, None].expand(index_NQ.shape), n_candidates_M
    counts, n_candidates_M = [], torch.ones(M, dtype=torch.int64, device=index_NQ.device)
    for rows in keys.chunks(N):
        allowed_RM = keys.allowed(rows).clone().scatter_(1, index_NQ[rows], False)
        counts.append(allowed_RM.sum(1))
        n_candidates_M += allowed_RM.sum(0)
    return (torch.cat(counts) + 1)[:, None].expand(index_NQ.shape), n_candidates_M


def check_negatives(
    function: str,
    negatives: Tensor,
    pool_MD: Tensor | None,
    mask_NP: Tensor | None,
    query: torch.Size,
    *,
    values: bool = True,
) -> None:
    """Raise unless negatives, pool and mask fit queries of this shape, and values of places."""
    N, D = query[-2:]
    shared = pool_MD is None and negatives.ndim == 2
    own = negatives.ndim == (3 if pool_MD is None else 2) and len(negatives) == N
    if not (shared or own) or (pool_MD is None and negatives.shape[-1] != D):
        wanted = f"({N}, P, {D}) or (M, {D})" if pool_MD is None else f"({N}, P)"
        raise ShapeError(
            f"{function}: negatives must have shape {wanted}, got {tuple(negatives.shape)}."
        )
    if pool_MD is not None:
        if negatives.dtype != torch.int64 or negatives.numel() == 0:
            raise ArgumentError(
                f"{function}: negatives must be int64, at least one for each query, got "
                f"{negatives.dtype} {tuple(negatives.shape)}."
            )
        if values:
            check_index(function, "negatives", negatives, len(pool_MD))
    if mask_NP is None:
        return
    if shared or mask_NP.shape != negatives.shape[:2] or mask_NP.dtype != torch.bool:
        raise ShapeError(
            f"{function}: mask_NP must be bool of shape (N, P), one for each negative of each row, "
            f"got {mask_NP.dtype} {tuple(mask_NP.shape)}."
        )


def check_weight(
    function: str,
    weight: Tensor | None,
    lead: torch.Size,
    n_positives: int,
    *,
    unusual: bool,
    reduction: str,
) -> None:
    """Raise unless the weights of losses have their shape and can be applied."""
    if weight is None:
        return
    if weight.shape != lead or not weight.is_floating_point():
        raise ShapeError(
            f"{function}: weight must be floating point of shape {tuple(lead)}, one for each loss, "
            f"got {weight.dtype} {tuple(weight.shape)}."
        )
    if unusual or n_positives > 1 or reduction == "none":
        raise ArgumentError(
            f"{function}: weight is for one positive a query and reduction mean or sum, and not "
            "for symmetric. Ask for reduction='none' and weigh the losses."
        )


def check_index(function: str, name: str, index: Tensor, M: int) -> None:
    """Raise unless the indices are int64 in [0, M)."""
    if index.dtype != torch.int64 or index.numel() == 0 or index.min() < 0 or index.max() >= M:
        raise ArgumentError(f"{function}: {name} must be int64 in [0, {M}), got {index.dtype}.")


def by_product(M: int, P: int, S: int, D: int) -> bool:
    """Return whether scores of S queries with all M keys cost less than gathering P of them.

    What is gathered is read, and its gradient written and added in, for all queries at once; that
    takes as long as 25 scores of a matrix product, more where rows are long (measured for S of 1 to
    12, M / P of 4 to 32 and D of 128 and 512, `python benchmarks/bench_contrast.py`).
    """
    return S * M <= P * (25 + D / 8)


def counts_of_places(
    index_NP: Tensor, mask_NP: Tensor | None, M: int, S: int, dtype: torch.dtype
) -> Callable[[slice], Tensor]:
    """Return rows -> (R, M), how often each of M keys is among the negatives of a row.

    Args:
        index_NP: places of the negatives.
        mask_NP: bool, which of them count; None: all.
        M: number of keys.
        S: rows in succession that share negatives; R is a multiple of it.
        dtype: of the counts.
    """

    def counts(rows: slice) -> Tensor:
        own = slice(rows.start // S, rows.stop // S)
        index_RP = index_NP[own]
        one_RP = torch.ones_like(index_RP, dtype=dtype)
        if mask_NP is not None:
            one_RP *= mask_NP[own]
        count_RM = one_RP.new_zeros(len(index_RP), M).scatter_add_(1, index_RP, one_RP)
        return count_RM.repeat_interleave(S, 0)

    return counts
