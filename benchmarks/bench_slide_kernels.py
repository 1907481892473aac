"""What the hot kernels of sidle.slide move and compute, against what this machine can.

    python benchmarks/bench_slide_kernels.py

One core. Sizes are those of a step on 670,091 outputs: batch 512, 128 units, a pool of 6,656
outputs, 75 features a row. Bytes are those that must come from or go to memory or an outer cache;
limits are measured beside: streaming (a copy of 512 MB) and gathering rows of 512 bytes in random
order by torch.index_select, and matrix products. Writes benchmarks/results/slide_kernels.md.
"""

import json
import time
from pathlib import Path

import numpy as np
import torch

from sidle import provenance
from sidle.slide.kernels import embedding, per_sample, rows, softmax
from sidle.slide.pooled import bits

N, D, M, L, F, PER_ROW = 512, 128, 6_656, 670_091, 135_909, 75
REPEATS = 9


def seconds(work):
    work()
    least = float("inf")
    for _ in range(REPEATS):
        started = time.perf_counter()
        work()
        least = min(least, time.perf_counter() - started)
    return least


def main():
    torch.set_num_threads(1)
    generator = np.random.default_rng(0)
    w = generator.normal(size=(L, D)).astype(np.float32)
    m, v, last = np.zeros_like(w), np.zeros_like(w), np.zeros(L, np.int32)
    sets = iter([generator.permutation(L)[:M] for _ in range(10 * (REPEATS + 1))])

    source, target = torch.ones(128 * 2**20), torch.empty(128 * 2**20)
    streaming = 2 * source.nbytes / seconds(lambda: target.copy_(source))
    weight = torch.from_numpy(w)
    out = torch.empty(M, D)
    gathering = 2 * out.nbytes / seconds(
        lambda: torch.index_select(weight, 0, torch.from_numpy(next(sets)), out=out)
    )  # fmt: skip
    h = torch.randn(N, D)
    half, pool = h.bfloat16(), torch.randn(M, D).bfloat16()
    product = 2 * N * M * D / seconds(lambda: half @ pool.T)
    product32 = 2 * N * M * D / seconds(lambda: h @ out.T)

    measured = []

    def note(name, moved, flops, work):
        took = seconds(work)
        measured.append((name, took * 1e3, moved, flops, moved / took, flops / took))

    gathered = np.empty((M, D), np.uint16)
    note("gather to bfloat16", M * D * 6, 0, lambda: rows.gather(w, next(sets), gathered, 0, M))
    scores = torch.randn(N, M).bfloat16()
    target_NM = torch.empty_like(scores)
    zeros, starts, labels = np.zeros(M, np.float32), np.arange(N + 1), np.arange(N)
    losses = np.empty(N)
    note(
        "softmax and its gradient", N * M * 4, N * M * 24,
        lambda: softmax.softmax(
            bits(scores), zeros, zeros, starts, labels, 1 / N, bits(target_NM), losses, 0, N
        ),
    )  # fmt: skip
    note("three products, bfloat16", 0, 6 * N * M * D, lambda: [
        scores @ pool, scores.T @ half, half @ pool.T
    ])  # fmt: skip
    gradient, step = np.ones((M, D), np.float32), iter(range(1, 100))
    note(
        "Adam on the pool's rows", M * D * 28, M * D * 13,
        lambda: rows.adam(
            w, m, v, last, next(sets), gradient, 1.0, next(step), 1e-3, 0.9, 0.999, 1e-8, 0, M
        ),
    )  # fmt: skip
    E = N * PER_ROW
    features = ((generator.random(E) ** 3) * F).astype(np.int32)
    entry_starts, values = np.arange(N + 1) * PER_ROW, np.ones(E, np.float32)
    out_ND, bias = np.empty((N, D), np.float32), np.zeros(D, np.float32)
    note(
        "input layer forward", E * D * 4, E * D * 2,
        lambda: embedding.forward(entry_starts, features, values, w, bias, out_ND, 0, N),
    )  # fmt: skip
    place = np.full(F, -1, np.int32)
    room = (np.empty(E, np.int64), np.empty(E + 1, np.int64), np.empty(E, np.int32), values.copy())
    note(
        "regroup entries by feature", E * 36, 0,
        lambda: embedding.regroup(entry_starts, features, values, place, *room),
    )  # fmt: skip
    touched = embedding.regroup(entry_starts, features, values, place, *room)
    later = iter(range(1, 100))
    note(
        f"input layer Adam, {touched:,} rows", touched * D * 24 + E * D * 4,
        (2 * E + 13 * touched) * D,
        lambda: embedding.adam(
            room[1], room[2], room[3], out_ND, room[0], w, m, v, last, next(later), 1e-3, 0.9,
            0.999, 1e-8, 0, touched,
        ),
    )  # fmt: skip
    active = 1_024
    ptr = np.arange(N // 8 + 1) * active
    drawn = generator.integers(0, L, len(ptr) * active).astype(np.int32)[: ptr[-1]]
    n = N // 8
    gradient_A, gradient_ND = np.empty(ptr[-1], np.float32), np.empty((n, D), np.float32)
    ones, none, tail = np.ones(n, np.int64), np.zeros(n, np.int64), np.zeros(n)
    bias_L, hidden = np.zeros(L, np.float32), h.numpy()[:n].copy()
    note(
        f"per sample: {n} sets of {active:,}", int(ptr[-1]) * D * 4, int(ptr[-1]) * D * 4,
        lambda: per_sample.softmax(
            hidden, w, bias_L, ptr, drawn, ones, none, tail, 1 / n, gradient_A, gradient_ND,
            np.empty(n), 0, n,
        ),
    )  # fmt: skip

    lines = [
        "# Hot kernels of sidle.slide",
        "",
        "`python benchmarks/bench_slide_kernels.py`; sizes are said at its top. One core.",
        "",
        f"Machine: {json.dumps(provenance.machine())}",
        "",
        f"Limits measured here: streaming copy {streaming / 1e9:.1f} GB/s, gathering rows of 512 "
        f"bytes {gathering / 1e9:.1f} GB/s, products {product32 / 1e9:.0f} GFLOP/s in float32 and "
        f"{product / 1e9:.0f} in bfloat16.",
        "",
        "| kernel | ms | MB | MFLOP | GB/s | of streaming | GFLOP/s |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, took, moved, flops, bandwidth, rate in measured:
        shown = f"{bandwidth / 1e9:.1f} | {100 * bandwidth / streaming:.0f} %" if moved else "- | -"
        lines.append(
            f"| {name} | {took:.2f} | {moved / 1e6:.1f} | {flops / 1e6:.0f} | {shown} | "
            f"{rate / 1e9:.0f} |"
        )
    text = "\n".join(lines) + "\n"
    print(text)
    Path(__file__).with_name("results").joinpath("slide_kernels.md").write_text(text)


if __name__ == "__main__":
    main()
