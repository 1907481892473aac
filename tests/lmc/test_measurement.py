"""One network on data: equal to a plain loop, and nothing of the network is changed."""

import functools

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lmc.closed_forms import Threshold, examples, grid, mlp
from sidle.errors import ArgumentError, NonFiniteError, ShapeError
from sidle.lmc import error_barrier, measure


def test_equals_a_plain_loop():
    model, (x, y) = mlp(0), examples()
    with torch.no_grad():
        logits = model.eval()(x)
    measured = measure(model, (x, y), batch_size=7)
    expected = torch.stack(
        [-row.log_softmax(0)[label] for row, label in zip(logits, y, strict=True)]
    )
    # float32 sums of three exponentials, taken in another order
    torch.testing.assert_close(measured.loss_N, expected, rtol=1e-5, atol=1e-6)
    assert measured.predicted_N.tolist() == logits.argmax(1).tolist()
    assert measured.wrong_N.tolist() == (logits.argmax(1) != y).tolist()
    assert measured.error == sum(measured.wrong_N.tolist()) / 60
    assert measured.loss == pytest.approx(expected.double().mean().item(), rel=1e-6)
    assert (measured.loss_N.dtype, measured.predicted_N.dtype) == (torch.float32, torch.int64)


def test_known_error():
    x, y = grid(1000)
    assert measure(Threshold(0.3), (x, y)).error == 0.15
    assert measure(Threshold(0.0), (x, y)).error == 0.0


def test_batches_and_loaders_give_what_tensors_give():
    model, (x, y) = mlp(0, batch_norm=True), examples()
    whole = measure(model, (x, y))
    loader = DataLoader(TensorDataset(x, y), batch_size=16)
    for data in (loader, [(x[:50], y[:50]), (x[50:], y[50:])], [x, y]):
        other = measure(model, data)
        assert other.predicted_N.tolist() == whole.predicted_N.tolist()
        torch.testing.assert_close(other.loss_N, whole.loss_N)


def test_the_model_comes_back_as_it_was():
    model, data = mlp(0, batch_norm=True, dropout=0.5), examples()
    model.train()
    model[1].eval()
    modes = [module.training for module in model.modules()]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    other = mlp(1, batch_norm=True).state_dict()
    random_state = torch.get_rng_state()
    measure(model, data, state=other)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(model.state_dict()[name], before[name]) for name in before)
    assert torch.equal(torch.get_rng_state(), random_state)
    with pytest.raises(ShapeError):
        measure(model, (torch.zeros(4, 6), torch.zeros(3, dtype=torch.int64)))
    with pytest.raises(ArgumentError, match=r"inputs of shape \(4, 5\).*cannot be multiplied"):
        measure(model, (torch.zeros(4, 5), torch.zeros(4, dtype=torch.int64)))
    assert [module.training for module in model.modules()] == modes


def test_a_state_is_measured_in_the_place_of_the_models_own_weights():
    first, second, data = mlp(0), mlp(1), examples()
    borrowed = measure(first, data, state=second.state_dict())
    assert torch.equal(borrowed.loss_N, measure(second, data).loss_N)
    assert not torch.equal(borrowed.loss_N, measure(first, data).loss_N)


def test_a_loss_of_ones_own():
    x, y = examples()
    squared = measure(
        nn.Linear(6, 1),
        (x, x[:, :1]),
        loss=lambda out, t: ((out - t).square().sum(1), ((out - t).abs() > 1).squeeze(1)),
    )
    assert squared.loss_N.shape == squared.wrong_N.shape == (60,)
    assert 0 < squared.error < 1
    softened = functools.partial(F.cross_entropy, label_smoothing=0.1, reduction="none")
    smoothed = measure(mlp(0), (x, y), loss=softened)
    assert smoothed.error == measure(mlp(0), (x, y)).error
    assert smoothed.loss != measure(mlp(0), (x, y)).loss


class Answering(nn.Module):
    """A network that returns its logits in a dictionary."""

    def __init__(self):
        super().__init__()
        self.network = mlp(0)

    def forward(self, x):
        return {"logits": self.network(x)}


def test_refuses_outputs_that_are_no_tensor():
    def loss(outputs, y):
        logits = outputs["logits"]
        return F.cross_entropy(logits, y, reduction="none"), logits.argmax(1) != y

    model, data, said = Answering(), examples(), r"must return a tensor, got dict.*Wrap"
    with pytest.raises(ShapeError, match=said):
        measure(model, data, loss=loss)
    for evaluation in ("auto", "batched"):
        with pytest.raises(ShapeError, match=said):
            error_barrier(model, Answering(), data, batch_size=10, loss=loss, evaluation=evaluation)


def labels(*values):
    return torch.tensor(values)


@pytest.mark.parametrize(
    ("data", "error", "said"),
    [
        ((torch.zeros(0, 6), labels().long()), ArgumentError, "is empty"),
        ([], ArgumentError, "holds no batches"),
        ((torch.zeros(2, 6), labels(0, 3)), ArgumentError, r"\[0, 3\).*got 0 to 3"),
        ((torch.zeros(2, 6), labels(-1, 0)), ArgumentError, "got -1 to 0"),
        ((torch.zeros(2, 6), labels(0.0, 1.0)), ArgumentError, "must be integers"),
        ((torch.zeros(2, 6), torch.zeros(2, 3).long()), ArgumentError, "must be integers"),
        ((torch.zeros(3, 6), labels(0, 1)), ShapeError, "same length, got 3 and 2"),
        ((torch.zeros(2, 6).numpy(), labels(0, 1)), ArgumentError, "torch.as_tensor"),
        (iter([(torch.zeros(2, 6), labels(0, 1))]), ArgumentError, "only once"),
        (TensorDataset(torch.zeros(2, 6), labels(0, 1)), ShapeError, "DataLoader"),
        ([torch.zeros(2, 6)], ArgumentError, "pairs of tensors"),
        (None, ArgumentError, "got NoneType"),
        ((torch.full((2, 6), torch.nan), labels(0, 1)), NonFiniteError, "NaN in the inputs"),
    ],
)
def test_refuses_bad_data(data, error, said):
    if isinstance(data, TensorDataset):
        data = [data[0]]  # what going through a Dataset yields
    with pytest.raises(error, match=said):
        measure(mlp(0), data)


def test_refuses_outputs_that_are_no_logits():
    with pytest.raises(ShapeError, match=r"logits of shape \(2, C\), got a tensor of shape \(2,\)"):
        measure(nn.Flatten(0), (torch.zeros(2), labels(0, 1)))
    with pytest.raises(ShapeError, match="reduction='none'"):
        measure(mlp(0), examples(), loss=F.cross_entropy)
    with pytest.raises(ArgumentError, match="batch_size must be at least 1"):
        measure(mlp(0), examples(), batch_size=0)
    with pytest.raises(ArgumentError, match=r"it lacks '4.bias'; the model lacks 'x'"):
        state = mlp(0).state_dict()
        state["x"] = state.pop("4.bias")
        measure(mlp(0), examples(), state=state)
    with pytest.raises(ShapeError, match=r"'0.weight' has shape \(12, 6\)"):
        measure(mlp(0), examples(), state=mlp(0).state_dict() | {"0.weight": torch.zeros(3, 3)})
