"""`sidle mi estimate`: mutual information between the rows of two files."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from sidle.cli import console

if TYPE_CHECKING:
    import numpy.typing as npt

    from sidle.mi.reading import Estimate

_GUARANTEES = {
    "lower": "lower bound",
    "upper": "upper bound",
    "none": "not a bound",
}


@dataclass(frozen=True)
class EstimateOptions:
    """Estimate the mutual information between the rows of two files.

    Row n of one file belongs to row n of the other. Files are .npy, .npz or .csv (also .csv.gz;
    a line of column names is passed over). A critic is trained on part of the rows and the bound
    is read on others.
    """

    x: tyro.conf.Positional[Path]
    """File with one sample a row."""
    y: tyro.conf.Positional[Path]
    """File with as many rows."""
    bound: Literal[
        "infonce",
        "nwj",
        "tuba",
        "js",
        "interpolated",
        "flo",
        "dv",
        "mine",
        "smile",
        "l1out",
        "club",
        "njee",
        "all",
    ] = "infonce"
    """Which bound to read; `all` reads each, checks them against two classical estimators and
    says where they disagree."""
    critic: Literal["separable", "bilinear", "concatenated"] = "separable"
    """What is trained to tell pairs that belong together from pairs that do not."""
    batch_size: int | None = None
    """Pairs in a batch, K; InfoNCE cannot exceed log K. By default by the number of rows."""
    n_steps: int = 4000
    """Training steps at most."""
    seed: int = 0
    """Names the division into parts, the initial weights and the batches."""
    device: str = "cpu"
    """Where to train: cpu, cuda, mps."""
    x_array: str | None = None
    """Which array of X, where X is an .npz file with several."""
    y_array: str | None = None
    """Which array of Y, where Y is an .npz file with several."""
    bits: bool = False
    """Show bits instead of nats; JSON always is in nats."""
    json: bool = False
    """Print {"estimates": [{"bound", "nats", "guarantee", "ceiling", "interval", ...}]} as JSON;
    with all bounds, also "cross_checks" and "disagreements"."""


def estimate(arguments: list[str]) -> int:
    """Run ``sidle mi estimate`` with ``arguments``; return the exit code."""
    options = console.parse(
        EstimateOptions,
        "mi estimate",
        arguments,
        example="sidle mi estimate images.npy captions.npy --bound all",
    )
    from sidle import mi
    from sidle.data.arrays import read_rows

    files = ((options.x, options.x_array), (options.y, options.y_array))
    x_ND, y_NE = (_matrix(read_rows(path, name=array)) for path, array in files)
    settings: dict[str, Any] = {
        name: getattr(options, name)
        for name in ("critic", "batch_size", "n_steps", "seed", "device")
    }
    if options.bound != "all":
        estimates, checks, odd = [mi.estimate(x_ND, y_NE, bound=options.bound, **settings)], {}, []
    else:
        estimates = mi.estimate_all(x_ND, y_NE, **settings)
        checks = mi.cross_checks(x_ND, y_NE, seed=options.seed)
        odd = mi.disagreements(estimates, checks)
    if options.json:
        content: dict[str, Any] = {"estimates": [found.as_dict() for found in estimates]}
        if options.bound == "all":
            content |= {"cross_checks": checks, "disagreements": odd}
        console.print_json(content)
    else:
        _show(estimates, checks, odd, bits=options.bits)
    return 0


def _matrix(rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return rows.reshape(len(rows), -1)


def _promises(estimates: list[Estimate]) -> list[str]:
    """Say of the estimates, those alike together, what they are and under which sampling."""
    from sidle.mi import BOUNDS

    titles: dict[tuple[str, str], list[str]] = {}
    for found in estimates:
        promise = (_GUARANTEES[found.guarantee], found.sampling)
        titles.setdefault(promise, []).append(BOUNDS[found.bound].title)
    return [
        f"{'; '.join(some)}: {what}{',' if what != 'not a bound' else ':'} {sampling}."
        for (what, sampling), some in titles.items()
    ]


def _show(
    estimates: list[Estimate], checks: Mapping[str, float | None], odd: list[str], *, bits: bool
) -> None:
    from sidle.mi import BOUNDS

    unit = math.log(2) if bits else 1.0  # in nats
    made = console.table(
        f"Mutual information in {'bits' if bits else 'nats'}",
        ("bound", "estimate", "95 % interval", "what it is", "ceiling"),
        right=("estimate", "ceiling"),
    )
    for found in estimates:
        interval = found.interval
        made.add_row(
            BOUNDS[found.bound].title,
            f"{found.nats / unit:.3f}",
            "none" if interval is None else f"[{interval[0] / unit:.3f}, {interval[1] / unit:.3f}]",
            _GUARANTEES[found.guarantee],
            "" if found.ceiling is None else f"{found.ceiling / unit:.2f}",
        )
    for name, nats in checks.items():
        made.add_row(
            name.upper(),
            "none" if nats is None else f"{nats / unit:.3f}",
            "",
            "cross-check, not a bound",
            "",
        )
    first = estimates[0]
    noted = dict.fromkeys(f"{BOUNDS[e.bound].title}: {note}" for e in estimates for note in e.notes)
    console.show(
        made,
        f"Trained on {first.n_train} pairs, read on {first.n_test} others in batches of "
        f"{first.batch_size}.",
        *_promises(estimates),
        *(
            ["InfoNCE's low end holds for the information itself, with 97.5 % confidence."]
            if any(found.bound == "infonce" and found.interval for found in estimates)
            else []
        ),
        *noted,
    )
    if checks:
        console.show(
            *(["Disagreement:", *(f"  {one}" for one in odd)] if odd else ["Nothing stands out."])
        )
