"""Train an agent on many levels at once.

    agent = train(playable.find("frogs"), curriculum.PPCG(), TrainSettings(), seed=0)

Stable-Baselines3 learns (`sidle.ppcg.agents.learning`, imported when a training begins). A
training that is given a run keeps a checkpoint of everything there (network, optimiser, levels
under way, curriculum, random streams) and, killed at any moment, goes on to the same agent. DQN is
the exception: its memory of transitions is not kept, so that a killed training begins anew, and
comes to the same agent that way.
"""

from __future__ import annotations

from sidle.errors import MissingExtraError
from sidle.ppcg.agents.agent import Agent
from sidle.ppcg.agents.settings import TrainSettings
from sidle.ppcg.curriculum import Curriculum
from sidle.ppcg.playable import Playable
from sidle.runs import Run


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
        ``score``, ``length`` (means over the last 200 episodes), ``difficulty`` (mean of what
        comes next; left away where levels have none), ``episodes``. Before the first episode has
        ended there are none.

    Raises:
        ArgumentError: an argument outside its range, or a game that lacks what is asked for.
        KeyboardInterrupt: Ctrl-C; the checkpoint of the last whole rollouts was written if there
            is a run.
        MissingExtraError: the extra ``rl`` is not installed.
        CheckpointError, RunError, StorageError: as `Run.resume` and `Run.save`.
    """
    try:
        from sidle.ppcg.agents import learning
    except ModuleNotFoundError as error:
        raise MissingExtraError("Training agents", "rl") from error
    return learning.learn(playable, curriculum, settings or TrainSettings(), seed, run, description)
