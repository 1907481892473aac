"""Recordings of what was played: JSON that anybody can replay to the same end.

A recording is ``{"format": "sidle recording 1", "game": {"name", "digest", "rules"}, "level":
[row], "seed": "0", "actions": [0], "outcome": {"ticks", "score", "winner", "state"}}``. It holds
the rules themselves, so that it can be replayed without the files it was made from; ``digest`` is
that of the rules. The seed is written as text, because JSON's numbers are not exact beyond 2^53.
Nothing in a recording is trusted: it is checked, replayed, and refused if it ends otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sidle.errors import DataError, DataNotFoundError, SidleError
from sidle.ppcg import vgdl
from sidle.ppcg.engine import MOST_TICKS
from sidle.ppcg.play.episode import Episode
from sidle.ppcg.vgdl import Game, Level

FORMAT = "sidle recording 1"
LARGEST = 2_000_000
"""Bytes of the largest recording that is read."""
_LARGEST_SEED = 2**63
_REMEDY = "Was it changed by hand? Record the game again."


@dataclass(frozen=True)
class Recording:
    """What was played, checked but not yet replayed.

    Attributes:
        game: compiled from the rules in the recording.
        level: as it was at the beginning.
        seed: names the random stream.
        actions: places in `Game.actions`, one a tick.
        outcome: as `Episode.outcome` returned it.
    """

    game: Game
    level: Level
    seed: int
    actions: tuple[int, ...]
    outcome: Mapping[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Return what is written to the file."""
        return {
            "format": FORMAT,
            "game": {"name": self.game.name, "digest": self.game.digest, "rules": self.game.text},
            "level": list(self.level.rows),
            "seed": str(self.seed),
            "actions": list(self.actions),
            "outcome": dict(self.outcome),
        }


def record(episode: Episode) -> Recording:
    """Return a recording of what was played so far."""
    return Recording(
        episode.game, episode.level, episode.seed, tuple(episode.actions), episode.outcome()
    )


def read(path: str | Path) -> Recording:
    """Return the recording in a file, checked.

    Raises:
        DataNotFoundError: there is no such file.
        DataError: it is no recording, or one that was changed.
    """
    path = Path(path)
    if not path.is_file():
        raise DataNotFoundError(f"There is no file {path}. Check the name.")
    if path.stat().st_size > LARGEST:
        raise DataError(path, f"{path.stat().st_size} bytes.", f"At most {LARGEST} are read.")
    return parse(path.read_bytes(), where=path)


def parse(text: str | bytes, *, where: str | Path = "recording") -> Recording:
    """Return the recording in a text, checked; errors as `read`."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(where, "expected a recording in JSON.", "Choose another file.") from error
    return from_dict(value, where=where)


def from_dict(value: Any, *, where: str | Path = "recording") -> Recording:
    """Return the recording that ``value``, read from JSON, holds, checked.

    Raises:
        DataError: a part is missing, of another type or outside its range, the rules do not have
            the digest, or rules or level are malformed.
    """
    found = value.get("format") if isinstance(value, dict) else None
    if found != FORMAT:
        raise DataError(
            where, f"expected format '{FORMAT}', found {_short(found)}.",
            "Choose a file that `sidle play` saved.",
        )  # fmt: skip
    about = _part(value, "game", dict, where)
    name, rules = (_part(about, key, str, where, "game") for key in ("name", "rules"))
    game = vgdl.compile_game(rules, name=name[:100])
    digest = _part(about, "digest", str, where, "game")
    if digest != game.digest:
        raise DataError(
            where, f"its rules have digest {game.digest[:12]}, it names {digest[:12]!r}.", _REMEDY
        )
    rows = _part(value, "level", list, where)
    if not all(isinstance(row, str) for row in rows):
        raise DataError(where, "level: expected a list of rows of text.", _REMEDY)
    level = game.level(rows)
    return Recording(
        game, level, _seed(value, where), _actions(value, game, where), _outcome(value, where)
    )


def replay(recording: Recording, *, where: str | Path = "recording") -> Episode:
    """Return the episode, played again to its end, which must be as recorded.

    Raises:
        DataError: the game was over before the last action, or ended in another state.
    """
    episode = Episode(recording.game, recording.level, recording.seed)
    for tick, action in enumerate(recording.actions):
        if episode.is_over:
            raise DataError(
                where, f"the game was over after {tick} of {len(recording.actions)} actions.",
                _REMEDY,
            )  # fmt: skip
        try:
            episode.step(action)
        except SidleError as error:
            raise DataError(where, f"cannot be replayed: {error}", _REMEDY) from error
    reached = episode.outcome()
    for name in ("ticks", "score", "winner", "state"):
        if reached[name] != recording.outcome[name]:
            raise DataError(
                where,
                f"the replay ends with {name} {_short(reached[name])}, recorded was "
                f"{_short(recording.outcome[name])}.",
                "It was changed by hand, or made by a version of sidle with another engine.",
            )
    return episode


def _part(
    value: Mapping[str, Any], key: str, kind: type, where: str | Path, inside: str = ""
) -> Any:
    part = value.get(key)
    name = f"{inside}.{key}" if inside else key
    # A bool is an int to Python, not to JSON.
    if not isinstance(part, kind) or isinstance(part, bool):
        word = {dict: "an object", list: "a list", str: "text", int: "a whole number"}[kind]
        raise DataError(where, f"{name}: expected {word}, found {_short(part)}.", _REMEDY)
    return part


def _seed(value: Mapping[str, Any], where: str | Path) -> int:
    text = _part(value, "seed", str, where)
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) < _LARGEST_SEED):
        raise DataError(where, f"seed: expected digits below 2^63, found {_short(text)}.", _REMEDY)
    return int(text)


def _actions(value: Mapping[str, Any], game: Game, where: str | Path) -> tuple[int, ...]:
    actions = _part(value, "actions", list, where)
    if len(actions) > MOST_TICKS + 1:
        raise DataError(
            where, f"{len(actions)} actions; a game lasts at most {MOST_TICKS + 1} ticks.", _REMEDY
        )
    for tick, action in enumerate(actions):
        known = type(action) is int and 0 <= action < len(game.actions)
        if not known:
            raise DataError(
                where,
                f"action {tick}: expected 0 to {len(game.actions) - 1}, found {_short(action)}.",
                _REMEDY,
            )
    return tuple(actions)


def _outcome(value: Mapping[str, Any], where: str | Path) -> dict[str, Any]:
    outcome = _part(value, "outcome", dict, where)
    kinds = {"ticks": int, "score": int, "winner": str, "state": str}
    return {key: _part(outcome, key, kind, where, "outcome") for key, kind in kinds.items()}


def _short(value: Any) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
