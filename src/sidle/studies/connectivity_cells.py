"""What the cells of the study `connectivity` compute, one function a kind.

All training of a cell is kept inside its run folder as stretches (`sidle.lmc.stretches`), so that
a killed cell goes on from its last checkpoint; they are deleted once the cell has its result.

Letters: k = a step at which copies are made, or to which a ticket is rewound; T = the last step.
References: [LMC] Frankle, Dziugaite, Roy, Carbin 2020, arXiv:1912.05671.
"""

from __future__ import annotations

import functools
import itertools
import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch

from sidle import seeding
from sidle.lmc import comparison, pruning, stretches
from sidle.lmc.comparison import Comparison
from sidle.lmc.instability import Pair, instability, mean_of
from sidle.lmc.masks import Mask
from sidle.lmc.measurement import measure
from sidle.lmc.paths import Settings
from sidle.lmc.pruning import Round
from sidle.lmc.training_function import weights
from sidle.runs import Run
from sidle.studies import connectivity_tasks as tasks
from sidle.studies.connectivity_tasks import Split, Task, Training
from sidle.studies.study import Cell

BATCH_SIZE = 500  # images measured at once: a few more would leave the cache
CALIBRATION = 500  # training images that BatchNorm statistics are estimated from
SNIP_IMAGES = 1000  # training images that sensitivities are taken on


def run_cell(cell: Cell, run: Run) -> dict[str, Any]:
    """Compute the cell; the stretches it trained are deleted afterwards."""
    found = {"dense": dense, "tickets": tickets}[cell.settings["kind"]](cell, run)
    shutil.rmtree(_folder(run), ignore_errors=True)
    return found


def dense(cell: Cell, run: Run) -> dict[str, Any]:
    """Measure the instability of the dense network at each k.

    Returns:
        ``curve``: one entry a k, means over the pairs of copies: ``k``, ``share`` (k / T),
        ``instability`` and ``split`` (without the bias of a maximum), ``loss_instability``,
        ``train_instability``, ``re_estimated`` (instability with BatchNorm statistics estimated
        anew; null without BatchNorm), ``error`` of the copies, ``l2``, ``disagreement``,
        ``loss_distance``, and ``path`` and ``loss_path``, error and loss along the line.
        ``reset``: the same for copies trained from k for T steps as if from step 0, if asked for.
    """
    settings = cell.settings
    task, split = _task(settings), _split(settings)
    found = instability(
        functools.partial(tasks.network, task),
        Training(task, *split.train, device=settings["device"]),
        {"test": split.path_test, "train": split.path_train},
        steps=steps_of(settings["shares"], task.steps),
        stop=task.steps,
        copies=settings["copies"],
        seed=cell.seed,
        schedule_reset=settings["schedule_reset"],
        folder=_folder(run),
        settings=_named(cell),
        **_path_settings(settings, task, split, both=True),
    )
    curves: dict[bool, list[dict[str, Any]]] = {False: [], True: []}
    key = _step_and_control
    for (k, reset), pairs in itertools.groupby(found.pairs, key):
        curves[reset].append({"k": k, "share": k / task.steps, **_means(list(pairs), paths=True)})
    return {"curve": curves[False], "reset": curves[True]}


def tickets(cell: Cell, run: Run) -> dict[str, Any]:
    """Prune in rounds with rewinding to k; measure error and instability of each round.

    Returns:
        ``rows``: one entry a network: ``name`` ("dense", "ticket", or a control), ``round``,
        ``density``, ``error`` (mean over the copies, all test images), ``errors``, and for all but
        the dense one what `dense` returns of a k, without the paths.
    """
    settings = cell.settings
    task, split = _task(settings), _split(settings)
    build = functools.partial(tasks.network, task)
    train_fn = Training(task, *split.train, device=settings["device"])
    kept: dict[str, Any] = {"folder": _folder(run), "settings": _named(cell)}
    x, y = split.train
    with seeding.scope(seeding.split(cell.seed, "initialisation")):
        model = build()
    rounds = pruning.iterative(
        train_fn,
        {"model": model.state_dict()},
        Mask.ones(model),
        stop=task.steps,
        rounds=settings["rounds"],
        fraction=settings["fraction"],
        rewind=settings["rewind"],
        rewind_step=round(settings["share"] * task.steps),
        seed=cell.seed,
        **kept,
    )
    rows = []
    for found in rounds:
        measured = [found]
        if found.number in settings["control_rounds"]:
            measured += [
                pruning.control(
                    found,
                    train_fn,
                    kind,
                    seed=seeding.split(cell.seed, "control", found.number),
                    model_fn=build,
                    data=(x[:SNIP_IMAGES], y[:SNIP_IMAGES]),
                    **kept,
                )
                for kind in settings["controls"]
            ]
        for one in measured:
            copies = [one.trained]
            if one.name != "dense":  # the dense network's instability has a cell of its own
                copies += [
                    stretches.trained(
                        train_fn,
                        one.rewound,
                        one.start,
                        one.stop,
                        seeding.split(cell.seed, "copy", one.name, one.number, copy),
                        mask=one.mask,
                        **kept,
                    )
                    for copy in range(1, settings["copies"])
                ]
            rows.append(_row(one, copies, model, settings, task, split))
    return {"rows": rows}


def steps_of(shares: Sequence[float], stop: int) -> list[int]:
    """Return the different steps k that lie at these shares of training."""
    return sorted({round(share * stop) for share in shares})


def _row(
    one: Round,
    copies: Sequence[Mapping[str, Any]],
    model: torch.nn.Module,
    settings: Mapping[str, Any],
    task: Task,
    split: Split,
) -> dict[str, Any]:
    states = [weights(copy) for copy in copies]
    device = settings["device"]
    errors = [
        measure(model, split.test, state=state, batch_size=BATCH_SIZE, device=device).error
        for state in states
    ]
    row = {
        "name": one.name,
        "round": one.number,
        "density": round(one.density, 6),
        "error": _rounded(math.fsum(errors) / len(errors)),
        "errors": [_rounded(error) for error in errors],
    }
    if len(states) < 2:
        return row
    on = {"test": split.path_test, "train": split.path_train}
    comparing = cast(Settings, _path_settings(settings, task, split, both=False))
    pairs = [
        Pair(
            one.start, i, j, False, one.density,
            comparison.compare(states[i], states[j], on, model=model, settings=comparing),
        )
        for i, j in itertools.combinations(range(len(states)), 2)
    ]  # fmt: skip
    return _means(pairs, paths=False) | row


def _means(pairs: Sequence[Pair], *, paths: bool) -> dict[str, Any]:
    test, train = (mean_of(pairs, name) for name in ("test", "train"))
    compared = [pair.compared for pair in pairs]
    found = {
        "instability": test.instability,
        "split": test.split_instability,
        "loss_instability": test.loss_instability,
        "train_instability": train.instability,
        "error": test.error,
        "l2": test.l2_distance,
        "disagreement": test.disagreement,
        "loss_distance": test.loss_distance,
    }
    row: dict[str, Any] = {name: _rounded(value) for name, value in found.items()}
    if paths:
        row["re_estimated"] = _re_estimated(compared)
        for name, values in (
            ("path", [one.on["test"].barrier.error for one in compared]),
            ("loss_path", [one.on["test"].barrier.loss for one in compared]),
        ):
            columns = zip(*values, strict=True)
            row[name] = [_rounded(math.fsum(column) / len(column)) for column in columns]
    return row


def _re_estimated(compared: Sequence[Comparison]) -> float | None:
    others = [one.on["test"].barrier.by_policy.get("re-estimated") for one in compared]
    found = [other.barrier for other in others if other is not None]
    return _rounded(math.fsum(found) / len(found)) if found else None


def _path_settings(
    settings: Mapping[str, Any], task: Task, split: Split, *, both: bool
) -> dict[str, Any]:
    found = {
        "points": settings["points"],
        "batch_size": BATCH_SIZE,
        "device": settings["device"],
        # Stacked points could be rounded otherwise on another day.
        "evaluation": "sequential",
    }
    if both and task.network != "lenet":
        found |= {"batch_norm": "both", "calibration": split.train[0][:CALIBRATION]}
    return found


def _task(settings: Mapping[str, Any]) -> Task:
    values = dict(settings["task"])
    return Task(**values | {"drops": tuple(values["drops"])})


def _split(settings: Mapping[str, Any]) -> Split:
    names = ("train_images", "path_images", "path_train_images")
    return tasks.split(settings["task"]["dataset"], *(settings[name] for name in names))


def _named(cell: Cell) -> dict[str, Any]:
    """Return what the training depends on, besides states and steps."""
    names = ("task", "train_images", "device")
    return {"data": cell.data_digest, **{name: cell.settings[name] for name in names}}


def _folder(run: Run) -> Path:
    return run.folder / "stretches"


def _step_and_control(pair: Pair) -> tuple[int, bool]:
    return pair.k, pair.schedule_reset


def _rounded(value: float) -> float:
    return round(value, 5)
