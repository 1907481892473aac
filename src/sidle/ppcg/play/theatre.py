"""The episodes of a session, and answers to what the page asks about them."""

from __future__ import annotations

import io
import math
import re
import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from sidle import seeding
from sidle.errors import ArgumentError
from sidle.ppcg.kernels.codes import TILE
from sidle.ppcg.play import recording as recordings
from sidle.ppcg.play.episode import Episode
from sidle.ppcg.play.recording import Recording
from sidle.ppcg.playable import Playable
from sidle.ppcg.render import Renderer
from sidle.ppcg.vgdl import Game

Policy = Callable[[npt.NDArray[np.int8]], int]
"""An agent: planes int8 (1, C, H, W) -> an action."""

_TILE = 64  # pixels of a tile in the atlas, enough for dense screens
_COLUMNS = 16  # of pictures in the atlas
_MOST_EPISODES = 32  # kept in memory; the oldest are forgotten


@dataclass(frozen=True)
class Show:
    """What is to be played.

    Attributes:
        playable: the game and its levels.
        start: what the page begins with, as it would ask for it: ``{"level": 0}`` and so on.
        seed: names the levels and random streams of the session.
        policy: an agent to watch.
        agent: what the agent is called.
    """

    playable: Playable
    start: Mapping[str, Any] = field(default_factory=lambda: {"level": 0})
    seed: int = 0
    policy: Policy | None = None
    agent: str = ""


@dataclass
class _Sitting:
    """An episode with what is known of it besides."""

    episode: Episode
    title: str
    difficulty: float | None = None
    replayed: Recording | None = None


class Theatre:
    """Keeps the episodes of a session and answers the page's questions.

    Args:
        show: what is to be played.
    """

    def __init__(self, show: Show) -> None:
        self.show = show
        self.renderer = Renderer(show.playable.game, tile=_TILE)
        self._sittings: OrderedDict[str, _Sitting] = OrderedDict()
        self._n_begun = 0

    def about(self) -> dict[str, Any]:
        """Return the game, its pictures and what may be chosen."""
        playable, game = self.show.playable, self.show.playable.game
        types = [number for number, look in enumerate(self.renderer.looks) if look.picture]
        return {
            "title": playable.title,
            "summary": playable.summary,
            "name": game.name,
            "actions": list(game.actions),
            "levels": len(playable.levels),
            "generates": playable.generator is not None,
            "agent": self.show.agent if self.show.policy is not None else None,
            "start": dict(self.show.start),
            "tile": TILE,
            "atlas": {"tile": _TILE, "columns": _COLUMNS},
            "pictures": self.renderer.n_pictures,
            "types": [self.renderer.first(number) for number in range(len(game.types))],
            "legend": [
                [self.renderer.portrait(number), _described(game, number)] for number in types
            ],
        }

    def begin(self, wish: Mapping[str, Any]) -> dict[str, Any]:
        """Begin an episode and return how it stands.

        Raises:
            ArgumentError, DataError: there is no such level, or the recording cannot be replayed.
        """
        known = {"level", "difficulty", "recording", "again"} & set(wish)
        if len(known) != 1:
            raise ArgumentError(
                "Expected one of level, difficulty, recording and again, "
                f"got {', '.join(sorted(known)) or 'none'}."
            )
        maker = {
            "level": self._hand_made, "difficulty": self._generated,
            "recording": self._recorded, "again": self._again,
        }[known.pop()]  # fmt: skip
        sitting = maker(wish)
        name = secrets.token_hex(8)
        self._sittings[name] = sitting
        if len(self._sittings) > _MOST_EPISODES:
            self._sittings.popitem(last=False)
        level = sitting.episode.level
        return {
            "id": name,
            "title": sitting.title,
            "difficulty": sitting.difficulty,
            "height": level.height,
            "width": level.width,
            "replay": None if sitting.replayed is None else len(sitting.replayed.actions),
            **self._view(sitting),
        }

    def step(self, name: str, wish: Mapping[str, Any]) -> dict[str, Any]:
        """Play one tick of an episode and return how it stands.

        Raises:
            ArgumentError: there is no such episode or action, or another tick is due.
        """
        sitting = self._sitting(name)
        episode, tick, action = sitting.episode, wish.get("tick"), wish.get("action")
        if tick != len(episode.actions):
            raise ArgumentError(f"Tick {len(episode.actions)} is due, got {tick}.")
        if action == "agent":
            if self.show.policy is None:
                raise ArgumentError("There is no agent to watch. Name one with --agent.")
            action = self.show.policy(episode.planes)
        elif action == "replay":
            script = () if sitting.replayed is None else sitting.replayed.actions
            if len(episode.actions) >= len(script):
                raise ArgumentError("The recording is at its end.")
            action = script[len(episode.actions)]
        if type(action) is not int:
            raise ArgumentError(f"An action must be a whole number, got {action!r}.")
        episode.step(action)
        return self._view(sitting)

    def recording(self, name: str) -> Recording:
        """Return a recording of an episode so far.

        Raises:
            ArgumentError: there is no such episode.
        """
        return recordings.record(self._sitting(name).episode)

    def atlas(self) -> bytes:
        """Return all pictures and, as the last, an empty cell: a PNG, 16 pictures a row."""
        pictures = self.renderer.atlas()
        empty = np.dstack([self.renderer.background(), np.full((_TILE, _TILE), 255, np.uint8)])
        pictures = np.concatenate([pictures, empty[np.newaxis]])
        rows = -(-len(pictures) // _COLUMNS)
        whole = np.zeros((rows * _COLUMNS, _TILE, _TILE, 4), np.uint8)
        whole[: len(pictures)] = pictures
        whole = whole.reshape(rows, _COLUMNS, _TILE, _TILE, 4).swapaxes(1, 2)
        stream = io.BytesIO()
        Image.fromarray(whole.reshape(rows * _TILE, _COLUMNS * _TILE, 4)).save(stream, "PNG")
        return stream.getvalue()

    def _hand_made(self, wish: Mapping[str, Any]) -> _Sitting:
        levels, index = self.show.playable.levels, wish["level"]
        if type(index) is not int or not 0 <= index < len(levels):
            raise ArgumentError(f"Levels are numbered 0 to {len(levels) - 1}, got {index!r}.")
        return _Sitting(
            Episode(self.show.playable.game, levels[index], self._seed("hand_made")),
            f"Level {index + 1} of {len(levels)}, made by hand",
        )

    def _generated(self, wish: Mapping[str, Any]) -> _Sitting:
        difficulty = wish["difficulty"]
        if type(difficulty) not in (int, float) or not math.isfinite(difficulty):
            raise ArgumentError(f"Difficulty must be a number in [0, 1], got {difficulty!r}.")
        seed = self._seed("generated")
        level = self.show.playable.generated(float(difficulty), seed)
        return _Sitting(
            Episode(self.show.playable.game, level, seed),
            f"Generated at difficulty {difficulty:.2f}",
            float(difficulty),
        )

    def _recorded(self, wish: Mapping[str, Any]) -> _Sitting:
        found = recordings.from_dict(wish["recording"])
        if found.game.digest != self.show.playable.game.digest:
            raise ArgumentError(
                f"This recording is of {found.game.name} with other rules than the game on this "
                "page. Watch it with: sidle play FILE.json"
            )
        recordings.replay(found)
        # The page's own game, so that pictures and episode agree.
        game = self.show.playable.game
        level = game.level(found.level.rows)
        episode = Episode(game, level, found.seed)
        return _Sitting(episode, f"Recording of {len(found.actions)} ticks", replayed=found)

    def _again(self, wish: Mapping[str, Any]) -> _Sitting:
        old = self._sitting(wish["again"])
        seed = old.episode.seed if old.replayed else self._seed("again")
        episode = Episode(old.episode.game, old.episode.level, seed)
        return _Sitting(episode, old.title, old.difficulty, old.replayed)

    def _sitting(self, name: Any) -> _Sitting:
        if not isinstance(name, str) or name not in self._sittings:
            raise ArgumentError("This game is no longer kept. Begin a new one.")
        return self._sittings[name]

    def _seed(self, purpose: str) -> int:
        self._n_begun += 1
        return seeding.split(self.show.seed, "play", purpose, self._n_begun)

    def _view(self, sitting: _Sitting) -> dict[str, Any]:
        """Return what the page shows of an episode now."""
        episode = sitting.episode
        state = episode.state()
        carried, health = self._belongings(state)
        return {
            "tick": len(episode.actions),
            "score": episode.score,
            "over": episode.is_over,
            "won": episode.is_won,
            "action": episode.actions[-1] if episode.actions else None,
            "sprites": self.renderer.sprites(state).tolist(),
            "carried": carried,
            "health": health,
        }

    def _belongings(self, state: Mapping[str, Any]) -> tuple[list[list[Any]], int | None]:
        """Return what the avatar carries, [picture, name, amount] each, and its health."""
        game = self.show.playable.game
        avatars = {game.types[number] for number in game.avatars()}
        extras: Mapping[str, Any] = next(
            (sprite[3] for sprite in state["sprites"] if sprite[0] in avatars and len(sprite) > 3),
            {},
        )
        held = extras.get("res", {})
        carried = [
            [self.renderer.portrait(game.types.index(name)), _in_words(name), held.get(name, 0)]
            for name in game.resources
        ]
        return carried, extras.get("hp")


def _described(game: Game, number: int) -> str:
    """Return what to call a type: its name, and that of its parent where the name is not enough."""
    name = game.types[number]
    parents = [other for other, below in game.subtypes.items() if number in below and other != name]
    nearest = min(parents, key=lambda other: len(game.subtypes[other]), default="")
    return _in_words(name if nearest in name else f"{name} {nearest}")


def _in_words(name: str) -> str:
    """Return the name of a type as words: "goldKey_2" becomes "gold key 2"."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z0-9])", " ", name).replace("_", " ")
    return " ".join(spaced.lower().split())
