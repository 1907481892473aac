"""Figures of the study `predictive-coding`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from sidle.evaluation.statistics import t_interval
from sidle.report import figures as draw
from sidle.report.figures import Trace
from sidle.studies import predictive_coding_agents_figures
from sidle.studies.predictive_coding_claims import compared
from sidle.studies.study import Figure, Record, select

_METHODS = {  # in the order of legends: name, and which colour of those of one figure
    "cpc": ("CPC", 0),
    "random": ("untrained", 1),
    "mfcc": ("MFCC with context", 2),
    "pca": ("principal components", 2),
    "pixels": ("pixels", 4),
    "lsa": ("LSA", 2),
    "random-words": ("random word vectors", 4),
    "words": ("words", 5),
    "tf-idf": ("TF-IDF", 3),
    "supervised": ("supervised", 3),
}
_SETS = {
    "fsdd": "spoken digits",
    "timit_sample": "TIMIT sample",
    "synthetic": "synthetic speech",
    "fashion_mnist": "Fashion-MNIST",
    "cifar10": "CIFAR-10",
    "digits": "digits",
    "standard-library": "standard library",
}
_SHARE = ".0%"


def figures(records: Sequence[Record]) -> list[Figure]:
    """Return all figures of the domains that there are records of."""
    found: list[Figure] = []
    if sound := compared(records):
        found.append(_heard(sound))
        found.append(_bounds("audio", "Sound", sound))
    if variants := _variants(select(records, kind="audio")):
        found.append(variants)
    if pictures := select(records, kind="images"):
        found += [_seen(pictures, name) for name in _datasets(pictures)]
        found.append(_bounds("images", "Images", pictures))
    if said := select(records, kind="text"):
        found.append(_said(said))
        found.append(_bounds("text", "Text", said))
    return found + predictive_coding_agents_figures.figures(records)


def _datasets(records: Sequence[Record]) -> list[str]:
    return list(dict.fromkeys(record["dataset"] for record in records))


def _title(name: str) -> str:
    return _SETS.get(name, name)


def _points(
    columns: Mapping[str, Mapping[str, Sequence[float]]], methods: Iterable[str]
) -> list[Trace]:
    """Return points with intervals: by method and category, the values of all seeds."""
    traces: list[Trace] = []
    for method in methods:
        some = columns[method]
        intervals = [t_interval(values) for values in some.values()]
        ends = [(i.low, i.high) if math.isfinite(i.low) else (None, None) for i in intervals]
        traces += draw.interval_points(
            list(some),
            [interval.mean for interval in intervals],
            [low for low, _ in ends],
            [high for _, high in ends],
            *_METHODS[method],
        )
    return traces


def _gathered(
    found: Iterable[tuple[str, str, float]],
) -> dict[str, dict[str, list[float]]]:
    columns: dict[str, dict[str, list[float]]] = {}
    for method, category, value in found:
        columns.setdefault(method, {}).setdefault(category, []).append(value)
    return {name: columns[name] for name in _METHODS if name in columns}


def _heard(records: Sequence[Record]) -> Figure:
    tasks = {"content": "what", "speaker": "who", "left_out": "digits of speakers left out"}
    found = [
        (method, f"{_title(record['dataset'])}: {words}", value)
        for what, words in tasks.items()
        for record in records
        for method, value in record.result.get(what, {}).items()
    ]
    columns = _gathered(found)
    return Figure(
        "audio-accuracy",
        "Sound: what can be read off at every latent",
        "Accuracy of linear classifiers on recordings never heard before: what is said (digits or "
        "phones) and who says it, every 10 ms; and digits of speakers who were left out, a clip a "
        "vector.",
        draw.figure(_points(columns, columns), "", "accuracy", y_format=_SHARE, y_range=(0, 1)),
    )


def _variants(records: Sequence[Record]) -> Figure | None:
    """Draw accuracy against steps ahead and policies of negatives; nothing without variants."""
    varied = {record["dataset"] for record in records if not record["compared"]}
    if not varied:
        return None
    found: dict[tuple[str, int, str], list[float]] = {}  # set, steps (0 for negatives), label
    for record in records:
        dataset, ahead = record["dataset"], record["ahead"]
        if dataset not in varied:
            continue
        value = record.result["content"]["cpc"]
        if record["compared"] or "-ahead-" in record.cell.label:
            found.setdefault((dataset, ahead, f"{ahead} steps"), []).append(value)
        if record["compared"] or "-ahead-" not in record.cell.label:
            words = record["negatives"].replace("-", " ")
            found.setdefault((dataset, 0, words), []).append(value)
    # Steps first, from few to many, then negatives.
    ordered = sorted(found, key=lambda key: (key[0], key[1] == 0, key[1], key[2]))
    columns = {
        key[2] if len(varied) == 1 else f"{_title(key[0])}: {key[2]}": found[key] for key in ordered
    }
    return Figure(
        "audio-variants",
        "Sound: steps ahead, and whose latents are negatives",
        "Accuracy on what is said, at every latent. One thing differs from the model that is "
        "compared above, which is shown among the steps and among the negatives: how many latents "
        "ahead are predicted, or what they are told from.",
        draw.figure(
            _points({"cpc": columns}, ("cpc",)), "", "accuracy", y_format=_SHARE, y_range=(0, 1)
        ),
    )


def _seen(records: Sequence[Record], dataset: str) -> Figure:
    traces: list[Trace] = []
    own = select(records, dataset=dataset)
    for method, (name, colour) in _METHODS.items():
        rows = [record["accuracy"].get(method) for record in own]
        if rows[0] is None:
            continue
        shares = sorted(rows[0], key=float)
        intervals = [t_interval([row[share] for row in rows]) for share in shares]
        ends = [(i.low, i.high) if math.isfinite(i.low) else (None, None) for i in intervals]
        traces += draw.line_with_band(
            [float(share) for share in shares],
            [interval.mean for interval in intervals],
            [low for low, _ in ends],
            [high for _, high in ends],
            name,
            colour,
        )
    return Figure(
        f"images-{dataset}",
        f"Images: accuracy against labels, {_title(dataset)}",
        "Accuracy on test images against the share of labels that a classifier is given: linear on "
        "features learned without any, or the same network trained on them from the start.",
        draw.figure(traces, "share of the labels", "accuracy", x_log=True, y_format=_SHARE),
    )


def _said(records: Sequence[Record]) -> Figure:
    found = [
        (method, _title(name), value)
        for record in records
        for name, accuracies in record["accuracy"].items()
        for method, value in accuracies.items()
    ]
    columns = _gathered(found)
    return Figure(
        "text-accuracy",
        "Text: what can be read off single sentences",
        "Accuracy of linear classifiers on sentences of other texts than the model has read.",
        draw.figure(_points(columns, columns), "", "accuracy", y_format=_SHARE),
    )


def _bounds(domain: str, title: str, records: Sequence[Record]) -> Figure:
    traces: list[Trace] = []
    datasets = list(
        dict.fromkeys(record.cell.settings.get("dataset", "text") for record in records)
    )
    for index, name in enumerate(datasets):
        own = [r for r in records if r.cell.settings.get("dataset", "text") == name]
        curves = [record["pretraining"]["curve"] for record in own]
        intervals = [
            t_interval(values) for values in zip(*(c["bound"] for c in curves), strict=True)
        ]
        ends = [(i.low, i.high) if math.isfinite(i.low) else (None, None) for i in intervals]
        traces += draw.line_with_band(
            curves[0]["step"],
            [interval.mean for interval in intervals],
            [low for low, _ in ends],
            [high for _, high in ends],
            _title(name),
            index,
        )
    ceiling = max(record["pretraining"]["ceiling"] for record in records)
    first, last = curves[0]["step"][0], curves[0]["step"][-1]
    traces += draw.reference_line((first, last), (ceiling, ceiling), "log N")
    return Figure(
        f"{domain}-bound",
        f"{title}: information between context and what comes",
        "InfoNCE on training batches, the mean over steps ahead. It cannot exceed log N.",
        draw.figure(traces, "steps of training", "nats"),
    )
