"""What a cell of the domain `agents` computes: one agent, trained with a loss beside its own.

All losses of a seed begin from the same weights on the same levels. A run keeps policy, optimisers,
environment and random states; killed at any moment, it goes on to the same result.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from gymnasium import spaces
from sb3_contrib import RecurrentPPO
from stable_baselines3.common.callbacks import BaseCallback

from sidle import progress, seeding
from sidle.cpc.agent import AuxiliarySettings, ContrastiveCallback, controls
from sidle.cpc.agent_checkpoint import KeepCheckpoints, restore_training
from sidle.ppcg import curriculum, playable
from sidle.ppcg.agents.network import TilePlanes
from sidle.ppcg.agents.settings import NetworkSettings
from sidle.ppcg.stable_baselines import StableBaselinesEnvironment
from sidle.ppcg.vector_environment import VectorEnvironment
from sidle.runs import Run
from sidle.studies.study import Cell

CURVE_POINTS = 40  # points of a learning curve kept as evidence
LAST = 4  # the last of so many parts of training is what an agent's score is read from
_EPISODES = 200  # last ones, over which points are averaged
_NEVER = 2**62  # rollouts between records of Stable-Baselines3's own logger
_COLUMNS = ("score", "win_rate", "length", "accuracy", "bound", "ceiling")


def trained(cell: Cell, run: Run) -> dict[str, Any]:
    """Train an agent.

    Returns:
        ``curve``: columns ``step``, ``score``, ``win_rate`` and ``length`` (ticks), means over the
        last 200 episodes, and where a loss is computed its ``accuracy``, ``bound`` and ``ceiling``
        in nats; ``score``, ``win_rate``, ``accuracy``, ``bound``: means over the last quarter of
        the curve.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the network is too small for more; results then depend on none
    try:
        with seeding.scope(seeding.split(cell.seed, "predictive_coding", "agent")):
            _train(cell, run)
    finally:
        torch.set_num_threads(threads)
    rows = run.metrics()
    last = [row for row in rows if row["step"] > (1 - 1 / LAST) * cell.settings["steps"]]
    kept = [name for name in _COLUMNS if name in rows[0]]
    found: dict[str, Any] = {name: float(np.mean([row[name] for row in last])) for name in kept}
    found["curve"] = {name: [round(row[name], 4) for row in rows] for name in ("step", *kept)}
    return {name: round(v, 6) if isinstance(v, float) else v for name, v in found.items()}


def _train(cell: Cell, run: Run) -> None:
    settings = cell.settings
    model = agent_of(cell)
    beside = loss_of(cell)
    auxiliary = None if beside is None else ContrastiveCallback(
        beside, seed=seeding.split(cell.seed, "predictive_coding", "loss")
    )  # fmt: skip
    begun = run.resume()
    done = 0 if begun is None else restore_training(model, begun[1], auxiliary)
    left = settings["steps"] - done
    if left <= 0:
        return
    keeper = KeepCheckpoints(run, auxiliary)
    with progress.bar(cell.label, settings["steps"], done=done) as bar:
        recorder = Recorder(run, bar, settings["steps"], auxiliary)
        callbacks = [recorder, keeper] if auxiliary is None else [auxiliary, recorder, keeper]
        with keeper.interrupts_wait():
            model.learn(left, callback=callbacks, log_interval=_NEVER, reset_num_timesteps=False)


def agent_of(cell: Cell) -> RecurrentPPO:
    """Return an agent that has learned nothing yet, with its environment.

    One pass over all of a rollout makes PPO A2C: ratios begin at 1 and no second step is taken.
    With a loss beside it the encoder has moved by then, and they begin near 1.
    """
    settings = cell.settings
    window = settings["window"] or None
    game = playable.find(settings["game"])
    environment = StableBaselinesEnvironment(
        VectorEnvironment(
            game,
            settings["n_envs"],
            curriculum=curriculum.Fixed(settings["difficulty"]),
            ego_window=window,
            max_episode_steps=settings["longest"],
            seed=seeding.split(cell.seed, "predictive_coding", "levels"),
        )
    )
    network = NetworkSettings(
        filters=settings["filters"],
        features=settings["features"],
        ego_window=window,
        stride=1,
    )
    return RecurrentPPO(
        "MlpLstmPolicy",
        environment,
        n_steps=settings["rollout"],
        batch_size=settings["rollout"] * settings["n_envs"],
        n_epochs=1,
        learning_rate=settings["learning_rate"],
        gamma=settings["discount"],
        gae_lambda=settings["gae"],
        ent_coef=settings["entropy"],
        max_grad_norm=0.5,
        stats_window_size=_EPISODES,
        policy_kwargs={
            "net_arch": [],
            "features_extractor_class": _extractor,
            "features_extractor_kwargs": {"channels": game.game.channels, "settings": network},
            "lstm_hidden_size": settings["units"],
            "shared_lstm": True,
            "enable_critic_lstm": False,
        },
        device="cpu",
    )


def loss_of(cell: Cell) -> AuxiliarySettings | None:
    """Return the settings of the loss beside the agent's, None where there is none."""
    settings = cell.settings
    if settings["loss"] == "none":
        return None
    chosen = AuxiliarySettings(
        steps=settings["ahead"],
        context=settings["context"],
        context_features=settings["units"],
        negatives=settings["negatives"],
        learning_rate=settings["cpc_learning_rate"],
    )
    others = controls(chosen, shift=settings.get("shift", 1))
    return chosen if settings["loss"] == "cpc" else others[settings["loss"]]


class Recorder(BaseCallback):
    """Writes points of the learning curve into the run, and shows how far things are."""

    def __init__(
        self, run: Run, bar: progress.Bar, steps: int, auxiliary: ContrastiveCallback | None
    ) -> None:
        super().__init__()
        self.run, self.bar, self.auxiliary = run, bar, auxiliary
        self.every = max(1, steps // CURVE_POINTS)

    def _on_step(self) -> bool:
        self.bar.advance(self.training_env.num_envs)
        return True

    def _on_rollout_end(self) -> None:
        model = cast(RecurrentPPO, self.model)
        step = model.num_timesteps
        before = step - model.n_steps * model.n_envs
        episodes = model.ep_info_buffer
        if step // self.every == before // self.every or not episodes:
            return
        row = {
            "score": float(np.mean([episode["r"] for episode in episodes])),
            "win_rate": float(np.mean(list(model.ep_success_buffer or ()))),
            "length": float(np.mean([episode["l"] for episode in episodes])),
        }
        told = {} if self.auxiliary is None else self.auxiliary.metrics
        row |= {name: told[name] for name in ("accuracy", "bound", "ceiling") if name in told}
        self.run.log(step, row)


def _extractor(
    observation_space: spaces.Box, channels: tuple[str, ...], settings: NetworkSettings
) -> TilePlanes:
    _, height, width = observation_space.shape
    return TilePlanes(channels, (height, width), settings)
