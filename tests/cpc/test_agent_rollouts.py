import numpy as np
import pytest
import torch

from reference import episode_pieces
from sidle import seeding
from sidle.cpc.agent_rollouts import cut, shifted
from sidle.errors import ShapeError


def some_starts(seed, T=17, N=5, p=0.2):
    rng = np.random.default_rng(seed)
    return (rng.random((T, N)) < p).astype(np.float32)


def steps_of(pieces, N):
    """Return each piece as a list of (t, n)."""
    return [
        [(int(row) // N, int(row) % N) for row in rows[:length]]
        for rows, length in zip(pieces.row_BL, pieces.length_B, strict=True)
    ]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("p", [0.0, 0.2, 1.0])
def test_cuts_where_the_slow_reference_cuts(seed, p):
    starts_TN = some_starts(seed, p=p)
    found = steps_of(cut(starts_TN, shortest=1), starts_TN.shape[1])
    assert found == episode_pieces.pieces(starts_TN.tolist())


@pytest.mark.parametrize("seed", range(5))
def test_pairs_inside_pieces_are_those_inside_episodes(seed):
    starts_TN = some_starts(seed)
    found = {
        (k, piece[i], piece[i + k])
        for piece in steps_of(cut(starts_TN), starts_TN.shape[1])
        for k in (1, 2, 3)
        for i in range(len(piece) - k)
    }
    assert found == episode_pieces.predictions(starts_TN.tolist(), 3)


def test_short_pieces_are_left_out_and_nothing_else():
    starts_TN = some_starts(1)
    every = episode_pieces.pieces(starts_TN.tolist())
    for shortest in (1, 2, 5):
        found = steps_of(cut(starts_TN, shortest=shortest), starts_TN.shape[1])
        assert found == [piece for piece in every if len(piece) >= shortest]


def test_a_rollout_of_ends_has_no_pieces():
    pieces = cut(np.ones((8, 3), np.float32))
    assert pieces.row_BL.shape == (0, 0)
    assert pieces.mask_BL.shape == (0, 0)


def test_mask_says_where_a_piece_has_steps():
    pieces = cut(some_starts(2))
    assert pieces.mask_BL.sum(1).tolist() == pieces.length_B.tolist()
    assert not pieces.row_BL[~pieces.mask_BL].any()


def test_some_pieces_keep_their_steps():
    pieces = cut(some_starts(3))
    chosen = pieces.some(torch.tensor([4, 1]))
    every = steps_of(pieces, 5)
    assert steps_of(chosen, 5) == [every[4], every[1]]
    assert chosen.row_BL.shape[1] == max(len(every[4]), len(every[1]))


def test_shuffling_moves_steps_inside_their_pieces_alone():
    pieces = cut(some_starts(4, T=40, p=0.1))
    shuffled = pieces.shuffled(seeding.torch_generator(0))
    before, after = steps_of(pieces, 5), steps_of(shuffled, 5)
    assert before != after
    assert [sorted(piece) for piece in before] == [sorted(piece) for piece in after]


def test_shuffling_is_a_fair_draw():
    # Each step of a piece of 4 comes first in a quarter of draws; 4 standard errors of 2,000.
    pieces = cut(np.zeros((4, 2_000), np.float32))
    first = pieces.shuffled(seeding.torch_generator(1)).row_BL[:, 0] // 2_000
    shares = torch.bincount(first, minlength=4) / 2_000
    assert (shares - 0.25).abs().max() < 4 * (0.25 * 0.75 / 2_000) ** 0.5


def test_refuses_a_flattened_buffer():
    with pytest.raises(ShapeError, match=r"must have shape \(T, N\), got \(12,\)"):
        cut(np.zeros(12, np.float32))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.float32])
def test_shift_is_padding_by_edges_and_cutting_out(dtype):
    image = torch.randint(0, 100, (50, 2, 5, 7), generator=seeding.torch_generator(2)).to(dtype)
    moved = shifted(image, 2, seeding.torch_generator(3))
    assert moved.dtype == dtype
    found = set()
    padded = torch.nn.functional.pad(image.double(), (2, 2, 2, 2), mode="replicate").to(dtype)
    for before, after in zip(padded, moved, strict=True):
        places = [
            (down, right)
            for down in range(5)
            for right in range(5)
            if torch.equal(before[:, down : down + 5, right : right + 7], after)
        ]
        assert places
        found |= set(places)
    assert len(found) > 15  # 50 draws of 25 places leave out 3 on average


def test_no_shift_changes_nothing():
    image = torch.randn(3, 1, 4, 4, generator=seeding.torch_generator(4))
    assert torch.equal(shifted(image, 0, seeding.torch_generator(5)), image)
