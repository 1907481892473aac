"""What InfoNCE as a loss costs: in chunks, with the whole matrix, and as CPC_audio writes it.

    python benchmarks/bench_contrast.py

Loss and gradients of both sides, float32, on all cores. Every measurement is a process of its own;
its peak memory is counted above what it held when its inputs were made. Contestants take turns.

- *large*: 65,536 x 256 queries and keys, one-directional and symmetric; the whole matrix alone
  would take 17 GB, twice for its softmax.
- *dense*: 8,192 x 256, where the whole matrix fits: `cross_entropy(query @ key.T)`.
- *CPC_audio*: the criterion of facebookresearch/CPC_audio, its arithmetic written anew: batch 8,
  128 latents, 128 negatives drawn from all of them, the same for all 12 steps, score = mean over
  256 dimensions. From encodings and predictions to their gradients.

- *places*: 512 rows of S queries with P negatives of their own out of M keys, as the policies of
  `sidle.cpc` draw them: gathered, and as scores of all keys counted where they are negatives;
  which of the two is taken is `sidle.mi.candidates.by_product`.

Flops are counted by torch on a smaller problem, as a ratio to the whole matrix.
Bars: large below 1 GB; flops at most 1.05 and 1.4 times dense; where dense fits, at most 1.1 times
its time and at least 5 times less memory; CPC_audio at least 3 times faster with 5 times less
memory. The result goes to benchmarks/results/contrast.md.
"""

import datetime
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode, addmm_flop

from sidle import provenance
from sidle.mi import candidates, contrast
from sidle.mi.contrast import info_nce, info_nce_with_negatives

LARGE, DENSE, SMALL, DIM = 65_536, 8_192, 1_024, 256
BATCH, LATENTS, NEGATIVES, STEPS = 8, 128, 128, 12
WINDOW = LATENTS - STEPS
ROWS_OF_PLACES = 512
ROUNDS, REPEATS = 3, 5
RESULTS = Path(__file__).parent / "results" / "contrast.md"


def pair(n):
    generator = torch.Generator().manual_seed(0)
    made = [torch.randn(n, DIM, generator=generator) for _ in range(2)]
    return [functional.normalize(part, dim=1).mul_(4).requires_grad_() for part in made]


def chunked(query, key, *, symmetric=False):
    info_nce(query, key, symmetric=symmetric).loss.backward()


def dense(query, key, *, symmetric=False):
    scores = query @ key.T
    target = torch.arange(len(query))
    loss = functional.cross_entropy(scores, target)
    if symmetric:
        loss = (loss + functional.cross_entropy(scores.T, target)) / 2
    loss.backward()


def cpc_inputs():
    """Return encodings (B, T, D), predictions (S, B, W, D), and places of negatives (B W, P)."""
    generator = torch.Generator().manual_seed(0)
    encoding = torch.randn(BATCH, LATENTS, DIM, generator=generator).requires_grad_()
    prediction = torch.randn(STEPS, BATCH, WINDOW, DIM, generator=generator).requires_grad_()
    shape = (BATCH * WINDOW, NEGATIVES)
    places = torch.randint(0, BATCH * LATENTS, shape, generator=generator)
    return encoding, prediction, places


def cpc_audio(encoding, prediction, places):
    """Gather negatives, put each step's positive in front, multiply, average over dimensions."""
    flat = encoding.reshape(-1, DIM)
    negative = flat[places].view(BATCH, WINDOW, NEGATIVES, DIM).permute(0, 2, 1, 3)
    target = torch.zeros(BATCH * WINDOW, dtype=torch.int64)
    losses = []
    for step in range(STEPS):
        positive = encoding[:, step + 1 : step + 1 + WINDOW].unsqueeze(1)
        candidates = torch.cat([positive, negative], dim=1)
        scores = (prediction[step].unsqueeze(1) * candidates).mean(dim=3)
        scores = scores.permute(0, 2, 1).reshape(-1, 1 + NEGATIVES)
        losses.append(functional.cross_entropy(scores, target))
    torch.stack(losses).mean().backward()


def cpc_chunked(encoding, prediction, places):
    steps = [encoding[:, s + 1 : s + 1 + WINDOW].reshape(-1, DIM) for s in range(STEPS)]
    info_nce_with_negatives(
        prediction.reshape(STEPS, -1, DIM),
        torch.stack(steps),
        places,
        pool_MD=encoding.reshape(-1, DIM),
        temperature=DIM,
    ).loss.backward()


CONTESTANTS = {
    "large one-directional": (lambda: pair(LARGE), chunked, {}),
    "large symmetric": (lambda: pair(LARGE), chunked, {"symmetric": True}),
    "chunked": (lambda: pair(DENSE), chunked, {}),
    "dense": (lambda: pair(DENSE), dense, {}),
    "chunked, symmetric": (lambda: pair(DENSE), chunked, {"symmetric": True}),
    "dense, symmetric": (lambda: pair(DENSE), dense, {"symmetric": True}),
    "sidle": (cpc_inputs, cpc_chunked, {}),
    "CPC_audio": (cpc_inputs, cpc_audio, {}),
}


def resident(name):
    """Return bytes of memory held now ("VmRSS") or at most ("VmHWM")."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split(f"{name}:")[1].split()[0])


def measure(name):
    """Print seconds of one call, once warm, and the peak of memory above the inputs, in bytes."""
    make, call, settings = CONTESTANTS[name]
    chunked(*pair(64)), dense(*pair(64))  # libraries take their room before it is counted
    inputs = make()
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts anew from here
    seconds = []
    for _ in range(1 if name.startswith("large") else REPEATS):
        for part in inputs:
            part.grad = None
        began = time.perf_counter()
        call(*inputs, **settings)
        seconds.append(time.perf_counter() - began)
    peak = resident("VmHWM") - before
    print(json.dumps({"seconds": statistics.median(seconds), "bytes": peak}))


def child(name):
    command = [sys.executable, __file__, "--child", name]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def flops(call, **settings):
    """Return the floating-point operations of matrix products, with gradients."""

    def in_place(total, a, b, **_):
        return addmm_flop(total, a, b)

    with FlopCounterMode(
        display=False, custom_mapping={torch.ops.aten.addmm_: in_place}
    ) as counter:
        call(*pair(SMALL), **settings)
    return counter.get_total_flops()


def gradients(name):
    make, call, settings = CONTESTANTS[name]
    inputs = make()
    call(*inputs, **settings)
    return [part.grad for part in inputs if part.requires_grad]


def both_ways(S, M, P, D):
    """Return the shortest milliseconds of negatives gathered and of scores of all keys."""
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(S, ROWS_OF_PLACES, D, generator=generator).mul_(0.1).requires_grad_()
    pool = torch.randn(M, D, generator=generator).requires_grad_()
    own = torch.randint(0, M, (S, ROWS_OF_PLACES), generator=generator)
    places = torch.rand(ROWS_OF_PLACES, M, generator=generator).argsort(1)[:, :P].contiguous()
    chosen, found = contrast.by_product, {False: [], True: []}
    for _ in range(REPEATS):
        for way, seconds in found.items():
            contrast.by_product = lambda *sizes, way=way: way
            began = time.perf_counter()
            info_nce_with_negatives(query, pool[own], places, pool_MD=pool).loss.backward()
            seconds.append(1e3 * (time.perf_counter() - began))
    contrast.by_product = chosen
    return min(found[False]), min(found[True])


def places_table():
    """Return lines of a table: gathered, all keys, and which of them is taken."""
    lines = [
        "| queries of a row | keys | negatives | dimensions | gathered | all keys | taken |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for D in (128, 512):
        for S in (1, 3, 12):
            for M in (512, 1024, 2048, 4096):
                gathered, product = both_ways(S, M, NEGATIVES, D)
                taken = candidates.by_product(M, NEGATIVES, S, D)
                row = f"| {S} | {M:,} | {NEGATIVES} | {D} | {gathered:.0f} ms | {product:.0f} ms "
                lines.append(row + f"| {'all keys' if taken else 'gathered'} |")
    return lines


def main():
    load = os.getloadavg()[0]
    for one, other in (("chunked", "dense"), ("sidle", "CPC_audio")):
        for a, b in zip(gradients(one), gradients(other), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-7)
    ratios = {
        symmetric: flops(chunked, symmetric=symmetric) / flops(dense) for symmetric in (False, True)
    }
    found = {name: [] for name in CONTESTANTS}
    for turn in range(ROUNDS):
        for name in CONTESTANTS:
            if turn == 0 or not name.startswith("large"):
                found[name].append(child(name))
                print(f"{name}: {found[name][-1]}", flush=True)
    seconds = {n: statistics.median(r["seconds"] for r in rows) for n, rows in found.items()}
    peaks = {n: statistics.median(r["bytes"] for r in rows) / 1e6 for n, rows in found.items()}
    machine = provenance.machine()
    work = 6 * LARGE**2 * DIM

    def met(holds):
        return "met" if holds else "not met"

    def against(one, other, times, memory):
        faster, less = seconds[other] / seconds[one], peaks[other] / peaks[one]
        return (
            f"{seconds[one] / seconds[other]:.2f} times the time ({faster:.1f} times faster), "
            f"{less:.1f} times less memory. Bar: at most {times:.2f} times the time and at least "
            f"{memory} times less memory; {met(1 / faster <= times and less >= memory)}"
        )

    large = ("large one-directional", "large symmetric")
    lines = [
        "# InfoNCE as a loss",
        "",
        f"`python benchmarks/bench_contrast.py`, {datetime.date.today()}, "
        f"{machine['processor']}, {provenance.usable_cores()} cores, torch {torch.__version__}; "
        f"{ROUNDS} rounds in turn, medians; load average {load:.1f} at the start.",
        "",
        "| contestant | shape | time | peak memory above the inputs |",
        "| --- | --- | --- | --- |",
    ]
    cpc = f"{BATCH} x {LATENTS} latents, {NEGATIVES} negatives, {STEPS} steps"
    for name in CONTESTANTS:
        n = LARGE if name in large else DENSE
        shape = cpc if name in ("sidle", "CPC_audio") else f"{n:,} x {DIM}"
        lines.append(f"| {name} | {shape} | {seconds[name]:.3g} s | {peaks[name]:,.0f} MB |")
    lines += [
        "",
        f"- **Large**: {max(peaks[name] for name in large):,.0f} MB at most, of which 134 MB are "
        f"the gradients. Bar: 1,000 MB; {met(max(peaks[name] for name in large) < 1000)}. "
        f"One-directional at {work / seconds[large[0]] / 1e9:.0f} GFLOP/s.",
        f"- **Flops**, times those of the whole matrix: one-directional {ratios[False]:.2f}, "
        f"symmetric {ratios[True]:.2f}. Bars: 1.05 and 1.4; "
        f"{met(ratios[False] <= 1.05 and ratios[True] <= 1.4)}.",
        f"- **Where dense fits**, one-directional: {against('chunked', 'dense', 1.1, 5)}.",
        f"- **Where dense fits**, symmetric, which computes its scores twice: "
        f"{seconds['chunked, symmetric'] / seconds['dense, symmetric']:.2f} times the time, "
        f"{peaks['dense, symmetric'] / peaks['chunked, symmetric']:.1f} times less memory.",
        f"- **CPC_audio's criterion**: {against('sidle', 'CPC_audio', 1 / 3, 5)}.",
        "- Gradients of one-directional and CPC are compared with the others' before the clock "
        "starts.",
        "",
        f"## Negatives by their places, {ROWS_OF_PLACES} rows",
        "",
        *places_table(),
        "",
    ]
    RESULTS.write_text("\n".join(lines))
    print(RESULTS.read_text())


if __name__ == "__main__":
    if "--child" in sys.argv:
        measure(sys.argv[-1])
    else:
        main()
