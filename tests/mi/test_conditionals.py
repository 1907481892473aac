"""Learned densities are densities, keep to what they may see, and learn what is there."""

import itertools
import math

import pytest
import torch

from sidle import seeding
from sidle.errors import ArgumentError, ShapeError
from sidle.mi.conditionals import AutoregressiveClassifier, GaussianConditional
from sidle.mi.densities import log_likelihood, njee_estimate


def build(kind, *dims, seed=0, **settings):
    with seeding.scope(seed):
        return kind(*dims, **settings)


def test_gaussian_is_torchs_normal_for_every_pair():
    module = build(GaussianConditional, 3, 2, hidden=16).double()
    x_BD, y_CE = torch.randn(5, 3).double(), torch.randn(4, 2).double()
    mean_BE, raw_BE = module.parameters_of_y(x_BD).chunk(2, dim=-1)
    deviation_BE = (-1 + 5 * torch.tanh((raw_BE + 1) / 5)).exp()  # softly inside [-6, 4]
    normal = torch.distributions.Normal(mean_BE[:, None], deviation_BE[:, None])
    torch.testing.assert_close(module(x_BD, y_CE), normal.log_prob(y_CE).sum(-1))
    together = module(x_BD.expand(2, -1, -1), y_CE.expand(2, -1, -1))
    torch.testing.assert_close(together[1], module(x_BD, y_CE))


def test_gaussian_learns_mean_and_deviation():
    module = build(GaussianConditional, 1, 1, hidden=32)
    optimizer = torch.optim.Adam(module.parameters(), lr=3e-3)
    generator = seeding.torch_generator(0)
    for _ in range(400):
        x_BD = torch.randn(128, 1, generator=generator)
        y_BE = 2 * x_BD + 0.5 * torch.randn(128, 1, generator=generator)
        optimizer.zero_grad()
        (-log_likelihood(module(x_BD, y_BE))).backward()
        optimizer.step()
    x_BD = torch.randn(2000, 1, generator=generator)
    y_BE = 2 * x_BD + 0.5 * torch.randn(2000, 1, generator=generator)
    entropy = 0.5 * math.log(2 * math.pi * math.e * 0.25)
    with torch.no_grad():
        found = log_likelihood(module(x_BD, y_BE)).item()
    assert found == pytest.approx(-entropy, abs=0.1)  # 4 standard errors, and some left to learn


@pytest.mark.parametrize("dim_y", [1, 2, 3])
def test_classifier_sums_to_one_over_all_bins(dim_y):
    module = build(AutoregressiveClassifier, 2, dim_y, hidden=12, bins=3).double()
    x_1D = torch.randn(1, 2).double()
    inside = {0: -2.0, 1: 0.1, 2: 2.0}  # a value in each bin
    cells = [[inside[q] for q in bins] for bins in itertools.product(range(3), repeat=dim_y)]

    def total(values_E):
        y_BE = torch.tensor([values_E]).double()
        return torch.stack([part.exp() for part in module(x_1D, y_BE)])

    torch.testing.assert_close(
        sum(total(values) for values in cells), torch.ones(2, 1, dtype=torch.float64)
    )


def test_classifier_of_a_column_sees_x_and_the_columns_before_it_alone():
    module = build(AutoregressiveClassifier, 2, 4, hidden=32, bins=3).double()
    net = module.conditional
    x_1D, y_1E = torch.randn(1, 2).double(), torch.randn(1, 4).double()

    def by_column(x, y):
        """Log probability of bin 0 of each column, with the others' bins left out."""
        found = []
        for column in range(4):
            high = torch.zeros(1, 4, dtype=torch.int64)
            low = high.clone()
            high[0, column] = 1
            found.append(net(x, y, low) - net(x, y, high))
        return torch.cat(found)

    jacobian = torch.autograd.functional.jacobian(lambda y: by_column(x_1D, y), y_1E)[:, 0]
    sees = jacobian.abs() > 1e-12
    assert torch.equal(sees, torch.ones(4, 4).tril(-1).bool())
    of_x = torch.autograd.functional.jacobian(lambda x: by_column(x, y_1E), x_1D)[:, 0]
    assert (of_x.abs() > 1e-12).all()


def test_every_column_of_a_wide_y_is_an_input():
    module = build(AutoregressiveClassifier, 2, 50, hidden=16, bins=3)
    seen_E = module.conditional.before_HE.any(0)
    assert seen_E[:-1].all()
    assert not seen_E[-1]


def test_classifier_reads_the_information_of_two_bits():
    generator = seeding.torch_generator(0)

    def sample(n):
        x_B1 = (torch.rand(n, 1, generator=generator) < 0.5).float()
        flip_B1 = (torch.rand(n, 1, generator=generator) < 0.1).float()
        return x_B1, 2 * (x_B1 - flip_B1).abs() - 1  # -1 and 1 lie in different bins

    module = build(AutoregressiveClassifier, 1, 1, hidden=16, bins=4)
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-2)
    for _ in range(300):
        conditional_B, marginal_B = module(*sample(128))
        optimizer.zero_grad()
        (-(conditional_B + marginal_B).mean()).backward()
        optimizer.step()
    with torch.no_grad():
        found = njee_estimate(*module(*sample(5000))).item()
    truth = math.log(2) + 0.1 * math.log(0.1) + 0.9 * math.log(0.9)
    assert found == pytest.approx(truth, abs=0.05)


@pytest.mark.parametrize("kind", [GaussianConditional, AutoregressiveClassifier])
def test_bad_sizes_and_shapes_are_refused(kind):
    with pytest.raises(ArgumentError, match="at least 1"):
        kind(0, 2)
    module = build(kind, 3, 2, hidden=4)
    with pytest.raises(ShapeError, match="x_BD must have shape"):
        module(torch.zeros(5, 2), torch.zeros(5, 2))
    with pytest.raises(ShapeError, match="y_CE must have shape"):
        module(torch.zeros(5, 3), torch.zeros(5, 3))
