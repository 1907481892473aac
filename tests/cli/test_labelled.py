"""Files and sets of labelled examples become tensors that a network takes."""

import numpy as np
import pytest
import torch

from sidle.cli import labelled
from sidle.data import images
from sidle.errors import DataError, DataNotFoundError


def written(tmp_path, **arrays):
    np.savez(tmp_path / "data.npz", **arrays)
    return str(tmp_path / "data.npz")


def test_arrays_become_tensors(tmp_path):
    labels = np.array([0, 2], np.uint8)
    x, y = labelled.read(written(tmp_path, x=np.ones((2, 3)), y=labels), "test")
    assert (x.dtype, x.shape, y.dtype, y.tolist()) == (torch.float32, (2, 3), torch.int64, [0, 2])
    bytes_, _ = labelled.read(
        written(tmp_path, x=np.array([[0], [255]], np.uint8), y=labels), "test"
    )
    assert bytes_.tolist() == [[0.0], [1.0]]
    tokens, _ = labelled.read(written(tmp_path, x=np.array([[5], [999]]), y=labels), "test")
    assert (tokens.dtype, tokens.tolist()) == (torch.int64, [[5], [999]])
    assert labelled.read_inputs(written(tmp_path, x=np.ones((2, 3))), "test").shape == (2, 3)


def test_sets_of_images(tmp_path):
    train, test = images.digits()
    for split, found in (("train", train), ("test", test)):
        x, y = labelled.read("digits", split)
        assert x.shape == (len(found), 1, 8, 8)
        assert (x.min(), x.max()) == (0, 1)
        assert torch.equal((x[:, 0] * 255).round().byte(), torch.from_numpy(found.pixels[..., 0]))
        assert y.tolist() == found.labels.tolist()
        assert torch.equal(labelled.read_inputs("digits", split), x)
    images.pack(train, test, tmp_path / "packed.npz")
    packed = labelled.read(str(tmp_path / "packed.npz"), "test")
    assert torch.equal(packed[0], labelled.read("digits", "test")[0])


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"x": np.ones((2, 3))}, "array 'y'"),
        ({"x": np.ones((2, 3)), "y": np.ones(3, int)}, "x holds 2 examples, y 3 labels"),
        ({"x": np.ones((2, 3)), "y": np.ones(2)}, "must be integer"),
        ({"x": np.ones((2, 3)), "y": np.ones((2, 1), int)}, "1 dimensions"),
        ({"x": np.ones((0, 3)), "y": np.ones(0, int)}, r"found float64 \(0, 3\)"),
        ({"x": np.array(["a", "b"]), "y": np.ones(2, int)}, "expected numbers x"),
        ({"x": np.array([[1.0], [np.nan]]), "y": np.ones(2, int)}, r"row 1 \(from 0\)"),
    ],
)
def test_refuses(arrays, said, tmp_path):
    with pytest.raises(DataError, match=said):
        labelled.read(written(tmp_path, **arrays), "test")


def test_refuses_what_is_not_there():
    with pytest.raises(DataNotFoundError, match="nowhere"):
        labelled.read("nowhere", "test")
