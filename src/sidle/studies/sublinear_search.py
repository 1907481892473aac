"""What hash tables find in the wide layer of a trained network: hard negatives, and the best.

Softmax pushes down every output that is no label of the row, each by its probability. A set of A
outputs does a good job if it holds much of that: `probe` measures which share of the whole it
holds, whoever chose it. `compare` measures the search for the best outputs.
Letters: N = rows, L = outputs, A = outputs of a set, K = best outputs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.sparse import csr_array
from torch import Tensor

from sidle import seeding
from sidle.slide import Hashing, WideSoftmax
from sidle.slide.candidates import OutputIndex
from sidle.studies.sublinear_networks import Network

_DRAWS = 20  # of sets by popularity
_REPEATS = 5  # of each search
_Array = np.ndarray[Any, Any]


@torch.no_grad()
def probe(
    network: Network,
    features: csr_array,
    labels: csr_array,
    counts: _Array,
    *,
    active: int,
    hashing: Mapping[str, Any],
    seed: int,
) -> dict[str, float]:
    """Return which share of the gradient on wrong outputs lies on sets of A of them.

    Args:
        network: as trained so far.
        features: of N rows.
        labels: of these rows.
        counts: how often each label occurs in training, (L,).
        active: A.
        hashing: settings of the tables, which are built anew.
        seed: of tables and draws.

    Returns:
        Shares in [0, 1]: ``hashed``: of what tables return; ``uniform``: expected of A drawn
        uniformly; ``popular``: of A drawn by ``counts`` without repetition; ``best``: of the best
        A, more than which no choice holds; ``recall``: of the best output that is no label, how
        often the tables return it.
    """
    weight, bias = network.output_weights()
    hidden = network.hidden(features)
    wrong_NL = F.linear(hidden, weight, bias).softmax(dim=1).double().numpy()
    rows_E = np.repeat(np.arange(len(wrong_NL)), np.diff(labels.indptr))
    wrong_NL[rows_E, labels.indices] = 0.0
    whole = wrong_NL.sum()
    index = OutputIndex(weight, bias, Hashing(**hashing), seed, 1)
    index.catch_up(0)
    found_NC, numbers_N = index.find(hidden, active)
    is_found_NC = np.arange(found_NC.shape[1]) < numbers_N[:, None]
    mass_NC = np.take_along_axis(wrong_NL, np.where(is_found_NC, found_NC, 0), axis=1)
    worst_N = wrong_NL.argmax(axis=1)
    generator = seeding.numpy_generator(seed)
    share_L = (counts + 1) / (counts + 1).sum()
    drawn = [
        generator.choice(len(share_L), active, replace=False, p=share_L) for _ in range(_DRAWS)
    ]
    best_NA = np.partition(wrong_NL, -active, axis=1)[:, -active:]
    return {
        "hashed": float((mass_NC * is_found_NC).sum() / whole),
        "uniform": active / wrong_NL.shape[1],
        "popular": float(np.mean([wrong_NL[:, some].sum() for some in drawn]) / whole),
        "best": float(best_NA.sum() / whole),
        "recall": float(((found_NC == worst_N[:, None]) & is_found_NC).any(axis=1).mean()),
    }


@torch.no_grad()
def compare(
    network: Network,
    features: csr_array,
    labels: csr_array,
    k: int,
    *,
    candidates: int,
    hashing: Mapping[str, Any],
    seed: int,
) -> dict[str, dict[str, float]]:
    """Search the best K outputs of some rows in tables, and among all.

    Args:
        network: a trained one.
        features: of N rows.
        labels: of these rows.
        k: K.
        candidates: outputs that tables may return for a row.
        hashing: settings of the tables.
        seed: of the tables.

    Returns:
        For ``hashed`` and ``exact``: ``p@1`` and ``p@k``, and ``microseconds`` a row, the median
        of searches that took turns; building the tables is not counted.
    """
    weight, bias = network.output_weights()
    layer = WideSoftmax(
        weight.shape[1], len(weight), optimizer=None, candidates=candidates, seed=seed,
        hashing=Hashing(**hashing),
    )  # fmt: skip
    layer.load_state_dict({"weight": weight, "bias": bias})
    hidden = network.hidden(features)
    ways: dict[str, Callable[[], Tensor]] = {
        "hashed": lambda: layer.topk(hidden, k)[1],
        "exact": lambda: layer.topk(hidden, k, exact=True)[1],
    }
    found = {name: _precision(way(), labels) for name, way in ways.items()}  # builds the tables
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(_REPEATS):
        for name, way in ways.items():
            began = time.process_time()
            way()
            seconds[name].append(time.process_time() - began)
    for name, some in seconds.items():
        found[name]["microseconds"] = round(1e6 * float(np.median(some)) / len(hidden), 3)
    return found


def _precision(best_NK: Tensor, labels: csr_array) -> dict[str, float]:
    n, k = best_NK.shape
    hits_NK = np.asarray(labels[np.repeat(np.arange(n), k), best_NK.numpy().ravel()]).reshape(n, k)
    return {"p@1": float(hits_NK[:, 0].mean()), f"p@{k}": float(hits_NK.mean())}
