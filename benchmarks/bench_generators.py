"""What level generators make: how fast, what is in the levels, and can they be won.

    PYTHONPATH=tests python benchmarks/bench_generators.py

1. Levels a second on one core, 5,000 at a time.
2. How long it takes to load a level from the bank into the engine, 64 at a time; how often levels
   are played, and which share of the time goes into new ones, while 64 levels are played at
   random, actions drawn before the clock.
3. Mean counts over 2,000 levels at eleven difficulties, beside those published for 0, 0.5 and 1.
4. For how many levels `sidle.ppcg.search` finds a way to win: 100 of Frogs at each of eleven
   difficulties, 20 of the paper's other games at three, 10 of each further game at 0.5. A way found
   is proof; none found proves nothing, unless the search was complete.

Writes benchmarks/results/generators.md and, for the figure of docs/ppcg.md, generators.json.
"""

import datetime
import statistics
import time
from pathlib import Path

import numpy as np

from programs.solve_games import HINTS
from sidle import provenance, storage
from sidle.ppcg import curriculum, games, generators, playable, search, vgdl
from sidle.ppcg.bank import LevelBank
from sidle.ppcg.engine import Engine
from sidle.ppcg.simulation import Simulation

RESULTS = Path(__file__).parent / "results"
ROUNDS, AT_ONCE, N_COUNTED = 15, 5000, 2000
N_SLOTS, N_STEPS = 64, 3000
N_FROGS, N_OTHERS, N_GENERAL = 100, 20, 10
WIDEST = 500  # states kept a tick
DIFFICULTIES = [round(0.1 * step, 1) for step in range(11)]
ENDS = (0.0, 0.5, 1.0)
# What is counted: game, name, characters, means as published at 0, 0.5 and 1.
COUNTED = [
    ("zelda", "monsters", "123", (0.145, 1.3, 2.4)),
    ("zelda", "walls", "w", (45, 45, 56)),
    ("solarfox", "gems", "bp", (6, 19, 34)),
    ("frogs", "water", "~=s", (0, 20, 49)),
    ("frogs", "logs", "=", (0, 7, 15)),
    ("frogs", "trucks", "lLrR", (0, 5, 9.5)),
    ("boulderdash", "boulders", "o", (0, 8.3, 17)),
    ("boulderdash", "enemies", "cb", (0, 3.5, 11.4)),
    ("boulderdash", "gems", "x", (14.5, 14.8, 12.4)),
]


def many(name, difficulty, n):
    return generators.find(name).generate_many([difficulty] * n, np.arange(n))


def rate(name, difficulty):
    """Return levels a second, median of the rounds."""
    difficulties, seeds = np.full(AT_ONCE, difficulty), np.arange(AT_ONCE, dtype=np.uint64)
    generator = generators.find(name)
    grids = np.empty((AT_ONCE, *generator.shape), np.uint8)
    generator.fill(difficulties, seeds, grids)
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        generator.fill(difficulties, seeds, grids)
        times.append(time.perf_counter() - began)
    return AT_ONCE / statistics.median(times)


def loading(name, difficulty):
    """Return microseconds to load a level from the bank, observation included: quartiles."""
    stage = playable.find(name)
    height, width = stage.shape
    bank = LevelBank(stage.game, height=height, width=width)
    bank.add(many(name, difficulty, 1000), difficulties=difficulty)
    engine = Engine(stage.game, N_SLOTS, height=height, width=width, seed=0, bank=bank)
    slots, times = np.arange(N_SLOTS), []
    engine.reset()
    for _ in range(1000):
        began = time.perf_counter()
        engine._run_resets(slots, by_hand=False)  # without the checks of the face
        times.append((time.perf_counter() - began) / N_SLOTS * 1e6)
    return np.percentile(times, (20, 50, 80))


def refilling(name, what):
    """Return steps a second, the share spent on new levels, levels a second, and their reuse."""
    simulation = Simulation(playable.find(name), N_SLOTS, curriculum=what, seed=0)
    n_actions = len(simulation.playable.game.actions)
    actions = np.random.default_rng(0).integers(0, n_actions, (2 * N_STEPS, N_SLOTS))
    simulation.reset()
    for step in range(N_STEPS):  # fills the bins
        simulation.step(actions[step])
    before, began = simulation.statistics, time.perf_counter()
    for step in range(N_STEPS, 2 * N_STEPS):
        simulation.step(actions[step])
    seconds, after = time.perf_counter() - began, simulation.statistics
    generated = after["generated"] - before["generated"]
    share = (after["seconds"] - before["seconds"]) / seconds
    return N_SLOTS * N_STEPS / seconds, share, generated / seconds, after["reuse"]


def counts():
    """Return the mean of each thing counted at each difficulty, with its standard error."""
    rows = []
    for name, what, characters, published in COUNTED:
        codes = np.frombuffer(characters.encode(), np.uint8)
        found = [np.isin(many(name, d, N_COUNTED), codes).sum(axis=(1, 2)) for d in DIFFICULTIES]
        rows.append(
            {
                "game": name,
                "what": what,
                "published": list(published),
                "means": [round(float(f.mean()), 3) for f in found],
                "errors": [round(float(f.std() / np.sqrt(N_COUNTED)), 3) for f in found],
            }
        )
    return rows


def won(name, difficulty, n):
    """Return for how many of n levels a way to win is found, and for how many none exists."""
    rules = vgdl.compile_game(games.load(name).rules, name=name)
    near, width, most_ticks = HINTS[name]
    found = refuted = 0
    for grid in many(name, difficulty, n):
        outcome = search.solve(
            rules, rules.level(grid), near=near, width=min(width, WIDEST), most_ticks=most_ticks
        )
        found += outcome.actions is not None
        refuted += outcome.actions is None and outcome.complete
    return {"game": name, "difficulty": difficulty, "n": n, "won": found, "refuted": refuted}


def main():
    speeds = {name: [rate(name, d) for d in ENDS] for name in generators.CONSTRUCTIVE}
    speeds["others (slowest)"] = [
        min(rate(name, d) for name in games.names() if name not in speeds) for d in ENDS
    ]
    loads = {name: [loading(name, d) for d in ENDS] for name in generators.CONSTRUCTIVE}
    refills = [
        (name, words, *refilling(name, make()))
        for name in generators.CONSTRUCTIVE
        for words, make in (
            ("0.5", lambda: curriculum.Fixed(0.5)),
            ("uniform", lambda: curriculum.Uniform()),
        )
    ]
    counted = counts()
    frogs = [won("frogs", d, N_FROGS) for d in DIFFICULTIES]
    others = [won(n, d, N_OTHERS) for n in ("zelda", "solarfox", "boulderdash") for d in ENDS]
    others += [won(name, 0.5, N_GENERAL) for name in games.names()[4:]]
    storage.write_json(RESULTS / "generators.json", {
        "difficulties": DIFFICULTIES, "n": N_COUNTED, "counted": counted, "won": frogs + others,
    })  # fmt: skip
    machine = provenance.machine()
    lines = [
        "# Level generators",
        "",
        f"`PYTHONPATH=tests python benchmarks/bench_generators.py`, {datetime.date.today()}, "
        f"{machine['processor']}, {machine['cores']} cores, Python {machine['python']}.",
        "",
        f"Levels a second on one core, median of {ROUNDS} rounds of {AT_ONCE}:",
        "",
        "| game | d = 0 | 0.5 | 1 |",
        "| --- | --- | --- | --- |",
    ]
    lines += [f"| {n} | " + " | ".join(f"{v:,.0f}" for v in row) + " |"
              for n, row in speeds.items()]  # fmt: skip
    lines += [
        "",
        f"Microseconds to load a level from the bank, {N_SLOTS} at a time, observation included: "
        "median (20th to 80th percentile):",
        "",
        "| game | d = 0 | 0.5 | 1 |",
        "| --- | --- | --- | --- |",
    ]
    lines += [
        f"| {n} | "
        + " | ".join(f"{m:.2f} ({low:.2f} to {high:.2f})" for low, m, high in row)
        + " |"
        for n, row in loads.items()
    ]
    lines += [
        "",
        f"Random play of {N_SLOTS} levels, {N_STEPS:,} steps each after as many to fill the bank, "
        "levels renewed outside of the step:",
        "",
        "| game | difficulty | steps/s | new levels/s | share of the time | episodes a level |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {name} | {words} | {steps:,.0f} | {levels:,.0f} | {share:.1%} | {reuse:.2f} |"
        for name, words, steps, share, levels, reuse in refills
    ]
    lines += [
        "",
        f"Mean counts over {N_COUNTED} levels, ± standard error, and as published:",
        "",
        "| game | what | d = 0 | published | 0.5 | published | 1 | published |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in counted:
        cells = []
        for end, published in zip(ENDS, row["published"], strict=True):
            at = DIFFICULTIES.index(end)
            cells.append(f"{row['means'][at]:.2f} ± {row['errors'][at]:.2f} | {published}")
        lines.append(f"| {row['game']} | {row['what']} | " + " | ".join(cells) + " |")
    lines += [
        "",
        f"Levels for which a way to win was found ({WIDEST} states kept a tick); refuted: none "
        "exists within the ticks looked at, under that seed:",
        "",
        "| game | difficulty | levels | won | refuted |",
        "| --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {r['game']} | {r['difficulty']} | {r['n']} | {r['won']} | {r['refuted']} |"
        for r in frogs + others
    ]
    text = "\n".join(lines) + "\n"
    (RESULTS / "generators.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
