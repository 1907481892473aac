"""What the study `mutual-information` claims, and how each claim is measured on its records.

Every effect is a function from records to {seed: value}.
References: [VBMI] Poole et al. 2019, arXiv:1905.06922. [CPC] van den Oord et al. 2018,
arXiv:1807.03748. [SMILE] Song & Ermon 2020, arXiv:1910.06222. [BN] Czyz et al. 2023,
arXiv:2306.11078.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from sidle.mi.beyond_normal import BEYOND_NORMAL
from sidle.mi.guarantees import BOUNDS
from sidle.studies.study import Claim, Record, select

Effect = Mapping[int, float]


def staircase(
    records: Sequence[Record],
    bound: str,
    what: str,
    *,
    read: str | None = None,
    transform: str = "none",
    alpha: float | None = None,
) -> dict[int, npt.NDArray[np.float64]]:
    """Return the "mean" or "deviation" of a read-out at each stair, by seed.

    Args:
        records: of the study.
        bound: trained.
        what: "mean" or "deviation".
        read: which read-out; None: the bound's own.
        transform: of y.
        alpha: of the interpolated bound.
    """
    found: dict[int, npt.NDArray[np.float64]] = {}
    for record in select(records, kind="staircase", bound=bound, transform=transform, alpha=alpha):
        values = record["reads"][read or bound][what]
        found |= {s: np.array(row) for s, row in zip(record["seeds"], values, strict=True)}
    return found


def share_of_ceiling(records: Sequence[Record]) -> Effect:
    """InfoNCE at the highest stair over log K, by seed."""
    sizes = {r["batch_size"] for r in select(records, kind="staircase", bound="infonce")}
    means = staircase(records, "infonce", "mean")
    return {seed: float(row[-1] / math.log(K)) for K in sizes for seed, row in means.items()}


def deviation_ratio(records: Sequence[Record], wilder: str, calmer: str) -> Effect:
    """Log ratio of two read-outs' standard deviations at the highest stair, by seed.

    A read-out is named as "bound" or "bound:read".
    """
    first, second = (
        staircase(records, name.split(":")[0], "deviation", read=name.split(":")[-1])
        for name in (wilder, calmer)
    )
    return {s: math.log(first[s][-1] / second[s][-1]) for s in first if s in second}


def variance_growth(records: Sequence[Record], read: str = "nwj") -> Effect:
    """Least-squares slope of log variance of NWJ's critic against the information, by seed."""
    levels = [r["levels"] for r in select(records, kind="staircase", bound="nwj")]
    rows = staircase(records, "nwj", "deviation", read=read)
    return {s: float(np.polyfit(levels[0], 2 * np.log(row), 1)[0]) for s, row in rows.items()}


def _ends(records: Sequence[Record]) -> tuple[float, float]:
    alphas = sorted(r["alpha"] for r in select(records, kind="staircase", bound="interpolated"))
    # The ends 0 and 1 are NWJ and InfoNCE themselves; the continuum lies between.
    inner = [alpha for alpha in alphas if 0 < alpha < 1]
    return (inner[0], inner[-1]) if inner else (math.nan, math.nan)


def alpha_calms(records: Sequence[Record]) -> Effect:
    """Log ratio of deviations, smallest to largest alpha, at the highest stair, by seed."""
    small, large = (
        staircase(records, "interpolated", "deviation", alpha=alpha) for alpha in _ends(records)
    )
    return {s: math.log(small[s][-1] / large[s][-1]) for s in small if s in large}


def alpha_lowers(records: Sequence[Record]) -> Effect:
    """Reading at the smallest alpha minus that at the largest, at the highest stair, by seed."""
    small, large = (
        staircase(records, "interpolated", "mean", alpha=alpha) for alpha in _ends(records)
    )
    return {s: float(small[s][-1] - large[s][-1]) for s in small if s in large}


def cubic_costs(records: Sequence[Record]) -> Effect:
    """InfoNCE on Gaussians minus on their cubes, mean over stairs, by seed."""
    plain, cubic = (
        staircase(records, "infonce", "mean", transform=transform)
        for transform in ("none", "cubic")
    )
    return {s: float((plain[s] - cubic[s]).mean()) for s in plain if s in cubic}


def critic_fit(records: Sequence[Record]) -> Effect:
    """R squared of the centred InfoNCE critic against the exact log ratio, by seed."""
    return {r.cell.seed: r["r_squared"] for r in select(records, kind="critic")}


def sandwich_closes(records: Sequence[Record]) -> Effect:
    """Log ratio of the larger distance of the two from the truth, smallest to largest batch."""

    def distance(record: Record, at: int) -> float:
        truth: float = record["sandwich_nats"]
        return max(abs(float(record[name][at]) - truth) for name in ("lower", "upper"))

    return {
        record.cell.seed: math.log(distance(record, 0) / distance(record, -1))
        for record in select(records, kind="sandwich")
    }


def negatives(records: Sequence[Record], name: str, more: str, less: str) -> Effect:
    """Difference of a result between two kinds of negatives, by seed."""
    first, second = (
        {r.cell.seed: r[name] for r in select(records, kind="negatives", negatives=kind)}
        for kind in (more, less)
    )
    return {s: first[s] - second[s] for s in first if s in second}


def _by_seed(records: Sequence[Record]) -> dict[int, list[Record]]:
    """Return the forty tasks of each seed that has them all: fewer bear no claim about forty."""
    found: dict[int, list[Record]] = {}
    for record in select(records, kind="task"):
        found.setdefault(record.cell.seed, []).append(record)
    return {seed: tasks for seed, tasks in found.items() if len(tasks) == len(BEYOND_NORMAL)}


def worst_coverage(records: Sequence[Record]) -> Effect:
    """Smallest coverage over the tasks, by seed."""
    return {s: min(r["coverage"] for r in tasks) for s, tasks in _by_seed(records).items()}


def share_below_truth(records: Sequence[Record]) -> Effect:
    """Share of the intervals of lower bounds, over tasks and bounds, that begin below the truth.

    A bound that was refused an interval claims nothing and does not count.
    """
    found = {}
    for seed, tasks in _by_seed(records).items():
        below = [
            low <= task["truth"]
            for task in tasks
            for name, low in task["low"].items()
            if low is not None and BOUNDS[name].guarantee == "lower"
        ]
        found[seed] = sum(below) / len(below)
    return found


def closer_than(records: Sequence[Record], other: str) -> Effect:
    """Median error of another estimator minus InfoNCE's, over the tasks, by seed."""
    return {
        s: float(
            np.median([abs(r[other] - r["truth"]) for r in tasks])
            - np.median([abs(r["nats"]["infonce"] - r["truth"]) for r in tasks])
        )
        for s, tasks in _by_seed(records).items()
    }


def _images(records: Sequence[Record], **settings: object) -> dict[int, Record]:
    """Return the noisiest cell with these settings, by seed."""
    found = select(records, **settings)
    most = max((record["noise"] for record in found), default=0.0)
    return {record.cell.seed: record for record in select(found, noise=most)}


def growth_with_rows(records: Sequence[Record]) -> Effect:
    """Spearman's rank correlation of rows seen through the most noise and InfoNCE, by seed."""
    from scipy.stats import spearmanr

    digits = select(records, kind="rows", dataset="digits", bound="infonce", paired=True)
    found: dict[int, list[tuple[int, float]]] = {}
    for rows in sorted({record["rows"] for record in digits}):
        for seed, record in _images(digits, rows=rows).items():
            found.setdefault(seed, []).append((rows, record["nats"]))
    return {
        seed: float(spearmanr(*zip(*pairs, strict=True)).statistic)
        for seed, pairs in found.items()
        if len(pairs) > 1
    }


def control_is_silent(records: Sequence[Record]) -> Effect:
    """1 less the size of the control over the estimate with an image's own rows, by seed."""
    digits = select(records, kind="rows", dataset="digits")
    found = {}
    for seed, control in _images(digits, paired=False).items():
        own = _images(digits, paired=True, rows=control["rows"], bound=control["bound"])
        if seed in own:
            found[seed] = 1 - abs(control["nats"]) / own[seed]["nats"]
    return found


def processing_ratio(records: Sequence[Record], bound: str, *, dataset: str = "digits") -> Effect:
    """Estimate with what follows from y added to it, over that without, by seed."""
    cells = select(records, dataset=dataset, bound=bound, paired=True)
    found = {}
    for seed, record in _images(cells, kind="processing").items():
        alone = _images(cells, kind="rows", rows=record["rows"])
        if seed in alone:
            found[seed] = record["nats"] / alone[seed]["nats"]
    return found


def additivity_ratio(records: Sequence[Record], bound: str, *, dataset: str = "digits") -> Effect:
    """Estimate of two images over that of one from as many pairs, by seed."""
    cells = _images(records, kind="additivity", dataset=dataset, bound=bound)
    return {seed: r["nats"] / r["alone_nats"] for seed, r in cells.items()}


def unchanged_by_processing(records: Sequence[Record], bound: str) -> Effect:
    """1 less the distance of `processing_ratio` from 1, by seed."""
    return {s: 1 - abs(ratio - 1) for s, ratio in processing_ratio(records, bound).items()}


def short_of_additive(records: Sequence[Record], bound: str) -> Effect:
    """2 minus `additivity_ratio`, by seed."""
    return {s: 2 - ratio for s, ratio in additivity_ratio(records, bound).items()}


CLAIMS = (
    Claim(
        id="infonce-saturates",
        sentence="InfoNCE saturates at log K, however large the information is.",
        source="[VBMI] section 2.3 and figure 2",
        effect="InfoNCE at the highest stair, over log K (never above 1)",
        unit="share",
        margin=0.9,
        differences=share_of_ceiling,
    ),
    Claim(
        id="infonce-low-variance",
        sentence="Where the information is high, InfoNCE varies much less than NWJ.",
        source="[VBMI] figure 2",
        effect="log(standard deviation of NWJ / of InfoNCE) over batches, highest stair",
        unit="log ratio",
        margin=math.log(2),
        differences=functools.partial(deviation_ratio, wilder="nwj", calmer="infonce"),
    ),
    Claim(
        id="nwj-variance-grows",
        sentence="The variance of NWJ grows with the information.",
        source="[VBMI] section 2.2 and figure 2",
        effect="slope of log variance over batches against I, trained critic",
        unit="per nat",
        margin=0.1,
        differences=variance_growth,
    ),
    Claim(
        id="nwj-variance-grows-exact-critic",
        sentence="The variance of NWJ grows with the information even with the best critic.",
        source="[VBMI] section 2.2",
        effect="slope of log variance over batches against I, exact critic",
        unit="per nat",
        margin=0.5,
        differences=functools.partial(variance_growth, read="exact"),
    ),
    Claim(
        id="alpha-trades-variance",
        sentence="On the continuum I_alpha, a larger alpha has less variance ...",
        source="[VBMI] section 2.4 and figure 3",
        effect="log(standard deviation at the smallest alpha / at the largest), highest stair",
        unit="log ratio",
        margin=math.log(2),
        differences=alpha_calms,
    ),
    Claim(
        id="alpha-for-bias",
        sentence="... and reads less where the information is high.",
        source="[VBMI] section 2.4 and figure 3",
        effect="reading at the smallest alpha minus at the largest, highest stair",
        unit="nats",
        margin=0.5,
        differences=alpha_lowers,
    ),
    Claim(
        id="clip-tames-js",
        sentence="Clipping the density ratio (SMILE) takes variance off the Donsker-Varadhan "
        "reading of one and the same critic.",
        source="[SMILE] section 4",
        effect="log(standard deviation without the clip / with it), JS critic, highest stair",
        unit="log ratio",
        margin=math.log(1.25),
        differences=functools.partial(deviation_ratio, wilder="js:dv", calmer="js:smile"),
    ),
    Claim(
        id="cubic-is-harder",
        sentence="A one-to-one cubic map of y leaves the information alone and costs the estimate.",
        source="[VBMI] figure 2",
        effect="InfoNCE on Gaussians minus on their cubes, mean over stairs",
        unit="nats",
        margin=0.0,
        differences=cubic_costs,
    ),
    Claim(
        id="optimal-infonce-critic",
        sentence="The optimal InfoNCE critic is log p(x|z)/p(x) up to a function of one argument.",
        source="[CPC] section 2.3; [VBMI] section 2.3",
        effect="R squared of learned and exact log ratio, both centred over that argument",
        unit="share",
        margin=0.9,
        differences=critic_fit,
    ),
    Claim(
        id="sandwich-closes",
        sentence="With a known p(y|x), the minibatch lower and the leave-one-out upper bound close "
        "on the truth as the batch grows.",
        source="[VBMI] section 2.5",
        effect="log(larger distance from the truth at the smallest batch / at the largest)",
        unit="log ratio",
        margin=math.log(2),
        differences=sandwich_closes,
    ),
    Claim(
        id="negatives-decide-class",
        sentence="Negatives of all classes make an embedding keep the class; negatives of the same "
        "class let it go.",
        source="[CPC] section 3.1 (choice of negatives); the experiment is ours",
        effect="class accuracy of a linear probe, negatives of all classes minus of one",
        unit="share",
        margin=0.05,
        differences=functools.partial(
            negatives, name="class_accuracy", more="all classes", less="same class"
        ),
    ),
    Claim(
        id="negatives-decide-detail",
        sentence="Negatives of the same class make it keep what tells images of one class apart.",
        source="[CPC] section 3.1 (choice of negatives); the experiment is ours",
        effect="InfoNCE among images of one class, negatives of one class minus of all",
        unit="nats",
        margin=0.0,
        differences=functools.partial(
            negatives, name="within_nats", more="same class", less="all classes"
        ),
    ),
    Claim(
        id="confidence-bound-covers",
        sentence="InfoNCE's lower confidence bound lies at or below the truth in at least 95 % of "
        "fresh samples, on every one of forty tasks.",
        source="ours; tasks of [BN]",
        effect="smallest coverage over the tasks",
        unit="share",
        margin=0.95,
        differences=worst_coverage,
    ),
    Claim(
        id="interval-below-truth",
        sentence="On forty tasks, what is labelled a lower bound exceeds the truth beyond its "
        "95 % interval in no more than 1 of 20 cases.",
        source="ours; tasks of [BN]",
        effect="share of intervals that begin at or below the truth, over tasks and bounds",
        unit="share",
        margin=0.95,
        differences=share_below_truth,
    ),
    Claim(
        id="closer-than-ksg",
        sentence="Over forty tasks a neural estimate comes closer than nearest neighbours.",
        source="[BN] figure 2",
        effect="median error of KSG minus of InfoNCE",
        unit="nats",
        margin=0.0,
        differences=functools.partial(closer_than, other="ksg"),
    ),
    Claim(
        id="closer-than-cca",
        sentence="Over forty tasks a neural estimate comes closer than canonical correlations.",
        source="[BN] figure 2",
        effect="median error of CCA minus of InfoNCE",
        unit="nats",
        margin=0.0,
        differences=functools.partial(closer_than, other="cca"),
    ),
    Claim(
        id="information-grows-with-rows",
        sentence="The information between a real image and its top t rows grows with t.",
        source="[SMILE] section 5.2 (rows seen through noise are ours)",
        effect="rank correlation of t and InfoNCE, rows seen through noise",
        unit="Spearman's rho",
        margin=0.8,
        differences=growth_with_rows,
    ),
    Claim(
        id="no-information-in-other-images",
        sentence="The rows of another image say nothing, and the estimate says so.",
        source="a control of ours",
        effect="1 less the estimate with another's rows over that with its own",
        unit="share",
        margin=0.9,
        differences=control_is_silent,
    ),
    Claim(
        id="data-processing",
        sentence="Adding to y what follows from it does not change SMILE's estimate.",
        source="[SMILE] section 5.2, data processing",
        effect="1 less the distance from 1 of the ratio with to without",
        unit="share",
        margin=0.9,
        differences=functools.partial(unchanged_by_processing, bound="smile"),
    ),
    Claim(
        id="infonce-not-additive",
        sentence="Two independent images at once say twice as much; InfoNCE falls short of it.",
        source="[SMILE] section 5.2, additivity",
        effect="2 minus the ratio of two images to one, from as many pairs",
        unit="ratio",
        margin=0.2,
        differences=functools.partial(short_of_additive, bound="infonce"),
    ),
)
