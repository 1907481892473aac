"""Memory of training an extreme classifier: rows in memory beside rows on disk.

    python benchmarks/bench_xc_memory.py

Synthetic rows shaped as Amazon-670K (135,909 features, 670,091 labels, 75 words and 5 labels a
row), written as text. `ExtremeClassifier(hidden=32, n_epochs=1, evidence_rows=20_000)` reads and
learns them on one thread: as matrices in memory, and stored on disk as `sidle xc train` does; each
in a process of its own, for two numbers of rows. Memory is anonymous resident memory, every 20 ms,
at its peak: what the system cannot drop; pages of mapped files it can. Writes
results/xc_memory.md.
"""

import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

NUMBERS_OF_ROWS = (150_000, 600_000)
SHAPE = {"n_features": 135_909, "n_labels": 670_091, "features_per_row": 75, "labels_per_row": 5}
PARTS = 10  # that the rows are drawn in, so that this program needs little memory itself


def anonymous():
    """Return this process's anonymous resident memory, bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("RssAnon")).split()[1]) * 1024


class Peak(threading.Thread):
    """Watches memory from a thread beside."""

    def __init__(self):
        super().__init__(daemon=True)
        self.highest = 0

    def run(self):
        """Look every 20 ms."""
        while True:
            self.highest = max(self.highest, anonymous())
            time.sleep(0.02)


def train(way, path):
    """Learn the rows of a file one way; print what it took."""
    import torch

    from sidle.cli import extreme_files
    from sidle.data import extreme
    from sidle.slide.classifier import ExtremeClassifier

    torch.set_num_threads(1)
    settings = {"hidden": 32, "n_epochs": 1, "evidence_rows": 20_000, "threads": 1}
    few = next(extreme.iterate_xc(path, 600))
    ExtremeClassifier(**settings).fit(few.features, few.labels)  # compiles
    before, peak = anonymous(), Peak()
    peak.start()
    started = time.perf_counter()
    if way == "memory":
        rows = extreme.read_xc(path)
        model = ExtremeClassifier(**settings).fit(rows.features, rows.labels)
    else:
        with (
            tempfile.TemporaryDirectory() as folder,
            extreme_files.stored(path, None, Path(folder)) as rows,
        ):
            model = ExtremeClassifier(**settings).fit(rows.features, rows.labels)
    seconds = time.perf_counter() - started
    found = {"peak": peak.highest - before, "seconds": seconds, "p@1": model.validation_["p@1"]}
    print(json.dumps(found))


def write(path, n_rows):
    """Write rows, a tenth at a time."""
    from sidle.data import extreme
    from sidle.data.synthetic_extreme import power_law_rows

    with path.open("wb") as whole:
        whole.write(f"{n_rows} {SHAPE['n_features']} {SHAPE['n_labels']}\n".encode())
        for part in range(PARTS):
            rows = power_law_rows(n_rows // PARTS, part=f"train {part}", seed=0, **SHAPE)
            extreme.write_xc(path.with_suffix(".part"), rows)
            content = path.with_suffix(".part").read_bytes()
            whole.write(content[content.index(b"\n") + 1 :])
    path.with_suffix(".part").unlink()


def main():
    """Measure both ways for both numbers of rows and write the page."""
    from sidle import provenance

    lines = [
        "# Memory of training an extreme classifier", "", (__doc__ or "").strip(), "",
        f"Machine: {provenance.machine().get('processor', 'unknown')}, "
        f"{time.strftime('%Y-%m-%d')}; other work may have run beside.", "",
        "| rows | file | rows are | peak, GB | seconds | P@1 on held-out rows |",
        "| --- | --- | --- | --- | --- | --- |",
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        for n_rows in NUMBERS_OF_ROWS:
            path = Path(folder) / "rows.txt"
            write(path, n_rows)
            for way in ("memory", "disk"):
                command = [sys.executable, __file__, way, str(path)]
                done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
                found = json.loads(done.stdout.splitlines()[-1])
                print(n_rows, way, found, flush=True)
                lines.append(
                    f"| {n_rows:,} | {path.stat().st_size / 1e6:,.0f} MB | "
                    f"{'in memory' if way == 'memory' else 'on disk'} | {found['peak'] / 1e9:.2f} "
                    f"| {found['seconds']:.0f} | {found['p@1']:.4f} |"
                )
    (Path(__file__).parent / "results" / "xc_memory.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        train(sys.argv[1], Path(sys.argv[2]))
    else:
        main()
