"""What the study `level-generation` claims, and how each claim is measured on its records.

Every effect is a function from records to {seed: value}. Win rates are those of sampled actions.
Reference: [PPCG] N. Justesen et al. 2018, arXiv:1806.10729.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from sidle.studies.study import Claim, Record, select

Effect = Mapping[int, float]

PROGRESSIVE = ("ppcg-uniform", "ppcg")  # the first of them that was run is compared


def win_rates(
    records: Sequence[Record], *, levels: str = "generated", actions: str = "sampled", **which: Any
) -> dict[int, list[float]]:
    """Return the win rates of one agent, by seed.

    Args:
        records: of the study.
        levels: "generated": one rate a difficulty; "hand_made": one a level.
        actions: "sampled" or "greedy".
        which: settings of the cells that pick the agent.
    """
    return {r.cell.seed: r[actions][levels]["win_rate"] for r in select(records, **which)}


def agents_of(records: Sequence[Record], **which: Any) -> list[Record]:
    """Return the records of trained agents; of those not named, DQN is left out."""
    found = select(records, kind="agent", **which)
    return found if "algorithm" in which else [r for r in found if r["algorithm"] != "dqn"]


def games_of(records: Sequence[Record]) -> list[str]:
    """Return the games that agents were trained on, in order."""
    return list(dict.fromkeys(record["game"] for record in agents_of(records)))


def held_out_mean(records: Sequence[Record]) -> dict[int, float]:
    """Return the mean win rate over all difficulties of one agent's held-out levels, by seed."""
    return {seed: float(np.mean(rates)) for seed, rates in win_rates(records).items()}


def rate_at(records: Sequence[Record], difficulty: float) -> dict[int, float]:
    """Return the win rate on held-out levels of a difficulty, by seed; empty if not tested."""
    found = {}
    for record in records:
        if difficulty in record["difficulties"]:
            place = record["difficulties"].index(difficulty)
            found[record.cell.seed] = record["sampled"]["generated"]["win_rate"][place]
    return found


def less(one: Effect, other: Effect) -> dict[int, float]:
    """Return the differences of the seeds that both have."""
    return {seed: one[seed] - other[seed] for seed in one if seed in other}


def mean_of(effects: Iterable[Effect]) -> dict[int, float]:
    """Return the mean of several effects over the seeds that all have."""
    listed = [effect for effect in effects if effect]
    seeds = set.intersection(*(set(effect) for effect in listed)) if listed else set()
    return {s: float(np.mean([effect[s] for effect in listed])) for s in sorted(seeds)}


def best_of(effects: Iterable[Effect]) -> Effect:
    """Return the effect with the largest mean; empty if there are none."""
    return max(
        (effect for effect in effects if effect),
        key=lambda effect: float(np.mean(list(effect.values()))),
        default={},
    )


def overfitting(records: Sequence[Record]) -> Effect:
    """Win rate on the one level trained on minus on the others made by hand, mean over games."""
    found = []
    for game in games_of(records):
        rates = win_rates(agents_of(records, game=game, regime="one-level"), levels="hand_made")
        found.append({s: row[0] - float(np.mean(row[1:])) for s, row in rates.items()})
    return mean_of(found)


def generated_beat_one_level(records: Sequence[Record], game: str = "zelda") -> Effect:
    """Win rate on held-out levels of all difficulties, fixed 0.5 minus one level, by seed."""
    fixed = agents_of(records, game=game, regime="fixed", difficulty=0.5)
    return less(
        held_out_mean(fixed), held_out_mean(agents_of(records, game=game, regime="one-level"))
    )


def within_distribution(records: Sequence[Record]) -> Effect:
    """Win rate of an agent of fixed difficulty on held-out levels of it, minus a random agent's.

    Of the game and difficulty where that is largest: the claim is of some games.
    """
    found = []
    for game, difficulty in fixed_regimes(records):
        fixed = agents_of(records, game=game, regime="fixed", difficulty=difficulty)
        chance = select(records, kind="random", game=game)
        found.append(less(rate_at(fixed, difficulty), rate_at(chance, difficulty)))
    return best_of(found)


def fixed_regimes(records: Sequence[Record]) -> list[tuple[str, float]]:
    """Return (game, difficulty) of the regimes of fixed difficulty, in order."""
    fixed = agents_of(records, regime="fixed")
    return list(dict.fromkeys((record["game"], record["difficulty"]) for record in fixed))


def progressive_of(records: Sequence[Record], game: str) -> list[Record]:
    """Return the records of the Progressive PCG that is compared in a game."""
    for regime in PROGRESSIVE:
        if found := agents_of(records, game=game, regime=regime):
            return found
    return []


def gain(records: Sequence[Record], game: str, difficulty: float) -> dict[int, float]:
    """Win rate of Progressive PCG minus of a fixed difficulty, on levels of it, by seed."""
    fixed = agents_of(records, game=game, regime="fixed", difficulty=difficulty)
    return less(rate_at(progressive_of(records, game), difficulty), rate_at(fixed, difficulty))


def frogs_gain(records: Sequence[Record]) -> Effect:
    """What Progressive PCG gains over fixed maximal difficulty in Frogs, on maximal difficulty."""
    return gain(records, "frogs", 1.0)


def frogs_gain_everywhere(records: Sequence[Record]) -> Effect:
    """The same on held-out levels of all difficulties."""
    fixed = agents_of(records, game="frogs", regime="fixed", difficulty=1.0)
    return less(held_out_mean(progressive_of(records, "frogs")), held_out_mean(fixed))


def single_difficulty_as_good(records: Sequence[Record]) -> Effect:
    """Win rate of a fixed difficulty minus of Progressive PCG, held-out levels of all difficulties.

    Of the game and difficulty where that is largest: the claim is of some games.
    """
    found = []
    for game, difficulty in fixed_regimes(records):
        fixed = agents_of(records, game=game, regime="fixed", difficulty=difficulty)
        found.append(less(held_out_mean(fixed), held_out_mean(progressive_of(records, game))))
    return best_of(found)


def sparsity_points(records: Sequence[Record]) -> dict[tuple[str, float], tuple[Effect, Effect]]:
    """Return (a random agent's win rate, gain of Progressive PCG) by game and fixed difficulty."""
    found: dict[tuple[str, float], tuple[Effect, Effect]] = {}
    for game, difficulty in fixed_regimes(records):
        chance = rate_at(select(records, kind="random", game=game), difficulty)
        gained = gain(records, game, difficulty)
        if chance and gained:
            found[game, difficulty] = chance, gained
    return found


def sparser_gains_more(records: Sequence[Record]) -> Effect:
    """Minus the rank correlation of a random agent's win rate and the gain, by seed.

    Undefined, and left out, with fewer than four points or where all are alike.
    """
    from scipy.stats import rankdata

    points = list(sparsity_points(records).values())
    if len(points) < 4:
        return {}
    found = {}
    for seed in sorted(set.intersection(*(set(gained) for _, gained in points))):
        chances = rankdata([chance[seed] for chance, _ in points])
        gains = rankdata([gained[seed] for _, gained in points])
        if chances.std() > 0 and gains.std() > 0:
            found[seed] = -float(np.corrcoef(chances, gains)[0, 1])
    return found


def dqn_stays_at_chance(records: Sequence[Record]) -> Effect:
    """1 less what DQN's win rate exceeds a random agent's by, Frogs at fixed maximal difficulty."""
    learned = agents_of(records, game="frogs", regime="fixed", difficulty=1.0, algorithm="dqn")
    chance = rate_at(select(records, kind="random", game="frogs"), 1.0)
    excess = less(rate_at(learned, 1.0), chance)
    return {seed: 1 - max(0.0, value) for seed, value in excess.items()}


CLAIMS = (
    Claim(
        id="one-level-overfits",
        sentence="An agent trained on one level overfits to it.",
        source="[PPCG] section 6 and table 1",
        effect="win rate on its own level minus on the other levels made by hand",
        unit="share",
        margin=0.1,
        differences=overfitting,
    ),
    Claim(
        id="generated-levels-beat-one",
        sentence="In Zelda, training on generated levels wins more unseen levels than training on "
        "one level.",
        source="[PPCG] section 6 and table 1",
        effect="win rate on held-out levels of all difficulties, fixed 0.5 minus one level",
        unit="share",
        margin=0.0,
        differences=generated_beat_one_level,
    ),
    Claim(
        id="generalises-within-distribution",
        sentence="In some games, training on generated levels generalises to new ones of the same "
        "distribution.",
        source="[PPCG] section 6",
        effect="win rate on held-out levels of the difficulty trained on, minus a random agent's; "
        "of the game where it is largest",
        unit="share",
        margin=0.1,
        differences=within_distribution,
    ),
    Claim(
        id="progressive-reaches-maximal",
        sentence="In Frogs, Progressive PCG wins levels of maximal difficulty, which training on "
        "them does not.",
        source="[PPCG] section 6 (57 % against zero)",
        effect="win rate at difficulty 1, Progressive PCG minus fixed 1",
        unit="share",
        margin=0.0,
        differences=frogs_gain,
    ),
    Claim(
        id="progressive-wins-more-levels",
        sentence="In Frogs, Progressive PCG wins more unseen levels than fixed maximal difficulty.",
        source="[PPCG] section 6",
        effect="win rate on held-out levels of all difficulties, Progressive PCG minus fixed 1",
        unit="share",
        margin=0.0,
        differences=frogs_gain_everywhere,
    ),
    Claim(
        id="single-difficulty-suffices",
        sentence="In some games a single difficulty is as good as a progressive one, or better.",
        source="[PPCG] section 6",
        effect="win rate on held-out levels of all difficulties, fixed minus Progressive PCG; of "
        "the game where it is largest",
        unit="share",
        margin=-0.05,
        differences=single_difficulty_as_good,
    ),
    Claim(
        id="sparse-rewards-need-progress",
        sentence="The less a random agent wins at a difficulty, the more Progressive PCG gains "
        "over training at it.",
        source="a question that readers of [PPCG] left open",
        effect="minus the rank correlation of a random agent's win rate and the gain, over games "
        "and fixed difficulties",
        unit="Spearman's rho",
        margin=0.0,
        differences=sparser_gains_more,
    ),
    Claim(
        id="dqn-makes-no-progress",
        sentence="DQN makes no progress in Frogs at maximal difficulty.",
        source="[PPCG] section 5",
        effect="1 less what its win rate exceeds a random agent's by",
        unit="share",
        margin=0.95,
        differences=dqn_stays_at_chance,
    ),
)
