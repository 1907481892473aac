"""The claims of the study measure what they say; its figures take every record there may be."""

import dataclasses
import math

import pytest

from sidle.report import figures as draw
from sidle.studies import bottleneck_claims as claims
from sidle.studies import bottleneck_effects as effects
from sidle.studies import bottleneck_figures
from sidle.studies.bottleneck_tasks import method
from sidle.studies.study import Cell, Record, judge

LOG_C = math.log(10)


def record(name, seed=0, *, kind="method", dataset="fashion_mnist", **changes):
    """A record as `bottleneck_cells` leaves it; ``changes`` are written over its result."""
    settings = {
        "kind": kind, "dataset": dataset, "method": dataclasses.asdict(method(name)),
        "task": {"target": 1},
    }  # fmt: skip
    drawn = settings["method"]["rho"] is not None
    information = {"R": 2.4, "Re": 0.05, "I": 2.2} if drawn else {}
    part = {"accuracy": 0.9, **information}
    curve = {"share": [0.5, 1.0], "accuracy": [0.6, 0.9]}
    curve |= {"R": [3.0, 2.4], "Re": [0.5, 0.05], "I": [1.5, 2.2]} if drawn else {}
    scores = ["entropy", "max-probability", "energy", *(["R", "Re"] if drawn else [])]
    measures = {"auroc": 0.8, "aupr_out": 0.7, "aupr_in": 0.9, "fpr_at_95_tpr": 0.3}
    checks = {"random-noise floor": "passed", "expectation": "not applicable"}
    result = {
        "log_classes": LOG_C,
        "train": dict(part), "test": dict(part), "curve": curve,
        "calibration": {
            "accuracy": 0.9, "ece": 0.05, "ece_adaptive": 0.06, "nll": 0.4, "brier": 0.2,
            "bins": {"count": [0, 40, 60], "confidence": [None, 0.6, 0.9],
                     "accuracy": [None, 0.5, 0.8]},
        },
        "robustness": {
            "accuracy": 0.9,
            "attacks": {"fgsm": {"norm": "linf", "epsilon": 0.1, "robust_accuracy": 0.5}},
            "worst": {"linf": 0.2, "l2": 0.3, "l1": 0.4}, "worst_overall": 0.1,
            "audit": {norm: {"verdict": "passed", "checks": checks} for norm in ("linf", "l2")},
        },
        "paper_protocol": {
            "pgd-linf": {"accuracy": 0.5, "success": 0.4, "epsilon": 0.1},
            "pgd-l2": {"accuracy": 0.6, "success": 0.3, "epsilon": 1.5},
            "carlini-wagner": {"accuracy": 0.1, "success": 0.9, "distance": 1.0},
        },
        "outliers": {
            name: {score: dict(measures) for score in scores}
            for name in ("uniform", "mnist", "attacked")
        },
        "corruptions": {"noise": [0.8, 0.7, 0.6, 0.5, 0.4], "blur": [0.9, 0.8, 0.7, 0.6, 0.5]},
    }  # fmt: skip
    for path, value in changes.items():
        *parts, last = path.split("__")
        place = result
        for part in parts:
            place = place[part]
        place[last] = value
    label = f"{dataset}-{kind}-{name}-seed{seed}"
    return Record(Cell(label, settings, seed), result, {}, 1.0, "run", False)


def both(seed=0, **changes):
    return [record("deterministic", seed), record("ceb-0", seed, **changes)]


def test_ids_are_unique_and_every_claim_takes_complete_records():
    names = [
        "deterministic", "label-smoothing", "vib-0.5", "vib-0.119", "vib-0.01", "ceb-0", "ceb-1",
        "ceb-2", "ceb-4.6", "consistent-2", "adversarial-linf",
    ]  # fmt: skip
    some = [record(name, seed) for seed in range(5) for name in names]
    some += [
        record(name, seed, kind="random-labels")
        for seed in range(5)
        for name in ("deterministic", "ceb-0")
    ]
    assert len({claim.id for claim in claims.CLAIMS}) == len(claims.CLAIMS)
    for claim in claims.CLAIMS:
        found = judge(claim, some)
        assert found.interval is not None, claim.id
        assert found.interval.n == 5, claim.id


def test_without_the_cells_it_needs_a_claim_is_undecided():
    for claim in claims.CLAIMS:
        assert judge(claim, [record("label-smoothing")]).verdict == "undecided"
        assert judge(claim, [record("deterministic")]).interval is None, claim.id


@pytest.mark.parametrize(
    ("effect", "records", "expected"),
    [
        (
            effects.lowest_accuracy,
            [
                record("deterministic", test__accuracy=0.90),
                record("ceb-0", test__accuracy=0.5),  # below rho 1, not asked
                record("ceb-2", test__accuracy=0.91),
                record("ceb-4.6", test__accuracy=0.88),
            ],
            -0.02,
        ),
        (lambda r: effects.rate_at_mni(r, 0.0), [record("ceb-0", train__R=LOG_C - 0.03)], 0.07),
        (lambda r: effects.residual_small(r, 0.0), [record("ceb-0", train__Re=0.25)], -0.15),
        (
            # ceb-4.6 is a point less accurate and does not count.
            lambda r: effects.better_calibrated(r, "deterministic"),
            [
                record("deterministic", calibration__ece=0.08),
                record("ceb-0", calibration__ece=0.02),
                record("ceb-2", calibration__ece=0.04),
                record("ceb-4.6", calibration__ece=0.9, test__accuracy=0.89),
            ],
            0.05,
        ),
        (
            # Mean over sets without the attacked.
            lambda r: effects.better_detected(r, "R", "auroc"),
            both(
                outliers__uniform__R__auroc=1.0,
                outliers__mnist__R__auroc=0.8,
                outliers__attacked__R__auroc=0.0,
            ),
            0.1,
        ),
        (
            lambda r: effects.better_detected(r, "R", "fpr_at_95_tpr"),
            both(outliers__uniform__R__fpr_at_95_tpr=0.1),
            0.1,
        ),
        (effects.less_often_hit, both(**{"paper_protocol__carlini-wagner__success": 0.3}), 0.6),
        (
            lambda r: effects.shrinks(r, "pgd-linf", "linf"),
            both(**{"paper_protocol__pgd-linf__accuracy": 0.8, "robustness__worst__linf": 0.25}),
            0.3 - 0.05,
        ),
        (
            effects.trained_against,
            [record("deterministic"), record("adversarial-linf", robustness__worst__linf=0.6)],
            0.4,
        ),
        (
            lambda r: effects.unseen_attacks(r, effects.unseen_norms),
            [
                record("ceb-0"),
                record("adversarial-linf", robustness__worst__l2=0.1, robustness__worst__l1=0.2),
            ],
            0.2,
        ),
        (
            effects.wider_spread,
            [
                record("vib-0.119", test__accuracy=0.80),
                record("vib-0.01", test__accuracy=0.90),
                record("vib-0.5", test__accuracy=0.10),  # has no CEB of the same multiplier
                record("ceb-2", test__accuracy=0.89),
                record("ceb-4.6", test__accuracy=0.90),
            ],
            0.09,
        ),
        (
            effects.farther_from_mni,
            [record("vib-0.119", train__R=LOG_C + 3), record("ceb-2", train__R=LOG_C - 1)],
            2.0,
        ),
        (
            effects.memorises_less,
            [
                record("deterministic", kind="random-labels", train__accuracy=1.0),
                record("ceb-0", kind="random-labels", train__accuracy=0.1),
            ],
            0.9,
        ),
        (
            effects.more_accurate_when_corrupted,
            [
                record("deterministic"),
                record("ceb-2", corruptions__noise=[0.9, 0.8, 0.7, 0.6, 0.5]),
                record("ceb-0", corruptions__noise=[0.0] * 5),  # below rho 1, not asked
            ],
            0.05,
        ),
    ],
)
def test_claims_measure_what_they_say(effect, records, expected):
    assert effect(records) == {0: pytest.approx(expected)}


@pytest.mark.parametrize(("robust", "expected"), [((0.6, 0.4, 0.2), 1.0), ((0.2, 0.4, 0.6), -1.0)])
def test_an_order_by_rho_is_its_rank_correlation_with_the_sign_turned(robust, expected):
    some = [
        record(name, robustness__worst__linf=value)
        for name, value in zip(("ceb-0", "ceb-2", "ceb-4.6"), robust, strict=True)
    ]
    found = effects.ordered_by_rho(some, lambda one: effects.adaptive(one, "linf"))
    assert found == {0: pytest.approx(expected)}
    assert effects.ordered_by_rho(some[:2], lambda one: 1.0) == {}  # two make no order


def test_claims_are_about_the_first_data_set():
    other = [record("ceb-0", dataset="cifar10", train__Re=9.0)]
    some = [record("ceb-0", train__Re=0.04), *other]
    assert effects.residual_small(some, 0.0) == {0: pytest.approx(0.06)}


def test_figures_take_every_record():
    names = ["deterministic", "vib-0.119", "ceb-0", "ceb-2", "adversarial-linf"]
    some = [record(name, seed) for seed in range(3) for name in names]
    some += [record("deterministic", seed, kind="random-labels") for seed in range(3)]
    found = bottleneck_figures.figures(some)
    assert len({figure.id for figure in found}) == len(found) == 15
    for figure in found:
        assert draw.problem(figure.plotly) is None, figure.id
    # Only what was computed is drawn: no rate without a network that draws.
    alone = bottleneck_figures.figures([record("deterministic")])
    assert not {"information-plane-fashion_mnist", "accuracy-fashion_mnist"} & {f.id for f in alone}


def test_figures_name_the_networks_that_the_audit_suspects():
    suspect = {"linf": {"verdict": "suspect", "checks": {"expectation": "failed"}}}
    some = [record("deterministic"), record("ceb-0", robustness__audit=suspect)]
    captions = {f.id: f.caption for f in bottleneck_figures.figures(some)}
    for name in ("paper-protocol-fashion_mnist", "adaptive-attacks-fashion_mnist"):
        assert "suspect" in captions[name]
        assert "CEB, rho 0" in captions[name]
        assert "deterministic" not in captions[name].partition("suspect")[2]
