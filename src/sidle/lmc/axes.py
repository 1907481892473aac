"""What each axis of each tensor is made of, learned piece by piece from a network's graph.

The object shared is `Axes`, a union-find over *classes* of units. An axis is a sum (a
concatenation) of products: ``((c, h, w), (d,))`` is an axis of c * h * w entries, row-major,
followed by d entries. Two axes that must be permuted alike are *unified*: classes become one, or a
class is split so that both axes have the same form. A *fixed* class keeps its order, with a reason.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import final

Segment = tuple[int, ...]
Axis = tuple[Segment, ...]

SINGLE: Axis = ((),)  # an axis with one entry: the empty product


@final
class Axes:
    """Classes of units, which of them are one, what they split into, and which are fixed."""

    def __init__(self) -> None:
        self._parent: list[int] = []
        self._size: list[int] = []
        self._parts: dict[int, Axis] = {}
        self._fixed: dict[int, str] = {}

    def new(self, size: int, fixed: str | None = None) -> Axis:
        """Return an axis of ``size`` entries of a class of its own; ``fixed`` says why it is."""
        return SINGLE if size == 1 else ((self._new_class(size, fixed),),)

    def size(self, axis: Axis) -> int:
        """Return the number of entries along ``axis``."""
        return sum(self.segment_size(segment) for segment in axis)

    def segment_size(self, segment: Segment) -> int:
        """Return the number of entries of one product."""
        return math.prod(self._size[c] for c in segment)

    def reason(self, member: int) -> str | None:
        """Return why a class of a normal axis is fixed, or None if it may be permuted."""
        return self._fixed.get(member)

    def is_fixed(self, axis: Axis) -> bool:
        """Whether no class of ``axis`` may be permuted."""
        return all(c in self._fixed for segment in self.normal(axis) for c in segment)

    def normal(self, axis: Axis) -> Axis:
        """Return ``axis`` in classes that are neither merged into others nor split."""
        return tuple(part for segment in axis for part in self._normal_segment(segment))

    def fix(self, axis: Axis, reason: str) -> None:
        """Let no class of ``axis`` be permuted; the first reason given for a class is kept."""
        for segment in axis:
            for member in segment:
                root = self._root(member)
                if root in self._parts:
                    self.fix(self._parts[root], reason)
                else:
                    self._fixed.setdefault(root, reason)

    def unify(self, one: Axis, other: Axis, reason: str) -> None:
        """Make two axes of equal size permute alike; where they cannot, fix both with ``reason``.

        They cannot where no common form exists, as for 4 x 6 and 6 x 4.
        """
        while True:
            one, other = self.normal(one), self.normal(other)
            if one == other:
                return
            assert self.size(one) == self.size(other), (one, other)
            if self.is_fixed(one) or self.is_fixed(other):
                why = self._why(one) or self._why(other) or reason
                self.fix(one, why)
                self.fix(other, why)
                return
            if not self._refine(one, other):
                self.fix(one, reason)
                self.fix(other, reason)
                return

    def product(self, factors: Iterable[Axis], reason: str) -> Axis:
        """Return the row-major product of axes; all fixed if a later factor is a concatenation."""
        return self._product([self.normal(factor) for factor in factors], reason)

    def factors(self, axis: Axis, sizes: Sequence[int], reason: str) -> list[Axis]:
        """Return ``axis`` cut into a row-major product of ``sizes``; all fixed if it cannot be."""
        normal = self.normal(axis)
        found = self._factors(normal, sizes) if len(normal) == 1 else None
        if found is not None:
            return found
        self.fix(axis, reason)
        return [self.new(size, reason) for size in sizes]

    def cut(self, axis: Axis, position: int) -> tuple[Axis, Axis] | None:
        """Return the entries before and from ``position`` as two axes, or None if no cut fits."""
        left: list[Segment] = []
        rest = list(self.normal(axis))
        while position > 0:
            segment = rest[0]
            size = self.segment_size(segment)
            if size <= position:
                left.append(rest.pop(0))
                position -= size
                continue
            behind = size // self._size[segment[0]]
            if position % behind:
                return None
            self._split_sum(segment[0], position // behind)
            rest = list(self.normal(tuple(rest)))
            left = list(self.normal(tuple(left)))
        return tuple(left), tuple(rest)

    def _product(self, normal: Sequence[Axis], reason: str) -> Axis:
        if not normal:
            return SINGLE
        first, *others = normal
        if all(len(other) == 1 for other in others):
            tail = tuple(c for other in others for c in other[0])
            return tuple((*segment, *tail) for segment in first)
        # (c + d) x w is c x w + d x w in row-major order; w x (c + d) is no sum of two runs.
        for factor in normal:
            self.fix(factor, reason)
        return self.new(math.prod(self.size(factor) for factor in normal), reason)

    def _new_class(self, size: int, fixed: str | None) -> int:
        self._parent.append(len(self._parent))
        self._size.append(size)
        if fixed is not None:
            self._fixed[len(self._parent) - 1] = fixed
        return len(self._parent) - 1

    def _root(self, member: int) -> int:
        while self._parent[member] != member:
            self._parent[member] = self._parent[self._parent[member]]
            member = self._parent[member]
        return member

    def _normal_segment(self, segment: Segment) -> Axis:
        found = [self._normal_class(member) for member in segment]
        return self._product(found, "a concatenated axis stands inside a reshaped one")

    def _normal_class(self, member: int) -> Axis:
        root = self._root(member)
        return self.normal(self._parts[root]) if root in self._parts else ((root,),)

    def _why(self, axis: Axis) -> str | None:
        return next((self._fixed[c] for s in axis for c in s if c in self._fixed), None)

    def _refine(self, one: Axis, other: Axis) -> bool:
        """Bring two different normal axes one step closer; return whether that was possible."""
        segment, against = next(
            pair for pair in zip(one, other, strict=False) if pair[0] != pair[1]
        )
        sizes = self.segment_size(segment), self.segment_size(against)
        if sizes[0] != sizes[1]:
            longer, short = (segment, sizes[1]) if sizes[0] > sizes[1] else (against, sizes[0])
            behind = self.segment_size(longer[1:])
            if short % behind:
                return False
            self._split_sum(longer[0], short // behind)
            return True
        a, b = next(pair for pair in zip(segment, against, strict=False) if pair[0] != pair[1])
        if self._size[a] == self._size[b]:
            self._parent[b] = a
            if b in self._fixed:
                self._fixed.setdefault(a, self._fixed.pop(b))
            return True
        large, small = (a, b) if self._size[a] > self._size[b] else (b, a)
        if self._size[large] % self._size[small]:
            return False
        self._split_product(large, self._size[small])
        return True

    def _factors(self, normal: Axis, sizes: Sequence[int]) -> list[Axis] | None:
        waiting = list(normal[0])
        found: list[Axis] = []
        for size in sizes:
            taken: list[int] = []
            left = size
            while left > 1:
                member = waiting.pop(0)
                if left % self._size[member] == 0:
                    taken.append(member)
                    left //= self._size[member]
                elif self._size[member] % left == 0:
                    waiting = [*self._split_product(member, left), *waiting]
                else:
                    return None
            found.append((tuple(taken),))
        # A class split late may occur among those taken early.
        return [self.normal(axis) for axis in found]

    def _split_product(self, member: int, first: int) -> Segment:
        fixed = self._fixed.pop(member, None)
        parts = tuple(self._new_class(n, fixed) for n in (first, self._size[member] // first))
        self._parts[member] = (parts,)
        return parts

    def _split_sum(self, member: int, first: int) -> None:
        fixed = self._fixed.pop(member, None)
        self._parts[member] = self.new(first, fixed) + self.new(self._size[member] - first, fixed)
