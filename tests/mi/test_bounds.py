"""Each bound against closed forms, a slow loop, what it must ignore, and its optimum."""

import math

import pytest
import torch

from reference import mutual_information as reference
from sidle import seeding
from sidle.errors import ArgumentError, ShapeError
from sidle.mi.bounds import (
    BOUNDS,
    dv_estimate,
    infonce_bound,
    js_bound,
    js_objective,
    nwj_bound,
)
from sidle.mi.problems import CorrelatedGaussians

FUNCTIONS = {
    infonce_bound: reference.infonce,
    nwj_bound: reference.nwj,
    dv_estimate: reference.dv,
    js_objective: reference.js_objective,
    js_bound: reference.js,
}
every_function = pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
every_bound = pytest.mark.parametrize("bound", BOUNDS.values(), ids=lambda bound: bound.name)


def random_scores(B, *, seed=0, dtype=torch.float64):
    return torch.randn(B, B, generator=seeding.torch_generator(seed), dtype=dtype)


def values_with_exact_critic(bound, problem, K, n_batches):
    generator = seeding.torch_generator(1)
    values = []
    for _ in range(n_batches):
        x_KD, y_KD = (part.double() for part in problem.sample(K, generator))
        values.append(bound.value(problem.log_ratio(x_KD, y_KD) + bound.shift))
    values = torch.stack(values)
    return values.mean().item(), values.std().item() / math.sqrt(n_batches)


@pytest.mark.parametrize("nats", [0.0, 0.5, 1.0])
@every_bound
def test_matches_closed_form_gaussian_information(bound, nats):
    K = 64
    mean, error = values_with_exact_critic(bound, CorrelatedGaussians(3, nats), K, 100)
    # The mean of the exact density ratio over joint draws is exp(2 I) for Gaussians. By Jensen,
    # InfoNCE then lies at most log(1 + (exp(2 I) - 1) / K) below I. The mean over K (K - 1)
    # product pairs has twice that over K - 1 as its variance at most, half of which is DV's bias.
    excess = (math.exp(2 * nats) - 1) / K
    below = math.log1p(excess) if bound.name == "infonce" else 0.0
    above = excess / (K - 1) if bound.name == "dv" else 0.0
    assert nats - below - 4 * error <= mean <= nats + above + 4 * error
    assert error < 0.04


@pytest.mark.parametrize("factor", [0.5, 1.3])
@pytest.mark.parametrize("name", ["infonce", "nwj", "js"])
def test_a_wrong_critic_reads_too_low(name, factor):
    problem, bound = CorrelatedGaussians(3, 1.0), BOUNDS[name]
    generator = seeding.torch_generator(2)
    values = []
    for _ in range(100):
        pair = problem.sample(64, generator)
        values.append(bound.value(factor * problem.log_ratio(*pair) + bound.shift).item())
    assert sum(values) / 100 < 1.0


@every_bound
def test_uninformative_scores_give_zero(bound):
    scores_BB = torch.full((7, 7), bound.shift, dtype=torch.float64)
    assert bound.value(scores_BB).item() == pytest.approx(0, abs=1e-15)


def test_js_objective_of_zero_scores_is_a_coin_toss():
    assert js_objective(torch.zeros(5, 5)).item() == pytest.approx(-2 * math.log(2))


@pytest.mark.parametrize("B", [2, 3, 17])
@every_function
def test_matches_slow_loop(function, B):
    scores_BB = 2 * random_scores(B, seed=B)
    slow = FUNCTIONS[function](scores_BB.tolist())
    assert function(scores_BB).item() == pytest.approx(slow, rel=1e-12)
    # float32 keeps about seven digits of each score; the exponential of the largest multiplies
    # that by its size, below 10 here.
    assert function(scores_BB.float()).item() == pytest.approx(slow, rel=1e-5, abs=1e-5)


@every_function
def test_gradient_matches_finite_differences(function):
    scores_BB = random_scores(4).requires_grad_()
    assert torch.autograd.gradcheck(function, (scores_BB,))


def test_infonce_ignores_any_offset_that_depends_on_x_alone():
    scores_BB, offset_B = random_scores(9), random_scores(9, seed=1)[0]
    plain = infonce_bound(scores_BB)
    torch.testing.assert_close(infonce_bound(scores_BB + offset_B[:, None]), plain)
    assert (infonce_bound(scores_BB + offset_B) - plain).abs() > 0.01


def test_dv_ignores_a_constant_and_nothing_else():
    scores_BB, offset_B = random_scores(9), random_scores(9, seed=1)[0]
    plain = dv_estimate(scores_BB)
    torch.testing.assert_close(dv_estimate(scores_BB + 3), plain)
    assert (dv_estimate(scores_BB + offset_B) - plain).abs() > 0.01
    assert (dv_estimate(scores_BB + offset_B[:, None]) - plain).abs() > 0.01


def test_js_reads_nwj_at_the_critic_plus_one():
    scores_BB = random_scores(9)
    torch.testing.assert_close(js_bound(scores_BB), nwj_bound(scores_BB + 1))


@every_function
def test_relabelling_the_pairs_changes_nothing(function):
    scores_BB = random_scores(9)
    order = torch.randperm(9, generator=seeding.torch_generator(3))
    torch.testing.assert_close(function(scores_BB[order][:, order]), function(scores_BB))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("B", [2, 64, 1000])
def test_infonce_never_exceeds_log_batch_size(B, dtype):
    scores_BB = 1e4 * random_scores(B, dtype=dtype)
    scores_BB.diagonal().add_(1e5)
    # Equal up to the rounding of log B itself to the dtype.
    ceiling = BOUNDS["infonce"].ceiling(B)
    assert infonce_bound(scores_BB).item() == torch.tensor(ceiling, dtype=dtype).item()


@every_function
def test_large_scores_stay_finite_where_the_result_is(function):
    scores_BB = torch.full((5, 5), -1e4)
    scores_BB.fill_diagonal_(200.0)  # exp(200) overflows float32, but no product pair has it
    scores_BB.requires_grad_()
    value = function(scores_BB)
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(scores_BB.grad).all()


@every_function
def test_half_precision_is_widened(function):
    scores_BB = random_scores(300).half()
    assert function(scores_BB).dtype == torch.float32
    torch.testing.assert_close(function(scores_BB), function(scores_BB.float()))


@every_bound
def test_optimum_is_the_log_ratio_as_far_as_the_bound_cares(bound):
    # A batch over a 2 by 3 alphabet: counts of each pair; a free score for each, fully trained.
    counts_AC = torch.tensor([[7.0, 2.0, 4.0], [1.0, 9.0, 3.0]], dtype=torch.float64)
    a_B, c_B = (
        part.repeat_interleave(counts_AC.long().flatten())
        for part in torch.cartesian_prod(torch.arange(2), torch.arange(3)).T
    )
    scores_AC = torch.zeros_like(counts_AC).requires_grad_()
    optimizer = torch.optim.LBFGS(
        [scores_AC],
        max_iter=500,
        tolerance_grad=1e-9,
        tolerance_change=0,
        line_search_fn="strong_wolfe",
    )

    def closure():
        optimizer.zero_grad()
        loss = -bound.objective(scores_AC[a_B][:, c_B])
        loss.backward()
        return loss

    optimizer.step(closure)
    N = len(a_B)
    squares_AC = counts_AC.sum(1, keepdim=True) * counts_AC.sum(0)
    # Pairs of two different draws: all N^2 without the N that meet themselves. InfoNCE uses all.
    product_AC = squares_AC / N**2
    if bound.name != "infonce":
        product_AC = (squares_AC - counts_AC) / (N * (N - 1))
    found_AC = scores_AC.detach() - bound.shift
    exact_AC = (counts_AC / N / product_AC).log()
    if bound.name == "infonce":  # leaves a function of x free
        found_AC, exact_AC = (m - m.mean(1, keepdim=True) for m in (found_AC, exact_AC))
    if bound.name == "dv":  # leaves a constant free
        found_AC, exact_AC = found_AC - found_AC.mean(), exact_AC - exact_AC.mean()
    torch.testing.assert_close(found_AC, exact_AC, atol=1e-5, rtol=0)


def test_table_says_what_the_papers_prove():
    assert list(BOUNDS) == ["infonce", "nwj", "dv", "js"]
    assert all(name == bound.name for name, bound in BOUNDS.items())
    assert {name for name, bound in BOUNDS.items() if bound.guarantee == "lower"} == {
        "infonce",
        "nwj",
        "js",
    }
    assert BOUNDS["dv"].guarantee == "none"
    ceilings = {name: bound.ceiling(64) for name, bound in BOUNDS.items()}
    assert ceilings == {"infonce": math.log(64), "nwj": None, "dv": None, "js": None}


@pytest.mark.parametrize("shape", [(3,), (3, 4), (1, 1), (0, 0), (2, 2, 2)])
@every_function
def test_rejects_bad_shapes_and_names_them(function, shape):
    with pytest.raises(ShapeError) as raised:
        function(torch.zeros(shape))
    assert str(raised.value).startswith(f"{function.__name__}: scores_BB")
    assert str(shape) in str(raised.value)


@every_function
def test_rejects_integers(function):
    with pytest.raises(ArgumentError, match=r"floating point, got torch\.int64"):
        function(torch.zeros(3, 3, dtype=torch.int64))
