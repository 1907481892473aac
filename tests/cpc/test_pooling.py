"""Pooling leaves padding out and means what it says."""

import pytest
import torch

from sidle.cpc.pooling import pooled
from sidle.errors import ArgumentError, ShapeError

FEATURES = torch.randn(3, 6, 4, generator=torch.Generator().manual_seed(0))
LENGTHS = torch.tensor([6, 4, 1])


@pytest.mark.parametrize("pool", ["mean", "max", "last", 1, 2, 3, 5])
def test_a_padded_sequence_is_pooled_as_it_is_alone(pool):
    noisy = FEATURES.clone()
    noisy[1, 4:] = noisy[2, 1:] = 1e6
    found = pooled(noisy, LENGTHS, pool)
    for row, n in zip(range(3), LENGTHS.tolist(), strict=True):
        alone = pooled(FEATURES[row : row + 1, :n], None, pool)
        torch.testing.assert_close(found[row : row + 1], alone)


def test_every_way_is_what_it_says():
    one = FEATURES[:1]
    torch.testing.assert_close(pooled(one, None, "mean"), one.mean(1))
    torch.testing.assert_close(pooled(one, None, "max"), one.amax(1))
    torch.testing.assert_close(pooled(one, None, "last"), one[:, -1])
    torch.testing.assert_close(
        pooled(one, None, 2), torch.cat([one[:, :3].mean(1), one[:, 3:].mean(1)], 1)
    )
    kept = pooled(FEATURES, LENGTHS, None)
    assert (kept[1, 4:] == 0).all()
    torch.testing.assert_close(kept[1, :4], FEATURES[1, :4])


def test_more_segments_than_steps_repeat_steps():
    found = pooled(FEATURES[:1, :2], None, 4).view(4, 4)
    torch.testing.assert_close(found, FEATURES[0, [0, 0, 1, 1]])


def test_sites_are_averaged_or_their_highest_taken():
    grid = torch.randn(2, 3, 5, 4, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(pooled(grid, None, "mean"), grid.mean((1, 2)))
    torch.testing.assert_close(pooled(grid, None, "max"), grid.amax((1, 2)))
    torch.testing.assert_close(pooled(grid, None, "last"), grid[:, -1].mean(1))
    assert pooled(grid, None, 3).shape == (2, 12)
    assert pooled(grid, None, None).shape == grid.shape


def test_bad_ways_and_empty_sequences_are_refused():
    for pool in ("sum", 0, -1, True):
        with pytest.raises(ArgumentError, match="pool"):
            pooled(FEATURES, None, pool)
    with pytest.raises(ShapeError, match="sequence 1"):
        pooled(FEATURES, torch.tensor([3, 0, 2]), "mean")


@pytest.mark.parametrize("side", [4, 7])
def test_quarters_are_means_of_the_corners_of_an_image(side):
    grid = torch.randn(2, side, side, 3, generator=torch.Generator().manual_seed(2))
    half = (side + 1) // 2
    upper, lower = slice(0, half), slice(side - half, side)
    wanted = [grid[:, r, c].mean((1, 2)) for r in (upper, lower) for c in (upper, lower)]
    torch.testing.assert_close(pooled(grid, None, "quarters"), torch.cat(wanted, 1))
    with pytest.raises(ShapeError, match="quarters are of images"):
        pooled(FEATURES, None, "quarters")
