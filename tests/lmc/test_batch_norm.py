"""Running statistics estimated anew: against torch's own, and what they do to a barrier."""

import copy

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import update_bn
from torch.utils.data import DataLoader, TensorDataset

from lmc.closed_forms import Residual, examples, mlp, pair
from sidle.errors import ArgumentError, NonFiniteError
from sidle.lmc import error_barrier, measure, re_estimate


@pytest.mark.parametrize("batch_size", [60, 20])
def test_equals_the_averages_that_torch_takes_for_averaged_weights(batch_size):
    model, (x, _) = Residual(0), examples(60, 1, 8, 8)
    reference = copy.deepcopy(model)
    update_bn(x.split(batch_size), reference)
    re_estimate(model, x, batch_size=batch_size)
    for name, tensor in reference.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name


def test_of_one_batch_they_are_its_mean_and_variance():
    model, (x, y) = mlp(0, batch_norm=True), examples()
    re_estimate(model, (x, y))
    with torch.no_grad():
        hidden = model[0](x)
    torch.testing.assert_close(model[1].running_mean, hidden.mean(0))
    torch.testing.assert_close(model[1].running_var, hidden.var(0))


def test_batches_count_alike_so_they_are_of_nearly_equal_size():
    sizes = []
    model = mlp(0, batch_norm=True)
    model.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))
    re_estimate(model, torch.randn(21, 6), batch_size=20)
    assert sizes == [11, 10]


def test_nothing_else_of_the_model_changes():
    model = mlp(0, batch_norm=True, dropout=0.9).train()
    model[1].momentum = 0.3
    weights = [parameter.clone() for parameter in model.parameters()]
    x = torch.randn(30, 6)
    random_state = torch.get_rng_state()
    re_estimate(model, x)
    assert torch.equal(torch.get_rng_state(), random_state)  # dropout drew nothing
    assert all(map(torch.equal, model.parameters(), weights))
    assert model[1].momentum == 0.3
    assert model.training
    assert model[1].training


class UsedTwice(nn.Module):
    """A layer of BatchNorm that the network has under two names."""

    def __init__(self):
        super().__init__()
        self.inner, self.outer = nn.Linear(6, 5), nn.Linear(5, 5)
        self.norm = nn.BatchNorm1d(5)
        self.again = self.norm

    def forward(self, x):
        return self.again(self.outer(self.norm(self.inner(x))))


def test_a_layer_with_two_names_is_estimated_under_both():
    torch.manual_seed(0)
    model, (x, _) = UsedTwice(), examples(60)
    model(x + 3)  # statistics of its own, to be forgotten
    reference = copy.deepcopy(model)
    update_bn(x.split(20), reference)
    re_estimate(model, x, batch_size=20)
    for name, tensor in reference.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name


def test_kinds_of_calibration():
    x, y = examples(32)
    loader = DataLoader(TensorDataset(x, y), batch_size=16)
    found = []
    for calibration in (x, (x, y), [x, y], loader, [x[:16], x[16:]], [(x[:16],), (x[16:],)]):
        model = mlp(0, batch_norm=True)
        re_estimate(model, calibration, batch_size=16)
        found.append(model[1].running_var)
    assert all(torch.equal(one, found[0]) for one in found)


def rescaled():
    """Return two networks that compute the same: one has three times the other's first layer."""
    a, _, data = pair("mlp with BatchNorm", n=200)
    re_estimate(a, data[0])
    b = copy.deepcopy(a)
    with torch.no_grad():
        b[0].weight *= 3
        b[0].bias *= 3
        b[1].running_mean *= 3
        b[1].running_var *= 9
    return a, b, data


def test_a_barrier_that_only_the_statistics_make():
    # Half-way the layer is doubled, so its variance is 4; the mean of 1 and 9 is 5.
    a, b, data = rescaled()
    found = error_barrier(a, b, data, batch_norm="both", calibration=data[0])
    anew = found.by_policy["re-estimated"]
    assert (found.batch_norm, anew.batch_norm) == ("interpolated", "re-estimated")
    # The same function everywhere, in float32.
    assert anew.loss == pytest.approx([anew.loss[0]] * 30, rel=1e-5)
    assert max(abs(one - found.loss[0]) for one in found.loss) > 1e-3
    alone = error_barrier(a, b, data, batch_norm="re-estimated", calibration=data[0])
    assert alone.loss == anew.loss
    assert not alone.by_policy
    assert found.as_dict()["by_policy"]["re-estimated"]["loss"] == list(anew.loss)


def test_each_point_is_estimated_as_if_alone():
    a, b, data = pair("residual with BatchNorm")
    found = error_barrier(
        a, b, data, points=3, batch_norm="re-estimated", calibration=data[0], batch_size=20
    )
    for end, error in ((a, found.error[0]), (b, found.error[2])):
        alone = copy.deepcopy(end)
        re_estimate(alone, data[0], batch_size=20)
        assert measure(alone, data).error == error


def test_the_note_says_what_was_not_looked_at():
    a, b, data = pair("mlp with BatchNorm")
    assert "interpolated" in error_barrier(a, b, data).notes[0]
    assert not error_barrier(a, b, data, batch_norm="both", calibration=data[0]).notes
    assert not error_barrier(mlp(0), mlp(1), data).notes


@pytest.mark.parametrize(
    ("calibration", "error", "said"),
    [
        ([], ArgumentError, "calibration is empty"),
        (torch.zeros(1, 6), ArgumentError, "at least 2 examples"),
        (torch.zeros(0, 6), ArgumentError, "at least 2 examples"),
        ([torch.zeros(1, 6)], ArgumentError, "at least 2 examples"),
        (torch.zeros(4, 6).numpy(), ArgumentError, "torch.as_tensor"),
        (7, ArgumentError, "got int"),
        (torch.full((4, 6), torch.nan), NonFiniteError, "'1.running_mean'"),
    ],
)
def test_refuses_calibration(calibration, error, said):
    with pytest.raises(error, match=said):
        re_estimate(mlp(0, batch_norm=True), calibration)


def test_refuses_a_model_without_statistics():
    for model in (mlp(0), nn.BatchNorm1d(6, track_running_stats=False)):
        with pytest.raises(ArgumentError, match="keeps no running statistics"):
            re_estimate(model, torch.zeros(4, 6))
