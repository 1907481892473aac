"""Steps per second of the game engine, beside other environments.

    python benchmarks/bench_engine.py --peer-python PATH

One core, 64 levels in a batch, actions drawn at random before the clock starts, observations
written, finished episodes replaced by generated levels of all difficulties inside the clock:

- *engine*: `Engine.step`, levels from a bank of 2,000;
- *environments*: `VectorEnvironment.step` with all that Gymnasium returns, copies of observations
  included, its bank refilled as it plays;
- *one level*: `gymnasium.make(...).unwrapped`, with its resets.

Peers, each in the interpreter at PATH (another environment, outside of this repository):

    python -m venv peers && peers/bin/pip install minigrid crafter "jax[cpu]" xminigrid

- *MiniGrid*: DoorKey-8x8 and FourRooms; *Crafter*: its world of 64 x 64; one level each, as they
  are;
- *XLand-MiniGrid*: MiniGrid-DoorKey-8x8 on JAX, 64 levels under `vmap`, 512 steps in one `scan`,
  compiled before the clock.

All take turns in rounds; figures are medians over rounds. A peer that is not installed is said to
be absent. Bars: engine, Zelda, Solarfox and Frogs at least 1,000,000 steps a second, Boulderdash
300,000; one level 50,000. ``--quick`` plays short rounds and writes nothing. Else the result goes
to benchmarks/results/engine.md.
"""

import argparse
import datetime
import json
import os
import statistics
import subprocess
import time
from pathlib import Path

import gymnasium
import numpy as np

import sidle.ppcg
from sidle import progress, provenance, storage
from sidle.ppcg import games, playable
from sidle.ppcg.bank import LevelBank
from sidle.ppcg.engine import Engine
from sidle.ppcg.vector_environment import VectorEnvironment

N_LEVELS, N_BANK, ROUNDS = 64, 2000, 5
STEPS, SINGLE_STEPS, PEER_STEPS = 2000, 20_000, 4000
BARS = {"zelda": 1_000_000, "solarfox": 1_000_000, "frogs": 1_000_000, "boulderdash": 300_000}
SINGLE_BAR = 50_000
PEERS = {
    "minigrid doorkey": "MiniGrid, DoorKey-8x8, one level",
    "minigrid fourrooms": "MiniGrid, FourRooms, one level",
    "crafter": "Crafter, one level",
    "xland": "XLand-MiniGrid on JAX, DoorKey-8x8, 64 levels",
}

# Run by the peers' interpreter: prints {name: steps a second or why not}.
PEER_PROGRAM = """
import json, sys, time
import numpy as np

name, steps = sys.argv[1], int(sys.argv[2])

def single(env, reset):
    actions = np.random.default_rng(0).integers(0, env.action_space.n, 2 * steps).tolist()
    reset()
    for clock in (False, True):
        began = time.perf_counter()
        for action in actions[clock * steps:][:steps]:
            if any(env.step(action)[2:-1]):
                reset()
    return steps / (time.perf_counter() - began)

def minigrid(which):
    import gymnasium, minigrid
    env = gymnasium.make(which).unwrapped
    return single(env, env.reset)

def crafter():
    import crafter
    env = crafter.Env()
    return single(env, env.reset)

def xland():
    import jax, xminigrid
    from xminigrid.wrappers import GymAutoResetWrapper
    env, params = xminigrid.make("MiniGrid-DoorKey-8x8")
    env = GymAutoResetWrapper(env)
    n, length = 64, 512
    actions = jax.random.randint(jax.random.key(1), (length, n), 0, env.num_actions(params))
    step = jax.vmap(env.step, in_axes=(None, 0, 0))
    def play(state):
        def one(state, action):
            state = step(params, state, action)
            return state, (state.observation.sum(), state.reward.sum())
        return jax.lax.scan(one, state, actions)
    play = jax.jit(play)
    state = jax.vmap(env.reset, in_axes=(None, 0))(params, jax.random.split(jax.random.key(0), n))
    state, out = jax.block_until_ready(play(state))
    repeats = max(1, 50 * steps // (n * length))
    began = time.perf_counter()
    for _ in range(repeats):
        state, out = play(state)
    jax.block_until_ready((state, out))
    return repeats * n * length / (time.perf_counter() - began)

found = {
    "minigrid doorkey": lambda: minigrid("MiniGrid-DoorKey-8x8-v0"),
    "minigrid fourrooms": lambda: minigrid("MiniGrid-FourRooms-v0"),
    "crafter": crafter,
    "xland": xland,
}[name]
try:
    print(json.dumps(found()))
except ImportError as error:
    print(json.dumps(f"absent: {error}"))
"""


class Batch:
    """The engine itself."""

    def __init__(self, stage, steps):
        height, width = stage.shape
        bank = LevelBank(stage.game, height=height, width=width)
        spread = np.linspace(0, 1, N_BANK)
        bank.add(stage.generator.generate_many(spread, np.arange(N_BANK)), difficulties=spread)
        self.engine = Engine(stage.game, N_LEVELS, height=height, width=width, seed=0, bank=bank)
        self.actions = drawn(stage, (steps, N_LEVELS))
        self.engine.reset()

    def play(self):
        step = self.engine.step
        for row in self.actions:
            step(row)

    def length(self):
        """Return the mean length of the episodes that ended."""
        lengths = self.engine.episodes()["length"]
        return float(lengths.mean()) if len(lengths) else float("nan")


class Vector:
    """The vector environment."""

    def __init__(self, stage, steps):
        self.env = VectorEnvironment(stage, N_LEVELS)
        self.actions = drawn(stage, (steps, N_LEVELS))
        self.env.reset(seed=0)

    def play(self):
        step = self.env.step
        for row in self.actions:
            step(row)


class Single:
    """One level."""

    def __init__(self, stage, steps):
        name = stage.game.name
        self.env = gymnasium.make(f"sidle/{name.title()}-v0").unwrapped
        self.actions = drawn(stage, steps)
        self.env.reset(seed=0)

    def play(self):
        step, reset = self.env.step, self.env.reset
        for action in self.actions:
            _, _, terminated, truncated, _ = step(action)
            if terminated or truncated:
                reset()


def drawn(stage, shape):
    return np.random.default_rng(0).integers(0, len(stage.game.actions), shape)


def rate(contestant):
    began = time.perf_counter()
    contestant.play()
    return contestant.actions.size / (time.perf_counter() - began)


def copying():
    """Return how many bytes a second are copied between arrays as large as a batch's planes."""
    source, repeats = np.ones(2**17, np.uint8), 2000
    target = source.copy()
    began = time.perf_counter()
    for _ in range(repeats):
        np.copyto(target, source)
    return source.nbytes * repeats / (time.perf_counter() - began)


def peer_rate(python, name, steps):
    """Return steps a second of a peer, or why it is absent."""
    if python is None:
        return "absent: no --peer-python"
    one_core = {"XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"}
    done = subprocess.run(
        [python, "-c", PEER_PROGRAM, name, str(steps)],
        capture_output=True,
        text=True,
        env=os.environ | one_core,
    )
    if done.returncode:
        return f"absent: {done.stderr.strip().splitlines()[-1]}"
    return json.loads(done.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer-python", help="interpreter with minigrid, crafter, xminigrid")
    parser.add_argument("--quick", action="store_true", help="short rounds; nothing is written")
    options = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # one core, for the peers as well
    rounds, divisor = (1, 20) if options.quick else (ROUNDS, 1)
    names = games.names()
    stages = {name: playable.find(name) for name in names}
    kinds = {"engine": Batch, "environments": Vector, "one level": Single}
    n_steps = {"engine": STEPS, "environments": STEPS, "one level": SINGLE_STEPS}
    contestants = {
        (kind, name): made(stages[name], n_steps[kind] // divisor)
        for kind, made in kinds.items()
        for name in names
    }
    for contestant in contestants.values():  # compiles, and fills the banks
        contestant.play()
    rates = {key: [] for key in contestants}
    peers, copies = {name: [] for name in PEERS}, []
    with progress.bar("rounds", rounds) as bar:
        for _ in range(rounds):
            for key, contestant in contestants.items():
                rates[key].append(rate(contestant))
            for name in PEERS:
                peers[name].append(peer_rate(options.peer_python, name, PEER_STEPS // divisor))
            copies.append(copying())
            bar.advance()
    median = {key: statistics.median(values) for key, values in rates.items()}
    lengths = {name: contestants["engine", name].length() for name in names}
    planes = {name: contestants["engine", name].engine.planes[0].nbytes for name in names}
    text = report(median, lengths, planes, peers, statistics.median(copies), rounds)
    print(text)
    if not options.quick:
        path = Path(__file__).parent / "results" / "engine.md"
        with storage.replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")


def report(median, lengths, planes, peers, copied, rounds):
    machine = provenance.machine()
    lines = [
        "# The game engine: steps per second",
        "",
        f"`python benchmarks/bench_engine.py --peer-python PATH`, {datetime.date.today()}, "
        f"{machine['processor']}, one core, Python {machine['python']}, "
        f"load average {os.getloadavg()[0]:.1f} at the end; medians over {rounds} rounds.",
        "",
        f"Batches of {N_LEVELS} levels, random actions, resets included. Bytes are those of an "
        "observation; the share is what writing them alone would take of the engine's time, if it "
        f"went as fast as copying between arrays of that size, {copied / 1e9:.0f} GB/s here.",
        "",
        "| game | engine | environments | one level | bar | ticks an episode | bytes | share |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name in lengths:
        engine, vector, single = (
            median[kind, name] for kind in ("engine", "environments", "one level")
        )
        bar = BARS.get(name)
        said = "" if bar is None else f"{bar:,}: {engine / bar:.1f} times"
        lines.append(
            f"| {name} | {engine:,.0f} | {vector:,.0f} | {single:,.0f} | {said} "
            f"| {lengths[name]:.0f} | {planes[name]:,} | {planes[name] * engine / copied:.0%} |"
        )
    slowest = min(median["one level", name] for name in BARS)
    missed = [name for name, bar in BARS.items() if median["engine", name] < bar]
    lines += [
        "",
        f"- **Bars of the engine**: {'missed: ' + ', '.join(missed) if missed else 'met'}.",
        f"- **One level**: at least {slowest:,.0f} steps a second in the paper's four games. Bar: "
        f"{SINGLE_BAR:,}; {'met' if slowest >= SINGLE_BAR else 'missed'}.",
        "",
        "| peer, same core, same rounds | steps per second |",
        "| --- | --- |",
    ]
    for name, title in PEERS.items():
        found = peers[name]
        said = found[0] if isinstance(found[0], str) else f"{statistics.median(found):,.0f}"
        lines.append(f"| {title} | {said} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sidle.ppcg  # noqa: B018 (its import registers the environments)
    main()
