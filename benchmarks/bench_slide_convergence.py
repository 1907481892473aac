"""P@1 at convergence, sampled beside dense training of the same network, on real sets.

    SIDLE_DATA=../shared/data python benchmarks/bench_slide_convergence.py xc_delicious xc_finna_yso

The network of `sidle.slide.ExtremeClassifier` alone (one thread), its output layer dense (all
outputs at every step) or sampled (labels and a pool of candidates: a tenth of the outputs). Both
get the same start, rows, orders and rates, and train for as many passes as it takes until the P@1
of a tenth of the training rows has not risen for three; the weights of the best pass are then
measured on the test file. The rate is chosen for each on the held-out rows of seed 100. Rows are
added to results/slide_convergence.json; results/slide_convergence.md is made from all.
"""

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch

from sidle import provenance, seeding
from sidle.data import extreme, sources
from sidle.evaluation.ranking import ranking_metrics
from sidle.evaluation.statistics import t_interval
from sidle.slide import weighting
from sidle.slide.network import BagNetwork, minibatches

RESULTS = Path(__file__).parent / "results" / "slide_convergence.json"
ENGINES, RATES = ("sampled", "dense"), (5e-4, 2e-3)
TUNING_SEED, SEEDS = 100, (0, 1, 2)
HIDDEN, DROPOUT, MOST_PASSES, PATIENCE = 128, 0.3, 30, 3
BAR = 0.01  # relative


def converged(data, tested, name, *, engine, rate, seed):
    """Train one network until it no longer gets better; return what came of it."""
    rows, labels = data
    order = seeding.numpy_generator(seeding.split(seed, "held_out")).permutation(rows.shape[0])
    n_held = min(6000, rows.shape[0] // 10)
    held, rest = np.sort(order[:n_held]), np.sort(order[n_held:])
    rest = rest[np.diff(labels.indptr)[rest] > 0]
    held_rows, held_labels = rows.take(held), labels[held]
    batch_size = 512 if len(rest) >= 50_000 else 128
    per_pass = math.ceil(len(rest) / batch_size)
    network = BagNetwork(
        rows.shape[1], labels.shape[1], hidden=HIDDEN, residual=False, dropout=DROPOUT,
        learning_rate=rate, candidates=labels.shape[1] // 10, seed=seed, threads=1, engine=engine,
    )  # fmt: skip
    network.start(rows, labels, rest)
    step = network.step(lambda i: min(1.0, (i + 1) / 50))
    batches = minibatches(rows, labels, rest, batch_size, seed)
    best, best_pass, kept, seconds = -1.0, -1, {}, 0.0
    for number in range(MOST_PASSES):
        started = time.perf_counter()
        for i in range(number * per_pass, (number + 1) * per_pass):
            step(batches(i))
        seconds += time.perf_counter() - started
        found = p_at_1(network, held_rows, held_labels)
        if found > best:
            best, best_pass = found, number
            kept = {key: value.clone() for key, value in network.state_dict().items()}
        if number - best_pass >= PATIENCE:
            break
    network.load_state_dict(kept)
    return {
        "set": name, "engine": engine, "rate": rate, "seed": seed, "held_out_p@1": best,
        "p@1": p_at_1(network, *tested), "passes": best_pass + 1, "seconds": round(seconds, 2),
    }  # fmt: skip


@torch.no_grad()
def p_at_1(network, rows, labels):
    """Return P@1 of the network's best labels, all outputs searched."""
    network.eval()
    return ranking_metrics(network.best(network.encode(rows), 1), labels, cutoffs=(1,))["p@1"]


def measure(name):
    """Choose the rate of both engines, then train both with every seed."""
    folder = sources.resolve(name)
    train, test = (extreme.read_xc(folder / f"{part}.txt.gz") for part in ("train", "test"))
    counts = weighting.are_counts(train.features)
    idf = weighting.inverse_frequency(train.features) if counts else None
    data = weighting.WeightedRows(train.features, idf), train.labels
    tested = weighting.weigh(test.features, idf), test.labels
    for engine in ENGINES:
        tried = [once(data, tested, name, engine, rate, TUNING_SEED) for rate in RATES]
        rate = max(tried, key=lambda row: row["held_out_p@1"])["rate"]
        for seed in SEEDS:
            once(data, tested, name, engine, rate, seed)


def once(data, tested, name, engine, rate, seed):
    """Return a row of the results, measured unless it is there already."""
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    wanted = {"set": name, "engine": engine, "rate": rate, "seed": seed}
    for row in known:
        if wanted.items() <= row.items():
            return row
    row = converged(data, tested, name, engine=engine, rate=rate, seed=seed)
    print(row, flush=True)
    RESULTS.write_text(json.dumps([*known, row], indent=1) + "\n")
    RESULTS.with_suffix(".md").write_text(page([*known, row]))
    return row


def page(found):
    """Return the results as a page."""
    lines = [
        "# P@1 at convergence, sampled beside dense", "", (__doc__ or "").strip(), "",
        f"Machine: {provenance.machine().get('processor', 'unknown')}, "
        f"{time.strftime('%Y-%m-%d')}; other work may have run beside, so that seconds say little. "
        "Means over seeds; the difference is paired, relative to dense, with its 95 % interval.",
        "",
        "| set | seeds | sampled P@1 | dense P@1 | difference | passes, sampled / dense | "
        "seconds, sampled / dense |", "| --- | --- | --- | --- | --- | --- | --- |",
    ]  # fmt: skip
    for name in sorted({row["set"] for row in found}):
        of = {
            engine: {row["seed"]: row for row in found
                     if (row["set"], row["engine"]) == (name, engine) and row["seed"] in SEEDS}
            for engine in ENGINES
        }  # fmt: skip
        seeds = sorted(of["sampled"].keys() & of["dense"].keys())
        if not seeds:
            continue
        values = {e: np.array([of[e][seed]["p@1"] for seed in seeds]) for e in ENGINES}
        relative = (values["sampled"] - values["dense"]) / values["dense"].mean()
        shown = f"{100 * relative.mean():+.2f} %"
        if len(seeds) > 1:
            around = t_interval(relative)
            shown += f" [{100 * around.low:+.2f}, {100 * around.high:+.2f}]"
            met = "met" if abs(relative.mean()) <= BAR or relative.mean() > 0 else "not met"
            shown += f" ({met}: within {100 * BAR:g} %)"
        means = {
            key: " / ".join(f"{np.mean([of[e][s][key] for s in seeds]):.0f}" for e in ENGINES)
            for key in ("passes", "seconds")
        }
        lines.append(
            f"| {name} | {len(seeds)} | {values['sampled'].mean():.4f} | "
            f"{values['dense'].mean():.4f} | {shown} | {means['passes']} | {means['seconds']} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("sets", nargs="+")
    torch.set_num_threads(1)
    for each in parser.parse_args().sets:
        measure(each)
