"""Slow, obvious versions of the pruning criteria: sort all weights, take the lowest."""

from __future__ import annotations

import math
from fractions import Fraction

import torch


def without_lowest(scores, kept, fraction, *, together):
    """Prune by score; lists of numbers by name, ``kept`` lists of booleans; returns such lists."""
    groups = [list(scores)] if together else [[name] for name in scores]
    result = {name: list(places) for name, places in kept.items()}
    for names in groups:
        remaining = [
            (scores[name][i], rank, i, name)
            for rank, name in enumerate(names)
            for i, there in enumerate(kept[name])
            if there
        ]
        exact = Fraction(str(fraction)) * len(remaining)
        for _, _, i, name in sorted(remaining)[: math.floor(exact + Fraction(1, 2))]:
            result[name][i] = False
    return result


def removal_effects(model, name, loss):
    """Return -dL/dc of [SNIP, eq. 4] for each weight, by central differences in c at 1."""
    parameter = model.get_parameter(name)
    flat = parameter.data.reshape(-1)
    effects = []
    for i, value in enumerate(flat.tolist()):
        ends = []
        for c in (1 + 1e-4, 1 - 1e-4):
            flat[i] = c * value
            ends.append(float(loss(model).detach()))
        flat[i] = value
        effects.append((ends[0] - ends[1]) / 2e-4)
    return torch.tensor(effects, dtype=torch.float64).reshape(parameter.shape)
