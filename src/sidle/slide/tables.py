"""Hash tables over vectors: which items share buckets with a query?

T tables of K digits each ([I], [S]); every item lies in one bucket of every table, and a query
returns the items of its own T buckets, those hit by most tables first. All buckets lie in one
array, laid out by a counting sort; full ones keep a random or the latest part of their items.
Letters: N = items, D = length of vectors, T = tables, Q = queries, C = candidates of a query.
References: [I] Indyk & Motwani 1998, STOC; [S] Chen et al. 2020, arXiv:1903.03129 (SLIDE).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sidle import seeding
from sidle.errors import ArgumentError, CheckpointError
from sidle.slide.hashing import HashFamily
from sidle.slide.kernels import tables as kernels
from sidle.slide.threads import spread

POLICIES = ("reservoir", "fifo")
_ROWS_AT_ONCE = 16384
_Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Occupancy:
    """How full tables are.

    Attributes:
        n_items: N.
        n_buckets: of all tables.
        used: share of buckets that hold an item.
        mean: items of a bucket that holds any.
        largest: items of the fullest bucket.
        kept: share of (item, table) pairs that found room in their bucket.
        bytes: what the tables take.
    """

    n_items: int
    n_buckets: int
    used: float
    mean: float
    largest: int
    kept: float
    bytes: int


class Scratch:
    """Memory that a query needs; one per thread that queries at the same time.

    Attributes:
        hits: uint16, (N,), how often each item was hit; all 0 between queries.
        found: int32, (N,), items hit.
    """

    def __init__(self, n_items: int) -> None:
        self.hits = np.zeros(n_items, np.uint16)
        self.found = np.empty(n_items, np.int32)


class HashTables:
    """Tables over N vectors, built at once and kept up to date item by item.

    Args:
        family: the hash functions; its ``n_tables`` is T.
        n_items: N, from 1 to 2^31 - 1.
        bucket_size: most items of a bucket, at least 1.
        policy: what a full bucket keeps: "reservoir" (each item alike) or "fifo" (the latest).
        seed: of the reservoirs.
        threads: how many share the work; results do not depend on it.

    Raises:
        ArgumentError: an argument out of its range.
    """

    def __init__(
        self,
        family: HashFamily,
        n_items: int,
        *,
        bucket_size: int = 128,
        policy: str = "reservoir",
        seed: int = 0,
        threads: int = 1,
    ) -> None:
        if policy not in POLICIES:
            raise ArgumentError(f"HashTables: policy must be one of {POLICIES}, got {policy!r}.")
        if not 1 <= n_items < 2**31 or bucket_size < 1:
            raise ArgumentError(
                "HashTables: n_items must be from 1 to 2^31 - 1 and bucket_size at least 1, got "
                f"{n_items} and {bucket_size}."
            )
        self.family, self.n_items, self.bucket_size, self.policy = (
            family, n_items, bucket_size, policy,
        )  # fmt: skip
        self.threads = threads
        self._seed = seeding.split(seed, "tables")
        self._changes = 0
        shape = (family.n_tables, 2**family.table_bits)
        self._codes = np.zeros((family.n_tables, n_items), np.uint16)
        self._starts = np.zeros((shape[0], shape[1] + 1), np.int64)
        self._filled, self._seen = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
        self._items = np.empty(0, np.int32)

    def build(self, vectors: Any) -> None:
        """Index all vectors anew.

        Args:
            vectors: (N, D), what the family takes, or anything with ``shape`` that gives such
                rows for a slice.
        """
        if vectors.shape[0] != self.n_items:
            raise ArgumentError(
                f"HashTables.build: expected {self.n_items} vectors, got {vectors.shape[0]}."
            )
        for first in range(0, self.n_items, _ROWS_AT_ONCE):
            block = slice(first, min(first + _ROWS_AT_ONCE, self.n_items))
            self._codes[:, block] = self.family.codes(vectors[block], threads=self.threads).T
        counts = np.empty_like(self._filled)
        work: dict[str, Any] = {"items": len(counts), "threads": self.threads, "least": 1}
        spread(kernels.count, self._codes, counts, **work)
        room = kernels.lay_out(counts, self.bucket_size, self._starts)
        if room != len(self._items):
            self._items = np.empty(room, np.int32)
        spread(
            kernels.fill, self._codes, counts, self._starts, self.policy == "fifo",
            self._next_seed(), self._items, self._filled, self._seen, **work,
        )  # fmt: skip

    def update(self, items_M: _Array, vectors: Any) -> None:
        """Move items to the buckets of their new vectors; ``build`` must have come before.

        Args:
            items_M: int64, (M,), none twice.
            vectors: their vectors, (M, D).
        """
        codes_MT = self.family.codes(vectors, threads=self.threads)
        spread(
            kernels.move, np.ascontiguousarray(items_M, np.int64), codes_MT, self._codes,
            self._starts, self.policy == "fifo", self._next_seed(), self._items, self._filled,
            self._seen, items=len(self._codes), threads=self.threads, least=1,
        )  # fmt: skip

    def out_of_date(self, items_M: _Array, vectors: Any) -> float:
        """Return the share of the codes of ``items_M`` that the vectors (M, D) no longer have."""
        codes_MT = self.family.codes(vectors, threads=self.threads)
        return float((codes_MT != self._codes[:, items_M].T).mean())

    def query(self, queries: Any, most: int, scratch: list[Scratch]) -> tuple[_Array, _Array]:
        """Return for each query the items hit by most tables.

        Args:
            queries: (Q, D).
            most: C, how many items of a query at most.
            scratch: one for each thread.

        Returns:
            Items int32 (Q, C), most hit first, and how many there are, int64 (Q,); what lies
            beyond is undefined.
        """
        codes_QT = self.family.codes(queries, threads=self.threads)
        items_QC = np.empty((len(codes_QT), most), np.int32)
        n_items_Q = np.empty(len(codes_QT), np.int64)
        spread(
            kernels.query_each, codes_QT, self._starts, self._filled, self._items, items_QC,
            n_items_Q, items=len(codes_QT), threads=self.threads,
            of_part=[(own.hits, own.found) for own in scratch],
        )  # fmt: skip
        return items_QC, n_items_Q

    def occupancy(self) -> Occupancy:
        """Return how full the tables are."""
        used = self._filled > 0
        n_kept = int(self._filled.sum())
        arrays = (self._codes, self._starts, self._filled, self._seen, self._items)
        return Occupancy(
            n_items=self.n_items,
            n_buckets=self._filled.size,
            used=float(used.mean()),
            mean=n_kept / max(int(used.sum()), 1),
            largest=int(self._filled.max()),
            kept=n_kept / self._codes.size,
            bytes=sum(array.nbytes for array in arrays),
        )

    def state(self) -> dict[str, Any]:
        """Return all that queries and updates depend on, by name; tensors share memory."""
        arrays = {
            "codes": self._codes, "starts": self._starts, "filled": self._filled,
            "seen": self._seen, "items": self._items,
        }  # fmt: skip
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        return tensors | {"changes": self._changes}

    def load(self, state: Mapping[str, Any]) -> None:
        """Take over what `state` of tables of the same sizes returned.

        Raises:
            CheckpointError: something is missing or has another shape.
        """
        for name, own in self.state().items():
            found = state.get(name)
            if name == "changes":
                self._changes = int(state["changes"])
                continue
            if (
                not isinstance(found, Tensor)
                or found.dtype != own.dtype
                or (name != "items" and found.shape != own.shape)
            ):
                raise CheckpointError(
                    f"load_training_state: hash tables' {name!r} do not fit. Load the state of a "
                    "layer of the same size and hashing."
                )
            if name == "items":
                self._items = found.numpy().copy()
            else:
                own.copy_(found)

    def _next_seed(self) -> np.uint64:
        self._changes += 1
        return np.uint64(seeding.split(self._seed, self._changes))


def recall(found: tuple[_Array, _Array], best_QK: _Array) -> float:
    """Return the share of the truly best items that were found.

    Args:
        found: items (Q, C) and their numbers (Q,), as `HashTables.query` returns them.
        best_QK: the items with the highest scores by exact search, (Q, K).
    """
    items_QC, n_Q = found
    hits = [
        len(np.intersect1d(items[:n], best))
        for items, n, best in zip(items_QC, n_Q, best_QK, strict=True)
    ]
    return float(np.mean(hits)) / best_QK.shape[1] if len(hits) else math.nan
