"""What the cells of the study `level-generation` compute, one function a kind.

Test levels depend on game, difficulty and seed alone, so that all regimes of a seed play the same.
They are drawn apart from those that agents learn on.
Letters: M = levels, P = features of a level.
Reference: [PPCG] N. Justesen et al. 2018, arXiv:1806.10729.
"""

from __future__ import annotations

import collections
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from sidle import seeding
from sidle.ppcg import agents, curriculum, playable
from sidle.ppcg.agents import Evaluation, Player
from sidle.ppcg.curriculum import Curriculum
from sidle.ppcg.level_replay import PrioritizedReplay
from sidle.ppcg.playable import Playable
from sidle.ppcg.vgdl import Level
from sidle.runs import Run
from sidle.studies.study import Cell

SEVERAL = 4  # levels made by hand that `several-levels` learns on; the rest is held out
CURVE_POINTS = 40  # points of a learning curve kept as evidence
_ACTIONS = ("sampled", "greedy")


def run_cell(cell: Cell, run: Run) -> dict[str, Any]:
    """Compute the cell, on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the network is too small for more; results then depend on none
    try:
        kind = {"agent": trained, "random": at_random, "levels": level_map}[cell.settings["kind"]]
        return kind(cell, run)
    finally:
        torch.set_num_threads(threads)


def trained(cell: Cell, run: Run) -> dict[str, Any]:
    """Train an agent, then let it play levels it has not seen.

    Returns:
        ``curve``: columns ``step``, ``win_rate``, ``score``, ``episodes`` and, where levels have
        one, ``difficulty``, over the training; ``sampled`` and ``greedy``: what `tested` returns
        for each way to choose actions; ``own``: how many levels made by hand it has learned on.
    """
    settings = cell.settings
    game = playable.find(settings["game"])
    training = agents.TrainSettings(
        algorithm=settings["algorithm"],
        steps=settings["steps"],
        log_every=max(1, settings["steps"] // CURVE_POINTS),
        network=agents.NetworkSettings(
            filters=settings["filters"],
            features=settings["features"],
            ego_window=settings["ego_window"] or None,
        ),
        **{name: settings[name] for name in _TRAINING},
    )
    seed = seeding.split(cell.seed, "level_generation", "training")
    agent = agents.train(game, regime_of(cell, game), training, seed=seed, run=run)
    found: dict[str, Any] = {"own": len(own_levels(settings["regime"], game))}
    rows = run.metrics()
    names = ("step", "win_rate", "score", "episodes", "difficulty")
    found["curve"] = {
        name: [round(row[name], 4) for row in rows]
        for name in names
        if rows and all(name in row for row in rows)
    }
    for actions in _ACTIONS:
        found[actions] = tested(cell, game, agent, settings["test_levels"], actions == "greedy")
    return found


def at_random(cell: Cell, run: Run) -> dict[str, Any]:
    """Let an agent that draws its actions play the same levels; returns ``sampled``."""
    game = playable.find(cell.settings["game"])
    player = agents.RandomAgent(len(game.game.actions))
    return {"sampled": tested(cell, game, player, cell.settings["random_levels"], False)}


def tested(
    cell: Cell, game: Playable, player: Player, n_levels: int, greedy: bool
) -> dict[str, Any]:
    """Let ``player`` play held-out levels.

    Returns:
        ``generated``: columns with an entry a difficulty, ``hand_made``: with an entry a level;
        each with ``win_rate``, its 95 % interval over levels ``low`` and ``high``, ``score`` and
        ``length``.
    """
    seed = seeding.split(cell.seed, "level_generation", "play")
    difficulties, repeats = cell.settings["difficulties"], cell.settings["repeats"]
    sets = [held_out_levels(game, difficulty, n_levels, cell.seed) for difficulty in difficulties]
    sets += [[level] * repeats for level in game.levels]
    every = [level for some in sets for level in some]
    played = agents.evaluate_agent(player, game, every, seed=seed, greedy=greedy)
    ends = np.cumsum([len(some) for some in sets]).tolist()
    parts = [
        Evaluation(played.wins_L[a:b], played.scores_L[a:b], played.lengths_L[a:b])
        for a, b in zip([0, *ends[:-1]], ends, strict=True)
    ]
    n = len(difficulties)
    return {"generated": _columns(parts[:n]), "hand_made": _columns(parts[n:])}


def held_out_levels(game: Playable, difficulty: float, n: int, seed: int) -> list[Level]:
    """Return ``n`` held-out levels of a seed."""
    named = seeding.split(seed, "level_generation", "test_levels")
    return agents.generated_levels(game, difficulty, n, named)


def own_levels(regime: str, game: Playable) -> Sequence[Level]:
    """Return the levels made by hand that a regime learns on."""
    return game.levels[: {"one-level": 1, "several-levels": SEVERAL}.get(regime, 0)]


def regime_of(cell: Cell, game: Playable) -> Curriculum:
    """Return the curriculum that the cell's regime stands for."""
    regime = cell.settings["regime"]
    if own := own_levels(regime, game):
        return curriculum.LevelSet(own)
    if regime == "fixed":
        return curriculum.Fixed(cell.settings["difficulty"])
    if regime == "uniform":
        return curriculum.Uniform()
    if regime == "replay":
        return PrioritizedReplay()
    variant = {"ppcg": "exact", "ppcg-uniform": "uniform"}[regime]
    return curriculum.PPCG(cell.settings["alpha"], variant=variant)  # type: ignore[arg-type]


def level_map(cell: Cell, run: Run) -> dict[str, Any]:
    """Lay out levels by what stands in them: principal components, and t-SNE.

    Returns:
        ``difficulty`` of each point, null for levels made by hand; ``pca`` and ``tsne``: (M, 2);
        ``explained``: share of the variance along each of the two components.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from sklearn.preprocessing import StandardScaler

    game = playable.find(cell.settings["game"])
    levels: list[Level] = list(game.levels)
    difficulties: list[float | None] = [None] * len(levels)
    for difficulty in cell.settings["difficulties"]:
        some = held_out_levels(game, difficulty, cell.settings["map_levels"], cell.seed)
        levels += some
        difficulties += [difficulty] * len(some)
    features_MP = np.array([level_features(game, level) for level in levels])
    scaled_MP = StandardScaler().fit_transform(features_MP)
    pca = PCA(2, svd_solver="full")
    pca_M2 = pca.fit_transform(scaled_MP)
    tsne = TSNE(
        perplexity=min(30.0, (len(levels) - 1) / 3),
        init="pca",
        random_state=seeding.split(cell.seed, "level_generation", "tsne") % 2**32,
    )
    tsne_M2 = tsne.fit_transform(scaled_MP)
    return {
        "difficulty": difficulties,
        "pca": np.round(pca_M2, 3).tolist(),
        "tsne": np.round(tsne_M2.astype(np.float64), 3).tolist(),
        "explained": np.round(pca.explained_variance_ratio_, 4).tolist(),
    }


def level_features(game: Playable, level: Level) -> npt.NDArray[np.float64]:
    """Return what stands in a level, (P,).

    For each character of the game: how often it occurs, and the least distance to the avatar in
    rows plus columns (rows plus columns of the level where it does not occur). Then the rows and
    columns inside the walls.
    """
    characters = level.characters
    (row, column), *_ = np.argwhere(characters == ord("A")).tolist()
    found: list[float] = []
    for character in sorted(set(game.game.mapping) - {"A"}):
        places = np.argwhere(characters == ord(character))
        far = sum(characters.shape)
        distances = abs(places - [row, column]).sum(axis=1)
        found += [len(places), distances.min(initial=far)]
    inside = np.argwhere(characters != ord("w"))
    return np.array([*found, *np.ptp(inside, axis=0)], np.float64)


_TRAINING = (
    "n_envs", "rollout", "epochs", "minibatch", "learning_rate", "discount", "gae", "entropy",
    "rewards",
)  # fmt: skip


def _columns(parts: Sequence[Evaluation]) -> dict[str, list[float]]:
    columns: dict[str, list[float]] = collections.defaultdict(list)
    for part in parts:
        rate = part.win_rate
        for name, value in (
            ("win_rate", rate.mean),
            ("low", rate.low),
            ("high", rate.high),
            ("score", part.score.mean),
            ("length", part.length.mean),
        ):
            columns[name].append(round(value, 4))
    return dict(columns)
