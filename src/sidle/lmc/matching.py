"""Which permutations make one set of units most like another: coordinate descent over assignments.

The object shared is a list of *terms*. A term scores permutations: it is the inner product of a
part of one network with the permuted same part of the other, summed over a block of a weight
(`WeightTerm`), or the sum of the correlations of units with their partners (`CorrelationTerm`).
One group's best permutation, all others held, is a linear assignment problem.

Letters: I, J = units of the group in the first and second network; O = units of its outer group.
References: [RB] Ainsworth et al. 2022, arXiv:2209.04836, section 3 (activation matching, weight
matching and algorithm 1); [CR] Crouse 2016, "On implementing 2D rectangular assignment algorithms",
as implemented by scipy.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, final

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from sidle import progress, seeding
from sidle.lmc.permutations import Block, Group, Permutations, Specification, reorder

RELATIVE_GAIN = 1e-9  # a smaller gain, relative to what the terms could reach, is rounding
MOST_SWEEPS = 100  # each raises the score; a few to a few dozen are needed in practice


class Term(Protocol):
    """A part of the score, over blocks whose axes bear ``labels``."""

    labels: tuple[str, ...]
    evidence: int  # numbers that it compares
    reach: float  # no score is larger in magnitude

    def score(self, permutations: Permutations) -> float:
        """Return what the term adds to the score."""
        ...

    def matrix(self, axis: int, permutations: Permutations) -> Tensor:
        """Return scores_IJ of every pair of units along ``axis``."""
        ...

    def matrices(self, outer: int, axis: int, permutations: Permutations) -> Tensor:
        """Return scores_OIJ along ``axis``, for each unit along ``outer``."""
        ...

    def pairs(self, outer: int, axis: int, permutations: Permutations) -> Tensor:
        """Return scores_OOIJ along ``axis``, for each pair of units along ``outer``."""
        ...


@final
class WeightTerm:
    """The inner product of a block of a weight with the same block of the other network.

    Its largest sum over blocks is the least distance between the networks [RB, eq. 2].

    Args:
        block: where it lies.
        one: the tensor of the network that stays.
        other: the tensor of the network that is permuted.
        groups: of the specification.
    """

    def __init__(self, block: Block, one: Tensor, other: Tensor, groups: Mapping[str, Group]):
        self._groups = groups
        free = [i for i, label in enumerate(block.labels) if label is not None]
        rest = [i for i, label in enumerate(block.labels) if label is None]
        self.labels = tuple(label for label in block.labels if label is not None)
        shape = [*(block.sizes[i] for i in free), -1]
        self._one, self._other = (
            block.read(tensor.detach().to(one.device)).permute(*free, *rest).reshape(shape)
            for tensor in (one, other)
        )
        self.evidence = self._one.numel()
        self.reach = float(self._one.norm() * self._other.norm())

    def score(self, permutations: Permutations) -> float:
        """Return the inner product."""
        return float((self._one * self._permuted(permutations, ())).sum(dtype=torch.float64))

    def matrix(self, axis: int, permutations: Permutations) -> Tensor:
        """Return scores_IJ of every pair of units along ``axis``."""
        other = self._permuted(permutations, (axis,))
        one_IR, other_JR = (t.movedim(axis, 0).flatten(1) for t in (self._one, other))
        return one_IR @ other_JR.T

    def matrices(self, outer: int, axis: int, permutations: Permutations) -> Tensor:
        """Return scores_OIJ along ``axis``, for each unit along ``outer``."""
        other = self._permuted(permutations, (axis,))
        one_OIR, other_OJR = (
            t.movedim((outer, axis), (0, 1)).flatten(2) for t in (self._one, other)
        )
        return one_OIR @ other_OJR.mT

    def pairs(self, outer: int, axis: int, permutations: Permutations) -> Tensor:
        """Return scores_OOIJ along ``axis``, for each pair of units along ``outer``."""
        other = self._permuted(permutations, (outer, axis))
        one_OIR, other_PJR = (
            t.movedim((outer, axis), (0, 1)).flatten(2) for t in (self._one, other)
        )
        scores = one_OIR.flatten(0, 1) @ other_PJR.flatten(0, 1).T
        n, units = one_OIR.shape[:2]
        return scores.reshape(n, units, n, units).transpose(1, 2)

    def _permuted(self, permutations: Permutations, skip: Sequence[int]) -> Tensor:
        return reorder(self._other, (*self.labels, None), permutations, self._groups, skip)


@final
class CorrelationTerm:
    """The correlations of units with their partners, over a block of a value in the graph.

    Args:
        labels: of the axes of the units.
        correlations: shape (units of the one..., units of the other...), in [-1, 1].
        groups: of the specification.
    """

    def __init__(self, labels: tuple[str, ...], correlations: Tensor, groups: Mapping[str, Group]):
        self.labels, self._correlations, self._groups = labels, correlations, groups
        self.evidence = correlations.numel()
        self.reach = float(math.prod(correlations.shape[: len(labels)]))

    def score(self, permutations: Permutations) -> float:
        """Return the sum of correlations."""
        return float(self._diagonal(permutations, ()))

    def matrix(self, axis: int, permutations: Permutations) -> Tensor:
        """Return scores_IJ of every pair of units along ``axis``."""
        return self._diagonal(permutations, (axis,))

    def matrices(self, outer: int, axis: int, permutations: Permutations) -> Tensor:
        """Return scores_OIJ along ``axis``, for each unit along ``outer``."""
        return self._diagonal(permutations, (axis,), kept=outer)

    def pairs(self, outer: int, axis: int, permutations: Permutations) -> Tensor:
        """Return scores_OOIJ along ``axis``, for each pair of units along ``outer``."""
        return self._diagonal(permutations, (outer, axis))

    def _diagonal(
        self, permutations: Permutations, open_axes: Sequence[int], kept: int | None = None
    ) -> Tensor:
        """Sum over partners along all axes but ``open_axes``, which keep every pair of units."""
        rank = len(self.labels)
        other = self._correlations.movedim(tuple(range(rank, 2 * rank)), tuple(range(rank)))
        labels = (*self.labels, *(None for _ in range(rank)))
        other = reorder(other, labels, permutations, self._groups, open_axes)
        ours = list(range(rank))
        theirs = [rank + i if i in open_axes else i for i in range(rank)]
        result = [] if kept is None else [kept]
        result += [axis[j] for j in open_axes for axis in (ours, theirs)]
        return torch.einsum(other, theirs + ours, result)


@dataclass(frozen=True, eq=False)
class Match:
    """What matching found.

    Attributes:
        permutations: by group.
        score: what they score.
        scores: what each start ended with: the first start goes through the network from the input
            on, the second moves nothing at first, the others start from random permutations.
    """

    permutations: dict[str, Tensor]
    score: float
    scores: tuple[float, ...]


def match(
    specification: Specification, terms: Sequence[Term], *, restarts: int, seed: int
) -> Match:
    """Return the best permutations that coordinate descent finds from ``restarts`` starts.

    Args:
        specification: the groups.
        terms: what is to be large.
        restarts: how many starts, at least 1.
        seed: names the random starts and the orders in which groups are visited.
    """
    descent = _Descent(specification, terms)
    best: Match | None = None
    scores: list[float] = []
    with progress.bar("aligning", restarts) as bar:
        for start in range(restarts):
            generator = seeding.torch_generator(seeding.split(seed, "matching", start))
            permutations = (
                specification.random(generator) if start > 1 else specification.identity()
            )
            if start == 0:
                descent.propagate(permutations)
            descent.descend(permutations, generator)
            scores.append(descent.score(permutations))
            if best is None or scores[-1] > best.score:
                best = Match(permutations, scores[-1], ())
            bar.advance()
    assert best is not None
    return Match(best.permutations, best.score, tuple(scores))


@final
class _Descent:
    def __init__(self, specification: Specification, terms: Sequence[Term]):
        self._groups = specification.groups
        self._terms = terms
        self._of: dict[str, list[Term]] = {
            name: [term for term in terms if name in term.labels] for name in self._groups
        }
        self._inner: dict[str, list[str]] = {name: [] for name in self._groups}
        for name, group in self._groups.items():
            if group.outer is not None:
                self._inner[group.outer].append(name)

    def score(self, permutations: Permutations) -> float:
        """Return the sum of all terms."""
        return math.fsum(term.score(permutations) for term in self._terms)

    def descend(self, permutations: dict[str, Tensor], generator: torch.Generator) -> None:
        """Improve ``permutations`` group by group, in random orders, until none improves."""
        names = list(self._groups)
        for _ in range(MOST_SWEEPS):
            order = torch.randperm(len(names), generator=generator).tolist()
            improved = [self._improve(names[i], permutations) for i in order]
            if not any(improved):
                return

    def propagate(self, permutations: dict[str, Tensor]) -> None:
        """Decide group by group from what is decided already, from the fixed axes on.

        Two permuted copies of one network are matched exactly on the way: each comparison is
        between units whose every weight looked at is in the right order.
        """
        waiting = set(self._groups)
        while waiting:
            evidence = {name: self._evidence(name, waiting) for name in self._groups}
            name = max((n for n in self._groups if n in waiting), key=evidence.__getitem__)
            decided = self._decided(name, waiting)
            self._assign(name, decided or self._of[name], permutations)
            waiting.discard(name)
            for inner in self._inner[name]:
                if any(inner in term.labels for term in decided):
                    waiting.discard(inner)

    def _evidence(self, name: str, waiting: set[str]) -> float:
        """Return how many numbers can be compared for a unit of a group."""
        if name not in waiting:
            return 0.0
        known = sum(term.evidence for term in self._decided(name, waiting))
        return known / self._groups[name].size

    def _decided(self, name: str, waiting: set[str]) -> list[Term]:
        """Return the terms of a group whose every other axis is in the right order already.

        A weight from units to the same units, as in a residual stream, is none of them.
        """
        together = {name, *self._inner[name]}
        return [
            term
            for term in self._of[name]
            if term.labels.count(name) == 1 and not waiting.intersection(term.labels) - together
        ]

    def _improve(self, name: str, permutations: dict[str, Tensor]) -> bool:
        """Assign one group anew; keep that only if it scores more. Return whether it did."""
        terms = self._of[name]
        before = math.fsum(term.score(permutations) for term in terms)
        kept = {one: permutations[one] for one in (name, *self._inner[name])}
        self._assign(name, terms, permutations)
        gain = math.fsum(term.score(permutations) for term in terms) - before
        if gain > RELATIVE_GAIN * math.fsum(term.reach for term in terms):
            return True
        permutations.update(kept)
        return False

    def _assign(self, name: str, terms: Sequence[Term], permutations: dict[str, Tensor]) -> None:
        """Give a group, and those within it, their best permutations by ``terms``."""
        group = self._groups[name]
        if group.outer is not None:
            scores_OIJ = _total(
                term.matrices(term.labels.index(group.outer), axis, permutations)
                for term, axis in _occurrences(terms, name)
            )
            if scores_OIJ is not None:
                permutations[name] = torch.stack([_assignment(one) for one in scores_OIJ])
            return
        inner = self._inner[name]
        plain = [t for t in terms if not any(one in t.labels for one in inner)]
        scores_IJ = _total(term.matrix(a, permutations) for term, a in _occurrences(plain, name))
        if not inner:
            if scores_IJ is not None:
                permutations[name] = _assignment(scores_IJ)
            return
        self._assign_jointly(name, scores_IJ, terms, permutations)

    def _assign_jointly(
        self,
        name: str,
        scores_IJ: Tensor | None,
        terms: Sequence[Term],
        permutations: dict[str, Tensor],
    ) -> None:
        """Pair outer units by what they score with their inner units in the best order.

        Terms with several groups within the same one are left to each group's own turn.
        """
        n = self._groups[name].size
        scores = np.zeros((n, n)) if scores_IJ is None else _numpy(scores_IJ)
        best: dict[str, Tensor] = {}
        for one in self._inner[name]:
            alone = [
                t
                for t in terms
                if one in t.labels and sum(x in self._inner[name] for x in t.labels) == 1
            ]
            found = _total(
                term.pairs(term.labels.index(name), axis, permutations)
                for term, axis in _occurrences(alone, one)
            )
            if found is None:
                continue
            pairs_IJ = _numpy(found)
            orders = torch.empty((n, n, self._groups[one].size), dtype=torch.int64)
            for i in range(n):
                for j in range(n):
                    rows, columns = linear_sum_assignment(pairs_IJ[i, j], maximize=True)
                    orders[i, j] = torch.from_numpy(columns)
                    scores[i, j] += pairs_IJ[i, j][rows, columns].sum()
            best[one] = orders
        chosen = torch.from_numpy(linear_sum_assignment(scores, maximize=True)[1])
        permutations[name] = chosen
        for one, orders in best.items():
            permutations[one] = orders[torch.arange(n), chosen]


def _occurrences(terms: Sequence[Term], name: str) -> list[tuple[Term, int]]:
    return [(t, axis) for t in terms for axis, label in enumerate(t.labels) if label == name]


def _total(parts: Iterable[Tensor]) -> Tensor | None:
    total: Tensor | None = None
    for part in parts:
        total = part if total is None else total + part
    return total


def _numpy(scores: Tensor) -> np.ndarray[Any, np.dtype[np.float64]]:
    found: np.ndarray[Any, np.dtype[np.float64]] = scores.double().cpu().numpy()
    return found


def _assignment(scores_IJ: Tensor) -> Tensor:
    """Return for each unit i the unit j that is to stand in its place."""
    return torch.from_numpy(linear_sum_assignment(_numpy(scores_IJ), maximize=True)[1])
