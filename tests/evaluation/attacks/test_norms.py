"""Balls: projections are nearest, ascents steepest, random points uniform and inside."""

import math

import pytest
import torch
from scipy.optimize import minimize

from sidle.errors import ArgumentError
from sidle.evaluation.attacks import norms

SHAPE = (2, 3, 3)


def images(n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x0 = torch.rand(n, *SHAPE, generator=generator, dtype=torch.float64)
    moved = x0 + torch.randn(n, *SHAPE, generator=generator, dtype=torch.float64)
    return x0, moved


@pytest.mark.parametrize("norm", norms.NORMS)
def test_projections_lie_inside_and_points_inside_stay(norm):
    x0, x = images(50)
    found = norms.project(x, x0, 0.7, norm)
    assert (norms.distance(found, x0, norm) <= 0.7 + 1e-9).all()
    assert found.min() >= 0
    assert found.max() <= 1
    torch.testing.assert_close(norms.project(found, x0, 0.7, norm), found, atol=1e-9, rtol=0)


@pytest.mark.parametrize("norm", ["linf", "l1"])
def test_projections_in_linf_and_l1_are_the_nearest_points(norm):
    x0, x = images(6, seed=1)
    found = norms.project(x, x0, 0.9, norm)
    for a0, a, p in zip(x0.flatten(1), x.flatten(1), found.flatten(1), strict=True):
        d = len(a)
        # As a sum of a part up and a part down, so that the constraint is smooth.
        inequality = {"type": "ineq", "fun": lambda m, d=d: 0.9 - m[:d].sum() - m[d:].sum()}
        bounds = [
            *((0, float(1 - v) if norm == "l1" else min(0.9, float(1 - v))) for v in a0),
            *((0, float(v) if norm == "l1" else min(0.9, float(v))) for v in a0),
        ]
        best = minimize(
            lambda m, a0=a0, a=a, d=d: float(
                ((a0 + torch.from_numpy(m[:d] - m[d:]) - a) ** 2).sum()
            ),
            torch.zeros(2 * d).numpy(),
            bounds=bounds,
            constraints=[inequality] if norm == "l1" else [],
            method="SLSQP",
            options={"maxiter": 500, "ftol": 1e-13},
        )
        assert float(((p - a) ** 2).sum()) == pytest.approx(best.fun, abs=2e-5)


@pytest.mark.parametrize("norm", norms.NORMS)
def test_ascents_have_length_one_and_no_direction_of_that_length_is_much_steeper(norm):
    x0, _ = images(20, seed=2)
    gradient = torch.randn(20, *SHAPE, generator=torch.Generator().manual_seed(3)).double()
    inside = 0.25 + x0 / 2  # room everywhere
    direction = norms.ascent(gradient, inside, norm)
    torch.testing.assert_close(
        norms.distance(direction, torch.zeros_like(x0), norm),
        torch.ones(20, dtype=torch.float64),
    )
    dual = {"linf": 1, "l2": 2, "l1": math.inf}[norm]
    steepest = torch.linalg.vector_norm(gradient.flatten(1), ord=dual, dim=1)
    torch.testing.assert_close((direction * gradient).flatten(1).sum(1), steepest)
    assert (norms.ascent(torch.zeros_like(gradient), inside, norm) == 0).all()


def test_an_entry_at_the_side_of_the_box_is_not_pushed_out_in_l1():
    x = torch.zeros(1, 2, 2)
    gradient = torch.tensor([[[-9.0, 1.0], [0.5, 0.2]]])
    assert norms.ascent(gradient, x, "l1").flatten().tolist() == [0, 1, 0, 0]


@pytest.mark.parametrize("norm", norms.NORMS)
def test_random_points_fill_the_ball_evenly(norm):
    x0 = torch.full((4000, 1, 2, 1), 0.5)
    generator = torch.Generator().manual_seed(0)
    distance = norms.distance(norms.random_points(x0, 0.4, norm, generator), x0, norm)
    # In two dimensions a quarter of the ball lies within half of its radius.
    assert float((distance <= 0.2).float().mean()) == pytest.approx(0.25, abs=0.03)
    assert distance.max() <= 0.4 + 1e-6
    on_it = norms.random_points(x0, 0.4, norm, generator, surface=True)
    torch.testing.assert_close(norms.distance(on_it, x0, norm), torch.full((4000,), 0.4))
    assert abs(float((on_it - x0).mean())) < 0.02


def test_bad_balls_are_refused():
    for norm, epsilon in (("l3", 1.0), ("l2", 0.0), ("l2", math.inf), ("l1", math.nan)):
        with pytest.raises(ArgumentError, match=r"norm|epsilon"):
            norms.check_ball("here", norm, epsilon)


@pytest.mark.parametrize("size", [1e-30, 1.0, 1e30])
def test_an_ascent_in_l2_has_length_one_however_large_the_gradient(size):
    gradient = size * torch.randn(4, *SHAPE, generator=torch.Generator().manual_seed(3))
    direction = norms.ascent(gradient, torch.full_like(gradient, 0.5), "l2")
    torch.testing.assert_close(direction.flatten(1).norm(dim=1), torch.ones(4))


@pytest.mark.parametrize("norm", norms.NORMS)
def test_an_ascent_steps_around_entries_of_a_gradient_that_are_no_numbers(norm):
    gradient = torch.randn(3, *SHAPE, generator=torch.Generator().manual_seed(3))
    broken = gradient.clone()
    broken[0, 0, 0, 0], gradient[0, 0, 0, 0] = math.nan, 0.0
    broken[1, 0, 0, 0], gradient[1, 0, 0, 0] = math.inf, 1e30
    broken[2] = math.nan
    gradient[2] = 0.0
    inside = torch.full_like(gradient, 0.5)
    torch.testing.assert_close(
        norms.ascent(broken, inside, norm), norms.ascent(gradient, inside, norm)
    )
