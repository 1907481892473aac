"""Batches are functions of seed and step, use everything once an epoch, and know their copies."""

import numpy as np
import pytest
import torch

from sidle.cpc import batches
from sidle.data.recordings import Recordings
from sidle.errors import ArgumentError, ShapeError


def recordings(lengths, speakers=None):
    """Samples that tell their place: recording i counts up from 100 i."""
    samples = np.concatenate([100 * i + np.arange(n) for i, n in enumerate(lengths)])
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    names = tuple(f"r{i}" for i in range(len(lengths)))
    return Recordings(samples.astype(np.int16), offsets, 8000, names, speakers)


def test_windows_lie_in_their_recording_and_begin_at_hops():
    found = batches.audio(recordings([40, 61, 25]), 3, 20, hop=5, seed=1)
    begins = set()
    for i in range(60):
        batch = found(i)
        assert batch.x.shape == (3, 20)
        assert batch.lengths is None
        for row in (batch.x * 32768).round():
            first = int(row[0])
            recording, start = divmod(first, 100)
            assert torch.equal(row, torch.arange(first, first + 20).float())
            assert start % 5 == 0
            assert start + 20 <= [40, 61, 25][recording]
            begins.add((recording, start))
    assert {start for recording, start in begins if recording == 0} == {0, 5, 10, 15, 20}
    assert {start for recording, start in begins if recording == 1} == set(range(0, 45, 5))


def test_short_recordings_are_padded_and_those_of_one_latent_left_out():
    found = batches.audio(recordings([40, 12, 7]), 2, 20, hop=5)
    seen = [found(i) for i in range(20)]
    lengths = {
        tuple(sorted(batch.lengths.tolist())) if batch.lengths is not None else None
        for batch in seen
    }
    assert lengths <= {None, (12, 20), (10, 20), (12, 12), (10, 10)}
    short = next(batch for batch in seen if batch.lengths is not None)
    row = int(short.lengths.argmin())
    n = int(short.lengths[row])
    assert (short.x[row, n:] == 0).all()
    assert (short.x[row, 1:n] > 0).all()
    assert all(int(batch.x.max() * 32768) < 200 for batch in seen)  # none of recording 2


def test_overlapping_windows_of_a_recording_share_latents():
    found = batches.audio(recordings([45]), 2, 20, hop=5, seed=0)
    for i in range(30):
        batch = found(i)
        starts = (batch.x[:, 0] * 32768 // 5).long()
        expected = starts[:, None] + torch.arange(4)
        assert torch.equal(batch.items - batch.items.min(), expected - expected.min())


def test_speakers_are_groups_and_may_fill_a_batch():
    data = recordings([40, 40, 40, 40], ("a", "b", "a", "b"))
    mixed = batches.audio(data, 4, 20, hop=5)(0)
    told = (mixed.x[:, 0] * 32768 // 100).long() % 2
    assert torch.equal(mixed.groups["speaker"], told)
    same = batches.audio(data, 4, 20, hop=5, same_group=True)
    for i in range(10):
        assert len(same(i).groups["speaker"].unique()) == 1
    assert len({int(same(i).groups["speaker"][0]) for i in range(20)}) == 2
    with pytest.raises(ArgumentError, match="speakers"):
        batches.audio(recordings([40]), 1, 20, hop=5, same_group=True)


def test_images_come_once_an_epoch_in_an_order_that_the_seed_names():
    pixels = np.arange(10, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 1), np.uint8)
    found = batches.images(pixels, 5, seed=3)
    epochs = [
        sorted(int(v) for i in (2 * e, 2 * e + 1) for v in found(i).x[:, 0, 0, 0]) for e in range(3)
    ]
    assert epochs == [list(range(10))] * 3
    again = batches.images(pixels, 5, seed=3)
    assert torch.equal(again(5).x, found(5).x)  # whatever was asked for before
    other = batches.images(pixels, 5, seed=4)
    assert any(not torch.equal(other(i).x, found(i).x) for i in range(4))

    def darker(x, generator):
        return x // 2 + torch.randint(2, (1,), generator=generator, dtype=torch.uint8)

    altered = batches.images(pixels, 5, seed=3, augmentation=darker)
    assert torch.equal(altered(1).x, batches.images(pixels, 5, seed=3, augmentation=darker)(1).x)


def test_passages_follow_their_documents_and_copies_are_told():
    words = [np.array([i]) for i in range(9)]
    documents = [
        [words[0], words[1], words[2]],
        [words[3]],
        [words[4], np.array([5, 5, 5, 5]), words[0], words[6], words[7]],
    ]
    found = batches.text(documents, 4, 2, seed=0, max_words=3)
    passages = {}
    for i in range(4):
        batch = found(i)
        assert batch.x.shape[1] == 2
        for row in batch.x:
            passages[tuple(int(v) for v in row[:, 0])] = row
    assert set(passages) == {(0, 1), (4, 5), (0, 6)}
    assert passages[4, 5][1].tolist() == [5, 5, 5]  # max_words
    assert passages[0, 1][1, 1:].tolist() in ([], [-1, -1])
    whole = batches.text(documents, 3, 2, seed=0)(0)
    kinds = {int(v) for b, t in ((0, 0), (1, 0), (2, 0)) for v in [whole.items[b, t]]}
    repeated = [int(whole.items[b, 0]) for b in range(3) if int(whole.x[b, 0, 0]) == 0]
    assert len(repeated) == 2
    assert len(set(repeated)) == 1
    assert len(kinds) == 2


def test_a_last_passage_may_be_shorter_but_not_of_one_sentence():
    documents = [[np.array([i]) for i in range(5)], [np.array([9])]]
    found = batches.text(documents, 2, 3)(0)
    assert sorted(found.lengths.tolist()) == [2, 3]
    assert (found.x[int(found.lengths.argmin()), 2] == -1).all()


def test_pieces_of_a_sentence_are_as_long_as_each_other():
    sentences = [np.arange(9), np.arange(3), np.array([], np.int64), np.arange(2)]
    found = batches.pieces(sentences, 4)
    assert [list(piece) for piece in found] == [
        [0, 1, 2, 3, 4], [5, 6, 7, 8], [0, 1, 2], [], [0, 1],
    ]  # fmt: skip
    assert max(len(piece) for piece in batches.pieces([np.arange(100)], 8)) == 9


def test_moving_a_batch_moves_inputs_and_actions_alone():
    batch = batches.Batch(torch.zeros(2, 3), torch.tensor([3, 2]), {"g": torch.tensor([0, 1])})
    moved = batch.to("meta")
    assert moved.x.device.type == "meta"
    assert moved.lengths.is_cpu
    assert moved.groups["g"].is_cpu


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: batches.audio(recordings([40]), 0, 20, hop=5), ArgumentError, "batch_size"),
        (lambda: batches.audio(recordings([40]), 1, 21, hop=5), ArgumentError, "multiple"),
        (lambda: batches.audio(recordings([9]), 1, 20, hop=5), ArgumentError, "two latents"),
        (lambda: batches.images(np.zeros((3, 2, 2), np.uint8), 1), ShapeError, "N, H, W, C"),
        (lambda: batches.text([[np.array([1])]], 1, 2), ArgumentError, "two sentences"),
        (lambda: batches.text([], 1, 1), ArgumentError, "n_sentences"),
        (lambda: batches.pieces([], 0), ArgumentError, "n_words"),
    ],
)
def test_bad_input_is_refused(call, error, says):
    with pytest.raises(error, match=says):
        call()
