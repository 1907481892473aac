"""Agents that learn to play: trained by Stable-Baselines3, kept in a format of our own.

from sidle.ppcg import agents, curriculum, playable
agent = agents.train(playable.find("frogs"), curriculum.PPCG(), seed=0)
agent.save("frogs-agent")
"""

from sidle.ppcg.agents.agent import Agent, Player, RandomAgent, check_plays, load
from sidle.ppcg.agents.evaluation import Evaluation, evaluate_agent, generated_levels
from sidle.ppcg.agents.settings import Algorithm, NetworkSettings, TrainSettings
from sidle.ppcg.agents.training import train

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
]
