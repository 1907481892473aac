"""Weights from every kind of file, models from the working folder, and what is refused."""

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from sidle import checkpoint
from sidle.cli import models
from sidle.errors import ArgumentError, CheckpointError, DataNotFoundError, UsageError

NETWORKS = """
from torch import nn
import torch

class Small(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, width), nn.ReLU(), nn.Linear(width, 2))

    def forward(self, x):
        return self.body(x)

class Outer:
    inner = Small

def number():
    return 3

def fails():
    raise RuntimeError("no such file of words")
"""


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """The state of a network that ``some_networks:Small`` makes, in a folder that holds it."""
    monkeypatch.chdir(tmp_path)
    Path("some_networks.py").write_text(NETWORKS, encoding="utf-8")
    Path("breaks.py").write_text("import a_package_that_is_not_there", encoding="utf-8")
    monkeypatch.delitem(models.sys.modules, "some_networks", raising=False)
    torch.manual_seed(1)
    return models.build("some_networks:Small").state_dict()


def fresh(state):
    return {name: torch.randn_like(tensor) for name, tensor in state.items()}


def loaded(path, **options):
    return models.load(Path(path), "some_networks:Small", **options).state_dict()


def equal(first, second):
    return set(first) == set(second) and all(
        torch.equal(first[name], second[name]) for name in first
    )


def test_every_kind_of_file_gives_the_same_weights(weights):
    state = fresh(weights)
    torch.save(state, "plain.pt")
    torch.save({"epoch": 7, "model": state, "optimizer": {"lr": 0.1}}, "wrapped.pth")
    torch.save({f"module.{name}": tensor for name, tensor in state.items()}, "parallel.pt")
    torch.save({f"_orig_mod.module.{n}": t for n, t in state.items()}, "compiled.pt")
    save_file(state, "plain.safetensors")
    checkpoint.save("sidle.safetensors", {"step": 3, "objects": {"module": state}})
    paths = sorted([*Path().glob("*.pt*"), *Path().glob("*.safetensors")])
    assert len(paths) == 6
    for path in paths:
        assert equal(loaded(path), state), path


def test_one_of_several_networks_is_named(weights):
    first, second = fresh(weights), fresh(weights)
    torch.save({"model": first, "averages": {"ema": second}}, "two.pt")
    with pytest.raises(CheckpointError, match=r"'model', 'averages\.ema'. Say which with --entry"):
        loaded("two.pt")
    assert equal(loaded("two.pt", entry="model"), first)
    assert equal(loaded("two.pt", entry="averages.ema"), second)
    with pytest.raises(CheckpointError, match=r"no weights under 'ema'\. It holds some under"):
        loaded("two.pt", entry="ema")


def test_the_model_is_in_evaluation_mode_and_made_as_asked(weights):
    torch.save(models.build("some_networks:Small", '{"width": 9}').state_dict(), "wide.pt")
    random_state = torch.get_rng_state()
    model = models.load(Path("wide.pt"), "some_networks:Outer.inner", arguments='{"width": 9}')
    assert torch.equal(torch.get_rng_state(), random_state)
    assert not model.training
    assert model.body[0].out_features == 9
    with pytest.raises(CheckpointError, match=r"'body\.0\.weight' has shape \(9, 3\) in the file"):
        loaded("wide.pt")


def test_the_working_folder_is_importable_only_meanwhile(weights):
    before = list(models.sys.path)
    models.build("some_networks:Small")
    assert models.sys.path == before


class Code:
    def __reduce__(self):
        return print, ("this would run",)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not a complete file|no file of torch.save"),
        (b"PK\x03\x04 cut off", "not a complete file"),
        (b"some text\n" * 9, "file of torch.save"),
        (b"e" + b"text" * 9, "file of torch.save: [a-z]"),
        (pickle.dumps({"weights": [1.0]}), "no file of torch.save"),
        (pickle.dumps(Code()), "no file of torch.save"),
    ],
    ids=["empty", "cut off", "text", "other text", "pickle", "code"],
)
def test_refuses_damaged_files(content, said, weights, capsys):
    Path("bad.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match=said):
        loaded("bad.pt")
    assert capsys.readouterr().out == ""


def test_refuses_a_file_that_contains_itself(weights):
    tree = {}
    tree["again"] = tree
    torch.save(tree, "circle.pt")
    with pytest.raises(CheckpointError, match="contains itself"):
        loaded("circle.pt")


def test_refuses_files_without_these_weights(weights, capsys):
    torch.save({"model": Code()}, "code.pt")
    with pytest.raises(CheckpointError, match="holds Python objects, which could run code"):
        loaded("code.pt")
    assert capsys.readouterr().out == ""
    torch.save(nn.Linear(3, 2), "whole.pt")
    with pytest.raises(CheckpointError, match=r"torch\.save\(model\.state_dict\(\), path\)"):
        loaded("whole.pt")
    torch.save(torch.zeros(3), "tensor.pt")
    with pytest.raises(CheckpointError, match="expected weights by name, found Tensor"):
        loaded("tensor.pt")
    torch.save({"epoch": 3}, "epoch.pt")
    with pytest.raises(CheckpointError, match="holds no tensors by name"):
        loaded("epoch.pt")
    state = fresh(weights)
    state["body.4.bias"] = state.pop("body.2.bias")
    torch.save({"net": state}, "other.pt")
    with pytest.raises(CheckpointError, match=r"under net.*lacks 'body\.2\.bias'; the model lacks"):
        loaded("other.pt")
    Path("cut.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{")
    with pytest.raises(CheckpointError, match="not a complete safetensors file"):
        loaded("cut.safetensors")
    with pytest.raises(DataNotFoundError, match="no such file"):
        loaded("absent.pt")


@pytest.mark.parametrize(
    ("specification", "arguments", "error", "said"),
    [
        ("some_networks", "{}", UsageError, "expected module:factory"),
        ("some_networks:", "{}", UsageError, "expected module:factory"),
        ("absent_networks:Small", "{}", UsageError, "no module 'absent_networks'"),
        ("some_networks:Large", "{}", UsageError, "has no 'Large'"),
        ("some_networks:number", "{}", ArgumentError, "returned int"),
        ("some_networks:fails", "{}", ArgumentError, "RuntimeError: no such file of words"),
        ("some_networks:Small", '{"depth": 3}', ArgumentError, "'depth'"),
        ("some_networks:Small", "[3]", UsageError, "expected a JSON object"),
        ("some_networks:Small", "{", UsageError, "not JSON"),
        ("breaks:Small", "{}", ArgumentError, "importing 'breaks' failed: No module named 'a_pack"),
    ],
)
def test_refuses_models(specification, arguments, error, said, weights):
    with pytest.raises(error, match=said):
        models.build(specification, arguments)


def test_a_factory_that_prunes_takes_weights_as_torch_prune_keeps_them(tmp_path):
    model = torch.nn.utils.prune.l1_unstructured(torch.nn.Linear(4, 3), "weight", 0.5)
    torch.save(model.state_dict(), tmp_path / "pruned.pt")
    state, mask = models.weights_and_mask_for(model, tmp_path / "pruned.pt")
    assert set(state) == {"bias", "weight_orig", "weight_mask"}
    assert mask is None
    state, mask = models.weights_and_mask_for(torch.nn.Linear(4, 3), tmp_path / "pruned.pt")
    assert torch.equal(state["weight"], model.weight)
    assert mask is not None
    assert mask.n_kept == 6
