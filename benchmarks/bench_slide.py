"""Training layers of very many outputs: sidle.slide beside dense PyTorch and the published SLIDE.

    python benchmarks/bench_slide.py [--data FOLDER] [--slide CHECKOUT] [--quality]

One core, one run, every engine in a process of its own, which gives its peak memory. The network is
the paper's: a sparse input layer of 128 units, ReLU, one output per label, Adam. The rows are
synthetic (`sidle.data.synthetic_extreme`): (a) 50,000 features and labels, (b) 135,909 features and
670,091 labels, of the sizes of Amazon-670K. Dense PyTorch runs at the paper's batch of 128 and at
the fastest of several batches and precisions. CHECKOUT is a checkout of the published C++ engine
outside of this repository (folder SLIDE inside); it is built with g++ -O3 -march=native -fopenmp.
It reads and saves weights by a library that is not needed here; a header of empty functions stands
in. Writes benchmarks/results/slide.md; with ``--quality`` instead slide_quality.md: P@1 on (a)
after 5 epochs of both, 3 seeds each, which takes half an hour.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from scipy.sparse import csr_array

from sidle import provenance
from sidle.data.synthetic_extreme import power_law_rows
from sidle.slide import SparseEmbedding, WideSoftmax

HIDDEN = 128
SETS = {  # rows, test rows, and what power_law_rows takes; means come out at 49 and 2.9, 75 and 5
    "a": (100_000, 10_240, 50_000, 50_000, 67, 3.06),
    "b": (490_449, 10_240, 135_909, 670_091, 102, 5.7),
}
OURS = {"a": {"batch": 256}, "b": {"batch": 512}}
DENSE = {
    "a": [(128, "float32"), (512, "float32"), (512, "bfloat16"), (2048, "bfloat16")],
    "b": [(128, "float32"), (512, "float32"), (512, "bfloat16"), (1024, "bfloat16")],
}
BARS = {"a": (10_000, 10, 2), "b": (6_000, 100, 15)}
CPP_ROWS = {"a": 5_120, "b": 640}
SECONDS = 12.0  # that speeds are measured over, after warming up
RATE, BETAS = 1e-2, (0.0, 0.999)
EMPTY_CNPY = """#pragma once
#include <map>
#include <string>
#include <vector>
namespace cnpy {
struct NpyArray { template <typename T> T* data() { return nullptr; } };
typedef std::map<std::string, NpyArray> npz_t;
inline npz_t npz_load(std::string) { return npz_t(); }
template <typename T>
void npz_save(std::string, std::string, const T*, const std::vector<size_t>&, std::string) {}
}
"""


def make_data(folder):
    """Draw the rows once; keep them in ``folder``."""
    for name, (n, n_test, n_features, n_labels, per_row, labels) in SETS.items():
        for part, rows in (("train", n), ("test", n_test)):
            if (folder / f"{name}_{part}_labels.npz").exists():
                continue
            drawn = power_law_rows(
                rows, n_features=n_features, n_labels=n_labels, features_per_row=per_row,
                labels_per_row=labels, seed=0, part=part,
            )  # fmt: skip
            for what in ("features", "labels"):
                m = getattr(drawn, what)
                np.savez(
                    folder / f"{name}_{part}_{what}.npz",
                    indptr=m.indptr, indices=m.indices, data=m.data, shape=m.shape,
                )  # fmt: skip


def load(folder, name, part):
    matrices = []
    for what in ("features", "labels"):
        z = np.load(folder / f"{name}_{part}_{what}.npz")
        matrices.append(csr_array((z["data"], z["indices"], z["indptr"]), shape=tuple(z["shape"])))
    return matrices


class Ours:
    def __init__(self, n_features, n_labels, seed, rate):
        self.first = SparseEmbedding(n_features, HIDDEN, lr=rate, betas=BETAS, seed=seed)
        self.last = WideSoftmax(
            HIDDEN, n_labels, objective="multilabel", engine="sampled", lr=rate, betas=BETAS,
            seed=seed,
        )  # fmt: skip

    def set_rate(self, rate):
        self.first.lr = self.last.lr = rate

    def step(self, x, y):
        self.last(torch.relu(self.first(x)), y).backward()

    def top(self, x):
        with torch.no_grad():
            return self.last.topk(torch.relu(self.first(x)), 1, exact=True)[1]


class Dense:
    def __init__(self, n_features, n_labels, seed, rate, precision):
        torch.manual_seed(seed)
        self.first = torch.nn.EmbeddingBag(n_features, HIDDEN, mode="sum")
        torch.nn.init.normal_(self.first.weight, 0, HIDDEN**-0.5)
        self.last = torch.nn.Linear(HIDDEN, n_labels)
        parameters = [*self.first.parameters(), *self.last.parameters()]
        self.optimizer = torch.optim.Adam(parameters, lr=rate, fused=True)
        self.half = precision == "bfloat16"

    def set_rate(self, rate):
        self.optimizer.param_groups[0]["lr"] = rate

    def hidden(self, x):
        parts = (torch.from_numpy(part).long() for part in (x.indices, x.indptr[:-1]))
        return torch.relu(self.first(*parts, per_sample_weights=torch.from_numpy(x.data)))

    def step(self, x, y):
        with torch.autocast("cpu", torch.bfloat16, enabled=self.half):
            scores = self.last(self.hidden(x))
        numbers = np.diff(y.indptr)
        rows = torch.from_numpy(np.repeat(np.arange(len(numbers)), numbers))
        share = torch.from_numpy((1 / np.repeat(numbers, numbers)).astype(np.float32))
        of_labels = (scores[rows, torch.from_numpy(y.indices).long()].float() * share).sum()
        loss = (torch.logsumexp(scores, 1).float().sum() - of_labels) / len(numbers)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def top(self, x):
        with torch.no_grad():
            return self.last(self.hidden(x)).topk(1)[1]


def precision_at_1(model, folder, name):
    x, y = load(folder, name, "test")
    hits = 0
    for first in range(0, x.shape[0], 512):
        block = slice(first, first + 512)
        best = model.top(x[block]).numpy()[:, 0]
        wanted = y[block]
        hits += sum(
            best[n] in wanted.indices[wanted.indptr[n] : wanted.indptr[n + 1]]
            for n in range(len(best))
        )
    return hits / x.shape[0]


def train(task):
    """Train in this process; print what was measured."""
    folder, name, batch = Path(task["folder"]), task["set"], task["batch"]
    x, y = load(folder, name, "train")
    data_bytes = sum(m.data.nbytes + m.indices.nbytes + m.indptr.nbytes for m in (x, y))
    sizes = (x.shape[1], y.shape[1], task["seed"], task["rate"])
    dense = task["engine"] == "dense"
    model = Dense(*sizes, task["precision"]) if dense else Ours(*sizes)
    epochs, total = task.get("epochs"), None
    if epochs:
        total = epochs * (x.shape[0] // batch)
    order, steps, times = np.random.default_rng(task["seed"]), 0, []
    while total is None or steps < total:
        rows = order.permutation(x.shape[0])
        if total is None:
            rows = rows[: min(len(rows), 60_000)]
        shuffled, wanted = x[rows], y[rows]
        for first in range(0, len(rows) - batch + 1, batch):
            block = slice(first, first + batch)
            features, labels = shuffled[block], wanted[block]
            if total is not None:
                model.set_rate(task["rate"] * (1 - steps / total))
            started = time.perf_counter()
            model.step(features, labels)
            times.append(time.perf_counter() - started)
            steps += 1
            if total is None and steps > 2 and sum(times[2:]) > SECONDS:
                total = steps
                break
    warm = times[2:]
    found = {
        "samples_per_second": batch * len(warm) / sum(warm),
        "median": batch / statistics.median(warm),
        "steps": steps,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "data_bytes": data_bytes,
    }
    if not dense:
        report = model.last.report()
        found |= {
            "active_per_sample": report.active_per_sample,
            "active_per_batch": report.active_per_batch,
            "rebuild_share": report.rebuild_seconds / report.seconds,
        }
    if task.get("evaluate"):
        found["p_at_1"] = precision_at_1(model, folder, name)
    print(json.dumps(found))


def run(**task):
    """Train in a new process on one thread."""
    alone = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--task", json.dumps(task, default=str)]
    done = subprocess.run(command, capture_output=True, text=True, env=alone, check=False)
    if done.returncode:
        raise SystemExit(f"{task} failed:\n{done.stderr}")
    found = json.loads(done.stdout.strip().splitlines()[-1])
    print(task["engine"], task["set"], task["batch"], task.get("precision"), found, flush=True)
    return found


def published(checkout, folder, name, n_rows):
    """Return samples/s and peak bytes of the C++ engine over ``n_rows`` rows, None if absent."""
    if checkout is None or not (checkout / "SLIDE" / "main.cpp").exists():
        print("The published engine is left out: no checkout was given with --slide.")
        return None
    with tempfile.TemporaryDirectory() as temporary:
        build = Path(temporary)
        (build / "cnpy.h").write_text(EMPTY_CNPY)
        sources = [str(source) for source in sorted((checkout / "SLIDE").glob("*.cpp"))]
        subprocess.run(
            ["g++", "-O3", "-march=native", "-fopenmp", "-w", "-std=c++11", f"-I{build}", *sources,
             "-o", build / "slide"],
            check=True,
        )  # fmt: skip
        x, y = load(folder, name, "train")
        lines = ["header"]
        for n in range(n_rows):
            labels = ",".join(map(str, y.indices[y.indptr[n] : y.indptr[n + 1]]))
            span = slice(x.indptr[n], x.indptr[n + 1])
            pairs = zip(x.indices[span], x.data[span], strict=True)
            lines.append(labels + " " + " ".join(f"{f}:{v:.6g}" for f, v in pairs))
        (build / "rows.txt").write_text("\n".join(lines) + "\n")
        settings = f"""RangePow = 6,18
K = 2,6
L = 20,50
Sparsity = 1,0.005,1,1
Batchsize=128
Rehash=6400
Rebuild=128000
InputDim={x.shape[1]}
totRecords={n_rows}
totRecordsTest=0
Lr=0.0001
Epoch=1
Stepsize=1000000
sizesOfLayers={HIDDEN},{y.shape[1]}
numLayer=2
trainData={build}/rows.txt
testData={build}/rows.txt
weight=none
savedweight=none
logFile={build}/log.txt
"""
        (build / "config.csv").write_text(settings)
        alone = os.environ | {"OMP_NUM_THREADS": "1"}
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        subprocess.run(
            [build / "slide", build / "config.csv"], env=alone, check=True,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        last = (build / "log.txt").read_text().split("\n")[-2].split()
    seconds = int(last[1])  # whole seconds, of training steps only
    found = {"samples_per_second": n_rows / max(seconds, 1), "seconds": seconds}
    if peak > before:
        found["peak_bytes"] = peak * 1024
    print("published", name, found, flush=True)
    return found


def gigabytes(found):
    return f"{found['peak_bytes'] / 1e9:.1f}" if "peak_bytes" in found else "-"


def table(name, ours, dense, reference):
    """Return the lines of one set and its verdicts."""
    lines = ["| engine | batch | samples/s | peak memory, GB |", "|---|---|---|---|"]
    speed = ours["samples_per_second"]
    batch = OURS[name]["batch"]
    lines.append(f"| sidle `WideSoftmax` | {batch} | **{speed:,.0f}** | {gigabytes(ours)} |")
    for (size, precision), found in zip(DENSE[name], dense, strict=True):
        lines.append(
            f"| PyTorch dense, fused Adam, {precision} | {size} | "
            f"{found['samples_per_second']:,.0f} | {gigabytes(found)} |"
        )
    if reference is not None:
        lines.append(
            f"| SLIDE (C++) | 128 | {reference['samples_per_second']:,.0f} | "
            f"{gigabytes(reference)} |"
        )
    least, by_128, by_best = BARS[name]
    at_128 = speed / dense[0]["samples_per_second"]
    at_best = speed / max(found["samples_per_second"] for found in dense)
    checks = [
        (f"at least {least:,} samples/s", speed >= least, f"{speed:,.0f}"),
        (f"{by_128} times dense at batch 128", at_128 >= by_128, f"{at_128:.0f}"),
        (f"{by_best} times dense at its best", at_best >= by_best, f"{at_best:.1f}"),
    ]
    if name == "b":
        own = ours["peak_bytes"] / 1e9
        checks.append(("under 2 GB, training rows included", own < 2, f"{own:.2f} GB"))
        if reference is not None:
            times = speed / reference["samples_per_second"]
            checks.append(("20 times the published engine", times >= 20, f"{times:.0f}"))
    share = ours["rebuild_share"]
    checks.append(("rebuilds at most 10 % of the time", share <= 0.1, f"{100 * share:.0f} %"))
    active = (
        f"{ours['active_per_sample']:,.0f} per sample, {ours['active_per_batch']:,.0f} per batch"
    )
    lines += ["", f"Active outputs: {active} (one pool for the batch).", ""]
    lines += [f"- {what}: {'met' if ok else '**not met**'} ({value})" for what, ok, value in checks]
    return lines


def quality(folder, intro):
    """Write P@1 on (a) after 5 epochs, paired by seed."""
    lines = [
        *intro,
        "",
        "(a) after 5 epochs: sidle at batch 256 with 4,096 candidates, rate 0.01 falling to 0; "
        "dense PyTorch at batch 128, rate 0.001 falling to 0.",
        "",
        "| seed | sidle P@1 | dense P@1 |",
        "|---|---|---|",
    ]
    common = {"folder": folder, "set": "a", "epochs": 5, "evaluate": True}
    for seed in range(3):
        ours = run(engine="ours", batch=256, rate=RATE, seed=seed, **common)
        dense = run(engine="dense", batch=128, rate=1e-3, precision="float32", seed=seed, **common)
        lines.append(f"| {seed} | {ours['p_at_1']:.3f} | {dense['p_at_1']:.3f} |")
        write("slide_quality.md", lines)


def write(name, lines):
    Path(__file__).with_name("results").joinpath(name).write_text("\n".join(lines) + "\n")


def compare(arguments, intro):
    """Write speed and memory of all engines; the published one last, for it begins slowly."""
    measured = {}
    for name in arguments.sets:
        common = {"folder": arguments.data, "set": name, "seed": 0}
        ours = run(engine="ours", rate=RATE, **OURS[name], **common)
        dense = [
            run(engine="dense", batch=batch, precision=precision, rate=1e-3, **common)
            for batch, precision in DENSE[name]
        ]
        measured[name] = [ours, dense, None]
    for name in [None, *arguments.sets]:
        if name is not None:
            rows = CPP_ROWS[name]
            measured[name][2] = published(arguments.slide, arguments.data, name, rows)
        lines = list(intro)
        for which, found in measured.items():
            _, _, n_features, n_labels, *_ = SETS[which]
            lines += ["", f"## ({which}) {n_features:,} features, {n_labels:,} labels", ""]
            lines += table(which, *found)
        write("slide.md", lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(tempfile.gettempdir()) / "sidle-slide")
    parser.add_argument("--slide", type=Path)
    parser.add_argument("--quality", action="store_true")
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--task", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.task:
        train(json.loads(arguments.task))
        return
    arguments.data.mkdir(parents=True, exist_ok=True)
    make_data(arguments.data)
    flag = " --quality" * arguments.quality
    intro = [
        "# Training with very many outputs: sidle.slide beside others",
        "",
        f"`python benchmarks/bench_slide.py{flag}`; what it does is said at its top. One core.",
        "",
        f"Machine: {json.dumps(provenance.machine())}",
    ]
    if arguments.quality:
        quality(arguments.data, intro)
    else:
        compare(arguments, intro)


if __name__ == "__main__":
    main()
