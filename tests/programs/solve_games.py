"""Find a way to win each hand-made level, and keep it where a test replays it.

    python tests/programs/solve_games.py [GAME ...]

Levels whose kept actions still win are left alone. Files: tests/ppcg/solutions/<game>.json, the
seed of the engine and one text a level, a letter a tick: N nothing, L R U D, X the game's own.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from sidle import storage
from sidle.ppcg import games, search, vgdl
from sidle.ppcg.engine import Engine

FOLDER = Path(__file__).parents[1] / "ppcg" / "solutions"
LETTERS = "NLRUDX"
SEED = 0
# What the avatar has to visit, states kept, and the longest way.
HINTS = {
    "zelda": (("key", "exit"), 1000, 200),
    "solarfox": (("gem",), 500, 300),
    "frogs": ((), 2000, 200),
    "boulderdash": (("gem",), 500, 500),
    "ducklings": (("duckling",), 1000, 300),
    "embers": (("potion", "exit"), 2000, 200),
    "graveyard": (("orb", "seed"), 1000, 300),
    "locksmith": (("key", "chest"), 3000, 300),
    "meteors": (("meteor",), 500, 300),
    "nestlings": (("egg",), 2000, 400),
    "nightwatch": (("apple",), 300, 300),
    "orchard": (("apple", "basket"), 1000, 300),
    "shunting": ((), 4000, 200),
    "skyguard": (("threat",), 800, 300),
    "storehouse": ((), 20_000, 100),
    "trapper": ((), 1000, 100),
    "wildfire": (("flame", "smoulder"), 5000, 200),
}


def wins(game, level, actions):
    """Return whether the actions win, and not before the last of them."""
    engine = Engine(
        game, 1, height=level.height, width=level.width, seed=SEED, autoreset="disabled"
    )
    engine.reset(level)
    for tick, letter in enumerate(actions, start=1):
        engine.step(np.array([LETTERS.index(letter)]))
        if engine.dones[0]:
            return bool(engine.wins[0]) and tick == len(actions)
    return False


def solve(name):
    """Write the file of a game; return the numbers of levels for which nothing was found."""
    built_in = games.load(name)
    game = vgdl.compile_game(built_in.rules, name=name)
    path = FOLDER / f"{name}.json"
    known = json.loads(path.read_text(encoding="utf-8"))["actions"] if path.exists() else []
    near, width, most_ticks = HINTS[name]
    made, failed = [], []
    for index in range(len(built_in.levels)):
        level = game.level(built_in.grid(index))
        actions = known[index] if index < len(known) else ""
        if not wins(game, level, actions):
            outcome = search.solve(
                game, level, seed=SEED, near=near, width=width, most_ticks=most_ticks
            )
            actions = "".join(LETTERS[action] for action in outcome.actions or ())
            if outcome.actions is None:
                failed.append(index)
        made.append(actions)
    storage.write_json(path, {"seed": SEED, "actions": made})
    return failed


if __name__ == "__main__":
    for name in sys.argv[1:] or games.names():
        failed = solve(name)
        print(f"{name}: {'all won' if not failed else f'nothing found for {failed}'}")
