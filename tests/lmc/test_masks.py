"""Pruned weights are exactly zero, stay so under any optimiser, and have no influence."""

import copy
import itertools
import pickle

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations, prune

from sidle import checkpoint, seeding
from sidle.errors import ArgumentError, CheckpointError, ShapeError
from sidle.lmc.masks import Mask, prunable

STEPS = 1000
OPTIMIZERS = {
    "SGD with momentum and weight decay": lambda p: torch.optim.SGD(
        p, lr=0.05, momentum=0.9, weight_decay=1e-3
    ),
    "SGD with Nesterov momentum": lambda p: torch.optim.SGD(
        p, lr=0.05, momentum=0.9, nesterov=True
    ),
    "Adam with weight decay": lambda p: torch.optim.Adam(p, lr=1e-3, weight_decay=1e-3),
    "Adam with amsgrad": lambda p: torch.optim.Adam(p, lr=1e-3, amsgrad=True),
    "AdamW": lambda p: torch.optim.AdamW(p, lr=1e-3, weight_decay=0.1),
    "RMSprop with momentum": lambda p: torch.optim.RMSprop(p, lr=1e-3, momentum=0.9),
    "NAdam": lambda p: torch.optim.NAdam(p, lr=1e-3),
    "Adagrad": lambda p: torch.optim.Adagrad(p, lr=1e-2),
    "Rprop": lambda p: torch.optim.Rprop(p, lr=1e-3),
}


def perceptron(seed=0):
    with seeding.scope(seed):
        return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))


def drawn_mask(model, share=0.5, seed=0):
    generator = seeding.torch_generator(seed)
    return Mask(
        {
            name: torch.rand(model.get_parameter(name).shape, generator=generator) < share
            for name in prunable(model)
        }
    )


def batch(i):
    generator = seeding.torch_generator(i % 7)
    x = torch.randn(20, 8, generator=generator)
    return x, x[:, :3].argmax(1)


def step(model, optimizer, i, *, clip=None):
    optimizer.zero_grad()
    x, y = batch(i)
    functional.cross_entropy(model(x), y).backward()
    if clip is not None:
        nn.utils.clip_grad_norm_(model.parameters(), clip)
    optimizer.step()


def is_positive_zero(tensor):
    return not tensor.view(torch.int32).any()


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_pruned_weights_are_exactly_zero_after_a_thousand_steps(make):
    model = perceptron()
    mask, optimizer = drawn_mask(model), make(model.parameters())
    for i in range(20):  # momentum from the dense network, which would revive what is pruned
        step(model, optimizer, i)
    mask.hold(model, optimizer)
    for i in range(STEPS):
        step(model, optimizer, i)
    for name, kept in mask.items():
        weight = model.get_parameter(name)
        assert is_positive_zero(weight.detach()[~kept])
        assert weight.detach()[kept].ne(0).all()
        assert is_positive_zero(weight.grad[~kept])
        moments = [t for t in optimizer.state[weight].values() if t.shape == weight.shape]
        assert moments
        assert all(is_positive_zero(moment[~kept]) for moment in moments)


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_weights_are_those_of_torchs_own_masked_forward_bit_for_bit(make):
    """Independent truth: torch.nn.utils.prune multiplies by the mask in each forward pass."""
    ours, theirs = perceptron(), perceptron()
    mask = drawn_mask(ours)
    for name, kept in mask.items():
        path, _, parameter = name.rpartition(".")
        prune.custom_from_mask(theirs.get_submodule(path), parameter, kept)
    ours_optimizer, their_optimizer = make(ours.parameters()), make(theirs.parameters())
    mask.hold(ours, ours_optimizer)
    for i in range(STEPS):
        step(ours, ours_optimizer, i)
        step(theirs, their_optimizer, i)
    for name, kept in mask.items():
        assert torch.equal(
            ours.get_parameter(name)[kept], theirs.get_parameter(f"{name}_orig")[kept]
        )
    assert torch.equal(ours[0].bias, theirs[0].bias)


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_what_is_pruned_has_no_influence_on_what_is_kept(make):
    """Whatever stood in the pruned places, and in the moments there: the same bits come out.

    With gradients clipped by their norm, to which a pruned weight's gradient must not add.
    """
    ended = []
    for trash in (0.0, 1e3, float("nan")):
        model = perceptron()
        mask, optimizer = drawn_mask(model), make(model.parameters())
        for i in range(3):
            step(model, optimizer, i)
        with torch.no_grad():
            for name, kept in mask.items():
                weight = model.get_parameter(name)
                weight[~kept] = trash
                for moment in optimizer.state[weight].values():
                    if moment.shape == weight.shape:
                        moment[~kept] = trash
        mask.hold(model, optimizer)
        for i in range(100):
            step(model, optimizer, i, clip=0.1)
        ended.append(model.state_dict())
    for other in ended[1:]:
        assert all(torch.equal(ended[0][name], other[name]) for name in ended[0])


def test_clipped_norm_counts_kept_weights_alone():
    model = perceptron()
    mask, optimizer = drawn_mask(model), torch.optim.SGD(model.parameters(), lr=0.1)
    mask.hold(model, optimizer)
    x, y = batch(0)
    functional.cross_entropy(model(x), y).backward()
    squares = 0.0
    for name, parameter in model.named_parameters():
        dense = torch.autograd.grad(functional.cross_entropy(model(x), y), parameter)[0]
        squares += float((dense * mask[name] if name in mask else dense).square().sum())
    total = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    assert float(total) == pytest.approx(squares**0.5, rel=1e-5)  # float32 sums


def test_a_gradient_set_by_hand_revives_nothing():
    model = perceptron()
    mask, optimizer = drawn_mask(model), torch.optim.Adam(model.parameters())
    mask.hold(model, optimizer)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    assert mask.revived(model.state_dict()) == {}
    assert all(model.get_parameter(name).grad[~kept].eq(0).all() for name, kept in mask.items())


def test_lbfgs_with_its_many_evaluations_revives_nothing():
    model = perceptron()
    mask = drawn_mask(model)
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, line_search_fn="strong_wolfe")
    mask.hold(model, optimizer)
    x, y = batch(0)
    seen = []

    def closure():
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(x), y)
        loss.backward()
        seen.append(mask.revived(model.state_dict()))
        return loss

    for _ in range(5):
        optimizer.step(closure)
    assert len(seen) > 5
    assert not any(seen)


def test_loading_a_state_while_held_masks_it():
    model, dense = perceptron(), perceptron(1)
    dense_optimizer = torch.optim.Adam(dense.parameters())
    step(dense, dense_optimizer, 0)
    mask, optimizer = drawn_mask(model), torch.optim.Adam(model.parameters())
    mask.hold(model, optimizer)
    model.load_state_dict(dense.state_dict())
    assert mask.revived(model.state_dict()) == {}
    optimizer.load_state_dict(dense_optimizer.state_dict())
    for name, kept in mask.items():
        weight = model.get_parameter(name)
        assert torch.equal(weight, torch.where(kept, dense.get_parameter(name), 0.0))
        assert not optimizer.state[weight]["exp_avg"][~kept].any()


def test_letting_go_ends_the_hold():
    model = perceptron()
    mask, optimizer = drawn_mask(model), torch.optim.SGD(model.parameters(), lr=0.1)
    with mask.hold(model, optimizer):
        step(model, optimizer, 0)
        assert mask.revived(model.state_dict()) == {}
    step(model, optimizer, 1)
    revived = mask.revived(model.state_dict())
    assert set(revived) == set(mask)
    assert revived["2.weight"] <= int((~mask["2.weight"]).sum())


def test_two_optimizers_hold_one_mask():
    model = perceptron()
    mask = drawn_mask(model)
    first = torch.optim.SGD(model[0].parameters(), lr=0.1, momentum=0.9)
    second = torch.optim.Adam(model[2].parameters(), lr=0.1)
    mask.hold(model, first, second)
    for i in range(20):
        model.zero_grad()
        x, y = batch(i)
        functional.cross_entropy(model(x), y).backward()
        first.step()
        second.step()
    assert mask.revived(model.state_dict()) == {}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_zeros_are_exact_in_every_number_type(dtype):
    values = torch.tensor([-1.0, float("nan"), float("inf"), -0.0, 3.0, -2.5], dtype=dtype)
    mask = Mask({"w": torch.tensor([False, False, False, False, True, True])})
    applied = mask.apply({"w": values})["w"]
    assert applied[:4].eq(0).all()
    assert not applied[:4].signbit().any()
    assert torch.equal(applied[4:], values[4:])
    assert values[0] == -1  # the given state is unchanged


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)
        self.second.weight = self.first.weight
        self.last = nn.Linear(8, 3)

    def forward(self, x):
        return self.last(torch.relu(self.second(torch.relu(self.first(x)))))


@pytest.mark.parametrize("travel", [copy.deepcopy, lambda mask: pickle.loads(pickle.dumps(mask))])
def test_a_mask_can_be_copied_and_sent_to_another_process(travel):
    mask = Mask({"a": torch.tensor([True, False])}, tied={"b": "a"})
    there = travel(mask)
    assert there == mask
    assert dict(there.tied) == {"b": "a"}
    assert there["a"].data_ptr() != mask["a"].data_ptr()


def test_tied_weights_are_one_tensor_under_two_names(tmp_path):
    with seeding.scope(0):
        model = Tied()
    assert prunable(model) == ["first.weight", "last.weight"]
    ones = Mask.ones(model)
    assert dict(ones.tied) == {"second.weight": "first.weight"}
    assert Mask.ones(model.state_dict(), prunable(model)) == ones
    mask = Mask(
        {name: torch.rand_like(kept, dtype=torch.float) < 0.5 for name, kept in ones.items()},
        tied=ones.tied,
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    untied = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    mask.hold(model, optimizer)
    for i in range(50):
        step(model, optimizer, i)
    assert mask.revived(model.state_dict()) == {}
    assert set(mask.revived(untied)) == {"first.weight", "second.weight", "last.weight"}
    model.load_state_dict(mask.apply(untied))  # the later name does not bring back the weights
    assert mask.revived(model.state_dict()) == {}
    mask.save(tmp_path / "mask.safetensors")
    assert Mask.load(tmp_path / "mask.safetensors") == mask


def test_convolutions_attention_and_linear_layers_are_pruned_and_nothing_else():
    model = nn.ModuleDict(
        {
            "convolution": nn.Conv2d(3, 4, 3),
            "norm": nn.BatchNorm2d(4),
            "upward": nn.ConvTranspose1d(4, 4, 3),
            "attention": nn.MultiheadAttention(8, 2),
            "other": nn.MultiheadAttention(8, 2, kdim=4, vdim=6),
            "layer norm": nn.LayerNorm(8),
            "words": nn.Embedding(5, 8),
            "head": nn.Linear(8, 2),
        }
    )
    assert prunable(model) == [
        "convolution.weight",
        "upward.weight",
        "attention.in_proj_weight",
        "attention.out_proj.weight",
        "other.q_proj_weight",
        "other.k_proj_weight",
        "other.v_proj_weight",
        "other.out_proj.weight",
        "head.weight",
    ]


def test_layers_that_compute_their_weight_are_refused_by_name():
    model = nn.Sequential(nn.Linear(3, 3), parametrizations.weight_norm(nn.Linear(3, 3)))
    with pytest.raises(ArgumentError, match="the weight of '1' is computed"):
        prunable(model)
    with pytest.raises(ArgumentError, match="no linear"):
        prunable(nn.LayerNorm(3))


def test_density_counts_weights():
    mask = Mask({"a": torch.tensor([[True, False], [False, False]]), "b": torch.ones(12) > 0})
    assert (mask.n_kept, mask.n_weights, mask.density) == (13, 16, 13 / 16)
    assert mask.densities() == {"a": 0.25, "b": 1.0}
    assert repr(mask) == "Mask(2 parameters, 13 of 16 weights kept)"


def test_digest_tells_names_shapes_and_bits_apart():
    kept = torch.tensor([True, False, True, True])
    masks = [
        Mask({"a": kept}),
        Mask({"b": kept}),
        Mask({"a": kept.reshape(2, 2)}),
        Mask({"a": ~kept}),
        Mask({"a": kept}, tied={"b": "a"}),
    ]
    assert len({mask.digest() for mask in masks}) == len(masks)
    assert all(one != other for one, other in itertools.combinations(masks, 2))
    assert Mask({"a": kept, "b": ~kept}) == Mask({"b": ~kept, "a": kept})
    assert masks[0] != "a"


def test_a_mask_comes_back_from_its_file_or_is_refused(tmp_path):
    mask = drawn_mask(perceptron())
    mask.save(tmp_path / "mask.safetensors")
    loaded = Mask.load(tmp_path / "mask.safetensors")
    assert loaded == mask
    assert list(loaded) == list(mask)
    checkpoint.save(tmp_path / "other.safetensors", {"model": {}})
    with pytest.raises(CheckpointError, match="holds no mask"):
        Mask.load(tmp_path / "other.safetensors")


def test_a_mask_owns_its_tensors():
    kept = torch.ones(3, dtype=torch.bool)
    mask = Mask({"a": kept})
    kept[0] = False
    assert mask["a"].all()


def test_bad_masks_and_models_are_refused_with_names():
    model = perceptron()
    mask = drawn_mask(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ArgumentError, match="at least one tensor"):
        Mask({})
    with pytest.raises(ArgumentError, match=r"'a' must be a boolean tensor.*got torch.float32"):
        Mask({"a": torch.ones(3)})
    with pytest.raises(ArgumentError, match="tied must lead"):
        Mask({"a": torch.ones(3) > 0}, tied={"b": "c"})
    with pytest.raises(ArgumentError, match=r"'3.weight' is absent\. There are: 0.weight"):
        Mask.ones(model, ["3.weight"])
    with pytest.raises(ArgumentError, match="the same tensor"):
        Mask.ones(Tied(), ["first.weight", "second.weight"])
    with pytest.raises(ArgumentError, match=r"'0.weight' is absent"):
        mask.apply({"other": torch.ones(2)})
    with pytest.raises(ShapeError, match=r"'0.weight' must have .* \(16, 8\), got \(4, 8\)"):
        mask.apply_(nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(16, 3)))
    with pytest.raises(ArgumentError, match=r"no optimiser was given that holds '0.weight'"):
        mask.hold(copy.deepcopy(model), optimizer)
    with pytest.raises(ArgumentError, match=r"no optimiser was given that holds '2.weight'"):
        mask.hold(model, torch.optim.SGD(model[0].parameters(), lr=0.1))
    tied = Mask.ones(Tied())
    untied = Tied()
    untied.second.weight = nn.Parameter(torch.ones(8, 8))
    with pytest.raises(ArgumentError, match="one tensor for the mask, but two"):
        tied.apply_(untied)


def test_sparse_gradients_are_refused():
    model = nn.Sequential(nn.Embedding(4, 2, sparse=True))
    mask = Mask({"0.weight": torch.ones(4, 2) > 0})
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    mask.hold(model, optimizer)
    model(torch.tensor([1])).sum().backward()
    with pytest.raises(ArgumentError, match="sparse"):
        optimizer.step()


@pytest.mark.parametrize(
    "changed",
    [
        {"names": ["a", "b"]},
        {"names": None},
        {"kept": 3},
        {"tied": [1]},
        {"names": [["a"]]},
    ],
)
def test_a_damaged_description_of_a_mask_is_refused(changed, tmp_path):
    tree = Mask({"a": torch.ones(3, dtype=torch.bool)}).state_dict() | changed
    with pytest.raises(ArgumentError, match="from_state_dict: expected lists of names and"):
        Mask.from_state_dict(tree)
    checkpoint.save(tmp_path / "mask.safetensors", {"mask": tree})
    with pytest.raises(CheckpointError, match="holds no mask"):
        Mask.load(tmp_path / "mask.safetensors")
