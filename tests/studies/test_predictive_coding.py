"""The study's claims measure what they say, its figures can be drawn, its presets are whole."""

import dataclasses

import pytest

from sidle.errors import ArgumentError
from sidle.report import figures as draw
from sidle.studies import find
from sidle.studies import predictive_coding as study
from sidle.studies import predictive_coding_claims as claims
from sidle.studies import predictive_coding_figures as figures
from sidle.studies.study import Cell, Record, judge

CURVE = {"step": [10, 20], "bound": [0.5, 1.0], "accuracy": [0.1, 0.2]}
PRETRAINING = {"loss": 3.0, "bound": 1.0, "ceiling": 4.0, "accuracy": 0.2, "curve": CURVE}
METHODS = {"cpc": 0.6, "random": 0.3, "mfcc": 0.5, "supervised": 0.8}


def record(label, seed, settings, result):
    cell = Cell(f"{label}-seed{seed}", settings, seed)
    return Record(cell, result | {"pretraining": PRETRAINING}, {}, 1.0, "run", False)


def sound(seed=0, dataset="fsdd", ahead=12, negatives="mixed", compared=True, **changes):
    label = f"audio-{dataset}"
    if not compared:
        label += f"-ahead-{ahead}" if ahead != 12 else f"-{negatives}"
    settings = {
        "kind": "audio", "dataset": dataset, "ahead": ahead, "negatives": negatives,
        "compared": compared,
    }  # fmt: skip
    content = METHODS | changes
    if not compared:
        return record(label, seed, settings, {"content": {"cpc": content["cpc"]}, "speaker": {}})
    left_out = {name: content[name] for name in ("cpc", "random", "mfcc")}
    result = {"content": content, "speaker": dict(content), "left_out": left_out}
    return record(label, seed, settings, result)


def pictures(seed=0, dataset="fashion_mnist", **changes):
    of = {"cpc": 0.7, "random": 0.6, "pca": 0.65, "pixels": 0.66, "supervised": 0.69} | changes
    accuracy = {name: {"0.01": value, "1": value + 0.1} for name, value in of.items()}
    settings = {"kind": "images", "dataset": dataset}
    return record(f"images-{dataset}", seed, settings, {"accuracy": accuracy})


def sentences(seed=0, **changes):
    of = {
        "cpc": 0.8, "random": 0.7, "random-words": 0.72, "words": 0.79, "tf-idf": 0.805,
        "lsa": 0.75,
    } | changes  # fmt: skip
    accuracy = {name: dict(of) for name in claims.LABELLED}
    return record("text", seed, {"kind": "text"}, {"accuracy": accuracy})


def effect(name, records):
    claim = next(one for one in claims.CLAIMS if one.id == name)
    return claim.differences(records)


def test_claims_about_sound_take_the_least_favourable_set():
    records = [sound(), sound(dataset="timit_sample", cpc=0.4)]
    assert effect("audio-above-random", records) == {0: pytest.approx(0.1)}
    assert effect("audio-above-mfcc", records) == {0: pytest.approx(-0.1)}
    assert effect("audio-half-of-the-gap", records) == {0: pytest.approx(0.4 - 0.55)}
    assert effect("audio-speakers-above-random", records) == {0: pytest.approx(0.1)}
    assert effect("audio-left-out-above-mfcc", [sound()]) == {0: pytest.approx(0.1)}


def test_claims_about_variants_compare_with_the_model_that_is_compared():
    records = [
        sound(cpc=0.6),
        sound(ahead=2, compared=False, cpc=0.3),
        sound(negatives="mixed-excluding", compared=False, cpc=0.55),
        sound(negatives="same-speaker", compared=False, cpc=0.61),
    ]
    assert effect("audio-many-steps", records) == {0: pytest.approx(0.3)}
    assert effect("audio-excluding-hurts", records) == {0: pytest.approx(0.05)}
    assert effect("audio-same-speaker", records) == {0: pytest.approx(0.01)}
    assert effect("audio-many-steps", [sound()]) == {}


def test_claims_about_images_and_text_take_the_least_of_all():
    records = [pictures(), pictures(dataset="cifar10", cpc=0.64), pictures(seed=1)]
    assert effect("images-above-random", records) == {
        0: pytest.approx(0.04), 1: pytest.approx(0.1),
    }  # fmt: skip
    assert effect("images-above-pca", records)[0] == pytest.approx(-0.01)
    assert effect("images-few-labels", records)[1] == pytest.approx(0.01)
    assert effect("text-above-lsa", [sentences()]) == {0: pytest.approx(0.05)}
    assert effect("text-above-random-words", [sentences()]) == {0: pytest.approx(0.08)}
    near = next(one for one in claims.CLAIMS if one.id == "text-near-tf-idf")
    assert judge(near, [sentences(seed) for seed in range(5)]).verdict == "holds"
    embedded = record("text", 0, {"kind": "text"}, {"accuracy": {"standard-library": {"cpc": 1}}})
    assert effect("text-above-lsa", [embedded]) == {}


def test_without_records_no_claim_has_data():
    for claim in claims.CLAIMS:
        assert claim.differences([]) == {}


def test_figures_can_be_drawn_of_whatever_is_there():
    records = [
        one
        for seed in range(2)
        for one in (
            sound(seed), sound(seed, ahead=2, compared=False),
            sound(seed, negatives="same-speaker", compared=False),
            pictures(seed), pictures(seed, dataset="cifar10"), sentences(seed),
        )
    ]  # fmt: skip
    found = figures.figures(records)
    ids = [one.id for one in found]
    assert ids == [
        "audio-accuracy", "audio-bound", "audio-variants", "images-fashion_mnist",
        "images-cifar10", "images-bound", "text-accuracy", "text-bound",
    ]  # fmt: skip
    for one in found:
        assert draw.problem(one.plotly) is None, one.id
    drawn = next(one for one in found if one.id == "audio-variants").plotly["data"][0]["x"]
    assert list(drawn) == ["2 steps", "12 steps", "mixed", "same speaker"]  # few to many, negatives
    twice = [*records, sound(0, dataset="synthetic", ahead=2, compared=False)]
    drawn = next(one for one in figures.figures(twice) if one.id == "audio-variants").plotly["data"]
    assert list(drawn[0]["x"])[-1] == "synthetic speech: 2 steps"
    assert [one.id for one in figures.figures([pictures()])] == [
        "images-fashion_mnist", "images-bound",
    ]  # fmt: skip
    assert figures.figures([]) == []


def test_presets_hold_the_domains_they_should():
    assert find("predictive-coding") is study.STUDY
    assert study.PRESETS["standard"].domains == ("audio", "images")
    assert study.PRESETS["standard"].seeds == 5
    for name in ("quick", "full", "paper"):
        assert study.PRESETS[name].domains == ("audio", "images", "text", "agents")
    quick = study.cells(study.PRESETS["quick"])
    assert {cell.settings["kind"] for cell in quick} == {"audio", "images", "text", "agent"}
    assert [cell.seed for cell in quick] == sorted(cell.seed for cell in quick)
    assert len({cell.label for cell in quick}) == len(quick)
    only = dataclasses.replace(study.PRESETS["quick"], domains=("images",))
    assert {cell.settings["kind"] for cell in study.cells(only)} == {"images"}
    with pytest.raises(ArgumentError, match="domains"):
        dataclasses.replace(only, domains=("smell",))
