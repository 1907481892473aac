"""Agents that learn to play: trained by Stable-Baselines3, kept in a format of our own.

from sidle.ppcg import agents, curriculum, playable
agent = agents.train(playable.find("frogs"), curriculum.PPCG(), seed=0)
"""

from sidle.ppcg.agents.agent import (
    Agent,
    Algorithm,
    NetworkSettings,
    Player,
    RandomAgent,
    check_plays,
    load,
    view_of,
)
from sidle.ppcg.agents.evaluation import Evaluation, evaluate_agent, generated_levels
from sidle.ppcg.agents.training import TrainSettings, train

__all__ = [
    "Agent",
    "Algorithm",
    "Evaluation",
    "NetworkSettings",
    "Player",
    "RandomAgent",
    "TrainSettings",
    "check_plays",
    "evaluate_agent",
    "generated_levels",
    "load",
    "train",
    "view_of",
]
