"""A trained agent: what it does, and how it is kept in a folder.

    agent.json            the game, its rules' digest, the shape of levels, the settings
    weights.safetensors   the network

No code is stored or run: the network is built from the settings.

Letters: N = observations at once, C = planes, H, W = rows and columns, A = actions.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, cast

import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces
from torch import Tensor, nn

from sidle import checkpoint, seeding, storage
from sidle.errors import ArgumentError, CheckpointError, DataError, MissingExtraError
from sidle.ppcg.agents.network import TilePlanes
from sidle.ppcg.observation import Planes, View
from sidle.ppcg.vgdl import Game

try:
    from stable_baselines3.common.policies import ActorCriticPolicy
    from stable_baselines3.dqn.policies import DQNPolicy
except ImportError as error:
    raise MissingExtraError("Agents", "rl") from error

FORMAT = 1
AGENT = "agent.json"
WEIGHTS = "weights.safetensors"

Algorithm = Literal["a2c", "ppo", "dqn"]


@dataclass(frozen=True)
class NetworkSettings:
    """The network of an agent, see `sidle.ppcg.agents.network.TilePlanes`."""

    filters: int = 32
    """Filters of the convolution."""
    kernel: int = 3
    """Side of its window, odd."""
    stride: int = 1
    """Its step."""
    features: int = 128
    """Units of the dense layer."""
    ego_window: int | None = None
    """Side of a window around the avatar that the agent sees, odd; by default it sees all."""

    def __post_init__(self) -> None:
        if min(self.filters, self.kernel, self.stride, self.features) < 1 or self.kernel % 2 == 0:
            raise ArgumentError(
                "filters, kernel, stride and features must be at least 1 and kernel odd, got "
                f"{self.filters}, {self.kernel}, {self.stride} and {self.features}."
            )


class Player(Protocol):
    """Whoever chooses actions from what is seen."""

    def act(
        self, planes_NCHW: Planes, rng: np.random.Generator, *, greedy: bool = False
    ) -> npt.NDArray[np.int64]:
        """Return actions (N,)."""
        ...


@dataclass(frozen=True, eq=False)
class Agent:
    """A trained agent.

    Attributes:
        game: name of the game.
        digest: of the game's rules, `Game.digest`.
        shape: (H, W) of the levels it sees.
        channels: names of the planes it sees.
        n_actions: how many it chooses from.
        algorithm: what trained it.
        network: settings of its network.
        policy: the network, in evaluation mode.
    """

    game: str
    digest: str
    shape: tuple[int, int]
    channels: tuple[str, ...]
    n_actions: int
    algorithm: Algorithm
    network: NetworkSettings
    policy: nn.Module

    def act(
        self, planes_NCHW: Planes, rng: np.random.Generator, *, greedy: bool = False
    ) -> npt.NDArray[np.int64]:
        """Return actions, int64 (N,).

        Args:
            planes_NCHW: what is seen, int8, as `VectorEnvironment` shows it.
            rng: draws the actions.
            greedy: take the most likely actions instead of drawing. DQN knows greedy ones alone.
        """
        with torch.inference_mode():
            seen = torch.from_numpy(np.ascontiguousarray(planes_NCHW)).float()
            scores_NA = self._scores(seen)
        if greedy or self.algorithm == "dqn":
            return scores_NA.argmax(1).numpy()
        # The largest of logits plus Gumbel noise is a draw from their softmax.
        noise_NA = rng.gumbel(size=tuple(scores_NA.shape)).astype(np.float32)
        return cast(npt.NDArray[np.int64], (scores_NA.numpy() + noise_NA).argmax(1))

    def save(self, folder: str | Path) -> None:
        """Write the agent's two files into ``folder``, atomically each, the description last.

        Raises:
            StorageError: the disk refused.
        """
        folder = Path(folder)
        weights = {name: tensor.detach().cpu() for name, tensor in self.policy.state_dict().items()}
        checkpoint.save(folder / WEIGHTS, {"weights": weights})
        storage.write_json(
            folder / AGENT,
            {
                "format": FORMAT,
                "game": self.game,
                "digest": self.digest,
                "shape": list(self.shape),
                "channels": list(self.channels),
                "n_actions": self.n_actions,
                "algorithm": self.algorithm,
                "network": dataclasses.asdict(self.network),
            },
        )

    def _scores(self, seen: Tensor) -> Tensor:
        if isinstance(self.policy, DQNPolicy):
            return cast(Tensor, self.policy.q_net(seen))
        policy = cast(ActorCriticPolicy, self.policy)
        return cast(Tensor, policy.action_net(policy.extract_features(seen)))


def policy_arguments(channels: tuple[str, ...], network: NetworkSettings) -> dict[str, Any]:
    """Return the keywords of Stable-Baselines3's policies that make our network."""
    return {
        "net_arch": [],
        "features_extractor_class": TilePlanes,
        "features_extractor_kwargs": {
            "channels": channels,
            "filters": network.filters,
            "kernel": network.kernel,
            "stride": network.stride,
            "features": network.features,
        },
    }


def load(folder: str | Path) -> Agent:
    """Return the agent in ``folder``.

    Raises:
        StorageError: there is none.
        DataError: its description is damaged, or of another format.
        CheckpointError: its weights are damaged, or of another network.
    """
    path = Path(folder) / AGENT
    found = storage.read_json(path)
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise DataError(
            path, f"expected an agent of format {FORMAT}.", "Train it again with `sidle train`."
        )
    try:
        network = NetworkSettings(**found["network"])
        channels, shape = tuple(found["channels"]), (found["shape"][0], found["shape"][1])
        n_actions, algorithm = int(found["n_actions"]), found["algorithm"]
        policy = _build(algorithm, channels, shape, n_actions, network)
        game, digest = str(found["game"]), str(found["digest"])
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise DataError(path, f"damaged: {error}.", "Train it again with `sidle train`.") from error
    weights = checkpoint.load(Path(folder) / WEIGHTS)["weights"]
    try:
        policy.load_state_dict(weights)
    except RuntimeError as error:
        raise CheckpointError(f"{Path(folder) / WEIGHTS}: is not of this agent: {error}") from error
    policy.eval()
    return Agent(game, digest, shape, channels, n_actions, algorithm, network, policy)


def _build(
    algorithm: str,
    channels: tuple[str, ...],
    shape: tuple[int, int],
    n_actions: int,
    network: NetworkSettings,
) -> nn.Module:
    if algorithm not in ("a2c", "ppo", "dqn"):
        raise ValueError(f"there is no algorithm {algorithm!r}")
    sides = shape if network.ego_window is None else (network.ego_window,) * 2
    seen = spaces.Box(-128, 127, (len(channels), *sides), np.int8)
    kind = DQNPolicy if algorithm == "dqn" else ActorCriticPolicy
    with seeding.scope(0):  # initial weights are replaced
        return kind(
            seen, spaces.Discrete(n_actions), lambda _: 0.0, **policy_arguments(channels, network)
        )


def check_plays(agent: Agent, game: Game, shape: tuple[int, int]) -> None:
    """Refuse a game that the agent was not trained on.

    Raises:
        ArgumentError: other rules, or levels of another shape.
    """
    if agent.digest != game.digest:
        raise ArgumentError(
            f"The agent was trained on other rules ({agent.game}) than those of {game.name}. "
            "Train one with `sidle train`."
        )
    if agent.shape != shape:
        raise ArgumentError(
            f"The agent was trained on levels of {agent.shape[0]} x {agent.shape[1]} cells, these "
            f"are {shape[0]} x {shape[1]}."
        )


@dataclass(frozen=True)
class RandomAgent:
    """Draws every action alike.

    Attributes:
        n_actions: A.
    """

    n_actions: int

    def act(
        self, planes_NCHW: Planes, rng: np.random.Generator, *, greedy: bool = False
    ) -> npt.NDArray[np.int64]:
        """Return actions, int64 (N,); ``greedy`` makes no difference."""
        return rng.integers(self.n_actions, size=len(planes_NCHW))


def view_of(player: Player, game: Game, n: int, shape: tuple[int, int]) -> View:
    """Return what a player sees of ``n`` levels: an agent with a window sees that."""
    window = player.network.ego_window if isinstance(player, Agent) else None
    return View(game, n, shape, ego_window=window)
