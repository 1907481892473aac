"""The domain of agents in the study `predictive-coding`: CPC beside an agent that plays [CPC, 3.4].

A cell trains one agent on one game. Agents see a window around themselves, so that a policy with
an LSTM has to remember what lies outside of it; the reactive game they see whole. The agent is
A2C with memory: recurrent PPO of one pass over the whole rollout, which is A2C [A2CPPO] with
normalised advantages and Adam. Each is trained with the contrastive loss and without, on the same
levels from the same weights, and with what else might explain a gain: the loss of the same steps in
random order, and moved images alone. ``none`` also stands for the same compute without the loss,
which leaves an agent as it is to the last bit (a test of `sidle.cpc.agent` says so).

References: [CPC] A. van den Oord, Y. Li, O. Vinyals 2018, arXiv:1807.03748. [A2CPPO] S. Huang et
al. 2022, "A2C is a special case of PPO", arXiv:2205.09123. [CURL] M. Laskin, A. Srinivas,
P. Abbeel 2020, arXiv:2004.04136.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sidle import storage
from sidle.errors import ArgumentError
from sidle.ppcg import games
from sidle.runs import Run
from sidle.studies.study import Cell

KIND = "agent"
LOSSES = ("none", "cpc", "shuffled-time", "augmentation-alone", "no-loss")


@dataclass(frozen=True)
class AgentSettings:
    """Settings of the domain `agents`."""

    memory: tuple[str, ...] = ("embers", "graveyard", "orchard")
    """Games that are seen through a small window, so that memory matters."""
    reactive: tuple[str, ...] = ("meteors",)
    """Games that are seen whole and ask for reactions: no gain is expected. They are trained
    without the controls."""
    losses: tuple[str, ...] = ("none", "cpc", "shuffled-time", "augmentation-alone")
    """What trains beside the agent: none, cpc, or a control, shuffled-time, augmentation-alone or
    no-loss (the same is computed and thrown away, which ends like none)."""
    difficulty: float = 0.3
    """Of the generated levels, in [0, 1]."""
    window: int = 5
    """Side of the window around the avatar in games of memory, odd; 0: all is seen."""
    reactive_window: int = 0
    """The same in reactive games; 0: they see all."""
    steps: int = 150_528
    """Ticks of training, over all levels side by side."""
    n_envs: int = 32
    """Levels played side by side."""
    rollout: int = 32
    """Ticks of each between updates, at least 32."""
    longest: int = 200
    """Ticks after which an episode is cut off."""
    learning_rate: float = 1e-3
    """Of the agent, by Adam."""
    discount: float = 0.99
    """Gamma."""
    gae: float = 0.95
    """Lambda of the advantages."""
    entropy: float = 0.01
    """Weight of the entropy."""
    filters: int = 16
    """Filters of the network's convolution."""
    features: int = 64
    """Units of its dense layer."""
    units: int = 64
    """Units of the policy's LSTM."""
    context: str = "agent"
    """What sums up the past for the loss: agent, the policy's LSTM, as in the paper, or own, a GRU
    that the policy does not use."""
    ahead: int = 8
    """Steps ahead that are predicted (the paper: up to 30)."""
    negatives: int = 64
    """Other steps that what came is told from."""
    cpc_learning_rate: float = 1e-3
    """Of the contrastive loss, by an Adam of its own."""
    shift: int = 1
    """Tiles by which augmentation-alone moves what is seen."""

    def __post_init__(self) -> None:
        played = (*self.memory, *self.reactive)
        if not played or len(set(played)) < len(played):
            raise ArgumentError(f"memory, reactive: expected games, each once, got {played}.")
        for name in played:
            if name not in games.names():
                raise ArgumentError(
                    f"memory, reactive: there is no game {name!r}; one of: "
                    f"{', '.join(games.names())}."
                )
        if not self.losses or len(set(self.losses)) < len(self.losses):
            raise ArgumentError(f"losses: expected some, each once, got {list(self.losses)}.")
        for loss in self.losses:
            if loss not in LOSSES:
                raise ArgumentError(f"losses: expected some of {', '.join(LOSSES)}, got {loss!r}.")
        if not 0 <= self.difficulty <= 1:
            raise ArgumentError(f"difficulty: must lie in [0, 1], got {self.difficulty}.")
        for name in ("window", "reactive_window"):
            side = getattr(self, name)
            if side < 0 or (side and side % 2 == 0):
                raise ArgumentError(f"{name}: expected an odd number or 0, got {side}.")
        if self.context not in ("agent", "own"):
            raise ArgumentError(f"context: expected agent or own, got {self.context!r}.")
        if self.rollout < 32:
            raise ArgumentError(f"rollout: expected at least 32, got {self.rollout}.")
        if self.steps < 2 * self.n_envs * self.longest:
            raise ArgumentError(
                f"steps: expected at least {2 * self.n_envs * self.longest}, two episodes of "
                f"{self.longest} ticks on each of {self.n_envs} levels, got {self.steps}."
            )


PRESETS: Mapping[str, AgentSettings] = {
    "quick": AgentSettings(
        memory=("embers",),
        reactive=(),
        losses=("none", "cpc"),
        steps=8_192,
        n_envs=16,
        longest=100,
    ),
    "full": AgentSettings(),
    "paper": AgentSettings(
        steps=100_000_000,
        longest=2_000,
        rollout=100,
        filters=32,
        features=256,
        units=256,
        ahead=30,
        learning_rate=3e-4,
        cpc_learning_rate=3e-4,
    ),
}
"""By name of the study's preset; `standard` trains no agents."""

_CONTROLS = ("shuffled-time", "augmentation-alone")  # not for reactive games

_AGENT = (
    "difficulty", "steps", "n_envs", "rollout", "longest", "learning_rate", "discount", "gae",
    "entropy", "filters", "features", "units",
)  # fmt: skip
_LOSS = ("context", "ahead", "negatives", "cpc_learning_rate")


def cells(settings: AgentSettings, seeds: int) -> list[Cell]:
    """Return the independent jobs, seed by seed: each game with each loss."""
    values = dataclasses.asdict(settings)
    windows = dict.fromkeys(settings.memory, settings.window)
    windows |= dict.fromkeys(settings.reactive, settings.reactive_window)
    digests = {name: digest_of(name) for name in windows}
    found = []
    for seed in range(seeds):
        for game, window in windows.items():
            for loss in settings.losses:
                if loss in _CONTROLS and game in settings.reactive:
                    continue
                which: dict[str, Any] = {"kind": KIND, "game": game, "loss": loss}
                which |= {"memory": game in settings.memory, "window": window}
                which |= {name: values[name] for name in _AGENT}
                if loss != "none":
                    which |= {name: values[name] for name in _LOSS}
                if loss == "augmentation-alone":
                    which["shift"] = settings.shift
                found.append(Cell(f"agent-{game}-{loss}-seed{seed}", which, seed, digests[game]))
    return found


def digest_of(game: str) -> str:
    """Return the digest of a game's rules and of the levels that others are generated after."""
    found = games.load(game)
    return storage.digest(found.rules, *found.levels)


def run_cell(cell: Cell, run: Run) -> dict[str, Any]:
    """Compute the cell; see `sidle.studies.predictive_coding_agents_cells.trained`."""
    from sidle.studies.predictive_coding_agents_cells import trained

    return trained(cell, run)
