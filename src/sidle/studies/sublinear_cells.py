"""What the cells of the study `sublinear` compute, one function a kind, on one thread.

Seconds are processor time of one core, of training steps alone, without tests. Networks of a cell
take turns, a few steps each, on the same batches, so that whatever else the machine does hits all
of them. Kernels are compiled before the clock starts.
Letters: N = rows of a batch, L = outputs, A = outputs of a set, K = best outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_array

from sidle import seeding, training
from sidle.runs import Run
from sidle.studies import sublinear_networks as networks
from sidle.studies import sublinear_problems as problems
from sidle.studies import sublinear_search as search
from sidle.studies.study import Cell
from sidle.studies.sublinear_networks import Network, Sampled, Sizes
from sidle.studies.sublinear_problems import Plan, Problem

K = 5  # P@1 to P@K are measured
TURN = 10  # steps of a network before the next one takes over
_WARM_UP = 2  # steps before the clock starts
_SECONDS_BETWEEN_CHECKPOINTS = 120.0  # they hold all networks of a cell
_SMALL = Sizes(n_features=50, hidden=8, n_outputs=2000, active=4, pool=8)

Batch = tuple[csr_array, csr_array]
_Array = np.ndarray[Any, Any]


def run_cell(cell: Cell, run: Run) -> dict[str, Any]:
    """Compute the cell."""
    kinds = {"race": race, "late": late, "outputs": outputs, "density": density}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return kinds[cell.settings["kind"]](cell, run)
    finally:
        torch.set_num_threads(threads)


def race(cell: Cell, run: Run) -> dict[str, Any]:
    """Train one network a contestant, all on the same batches, and test them now and then.

    Returns:
        ``outputs``: L; ``networks``: for each contestant ``curve`` with the columns ``step``,
        ``seconds`` (of training so far), ``p@1``, ``p@5`` (shares, on test rows) and ``nats``
        (exact cross-entropy there); ``bytes`` (weights, what training keeps about them, scores);
        and what `Network.report` says of its wide layer.
    """
    problem, plan = _problem(cell), _plan(cell)
    entered = {
        name: _network(cell, problem, plan, **entry)
        for name, entry in cell.settings["contestants"].items()
    }
    rates = _rates(cell, plan)
    _compile([entry["method"] for entry in cell.settings["contestants"].values()], cell)
    test = problem.some_test_rows(cell.settings["test_rows"])
    turns = _turns(problem, plan, cell.settings["epochs"])

    def evaluate(_: int) -> Mapping[str, float]:
        return _flat({name: _tested(network, test) for name, network in entered.items()})

    every = max(1, turns // cell.settings["tests"])
    rows = _fit(
        cell, run, problem, plan, turns, entered, lambda _: (entered, rates), evaluate, every
    )
    return {"outputs": problem.n_labels, "networks": _results(rows, entered, plan)}


def late(cell: Cell, run: Run) -> dict[str, Any]:
    """Train with uniform pools; look what tables would find; then go on in several ways.

    Returns:
        ``outputs``: L; ``probes``: columns ``step`` and what `search.probe` returns, during the
        first part, before the first step too; ``search``: what `search.compare` returns at its
        end; ``before``: P@1, P@5 and nats there; ``networks``: as of `race`, for each way to go
        on, steps counted from the very start.
    """
    settings = cell.settings
    problem, plan = _problem(cell), _plan(cell)
    test = problem.some_test_rows(settings["test_rows"])
    probed = problem.some_test_rows(settings["probed_rows"])
    counts = problem.counts()
    pool = _network(cell, problem, plan, method="pool")
    assert isinstance(pool, Sampled)
    entered = {
        name: _network(cell, problem, plan, **entry)
        for name, entry in settings["contestants"].items()
    }
    _compile(["pool", *(entry["method"] for entry in settings["contestants"].values())], cell)
    rates = _rates(cell, plan)
    first, after, every = _parts(
        _turns(problem, plan, settings["epochs_before"]),
        _turns(problem, plan, settings["epochs_after"]),
        settings["tests"],
    )

    def look() -> dict[str, float]:
        return search.probe(
            pool, *probed, counts, active=settings["probed_active"], hashing=settings["hashing"],
            seed=seeding.split(cell.seed, "probe"),
        )  # fmt: skip

    def trained(turn: int) -> tuple[Mapping[str, Network], Mapping[str, float]]:
        if turn < first:
            return {"pool": pool}, {"pool": plan.rate_of("pool")}
        if turn == first:
            for network in entered.values():
                network.load_state_dict(pool.state_dict() | {"seconds": 0.0, "sums": {}})
        return entered, rates

    def evaluate(turn: int) -> Mapping[str, float]:
        if turn <= first:
            found = {"probe": look()} | ({"pool": _tested(pool, test)} if turn == first else {})
            return _flat(found)
        return _flat({name: _tested(network, test) for name, network in entered.items()})

    start = look()
    rows = _fit(
        cell, run, problem, plan, first + after, {"pool": pool, **entered}, trained, evaluate, every
    )  # fmt: skip
    looks = [row for row in rows if "probe/hashed" in row]
    before = next(row for row in rows if "pool/p@1" in row)
    return {
        "outputs": problem.n_labels,
        "probes": {"step": [0, *(row["step"] * TURN for row in looks)]}
        | {
            name: [_rounded(start[name]), *(_rounded(row[f"probe/{name}"]) for row in looks)]
            for name in start
        },
        "search": search.compare(
            pool, *test, K, candidates=settings["searched"], hashing=settings["hashing"],
            seed=seeding.split(cell.seed, "search"),
        ),
        "before": {name: _rounded(before[f"pool/{name}"]) for name in ("p@1", f"p@{K}", "nats")},
        "networks": _results(rows, entered, plan),
    }  # fmt: skip


def outputs(cell: Cell, run: Run) -> dict[str, Any]:
    """Time steps of a wide layer with so many outputs, on random rows.

    Returns:
        As `_timed`.
    """
    settings = cell.settings
    n_outputs = settings["outputs"]
    methods = [m for m in settings["methods"] if m != "dense" or n_outputs <= settings["largest"]]
    generator = seeding.numpy_generator(seeding.split(cell.seed, "outputs"))
    sizes = Sizes(settings["features"], settings["hidden"], n_outputs, *_sets(settings))
    return _timed(cell, methods, sizes, settings["non_zeros"], generator)


def density(cell: Cell, run: Run) -> dict[str, Any]:
    """Time steps on random rows with so many features that are not zero.

    Returns:
        As `_timed`.
    """
    settings = cell.settings
    generator = seeding.numpy_generator(seeding.split(cell.seed, "density"))
    sizes = Sizes(settings["features"], settings["hidden"], settings["outputs"], *_sets(settings))
    return _timed(cell, settings["methods"], sizes, settings["non_zeros"], generator)


def _timed(
    cell: Cell, methods: list[str], sizes: Sizes, non_zeros: int, generator: np.random.Generator
) -> dict[str, Any]:
    """Let networks take turns on random rows, a step each.

    Returns:
        By method: ``microseconds`` a sample: the median step, and for tables one building of them
        spread over the steps until the next; ``building``: that part of it; ``bytes``.
    """
    settings = cell.settings
    n, every = settings["batch_size"], settings["hashing"]["every"]
    # Whoever is built in the middle of the timed steps would spoil the median of so few.
    hashing = dict(settings["hashing"]) | {"rebuild": "never"}
    _compile(methods, cell)
    counts = np.ones(sizes.n_outputs, np.int64)
    entered = {
        method: networks.make(method, sizes, hashing=hashing, counts=counts, seed=cell.seed)
        for method in methods
    }
    steps: dict[str, list[float]] = {method: [] for method in methods}
    for _ in range(settings["timed_steps"] + _WARM_UP):
        batch = _random(n, sizes.n_features, sizes.n_outputs, non_zeros, generator)
        for method, network in entered.items():
            before = network.seconds
            network.train(*batch, settings["rate"])
            steps[method].append(network.seconds - before)
    found: dict[str, dict[str, float]] = {"microseconds": {}, "building": {}, "bytes": {}}
    for method, network in entered.items():
        building = network.report().get("rebuild_seconds", 0.0) / (every * n)
        median = float(np.median(steps[method][_WARM_UP:])) / n
        found["microseconds"][method] = round(1e6 * (median + building), 3)
        found["building"][method] = round(1e6 * building, 3)
        found["bytes"][method] = network.n_bytes(n)
    return found


def _fit(
    cell: Cell,
    run: Run,
    problem: Problem,
    plan: Plan,
    turns: int,
    state: Mapping[str, Network],
    trained: Callable[[int], tuple[Mapping[str, Network], Mapping[str, float]]],
    evaluate: Callable[[int], Mapping[str, float]],
    every: int,
) -> list[dict[str, float]]:
    """Let networks take turns on the same batches; return the records, a step is a turn.

    Args:
        cell: names the order of the rows.
        run: where metrics and checkpoints go.
        problem: what to train on.
        plan: of the training.
        turns: of each network.
        state: all networks.
        trained: which networks train in a turn, and their first learning rates.
        evaluate: see `training.fit`.
        every: turns between two evaluations.
    """
    rows_of = _order(problem.train.features.shape[0], plan.batch_size, cell.seed)

    def batches(turn: int) -> tuple[int, list[Batch]]:
        rows = [rows_of(step) for step in range(turn * TURN, (turn + 1) * TURN)]
        return turn, [(problem.train.features[some], problem.train.labels[some]) for some in rows]

    def step(given: tuple[int, list[Batch]]) -> Mapping[str, float]:
        turn, batches = given
        entered, rates = trained(turn)
        names = list(entered)
        losses = {}
        for name in (*names[turn % len(names) :], *names[: turn % len(names)]):
            rate = rates[name] * (1 - turn / turns)
            some = [entered[name].train(*batch, rate) for batch in batches]
            losses[f"{name}/loss"] = float(np.mean(some))
        return losses

    return training.fit(
        step, batches, turns, state=state, run=run, evaluate=evaluate, evaluate_every=every,
        log_every=every, description=cell.label, checkpoint_every=_SECONDS_BETWEEN_CHECKPOINTS,
    )  # fmt: skip


def _results(
    rows: list[dict[str, float]], entered: Mapping[str, Network], plan: Plan
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, network in entered.items():
        tested = [row for row in rows if f"{name}/p@1" in row]
        curve = {
            column: [_rounded(row[f"{name}/{column}"]) for row in tested]
            for column in ("seconds", "p@1", f"p@{K}", "nats")
        }
        report = {key: _rounded(value) for key, value in network.report().items()}
        steps = [row["step"] * TURN for row in tested]
        size = {"bytes": network.n_bytes(plan.batch_size)}
        found[name] = {"curve": {"step": steps, **curve}, **size, **report}
    return found


def _tested(network: Network, test: Batch) -> dict[str, float]:
    return {"seconds": network.seconds, **network.test(*test, K)}


def _flat(found: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    return {f"{name}/{key}": value for name, some in found.items() for key, value in some.items()}


def _problem(cell: Cell) -> Problem:
    found = problems.load(cell.settings["problem"], cell.settings["train_rows"])
    return found.scaled(cell.settings["plan"]["scale"])


def _plan(cell: Cell) -> Plan:
    values = dict(cell.settings["plan"])
    return Plan(**values)


def _rates(cell: Cell, plan: Plan) -> dict[str, float]:
    entered = cell.settings["contestants"]
    return {name: plan.rate_of(entry["method"]) for name, entry in entered.items()}


def _network(
    cell: Cell, problem: Problem, plan: Plan, *, method: str, active: int | None = None
) -> Network:
    sizes = Sizes(
        problem.n_features, plan.hidden, problem.n_labels, active or plan.active, plan.pool
    )
    return networks.make(
        method, sizes, hashing=cell.settings["hashing"], counts=problem.counts(),
        seed=seeding.split(cell.seed, "sublinear"),
    )  # fmt: skip


def _sets(settings: Mapping[str, Any]) -> tuple[int, int]:
    """Return how many outputs sets hold that are a sample's own, or a batch's."""
    return (
        min(settings["active"], settings["outputs"]),
        min(settings["pool"], settings["outputs"]),
    )


def _turns(problem: Problem, plan: Plan, epochs: float) -> int:
    n = int(problem.train.features.shape[0])
    return max(1, round(epochs * n / plan.batch_size / TURN))


def _parts(first: int, after: int, tests: int) -> tuple[int, int, int]:
    """Return turns before and after, and between tests, so that both parts end with a test."""
    tests_after = max(1, round(tests * after / (first + after)))
    every = max(1, after // tests_after)
    return every * max(1, round(first / every)), every * (after // every), every


def _compile(methods: list[str], cell: Cell) -> None:
    """Compile, or load, the kernels that these methods use, by training something small."""
    generator = seeding.numpy_generator(0)
    # Tables are brought up to date at each step, so that both ways to do it are called.
    hashing = dict(cell.settings["hashing"]) | {"every": 1, "growth": 0.0, "n_tables": 2}
    for method in dict.fromkeys(methods):
        counts = np.ones(_SMALL.n_outputs, np.int64)
        network = networks.make(method, _SMALL, hashing=hashing, counts=counts, seed=0)
        for _ in range(3):
            network.train(*_random(2, _SMALL.n_features, _SMALL.n_outputs, 3, generator), 1e-3)


def _order(n: int, batch_size: int, seed: int) -> Callable[[int], _Array]:
    """Return the rows of each step: an epoch goes through all rows in a new order."""
    per_epoch = max(1, n // batch_size)
    known: dict[int, _Array] = {}

    def rows(step: int) -> _Array:
        epoch, place = divmod(step, per_epoch)
        if epoch not in known:
            known.clear()
            generator = seeding.numpy_generator(seeding.split(seed, "order", epoch))
            known[epoch] = generator.permutation(n)
        return known[epoch][place * batch_size : (place + 1) * batch_size]

    return rows


def _random(
    n_rows: int, n_features: int, n_outputs: int, non_zeros: int, generator: np.random.Generator
) -> Batch:
    """Return rows with so many random features, none twice, and one random label each."""
    starts = np.arange(n_rows + 1, dtype=np.int32)
    if non_zeros == n_features:
        columns = np.tile(np.arange(n_features), (n_rows, 1))
    else:
        # One of each of as many equal stretches: distinct and in order without sorting.
        edges = np.linspace(0, n_features, non_zeros + 1).astype(np.int64)
        columns = edges[:-1] + (generator.random((n_rows, non_zeros)) * np.diff(edges)).astype(
            np.int64
        )
    values = np.full(columns.size, non_zeros**-0.5, np.float32)
    entries = (values, columns.ravel().astype(np.int32), starts * np.int32(non_zeros))
    labels = generator.integers(0, n_outputs, n_rows).astype(np.int32)
    return (
        csr_array(entries, shape=(n_rows, n_features)),
        csr_array((np.ones(n_rows, np.float32), labels, starts), shape=(n_rows, n_outputs)),
    )


def _rounded(value: float) -> float:
    return float(f"{value:.5g}")
