"""Do candidates from hash tables help training? Equal numbers of candidates, uniform and hashed.

    python benchmarks/bench_slide_hashing.py

One core. Set (a) of bench_slide.py: 100,000 rows, 50,000 features and labels, 128 units; two epochs
of batches of 256, Adam at 0.01 falling to 0, three seeds. P@1 of 5,120 other rows by exact search;
recall is the share of the exact five best outputs that the tables return. Writes
benchmarks/results/slide_hashing.md.
"""

import json
import statistics
import time
from pathlib import Path

import numpy as np
import torch

from sidle import provenance
from sidle.data.synthetic_extreme import power_law_rows
from sidle.slide import SparseEmbedding, WideSoftmax

HIDDEN, BATCH, EPOCHS, RATE, SEEDS = 128, 256, 2, 1e-2, 3
SIZES = {"n_features": 50_000, "n_labels": 50_000, "features_per_row": 67, "labels_per_row": 3.06}
CASES = [  # sampling, candidates, share of them from tables
    ("per_sample", 250, 0.0),
    ("per_sample", 250, 0.5),
    ("per_sample", 250, 1.0),
    ("per_batch", 1024, 0.0),
    ("per_batch", 1024, 0.5),
]


def train(rows, test, sampling, candidates, share, seed):
    """Return P@1, samples per second of processor time, recall of the tables, rebuild share."""
    common = {"lr": RATE, "betas": (0.0, 0.999), "seed": seed}
    first = SparseEmbedding(50_000, HIDDEN, **common)
    last = WideSoftmax(
        HIDDEN, 50_000, objective="multilabel", engine="sampled", sampling=sampling,
        candidates=candidates, hashed_share=share, **common,
    )  # fmt: skip
    generator, step, spent = np.random.default_rng(seed), 0, 0.0
    total = EPOCHS * (rows.features.shape[0] // BATCH)
    for _ in range(EPOCHS):
        order = generator.permutation(rows.features.shape[0])
        features, labels = rows.features[order], rows.labels[order]
        for n in range(0, len(order) - BATCH + 1, BATCH):
            first.lr = last.lr = RATE * (1 - step / total)
            started = time.process_time()
            last(torch.relu(first(features[n : n + BATCH])), labels[n : n + BATCH]).backward()
            spent += time.process_time() - started
            step += 1
    with torch.no_grad():
        hidden = torch.relu(first(test.features))
        best = torch.cat([last.topk(part, 1, exact=True)[1] for part in hidden.split(512)])
    hits = np.asarray(test.labels[np.arange(len(best)), best.numpy()[:, 0]]) > 0
    report = last.report()
    found = last.recall(hidden[:1024], 5) if share else float("nan")
    return hits.mean(), BATCH * step / spent, found, report.rebuild_seconds / report.seconds


def main():
    torch.set_num_threads(1)
    rows = power_law_rows(100_000, seed=0, part="train", **SIZES)
    test = power_law_rows(5_120, seed=0, part="test", **SIZES)
    lines = [
        "# Uniform and hashed candidates in training",
        "",
        "`python benchmarks/bench_slide_hashing.py`; what it does is said at its top. One core. "
        "Medians, P@1 with its range over seeds.",
        "",
        f"Machine: {json.dumps(provenance.machine())}",
        "",
        "| sampling | candidates | from tables | P@1 | samples/s | recall@5 | time in rebuilds |",
        "|---|---|---|---|---|---|---|",
    ]
    for sampling, candidates, share in CASES:
        runs = [train(rows, test, sampling, candidates, share, seed) for seed in range(SEEDS)]
        hits, speed, found, rebuilds = (statistics.median(part) for part in zip(*runs, strict=True))
        scores = [run[0] for run in runs]
        recall = f"{found:.2f}" if share else "-"
        lines.append(
            f"| {sampling} | {candidates:,} | {share:.0%} | {hits:.3f} ({min(scores):.3f} to "
            f"{max(scores):.3f}) | {speed:,.0f} | {recall} | {rebuilds:.0%} |"
        )
        print(lines[-1], flush=True)
    Path(__file__).with_name("results").joinpath("slide_hashing.md").write_text(
        "\n".join(lines) + "\n"
    )


if __name__ == "__main__":
    main()
