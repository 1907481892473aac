"""Alignment: permuted copies come back bit for bit, trained networks nearer, and nothing wrong."""

import copy

import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lmc.architectures import (
    ARCHITECTURES,
    HIDDEN,
    Two,
    mlp,
    outputs,
    permuted_copy,
    randomised,
)
from sidle import training
from sidle.errors import ArgumentError, NonFiniteError, SidleError
from sidle.lmc import align, axis_rules, distance, error_barrier, find_alignment, state_of

SIX = torch.randn(8, 6, generator=torch.Generator().manual_seed(5))


def same_bits(one, other):
    pairs = zip(one.state_dict().items(), other.state_dict().items(), strict=True)
    return all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs)


@pytest.mark.filterwarnings("ignore:LSTM with projections")  # torch says that it is slow
@pytest.mark.parametrize("method", ["weights", "activations"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_permuted_copy_comes_back_bit_for_bit(name, method):
    make, example, _ = ARCHITECTURES[name]
    network = randomised(make(), 0)
    other, permutations = permuted_copy(network, example)
    assert not same_bits(network, other)
    if method == "activations" and name in HIDDEN:
        with pytest.raises(ArgumentError, match=r"no activation shows .*Use method='weights'"):
            align(network, other, example=example, method=method)
        return
    found = find_alignment(network, other, example=example, method=method, restarts=1)
    assert same_bits(network, found.model)
    undone = found.specification.inverse(permutations)
    assert all(torch.equal(found.permutations[group], undone[group]) for group in undone)


@pytest.mark.parametrize(
    ("name", "seed"),  # seeds whose labels are not all alike, or whose permuted copy errs half-way
    [
        ("mlp", 4),
        ("flattened", 1),
        ("residual", 0),
        ("transformer", 4),
        ("lstm", 3),
        ("grouped", 0),
    ],
)
def test_a_permuted_copy_aligns_to_barrier_zero(name, seed):
    make, example, _ = ARCHITECTURES[name]
    network = randomised(make(), seed)
    other, _ = permuted_copy(network, example)
    x = torch.randn(100, *example[0].shape[1:], generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        y = copy.deepcopy(network).eval()(x).argmax(1)
    aligned = align(network, other, example=x[:4])
    assert error_barrier(network, other, (x, y)).barrier > 0.05
    found = error_barrier(network, aligned, (x, y))
    assert found.barrier == 0.0
    assert found.loss_barrier == 0.0


@pytest.fixture(scope="module")
def trained():
    """Return two perceptrons trained on digits, test data, and the inputs they were trained on."""
    x, y = load_digits(return_X_y=True)
    x, y = torch.tensor(x / 16, dtype=torch.float32), torch.tensor(y)

    def perceptron():
        return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(),
                             nn.Linear(64, 10))  # fmt: skip

    networks = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        network = perceptron()
        optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
        training.fit(
            training.supervised(network, optimizer, lambda m, b: F.cross_entropy(m(b[0]), b[1])),
            training.minibatches((x[:1200], y[:1200]), 60, seed=seed),
            300,
            state={"model": network, "optimizer": optimizer},
        )
        networks.append(network)
    return *networks, (x[1200:], y[1200:]), x[:1200]


@pytest.mark.parametrize("method", ["weights", "activations"])
def test_networks_trained_apart_come_nearer(trained, method):
    a, b, test, inputs = trained
    data = inputs if method == "activations" else None
    found = find_alignment(a, b, example=test[0][:8], method=method, data=data)
    torch.testing.assert_close(
        outputs(found.model, (test[0],)), outputs(b, (test[0],)), rtol=1e-10, atol=1e-10
    )
    before, after = (error_barrier(a, other, test) for other in (b, found.model))
    # Measured: 24.7 %, which weight matching takes down to 2.6 % and activation matching to 2.3 %.
    assert before.barrier > 0.1
    assert after.barrier < before.barrier / 2
    assert after.loss_barrier < before.loss_barrier / 2
    assert after.error[-1] == before.error[-1]
    states = [state_of(network) for network in (a, b, found.model)]
    assert distance(states[0], states[2]) < distance(states[0], states[1])


def test_weight_matching_lies_nearer_and_activation_matching_correlates_more(trained):
    a, b, test, inputs = trained
    weights = align(a, b, example=test[0][:8])
    activations = align(a, b, example=test[0][:8], method="activations", data=inputs)
    near, far = (distance(state_of(a), state_of(one)) for one in (weights, activations))
    assert near < far

    def correlations(other):
        units = [network[:2](inputs).detach() for network in (a, other)]
        centred = [u - u.mean(0) for u in units]
        product = (centred[0] * centred[1]).sum(0)
        return float(
            (product / (centred[0].norm(dim=0) * centred[1].norm(dim=0))).nan_to_num().sum()
        )

    assert correlations(activations) > correlations(weights)


def test_data_in_every_form_gives_the_same(trained):
    a, b, (x, y), _ = trained
    x, y = x[:50], y[:50]  # batches of 16 leave a rest of 2
    forms = [x, (x, y), DataLoader(TensorDataset(x, y), 16), list(x.split(16)), [(x, y)]]
    found = [
        align(a, b, example=x[:2], method="activations", data=form, batch_size=16, restarts=1)
        for form in forms
    ]
    assert all(same_bits(found[0], other) for other in found[1:])


def test_neither_network_is_changed_and_the_mode_is_kept():
    a, b = (randomised(mlp(), seed) for seed in (0, 1))
    a.eval()
    b.train()
    before = [copy.deepcopy(network) for network in (a, b)]
    random = torch.get_rng_state()
    aligned = align(a, b, example=SIX)
    assert same_bits(a, before[0])
    assert same_bits(b, before[1])
    assert aligned.training
    assert not a.training
    assert type(aligned) is type(b)
    assert torch.equal(torch.get_rng_state(), random)
    assert not same_bits(aligned, b)
    assert all(
        x.data_ptr() != y.data_ptr()
        for x, y in zip(aligned.parameters(), b.parameters(), strict=True)
    )


def test_same_seed_same_alignment():
    a, b = (randomised(ARCHITECTURES["grouped"][0](), seed) for seed in (0, 1))
    example = ARCHITECTURES["grouped"][1]
    one, other = (find_alignment(a, b, example=example, seed=7) for _ in range(2))
    assert same_bits(one.model, other.model)
    assert one.match.scores == other.match.scores


def test_tied_weights_stay_tied():
    make, example, _ = ARCHITECTURES["tied"]
    a, b = (randomised(make(), seed) for seed in (0, 1))
    aligned = align(a, b, example=example)
    assert aligned.out.weight is aligned.embedding.weight


def test_what_cannot_be_checked_or_moved_is_noted():
    class Single(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Linear(3, 5), nn.Linear(5, 2)

        def forward(self, x):
            return self.two(self.one(x.float()).relu().to(torch.float32))

    a, b = (randomised(Single(), seed) for seed in (0, 1))
    (note,) = find_alignment(a, b, example=torch.randn(4, 3)).notes
    assert "does not run in float64" in note
    a, b = (randomised(Two(), seed) for seed in (0, 1))
    (note,) = find_alignment(a, b, example=ARCHITECTURES["two"][1]).notes
    assert "unused.weight, unused.bias" in note
    assert find_alignment(mlp(), mlp(), example=SIX).notes == ()


# Refusals


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (nn.Linear(6, 3), nn.Linear(6, 4), r"'weight' has shape \(3, 6\).*in a and \(4, 6\)"),
        (nn.Linear(6, 3), nn.Linear(6, 3).double(), "torch.float64"),
        (mlp(), mlp()[:-1], r"b has no '6\.weight' \(and 1 more\)"),
        (mlp()[:-1], mlp(), r"a has no '6\.weight'"),
        (
            nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2)),
            nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 2)),
            "names and shapes agree. Look for another activation",
        ),
    ],
)
def test_other_architectures_are_refused(a, b, message):
    with pytest.raises(ArgumentError, match=message):
        align(a, b, example=SIX)


def test_networks_tied_in_other_ways_are_refused():
    make, example, _ = ARCHITECTURES["tied"]
    a, b = make(), make()
    b.out.weight = nn.Parameter(b.out.weight.detach().clone())
    with pytest.raises(ArgumentError, match="one tensor are"):
        align(a, b, example=example)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("who", [0, 1])
def test_weights_that_are_not_finite_are_refused(who, value):
    networks = [mlp(), mlp()]
    with torch.no_grad():
        networks[who][4].weight[0, 0] = value
    with pytest.raises(NonFiniteError, match=rf"'4\.weight' of {'ab'[who]} holds NaN or inf"):
        align(*networks, example=SIX)


def test_activations_that_are_not_finite_are_refused():
    networks = [randomised(mlp(), 0), randomised(mlp(), 1)]
    data = torch.full((4, 6), float("nan"))
    with pytest.raises(NonFiniteError, match="activations at"):
        align(*networks, example=SIX, method="activations", data=data)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "magic"}, "method must be 'weights' or 'activations'"),
        ({"restarts": 0}, "restarts and batch_size must be at least 1"),
        ({"batch_size": 0}, "restarts and batch_size must be at least 1"),
        ({"data": SIX}, "data is used by method='activations' alone"),
        ({"method": "activations", "data": []}, "data holds no batches"),
        ({"method": "activations", "data": 3}, "data must be a tensor.*got int"),
        ({"example": torch.zeros(2, 5)}, "cannot be run on the example"),
    ],
)
def test_arguments_out_of_range_are_refused(settings, message):
    with pytest.raises(ArgumentError, match=message):
        align(mlp(), mlp(), **{"example": SIX} | settings)


def test_data_with_too_few_arguments_is_refused():
    _, example, _ = ARCHITECTURES["two"]
    with pytest.raises(ArgumentError, match="takes 2 arguments, but data holds 1"):
        align(Two(), Two(), example=example, method="activations", data=(example[0],))


def test_too_many_units_to_correlate_are_refused():
    wide = [nn.Sequential(nn.Linear(1, 9000), nn.ReLU(), nn.Linear(9000, 1)) for _ in range(2)]
    with pytest.raises(ArgumentError, match=r"9000 units.*Use method='weights'"):
        align(*wide, example=torch.zeros(2, 1), method="activations")


def test_control_flow_that_depends_on_values_is_refused():
    class Branching(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Linear(6, 4), nn.Linear(4, 2)

        def forward(self, x):
            h = self.one(x)
            return self.two(h if h.sum() > 0 else -h)

    with pytest.raises(ArgumentError, match=r"cannot be traced: its control flow.*if h\.sum\(\)"):
        align(Branching(), Branching(), example=SIX)


def test_networks_that_draw_at_random_are_refused():
    class Noisy(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Linear(6, 4), nn.Linear(4, 2)

        def forward(self, x):
            return self.two(self.one(x) + torch.randn(4))

    with pytest.raises(ArgumentError, match="other outputs when it is run again"):
        align(Noisy(), Noisy(), example=SIX)


class Running(nn.Module):
    """Sums along its units, so that their order matters."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(6, 5), nn.Linear(5, 2)

    def forward(self, x):
        return self.two(self.one(x).cumsum(1))


def test_a_wrong_rule_is_caught_by_the_outputs(monkeypatch):
    a, b = (randomised(Running(), seed) for seed in (0, 1))
    assert same_bits(align(a, b, example=SIX), b)  # rightly, nothing may move
    monkeypatch.setitem(axis_rules.RULES, "cumsum", lambda call: call.layout("self"))
    with pytest.raises(ArgumentError, match=r"refused, because the permuted network's outputs dif"):
        align(a, b, example=SIX)


def test_a_wrong_rule_of_small_effect_is_caught_too(monkeypatch):
    class Slightly(Running):
        def forward(self, x):
            h = self.one(x)
            return self.two(h + 1e-5 * h.cumsum(1))

    a, b = (randomised(Slightly(), seed) for seed in (0, 1))
    monkeypatch.setitem(axis_rules.RULES, "cumsum", lambda call: call.layout("self"))
    # Below what float32 could tell from rounding: float64 tells.
    with pytest.raises(ArgumentError, match=r"refused, .*more than 1e-09"):
        align(a, b, example=SIX)


def test_errors_are_of_one_root():
    assert issubclass(ArgumentError, SidleError)
    assert issubclass(ArgumentError, ValueError)
