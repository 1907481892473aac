"""What predicting costs beside encoding: the audio preset and a plain encoder with a GRU.

    python benchmarks/bench_cpc.py

One core, float32, batches of 8 windows of 20,480 samples (1.28 s at 16 kHz), as in the paper.
Forward and backward of:

- *plain*: five strided convolutions with ReLU (512 channels) and a GRU (256 units) of plain
  PyTorch, the sum of the GRU's outputs as its loss;
- *ours, no normalisation*: `ContrastivePredictiveCoding.audio(normalisation="none")`, the same
  layers, and twelve predictions a latent told from 128 negatives each, planning included;
- *ours*: the preset, which normalises channels at every latent.

Contestants take turns; a ratio is the median over rounds of a step's time over the plain one's of
the same round. Bar: everything but encoder and context network costs under 15 %. The result goes
to benchmarks/results/cpc.md.
"""

import datetime
import statistics
import time
from pathlib import Path

import torch
from torch import nn

from sidle import provenance, seeding
from sidle.cpc import ContrastivePredictiveCoding

BATCH, SAMPLES, RATE = 8, 20_480, 16_000
ROUNDS, WARM_UP = 9, 1
RESULTS = Path(__file__).parent / "results" / "cpc.md"


class Plain(nn.Module):
    """The paper's encoder and context network, written down as people do."""

    def __init__(self):
        super().__init__()
        sizes = zip((10, 8, 4, 4, 4), (5, 4, 2, 2, 2), (3, 2, 1, 1, 1), strict=True)
        layers = []
        for place, (kernel, stride, padding) in enumerate(sizes):
            layers += [nn.Conv1d(512 if place else 1, 512, kernel, stride, padding), nn.ReLU()]
        self.encoder = nn.Sequential(*layers)
        self.context = nn.GRU(512, 256, batch_first=True)

    def loss(self, x):
        return self.context(self.encoder(x[:, None]).transpose(1, 2))[0].sum()


def seconds(model, x):
    began = time.perf_counter()
    found = model.loss(x)
    (found if isinstance(found, torch.Tensor) else found.loss).backward()
    for parameter in model.parameters():
        parameter.grad = None
    return time.perf_counter() - began


def main():
    torch.set_num_threads(1)
    with seeding.scope(0):
        plain = Plain()
    contestants = {
        "plain": plain,
        "ours, no normalisation": ContrastivePredictiveCoding.audio(normalisation="none"),
        "ours": ContrastivePredictiveCoding.audio(),
    }
    generator = torch.Generator().manual_seed(0)
    times = {name: [] for name in contestants}
    for _ in range(ROUNDS + WARM_UP):
        x = 0.1 * torch.randn(BATCH, SAMPLES, generator=generator)
        for name, model in contestants.items():
            times[name].append(seconds(model, x))
    rows = []
    for name, some in times.items():
        ratio = statistics.median(
            a / b for a, b in zip(some[WARM_UP:], times["plain"][WARM_UP:], strict=True)
        )
        taken = statistics.median(some[WARM_UP:])
        rows.append(f"| {name} | {taken:.2f} s | {BATCH * SAMPLES / taken:,.0f} | {ratio:.3f} |")
        print(rows[-1], flush=True)
    text = f"""# What predicting costs beside encoding

`python benchmarks/bench_cpc.py` on {datetime.date.today()},
{provenance.machine()["processor"]}, torch {torch.__version__}, one thread. A step is forward and
backward of {BATCH} windows of {SAMPLES:,} samples; medians of {ROUNDS} rounds.

| | a step | audio samples a second | time over plain |
| --- | ---: | ---: | ---: |
"""
    RESULTS.write_text(text + "\n".join(rows) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
