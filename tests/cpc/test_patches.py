"""Patches altered to learn from: moved and made darker or brighter, each by its own chance."""

import itertools

import numpy as np
import pytest
import torch

from sidle.cpc import ContrastivePredictiveCoding, batches
from sidle.cpc.patches import AlteredPatches, MLPPatchEncoder, scaled
from sidle.errors import ArgumentError


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return MLPPatchEncoder((12, 16), channels=2, features=4, grid=3, width=8)


@pytest.fixture
def pixels():
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (5, 12, 16, 2), generator=generator, dtype=torch.uint8)


def plain(encoder, pixels):
    return encoder.patches(scaled(pixels).permute(0, 3, 1, 2))


def altered(encoder, pixels, **settings):
    return AlteredPatches(encoder, **settings)(pixels, torch.Generator().manual_seed(3))


def test_nothing_is_altered_by_nothing(encoder, pixels):
    found = altered(encoder, pixels, shift=0, brightness=0.0)
    torch.testing.assert_close(found, plain(encoder, pixels))


def test_each_patch_is_moved_by_its_own_chance_and_edges_are_repeated(encoder, pixels):
    found = altered(encoder, pixels, shift=1, brightness=0.0).flatten(0, 2)
    seen = set()
    for one, before in zip(found, plain(encoder, pixels).flatten(0, 2), strict=True):
        padded = np.pad(before.numpy(), ((0, 0), (1, 1), (1, 1)), mode="edge")
        height, width = before.shape[1:]
        fits = [
            (down, right)
            for down, right in itertools.product(range(3), repeat=2)
            if np.allclose(one, padded[:, down : down + height, right : right + width], atol=1e-6)
        ]
        assert len(fits) == 1
        seen.add(fits[0])
    assert len(seen) == 9  # of 45 patches; with another seed one may be missing


def test_each_patch_is_scaled_from_black_by_a_factor_in_range(encoder, pixels):
    found = altered(encoder, pixels, shift=0, brightness=0.4).flatten(0, 2) + 1
    before = plain(encoder, pixels).flatten(0, 2) + 1
    factors = found.sum((1, 2, 3)) / before.sum((1, 2, 3))
    torch.testing.assert_close(found, before * factors[:, None, None, None])
    assert 0.6 <= factors.min() < 0.75
    assert 1.25 < factors.max() <= 1.4


def test_a_model_learns_from_altered_patches(pixels):
    model = ContrastivePredictiveCoding.images(
        size=(12, 16), channels=2, grid=3, features=4, width=8, context_features=4,
        encoder="mlp", steps=(1,), seed=0,
    )  # fmt: skip
    found = batches.images(pixels.numpy(), 4, seed=0, augmentation=AlteredPatches(model.encoder))
    model.loss(found(0)).loss.backward()
    assert all(p.grad is not None for p in model.encoder.parameters())
    assert torch.equal(found(0).x, found(0).x)
    assert not torch.equal(found(0).x, found(2).x)


def test_settings_out_of_range_are_refused(encoder):
    for settings in ({"shift": -1}, {"brightness": 1.0}, {"brightness": -0.1}):
        with pytest.raises(ArgumentError, match="AlteredPatches"):
            AlteredPatches(encoder, **settings)
