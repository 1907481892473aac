"""How the study `predictive-coding` pre-trains a model of any domain, and what it says of that."""

from __future__ import annotations

from typing import Any

from sidle.cpc import ContrastivePredictiveCoding, train
from sidle.cpc.batches import Batches
from sidle.runs import Run
from sidle.studies.study import Cell

_WARM_UP = 100  # steps, at most a quarter of all
_POINTS = 20  # of the curve


def pretrained(
    cell: Cell, model: ContrastivePredictiveCoding, batch_of: Batches, run: Run
) -> dict[str, Any]:
    """Train the model, from the run's checkpoint if there is one.

    Args:
        cell: ``steps`` and ``learning_rate`` of its settings count; the rate rises over 100 steps
            and falls along half a cosine.
        model: is trained.
        batch_of: the batch of each step.
        run: where metrics and checkpoints go.

    Returns:
        ``loss``, ``bound``, ``ceiling`` in nats and ``accuracy`` at the end, and ``curve`` with the
        columns ``step``, ``bound`` and ``accuracy``.
    """
    steps = cell.settings["steps"]
    records = train(
        model,
        batch_of,
        steps,
        learning_rate=cell.settings["learning_rate"],
        warmup=min(_WARM_UP, steps // 4),
        decay=True,
        run=run,
        log_every=max(1, steps // _POINTS),
        description=cell.label,
    )
    last = records[-1]
    return {
        **{name: round(last[name], 5) for name in ("loss", "bound", "ceiling", "accuracy")},
        "curve": {
            name: [round(record[name], 5) for record in records]
            for name in ("step", "bound", "accuracy")
        },
    }
