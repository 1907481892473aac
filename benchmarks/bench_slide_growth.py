"""How the cost of sidle.slide grows with the number of outputs, 50,000 to 1,000,000.

    python benchmarks/bench_slide_growth.py

One core. Outputs are random rows of 128 numbers; a hidden row is one of them plus noise (cosine
0.85), whose best output is that one. Searching: for each number of outputs the fewest tables that
return it among the 64 outputs they return most often in at least 0.9 of the rows, and the time of
`topk` with them. Training: the time of a step with a pool of 4,096 for a batch of 512, uniform and
half from these tables, without rebuilds.
Writes benchmarks/results/slide_growth.md.
"""

import json
import time
from pathlib import Path

import numpy as np
import torch

from sidle import provenance
from sidle.slide import Hashing, WideSoftmax

D, BATCH, RECALL = 128, 512, 0.9
OUTPUTS = (50_000, 100_000, 200_000, 500_000, 1_000_000)
TABLES = (16, 20, 24, 28, 32, 36, 40, 48, 56, 64, 72, 80, 88, 96, 112, 128)
SCORED = 64  # of the outputs that tables return
NOISE = 0.62  # of each number, beside a row of standard deviation 1: cosine 0.85
SCALE = 0.1  # of the rows, so that scores are those of a trained network


def least(work, repeats=5):
    work()
    best = float("inf")
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - started)
    return best


def layer_of(n_outputs, **settings):
    layer = WideSoftmax(D, n_outputs, bias=False, optimizer="sgd", lr=0.0, engine="sampled",
                        candidates=4096, **settings)  # fmt: skip
    layer.weight.data.normal_(0, SCALE, generator=torch.Generator().manual_seed(0))
    return layer


def main():
    torch.set_num_threads(1)
    rows = []
    for n_outputs in OUTPUTS:
        generator = torch.Generator().manual_seed(1)
        labels = torch.randint(n_outputs, (BATCH,), generator=generator)
        for n_tables in TABLES[TABLES.index(rows[-1][1]) if rows else 0 :]:  # no fewer than before
            layer = layer_of(n_outputs, hashing=Hashing(n_tables=n_tables))
            noise = torch.randn(BATCH, D, generator=torch.Generator().manual_seed(2))
            hidden = layer.weight.data[labels] / SCALE + NOISE * noise
            recall = layer.recall(hidden, 1, candidates=SCORED)
            if recall >= RECALL:
                break
        search = least(lambda: layer.topk(hidden, 1, candidates=SCORED)) / BATCH  # noqa: B023
        exact = least(lambda: layer.topk(hidden[:64], 1, exact=True), 2) / 64  # noqa: B023
        steps = []
        for share in (0.0, 0.5):
            trained = layer_of(
                n_outputs, hashed_share=share, hashing=Hashing(n_tables=n_tables, rebuild="never")
            )

            def step():
                trained(hidden, labels).backward()  # noqa: B023

            steps.append(least(step) / BATCH)
        rows.append((n_outputs, n_tables, recall, search, exact, *steps))
        print(rows[-1], flush=True)
    logs = np.log([row[0] for row in rows])
    growth = [np.polyfit(logs, np.log([row[i] for row in rows]), 1)[0] for i in range(3, 7)]
    lines = [
        "# Cost against the number of outputs",
        "",
        "`python benchmarks/bench_slide_growth.py`; what it does is said at its top. One core.",
        "",
        f"Machine: {json.dumps(provenance.machine())}",
        "",
        "| outputs | tables | recall | search, us | exact search, us | training, uniform, us | "
        "training, half from tables, us |",
        "|---|---|---|---|---|---|---|",
    ]
    for n_outputs, n_tables, recall, *costs in rows:
        shown = " | ".join(f"{1e6 * cost:.0f}" for cost in costs)
        lines.append(f"| {n_outputs:,} | {n_tables} | {recall:.2f} | {shown} |")
    shown = " | ".join(f"{exponent:.2f}" for exponent in growth)
    lines.append(f"| **exponent** | | | {shown} |")
    lines += ["", "Times are per row. The exponent is the slope of log cost over log outputs."]
    Path(__file__).with_name("results").joinpath("slide_growth.md").write_text(
        "\n".join(lines) + "\n"
    )


if __name__ == "__main__":
    main()
