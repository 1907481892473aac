"""What can be chosen when an agent is trained.

References: [PPCG] N. Justesen et al. 2018, arXiv:1806.10729. [A2C] V. Mnih et al. 2016,
arXiv:1602.01783. [PPO] J. Schulman et al. 2017, arXiv:1707.06347. [GAE] J. Schulman et al. 2015,
arXiv:1506.02438.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from sidle.errors import ArgumentError
from sidle.ppcg.simulation import Rewards, Win

Algorithm = Literal["a2c", "ppo", "dqn"]


@dataclass(frozen=True)
class NetworkSettings:
    """The network of an agent, see `sidle.ppcg.agents.network.TilePlanes`."""

    filters: int = 16
    """Filters of the convolution."""
    kernel: int = 3
    """Side of its window, odd."""
    stride: int = 2
    """Its step."""
    features: int = 128
    """Units of the dense layer."""
    ego_window: int | None = 9
    """Side of the window around the avatar that the agent sees, odd; None: it sees all. What is
    learned about a thing two steps to the left then holds wherever the avatar is."""

    def __post_init__(self) -> None:
        if min(self.filters, self.kernel, self.stride, self.features) < 1 or self.kernel % 2 == 0:
            raise ArgumentError(
                "filters, kernel, stride and features must be at least 1 and kernel odd, got "
                f"{self.filters}, {self.kernel}, {self.stride} and {self.features}."
            )
        if self.ego_window is not None and (self.ego_window < 1 or self.ego_window % 2 == 0):
            raise ArgumentError(f"ego_window must be odd and at least 1, got {self.ego_window}.")


@dataclass(frozen=True)
class TrainSettings:
    """How an agent is trained. The paper trains A2C on 12 levels at once for 40 million ticks."""

    algorithm: Algorithm = "ppo"
    """ppo, a2c (as the paper) or dqn."""
    steps: int = 1_000_000
    """Ticks in all, over all levels; rounded up to whole rollouts."""
    n_envs: int = 128
    """Levels played at once."""
    rollout: int = 32
    """Ticks of each level between updates (5 in the paper's A2C)."""
    learning_rate: float = 1e-3
    """At the beginning; it falls to 0 in a straight line where ``anneal`` says so."""
    anneal: bool = False
    """Let the learning rate fall to 0."""
    discount: float = 0.99
    """Gamma."""
    gae: float = 0.95
    """Lambda of the advantages [GAE] (a2c, ppo); 1 in the paper."""
    entropy: float = 0.03
    """Weight of the entropy (a2c, ppo); 0.01 in the paper."""
    value: float = 0.5
    """Weight of the value loss (a2c, ppo)."""
    largest_gradient: float = 0.5
    """Norm that gradients are clipped to."""
    epochs: int = 3
    """Passes over a rollout (ppo); dqn learns from as many ticks of its memory meanwhile."""
    minibatch: int = 512
    """Ticks of a minibatch (ppo, dqn)."""
    clip: float = 0.2
    """How far a policy may move in an update (ppo)."""
    memory: int = 100_000
    """Transitions kept (dqn)."""
    rewards: Rewards = "score"
    """score: the change of score; sign: its sign; outcome: 1 for a win, -1 for a loss."""
    win: Win = "rules"
    """rules, or score: with the score that published code counts as a win."""
    max_episode_steps: int | None = None
    """Ticks after which an episode is cut off; by default the game's own 2,000."""
    network: NetworkSettings = field(default_factory=NetworkSettings)
    """The network."""
    log_every: int = 20_000
    """Ticks between records of win rate, score, length and difficulty."""

    def __post_init__(self) -> None:
        if self.algorithm not in ("a2c", "ppo", "dqn"):
            raise ArgumentError(f"algorithm must be a2c, ppo or dqn, got {self.algorithm!r}.")
        for name in ("steps", "n_envs", "rollout", "epochs", "minibatch", "memory", "log_every"):
            if getattr(self, name) < 1:
                raise ArgumentError(f"{name} must be at least 1, got {getattr(self, name)}.")
        for name in ("learning_rate", "largest_gradient", "clip"):
            if not 0 < getattr(self, name) < math.inf:
                raise ArgumentError(f"{name} must be above 0, got {getattr(self, name)}.")
        for name in ("entropy", "value"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ArgumentError(f"{name} must be at least 0, got {getattr(self, name)}.")
        if not 0 <= self.discount <= 1 or not 0 <= self.gae <= 1:
            raise ArgumentError(
                f"discount and gae must lie in [0, 1], got {self.discount} and {self.gae}."
            )
