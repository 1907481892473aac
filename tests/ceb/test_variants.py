"""Chains, pairs of views and sequences: objectives as written, limits as known."""

import math

import pytest
import torch
from torch import nn

from sidle import seeding
from sidle.ceb import (
    Bottleneck,
    HierarchicalBottleneck,
    PredictiveBottleneck,
    TwoViewsBottleneck,
    VonMisesFisher,
)
from sidle.cpc import ContrastivePredictiveCoding, negatives
from sidle.cpc.predictors import LinearPredictor
from sidle.errors import ArgumentError, ShapeError

X = torch.randn(8, 5, generator=torch.Generator().manual_seed(0))
Y = torch.arange(8) % 3


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def chain(**settings):
    with seeding.scope(0):
        first = Bottleneck(nn.Linear(5, 4), 3, 4, rho=3.0, **settings)
        second = Bottleneck(nn.Linear(4, 2), 3, 2, rho=1.0, **settings)
    return HierarchicalBottleneck([first, second])


def test_a_chain_adds_the_objectives_of_its_stages():
    model = chain()
    found = model.loss(X, Y, generator=generator())
    source = generator()
    first = model.stages[0].loss(X, Y, generator=source)
    second = model.stages[1].loss(first.terms.z[0], Y, generator=source)
    torch.testing.assert_close(found.loss, first.loss + second.loss)
    torch.testing.assert_close(found.marginal_loss, first.marginal_loss + second.marginal_loss)
    assert {"loss", "1/R", "1/Re", "1/I", "2/R", "2/Re", "2/I"} == set(found.metrics())
    # The second stage shapes the first.
    encoder = model.stages[0].encoder.weight
    (gradient,) = torch.autograd.grad(found.stages[1].loss, encoder)
    assert gradient.abs().sum() > 0
    ours = set(model.network_parameters()) | set(model.marginal_parameters())
    assert ours == set(model.parameters())


def test_a_chain_predicts_through_means_and_trains_through_draws():
    model = chain().eval()
    first, second = model.stages
    mean = second.classifier(second.encoder(first.encoder(X)))
    torch.testing.assert_close(model(X), mean)
    assert not torch.allclose(model.train()(X), mean)
    assert chain(objective="vib").loss(X, Y).marginal_loss is None
    with pytest.raises(ArgumentError, match="at least two"):
        HierarchicalBottleneck([first])


def views(rho=1.0, family="identity", shared=False):
    with seeding.scope(0):
        one = nn.Linear(5, 3)
        return TwoViewsBottleneck(
            one, one if shared else nn.Linear(5, 3), 3, family=family, rho=rho
        )


@pytest.mark.parametrize("family", ["identity", "von-mises-fisher"])
def test_two_views_describe_each_other(family):
    model = views(family=family)
    seen = X + 0.1
    found = model.loss(X, seen, 2, generator=generator())
    e, b = model.encoder_x(X), model.encoder_y(seen)
    source = generator()
    bounds = []
    for own, other in ((e, b), (b, e)):
        z = model.family.draw(own, 2, source)
        log = model.family.log_densities(z, other)
        ratio = log.diagonal(dim1=-2, dim2=-1) - (log.logsumexp(-1) - math.log(8))
        bounds.append(ratio.mean())
    torch.testing.assert_close(found.bound_x, bounds[0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found.bound_y, bounds[1], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found.residual_x, model.family.divergence(e, b))
    residual = model.family.divergence(e, b) + model.family.divergence(b, e)
    torch.testing.assert_close(
        found.loss, residual.mean() / math.e - sum(bounds), atol=1e-5, rtol=1e-4
    )


def test_two_views_learn_what_they_share():
    # A shared number in both views, and a number of each view's own.
    source = generator(1)
    shared, own_x, own_y = (torch.randn(256, 1, generator=source) for _ in range(3))
    x, y = torch.cat([shared, own_x], 1), torch.cat([shared, own_y], 1)
    with seeding.scope(0):
        encoder = nn.Linear(2, 2, bias=False)
        model = TwoViewsBottleneck(encoder, encoder, 2, rho=0.0)
        optimizer = torch.optim.Adam(model.parameters(), 0.03)
        for _ in range(400):
            optimizer.zero_grad()
            found = model.loss(x, y)
            found.loss.backward()
            optimizer.step()
    kept = encoder.weight.detach().norm(dim=0)
    assert kept[0] > 10 * kept[1]
    assert found.bound_x > 1.0
    torch.testing.assert_close(model(x), encoder(x))


class Latents(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.features = features
        self.layer = nn.Linear(4, features)

    def forward(self, x):
        return self.layer(x)


class Recurrent(nn.Module):
    def __init__(self, size, features):
        super().__init__()
        self.features = features
        self.layer = nn.GRU(size, features, batch_first=True)

    def forward(self, z):
        return self.layer(z)[0]


SEQUENCES = torch.randn(3, 9, 4, generator=torch.Generator().manual_seed(2))


def predictive(**settings):
    with seeding.scope(0):
        return PredictiveBottleneck(Latents(6), Recurrent(6, 5), **settings)


def test_with_nothing_asked_of_residual_information_it_is_contrastive_predictive_coding():
    model = predictive(steps=[2], family=VonMisesFisher(6, 7.0), rho=math.inf, draws=False)
    with torch.no_grad():
        model.forward_head.bias.zero_()
    predictor = LinearPredictor(5, 6, 1)
    with torch.no_grad():
        predictor.weight_SHD.copy_(model.forward_head.weight.T[None])
    twin = ContrastivePredictiveCoding(
        model.encoder, model.context, predictor, steps=[2], cosine=True, temperature=1 / 7.0,
        negatives=negatives.Mixed(None),
    )  # fmt: skip
    ours, theirs = model.loss(SEQUENCES), twin.loss(SEQUENCES)
    torch.testing.assert_close(ours.loss, theirs.loss)
    parameters = [model.encoder.layer.weight, model.context.layer.weight_hh_l0]
    for a, b in zip(
        torch.autograd.grad(ours.loss, parameters),
        torch.autograd.grad(theirs.loss, parameters),
        strict=True,
    ):
        torch.testing.assert_close(a, b)
    assert ours.contrast.accuracy == pytest.approx(float(theirs.accuracy_S[0]))


@pytest.mark.parametrize("family", ["identity", "diagonal"])
def test_several_steps_are_the_mean_of_each_by_hand(family):
    model = predictive(steps=3, dim=2, family=family, rho=0.5)
    found = model.loss(SEQUENCES, generator=generator())
    u = model.encoder(SEQUENCES)
    heads = model.forward_head(model.context(u)).view(3, 9, 3, -1)
    backward = model.backward_head(u)
    z = model.family.draw(heads[:, :6].permute(2, 0, 1, 3).flatten(1, 2), 1, generator())[0]
    log = model.family.log_densities(z, backward.flatten(0, 1)).view(3, 3, 6, 27)
    losses, residuals = [], []
    for s in range(3):
        for b in range(3):
            for t in range(6):
                losses.append(log[s, b, t].logsumexp(-1) - log[s, b, t, 9 * b + t + s + 1])
                residuals.append(model.family.divergence(heads[b, t, s], backward[b, t + s + 1]))
    expected = torch.stack(losses).mean() + math.exp(-0.5) * torch.stack(residuals).mean()
    torch.testing.assert_close(found.loss, expected, atol=1e-5, rtol=1e-5)
    metrics = found.metrics()
    assert metrics["I"] == pytest.approx(math.log(27) - torch.stack(losses).mean().item(), abs=1e-5)
    assert model(SEQUENCES).shape == (3, 3, 9, 2)


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: predictive(steps=[2, 1]), ArgumentError, "rising"),
        (lambda: predictive(steps=0), ArgumentError, "rising"),
        (lambda: predictive(family="diagonal"), ArgumentError, "Give dim"),
        (lambda: predictive(rho=math.nan), ArgumentError, "rho"),
        (lambda: predictive(steps=9).loss(SEQUENCES), ShapeError, "too short"),
        (lambda: PredictiveBottleneck(nn.Identity(), nn.Identity()), ArgumentError, "features"),
        (
            lambda: PredictiveBottleneck(nn.Flatten(), nn.Identity(), features=(4, 4)).loss(
                SEQUENCES
            ),
            ShapeError,
            r"\(B, T, U\)",
        ),
        (lambda: views().loss(X, X[:4]), ShapeError, "encoder_y"),
    ],
)
def test_bad_input_is_refused(call, error, says):
    with pytest.raises(error, match=says):
        call()
