"""Two classical estimators of mutual information, to check a variational estimate against.

`ksg` compares distances to nearest neighbours; `cca` assumes that everything is normal. Neither
trains anything, and neither is a bound. Both take a pair of matrices x_ND and y_NE, row n of one
belonging to row n of the other, rows independent draws of one distribution.

Letters: N = pairs; D, E = dimensions of x and of y; B = rows in a block; R, S = ranks of x and y.
References: [KSG] Kraskov, Stögbauer, Grassberger 2004, Phys. Rev. E 69, 066138,
arXiv:cond-mat/0305641. [CCA] Hotelling 1936, "Relations between two sets of variates", Biometrika
28; as information: Gelfand, Yaglom 1957, Uspekhi Mat. Nauk 12(1).
"""

from __future__ import annotations

import math

import numpy as np
from scipy.spatial.distance import cdist
from scipy.special import digamma

from sidle.errors import ArgumentError
from sidle.mi import rows
from sidle.mi.rows import Array, Matrix

DISTANCES_AT_ONCE = 2**20  # 8 MB; four such blocks are in memory at the same time
# Distances between values of a grid are equal up to rounding, and are not to count as closer.
STRICTLY = 1 - 1e-9


def ksg(x: Array, y: Array, *, n_neighbors: int = 10) -> float:
    """Nearest-neighbour estimate of I(X; Y), in nats: the first estimator of [KSG, eq. 8].

    psi(k) + psi(N) - mean of psi(n_x + 1) + psi(n_y + 1), where n_x rows are strictly closer to a
    row in X, and n_y in Y, than its k-th neighbour is in both. Distances are Euclidean in X and in
    Y, of columns brought to mean 0 and variance 1; the distance of a pair is the larger of the two
    [KSG, eq. 7]. All N^2 distances are taken: about 1 s for 10,000 rows of few dimensions, 3 s for
    20,000. Search trees know no such distance, and take longer once x and y have ten dimensions.

    It errs little in few dimensions and reads low in many, as it does on heavy tails. Values that
    repeat in x alone or in y alone do no harm.

    Args:
        x: N rows, shape (N,) or (N, D); NumPy, torch, or what `numpy.asarray` takes; finite real
            numbers, integers or booleans.
        y: N rows, shape (N,) or (N, E), likewise.
        n_neighbors: k, in [1, N - 1]; more of them trade variance for bias.

    Returns:
        The estimate, not clipped: chance may take it below 0. Exactly 0 for a constant x or y.

    Raises:
        ShapeError: x or y is no vector or matrix, has no columns, or their rows differ in number.
        NonFiniteError: x or y holds a NaN or an infinity.
        ArgumentError: they do not hold real numbers, ``n_neighbors`` lies outside its range, or a
            pair (x, y) occurs more than k times, so that its k-th neighbour lies at distance 0.
    """
    x_ND, y_NE = rows.paired(x, y, "ksg")
    N = len(x_ND)
    if N < 2:
        raise ArgumentError(f"ksg: expected at least 2 rows, got {N}.")
    if not isinstance(n_neighbors, (int, np.integer)) or not 1 <= n_neighbors < N:
        raise ArgumentError(
            f"ksg: n_neighbors must be an integer in [1, {N - 1}] for {N} rows, got "
            f"{n_neighbors!r}."
        )
    x_ND, y_NE = _standardised(x_ND), _standardised(y_NE)
    if not x_ND.any() or not y_NE.any():
        return 0.0
    total = 0.0
    B = max(1, DISTANCES_AT_ONCE // N)
    for start in range(0, N, B):
        x_distances_BN = cdist(x_ND[start : start + B], x_ND)
        y_distances_BN = cdist(y_NE[start : start + B], y_NE)
        both_BN = np.maximum(x_distances_BN, y_distances_BN)
        # Place 0 is taken by the row itself, at distance 0.
        radius_B1 = np.partition(both_BN, n_neighbors, axis=1)[:, n_neighbors, None]
        if not radius_B1.all():
            raise ArgumentError(
                f"ksg: expected draws from a density, but the pair in row "
                f"{start + int(radius_B1.argmin())} (counted from 0) occurs more than n_neighbors "
                f"= {n_neighbors} times. Drop repeated rows, or add a little noise if x and y are "
                "discrete."
            )
        # The row itself is counted: these are n_x + 1 and n_y + 1.
        for distances_BN in (x_distances_BN, y_distances_BN):
            total += digamma((distances_BN < STRICTLY * radius_B1).sum(1)).sum()
    return float(digamma(n_neighbors) + digamma(N) - total / N)


def cca(x: Array, y: Array) -> float:
    """I(X; Y), in nats, of normal variables with the canonical correlations of the data [CCA].

    -1/2 sum of log(1 - rho_i^2). Finds only linear dependence, has no correction for the bias of
    about D E / (2 N) nats, and means nothing on heavy tails. Constant columns, and columns that
    depend linearly on others of the same matrix, add nothing.

    Args:
        x: N rows, shape (N,) or (N, D); NumPy, torch, or what `numpy.asarray` takes; finite real
            numbers, integers or booleans.
        y: N rows, shape (N,) or (N, E), likewise.

    Returns:
        The estimate, at least 0, and exactly 0 for a constant x or y; infinite if some combination
        of x is one of y, up to rounding.

    Raises:
        ShapeError: x or y is no vector or matrix, has no columns, or their rows differ in number.
        NonFiniteError: x or y holds a NaN or an infinity.
        ArgumentError: they do not hold real numbers, or there are fewer rows than R + S + 2, R and
            S being the ranks of x and y: correlations would be perfect whatever the truth is.
    """
    x_ND, y_NE = rows.paired(x, y, "cca")
    N = len(x_ND)
    if N < 2:
        raise ArgumentError(f"cca: expected at least 2 rows, got {N}.")
    x_NR, y_NS = _orthonormal(_standardised(x_ND)), _orthonormal(_standardised(y_NE))
    if not x_NR.size or not y_NS.size:
        return 0.0
    fewest = x_NR.shape[1] + y_NS.shape[1] + 2
    if fewest > N:
        raise ArgumentError(
            f"cca: expected at least {fewest} rows for x of rank {x_NR.shape[1]} and y of rank "
            f"{y_NS.shape[1]}, got {N}. Give more rows or fewer columns."
        )
    # What x cannot explain of y has the sines of the principal angles for singular values, and
    # 1 - rho^2 = sine^2. Taken from the cosines rho, it would lose all digits near rho = 1.
    sines_S = np.linalg.svd(y_NS - x_NR @ (x_NR.T @ y_NS), compute_uv=False)
    if (sines_S <= N * np.finfo(np.float64).eps).any():
        return math.inf
    return max(0.0, -float(np.log(sines_S).sum()))  # rounding may take a sine above 1


def _standardised(rows_ND: Matrix) -> Matrix:
    """Return the rows with columns of mean 0 and variance 1, constant ones all 0."""
    # Subtracting a row first, a constant column is 0 without rounding; dividing by the largest
    # value next, no square overflows or vanishes.
    rows_ND = rows_ND - rows_ND[0]
    largest_D = np.abs(rows_ND).max(axis=0)
    rows_ND = rows_ND / np.where(largest_D > 0, largest_D, 1.0)
    rows_ND = rows_ND - rows_ND.mean(axis=0)
    return rows_ND / np.where(largest_D > 0, rows_ND.std(axis=0), 1.0)


def _orthonormal(rows_ND: Matrix) -> Matrix:
    """Return an orthonormal basis of the space the columns span, shape (N, R), R their rank."""
    basis, sizes, _ = np.linalg.svd(rows_ND, full_matrices=False)
    resolution = max(rows_ND.shape) * np.finfo(np.float64).eps * sizes.max()
    return basis[:, sizes > resolution]
