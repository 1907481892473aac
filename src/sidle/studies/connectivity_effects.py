"""How the claims of the study `connectivity` are measured on its records.

Every effect is a function from records to {seed: value}; it is about the first task of its group
("easy": stable from the start in the paper; "hard": not). Errors and barriers are shares in [0, 1].
Where a claim says that something is unstable, the barrier free of the upward bias of a maximum
counts; where it says that something is stable, the paper's own, which is biased upward. So noise
favours no claim.

The *gap* of a subnetwork is its error minus that of the full network, both means over copies, on
all test images. It *matches* if the gap is at most 0.2 points [LMC, section 4].

Letters: k = a step at which copies are made, or to which tickets are rewound.
References: [LMC] Frankle, Dziugaite, Roy, Carbin 2020, arXiv:1912.05671.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sidle.studies.study import Record, select

Effect = Mapping[int, float]

STABLE = 0.02  # instability below [LMC, section 3]
MATCHING = 0.002  # gap at most [LMC, section 4]
EARLY = 0.1  # share of training that counts as long before convergence


@dataclass(frozen=True)
class Ticket:
    """A subnetwork, or the dense network at the head of a sequence of them.

    Attributes:
        name: "dense", "ticket", or which control.
        rewind: "weights" or "learning_rate".
        share: k, as a share of training.
        round: rounds of pruning.
        density: share of the weights kept.
        error: mean error of the copies.
        gap: error minus that of the full network.
        instability: the paper's; NaN where it was not measured.
        split: without the bias of a maximum.
        loss_instability: of the loss, in nats.
    """

    name: str
    rewind: str
    share: float
    round: int
    density: float
    error: float
    gap: float
    instability: float
    split: float
    loss_instability: float


def first_task(records: Sequence[Record], group: str) -> list[Record]:
    """Return the records of the first task of a group."""
    found = select(records, group=group)
    return select(found, name=found[0]["name"]) if found else []


def curves(records: Sequence[Record], group: str = "hard") -> dict[int, list[dict[str, Any]]]:
    """Return the dense network's entries in order of k, by seed."""
    dense = select(first_task(records, group), kind="dense")
    return {record.cell.seed: record["curve"] for record in dense}


def tickets(records: Sequence[Record], group: str = "hard") -> dict[int, list[Ticket]]:
    """Return the networks of all ticket cells, by seed.

    The full network's error is the mean over the cells of a seed. A dense network carries the
    instability of the dense cell at the same k, if that was measured.
    """
    task = first_task(records, group)
    dense = curves(records, group)
    found: dict[int, list[Ticket]] = {}
    for seed in dict.fromkeys(r.cell.seed for r in select(task, kind="tickets")):
        cells = [r for r in select(task, kind="tickets") if r.cell.seed == seed]
        whole = [r for r in cells if r["rewind"] == "weights"]
        full = _mean(row["error"] for r in whole for row in r["rows"] if row["name"] == "dense")
        at = {entry["k"]: entry for entry in dense.get(seed, [])}
        found[seed] = [
            _ticket(record, row if row["name"] != "dense" else at.get(_step(record), {}) | row)
            for record in cells
            for row in record["rows"]
        ]
        found[seed] = [_with_gap(one, full) for one in found[seed]]
    return found


def _step(record: Record) -> int:
    """Return the step that the tickets of a cell are rewound to."""
    steps: int = round(record["share"] * record["task"]["steps"])
    return steps


def _ticket(record: Record, row: Mapping[str, Any]) -> Ticket:
    measured = [row.get(name, math.nan) for name in ("instability", "split", "loss_instability")]
    return Ticket(
        row["name"], record["rewind"], record["share"], row["round"], row["density"],
        row["error"], math.nan, *measured,
    )  # fmt: skip


def _with_gap(ticket: Ticket, full: float) -> Ticket:
    values = vars(ticket) | {"gap": ticket.error - full}
    return Ticket(**values)


def _mean(values: Iterable[float]) -> float:
    """Return the mean; an empty sequence raises ArithmeticError, which judges call undecided."""
    found = list(values)
    return math.fsum(found) / len(found)


def winning(found: Sequence[Ticket]) -> list[Ticket]:
    """Return the tickets rewound with their weights, no controls."""
    return [one for one in found if one.name == "ticket" and one.rewind == "weights"]


def last_share(found: Sequence[Ticket]) -> float:
    """Return the latest k that tickets were rewound to."""
    return max(one.share for one in winning(found))


def spearman(a: Sequence[float], b: Sequence[float]) -> float:
    """Return the rank correlation; 0 where one of the two is constant, and so says nothing."""
    from scipy.stats import spearmanr

    if len(set(a)) < 2 or len(set(b)) < 2:
        return 0.0
    return float(spearmanr(a, b).statistic)


def unstable_at_start(records: Sequence[Record]) -> Effect:
    """Instability at k = 0, free of a maximum's bias, by seed."""
    return {seed: curve[0]["split"] for seed, curve in curves(records).items() if _from_0(curve)}


def _from_0(curve: Sequence[Mapping[str, Any]]) -> bool:
    return bool(curve) and curve[0]["k"] == 0


def stable_early(records: Sequence[Record]) -> Effect:
    """2 % minus instability at the first k from `EARLY` on, by seed."""
    found = {}
    for seed, curve in curves(records).items():
        later = [entry for entry in curve if entry["share"] >= EARLY]
        if later:
            found[seed] = STABLE - later[0]["instability"]
    return found


def stable_at_start(records: Sequence[Record]) -> Effect:
    """2 % minus instability of the easy network at k = 0, by seed."""
    return {
        seed: STABLE - curve[0]["instability"]
        for seed, curve in curves(records, "easy").items()
        if _from_0(curve)
    }


def falls_with_k(records: Sequence[Record]) -> Effect:
    """Spearman's rank correlation of k and instability, with the sign turned, by seed."""
    return {
        seed: -spearman(*(_column(curve, name) for name in ("k", "instability")))
        for seed, curve in curves(records).items()
        if len(curve) > 1
    }


def loss_agrees(records: Sequence[Record]) -> Effect:
    """Spearman's rank correlation of error and loss barrier over k, by seed."""
    return {
        seed: spearman(*(_column(curve, name) for name in ("instability", "loss_instability")))
        for seed, curve in curves(records).items()
        if len(curve) > 1
    }


def _column(curve: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    return [float(entry[name]) for entry in curve]


def lowered_by_re_estimation(records: Sequence[Record]) -> Effect:
    """Instability at k = 0 minus that with BatchNorm statistics estimated anew, by seed."""
    return {
        seed: curve[0]["instability"] - curve[0]["re_estimated"]
        for seed, curve in curves(records).items()
        if _from_0(curve) and curve[0]["re_estimated"] is not None
    }


def _by_seed(
    records: Sequence[Record], group: str, value: Callable[[list[Ticket]], float | None]
) -> Effect:
    """Return ``value`` of each seed's networks, where it has one."""
    found = {seed: value(some) for seed, some in tickets(records, group).items() if winning(some)}
    return {seed: one for seed, one in found.items() if one is not None}


def tickets_stable(records: Sequence[Record], *, group: str, sparsest: bool = False) -> Effect:
    """2 % minus the mean instability of the tickets at the last k, by seed.

    Args:
        records: of the study.
        group: "easy" or "hard".
        sparsest: of the last round alone.
    """

    def value(some: list[Ticket]) -> float:
        chosen = [one for one in winning(some) if one.share == last_share(some)]
        last = max(one.round for one in chosen)
        return STABLE - _mean(o.instability for o in chosen if o.round == last or not sparsest)

    return _by_seed(records, group, value)


def sparsest_gap(records: Sequence[Record]) -> Effect:
    """Gap of the sparsest tickets at the last k, by seed."""

    def value(some: list[Ticket]) -> float:
        chosen = [one for one in winning(some) if one.share == last_share(some)]
        return max(chosen, key=lambda one: one.round).gap

    return _by_seed(records, "hard", value)


def control_minus_ticket(
    records: Sequence[Record], control: str, what: str, *, group: str = "hard"
) -> Effect:
    """Mean over rounds of a control's error or instability minus the ticket's, by seed.

    Args:
        records: of the study.
        control: its name.
        what: "error", or "instability".
        group: "easy" or "hard".
    """

    def value(some: list[Ticket]) -> float | None:
        own = {(one.share, one.round): one for one in winning(some)}
        pairs = [(one, own[one.share, one.round]) for one in some if one.name == control]
        return _mean(getattr(a, what) - getattr(b, what) for a, b in pairs) if pairs else None

    return _by_seed(records, group, value)


def unstable_gap(records: Sequence[Record]) -> Effect:
    """Mean gap of the unstable tickets, by seed; a seed without any does not count."""

    def value(some: list[Ticket]) -> float | None:
        unstable = [one.gap for one in winning(some) if one.split >= STABLE]
        return _mean(unstable) if unstable else None

    return _by_seed(records, "hard", value)


def matching_stable(records: Sequence[Record]) -> Effect:
    """2 % minus the mean instability of the tickets that match, by seed; none do not count."""

    def value(some: list[Ticket]) -> float | None:
        matching = [one.instability for one in winning(some) if one.gap <= MATCHING]
        return STABLE - _mean(matching) if matching else None

    return _by_seed(records, "hard", value)


def later_rewinding(records: Sequence[Record], what: str) -> Effect:
    """Mean over rounds of error or instability at k = 0 minus that at the last k, by seed."""

    def value(some: list[Ticket]) -> float | None:
        last = last_share(some)
        by_place = {(one.share, one.round): one for one in winning(some)}
        numbers = sorted({number for share, number in by_place if share == 0.0})
        if last == 0.0 or not numbers:
            return None
        return _mean(
            getattr(by_place[0.0, n], what) - getattr(by_place[last, n], what) for n in numbers
        )

    return _by_seed(records, "hard", value)


def link(records: Sequence[Record], fixed: str) -> Effect:
    """Spearman's rank correlation of instability and gap with one thing held fixed, by seed.

    Args:
        records: of the study.
        fixed: "share": over sparsity, mean over k; or "round": over k, mean over rounds. The dense
            network is no subnetwork: it can have no gap, however unstable it is.
    """

    def value(some: list[Ticket]) -> float | None:
        chosen = winning(some)
        groups = [
            [one for one in chosen if getattr(one, fixed) == place]
            for place in dict.fromkeys(getattr(one, fixed) for one in chosen)
        ]
        correlations = [
            spearman([one.instability for one in group], [one.gap for one in group])
            for group in groups
            if len(group) > 1
        ]
        return _mean(correlations) if correlations else None

    return _by_seed(records, "hard", value)
