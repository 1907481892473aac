"""Study: do representations that predict what comes tell what it is? (van den Oord et al. 2018).

Kinds of cells, each in a module of its own:
- *audio* (`predictive_coding_audio`): speech; digits or phones and speakers, read at every latent;
  digits of speakers who were left out; variants of steps ahead and of negatives;
- *images* (`predictive_coding_images`): patches; classes read from few labels or many;
- *text* (`predictive_coding_text`): sentences; classes of other sentences;
- *agent* (`predictive_coding_agents`): the loss beside an agent's own, on games of memory.

What is read is read by linear classifiers on frozen features, beside the same networks untrained
and trained with labels, and what one would use instead.

References: [CPC] A. van den Oord, Y. Li, O. Vinyals 2018, arXiv:1807.03748.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from sidle.errors import ArgumentError
from sidle.runs import Run
from sidle.studies import (
    predictive_coding_agents,
    predictive_coding_audio,
    predictive_coding_figures,
    predictive_coding_images,
    predictive_coding_text,
)
from sidle.studies.predictive_coding_agents import AgentSettings
from sidle.studies.predictive_coding_audio import AudioDomainSettings
from sidle.studies.predictive_coding_claims import CLAIMS
from sidle.studies.predictive_coding_images import ImagesSettings
from sidle.studies.predictive_coding_text import TextDomainSettings
from sidle.studies.study import Cell, Paper, Study

DOMAINS: dict[str, Any] = {
    "audio": predictive_coding_audio,
    "images": predictive_coding_images,
    "text": predictive_coding_text,
    "agents": predictive_coding_agents,
}


@dataclass(frozen=True)
class Settings:
    """Settings of the study `predictive-coding`."""

    seeds: int = 5
    """Number of seeds; a verdict takes five."""
    domains: tuple[str, ...] = ("audio", "images", "text", "agents")
    """What to learn from: audio, images, text, agents."""
    audio: AudioDomainSettings = field(default_factory=AudioDomainSettings)
    """Of sound."""
    images: ImagesSettings = field(default_factory=ImagesSettings)
    """Of images."""
    text: TextDomainSettings = field(default_factory=TextDomainSettings)
    """Of text."""
    agents: AgentSettings = field(default_factory=AgentSettings)
    """Of agents."""

    def __post_init__(self) -> None:
        if not self.domains or not set(self.domains) <= set(DOMAINS):
            raise ArgumentError(
                f"domains: expected some of {', '.join(DOMAINS)}, got {list(self.domains)}."
            )


_FULL = Settings()
PRESETS = {
    "quick": Settings(
        seeds=2,
        audio=AudioDomainSettings(
            datasets=("synthetic",),
            steps=150,
            features=32,
            context_features=32,
            batch_size=4,
            n_negatives=64,
            ahead_variants=(),
            negatives_variants=(),
            probe_frames=2000,
            supervised_steps=80,
        ),
        images=ImagesSettings(
            datasets=("digits",),
            steps=150,
            batch_size=32,
            grid=3,
            width=64,
            features=32,
            context_features=32,
            ahead=(1, 2),
            n_negatives=64,
            fractions=(0.05, 1.0),
            label_draws=1,
            supervised_steps=150,
            supervised_rates=(3e-3,),
        ),
        text=TextDomainSettings(
            corpora=("standard-library",),
            sets=("standard-library",),
            steps=500,
            learning_rate=1e-2,
            batch_size=16,
            vocabulary=3000,
            word_features=32,
            features=32,
            context_features=32,
            n_negatives=64,
            most_passages=800,
        ),
        agents=predictive_coding_agents.PRESETS["quick"],
    ),
    "standard": Settings(
        domains=("audio", "images"),
        audio=AudioDomainSettings(datasets=("fsdd",), ahead_variants=(), negatives_variants=()),
        images=ImagesSettings(datasets=("fashion_mnist",)),
    ),
    "full": _FULL,
    "paper": dataclasses.replace(
        _FULL,
        audio=AudioDomainSettings(features=512, context_features=256, steps=300_000),
        images=ImagesSettings(
            train_images=0,
            test_images=0,
            encoder="residual",
            width=128,
            features=1024,
            context_features=1024,
            steps=100_000,
        ),
        text=TextDomainSettings(
            word_features=620,
            kernel=3,
            features=2400,
            context_features=2400,
            piece_words=64,  # whole sentences
            pieces=8,
            steps=100_000,
            learning_rate=2e-4,
        ),
        agents=predictive_coding_agents.PRESETS["paper"],
    ),
}


def cells(settings: Settings) -> list[Cell]:
    """Return the independent jobs, seed by seed."""
    found = [
        cell
        for name in settings.domains
        for cell in DOMAINS[name].cells(getattr(settings, name), settings.seeds)
    ]
    return sorted(found, key=lambda cell: cell.seed)


def run_cell(cell: Cell, run: Run) -> dict[str, Any]:
    """Compute the cell."""
    found = next(domain for domain in DOMAINS.values() if cell.settings["kind"] == domain.KIND)
    result: dict[str, Any] = found.run_cell(cell, run)
    return result


STUDY = Study(
    name="predictive-coding",
    module=__name__,
    title="Representations that predict what comes",
    overview=(
        "Contrastive Predictive Coding learns without labels: from what was heard, seen or read so "
        "far it has to tell what comes next from what does not. The paper finds that what it "
        "learns tells phones and speakers, classes of images and of sentences by a linear "
        "classifier, and that the loss helps agents.\n\n"
        "Here all four domains are run again, small, on data that anybody has. Recordings, images "
        "and sentences that are tested were never learned from; networks untrained and trained "
        "with labels stand beside, and the features that one would use instead."
    ),
    paper=Paper(
        "Representation Learning with Contrastive Predictive Coding",
        "Aäron van den Oord, Yazhe Li, Oriol Vinyals",
        2018,
        "https://arxiv.org/abs/1807.03748",
    ),
    data=(
        "Spoken digits (fsdd, real) and Fashion-MNIST (real) at standard; at full also the TIMIT "
        "sample, CIFAR-10, the Brown corpus, Project Gutenberg and library abstracts with five "
        "sets of labelled sentences (real), and levels drawn by generators; at quick speech "
        "(synthetic), handwritten digits and the documentation of the Python standard library "
        "(real)."
    ),
    version=1,
    presets=PRESETS,
    cells=cells,
    run_cell=run_cell,
    figures=predictive_coding_figures.figures,
    claims=CLAIMS,
    extras=("rl",),
)
