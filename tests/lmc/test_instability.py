"""Trainings whose outcome is known: instability, distances, pairs, seeds, run folders, refusals."""

import functools
import importlib
import itertools
import json
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from lmc.closed_forms import examples, grid, mlp, of_place
from programs.summed_training import COPIES, DATA, STEPS, STOP, deep, place, scatter, step_of, walk
from sidle import seeding, training
from sidle.errors import ArgumentError, NonFiniteError, ShapeError
from sidle.lmc import Mask, instability, noise

MASK = Mask({"weights": torch.tensor([True, False])})


class Noting:
    """The walk, which notes what it is asked for."""

    def __init__(self):
        self.calls = []
        self.states = []

    def __call__(self, state, start, stop, seed, mask=None):
        self.calls.append((start, stop, seed))
        self.states.append((state, mask))
        return walk(state, start, stop, seed, mask)


def analyse(train_fn=walk, **changed):
    """Analyse the walk, with arguments of `instability` in the place of the usual ones."""
    usual = {"steps": STEPS, "stop": STOP, "copies": COPIES, "evaluation": "sequential"}
    model_fn, data = changed.pop("model_fn", place), changed.pop("data", DATA)
    return instability(model_fn, train_fn, data, **usual | changed)


def bits(table):
    return json.dumps(table.as_dict())


def test_barrier_and_distances_are_those_of_the_sums_of_steps():
    # -|w|^2 is concave, so the line between two places rises above both by up to a quarter of
    # their squared distance; class 0 is right wherever the first weight is the larger.
    table = analyse(points=31, loss=of_place(lambda w: -w.square().sum(1)), schedule_reset=True)
    seeds = table.seeds
    trunk, copies = seeds["trunk"]["seed"], [one["seed"] for one in seeds["copies"]]
    with seeding.scope(seeds["initialisation"]):
        start = torch.tensor(place().weights.tolist()).double()

    def total(seed, begin, end):
        return sum((step_of(seed, i).double() for i in range(begin, end)), torch.zeros(2))

    for pair in table.pairs:
        first_step = 0 if pair.schedule_reset else pair.k
        a, b = (
            (start + total(trunk, 0, pair.k) + total(copies[i], first_step, STOP)).numpy()
            for i in (pair.first, pair.second)
        )
        line = a + np.linspace(0, 1, 31)[:, None] * (b - a)
        loss, error = -np.square(line).sum(1), (line[:, 0] < line[:, 1]).astype(float)
        found = pair.compared.main
        # Sums of some ten steps of size 1 in float32.
        close = functools.partial(pytest.approx, rel=1e-5, abs=1e-5)
        assert pair.compared.l2_distance == close(np.linalg.norm(a - b))
        assert found.barrier.loss_barrier == close(max(loss) - (loss[0] + loss[-1]) / 2)
        assert found.barrier.barrier == max(error) - (error[0] + error[-1]) / 2
        assert found.loss_distance == close(abs(loss[0] - loss[-1]))
        assert found.disagreement == (error[0] != error[-1])
        assert (found.error, found.loss) == close((error[[0, -1]].mean(), loss[[0, -1]].mean()))


@pytest.mark.parametrize("copies", [2, 3, 5])
def test_n_copies_make_every_pair_once(copies):
    table = analyse(copies=copies)
    expected = [(k, i, j) for k in STEPS for i in range(copies) for j in range(i + 1, copies)]
    assert [(pair.k, pair.first, pair.second) for pair in table.pairs] == expected
    assert {mean.n_pairs for mean in table.means()} == {copies * (copies - 1) // 2}


class Valleys(nn.Module):
    """Right where |valley| > 1/2, wrong everywhere else; ``place`` makes no difference."""

    def __init__(self):
        super().__init__()
        self.valley = nn.Parameter(torch.ones(1))
        self.place = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return torch.stack([torch.zeros(len(x)), (self.valley.abs() - 0.5) * x], 1)


FORK = 5


def valley_of(seed):
    return 1.0 if seeding.split(seed, "coin") % 2 else -1.0


def choose(state, start, stop, seed):
    """At step 5 the noise tosses a coin for one of two valleys; nothing else matters."""
    weights = dict(state["model"])
    for i in range(start, stop):
        weights["place"] = weights["place"] + step_of(seed, i)[:1]
        if i == FORK:
            weights["valley"] = torch.tensor([valley_of(seed)])
    return {"model": weights}


def test_instability_ends_where_the_noise_has_no_more_say():
    table = instability(
        Valleys, choose, grid(100), steps=[0, FORK, FORK + 1, 20], stop=30, copies=4,
        schedule_reset=True,
    )  # fmt: skip
    chosen = [valley_of(one["seed"]) for one in table.seeds["copies"]]
    parted = np.mean([a != b for a, b in itertools.combinations(chosen, 2)])
    assert 0 < parted < 1
    assert [(mean.k, mean.instability) for mean in table.means()] == [
        (0, parted), (FORK, parted), (FORK + 1, 0), (20, 0)
    ]  # fmt: skip
    assert table.stable_from() == FORK + 1
    assert table.stable_from(threshold=1.01) == 0
    assert table.stable_from(threshold=0) is None
    # With the schedule reset, later copies toss the coin again: what made them stable was that
    # they had passed that step, not where they were.
    again = table.means(schedule_reset=True)
    assert [(mean.k, mean.instability) for mean in again] == [
        (FORK, parted), (FORK + 1, parted), (20, parted)
    ]  # fmt: skip
    assert [mean.error for mean in table.means()] == [0, 0, 0, 0]
    assert [mean.disagreement for mean in table.means()] == [0, 0, 0, 0]


def test_one_trunk_serves_every_step():
    train_fn = Noting()
    table = analyse(train_fn, check=False, steps=[6, 0, 3])
    trunk, copies = table.seeds["trunk"]["seed"], [one["seed"] for one in table.seeds["copies"]]
    assert len({trunk, *copies}) == 1 + COPIES
    expected = [(0, 3, trunk), (3, 6, trunk)]
    expected += [(k, STOP, seed) for k in STEPS for seed in copies]
    assert sorted(train_fn.calls) == sorted(expected)
    # The copies of one step start from the same state, that of the trunk.
    starts = {call: state for call, (state, _) in zip(train_fn.calls, train_fn.states, strict=True)}
    with seeding.scope(table.seeds["initialisation"]):
        at_0 = {"model": place().state_dict()}
    at_6 = walk(walk(at_0, 0, 3, trunk), 3, 6, trunk)
    for seed in copies:
        assert torch.equal(starts[6, STOP, seed]["model"]["weights"], at_6["model"]["weights"])
        assert starts[6, STOP, seed]["done"] == 6


def test_schedule_reset_keeps_the_weights_alone_and_asks_for_all_steps():
    train_fn = Noting()
    table = analyse(train_fn, check=False, schedule_reset=True)
    asked = dict(zip(train_fn.calls, train_fn.states, strict=True))
    copies = [one["seed"] for one in table.seeds["copies"]]
    whole = [state for (call, (state, _)) in zip(train_fn.calls, train_fn.states, strict=True)
             if call[:2] == (0, STOP)]  # fmt: skip
    assert len(whole) == COPIES * len(STEPS)
    assert all("done" not in state for state in whole)
    assert asked[6, STOP, copies[0]][0]["done"] == 6
    resets = [pair for pair in table.pairs if pair.schedule_reset]
    assert sorted({pair.k for pair in resets}) == [3, 6]
    assert {mean.k for mean in table.means()} == set(STEPS)


def test_what_a_folder_holds_is_never_trained_again(tmp_path):
    first, wider, other = Noting(), Noting(), Noting()
    table = analyse(first, check=False, folder=tmp_path)
    assert len(first.calls) == 2 + 3 * COPIES
    assert bits(table) == bits(analyse(check=False))
    again = Noting()
    assert bits(analyse(again, check=False, folder=tmp_path)) == bits(table)
    assert again.calls == []
    # One more step and one more copy cost what is new: a stretch of the trunk, its copies, and
    # the new copy of the old steps.
    analyse(wider, check=False, folder=tmp_path, steps=[*STEPS, 7], copies=COPIES + 1)
    assert len(wider.calls) == 1 + (COPIES + 1) + len(STEPS)
    analyse(other, check=False, folder=tmp_path, settings={"learning rate": 0.2})
    assert len(other.calls) == len(first.calls)


def test_a_failure_in_the_middle_costs_one_stretch(tmp_path):
    calls = []

    def failing(state, start, stop, seed):
        calls.append((start, stop, seed))
        if len(calls) == 5:
            raise MemoryError
        return walk(state, start, stop, seed)

    with pytest.raises(MemoryError):
        analyse(failing, check=False, folder=tmp_path)
    table = analyse(failing, check=False, folder=tmp_path)
    assert len(calls) == 2 + 3 * COPIES + 1
    assert calls[5] == calls[4]
    assert len(set(calls)) == len(calls) - 1
    assert bits(table) == bits(analyse(check=False))


def begin(folder, log, *more):
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-m", "programs.summed_training", str(folder), str(log), *more]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_a_killed_process_is_taken_over_by_two_that_share_the_work(tmp_path):
    folder, log = tmp_path / "runs", tmp_path / "log"
    log.touch()
    killed = begin(folder, log, "4")
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    assert len(log.read_text().splitlines()) == 4
    for ready in tmp_path.glob("ready-*"):
        ready.unlink()
    both = [begin(folder, log, "--together", "2") for _ in range(2)]
    printed = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [0, 0], printed
    begun = log.read_text().splitlines()
    # Every stretch once, and again the one in which the first process died.
    assert len(begun) == 2 + 3 * COPIES + 1
    assert begun.count(begun[3]) == 2
    assert len(set(begun)) == 2 + 3 * COPIES
    expected = [pair.compared.l2_distance for pair in analyse(check=False).pairs]
    assert [json.loads(output) for output, _ in printed] == [expected, expected]


def test_more_workers_give_the_same_bits_and_few_open_files(tmp_path):
    # multiprocessing's way to send a tensor keeps a file open for each; some systems allow 256.
    resource = pytest.importorskip("resource", reason="limits of POSIX")
    mask = Mask({"3.weight": torch.tensor([[True, False], [False, True]])})
    data = torch.randn(8, 2, generator=seeding.torch_generator(0)), torch.arange(8) % 2
    analysed = functools.partial(
        instability, deep, scatter, data, steps=[0, 1], stop=2, copies=3, mask=mask,
        schedule_reset=True, points=3, evaluation="sequential",
    )  # fmt: skip
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    n_open = len(list(Path("/dev/fd").iterdir()))
    resource.setrlimit(resource.RLIMIT_NOFILE, (n_open + 100, limits[1]))
    try:
        shared = analysed(folder=tmp_path, workers=2)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert bits(shared) == bits(analysed())
    assert len(shared.pairs) == 3 * 3


def test_a_function_that_workers_cannot_import_is_named():
    module = importlib.import_module("sidle.lmc.instability")
    lost = pickle.dumps(walk).replace(b"summed_training", b"another_program")
    with pytest.raises(ArgumentError, match=r"worker process does not find .*another_program"):
        module._arrived(lost)


def test_masks_belong_to_steps_and_the_trunk_stays_dense():
    other = Mask({"weights": torch.tensor([False, True])})
    train_fn = Noting()
    table = analyse(train_fn, check=False, steps=[0, 3], mask={0: MASK, 3: other})
    for (start, stop, _), (state, mask) in zip(train_fn.calls, train_fn.states, strict=True):
        expected = None if stop < STOP else {0: MASK, 3: other}[start]
        assert mask is expected
        kept = state["model"]["weights"] != 0
        assert torch.equal(kept, torch.tensor([True, True]) if mask is None else mask["weights"])
    assert {pair.density for pair in table.pairs} == {0.5}
    # One weight is left, so the distance is along one axis.
    assert all(pair.compared.l2_distance > 0 for pair in table.pairs)
    one = analyse(steps=[0, 3], mask=MASK)
    assert [pair.density for pair in one.pairs] == [0.5] * 6
    assert [pair.density for pair in analyse(steps=[0]).pairs] == [1.0] * 3


def test_sources_of_noise_are_seeded_apart_and_recorded(tmp_path):
    train_fn = Noting()
    table = analyse(train_fn, check=False, folder=tmp_path, seed=7)
    recorded = json.loads((tmp_path / "seeds-7.json").read_text())
    assert recorded == json.loads(json.dumps(table.seeds))
    streams = [recorded["trunk"], *recorded["copies"]]
    for stream in streams:
        assert {name: stream[name] for name in noise(0)} == noise(stream["seed"])
    assert set(noise(0)) == {"data_order", "augmentation", "dropout"}
    drawn = [recorded["initialisation"], *(seed for stream in streams for seed in stream.values())]
    assert len(set(drawn)) == 1 + 4 * (1 + COPIES)
    assert {seed for _, _, seed in train_fn.calls} == {stream["seed"] for stream in streams}
    assert bits(analyse(seed=7)) == bits(table)
    assert bits(analyse(seed=8)) != bits(table)


def test_another_dropout_leaves_the_order_of_the_data_as_it_was():
    x, y = examples(48)
    seen = {}

    def train(state, start, stop, seed, *, dropout):
        seeds = noise(seed)
        model = mlp(0, dropout=dropout)
        model.load_state_dict(state["model"])
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        batches = training.minibatches((torch.arange(48), x, y), 8, seed=seeds["data_order"])
        for i in range(start, stop):
            rows, inputs, labels = batches(i)
            seen.setdefault((dropout, start, seed), []).append(rows.tolist())
            optimizer.zero_grad()
            with seeding.scope(seeding.split(seeds["dropout"], "step", i)):
                outputs = model(inputs)
            functional.cross_entropy(outputs, labels).backward()
            optimizer.step()
        return {"model": model.state_dict()}

    tables = []
    for dropout in (0.1, 0.5):
        train_fn = functools.partial(train, dropout=dropout)
        tables.append(instability(
            lambda: mlp(0), train_fn, (x, y), steps=[0, 4], stop=8, points=3,
            evaluation="sequential",
        ))  # fmt: skip
    orders = [{key[1:]: rows for key, rows in seen.items() if key[0] == p} for p in (0.1, 0.5)]
    assert orders[0] == orders[1]
    assert tables[0].notes == tables[1].notes == ()
    assert tables[0].pairs[0].compared.l2_distance != tables[1].pairs[0].compared.l2_distance


def test_the_callers_generators_and_model_are_left_alone():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    analyse()
    assert torch.equal(torch.rand(1), expected)


def test_data_by_name_stand_side_by_side():
    data = {"test": DATA, "train": (torch.zeros(6), torch.ones(6, dtype=torch.long))}
    table = analyse(data=data)
    test, train = table.means(), table.means("train")
    assert [mean.data for mean in (test[0], train[0])] == ["test", "train"]
    # Where one set holds only class 0 and the other only class 1, errors add up to 1.
    assert [a.error + b.error for a, b in zip(test, train, strict=True)] == [1.0, 1.0, 1.0]
    with pytest.raises(ArgumentError, match="data must be one of test, train, got 'validation'"):
        table.means("validation")
    assert {mean["data"] for mean in json.loads(bits(table))["means"]} == {"test", "train"}


def test_steps_may_be_numpys():
    assert bits(analyse(steps=np.array([0, 3, 6]))) == bits(analyse(steps=[0, 3, 6]))


def test_notes_of_the_duties_are_passed_on():
    def forgets(state, start, stop, seed):
        return walk({"model": state["model"]}, start, stop, seed * 31 + start)

    (note,) = analyse(forgets).notes
    assert "is not the same as training" in note
    assert analyse().notes == ()


def never(state, start, stop, seed):
    raise AssertionError("trained before the arguments were checked")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"steps": []}, "steps must be different whole numbers in"),
        ({"steps": [0, 0]}, "steps must be different"),
        ({"steps": [-1]}, "steps must be"),
        ({"steps": [STOP]}, r"in \[0, stop\), at least one, got \[8\] with stop 8"),
        ({"steps": [0.5]}, "whole numbers"),
        ({"stop": 8.0}, "whole numbers"),
        ({"copies": 1}, "copies >= 2 and workers >= 1, got 1 and 1"),
        ({"workers": 0}, "got 3 and 0"),
        ({"workers": 2}, "workers > 1 need a folder"),
        ({"points": 1}, "points must be at least 2"),
        ({"batch_norm": "none"}, "batch_norm must be"),
        ({"batch_norm": "both"}, "needs inputs"),
        ({"mask": MASK}, "is to train a pruned network, but takes no `mask`"),
        ({"mask": {0: MASK}}, r"no mask for the steps \[3, 6\]"),
        ({"mask": Mask({"w": torch.tensor([True])})}, "'w'"),
        ({"data": {}}, "empty mapping"),
        ({"data": (torch.zeros(4), torch.zeros(3, dtype=torch.long))}, "4 .*3"),
        ({"model_fn": nn.Identity}, "holds no weights"),
        ({"model_fn": dict}, "must return a torch module, got dict"),
        ({"device": "abacus"}, "cannot compute on 'abacus'"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_bad_arguments_are_refused_before_any_training(changed, said):
    with pytest.raises((ArgumentError, ShapeError), match=said):
        analyse(never, **changed)


def test_workers_take_a_function_that_can_be_sent_to_them(tmp_path):
    with pytest.raises(ArgumentError, match="cannot be sent to worker processes"):
        analyse(lambda *arguments: walk(*arguments), workers=2, folder=tmp_path)


def test_copies_with_the_same_weights_are_refused_even_unchecked():
    def ignores_seed(state, start, stop, seed):
        return walk(state, start, stop, 0)

    with pytest.raises(ArgumentError, match="ignores_seed' ignores its seed: two copies trained"):
        analyse(ignores_seed, check=False)
    with pytest.raises(ArgumentError, match=r"ignores_seed' ignores its seed: two seeds gave"):
        analyse(ignores_seed)


def returns(change):
    def train_fn(state, start, stop, seed, mask=None):
        return {"model": change(walk(state, start, stop, seed)["model"])}

    return train_fn


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        (lambda found: {"weights": found["weights"] / 0}, NonFiniteError, "NaN or infinite"),
        (lambda found: {"weights": found["weights"][:1]}, ArgumentError, r"shape \(1,\)"),
        (lambda found: {"other": found["weights"]}, ArgumentError, "'other', 'weights' are in one"),
    ],
)
@pytest.mark.parametrize("check", [True, False])
def test_what_is_no_trained_network_is_refused_by_name(change, error, said, check):
    with pytest.raises(error, match=said):
        analyse(returns(change), check=check)


def test_revived_weights_are_refused_by_name():
    with pytest.raises(ArgumentError, match=r"revived pruned weights in 'weights' \(1\)"):
        analyse(returns(dict), mask=MASK)


def test_the_policy_of_batch_norm_reaches_the_barrier():
    x, y = examples(48)

    def train(state, start, stop, seed):
        model = mlp(0, batch_norm=True)
        model.load_state_dict(state["model"])
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        batches = training.minibatches((x, y), 8, seed=seed)
        for i in range(start, stop):
            training.supervised(
                model, optimizer, lambda m, batch: functional.cross_entropy(m(batch[0]), batch[1])
            )(batches(i))
        return {"model": model.state_dict()}

    table = instability(
        lambda: mlp(0, batch_norm=True), train, (x, y), steps=[0], stop=12, batch_norm="both",
        calibration=x, points=5,
    )  # fmt: skip
    found = table.pairs[0].compared.main.barrier
    assert found.batch_norm == "interpolated"
    assert found.by_policy["re-estimated"].loss != found.loss
