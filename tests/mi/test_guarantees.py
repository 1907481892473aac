"""The table says what the papers prove, and every network fits its bound."""

import math

import pytest
import torch

from sidle import seeding
from sidle.mi.critics import BilinearCritic, SeparableCritic
from sidle.mi.guarantees import ALPHA, BOUNDS, exact_outputs, outputs
from sidle.mi.problems import CorrelatedGaussians

every_bound = pytest.mark.parametrize("bound", BOUNDS.values(), ids=BOUNDS)


def test_table_says_what_the_papers_prove():
    assert all(name == bound.name for name, bound in BOUNDS.items())
    guarantees = {name: bound.guarantee for name, bound in BOUNDS.items()}
    assert guarantees == {
        "infonce": "lower",
        "nwj": "lower",
        "tuba": "lower",
        "js": "lower",
        "interpolated": "lower",
        "flo": "lower",
        "dv": "none",
        "mine": "none",
        "smile": "none",
        "l1out": "none",
        "club": "none",
        "njee": "none",
    }
    ceilings = {name: bound.ceiling(64) for name, bound in BOUNDS.items()}
    assert ceilings.pop("infonce") == math.log(64)
    assert ceilings.pop("interpolated") == pytest.approx(1 + math.log(63 / ALPHA))
    assert set(ceilings.values()) == {None}
    titles = [bound.title for bound in BOUNDS.values()]
    assert len(set(titles)) == len(titles)
    assert all(bound.sampling and bound.source for bound in BOUNDS.values())


@every_bound
def test_network_gives_what_objective_and_value_take_and_trains_every_part(bound):
    with seeding.scope(0):
        network = bound.network(BilinearCritic, 3, 2)
    x_BD = torch.randn(8, 3, generator=seeding.torch_generator(1))
    y_BE = torch.randn(8, 2, generator=seeding.torch_generator(2))
    found = outputs(network, x_BD, y_BE)
    assert bound.value(*found).ndim == 0
    bound.objective(*found).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@every_bound
def test_training_raises_the_objective_to_about_the_truth(bound):
    problem = CorrelatedGaussians(1, 0.5)
    with seeding.scope(0):
        network = bound.network(lambda d, e: SeparableCritic(d, e, hidden=32), 1, 1)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    generator = seeding.torch_generator(1)
    for _ in range(600):
        optimizer.zero_grad()
        scores, *more = outputs(network, *problem.sample(128, generator))
        (-bound.objective(scores + bound.shift, *more)).backward()
        optimizer.step()
    network.eval()
    with torch.no_grad():
        values = []
        for _ in range(50):
            scores, *more = outputs(network, *problem.sample(128, generator))
            values.append(bound.value(scores + bound.shift, *more).item())
    rho2 = problem.correlation**2
    # CLUB is rho^2 / (1 - rho^2) with the true density; all others are close to the information.
    truth, slack = (rho2 / (1 - rho2), 0.5) if bound.name == "club" else (0.5, 0.12)
    assert sum(values) / len(values) == pytest.approx(truth, abs=slack)


def test_exact_outputs_of_all_critic_bounds_read_about_the_truth():
    problem = CorrelatedGaussians(2, 0.5)
    generator = seeding.torch_generator(0)
    ratios = torch.stack([problem.log_ratio(*problem.sample(64, generator)) for _ in range(200)])
    for bound in BOUNDS.values():
        if not bound.density:
            assert bound.value(*exact_outputs(bound, ratios)).mean() == pytest.approx(0.5, abs=0.05)
