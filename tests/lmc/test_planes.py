"""Planes: a triangle of known shape, a bowl of known height, and planes that are none."""

import json

import pytest
import torch
from torch import nn

from lmc.closed_forms import KINDS, Place, mlp, of_place, pair
from sidle.errors import ArgumentError
from sidle.lmc import batch_norm, loss_plane, measure, state_of
from sidle.lmc.planes import triangle

LABELS = torch.zeros(4, dtype=torch.int64)
FOUR = (torch.zeros(4, 1), LABELS)


def bowl(outputs):
    return outputs.square().sum(1)


def test_a_triangle_keeps_its_shape():
    corners = [state_of(Place(*place)) for place in ((1, 1, 0), (4, 5, 0), (1, 1, 6))]
    assert triangle(corners, ["weights"]) == ((0, 0), (5, 0), (0, 6))
    corners[2] = state_of(Place(4, 5, 6))
    assert triangle(corners, ["weights"])[2] == pytest.approx((5, 6))


def test_a_bowl_has_its_height_at_every_place():
    # Corners at distances 0, 3 and 4 from the origin, along the first and the second axis.
    a, b, c = Place(0, 0, 0), Place(3, 0, 0), Place(0, 4, 0)
    plane = loss_plane(a, b, c, FOUR, resolution=7, margin=0.5, loss=of_place(bowl))
    assert plane.corners == ((0, 0), (3, 0), (0, 4))
    assert (plane.u[0], plane.u[-1]) == (-1.5, 4.5)
    assert (plane.v[0], plane.v[-1]) == (-2, 6)
    for v, row in zip(plane.v, plane.loss, strict=True):
        assert row == pytest.approx([u**2 + v**2 for u in plane.u], abs=1e-4)
    assert [loss for _, loss in plane.at_corners] == pytest.approx([0, 9, 16])


@pytest.mark.parametrize("kind", KINDS)
def test_the_corners_are_the_networks(kind):
    a, b, data = pair(kind)
    c = KINDS[kind][0](2).eval()
    settings = {"margin": 0.0} if "Norm" in kind else {}
    plane = loss_plane(a, b, c, data, resolution=3, **settings)
    for network, (error, loss) in zip((a, b, c), plane.at_corners, strict=True):
        alone = measure(network, data)
        assert loss == pytest.approx(alone.loss, rel=1e-4)  # weights are rounded in float32
        assert error == pytest.approx(alone.error, abs=1 / 60)
    assert len(plane.error) == len(plane.loss) == len(plane.loss[0]) == 3
    content = json.loads(json.dumps(plane.as_dict()))
    assert content["at_corners"]["c"]["loss"] == plane.at_corners[2][1]


def test_statistics_anew_at_every_place():
    a, b, data = pair("residual with BatchNorm")
    c = KINDS["residual with BatchNorm"][0](2)
    plane = loss_plane(a, b, c, data, resolution=2, batch_norm="re-estimated", calibration=data[0])
    assert plane.batch_norm == "re-estimated"
    batch_norm.re_estimate(c, data[0])
    assert plane.at_corners[2][1] == pytest.approx(measure(c, data).loss, rel=1e-4)


def test_batched_equals_sequential():
    a, b, data = pair("mlp")
    one, many = (
        loss_plane(a, b, mlp(2), data, resolution=4, evaluation=how)
        for how in ("sequential", "batched")
    )
    assert many.error == one.error
    for row, other in zip(one.loss, many.loss, strict=True):
        assert other == pytest.approx(row, rel=1e-5)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"c": Place(2, 0)}, "on one straight line"),
        ({"c": Place(0, 0)}, "on one straight line"),
        ({"b": Place(0, 0)}, "on one straight line"),
        ({"c": nn.Linear(2, 2)}, "a and c are not of one architecture"),
        ({"resolution": 1}, "resolution must be at least 2"),
        ({"margin": -1}, "margin at least 0"),
        ({"batch_norm": "both", "calibration": FOUR}, "Call it once for each"),
        ({"batch_norm": "re-estimated"}, "Pass calibration"),
        ({"train": FOUR}, "no setting 'train'"),
        ({"speed": 1}, "no setting 'speed'"),
        ({"data": (torch.zeros(0, 1), LABELS[:0])}, "empty"),
    ],
)
def test_refuses(change, said):
    arguments = {"a": Place(0, 0), "b": Place(1, 0), "c": Place(0, 1), "data": FOUR} | change
    with pytest.raises(ArgumentError, match=said):
        loss_plane(**arguments)


def test_refuses_variances_that_become_negative():
    a, b, data = pair("mlp with BatchNorm")
    c = KINDS["mlp with BatchNorm"][0](2)
    with torch.no_grad():
        c[1].running_var.fill_(50.0)
    with pytest.raises(ArgumentError, match=r"'1\.running_var' becomes negative"):
        loss_plane(a, b, c, data)
    plane = loss_plane(a, b, c, data, batch_norm="re-estimated", calibration=data[0], resolution=3)
    assert all(loss > 0 for row in plane.loss for loss in row)
