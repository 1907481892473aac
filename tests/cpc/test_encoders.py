"""Encoders see what they should: their field, their own sequence, nothing of others."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from sidle import seeding
from sidle.cpc import encoders
from sidle.cpc.patches import MLPPatchEncoder, ResidualPatchEncoder
from sidle.cpc.settings import ImageSettings, parts
from sidle.errors import ArgumentError, ShapeError


def audio(**settings):
    with seeding.scope(0):
        return encoders.AudioEncoder(**{"features": 6} | settings).double()


def waveforms(n, length, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, length, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("normalisation", ["channel", "none"])
@pytest.mark.parametrize("strides", [(5, 4, 2, 2, 2), (3, 2), (4, 1)])
def test_layers_are_the_convolutions_of_torch(strides, normalisation):
    encoder = audio(strides=strides, normalisation=normalisation)
    x = waveforms(3, encoder.hop * 11 + 3)
    beyond = encoder.receptive_field - encoder.hop
    seen = functional.pad(x, (beyond // 2, beyond - beyond // 2))[:, None]
    for convolution, norm in zip(encoder.convolutions, encoder.norms, strict=True):
        seen = norm(convolution(seen).transpose(1, 2)).relu().transpose(1, 2)
    found = encoder(x)
    torch.testing.assert_close(found, seen.transpose(1, 2))
    assert found.shape == (3, 11, 6)
    weights = [one.weight for one in encoder.convolutions]
    for a, b in zip(
        torch.autograd.grad(found.square().sum(), weights),
        torch.autograd.grad(seen.square().sum(), weights),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


def test_the_presets_of_the_paper():
    encoder = audio()
    assert encoder.hop == 160
    assert encoder.receptive_field == 465
    assert [one.kernel_size[0] for one in encoder.convolutions] == [10, 8, 4, 4, 4]
    assert encoders.audio_strides(16_000) == (5, 4, 2, 2, 2)
    for rate in (8_000, 11_025, 22_050, 44_100, 48_000):
        assert abs(math.prod(encoders.audio_strides(rate)) - rate / 100) <= 0.02 * rate / 100
    assert encoder.centres(3).tolist() == [80, 240, 400]


def test_a_latent_sees_its_field_around_its_centre_and_nothing_else():
    encoder = audio(strides=(3, 2))
    x = waveforms(2, 60).requires_grad_()
    z = encoder(x)
    weight = torch.linspace(-1, 1, 6, dtype=torch.float64)
    for t in (3, 6):
        (gradient,) = torch.autograd.grad(z[0, t] @ weight, x, retain_graph=True)
        seen = torch.nonzero(gradient[0])[:, 0]
        assert not gradient[1].any()
        assert len(seen) <= encoder.receptive_field
        middle = (int(seen.min()) + int(seen.max())) / 2
        assert abs(middle - (int(encoder.centres(t + 1)[-1]) - 0.5)) <= 1


def test_a_padded_recording_has_the_latents_it_has_alone():
    encoder = audio()
    x = waveforms(2, 1600)
    lengths = torch.tensor([1600, 900])
    both = encoder(x, lengths)
    n = int(encoder.latent_lengths(lengths)[1])
    assert n == 5
    silent = torch.cat([x[1:, :900], torch.zeros(1, 700, dtype=torch.float64)], 1)
    torch.testing.assert_close(both[1:], encoder(silent))
    torch.testing.assert_close(both[1:, : n - 1], encoder(x[1:, :900])[:, : n - 1])


@pytest.mark.parametrize("kernel", [1, 3])
def test_sentences_are_means_over_their_words_and_padding_is_none(kernel):
    with seeding.scope(0):
        encoder = encoders.SentenceEncoder(20, features=5, word_features=4, kernel=kernel).eval()
    short = torch.tensor([[3, 7, 1]])
    padded = torch.tensor([[3, 7, 1, -1, -1]])
    torch.testing.assert_close(encoder.sentences(short), encoder.sentences(padded))
    words = functional.pad(encoder.words(short).transpose(1, 2), (0, 0))
    by_hand = encoder.convolution(words).relu().mean(2)
    torch.testing.assert_close(encoder.sentences(short), by_hand)
    assert (encoder.sentences(torch.tensor([[-1, -1]])) == 0).all()
    two = torch.tensor([[3, 7, 1], [2, 9, -1]])  # neighbours do not see each other
    alone = torch.cat([encoder.sentences(short), encoder.sentences(two[1:, :2])])
    torch.testing.assert_close(encoder.sentences(two), alone)
    with pytest.raises(ArgumentError, match="only behind a sentence"):
        encoder.sentences(torch.tensor([[3, -1, 1]]))
    passage = torch.stack([padded[0], torch.tensor([2, -1, -1, -1, -1])])[None]
    torch.testing.assert_close(encoder(passage)[0], encoder.sentences(passage[0]))


def test_words_alike_are_convolved_once_with_the_gradients_of_all():
    with seeding.scope(0):
        encoder = encoders.SentenceEncoder(9, features=5, word_features=4, kernel=1).double()
    token_NW = torch.tensor([[3, 7, 3, 1], [3, -1, -1, -1], [-1, -1, -1, -1], [1, 1, 7, -1]])
    weight_ND = torch.randn(4, 5, dtype=torch.float64)

    def gradients(sentences):
        encoder.zero_grad()
        (sentences * weight_ND).sum().backward()
        return [parameter.grad.clone() for parameter in encoder.parameters()]

    seen_NDW = encoder.convolution(encoder.words(token_NW.clamp_min(0)).transpose(1, 2)).relu()
    kept_N1W = (token_NW >= 0)[:, None]
    by_hand = (seen_NDW * kept_N1W).sum(2) / kept_N1W.sum(2).clamp_min(1)
    found = encoder.sentences(token_NW)
    torch.testing.assert_close(found, by_hand)
    for got, wanted in zip(gradients(found), gradients(by_hand), strict=True):
        torch.testing.assert_close(got, wanted)


def test_dropout_of_words_falls_on_each_place_for_itself():
    with seeding.scope(0):
        encoder = encoders.SentenceEncoder(9, features=64, kernel=1, dropout=0.5)
        twice = encoder.sentences(torch.tensor([[3], [3]]))
    assert not torch.equal(twice[0], twice[1])
    encoder.eval()
    assert torch.equal(*encoder.sentences(torch.tensor([[3], [3]])))


def test_observations_are_encoded_one_by_one():
    encoder = encoders.ObservationEncoder(nn.Linear(3, 4), 4)
    x = torch.randn(2, 5, 3)
    torch.testing.assert_close(encoder(x)[1, 2], encoder.network(x[1, 2]))
    for shape in ((3, 64, 64), (7,), (4, 12, 9)):
        network = encoders.observation_network(shape, 6)
        assert network(torch.rand(2, *shape)).shape == (2, 6)
    with pytest.raises(ShapeError, match="must return shape"):
        encoders.ObservationEncoder(nn.Linear(3, 5), 4)(x)


PATCH_ENCODERS = (ResidualPatchEncoder, MLPPatchEncoder)


@pytest.mark.parametrize("kind", PATCH_ENCODERS)
@pytest.mark.parametrize("size", [(32, 32), (28, 28), (20, 14)])
def test_patches_overlap_by_half_and_lie_in_the_image(size, kind):
    with seeding.scope(0):
        encoder = kind(size, channels=2, features=5, width=4).eval()
    x = torch.rand(2, *size, 2)
    patches = encoder.patches(x.permute(0, 3, 1, 2))
    assert patches.shape[:4] == (2, 7, 7, 2)
    stride = encoder.strides
    rows = patches[0, 2, 3, :, stride[0] :]
    torch.testing.assert_close(rows, patches[0, 3, 3, :, : stride[0]])
    assert encoder(x).shape == (2, 7, 7, 5)
    if size == (32, 32):
        torch.testing.assert_close(patches[1, 1, 2], x[1, 4:12, 8:16].permute(2, 0, 1))


@pytest.mark.parametrize("kind", PATCH_ENCODERS)
def test_a_patch_knows_of_no_other_and_bytes_are_scaled(kind):
    with seeding.scope(0):
        encoder = kind((16, 16), channels=1, features=5, width=4).eval()
    x = torch.randint(256, (2, 16, 16, 1), dtype=torch.uint8)
    z = encoder(x)
    torch.testing.assert_close(z, encoder(x.float() / 127.5 - 1))
    changed = x.clone()
    changed[0, 12:, 12:] = 255 - changed[0, 12:, 12:]
    moved = (encoder(changed) - z).abs().sum(-1) > 1e-6
    assert not moved[1].any()
    assert not moved[0, :5, :5].any()
    assert moved[0, 6, 6]


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: audio(strides=()), ArgumentError, "strides"),
        (lambda: audio(normalisation="batch"), ArgumentError, "batch"),
        (lambda: audio()(torch.zeros(2, 100, dtype=torch.float64)), ShapeError, "L >= 160"),
        (lambda: encoders.audio_strides(50), ArgumentError, "samples a latent"),
        (lambda: encoders.SentenceEncoder(9, kernel=4), ArgumentError, "odd"),
        (lambda: encoders.SentenceEncoder(9)(torch.zeros(2, 3)), ShapeError, r"\(B, T, W\)"),
        (lambda: ResidualPatchEncoder((8, 8), grid=1), ArgumentError, "grid"),
        (lambda: ResidualPatchEncoder((8, 8), blocks=0), ArgumentError, "width and blocks"),
        (lambda: MLPPatchEncoder((8, 8), width=0), ArgumentError, "width must"),
        (lambda: MLPPatchEncoder((8, 8))(torch.zeros(1, 9, 8, 3)), ShapeError, "8, 8, 3"),
        (lambda: parts(ImageSettings(encoder="convolution")), ArgumentError, "residual or mlp"),
    ],
)
def test_bad_input_is_refused(call, error, says):
    with pytest.raises(error, match=says):
        call()
