"""How fast `sidle.data.extreme` reads XC text, and in how much memory, next to scikit-learn.

    python benchmarks/bench_xc_reader.py

Real rows (the training parts of xc_finna_yso and xc_rcv1sub1 in SIDLE_DATA, by default
../shared/data) are repeated to a plain file of some 270 MB. scikit-learn's `load_svmlight_file`
reads the same rows without the header, a smaller part of them because it takes long; speeds
compare in MB/s of text. All readers take turns in one process on one thread, the disk cache is
warm. Bars: at least 150 MB/s or 20 times scikit-learn, whichever is lower, and a peak of at most
1.3 times the arrays returned. Writes benchmarks/results/xc_reader.md.
"""

import datetime
import gzip
import importlib.metadata
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
from sklearn.datasets import load_svmlight_file

from sidle import provenance
from sidle.data.extreme import iterate_xc, read_xc, read_xc_header

ROUNDS = 9
COPIES = {"xc_finna_yso": 8, "xc_rcv1sub1": 20}  # 205 MB and 68 MB of text
SMALL_COPIES = {"xc_finna_yso": 1, "xc_rcv1sub1": 2}
BAR_SPEED, BAR_RATIO, BAR_MEMORY = 150e6, 20, 1.3


def build(path, copies, *, header=True):
    """Write the sets, each repeated, with a header that is true of the whole."""
    beside = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("SIDLE_DATA", beside))
    sources = {folder / name / "train.txt.gz": times for name, times in copies.items()}
    headers = [read_xc_header(source) for source in sources]
    n_rows = sum(h.n_rows * times for h, times in zip(headers, sources.values(), strict=True))
    n_features = max(h.n_features for h in headers)
    n_labels = max(h.n_labels for h in headers)
    with path.open("wb") as file:
        if header:
            file.write(b"%d %d %d\n" % (n_rows, n_features, n_labels))
        for source, times in sources.items():
            text = gzip.decompress(source.read_bytes())
            body = text[text.index(b"\n") + 1 :]
            for _ in range(times):
                file.write(body)


def read_bytes_only(path):
    """What any reader must do: bring the bytes here, block by block."""
    block = bytearray(2**20)
    with path.open("rb", buffering=0) as file:
        while file.readinto(block):
            pass


def iterate(path):
    for _ in iterate_xc(path, 1024):
        pass


def load_with_sklearn(path, n_features):
    return load_svmlight_file(
        path, n_features=n_features, dtype=np.float32, multilabel=True, zero_based=True
    )


def assert_same(small, loaded):
    """The two readers must agree before their speeds are compared."""
    features, label_sets = loaded
    assert (features != small.features).nnz == 0
    ends = small.labels.indptr
    for row, labels in enumerate(label_sets):
        assert list(labels) == small.labels.indices[ends[row] : ends[row + 1]].tolist()


def arrays_size(dataset):
    return sum(
        array.nbytes
        for matrix in (dataset.features, dataset.labels)
        for array in (matrix.indptr, matrix.indices, matrix.data)
    )


def child(task, *paths, **environment):
    """Run ``task`` of this script in a fresh process and return what it prints."""
    command = [sys.executable, __file__, task, *map(str, paths)]
    done = subprocess.run(
        command, check=True, capture_output=True, env={**os.environ, **environment}
    )
    return json.loads(done.stdout)


def measure_memory(tiny, path):
    """Print the peak of resident memory above what was resident before the read, and the result."""
    read_xc(tiny)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    before = pages * resource.getpagesize()
    dataset = read_xc(path)
    # The highest ever, imports included: what it overstates counts against the reader.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"peak": peak - before, "arrays": arrays_size(dataset)}))


def measure_compilation(tiny):
    """Print how long the first and the second read of a tiny file take."""
    times = []
    for _ in range(2):
        began = time.perf_counter()
        read_xc(tiny)
        times.append(time.perf_counter() - began)
    print(json.dumps(times))


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        large, small, bare = folder / "large.txt", folder / "small.txt", folder / "bare.txt"
        packed, tiny = folder / "small.txt.gz", folder / "tiny.txt"
        build(large, COPIES)
        build(small, SMALL_COPIES)
        build(bare, SMALL_COPIES, header=False)
        packed.write_bytes(gzip.compress(small.read_bytes(), 6))
        tiny.write_bytes(b"1 2 2\n0 1:.5\n")
        memory = {
            kind: child("memory", tiny, path)
            for kind, path in {"plain": large, "gzip": packed}.items()
        }
        cold, warm = child("compilation", tiny, NUMBA_CACHE_DIR=str(folder / "cache"))
        n_features = read_xc_header(small).n_features
        assert_same(read_xc(small), load_with_sklearn(bare, n_features))
        jobs = {
            "read_xc": (large, lambda: read_xc(large)),
            "iterate_xc, blocks of 1024 rows": (large, lambda: iterate(large)),
            "read_xc of gzip (bytes of the text)": (small, lambda: read_xc(packed)),
            "sklearn load_svmlight_file": (bare, lambda: load_with_sklearn(bare, n_features)),
            "bytes alone, unparsed": (large, lambda: read_bytes_only(large)),
        }
        sizes = {job: path.stat().st_size for job, (path, _) in jobs.items()}
        speeds = {job: [] for job in jobs}
        load = os.getloadavg()[0]
        for _ in range(ROUNDS):
            for job, (_, run) in jobs.items():
                began = time.perf_counter()
                run()
                speeds[job].append(sizes[job] / (time.perf_counter() - began))
        rows = read_xc_header(large).n_rows
    report(speeds, sizes, memory, cold - warm, rows, load)


def report(speeds, sizes, memory, compilation, rows, load):
    machine = provenance.machine()
    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}"
        for name in ("numpy", "numba", "scipy", "scikit-learn")
    )
    middle = {job: statistics.median(values) for job, values in speeds.items()}
    ours, theirs = middle["read_xc"], middle["sklearn load_svmlight_file"]
    ratios = [
        a / b for a, b in zip(speeds["read_xc"], speeds["sklearn load_svmlight_file"], strict=True)
    ]
    low, *_, high = statistics.quantiles(ratios, n=5)
    bar = min(BAR_SPEED, BAR_RATIO * theirs)
    growth = {kind: found["peak"] / found["arrays"] for kind, found in memory.items()}
    lines = [
        "# Reading XC text",
        "",
        f"`python benchmarks/bench_xc_reader.py`, {datetime.date.today()}, "
        f"{machine['processor']}, {machine['cores']} cores, Python {machine['python']}, "
        f"{versions}; {ROUNDS} rounds in turn, one thread, warm disk cache, load average "
        f"{load:.1f} at the start.",
        "",
        f"The text: {rows:,} real rows (xc_finna_yso and xc_rcv1sub1 repeated), "
        f"{sizes['read_xc'] / 1e6:.0f} MB; scikit-learn and gzip read a part of it.",
        "",
        "| reader | text | median | 20th | 80th percentile |",
        "| --- | --- | --- | --- | --- |",
    ]
    for job, values in speeds.items():
        first, *_, last = statistics.quantiles(values, n=5)
        cells = [f"{value / 1e6:.0f} MB/s" for value in (middle[job], first, last)]
        lines.append(f"| {job} | {sizes[job] / 1e6:.0f} MB | " + " | ".join(cells) + " |")
    lines += [
        "",
        f"- **Speed**: {ours / theirs:.1f} times scikit-learn (ratio of medians; by rounds, 20th "
        f"to 80th percentile: {low:.1f} to {high:.1f}). Bar: {bar / 1e6:.0f} MB/s, the lower of "
        f"150 MB/s and 20 times scikit-learn; {'met' if ours >= bar else 'missed'}.",
        *(
            f"- **Peak memory**, {kind}: {growth[kind]:.2f} times the arrays returned "
            f"({found['peak'] / 1e6:.0f} MB for {found['arrays'] / 1e6:.0f} MB). "
            + (
                f"Bar: {BAR_MEMORY}; {'met' if growth[kind] <= BAR_MEMORY else 'missed'}."
                if kind == "plain"
                else "No bar; the smaller the file, the more the fixed 10 MB weigh."
            )
            for kind, found in memory.items()
        ),
        f"- **Bound**: bringing the bytes in takes {ours / middle['bytes alone, unparsed']:.0%} of "
        "the time of a read; the rest is parsing, byte by byte.",
        f"- **Compilation**, once per machine and version: {compilation:.1f} s.",
    ]
    text = "\n".join(lines) + "\n"
    (Path(__file__).parent / "results" / "xc_reader.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    tasks = {"memory": measure_memory, "compilation": measure_compilation}
    if len(sys.argv) > 1:
        tasks[sys.argv[1]](*sys.argv[2:])
    else:
        main()
