"""Stretches of training kept in run folders: what was trained once is never trained again.

A *stretch* is one call of a training function: from a state at one step to a state at a later
one. Its folder's name holds the hash of all that its outcome depends on: the bits of the state it
starts from, the mask, the two steps, the seed of its noise, the settings the user names, and the
code. So a stretch is found again whichever procedure asks for it, two processes that ask at once
train it once, and changed settings never meet old results.

    run.json              what was asked, and the digest of the outcome
    trained.safetensors   the state at the last step
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sidle import checkpoint, provenance, runs, storage
from sidle.errors import CheckpointError
from sidle.lmc import training_function
from sidle.lmc.masks import Mask
from sidle.lmc.training_function import State, TrainingFunction

TRAINED = "trained.safetensors"


def trained(
    train_fn: TrainingFunction,
    state: State,
    start: int,
    stop: int,
    seed: int,
    *,
    mask: Mask | None = None,
    folder: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the state at step ``stop``: read where it was trained before, else trained and kept.

    Args:
        train_fn: see `sidle.lmc.training_function`, as for all up to ``mask``.
        state: the tree at step ``start``.
        start: at least 0.
        stop: at least ``start``; equal steps train and keep nothing.
        seed: names the noise of this stretch.
        mask: which weights are kept; None trains the dense network.
        folder: where run folders go; None keeps nothing.
        settings: what else the outcome depends on, as JSON values: the data, the learning rate,
            the model. The source of ``train_fn`` counts by itself, what it calls does not.

    Raises:
        ArgumentError, NonFiniteError: as `training_function.train`.
        CheckpointError: a finished stretch was damaged afterwards.
        StorageError: the disk refused.
    """
    if folder is None or start == stop:
        return training_function.train(train_fn, state, start, stop, seed, mask=mask)
    identity = _identity(train_fn, state, start, stop, seed, mask, settings)
    with runs.open_run(Path(folder) / identity.folder_name(f"{start}-{stop}"), identity) as run:
        path = run.folder / TRAINED
        if run.finished:
            return _read(path, run.result["state"])
        tree = training_function.train(train_fn, state, start, stop, seed, mask=mask, run=run)
        checkpoint.save(path, tree)
        # What the training itself kept to resume from has served its purpose.
        (run.folder / runs.CHECKPOINT).unlink(missing_ok=True)
        run.finish({"state": training_function.digest(tree)})
    return tree


def _identity(
    train_fn: TrainingFunction,
    state: State,
    start: int,
    stop: int,
    seed: int,
    mask: Mask | None,
    settings: Mapping[str, Any] | None,
) -> runs.Identity:
    begin = state
    if mask is not None:
        # Weights that the mask takes away make no difference.
        masked = mask.apply(training_function.weights(state))
        begin = training_function.with_weights(state, masked)
    return runs.Identity(
        settings={
            "start_state": training_function.digest(begin),
            "mask": None if mask is None else mask.digest(),
            "start": start,
            "stop": stop,
            "training": dict(settings or {}),
        },
        seed=seed,
        code_digest=storage.digest(
            provenance.code_digest("sidle.lmc.training_function"),
            training_function.source_digest(train_fn),
        ),
    )


def _read(path: Path, expected: str) -> dict[str, Any]:
    tree = checkpoint.load(path)
    if training_function.digest(tree) != expected:
        raise CheckpointError(
            f"{path}: is not the state that its run.json recorded. Delete the folder to train "
            "this stretch again."
        )
    return tree
