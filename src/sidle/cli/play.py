"""`sidle play`: play a game in the browser, watch a recording or an agent."""

from __future__ import annotations

import importlib
import secrets
import sys
import threading
import webbrowser
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from sidle.cli import console
from sidle.errors import ArgumentError, MissingExtraError, UsageError

if TYPE_CHECKING:
    from sidle.ppcg import playable
    from sidle.ppcg.play.server import House
    from sidle.ppcg.play.theatre import Policy, Show


@dataclass(frozen=True)
class PlayOptions:
    """Play a game in the browser.

    The game is a built-in one, a file of your own in VGDL (with levels in a .txt file beside it),
    or a recording that the page saved. The page is served on this machine only, at an address with
    a secret in it; Ctrl-C ends it.
    """

    game: tyro.conf.Positional[str]
    """Name of a built-in game (zelda, ...), a file with rules, or a recording (.json)."""
    level: int | None = None
    """Begin with this hand-made level; 0 is the first."""
    difficulty: float | None = None
    """Begin with a generated level of this difficulty, from 0 to 1."""
    levels: Path | None = None
    """File with levels, divided by empty lines; by default the game's own, or those beside it."""
    agent: Path | None = None
    """Folder of an agent that `sidle train` saved: it plays, you watch."""
    seed: int | None = None
    """Names the generated levels and all chance; by default another one each time."""
    port: int = 0
    """Port to listen on; 0 is any that is free."""
    browser: bool = True
    """Open the page in the browser."""
    dry_run: bool = False
    """Read everything, say what would be played, and end."""
    json: bool = False
    """Print {"game", "title", "url", "levels", "generates", "agent"} as JSON."""


def play(arguments: list[str]) -> int:
    """Run ``sidle play`` with ``arguments``; return the exit code."""
    options = console.parse(
        PlayOptions, "play", arguments, example="sidle play zelda --difficulty 0.5"
    )
    if options.level is not None and options.difficulty is not None:
        raise UsageError("sidle play: give --level or --difficulty, not both.")
    show = _show(options)
    # Refuses what cannot be begun, and compiles the kernels before the page is opened.
    from sidle.ppcg.play.theatre import Theatre

    trial = Theatre(show)
    begun = trial.begin(show.start)
    if not begun["over"]:
        trial.step(begun["id"], {"tick": 0, "action": 0 if show.policy is None else "agent"})
    server, house = _server()
    bound = server.listen(options.port)
    token, port = secrets.token_urlsafe(24), bound.getsockname()[1]
    url = f"http://{server.LOOPBACK}:{port}/{token}/"
    guarded = server.application(show, house, token=token, port=port)
    _announce(options, show, url)
    sys.stdout.flush()  # whoever reads the address from a pipe waits for it
    if options.dry_run:
        bound.close()
        return 0
    if options.browser:
        threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()
    try:
        server.make_server(guarded).run(sockets=[bound])
    except KeyboardInterrupt:
        pass
    finally:
        bound.close()
    return 0


def _show(options: PlayOptions) -> Show:
    from sidle.ppcg import playable
    from sidle.ppcg.play import recording as recordings
    from sidle.ppcg.play.theatre import Show

    seed = secrets.randbits(62) if options.seed is None else options.seed
    if options.game.endswith(".json"):
        if (options.level, options.difficulty, options.levels, options.agent) != (None,) * 4:
            raise UsageError("sidle play: a recording needs no level, difficulty, levels or agent.")
        found = recordings.read(options.game)
        recordings.replay(found, where=options.game)
        level = found.level
        stage = playable.Playable(
            game=found.game,
            title=playable.title_of(found.game),
            summary=f"A recording of {len(found.actions)} ticks.",
            levels=(level,),
            shape=(level.height, level.width),
            generator=None,
        )
        return Show(stage, start={"recording": found.as_dict()}, seed=seed)
    stage = playable.find(options.game, levels=options.levels)
    start: dict[str, Any] = {"level": options.level or 0}
    if options.difficulty is not None:
        start = {"difficulty": options.difficulty}
    if options.agent is None:
        return Show(stage, start=start, seed=seed)
    policy = _policy(options.agent, stage, seed)
    return Show(stage, start=start, seed=seed, policy=policy, agent=options.agent.name)


def _policy(folder: Path, stage: playable.Playable, seed: int) -> Policy:
    """Return the agent saved in ``folder``, which must have learned this game."""
    from sidle import seeding

    try:
        # Through importlib, because the module needs an extra that may be missing.
        agents = importlib.import_module("sidle.ppcg.agents")
    except ModuleNotFoundError as error:
        raise MissingExtraError("Watching an agent", "rl") from error
    agent = agents.load(folder)
    if agent.digest != stage.game.digest:
        raise ArgumentError(
            f"{folder}: this agent learned {agent.game} by other rules than those of "
            f"{stage.game.name} here. Train one on this game: sidle train {stage.game.name}"
        )
    if tuple(agent.shape) != stage.shape:
        raise ArgumentError(
            f"{folder}: this agent sees levels of {agent.shape[0]} x {agent.shape[1]} cells, those "
            f"here have {stage.shape[0]} x {stage.shape[1]}. Name the levels it learned on with "
            "--levels."
        )
    rng = seeding.numpy_generator(seeding.split(seed, "play", "agent"))
    return lambda planes: int(agent.act(planes, rng)[0])


def _server() -> tuple[Any, House]:
    """Return the server's module and what its page shares with the report."""
    try:
        from sidle.ppcg.play import server
    except ModuleNotFoundError as error:
        raise MissingExtraError("sidle play", "play") from error
    templates = resources.files("sidle.report").joinpath("templates")
    style, masthead, icon = (
        templates.joinpath(name).read_text(encoding="utf-8")
        for name in ("style.css", "masthead.html.j2", "icon.html.j2")
    )
    return server, server.House(style=style, masthead=masthead, icon=icon)


def _announce(options: PlayOptions, show: Show, url: str) -> None:
    stage = show.playable
    if options.json:
        console.print_json(
            {
                "game": stage.game.name,
                "title": stage.title,
                "url": url,
                "levels": len(stage.levels),
                "generates": stage.generator is not None,
                "agent": show.agent or None,
            }
        )
        return
    what = f"{stage.title}: {len(stage.levels)} level{'s' if len(stage.levels) > 1 else ''}"
    if stage.generator is not None:
        what += ", and generated ones by difficulty"
    if show.agent:
        what += f"; {show.agent} plays"
    end = "Nothing was started." if options.dry_run else "Ctrl-C ends it."
    console.show(f"{what}.", *(f"Warning: {one}" for one in stage.game.warnings), url, end)
