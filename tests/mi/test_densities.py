"""Bounds from log densities: slow loops, closed forms, and the sandwich around the truth."""

import math

import pytest
import torch

from reference import mutual_information as reference
from sidle import seeding
from sidle.errors import ArgumentError, ShapeError
from sidle.mi.densities import (
    barber_agakov_bound,
    club_estimate,
    leave_one_out_upper_bound,
    log_likelihood,
    njee_estimate,
    structured_lower_bound,
    unnormalized_barber_agakov_bound,
    variational_upper_bound,
)
from sidle.mi.problems import CorrelatedGaussians

FUNCTIONS = {
    structured_lower_bound: reference.structured_lower,
    leave_one_out_upper_bound: reference.leave_one_out,
    club_estimate: reference.club,
    log_likelihood: reference.joint_mean,
}
every_function = pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
PAIRED = [
    barber_agakov_bound,
    unnormalized_barber_agakov_bound,
    variational_upper_bound,
    njee_estimate,
]


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=seeding.torch_generator(seed), dtype=torch.float64)


def gaussian_batches(problem, K, n, seed=0):
    generator = seeding.torch_generator(seed)
    pairs = [problem.sample(K, generator) for _ in range(n)]
    return torch.stack([problem.log_conditional(*pair) for pair in pairs])


def mean_and_error(values_M):
    return values_M.mean().item(), values_M.std().item() / math.sqrt(len(values_M))


@every_function
def test_matches_slow_loop_side_by_side_and_in_single_precision(function):
    log_conditional_MBB = draw(3, 6, 6)
    slow = [FUNCTIONS[function](part.tolist()) for part in log_conditional_MBB]
    assert function(log_conditional_MBB).tolist() == pytest.approx(slow)
    assert function(log_conditional_MBB.half()).dtype == torch.float32
    assert torch.autograd.gradcheck(function, (draw(4, 4).requires_grad_(),))


@every_function
def test_further_rows_are_extra_draws_of_x(function):
    log_conditional_BC = draw(5, 3)
    found = function(log_conditional_BC).item()
    joint = log_conditional_BC.diagonal().mean()
    others = [[log_conditional_BC[i, j] for i in range(5) if i != j] for j in range(3)]
    expected = {
        structured_lower_bound: joint - (log_conditional_BC.logsumexp(0) - math.log(5)).mean(),
        leave_one_out_upper_bound: joint
        - torch.stack([torch.stack(row).logsumexp(0) - math.log(4) for row in others]).mean(),
        club_estimate: joint - torch.stack([torch.stack(row).mean() for row in others]).mean(),
        log_likelihood: joint,
    }[function]
    assert found == pytest.approx(expected.item())


@pytest.mark.parametrize("transform", ["none", "cubic"])
def test_two_bounds_enclose_the_truth_and_close_on_it(transform):
    problem = CorrelatedGaussians(3, 1.5, transform)
    gaps = []
    for K, n in ((8, 400), (128, 40)):
        batches = gaussian_batches(problem, K, n)
        low, low_error = mean_and_error(structured_lower_bound(batches))
        high, high_error = mean_and_error(leave_one_out_upper_bound(batches))
        assert low - 4 * low_error < 1.5 < high + 4 * high_error
        assert low <= math.log(K)
        gaps.append(high - low)
    assert gaps[0] > 3 * gaps[1] > 0


def test_lower_bound_needs_no_true_density_and_the_upper_one_does():
    problem = CorrelatedGaussians(3, 1.5)
    wrong = 0.3 * gaussian_batches(problem, 64, 100)
    assert structured_lower_bound(wrong).mean() < 1.5
    assert leave_one_out_upper_bound(wrong).mean() < 1.5


def test_club_is_its_closed_form_with_the_true_density():
    problem = CorrelatedGaussians(2, 0.6)
    found, error = mean_and_error(club_estimate(gaussian_batches(problem, 32, 400)))
    rho2 = problem.correlation**2
    assert found == pytest.approx(2 * rho2 / (1 - rho2), abs=4 * error)
    assert error < 0.1


def test_barber_agakov_is_tight_with_the_truth_and_low_by_a_divergence_without():
    problem = CorrelatedGaussians(3, 1.0)
    x_ND, y_ND = problem.sample(4000, seeding.torch_generator(1))
    conditional_N = torch.cat(
        [
            problem.log_conditional(x, y).diagonal()
            for x, y in zip(x_ND.split(500), y_ND.split(500), strict=True)
        ]
    )
    error = conditional_N.std().item() / math.sqrt(4000)
    found = barber_agakov_bound(conditional_N, problem.entropy_y).item()
    assert found == pytest.approx(1.0, abs=4 * error)
    marginal_N = problem.log_marginal(y_ND)
    # With q(y|x) = p(y) the divergence left is all of the information.
    assert barber_agakov_bound(marginal_N, problem.entropy_y).item() == pytest.approx(0, abs=0.1)


def test_rate_is_tight_with_the_marginal_and_high_by_a_divergence_without():
    problem = CorrelatedGaussians(2, 1.0)
    x_ND, y_ND = problem.sample(2000, seeding.torch_generator(1))
    conditional_N = problem.log_conditional(x_ND, y_ND).diagonal()
    exact = variational_upper_bound(conditional_N, problem.log_marginal(y_ND)).item()
    assert exact == pytest.approx(1.0, abs=0.1)  # 4 standard errors
    # r(y) normal with variance 4: KL(N(0, 1), N(0, 4)) a dimension.
    wide_N = (-0.5 * (y_ND.double() / 2).square() - math.log(2 * math.sqrt(2 * math.pi))).sum(1)
    wide = variational_upper_bound(conditional_N, wide_N).item()
    divergence = 2 * (math.log(2) + 1 / 8 - 1 / 2)
    assert wide - exact == pytest.approx(divergence, abs=0.05)


def test_unnormalised_bound_forgives_a_function_of_x():
    # Two letters each: everything can be summed.
    joint_AC = torch.tensor([[0.4, 0.1], [0.2, 0.3]], dtype=torch.float64)
    ratio_AC = (joint_AC / (joint_AC.sum(1, keepdim=True) * joint_AC.sum(0))).log()
    truth = (joint_AC * ratio_AC).sum()
    counts = (joint_AC * 10).round().long().flatten()
    a_N = torch.arange(2).repeat_interleave(2).repeat_interleave(counts)
    c_N = torch.arange(2).repeat(2).repeat_interleave(counts)
    for offset_A in (torch.zeros(2), torch.tensor([3.0, -1.0])):
        scores_AC = ratio_AC + offset_A[:, None]
        partition_A = (scores_AC.exp() * joint_AC.sum(0)).sum(1).log()
        found = unnormalized_barber_agakov_bound(scores_AC[a_N, c_N], partition_A[a_N])
        torch.testing.assert_close(found, truth)
    wrong_AC = ratio_AC * 2
    partition_A = (wrong_AC.exp() * joint_AC.sum(0)).sum(1).log()
    assert unnormalized_barber_agakov_bound(wrong_AC[a_N, c_N], partition_A[a_N]) < truth


def test_njee_is_the_difference_of_two_entropies():
    conditional_N, marginal_N = draw(5), draw(5, seed=1)
    found = njee_estimate(conditional_N, marginal_N).item()
    assert found == pytest.approx((-marginal_N.mean() + conditional_N.mean()).item())


@pytest.mark.parametrize("shape", [(3,), (1, 1), (2, 3), (0, 0), (2, 0)])
@every_function
def test_rejects_bad_shapes_and_names_them(function, shape):
    with pytest.raises(ShapeError, match=f"^{function.__name__}: log_conditional_BC"):
        function(torch.zeros(shape))
    with pytest.raises(ArgumentError, match="floating point"):
        function(torch.zeros(2, 2, dtype=torch.int64))


@pytest.mark.parametrize("function", PAIRED, ids=lambda f: f.__name__)
def test_paired_functions_reject_what_is_not_paired(function):
    second = 1.0 if function is barber_agakov_bound else torch.zeros(2)
    for first, error in (
        (torch.zeros(0), ShapeError),
        (torch.tensor(1.0), ShapeError),
        (torch.zeros(2, dtype=torch.int64), ArgumentError),
    ):
        with pytest.raises(error, match=f"^{function.__name__}: "):
            function(first, second)
    if function is not barber_agakov_bound:
        with pytest.raises(ShapeError, match=r"\(3,\).*\(2,\)"):
            function(torch.zeros(3), second)
