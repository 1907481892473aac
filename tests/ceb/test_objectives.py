"""The knob has three names and one meaning; schedules lead from one value to the next."""

import math

import pytest
import torch

from sidle.ceb import Annealing, Diagonal, objectives
from sidle.errors import ArgumentError

RHOS = [-3.0, 0.0, 1.0, 4.6, 40.0, 800.0]


@pytest.mark.parametrize("rho", RHOS)
def test_the_three_names_of_the_knob_belong_together(rho):
    assert objectives.beta_vib(rho) == pytest.approx(
        1 / (1 + math.exp(rho)) if rho < 700 else 0.0, rel=1e-12
    )
    if rho < 700:
        assert objectives.gamma(rho) * objectives.multiplier(rho) == pytest.approx(1)
        assert objectives.rho_from_gamma(objectives.gamma(rho)) == pytest.approx(rho)
    if abs(rho) < 5:
        assert objectives.rho_from_beta_vib(objectives.beta_vib(rho)) == pytest.approx(rho)


def test_known_values_of_the_papers():
    assert objectives.beta_vib(0) == 0.5
    assert objectives.beta_vib(2) == pytest.approx(0.119, abs=5e-4)  # CEB2: rho 2
    assert objectives.beta_vib(4.6) == pytest.approx(0.01, abs=1e-4)
    assert "rho=2" in objectives.conventions(2)
    assert "beta_VIB=1/(1+e^rho)=0.1192" in objectives.conventions(2)


def test_an_infinite_knob_asks_for_nothing_even_of_infinite_residual_information():
    log_c = torch.tensor([-1.0, -3.0])
    endless = torch.tensor([math.inf, 1.0])
    assert objectives.ceb_loss(endless, log_c, math.inf) == 2.0
    assert objectives.vib_loss(endless, log_c, math.inf) == 2.0
    assert objectives.ceb_loss(torch.ones(2), log_c, 0.0) == 3.0
    assert objectives.vib_loss(torch.ones(2), log_c, 0.0) == 2.5


@pytest.mark.parametrize("rho", [0.5, 1.5, 3.0])
@pytest.mark.parametrize("objective", ["ceb", "vib"])
def test_on_a_linear_gaussian_problem_both_objectives_have_the_known_optimum(rho, objective):
    # x and y are normal with variance 1 and correlation r; z = w x + noise of variance 1. The
    # Gaussian information bottleneck min I(X;Z) - (1 + gamma) I(Y;Z) has the optimum
    # w^2 = ((1 + gamma) r^2 - 1) / (1 - r^2), or 0 (Chechik et al. 2005, theorem 3.1).
    r = 0.8
    # Two points each of the moments that the expectations need: exact, nothing drawn.
    x = torch.tensor([1.0, 1.0, -1.0, -1.0], dtype=torch.float64)
    noise = torch.tensor([1.0, -1.0, 1.0, -1.0], dtype=torch.float64)
    y = r * x + math.sqrt(1 - r * r) * noise
    w, v, u = (torch.tensor(0.5, dtype=torch.float64, requires_grad=True) for _ in range(3))
    raw_s, raw_q, log_t = (
        torch.tensor(0.1, dtype=torch.float64, requires_grad=True) for _ in range(3)
    )
    family = Diagonal(1).double()

    def of(mean, raw):
        return torch.stack([mean, raw.expand(4)], -1)

    def loss():
        e = of(w * x, torch.zeros((), dtype=torch.float64))
        # E over z of log c(y|z), c normal around u z with deviation t.
        squares = (y - u * w * x) ** 2 + u**2
        log_c = -0.5 * (squares / (2 * log_t).exp() + math.log(2 * math.pi)) - log_t
        if objective == "ceb":
            return objectives.ceb_loss(family.divergence(e, of(v * y, raw_s)), log_c, rho)
        rate = family.divergence(e, of(torch.zeros(4, dtype=torch.float64), raw_q))
        return objectives.vib_loss(rate, log_c, rho)

    optimizer = torch.optim.LBFGS(
        [w, v, u, raw_s, raw_q, log_t], max_iter=500, tolerance_grad=1e-10,
        line_search_fn="strong_wolfe",
    )  # fmt: skip

    def closure():
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    optimizer.step(closure)
    known = ((1 + math.exp(rho)) * r * r - 1) / (1 - r * r)
    assert float(w.detach() ** 2) == pytest.approx(known, rel=1e-4)


def test_annealing_is_linear_in_what_it_says_and_ends_where_it_says():
    straight = Annealing(10.0, 2.0, 4)
    assert [straight(i) for i in range(6)] == [10.0, 8.0, 6.0, 4.0, 2.0, 2.0]
    weights = Annealing(math.inf, 0.0, 4, shape="multiplier")
    assert weights(0) == math.inf
    assert [objectives.multiplier(weights(i)) for i in range(1, 6)] == pytest.approx(
        [0.25, 0.5, 0.75, 1.0, 1.0]
    )
    assert Annealing(100.0, 3.0, 0)(0) == 3.0


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: objectives.gamma(math.nan), "at least -700"),
        (lambda: objectives.multiplier(-800), "at least -700"),
        (lambda: objectives.rho_from_beta_vib(1.0), r"\(0, 1\)"),
        (lambda: objectives.rho_from_gamma(0.0), "above 0"),
        (lambda: Annealing(math.inf, 0.0, 3), "multiplier"),
        (lambda: Annealing(1.0, 0.0, -1), "n_steps"),
        (lambda: Annealing(1.0, 0.0, 1, shape="beta"), "beta"),
    ],
)
def test_bad_values_are_refused(call, says):
    with pytest.raises(ArgumentError, match=says):
        call()
