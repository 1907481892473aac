"""A bottleneck on a classifier that is there begins as that classifier, which stays as it is."""

import pytest
import torch
from torch import nn

from sidle import seeding
from sidle.ceb import attach
from sidle.errors import ArgumentError


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(12, 7), nn.ReLU())
        self.head = nn.ModuleDict({"fc": nn.Linear(7, 4)})

    def forward(self, x):
        return self.head["fc"](self.body(x))


X = torch.randn(6, 3, 4, generator=torch.Generator().manual_seed(0))
Y = torch.arange(6) % 4


@pytest.fixture
def network():
    with seeding.scope(0):
        return Network()


@pytest.mark.parametrize("family", ["identity", "diagonal", "full"])
def test_a_trained_network_predicts_as_before(network, family):
    model = attach(network, "head.fc", family=family, rho=1.0).eval()
    torch.testing.assert_close(model(X), network(X))
    assert model.dim == 7
    assert model.n_classes == 4


def test_the_copy_is_in_the_mode_of_the_network(network):
    network.eval()
    model = attach(network, "head.fc", rho=1.0)
    torch.testing.assert_close(model(X), network(X))
    assert attach(network.train(), "head.fc").training


def test_training_the_copy_leaves_the_original(network):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    model = attach(network, "head.fc", rho=1.0)
    optimizer = torch.optim.SGD(model.network_parameters(), 0.5)
    for _ in range(3):
        optimizer.zero_grad()
        model.loss(X, Y).loss.backward()
        optimizer.step()
    assert not torch.allclose(model.eval()(X), network(X))
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])
    assert isinstance(network.head["fc"], nn.Linear)


def test_other_dimensions_and_classifiers_get_new_layers(network):
    model = attach(network, "head.fc", dim=3, family="von-mises-fisher", classifier="consistent")
    assert model.encode(X).shape == (6, 3)
    assert model.eval()(X).shape == (6, 4)
    consistent = attach(network, "head.fc", classifier="consistent")
    assert consistent.encode(X).shape == (6, 7)
    assert consistent.classifier is None


def test_a_model_that_is_one_layer_becomes_the_classifier():
    layer = nn.Linear(5, 3).double()
    model = attach(layer, "").eval()
    x = torch.randn(2, 5, dtype=torch.float64)
    torch.testing.assert_close(model(x), layer(x))
    assert model.backward_CP.dtype == torch.float64


def test_a_layer_that_is_not_there_is_named_with_those_that_are(network):
    with pytest.raises(ArgumentError, match=r"body\.1, head\.fc"):
        attach(network, "fc")
    with pytest.raises(ArgumentError, match="no linear layer"):
        attach(network, "body.2")
