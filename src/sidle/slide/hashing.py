"""Locality-sensitive hash functions: vectors that are alike fall into the same buckets.

Each family draws K * L functions from a seed; `codes` gives, for every vector, its bucket in each
of L tables, and `collision_probability` the chance that one digit agrees. K digits agree with that
probability to the power K, for the functions of a table are independent (SimHash, WTA) or nearly so
(those that share a permutation: DWTA, densified MinHash).

    family             for                       chance that one digit agrees
    SimHash            vectors, by angle         1 - angle / pi                        [C] section 3
    SparseSimHash      the same, P of D entries  nearly the same; cheaper              [L]
    WinnerTakeAll      vectors, by order         as enumeration over permutations says [Y]
    DensifiedWTA       sparse vectors, by order  the same among non-zeros              [D]
    DensifiedMinHash   sets                      Jaccard similarity + 2^-bits chance   [S]

Letters: N = vectors, D = length, H = K * L functions, L = tables, E = non-zeros of all vectors.
References: [C] Charikar 2002, STOC; [L] Li, Hastie & Church 2006, KDD; [Y] Yagnik, Strelow, Ross &
Lin 2011, ICCV; [D] Chen & Shrivastava 2018, UAI; [S] Shrivastava 2017, arXiv:1703.04664.
"""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sidle import seeding
from sidle.errors import ArgumentError, ShapeError
from sidle.slide.kernels import hashing as kernels
from sidle.slide.sparse_rows import SparseRows, read_rows
from sidle.slide.threads import spread

FAMILIES = ("simhash", "sparse_simhash", "wta", "dwta", "minhash")
MOST_TABLE_BITS = 16
"""A table has at most 2^16 buckets, so that a bucket number takes two bytes."""

_ROWS_AT_ONCE = 16384
_Array = np.ndarray[Any, Any]


class HashFamily(ABC):
    """K * L hash functions over vectors of one length.

    Args:
        n_features: D.
        n_digits: K, at least 1.
        n_tables: L, at least 1.
        digit_bits: width of a digit.
        table_bits: a table has 2^table_bits buckets; None: as many as K digits need, at most
            `MOST_TABLE_BITS`. Fewer than K digits need: codes are mixed into the table.

    Raises:
        ArgumentError: an argument out of its range.
    """

    def __init__(
        self, n_features: int, n_digits: int, n_tables: int, digit_bits: int, table_bits: int | None
    ) -> None:
        if min(n_features, n_digits, n_tables) < 1:
            raise ArgumentError(
                "hashing: n_features, n_digits and n_tables must be at least 1, got "
                f"{n_features}, {n_digits} and {n_tables}."
            )
        needed = n_digits * digit_bits
        bits = min(needed, MOST_TABLE_BITS) if table_bits is None else table_bits
        if not 1 <= bits <= min(needed, MOST_TABLE_BITS):
            raise ArgumentError(
                f"hashing: table_bits must be from 1 to {min(needed, MOST_TABLE_BITS)}, got {bits}."
            )
        self.n_features, self.n_digits, self.n_tables = n_features, n_digits, n_tables
        self.digit_bits, self.table_bits = digit_bits, bits

    @property
    def n_functions(self) -> int:
        """H = K * L."""
        return self.n_digits * self.n_tables

    @abstractmethod
    def digits(self, vectors: Any, *, threads: int = 1) -> _Array:
        """Return the digits of ``vectors``, uint8, (N, H)."""

    def codes(self, vectors: Any, *, threads: int = 1) -> _Array:
        """Return the bucket of every vector in every table, uint16, (N, L).

        Args:
            vectors: float32 (N, D), tensor or array; or CSR (N, D) where the family takes it.
            threads: how many share the work; the result does not depend on it.

        Raises:
            ShapeError: not (N, D), or dense where the family is for sparse vectors.
        """
        if len(getattr(vectors, "shape", ())) != 2:
            raise ShapeError(
                f"{type(self).__name__}: expected an array of shape (N, {self.n_features}), got "
                f"{type(vectors).__name__} of shape {tuple(getattr(vectors, 'shape', ()))}."
            )
        n = vectors.shape[0]
        codes_NL = np.empty((n, self.n_tables), np.uint16)
        for first in range(0, n, _ROWS_AT_ONCE):
            block = slice(first, min(first + _ROWS_AT_ONCE, n))
            spread(
                kernels.pack, self.digits(vectors[block], threads=threads), self.n_digits,
                self.digit_bits, self.table_bits, codes_NL[block],
                items=block.stop - first, threads=threads,
            )  # fmt: skip
        return codes_NL

    def _dense(self, vectors: Any) -> Tensor:
        if not isinstance(vectors, (Tensor, np.ndarray)):
            raise ShapeError(
                f"{type(self).__name__}: expected float32 of shape (N, {self.n_features}), got "
                f"{type(vectors).__name__}."
            )
        tensor = torch.as_tensor(vectors).detach().float().contiguous()
        if tensor.ndim != 2 or tensor.shape[1] != self.n_features:
            raise ShapeError(
                f"{type(self).__name__}: expected shape (N, {self.n_features}), got "
                f"{tuple(tensor.shape)}."
            )
        return tensor

    def _sparse(self, vectors: Any) -> SparseRows:
        if isinstance(vectors, (Tensor, np.ndarray)) and not (
            isinstance(vectors, Tensor) and vectors.layout == torch.sparse_csr
        ):
            dense = self._dense(vectors).numpy()
            rows, columns = np.nonzero(dense)
            starts = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(dense)))])
            return SparseRows(starts, columns.astype(np.int32), dense[rows, columns])
        return read_rows(vectors, self.n_features, type(self).__name__)


class SimHash(HashFamily):
    """Signs of projections on random directions, normal entries; a digit is one bit.

    Takes dense vectors and CSR.
    """

    def __init__(
        self,
        n_features: int,
        n_digits: int,
        n_tables: int,
        *,
        seed: int,
        table_bits: int | None = None,
    ) -> None:
        super().__init__(n_features, n_digits, n_tables, 1, table_bits)
        generator = seeding.torch_generator(seeding.split(seed, "simhash"))
        self._planes = torch.randn(n_features, self.n_functions, generator=generator)

    def digits(self, vectors: Any, *, threads: int = 1) -> _Array:
        """Return the digits of ``vectors``, uint8, (N, H)."""
        if isinstance(vectors, (Tensor, np.ndarray)) and not (
            isinstance(vectors, Tensor) and vectors.layout == torch.sparse_csr
        ):
            projections = (self._dense(vectors) @ self._planes).numpy()
        else:
            rows = self._sparse(vectors)
            projections = np.empty((len(rows), self.n_functions), np.float32)
            spread(
                kernels.entry_projections, rows.indptr, rows.indices, rows.values,
                self._planes.numpy(), projections, items=len(rows), threads=threads,
            )  # fmt: skip
        digits = np.empty(projections.shape, np.uint8)
        spread(kernels.sign_digits, projections, digits, items=len(digits), threads=threads)
        return digits

    @staticmethod
    def collision_probability(x: _Array, y: _Array) -> float:
        """Return 1 - angle(x, y) / pi."""
        cosine = float(x @ y) / math.sqrt(float(x @ x) * float(y @ y))
        return 1 - math.acos(min(1.0, max(-1.0, cosine))) / math.pi


class SparseSimHash(HashFamily):
    """SimHash whose directions have ``n_places`` entries +1 or -1 and else 0 ([L]).

    Args:
        n_features: D.
        n_digits: K.
        n_tables: L.
        seed: of places and signs.
        n_places: entries of a direction; None: a third of D, as SLIDE has it.
        table_bits: as `HashFamily`.
    """

    def __init__(
        self,
        n_features: int,
        n_digits: int,
        n_tables: int,
        *,
        seed: int,
        n_places: int | None = None,
        table_bits: int | None = None,
    ) -> None:
        super().__init__(n_features, n_digits, n_tables, 1, table_bits)
        places = math.ceil(n_features / 3) if n_places is None else n_places
        if not 1 <= places <= n_features:
            raise ArgumentError(
                f"SparseSimHash: n_places must be from 1 to {n_features}, got {places}."
            )
        generator = seeding.numpy_generator(seeding.split(seed, "sparse_simhash"))
        order = generator.random((self.n_functions, n_features)).argsort(axis=1)
        self._places = np.ascontiguousarray(order[:, :places], np.int32)
        self._signs = generator.choice(np.array([-1, 1], np.float32), self._places.shape)

    def digits(self, vectors: Any, *, threads: int = 1) -> _Array:
        """Return the digits of ``vectors``, uint8, (N, H)."""
        x = self._dense(vectors).numpy()
        projections = np.empty((len(x), self.n_functions), np.float32)
        work: dict[str, Any] = {"items": len(x), "threads": threads}
        spread(kernels.sparse_projections, x, self._places, self._signs, projections, **work)
        digits = np.empty(projections.shape, np.uint8)
        spread(kernels.sign_digits, projections, digits, **work)
        return digits


class WinnerTakeAll(HashFamily):
    """Which of the first m places of a random permutation holds the largest entry ([Y])."""

    def __init__(
        self,
        n_features: int,
        n_digits: int,
        n_tables: int,
        *,
        seed: int,
        bin_size: int = 8,
        table_bits: int | None = None,
    ) -> None:
        check_bin_size(bin_size, n_features, type(self).__name__)
        super().__init__(n_features, n_digits, n_tables, (bin_size - 1).bit_length(), table_bits)
        generator = seeding.numpy_generator(seeding.split(seed, "wta"))
        order = generator.random((self.n_functions, n_features)).argsort(axis=1)
        self.bin_size = bin_size
        self._places = np.ascontiguousarray(order[:, :bin_size], np.int32)

    def digits(self, vectors: Any, *, threads: int = 1) -> _Array:
        """Return the digits of ``vectors``, uint8, (N, H)."""
        x = self._dense(vectors).numpy()
        digits = np.empty((len(x), self.n_functions), np.uint8)
        spread(kernels.winners, x, self._places, digits, items=len(x), threads=threads)
        return digits

    @staticmethod
    def collision_probability(x: _Array, y: _Array, bin_size: int) -> float:
        """Return the share of ordered choices of places that agree, by enumeration (small D)."""
        choices = list(itertools.permutations(range(len(x)), bin_size))
        same = sum(int(np.argmax(x[list(c)]) == np.argmax(y[list(c)])) for c in choices)
        return same / len(choices)


class DensifiedWTA(HashFamily):
    """Winner takes all for sparse vectors, with few permutations and full bins ([D]).

    Takes CSR, and dense vectors, whose zeros do not take part.
    """

    def __init__(
        self,
        n_features: int,
        n_digits: int,
        n_tables: int,
        *,
        seed: int,
        bin_size: int = 8,
        table_bits: int | None = None,
    ) -> None:
        check_bin_size(bin_size, n_features, type(self).__name__)
        super().__init__(n_features, n_digits, n_tables, (bin_size - 1).bit_length(), table_bits)
        self.bin_size = bin_size
        self._seed = np.uint64(seeding.split(seed, "dwta", "lenders"))
        generator = seeding.numpy_generator(seeding.split(seed, "dwta"))
        per_permutation = n_features // bin_size
        n_permutations = math.ceil(self.n_functions / per_permutation)
        place_RD = generator.random((n_permutations, n_features)).argsort(axis=1).argsort(axis=1)
        bin_RD = place_RD // bin_size
        bin_RD += per_permutation * np.arange(n_permutations)[:, None]
        outside = (place_RD >= per_permutation * bin_size) | (bin_RD >= self.n_functions)
        self._bins = np.where(outside, -1, bin_RD).astype(np.int32)
        self._slots = (place_RD % bin_size).astype(np.uint8)

    def digits(self, vectors: Any, *, threads: int = 1) -> _Array:
        """Return the digits of ``vectors``, uint8, (N, H)."""
        rows = self._sparse(vectors)
        digits = np.zeros((len(rows), self.n_functions), np.uint8)
        spread(
            kernels.densified_winners, rows.indptr, rows.indices, rows.values, self._bins,
            self._slots, self._seed, digits, items=len(rows), threads=threads,
        )  # fmt: skip
        return digits


class DensifiedMinHash(HashFamily):
    """MinHash of sets from one permutation, empty bins filled from others ([S]).

    Takes CSR, and dense vectors: the set is where they are not zero.
    """

    def __init__(
        self,
        n_features: int,
        n_digits: int,
        n_tables: int,
        *,
        seed: int,
        digit_bits: int = 4,
        table_bits: int | None = None,
    ) -> None:
        if not 1 <= digit_bits <= 8:
            raise ArgumentError(
                f"DensifiedMinHash: digit_bits must be from 1 to 8, got {digit_bits}."
            )
        super().__init__(n_features, n_digits, n_tables, digit_bits, table_bits)
        self._seed = np.uint64(seeding.split(seed, "minhash", "mixing"))
        generator = seeding.numpy_generator(seeding.split(seed, "minhash"))
        place_D = generator.permutation(n_features)
        # Bins of equal size but for one: where D is below H, some bins stay empty and borrow.
        self._bins = (place_D * self.n_functions // n_features).astype(np.int32)
        self._ranks = place_D.astype(np.int32)

    def digits(self, vectors: Any, *, threads: int = 1) -> _Array:
        """Return the digits of ``vectors``, uint8, (N, H)."""
        rows = self._sparse(vectors)
        digits = np.zeros((len(rows), self.n_functions), np.uint8)
        spread(
            kernels.densified_minima, rows.indptr, rows.indices, self._bins, self._ranks,
            self.digit_bits, self._seed, digits, items=len(rows), threads=threads,
        )  # fmt: skip
        return digits

    def collision_probability(self, x: _Array, y: _Array) -> float:
        """Return J + (1 - J) 2^-bits, J the Jaccard similarity of the supports of x and y."""
        both, either = np.logical_and(x, y).sum(), np.logical_or(x, y).sum()
        jaccard = float(both / either)
        return jaccard + (1 - jaccard) * 2.0**-self.digit_bits


def check_bin_size(bin_size: int, n_features: int, where: str) -> None:
    """Refuse bins that do not fit.

    Raises:
        ArgumentError: fewer than 2 places, more than D, or more than 256.
    """
    if not 2 <= bin_size <= min(n_features, 256):
        raise ArgumentError(
            f"{where}: bin_size must be from 2 to {min(n_features, 256)}, got {bin_size}."
        )


def make_family(
    name: str, n_features: int, *, n_digits: int, n_tables: int, seed: int
) -> HashFamily:
    """Return the family ``name`` of `FAMILIES` with its defaults.

    Raises:
        ArgumentError: no such family, or sizes out of range.
    """
    families: dict[str, Any] = {
        "simhash": SimHash,
        "sparse_simhash": SparseSimHash,
        "wta": WinnerTakeAll,
        "dwta": DensifiedWTA,
        "minhash": DensifiedMinHash,
    }
    if name not in families:
        raise ArgumentError(f"hashing: family must be one of {FAMILIES}, got {name!r}.")
    family: HashFamily = families[name](n_features, n_digits, n_tables, seed=seed)
    return family
