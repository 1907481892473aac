"""Critics against a loop over pairs; their draws, shapes and refusals."""

import pytest
import torch

from sidle import seeding
from sidle.errors import ArgumentError, ShapeError
from sidle.mi.critics import CRITICS, BilinearCritic, SeparableCritic


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
    with pytest.raises(ShapeError, match=r"x_BD must have shape \(rows, 3\), got \(5, 2\)"):
        module(x_BD[:, :2], y_CE)
    with pytest.raises(ShapeError, match=r"y_CE must have shape \(rows, 2\), got \(4,\)"):
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
