"""InfoNCE as a loss, exact, without ever building the matrix of scores.

Every query q_i is to be told which of K candidates is its positive: the loss is
-log exp(s_ip) / (exp s_ip + sum over negatives j of exp s_ij), s_ij = <q_i, k_j> / temperature
[CPC, eq. 4]. Scores are computed a chunk of rows at a time and gradients with them
(`sidle.mi.chunked`), so that memory is O((N + M) D) and one chunk, on any device. Faces:

- `info_nce`: keys are shared; the other keys are the negatives (in-batch, CLIP, MoCo);
- `info_nce_with_negatives`: each row brings its own negatives, which several queries may share
  (steps of CPC);
- `info_nce_with_sampler`: negatives drawn from a pool, importance-weighted; not a bound;
- `InfoNCELoss`: the module proposed for `torch.nn`.

A batch larger than the encoders' memory goes through `sidle.mi.gradient_cache`.

log K minus a loss is the InfoNCE bound on the information between queries and keys, in nats
(`sidle.mi.bounds.infonce_bound`), with ceiling log K.

Letters: N = queries; M = keys; D = dimensions; Q = positives of a query; S = queries that share
negatives; P = negatives of a query.
References: [CPC] van den Oord et al. 2018, arXiv:1807.03748. [CLIP] Radford et al. 2021,
arXiv:2103.00020. [BS] Bengio & Senecal 2008, IEEE
Trans. Neural Networks 19(4).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Protocol, TypedDict, final

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from sidle.errors import ArgumentError, ShapeError
from sidle.mi.candidates import (
    allowed_negatives,
    by_product,
    check_index,
    check_negatives,
    check_weight,
    count_candidates,
    counts_of_places,
    places_of_positives,
)
from sidle.mi.chunked import Keys, one_pass, one_pass_own, two_passes
from sidle.mi.guarantees import Guarantee

Reduction = Literal["mean", "sum", "none"]

CHUNK_BYTES = 32 * 2**20  # of scores at a time: few enough to stay near the cores


@dataclass(frozen=True)
class Contrast:
    """A loss and what else its scores say.

    Attributes:
        loss: what to minimise, in nats: the mean, or as the reduction asked.
        losses: each loss, without gradient; shape as the positives.
        hits: bool, whether the positive has the highest score; same shape.
        n_candidates: K, candidates of each loss, the positive included; int64, broadcasts to it.
            Of the symmetric loss shape (2, N): keys for each query, queries for each key.
        guarantee: of `bound`: "lower" if negatives are independent draws of what positives are
            drawn from, which negatives given by the caller must be; "none" if a mask or groups
            picked them, or if the partition function was estimated.
    """

    loss: Tensor
    losses: Tensor
    hits: Tensor
    n_candidates: Tensor
    guarantee: Guarantee = "lower"

    @property
    def accuracy(self) -> float:
        """Share of positives with the highest score."""
        return self.hits.double().mean().item()

    @property
    def ceiling(self) -> float:
        """Mean log K, in nats, which `bound` cannot exceed."""
        return self.n_candidates.double().log().mean().item()

    @property
    def bound(self) -> float:
        """Mean of log K minus the loss, in nats: InfoNCE on this batch."""
        return self.ceiling - self.losses.double().mean().item()


class Sampler(Protocol):
    """Draws negatives from a pool of M keys."""

    def sample(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return n indices, int64, drawn with replacement, and the log probability of each."""
        ...


def info_nce(
    query_ND: Tensor,
    key_MD: Tensor,
    *,
    positive: Tensor | None = None,
    mask_NM: Tensor | None = None,
    groups: tuple[Tensor, Tensor] | None = None,
    symmetric: bool = False,
    temperature: float | Tensor = 1.0,
    cosine: bool = False,
    reduction: Reduction = "mean",
    weight: Tensor | None = None,
    chunk_rows: int | None = None,
) -> Contrast:
    """Return InfoNCE of queries against shared keys [CPC, eq. 4].

    Args:
        query_ND: shape (N, D), or (S, N, D): S sets of queries, such as the predictions of several
            steps, against the same keys. Half precision is computed in float32.
        key_MD: shape (M, D), of the same dtype.
        positive: which key belongs to each query, int64, shape (N,) or (S, N); (N, Q) for several,
            -1 filling up the rows with fewer. Each positive is contrasted with the negatives alone.
            None: key i belongs to query i, N <= M. It is checked where it lies: on the CPU, no
            accelerator is waited for.
        mask_NM: bool, which keys may be negatives of which query; None: all but its positives.
        groups: int64 labels (N,) of queries and (M,) of keys; keys of a query's group are no
            negatives. Takes no memory of N M.
        symmetric: average with the loss of telling each key's query from the others [CLIP]; N = M,
            query i with key i. Scores are then computed twice.
        temperature: divides scores; above 0; a tensor may be learned.
        cosine: normalise queries and keys to length 1.
        reduction: "mean", "sum", or "none" for each loss with its gradient, which computes scores
            twice.
        weight: of each loss in the sum, at least 0, of the losses' shape; for "mean" its sum is
            divided by. Not with several positives, ``symmetric`` or "none".
        chunk_rows: rows of scores at a time; None: as many as fit 32 MiB.

    Returns:
        A `Contrast`. Second derivatives are not available: asking for them raises
        ArgumentError.

    Raises:
        ShapeError: shapes do not fit each other.
        ArgumentError: an index, the temperature or a setting lies outside its range, or dtypes
            do not fit.
    """
    function = "info_nce"
    query, key_MD = _prepared(function, query_ND, key_MD, temperature, cosine)
    lead = query.shape[:-1]
    if query.ndim == 3 and (mask_NM is not None or groups is not None or symmetric):
        raise ArgumentError(
            f"{function}: mask_NM, groups and symmetric take queries of shape (N, D), got "
            f"{tuple(query_ND.shape)}. Call it once a step."
        )
    flat_ND = query.reshape(-1, query.shape[-1])
    N, M = len(flat_ND), len(key_MD)
    index_NQ, valid_NQ, whole = places_of_positives(function, positive, lead, M, flat_ND.device)
    if symmetric and (N != M or positive is not None):
        raise ArgumentError(
            f"{function}: symmetric needs as many queries as keys, query i with key i, got {N} "
            f"queries and {M} keys{' and positives' if positive is not None else ''}."
        )
    check_weight(function, weight, lead, index_NQ.shape[1], unusual=symmetric, reduction=reduction)
    allowed = allowed_negatives(function, mask_NM, groups, N, M)
    keys = Keys(_rows(chunk_rows, M, flat_ND), index_NQ, allowed)
    scores_NQ = torch.einsum("nd,nqd->nq", flat_ND, key_MD[index_NQ])
    n_candidates_NQ, n_candidates_M = count_candidates(keys, index_NQ, N, M)
    # What is left of the keys by what they are, those of other classes say, is easier to tell
    # apart than independent draws are.
    guarantee: Guarantee = "lower" if allowed is None else "none"
    shape = lead if positive is None or positive.shape == lead else index_NQ.shape
    if symmetric:
        loss_NQ, loss_M, hits_NQ = two_passes(flat_ND, key_MD, scores_NQ, keys, columns=True)
        each_N = (loss_NQ[:, 0] + loss_M) / 2
        loss = _reduced(each_N, reduction)
        both_2N = torch.stack([n_candidates_NQ[:, 0], n_candidates_M])
        return Contrast(loss, each_N.detach(), hits_NQ[:, 0], both_2N, guarantee)
    if reduction == "none":
        loss_NQ, _, hits_NQ = two_passes(flat_ND, key_MD, scores_NQ, keys, columns=False)
        loss, losses = loss_NQ.masked_fill(~valid_NQ, 0.0).reshape(shape), loss_NQ.detach()
    else:
        weight_NQ = _weights(valid_NQ, reduction, flat_ND, weight)
        loss, losses, hits_NQ = one_pass(flat_ND, key_MD, scores_NQ, weight_NQ, keys)
    # Where places only fill up, a list without them.
    losses, hits, n_candidates = (
        part.reshape(shape) if whole else part[valid_NQ]
        for part in (losses, hits_NQ, n_candidates_NQ)
    )
    return Contrast(loss, losses, hits, n_candidates, guarantee)


def info_nce_with_negatives(
    query: Tensor,
    positive: Tensor,
    negatives: Tensor,
    *,
    pool_MD: Tensor | None = None,
    mask_NP: Tensor | None = None,
    temperature: float | Tensor = 1.0,
    cosine: bool = False,
    reduction: Reduction = "mean",
    weight: Tensor | None = None,
    chunk_rows: int | None = None,
    check: bool = True,
) -> Contrast:
    """Return InfoNCE of queries against given negatives [CPC, eq. 4].

    Args:
        query: shape (N, D), or (S, N, D): S queries in each row share its negatives, such as the
            predictions of several steps.
        positive: same shape, the positive of each query.
        negatives: the negatives of each row, shape (N, P, D); or the same for all rows, shape
            (M, D); or, with ``pool_MD``, their places in it, int64, shape (N, P).
        pool_MD: shape (M, D), what ``negatives`` points into; gathered a chunk at a time.
        mask_NP: bool, which are negatives; None: all.
        temperature, cosine: as for `info_nce`.
        reduction: "mean", "sum", or with negatives of shape (M, D) also "none".
        weight: as for `info_nce`.
        chunk_rows: rows whose negatives are in memory at a time; None: as many as fit 32 MiB.
        check: look whether places lie in the pool, for which an accelerator that holds them is
            waited for. False where they are known to.

    Returns:
        A `Contrast` with losses of shape (N,) or (S, N).

    Raises:
        ShapeError, ArgumentError: as `info_nce`.
    """
    function = "info_nce_with_negatives"
    if query.ndim not in (2, 3) or positive.shape != query.shape:
        raise ShapeError(
            f"{function}: query and positive must have one shape, (N, D) or (S, N, D), got "
            f"{tuple(query.shape)} and {tuple(positive.shape)}."
        )
    shared = pool_MD is None and negatives.ndim == 2
    check_negatives(function, negatives, pool_MD, mask_NP, query.shape, values=check)
    check_weight(function, weight, query.shape[:-1], 1, unusual=False, reduction=reduction)
    query, source = _prepared(
        function, query, negatives if pool_MD is None else pool_MD, temperature, cosine
    )
    if pool_MD is not None:
        negatives = negatives.to(query.device)
    positive = normalize(positive.to(query.dtype), dim=-1) if cosine else positive.to(query.dtype)
    scores = (query * positive).sum(-1)
    if shared:
        return _against_shared(query, source, scores, reduction, weight, chunk_rows)
    # Steps last but one: a row's negatives are gathered once for all of its queries.
    query_NSD = query[:, None] if query.ndim == 2 else query.transpose(0, 1).contiguous()
    scores_NS = scores[:, None] if query.ndim == 2 else scores.T
    weight_NS = _weights(
        torch.ones_like(scores_NS, dtype=torch.bool),
        reduction,
        query,
        weight if weight is None or query.ndim == 2 else weight.T,
    )
    P, S = negatives.shape[1], query_NSD.shape[1]
    if pool_MD is not None and by_product(len(pool_MD), P, S, query.shape[-1]):
        keys = Keys(
            S * _rows(chunk_rows, S * len(pool_MD), query),
            counts=counts_of_places(negatives, mask_NP, len(pool_MD), S, query.dtype),
        )
        loss, losses, hits = one_pass(
            query_NSD.flatten(0, 1),
            source,
            scores_NS.reshape(-1, 1),
            weight_NS.reshape(-1, 1),
            keys,
        )
        losses_NS, hits_NS = losses.reshape(-1, S), hits.reshape(-1, S)
    else:
        loss, losses_NS, hits_NS = one_pass_own(
            query_NSD,
            source,
            None if pool_MD is None else negatives,
            scores_NS,
            weight_NS,
            _rows(chunk_rows, P * query.shape[-1], query),
            mask_NP,
        )
    n_candidates_N = (torch.full(negatives.shape[:1], P) if mask_NP is None else mask_NP.sum(1)) + 1
    guarantee: Guarantee = "lower" if mask_NP is None else "none"
    if query.ndim == 2:
        return Contrast(loss, losses_NS[:, 0], hits_NS[:, 0], n_candidates_N, guarantee)
    return Contrast(loss, losses_NS.T, hits_NS.T, n_candidates_N, guarantee)


def _against_shared(
    query: Tensor,
    negative_MD: Tensor,
    scores: Tensor,
    reduction: Reduction,
    weight: Tensor | None,
    chunk_rows: int | None,
) -> Contrast:
    """Return InfoNCE with the same negatives for all queries."""
    flat_ND, scores_N1 = query.reshape(-1, query.shape[-1]), scores.reshape(-1, 1)
    keys = Keys(_rows(chunk_rows, len(negative_MD), query))
    if reduction == "none":
        losses_N1, _, hits_N1 = two_passes(flat_ND, negative_MD, scores_N1, keys, columns=False)
        loss = losses_N1.reshape(scores.shape)
    else:
        valid_N1 = torch.ones_like(scores_N1, dtype=torch.bool)
        weight_N1 = _weights(valid_N1, reduction, query, weight)
        loss, losses_N1, hits_N1 = one_pass(flat_ND, negative_MD, scores_N1, weight_N1, keys)
    n_candidates = torch.tensor(len(negative_MD) + 1)
    losses, hits = (part.detach().reshape(scores.shape) for part in (losses_N1, hits_N1))
    return Contrast(loss, losses, hits, n_candidates)


def info_nce_with_sampler(
    query_ND: Tensor,
    pool_MD: Tensor,
    positive_N: Tensor,
    sampler: Sampler,
    n_negatives: int,
    generator: torch.Generator,
    *,
    temperature: float | Tensor = 1.0,
    cosine: bool = False,
    chunk_rows: int | None = None,
) -> Contrast:
    """Return InfoNCE against a whole pool, its partition function estimated from a few draws [BS].

    With P draws j of probability p_j, shared by all queries, sum over the pool's other keys of
    exp s_ij is estimated, without bias, by the mean of exp(s_ij) / p_j over draws (a draw of the
    positive itself counts zero). The log of an estimate lies below the log of what it estimates on
    average, so that the loss reads too low: **not a bound**.

    Args:
        query_ND: shape (N, D).
        pool_MD: shape (M, D).
        positive_N: which key of the pool belongs to each query, int64.
        sampler: draws keys; its probabilities must be those it draws with, and above 0 for all.
        n_negatives: P, at least 1.
        generator: given to the sampler.
        temperature, cosine, chunk_rows: as for `info_nce`.

    Returns:
        A `Contrast` with guarantee "none" and M candidates; ``hits`` are among the draws.

    Raises:
        ShapeError, ArgumentError: as `info_nce`, or the sampler returns something else.
    """
    function = "info_nce_with_sampler"
    query_ND, pool_MD = _prepared(function, query_ND, pool_MD, temperature, cosine)
    N, M = len(query_ND), len(pool_MD)
    if query_ND.ndim != 2 or positive_N.shape != (N,):
        raise ShapeError(
            f"{function}: query_ND must have shape (N, D) and positive_N (N,), got "
            f"{tuple(query_ND.shape)} and {tuple(positive_N.shape)}."
        )
    check_index(function, "positive_N", positive_N, M)
    if n_negatives < 1:
        raise ArgumentError(f"{function}: n_negatives must be at least 1, got {n_negatives}.")
    index_P, log_probability_P = sampler.sample(n_negatives, generator)
    if index_P.shape != (n_negatives,) or log_probability_P.shape != (n_negatives,):
        raise ShapeError(
            f"{function}: the sampler must return two tensors of shape ({n_negatives},), got "
            f"{tuple(index_P.shape)} and {tuple(log_probability_P.shape)}."
        )
    check_index(function, "the sampler's indices", index_P, M)
    index_P, positive_N = index_P.to(query_ND.device), positive_N.to(query_ND.device)
    bias_P = -(log_probability_P.to(query_ND) + math.log(n_negatives))
    keys = Keys(
        _rows(chunk_rows, n_negatives, query_ND),
        allowed=lambda rows: index_P != positive_N[rows, None],
        bias_M=bias_P,
    )
    score_N1 = (query_ND * pool_MD[positive_N]).sum(-1, keepdim=True)
    weight_N1 = torch.full_like(score_N1, 1 / N).detach()
    loss, losses_N1, hits_N1 = one_pass(query_ND, pool_MD[index_P], score_N1, weight_N1, keys)
    return Contrast(loss, losses_N1[:, 0], hits_N1[:, 0], torch.tensor(M), guarantee="none")


class _Settings(TypedDict):
    temperature: float
    cosine: bool
    reduction: Reduction


@final
class InfoNCELoss(nn.Module):
    """One-directional InfoNCE with cosine scores, call-compatible with the loss proposed for torch.

    Args:
        temperature: divides the cosines, above 0.
        reduction: "mean", "sum" or "none".

    Raises:
        ArgumentError: an argument lies outside its range.
    """

    def __init__(self, temperature: float = 0.1, reduction: Reduction = "mean") -> None:
        super().__init__()
        if not temperature > 0 or reduction not in ("mean", "sum", "none"):
            raise ArgumentError(
                "InfoNCELoss: temperature must be above 0 and reduction one of mean, sum, none, "
                f"got {temperature} and {reduction!r}."
            )
        self.temperature, self.reduction = temperature, reduction

    def forward(
        self, query: Tensor, positive_key: Tensor, negative_keys: Tensor | None = None
    ) -> Tensor:
        """Return the loss, in nats.

        Args:
            query: shape (N, D).
            positive_key: shape (N, D); row i belongs to query i.
            negative_keys: shape (M, D), shared by all queries, or (N, M, D), each its own; None:
                the positives of the others.

        Returns:
            A scalar, or shape (N,) with reduction "none".

        Raises:
            ShapeError, ArgumentError: as `info_nce`.
        """
        if positive_key.shape != query.shape or query.ndim != 2:
            raise ShapeError(
                "InfoNCELoss: query and positive_key must have one shape (N, D), got "
                f"{tuple(query.shape)} and {tuple(positive_key.shape)}."
            )
        settings: _Settings = {
            "temperature": self.temperature,
            "cosine": True,
            "reduction": self.reduction,
        }
        if negative_keys is None:
            return info_nce(query, positive_key, **settings).loss
        return info_nce_with_negatives(query, positive_key, negative_keys, **settings).loss


def _prepared(
    function: str, query: Tensor, key: Tensor, temperature: float | Tensor, cosine: bool
) -> tuple[Tensor, Tensor]:
    """Return queries over the temperature and keys, in float32 or float64."""
    if query.ndim not in (2, 3) or key.ndim not in (2, 3) or query.shape[-1] != key.shape[-1]:
        raise ShapeError(
            f"{function}: queries must have shape (N, D) or (S, N, D) and keys as many columns, "
            f"got {tuple(query.shape)} and {tuple(key.shape)}."
        )
    if 0 in query.shape or 0 in key.shape:
        raise ShapeError(
            f"{function}: expected at least one query and one key, got {tuple(query.shape)} and "
            f"{tuple(key.shape)}."
        )
    if not query.is_floating_point() or not key.is_floating_point():
        raise ArgumentError(
            f"{function}: queries and keys must be floating point, got {query.dtype} and "
            f"{key.dtype}."
        )
    if not bool(torch.as_tensor(temperature > 0).all()):
        raise ArgumentError(f"{function}: temperature must be above 0, got {temperature}.")
    dtype = torch.promote_types(torch.promote_types(query.dtype, key.dtype), torch.float32)
    query, key = query.to(dtype), key.to(dtype)
    if cosine:
        query, key = normalize(query, dim=-1), normalize(key, dim=-1)
    return query / temperature, key


def _weights(
    valid: Tensor, reduction: Reduction, like: Tensor, weight: Tensor | None = None
) -> Tensor:
    if reduction not in ("mean", "sum"):
        raise ArgumentError(f"reduction must be one of mean, sum, none, got {reduction!r}.")
    weights = valid.to(like)
    if weight is not None:
        weights = weights * weight.detach().to(like).reshape(weights.shape)
    return weights / weights.sum() if reduction == "mean" else weights


def _reduced(losses: Tensor, reduction: Reduction) -> Tensor:
    if reduction not in ("mean", "sum", "none"):
        raise ArgumentError(f"reduction must be one of mean, sum, none, got {reduction!r}.")
    return losses.mean() if reduction == "mean" else losses.sum() if reduction == "sum" else losses


def _rows(chosen: int | None, columns: int, like: Tensor) -> int:
    if chosen is not None and chosen < 1:
        raise ArgumentError(f"chunk_rows must be at least 1, got {chosen}.")
    return chosen or max(1, CHUNK_BYTES // (columns * like.element_size()))
