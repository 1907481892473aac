"""The domain of text in the study `predictive-coding`: words predicted from those before.

A cell pre-trains one model on running text [CPC, section 3.3]; what it predicts are pieces of a few
words, of which there is more to tell in so little text than of sentences. Then it embeds sentences
of labelled sets by the encoder and reads their class off with a linear classifier: the test split
where there is one, else ten-fold cross-validation, as the paper. Beside it: the same encoder
untrained; means of random word vectors; bags of words, plain and weighted (TF-IDF), with a linear
classifier of their own; and their most telling directions (LSA), learned on the same running text
and as many as the encoder has features.

Where no labelled sets are at hand the classes are those of the embedded text itself: which package
of the standard library a sentence of documentation is from, files being held out whole.

References: [CPC] A. van den Oord, Y. Li, O. Vinyals 2018, arXiv:1807.03748, section 3.3 and table
5. [LSA] Deerwester et al. 1990, Journal of the American Society for Information Science 41(6).
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from sidle import seeding, storage
from sidle.cpc import ContrastivePredictiveCoding, TextSettings, batches, negatives
from sidle.data import documents, sources, text
from sidle.data.text import Vocabulary
from sidle.errors import ArgumentError
from sidle.evaluation import probes
from sidle.runs import Run
from sidle.studies.predictive_coding_training import pretrained
from sidle.studies.study import Cell

KIND = "text"
EMBEDDED = "standard-library"
FOLDS = 10
SETS = {
    "MR": ("rt-polarity.all.gz", None),
    "CR": ("custrev.all.gz", None),
    "Subj": ("subj.all.gz", None),
    "MPQA": ("mpqa.all.gz", None),
    "TREC": ("TREC.train.all.gz", "TREC.test.all.gz"),
}
"""Sets of labelled sentences: file to train on, and file to test on where there is one."""
_PACKAGES = 6  # of the embedded text, the most talkative ones
_BATCH_OF_FEATURES = 512
_Array = np.ndarray[Any, Any]
Split = tuple[_Array, _Array]  # rows to train on, rows to test on


@dataclass(frozen=True)
class TextDomainSettings:
    """Settings of the domain `text`."""

    corpora: tuple[str, ...] = ("brown", "gutenberg", "finna_abstracts_en")
    """Running text of `lm_corpus`, or standard-library."""
    sets: tuple[str, ...] = ("MR", "CR", "Subj", "MPQA", "TREC")
    """Labelled sentences, or standard-library."""
    steps: int = 2400
    """Steps of pre-training."""
    batch_size: int = 64
    """Passages of a step."""
    piece_words: int = 8
    """Words of a piece: sentences are cut into pieces of about so many, which are predicted."""
    pieces: int = 12
    """Pieces of a passage."""
    learning_rate: float = 3e-3
    """Of pre-training, by Adam; it rises over 100 steps and falls along half a cosine."""
    vocabulary: int = 65_000
    """Words that are told apart, of those that occur twice."""
    word_features: int = 256
    """Features of a word."""
    kernel: int = 1
    """Words that the convolution sees; odd."""
    features: int = 1024
    """Features of a sentence."""
    context_features: int = 256
    """Units of the context network."""
    ahead: int = 3
    """Pieces ahead that are predicted."""
    n_negatives: int = 0
    """Other pieces that a positive is told from; 0 takes all of the batch."""
    max_words: int = 64
    """Words of a sentence that are read."""
    most_passages: int = 0
    """Passages of pre-training, at most; 0 takes all."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "vocabulary", "word_features", "features",
                     "context_features", "ahead", "max_words", "piece_words"):  # fmt: skip
            if (value := getattr(self, name)) < 1:
                raise ArgumentError(f"text.{name}: expected at least 1, got {value}.")
        known = {*SETS, EMBEDDED}
        if not self.sets or not set(self.sets) <= known:
            raise ArgumentError(
                f"text.sets: expected some of {', '.join(sorted(known))}, got {list(self.sets)}."
            )
        if self.n_negatives < 0 or self.kernel % 2 == 0:
            raise ArgumentError(
                "text: n_negatives must be at least 0 and kernel odd, got "
                f"{self.n_negatives} and {self.kernel}."
            )
        if self.pieces < 2 or self.learning_rate <= 0:
            raise ArgumentError(
                "text: pieces must be at least 2 and learning_rate above 0, got "
                f"{self.pieces} and {self.learning_rate}."
            )


def cells(settings: TextDomainSettings, seeds: int) -> list[Cell]:
    """Return a cell for each seed."""
    values = {name: getattr(settings, name) for name in settings.__dataclass_fields__}
    plain = {name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}
    found = digest(settings.corpora, settings.sets)
    return [Cell(f"text-seed{seed}", {"kind": KIND, **plain}, seed, found) for seed in range(seeds)]


def digest(corpora: Sequence[str], sets: Sequence[str]) -> str:
    """Return the digest of running text and labelled sentences."""
    parts = [str(len(document)) + "\n".join(document) for document in running_text(tuple(corpora))]
    for name in sets:
        labelled = labelled_sentences(name)
        parts += [name, labelled.labels.tobytes().hex(), *labelled.sentences]
    return storage.digest(*parts)


@functools.lru_cache(maxsize=2)
def running_text(corpora: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    """Return documents, the sentences of each in their order."""
    found: list[tuple[str, ...]] = []
    for name in corpora:
        if name == EMBEDDED:
            found += [some for some in text.sentences(text.standard_library()) if some]
            continue
        path = sources.resolve("lm_corpus") / f"{name}.txt.gz"
        lines = text.read_lines(path)
        if name == "brown":  # a sentence a line, texts end to end
            found.append(tuple(line for line in lines if line))
        elif name.startswith("finna"):  # an abstract a line
            found += [tuple(documents.split(iter([line]))) for line in lines]
        else:
            found.append(tuple(documents.split(lines)))
    return tuple(found)


@dataclass(frozen=True, eq=False)
class Labelled:
    """Labelled sentences and how they are split.

    Attributes:
        sentences: N of them.
        labels: int64 (N,).
        splits: rows to train on and to test on, for each time that a classifier is fitted.
    """

    sentences: tuple[str, ...]
    labels: _Array
    splits: tuple[Split, ...]


@functools.lru_cache(maxsize=8)
def labelled_sentences(name: str) -> Labelled:
    """Return a set of labelled sentences; folds are drawn once and for all."""
    generator = seeding.numpy_generator(seeding.split(0, "folds", name))
    if name == EMBEDDED:
        return _packages(generator)
    folder, (first, second) = sources.resolve("sentence_classification"), SETS[name]
    train_part = text.read_labelled_sentences(folder / first)
    n = len(train_part)
    if second is not None:
        test_part = text.read_labelled_sentences(folder / second)
        return Labelled(
            (*train_part.sentences, *test_part.sentences),
            np.concatenate([train_part.labels, test_part.labels]),
            ((np.arange(n), np.arange(n, n + len(test_part))),),
        )
    folds = np.array_split(generator.permutation(n), FOLDS)
    splits = tuple((np.setdiff1d(np.arange(n), fold), np.sort(fold)) for fold in folds)
    return Labelled(train_part.sentences, train_part.labels, splits)


def _packages(generator: np.random.Generator) -> Labelled:
    """Return sentences of the standard library by package, files held out whole, one split."""
    source = text.standard_library()
    by_file = text.sentences(source)
    packages = [name.split("/")[0] if "/" in name else "" for name in source.names]
    counts = Counter({p: 0 for p in packages if p})
    for package, some in zip(packages, by_file, strict=True):
        if package:
            counts[package] += len(some)
    chosen = [name for name, _ in counts.most_common(_PACKAGES)]
    sentences: list[str] = []
    labels: list[int] = []
    files: list[int] = []
    for file, (package, some) in enumerate(zip(packages, by_file, strict=True)):
        if package in chosen:
            sentences += some
            labels += [chosen.index(package)] * len(some)
            files += [file] * len(some)
    names = generator.permutation(np.unique(files))
    tested = np.isin(files, names[: len(names) // 4])
    return Labelled(
        tuple(sentences), np.array(labels), ((np.flatnonzero(~tested), np.flatnonzero(tested)),)
    )


def run_cell(cell: Cell, run: Run) -> dict[str, Any]:
    """Pre-train, embed, probe, and compare.

    Returns:
        ``accuracy``: by labelled set and method ("cpc", "random", "random-words", "words",
        "tf-idf", "lsa"), the mean over splits; ``pretraining``: see `predictive_coding_training`.
    """
    settings = cell.settings
    running = running_text(tuple(settings["corpora"]))
    words = text.vocabulary(
        (word for some in running for one in some for word in text.words(one)),
        min_count=2, max_size=settings["vocabulary"],
    )  # fmt: skip
    model, untrained = model_of(cell, words), model_of(cell, words)
    pretraining = pretrained(cell, model, _passages(cell, running, words), run)
    embed = functools.partial(_embedded, cell, words)
    lsa = _directions(running, settings["features"], cell.seed)
    accuracy = {}
    for name in settings["sets"]:
        labelled = labelled_sentences(name)
        spaces = {
            "cpc": embed(model, labelled.sentences),
            "random": embed(untrained, labelled.sentences),
            "random-words": _random_words(cell, labelled.sentences),
            "lsa": lsa(labelled.sentences),
        }
        found = {key: _probed(cell, labelled, x) for key, x in spaces.items()}
        found["words"], found["tf-idf"] = _bags(cell, labelled, False), _bags(cell, labelled, True)
        accuracy[name] = {key: round(value, 5) for key, value in found.items()}
    return {"accuracy": accuracy, "pretraining": pretraining}


def model_of(cell: Cell, words: Vocabulary) -> ContrastivePredictiveCoding:
    """Return the untrained model of a cell."""
    settings = cell.settings
    return ContrastivePredictiveCoding.of(
        TextSettings(
            vocabulary_size=len(words),
            features=settings["features"],
            word_features=settings["word_features"],
            kernel=settings["kernel"],
            context_features=settings["context_features"],
            steps=tuple(range(1, settings["ahead"] + 1)),
            negatives=negatives.Mixed(settings["n_negatives"] or None),
            seed=seeding.split(cell.seed, "text", "model"),
        )
    )


def _passages(cell: Cell, running: Sequence[Sequence[str]], words: Vocabulary) -> batches.Batches:
    """Return the passages of each step of pre-training."""
    settings = cell.settings
    most = settings["most_passages"] * settings["pieces"] or None
    kept, n = [], 0
    for some in running:
        if most is not None and n >= most:
            break
        numbers = _encoded(words, some, settings["max_words"])
        kept.append(batches.pieces(numbers, settings["piece_words"]))
        n += len(kept[-1])
    return batches.text(
        kept,
        settings["batch_size"],
        settings["pieces"],
        seed=seeding.split(cell.seed, "text", "order"),
        max_words=settings["max_words"],
    )


def _encoded(words: Vocabulary, sentences: Sequence[str], max_words: int) -> list[_Array]:
    return [words.encode(text.words(one)[:max_words]) for one in sentences]


def _embedded(
    cell: Cell, words: Vocabulary, model: ContrastivePredictiveCoding, sentences: Sequence[str]
) -> _Array:
    """Return the encoder's vector of each sentence, (N, D)."""
    encoded = _encoded(words, sentences, cell.settings["max_words"])
    made = []
    for some in _chunks(encoded):
        x_N1W = np.full((len(some), 1, max(1, *(len(one) for one in some), 1)), -1, np.int64)
        for n, one in enumerate(some):
            x_N1W[n, 0, : len(one)] = one
        found = model.represent(torch.from_numpy(x_N1W), level="encoder", pool="mean")
        made.append(found.numpy())
    return np.concatenate(made)


def _chunks(rows: list[_Array]) -> Iterator[list[_Array]]:
    for start in range(0, len(rows), _BATCH_OF_FEATURES):
        yield rows[start : start + _BATCH_OF_FEATURES]


def _random_words(cell: Cell, sentences: Sequence[str]) -> _Array:
    """Return the mean of random vectors of the words of each sentence, (N, D)."""
    told = [text.words(one) for one in sentences]
    words = text.vocabulary(word for one in told for word in one)
    generator = seeding.numpy_generator(seeding.split(cell.seed, "random-words"))
    vectors = generator.standard_normal((len(words), cell.settings["features"]))
    found = [
        vectors[numbers].mean(0) if len(numbers) else np.zeros(vectors.shape[1])
        for numbers in _encoded(words, sentences, cell.settings["max_words"])
    ]
    return np.stack(found).astype(np.float32)


def _directions(
    running: Sequence[Sequence[str]], features: int, seed: int
) -> Callable[[Sequence[str]], _Array]:
    """Return the map of sentences to their LSA vectors, learned on sentences of running text."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    sentences = [one for some in running for one in some]
    weights = TfidfVectorizer(tokenizer=text.words, token_pattern=None, min_df=2, sublinear_tf=True)
    x = weights.fit_transform(sentences)
    state = seeding.split(seed, "lsa") % 2**32
    svd = TruncatedSVD(min(features, x.shape[1] - 1), random_state=state).fit(x)

    def mapped(given: Sequence[str]) -> _Array:
        found: _Array = svd.transform(weights.transform(given)).astype(np.float32)
        return found

    return mapped


def _probed(cell: Cell, labelled: Labelled, x: _Array) -> float:
    found = [
        probes.linear_probe(
            x[fitted], labelled.labels[fitted], x[tested], labelled.labels[tested],
            seed=seeding.split(cell.seed, "probe"),
        ).accuracy
        for fitted, tested in labelled.splits
    ]  # fmt: skip
    return float(np.mean(found))


def _bags(cell: Cell, labelled: Labelled, weighted: bool) -> float:
    """Return the accuracy of a linear classifier on bags of words, its strength chosen by folds."""
    from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedKFold

    common: dict[str, Any] = {"tokenizer": text.words, "token_pattern": None}
    bags = TfidfVectorizer(sublinear_tf=True, **common) if weighted else CountVectorizer(**common)
    folds = StratifiedKFold(3, shuffle=True, random_state=seeding.split(cell.seed, "bags") % 2**32)
    model = GridSearchCV(
        LogisticRegression(max_iter=2000), {"C": [0.3, 1.0, 3.0, 10.0, 30.0]}, cv=folds
    )
    found = []
    for fitted, tested in labelled.splits:
        x = bags.fit_transform([labelled.sentences[row] for row in fitted])
        model.fit(x, labelled.labels[fitted])
        told = model.predict(bags.transform([labelled.sentences[row] for row in tested]))
        found.append(float((told == labelled.labels[tested]).mean()))
    return float(np.mean(found))
