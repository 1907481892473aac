"""Training a model of `sidle.cpc` with Adam, in the loop that all of sidle shares.

References: [CPC] van den Oord, Li & Vinyals 2018, arXiv:1807.03748, section 3.1 (Adam, 2e-4).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from sidle import training
from sidle.cpc.batches import Batch, Batches
from sidle.cpc.model import ContrastivePredictiveCoding
from sidle.errors import ArgumentError
from sidle.runs import Run
from sidle.training import Metrics


def training_step(
    model: ContrastivePredictiveCoding,
    optimizer: torch.optim.Optimizer,
    *,
    scheduler: torch.optim.lr_scheduler.LRScheduler | None = None,
    max_gradient: float | None = None,
) -> Callable[[Batch], Metrics]:
    """Return the usual step for `sidle.training.fit`: loss, gradients, update.

    Args:
        model: what is trained.
        optimizer: holds its parameters.
        scheduler: advanced once a step. Put it into ``state`` of `fit` too.
        max_gradient: norm that gradients are clipped to; None: they are left alone.

    Returns:
        ``step(batch) -> metrics``, as `StepLosses.metrics`.
    """

    def step(batch: Batch) -> Metrics:
        model.train()
        optimizer.zero_grad(set_to_none=True)
        found = model.loss(batch.to(model.device))
        found.loss.backward()  # type: ignore[no-untyped-call]
        if max_gradient is not None:
            torch.nn.utils.clip_grad_norm_(model.parameters(), max_gradient)
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
        return found.metrics()

    return step


def train(
    model: ContrastivePredictiveCoding,
    batches: Batches,
    n_steps: int,
    *,
    learning_rate: float = 2e-4,
    weight_decay: float = 0.0,
    warmup: int = 0,
    decay: bool = False,
    max_gradient: float | None = None,
    run: Run | None = None,
    log_every: int = 10,
    **fit_options: Any,
) -> list[dict[str, float]]:
    """Train for ``n_steps`` steps with Adam; an interrupted run goes on exactly.

    Args:
        model: on the device to train on.
        batches: ``batches(i)`` is the batch of step i.
        n_steps: at least 1.
        learning_rate: of Adam.
        weight_decay: of AdamW, decoupled; 0: none.
        warmup: steps over which the learning rate rises from 0.
        decay: let it fall along half a cosine to 0 at the end.
        max_gradient: norm that gradients are clipped to; None: they are left alone.
        run: where metrics and checkpoints go.
        log_every: steps between records.
        fit_options: further arguments of `sidle.training.fit`.

    Returns:
        Records as of `sidle.training.fit`: "step", "loss", "accuracy", "bound", "ceiling", and
        loss, accuracy and bound of each step ahead.

    Raises:
        ArgumentError: a setting lies outside its range.
        NonFiniteError, RunError, StorageError: as `sidle.training.fit`.
    """
    if not learning_rate > 0 or warmup < 0 or n_steps < 1:
        raise ArgumentError(
            "train: learning_rate must be above 0, warmup at least 0 and n_steps at least 1, got "
            f"{learning_rate}, {warmup} and {n_steps}."
        )
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=learning_rate, weight_decay=weight_decay, fused=True
    )

    def factor(done: int) -> float:
        rise = min(1.0, (done + 1) / warmup) if warmup else 1.0
        return rise * ((1 + math.cos(math.pi * done / n_steps)) / 2 if decay else 1.0)

    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    return training.fit(
        training_step(model, optimizer, scheduler=scheduler, max_gradient=max_gradient),
        batches,
        n_steps,
        state={"model": model, "optimizer": optimizer, "scheduler": scheduler},
        run=run,
        log_every=log_every,
        **fit_options,
    )
