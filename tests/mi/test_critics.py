"""Critics against a loop over pairs; their draws, shapes and refusals."""

import math

import pytest
import torch

from sidle import seeding
from sidle.errors import ArgumentError, ShapeError
from sidle.mi.critics import (
    CRITICS,
    BaselineCritic,
    BilinearCritic,
    ConcatenatedCritic,
    FenchelCritic,
    MovingAverageCritic,
    OptimalCritic,
    SeparableCritic,
    takes_leading_dimensions,
)
from sidle.mi.problems import CorrelatedGaussians


def build(critic, seed=0, **settings):
    with seeding.scope(seed):
        return critic(3, 2, **settings)


def inputs():
    generator = seeding.torch_generator(0)
    return torch.randn(5, 3, generator=generator), torch.randn(4, 2, generator=generator)


def test_separable_critic_scores_each_pair_by_an_inner_product():
    critic, (x_BD, y_CE) = build(SeparableCritic, hidden=16, embedding=7), inputs()
    scores_BC = critic(x_BD, y_CE)
    for i, x_D in enumerate(x_BD):
        for j, y_E in enumerate(y_CE):
            torch.testing.assert_close(
                scores_BC[i, j], critic.embed_x(x_D) @ critic.embed_y(y_E), atol=1e-6, rtol=1e-5
            )


def test_bilinear_critic_scores_each_pair_by_its_form():
    critic, (x_BD, y_CE) = build(BilinearCritic), inputs()
    scores_BC = critic(x_BD, y_CE)
    for i, x_D in enumerate(x_BD):
        for j, y_E in enumerate(y_CE):
            form = sum(x_D[d] * critic.weight_DE[d, e] * y_E[e] for d in range(3) for e in range(2))
            torch.testing.assert_close(scores_BC[i, j], form, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("critic", CRITICS.values(), ids=CRITICS)
def test_gradient_reaches_every_parameter(critic):
    module = build(critic)
    module(*inputs()).square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in module.parameters())


@pytest.mark.parametrize("critic", CRITICS.values(), ids=CRITICS)
def test_scope_fixes_the_parameters(critic):
    first, again, other = build(critic), build(critic), build(critic, seed=1)
    x_BD, y_CE = inputs()
    assert torch.equal(first(x_BD, y_CE), again(x_BD, y_CE))
    assert not torch.equal(first(x_BD, y_CE), other(x_BD, y_CE))


@pytest.mark.parametrize(("layers", "n_linear"), [(0, 1), (1, 2), (3, 4)])
def test_layers_counts_hidden_layers(layers, n_linear):
    critic = build(SeparableCritic, layers=layers, hidden=11, embedding=5)
    linear = [part for part in critic.embed_x if isinstance(part, torch.nn.Linear)]
    assert len(linear) == n_linear
    assert all(part.out_features == 11 for part in linear[:-1])
    assert linear[-1].out_features == 5


@pytest.mark.parametrize("critic", CRITICS.values(), ids=CRITICS)
def test_rejects_wrong_columns_and_names_them(critic):
    module, (x_BD, y_CE) = build(critic), inputs()
    with pytest.raises(ShapeError, match=r"x_BD must have shape .*rows, 3\), got \(5, 2\)"):
        module(x_BD[:, :2], y_CE)
    with pytest.raises(ShapeError, match=r"y_CE must have shape .*rows, 2\), got \(4,\)"):
        module(x_BD, y_CE[:, 0])


@pytest.mark.parametrize(
    "settings", [{"hidden": 0}, {"embedding": 0}, {"layers": -1}], ids=lambda s: next(iter(s))
)
def test_separable_critic_rejects_sizes_out_of_range(settings):
    with pytest.raises(ArgumentError, match="at least"):
        SeparableCritic(3, 2, **settings)


@pytest.mark.parametrize("critic", CRITICS.values(), ids=CRITICS)
def test_rejects_no_columns(critic):
    with pytest.raises(ArgumentError, match="at least 1"):
        critic(0, 2)


@pytest.mark.parametrize("critic", [SeparableCritic, BilinearCritic])
def test_leading_dimensions_are_batches_side_by_side(critic):
    module = build(critic)
    x_MBD, y_MCE = torch.randn(3, 5, 3), torch.randn(3, 4, 2)
    assert takes_leading_dimensions(module)
    apart = torch.stack([module(x, y) for x, y in zip(x_MBD, y_MCE, strict=True)])
    torch.testing.assert_close(module(x_MBD, y_MCE), apart)


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_concatenated_critic_is_one_perceptron_over_pairs(layers, chunk):
    critic = build(ConcatenatedCritic, layers=layers, hidden=11, chunk=chunk).double()
    x_BD, y_CE = (part.double().requires_grad_() for part in inputs())
    pairs = torch.cat(
        [x_BD[:, None].expand(-1, len(y_CE), -1), y_CE[None].expand(len(x_BD), -1, -1)], dim=-1
    )
    expected = torch.nn.Sequential(critic.first, *critic.rest)(pairs).squeeze(-1)
    found = critic(x_BD, y_CE)
    torch.testing.assert_close(found, expected)
    weight = torch.randn_like(found)
    parameters = [x_BD, y_CE, *critic.parameters()]
    for one, other in zip(
        torch.autograd.grad((found * weight).sum(), parameters),
        torch.autograd.grad((expected * weight).sum(), parameters),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


def test_concatenated_critic_keeps_a_chunk_alone_for_the_backward_pass():
    critic = build(ConcatenatedCritic, hidden=64, chunk=40)
    kept = []

    def note(tensor):
        kept.append(tensor.numel())
        return tensor

    x_BD, y_CE = torch.randn(50, 3), torch.randn(20, 2)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        critic(x_BD, y_CE)
    # All pairs' hidden units would be 64,000 numbers; the rows and columns have 4,480.
    assert max(kept) <= 64 * 64


def test_optimal_critic_is_the_log_ratio():
    problem = CorrelatedGaussians(2, 1.0)
    x_ND, y_ND = problem.sample(7, seeding.torch_generator(0))
    found = OptimalCritic(problem)(x_ND, y_ND)
    torch.testing.assert_close(found, problem.log_ratio(x_ND, y_ND))


def test_baseline_critic_takes_a_learned_function_of_x_off():
    critic = build(SeparableCritic)
    with seeding.scope(1):
        module = BaselineCritic(critic, 3)
    x_BD, y_CE = inputs()
    taken_off = critic(x_BD, y_CE) - module(x_BD, y_CE)
    assert (taken_off.std(dim=1) < 1e-6).all()
    assert taken_off.std(dim=0).min() > 1e-3
    assert takes_leading_dimensions(module)


def test_moving_average_follows_the_mean_of_exp_in_training_alone():
    module = MovingAverageCritic(build(SeparableCritic), rate=0.1)
    average = None
    for seed in range(4):
        generator = seeding.torch_generator(seed)
        x_BD, y_BE = (torch.randn(6, d, generator=generator) for d in (3, 2))
        scores_BB, log_average = module(x_BD, y_BE)
        off_diagonal = [
            math.exp(scores_BB[i, j].item()) for i in range(6) for j in range(6) if i != j
        ]
        mean = sum(off_diagonal) / 30
        average = mean if average is None else 0.9 * average + 0.1 * mean
        assert log_average.item() == pytest.approx(math.log(average), abs=1e-5)
        assert not log_average.requires_grad
    module.eval()
    assert module(x_BD * 9, y_BE * 9)[1].item() == log_average.item()
    again = MovingAverageCritic(build(SeparableCritic, seed=1), rate=0.1)
    again.load_state_dict(module.state_dict())
    assert again.log_average == module.log_average


def test_fenchel_critic_adds_u_of_the_joint_pairs():
    critic = build(SeparableCritic)
    with seeding.scope(1):
        module = FenchelCritic(critic, 3, 2)
    x_BD, y_BE = torch.randn(5, 3), torch.randn(5, 2)
    scores_BB, u_B = module(x_BD, y_BE)
    torch.testing.assert_close(scores_BB, critic(x_BD, y_BE))
    torch.testing.assert_close(u_B[2], module(x_BD[2:3], y_BE[2:3])[1][0])
    assert u_B.std() > 1e-3
