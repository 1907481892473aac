"""The engine against traces and statistics of the reference engine of VGDL.

One test for each case in the folder vgdl_conformance of SIDLE_DATA: a trace must match in every
tick, with positions, orientations, resources, health, score and winner; a statistic must be a
sample of the same distribution. The README beside the cases describes their format.
"""

import collections
import json
import os
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from sidle.ppcg.engine import Engine
from sidle.ppcg.layout import WINNERS
from sidle.ppcg.vgdl import compile_game
from sidle.ppcg.vocabulary import ACTIONS

DATA = [Path(part) for part in os.environ.get("SIDLE_DATA", "").split(os.pathsep) if part]
FOLDER = next((p for p in (f / "vgdl_conformance" / "cases" for f in DATA) if p.is_dir()), None)
PATHS = sorted(FOLDER.glob("*.json")) if FOLDER is not None else []
KINDS = {path: json.loads(path.read_text(encoding="utf-8"))["kind"] for path in PATHS}
TRACES = [path for path in PATHS if KINDS[path] == "trace"]
STATISTICS = [path for path in PATHS if KINDS[path] == "statistics"]

needs_data = pytest.mark.skipif(
    not PATHS, reason="needs vgdl_conformance in a folder of SIDLE_DATA"
)

# Twice the reference's usual number of runs: more would add little power, since a two-sample
# test is limited by the smaller sample.
RUNS = 4000
# Probability that a faithful engine fails a case; shared among the comparisons of the case.
LEVEL = 1e-4


def prepare(case, n):
    game = compile_game(case["rules"], name=case["name"])
    level = game.level(case["level"])
    engine = Engine(game, n, height=level.height, width=level.width, seed=0, autoreset="disabled")
    engine.reset(level)
    # An action that the avatars of this game lack counts as NIL.
    actions = [ACTIONS.index(name) for name in case["actions"]]
    return engine, [action if action < len(game.actions) else 0 for action in actions]


def ordered(state):
    """The state with its sprites in one order, whichever of equal ones was listed first."""
    return {**state, "sprites": sorted(state["sprites"], key=json.dumps)}


@needs_data
@pytest.mark.parametrize("path", TRACES, ids=lambda path: path.stem)
def test_trace_matches_in_every_tick(path):
    case = json.loads(path.read_text(encoding="utf-8"))
    engine, actions = prepare(case, 1)
    assert ordered(engine.state(0)) == ordered(case["initial"])
    for action, expected in zip(actions, case["trace"], strict=False):
        engine.step([action])
        assert ordered(engine.state(0)) == ordered(expected), f"in tick {expected['tick']}"
    assert len(case["trace"]) == len(actions) or case["trace"][-1]["over"]
    assert engine.dones[0] == case["trace"][-1]["over"]


@needs_data
@pytest.mark.parametrize("path", STATISTICS, ids=lambda path: path.stem)
def test_statistics_are_of_the_same_distribution(path):
    case = json.loads(path.read_text(encoding="utf-8"))
    engine, actions = prepare(case, RUNS)
    pairs = []  # (what, counts of the reference, counts of ours)
    for tick, action in enumerate(actions):
        engine.step(np.full(RUNS, action))
        expected = case["statistics"].get(str(tick))
        if expected is not None:
            pairs += [(f"{what} in tick {tick}", *both) for what, both in compare(engine, expected)]
    lengths = collections.Counter(str(tick + 1) for tick in engine.ticks)
    pairs.append(("episode length", case["episode_length"], lengths))
    found = {what: probability(reference, ours) for what, reference, ours in pairs}
    worst = min(found, key=found.get)
    assert found[worst] > LEVEL / len(found), f"{worst}: p = {found[worst]:.1e}"


def compare(engine, expected):
    """Yield (what, (counts of the reference, ours)) for all distributions of one tick."""
    for key, reference in expected.items():
        if key == "score":
            yield key, (reference, collections.Counter(str(score) for score in engine.scores))
        elif key == "winner":
            winners = [engine.state(slot)["winner"] for slot in range(engine.n)]
            yield key, (reference, collections.Counter(winners))
        else:
            slots, x, y = engine.sprites(key).T.tolist()
            counts = np.bincount(np.array(slots, int), minlength=engine.n)
            ours = collections.Counter(str(count) for count in counts)
            yield f"number of {key}", (reference["count"], ours)
            places = collections.Counter(f"{a},{b}" for a, b in zip(x, y, strict=True))
            yield f"place of {key}", (reference["position"], places)


def probability(reference, ours):
    """p-value of the hypothesis that two samples of a category are of one distribution.

    Categories in which fewer than five are expected are thrown together, as the chi-square
    approximation asks.
    """
    names = sorted({*reference, *ours})
    table = np.array(
        [[float(sample.get(name, 0)) for name in names] for sample in (reference, ours)]
    )
    if not table.sum(axis=1).all():
        # Nothing to compare on one side: the counts of sprites tell whether that is right.
        return 1.0
    expected = table.sum(axis=0) * table.sum(axis=1, keepdims=True) / table.sum()
    rare = expected.min(axis=0) < 5
    table = np.column_stack([table[:, ~rare], table[:, rare].sum(axis=1)])
    table = table[:, table.sum(axis=0) > 0]
    if table.shape[1] < 2:
        return 1.0
    return float(scipy.stats.chi2_contingency(table, correction=False).pvalue)


def test_a_different_distribution_is_noticed():
    # 57.5 against 50 per cent in samples of this size: more than five standard errors apart.
    assert probability({"a": 1000, "b": 1000}, {"a": 2300, "b": 1700}) < LEVEL
    assert probability({"a": 1000, "b": 1000}, {"a": 2030, "b": 1970}) > LEVEL
    assert set(WINNERS) == {"NO_WINNER", "PLAYER_WINS", "PLAYER_LOSES"}
