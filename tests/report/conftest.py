"""A working folder with three summaries of two studies, as `sidle run` leaves them."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from sidle import storage
from sidle.report import figures

TRUTHS = [0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0]


def claim(
    name: str,
    sentence: str,
    margin: float,
    interval: tuple[float, float, float, int] | None,
    verdict: str,
    *,
    unit: str = "nats",
    effect: str = "estimate minus ceiling",
) -> dict[str, Any]:
    values = None
    if interval is not None:
        mean, low, high, n = interval
        lone = n == 1
        values = {
            "mean": mean,
            "low": None if lone else low,
            "high": None if lone else high,
            "n": n,
            "confidence": 0.95,
        }
    reasons = {
        "holds": "The 95 % interval lies wholly above the margin.",
        "does not hold": "The 95 % interval lies wholly at or below the margin.",
        "undecided": "The 95 % interval contains the margin.",
    }
    return {
        "id": name,
        "sentence": sentence,
        "source": "Section 4.1, figure 3",
        "effect": effect,
        "unit": unit,
        "margin": margin,
        "interval": values,
        "verdict": verdict,
        "reason": reasons[verdict] if interval else "No seed has all its cells yet.",
    }


def cell(name: str, seconds: float, **changes: Any) -> dict[str, Any]:
    finished = {
        "name": name,
        "status": "finished",
        "seconds": seconds,
        "source": "run",
        "other_code": False,
        "error": None,
    }
    return {**finished, **changes}


def estimates_figure(ceiling: float) -> dict[str, Any]:
    """Estimates of three bounds that bend under the log of the batch size, against the truth."""
    traces: list[figures.Trace] = []
    names = ("InfoNCE, batch 64", "InfoNCE, batch 512", "NWJ, self-normalised", "MINE")
    for index, name in enumerate(names):
        top = (ceiling, ceiling + 2, 9, 14)[index]
        mean = [top * (1 - math.exp(-truth / top)) for truth in TRUTHS]
        half = [0.02 + 0.02 * (index + 1) * truth for truth in TRUTHS]
        low = [m - h for m, h in zip(mean, half, strict=True)]
        high = [m + h for m, h in zip(mean, half, strict=True)]
        traces += figures.line_with_band(TRUTHS, mean, low, high, name, index)
    traces += figures.reference_line([0, 6], [0, 6], "true information")
    return figures.figure(traces, "True mutual information (nats)", "Estimate (nats)")


def accuracy_figure() -> dict[str, Any]:
    layers = ["raw pixels", "supervised, last layer before the labels", "CPC, context", "patches"]
    traces = []
    for index, name in enumerate(("linear probe", "nearest neighbours")):
        mean = [value - 0.08 * index for value in (0.551, 0.863, 0.742, 0.698)]
        low = [value - 0.035 for value in mean]
        high = [value + 0.035 for value in mean]
        traces += figures.interval_points(layers, mean, low, high, name, index, horizontal=True)
    traces += figures.reference_line([0.1, 0.1], [layers[0], layers[-1]], "chance")
    return figures.figure(traces, "Test accuracy", "", x_range=(0, 1), x_format=".0%")


def labels_figure() -> dict[str, Any]:
    """Long names and a logarithmic axis, which phones find hard."""
    labels = [10, 30, 100, 300, 1000, 3000]
    traces: list[figures.Trace] = []
    names = (
        "codes learned without labels, probe on the mean of the utterance",
        "supervised from scratch with the same encoder and augmentation",
    )
    for index, name in enumerate(names):
        mean = [1 - 0.7 * (10 / n) ** (0.35 - 0.1 * index) for n in labels]
        low, high = [m - 0.04 for m in mean], [m + 0.04 for m in mean]
        traces += figures.line_with_band(labels, mean, low, high, name, index)
    x_title = "Utterances whose speaker was named to the probe"
    y_title = "Accuracy on speakers that were never heard before"
    return figures.figure(traces, x_title, y_title, x_log=True, y_format=".0%")


def confusion_figure() -> dict[str, Any]:
    phones = ["aa", "iy", "uw", "s", "sh", "m"]
    rates = [
        [round(math.exp(-abs(i - j) * 0.9) / 2, 3) for j in range(len(phones))]
        for i in range(len(phones))
    ]
    trace = {"type": "heatmap", "x": phones, "y": phones, "z": rates}
    return figures.figure([trace], "Predicted phone", "Spoken phone")


def information_summary() -> dict[str, Any]:
    return {
        "format": 1,
        "study": "mutual-information",
        "title": "How much can be told apart",
        "overview": (
            "A critic is trained to tell joint samples from shuffled ones. What it learns bounds "
            "the mutual information between the two sides from below, and we know the true value "
            "because the problems are made of Gaussians.\n\nThe bounds trade bias for variance: "
            "some can never report more than the log of the batch size, others can, at the price "
            "of estimates that scatter from seed to seed."
        ),
        "paper": {
            "title": "On Variational Bounds of Mutual Information",
            "authors": "Poole, Ozair, van den Oord, Alemi, Tucker",
            "year": 2019,
            "url": "https://arxiv.org/abs/1905.06922",
        },
        "preset": "quick",
        "settings": {
            "seeds": 5,
            "batch_size": 64,
            "critics": ["separable", "joint"],
            "hidden": 256,
            "learning_rate": 0.0005,
            "correlation_schedule": "staircase",
            "use_momentum": True,
            "truths": TRUTHS,
        },
        "version": 1,
        "command": "sidle run mutual-information --preset quick",
        "seeds": [0, 1, 2, 3, 4],
        "data": {
            "description": "Correlated Gaussians of 20 dimensions, drawn afresh (synthetic).",
            "digest": "5f0e1d2c" * 8,
        },
        "machine": {
            "platform": "Linux x86_64",
            "processor": "AMD EPYC 7B13",
            "cores": 2,
            "python": "3.11.2",
            "torch": "2.13.0",
            "numpy": "2.1.3",
            "sidle": "0.1.0",
        },
        "cells": [
            cell(f"{critic}-seed-{seed}", 1.3 + seed / 7)
            for critic in ("separable", "joint")
            for seed in range(5)
        ],
        "seconds": 42.4,
        "finished": "2026-11-23T17:00:00+00:00",
        "claims": [
            claim(
                "infonce-ceiling",
                "InfoNCE cannot report more than the log of its batch size, however much there is.",
                0.5,
                (1.842, 1.711, 1.973, 5),
                "holds",
                effect="true information minus estimate at 6 nats",
            ),
            claim(
                "nwj-variance",
                "The variance of the NWJ estimate grows with the information it measures.",
                0.0,
                (0.131, -0.042, 0.304, 5),
                "undecided",
                unit="nats²",
                effect="variance at 6 nats minus variance at 1 nat",
            ),
            claim(
                "joint-critic",
                "A joint critic gives tighter bounds than a separable one.",
                0.1,
                (-0.062, -0.155, 0.031, 5),
                "does not hold",
                effect="joint minus separable estimate",
            ),
        ],
        "figures": [
            {
                "id": "estimates",
                "title": "Estimates bend where the batch is too small",
                "caption": (
                    "Mean over five seeds with its 95 % interval. InfoNCE flattens near the log "
                    "of the batch size; the other bounds go on, with wider intervals."
                ),
                "plotly": estimates_figure(math.log(64)),
            }
        ],
    }


def coding_summary() -> dict[str, Any]:
    summary = information_summary()
    changes = {
        "study": "predictive-coding",
        "title": "Representations that predict",
        "overview": (
            "A network reads a signal and learns to recognise its own future among false ones. "
            "Linear probes then ask what its codes know about phones and speakers, which nobody "
            "told it."
        ),
        "paper": {
            "title": "Representation Learning with Contrastive Predictive Coding",
            "authors": "van den Oord, Li, Vinyals",
            "year": 2018,
            "url": "https://arxiv.org/abs/1807.03748",
        },
        "settings": {"seeds": 5, "prediction_steps": 12, "negatives": "same speaker"},
        "command": "sidle run predictive-coding --preset quick",
        "data": {
            "description": "Synthetic speech with known phones and speakers.",
            "digest": "a1b2c3d4" * 8,
        },
        "cells": [
            cell("cpc-seed-0", 8.1),
            cell("cpc-seed-1", 7.9, source="evidence"),
            cell("cpc-seed-2", 8.4, source="evidence", other_code=True),
            cell("cpc-seed-3", 0.0, status="failed", error="NonFiniteError: the loss was NaN."),
            cell("cpc-seed-4", 0.0, status="missing"),
        ],
        "seconds": 3723.0,
        "finished": "2026-11-22T09:30:00+00:00",
        "claims": [
            claim(
                "phones",
                "Codes that predict make phones linearly separable.",
                0.05,
                (0.191, 0.152, 0.23, 5),
                "holds",
                unit="accuracy",
                effect="probe on codes minus probe on features",
            ),
            claim(
                "far-steps",
                "Predicting twelve steps ahead beats predicting two.",
                0.0,
                (0.02, 0.0, 0.0, 1),
                "undecided",
                unit="accuracy",
                effect="twelve steps minus two",
            ),
            claim(
                "negatives",
                "Negatives of the same speaker make codes forget the speaker.",
                0.0,
                None,
                "undecided",
                unit="accuracy",
                effect="mixed minus same-speaker negatives",
            ),
        ],
        "figures": [
            {
                "id": "probes",
                "title": "What a linear probe reads from each layer",
                "caption": "Accuracy with its 95 % interval over five seeds; dashed is chance.",
                "plotly": accuracy_figure(),
            },
            {
                "id": "labels",
                "title": "How many labels a probe needs",
                "caption": "Mean over five seeds with its 95 % interval.",
                "plotly": labels_figure(),
            },
            {
                "id": "confusions",
                "title": "Which phones are taken for which",
                "caption": "Share of frames, averaged over seeds.",
                "plotly": confusion_figure(),
            },
        ],
    }
    return {**summary, **changes}


def write(runs: Path, summary: Mapping[str, Any], settings_hash: str) -> Path:
    path = runs / "study" / "summary" / settings_hash / "summary.json"
    storage.write_json(path, summary)
    return path


@pytest.fixture(scope="session")
def write_summary() -> Callable[..., Path]:
    """Write a summary into a folder of runs: (runs, summary, settings_hash) -> its path."""
    return write


@pytest.fixture
def summary() -> dict[str, Any]:
    """One summary, free to be changed by the test."""
    return copy.deepcopy(information_summary())


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two studies, one of them at two presets."""
    folder = tmp_path_factory.mktemp("work") / "runs"
    quick = information_summary()
    standard = {
        **information_summary(),
        "preset": "standard",
        "command": "sidle run mutual-information --preset standard",
        "seconds": 1931.0,
        "finished": "2026-11-21T03:12:00+00:00",
    }
    write(folder, standard, "standard")
    write(folder, quick, "quick")
    write(folder, coding_summary(), "coding")
    return folder
