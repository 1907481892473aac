"""`sidle prune` on files: what is written, what is said, what is refused."""

import json
import typing
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import prune as torch_prune

from sidle import checkpoint, seeding
from sidle.cli import main
from sidle.cli.prune import PruneOptions
from sidle.lmc import CompactLinear, Mask, criteria, load_compact, measure

NETWORKS = """
from torch import nn

def perceptron(width=30):
    return nn.Sequential(nn.Linear(8, width), nn.ReLU(), nn.Linear(width, 3))
"""


def perceptron():
    return nn.Sequential(nn.Linear(8, 30), nn.ReLU(), nn.Linear(30, 3))


@pytest.fixture
def model(tmp_path, monkeypatch):
    """A network trained a little, in files in the working folder, with data."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "pruned_networks.py").write_text(NETWORKS)
    with seeding.scope(0):
        made = perceptron()
    x = torch.randn(300, 8, generator=seeding.torch_generator(0))
    y = x[:, :3].argmax(1)
    optimizer = torch.optim.Adam(made.parameters(), lr=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(made(x), y).backward()
        optimizer.step()
    torch.save(made.state_dict(), "trained.pt")
    np.savez("data.npz", x=x.numpy(), y=y.numpy())
    return made.eval()


def run(capsys, *words, path="trained.pt", out="pruned.safetensors"):
    words = [path, "--model", "pruned_networks:perceptron", "--out", out, *words]
    code = main.main(["prune", *words])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def data():
    arrays = np.load("data.npz")
    return torch.from_numpy(arrays["x"]), torch.from_numpy(arrays["y"])


def test_writes_pruned_weights_and_mask_and_says_what_is_left(model, capsys):
    code, out, _ = run(capsys, "--density", "0.2", "--data", "data.npz", "--json")
    assert code == 0
    found = json.loads(out)
    expected = criteria.magnitude(model.state_dict(), Mask.ones(model), 0.8)
    mask = Mask.load("pruned.safetensors")
    assert mask == expected
    written = checkpoint.load("pruned.safetensors")["model"]
    pruned = expected.apply(model.state_dict())
    assert all(torch.equal(written[name], tensor) for name, tensor in pruned.items())
    assert (found["kept"], found["weights"], found["density"]) == (66, 330, 0.2)
    assert found["mask"] == mask.digest()
    assert [layer["name"] for layer in found["layers"]] == ["0.weight", "2.weight"]
    assert sum(layer["kept"] for layer in found["layers"]) == 66
    assert found["layers"][0]["shape"] == [30, 8]
    for name, state in (("before", None), ("after", pruned)):
        measured = measure(model, data(), state=state)
        assert found[name] == pytest.approx({"error": measured.error, "loss": measured.loss})
    assert found["compact"] is None


def test_the_table_has_a_row_for_each_layer_and_one_for_all(model, capsys):
    words = ("--fraction", "0.5", "--scope", "layer", "--data", "data.npz")
    code, out, _ = run(capsys, *words)
    assert code == 0
    rows = [line.split() for line in out.splitlines()]
    assert ["0.weight", "30", "x", "8", "240", "120", "50.00", "%"] in rows
    assert ["2.weight", "3", "x", "30", "90", "45", "50.00", "%"] in rows
    assert ["all", "330", "165", "50.00", "%"] in rows
    assert "% before" in out
    assert "on 300 examples" in out


def test_a_mask_in_the_file_is_gone_on_from(model, capsys):
    run(capsys, "--fraction", "0.5")
    first = Mask.load("pruned.safetensors")
    code, out, _ = run(
        capsys, "--fraction", "0.2", "--json", path="pruned.safetensors", out="more.safetensors"
    )
    assert code == 0
    assert json.loads(out)["kept"] == 165 - 33
    assert all(
        not (kept & ~first[name]).any() for name, kept in Mask.load("more.safetensors").items()
    )
    words = ("--density", "0.2", "--json")
    _, out, _ = run(capsys, *words, path="more.safetensors", out="last.safetensors")
    assert json.loads(out)["kept"] == 66


def test_what_torch_pruned_is_gone_on_from(model, capsys):
    torch_prune.l1_unstructured(model[0], "weight", 0.5)
    torch.save({"state_dict": model.state_dict(), "epoch": 3}, "torch.pt")
    code, out, err = run(capsys, "--fraction", "0.5", "--json", path="torch.pt")
    assert code == 0, err
    layers = json.loads(out)["layers"]
    assert [(layer["name"], layer["kept"]) for layer in layers] == [("0.weight", 60)]


def test_what_torch_pruned_is_held_to_the_model_and_to_entry(model, capsys):
    first = {f"module.{name}": tensor for name, tensor in model.state_dict().items()}
    torch_prune.l1_unstructured(model[0], "weight", 0.5)
    whole = {f"module.{name}": tensor for name, tensor in model.state_dict().items()}
    torch.save({"first": first, "second": whole}, "torch.pt")
    code, out, err = run(
        capsys, "--fraction", "0.5", "--json", "--entry", "second", path="torch.pt"
    )
    assert code == 0, err
    assert json.loads(out)["kept"] == 60  # of 240, half of which were pruned
    code, out, err = run(capsys, "--fraction", "0.5", "--json", path="torch.pt")
    assert code == 1
    assert "--entry" in err
    torch.save({name: t for name, t in whole.items() if ".0." in name}, "part.pt")
    code, _, err = run(capsys, "--fraction", "0.5", path="part.pt")
    assert code == 1
    assert "lacks '2.bias', '2.weight'" in err


def test_random_and_snip(model, capsys):
    words = ("--density", "0.2", "--json", "--criterion")
    run(capsys, *words, "random", "--seed", "4")
    assert Mask.load("pruned.safetensors") == criteria.random_mask(Mask.ones(model), 0.8, seed=4)
    code, _, err = run(capsys, *words, "snip", "--train-data", "data.npz", "--batch-size", "100")
    assert code == 0, err
    assert Mask.load("pruned.safetensors") == criteria.snip(model, data(), Mask.ones(model), 0.8)
    hints = typing.get_type_hints(PruneOptions)
    assert set(typing.get_args(hints["criterion"])) == {"magnitude", "random", "snip"}


def test_chosen_layers_alone_are_pruned(model, capsys):
    run(capsys, "--density", "0.1", "--layers", "0.weight")
    assert set(Mask.load("pruned.safetensors")) == {"0.weight"}


def test_compact_model_is_written_and_timed(model, capsys):
    words = ("--density", "0.1", "--data", "data.npz", "--compact", "small.safetensors")
    code, out, _ = run(capsys, *words, "--json")
    assert code == 0
    found = json.loads(out)["compact"]
    assert found["path"] == "small.safetensors"
    assert found["compact_bytes"] < found["dense_bytes"]
    assert found["batch"] == 256
    small = load_compact("small.safetensors", perceptron())
    assert isinstance(small[0], CompactLinear)
    model.load_state_dict(checkpoint.load("pruned.safetensors")["model"])
    torch.testing.assert_close(small(data()[0]), model(data()[0]), atol=1e-5, rtol=1e-4)
    _, out, _ = run(capsys, *words)
    assert "small.safetensors: compact: " in out
    assert "of the memory, outputs within" in out


def test_an_empty_layer_is_pointed_out(model, capsys):
    with torch.no_grad():
        model[2].weight *= 1e-6
    torch.save(model.state_dict(), "trained.pt")
    code, out, _ = run(capsys, "--density", "0.2")
    assert code == 0
    assert "Nothing is left of 2.weight" in out


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ((), 2, "either --density"),
        (("--density", "0.2", "--fraction", "0.2"), 2, "either --density"),
        (("--density", "1.5"), 2, "--density must lie between 0 and 1, got 1.5"),
        (("--density", "0.2", "--out", "p.pt"), 2, "--out must end in .safetensors"),
        (("--density", "0.2", "--compact", "c.safetensors"), 2, "give --data"),
        (("--density", "0.2", "--criterion", "snip"), 2, "go together"),
        (("--density", "0.0001"), 1, "leaves no weight at all"),
        (("--density", "0.999999"), 1, "leaves nothing to prune"),
        (("--fraction", "0.00001"), 1, "is less than one"),
        (("--density", "0.2", "--data", "digits", "--device", "abacus"), 1, "on 'abacus'"),
        (("--density", "0.2", "--layers", "5.weight"), 1, "'5.weight' is absent"),
        (("--density", "0.2", "--model-arguments", '{"width": 31}'), 1, "has shape (30, 8)"),
        (("--density", "0.2", "--data", "absent.npz"), 1, "absent.npz"),
    ],
)
def test_problems_are_one_message_and_nothing_is_written(words, code, said, model, capsys):
    ended, out, err = run(capsys, *words)
    assert (ended, out) == (code, "")
    assert said in err
    assert err.count("\n") == 1
    assert not list(model_files())


def model_files():
    return Path().glob("*.safetensors")


def test_nothing_is_overwritten_when_the_input_is_damaged(model, capsys):
    run(capsys, "--density", "0.2")
    before = Path("pruned.safetensors").read_bytes()
    Path("trained.pt").write_bytes(b"damaged")
    code, _, err = run(capsys, "--density", "0.1")
    assert code == 1
    assert "trained.pt" in err
    assert Path("pruned.safetensors").read_bytes() == before
