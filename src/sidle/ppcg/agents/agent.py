"""A trained agent: what it does, and how it is kept in a folder.

    agent.json            the game, its rules' digest, the shape of levels, the settings
    weights.safetensors   the network

No code is stored or run: the network is built from the settings. Playing needs no more than the
core of sidle; the libraries that train are not needed.

Letters: N = observations at once, C = planes, H, W = rows and columns, A = actions.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

import numpy as np
import numpy.typing as npt
import torch

from sidle import checkpoint, seeding, storage
from sidle.errors import ArgumentError, CheckpointError, DataError
from sidle.ppcg.agents.network import PlaneNetwork
from sidle.ppcg.agents.settings import Algorithm, NetworkSettings
from sidle.ppcg.kernels import cropping
from sidle.ppcg.vgdl import Game

Planes = npt.NDArray[np.int8]

FORMAT = 1
AGENT = "agent.json"
WEIGHTS = "weights.safetensors"


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
        avatars: which of them show an avatar.
        n_actions: A.
        algorithm: what trained it.
        settings: of its network.
        network: in evaluation mode.
    """

    game: str
    digest: str
    shape: tuple[int, int]
    channels: tuple[str, ...]
    avatars: tuple[int, ...]
    n_actions: int
    algorithm: Algorithm
    settings: NetworkSettings
    network: PlaneNetwork

    def act(
        self, planes_NCHW: Planes, rng: np.random.Generator, *, greedy: bool = False
    ) -> npt.NDArray[np.int64]:
        """Return actions, int64 (N,).

        Args:
            planes_NCHW: whole levels, int8, as `Engine.planes` holds them; an agent that sees a
                window around the avatar cuts it out itself.
            rng: draws the actions.
            greedy: take the most likely actions instead of drawing. DQN knows greedy ones alone.

        Raises:
            ArgumentError: planes of another game or of levels of another shape.
        """
        expected = (len(self.channels), *self.shape)
        if planes_NCHW.ndim != 4 or planes_NCHW.shape[1:] != expected:
            raise ArgumentError(
                f"Agent.act: expected planes (N, {', '.join(map(str, expected))}), got "
                f"{planes_NCHW.shape}."
            )
        seen = np.ascontiguousarray(planes_NCHW)
        window = self.settings.ego_window
        if window is not None:
            whole, seen = seen, np.empty((len(seen), len(self.channels), window, window), np.int8)
            # An avatar that is gone is looked for in the corner: then the game is over.
            centres = np.zeros((len(seen), 2), np.int64)
            cropping.crop(whole, np.array(self.avatars, np.int64), centres, seen)
        with torch.inference_mode():
            scores_NA = self.network(torch.from_numpy(seen).float()).numpy()
        if greedy or self.algorithm == "dqn":
            return cast(npt.NDArray[np.int64], scores_NA.argmax(1))
        # The largest of logits plus Gumbel noise is a draw from their softmax.
        noise_NA = rng.gumbel(size=scores_NA.shape).astype(np.float32)
        return cast(npt.NDArray[np.int64], (scores_NA + noise_NA).argmax(1))

    def save(self, folder: str | Path) -> None:
        """Write the agent's two files into ``folder``, atomically each, the description last.

        Raises:
            StorageError: the disk refused.
        """
        folder = Path(folder)
        checkpoint.save(folder / WEIGHTS, {"weights": self.network.state_dict()})
        storage.write_json(
            folder / AGENT,
            {
                "format": FORMAT,
                "game": self.game,
                "digest": self.digest,
                "shape": list(self.shape),
                "channels": list(self.channels),
                "avatars": list(self.avatars),
                "n_actions": self.n_actions,
                "algorithm": self.algorithm,
                "network": dataclasses.asdict(self.settings),
            },
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


def build(
    game: Game, shape: tuple[int, int], algorithm: Algorithm, settings: NetworkSettings
) -> Agent:
    """Return an agent of ``game`` that has learned nothing yet.

    Args:
        game: whose planes it sees and whose actions it takes.
        shape: (H, W) of the levels.
        algorithm: what will train it.
        settings: of its network.
    """
    avatars = tuple(int(number) for number in game.avatars())
    return _assemble(
        game.name,
        game.digest,
        shape,
        game.channels,
        avatars,
        len(game.actions),
        algorithm,
        settings,
    )


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
        if found["algorithm"] not in ("a2c", "ppo", "dqn"):
            raise ValueError(f"there is no algorithm {found['algorithm']!r}")
        height, width = (int(side) for side in found["shape"])
        agent = _assemble(
            str(found["game"]),
            str(found["digest"]),
            (height, width),
            tuple(str(name) for name in found["channels"]),
            tuple(int(number) for number in found["avatars"]),
            int(found["n_actions"]),
            found["algorithm"],
            NetworkSettings(**found["network"]),
        )
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise DataError(path, f"damaged: {error}.", "Train it again with `sidle train`.") from error
    weights = checkpoint.load(Path(folder) / WEIGHTS).get("weights", {})
    try:
        agent.network.load_state_dict(weights)
    except (RuntimeError, TypeError) as error:
        raise CheckpointError(
            f"{Path(folder) / WEIGHTS}: not the weights of this agent: {error}. Train it again "
            "with `sidle train`."
        ) from error
    return agent


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


def _assemble(
    game: str,
    digest: str,
    shape: tuple[int, int],
    channels: tuple[str, ...],
    avatars: tuple[int, ...],
    n_actions: int,
    algorithm: Algorithm,
    settings: NetworkSettings,
) -> Agent:
    window = settings.ego_window
    sides = shape if window is None else (window, window)
    with seeding.scope(0):  # the weights are replaced
        network = PlaneNetwork(channels, sides, n_actions, settings).eval()
    return Agent(game, digest, shape, channels, avatars, n_actions, algorithm, settings, network)
