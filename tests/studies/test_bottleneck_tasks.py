"""Methods, networks and images of the study are what their names say."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import nn

from sidle import seeding
from sidle.data import images
from sidle.errors import ArgumentError
from sidle.studies import bottleneck_tasks as tasks
from sidle.studies.bottleneck_networks import Residual, ResNet50

DIGITS = tasks.TASKS["digits"]


@pytest.mark.parametrize(
    ("name", "objective", "rho", "norm"),
    [
        ("deterministic", "deterministic", None, None),
        ("label-smoothing", "label-smoothing", None, None),
        ("ceb-0", "ceb", 0.0, None),
        ("ceb-4.6", "ceb", 4.6, None),
        ("ceb--1", "ceb", -1.0, None),
        ("consistent-2", "consistent", 2.0, None),
        ("vib-0.5", "vib", 0.0, None),
        ("adversarial-l2", "adversarial", None, "l2"),
    ],
)
def test_names_of_methods(name, objective, rho, norm):
    found = tasks.method(name)
    assert (found.objective, found.rho, found.norm) == (objective, rho, norm)


@pytest.mark.parametrize(("name", "rho"), [("vib-0.119", 2), ("vib-0.047", 3), ("vib-0.01", 4.6)])
def test_vib_has_the_multiplier_of_the_papers_rho(name, rho):
    # The papers round beta to three digits: 2 % of beta is 0.02 / (1 - beta) of rho.
    assert tasks.method(name).rho == pytest.approx(rho, abs=0.025)
    assert tasks.method(f"ceb-{rho}").beta == pytest.approx(tasks.method(name).beta, rel=0.02)


@pytest.mark.parametrize("name", ["ceb", "ceb-x", "vib-0", "vib-1", "adversarial-l1", "sgd", ""])
def test_other_names_are_refused(name):
    with pytest.raises(ArgumentError, match="expected deterministic"):
        tasks.method(name)


def test_rates_fall_as_in_the_paper():
    task = dataclasses.replace(DIGITS, learning_rate=1.0)
    rates = [task.rate(share) for share in (0.0, 0.33, 0.34, 0.66, 0.67, 0.83, 0.84)]
    assert rates == pytest.approx([1, 1, 0.3, 0.3, 0.09, 0.09, 0.027])


@pytest.mark.parametrize("name", ["digits", "cifar10-paper"])
def test_networks_have_no_normalisation_and_begin_as_their_shortcuts(name):
    task = dataclasses.replace(tasks.TASKS[name], dataset="digits")
    with seeding.scope(0):
        network = tasks.encoder(task)
    kinds = {type(module).__name__ for module in network.modules()}
    assert not {kind for kind in kinds if "Norm" in kind or "Dropout" in kind}
    seconds = [p for key, p in network.named_parameters() if key.endswith("second.weight")]
    assert len(seconds) == len(task.widths) * task.blocks
    assert all((weight == 0).all() for weight in seconds)
    # 28x10: 3 groups of 4 blocks of 2 convolutions, stem and head, 3 shortcuts not counted here.
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    shortcuts = [m for key, m in network.named_modules() if key.endswith("shortcut")]
    if name == "cifar10-paper":
        assert len(layers) - len(shortcuts) == 26
        assert sum(p.numel() for p in network.parameters()) > 36e6  # [WIDE]: 36.5 million


@pytest.mark.parametrize(
    ("shape", "stem_stride", "strides", "pooled"),
    [
        ((1, 8, 8), 1, (2, 2), False),
        ((1, 28, 28), 2, (2, 2), False),
        ((3, 32, 32), 1, (1, 2), True),
    ],
)
def test_networks_take_every_shape(shape, stem_stride, strides, pooled):
    with seeding.scope(0):
        network = Residual(
            shape, 5, stem=4, stem_stride=stem_stride, widths=(6, 8), strides=strides, blocks=2,
            pooled=pooled,
        )  # fmt: skip
    x = torch.rand(3, *shape, generator=seeding.torch_generator(0))
    assert network(x).shape == (3, 5)
    # An image's features are its own: there is nothing that looks at the batch.
    torch.testing.assert_close(network(x)[:1], network(x[:1]))


def test_resnet_50_has_the_published_parameters():
    with torch.device("meta"):
        network = ResNet50((3, 224, 224), 1000)
    assert sum(p.numel() for p in network.parameters()) == 25_557_032  # as published


def test_held_out_images_are_of_the_training_set_and_not_trained_on():
    whole = tasks.split(DIGITS, 0)
    part = tasks.split(DIGITS, 0, held_out=300)
    assert len(part.test[1]) == 300
    assert len(part.train[1]) == len(whole.train[1]) - 300
    together = torch.cat([part.train[0], part.test[0]])
    assert torch.equal(together, whole.train[0])
    few = tasks.split(DIGITS, 100)
    assert torch.equal(few.train[0], whole.train[0][:100])
    assert torch.equal(few.test[0], whole.test[0])


def test_images_come_as_shares():
    x = tasks.scaled(tasks.split(DIGITS, 0).train[0])
    assert x.dtype == torch.float32
    assert (x.min(), x.max()) == (0, 1)


def test_outliers_are_what_they_are_called():
    x = tasks.scaled(tasks.split(DIGITS, 0).test[0])
    flipped = tasks.outliers("flipped", x, 0)
    assert torch.equal(flipped[:, :, 0], x[:, :, -1])
    uniform = tasks.outliers("uniform", x, 0)
    assert uniform.shape == x.shape
    # The mean of 28,800 uniform numbers: five standard errors of 0.29 / 170.
    assert float(uniform.mean()) == pytest.approx(0.5, abs=0.0085)
    assert torch.equal(uniform, tasks.outliers("uniform", x, 0))
    other = tasks.outliers("digits", x[:50], 3)
    assert len(other) == 50


def test_sets_of_another_shape_do_not_fit(tmp_path):
    pixels = np.zeros((4, 5, 5, 1), np.uint8)
    small = images.Images(pixels, np.arange(4), ("a", "b", "c", "d"))
    images.pack(small, small, path := tmp_path / "small.npz")
    names = ("uniform", "digits", str(path))
    assert tasks.fitting_outliers(DIGITS, names) == ("uniform", "digits")


def test_the_digest_covers_the_outliers():
    assert tasks.digest(DIGITS, ()) == tasks.digest(DIGITS, ("uniform", "flipped"))
    assert tasks.digest(DIGITS, ()) != tasks.digest(DIGITS, ("digits",))


def test_log_classes_are_those_of_the_set():
    shape, classes = tasks.shape_and_classes(DIGITS)
    assert (shape, classes) == ((1, 8, 8), 10)
    assert math.log(classes) == pytest.approx(2.302585)
