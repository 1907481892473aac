"""How long the staircase of Poole et al. 2019 takes: one seed, ten side by side, and torch-mist.

    python benchmarks/bench_mi_staircase.py --peer-python PATH

The staircase: x and y in 20 dimensions, batches of 64 fresh pairs, five stairs of 2 to 10 nats
with 4,000 steps each. The critic: separable, two hidden layers of 256 with ReLU, embedding in 32
dimensions; the bound: InfoNCE; the optimiser: Adam at 5e-4. All contestants draw from
`staircase_batches` and train in fresh processes, in turn; a short staircase warms each one up
before the clock starts, and imports do not count. Each runs on as many threads as are fastest for
it, and in all of them numbers too small for full precision count as zero and freed memory is kept.

torch-mist 0.2 is run by its `train_mi_estimator`, once through the whole staircase, on a DataLoader
that hands it one batch at a time (its own path for tensors collects each batch row by row). Timed
is the faster of two ways: without its log and without reading the bound anew on each batch. The
way of its README, with both, is timed on a short staircase.

Bars: one seed in at most half of torch-mist's time; ten seeds in at most 4 times one seed's.
``--quick`` climbs a short staircase once and writes nothing. Else the result goes to
benchmarks/results/mi_staircase.md.
"""

import argparse
import datetime
import importlib.metadata
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch

from sidle import progress, provenance, seeding, training
from sidle.mi.bounds import infonce_bound
from sidle.mi.critics import SeparableCritic
from sidle.mi.problems import Staircase
from sidle.mi.stacked import stack, staircase_batches

ROUNDS = 2
STEPS_PER_LEVEL, SHORT, WARM_UP = 4000, 100, 20
BATCH_SIZE, HIDDEN, EMBEDDING, LEARNING_RATE = 64, 256, 32, 5e-4
SEEDS = {"one": 1, "ten": 10}
TITLES = {"one": "sidle, one seed", "ten": "sidle, ten seeds", "peer": "torch-mist, one seed"}
BAR_PEER, BAR_TEN = 0.5, 4.0
LOG_EVERY = 10  # as in the study
HOW_TO_GET_PEER = """torch-mist is not here. It asks for older packages than sidle; put it apart:
    python -m venv peer
    peer/bin/pip install --no-deps torch-mist pandas pyro-ppl pyro-api opt-einsum tqdm \\
        python-dateutil pytz six
    python benchmarks/bench_mi_staircase.py --peer-python peer/bin/python
(torch and all else are taken from the environment of this script.)"""


def settle(threads):
    """Set what a process that trains on the CPU sets first; the same for all contestants."""
    # Before any work: threads made later take the setting over, earlier ones would not.
    torch.set_flush_denormal(True)
    torch.set_num_threads(threads)
    # glibc gives freed memory back, and fetches it anew at each step, beyond twice the size of the
    # largest block it saw freed (up to 32 MiB): here is one.
    torch.empty(2**25 - 2**16, dtype=torch.uint8)


def train_ours(steps_per_level, n_seeds):
    """Return seconds and nats by step (one row a seed) of seeds side by side."""
    staircase = Staircase(steps_per_level=steps_per_level)
    critics = []
    for seed in range(n_seeds):
        with seeding.scope(seed):
            critics.append(
                SeparableCritic(staircase.dim, staircase.dim, hidden=HIDDEN, embedding=EMBEDDING)
            )
    critic = stack(critics)
    optimizer = torch.optim.Adam(critic.parameters(), lr=LEARNING_RATE, fused=True)

    def step(pair):
        optimizer.zero_grad()
        nats_S = infonce_bound(critic(*pair))
        loss = -nats_S.sum()
        loss.backward()
        optimizer.step()
        return {"loss": loss} | {f"nats-{seed}": nats for seed, nats in enumerate(nats_S.detach())}

    batches = staircase_batches(staircase, BATCH_SIZE, range(n_seeds))
    began = time.perf_counter()
    records = training.fit(
        step,
        batches,
        staircase.n_steps,
        state={"critic": critic, "optimizer": optimizer},
        log_every=LOG_EVERY,
    )
    seconds = time.perf_counter() - began
    return seconds, [[r[f"nats-{seed}"] for r in records] for seed in range(n_seeds)]


def train_peer(steps_per_level, *, log):
    """Return seconds and nats by step (one row) of torch-mist."""
    from torch.utils.data import DataLoader, Dataset
    from torch_mist.estimators import infonce
    from torch_mist.utils.train import train_mi_estimator

    staircase = Staircase(steps_per_level=steps_per_level)
    batches = staircase_batches(staircase, BATCH_SIZE, (0,))

    class Batches(Dataset):
        def __len__(self):
            return staircase.n_steps

        def __getitem__(self, step):
            if step >= len(self):
                raise IndexError
            x_SBD, y_SBD = batches(step)
            return {"x": x_SBD[0], "y": y_SBD[0]}

    losses = []

    def keep(input, output):
        losses.append(output.detach())

    with seeding.scope(0):
        estimator = infonce(
            x_dim=staircase.dim,
            y_dim=staircase.dim,
            hidden_dims=[HIDDEN, HIDDEN],
            k_dim=EMBEDDING,
        )
    quiet = {"logger": False, "fast_train": True, "train_logged_methods": [("loss", keep)]}
    began = time.perf_counter()
    train_mi_estimator(
        estimator=estimator,
        train_data=DataLoader(Batches(), batch_size=None),
        valid_percentage=0,
        max_iterations=staircase.n_steps,
        optimizer_params={"lr": LEARNING_RATE},
        verbose=False,
        **({} if log else quiet),
    )
    seconds = time.perf_counter() - began
    return seconds, [[-loss.item() for loss in losses]] if losses else []


def climb(contestant, threads, steps_per_level):
    """Print seconds, share of the cores, and nats at the end of each stair, one row a seed."""
    settle(threads)

    def train(steps):
        if contestant in SEEDS:
            return train_ours(steps, SEEDS[contestant])
        return train_peer(steps, log=contestant == "peer with its log")

    train(WARM_UP)
    cpu = time.process_time()
    seconds, nats_ST = train(steps_per_level)
    cores = (time.process_time() - cpu) / seconds
    stairs = len(Staircase().levels)
    at_end = []
    for nats_T in nats_ST:
        n = len(nats_T) // stairs  # the last tenth of each stair
        parts = [nats_T[(i + 1) * n - max(1, n // 10) : (i + 1) * n] for i in range(stairs)]
        at_end.append([statistics.mean(part) for part in parts])
    print(json.dumps({"seconds": seconds, "cores": cores, "nats": at_end}))


def measure_limits(contestant, threads):
    """Print the rate of a large matrix product, in flop/s, and of a copy of Adam's size."""
    settle(threads)
    moved = work_of_a_step(SEEDS[contestant])[1]
    a, b, block = torch.randn(1024, 1024), torch.randn(1024, 1024), torch.randn(moved // 8)
    target, times = torch.empty_like(block), {"product": [], "copy": []}
    for _ in range(100):
        began = time.perf_counter()
        a @ b
        times["product"].append(time.perf_counter() - began)
        began = time.perf_counter()
        target.copy_(block)
        times["copy"].append(time.perf_counter() - began)
    product, copy = (statistics.median(values) for values in times.values())
    print(json.dumps({"flops": 2 * 1024**3 / product, "bytes": moved / copy}))


def child(python, *arguments):
    """Run this script with ``arguments`` in a fresh process and return what it prints."""
    # The interpreter of torch-mist uses the very same torch and sidle.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [python, "-W", "ignore", __file__, "--child", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def work_of_a_step(n_seeds):
    """Return flops, and the bytes that Adam moves."""
    dim = Staircase().dim
    below_first = HIDDEN * HIDDEN + HIDDEN * EMBEDDING
    weights = dim * HIDDEN + below_first
    # Forward, gradient of the weights, and, but for the first layer, of the inputs; two towers.
    products = 2 * BATCH_SIZE * 2 * (2 * weights + below_first)
    scores = 3 * 2 * BATCH_SIZE**2 * EMBEDDING
    parameters = 2 * (weights + 2 * HIDDEN + EMBEDDING)
    # Parameter, gradient and two moments are read; all but the gradient are written.
    return n_seeds * (products + scores), n_seeds * parameters * 4 * 7


def versions_of_peer(python):
    code = (
        "import json, importlib.metadata as m, torch_mist;"
        "print(json.dumps({n: m.version(n) for n in ('torch-mist', 'pandas')}))"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [python, "-W", "ignore", "-c", code], capture_output=True, text=True, env=environment
    )
    if done.returncode:
        sys.exit(f"{HOW_TO_GET_PEER}\n\n{python} says: {done.stderr.strip()}")
    return json.loads(done.stdout.splitlines()[-1])


def main(peer_python, *, quick):
    peer_versions = versions_of_peer(peer_python)
    steps, short = (40, 20) if quick else (STEPS_PER_LEVEL, SHORT)
    rounds = 1 if quick else ROUNDS
    pythons = {"one": sys.executable, "ten": sys.executable, "peer": peer_python}
    load = os.getloadavg()[0]
    possible = sorted({1, provenance.usable_cores()})
    trials = {
        name: {n: child(python, name, n, short)["seconds"] for n in possible}
        for name, python in pythons.items()
    }
    threads = {name: min(found, key=found.get) for name, found in trials.items()}
    runs = {name: [] for name in pythons}
    with progress.bar("staircases", rounds * len(pythons)) as bar:
        for _ in range(rounds):
            for name, python in pythons.items():
                runs[name].append(child(python, name, threads[name], steps))
                bar.advance(note=TITLES[name])
    logged = child(peer_python, "peer with its log", threads["peer"], short)["seconds"]
    limits = {name: child(sys.executable, "limits", threads[name], name) for name in SEEDS}
    text = report(runs, threads, trials, logged, limits, steps, short, peer_versions, load)
    if not quick:
        path = Path(__file__).parent / "results" / "mi_staircase.md"
        path.write_text(text, encoding="utf-8")
    print(text)


def report(runs, threads, trials, logged, limits, steps, short, peer_versions, load):
    machine = provenance.machine()
    packages = {name: importlib.metadata.version(name) for name in ("torch", "numpy")}
    versions = ", ".join(f"{n} {version}" for n, version in (packages | peer_versions).items())
    staircase = Staircase(steps_per_level=steps)
    middle = {name: statistics.median(r["seconds"] for r in found) for name, found in runs.items()}
    lines = [
        "# The staircase of Poole et al. 2019",
        "",
        "`python benchmarks/bench_mi_staircase.py --peer-python PATH`, "
        f"{datetime.date.today()}, {machine['processor']}, {machine['cores']} cores, Python "
        f"{machine['python']}, {versions}; {len(runs['one'])} rounds in turn, fresh processes, "
        f"load average {load:.1f} at the start.",
        "",
        f"InfoNCE, separable critic (2 x {HIDDEN}, embedding {EMBEDDING}), "
        f"{staircase.dim} dimensions, batches of {BATCH_SIZE}, {len(staircase.levels)} stairs of "
        f"{steps:,} steps, Adam {LEARNING_RATE:g}.",
        "",
        "| training | threads | median | each run | a step | cores used |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, found in runs.items():
        each = ", ".join(f"{run['seconds']:.1f}" for run in found)
        cores = statistics.median(run["cores"] for run in found)
        lines.append(
            f"| {TITLES[name]} | {threads[name]} | {middle[name]:.1f} s | {each} | "
            f"{middle[name] / staircase.n_steps * 1e3:.2f} ms | {cores:.2f} |"
        )
    one, ten, peer = middle["one"], middle["ten"], middle["peer"]
    per_step = logged / (short * len(staircase.levels))
    lines += [
        "",
        f"- **One seed** takes {one / peer:.2f} of torch-mist's time ({peer / one:.1f} times as "
        f"fast). Bar: at most {BAR_PEER}; {'met' if one <= BAR_PEER * peer else 'missed'}. "
        f"torch-mist as its README has it, with log and with the bound read on each batch, takes "
        f"{per_step * 1e3:.2f} ms a step.",
        f"- **Ten seeds** take {ten / one:.2f} times one seed's time. Bar: at most {BAR_TEN:g}; "
        f"{'met' if ten <= BAR_TEN * one else 'missed'}.",
        *(limit(name, middle[name], threads[name], limits[name], staircase) for name in SEEDS),
        "- **Threads**, seconds of a short staircase: "
        + "; ".join(
            f"{TITLES[name]} " + ", ".join(f"{n}: {found[n]:.2f}" for n in found)
            for name, found in trials.items()
        )
        + ". With more threads than idle cores all of them are far slower.",
        "",
        "What was learned, in nats: InfoNCE on the fresh batches of the last tenth of each stair "
        "(standard deviation over seeds).",
        "",
        "| information | " + " | ".join(f"{nats:g}" for nats in staircase.levels) + " |",
        "| --- | " + " | ".join("---" for _ in staircase.levels) + " |",
    ]
    for name, found in runs.items():
        by_stair = list(zip(*found[0]["nats"], strict=True))
        cells = [
            f"{statistics.mean(nats):.2f}"
            + (f" ({statistics.stdev(nats):.2f})" if len(nats) > 1 else "")
            for nats in by_stair
        ]
        lines.append(f"| {TITLES[name]} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def limit(name, seconds, threads, rates, staircase):
    """Say how far a step is from what products and memory allow."""
    flops, size = work_of_a_step(SEEDS[name])
    products, memory = flops / rates["flops"], size / rates["bytes"]
    share = (products + memory) / (seconds / staircase.n_steps)
    return (
        f"- **Bound**, {TITLES[name]}: {flops / 1e6:.0f} Mflop a step at "
        f"{rates['flops'] / 1e9:.0f} Gflop/s (a product of 1024 x 1024, threads: {threads}) are "
        f"{products * 1e3:.2f} ms, and Adam's {size / 1e6:.1f} MB at {rates['bytes'] / 1e9:.0f} "
        f"GB/s (a copy of as much) {memory * 1e3:.2f} ms: {share:.0%} of the time of a step."
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer-python", default=sys.executable, help="Python with torch-mist")
    parser.add_argument("--quick", action="store_true", help="short, once, nothing written")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child is None:
        main(options.peer_python, quick=options.quick)
    elif options.child[0] == "limits":
        measure_limits(options.child[2], int(options.child[1]))
    else:
        climb(options.child[0], int(options.child[1]), int(options.child[2]))
