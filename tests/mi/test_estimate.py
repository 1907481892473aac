"""Estimates land where the truth is known, keep to the rows they may see, and refuse bad input."""

import dataclasses
import functools
import json
import math
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import t

from sidle import runs, seeding
from sidle.errors import ArgumentError, NonFiniteError, ShapeError
from sidle.mi import estimate as public_estimate
from sidle.mi import reading
from sidle.mi.beyond_normal import BEYOND_NORMAL
from sidle.mi.critics import SeparableCritic
from sidle.mi.estimate import default_batch_size, estimate, estimate_all, fit_and_read
from sidle.mi.guarantees import BOUNDS
from sidle.mi.problems import CorrelatedGaussians
from sidle.mi.reading import Estimate

every_bound = pytest.mark.parametrize("bound", BOUNDS)
LOWER_BOUNDS = [name for name, bound in BOUNDS.items() if bound.guarantee == "lower"]
small = functools.partial(SeparableCritic, hidden=64)
quick = functools.partial(estimate, critic=small, n_steps=300, learning_rate=2e-3)


def gaussians(dim, nats, n, seed=0):
    return CorrelatedGaussians(dim, nats).sample(n, seeding.torch_generator(seed))


def half_width(found):
    """Half of the t-interval; InfoNCE's low end is another thing."""
    return found.interval[1] - found.nats


@pytest.mark.parametrize(("dim", "nats"), [(1, 0.5), (2, 2.0)])
@every_bound
def test_lands_on_gaussian_information(bound, dim, nats):
    found = quick(*gaussians(dim, nats, 4000), bound=bound)
    # With a heavy tail there is no interval; in ten other seeds such readings spread by 0.1.
    width = 0.2 if found.interval is None else half_width(found)
    if bound == "club":
        # Its expectation with the exact density is far from tight: rho^2 / (1 - rho^2) each.
        rho2 = CorrelatedGaussians(dim, nats).correlation ** 2
        assert found.nats > dim * rho2 / (1 - rho2) - 2 * width
    else:
        # Beyond chance, 300 steps on 2,400 rows miss some (measured: 0.05 and 0.2).
        missed = {0.5: 0.05, 2.0: 0.2}[nats]
        assert nats - missed - width < found.nats < nats + width
        assert width <= 0.2


@pytest.mark.parametrize("n", [100, 2000])
@every_bound
def test_independent_data_read_near_zero(bound, n):
    x_ND, _ = gaussians(5, 0.0, n)
    y_ND, _ = gaussians(5, 0.0, n, seed=1)
    found = estimate(x_ND, y_ND, bound=bound, critic=small, n_steps=1000)
    # Overfitted critics would read far below zero, read-outs of train rows far above. A network of
    # densities has no such neutral start as a critic: what it fits to noise, it reads as a loss.
    below = {("l1out", 100): 0.1, ("njee", 100): 0.6, ("njee", 2000): 0.3}.get((bound, n), 0.05)
    assert -below < found.nats < (0.2 if below == 0.6 else 0.05)


def test_few_hundred_pairs_work_by_default():
    found = estimate(*gaussians(2, 1.0, 300))
    assert found.batch_size == 15
    assert found.interval[0] < 1.0
    assert 0.5 < found.nats < 1.0 + half_width(found)


def test_training_that_only_harms_leaves_the_untrained_critic():
    x_ND, _ = gaussians(5, 0.0, 200)
    y_ND, _ = gaussians(5, 0.0, 200, seed=1)
    found = estimate(x_ND, y_ND, critic=small, n_steps=50, learning_rate=0.1)
    assert found.steps == 0
    assert abs(found.nats) < 0.05


@pytest.mark.parametrize("bound", ["nwj", "js"])
def test_one_far_pair_among_the_test_rows_does_not_ruin_the_reading(bound):
    x_ND, y_ND = gaussians(1, 1.0, 1000)
    plain = quick(x_ND, y_ND, bound=bound)
    order = seeding.numpy_generator(seeding.split(0, "division")).permutation(1000)
    x_ND[order[-1]] = y_ND[order[-1]] = 1e12
    assert abs(quick(x_ND, y_ND, bound=bound).nats - plain.nats) < half_width(plain)


class Recorder(torch.nn.Module):
    """Notes which rows it is given, in training and in evaluation."""

    def __init__(self, dim_x, dim_y):
        super().__init__()
        self.seen = {True: [], False: []}
        self.inner = small(dim_x, dim_y)

    def forward(self, x_BD, y_CE):
        self.seen[self.training].append(set(x_BD[:, 0].tolist()))
        return self.inner(x_BD, y_CE)


def test_each_row_has_one_part_and_test_rows_come_last():
    made = []

    def build(dim_x, dim_y):
        made.append(Recorder(dim_x, dim_y))
        return made[-1]

    x_N = torch.arange(1000.0)
    found = estimate(x_N, x_N, critic=build, n_steps=60)
    trained = set().union(*made[0].seen[True])
    read = made[0].seen[False]
    validated = set().union(*read[:16])  # the first evaluation
    tested = set().union(*read) - validated
    assert len(trained) == found.n_train == 600
    # Rows that no batch of 50 takes in any of the random partitions are not read.
    assert found.n_validation == 150 == len(validated)
    assert found.n_test == 250 == len(tested)
    assert not trained & (validated | tested)
    first_test = next(i for i, rows in enumerate(read) if rows & tested)
    assert all(rows <= tested for rows in read[first_test:])
    # Each partition holds disjoint batches of K.
    batches = read[first_test : first_test + found.n_test // found.batch_size]
    assert len(set().union(*batches)) == sum(map(len, batches)) == 250


def test_training_stops_500_steps_after_the_best():
    made = []

    def build(dim_x, dim_y):
        made.append(Recorder(dim_x, dim_y))
        return made[-1]

    found = estimate(*gaussians(5, 1.0, 300), critic=build)
    assert 25 <= found.steps < 1000  # so few rows are soon overfitted
    assert len(made[0].seen[True]) == found.steps + 500


def test_scaling_sees_train_rows_alone():
    x_ND, y_ND = gaussians(1, 1.0, 600)
    made = []

    def build(dim_x, dim_y):
        made.append(Recorder(dim_x, dim_y))
        return made[-1]

    quick(x_ND, y_ND, critic=build)
    order = seeding.numpy_generator(seeding.split(0, "division")).permutation(600)
    others = np.sort(order[360:])
    trained = set().union(*made[0].seen[True])
    x_ND[others] *= 3
    quick(x_ND, y_ND, critic=build)
    assert set().union(*made[1].seen[True]) == trained


@every_bound
def test_same_seed_gives_the_same_bits_and_leaves_global_states_alone(bound):
    x_ND, y_ND = gaussians(2, 1.0, 400)
    torch.manual_seed(5)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first = quick(x_ND, y_ND, bound=bound, n_steps=50)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002
    assert quick(x_ND, y_ND, bound=bound, n_steps=50) == first
    assert quick(x_ND, y_ND, bound=bound, n_steps=50, seed=1).nats != first.nats


def test_order_of_rows_matters_no_more_than_chance():
    x_ND, y_ND = gaussians(2, 1.0, 2000)
    order = torch.randperm(2000, generator=seeding.torch_generator(3))
    first, other = quick(x_ND, y_ND), quick(x_ND[order], y_ND[order])
    assert abs(first.nats - other.nats) < half_width(first) + half_width(other)


def test_units_do_not_matter():
    x_ND, y_ND = (part.double() for part in gaussians(2, 1.0, 600))
    plain = quick(x_ND, y_ND)
    assert quick(x_ND * 1024, y_ND / 64) == plain  # powers of two scale without rounding
    moved = quick(x_ND * 7.3 + 1e3, y_ND * -1e-9)
    assert moved.nats == pytest.approx(plain.nats, abs=half_width(plain))


def test_swapping_x_and_y_matters_no_more_than_chance():
    x_ND, y_ND = gaussians(2, 1.0, 2000)
    first, other = quick(x_ND, y_ND), quick(y_ND, x_ND)
    assert abs(first.nats - other.nats) < half_width(first)


@pytest.mark.parametrize("bound", ["nwj", "js"])
def test_heavy_tails_and_odd_columns_are_harmless(bound):
    generator = seeding.numpy_generator(0)
    x_N = generator.standard_cauchy(1500)
    noise = generator.normal(size=1500)
    x_ND = np.stack([x_N, np.ones(1500), (generator.random(1500) < 0.1) * 1e9], axis=1)
    y_N = np.arcsinh(x_N) + noise
    found = quick(x_ND, y_N, bound=bound)
    assert 0.2 < found.nats < 1.5
    plain = quick(x_N, y_N, bound=bound)
    assert abs(found.nats - plain.nats) < 0.25  # two half-widths of the t-interval


def test_forms_of_the_same_data_agree():
    x_ND, y_ND = gaussians(1, 1.0, 300)
    first = quick(x_ND, y_ND, n_steps=25)
    for x, y in [
        (x_ND[:, 0], y_ND[:, 0]),
        (x_ND.numpy(), y_ND.double().numpy()),
        (x_ND[:, 0].tolist(), y_ND.requires_grad_()),
    ]:
        assert quick(x, y, n_steps=25) == first
    whole = np.arange(300) % 7
    assert quick(whole, whole > 3, n_steps=25) == quick(whole.astype(float), whole > 3, n_steps=25)


DATA = [Path(part) for part in os.environ.get("SIDLE_DATA", "").split(os.pathsep) if part]
DATA.append(Path(__file__).parents[3] / "shared" / "data")
FOLDER = next((f / "mi_benchmark" for f in DATA if (f / "mi_benchmark").is_dir()), None)


@pytest.mark.skipif(FOLDER is None, reason="needs mi_benchmark in a folder of SIDLE_DATA")
@pytest.mark.parametrize(
    ("task", "bound", "below"),
    [  # what it may read too low: what was measured at these settings, and 0.1 to 0.2 more
        ("1v1-normal-0.75", "infonce", 0.1),
        ("1v1-additive-0.1", "infonce", 0.3),
        ("student-identity-1-1-1", "nwj", 0.15),
        ("multinormal-sparse-3-3-2-2.0", "js", 0.25),
        ("normal_cdf-multinormal-sparse-5-5-2-2.0", "infonce", 0.45),
    ],
)
def test_other_peoples_problems(task, bound, below):
    truths = {
        t["name"]: t["mi_nats"] for t in json.loads((FOLDER / "tasks.json").read_text())["tasks"]
    }
    with np.load(FOLDER / "samples_seed0_n2000.npz") as samples:
        found = quick(samples[f"{task}__x"], samples[f"{task}__y"], bound=bound)
    assert truths[task] - below < found.nats < truths[task] + 0.1  # a half-width
    assert found.interval is None or found.interval[0] < truths[task] < 2 * found.interval[1]


def test_an_interrupted_estimate_resumes_to_the_same_result(tmp_path):
    x_ND, y_ND = gaussians(5, 0.5, 300)
    plain = quick(x_ND, y_ND)
    assert 0 < plain.steps < 130  # the weights to read come from before the interruption
    calls = []

    def interrupted(dim_x, dim_y):
        module = small(dim_x, dim_y)

        def count(module, inputs):
            calls.append(module.training)
            if calls.count(True) == 130:
                signal.raise_signal(signal.SIGINT)

        module.register_forward_pre_hook(count)
        return module

    identity = runs.Identity({}, 0)
    with pytest.raises(KeyboardInterrupt), runs.open_run(tmp_path / "run", identity) as run:
        quick(x_ND, y_ND, critic=interrupted, run=run)
    with runs.open_run(tmp_path / "run", identity) as run:
        assert quick(x_ND, y_ND, run=run) == plain
    assert calls.count(True) == 130


def test_interval_needs_two_batches_and_says_so():
    x_ND, y_ND = gaussians(1, 0.5, 60)
    found = quick(x_ND, y_ND, bound="smile")
    assert (found.batch_size, found.n_test) == (8, 15)
    assert found.interval is None
    assert found.as_dict()["interval"] is None
    assert "fewer than two disjoint batches of 8" in found.notes[0]


def test_confidence_bound_needs_no_two_batches_of_the_full_size():
    found = quick(*gaussians(1, 1.0, 2000), batch_size=300)
    assert found.n_test < 2 * 300
    assert 0.1 < found.interval[0] < 1.0
    assert found.interval[1] == found.ceiling


def test_confidence_bound_takes_many_batches_in_its_stride(monkeypatch):
    monkeypatch.setattr(reading, "MOST_CONFIDENCE_BATCHES", 20)
    fitted, found = fit_and_read(
        *gaussians(1, 1.0, 2000),
        bound="infonce",
        critic=small,
        batch_size=8,
        n_steps=200,
        learning_rate=2e-3,
        seed=0,
        device="cpu",
    )
    assert fitted.clip is not None
    assert 0.0 < found.interval[0] < 1.0


def test_confidence_bound_is_settled_before_the_test_rows_are_seen():
    x_ND, y_ND = gaussians(1, 1.0, 1000)
    settings = {"bound": "infonce", "critic": small, "batch_size": None, "n_steps": 100}
    settings |= {"learning_rate": 2e-3, "seed": 0, "device": "cpu"}
    first, _ = fit_and_read(x_ND, y_ND, **settings)
    order = seeding.numpy_generator(seeding.split(0, "division")).permutation(1000)
    x_ND[order[-250:]], y_ND[order[-250:]] = 7.0, -7.0  # all test rows
    second, _ = fit_and_read(x_ND, y_ND, **settings)
    assert torch.equal(first.clip.reference_RE, second.clip.reference_RE)
    clips = [(c.low, c.high, c.batch_size) for c in (first.clip, second.clip)]
    assert clips[0] == clips[1]
    assert first.limit == second.limit


def test_clipped_values_lie_in_the_range_the_bound_is_told():
    problem = CorrelatedGaussians(1, 2.0)
    clip = reading.Clip(torch.zeros(1, 1), -1.0, 2.0, 16)
    x_MKD, y_MKD = (
        part.reshape(100, 16, 1) for part in problem.sample(1600, seeding.torch_generator(0))
    )
    scores = torch.stack([9 * problem.log_ratio(*pair) for pair in zip(x_MKD, y_MKD, strict=True)])
    values_M = clip.values([scores, -scores])
    assert -3.0 <= values_M.min() < -1.0
    assert 1.5 < values_M.max() <= math.log(16)


def test_reading_near_the_ceiling_says_so():
    x_ND, y_ND = gaussians(2, 6.0, 1000)
    near = quick(x_ND, y_ND, batch_size=16)
    assert near.nats <= near.ceiling == math.log(16)
    assert "Close to the ceiling of 2.77 nats" in near.notes[0]
    assert quick(*gaussians(1, 0.0, 400), batch_size=4, n_steps=25).notes == ()
    assert quick(x_ND, y_ND, bound="nwj", batch_size=16, n_steps=25).notes == ()


def test_interval_is_the_t_interval_where_one_partition_is_enough(monkeypatch):
    # 64 test batches of 4: one partition, whose interval is the plain one.
    found = quick(*gaussians(1, 0.5, 1024), bound="smile", batch_size=4, n_steps=25)
    values = []

    def spy(scores_BB):
        values.extend(BOUNDS["smile"].value(scores_BB).tolist())
        return BOUNDS["smile"].value(scores_BB)

    table = {"smile": dataclasses.replace(BOUNDS["smile"], value=spy)}
    monkeypatch.setitem(fit_and_read.__globals__, "BOUNDS", table)
    again = quick(*gaussians(1, 0.5, 1024), bound="smile", batch_size=4, n_steps=25)
    assert again == found
    tested = np.array(values[-64:])
    half = t.ppf(0.975, 63) * tested.std(ddof=1) / 8
    assert found.nats == pytest.approx(tested.mean())
    assert found.interval == pytest.approx((found.nats - half, found.nats + half))


def test_json_form_is_the_documented_one():
    found = quick(*gaussians(1, 0.5, 300), n_steps=25)
    content = json.loads(json.dumps(found.as_dict()))
    assert list(content)[:5] == ["bound", "nats", "guarantee", "ceiling", "interval"]
    assert set(content) == {*Estimate.__dataclass_fields__, "sampling"}
    assert content["sampling"] == found.sampling == BOUNDS["infonce"].sampling
    assert content["interval"] == list(found.interval)
    assert content["guarantee"] == "lower"
    assert found.bits == pytest.approx(found.nats / math.log(2))


def test_all_bounds_come_in_the_order_of_the_table():
    x_ND, y_ND = gaussians(1, 0.5, 300)
    found = estimate_all(x_ND, y_ND, critic=small, n_steps=25, seed=3)
    assert [one.bound for one in found] == list(BOUNDS)
    assert found[1] == estimate(x_ND, y_ND, bound="nwj", critic=small, n_steps=25, seed=3)
    assert {one.bound: one.guarantee for one in found}["dv"] == "none"
    some = estimate_all(x_ND, y_ND, bounds=("nwj",), critic=small, n_steps=25, seed=3)
    assert some == [found[1]]
    with pytest.raises(ArgumentError, match="bound must be one of"):
        estimate_all(x_ND, y_ND, bounds=("nwj", "x"))


def test_lower_confidence_bound_lies_below_the_truth_and_tightens_with_rows():
    low_ends = [quick(*gaussians(2, 1.0, n)).interval[0] for n in (300, 1000, 4000)]
    assert 0 <= low_ends[0] < low_ends[1] < low_ends[2] < 1.0
    assert low_ends[2] > 0.4  # measured: 0.55


@pytest.mark.long
@pytest.mark.parametrize("name", BEYOND_NORMAL)
def test_no_lower_bound_exceeds_the_truth_beyond_its_interval(name):
    task = BEYOND_NORMAL[name]
    generator = seeding.torch_generator(seeding.split(0, "sample", name))
    x_ND, y_NE = task.sample(2000, generator)
    for bound in LOWER_BOUNDS:
        found = quick(x_ND, y_NE, bound=bound)
        assert found.interval is None or found.interval[0] <= task.nats, bound


class Overconfident(torch.nn.Module):
    """So many times the exact log ratio."""

    def __init__(self, problem, times):
        super().__init__()
        self.problem, self.times = problem, times

    def forward(self, x_BD, y_BD):
        return self.times * self.problem.log_ratio(x_BD, y_BD)


@pytest.mark.parametrize(("times", "heavy"), [(1.0, False), (2.0, True)])
def test_heavy_tail_is_refused_an_interval_with_a_reason(times, heavy):
    # Moments of the density ratio of Gaussians exist below order (1 + rho) / rho >= 2: shape 1/2
    # at most. Twice its log has twice that.
    problem = CorrelatedGaussians(1, 2.0)
    pair = problem.sample(4000, seeding.torch_generator(0))
    critic = Overconfident(problem, times)
    found = reading.read(critic, BOUNDS["nwj"], pair, 200, limit=math.inf, clip=None, seed=0)
    assert (found.pareto_shape > 0.7) == heavy
    assert (found.interval is None) == heavy
    noted = reading.notes(BOUNDS["nwj"], found, 200, 4000)
    assert ["Pareto tail of shape" in note for note in noted] == [True] * heavy


def test_bilinear_critic_by_name():
    found = estimate(*gaussians(2, 1.0, 600), critic="bilinear", n_steps=200, learning_rate=1e-2)
    assert 0.3 < found.nats < 1.0 + half_width(found)


def test_public_face_is_the_function():
    assert public_estimate is estimate


@pytest.mark.parametrize(("n", "K"), [(54, 8), (300, 15), (2000, 100), (5120, 256), (10**6, 256)])
def test_default_batch_size_follows_its_rule(n, K):
    assert default_batch_size(n) == K


GOOD = np.linspace(0.0, 1.0, 100)


@pytest.mark.parametrize(
    ("x", "y", "settings", "error", "said"),
    [
        (GOOD, GOOD[:-1], {}, ShapeError, r"same number of rows, got 100 and 99"),
        (np.zeros((9, 2, 2)), GOOD, {}, ShapeError, r"x must have shape .* got \(9, 2, 2\)"),
        (GOOD, np.zeros((100, 0)), {}, ShapeError, r"y must have shape .* got \(100, 0\)"),
        (np.float64(1.0), GOOD, {}, ShapeError, r"got \(\)"),
        (np.where(GOOD > 0.5, np.nan, 1), GOOD, {}, NonFiniteError, r"x .* 50 of 100 .* row 50"),
        (GOOD, np.where(GOOD == 0, np.inf, 1), {}, NonFiniteError, r"y .* 1 of 100 .* row 0"),
        (GOOD, np.full(100, "a"), {}, ArgumentError, r"y must hold real numbers, got dtype <U1"),
        (GOOD + 1j, GOOD, {}, ArgumentError, r"x must hold real numbers, got dtype complex128"),
        (GOOD, GOOD, {"bound": "x"}, ArgumentError, r"bound must be one of infonce, .*, got 'x'"),
        (
            GOOD,
            GOOD,
            {"critic": "x"},
            ArgumentError,
            r"critic must be one of separable, .* got 'x'",
        ),
        (
            GOOD,
            GOOD,
            {"bound": "interpolated", "batch_size": 2},
            ArgumentError,
            r"at least 3, got 2",
        ),
        (GOOD, GOOD, {"batch_size": 1}, ArgumentError, r"at least 2, got 1"),
        (GOOD, GOOD, {"batch_size": 8.0}, ArgumentError, r"integer of at least 2, got 8.0"),
        (GOOD, GOOD, {"n_steps": 5.0}, ArgumentError, r"n_steps must be an integer"),
        (GOOD, GOOD, {"device": "gpu"}, ArgumentError, r"device 'gpu' cannot be used here"),
        (GOOD, GOOD, {"batch_size": 16}, ArgumentError, r"batch of 16 needs at least 107 rows"),
        (GOOD[:53], GOOD[:53], {}, ArgumentError, r"batch of 8 needs at least 54 rows.* got 53"),
        (GOOD[:0], GOOD[:0], {}, ArgumentError, r"needs at least 54 rows.* got 0"),
        (GOOD, GOOD, {"n_steps": 0}, ArgumentError, r"n_steps must be an integer of at least 1"),
        (GOOD, GOOD, {"learning_rate": 0.0}, ArgumentError, r"learning_rate above 0"),
        (GOOD, GOOD, {"seed": -1}, ArgumentError, r"seed must be an integer"),
    ],
)
def test_bad_input_is_refused_with_a_reason(x, y, settings, error, said):
    with pytest.raises(error, match=said):
        estimate(x, y, **settings)


@pytest.mark.parametrize("K", [2, 7, 8, 16, 100])
def test_the_number_of_rows_asked_for_is_the_smallest_that_works(K):
    with pytest.raises(ArgumentError) as raised:
        estimate(GOOD[:3], GOOD[:3], batch_size=K)
    needed = int(str(raised.value).split("at least ")[1].split(" rows")[0])
    rows = np.linspace(0.0, 1.0, needed)
    assert quick(rows, rows, batch_size=K, n_steps=1).n_test >= K
    with pytest.raises(ArgumentError, match=f"at least {needed} rows"):
        estimate(rows[1:], rows[1:], batch_size=K)
