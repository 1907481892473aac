"""Do several estimates of the same information agree? Cross-checks, and what stands out.

Reference: [KSG] Kraskov, Stögbauer, Grassberger 2004, arXiv:cond-mat/0305641.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

from sidle import seeding
from sidle.errors import ArgumentError
from sidle.mi import rows
from sidle.mi.classical import cca, ksg
from sidle.mi.guarantees import BOUNDS
from sidle.mi.reading import Estimate
from sidle.mi.rows import Array

MOST_ROWS = 5000  # the classical estimators take; KSG's time grows with their square
FAR_NATS, FAR_SHARE = 0.5, 0.5  # further above all others than both is worth a word


def cross_checks(x: Array, y: Array, *, seed: int = 0) -> dict[str, float | None]:
    """Estimate I(X; Y) without any training: nearest neighbours and canonical correlations.

    Args:
        x: N rows, as for `sidle.mi.estimate`.
        y: N rows, likewise.
        seed: picks 5,000 rows where there are more.

    Returns:
        ``"ksg"`` and ``"cca"`` in nats; None where the data do not allow it (repeated rows, fewer
        rows than columns).

    Raises:
        ShapeError, NonFiniteError, ArgumentError: as `sidle.mi.estimate`.
    """
    x_ND, y_NE = rows.paired(x, y, "cross_checks")
    if len(x_ND) > MOST_ROWS:
        generator = seeding.numpy_generator(seeding.split(seed, "cross-checks"))
        chosen = generator.choice(len(x_ND), MOST_ROWS, replace=False)
        x_ND, y_NE = x_ND[chosen], y_NE[chosen]
    found: dict[str, float | None] = {}
    for name, estimator in (("ksg", ksg), ("cca", cca)):
        try:
            nats = estimator(x_ND, y_NE)
        except ArgumentError:
            found[name] = None
        else:
            found[name] = nats if math.isfinite(nats) else None
    return found


def disagreements(
    estimates: Sequence[Estimate], checks: Mapping[str, float | None] | None = None
) -> list[str]:
    """Return what does not fit together, one sentence each; empty if nothing stands out.

    Two rules. InfoNCE's low end is what the data show there is at least: whatever claims to be
    close to I(X; Y) and reads less, with its whole interval, is too low. And a reading far above
    the median of all others (by more than 0.5 nats and by more than half) is likely too high; one
    that has a guarantee as well, where its interval was refused.

    Args:
        estimates: of one I(X; Y).
        checks: what `cross_checks` returned.
    """
    floor = max(
        (e.interval[0] for e in estimates if e.bound == "infonce" and e.interval is not None),
        default=0.0,
    )
    readings = {BOUNDS[one.bound].title: one.nats for one in estimates}
    highs = {
        BOUNDS[one.bound].title: one.nats if one.interval is None else one.interval[1]
        for one in estimates
        if one.guarantee != "lower"
    }
    suspects = set(highs) | {BOUNDS[one.bound].title for one in estimates if one.interval is None}
    for name, nats in (checks or {}).items():
        if nats is not None:
            readings[name.upper()] = highs[name.upper()] = nats
            suspects.add(name.upper())
    found = [
        f"{title} reads {readings[title]:.2f} nats, less than the {floor:.2f} nats that InfoNCE "
        "shows there are at least."
        for title, high in highs.items()
        if floor > 0 and high < floor
    ]
    for title, nats in readings.items():
        others = [value for other, value in readings.items() if other != title]
        if title not in suspects or len(others) < 2:
            continue
        usual = statistics.median(others)
        if nats > usual + max(FAR_NATS, FAR_SHARE * abs(usual)):
            found.append(
                f"{title} reads {nats:.2f} nats, far above the others (median {usual:.2f}); it is "
                "likely too high."
            )
    return found
