"""Batches: what the model learns from, and how recordings, images and documents become them.

`audio`, `images` and `text` return ``batches(i)``, the batch of step i, a function of the seed and
of i alone, as `sidle.training.fit` wants it.

Letters: B = sequences of a batch; L = audio samples; T = steps of latents or sentences; W = words;
N = rows of the data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sidle import seeding
from sidle.cpc.positions import to_device
from sidle.data.recordings import FULL_SCALE, Recordings
from sidle.errors import ArgumentError, ShapeError

Batches = Callable[[int], "Batch"]


@dataclass(frozen=True, eq=False)
class Batch:
    """Sequences to learn from.

    Attributes:
        x: the encoder's input, first dimension B.
        lengths: int64 (B,), on the CPU, what of each sequence is no padding, in steps of the input
            (samples, sentences, observations); None: all.
        groups: by name, int64 (B,), on the CPU: sequences with equal numbers belong together.
        items: int64 (B, T) or (B, T, U), on the CPU: latents with equal numbers are copies of each
            other; None: there are no copies.
        actions: int64 (B, T) or floating point (B, T, A); action t leads from observation t to
            t + 1. None where predictions need none.
    """

    x: Tensor
    lengths: Tensor | None = None
    groups: Mapping[str, Tensor] = field(default_factory=dict)
    items: Tensor | None = None
    actions: Tensor | None = None

    def to(self, device: str | torch.device) -> Batch:
        """Return the batch with inputs and actions on ``device``; the rest is planned with."""
        where = torch.device(device)
        actions = None if self.actions is None else _moved(self.actions, where)
        return replace(self, x=_moved(self.x, where), actions=actions)


def _moved(tensor: Tensor, device: torch.device) -> Tensor:
    return to_device(tensor, device) if tensor.is_cpu else tensor.to(device)


def audio(
    recordings: Recordings,
    batch_size: int,
    window: int,
    *,
    hop: int,
    seed: int = 0,
    same_group: bool = False,
) -> Batches:
    """Return batches of random windows of recordings, waveforms from -1 to 1.

    An epoch has as many windows as fill the recordings, in random order; a window begins at a
    random multiple of the hop, anywhere in its recording. Recordings shorter than
    the window are padded, and the batch says how long they are; those
    shorter than two hops are passed over. Where speakers are known, they are the group "speaker".

    Args:
        recordings: N of them.
        batch_size: B, windows of a batch, at least 1.
        window: L, in samples, a multiple of the hop.
        hop: samples of a latent, ``AudioEncoder.hop``. Windows of one recording that overlap then
            share latents, which the batch says.
        seed: names order and windows.
        same_group: each batch has windows of one speaker only, as many as there are up to B;
            speakers are drawn by how many windows they fill.

    Raises:
        ArgumentError: a number out of range, no recording of two hops, or speakers unknown.
    """
    length_N = np.diff(recordings.offsets)
    usable = np.flatnonzero(length_N >= 2 * hop)
    if batch_size < 1 or hop < 1 or window < 2 * hop or window % hop:
        raise ArgumentError(
            "batches.audio: batch_size must be at least 1 and window a multiple of the hop, at "
            f"least two, got {batch_size}, {window} and {hop}."
        )
    if len(usable) == 0:
        raise ArgumentError(
            f"batches.audio: no recording has the {2 * hop} samples of two latents. Give longer "
            "ones."
        )
    if same_group and recordings.speakers is None:
        raise ArgumentError("batches.audio: same_group needs recordings with speakers.")
    speaker_N = None
    if recordings.speakers is not None:
        speaker_N = np.unique(recordings.speakers, return_inverse=True)[1]
    windows = usable.repeat(-(-length_N[usable] // window))
    order = _order(windows, batch_size, seed, speaker_N if same_group else None)

    def batches(i: int) -> Batch:
        rows = order(i)
        generator = seeding.numpy_generator(seeding.split(seed, "windows", i))
        length_B = np.minimum(length_N[rows], window)
        spare_B = (length_N[rows] - length_B) // hop
        start_B = generator.integers(0, spare_B + 1) * hop
        x_BL = np.zeros((len(rows), int(length_B.max()) // hop * hop), np.float32)
        for b, row in enumerate(rows):
            n = min(int(length_B[b]), x_BL.shape[1])
            first = int(recordings.offsets[row] + start_B[b])
            x_BL[b, :n] = recordings.samples[first : first + n]
            length_B[b] = n
        x_BL /= FULL_SCALE
        # Latents of the whole data are numbered, so that windows that overlap share numbers.
        first_B = (recordings.offsets[rows] // hop + rows) + start_B // hop
        item_BT = first_B[:, None] + np.arange(x_BL.shape[1] // hop)
        groups = {} if speaker_N is None else {"speaker": _int64(speaker_N[rows])}
        return Batch(
            torch.from_numpy(x_BL),
            None if bool((length_B == x_BL.shape[1]).all()) else _int64(length_B),
            groups,
            _int64(item_BT) if len(np.unique(rows)) < len(rows) else None,
        )

    return batches


def images(
    pixels_NHWC: npt.NDArray[np.uint8],
    batch_size: int,
    *,
    seed: int = 0,
    augmentation: Callable[[Tensor, torch.Generator], Tensor] | None = None,
) -> Batches:
    """Return batches of images, each once an epoch in random order.

    Args:
        pixels_NHWC: uint8 (N, H, W, C).
        batch_size: B, in [1, N].
        seed: names the order and what augmentation draws.
        augmentation: takes uint8 images (B, H, W, C) and a generator, returns images of that shape
            or patches.

    Raises:
        ShapeError: not uint8 of four dimensions.
        ArgumentError: ``batch_size`` out of range.
    """
    if pixels_NHWC.ndim != 4 or pixels_NHWC.dtype != np.uint8:
        raise ShapeError(
            f"batches.images: pixels must be uint8 (N, H, W, C), got {pixels_NHWC.dtype} "
            f"{pixels_NHWC.shape}."
        )
    order = _order(np.arange(len(pixels_NHWC)), batch_size, seed, None)

    def batches(i: int) -> Batch:
        x_BHWC = torch.from_numpy(pixels_NHWC[np.sort(order(i))])
        if augmentation is not None:
            generator = seeding.torch_generator(seeding.split(seed, "augmentation", i))
            x_BHWC = augmentation(x_BHWC, generator)
        return Batch(x_BHWC)

    return batches


def text(
    documents: Sequence[Sequence[npt.NDArray[np.int64]]],
    batch_size: int,
    n_sentences: int,
    *,
    seed: int = 0,
    max_words: int = 64,
) -> Batches:
    """Return batches of passages: sentences that follow each other in a document.

    Documents are cut into passages of ``n_sentences``, the last of which may be shorter; passages
    of one sentence are left out. Each is used once an epoch, in random order. Sentences that are
    alike word for word are copies of each other.

    Args:
        documents: of each, the numbers of the words of each of its sentences, at least 0.
        batch_size: B, passages of a batch.
        n_sentences: T, at least 2.
        seed: names the order.
        max_words: W; what is longer loses its end.

    Raises:
        ArgumentError: a number out of range, or no document of two sentences.
    """
    if n_sentences < 2 or max_words < 1:
        raise ArgumentError(
            "batches.text: n_sentences must be at least 2 and max_words at least 1, got "
            f"{n_sentences} and {max_words}."
        )
    sentences: list[npt.NDArray[np.int64]] = []
    passages: list[range] = []
    for document in documents:
        first = len(sentences)
        sentences += [np.asarray(words[:max_words], np.int64) for words in document]
        for start in range(first, len(sentences), n_sentences):
            passage = range(start, min(start + n_sentences, len(sentences)))
            passages += [passage] if len(passage) >= 2 else []
    if not passages:
        raise ArgumentError("batches.text: no document has two sentences. Give longer ones.")
    known: dict[bytes, int] = {}
    item_N = np.array([known.setdefault(words.tobytes(), len(known)) for words in sentences])
    order = _order(np.arange(len(passages)), batch_size, seed, None)

    def batches(i: int) -> Batch:
        chosen = [passages[p] for p in order(i)]
        T = max(len(passage) for passage in chosen)
        W = max(1, *(len(sentences[row]) for passage in chosen for row in passage))
        x_BTW = np.full((len(chosen), T, W), -1, np.int64)
        item_BT = np.full((len(chosen), T), -1, np.int64)
        for b, passage in enumerate(chosen):
            item_BT[b, : len(passage)] = item_N[passage.start : passage.stop]
            for t, row in enumerate(passage):
                x_BTW[b, t, : len(sentences[row])] = sentences[row]
        lengths = _int64([len(passage) for passage in chosen])
        there = item_BT[item_BT >= 0]
        return Batch(
            torch.from_numpy(x_BTW),
            None if bool((lengths == T).all()) else lengths,
            items=_int64(item_BT) if len(np.unique(there)) < len(there) else None,
        )

    return batches


def pieces(sentences: Iterable[npt.NDArray[np.int64]], n_words: int) -> list[npt.NDArray[np.int64]]:
    """Cut sentences into pieces, which `text` takes like sentences.

    A few words tell more of the few that follow than a sentence tells of the next one: with little
    text to learn from, pieces teach more.

    Args:
        sentences: numbers of the words of each sentence of a document.
        n_words: words of a piece, at least 1; the pieces of a sentence are as long as each other,
            to one word, and about so long.

    Raises:
        ArgumentError: ``n_words`` is below 1.
    """
    if n_words < 1:
        raise ArgumentError(f"batches.pieces: n_words must be at least 1, got {n_words}.")
    return [
        piece
        for words in sentences
        for piece in np.array_split(words, max(1, round(len(words) / n_words)))
    ]


def _int64(values: Any) -> Tensor:
    return torch.from_numpy(np.asarray(values, np.int64))


def _order(
    rows: npt.NDArray[np.int64],
    batch_size: int,
    seed: int,
    group_N: npt.NDArray[Any] | None,
) -> Callable[[int], npt.NDArray[np.int64]]:
    """Return which rows the batch of step i holds; where there are groups, all of one."""
    if batch_size < 1:
        raise ArgumentError(f"batch_size must be at least 1, got {batch_size}.")
    if group_N is not None:
        group_of_row = group_N[rows]

        def of_one_group(i: int) -> npt.NDArray[np.int64]:
            generator = seeding.numpy_generator(seeding.split(seed, "group", i))
            group = group_of_row[generator.integers(len(rows))]
            members = rows[group_of_row == group]
            return generator.permutation(members)[:batch_size]

        return of_one_group
    size = min(batch_size, len(rows))
    per_epoch = len(rows) // size
    known: dict[int, npt.NDArray[np.int64]] = {}

    def all_mixed(i: int) -> npt.NDArray[np.int64]:
        epoch, position = divmod(i, per_epoch)
        if epoch not in known:
            known.clear()
            generator = seeding.numpy_generator(seeding.split(seed, "epoch", epoch))
            known[epoch] = generator.permutation(rows)
        return known[epoch][position * size : (position + 1) * size]

    return all_mixed
