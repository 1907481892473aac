"""Each bound against closed forms, a slow loop, what it must ignore, and its optimum."""

import math

import pytest
import torch

from reference import mutual_information as reference
from sidle import seeding
from sidle.errors import ArgumentError, ShapeError
from sidle.mi.bounds import (
    dv_estimate,
    flo_bound,
    infonce_bound,
    interpolated_bound,
    js_bound,
    js_objective,
    mine_objective,
    nwj_bound,
    smile_estimate,
    tuba_bound,
)
from sidle.mi.guarantees import BOUNDS, exact_outputs
from sidle.mi.problems import CorrelatedGaussians

FUNCTIONS = {
    infonce_bound: reference.infonce,
    nwj_bound: reference.nwj,
    dv_estimate: reference.dv,
    js_objective: reference.js_objective,
    js_bound: reference.js,
    smile_estimate: reference.smile,
}
CRITIC_BOUNDS = {name: bound for name, bound in BOUNDS.items() if not bound.density}
every_function = pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
every_bound = pytest.mark.parametrize("bound", CRITIC_BOUNDS.values(), ids=CRITIC_BOUNDS)


def random_scores(B, *, seed=0, dtype=torch.float64):
    return torch.randn(B, B, generator=seeding.torch_generator(seed), dtype=dtype)


def values_with_exact_critic(bound, problem, K, n_batches):
    generator = seeding.torch_generator(1)
    values = []
    for _ in range(n_batches):
        x_KD, y_KD = (part.double() for part in problem.sample(K, generator))
        values.append(bound.value(*exact_outputs(bound, problem.log_ratio(x_KD, y_KD))))
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
    # The interpolated bound has little of InfoNCE's loss; SMILE's clip at 5 nats hardly bites here.
    below = math.log1p(excess) if bound.name in ("infonce", "interpolated") else 0.0
    above = excess / (K - 1) if bound.name in ("dv", "mine", "smile") else 0.0
    below, above = (below + 0.02, above + 0.02) if bound.name == "smile" else (below, above)
    assert nats - below - 4 * error <= mean <= nats + above + 4 * error
    assert error < 0.04


@pytest.mark.parametrize("factor", [0.5, 1.3])
@pytest.mark.parametrize("name", ["infonce", "nwj", "tuba", "js", "interpolated", "flo"])
def test_a_wrong_critic_reads_too_low(name, factor):
    problem, bound = CorrelatedGaussians(3, 1.0), BOUNDS[name]
    generator = seeding.torch_generator(2)
    values = []
    for _ in range(100):
        pair = problem.sample(64, generator)
        values.append(bound.value(*exact_outputs(bound, factor * problem.log_ratio(*pair))).item())
    assert sum(values) / 100 < 1.0


@every_bound
def test_uninformative_scores_give_zero(bound):
    outputs = exact_outputs(bound, torch.zeros(7, 7, dtype=torch.float64))
    assert bound.value(*outputs).item() == pytest.approx(0, abs=1e-14)


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


@pytest.mark.parametrize("name", ["infonce", "nwj", "tuba", "dv", "js"])
def test_optimum_is_the_log_ratio_as_far_as_the_bound_cares(name):
    bound = BOUNDS[name]
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


def leading(scores_BB):
    return torch.stack([scores_BB, 2 * scores_BB, scores_BB.T])


@every_function
def test_leading_dimensions_are_problems_side_by_side(function):
    together = function(leading(random_scores(6)))
    apart = torch.stack([function(part) for part in leading(random_scores(6))])
    torch.testing.assert_close(together, apart)


def with_pairs(function, scores_BC, positives_BC, mask_BC):
    return function(scores_BC, positives_BC=positives_BC, mask_BC=mask_BC).item()


@pytest.mark.parametrize("shape", [(4, 7), (7, 4), (1, 5), (5, 5)])
def test_rectangles_masks_and_several_positives_match_slow_loops(shape):
    generator = seeding.torch_generator(4)
    scores_BC = torch.randn(*shape, generator=generator, dtype=torch.float64)
    positives_BC = torch.rand(*shape, generator=generator) < 0.3
    positives_BC[0, 0] = True
    mask_BC = torch.rand(*shape, generator=generator) < 0.7
    mask_BC[-1, -1], positives_BC[-1, -1] = True, False
    arguments = scores_BC.tolist(), positives_BC.tolist(), mask_BC.tolist()
    found = with_pairs(infonce_bound, scores_BC, positives_BC, mask_BC)
    assert found == pytest.approx(reference.masked_infonce(*arguments))

    def means(of_joint, of_product):
        return reference.masked_means(*arguments, of_joint, of_product)

    def same(score):
        return score

    joint, product = means(same, math.exp)
    expected = {
        nwj_bound: joint - product / math.e,
        dv_estimate: joint - math.log(product),
        js_bound: 1 + joint - product,
    }
    joint, product = means(lambda s: -math.log1p(math.exp(-s)), lambda s: math.log1p(math.exp(s)))
    expected[js_objective] = joint - product
    for function, value in expected.items():
        assert with_pairs(function, scores_BC, positives_BC, mask_BC) == pytest.approx(value)


def test_default_pairs_are_row_i_with_column_i():
    for shape in [(4, 7), (7, 4), (5, 5)]:
        scores_BC = torch.randn(*shape, generator=seeding.torch_generator(1), dtype=torch.float64)
        pairs_BC = torch.eye(*shape, dtype=torch.bool)
        every_BC = torch.ones(*shape, dtype=torch.bool)
        for function in FUNCTIONS:
            spelled = function(scores_BC, positives_BC=pairs_BC, mask_BC=every_BC)
            torch.testing.assert_close(function(scores_BC), spelled)


def test_a_row_without_negatives_says_nothing_and_harms_no_gradient():
    scores_BB = random_scores(4).requires_grad_()
    mask_BB = torch.ones(4, 4, dtype=torch.bool)
    mask_BB[2] = False
    value = infonce_bound(scores_BB, mask_BC=mask_BB)
    value.backward()
    kept = [0, 1, 3]
    alone = torch.stack([infonce_bound(scores_BB[i : i + 1].roll(-i, dims=1)) for i in kept]).sum()
    assert value.item() == pytest.approx(alone.item() / 4)
    assert torch.isfinite(scores_BB.grad).all()
    assert (scores_BB.grad[2] == 0).all()


@pytest.mark.parametrize("function", [nwj_bound, dv_estimate, js_objective, smile_estimate])
def test_no_product_pair_is_refused(function):
    none = torch.zeros(3, 3, dtype=torch.bool)
    with pytest.raises(ArgumentError, match="leave no product pair"):
        function(torch.zeros(3, 3), mask_BC=none)
    with pytest.raises(ArgumentError, match="marks no pair"):
        function(torch.zeros(3, 3), positives_BC=none)
    with pytest.raises(ShapeError, match="mask_BC must have the shape of the scores"):
        function(torch.zeros(3, 3), mask_BC=none[:2])
    with pytest.raises(ArgumentError, match="positives_BC must be bool"):
        function(torch.zeros(3, 3), positives_BC=none.long())


def test_tuba_matches_slow_loop_and_is_nwj_at_baseline_e():
    scores_BB, log_baseline_B = random_scores(6), random_scores(6, seed=1)[0]
    slow = reference.tuba(scores_BB.tolist(), log_baseline_B.tolist())
    assert tuba_bound(scores_BB, log_baseline_B).item() == pytest.approx(slow)
    torch.testing.assert_close(tuba_bound(scores_BB, 1.0), nwj_bound(scores_BB))
    # The best baseline is the row's own mean of exp: none reads higher.
    own_BB = scores_BB.masked_fill(torch.eye(6, dtype=torch.bool), -math.inf)
    best_B = own_BB.logsumexp(1) - math.log(5)
    best = tuba_bound(scores_BB, best_B)
    assert all(
        tuba_bound(scores_BB, best_B + 0.1 * random_scores(6, seed=s)[0]) < best for s in (2, 3)
    )
    with pytest.raises(ShapeError, match=r"log_baseline_B must have shape \(6,\)"):
        tuba_bound(scores_BB, log_baseline_B[:5])


def test_mine_gradient_has_the_moving_average_in_its_denominator():
    scores_BB = random_scores(5).requires_grad_()
    product_BB = ~torch.eye(5, dtype=torch.bool)
    mean = scores_BB.detach()[product_BB].exp().mean()
    (plain,) = torch.autograd.grad(dv_estimate(scores_BB), scores_BB)
    (own,) = torch.autograd.grad(mine_objective(scores_BB, mean.log()), scores_BB)
    torch.testing.assert_close(own, plain)  # with the batch's own mean there is nothing to correct
    (other,) = torch.autograd.grad(mine_objective(scores_BB, (3 * mean).log()), scores_BB)
    torch.testing.assert_close(other[product_BB], plain[product_BB] / 3)
    torch.testing.assert_close(other.diagonal(), plain.diagonal())


@pytest.mark.parametrize("tau", [0.5, 1.0, 20.0])
def test_smile_matches_slow_loop_and_tends_to_dv(tau):
    scores_BB = 2 * random_scores(7)
    slow = reference.smile(scores_BB.tolist(), tau)
    assert smile_estimate(scores_BB, tau).item() == pytest.approx(slow)
    if tau == 20.0:
        torch.testing.assert_close(smile_estimate(scores_BB, tau), dv_estimate(scores_BB))
    with pytest.raises(ArgumentError, match="tau must be above 0"):
        smile_estimate(scores_BB, 0.0)


@pytest.mark.parametrize("alpha", [0.0, 0.01, 0.5, 1.0])
def test_interpolated_matches_slow_loop(alpha):
    scores_BB, log_q_B = random_scores(6), random_scores(6, seed=1)[0]
    slow = reference.interpolated(scores_BB.tolist(), alpha, log_q_B.tolist())
    assert interpolated_bound(scores_BB, alpha, log_q_B).item() == pytest.approx(slow)
    assert torch.autograd.gradcheck(
        lambda scores, log_q: interpolated_bound(scores, alpha, log_q),
        (scores_BB.requires_grad_(), log_q_B.requires_grad_()),
    )


def test_interpolated_ends_are_nwj_and_infonce():
    scores_BB, log_q_B = random_scores(6), random_scores(6, seed=1)[0]
    torch.testing.assert_close(interpolated_bound(scores_BB, 0.0), nwj_bound(scores_BB))
    tuba = tuba_bound(scores_BB, log_q_B)
    torch.testing.assert_close(interpolated_bound(scores_BB, 0.0, log_q_B), tuba)
    # InfoNCE over the partner and all others but one, averaged over which: rows with the partner
    # first, so that row 0 is the only one with a pair.
    readings = []
    for i in range(6):
        for j in set(range(6)) - {i}:
            kept = [i] + [k for k in range(6) if k not in (i, j)]
            readings.append(infonce_bound(scores_BB[i : i + 1, kept]))
    torch.testing.assert_close(interpolated_bound(scores_BB, 1.0), torch.stack(readings).mean())


@pytest.mark.parametrize("alpha", [0.01, 0.3, 1.0])
def test_interpolated_never_exceeds_its_ceiling(alpha):
    B = 8
    K = B - 1
    perfect_BB = torch.full((B, B), -1e3, dtype=torch.float64)
    perfect_BB.fill_diagonal_(1e3)
    # No batch can do better: product pairs worth nothing, and candidates all but the partner too.
    most = interpolated_bound(perfect_BB, alpha).item()
    assert most == pytest.approx((1 if alpha < 1 else 0) + math.log(K / alpha), abs=1e-9)
    assert all(
        interpolated_bound(5 * random_scores(B, seed=s) + perfect_BB / 100, alpha) <= most + 1e-9
        for s in range(20)
    )
    assert BOUNDS["interpolated"].ceiling(B) == pytest.approx(1 + math.log(K / 0.01))


@pytest.mark.parametrize(("alpha", "log_q"), [(0.01, 1.0), (0.5, 10.0)])
def test_interpolated_reads_more_than_log_k_over_alpha_in_expectation(alpha, log_q):
    # y = x, one of 100,000 letters: 11.5 nats. Product pairs are worth nothing beside q, and so
    # next to nothing is taken off a joint pair's 1 + log(K / alpha).
    letters, B, batches = 100_000, 8, 500
    x_MB = torch.randint(letters, (batches, B), generator=seeding.torch_generator(0))
    same_MBB = x_MB[:, :, None] == x_MB[:, None, :]
    scores_MBB = torch.where(same_MBB, 40.0, -40.0).double()
    values_M = interpolated_bound(scores_MBB, alpha, log_q)
    error = values_M.std().item() / math.sqrt(batches)
    mean, published = values_M.mean().item(), math.log((B - 1) / alpha)
    assert published + 0.8 < mean - 4 * error
    assert mean <= 1 + published + 1e-9 < math.log(letters)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_interpolated_keeps_its_digits_where_one_score_has_all_the_weight(dtype):
    scores_BB = random_scores(5, dtype=torch.float64)
    scores_BB[1, 3] += 300.0
    exact = interpolated_bound(scores_BB, 1.0).item()
    # In row 1, the candidates without column 3 must not be what rounding leaves of exp(300).
    rest = [0, 2, 4, 1]
    partner = scores_BB[1, 1] - scores_BB[1, rest].logsumexp(0) + math.log(4)
    with_it = [
        scores_BB[1, 1] - scores_BB[1, [k for k in range(5) if k != j]].logsumexp(0) + math.log(4)
        for j in (0, 2, 4)
    ]
    row = (partner + sum(with_it)) / 4
    others = [i for i in range(5) if i != 1]
    readings = [
        infonce_bound(scores_BB[i : i + 1, [i] + [k for k in range(5) if k not in (i, j)]])
        for i in others
        for j in set(range(5)) - {i}
    ]
    assert exact == pytest.approx(((row * 4 + sum(readings)) / 20).item(), rel=1e-12)
    assert interpolated_bound(scores_BB.to(dtype), 1.0).item() == pytest.approx(exact, rel=1e-5)


def test_flo_matches_slow_loop_and_is_tuba_with_a_baseline_that_sees_the_partner():
    scores_BB, u_B = random_scores(6), random_scores(6, seed=1)[0]
    slow = reference.flo(scores_BB.tolist(), u_B.tolist())
    assert flo_bound(scores_BB, u_B).item() == pytest.approx(slow)
    tuba = tuba_bound(scores_BB, scores_BB.diagonal() + u_B)
    torch.testing.assert_close(flo_bound(scores_BB, u_B), tuba)
    with pytest.raises(ShapeError, match=r"u_B must have shape"):
        flo_bound(scores_BB, u_B[:3])
    with pytest.raises(ShapeError, match="every x needs its partner"):
        flo_bound(scores_BB[:, :4], u_B)


@pytest.mark.parametrize("name", ["infonce", "nwj", "tuba", "js", "interpolated", "flo"])
@pytest.mark.parametrize("seed", range(3))
def test_lower_bounds_stay_below_the_truth_for_any_critic(name, seed):
    # A joint distribution over 3 by 3 letters, and a critic that knows nothing of it.
    generator = seeding.torch_generator(seed)
    joint_AC = torch.rand(3, 3, generator=generator, dtype=torch.float64) ** 3 + 1e-3
    joint_AC /= joint_AC.sum()
    ratio_AC = joint_AC / (joint_AC.sum(1, keepdim=True) * joint_AC.sum(0))
    truth = (joint_AC * ratio_AC.log()).sum()
    critic_AC = ratio_AC.log() + torch.randn(3, 3, generator=generator, dtype=torch.float64)
    bound, K, batches = BOUNDS[name], 6, 4000
    draws = torch.multinomial(joint_AC.flatten(), K * batches, True, generator=generator)
    x_MK, y_MK = (draws // 3).reshape(batches, K), (draws % 3).reshape(batches, K)
    scores_MKK = critic_AC[x_MK[:, :, None], y_MK[:, None]]
    values_M = bound.value(*exact_outputs(bound, scores_MKK))
    assert values_M.mean() < truth + 4 * values_M.std() / math.sqrt(batches)


@pytest.mark.parametrize("shape", [(3,), (1, 1), (0, 0), (0, 3), (2, 1, 1)])
@every_function
def test_rejects_bad_shapes_and_names_them(function, shape):
    with pytest.raises(ShapeError) as raised:
        function(torch.zeros(shape))
    assert str(raised.value).startswith(f"{function.__name__}: scores_BC")
    assert str(shape) in str(raised.value)


@every_function
def test_rejects_integers(function):
    with pytest.raises(ArgumentError, match=r"floating point, got torch\.int64"):
        function(torch.zeros(3, 3, dtype=torch.int64))
