"""Adam's first beta for rows that are seldom touched: 0 or 0.9, on a validation split.

    SIDLE_DATA=../shared/data python benchmarks/bench_slide_betas.py xc_delicious xc_finna_yso

The network of `sidle.slide.ExtremeClassifier` alone (hidden 256, dropout 0.3, batch 128 or, from
50,000 rows on, 512; its schedule; 4,096 candidates above 8,192 labels), on nine tenths of the
training rows; P@1 of the last tenth after the last step. Both betas get the same rates, seeds, rows
and orders. Rows are added to results/slide_betas.json; results/slide_betas.md is made from all.
"""

import argparse
import json
import math
import time
from pathlib import Path

import filelock
import numpy as np
import torch

from sidle import provenance, seeding
from sidle.data import extreme, sources
from sidle.evaluation.ranking import ranking_metrics
from sidle.evaluation.statistics import t_interval
from sidle.slide import weighting
from sidle.slide.network import BagNetwork, minibatches, warm_up_then_fall

RESULTS = Path(__file__).parent / "results" / "slide_betas.json"
RATES, FIRST_BETAS, SEEDS = (2e-3, 5e-3), (0.0, 0.9), (0, 1, 2)


def train(rows, labels, numbers, held, *, beta, rate, seed):
    """Return held-out P@1 after the last step, and seconds of training."""
    batch_size = 512 if len(numbers) >= 50_000 else 128
    per_epoch = math.ceil(len(numbers) / batch_size)
    n_steps = per_epoch * max(3, math.ceil(1000 / per_epoch))
    network = BagNetwork(
        rows.shape[1], labels.shape[1], hidden=256, residual=False, dropout=0.3,
        learning_rate=rate, candidates=4096, seed=seed, threads=1, betas=(beta, 0.999),
    )  # fmt: skip
    network.start(rows, labels, numbers)
    step = network.step(warm_up_then_fall(n_steps, 50))
    batches = minibatches(rows, labels, numbers, batch_size, seed)
    started = time.perf_counter()
    for i in range(n_steps):
        step(batches(i))
    seconds = time.perf_counter() - started
    network.eval()
    with torch.no_grad():
        ranked = network.best(network.encode(rows.take(held)), 1)
    return ranking_metrics(ranked, labels[held], cutoffs=(1,))["p@1"], seconds


def measure(name):
    """Train on one set with every beta, rate and seed."""
    data = extreme.read_xc(sources.resolve(name) / "train.txt.gz")
    counts = weighting.are_counts(data.features)
    idf = weighting.inverse_frequency(data.features) if counts else None
    rows = weighting.WeightedRows(data.features, idf)
    for seed in SEEDS:
        order = seeding.numpy_generator(seeding.split(seed, "held_out")).permutation(rows.shape[0])
        n_held = rows.shape[0] // 10
        held, rest = np.sort(order[:n_held]), np.sort(order[n_held:])
        rest = rest[np.diff(data.labels.indptr)[rest] > 0]
        for rate in RATES:
            for beta in FIRST_BETAS:
                found, seconds = train(
                    rows, data.labels, rest, held, beta=beta, rate=rate, seed=seed
                )
                row = {"set": name, "seed": seed, "rate": rate, "beta": beta, "p@1": found,
                       "seconds": round(seconds, 2)}  # fmt: skip
                print(row, flush=True)
                with filelock.FileLock(f"{RESULTS}.lock"):
                    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
                    same = ("set", "seed", "rate", "beta")
                    kept = [r for r in known if any(r[key] != row[key] for key in same)]
                    RESULTS.write_text(json.dumps([*kept, row], indent=1) + "\n")
                    RESULTS.with_suffix(".md").write_text(page([*kept, row]))
    Path(f"{RESULTS}.lock").unlink(missing_ok=True)


def page(found):
    """Return the results as a page."""
    lines = [
        "# Adam's first beta for rows that are seldom touched", "", (__doc__ or "").strip(), "",
        f"Machine: {provenance.machine().get('processor', 'unknown')}, one thread, other work "
        "beside. Mean P@1 over seeds; the last column is the paired gain of 0 over 0.9 with its "
        "95 % interval.", "",
        "| set | rate | seeds | beta 0 | beta 0.9 | gain of 0 | s, beta 0 | s, beta 0.9 |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]  # fmt: skip
    for name in sorted({r["set"] for r in found}):
        for rate in RATES:
            of = {beta: {r["seed"]: r for r in found if (r["set"], r["rate"], r["beta"])
                         == (name, rate, beta)} for beta in FIRST_BETAS}  # fmt: skip
            seeds = sorted(of[0.0].keys() & of[0.9].keys())
            if not seeds:
                continue
            score = {b: np.array([of[b][s]["p@1"] for s in seeds]) for b in FIRST_BETAS}
            time_of = {b: np.median([of[b][s]["seconds"] for s in seeds]) for b in FIRST_BETAS}
            gain = f"{(score[0.0] - score[0.9]).mean():+.4f}"
            if len(seeds) > 1:
                around = t_interval(score[0.0] - score[0.9])
                gain += f" [{around.low:+.4f}, {around.high:+.4f}]"
            lines.append(
                f"| {name} | {rate:g} | {len(seeds)} | {score[0.0].mean():.4f} | "
                f"{score[0.9].mean():.4f} | {gain} | {time_of[0.0]:.1f} | {time_of[0.9]:.1f} |"
            )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("sets", nargs="+")
    for each in parser.parse_args().sets:
        measure(each)
