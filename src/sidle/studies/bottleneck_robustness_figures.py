"""Figures of the study `bottleneck` about attacks: both protocols, and the masking audit beside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

from sidle.report import figures as draw
from sidle.studies.bottleneck_drawing import (
    NORMS,
    PERCENT,
    Trained,
    beside,
    by_rho,
    heatmap,
    horizontal,
    mean,
    name_of,
    over_seeds,
)
from sidle.studies.study import Figure, Record


def paper_protocol(name: str, title: str, trained: Trained) -> Figure:
    """Draw accuracy under the papers' targeted attacks."""
    places = ["not attacked", "targeted PGD, L-inf", "targeted PGD, L2", "Carlini-Wagner misses"]

    def values(record: Record) -> list[float]:
        found = record["paper_protocol"]
        return [
            record["robustness"]["accuracy"],
            found["pgd-linf"]["accuracy"],
            found["pgd-l2"]["accuracy"],
            1 - found["carlini-wagner"]["success"],
        ]

    return Figure(
        f"paper-protocol-{name}",
        f"Attacks by the papers' protocol: {title}",
        "Accuracy under targeted attacks that do not allow for the network's drawing at random, "
        "and the share of images on which targeted Carlini-Wagner misses its target. "
        f"{_audit_sentence(trained)}",
        draw.figure(
            horizontal(trained, places, values), "share of images", "", x_format=PERCENT,
            x_range=(0.0, 1.0),
        ),
    )  # fmt: skip


def worst_case(name: str, title: str, trained: Trained) -> Figure:
    """Draw accuracy in the worst case over the adaptive attacks of each norm, and of all."""
    norms = list(next(iter(trained.values()))[0]["robustness"]["worst"])
    places = ["not attacked", *(f"worst of {NORMS[norm]}" for norm in norms), "worst of all"]

    def values(record: Record) -> list[float]:
        found = record["robustness"]
        worst = [found["worst"][norm] for norm in norms]
        return [found["accuracy"], *worst, found["worst_overall"]]

    return Figure(
        f"worst-case-{name}",
        f"Adaptive attacks, worst case: {title}",
        "Accuracy in the worst case per image over all attacks of a norm, and over all of them. "
        f"Gradients are means over draws of z. {_audit_sentence(trained)}",
        draw.figure(
            horizontal(trained, places, values),
            "share of images",
            "",
            x_format=PERCENT,
            x_range=(0.0, 1.0),
        ),
    )


def adaptive(name: str, title: str, trained: Trained) -> Figure:
    """Draw accuracy under every adaptive attack."""
    attacks = list(next(iter(trained.values()))[0]["robustness"]["attacks"])
    rows: list[list[float | None]] = [
        [
            mean(record["robustness"]["attacks"][attack]["robust_accuracy"] for record in some)
            for some in trained.values()
        ]
        for attack in attacks
    ]
    return Figure(
        f"adaptive-attacks-{name}",
        f"Adaptive attacks, one by one: {title}",
        "Accuracy under each attack of the suite, mean over seeds. The lower, the better the "
        f"attack. {_audit_sentence(trained)}",
        heatmap([name_of(some[0]) for some in trained.values()], attacks, rows, 2),
    )


def _audit_sentence(trained: Trained) -> str:
    suspect = [
        name_of(some[0])
        for some in trained.values()
        if any(
            one["verdict"] != "passed" for r in some for one in r["robustness"]["audit"].values()
        )
    ]
    if not suspect:
        return "The audit for masked gradients passed for every network."
    return (
        f"The audit for masked gradients calls suspect, in a seed at least: {'; '.join(suspect)}."
    )


def _of_paper(record: Record, norm: str) -> float:
    return float(record["paper_protocol"][f"pgd-{norm}"]["accuracy"])


def _worst(record: Record, norm: str) -> float:
    return float(record["robustness"]["worst"][norm])


_PROTOCOLS: tuple[tuple[str, Callable[[Record, str], float]], ...] = (
    ("papers' protocol", _of_paper),
    ("adaptive, worst case", _worst),
)
_LEVELS: tuple[tuple[str, Literal["dash", "dot"]], ...] = (
    ("deterministic", "dash"),
    ("adversarial-linf", "dot"),
)


def robust_against_rho(name: str, title: str, trained: Trained) -> Figure | None:
    """Draw accuracy under attack against rho, both protocols side by side."""
    if not by_rho(trained, "ceb"):
        return None
    panels = [_panel(trained, *protocol) for protocol in _PROTOCOLS]
    return Figure(
        f"robustness-{name}",
        f"Robustness against rho: {title}",
        "Accuracy under attack, left by the papers' protocol, right in the worst case per image "
        "over adaptive attacks. Where the lines stand high on the left alone, the attacks were "
        "misled.",
        beside(*panels),
    )


def _panel(
    trained: Trained, protocol: str, value: Callable[[Record, str], float]
) -> dict[str, Any]:
    some = by_rho(trained, "ceb")
    x = [records[0]["method"]["rho"] for records in some]
    traces: list[draw.Trace] = []
    for index, norm in enumerate(("linf", "l2")):
        seeds = [[value(record, norm) for record in records] for records in some]
        points = over_seeds(zip(*seeds, strict=True))
        traces += draw.line_with_band(x, *points, f"CEB, {NORMS[norm]}", index)
        for other, dash in _LEVELS:
            if other in trained:
                level = mean(value(record, norm) for record in trained[other])
                label = f"{name_of(trained[other][0])}, {NORMS[norm]}"
                lines = draw.reference_line([min(x), max(x)], [level] * 2, label, dash=dash)
                for line in lines:
                    line["line"]["color"] = draw.PALETTE[index]
                traces += lines
    return draw.figure(traces, f"rho ({protocol})", "accuracy", y_format=PERCENT, y_range=(0, 1))


def audit(name: str, title: str, trained: Trained) -> Figure | None:
    """Draw how often each check of the masking audit passed."""
    outcomes = {
        key: [one["checks"] for r in some for one in r["robustness"]["audit"].values()]
        for key, some in trained.items()
    }
    checks = dict.fromkeys(check for some in outcomes.values() for one in some for check in one)
    if not checks:
        return None
    rows = [
        [_share_passed([one.get(check) for one in some]) for check in checks]
        for some in outcomes.values()
    ]
    return Figure(
        f"audit-{name}",
        f"The audit for masked gradients: {title}",
        "Share of seeds and norms in which a check passed; empty where it does not apply. A check "
        "that fails says that a robust accuracy of this network cannot be trusted.",
        heatmap(list(checks), [name_of(some[0]) for some in trained.values()], rows, 2),
    )


def _share_passed(outcomes: Sequence[str | None]) -> float | None:
    applicable = [one for one in outcomes if one in ("passed", "failed")]
    return mean(one == "passed" for one in applicable) if applicable else None
