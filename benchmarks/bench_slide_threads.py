"""How sidle.slide speeds up with threads: kernels that share the work, and Hogwild.

    python benchmarks/bench_slide_threads.py

Set (a) of bench_slide.py: 50,000 features and labels, 128 units, batch 512. Every case trains on
the same rows in the same order, in turn, and each case is measured three times; the best counts.
Quality beside speed: the exact loss of 2,048 other rows after one pass over 51,200 rows.
Writes benchmarks/results/slide_threads.md.
"""

import json
import time
from pathlib import Path

import torch

from sidle import provenance
from sidle.data.synthetic_extreme import power_law_rows
from sidle.slide import SparseEmbedding, WideSoftmax

HIDDEN, BATCH, ROWS, ROUNDS = 128, 512, 51_200, 3
SIZES = {"n_features": 50_000, "n_labels": 50_000, "features_per_row": 67, "labels_per_row": 3.06}
CASES = {
    "one pool a batch, 4,096 candidates": {"sampling": "per_batch"},
    "a set a sample, 250 candidates": {"sampling": "per_sample", "candidates": 250},
    "the same, Hogwild": {"sampling": "per_sample", "candidates": 250, "deterministic": False},
}


def train(rows, test, threads, settings):
    """Return samples per second and the exact loss of the test rows."""
    torch.set_num_threads(threads)
    common = {"lr": 1e-2, "betas": (0.0, 0.999), "threads": threads}
    locked = settings.get("deterministic", True)
    first = SparseEmbedding(50_000, HIDDEN, deterministic=locked, **common)
    last = WideSoftmax(
        HIDDEN, 50_000, objective="multilabel", engine="sampled", **common, **settings
    )
    blocks = [
        (rows.features[n : n + BATCH], rows.labels[n : n + BATCH]) for n in range(0, ROWS, BATCH)
    ]
    for step, (x, y) in enumerate(blocks):
        if step == 4:  # compiled and warm
            started = time.perf_counter()
        last(torch.relu(first(x)), y).backward()
    speed = BATCH * (len(blocks) - 4) / (time.perf_counter() - started)
    with torch.no_grad():
        return speed, float(last(torch.relu(first(test.features)), test.labels))


def main():
    rows = power_law_rows(ROWS, seed=0, part="train", **SIZES)
    test = power_law_rows(2048, seed=0, part="test", **SIZES)
    cores = provenance.usable_cores()
    numbers = [n for n in (1, 2, 4, 8, 16, 32) if n <= cores]
    found = {}
    for _ in range(ROUNDS):
        for name, settings in CASES.items():
            for threads in numbers:
                found.setdefault((name, threads), []).append(train(rows, test, threads, settings))
    lines = [
        "# Threads",
        "",
        "`python benchmarks/bench_slide_threads.py`; what it does is said at its top.",
        "",
        f"Machine: {json.dumps(provenance.machine())}",
        "",
        "| training | threads | samples/s | times one thread | exact loss, nats |",
        "|---|---|---|---|---|",
    ]
    for (name, threads), measured in found.items():
        speed = max(speed for speed, _ in measured)
        alone = max(speed for speed, _ in found[name, 1])
        losses = sorted({f"{loss:.3f}" for _, loss in measured})
        shown = losses[0] if len(losses) == 1 else f"{losses[0]} to {losses[-1]}"
        lines.append(f"| {name} | {threads} | {speed:,.0f} | {speed / alone:.2f} | {shown} |")
    text = "\n".join(lines) + "\n"
    print(text)
    Path(__file__).with_name("results").joinpath("slide_threads.md").write_text(text)


if __name__ == "__main__":
    main()
