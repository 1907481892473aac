"""Train an agent with Stable-Baselines3 on many levels at once.

    agent = train(playable.find("frogs"), curriculum.PPCG(), TrainSettings(), seed=0)

A training that is given a run keeps a checkpoint of everything there (network, optimiser, levels
under way, curriculum, random streams) and, killed at any moment, goes on to the same agent. DQN is
the exception: its memory of transitions is not kept, so that a killed training begins anew, and
comes to the same agent that way.

Letters: N = levels side by side, T = steps of a rollout.
References: [PPCG] N. Justesen et al. 2018, arXiv:1806.10729. [A2C] V. Mnih et al. 2016,
arXiv:1602.01783. [PPO] J. Schulman et al. 2017, arXiv:1707.06347. [DQN] V. Mnih et al. 2015.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np

from sidle import progress, seeding
from sidle.errors import ArgumentError, CheckpointError, MissingExtraError
from sidle.ppcg.agents.agent import Agent, Algorithm, NetworkSettings, policy_arguments
from sidle.ppcg.curriculum import Curriculum
from sidle.ppcg.playable import Playable
from sidle.ppcg.simulation import Rewards, Win
from sidle.ppcg.stable_baselines import StableBaselinesEnvironment
from sidle.ppcg.vector_environment import VectorEnvironment
from sidle.runs import Run

try:
    from stable_baselines3 import A2C, DQN, PPO
    from stable_baselines3.common.base_class import BaseAlgorithm
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
except ImportError as error:
    raise MissingExtraError("Training agents", "rl") from error

SECONDS_BETWEEN_CHECKPOINTS = 30.0
_NEVER = 2**62  # episodes or rollouts between records of Stable-Baselines3's own logger
_EPISODES = 200  # last ones, over which what is logged is averaged


@dataclass(frozen=True)
class TrainSettings:
    """How an agent is trained. The paper trains A2C on 12 levels at once for 40 million steps."""

    algorithm: Algorithm = "a2c"
    """a2c (as the paper), ppo or dqn."""
    steps: int = 1_000_000
    """Ticks in all, over all levels."""
    n_envs: int = 64
    """Levels played at once."""
    rollout: int = 5
    """Ticks between updates (a2c, ppo)."""
    learning_rate: float = 7e-4
    """At the beginning; it falls to 0 in a straight line where ``anneal`` says so."""
    anneal: bool = False
    """Let the learning rate fall to 0."""
    discount: float = 0.99
    """Gamma."""
    gae: float = 1.0
    """Lambda of the advantages (a2c, ppo)."""
    entropy: float = 0.01
    """Weight of the entropy (a2c, ppo)."""
    value: float = 0.5
    """Weight of the value loss (a2c, ppo)."""
    largest_gradient: float = 0.5
    """Norm that gradients are clipped to."""
    epochs: int = 4
    """Passes over a rollout (ppo)."""
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
        if not 0 <= self.discount <= 1 or not 0 <= self.gae <= 1:
            raise ArgumentError(
                f"discount and gae must lie in [0, 1], got {self.discount} and {self.gae}."
            )


def train(
    playable: Playable,
    curriculum: Curriculum,
    settings: TrainSettings | None = None,
    *,
    seed: int = 0,
    run: Run | None = None,
    description: str = "training",
) -> Agent:
    """Train an agent on the levels that ``curriculum`` chooses.

    Args:
        playable: the game.
        curriculum: new; it serves this training alone.
        settings: of the training.
        seed: names all chance.
        run: keeps metrics and the checkpoint; an interrupted run goes on.
        description: what the progress bar says.

    Returns:
        The agent. ``run.metrics()`` then holds records every ``log_every`` ticks: ``win_rate``,
        ``score``, ``length`` (means over the last 200 episodes), ``difficulty`` (of what comes
        next; of given levels -1), ``episodes``.

    Raises:
        ArgumentError: an argument outside its range, or a game that lacks what is asked for.
        KeyboardInterrupt: Ctrl-C; a checkpoint was written if there is a run.
        CheckpointError, RunError, StorageError: as `Run.resume` and `Run.save`.
    """
    settings = settings or TrainSettings()
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
        model = _model(environment, settings, playable)
        with progress.bar(description, settings.steps) as bar:
            keeper = _Keeper(environment, curriculum, settings, run, bar.advance)
            remaining = keeper.resume(model)
            if remaining > 0:
                # DQN learns in whole rounds as well, so nothing is left behind.
                model.learn(remaining, keeper, log_interval=_NEVER, reset_num_timesteps=False)
            keeper.finish(model)
    policy = model.policy
    policy.set_training_mode(False)
    return Agent(
        playable.game.name,
        playable.game.digest,
        playable.shape,
        playable.game.channels,
        len(playable.game.actions),
        settings.algorithm,
        settings.network,
        policy,
    )


def _model(
    environment: StableBaselinesEnvironment, settings: TrainSettings, playable: Playable
) -> BaseAlgorithm:
    rate = settings.learning_rate
    common: dict[str, Any] = {
        "policy": "MlpPolicy",
        "env": environment,
        "learning_rate": (lambda left: rate * left) if settings.anneal else rate,
        "gamma": settings.discount,
        "max_grad_norm": settings.largest_gradient,
        "policy_kwargs": policy_arguments(playable.game.channels, settings.network),
        "device": "cpu",
        "verbose": 0,
    }
    if settings.algorithm == "dqn":
        return DQN(
            **common,
            buffer_size=settings.memory,
            batch_size=settings.minibatch,
            train_freq=(settings.rollout, "step"),
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


class _Keeper(BaseCallback):
    """Keeps metrics and checkpoints, feeds the curriculum, shows how far things are."""

    def __init__(
        self,
        environment: StableBaselinesEnvironment,
        curriculum: Curriculum,
        settings: TrainSettings,
        run: Run | None,
        advance: Callable[..., None],
    ) -> None:
        super().__init__()
        self.environment, self.curriculum, self.settings = environment, curriculum, settings
        self.run, self.advance = run, advance
        self.n_episodes = 0
        self.last: deque[tuple[float, float, float]] = deque(maxlen=_EPISODES)
        self.logged_at = 0
        self._saved_at = time.monotonic()
        self._levels: list[Any] = []
        self._ended: list[Any] = []

    def resume(self, model: BaseAlgorithm) -> int:
        """Take over the run's checkpoint, if there is one; return how many ticks are left."""
        begun = self.run.resume() if self.run is not None else None
        if begun is not None and self.settings.algorithm == "dqn":
            raise CheckpointError(
                "train: a DQN agent keeps no checkpoint; delete the run's folder."
            )
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
        self.last.extend(tuple(row) for row in np.asarray(tree["last"]).tolist())
        seeding.restore_global_states(tree["global_states"])
        self.advance(step)
        return self.settings.steps - step

    def finish(self, model: BaseAlgorithm) -> None:
        """Make the last record and checkpoint."""
        if self.logged_at < model.num_timesteps:
            self._log(model.num_timesteps)
        if self.settings.algorithm != "dqn":
            self._save(cast(OnPolicyAlgorithm, model))

    def _on_rollout_start(self) -> None:
        # Here nothing is under way: the last rollout has been learned from.
        if (
            self.run is not None
            and self.settings.algorithm != "dqn"
            and self.num_timesteps > 0
            and time.monotonic() - self._saved_at > SECONDS_BETWEEN_CHECKPOINTS
        ):
            self._save(cast(OnPolicyAlgorithm, self.model))
        if self.curriculum.learns_from_rollouts:
            self._levels, self._ended = [self.environment.environment.simulation.places], []

    def _on_step(self) -> bool:
        simulation = self.environment.environment.simulation
        ended = simulation.ended
        self.n_episodes += len(ended)
        columns = (ended[name].astype(float).tolist() for name in ("won", "score", "length"))
        self.last.extend(zip(*columns, strict=True))
        if self.curriculum.learns_from_rollouts:
            self._ended.append(self.locals["dones"].copy())
            self._levels.append(simulation.places)
        note = f"win rate {self._means()[0]:.0%}" if self.last else ""
        self.advance(self.settings.n_envs, note=note)
        if self.num_timesteps - self.logged_at >= self.settings.log_every:
            self._log(self.num_timesteps)
        return True

    def _on_rollout_end(self) -> None:
        if self.curriculum.learns_from_rollouts and self.settings.algorithm != "dqn":
            buffer = cast(OnPolicyAlgorithm, self.model).rollout_buffer
            levels_TN = np.stack(self._levels[:-1])
            self.curriculum.update_on_rollout(levels_TN, np.stack(self._ended), buffer.advantages)

    def _means(self) -> tuple[float, float, float]:
        won, score, length = np.mean(np.array(self.last), axis=0).tolist()
        return won, score, length

    def _log(self, step: int) -> None:
        self.logged_at = step
        if self.run is None or not self.last:
            return
        won, score, length = self._means()
        difficulty = self.curriculum.difficulty
        self.run.log(
            step,
            {
                "win_rate": won,
                "score": score,
                "length": length,
                "difficulty": -1.0 if math.isnan(difficulty) else difficulty,
                "episodes": self.n_episodes,
            },
        )

    def _save(self, model: OnPolicyAlgorithm) -> None:
        if self.run is None:
            return
        self.run.save(
            model.num_timesteps,
            {
                "policy": model.policy.state_dict(),
                "optimizer": model.policy.optimizer.state_dict(),
                "n_updates": model._n_updates,
                "environment": self.environment.state_dict(),
                "episode_starts": np.asarray(model._last_episode_starts, np.bool_),
                "n_episodes": self.n_episodes,
                "logged_at": self.logged_at,
                "last": np.array(self.last, np.float64).reshape(-1, 3),
                "global_states": seeding.global_states(),
            },
        )
        self._saved_at = time.monotonic()
