"""Estimate mutual information from paired data: train a critic, read a bound on held-out pairs.

Since the critic never sees the pairs it is read on (`sidle.mi.fitting` divides the rows), the value
of a lower bound is one in expectation, however poorly the critic was trained: a weak critic reads
too low, not too high.

Letters: N = pairs; D, E = dimensions of x and of y; K = pairs in a batch.
Reference: [VBMI] Poole et al. 2019, arXiv:1905.06922.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypedDict, TypeVar, Unpack

import torch

from sidle.errors import ArgumentError
from sidle.mi import fitting, rows
from sidle.mi.critics import CRITICS
from sidle.mi.fitting import Fitted
from sidle.mi.guarantees import BOUNDS, CriticBuilder
from sidle.mi.reading import Estimate
from sidle.mi.rows import Array
from sidle.runs import Run

T = TypeVar("T")

N_STEPS, LEARNING_RATE = 4000, 5e-4
SMALLEST_BATCH, LARGEST_BATCH = 8, 256  # what `default_batch_size` chooses between
BATCHES_FOR_AN_INTERVAL = 5  # that `default_batch_size` leaves where it can


class Settings(TypedDict, total=False):
    """Keywords of `estimate`, without the bound."""

    critic: str | CriticBuilder
    batch_size: int | None
    n_steps: int
    learning_rate: float
    seed: int
    device: str | torch.device


def estimate(
    x: Array,
    y: Array,
    *,
    bound: str = "infonce",
    critic: str | CriticBuilder = "separable",
    batch_size: int | None = None,
    n_steps: int = N_STEPS,
    learning_rate: float = LEARNING_RATE,
    seed: int = 0,
    device: str | torch.device = "cpu",
    run: Run | None = None,
) -> Estimate:
    """Estimate I(X; Y) from paired rows, in nats.

    Each column is centred at its median, divided by its spread and passed through asinh, which
    tames heavy tails. That is one-to-one, so that I(X; Y) is what it was, and makes the estimate
    independent of units. A constant column is harmless. Categories should come one-hot. Rows must
    be independent: neighbouring rows of a time series, or repeated ones, leak from train to test
    and let the estimate read too high.

    Args:
        x: N rows, shape (N,) or (N, D); NumPy, torch, or what `numpy.asarray` takes; finite real
            numbers, integers or booleans.
        y: N rows, shape (N,) or (N, E), likewise.
        bound: key of `sidle.mi.BOUNDS`: "infonce", "nwj", "tuba", "js", "interpolated", "flo",
            "dv", "mine", "smile", "l1out", "club" or "njee".
        critic: "separable", "bilinear", "concatenated", or a function from (D, E) to a module that
            maps (x_BD, y_CE) to scores_BC, such as ``partial(SeparableCritic, hidden=64)``. L1Out,
            CLUB and NJEE model densities and take none.
        batch_size: K >= 2, for "interpolated" K >= 3; None takes `default_batch_size`. InfoNCE
            cannot exceed log K.
        n_steps: training steps at most; training stops early when the validation value has not
            improved for 500 steps.
        learning_rate: of Adam, above 0.
        seed: names division, initial weights, and batches. Same seed, same bits.
        device: where the critic is trained and read.
        run: an open run that keeps checkpoints and metrics, so that an interrupted estimate
            resumes and ends with the same result; None keeps nothing.

    Raises:
        ShapeError: x or y is no vector or matrix, has no columns, or their rows differ in number.
        NonFiniteError: x or y holds a NaN or an infinity, or training diverged.
        ArgumentError: not numbers, an unknown bound or critic, a setting outside its range, or
            too few rows for the batch size; says how many rows would do.
    """
    _, found = fit_and_read(
        x,
        y,
        bound=bound,
        critic=critic,
        batch_size=batch_size,
        n_steps=n_steps,
        learning_rate=learning_rate,
        seed=seed,
        device=device,
        run=run,
    )
    return found


def estimate_all(
    x: Array, y: Array, *, bounds: Sequence[str] = tuple(BOUNDS), **settings: Unpack[Settings]
) -> list[Estimate]:
    """Return `estimate` with each of several bounds, on the same division into parts.

    The largest of the lower bounds is no lower bound: picking it favours chance. Choose the bound
    before looking, or raise the bar accordingly.

    Args:
        x: as for `estimate`.
        y: as for `estimate`.
        bounds: keys of `sidle.mi.BOUNDS`; all of them by default.
        **settings: as for `estimate`.

    Raises:
        As `estimate`.
    """
    for bound in bounds:
        _look_up(bound, BOUNDS, "bound")
    return [estimate(x, y, bound=bound, **settings) for bound in bounds]


def fit_and_read(
    x: Array,
    y: Array,
    *,
    bound: str,
    critic: str | CriticBuilder,
    batch_size: int | None,
    n_steps: int,
    learning_rate: float,
    seed: int,
    device: str | torch.device,
    run: Run | None = None,
) -> tuple[Fitted, Estimate]:
    """Return the trained network beside the estimate; arguments and errors as `estimate`."""
    x_ND, y_NE = rows.paired(x, y, "estimate")
    chosen, build = _look_up(bound, BOUNDS, "bound"), critic
    if isinstance(build, str):
        build = _look_up(build, CRITICS, "critic")
    if not isinstance(n_steps, int) or n_steps < 1 or not 0 < learning_rate < math.inf:
        raise ArgumentError(
            "estimate: n_steps must be an integer of at least 1 and learning_rate above 0, got "
            f"{n_steps} and {learning_rate}."
        )
    _check_device(device)
    K = default_batch_size(len(x_ND)) if batch_size is None else batch_size
    fewest = 3 if bound == "interpolated" else 2
    _check_rows(len(x_ND), K, fewest=fewest, chosen=batch_size is not None)
    fitted, test = fitting.fit(
        x_ND,
        y_NE,
        chosen,
        build,
        batch_size=K,
        n_steps=n_steps,
        learning_rate=learning_rate,
        seed=seed,
        device=device,
        run=run,
    )
    return fitted, fitted.read(*test)


def default_batch_size(n: int) -> int:
    """Return K for n pairs: a fifth of the test rows, but at least 8 and at most 256.

    A larger K raises InfoNCE's ceiling log K; five disjoint test batches keep its interval
    useful. 256 are reached at 5,120 pairs; 54 pairs are the fewest that K = 8 can work with.
    """
    _, _, n_test = rows.sizes(n)
    return min(max(n_test // BATCHES_FOR_AN_INTERVAL, SMALLEST_BATCH), LARGEST_BATCH)


def _look_up(name: str, table: Mapping[str, T], what: str) -> T:
    if name not in table:
        known = ", ".join(table)
        raise ArgumentError(f"estimate: {what} must be one of {known}, got {name!r}.")
    return table[name]


def _check_device(device: str | torch.device) -> None:
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ArgumentError(
            f"estimate: device {str(device)!r} cannot be used here ({reason}). Use 'cpu'."
        ) from error


def _check_rows(n: int, K: int, *, fewest: int, chosen: bool) -> None:
    if not isinstance(K, int) or fewest > K:
        raise ArgumentError(
            f"estimate: batch_size must be an integer of at least {fewest}, got {K}."
        )
    if min(rows.sizes(n)) < K:
        needed = -(-100 * K // rows.VALIDATION_PERCENT)  # validation is the smallest part
        raise ArgumentError(
            f"estimate: a batch of {K} needs at least {needed} rows, of which "
            f"{rows.VALIDATION_PERCENT} % are for validation, got {n}. "
            + (
                "Give more rows or a smaller batch_size."
                if chosen
                else "Give more rows; a smaller batch_size works, but its ceiling log K is low."
            )
        )
