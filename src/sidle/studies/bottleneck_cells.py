"""What the cells of the study `bottleneck` compute, one function a kind.

References: [CEB1] Fischer 2020, doi:10.3390/e22090999. [CEB2] Fischer and Alemi 2020,
doi:10.3390/e22101081.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from sidle import seeding
from sidle.runs import Run
from sidle.studies import bottleneck_tasks as tasks
from sidle.studies import bottleneck_training, bottleneck_trials
from sidle.studies.bottleneck_tasks import Method, Task
from sidle.studies.bottleneck_training import Network
from sidle.studies.study import Cell


def run_cell(cell: Cell, run: Run) -> dict[str, Any]:
    """Compute the cell."""
    return {"method": trained, "random-labels": memorised}[cell.settings["kind"]](cell, run)


def trained(cell: Cell, run: Run) -> dict[str, Any]:
    """Train a network by the cell's method and put it to every test.

    Returns:
        ``log_classes``, log C in nats; ``train`` and ``test``: ``accuracy`` and, of networks that
        draw z, ``R``, ``Re`` and ``I`` in nats at the end; ``peak``: the largest ``R`` and ``Re``
        of the curve, in training and test; ``curve``: by name, an entry a point (``share`` of
        training done, the same of some training images, and of some test images with "test_"
        before); and what `bottleneck_trials.all_trials` returns.
    """
    settings = cell.settings
    task, method = task_of(settings), Method(**settings["method"])
    split = tasks.split(task, settings["train_images"])
    n_test = settings["test_images"] or None
    test = (split.test[0][:n_test], split.test[1][:n_test])
    _, classes = tasks.shape_and_classes(task)
    network, curve = bottleneck_training.train(
        task, method, split.train, test, settings, cell.seed, run,
        epochs=max(1, round(settings["epoch_share"] * task.epochs)),
    )  # fmt: skip
    x = tasks.scaled(test[0])
    return {
        **_ends(network, split.train, test, curve, cell.seed),
        "log_classes": round(math.log(classes), 6),
        "curve": curve,
        **bottleneck_trials.all_trials(
            network.subject(),
            x,
            test[1],
            {**settings, "classes": classes},
            seeding.split(cell.seed, "bottleneck", "trials"),
        ),
    }


def memorised(cell: Cell, run: Run) -> dict[str, Any]:
    """Train a network on labels drawn at random.

    Returns:
        ``log_classes``, ``train``, ``peak`` and ``curve`` as `trained`, of the training images.
    """
    settings = cell.settings
    task = dataclasses.replace(task_of(settings), learning_rate=settings["random_label_rate"])
    method = Method(**settings["method"])
    split = tasks.split(task, settings["random_label_images"])
    _, classes = tasks.shape_and_classes(task)
    generator = seeding.torch_generator(seeding.split(cell.seed, "bottleneck", "random_labels"))
    x = split.train[0]
    drawn = (x, torch.randint(classes, (len(x),), generator=generator))
    network, curve = bottleneck_training.train(
        task, method, drawn, None, settings, cell.seed, run,
        epochs=settings["random_label_epochs"],
    )  # fmt: skip
    return {
        **_ends(network, drawn, None, curve, cell.seed),
        "log_classes": round(math.log(classes), 6),
        "curve": curve,
    }


def task_of(settings: Mapping[str, Any]) -> Task:
    """Return the task that a cell's settings hold."""
    values = dict(settings["task"])
    return Task(**values | {name: tuple(values[name]) for name in ("widths", "strides")})


def _ends(
    network: Network,
    train: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor] | None,
    curve: Mapping[str, Sequence[float]],
    seed: int,
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, part in (("train", train), ("test", test)):
        if part is not None:
            named = seeding.split(seed, "bottleneck", "end", name)
            measured = network.measure(*part, seed=named)
            found[name] = {key: round(value, 5) for key, value in measured.items()}
    found["peak"] = {
        name: max(curve[name]) for name in ("R", "Re", "test_R", "test_Re") if name in curve
    }
    return found
