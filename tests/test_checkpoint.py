"""What is saved comes back bit for bit, or is refused with a reason."""

import math
import random
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from sidle import checkpoint, seeding
from sidle.errors import CheckpointError, StorageError

TREE = {
    "weights": torch.arange(12, dtype=torch.float32).reshape(3, 4),
    "half": torch.ones(5, dtype=torch.bfloat16),
    "scalar": torch.tensor(3.5, dtype=torch.float64),
    "empty": torch.zeros(0, 2),
    "array": np.arange(6, dtype=np.int16).reshape(2, 3),
    "numbers": [1, 2.5, True, None, "text é", math.inf, -math.inf],
    "pair": (1, (2, torch.tensor([7]))),
    "by number": {0: {"step": torch.tensor(1.0)}, 1: {}},
    "tagged": {"$tensor": "not a tag of ours"},
    "large": 2**200,
}


def equal(a, b):
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and np.array_equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(equal, a, b))
    return type(a) is type(b) and a == b


def test_every_kind_of_leaf_comes_back(tmp_path):
    checkpoint.save(tmp_path / "c", TREE)
    assert equal(checkpoint.load(tmp_path / "c"), TREE)


def test_nan_comes_back_as_nan(tmp_path):
    checkpoint.save(tmp_path / "c", {"x": math.nan})
    assert math.isnan(checkpoint.load(tmp_path / "c")["x"])


def test_tied_tensors_are_stored_once_and_views_apart(tmp_path):
    shared = torch.randn(1000)
    checkpoint.save(tmp_path / "tied", {"a": shared, "b": shared})
    assert (tmp_path / "tied").stat().st_size < 1.5 * shared.nbytes
    views = {"whole": shared, "part": shared[3:7], "rows": shared.view(10, 100).t()}
    checkpoint.save(tmp_path / "views", views)
    loaded = checkpoint.load(tmp_path / "views")
    assert all(torch.equal(loaded[name], views[name]) for name in views)


def test_arrays_in_any_memory_order_stay_apart(tmp_path):
    arrays = {f"{i}": np.full((50, 40), float(i)).T for i in range(8)}
    checkpoint.save(tmp_path / "c", arrays | {"big-endian": np.arange(4, dtype=">i4")})
    loaded = checkpoint.load(tmp_path / "c")
    assert all(np.array_equal(loaded[name], arrays[name]) for name in arrays)
    assert loaded["big-endian"].tolist() == [0, 1, 2, 3]


def test_the_order_of_axes_in_memory_comes_back(tmp_path):
    dense = torch.arange(120.0).reshape(2, 3, 4, 5)
    tree = {
        "channels last": dense.to(memory_format=torch.channels_last),
        "transposed": torch.arange(12).reshape(3, 4).t(),
        "plain": dense,
        "gaps": dense[:, :, :, ::2],  # the gaps are not kept
        "expanded": torch.ones(3, 1).expand(3, 4),  # nor is one number in many places
    }
    checkpoint.save(tmp_path / "c", tree)
    loaded = checkpoint.load(tmp_path / "c")
    assert equal(loaded, tree)
    one = torch.tensor([2j]).conj()
    channel = torch.zeros(2, 1, 4, 5).to(memory_format=torch.channels_last)
    views = {
        "one channel": channel,
        "conjugated": one,
        "negated": one.imag,
        "one of many": torch.arange(4.0)[3::9],
    }
    checkpoint.save(tmp_path / "views", views)
    assert equal(checkpoint.load(tmp_path / "views"), views)
    empty = torch.empty(0, 3).as_strided((0, 3), (0, 0))  # whose axes have no order
    checkpoint.save(tmp_path / "empty", {"x": empty})
    assert checkpoint.load(tmp_path / "empty")["x"].shape == (0, 3)
    for name, tensor in loaded.items():
        assert tensor.stride() == torch.clone(tree[name]).stride(), name
    assert not loaded["channels last"].is_contiguous()


def test_a_fused_optimizer_of_channels_last_weights_goes_on_exactly(tmp_path):
    def convolution():
        torch.manual_seed(0)
        return nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)

    def train(module, optimizer, steps):
        for _ in range(steps):
            optimizer.zero_grad()
            module(images).square().mean().backward()
            optimizer.step()

    torch.manual_seed(1)
    images = torch.randn(8, 3, 6, 6).contiguous(memory_format=torch.channels_last)
    for kind in (torch.optim.SGD, torch.optim.Adam):
        settings = {"lr": 0.1, "fused": True} | (
            {"momentum": 0.9} if kind is torch.optim.SGD else {}
        )
        whole = convolution()
        train(whole, kind(whole.parameters(), **settings), 6)
        begun = convolution()
        optimizer = kind(begun.parameters(), **settings)
        train(begun, optimizer, 3)
        checkpoint.save(
            tmp_path / "c", checkpoint.capture({"model": begun, "optimizer": optimizer})
        )
        resumed = convolution()
        optimizer = kind(resumed.parameters(), **settings)
        objects = {"model": resumed, "optimizer": optimizer}
        checkpoint.restore(objects, checkpoint.load(tmp_path / "c"), path=tmp_path / "c")
        train(resumed, optimizer, 3)
        assert torch.equal(resumed.weight, whole.weight), kind


def test_strides_that_no_version_writes_are_refused(tmp_path, monkeypatch):
    tensor = torch.arange(12.0).reshape(3, 4).t()
    monkeypatch.setattr(checkpoint, "_strides", lambda tensor: (0, 1))
    checkpoint.save(tmp_path / "c", {"x": tensor})
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match="strides"):
        checkpoint.load(tmp_path / "c")


def test_training_state_goes_on_exactly(tmp_path):
    def objects(seed):
        with seeding.scope(seed):
            model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
        return {
            "model": model,
            "optimizer": optimizer,
            "torch": seeding.torch_generator(seed),
            "numpy": seeding.numpy_generator(seed),
        }

    def work(state):
        for _ in range(3):
            x = torch.randn(8, 4, generator=state["torch"]) + state["numpy"].standard_normal()
            state["optimizer"].zero_grad()
            state["model"](x).square().sum().backward()
            state["optimizer"].step()
        return [p.detach().clone() for p in state["model"].state_dict().values()]

    first, second = objects(1), objects(2)
    work(first)
    checkpoint.save(tmp_path / "c", checkpoint.capture(first))
    checkpoint.restore(second, checkpoint.load(tmp_path / "c"), path=tmp_path / "c")
    assert all(map(torch.equal, work(first), work(second)))


def test_state_for_other_objects_is_refused(tmp_path):
    tree = checkpoint.capture({"model": nn.Linear(2, 2)})
    with pytest.raises(CheckpointError, match=r"holds the states \['model'\]"):
        checkpoint.restore({"critic": nn.Linear(2, 2)}, tree, path=tmp_path)
    with pytest.raises(CheckpointError, match="'model' does not fit the Linear"):
        checkpoint.restore({"model": nn.Linear(3, 2)}, tree, path=tmp_path)


def test_leaves_that_would_need_pickle_are_refused(tmp_path):
    for leaf in (object(), {1, 2}, np.array([None]), np.array(["text"]), print):
        with pytest.raises(CheckpointError, match=r"'/a/0' is a"):
            checkpoint.save(tmp_path / "c", {"a": [leaf]})
    assert not list(tmp_path.iterdir())


def test_every_flipped_bit_is_noticed(tmp_path):
    path, damaged = tmp_path / "c", tmp_path / "damaged"
    checkpoint.save(path, TREE)
    content = path.read_bytes()
    header = 8 + int.from_bytes(content[:8], "little")
    draw = random.Random(0)
    places = [*range(12), *draw.sample(range(header), 150)]
    places += draw.sample(range(header, len(content)), min(100, len(content) - header))
    for place in places:
        changed = bytearray(content)
        changed[place] ^= 1 << draw.randrange(8)
        damaged.write_bytes(changed)
        with pytest.raises(CheckpointError):
            checkpoint.load(damaged)


def test_every_truncation_is_noticed(tmp_path):
    path, damaged = tmp_path / "c", tmp_path / "damaged"
    checkpoint.save(path, TREE)
    content = path.read_bytes()
    for length in (0, 1, 7, 8, 9, 100, len(content) // 2, len(content) - 1):
        damaged.write_bytes(content[:length])
        with pytest.raises(CheckpointError, match="damaged"):
            checkpoint.load(damaged)
    damaged.write_bytes(content + b"x")
    with pytest.raises(CheckpointError):
        checkpoint.load(damaged)


def test_foreign_files_are_refused(tmp_path):
    save_file({"w": torch.zeros(2)}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="not a checkpoint of sidle"):
        checkpoint.load(tmp_path / "model.safetensors")
    torch.save({"w": torch.zeros(2)}, tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match="not a complete safetensors file"):
        checkpoint.load(tmp_path / "model.pt")
    with pytest.raises(StorageError, match="No such file"):
        checkpoint.load(tmp_path / "none")
    with pytest.raises(StorageError, match="directory"):
        checkpoint.load(tmp_path)


def test_full_disk_is_one_clear_error_and_the_old_checkpoint_stays(tmp_path):
    program = textwrap.dedent("""
        import resource, sys, torch
        from sidle import checkpoint
        from sidle.errors import StorageError
        path = sys.argv[1]
        checkpoint.save(path, {"x": torch.ones(10)})
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        try:
            checkpoint.save(path, {"x": torch.ones(100_000)})
        except StorageError as error:
            print(error)
        assert torch.equal(checkpoint.load(path)["x"], torch.ones(10))
    """)
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "c")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "could not be written" in done.stdout
    assert "previous checkpoint" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["c"]
