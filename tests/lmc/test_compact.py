"""Compact models compute what the dense ones do, are smaller, and come back from their files."""

import math

import pytest
import torch
from torch import nn

from sidle import checkpoint, seeding
from sidle.errors import ArgumentError, CheckpointError, ShapeError
from sidle.lmc import criteria
from sidle.lmc.compact import (
    CompactLinear,
    SpeedComparison,
    compacted,
    compare_speed,
    load_compact,
    n_bytes,
    save_compact,
)
from sidle.lmc.masks import Mask

# float32 sums of about a hundred products of order one, in another order.
TOLERANCE = {"atol": 1e-5, "rtol": 1e-4}


def network(seed=0, bias=True):
    with seeding.scope(seed):
        return nn.Sequential(
            nn.Linear(40, 60, bias=bias), nn.ReLU(), nn.Dropout(), nn.Linear(60, 7, bias=bias)
        )


def pruned(model, fraction=0.9):
    mask = criteria.random_mask(Mask.ones(model), fraction, seed=0)
    mask.apply_(model)
    return mask


def inputs(*shape, seed=1):
    return torch.randn(*shape, generator=seeding.torch_generator(seed))


@pytest.mark.parametrize("rows", [0, 1, 2, 64, 65, 200])
@pytest.mark.parametrize("bias", [True, False])
def test_outputs_are_those_of_the_dense_model(rows, bias):
    model = network(bias=bias)
    pruned(model)
    small = compacted(model)
    assert sum(isinstance(module, CompactLinear) for module in small.modules()) == 2
    x = inputs(rows, 40)
    torch.testing.assert_close(small(x), model.eval()(x), **TOLERANCE)


def test_leading_dimensions_and_number_types_are_kept():
    layer = nn.Linear(40, 60).double()
    pruned(nn.Sequential(layer))
    small = CompactLinear.of(layer)
    for shape in ((40,), (3, 40), (2, 3, 40)):
        x = inputs(*shape).double()
        y = small(x)
        assert y.dtype == torch.float64
        torch.testing.assert_close(y, layer(x), atol=1e-13, rtol=1e-12)


def test_without_mkl_single_rows_take_the_product_of_matrices(monkeypatch):
    model = network()
    pruned(model)
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: False)
    x = inputs(1, 40)
    torch.testing.assert_close(compacted(model)(x), model.eval()(x), **TOLERANCE)


def test_gradients_reach_the_input():
    model = network()
    pruned(model)
    x = inputs(5, 40).requires_grad_()
    (dense,) = torch.autograd.grad(model.eval()(x).square().sum(), x)
    (small,) = torch.autograd.grad(compacted(model)(x).square().sum(), x)
    torch.testing.assert_close(small, dense, atol=1e-4, rtol=1e-3)


def test_empty_rows_and_empty_layers_give_the_bias():
    layer = nn.Linear(4, 3)
    with torch.no_grad():
        layer.weight[:2] = 0
    assert torch.allclose(CompactLinear.of(layer)(torch.ones(2, 4)), layer(torch.ones(2, 4)))
    with torch.no_grad():
        layer.weight.zero_()
    small = CompactLinear.of(layer)
    assert small.n_kept == 0
    assert torch.equal(small(torch.ones(2, 4)), layer.bias.expand(2, 3))


def test_a_mask_is_applied_and_the_model_left_as_it_is():
    model = network().train()
    mask = criteria.random_mask(Mask.ones(model), 0.9, seed=0)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    small = compacted(model, mask)
    assert model.training
    assert not small.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert sum(m.n_kept for m in small.modules() if isinstance(m, CompactLinear)) == mask.n_kept


def test_memory_is_value_and_column_of_each_weight_and_where_rows_start():
    model = network()
    mask = pruned(model)
    expected = 8 * mask.n_kept + 4 * (61 + 8) + 4 * (60 + 7)
    assert n_bytes(compacted(model)) == expected
    assert n_bytes(model) == 4 * (40 * 60 + 60 * 7 + 60 + 7)


def test_layers_that_would_grow_stay_dense_unless_named():
    model = network()
    pruned(model, 0.4)
    assert not any(isinstance(module, CompactLinear) for module in compacted(model).modules())
    small = compacted(model, names=["0"])
    assert isinstance(small[0], CompactLinear)
    assert isinstance(small[3], nn.Linear)
    with pytest.raises(ArgumentError, match=r"compacted: 1 cannot be replaced.*Choose from: 0, 3"):
        compacted(model, names=["0", "1"])


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(11, 8)
        self.block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.hidden, self.head = nn.Linear(8, 8), nn.Linear(8, 11, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens):
        return self.head(torch.relu(self.hidden(self.block(self.embed(tokens)))))


def test_layers_whose_weight_others_read_stay_dense():
    with seeding.scope(0):
        model = Transformer()
    mask = criteria.random_mask(Mask.ones(model), 0.9, seed=0)
    mask.apply_(model)
    small = compacted(model)
    replaced = [name for name, m in small.named_modules() if isinstance(m, CompactLinear)]
    assert replaced == ["hidden"]
    tokens = torch.arange(10).reshape(2, 5)
    with torch.no_grad():  # torch's fused path, which reads the weights
        torch.testing.assert_close(small(tokens), model.eval()(tokens), **TOLERANCE)
    with pytest.raises(ArgumentError, match="head cannot be replaced"):
        compacted(model, names=["head"])


def test_comes_back_from_its_file(tmp_path):
    model = network()
    pruned(model, 0.95)
    small = compacted(model, names=["0"])
    save_compact(tmp_path / "small.safetensors", small)
    loaded = load_compact(tmp_path / "small.safetensors", network(seed=9))
    assert isinstance(loaded[0], CompactLinear)
    assert isinstance(loaded[3], nn.Linear)
    assert not loaded.training
    x = inputs(5, 40)
    assert torch.equal(loaded(x), small(x))


def test_the_file_is_smaller_too(tmp_path):
    with seeding.scope(0):
        model = nn.Sequential(nn.Linear(300, 400), nn.ReLU(), nn.Linear(400, 10))
    pruned(model, 0.95)
    save_compact(tmp_path / "small", compacted(model))
    checkpoint.save(tmp_path / "dense", {"model": model.state_dict()})
    # 5 % of the weights at twice the bytes each; headers take a few KB of half a megabyte.
    assert (tmp_path / "small").stat().st_size < 0.13 * (tmp_path / "dense").stat().st_size


def test_other_files_and_architectures_are_refused(tmp_path):
    model = network()
    pruned(model)
    save_compact(tmp_path / "small", compacted(model))
    checkpoint.save(tmp_path / "dense", {"model": model.state_dict()})
    with pytest.raises(CheckpointError, match="holds no compact form"):
        load_compact(tmp_path / "dense", network())
    with pytest.raises(CheckpointError, match="holds no compact form of a Bilinear"):
        load_compact(tmp_path / "small", nn.Bilinear(2, 2, 2))
    tree = checkpoint.load(tmp_path / "small")
    tree["model"]["0.columns"][0] = 10**6  # would read far outside the input
    checkpoint.save(tmp_path / "outside", tree)
    with pytest.raises(CheckpointError, match="holds no compact form"):
        load_compact(tmp_path / "outside", network())
    tree = checkpoint.load(tmp_path / "small")
    tree["compact"]["sizes"]["1"] = {"forward": 3}
    checkpoint.save(tmp_path / "strange", tree)
    with pytest.raises(CheckpointError, match="no size is called forward"):
        load_compact(tmp_path / "strange", network())
    with pytest.raises(ArgumentError, match="Wrap it"):
        compacted(nn.Linear(3, 3), names=[""])


def test_comparison_measures_both_and_says_which_is_slower():
    model = network().train()
    pruned(model)
    small = compacted(model)
    found = compare_speed(model, small, inputs(32, 40), repeats=3)
    assert model.training
    assert found.batch == 32
    assert (found.dense_bytes, found.compact_bytes) == (n_bytes(model), n_bytes(small))
    assert found.largest_difference <= 1e-5
    assert found.output_scale > 0.1
    assert found.dense_seconds > 0
    assert found.speedup == found.dense_seconds / found.compact_seconds
    assert math.isclose(found.as_dict()["speedup"], found.speedup)
    made = {"batch": 1, "dense_bytes": 100, "compact_bytes": 25, "largest_difference": 1e-6}
    slow = SpeedComparison(
        **made, dense_seconds=1.0, compact_seconds=2.0, output_scale=1.0, threads=1
    )
    assert "SLOWER than dense (0.50 times as fast)" in str(slow)
    assert "25.0% of the memory" in str(slow)
    fast = SpeedComparison(
        **made, dense_seconds=3.0, compact_seconds=2.0, output_scale=1.0, threads=2
    )
    assert "1.50 times as fast as dense on 1 rows and 2 threads" in str(fast)


def test_comparison_refuses_what_cannot_be_compared():
    with pytest.raises(ShapeError, match=r"\(2, 3\), the compact one \(2, 4\)"):
        compare_speed(nn.Linear(5, 3), nn.Linear(5, 4), torch.ones(2, 5))
    with pytest.raises(ArgumentError, match="repeats"):
        compare_speed(nn.Linear(5, 3), nn.Linear(5, 3), torch.ones(2, 5), repeats=0)
    with pytest.raises(ShapeError, match=r"shape \(\.\.\., 40\), got \(2, 41\)"):
        CompactLinear(40, 3, 0)(torch.ones(2, 41))
    assert repr(CompactLinear(40, 3, 6)) == "CompactLinear(40, 3, 6 weights (5.00%))"
