"""How much memory an output takes, and whether ten million of them train.

    python benchmarks/bench_slide_memory.py [OUTPUTS]

A WideSoftmax of 128 inputs, one thread, batch 512, 4,096 candidates, 30 steps on random rows and
labels, once with each optimizer, each in a process of its own. Memory is the growth of the peak
resident size over that of the imports. Writes benchmarks/results/slide_memory.md.
"""

import json
import resource
import subprocess
import sys
import time
from pathlib import Path

WIDTH, BATCH, CANDIDATES, STEPS = 128, 512, 4096, 30
CASES = [("adam", 0.9), ("adam", 0.0), ("rowwise_adagrad", 0.0), ("sgd", 0.0)]


def peak():
    """Return the peak resident size so far, bytes (Linux counts in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def train(n_outputs, name, beta):
    """Print what the layer took and how fast it trained."""
    import torch

    from sidle.errors import ArgumentError
    from sidle.slide import WideSoftmax

    torch.set_num_threads(1)
    before = peak()
    try:
        layer = WideSoftmax(
            WIDTH, n_outputs, optimizer=name, betas=(beta, 0.999), engine="sampled",
            candidates=CANDIDATES,
        )  # fmt: skip
    except ArgumentError as error:
        print(json.dumps({"refused": str(error)}))
        return
    assert layer.optimizer is not None
    generator = torch.Generator().manual_seed(0)
    for step in range(STEPS):
        if step == 3:  # compiled and warm
            started = time.perf_counter()
        hidden = torch.randn(BATCH, WIDTH, generator=generator).requires_grad_()
        layer(hidden, torch.randint(n_outputs, (BATCH,), generator=generator)).backward()
    speed = BATCH * (STEPS - 3) / (time.perf_counter() - started)
    row = 4 * WIDTH + layer.optimizer.row_bytes(WIDTH)
    print(json.dumps({"row": row, "peak": peak() - before, "speed": speed}))


def main(n_outputs):
    """Measure every optimizer and write the page."""
    from sidle import provenance

    lines = [
        "# Memory of very many outputs", "", (__doc__ or "").strip(), "",
        f"Machine: {provenance.machine().get('processor', 'unknown')}, "
        f"{time.strftime('%Y-%m-%d')}; other work ran beside. {n_outputs:,} outputs. State is "
        "promised in full, and becomes resident as rows are touched.", "",
        "| optimizer | first beta | bytes an output, weight and state | promised GB | resident GB "
        "after 30 steps | samples/s |", "| --- | --- | --- | --- | --- | --- |",
    ]  # fmt: skip
    for name, beta in CASES:
        command = [sys.executable, __file__, str(n_outputs), name, str(beta)]
        printed = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout
        found = json.loads(printed.splitlines()[-1])
        print(name, beta, found, flush=True)
        shown = "refused: not enough memory here | | |"
        if "row" in found:
            shown = (
                f"{found['row']} | {n_outputs * found['row'] / 1e9:.1f} | "
                f"{found['peak'] / 1e9:.1f} | {found['speed']:,.0f} |"
            )
        lines.append(f"| {name} | {beta if name == 'adam' else ''} | {shown}")
    (Path(__file__).parent / "results" / "slide_memory.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    if len(sys.argv) > 2:
        train(int(sys.argv[1]), sys.argv[2], float(sys.argv[3]))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000)
