"""What the study `predictive-coding` claims, and how each claim is measured on its records.

Every effect is a function from records to {seed: value}; accuracies are shares of test data, and
differences are paired: the same seed has the same data, the same labels and the same weights at
the start. Margins were fixed before any cell with the seeds of the study. Where a claim is about
several data sets, its effect is the least favourable one of them.

References: [CPC] A. van den Oord, Y. Li, O. Vinyals 2018, arXiv:1807.03748. [CPC2] O. Henaff et al.
2020, arXiv:1905.09272.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence

from sidle.studies import predictive_coding_agents_claims
from sidle.studies.study import Claim, Record, select

Effect = Mapping[int, float]

DIGITS, PHONES = "fsdd", "timit_sample"
FEW = "0.01"
LABELLED = ("MR", "CR", "Subj", "MPQA", "TREC")


def compared(records: Sequence[Record]) -> list[Record]:
    """Return the records of sound in which methods are compared."""
    return [record for record in select(records, kind="audio") if record["compared"]]


def _least(found: Mapping[int, list[float]]) -> Effect:
    return {seed: min(values) for seed, values in found.items()}


def heard(
    records: Sequence[Record],
    value: Callable[[Mapping[str, float]], float],
    *,
    what: str = "content",
    dataset: str | None = None,
) -> Effect:
    """Return ``value`` of the accuracies of all methods, the least over sets of recordings."""
    found: dict[int, list[float]] = {}
    for record in compared(records):
        if what in record.result and dataset in (None, record["dataset"]):
            found.setdefault(record.cell.seed, []).append(value(record.result[what]))
    return _least(found)


def difference(accuracies: Mapping[str, float], one: str, other: str) -> float:
    """Return the accuracy of one method minus another's."""
    return accuracies[one] - accuracies[other]


def beyond_half(accuracies: Mapping[str, float]) -> float:
    """Return how far CPC lies beyond the middle of the untrained and the supervised network."""
    return accuracies["cpc"] - (accuracies["random"] + accuracies["supervised"]) / 2


def variants(records: Sequence[Record], name: str, value: object) -> dict[int, float]:
    """Return the accuracy on digits of a variant of sound, by seed."""
    return {
        record.cell.seed: record.result["content"]["cpc"]
        for record in select(records, kind="audio", dataset=DIGITS)
        if record[name] == value and (record["compared"] or _changed(record) == name)
    }


def _changed(record: Record) -> str:
    return "ahead" if "-ahead-" in record.cell.label else "negatives"


def variant_gain(records: Sequence[Record], name: str, one: object, other: object) -> Effect:
    """Return the accuracy of one variant minus another's, by seed."""
    ones, others = variants(records, name, one), variants(records, name, other)
    return {seed: ones[seed] - others[seed] for seed in ones if seed in others}


def seen(records: Sequence[Record], other: str, fractions: Sequence[str] | None = None) -> Effect:
    """Return CPC minus another method on images, the least over data sets and label fractions."""
    found: dict[int, list[float]] = {}
    for record in select(records, kind="images"):
        ours, theirs = record["accuracy"]["cpc"], record["accuracy"][other]
        for fraction in ours:
            if fractions is None or fraction in fractions:
                found.setdefault(record.cell.seed, []).append(ours[fraction] - theirs[fraction])
    return _least(found)


def said(records: Sequence[Record], other: str) -> Effect:
    """Return CPC minus another method on labelled sentences, the least over the five sets."""
    found: dict[int, list[float]] = {}
    for record in select(records, kind="text"):
        if set(LABELLED) <= set(record["accuracy"]):
            for name in LABELLED:
                accuracies = record["accuracy"][name]
                found.setdefault(record.cell.seed, []).append(accuracies["cpc"] - accuracies[other])
    return _least(found)


CLAIMS = (
    Claim(
        id="audio-above-random",
        sentence="What is said is read far better off contexts than off an untrained network.",
        source="[CPC] table 1",
        effect="accuracy at every latent, CPC minus untrained; the least over sets",
        unit="share",
        margin=0.05,  # five points: an improvement that one would hear
        differences=functools.partial(
            heard, value=functools.partial(difference, one="cpc", other="random")
        ),
    ),
    Claim(
        id="audio-half-of-the-gap",
        sentence="At least half of the way from an untrained to a supervised network is made.",
        source="[CPC] table 1 (64.6 of 27.6 to 74.6)",
        effect="accuracy at every latent, CPC minus the middle of both; the least over sets",
        unit="share",
        margin=0.0,  # the sentence itself
        differences=functools.partial(heard, value=beyond_half),
    ),
    Claim(
        id="audio-above-mfcc",
        sentence="What is said is read better off contexts than off MFCC.",
        source="[CPC] table 1",
        effect="accuracy at every latent, CPC minus MFCC with context; the least over sets",
        unit="share",
        margin=0.0,  # any gain over what is there already
        differences=functools.partial(
            heard, value=functools.partial(difference, one="cpc", other="mfcc")
        ),
    ),
    Claim(
        id="audio-speakers-above-random",
        sentence="So is who speaks, better than off an untrained network.",
        source="[CPC] table 1 (97.4 against 1.87)",
        effect="accuracy on speakers at every latent, CPC minus untrained; the least over sets",
        unit="share",
        margin=0.05,  # as above
        differences=functools.partial(
            heard, value=functools.partial(difference, one="cpc", other="random"), what="speaker"
        ),
    ),
    Claim(
        id="audio-left-out-above-mfcc",
        sentence="Digits of speakers who were left out are told better than from MFCC.",
        source="ours",
        effect="accuracy on clips of speakers left out, CPC minus MFCC",
        unit="share",
        margin=0.0,  # any gain
        differences=functools.partial(
            heard, value=functools.partial(difference, one="cpc", other="mfcc"), what="left_out"
        ),
    ),
    Claim(
        id="audio-many-steps",
        sentence="Predicting twelve steps ahead is better than two.",
        source="[CPC] table 2 (64.6 against 28.5)",
        effect="accuracy on digits at every latent, 12 steps minus 2",
        unit="share",
        margin=0.02,  # two points, as small as differences among many steps in the paper
        differences=functools.partial(variant_gain, name="ahead", one=12, other=2),
    ),
    Claim(
        id="audio-excluding-hurts",
        sentence="Mixed negatives without those of the own sequence are worse.",
        source="[CPC] table 2 (57.3 against 64.6)",
        effect="accuracy on digits at every latent, mixed minus mixed without the own sequence",
        unit="share",
        margin=0.0,  # the sentence
        differences=functools.partial(
            variant_gain, name="negatives", one="mixed", other="mixed-excluding"
        ),
    ),
    Claim(
        id="audio-same-speaker",
        sentence="Negatives of the same speaker are as good as mixed ones.",
        source="[CPC] table 2 (65.5 against 64.6)",
        effect="accuracy on digits at every latent, same speaker minus mixed",
        unit="share",
        margin=-0.02,  # two points are no difference
        differences=functools.partial(
            variant_gain, name="negatives", one="same-speaker", other="mixed"
        ),
    ),
    Claim(
        id="images-above-random",
        sentence="Classes of images are read better off latents than off an untrained network.",
        source="[CPC] section 3.2",
        effect="accuracy, CPC minus untrained; the least over sets and shares of labels",
        unit="share",
        margin=0.0,  # at every share of labels
        differences=functools.partial(seen, other="random"),
    ),
    Claim(
        id="images-above-pca",
        sentence="And better than off principal components of the pixels.",
        source="ours",
        effect="accuracy, CPC minus PCA, its size chosen; the least over sets and shares of labels",
        unit="share",
        margin=0.0,  # as above
        differences=functools.partial(seen, other="pca"),
    ),
    Claim(
        id="images-few-labels",
        sentence="With 1 % of the labels it beats training the same network with labels.",
        source="[CPC2] figure 1",
        effect="accuracy with 1 % of the labels, CPC minus supervised; the least over sets",
        unit="share",
        margin=0.0,  # the sentence
        differences=functools.partial(seen, other="supervised", fractions=(FEW,)),
    ),
    Claim(
        id="text-above-random-words",
        sentence="Classes of sentences are read better off latents than off random word vectors.",
        source="[CPC] table 5",
        effect="accuracy, CPC minus random word vectors; the least of five sets",
        unit="share",
        margin=0.0,  # on all five
        differences=functools.partial(said, other="random-words"),
    ),
    Claim(
        id="text-above-lsa",
        sentence="And better than off latent semantic analysis.",
        source="ours",
        effect="accuracy, CPC minus LSA; the least of five sets",
        unit="share",
        margin=0.0,  # on all five
        differences=functools.partial(said, other="lsa"),
    ),
    Claim(
        id="text-near-tf-idf",
        sentence="They are as good as a classifier of weighted words made for each set.",
        source="[CPC] table 5, against vectors of its time",
        effect="accuracy, CPC minus TF-IDF; the least of five sets",
        unit="share",
        margin=-0.01,  # one point is no difference
        differences=functools.partial(said, other="tf-idf"),
    ),
    *predictive_coding_agents_claims.CLAIMS,
)
