"""What a bottleneck costs: a training step with the head of CEB beside one of its twin.

    python benchmarks/bench_ceb.py

The trunk is a Wide ResNet without BatchNorm as the study `bottleneck` trains on Fashion-MNIST
(images 1 x 28 x 28, batches of 100, one thread), its last layer making D features. Steps are
forward, backward and Adam: of the deterministic twin, whose loss is the cross-entropy of the mean;
of CEB with a covariance of one, its residual information in closed form; of VIB; and of CEB with
the marginal learning beside. Contestants take turns, a step each; a ratio is the median over rounds
of a step's time over the twin's in the same round.

The largest tensor that any operation of a step makes is counted too: none has D x D entries.
Bar: CEB at most 1.1 times the twin, for D up to 8,192. The result goes to
benchmarks/results/ceb.md.
"""

import datetime
import statistics
import time
from pathlib import Path

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from sidle import provenance, seeding
from sidle.ceb import Bottleneck
from sidle.studies.bottleneck_networks import Residual

DIMS = (32, 256, 2048, 8192)
CLASSES, BATCH, ROUNDS, WARM_UP = 10, 100, 31, 3
CONTESTANTS = ("deterministic", "ceb", "vib", "ceb and its marginal")
RESULTS = Path(__file__).parent / "results" / "ceb.md"


class Step:
    """A network and how it takes a step."""

    def __init__(self, name, dim):
        self.beside = name.endswith("marginal")
        with seeding.scope(0):
            encoder = Residual(
                (1, 28, 28), dim, stem=24, stem_stride=2, widths=(48, 96), strides=(2, 2),
                blocks=1, pooled=False,
            )  # fmt: skip
            self.model = Bottleneck(encoder, CLASSES, dim, objective=name.split()[0], rho=2.0)
        self.model.to(memory_format=torch.channels_last)
        self.network = torch.optim.Adam(self.model.network_parameters(), 1e-3, fused=True)
        if self.beside:
            self.marginal = torch.optim.Adam(self.model.marginal_parameters(), 5e-3, fused=True)

    def __call__(self, x, y):
        self.network.zero_grad()
        found = self.model.loss(x, y)
        if self.beside:
            self.marginal.zero_grad()
            (found.loss + found.marginal_loss).backward()
            self.marginal.step()
        else:
            found.loss.backward()
        self.network.step()


class Largest(TorchDispatchMode):
    """Remembers the largest tensor that is made."""

    entries = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        for one in made if isinstance(made, tuple | list) else [made]:
            if isinstance(one, torch.Tensor):
                self.entries = max(self.entries, one.numel())
        return made


def seconds(call, *arguments):
    began = time.perf_counter()
    call(*arguments)
    return time.perf_counter() - began


def measured(dim):
    generator = torch.Generator().manual_seed(1)
    steps = {name: Step(name, dim) for name in CONTESTANTS}
    times = {name: [] for name in CONTESTANTS}
    for _ in range(ROUNDS + WARM_UP):
        x = torch.rand(BATCH, 1, 28, 28, generator=generator)
        y = torch.randint(CLASSES, (BATCH,), generator=generator)
        for name, step in steps.items():
            times[name].append(seconds(step, x, y))
    with Largest() as largest:
        steps["ceb"](x, y)
    return {name: some[WARM_UP:] for name, some in times.items()}, largest.entries


def main():
    torch.set_num_threads(1)
    lines = []
    for dim in DIMS:
        times, largest = measured(dim)
        twin = times["deterministic"]
        ratios = [
            statistics.median(a / b for a, b in zip(times[name], twin, strict=True))
            for name in CONTESTANTS[1:]
        ]
        cells = [f"{1e3 * statistics.median(twin):.1f} ms", *(f"{ratio:.2f}" for ratio in ratios)]
        lines.append(f"| {dim:,} | {' | '.join(cells)} | {largest:,} | {dim * dim:,} |")
        print(lines[-1], flush=True)
    text = f"""# A training step with a bottleneck

`python benchmarks/bench_ceb.py` on {datetime.date.today()}, {provenance.machine()["processor"]},
torch {torch.__version__}, one thread, batches of {BATCH}, medians of {ROUNDS} rounds.

Times of a step over the deterministic twin's, trunk and optimiser included (bar: 1.1 for CEB).

| D | twin | CEB | VIB | CEB and its marginal | largest tensor of CEB | D x D |
| ---: | ---: | ---: | ---: | ---: | ---: | ---: |
"""
    RESULTS.write_text(text + "\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
