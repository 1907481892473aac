"""The loss is the paper's, written out softmax by softmax; padding and files change nothing."""

import numpy as np
import pytest
import torch
from tests.reference import predictive_coding as reference

from sidle.cpc import Batch, ContrastivePredictiveCoding, negatives
from sidle.cpc.contexts import GRUContext
from sidle.cpc.encoders import ObservationEncoder
from sidle.cpc.predictors import LinearPredictor
from sidle.errors import ArgumentError, CheckpointError, ShapeError

POLICIES = {
    "all": negatives.Mixed(None),
    "mixed": negatives.Mixed(6),
    "mixed, per step": negatives.Mixed(6, per_step=True),
    "without the own": negatives.Mixed(6, exclude_sequence=True),
    "same sequence": negatives.SameSequence(4),
    "other sequences": negatives.OtherSequences(6),
    "one of each": negatives.OtherSequences(2, one_each=True),
    "same group": negatives.SameGroup(key="speaker", n=5),
    "same group without the own": negatives.SameGroup(key="speaker", n=5, exclude_sequence=True),
    "time gap": negatives.TimeGap(4, gap=2),
    "hard": negatives.Hard(3, candidates=negatives.Mixed(8)),
}


class Latents(torch.nn.Module):
    """Takes latents for inputs."""

    def __init__(self, features):
        super().__init__()
        self.features = features
        self.scale = torch.nn.Parameter(torch.ones(()))

    def forward(self, x, length_B=None):
        return x * self.scale


def a_model(policy, steps=(1, 3), temperature=1.0):
    torch.manual_seed(0)
    predictor = LinearPredictor(4, 5, len(steps))
    return ContrastivePredictiveCoding(
        Latents(5), GRUContext(5, 4), predictor, steps=steps, negatives=policy,
        temperature=temperature,
    ).double()  # fmt: skip


def a_batch():
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(4, 9, 5, generator=generator, dtype=torch.float64)
    speakers = {"speaker": torch.tensor([0, 1, 0, 1])}
    return Batch(x, lengths=torch.tensor([9, 7, 5, 8]), groups=speakers)


@pytest.mark.parametrize("name", POLICIES)
def test_loss_accuracy_and_gradient_are_those_written_out(name):
    model, batch = a_model(POLICIES[name], temperature=0.7), a_batch()
    found = model.loss(batch)
    z = model.encode(batch.x)[:, :, None]
    context = model.context(model.encode(batch.x))[:, :, None]
    weight = model.predictor.weight_SHD
    losses, accuracies = reference.step_losses(z, context, weight, found.plan, temperature=0.7)
    # The plan's shares are float32: seven digits.
    assert torch.allclose(found.losses_S, losses, rtol=1e-6)
    assert torch.allclose(found.accuracy_S, accuracies.to(found.accuracy_S), rtol=1e-6)
    assert torch.allclose(found.loss, losses.mean(), rtol=1e-6)
    ours = torch.autograd.grad(found.loss, list(model.parameters()))
    theirs = torch.autograd.grad(losses.mean(), list(model.parameters()))
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a, b, rtol=1e-5, atol=1e-7)


def test_bound_is_log_of_the_candidates_minus_the_loss():
    found = a_model(negatives.Mixed(6)).loss(a_batch())
    assert torch.allclose(found.ceiling_S, torch.full((2,), 7.0).log())
    assert torch.equal(found.bound_S, found.ceiling_S - found.losses_S)
    assert found.guarantee == "none"
    assert found.metrics()["bound_3"] == found.bound_S[1]


def test_what_stands_behind_the_end_of_a_sequence_changes_nothing():
    model, batch = a_model(negatives.Mixed(6)), a_batch()
    model.eval()  # the same draws at each loss
    changed = batch.x.clone()
    for row, length in enumerate(batch.lengths.tolist()):
        changed[row, length:] = 1e6
    other = Batch(changed, lengths=batch.lengths, groups=batch.groups)
    assert torch.equal(model.loss(batch).losses_S, model.loss(other).losses_S)


@pytest.mark.parametrize(
    ("domain", "settings", "x"),
    [
        ("audio", {"sample_rate": 8_000, "features": 8, "context_features": 6}, (3, 1600)),
        ("images", {"features": 8, "width": 4, "context_features": 6}, (3, 32, 32, 3)),
        ("observations", {"shape": (5,), "features": 8, "context_features": 6}, (3, 9, 5)),
    ],
)
def test_presets_train_and_come_back_from_files(domain, settings, x, tmp_path):
    made = getattr(ContrastivePredictiveCoding, domain)(**settings, seed=3)
    generator = torch.Generator().manual_seed(0)
    batch = torch.rand(x, generator=generator)
    optimizer = torch.optim.Adam(made.parameters(), lr=1e-2)
    first = None
    for _ in range(30):
        loss = made.loss(batch).loss
        first = loss.item() if first is None else first
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < first  # three fixed sequences can be learned by heart
    made.save(tmp_path / "model.safetensors", note="kept")
    back = ContrastivePredictiveCoding.load(tmp_path / "model.safetensors")
    assert back.settings == made.settings
    for level in ("encoder", "context"):
        ours, theirs = made.represent(batch, level=level), back.represent(batch, level=level)
        assert torch.equal(ours, theirs)
        assert torch.isfinite(ours).all()
    # The next draws of negatives are those that would have come.
    assert torch.equal(made.loss(batch).loss, back.loss(batch).loss)
    fresh = getattr(ContrastivePredictiveCoding, domain)(**settings, seed=4)
    assert fresh.restore(tmp_path / "model.safetensors") == {"note": "kept"}


def test_one_training_continued_equals_one_that_was_not_interrupted(tmp_path):
    def trained(model, n):
        for _ in range(n):
            model.zero_grad()
            model.loss(x).loss.backward()
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter -= 0.05 * parameter.grad
        return model

    x = torch.rand(4, 9, 5, generator=torch.Generator().manual_seed(0))
    settings = {"shape": (5,), "features": 8, "context_features": 6}
    whole = trained(ContrastivePredictiveCoding.observations(**settings), 6)
    half = trained(ContrastivePredictiveCoding.observations(**settings), 3)
    half.save(tmp_path / "half.safetensors")
    rest = trained(ContrastivePredictiveCoding.load(tmp_path / "half.safetensors").train(), 3)
    for a, b in zip(whole.parameters(), rest.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("pool", [None, "mean", "max", "last", 3])
def test_features_of_padded_sequences_are_those_of_the_sequence_alone(pool):
    model = ContrastivePredictiveCoding.observations(shape=(5,), features=8, context_features=6)
    x = torch.rand(2, 9, 5, generator=torch.Generator().manual_seed(0))
    lengths = torch.tensor([9, 6])
    for level in ("encoder", "context"):
        padded = model.represent(x, level=level, pool=pool, lengths=lengths)
        alone = model.represent(x[1:, :6], level=level, pool=pool)
        if pool is None:
            assert torch.count_nonzero(padded[1, 6:]) == 0
            padded = padded[:, :6]
        # Matrix products of other shapes may round differently.
        assert torch.allclose(padded[1], alone[0], atol=1e-6)


def test_numpy_arrays_are_represented_as_tensors_are():
    model = ContrastivePredictiveCoding.observations(shape=(5,), features=8, context_features=6)
    x = np.random.default_rng(0).random((2, 9, 5), dtype=np.float32)
    assert torch.equal(model.represent(x), model.represent(torch.from_numpy(x)))


def test_wrong_input_is_named(tmp_path):
    model = a_model(negatives.Mixed(6))
    x = torch.zeros(2, 9, 5, dtype=torch.float64)
    with pytest.raises(ShapeError, match="no sequence is long enough"):
        model.loss(x[:, :1])
    with pytest.raises(ShapeError, match="lengths"):
        model.loss(Batch(x, lengths=torch.tensor([9])))
    with pytest.raises(ArgumentError, match="speaker"):
        a_model(negatives.SameGroup(key="speaker", n=2)).loss(x)
    with pytest.raises(ArgumentError, match="finds no negatives"):
        a_model(negatives.OtherSequences(2)).loss(x[:1])
    with pytest.raises(ArgumentError, match="temperature"):
        a_model(negatives.Mixed(6), temperature=0.0)
    with pytest.raises(ArgumentError, match="level"):
        model.represent(x, level="middle")
    with pytest.raises(ArgumentError, match="features"):
        ContrastivePredictiveCoding(torch.nn.Identity(), GRUContext(5, 4))
    network = torch.nn.Linear(5, 7)
    with pytest.raises(ShapeError, match="the network must return shape"):
        ObservationEncoder(network, 6)(torch.zeros(2, 3, 5))
    model.save(tmp_path / "parts.safetensors")
    with pytest.raises(CheckpointError, match="put together of parts"):
        ContrastivePredictiveCoding.load(tmp_path / "parts.safetensors")
