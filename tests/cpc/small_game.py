"""A game small enough for tests: a dot on a strip of cells, whose goal is shown at the start alone.

Episodes end by chance, so that pieces of rollouts have all lengths. The state can be kept. With it
come agents that play it, four strips at once.
"""

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from sb3_contrib import RecurrentPPO
from stable_baselines3 import A2C
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import DummyVecEnv
from torch import nn

from sidle.cpc.agent import AuxiliarySettings

CELLS = 6
STEPS = 32 * 4  # of one rollout


class Strip(gymnasium.Env):
    """One strip. Observation (2, 1, 6): the dot, and in the first step the goal."""

    def __init__(self, kind="planes", ends=0.1, actions="discrete"):
        dtype, high = (np.uint8, 255) if kind == "image" else (np.int8, 1)
        shape = (3, 3, CELLS) if kind == "image" else (2, 1, CELLS)
        box = spaces.Box(0, high, shape, dtype)
        self.kind, self.ends, self.scale = kind, ends, high
        self.observation_space = (
            spaces.Dict({"planes": box, "goal": spaces.Discrete(CELLS)}) if kind == "dict" else box
        )
        self.action_space = {
            "discrete": spaces.Discrete(3),
            "box": spaces.Box(-1, 1, (2,), np.float32),
            "many": spaces.MultiDiscrete([3, 2]),
        }[actions]
        self.rng = np.random.default_rng(0)
        self.dot = self.goal = self.step_number = 0

    def reset(self, *, seed=None, options=None):
        if seed is not None:
            self.rng = np.random.default_rng(seed)
        self.dot, self.goal = (int(x) for x in self.rng.integers(CELLS, size=2))
        self.step_number = 0
        return self.seen(), {}

    def step(self, action):
        move = int(np.asarray(action).flat[0].round()) if np.ndim(action) else int(action)
        self.dot = (self.dot + (move if np.ndim(action) else (0, 1, -1)[move])) % CELLS
        self.step_number += 1
        return (
            self.seen(),
            float(self.dot == self.goal),
            bool(self.rng.random() < self.ends),
            False,
            {},
        )

    def seen(self):
        planes = np.zeros((3, 3, CELLS) if self.kind == "image" else (2, 1, CELLS), np.int64)
        planes[0, 0, self.dot] = self.scale
        if self.step_number == 0:
            planes[1, 0, self.goal] = self.scale
        box = self.observation_space["planes"] if self.kind == "dict" else self.observation_space
        planes = planes.astype(box.dtype)
        return {"planes": planes, "goal": self.goal} if self.kind == "dict" else planes

    def state_dict(self):
        return {
            "rng": self.rng.bit_generator.state,
            "place": [self.dot, self.goal, self.step_number],
        }

    def load_state_dict(self, state):
        self.rng.bit_generator.state = state["rng"]
        self.dot, self.goal, self.step_number = state["place"]


class Filters(BaseFeaturesExtractor):
    """Features of the strip: a convolution and a dense layer."""

    def __init__(self, observation_space, features_dim=8):
        super().__init__(observation_space, features_dim)
        planes = observation_space
        if isinstance(planes, spaces.Dict):
            planes = planes["planes"]
        self.layers = nn.Sequential(
            nn.Conv2d(planes.shape[0], 4, (1, 3), padding=(0, 1)),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(4 * planes.shape[1] * CELLS, features_dim),
            nn.Tanh(),
        )

    def forward(self, observations):
        if isinstance(observations, dict):
            observations = observations["planes"]
        return self.layers(observations)


def model(algorithm=A2C, kind="planes", seed=0, actions="discrete", **given):
    environment = DummyVecEnv([lambda: Monitor(Strip(kind, actions=actions)) for _ in range(4)])
    policy = "MultiInputPolicy" if kind == "dict" else "CnnPolicy"
    if algorithm is RecurrentPPO:
        policy = policy.replace("Policy", "LstmPolicy")
        given["policy_kwargs"] = {"lstm_hidden_size": 8}
    kwargs = {"features_extractor_class": Filters, "normalize_images": False}
    given["policy_kwargs"] = kwargs | given.get("policy_kwargs", {})
    if algorithm is not A2C:
        given |= {"batch_size": 64, "n_epochs": 2}
    return algorithm(
        policy, environment, n_steps=given.pop("n_steps", 32), seed=seed, device="cpu", **given
    )


def weights(trained):
    return torch.cat([part.detach().flatten() for part in trained.policy.parameters()])


def settings(**given):
    return AuxiliarySettings(steps=3, context_features=8, negatives=16, **given)
