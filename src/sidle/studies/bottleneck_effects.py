"""What the claims of the study `bottleneck` measure on its records.

Every effect is a function from records to {seed: value}; it is about the first data set. Accuracies
are shares in [0, 1], information is in nats. "CEB" without a number is CEB at the lowest rho there
is: where that is 0, the papers' point of minimum necessary information. The *paper's protocol* is
one targeted attack without expectation over samples; *adaptive* attacks know that the network
draws, and count by the worst case per image. A seed that lacks a cell has no value.

References: [CEB1] Fischer 2020, doi:10.3390/e22090999. [CEB2] Fischer and Alemi 2020,
doi:10.3390/e22101081. [KOR] Korshunova et al. 2021, arXiv:2107.05712.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from sidle.studies.study import Record, select

Effect = Mapping[int, float]
Value = Callable[[Record], float]

POINTS = 0.005  # half a point of accuracy counts as equal
NATS = 0.1  # how far from log C a rate may end, and how large residual information may be


def methods(records: Sequence[Record]) -> dict[int, dict[str, Record]]:
    """Return the cells of the first data set that train on true labels, by seed and method."""
    return _by_seed(records, "method")


def memorising(records: Sequence[Record]) -> dict[int, dict[str, Record]]:
    """Return the cells of the first data set that train on random labels."""
    return _by_seed(records, "random-labels")


def _by_seed(records: Sequence[Record], kind: str) -> dict[int, dict[str, Record]]:
    found: dict[int, dict[str, Record]] = {}
    if records:
        for record in select(records, dataset=records[0]["dataset"], kind=kind):
            found.setdefault(record.cell.seed, {})[record["method"]["name"]] = record
    return found


def of(some: Mapping[str, Record], objective: str, *, lowest: float = -math.inf) -> list[Record]:
    """Return a seed's cells of an objective with rho of at least ``lowest``, in order of rho."""
    chosen = [record for record in some.values() if record["method"]["objective"] == objective]
    chosen = [record for record in chosen if (record["method"]["rho"] or 0.0) >= lowest]
    return sorted(chosen, key=lambda record: record["method"]["rho"] or 0.0)


def each(
    records: Sequence[Record], value: Callable[[Mapping[str, Record]], float | None]
) -> dict[int, float]:
    """Return ``value`` of each seed's cells, where it has one."""
    found = {seed: value(some) for seed, some in methods(records).items()}
    return {seed: one for seed, one in found.items() if one is not None}


def _mean(values: Iterable[float]) -> float:
    """Return the mean; an empty sequence raises ArithmeticError, which judges call undecided."""
    found = list(values)
    return math.fsum(found) / len(found)


def accuracy(record: Record) -> float:
    """Return the test accuracy."""
    return float(record["test"]["accuracy"])


def ece(record: Record) -> float:
    """Return the expected calibration error of equally wide bins."""
    return float(record["calibration"]["ece"])


def corrupted(record: Record) -> float:
    """Return the mean accuracy over corruptions and severities."""
    return _mean(value for row in record["corruptions"].values() for value in row)


def of_paper(record: Record, attack: str) -> float:
    """Return accuracy under an attack of the paper's protocol."""
    return float(record["paper_protocol"][attack]["accuracy"])


def adaptive(record: Record, norm: str) -> float:
    """Return accuracy in the worst case per image over the adaptive attacks of a norm."""
    return float(record["robustness"]["worst"][norm])


def detected(record: Record, score: str, measure: str) -> float:
    """Return how well a score tells outliers, mean over the sets of outliers but the attacked."""
    table = record["outliers"]
    return _mean(row[score][measure] for name, row in table.items() if name != "attacked")


def ceb_minus_deterministic(records: Sequence[Record], value: Value) -> Effect:
    """``value`` of CEB at the lowest rho minus that of the deterministic network, by seed."""
    return ceb_minus(records, "deterministic", value)


def ceb_minus(records: Sequence[Record], objective: str, value: Value) -> Effect:
    """``value`` of CEB at the lowest rho minus that of the first of ``objective``, by seed."""

    def effect(some: Mapping[str, Record]) -> float | None:
        ceb, others = of(some, "ceb"), of(some, objective)
        return value(ceb[0]) - value(others[0]) if ceb and others else None

    return each(records, effect)


def lowest_accuracy(records: Sequence[Record]) -> Effect:
    """Accuracy of the worst of CEB from rho 1 on minus that of the deterministic, by seed."""

    def effect(some: Mapping[str, Record]) -> float | None:
        ceb, others = of(some, "ceb", lowest=1.0), of(some, "deterministic")
        return min(map(accuracy, ceb)) - accuracy(others[0]) if ceb and others else None

    return each(records, effect)


def rate_at_mni(records: Sequence[Record], rho: float) -> Effect:
    """0.1 minus the distance of the training rate at the end from log C, in nats, by seed."""

    def effect(some: Mapping[str, Record]) -> float | None:
        found = [r for r in of(some, "ceb") if r["method"]["rho"] == rho]
        return NATS - abs(found[0]["train"]["R"] - found[0]["log_classes"]) if found else None

    return each(records, effect)


def residual_small(records: Sequence[Record], rho: float) -> Effect:
    """0.1 minus the residual information on the training set at the end, in nats, by seed."""

    def effect(some: Mapping[str, Record]) -> float | None:
        found = [r for r in of(some, "ceb") if r["method"]["rho"] == rho]
        return NATS - float(found[0]["train"]["Re"]) if found else None

    return each(records, effect)


def as_accurate(records: Sequence[Record], objective: str) -> list[str]:
    """Return the methods of an objective that are as accurate as the deterministic network.

    Means over seeds are compared; half a point below still counts.
    """
    by_method: dict[str, list[float]] = {}
    for some in methods(records).values():
        plain = of(some, "deterministic")
        for record in of(some, objective) if plain else ():
            difference = accuracy(record) - accuracy(plain[0])
            by_method.setdefault(record["method"]["name"], []).append(difference)
    return [name for name, found in by_method.items() if _mean(found) >= -POINTS]


def better_calibrated(records: Sequence[Record], than: str) -> Effect:
    """Calibration error of ``than`` minus the mean of CEB's of equal accuracy, by seed."""
    names = as_accurate(records, "ceb")

    def effect(some: Mapping[str, Record]) -> float | None:
        ceb = [record for record in of(some, "ceb") if record["method"]["name"] in names]
        others = of(some, than)
        return ece(others[0]) - _mean(map(ece, ceb)) if ceb and others else None

    return each(records, effect)


def better_detected(records: Sequence[Record], score: str, measure: str) -> Effect:
    """How much better a score of CEB tells outliers than the deterministic network's entropy.

    For "fpr_at_95_tpr" lower is better, so the sign is turned.
    """
    sign = -1.0 if measure == "fpr_at_95_tpr" else 1.0

    def effect(some: Mapping[str, Record]) -> float | None:
        ceb, others = of(some, "ceb"), of(some, "deterministic")
        if not ceb or not others:
            return None
        own = detected(ceb[0], score, measure)
        return sign * (own - detected(others[0], "entropy", measure))

    return each(records, effect)


def less_often_hit(records: Sequence[Record]) -> Effect:
    """Success of targeted Carlini-Wagner on the deterministic network minus on CEB, by seed."""

    def missed(record: Record) -> float:
        return -float(record["paper_protocol"]["carlini-wagner"]["success"])

    return ceb_minus_deterministic(records, missed)


def ordered_by_rho(records: Sequence[Record], value: Value) -> Effect:
    """Rank correlation of rho and ``value`` over CEB, with the sign turned, by seed."""

    def effect(some: Mapping[str, Record]) -> float | None:
        ceb = of(some, "ceb")
        if len(ceb) < 3:
            return None
        rhos = [float(record["method"]["rho"]) for record in ceb]
        return -spearman(rhos, [value(record) for record in ceb])

    return each(records, effect)


def spearman(a: Sequence[float], b: Sequence[float]) -> float:
    """Return the rank correlation; 0 where one of the two is constant, and so says nothing."""
    from scipy.stats import spearmanr

    if len(set(a)) < 2 or len(set(b)) < 2:
        return 0.0
    return float(spearmanr(a, b).statistic)


def shrinks(records: Sequence[Record], attack: str, norm: str) -> Effect:
    """CEB's gain over the deterministic network by the paper's protocol minus by adaptive attacks.

    Args:
        records: of the study.
        attack: of the paper's protocol.
        norm: of the adaptive attacks.
    """
    paper = ceb_minus_deterministic(records, functools.partial(of_paper, attack=attack))
    full = ceb_minus_deterministic(records, functools.partial(adaptive, norm=norm))
    return {seed: paper[seed] - full[seed] for seed in paper}


def trained_against(records: Sequence[Record]) -> Effect:
    """Worst-case accuracy in L-inf of the network trained against it minus the deterministic's."""

    def effect(some: Mapping[str, Record]) -> float | None:
        found, plain = _adversarial(some), of(some, "deterministic")
        if found is None or not plain:
            return None
        norm = found["method"]["norm"]
        return adaptive(found, norm) - adaptive(plain[0], norm)

    return each(records, effect)


def unseen_attacks(records: Sequence[Record], value: Value) -> Effect:
    """``value`` of CEB minus that of the network trained against L-inf, by seed."""

    def effect(some: Mapping[str, Record]) -> float | None:
        found, ceb = _adversarial(some), of(some, "ceb")
        return value(ceb[0]) - value(found) if found is not None and ceb else None

    return each(records, effect)


def _adversarial(some: Mapping[str, Record]) -> Record | None:
    found = [r for r in of(some, "adversarial") if r["method"]["norm"] == "linf"]
    return found[0] if found else None


def unseen_norms(record: Record) -> float:
    """Return the mean over L2 and L1 of accuracy in the worst case over adaptive attacks."""
    return _mean(adaptive(record, norm) for norm in ("l2", "l1"))


def matched(some: Mapping[str, Record]) -> list[tuple[Record, Record]]:
    """Return pairs (VIB, CEB) of one multiplier, beta = 1 / (1 + e^rho) to three digits."""
    return [
        (vib, ceb)
        for vib in of(some, "vib")
        for ceb in of(some, "ceb")
        if abs(vib["method"]["beta"] * (1 + math.exp(ceb["method"]["rho"])) - 1) < 0.02
    ]


def wider_spread(records: Sequence[Record]) -> Effect:
    """Range of accuracy over VIB's multipliers minus that over CEB's same ones, by seed."""

    def effect(some: Mapping[str, Record]) -> float | None:
        pairs = matched(some)
        if len(pairs) < 2:
            return None
        vib, ceb = ([accuracy(pair[side]) for pair in pairs] for side in (0, 1))
        return (max(vib) - min(vib)) - (max(ceb) - min(ceb))

    return each(records, effect)


def farther_from_mni(records: Sequence[Record]) -> Effect:
    """Distance of VIB's training rate from log C minus CEB's, mean over multipliers, by seed."""

    def distance(record: Record) -> float:
        return abs(float(record["train"]["R"]) - float(record["log_classes"]))

    def effect(some: Mapping[str, Record]) -> float | None:
        pairs = matched(some)
        return _mean(distance(vib) - distance(ceb) for vib, ceb in pairs) if pairs else None

    return each(records, effect)


def memorises_less(records: Sequence[Record]) -> Effect:
    """Share of random labels the deterministic network learns minus CEB's share, by seed."""
    found = {}
    for seed, some in memorising(records).items():
        ceb, plain = of(some, "ceb"), of(some, "deterministic")
        if ceb and plain:
            found[seed] = plain[0]["train"]["accuracy"] - ceb[0]["train"]["accuracy"]
    return found


def more_accurate_when_corrupted(records: Sequence[Record]) -> Effect:
    """Mean accuracy over corruptions of CEB from rho 1 on minus the deterministic's, by seed."""

    def effect(some: Mapping[str, Record]) -> float | None:
        ceb, plain = of(some, "ceb", lowest=1.0), of(some, "deterministic")
        return _mean(map(corrupted, ceb)) - corrupted(plain[0]) if ceb and plain else None

    return each(records, effect)
