"""Study: do agents win levels that nobody drew for them? (Justesen et al. 2018).

Kinds of cells (`sidle.studies.level_generation_cells` computes them):
- *agent*: train on the levels that a regime chooses, for the same number of ticks in every regime,
  then play held-out levels: generated ones per difficulty, and those made by hand;
- *random*: an agent that draws its actions plays the same levels;
- *levels*: where levels made by hand lie among generated ones, by what stands in them.

Regimes: ``one-level`` (the first one made by hand), ``several-levels`` (the first four; the fifth
is held out), ``fixed-D`` (generated, of difficulty D), ``uniform`` (of all difficulties), ``ppcg``
(Progressive PCG, levels of exactly the present difficulty), ``ppcg-uniform`` (of all up to it),
``replay`` (prioritised level replay over generated ones of all difficulties).

References: [PPCG] N. Justesen et al. 2018, arXiv:1806.10729. [PLR] M. Jiang et al. 2021,
arXiv:2010.03934. [DQN] V. Mnih et al. 2015.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from sidle import storage
from sidle.errors import ArgumentError
from sidle.ppcg import games, generators
from sidle.studies import level_generation_figures
from sidle.studies.level_generation_cells import run_cell
from sidle.studies.level_generation_claims import CLAIMS
from sidle.studies.study import Cell, Paper, Study

_NAMED = ("one-level", "several-levels", "uniform", "ppcg", "ppcg-uniform", "replay")
_LEVELS_OF_A_GAME = 5


@dataclass(frozen=True)
class Settings:
    """Settings of the study `level-generation`."""

    seeds: int = 5
    """Number of seeds; a verdict takes five."""
    agents: tuple[str, ...] = (
        "zelda/one-level",
        "zelda/fixed-0.5",
        "frogs/fixed-1",
        "frogs/ppcg-uniform",
        "zelda/ppcg-uniform",
        "zelda/fixed-1",
        "frogs/fixed-0.5",
    )
    """Which agents to train, as game/regime, or game/regime/algorithm where it is another."""
    steps: int = 1_000_000
    """Ticks that each agent is trained for, over all levels side by side."""
    difficulties: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0)
    """Difficulties of the generated levels that agents are tested on."""
    test_levels: int = 100
    """Generated test levels a difficulty; an interval wants at least 100."""
    repeats: int = 20
    """How often each level made by hand is played."""
    random_levels: int = 400
    """Generated levels a difficulty that the random agent plays."""
    alpha: float = 0.01
    """How far Progressive PCG moves the difficulty after an episode, as in the paper."""
    algorithm: str = "ppo"
    """What trains the agents: ppo or a2c. The paper's A2C needed 40 million ticks."""
    n_envs: int = 128
    """Levels played side by side."""
    rollout: int = 32
    """Ticks of each between updates."""
    epochs: int = 3
    """Passes over a rollout (ppo); DQN learns from as many ticks of its memory meanwhile."""
    minibatch: int = 512
    """Ticks of a minibatch (ppo)."""
    learning_rate: float = 1e-3
    """Learning rate."""
    discount: float = 0.99
    """Gamma."""
    gae: float = 0.95
    """Lambda of the advantages."""
    entropy: float = 0.03
    """Weight of the entropy. With 0.01 about half of the agents trained on one level of Zelda
    never won it: they learned to keep out of the way of monsters."""
    rewards: str = "score"
    """What is rewarded: score (its change, as in the paper), sign or outcome."""
    ego_window: int = 9
    """Side of the window around the avatar that agents see, odd; 0: the whole level, as in the
    paper."""
    filters: int = 16
    """Filters of the network's convolution."""
    features: int = 128
    """Units of its dense layer."""
    map_levels: int = 60
    """Generated levels a difficulty on the map of levels."""

    def __post_init__(self) -> None:
        if not self.agents or len(set(self.agents)) < len(self.agents):
            raise ArgumentError(f"agents: expected some, each once, got {list(self.agents)}.")
        for name in self.agents:
            agent_of(name)
        if self.algorithm not in ("ppo", "a2c"):
            raise ArgumentError(f"algorithm: expected ppo or a2c, got {self.algorithm!r}.")
        if self.rewards not in ("score", "sign", "outcome"):
            raise ArgumentError(f"rewards: expected score, sign or outcome, got {self.rewards!r}.")
        if not self.difficulties or not all(0 <= d <= 1 for d in self.difficulties):
            raise ArgumentError(
                f"difficulties: expected some in [0, 1], got {list(self.difficulties)}."
            )
        for name in ("steps", "test_levels", "repeats", "random_levels", "map_levels"):
            if getattr(self, name) < 1:
                raise ArgumentError(f"{name}: expected at least 1, got {getattr(self, name)}.")
        if self.ego_window < 0 or (self.ego_window and self.ego_window % 2 == 0):
            raise ArgumentError(f"ego_window: expected 0 or an odd number, got {self.ego_window}.")
        if not 0 < self.alpha <= 1:
            raise ArgumentError(f"alpha: must lie in (0, 1], got {self.alpha}.")


@dataclass(frozen=True)
class AgentName:
    """What "game/regime" or "game/regime/algorithm" stands for.

    Attributes:
        game: name of the game.
        regime: without the difficulty.
        difficulty: of a fixed regime, else None.
        algorithm: None for the usual one.
    """

    game: str
    regime: str
    difficulty: float | None
    algorithm: str | None


def agent_of(name: str) -> AgentName:
    """Return what ``name`` stands for.

    Raises:
        ArgumentError: there is no such game, regime or algorithm.
    """
    game, _, rest = name.partition("/")
    regime, _, algorithm = rest.partition("/")
    if game not in generators.CONSTRUCTIVE:
        raise ArgumentError(
            f"agents: '{name}': expected game/regime with one of the games "
            f"{', '.join(generators.CONSTRUCTIVE)}, got '{game}'."
        )
    if algorithm not in ("", "ppo", "a2c", "dqn"):
        raise ArgumentError(f"agents: '{name}': expected ppo, a2c or dqn, got '{algorithm}'.")
    difficulty = None
    if regime.startswith("fixed-"):
        try:
            difficulty = float(regime.removeprefix("fixed-"))
        except ValueError:
            difficulty = -1.0
        regime = "fixed"
    if (difficulty is None and regime not in _NAMED) or not 0 <= (difficulty or 0.0) <= 1:
        raise ArgumentError(
            f"agents: '{name}': expected one of the regimes {', '.join(_NAMED)}, or fixed-D with a "
            f"difficulty D in [0, 1], got '{rest}'."
        )
    return AgentName(game, regime, difficulty, algorithm or None)


_REGIMES = (
    "one-level", "several-levels", "fixed-0.5", "fixed-1", "uniform", "ppcg", "ppcg-uniform",
    "replay",
)  # fmt: skip
_ALL = tuple(f"{game}/{regime}" for game in generators.CONSTRUCTIVE for regime in _REGIMES)
_DQN = ("frogs/fixed-1/dqn", "frogs/ppcg-uniform/dqn")
PRESETS = {
    "quick": Settings(
        agents=("zelda/fixed-0.5", "frogs/fixed-1", "frogs/ppcg-uniform"),
        seeds=5,
        steps=32_768,
        difficulties=(0.0, 0.5, 1.0),
        test_levels=20,
        repeats=2,
        random_levels=50,
        map_levels=20,
    ),
    "standard": Settings(),
    "full": Settings(agents=(*_ALL, *_DQN), steps=6_000_000),
    "paper": Settings(
        agents=(*_ALL, *_DQN),
        steps=40_000_000,
        algorithm="a2c",
        n_envs=12,
        rollout=5,
        learning_rate=7e-4,
        gae=1.0,
        entropy=0.01,
        ego_window=0,
        filters=32,
        features=512,
    ),
}


def cells(settings: Settings) -> list[Cell]:
    """Return the independent jobs, seed by seed; the map of a game's levels with the first."""
    names = {name: agent_of(name) for name in settings.agents}
    played = dict.fromkeys(agent.game for agent in names.values())
    digests = {name: _digest(name) for name in played}
    test = _part(settings, "difficulties", "repeats")
    found = []
    for seed in range(settings.seeds):
        for name, agent in names.items():
            which = {"kind": "agent", **dataclasses.asdict(agent)}
            which["algorithm"] = agent.algorithm or settings.algorithm
            part = _part(settings, "steps", "test_levels", *_TRAINING)
            if agent.regime.startswith("ppcg"):
                part |= _part(settings, "alpha")
            label = f"{name.replace('/', '-')}-seed{seed}"
            found.append(Cell(label, which | part | test, seed, digests[agent.game]))
        for game, digest in digests.items():
            which = {"kind": "random", "game": game}
            part = _part(settings, "random_levels")
            found.append(Cell(f"{game}-random-seed{seed}", which | part | test, seed, digest))
    for game, digest in digests.items():
        which = {"kind": "levels", "game": game}
        part = _part(settings, "difficulties", "map_levels")
        found.append(Cell(f"{game}-levels", which | part, 0, digest))
    return found


_TRAINING = (
    "n_envs", "rollout", "epochs", "minibatch", "learning_rate", "discount", "gae", "entropy",
    "rewards", "ego_window", "filters", "features",
)  # fmt: skip


def _digest(game: str) -> str:
    found = games.load(game)
    return storage.digest(found.rules, *found.levels)


def _part(settings: Settings, *names: str) -> dict[str, Any]:
    values = {name: getattr(settings, name) for name in names}
    return {k: list(value) if isinstance(value, tuple) else value for k, value in values.items()}


STUDY = Study(
    name="level-generation",
    module=__name__,
    title="Generalisation to generated levels",
    overview=(
        "An agent that has learned to win a level may have learned that level by heart. The paper "
        "trains agents on one level, on several, and on levels generated for each episode, and "
        "lets them play levels they have never seen. With Progressive PCG the difficulty of "
        "generated levels rises with each win and falls with each loss, so that games can be "
        "learned in which no level of full difficulty would ever be won by chance.\n\n"
        "Here all regimes train for the same number of ticks with the same settings. Agents are "
        "tested on held-out generated levels of each difficulty and on levels made by hand, with "
        "sampled and with greedy actions, beside one that draws its actions. Unlike the paper's, "
        "they see tiles around their avatar instead of pixels, and learn by PPO."
    ),
    paper=Paper(
        "Illuminating Generalization in Deep Reinforcement Learning through Procedural Level "
        "Generation",
        "Niels Justesen, Ruben Rodriguez Torrado, Philip Bontrager, Ahmed Khalifa, "
        "Julian Togelius, Sebastian Risi",
        2018,
        "https://arxiv.org/abs/1806.10729",
    ),
    data=(
        "Games, levels made by hand and level generators of our own, after the paper's description "
        "(synthetic)."
    ),
    version=1,
    presets=PRESETS,
    cells=cells,
    run_cell=run_cell,
    figures=level_generation_figures.figures,
    claims=CLAIMS,
    extras=("rl",),
)
