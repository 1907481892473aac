"""`sidle train`: train an agent on a game and keep it in a folder."""

from __future__ import annotations

import dataclasses
import math
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from sidle import provenance, storage
from sidle.cli import console
from sidle.errors import MissingExtraError, UsageError

if TYPE_CHECKING:
    from sidle.evaluation.statistics import Interval
    from sidle.ppcg.agents import Agent, TrainSettings
    from sidle.ppcg.curriculum import Curriculum
    from sidle.ppcg.playable import Playable
    from sidle.runs import Run

_TESTED = (0.0, 0.5, 1.0)  # difficulties of the generated levels that it plays in the end
_REPEATS = 20  # of each level made by hand


@dataclass(frozen=True)
class Options:
    """Train an agent on a game, and let it play levels it has not seen.

    The game is a built-in one or a file of your own in VGDL, with levels in a .txt file beside it.
    Ctrl-C keeps what was learned: the same command goes on from there (DQN begins anew).
    """

    game: tyro.conf.Positional[str]
    """Name of a built-in game (zelda, ...) or a file with rules in VGDL."""
    curriculum: Literal["ppcg", "fixed", "uniform", "levels", "plr"] = "ppcg"
    """Which levels it learns on. ppcg: generated, harder with each win and easier with each loss;
    fixed: generated, of one --difficulty; uniform: generated, of all difficulties; levels: those
    made by hand; plr: generated, those again from which there is most to learn."""
    difficulty: float | None = None
    """Of the levels of --curriculum fixed, from 0 to 1."""
    alpha: float = 0.01
    """How far ppcg moves the difficulty after an episode."""
    variant: Literal["exact", "uniform"] = "uniform"
    """Levels of ppcg: of exactly the present difficulty, or of all up to it."""
    out: Path | None = None
    """Folder of the agent; by default the game's name and "-agent"."""
    levels: Path | None = None
    """File with levels, divided by empty lines; by default the game's own, or those beside it."""
    seed: int = 0
    """Names all chance."""
    test_levels: int = 100
    """Generated levels a difficulty that it plays in the end."""
    tensorboard: bool = False
    """Also write TensorBoard events into the folder."""
    dry_run: bool = False
    """Read everything, say what would be done, and end."""
    json: bool = False
    """Print the outcome as JSON."""


def train(arguments: list[str]) -> int:
    """Run ``sidle train`` with ``arguments``; return the exit code."""
    try:
        from sidle.ppcg.agents import TrainSettings
    except ModuleNotFoundError as error:
        raise MissingExtraError("sidle train", "rl") from error
    options, settings = _parse(arguments, TrainSettings())
    if (options.difficulty is None) == (options.curriculum == "fixed"):
        raise UsageError("sidle train: --difficulty goes with --curriculum fixed, and no other.")
    if options.test_levels < 1:
        raise UsageError(f"sidle train: --test-levels must be at least 1: {options.test_levels}.")
    from sidle.ppcg import playable

    game = playable.find(options.game, levels=options.levels)
    chosen = _curriculum(options, game)
    out = options.out or Path(f"{game.game.name}-agent")
    if options.dry_run:
        return _say_what_would_be_done(options, settings, game, out)
    if provenance.missing_packages("rl"):
        raise MissingExtraError("sidle train", "rl")
    try:
        result = _train(options, settings, game, chosen, out)
    except KeyboardInterrupt:
        again = shlex.join(["sidle", "train", *arguments])
        kept = (
            "DQN's memory is not kept"
            if settings.algorithm == "dqn"
            else "What was learned is kept"
        )
        way = "To begin anew" if settings.algorithm == "dqn" else "To go on"
        print(f"\n{kept}. {way}: {again}", file=sys.stderr)
        raise
    _announce(options, result)
    return 0


def _train(
    options: Options, settings: TrainSettings, game: Playable, chosen: Curriculum, out: Path
) -> dict[str, Any]:
    from sidle import runs
    from sidle.ppcg import agents

    with runs.open_run(
        out, _identity(options, settings, game), tensorboard=options.tensorboard
    ) as run:
        if run.finished:
            return run.result
        agent = agents.train(
            game, chosen, settings, seed=options.seed, run=run,
            description=f"training on {game.title}",
        )  # fmt: skip
        agent.save(out)
        result = _result(options, settings, game, agent, run, out)
        run.finish(result)
    return result


def _identity(options: Options, settings: TrainSettings, game: Playable) -> Any:
    from sidle import runs

    words = {
        "game": game.game.name,
        "curriculum": options.curriculum,
        "difficulty": options.difficulty,
        "alpha": options.alpha,
        "variant": options.variant,
        "test_levels": options.test_levels,
        "training": dataclasses.asdict(settings),
    }
    levels = (character for level in game.levels for character in level.rows)
    return runs.Identity(
        settings=words,
        seed=options.seed,
        data_digest=storage.digest(game.game.text, *levels),
        code_digest=provenance.code_digest("sidle.ppcg.agents.learning"),
    )


def _result(
    options: Options,
    settings: TrainSettings,
    game: Playable,
    agent: Agent,
    run: Run,
    out: Path,
) -> dict[str, Any]:
    """Let the agent play levels it has not learned on; return what is told."""
    from sidle.ppcg import agents

    sets: list[tuple[str, float | None, Any]] = []
    if game.generator is not None:
        sets += [
            (
                f"difficulty {d:g}",
                d,
                agents.generated_levels(game, d, options.test_levels, options.seed),
            )
            for d in _TESTED
        ]
    sets.append(("made by hand", None, list(game.levels) * _REPEATS))
    tests = []
    for name, difficulty, levels in sets:
        found = agents.evaluate_agent(agent, game, levels, seed=options.seed, win=settings.win)
        tests.append(
            {
                "levels": name,
                "difficulty": difficulty,
                "n": len(levels),
                "win_rate": _as_json(found.win_rate),
                "score": _as_json(found.score),
            }
        )
    rows = run.metrics()
    last = rows[-1] if rows else {}
    return {
        "game": game.game.name,
        "curriculum": options.curriculum,
        "steps": settings.steps,
        "agent": str(out),
        "seconds": round(run.seconds, 3),
        "difficulty": last.get("difficulty"),
        "tests": tests,
    }


def _as_json(interval: Interval) -> dict[str, float | None]:
    ends = {"low": interval.low, "high": interval.high}
    return {
        "mean": interval.mean,
        **{name: value if math.isfinite(value) else None for name, value in ends.items()},
    }


def _curriculum(options: Options, game: Playable) -> Curriculum:
    from sidle.ppcg import curriculum
    from sidle.ppcg.level_replay import PrioritizedReplay

    if options.curriculum == "levels":
        return curriculum.LevelSet(game.levels)
    game.generated(0.0, 0)  # says why there is no generator, where there is none
    if options.curriculum == "fixed":
        assert options.difficulty is not None
        return curriculum.Fixed(options.difficulty)
    if options.curriculum == "uniform":
        return curriculum.Uniform()
    if options.curriculum == "plr":
        return PrioritizedReplay()
    return curriculum.PPCG(options.alpha, variant=options.variant)


def _parse(arguments: list[str], settings: TrainSettings) -> tuple[Options, TrainSettings]:
    both = dataclasses.make_dataclass(
        "Train", [("options", Options), ("training", type(settings), settings)], frozen=True
    )
    both.__doc__ = Options.__doc__
    parsed: Any = console.parse(
        both, "train", arguments, example="sidle train frogs --curriculum ppcg --steps 2000000"
    )
    return parsed.options, parsed.training


def _say_what_would_be_done(
    options: Options, settings: TrainSettings, game: Playable, out: Path
) -> int:
    if options.json:
        console.print_json(
            {
                "game": game.game.name,
                "curriculum": options.curriculum,
                "steps": settings.steps,
                "agent": str(out),
            }
        )
        return 0
    console.show(
        f"{game.title}: {settings.algorithm.upper()} would train for {settings.steps:,} ticks on "
        f"{settings.n_envs} levels at once (curriculum {options.curriculum}).",
        f"The agent would be kept in {out}. Nothing was started.",
    )
    return 0


def _announce(options: Options, result: dict[str, Any]) -> None:
    if options.json:
        console.print_json(result)
        return
    table = console.table(
        f"{result['game']}: {result['steps']:,} ticks in {console.seconds(result['seconds'])}",
        ["levels it has not learned on", "played", "won", "95 % interval", "score"],
        right=["played", "won", "95 % interval", "score"],
    )
    for test in result["tests"]:
        won, score = test["win_rate"], test["score"]
        is_own = options.curriculum == "levels" and test["difficulty"] is None
        table.add_row(
            test["levels"] + (" (it learned on these)" if is_own else ""),
            str(test["n"]),
            f"{won['mean']:.0%}",
            f"{won['low']:.0%} to {won['high']:.0%}",
            f"{score['mean']:.2f}",
        )
    shown: list[Any] = [table]
    if options.curriculum == "ppcg" and result["difficulty"] is not None:
        shown.append(
            f"In the end it met levels of difficulty {result['difficulty']:.2f} on average."
        )
    console.show(*shown, f"Kept in {result['agent']}. Watch it: {_watch(options, result)}")


def _watch(options: Options, result: dict[str, Any]) -> str:
    words = ["sidle", "play", options.game, "--agent", result["agent"]]
    if options.levels is not None:
        words += ["--levels", str(options.levels)]
    return shlex.join(words)
