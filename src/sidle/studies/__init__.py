"""One study a paper: its findings run again, with a verdict for each claim.

A study is one file that reads from top to bottom: settings, presets, cells, what a cell computes,
figures, claims. `study` holds the vocabulary, `execution` runs the cells of any study.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from sidle.errors import UsageError

if TYPE_CHECKING:
    from sidle.studies.study import Study

__all__ = ["NAMES", "find"]

# Name on the command line -> the module that defines STUDY. Nothing is imported until asked for.
NAMES = {
    "mutual-information": "sidle.studies.mutual_information",
    "predictive-coding": "sidle.studies.predictive_coding",
    "connectivity": "sidle.studies.connectivity",
    "level-generation": "sidle.studies.level_generation",
    "sublinear": "sidle.studies.sublinear",
    "bottleneck": "sidle.studies.bottleneck",
}


def find(name: str) -> Study:
    """Import and return the study called ``name``.

    Raises:
        UsageError: there is no such study.
    """
    if name not in NAMES:
        raise UsageError(f"There is no study '{name}'. Studies: {', '.join(NAMES)}.")
    study: Study = importlib.import_module(NAMES[name]).STUDY
    return study
