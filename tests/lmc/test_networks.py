"""The networks have the sizes, depths and initial weights that their papers say."""

import math

import pytest
import torch
from torch import nn

from sidle.errors import ArgumentError
from sidle.lmc.networks import VGG, LeNet, ResNet


def n_parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


def with_weights(network, shortcuts=True):
    found = [
        (name, module)
        for name, module in network.named_modules()
        if isinstance(module, (nn.Linear, nn.Conv2d))
    ]
    return [module for name, module in found if shortcuts or "shortcut" not in name]


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        # 784 x 300 + 300 x 100 + 100 x 10 weights, and a bias for each unit.
        (lambda: LeNet((1, 28, 28)), 266_610),
        # 269,722 of ResNet-20 whose shortcuts have no weights, and 2,752 of two that have.
        (lambda: ResNet((3, 32, 32)), 272_474),
        # 14,714,688 of the convolutions of VGG-16, 8,448 of BatchNorm, 5,130 of the last layer.
        (lambda: VGG((3, 32, 32)), 14_728_266),
    ],
)
def test_they_are_as_large_as_their_papers_say(build, expected):
    with torch.device("meta"):  # shapes alone
        assert n_parameters(build()) == expected


@pytest.mark.parametrize("depth", [8, 14, 20])
def test_a_residual_network_has_as_many_layers_as_its_name_says(depth):
    assert len(with_weights(ResNet((1, 8, 8), depth=depth, width=2), shortcuts=False)) == depth


@pytest.mark.parametrize(("depth", "layers"), [(8, 7), (11, 9), (16, 14)])
def test_a_vgg_has_one_linear_layer_in_the_place_of_three(depth, layers):
    # VGG-8 is ours: six convolutions, of which the linear layer makes seven.
    assert len(with_weights(VGG((3, 16, 16), depth=depth, width=2))) == layers


@pytest.mark.parametrize(
    "network",
    [
        LeNet((2, 16, 16), 7),
        ResNet((2, 16, 16), 7, depth=8, width=4),
        ResNet((2, 16, 16), 7, depth=8, width=4, stem_stride=2),
        VGG((2, 16, 16), 7, depth=8, width=4),
        VGG((2, 16, 16), 7, depth=16, width=4),
    ],
)
def test_each_image_gets_its_own_logits(network):
    network.eval()
    x = torch.randn(5, 2, 16, 16, generator=torch.Generator().manual_seed(0))
    logits = network(x)
    assert logits.shape == (5, 7)
    # Alone, an image is summed in another order: float32 rounding, no more.
    torch.testing.assert_close(network(x[3:4]), logits[3:4], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(logits[0], logits[1])


def test_initial_weights_are_kaiming_normal_and_scales_uniform():
    torch.manual_seed(0)
    for network in (ResNet((3, 32, 32), width=32), VGG((3, 32, 32), depth=8, width=32)):
        for layer in with_weights(network):
            n_inputs = layer.weight[0].numel()
            # A standard deviation from n weights is off by 1 / sqrt(2 n); five times that.
            slack = 5 / math.sqrt(2 * layer.weight.numel())
            expected = math.sqrt(2 / n_inputs)
            assert layer.weight.std().item() == pytest.approx(expected, rel=slack)
            assert layer.bias is None or not layer.bias.any()
        scales = [m.weight for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
        every = torch.cat([scale.detach() for scale in scales])
        assert every.min() >= 0
        assert every.max() <= 1
        assert every.mean().item() == pytest.approx(0.5, abs=5 / math.sqrt(12 * len(every)))


def test_a_block_goes_around_its_convolutions():
    network = ResNet((1, 8, 8), depth=14, width=4).eval()
    block = network.blocks[1]  # as wide after as before: nothing stands on the way around
    nn.init.zeros_(block.second_norm.weight)
    x = torch.randn(2, 4, 8, 8)
    torch.testing.assert_close(block(x), x.relu(), rtol=0, atol=0)


def test_a_stride_of_two_in_the_stem_quarters_every_layer():
    sizes = []
    for stride in (1, 2):
        network = ResNet((3, 32, 32), depth=8, width=4, stem_stride=stride)
        stages = [network.blocks[0], network.blocks[2]]
        for stage in stages:
            stage.register_forward_hook(lambda _, __, out: sizes.append(tuple(out.shape[2:])))
        network(torch.zeros(2, 3, 32, 32))
    assert sizes == [(32, 32), (8, 8), (16, 16), (4, 4)]


def test_what_they_cannot_be_is_refused():
    with pytest.raises(ArgumentError, match="6 n \\+ 2"):
        ResNet((3, 32, 32), depth=18)
    with pytest.raises(ArgumentError, match="one of \\[8, 11, 16\\]"):
        VGG((3, 32, 32), depth=19)
    with pytest.raises(ArgumentError, match="at least 16 x 16"):
        VGG((1, 8, 8), depth=16)
