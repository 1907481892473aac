"""The domain of sound in the study `predictive-coding`: latents of speech predicted ahead.

A cell pre-trains one model on recordings without labels [CPC, section 3.1]. Then linear classifiers
read off its contexts, at every latent, what is said (digit or phone) and who says it. Beside it:
the same model untrained; MFCC with the frames around each one; and the same encoder and context
network with a linear layer, trained on the labels of every latent from the start. Words and
recordings that are tested were never heard before, in pre-training either.

Of spoken digits, clips of one speaker in random order make a sequence, so that there is something
to predict beyond a word. There also the digits of a speaker who was left out are read, one vector a
clip: the means over five parts of it; every speaker is left out in turn.

Variants differ in how many steps are predicted and in which latents are negatives [CPC, table 2];
they learn from the first data set, and only digits or phones at every latent are read.

References: [CPC] A. van den Oord, Y. Li, O. Vinyals 2018, arXiv:1807.03748, section 3.1, tables 1
and 2.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sidle import seeding, storage
from sidle.cpc import AudioSettings, ContrastivePredictiveCoding, batches, negatives
from sidle.cpc.negatives import Policy
from sidle.data import audio, cepstra, synthetic
from sidle.data.recordings import FULL_SCALE, Recordings, offsets_of
from sidle.errors import ArgumentError
from sidle.evaluation import probes
from sidle.runs import Run
from sidle.studies.predictive_coding_training import pretrained
from sidle.studies.study import Cell

KIND = "audio"
DIGITS = "fsdd"
TEST_TAKES = 5  # of each digit by each speaker, the first ones, as its publisher splits them
_TAKE = re.compile(r"_(\d+)(?:\.wav|\.flac)?$")
_AT_ONCE = 16  # sequences whose features are computed together
_IGNORED = -1  # label of a latent that has none
_Array = np.ndarray[Any, Any]

POLICIES: dict[str, Callable[[int], Policy]] = {
    "mixed": negatives.Mixed,
    "mixed-excluding": lambda n: negatives.Mixed(n, exclude_sequence=True),
    "same-speaker": lambda n: negatives.SameGroup(n, key="speaker"),
    "same-speaker-excluding": lambda n: negatives.SameGroup(
        n, key="speaker", exclude_sequence=True
    ),
    "current-sequence": negatives.SameSequence,
}
"""Whose latents a positive is told from [CPC, table 2]."""


@dataclass(frozen=True)
class AudioDomainSettings:
    """Settings of the domain `audio`."""

    datasets: tuple[str, ...] = ("fsdd", "timit_sample")
    """Recordings: fsdd (spoken digits), timit_sample (phones), or synthetic (phones)."""
    steps: int = 1500
    """Steps of pre-training."""
    batch_size: int = 8
    """Windows of a step."""
    window: float = 1.28
    """Seconds of a window."""
    learning_rate: float = 1e-3
    """Of pre-training, by Adam; it rises over 100 steps and falls along half a cosine."""
    features: int = 128
    """Channels of the encoder."""
    context_features: int = 128
    """Units of the context network."""
    ahead: int = 12
    """Latents ahead that are predicted."""
    negatives: str = "same-speaker"
    """Whose latents a positive is told from. With those of other speakers among them, who speaks
    tells most of them apart: on held-out recordings (seed 100, 1,000 steps) mixed ones gave 55 %
    of the digits at every latent and 53 % of those of speakers left out, these 64 % and 74 %."""
    n_negatives: int = 32
    """How many."""
    ahead_variants: tuple[int, ...] = (2, 4, 8, 16)
    """Other numbers of latents ahead, each a variant, of the first data set."""
    negatives_variants: tuple[str, ...] = (
        "mixed", "mixed-excluding", "same-speaker-excluding", "current-sequence",
    )  # fmt: skip
    """Other negatives, each a variant, of the first data set."""
    clips: int = 8
    """Spoken digits of a sequence."""
    probe_frames: int = 20_000
    """Latents that probes are fitted on, at most."""
    supervised_steps: int = 800
    """Steps of training with labels."""
    mfcc_context: int = 4
    """Frames before and after each one that MFCC are given."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "features", "context_features", "ahead", "n_negatives",
                     "clips", "probe_frames", "supervised_steps"):  # fmt: skip
            if (value := getattr(self, name)) < 1:
                raise ArgumentError(f"audio.{name}: expected at least 1, got {value}.")
        for name in (self.negatives, *self.negatives_variants):
            if name not in POLICIES:
                raise ArgumentError(
                    f"audio: negatives must be some of {', '.join(POLICIES)}, got {name!r}."
                )
        if self.learning_rate <= 0 or self.window <= 0 or self.mfcc_context < 0:
            raise ArgumentError(
                "audio: learning_rate and window must be above 0 and mfcc_context at least 0."
            )


_OF_VARIANTS = ("datasets", "ahead_variants", "negatives_variants")


def cells(settings: AudioDomainSettings, seeds: int) -> list[Cell]:
    """Return a cell for each seed and data set, of the first one a cell for each variant too."""
    common = {
        name: getattr(settings, name)
        for name in settings.__dataclass_fields__
        if name not in _OF_VARIANTS
    }
    digests = {name: digest(name) for name in settings.datasets}
    variants: dict[str, dict[str, Any]] = {"": {}}
    variants |= {f"-ahead-{k}": {"ahead": k} for k in settings.ahead_variants}
    variants |= {f"-{name}": {"negatives": name} for name in settings.negatives_variants}
    return [
        Cell(
            f"audio-{dataset}{label}-seed{seed}",
            {"kind": KIND, "dataset": dataset, "compared": not label, **common, **changes},
            seed,
            digests[dataset],
        )
        for seed in range(seeds)
        for dataset in settings.datasets
        for label, changes in variants.items()
        if not label or dataset == settings.datasets[0]
    ]


def digest(dataset: str) -> str:
    """Return the digest of a set of recordings."""
    return storage.digest(dataset, _load(dataset).digest())


@functools.lru_cache(maxsize=2)
def _load(dataset: str) -> Recordings:
    if dataset == "synthetic":
        return synthetic.speech(4, 30, seed=0, seconds=2.0, sample_rate=8000)
    return audio.load(dataset)


@dataclass(frozen=True, eq=False)
class Corpus:
    """Sequences with what is said at every latent.

    Attributes:
        recordings: N sequences, with speakers.
        content: of each, the digit or phone at each latent, int64 (T,), -1 where there is none.
        speaker: number of each speaker, int64 (N,).
    """

    recordings: Recordings
    content: tuple[_Array, ...]
    speaker: _Array

    def __len__(self) -> int:
        return len(self.recordings)


@dataclass(frozen=True, eq=False)
class Data:
    """A data set as the cells see it.

    Attributes:
        train: sequences to learn from.
        test: sequences of other recordings.
        n_content: digits or phones.
        n_speakers: speakers.
        clips: of spoken digits all clips, with their digits (N,) and speakers (N,); else None.
    """

    train: Corpus
    test: Corpus
    n_content: int
    n_speakers: int
    clips: tuple[Recordings, _Array, _Array] | None


def data_of(dataset: str, hop: int, clips: int, seed: int) -> Data:
    """Return training and test sequences, latents being ``hop`` samples apart."""
    recordings = _load(dataset)
    assert recordings.speakers is not None
    names = sorted(set(recordings.speakers))
    speaker = np.array([names.index(name) for name in recordings.speakers])
    if dataset == DIGITS:
        assert recordings.texts is not None
        digit = np.array([int(text) for text in recordings.texts])
        takes = np.array([_take(name) for name in recordings.names])
        parts = []
        for rows, name in ((takes >= TEST_TAKES, "train"), (takes < TEST_TAKES, "test")):
            generator = seeding.numpy_generator(seeding.split(seed, "clips", name))
            parts.append(
                _joined(recordings, np.flatnonzero(rows), digit, speaker, clips, hop, generator)
            )
        return Data(parts[0], parts[1], 10, len(names), (recordings, digit, speaker))
    assert recordings.segments is not None
    n_phones = len(recordings.segments.phone_names)
    test_rows = _fifth(speaker, seeding.numpy_generator(seeding.split(0, "test", dataset)))
    made = [
        _as_they_are(recordings.select(np.flatnonzero(rows)), speaker[rows], hop)
        for rows in (~test_rows, test_rows)
    ]
    return Data(made[0], made[1], n_phones, len(names), None)


def _take(name: str) -> int:
    found = _TAKE.search(name)
    assert found is not None, name
    return int(found[1])


def _fifth(speaker: _Array, generator: np.random.Generator) -> _Array:
    """Return a fifth of each speaker's recordings, bool (N,)."""
    chosen = np.zeros(len(speaker), dtype=bool)
    for name in np.unique(speaker):
        rows = generator.permutation(np.flatnonzero(speaker == name))
        chosen[rows[: max(1, len(rows) // 5)]] = True
    return chosen


def _joined(
    recordings: Recordings,
    rows: _Array,
    digit: _Array,
    speaker: _Array,
    clips: int,
    hop: int,
    generator: np.random.Generator,
) -> Corpus:
    """Return sequences of clips of one speaker, each clip once, in random order."""
    pieces, content, speakers = [], [], []
    for name in np.unique(speaker[rows]):
        own = generator.permutation(rows[speaker[rows] == name])
        for some in np.array_split(own, max(1, len(own) // clips)):
            parts = [
                recordings.samples[recordings.offsets[r] : recordings.offsets[r + 1]] for r in some
            ]
            pieces.append(np.concatenate(parts))
            ends = np.cumsum([len(part) for part in parts])
            centres = np.arange(len(pieces[-1]) // hop) * hop + hop // 2
            content.append(digit[some][np.searchsorted(ends, centres, side="right")])
            speakers.append(name)
    made = Recordings(
        np.concatenate(pieces),
        offsets_of([len(piece) for piece in pieces]),
        recordings.sample_rate,
        tuple(f"sequence {i}" for i in range(len(pieces))),
        tuple(str(name) for name in speakers),
    )
    return Corpus(made, tuple(content), np.array(speakers))


def _as_they_are(recordings: Recordings, speaker: _Array, hop: int) -> Corpus:
    content = []
    for row, n in enumerate(np.diff(recordings.offsets) // hop):
        content.append(recordings.phones_at(row, np.arange(n) * hop + hop // 2))
    return Corpus(recordings, tuple(content), speaker)


def run_cell(cell: Cell, run: Run) -> dict[str, Any]:
    """Pre-train, probe, and compare.

    Returns:
        ``content`` and ``speaker``: accuracy at every latent of test sequences, by method ("cpc";
        and where methods are compared "random", "mfcc", "supervised"); ``left_out`` (of digits):
        accuracy on digits of speakers who were left out, the mean over speakers, without
        "supervised"; ``pretraining``: see `predictive_coding_training`.
    """
    settings = cell.settings
    model = model_of(cell)
    data = data_of(settings["dataset"], model.encoder.hop, settings["clips"], cell.seed)  # type: ignore[arg-type]
    untrained = model_of(cell)
    pretraining = pretrained(cell, model, _windows(cell, model, data.train.recordings), run)
    spaces: dict[str, Callable[[Recordings], list[_Array]]] = {
        "cpc": functools.partial(_contexts, model)
    }
    if settings["compared"]:
        spaces["random"] = functools.partial(_contexts, untrained)
        spaces["mfcc"] = functools.partial(_cepstra, cell, model.encoder.hop)  # type: ignore[arg-type]
    found: dict[str, Any] = {"content": {}, "speaker": {}}
    for name, of in spaces.items():
        train_x, test_x = of(data.train.recordings), of(data.test.recordings)
        for what in ("content", "speaker") if settings["compared"] else ("content",):
            found[what][name] = round(_probed(cell, data, what, train_x, test_x), 5)
    if settings["compared"]:
        for what in ("content", "speaker"):
            found[what]["supervised"] = round(_supervised(cell, data, what), 5)
        if data.clips is not None:
            found["left_out"] = {
                name: round(_left_out(cell, data.clips, of), 5) for name, of in spaces.items()
            }
    return found | {"pretraining": pretraining}


def model_of(cell: Cell) -> ContrastivePredictiveCoding:
    """Return the untrained model of a cell."""
    settings = cell.settings
    return ContrastivePredictiveCoding.of(
        AudioSettings(
            sample_rate=_load(settings["dataset"]).sample_rate,
            features=settings["features"],
            context_features=settings["context_features"],
            steps=tuple(range(1, settings["ahead"] + 1)),
            negatives=POLICIES[settings["negatives"]](settings["n_negatives"]),
            seed=seeding.split(cell.seed, "audio", "model"),
        )
    )


def _windows(
    cell: Cell, model: ContrastivePredictiveCoding, recordings: Recordings
) -> batches.Batches:
    """Return the windows of each step of pre-training."""
    settings = cell.settings
    hop: int = model.encoder.hop  # type: ignore[assignment]
    window = max(2, round(settings["window"] * recordings.sample_rate / hop)) * hop
    return batches.audio(
        recordings,
        settings["batch_size"],
        window,
        hop=hop,
        seed=seeding.split(cell.seed, "audio", "order"),
        same_group=settings["negatives"].startswith("same-speaker"),
    )


def _batched(recordings: Recordings) -> Iterator[tuple[_Array, Tensor, Tensor]]:
    """Yield rows, their waveforms (B, L) and lengths; those of like length are together."""
    length_N = np.diff(recordings.offsets)
    order = np.argsort(length_N, kind="stable")
    for rows in np.array_split(order, max(1, len(order) // _AT_ONCE)):
        x_BL = np.zeros((len(rows), int(length_N[rows].max())), np.float32)
        for b, row in enumerate(rows):
            x_BL[b, : length_N[row]] = recordings.waveform(int(row))
        yield rows, torch.from_numpy(x_BL), torch.from_numpy(length_N[rows])


def _contexts(model: ContrastivePredictiveCoding, recordings: Recordings) -> list[_Array]:
    """Return the contexts of each sequence, (T, H)."""
    found: dict[int, _Array] = {}
    for rows, x, lengths in _batched(recordings):
        contexts = model.represent(x, lengths=lengths, level="context", pool=None).numpy()
        for row, one, n in zip(rows, contexts, model.latent_lengths(lengths).tolist(), strict=True):
            found[int(row)] = one[:n]
    return [found[row] for row in range(len(recordings))]


def _cepstra(cell: Cell, hop: int, recordings: Recordings) -> list[_Array]:
    """Return the MFCC of each sequence with the frames around each one, (T, F)."""
    context = cell.settings["mfcc_context"]
    return [
        cepstra.stacked(
            cepstra.mfcc(recordings.waveform(row), recordings.sample_rate, hop=hop), context
        )
        for row in range(len(recordings))
    ]


def _labels(corpus: Corpus, what: str) -> list[_Array]:
    if what == "content":
        return list(corpus.content)
    return [np.full(len(one), s) for one, s in zip(corpus.content, corpus.speaker, strict=True)]


def _probed(
    cell: Cell, data: Data, what: str, train_x: Sequence[_Array], test_x: Sequence[_Array]
) -> float:
    """Return the accuracy of a linear probe at every latent of the test sequences."""
    parts = []
    for corpus, features in ((data.train, train_x), (data.test, test_x)):
        labels = np.concatenate(_labels(corpus, what))
        there = np.concatenate(corpus.content) != _IGNORED
        sequence = np.repeat(np.arange(len(corpus)), [len(one) for one in corpus.content])
        parts.append((np.concatenate(features)[there], labels[there], sequence[there]))
    (x, y, sequence), (x_test, y_test, _) = parts
    generator = seeding.numpy_generator(seeding.split(cell.seed, "probe", "frames"))
    rows = np.sort(generator.permutation(len(y))[: cell.settings["probe_frames"]])
    return probes.linear_probe(
        x[rows], y[rows], x_test, y_test, groups=sequence[rows],
        seed=seeding.split(cell.seed, "probe"),
    ).accuracy  # fmt: skip


def _left_out(
    cell: Cell,
    clips: tuple[Recordings, _Array, _Array],
    of: Callable[[Recordings], list[_Array]],
) -> float:
    """Return the accuracy on digits of speakers left out in turn, a clip a vector of five means."""
    recordings, digit, speaker = clips
    x = np.stack([_five_means(one) for one in of(recordings)])
    found = [
        probes.linear_probe(
            x[others], digit[others], x[own], digit[own], groups=speaker[others],
            seed=seeding.split(cell.seed, "probe"),
        ).accuracy
        for _, others, own in probes.leave_groups_out(speaker)
    ]  # fmt: skip
    return float(np.mean(found))


def _five_means(features_TF: _Array) -> _Array:
    """Return the means over five parts of a clip side by side."""
    edges = np.linspace(0, len(features_TF), 6).astype(int)
    parts = [
        features_TF[low : max(high, low + 1)].mean(0)
        for low, high in zip(np.minimum(edges[:-1], len(features_TF) - 1), edges[1:], strict=True)
    ]
    found: _Array = np.concatenate(parts)
    return found


class _Labeller(nn.Module):
    """Encoder and context network with a linear layer at every latent."""

    def __init__(self, model: ContrastivePredictiveCoding, features: int, classes: int) -> None:
        super().__init__()
        self.encoder, self.context = model.encoder, model.context
        self.last = nn.Linear(features, classes)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        logits: Tensor = self.last(self.context(self.encoder(x, lengths)))
        return logits


def _supervised(cell: Cell, data: Data, what: str) -> float:
    """Return the accuracy of the same networks trained on the labels of every latent."""
    settings = cell.settings
    classes = data.n_content if what == "content" else data.n_speakers
    seed = seeding.split(cell.seed, "supervised", what)
    with seeding.scope(seed):
        network = _Labeller(model_of(cell), settings["context_features"], classes)
    hop: int = network.encoder.hop  # type: ignore[assignment]
    recordings, labels = data.train.recordings, _labels(data.train, what)
    length_N = np.diff(recordings.offsets) // hop * hop
    window = round(settings["window"] * recordings.sample_rate / hop) * hop
    optimizer = torch.optim.Adam(network.parameters(), settings["learning_rate"], fused=True)
    for step in range(settings["supervised_steps"]):
        rate = (
            settings["learning_rate"]
            * (1 + np.cos(np.pi * step / settings["supervised_steps"]))
            / 2
        )
        for group in optimizer.param_groups:
            group["lr"] = rate
        generator = seeding.numpy_generator(seeding.split(seed, "windows", step))
        rows = generator.choice(len(length_N), settings["batch_size"], p=length_N / length_N.sum())
        n = int(min(window, length_N[rows].min()))
        x_BL = np.zeros((len(rows), n), np.float32)
        y_BT = np.zeros((len(rows), n // hop), np.int64)
        for b, row in enumerate(rows):
            start = int(generator.integers((length_N[row] - n) // hop + 1))
            first = int(recordings.offsets[row]) + start * hop
            x_BL[b] = recordings.samples[first : first + n] / FULL_SCALE
            y_BT[b] = labels[row][start : start + n // hop]
        network.train()
        optimizer.zero_grad(set_to_none=True)
        logits = network(torch.from_numpy(x_BL), torch.full((len(rows),), n))
        loss = nn.functional.cross_entropy(
            logits.flatten(0, 1), torch.from_numpy(y_BT).flatten(), ignore_index=_IGNORED
        )
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return _accuracy(network, data.test, _labels(data.test, what))


@torch.no_grad()
def _accuracy(network: _Labeller, corpus: Corpus, labels: Sequence[_Array]) -> float:
    network.eval()
    right = total = 0
    for rows, x, lengths in _batched(corpus.recordings):
        predicted = network(x, lengths).argmax(2).numpy()
        for b, row in enumerate(rows):
            y = labels[int(row)]
            there = corpus.content[int(row)] != _IGNORED
            right += int((predicted[b, : len(y)] == y)[there].sum())
            total += int(there.sum())
    return right / total
