"""Corruptions harm more with severity, are the same for the same seed, and do what they say."""

import pytest
import torch
from torch import nn

from sidle.errors import ArgumentError, ShapeError
from sidle.evaluation import corruptions
from sidle.evaluation.corruptions import CORRUPTIONS, corrupt


def images(C=3, size=32, n=4):
    """Smooth random images: blobs, so that blurs and shifts have something to spoil."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(n, C, 6, 6, generator=generator)
    return torch.nn.functional.interpolate(coarse, (size, size), mode="bicubic").clamp(0, 1)


@pytest.mark.parametrize("kind", CORRUPTIONS)
@pytest.mark.parametrize(("C", "size"), [(1, 28), (3, 32), (3, 8)])
def test_every_kind_harms_more_with_every_severity(kind, C, size):
    x = images(C, size)
    made = [corrupt(x, kind, severity) for severity in corruptions.SEVERITIES]
    for one in made:
        assert one.shape == x.shape
        assert one.dtype == torch.float32
        assert one.min() >= 0
        assert one.max() <= 1
    harm = [float((one - x).square().mean()) for one in made]
    assert harm[-1] > harm[0]
    if size > 8:  # eight pixels are too few for each severity to differ
        assert harm[0] > 0
        assert harm == sorted(harm)


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_a_seed_names_all_chance(kind):
    x = images()
    state = torch.get_rng_state()
    assert torch.equal(corrupt(x, kind, 3, seed=1), corrupt(x, kind, 3, seed=1))
    drawn = not torch.equal(corrupt(x, kind, 3, seed=1), corrupt(x, kind, 3, seed=2))
    still = {"gaussian-blur", "defocus-blur", "pixelate", "brightness", "contrast", "jpeg"}
    assert drawn == (kind not in still)
    assert torch.equal(torch.get_rng_state(), state)


def test_noises_have_the_deviations_they_say():
    x = torch.full((4, 3, 64, 64), 0.5)
    assert float(corrupt(x, "gaussian-noise", 1).std()) == pytest.approx(0.04, rel=0.03)
    assert float(corrupt(x, "speckle-noise", 1).std()) == pytest.approx(0.05, rel=0.03)
    # The variance of a Poisson number is its mean.
    assert float(corrupt(x, "shot-noise", 1).var()) == pytest.approx(0.5 * 0.005, rel=0.05)
    impulses = corrupt(x, "impulse-noise", 5)
    assert float((impulses != 0.5).float().mean()) == pytest.approx(0.17, abs=0.02)
    assert (impulses == impulses[:, :1]).all()


def test_light_moves_the_mean_or_the_contrast():
    x = 0.3 + 0.3 * images()
    assert float((corrupt(x, "brightness", 2) - x).mean()) == pytest.approx(0.1, abs=1e-6)
    flat = corrupt(x, "contrast", 2)
    torch.testing.assert_close(flat.mean((2, 3)), x.mean((2, 3)))
    torch.testing.assert_close(flat.std((2, 3)), 0.5 * x.std((2, 3)))


@pytest.mark.parametrize("kind", ["gaussian-blur", "defocus-blur", "motion-blur", "pixelate"])
def test_blurs_leave_an_even_image_and_the_light_as_they_are(kind):
    even = torch.full((3, 1, 20, 20), 0.4)
    torch.testing.assert_close(corrupt(even, kind, 5), even)
    if kind == "pixelate":
        return  # a point lies in one block, and blocks differ in size
    point = torch.zeros(6, 1, 33, 33)
    point[:, :, 16, 16] = 1
    spread = corrupt(point, kind, 5)
    torch.testing.assert_close(spread.sum((1, 2, 3)), torch.ones(6), atol=0.12, rtol=0)
    assert (spread.amax((1, 2, 3)) < 0.5).all()


def test_a_stroke_is_as_long_as_it_says_and_each_image_has_its_direction():
    point = torch.zeros(8, 1, 33, 33)
    point[:, :, 16, 16] = 1
    made = corrupt(point, "motion-blur", 5)[:, 0]
    axis = torch.arange(33) - 16.0
    second = torch.stack(
        [(made * axis[:, None] ** 2).sum((1, 2)), (made * axis**2).sum((1, 2))]
    ).sum(0)
    # A stroke of length l has the second moment l^2 / 12; its width adds a little.
    torch.testing.assert_close(
        second.sqrt(), torch.full((8,), (8.25**2 / 12) ** 0.5), rtol=0.15, atol=0
    )
    assert not torch.equal(made[0], made[1])


class Mean(nn.Module):
    """Says whether an image is bright."""

    def forward(self, x):
        mean = x.mean((1, 2, 3))
        return torch.stack([0.5 - mean, mean - 0.5], 1)


@pytest.mark.parametrize("kind", corruptions.CORRUPTIONS)
def test_images_come_back_in_the_usual_order_of_memory(kind):
    found = corrupt(images(3), kind, 3)
    assert found.is_contiguous()
    found.view(len(found), -1)  # as many models do


@pytest.mark.parametrize("kind", corruptions.CORRUPTIONS)
def test_a_single_pixel_stays_a_number(kind):
    found = corrupt(torch.full((2, 1, 1, 1), 0.5), kind, 5)
    assert found.isfinite().all()


def test_accuracy_is_told_by_kind_and_severity():
    x = torch.cat([torch.full((6, 1, 8, 8), 0.35), torch.full((6, 1, 8, 8), 0.65)])
    y = torch.arange(12) // 6
    told = []
    found = corruptions.corruption_accuracy(
        Mean(), x, y, kinds=("brightness", "contrast"), progress=lambda *some: told.append(some)
    )
    assert found.clean == 1.0
    assert found.accuracy == {"brightness": (1.0, 1.0, 0.5, 0.5, 0.5), "contrast": (1.0,) * 5}
    assert found.mean == pytest.approx(0.85)
    assert told == [("brightness", 0, 2), ("contrast", 1, 2)]
    assert found.as_dict()["accuracy"]["contrast"] == [1.0] * 5


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: corrupt(images(), "rain", 1), ArgumentError, "gaussian-noise"),
        (lambda: corrupt(images(), "fog", 6), ArgumentError, "1 to 5"),
        (lambda: corrupt(images(4), "fog", 1), ShapeError, "1 or 3 channels"),
        (lambda: corrupt(255 * images(), "fog", 1), ArgumentError, "from 0 to 1"),
    ],
)
def test_bad_input_is_refused(call, error, says):
    with pytest.raises(error, match=says):
        call()
