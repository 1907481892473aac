"""Many levels of one game under a curriculum: what all environments stand on.

A `Simulation` joins the engine, the store of levels and the curriculum. After each step it tells
the curriculum which episodes ended, and the engine which levels may come next; the engine replaces
finished levels inside its own step. So the next level of a slot is drawn by what the curriculum
knew one step before.
Letters: N = slots, E = episodes that ended in a step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from sidle import seeding
from sidle.errors import ArgumentError, CheckpointError, ShapeError
from sidle.ppcg.curriculum import Curriculum, Fixed, LevelSet, Uniform
from sidle.ppcg.engine import Autoreset, Engine, Snapshot
from sidle.ppcg.episodes import EPISODE
from sidle.ppcg.layout import Layout
from sidle.ppcg.level_store import LevelStore
from sidle.ppcg.playable import Playable
from sidle.ppcg.vgdl import Level

Rewards = Literal["score", "sign", "outcome"]
Win = Literal["rules", "score"]
Rows = str | Sequence[str] | npt.NDArray[np.uint8]

ENDED = np.dtype([*EPISODE.descr, ("truncated", np.bool_)])
"""An episode that ended, as `episodes.EPISODE`, and whether it was cut off."""

_NONE_ENDED = np.zeros(0, ENDED)
_NONE_FINISHED = np.zeros((0, 5), np.int64)
_SLOT = 0  # column of what `Engine.ended` returns
_NOT_A_NUMBER = -1  # of a level that was placed by hand


class Simulation:
    """``n`` levels of a game side by side, chosen by a curriculum.

    Args:
        playable: the game with its levels, see `playable.find`.
        n: levels played at once.
        curriculum: which levels come next; it serves this simulation alone.
        seed: names all chance.
        autoreset: when a finished level is replaced, see `Engine`.
        rewards: ``score``: the change of score; ``sign``: its sign, -1, 0 or 1; ``outcome``: at
            the end of an episode 1 if it was won and -1 if it was lost, 0 if it was cut off.
        win: ``rules``: won as the rules say; ``score``: with the score that published code counts
            as a win, whatever the rules say. Neither changes when an episode ends.
        max_episode_steps: ticks after which an episode is cut off; None leaves the game's 2,000,
            at whose end a game is lost by the rules.
        threads: threads of the engine.
        store: how levels are kept, keywords of `LevelStore`.

    Attributes:
        engine: plays; made anew by `reset` with a seed.
        store: keeps levels.
        clock: steps so far.
        terminated: bool (N,), whether the episode ended by the rules in the last step.
        truncated: bool (N,), whether it was cut off.
        rewards: float64 (N,), of the last step.
        won: bool (N,), whether the episode that ended in the last step was won.
        ids: int64 (N,), what the level under way is called: the seed of a generated one, the number
            of a given one, -1 for one placed by hand.
        difficulties: float64 (N,), its difficulty, NaN where it has none.
        ended: the episodes that ended in the last step, of dtype `ENDED`.

    Raises:
        ArgumentError: an argument outside its range, or a game that lacks what is asked for.
    """

    def __init__(
        self,
        playable: Playable,
        n: int,
        *,
        curriculum: Curriculum,
        seed: int = 0,
        autoreset: Autoreset = "same_step",
        rewards: Rewards = "score",
        win: Win = "rules",
        max_episode_steps: int | None = None,
        threads: int = 1,
        store: Mapping[str, int] | None = None,
    ) -> None:
        if rewards not in ("score", "sign", "outcome"):
            raise ArgumentError(f"rewards must be 'score', 'sign' or 'outcome', got {rewards!r}.")
        if win not in ("rules", "score"):
            raise ArgumentError(f"win must be 'rules' or 'score', got {win!r}.")
        if win == "score" and playable.win_score is None:
            raise ArgumentError(
                f"{playable.game.name}: no score counts as a win in this game. Use win='rules'."
            )
        if max_episode_steps is not None and max_episode_steps < 1:
            raise ArgumentError(f"max_episode_steps must be at least 1, got {max_episode_steps}.")
        self.playable, self.n, self.curriculum = playable, n, curriculum
        self.autoreset, self.reward_kind, self.win = autoreset, rewards, win
        self.max_episode_steps, self.threads = max_episode_steps, threads
        self._store_options = dict(store or {})
        self.clock = 0
        self.terminated = np.zeros(n, np.bool_)
        self.truncated = np.zeros(n, np.bool_)
        self.rewards = np.zeros(n)
        self.won = np.zeros(n, np.bool_)
        self.ids = np.full(n, _NOT_A_NUMBER, np.int64)
        self.difficulties = np.full(n, np.nan)
        self.ended = _NONE_ENDED
        self._pending = np.zeros(n, np.bool_)  # ended in the last step, replaced in the next
        self._is_over = np.zeros(n, np.bool_)  # ended, and nothing replaces it (disabled)
        self._won_before = np.zeros(n, np.bool_)  # ... and whether it was won
        self._begin_anew(seed)

    # What happens.

    @property
    def planes(self) -> npt.NDArray[np.int8]:
        """What is seen, int8 (N, C, H, W), overwritten by the next step."""
        assert self.engine.planes is not None
        return self.engine.planes

    @property
    def final_planes(self) -> npt.NDArray[np.int8]:
        """The last observations of the episodes that just ended, int8 (N, C, H, W)."""
        assert self.engine.final_planes is not None
        return self.engine.final_planes

    @property
    def places(self) -> npt.NDArray[np.int64]:
        """Number in the store of each slot's level, int64 (N,), -1 where it is gone."""
        places = self.engine.levels.astype(np.int64)
        if len(self.store.bank) == 0:
            return np.full(self.n, -1, np.int64)
        return np.where(self.store.bank.ids[places] == self.ids, places, -1)

    @property
    def statistics(self) -> dict[str, float]:
        """What the store did, see `LevelStore.statistics`, and the curriculum's ``difficulty``."""
        return {**self.store.statistics, "difficulty": self.curriculum.difficulty}

    def reset(
        self,
        *,
        seed: int | None = None,
        slots: npt.NDArray[np.int64] | None = None,
        level: int | Level | Rows | None = None,
        difficulty: float | Sequence[float] | None = None,
    ) -> None:
        """Begin new episodes.

        Args:
            seed: start all over with this seed: store, random streams; the curriculum goes on.
            slots: which begin anew, by default all.
            level: play this one in all of them: the number of one made by hand, a `Level` or rows.
            difficulty: play new generated levels of this difficulty; one number or one a slot.
                Neither counts for the curriculum, and both hold for one episode.

        Raises:
            ArgumentError, DataError, ShapeError: there is no such level, or it does not fit.
        """
        where = np.arange(self.n) if slots is None else np.asarray(slots, np.int64)
        if level is not None and difficulty is not None:
            raise ArgumentError("reset: give a level or a difficulty, not both.")
        if seed is not None:
            self._begin_anew(seed)
        if self.autoreset != "disabled" or (level is None and difficulty is None):
            # What is placed now is followed by levels of the curriculum.
            self._arrange()
        if level is not None:
            found, number = self._level(level)
            self.engine.reset([found] * len(where), slots=where)
            self.ids[where], self.difficulties[where] = number, np.nan
        elif difficulty is not None:
            self._reset_generated(where, difficulty)
        else:
            self.engine.reset(slots=where)
            self._name_levels(where)
            self.store.begun += len(where)
        self.curriculum.begin(self.n, None if slots is None else where, clock=self.clock)
        self.ended = _NONE_ENDED
        for flags in (self._pending, self._is_over, self.terminated, self.truncated, self.won):
            flags[where] = False

    def step(self, actions: npt.ArrayLike) -> None:
        """Play a tick in every slot; results are in the attributes.

        Raises:
            ArgumentError, ShapeError: nothing was reset yet, or not N actions of the game.
        """
        engine = self.engine
        engine.step(actions)
        self.clock += 1
        np.copyto(self.terminated, engine.dones)
        np.copyto(self.rewards, engine.rewards)
        np.copyto(self.won, engine.wins)
        finished = engine.ended() if self.terminated.any() else _NONE_FINISHED
        if self.autoreset == "next_step" and self._pending.any():
            finished = self._replace_pending(finished)
        cut_off = None if self.max_episode_steps is None else self._cut_off()
        if self.autoreset == "disabled" and self._is_over.any():
            finished = finished[~self._is_over[finished[:, _SLOT]]]
            cut_off = None if cut_off is None else cut_off[~self._is_over[cut_off]]
            self.won[self._is_over] = self._won_before[self._is_over]
        self.ended = _NONE_ENDED
        if cut_off is not None or len(finished):
            self._settle(finished, cut_off)
        if self.reward_kind == "sign":
            np.sign(self.rewards, out=self.rewards)
        elif self.reward_kind == "outcome":
            self.rewards[:] = 0.0
            ended = self.ended
            paid = np.where(ended["won"], 1.0, np.where(ended["truncated"], 0.0, -1.0))
            self.rewards[ended["slot"]] = paid

    # State.

    def state_dict(self) -> dict[str, Any]:
        """Return everything as a tree for `sidle.checkpoint`: what follows then, follows again."""
        snapshot = self.engine.snapshot()
        return {
            "seed": self.engine.seed,
            "rooms": snapshot.layout.rooms.copy(),
            "states": snapshot.states,
            "cells": snapshot.cells,
            "streams": snapshot.streams.view(np.int64),
            "placed": snapshot.placed,
            "placed_sizes": snapshot.placed_sizes,
            "weights": self._weights.copy(),
            "clock": self.clock,
            "ids": self.ids.copy(),
            "difficulties": self.difficulties.copy(),
            "pending": self._pending.copy(),
            "is_over": self._is_over.copy(),
            "won_before": self._won_before.copy(),
            "arranged": self._arranged,
            "generated": self._n_generated,
            "store": self.store.state_dict(),
            "curriculum": self.curriculum.state_dict(),
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned, of a simulation with the same arguments.

        Raises:
            CheckpointError: it is of other slots, another game or another size of levels.
        """
        states = np.array(state_dict["states"], np.int32)
        height, width = self.playable.shape
        rooms = np.array(state_dict["rooms"], np.int64)
        if len(rooms) != len(self.playable.game.types):
            raise CheckpointError("Simulation: the state is of another game.")
        layout = Layout.make(self.playable.game, height, width, rooms)
        if states.shape != (self.n, layout.words):
            raise CheckpointError(
                f"Simulation: the state is of {len(states)} slots, {states.shape[1]} words each; "
                f"expected {self.n} of {layout.words}."
            )
        self._begin_anew(int(state_dict["seed"]))
        self.store.load_state_dict(state_dict["store"])
        self.curriculum.load_state_dict(state_dict["curriculum"])
        self.engine = self._new_engine(int(state_dict["seed"]))
        self._weights = np.array(state_dict["weights"], np.float64)
        if len(self._weights):
            self.engine.weigh_levels(self._weights)
        streams = np.ascontiguousarray(state_dict["streams"], np.int64).view(np.uint64)
        self.engine.restore(
            Snapshot(
                layout,
                states,
                np.array(state_dict["cells"], np.int64),
                streams,
                np.array(state_dict["placed"], np.uint8),
                np.array(state_dict["placed_sizes"], np.int64),
            )
        )
        self.clock = int(state_dict["clock"])
        self.ids = np.array(state_dict["ids"], np.int64)
        self.difficulties = np.array(state_dict["difficulties"], np.float64)
        self._pending = np.array(state_dict["pending"], np.bool_)
        self._is_over = np.array(state_dict["is_over"], np.bool_)
        self._won_before = np.array(state_dict["won_before"], np.bool_)
        self._arranged = int(state_dict["arranged"])
        self._n_generated = int(state_dict["generated"])

    # Inside.

    def _begin_anew(self, seed: int) -> None:
        self.store = LevelStore(self.playable, seed=seed, **self._store_options)
        self.engine = self._new_engine(seed)
        self._weights = np.zeros(0)
        self._arranged = -1  # version of the curriculum that the weights are of
        self._n_generated = 0

    def _new_engine(self, seed: int) -> Engine:
        height, width = self.playable.shape
        return Engine(
            self.playable.game,
            self.n,
            height=height,
            width=width,
            seed=seed,
            threads=self.threads,
            autoreset=self.autoreset,
            bank=self.store.bank,
            keep_final=self.autoreset == "same_step",
        )

    def _arrange(self) -> None:
        """Let the curriculum prepare what may come next, if anything changed."""
        if self._arranged == self.curriculum.version and not self.store.is_due:
            return
        self._weights = self.curriculum.arrange(self.store)
        self.engine.weigh_levels(self._weights)
        self._arranged = self.curriculum.version

    def _replace_pending(self, finished: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Begin new episodes where some ended in the step before; the engine began most of them.

        Returns:
            The finished episodes, without those that were over already.
        """
        pending = np.flatnonzero(self._pending)
        # The engine knows nothing of those that were cut off, and played them on.
        played_on = pending[self.engine.ticks[pending] >= 0]
        began = pending[self.engine.ticks[pending] < 0]
        np.add.at(self.store.bank.uses, self.engine.levels[began], 1)
        if len(played_on):
            self.engine.reset(slots=played_on)
        finished = finished[~self._pending[finished[:, _SLOT]]]
        for flags in (self.terminated, self.won):
            flags[pending] = False
        self.rewards[pending] = 0.0
        self._name_levels(pending)
        self._pending[pending] = False
        return finished

    def _cut_off(self) -> npt.NDArray[np.int64] | None:
        """Return the slots whose episodes are cut off now, None if there are none."""
        assert self.max_episode_steps is not None
        np.greater_equal(self.engine.ticks, self.max_episode_steps - 1, out=self.truncated)
        self.truncated &= ~self.terminated
        if not self.truncated.any():
            return None
        return np.flatnonzero(self.truncated)

    def _settle(
        self, finished: npt.NDArray[np.int64], cut_off: npt.NDArray[np.int64] | None
    ) -> None:
        """Note what ended, tell the curriculum, prepare what comes next."""
        n_finished = len(finished)
        ended = np.zeros(n_finished + (0 if cut_off is None else len(cut_off)), ENDED)
        for column, name in enumerate(("slot", "level", "won", "score", "length")):
            ended[name][:n_finished] = finished[:, column]
        if cut_off is not None:
            ended["slot"][n_finished:] = cut_off
            ended["level"][n_finished:] = self.engine.levels[cut_off]
            ended["score"][n_finished:] = self.engine.scores[cut_off]
            ended["length"][n_finished:] = self.engine.ticks[cut_off] + 1
            ended["truncated"][n_finished:] = True
        slots = ended["slot"]
        ended["id"], ended["difficulty"] = self.ids[slots], self.difficulties[slots]
        if self.win == "score":
            ended["won"] = ended["score"] >= self.playable.win_score
            self.won[slots] = ended["won"]
        self.ended = ended
        if self.autoreset == "same_step":
            if cut_off is not None:
                self.final_planes[cut_off] = self.planes[cut_off]
                self.engine.reset(slots=cut_off)
            self._name_levels(slots)
        elif self.autoreset == "next_step":
            self._pending[slots] = True
        else:
            self._is_over[slots], self._won_before[slots] = True, ended["won"]
        if self.autoreset != "disabled":
            self.store.begun += len(ended)
        self._tell(ended)
        self._arrange()

    def _tell(self, ended: npt.NDArray[np.void]) -> None:
        """Tell the curriculum of the episodes that were its own."""
        curriculum, clock = self.curriculum, self.clock
        for episode in ended.tolist():
            slot, level, _, difficulty, won, score, length, _ = episode
            if level < 0:
                curriculum.begin(self.n, [slot], clock=clock)
                continue
            task = level if np.isnan(difficulty) else difficulty
            curriculum.update_on_episode(score, length, task, float(won), slot, clock=clock)

    def _name_levels(self, slots: npt.NDArray[np.int64]) -> None:
        """Note what is played in the slots, all from the store."""
        places = self.engine.levels[slots]
        self.ids[slots] = self.store.bank.ids[places]
        self.difficulties[slots] = self.store.bank.difficulties[places]

    def _level(self, level: int | Level | Rows) -> tuple[Level, int]:
        if isinstance(level, Level):
            return self.playable.game.level(level.characters), _NOT_A_NUMBER
        if isinstance(level, (int, np.integer)):
            made = self.playable.levels
            if isinstance(level, bool) or not 0 <= level < len(made):
                raise ArgumentError(
                    f"reset: {self.playable.game.name} has levels 0 to {len(made) - 1} made by "
                    f"hand, got {level}."
                )
            return made[level], int(level)
        return self.playable.game.level(level), _NOT_A_NUMBER

    def _reset_generated(
        self, where: npt.NDArray[np.int64], difficulty: float | Sequence[float]
    ) -> None:
        try:
            wanted = np.broadcast_to(np.asarray(difficulty, np.float64), len(where))
        except ValueError as error:
            raise ShapeError(
                f"reset: expected one difficulty or {len(where)}, got {difficulty}."
            ) from error
        seeds = [
            seeding.split(self.engine.seed, "ppcg_asked", self._n_generated + i)
            for i in range(len(where))
        ]
        self._n_generated += len(where)
        levels = [
            self.playable.generated(float(one), number)
            for one, number in zip(wanted, seeds, strict=True)
        ]
        self.engine.reset(levels, slots=where)
        self.ids[where], self.difficulties[where] = seeds, wanted


def choose_curriculum(
    playable: Playable,
    levels: str | Sequence[Level | Rows] | None,
    difficulty: float | None,
    curriculum: Curriculum | None,
) -> Curriculum:
    """Return the curriculum that an environment's arguments ask for.

    Args:
        playable: the game.
        levels: ``generated``, ``hand_made``, or the levels to play; by default generated where the
            game has a generator.
        difficulty: of generated levels; by default all, evenly.
        curriculum: this one; then the others stay None.

    Raises:
        ArgumentError: arguments that exclude each other.
        DataError: a level that is none.
    """
    if curriculum is not None:
        if levels is not None or difficulty is not None:
            raise ArgumentError("Give a curriculum, or levels, or a difficulty; not several.")
        return curriculum
    if levels is None:
        levels = "generated" if playable.generator is not None else "hand_made"
    if isinstance(levels, str) and levels == "generated":
        if playable.generator is None:
            playable.generated(0.0, 0)  # says why there is no generator
        return Uniform() if difficulty is None else Fixed(difficulty)
    if difficulty is not None:
        raise ArgumentError("A difficulty is of generated levels. Leave levels or difficulty away.")
    if isinstance(levels, str):
        if levels != "hand_made":
            raise ArgumentError(
                f"levels must be 'generated', 'hand_made' or a sequence of levels, got {levels!r}."
            )
        return LevelSet(playable.levels)
    made = [one if isinstance(one, Level) else playable.game.level(one) for one in levels]
    return LevelSet(made)
