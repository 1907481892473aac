"""Classifiers are asked as they are, judged by the mean of their draws, and left as they were."""

import math

import pytest
import torch
from torch import nn

from sidle.errors import ArgumentError, NonFiniteError, ShapeError
from sidle.evaluation import classifiers


class Noisy(nn.Module):
    """A linear layer whose logits get noise from the global generator."""

    def __init__(self, noise=1.0):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(3, 4)
        self.dropout = nn.Dropout(0.5)
        self.noise = noise

    def forward(self, x):
        logits = self.dropout(self.layer(x))
        return logits + self.noise * torch.randn_like(logits)


X = torch.rand(11, 3, generator=torch.Generator().manual_seed(1))
Y = torch.arange(11) % 4


def test_modes_gradients_and_generators_are_as_before():
    model = Noisy()
    model.train()
    model.dropout.eval()
    model.layer.bias.requires_grad_(False)
    state = torch.get_rng_state()
    classifiers.logits(model, X, samples=3)
    assert model.training
    assert not model.dropout.training
    assert model.layer.weight.requires_grad
    assert not model.layer.bias.requires_grad
    assert torch.equal(torch.get_rng_state(), state)
    with pytest.raises(RuntimeError, match="broken"), classifiers.frozen(model, "cpu", 0):
        assert not model.training
        raise RuntimeError("broken")
    assert model.training


def test_the_mean_prediction_is_the_logarithm_of_the_mean_probability():
    model = Noisy().eval()
    seen = []

    def remembering(x):
        seen.append(model(x))
        return seen[-1]

    predictor = classifiers.Predictor(remembering, samples=5)
    found = predictor(X)
    p_NSC = seen[0].softmax(1).reshape(11, 5, 4)
    torch.testing.assert_close(found, p_NSC.mean(1).log())
    assert predictor.n_evaluations == 55
    assert predictor.classes == 4


def test_gradients_go_through_the_mean_of_all_draws():
    model = Noisy().eval()
    x = X.clone().requires_grad_()
    torch.manual_seed(3)
    (found,) = torch.autograd.grad(classifiers.Predictor(model, 6)(x)[:, 0].sum(), x)
    torch.manual_seed(3)
    copies = X.repeat_interleave(6, 0).requires_grad_()
    p = model(copies).softmax(1).reshape(11, 6, 4).mean(1)
    (wanted,) = torch.autograd.grad(p[:, 0].log().sum(), copies)
    torch.testing.assert_close(found, wanted.reshape(11, 6, 3).sum(1))


def test_a_classifier_that_draws_is_told_from_one_that_does_not():
    assert classifiers.is_random(Noisy(), X)
    assert not classifiers.is_random(Noisy(noise=0.0).train(), X)  # dropout is off in evaluation


def test_same_seed_same_logits_and_batches_do_not_matter_without_draws():
    model = Noisy()
    first = classifiers.logits(model, X, samples=2, seed=5)
    assert torch.equal(first, classifiers.logits(model, X, samples=2, seed=5))
    assert not torch.equal(first, classifiers.logits(model, X, samples=2, seed=6))
    still = Noisy(noise=0.0)
    whole = classifiers.logits(still, X)
    torch.testing.assert_close(classifiers.logits(still, X, samples=9, batch_size=2), whole)
    assert classifiers.accuracy(still, X, whole.argmax(1)) == 1.0
    assert classifiers.accuracy(still, X, (whole.argmax(1) + 1) % 4) == 0.0


def test_noise_is_drawn_from_the_generator_given():
    def twice(seed):
        generator = torch.Generator().manual_seed(seed)
        return classifiers.Predictor(Noisy(0.0).eval(), 4, noise=0.3, generator=generator)(X)

    assert torch.equal(twice(0), twice(0))
    assert not torch.equal(twice(0), twice(1))


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: classifiers.logits(Noisy(), X * 255), ArgumentError, "normalisation"),
        (lambda: classifiers.logits(Noisy(), X * math.nan), ArgumentError, "from 0 to 1"),
        (lambda: classifiers.logits(Noisy(), X.long()), ShapeError, "floating"),
        (lambda: classifiers.logits(Noisy(), X.long()), ShapeError, "values from 0 to 1"),
        (lambda: classifiers.logits(Noisy(), X, device="gpu"), ArgumentError, "device 'gpu'"),
        (lambda: classifiers.logits(Noisy(), X, device="xpu:99"), ArgumentError, "Take cpu"),
        (lambda: classifiers.logits(Noisy(), X[:0]), ShapeError, "N >= 1"),
        (lambda: classifiers.logits(Noisy(), X, samples=0), ArgumentError, "samples"),
        (lambda: classifiers.logits(lambda x: (x, x), X), ShapeError, "tuple"),
        (lambda: classifiers.logits(lambda x: x[:, :1], X), ShapeError, "at least 2"),
        (lambda: classifiers.logits(lambda x: x / 0, X), NonFiniteError, "NaN"),
        (lambda: classifiers.accuracy(Noisy(), X, Y + 1), ArgumentError, "belong together"),
        (lambda: classifiers.accuracy(Noisy(), X, Y - 1), ArgumentError, "from 0"),
        (lambda: classifiers.accuracy(Noisy(), X, Y[:3]), ShapeError, "11 integer"),
    ],
)
def test_bad_input_is_refused(call, error, says):
    with pytest.raises(error, match=says):
        call()
