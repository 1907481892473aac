"""Finds the command, runs it, and turns how it ends into an exit code.

Only the chosen command's module is imported, so that ``sidle --help`` answers at once.
Exit codes: 0 done; 1 failed or interrupted; 2 the command line was not understood.
"""

from __future__ import annotations

import difflib
import importlib
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sidle.errors import SidleError, UsageError


@dataclass(frozen=True)
class Command:
    """A command: the function ``function(arguments) -> exit code`` in ``module``."""

    module: str
    function: str
    summary: str


COMMANDS = {
    "run": Command("sidle.cli.run", "run", "run a study, or all of them"),
    "list": Command("sidle.cli.runs", "list_runs", "list studies and runs"),
    "show": Command("sidle.cli.runs", "show", "show one run: settings, progress, result"),
    "runs clean": Command("sidle.cli.runs", "clean", "delete runs that can no longer be used"),
    "report": Command("sidle.cli.report", "report", "write the report page"),
    "claims": Command("sidle.cli.report", "claims", "print every claim with its verdict"),
    "mi estimate": Command("sidle.cli.mi", "estimate", "mutual information of two files"),
    "xc train": Command("sidle.cli.xc", "train", "train a classifier with very many labels"),
    "xc predict": Command("sidle.cli.xc", "predict", "write the best labels of each row"),
    "xc evaluate": Command("sidle.cli.xc", "evaluate", "P@k, nDCG@k and PSP@k of a classifier"),
    "xc info": Command("sidle.cli.xc", "info", "what a classifier was trained on, and how"),
    "cpc train": Command("sidle.cli.cpc", "train", "learn to represent sound, images or text"),
    "cpc embed": Command("sidle.cli.cpc", "embed", "write embeddings of sound, images or text"),
    "barrier": Command(
        "sidle.cli.barrier", "barrier", "are two checkpoints linearly connected on given data"
    ),
    "prune": Command("sidle.cli.prune", "prune", "prune the weights of a checkpoint"),
    "evaluate": Command(
        "sidle.cli.evaluate",
        "evaluate",
        "calibration, attacks, outliers and corruptions of a model",
    ),
    "play": Command("sidle.cli.play", "play", "play a game in the browser, or watch an agent"),
    "train": Command("sidle.cli.train", "train", "train an agent on a game"),
    "levels check": Command("sidle.cli.levels", "check", "check a game of your own"),
    "levels draw": Command("sidle.cli.levels_draw", "draw", "draw sheets of levels"),
    "data list": Command("sidle.cli.data", "list_data", "list known data sets"),
    "data where": Command("sidle.cli.data", "where", "print where a data set was found"),
    "data fetch": Command("sidle.cli.data", "fetch", "download a data set, checksum verified"),
    "data pack": Command("sidle.cli.data", "pack", "pack a folder of data into one .npz file"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command in ``arguments`` (default: the process's own) and return the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    try:
        return _dispatch(words)
    except UsageError as error:
        return _fail(error, debug, code=2)
    except SidleError as error:
        return _fail(error, debug, code=1)
    except KeyboardInterrupt:
        hint = ""
        if words[0] == "run":
            hint = f" What was checkpointed is kept. To go on: {shlex.join(['sidle', *words])}"
        print(f"\nInterrupted.{hint}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # The reader of our output left (`sidle list | head`): nobody is there to tell.
        sys.stderr.close()
        return 1
    except Exception as error:
        if debug:
            raise
        message = f"unexpected {type(error).__name__}: {error}"
        print(f"sidle: {message}\nRun again with --debug for the traceback.", file=sys.stderr)
        return 1


def usage(group: str = "") -> str:
    """Return the list of commands, of one group or all."""
    rows = [(name, command.summary) for name, command in COMMANDS.items()]
    rows = [(name, summary) for name, summary in rows if name.split()[0] == group or not group]
    width = max(len(name) for name, _ in rows) + 2
    lines = [f"  sidle {name:<{width}}{summary}" for name, summary in rows]
    head = ["sidle: learn what can be told apart, scale it, and check what was learned.", ""]
    tail = [
        "",
        "Every command takes --help (with an example), --json and --debug.",
        "Example: sidle run mutual-information --preset quick",
    ]
    return "\n".join([*([] if group else head), *lines, *([] if group else tail)])


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("--help", "-h"):
        print(usage())
        return 0 if words else 2
    if words[0] == "--version":
        from sidle import __version__

        print(f"sidle {__version__}")
        return 0
    for n_words in (2, 1):
        command = COMMANDS.get(" ".join(words[:n_words]))
        if command is not None:
            module = importlib.import_module(command.module)
            function: Callable[[list[str]], int] = getattr(module, command.function)
            return function(words[n_words:])
    groups = {name.split()[0] for name in COMMANDS if " " in name}
    if words[0] in groups and (len(words) == 1 or words[1] in ("--help", "-h")):
        print(usage(words[0]))
        return 0 if len(words) > 1 else 2
    asked = " ".join(words[:2]) if words[0] in groups else words[0]
    near = difflib.get_close_matches(asked, COMMANDS, n=1)
    hint = f" Did you mean 'sidle {near[0]}'?" if near else ""
    raise UsageError(f"There is no command 'sidle {asked}'.{hint} `sidle --help` lists them.")


def _fail(error: SidleError, debug: bool, *, code: int) -> int:
    if debug:
        raise error
    print(f"sidle: {error}", file=sys.stderr)
    return code


def entry_point() -> None:
    """Run as the installed program `sidle`."""
    sys.exit(main())
