"""What the study `predictive-coding` claims of agents, and how that is measured on its records.

An agent's score is the mean over the last quarter of its training. Every effect is a function from
records to {seed: value}; differences are paired: both agents begin from the same weights on the
same levels. Scores of different games have no common scale, so that across games it is counted how
many got better. Margins were fixed before any run with the seeds of the study.
Reference: [CPC] A. van den Oord, Y. Li, O. Vinyals 2018, arXiv:1807.03748, section 3.4.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

import numpy as np

from sidle.studies.study import Claim, Record, select

Effect = Mapping[int, float]

GAMES = ("embers", "graveyard", "orchard")  # each with a claim of its own


def agents_of(records: Sequence[Record], **which: object) -> list[Record]:
    """Return the records of agents with these settings."""
    return select(records, kind="agent", **which)


def games_of(records: Sequence[Record], *, memory: bool) -> list[str]:
    """Return the games of memory that were played, or the reactive ones, in order."""
    return list(dict.fromkeys(record["game"] for record in agents_of(records, memory=memory)))


def scores(records: Sequence[Record], game: str, loss: str) -> dict[int, float]:
    """Return the score of one agent, by seed."""
    return {r.cell.seed: r["score"] for r in agents_of(records, game=game, loss=loss)}


def gain(records: Sequence[Record], game: str, over: str = "none") -> dict[int, float]:
    """Score with the contrastive loss minus with ``over``, by seed."""
    one, other = scores(records, game, "cpc"), scores(records, game, over)
    return {seed: one[seed] - other[seed] for seed in one if seed in other}


def share_of_games(records: Sequence[Record], over: str = "none") -> Effect:
    """Share of the games of memory whose score is higher than with ``over``; a tie counts half."""
    gains = [gain(records, game, over) for game in games_of(records, memory=True)]
    seeds = set.intersection(*map(set, gains)) if gains else set()
    return {s: float(np.mean([np.sign(g[s]) / 2 + 0.5 for g in gains])) for s in sorted(seeds)}


def reactive(records: Sequence[Record]) -> Effect:
    """1 less what the loss gains on the reactive games, as a share of the score without it.

    Of the mean score over seeds, so that one seed's luck is not divided by.
    """
    found = []
    for game in games_of(records, memory=False):
        without = scores(records, game, "none")
        if not (gained := gain(records, game)):
            return {}
        scale = abs(float(np.mean(list(without.values()))))
        found.append({seed: 1 - value / scale for seed, value in gained.items()})
    seeds = set.intersection(*map(set, found)) if found else set()
    return {seed: float(np.mean([each[seed] for each in found])) for seed in sorted(seeds)}


def _of_game(game: str) -> Claim:
    return Claim(
        id=f"agents-{game}",
        sentence=f"Predicting what comes makes an agent better at {game.capitalize()}.",
        source="[CPC] section 3.4 and figure 6, of five other games",
        effect="score with the loss minus without",
        unit="points",
        margin=0.0,
        differences=functools.partial(gain, game=game),
    )


CLAIMS = (
    Claim(
        id="agents-most-games",
        sentence="Predicting what comes makes an agent better at most games of memory.",
        source="[CPC] section 3.4 and figure 6 (4 of 5 games)",
        effect="share of the games in which the score with the loss is higher than without",
        unit="share",
        margin=0.5,
        differences=share_of_games,
    ),
    *(_of_game(game) for game in GAMES),
    Claim(
        id="agents-time-matters",
        sentence="It is the order of time that helps, not more learning from the same images.",
        source="a control that users of such losses ask for",
        effect="share of the games of memory in which the score is higher than with shuffled time",
        unit="share",
        margin=0.5,
        differences=functools.partial(share_of_games, over="shuffled-time"),
    ),
    Claim(
        id="agents-not-augmentation",
        sentence="Moving what an agent sees, without the loss, does not help as much.",
        source="a control that users of such losses ask for",
        effect="share of the games of memory in which the score is higher than with moved images",
        unit="share",
        margin=0.5,
        differences=functools.partial(share_of_games, over="augmentation-alone"),
    ),
    Claim(
        id="agents-reactive-no-gain",
        sentence="Where all that matters is in view, the loss brings next to nothing.",
        source="[CPC] section 3.4 (lasertag, three opponents)",
        effect="1 less the gain on the reactive game as a share of the score without the loss",
        unit="share",
        margin=0.9,
        differences=reactive,
    ),
)
