"""A stretch is trained once, whoever asks for it, and never mixed up with another."""

import json

import pytest
import torch
from torch import nn
from torch.nn import functional

from sidle import seeding, training
from sidle.errors import ArgumentError, CheckpointError
from sidle.lmc import stretches
from sidle.lmc.masks import Mask

STATE = {"model": {"w": torch.tensor([1.0, -2.0, 3.0])}, "step": 0}
MASK = Mask({"w": torch.tensor([True, False, True])})


class Counting:
    """Counts how often it trains."""

    def __init__(self):
        self.calls = 0

    def __call__(self, state, start, stop, seed, mask=None):
        self.calls += 1
        w = state["model"]["w"] * 0.9 ** (stop - start) + torch.randn(3)
        return {"model": mask.apply({"w": w}) if mask else {"w": w}, "step": stop}


def test_a_finished_stretch_is_read_and_not_trained(tmp_path):
    train_fn = Counting()
    first = stretches.trained(train_fn, STATE, 0, 5, 3, folder=tmp_path)
    again = stretches.trained(train_fn, STATE, 0, 5, 3, folder=tmp_path)
    free = stretches.trained(train_fn, STATE, 0, 5, 3)
    assert train_fn.calls == 2
    assert torch.equal(first["model"]["w"], again["model"]["w"])
    assert torch.equal(first["model"]["w"], free["model"]["w"])
    assert again["step"] == 5
    (folder,) = tmp_path.iterdir()
    record = json.loads((folder / "run.json").read_text())
    assert (record["status"], record["seed"]) == ("finished", 3)


@pytest.mark.parametrize(
    "change",
    [
        {"state": {"model": {"w": torch.tensor([1.0, -2.0, 4.0])}, "step": 0}},
        {"state": STATE | {"step": 1}},
        {"start": 1},
        {"stop": 6},
        {"seed": 4},
        {"mask": MASK},
        {"settings": {"learning rate": 0.2}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_whatever_differs_is_another_stretch(change, tmp_path):
    train_fn = Counting()
    asked = {"state": STATE, "start": 0, "stop": 5, "seed": 3}
    for settings in (asked, asked | change):
        stretches.trained(train_fn, **settings, folder=tmp_path)
    assert train_fn.calls == 2
    assert len(list(tmp_path.iterdir())) == 2


def test_another_mask_is_another_stretch_though_it_begins_alike(tmp_path):
    train_fn = Counting()
    masked = {"model": MASK.apply(STATE["model"]), "step": 0}
    for mask in (MASK, None):
        stretches.trained(train_fn, masked, 0, 5, 3, mask=mask, folder=tmp_path)
    assert train_fn.calls == 2


def test_what_the_mask_takes_away_makes_no_difference(tmp_path):
    train_fn = Counting()
    other = {"model": {"w": torch.tensor([1.0, 77.0, 3.0])}, "step": 0}
    for state in (STATE, other):
        stretches.trained(train_fn, state, 0, 5, 3, mask=MASK, folder=tmp_path)
    assert train_fn.calls == 1


def test_a_failed_stretch_is_trained_again(tmp_path):
    broken = [True]

    def train_fn(state, start, stop, seed):
        if broken.pop():
            return None
        broken.append(False)
        return state

    with pytest.raises(ArgumentError, match="must return the state"):
        stretches.trained(train_fn, STATE, 0, 5, 3, folder=tmp_path)
    broken.append(False)
    stretches.trained(train_fn, STATE, 0, 5, 3, folder=tmp_path)


def test_a_damaged_result_is_noticed(tmp_path):
    train_fn = Counting()
    stretches.trained(train_fn, STATE, 0, 5, 3, folder=tmp_path)
    other = stretches.trained(train_fn, STATE, 0, 5, 4, folder=tmp_path / "other")
    (folder,) = (path for path in tmp_path.iterdir() if path.name != "other")
    (swapped,) = (tmp_path / "other").iterdir()
    assert other["step"] == 5
    (swapped / stretches.TRAINED).replace(folder / stretches.TRAINED)
    with pytest.raises(CheckpointError, match=r"not the state that its run.json recorded"):
        stretches.trained(train_fn, STATE, 0, 5, 3, folder=tmp_path)


def fit_it(state, start, stop, seed, mask=None, run=None, die_at=None, seen=None):
    """Train a perceptron with `training.fit`, which resumes from the run it is given."""
    with seeding.scope(0):
        model = nn.Linear(4, 2)
    model.load_state_dict(state["model"])
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    generator = seeding.torch_generator(0)
    x = torch.randn(64, 4, generator=generator)
    batches = training.minibatches((x, x[:, :2].argmax(1)), 8, seed=seed)

    def loss(module, batch):
        return functional.cross_entropy(module(batch[0]), batch[1])

    def step(batch):
        if seen is not None:
            seen.append(1)
            if die_at is not None and len(seen) == die_at:
                raise MemoryError  # what kills a training in the middle
        return training.supervised(model, optimizer, loss)(batch)

    training.fit(
        step,
        lambda i: batches(start + i),
        stop - start,
        state={"model": model, "optimizer": optimizer},
        run=run,
        checkpoint_every=0.0,
    )
    return {"model": model.state_dict()}


def test_a_killed_stretch_goes_on_from_its_own_checkpoint(tmp_path):
    with seeding.scope(1):
        state = {"model": nn.Linear(4, 2).state_dict()}
    seen, die_at = [], [30]

    def train_fn(state, start, stop, seed, run=None):
        return fit_it(state, start, stop, seed, run=run, die_at=die_at[0], seen=seen)

    with pytest.raises(MemoryError):
        stretches.trained(train_fn, state, 0, 50, 3, folder=tmp_path)
    assert len(seen) == 30
    die_at[0] = None
    resumed = stretches.trained(train_fn, state, 0, 50, 3, folder=tmp_path)
    assert len(seen) == 30 + 21  # 29 steps were done, the 30th is done again
    straight = stretches.trained(train_fn, state, 0, 50, 3, folder=tmp_path / "straight")
    for name, tensor in straight["model"].items():
        assert torch.equal(tensor, resumed["model"][name])
    (folder,) = (path for path in tmp_path.iterdir() if path.name != "straight")
    assert {path.name for path in folder.iterdir()} >= {stretches.TRAINED, "run.json"}
    assert not (folder / "checkpoint.safetensors").exists()
