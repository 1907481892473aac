"""How Stable-Baselines3 trains our agents: models, records, checkpoints.

Letters: N = levels side by side, T = steps of a rollout, E = episodes.
References: [PPCG] N. Justesen et al. 2018, arXiv:1806.10729. [A2C] V. Mnih et al. 2016,
arXiv:1602.01783. [PPO] J. Schulman et al. 2017, arXiv:1707.06347. [DQN] V. Mnih et al. 2015.
"""

from __future__ import annotations

import contextlib
import math
import signal
import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from stable_baselines3 import A2C, DQN, PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from sidle import progress, seeding
from sidle.ppcg.agents.agent import Agent, build
from sidle.ppcg.agents.network import TilePlanes
from sidle.ppcg.agents.settings import NetworkSettings, TrainSettings
from sidle.ppcg.curriculum import Curriculum
from sidle.ppcg.playable import Playable
from sidle.ppcg.stable_baselines import StableBaselinesEnvironment
from sidle.ppcg.vector_environment import VectorEnvironment
from sidle.runs import Run

SECONDS_BETWEEN_CHECKPOINTS = 30.0
_NEVER = 2**62  # rollouts between records of Stable-Baselines3's own logger
_EPISODES = 200  # last ones, over which what is logged is averaged


def learn(
    playable: Playable,
    curriculum: Curriculum,
    settings: TrainSettings,
    seed: int,
    run: Run | None,
    description: str,
) -> Agent:
    """Do what `sidle.ppcg.agents.train` says."""
    agent = build(playable.game, playable.shape, settings.algorithm, settings.network)
    with seeding.scope(seeding.split(seed, "agent")):
        environment = StableBaselinesEnvironment(
            VectorEnvironment(
                playable,
                settings.n_envs,
                curriculum=curriculum,
                ego_window=settings.network.ego_window,
                rewards=settings.rewards,
                win=settings.win,
                max_episode_steps=settings.max_episode_steps,
                seed=seeding.split(seed, "levels"),
            )
        )
        model = make_model(environment, settings, playable.game.channels)
        with progress.bar(description, settings.steps) as bar:
            keeper = Keeper(environment, curriculum, settings, run, bar)
            left = keeper.resume(model)
            if left > 0:
                # Everything is learned from in whole rollouts, so that none is left behind.
                with _interrupts_wait_for(keeper):
                    model.learn(
                        left, callback=keeper, log_interval=_NEVER, reset_num_timesteps=False
                    )
            keeper.finish(model)
    agent.network.load_state_dict(weights_of(model))
    return agent


def make_model(
    environment: StableBaselinesEnvironment, settings: TrainSettings, channels: tuple[str, ...]
) -> BaseAlgorithm:
    """Return the algorithm that ``settings`` ask for, with our network, on ``environment``."""
    rate = settings.learning_rate
    common: dict[str, Any] = {
        "policy": "MlpPolicy",
        "env": environment,
        "learning_rate": (lambda left: rate * left) if settings.anneal else rate,
        "gamma": settings.discount,
        "max_grad_norm": settings.largest_gradient,
        "policy_kwargs": {
            "net_arch": [],
            "features_extractor_class": _extractor,
            "features_extractor_kwargs": {"channels": channels, "settings": settings.network},
        },
        "device": "cpu",
        "verbose": 0,
    }
    if settings.algorithm == "dqn":
        collected = settings.rollout * settings.n_envs
        return DQN(
            **common,
            buffer_size=settings.memory,
            batch_size=settings.minibatch,
            train_freq=(settings.rollout, "step"),
            gradient_steps=max(1, settings.epochs * collected // settings.minibatch),
            learning_starts=min(settings.steps // 20, settings.memory // 10),
        )
    common |= {
        "n_steps": settings.rollout,
        "gae_lambda": settings.gae,
        "ent_coef": settings.entropy,
        "vf_coef": settings.value,
    }
    if settings.algorithm == "ppo":
        return PPO(
            **common,
            batch_size=min(settings.minibatch, settings.rollout * settings.n_envs),
            n_epochs=settings.epochs,
            clip_range=settings.clip,
        )
    return A2C(**common)


def weights_of(model: BaseAlgorithm) -> dict[str, Any]:
    """Return the weights of `PlaneNetwork` that ``model`` has learned."""
    if isinstance(model, DQN):
        extractor, scores = model.policy.q_net.features_extractor, model.policy.q_net.q_net[0]
    else:
        policy = cast(OnPolicyAlgorithm, model).policy
        extractor, scores = policy.features_extractor, policy.action_net
    parts = {"features": extractor, "scores": scores}
    return {
        f"{name}.{key}": tensor.detach().clone()
        for name, part in parts.items()
        for key, tensor in part.state_dict().items()
    }


def _extractor(
    observation_space: spaces.Box, channels: tuple[str, ...], settings: NetworkSettings
) -> TilePlanes:
    _, height, width = observation_space.shape
    return TilePlanes(channels, (height, width), settings)


@contextlib.contextmanager
def _interrupts_wait_for(keeper: Keeper) -> Iterator[None]:
    """Let the first Ctrl-C in the block wait until the rollout is learned from, not a second one.

    Signals reach the main thread of a process only; elsewhere nothing is changed.
    """

    def request(number: int, frame: object) -> None:
        if keeper.interrupted or not keeper.keeps_checkpoints:
            raise KeyboardInterrupt
        keeper.interrupted = True

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, request)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class Keeper(BaseCallback):
    """Keeps metrics and checkpoints, feeds the curriculum, shows how far things are."""

    def __init__(
        self,
        environment: StableBaselinesEnvironment,
        curriculum: Curriculum,
        settings: TrainSettings,
        run: Run | None,
        bar: progress.Bar,
    ) -> None:
        super().__init__()
        self.environment, self.curriculum, self.settings = environment, curriculum, settings
        self.run, self.bar = run, bar
        self.n_episodes = 0
        self.last_E3: deque[tuple[float, float, float]] = deque(maxlen=_EPISODES)
        self.logged_at = 0
        self._saved_at = time.monotonic()
        self._levels_TN: list[npt.NDArray[np.int64]] = []
        self._ended_TN: list[npt.NDArray[np.bool_]] = []
        self._note = ""
        self.keeps_checkpoints = run is not None and settings.algorithm != "dqn"
        self.interrupted = False

    def resume(self, model: BaseAlgorithm) -> int:
        """Take over the run's checkpoint, if there is one; return how many ticks are left."""
        begun = None if self.run is None else self.run.resume()
        if begun is None:
            return self.settings.steps
        step, tree = begun
        learner = cast(OnPolicyAlgorithm, model)
        learner.policy.load_state_dict(tree["policy"])
        learner.policy.optimizer.load_state_dict(tree["optimizer"])
        learner.num_timesteps, learner._n_updates = step, int(tree["n_updates"])
        # Stable-Baselines3 begins anew where it has no last observation.
        learner._last_obs = self.environment.load_state_dict(tree["environment"])
        learner._last_episode_starts = np.array(tree["episode_starts"], np.bool_)
        self.n_episodes, self.logged_at = int(tree["n_episodes"]), int(tree["logged_at"])
        self.last_E3.extend(tuple(row) for row in np.asarray(tree["last"]).tolist())
        seeding.restore_global_states(tree["global_states"])
        self.bar.advance(step)
        return self.settings.steps - step

    def finish(self, model: BaseAlgorithm) -> None:
        """Make the last record and checkpoint."""
        if self.logged_at < model.num_timesteps:
            self._log(model.num_timesteps)
        self._save(model)

    def _on_rollout_start(self) -> None:
        # Here nothing is under way: the last rollout has been learned from.
        is_due = time.monotonic() - self._saved_at > SECONDS_BETWEEN_CHECKPOINTS
        if self.interrupted or (is_due and self.num_timesteps > 0):
            self._save(self.model)
        if self.interrupted:
            raise KeyboardInterrupt
        if self.curriculum.learns_from_rollouts:
            self._levels_TN, self._ended_TN = [self.environment.environment.simulation.places], []

    def _on_step(self) -> bool:
        simulation = self.environment.environment.simulation
        ended = simulation.ended
        if len(ended):
            self.n_episodes += len(ended)
            columns = (ended[name].astype(float).tolist() for name in ("won", "score", "length"))
            self.last_E3.extend(zip(*columns, strict=True))
        if self.curriculum.learns_from_rollouts:
            self._ended_TN.append(self.locals["dones"].copy())
            self._levels_TN.append(simulation.places)
        self.bar.advance(self.settings.n_envs, note=self._note)
        if self.num_timesteps - self.logged_at >= self.settings.log_every:
            self._log(self.num_timesteps)
        return True

    def _on_rollout_end(self) -> None:
        if self.curriculum.learns_from_rollouts and isinstance(self.model, OnPolicyAlgorithm):
            self.curriculum.update_on_rollout(
                np.stack(self._levels_TN[:-1]),
                np.stack(self._ended_TN),
                self.model.rollout_buffer.advantages,
            )

    def _log(self, step: int) -> None:
        self.logged_at = step
        if not self.last_E3:
            return
        won, score, length = np.mean(np.array(self.last_E3), axis=0).tolist()
        difficulty = self.curriculum.difficulty
        self._note = f"win rate {won:.0%}"
        known = {} if math.isnan(difficulty) else {"difficulty": difficulty}
        if known:
            self._note += f", difficulty {difficulty:.2f}"
        if self.run is not None:
            record = {"win_rate": won, "score": score, "length": length, **known}
            self.run.log(step, record | {"episodes": self.n_episodes})

    def _save(self, model: BaseAlgorithm) -> None:
        if self.run is None or not self.keeps_checkpoints:
            return
        learner = cast(OnPolicyAlgorithm, model)
        self.run.save(
            learner.num_timesteps,
            {
                "policy": learner.policy.state_dict(),
                "optimizer": learner.policy.optimizer.state_dict(),
                "n_updates": learner._n_updates,
                "environment": self.environment.state_dict(),
                "episode_starts": np.asarray(learner._last_episode_starts, np.bool_),
                "n_episodes": self.n_episodes,
                "logged_at": self.logged_at,
                "last": np.array(self.last_E3, np.float64).reshape(-1, 3),
                "global_states": seeding.global_states(),
            },
        )
        self._saved_at = time.monotonic()
