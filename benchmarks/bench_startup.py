"""How fast the command and the package answer: whole processes, warm, next to a bare Python.

    python benchmarks/bench_startup.py

Bars: `sidle --help` within 0.5 s, `import sidle` within 0.2 s. Each command is run once to warm
the disk cache, then in turn with the others; the table gives medians and 20th and 80th
percentiles. Writes benchmarks/results/startup.md.
"""

import datetime
import statistics
import subprocess
import sys
import time
from pathlib import Path

from sidle import provenance

ROUNDS = 25
COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "import sidle": ["-c", "import sidle"],
    "sidle --help": ["-c", "from sidle.cli.main import entry_point; entry_point()", "--help"],
    "import torch (what a heavy start would cost)": ["-c", "import torch"],
}
BARS = {"import sidle": 0.2, "sidle --help": 0.5}


def seconds(arguments: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    return time.perf_counter() - began


def main() -> None:
    for arguments in COMMANDS.values():
        seconds(arguments)
    times = {name: [] for name in COMMANDS}
    for _ in range(ROUNDS):
        for name, arguments in COMMANDS.items():
            times[name].append(seconds(arguments))
    machine = provenance.machine()
    lines = [
        "# Start-up time",
        "",
        f"`python benchmarks/bench_startup.py`, {datetime.date.today()}, "
        f"{machine['processor']}, {machine['cores']} cores, Python {machine['python']}; "
        f"{ROUNDS} rounds in turn, warm disk cache, whole processes.",
        "",
        "| command | median | 20th | 80th percentile | bar |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, values in times.items():
        low, *_, high = statistics.quantiles(values, n=5)
        bar = f"{BARS[name]:.1f} s" if name in BARS else ""
        middle = statistics.median(values)
        lines.append(f"| {name} | {middle:.3f} s | {low:.3f} s | {high:.3f} s | {bar} |")
    text = "\n".join(lines) + "\n"
    (Path(__file__).parent / "results" / "startup.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
