"""Extreme classification beside omikuji and fastText: same rows, same cores, paired seeds.

    python benchmarks/bench_xc.py --set xc_bibtex --seed 0 --peers ../peers/bin/python

The peers live in an environment of their own (`pip install omikuji==0.5.2 fasttext-wheel numpy`).
Every engine reads the training file, trains and predicts five labels of each test row, in a process
of its own. Training time includes reading; ours has compiled its kernels before (in xc.json).
fastText (100 dimensions; hierarchical softmax at rate 0.5, one-versus-all at 0.1 under 2,000
labels, where 0.5 diverges) gets
as many epochs as fit into the time that ours took, but no more than 50. Rows are added to
results/xc.json; results/xc.md is written from all of them. omikuji has no seed. A row marked
"disturbed" in xc.json was measured while other programs ran: its times count for nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
THREADS = 2
DIMENSIONS = 100

OMIKUJI = """
import json, sys, time, omikuji
train, test, trees, threads = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
settings = omikuji.Model.default_hyper_param()
settings.n_trees = trees
start = time.monotonic()
model = omikuji.Model.train_on_data(train, settings, threads)
trained = time.monotonic() - start
rows = [[(int(f), float(v)) for f, v in (p.split(":") for p in line.partition(" ")[2].split())]
        for line in list(open(test))[1:]]
start = time.monotonic()
found = [[label for label, _ in model.predict(row, top_k=5)] for row in rows]
print(json.dumps({"train": trained, "predict": time.monotonic() - start, "ranked": found}))
"""

FASTTEXT = """
import json, sys, time, fasttext
train, test, budget = sys.argv[1], sys.argv[2], float(sys.argv[3])
threads, seed, dim = map(int, sys.argv[4:7])
loss = sys.argv[7]
def fit(epochs):
    start = time.monotonic()
    rate = 0.5 if loss == "hs" else 0.1
    model = fasttext.train_supervised(train, dim=dim, epoch=epochs, lr=rate, loss=loss,
                                      minCount=1, thread=threads, seed=seed, verbose=0)
    return model, time.monotonic() - start
one, two = fit(1)[1], fit(3)[1]
epochs = max(1, int((budget - one) / max((two - one) / 2, 1e-3)) + 1)
model, trained = fit(min(epochs, 50))
lines = [line.strip() + "\\n" for line in open(test)]
start = time.monotonic()
found = [[int(label.removeprefix("__label__"))
          for _, label in model.f.predict(line, 5, 0.0, "strict")] for line in lines]
print(json.dumps({"train": trained, "predict": time.monotonic() - start, "epochs": epochs,
                  "ranked": found}))
"""

OURS = """
import json, sys, time
import numpy as np
from sidle.data import extreme
from sidle.slide.classifier import ExtremeClassifier
train, test, seed, threads = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
start = time.monotonic()
few = next(extreme.iterate_xc(train, 600))
tiny = ExtremeClassifier(n_epochs=1, threads=threads).fit(few.features, few.labels)
tiny.predict_topk(few.features)
compiled = time.monotonic() - start
start = time.monotonic()
rows = extreme.read_xc(train)
model = ExtremeClassifier(random_state=seed, threads=threads).fit(rows.features, rows.labels)
trained = time.monotonic() - start
rows = extreme.read_xc(test)
start = time.monotonic()
found, _ = model.predict_topk(rows.features, 5)
print(json.dumps({"train": trained, "predict": time.monotonic() - start, "compile": compiled,
                  "ranked": found.tolist()}))
"""


def main() -> None:
    """Measure the engines that are asked for and write the results."""
    from sidle.data import extreme, sources
    from sidle.evaluation.ranking import propensities, ranking_metrics

    parser = argparse.ArgumentParser()
    parser.add_argument("--set", required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--peers", type=Path, required=True)
    parser.add_argument(
        "--engines", nargs="+", default=["sidle", "omikuji-1", "omikuji-3", "fasttext"]
    )
    options = parser.parse_args()
    folder = sources.resolve(options.set)
    parts = {name: extreme.read_xc(folder / f"{name}.txt.gz") for name in ("train", "test")}
    weights = propensities(parts["train"].labels)
    results = HERE / "results" / "xc.json"
    rows = json.loads(results.read_text()) if results.exists() else []
    with tempfile.TemporaryDirectory() as place:
        xc = {name: Path(place) / f"{name}.txt" for name in parts}
        words = {name: Path(place) / f"{name}.words" for name in parts}
        for name, part in parts.items():
            extreme.write_xc(xc[name], part)
            _write_words(words[name], part, with_labels=name == "train")
        ours = next((r["train"] for r in rows if r["engine"] == "sidle" and r["set"] == options.set
                     and r["seed"] == options.seed), None)  # fmt: skip
        for engine in options.engines:
            if engine == "sidle":
                command = [
                    sys.executable,
                    "-c",
                    OURS,
                    xc["train"],
                    xc["test"],
                    options.seed,
                    THREADS,
                ]
            elif engine == "fasttext":
                command = [options.peers, "-c", FASTTEXT, words["train"], words["test"],
                           ours or 10.0, THREADS, options.seed, DIMENSIONS,
                           "ova" if parts["train"].labels.shape[1] < 2000 else "hs"]  # fmt: skip
            else:
                command = [options.peers, "-c", OMIKUJI, xc["train"], xc["test"],
                           engine.removeprefix("omikuji-"), THREADS]  # fmt: skip
            found = _run(command)
            ours = found["train"] if engine == "sidle" else ours
            ranked = np.full((parts["test"].features.shape[0], 5), -1, np.int64)
            for n, labels in enumerate(found.pop("ranked")):
                ranked[n, : len(labels)] = labels
            metrics = ranking_metrics(ranked, parts["test"].labels, weights)
            row = {"set": options.set, "engine": engine, "seed": options.seed, **found, **metrics}
            rows = [r for r in rows if (r["set"], r["engine"], r["seed"])
                    != (options.set, engine, options.seed)] + [row]  # fmt: skip
            print(
                {k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()}, flush=True
            )
            results.write_text(json.dumps(rows, indent=1) + "\n")
    (HERE / "results" / "xc.md").write_text(report(rows))


def report(rows: list[dict]) -> str:
    """Return the results as a page."""
    from sidle import provenance

    machine = provenance.machine()
    page = ["# Extreme classification beside omikuji and fastText", "", (__doc__ or "").strip()]
    page += [
        "",
        f"Machine: {machine.get('processor', 'unknown')}, {THREADS} threads, "
        f"{time.strftime('%Y-%m-%d')}. Medians over seeds; range of P@1 over seeds in brackets.",
        "",
    ]
    for name in dict.fromkeys(r["set"] for r in rows):
        page += [
            f"## {name}",
            "",
            "| engine | runs | P@1 | P@3 | P@5 | nDCG@5 | PSP@5 | training s | predicting s |",
            "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        ]
        for engine in ("sidle", "omikuji-1", "omikuji-3", "fasttext"):
            some = [r for r in rows if r["set"] == name and r["engine"] == engine]
            if not some:
                continue

            def middle(key: str, some: list[dict] = some) -> float:
                return float(np.median([r[key] for r in some]))

            mark = " (disturbed)" if any(r.get("disturbed") for r in some) else ""
            ends = min(r["p@1"] for r in some), max(r["p@1"] for r in some)
            page.append(
                f"| {engine} | {len(some)} | {middle('p@1'):.4f} [{ends[0]:.4f}, {ends[1]:.4f}] | "
                + " | ".join(f"{middle(k):.4f}" for k in ("p@3", "p@5", "ndcg@5", "psp@5"))
                + f" | {middle('train'):.1f}{mark} | {middle('predict'):.1f}{mark} |"
            )
        page.append("")
    return "\n".join(page)


def _write_words(path: Path, part, *, with_labels: bool) -> None:
    with path.open("w") as file:
        for matrix_row in range(part.features.shape[0]):
            ends = part.features.indptr[matrix_row : matrix_row + 2]
            words = " ".join(f"w{f}" for f in part.features.indices[ends[0] : ends[1]])
            ends = part.labels.indptr[matrix_row : matrix_row + 2]
            labels = part.labels.indices[ends[0] : ends[1]]
            marks = " ".join(f"__label__{label}" for label in labels) + " " if with_labels else ""
            if not with_labels or len(labels):
                file.write(f"{marks}{words}\n")


def _run(command: list) -> dict:
    settings = {**os.environ, "OMP_NUM_THREADS": str(THREADS)}
    done = subprocess.run(
        [str(word) for word in command],
        env=settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=True,
        text=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
