"""Training lowers the loss, follows its schedule, and goes on exactly where it stopped."""

import math

import numpy as np
import pytest
import torch

from sidle import runs
from sidle.cpc import ContrastivePredictiveCoding, ImageSettings, batches, negatives, train
from sidle.cpc.settings import DOMAINS, settings_as_dict, settings_of_dict
from sidle.errors import ArgumentError, CheckpointError

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1), dtype=np.uint8)
SETTINGS = ImageSettings(
    size=(8, 8), channels=1, grid=3, features=8, width=4, context_features=8, steps=(1, 2),
    negatives=negatives.Mixed(16),
)  # fmt: skip


def model():
    return ContrastivePredictiveCoding.of(SETTINGS)


def fit(one, n_steps=12, **settings):
    return train(one, batches.images(PIXELS, 10), n_steps, learning_rate=3e-3, **settings)


def same(a, b):
    return all(
        torch.equal(value, b.state_dict()[name])
        for name, value in a.state_dict().items()
        if isinstance(value, torch.Tensor)
    )


def test_the_loss_falls_and_records_tell_each_step_ahead():
    records = fit(model(), 150, log_every=1)
    first, last = records[0], records[-1]
    assert first["loss"] == pytest.approx(first["ceiling"] - first["bound"], abs=1e-4)
    assert np.mean([r["loss"] for r in records[-20:]]) < np.mean([r["loss"] for r in records[:20]])
    assert {"loss_1", "loss_2", "accuracy_2", "bound_1"} <= set(last)
    assert first["ceiling"] == pytest.approx(math.log(17), abs=1e-4)


def test_an_interrupted_run_ends_with_the_same_model(tmp_path):
    whole = model()
    fit(whole)
    identity = runs.Identity(settings={"some": 1})
    stopped, resumed = model(), model()

    def fail(step):
        if step == 5:
            raise RuntimeError("the machine went down")
        return {}

    with (
        pytest.raises(RuntimeError, match="went down"),
        runs.open_run(tmp_path / "run", identity) as run,
    ):
        fit(stopped, run=run, checkpoint_every=0.0, evaluate=fail, evaluate_every=1)
    assert not same(whole, stopped)
    with runs.open_run(tmp_path / "run", identity) as run:
        fit(resumed, run=run, log_every=1)
    assert same(whole, resumed)


def test_the_rate_warms_up_and_decays_along_half_a_cosine(monkeypatch):
    rates = []
    original = torch.optim.AdamW.step

    def step(self, *arguments, **keywords):
        rates.append(self.param_groups[0]["lr"])
        return original(self, *arguments, **keywords)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    fit(model(), 10, warmup=4, decay=True)
    expected = [
        3e-3 * min(1, (i + 1) / 4) * (1 + math.cos(math.pi * i / 10)) / 2 for i in range(10)
    ]
    assert rates == pytest.approx(expected)


def test_gradients_are_clipped_if_asked_for():
    free, clipped = model(), model()
    fit(free, 1)
    fit(clipped, 1, max_gradient=1e-12)
    assert not same(free, clipped)


def test_presets_survive_a_file_and_unknown_ones_are_refused():
    for kind in DOMAINS.values():
        made = kind(negatives=negatives.OtherSequences(7, gap=2), steps=(1, 3))
        assert settings_of_dict(settings_as_dict(made)) == made
    tree = settings_as_dict(SETTINGS)
    for broken in (tree | {"domain": "smell"}, tree | {"colour": 1}):
        with pytest.raises(CheckpointError, match="unknown kind"):
            settings_of_dict(broken)


@pytest.mark.parametrize("settings", [{"warmup": -1}, {"n_steps": 0}])
def test_bad_settings_are_refused(settings):
    with pytest.raises(ArgumentError, match="at least"):
        fit(model(), **settings)
    with pytest.raises(ArgumentError, match="learning_rate"):
        train(model(), batches.images(PIXELS, 10), 1, learning_rate=0.0)
