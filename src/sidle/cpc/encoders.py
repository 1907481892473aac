"""Encoders: what turns samples, words or observations into latents.

An encoder is a module with ``features``, D, that maps a batch of inputs to latents (B, T, D), and
``latent_lengths``, which maps lengths of inputs to lengths of latents. A latent that is no padding
depends on nothing behind the end of its sequence, so that a padded batch gives what each sequence
gives alone. Nothing is averaged over a batch: batch normalisation would let a latent know of its
negatives. Images are in `sidle.cpc.patches`. Parameters are drawn by torch's initialisers: build
inside `sidle.seeding.scope` to fix them.

Letters: B = sequences; T = steps; L = audio samples; D = features; W = words of a sentence; E =
word features; N = sentences or observations.
References: [CPC] van den Oord, Li & Vinyals 2018, arXiv:1807.03748. [CPCA] Riviere et al. 2020,
arXiv:2002.02848 (normalisation over channels).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Literal, final

import torch
from torch import Tensor, nn
from torch.nn import functional

from sidle.cpc.positions import to_device
from sidle.errors import ArgumentError, ShapeError

AUDIO_STRIDES = (5, 4, 2, 2, 2)  # [CPC, section 3.1]: a latent every 160 samples, 10 ms
_MOST_STRIDE = 9


@final
class AudioEncoder(nn.Module):
    """Strided convolutions over the waveform [CPC, section 3.1].

    Kernels are twice as long as strides (10, 8, 4, 4, 4 in the paper). The waveform is padded with
    zeros by half of what the first and the last latent see beyond their own samples, so that there
    are L // hop latents, and latent t is centred at sample hop t + hop / 2.

    Args:
        strides: of each layer; their product is the hop.
        features: D, channels of each layer.
        normalisation: after each convolution, of each time step over its channels: "channel"
            [CPCA]; or "none" as in the paper, where weights start as He's, for ReLU.
        last_relu: whether latents pass a ReLU, as every layer below.

    Raises:
        ArgumentError: a number below 1, or no layers.
    """

    def __init__(
        self,
        strides: Sequence[int] = AUDIO_STRIDES,
        *,
        features: int = 512,
        normalisation: Literal["channel", "none"] = "channel",
        last_relu: bool = True,
    ) -> None:
        super().__init__()
        if not strides or min(*strides, features) < 1 or normalisation not in ("channel", "none"):
            raise ArgumentError(
                "AudioEncoder: strides and features must be at least 1 and normalisation channel "
                f"or none, got {tuple(strides)}, {features} and {normalisation!r}."
            )
        self.features, self.strides, self.last_relu = features, tuple(strides), last_relu
        self.hop = math.prod(strides)
        self.receptive_field = 1
        for stride in reversed(self.strides):
            self.receptive_field = (self.receptive_field - 1) * stride + 2 * stride
        channels = itertools.pairwise([1, *[features] * len(strides)])
        self.convolutions = nn.ModuleList(
            nn.Conv1d(enters, leaves, 2 * stride, stride, bias=normalisation == "none")
            for (enters, leaves), stride in zip(channels, strides, strict=True)
        )
        self.norms = nn.ModuleList(
            nn.LayerNorm(features) if normalisation == "channel" else nn.Identity() for _ in strides
        )
        if normalisation == "none":
            for convolution in self.convolutions:
                assert isinstance(convolution, nn.Conv1d)
                assert convolution.bias is not None
                nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
                nn.init.zeros_(convolution.bias)

    def latent_lengths(self, length_B: Tensor) -> Tensor:
        """Return how many latents waveforms of these lengths have."""
        return length_B // self.hop

    def centres(self, n_latents: int) -> Tensor:
        """Return the samples that the latents are centred at, int64 (T,)."""
        return torch.arange(n_latents) * self.hop + self.hop // 2

    def forward(self, x_BL: Tensor, length_B: Tensor | None = None) -> Tensor:
        """Return latents (B, T, D), T = L // hop.

        Args:
            x_BL: waveforms in [-1, 1].
            length_B: int64 on the CPU, samples of each; what lies behind is taken for silence.

        Raises:
            ShapeError: not two dimensions, or shorter than a hop.
        """
        if x_BL.ndim != 2 or x_BL.shape[1] < self.hop:
            raise ShapeError(
                f"AudioEncoder: waveforms must have shape (B, L) with L >= {self.hop}, got "
                f"{tuple(x_BL.shape)}."
            )
        if length_B is not None:
            behind_BL = torch.arange(x_BL.shape[1], device=x_BL.device) >= to_device(
                length_B[:, None], x_BL.device
            )
            x_BL = x_BL.masked_fill(behind_BL, 0.0)
        beyond = self.receptive_field - self.hop
        x_BL = functional.pad(x_BL, (beyond // 2, beyond - beyond // 2))
        x_BTD = x_BL[:, :, None]
        last = len(self.strides) - 1
        for i, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            assert isinstance(convolution, nn.Conv1d)
            x_BTD = norm(_convolved(x_BTD, convolution))
            if i < last or self.last_relu:
                x_BTD = x_BTD.relu()
        return x_BTD


def _convolved(x_BTC: Tensor, convolution: nn.Conv1d) -> Tensor:
    """Return a convolution along T whose kernel is twice its stride s, channels last: (B, T, D).

    Cut into blocks of s steps, each output is a linear map of a block plus one of the next: one
    product of matrices as they lie in memory, where a general convolution would turn channels
    outwards and back for the normalisation between layers.
    """
    (stride,), weight_DCK = convolution.stride, convolution.weight
    D, C, _ = weight_DCK.shape
    B, T = x_BTC.shape[0], x_BTC.shape[1] // stride
    block_BTF = x_BTC[:, : T * stride].reshape(B, T, stride * C)
    # Weights of the first and of the second block, (2, D, s C).
    halves = weight_DCK.view(D, C, 2, stride).permute(2, 0, 3, 1).reshape(2, D, stride * C)
    if C == 1:  # few numbers, many channels to come: rather twice the input than twice the output
        both = torch.cat([block_BTF[:, :-1], block_BTF[:, 1:]], dim=2)
        return functional.linear(both, torch.cat(list(halves), dim=1), convolution.bias)
    first, second = functional.linear(block_BTF, halves.flatten(0, 1)).chunk(2, dim=2)
    found = first[:, :-1] + second[:, 1:]
    return found if convolution.bias is None else found + convolution.bias


def audio_strides(sample_rate: int, seconds: float = 0.01) -> tuple[int, ...]:
    """Return strides of five layers for a latent about every ``seconds``: the paper's at 16 kHz.

    Of all that come closest, those with the smallest sum, the largest first.

    Raises:
        ArgumentError: less than one sample a latent, or more than five strides can make.
    """
    wanted = sample_rate * seconds
    if not 1 <= wanted <= _MOST_STRIDE ** len(AUDIO_STRIDES):
        raise ArgumentError(
            f"audio_strides: {sample_rate} Hz and {seconds} s make {wanted:g} samples a latent; "
            f"expected 1 to {_MOST_STRIDE ** len(AUDIO_STRIDES)}."
        )
    choices = itertools.combinations_with_replacement(
        range(_MOST_STRIDE, 0, -1), len(AUDIO_STRIDES)
    )
    return min(choices, key=lambda some: (abs(math.prod(some) - wanted), sum(some), some))


@final
class SentenceEncoder(nn.Module):
    """Word vectors, a convolution with ReLU, and the mean over the words [CPC, section 3.3].

    Args:
        vocabulary_size: how many words there are, at least 1.
        features: D (2400 in the paper).
        word_features: E (620 in the paper).
        kernel: words that the convolution sees, odd, so that each word sees as many on both sides.
        dropout: of word features, in [0, 1); drawn from torch's global generator.

    Raises:
        ArgumentError: an argument lies outside its range.
    """

    def __init__(
        self,
        vocabulary_size: int,
        *,
        features: int = 512,
        word_features: int = 256,
        kernel: int = 3,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if min(vocabulary_size, features, word_features, kernel) < 1 or kernel % 2 == 0:
            raise ArgumentError(
                "SentenceEncoder: vocabulary_size, features and word_features must be at least 1 "
                f"and kernel odd, got {vocabulary_size}, {features}, {word_features} and {kernel}."
            )
        self.features = features
        self.words = nn.Embedding(vocabulary_size, word_features)
        self.dropout = nn.Dropout(dropout)
        self.convolution = nn.Conv1d(word_features, features, kernel, padding=kernel // 2)

    def latent_lengths(self, length_B: Tensor) -> Tensor:
        """Return the lengths: a latent is a sentence."""
        return length_B

    def sentences(self, token_NW: Tensor) -> Tensor:
        """Return vectors of sentences, (N, D).

        Args:
            token_NW: int64, numbers of words, -1 behind the end of a sentence. A sentence without
                words has the vector 0.

        Raises:
            ShapeError: not int64 of two dimensions.
            ArgumentError: -1 stands before a word.
        """
        if token_NW.ndim != 2 or token_NW.dtype != torch.int64:
            raise ShapeError(
                f"SentenceEncoder: sentences must be int64 of shape (N, W), got {token_NW.dtype} "
                f"{tuple(token_NW.shape)}."
            )
        is_word_NW = token_NW >= 0
        if bool((is_word_NW[:, 1:] > is_word_NW[:, :-1]).any()):
            raise ArgumentError("SentenceEncoder: -1 may stand only behind a sentence.")
        length_N = is_word_NW.sum(1)
        (kernel,) = self.convolution.kernel_size
        dropped = self.training and self.dropout.p > 0
        if kernel == 1 and not dropped and bool(is_word_NW.any()):
            return self._means(token_NW[is_word_NW], length_N)
        # The words of all sentences on one line, a gap between sentences: no padding is convolved.
        sentence_L = is_word_NW.nonzero()[:, 0]
        gap = kernel // 2
        position_L = torch.arange(len(sentence_L), device=token_NW.device) + gap * (sentence_L + 1)
        word_LE = self.dropout(self.words(token_NW[is_word_NW]))
        n_places = max(kernel, len(sentence_L) + gap * (len(token_NW) + 1))
        line_PE = word_LE.new_zeros(n_places, word_LE.shape[1]).index_copy(0, position_L, word_LE)
        seen_LD = self._convolved(line_PE)[position_L - gap].relu()
        sum_ND = seen_LD.new_zeros(len(token_NW), self.features).index_add(0, sentence_L, seen_LD)
        return sum_ND / length_N.clamp_min(1)[:, None]

    def _means(self, token_L: Tensor, length_N: Tensor) -> Tensor:
        """Return vectors of sentences where the convolution sees one word at a time.

        A word then looks the same wherever it stands: it is convolved once for all sentences.
        """
        word_U, which_L = torch.unique(token_L, return_inverse=True)
        seen_UD = self._convolved(self.words(word_U)).relu()
        first_N = length_N.cumsum(0) - length_N
        return functional.embedding_bag(which_L, seen_UD, first_N, mode="mean")

    def _convolved(self, line_PE: Tensor) -> Tensor:
        """Return the convolution of a line at all places that it fits in."""
        (kernel,) = self.convolution.kernel_size
        view_QEK = line_PE.unfold(0, kernel, 1)
        weight_DEK = self.convolution.weight
        return functional.linear(view_QEK.flatten(1), weight_DEK.flatten(1), self.convolution.bias)

    def forward(self, x_BTW: Tensor, length_B: Tensor | None = None) -> Tensor:
        """Return latents (B, T, D).

        Args:
            x_BTW: T sentences of W words each, as `sentences` takes them.
            length_B: sentences of each document; not needed, as each is encoded for itself.

        Raises:
            ShapeError: not int64 of three dimensions.
        """
        if x_BTW.ndim != 3:
            raise ShapeError(
                f"SentenceEncoder: documents must have shape (B, T, W), got {tuple(x_BTW.shape)}."
            )
        B, T, W = x_BTW.shape
        return self.sentences(x_BTW.reshape(B * T, W)).reshape(B, T, self.features)


@final
class ObservationEncoder(nn.Module):
    """A network for one observation, applied to each step of an episode.

    Args:
        network: maps (N, ...) to (N, D); an agent's own, for example. It must treat its rows one by
            one: no batch normalisation.
        features: D.
    """

    def __init__(self, network: nn.Module, features: int) -> None:
        super().__init__()
        self.network, self.features = network, features

    def latent_lengths(self, length_B: Tensor) -> Tensor:
        """Return the lengths: a latent is a step."""
        return length_B

    def forward(self, x: Tensor, length_B: Tensor | None = None) -> Tensor:
        """Return latents (B, T, D) of observations (B, T, ...)."""
        B, T = x.shape[:2]
        z_ND: Tensor = self.network(x.flatten(0, 1))
        if z_ND.shape != (B * T, self.features):
            raise ShapeError(
                f"ObservationEncoder: the network must return shape ({B * T}, {self.features}), "
                f"got {tuple(z_ND.shape)}."
            )
        return z_ND.reshape(B, T, self.features)


def observation_network(shape: Sequence[int], features: int) -> nn.Module:
    """Return a network for observations: convolutions for images, a perceptron for vectors.

    Args:
        shape: (C, H, W) of images, bytes from 0 to 255 or floating point; (F,) of vectors.
        features: D.

    Raises:
        ArgumentError: another shape.
    """
    if len(shape) == 1:
        return nn.Sequential(
            _Scaled(), nn.Linear(shape[0], features), nn.ReLU(), nn.Linear(features, features)
        )
    if len(shape) != 3:
        raise ArgumentError(
            f"observation_network: shape must be (C, H, W) or (F,), got {tuple(shape)}."
        )
    C, H, W = shape
    layers: list[nn.Module] = [_Scaled()]
    for channels in (32, 64, 64):
        stride = 2 if min(H, W) > 8 else 1
        layers += [nn.Conv2d(C, channels, 3, stride, 1), nn.ReLU()]
        C, H, W = channels, -(-H // stride), -(-W // stride)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(C * H * W, features))


class _Scaled(nn.Module):
    """Bytes become floating point from 0 to 1."""

    def forward(self, x: Tensor) -> Tensor:
        return x.to(torch.get_default_dtype()) / 255 if x.dtype == torch.uint8 else x
