"""Predictors see the context of their anchor, what came before it, and the actions in between."""

import pytest
import torch

from sidle import seeding
from sidle.cpc import predictors
from sidle.errors import ArgumentError, ShapeError

CONTEXT = torch.randn(2, 6, 1, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
AT = torch.tensor([0, 3, 8])  # (b, t) = (0, 0), (0, 3), (1, 2)


def made(kind, **settings):
    with seeding.scope(0):
        return kind(8, 5, settings.pop("n_steps", 3), **settings).double().eval()


def test_the_linear_one_is_a_matrix_a_step():
    predictor = made(predictors.LinearPredictor)
    found = predictor(CONTEXT, AT)
    for s in range(3):
        for n, (b, t) in enumerate(((0, 0), (0, 3), (1, 2))):
            expected = CONTEXT[b, t, 0] @ predictor.weight_SHD[s]
            torch.testing.assert_close(found[s, n], expected)


def test_the_perceptron_is_two_layers_a_step():
    predictor = made(predictors.MLPPredictor, hidden=7)
    with torch.no_grad():
        predictor.bias_S1F.normal_(generator=torch.Generator().manual_seed(1))
    found = predictor(CONTEXT, AT)
    hidden = (CONTEXT[0, 3, 0] @ predictor.first_SHF[1] + predictor.bias_S1F[1, 0]).relu()
    torch.testing.assert_close(found[1, 1], hidden @ predictor.second_SFD[1])


def reached(predictor, s, n, **given):
    context = CONTEXT.clone().requires_grad_()
    weight = torch.linspace(-1, 1, 5, dtype=torch.float64)
    (gradient,) = torch.autograd.grad(predictor(context, AT, **given)[s, n] @ weight, context)
    return gradient.abs().sum((2, 3)) > 0


def test_the_transformer_looks_at_no_later_context_and_at_no_other_sequence():
    seen = reached(made(predictors.TransformerPredictor, heads=2), 2, 1)
    assert seen[0].tolist() == [True] * 4 + [False] * 2
    assert not seen[1].any()


def test_scores_begin_near_variance_one():
    with seeding.scope(0):
        context = torch.randn(1, 4000, 1, 64)
        z = torch.randn(4000, 96)
        for kind in (predictors.LinearPredictor, predictors.MLPPredictor):
            predictor = kind(64, 96, 1)
            scores = (predictor(context, torch.arange(4000))[0] * z).sum(1)
            assert 0.7 < float(scores.detach().std()) < 1.3


@pytest.mark.parametrize("vectors", [False, True])
def test_predictions_know_the_actions_up_to_what_they_predict(vectors):
    steps = (1, 3)
    with seeding.scope(0):
        settings = {"action_features": 2} if vectors else {"n_actions": 4}
        predictor = predictors.ActionPredictor(8, 5, steps, **settings).double()
    generator = torch.Generator().manual_seed(2)
    if vectors:
        actions = torch.randn(2, 6, 2, generator=generator, dtype=torch.float64)
    else:
        actions = torch.randint(4, (2, 6), generator=generator)
    plain = predictor(CONTEXT, AT, actions)
    for b, t in ((0, 0), (0, 2), (0, 3), (0, 5), (1, 3)):
        changed = actions.clone()
        changed[b, t] = (changed[b, t] + 1) % 4 if not vectors else changed[b, t] + 1
        moved = (predictor(CONTEXT, AT, changed) - plain).abs().sum(2) > 1e-12
        for n, (own, at) in enumerate(((0, 0), (0, 3), (1, 2))):
            for s, k in enumerate(steps):
                assert bool(moved[s, n]) == (own == b and at <= t < at + k)


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: predictors.LinearPredictor(0, 1, 1), ArgumentError, "at least 1"),
        (lambda: predictors.TransformerPredictor(8, 5, 1, heads=3), ArgumentError, "divide"),
        (lambda: predictors.ActionPredictor(8, 5, 2), ArgumentError, "either"),
        (
            lambda: predictors.ActionPredictor(8, 5, 2, n_actions=3)(CONTEXT.float(), AT),
            ShapeError,
            "none",
        ),
        (
            lambda: predictors.ActionPredictor(8, 5, 2, n_actions=3)(
                CONTEXT.float(), AT, torch.zeros(2, 5, dtype=torch.int64)
            ),
            ShapeError,
            r"\(2, 6\)",
        ),
    ],
)
def test_bad_input_is_refused(call, error, says):
    with pytest.raises(error, match=says):
        call()
