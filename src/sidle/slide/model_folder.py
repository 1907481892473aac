"""A trained extreme classifier on disk: ``model.safetensors`` and ``model.json``; no pickle.

Letters: N = rows of evidence, D = features, L = labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_array
from torch import Tensor

from sidle import checkpoint, storage
from sidle.errors import CheckpointError
from sidle.slide.blending import Blend
from sidle.slide.evidence import FEATURES

_Array = np.ndarray[Any, Any]

MODEL, DESCRIPTION = "model.safetensors", "model.json"
FORMAT = 2


@dataclass(frozen=True, eq=False)
class Stored:
    """All that a trained classifier consists of.

    Attributes:
        settings: its parameters, by name.
        weights: of the network.
        idf: inverse frequencies of features, (D,), or None where entries keep their weights.
        n_rows: rows it was trained on.
        rows_of_label: how many of them have each label, int64 (L,).
        rows: those that evidence is drawn from, weighted, CSR (N, D).
        labels: of these rows, CSR (N, L), entries 1.
        classes: what the labels are called, (L,).
        blend: how the scores of network and evidence are joined.
        multilabel: whether y was an indicator matrix.
        sparse: whether y was sparse.
        validation: P@k on held-out rows.
    """

    settings: dict[str, Any]
    weights: dict[str, Tensor]
    idf: _Array | None
    n_rows: int
    rows_of_label: _Array
    rows: csr_array
    labels: csr_array
    classes: _Array
    blend: Blend
    multilabel: bool
    sparse: bool
    validation: dict[str, float]


def write(folder: Path, stored: Stored, notes: dict[str, Any]) -> None:
    """Write both files into ``folder``, which is made if needed.

    Args:
        folder: where.
        stored: the classifier.
        notes: what else the description shall say (JSON values).
    """
    rows, labels, blend = stored.rows, stored.labels, stored.blend
    checkpoint.save(
        folder / MODEL,
        {
            "weights": stored.weights,
            "idf": stored.idf,
            "n_rows": stored.n_rows,
            "rows_of_label": stored.rows_of_label,
            "rows": [rows.indptr, rows.indices, rows.data],
            "labels": [labels.indptr, labels.indices],
            "classes": stored.classes.tolist(),
            "blend": [list(blend.weights), blend.slope, blend.intercept],
            "multilabel": stored.multilabel,
            "sparse": stored.sparse,
            "settings": stored.settings,
        },
    )
    description = {
        "format": FORMAT,
        "settings": stored.settings,
        "n_features": rows.shape[1],
        "n_labels": labels.shape[1],
        "n_rows": stored.n_rows,
        "n_evidence_rows": rows.shape[0],
        "weighting": "none" if stored.idf is None else "tfidf",
        "validation": stored.validation,
        "blend": dict(zip([*FEATURES, "network"], blend.weights, strict=True)),
    }
    storage.write_json(folder / DESCRIPTION, description | notes)


def read(folder: Path) -> Stored:
    """Return what `write` wrote.

    Raises:
        StorageError, CheckpointError, DataError: it is not there, damaged, or something else.
    """
    description = storage.read_json(folder / DESCRIPTION)
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise CheckpointError(
            f"{folder / DESCRIPTION}: expected the description of a model in format {FORMAT}. "
            "Name a folder that `sidle xc train` or ExtremeClassifier.save wrote."
        )
    tree = checkpoint.load(folder / MODEL)
    if "blend" not in tree:
        raise CheckpointError(f"{folder / MODEL}: this is no model of ExtremeClassifier.")
    classes = np.array(tree["classes"])
    n_features = tree["weights"]["embedding.weight"].shape[0]
    indptr, indices, values = tree["rows"]
    rows = csr_array((values, indices, indptr), shape=(len(indptr) - 1, n_features))
    indptr, indices = tree["labels"]
    ones = np.ones(len(indices), np.float32)
    weights, slope, intercept = tree["blend"]
    return Stored(
        settings=tree["settings"],
        weights=tree["weights"],
        idf=tree["idf"],
        n_rows=tree["n_rows"],
        rows_of_label=tree["rows_of_label"],
        rows=rows,
        labels=csr_array((ones, indices, indptr), shape=(len(indptr) - 1, len(classes))),
        classes=classes,
        blend=Blend(tuple(weights), slope, intercept),
        multilabel=tree["multilabel"],
        sparse=tree["sparse"],
        validation=dict(description["validation"]),
    )
