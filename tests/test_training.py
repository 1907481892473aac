"""One loop: its order, guards, stopping, and resuming after any kind of death."""

import math
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from sidle import checkpoint, runs, seeding, training
from sidle.errors import ArgumentError, NonFiniteError, RunError, ShapeError

PROGRAM = Path(__file__).parent / "programs" / "train_to_the_end.py"
N_STEPS = 150


def regression(seed=0):
    with seeding.scope(seed):
        model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x = torch.randn(64, 3, generator=seeding.torch_generator(seed))
    y = x @ torch.tensor([[1.0], [-2.0], [0.5]])

    def loss(module, batch):
        inputs, targets = batch
        return (module(inputs) - targets).square().mean()

    step = training.supervised(model, optimizer, loss)
    return model, optimizer, step, training.minibatches((x, y), 16, seed=seed)


def test_learns_and_returns_every_record():
    model, optimizer, step, batches = regression()
    records = training.fit(
        step, batches, 200, state={"model": model, "optimizer": optimizer}, log_every=50
    )
    assert [record["step"] for record in records] == [50, 100, 150, 200]
    # Noise-free least squares: SGD goes to the exact solution.
    torch.testing.assert_close(
        model.weight.detach(), torch.tensor([[1.0, -2.0, 0.5]]), atol=1e-4, rtol=0
    )


def test_minibatches_visit_every_row_once_an_epoch_in_new_orders():
    rows = torch.arange(12)
    batches = training.minibatches((rows,), 4, seed=5)
    epochs = [torch.cat([batches(3 * epoch + i)[0] for i in range(3)]) for epoch in range(2)]
    assert all(sorted(epoch.tolist()) == list(range(12)) for epoch in epochs)
    assert epochs[0].tolist() != epochs[1].tolist()
    # Stateless: asking out of order changes nothing.
    assert torch.equal(batches(1)[0], epochs[0][4:8])


def test_minibatches_refuse_unequal_lengths_and_bad_sizes():
    with pytest.raises(ShapeError, match=r"\[3, 4\]"):
        training.minibatches((torch.zeros(3), torch.zeros(4)), 2, seed=0)
    for size in (0, 4):
        with pytest.raises(ArgumentError, match=r"\[1, 3\]"):
            training.minibatches((torch.zeros(3),), size, seed=0)


def test_nan_loss_stops_before_any_update_and_names_the_step():
    model, optimizer, _, batches = regression()
    calls = []

    def loss(module, batch):
        calls.append(1)
        value = module(batch[0]).square().mean()
        return value * math.nan if len(calls) == 3 else value

    step = training.supervised(model, optimizer, loss)
    seen = []

    def recording(batch):
        seen.append(model.weight.detach().clone())
        return step(batch)

    with pytest.raises(NonFiniteError, match=r"step 3: the loss is nan"):
        training.fit(recording, batches, 9, state={"model": model, "optimizer": optimizer})
    assert len(calls) == 3
    assert torch.equal(model.weight, seen[2])


def test_infinite_gradient_of_a_finite_loss_is_never_applied():
    model, optimizer, _, batches = regression()
    before = model.weight.detach().clone()

    def step(batch):
        optimizer.zero_grad()
        loss = (model(batch[0]) * 0).abs().sqrt().sum()  # 0, with gradient 0 * inf
        loss.backward()
        optimizer.step()
        return {"loss": loss}

    with pytest.raises(NonFiniteError, match=r"step 1: the gradient of model\.weight"):
        training.fit(step, batches, 2, state={"model": model, "optimizer": optimizer})
    assert torch.equal(model.weight, before)
    optimizer.zero_grad()
    model.weight.grad = torch.full_like(model.weight, math.inf)
    optimizer.step()  # the guard left with the loop
    assert not torch.isfinite(model.weight).any()


def test_sparse_gradients_are_guarded_too():
    table = nn.Embedding(5, 2, sparse=True)
    optimizer = torch.optim.SparseAdam(table.parameters())
    values = iter([1.0, math.inf])

    def step(_):
        optimizer.zero_grad()
        (table(torch.tensor([1, 1])) * next(values)).sum().backward()
        optimizer.step()
        return {}

    state = {"table": table, "optimizer": optimizer}
    training.fit(step, lambda i: i, 1, state=state)
    with pytest.raises(NonFiniteError, match=r"table\.weight"):
        training.fit(step, lambda i: i, 1, state=state)


def test_huge_but_finite_gradient_passes_the_guard():
    weight = nn.Parameter(torch.zeros(4))
    optimizer = torch.optim.SGD([weight], lr=1e-30)

    def step(batch):
        weight.grad = torch.full_like(weight, 1e30)  # its norm overflows float32
        optimizer.step()
        return {}

    training.fit(step, lambda i: None, 1, state={"optimizer": optimizer})
    assert torch.allclose(weight, torch.full((4,), -1.0))


def test_non_finite_metric_of_a_step_or_evaluation_stops():
    with pytest.raises(NonFiniteError, match=r"step 1: the metric 'accuracy' is inf"):
        training.fit(lambda _: {"accuracy": math.inf}, lambda i: i, 3, state={})
    with pytest.raises(NonFiniteError, match=r"step 2: the metric 'recall' is nan"):
        training.fit(
            lambda _: {},
            lambda i: i,
            3,
            state={},
            evaluate=lambda i: {"recall": math.nan},
            evaluate_every=2,
        )


def test_metrics_may_be_tensors_that_still_hold_their_graph():
    weight = nn.Parameter(torch.ones(()))
    records = training.fit(lambda _: {"loss": weight * 2}, lambda i: i, 1, state={})
    assert records == [{"step": 1, "loss": 2.0}]
    assert type(records[0]["loss"]) is float


def test_evaluation_joins_the_record_and_patience_stops():
    values = iter([5.0, 4.0, 4.0, 4.5, 1.0])
    records = training.fit(
        lambda i: {"loss": float(i)},
        lambda i: i,
        100,
        state={},
        evaluate=lambda number: {"error": next(values)},
        evaluate_every=10,
        stop=training.Patience("error", patience=2),
        log_every=25,
    )
    assert [record["step"] for record in records] == [10, 20, 25, 30, 40]
    assert [record.get("error") for record in records] == [5.0, 4.0, None, 4.0, 4.5]


def test_patience_can_wait_for_a_maximum():
    patience = training.Patience("accuracy", patience=1, lower_is_better=False)
    assert [patience({"accuracy": a}) for a in (0.1, 0.3, 0.2)] == [False, False, True]
    with pytest.raises(ArgumentError):
        training.Patience("accuracy", patience=0)


def test_an_early_stop_is_remembered_by_the_run(tmp_path):
    def go(run):
        return training.fit(
            lambda i: {"loss": 1.0},
            lambda i: i,
            50,
            state={},
            run=run,
            stop=training.Patience("loss", patience=3),
        )

    for _ in range(2):
        with runs.open_run(tmp_path / "run", runs.Identity({})) as run:
            assert len(go(run)) == 4


def test_arguments_are_checked():
    with pytest.raises(ArgumentError, match="n_steps"):
        training.fit(lambda _: {}, lambda i: i, 0, state={})
    with pytest.raises(ArgumentError, match="evaluate"):
        training.fit(lambda _: {}, lambda i: i, 1, state={}, evaluate_every=5)
    with pytest.raises(ShapeError, match=r"\(2,\)"):
        training.supervised(
            *regression()[:2], lambda module, _: module.weight.sum() * torch.ones(2)
        )(None)


def test_a_second_training_in_one_run_is_refused(tmp_path):
    with runs.open_run(tmp_path / "run", runs.Identity({})) as run:
        training.fit(lambda _: {}, lambda i: i, 1, state={}, run=run)
        with pytest.raises(RunError, match="second training"):
            training.fit(lambda _: {}, lambda i: i, 1, state={}, run=run)


def test_ctrl_c_finishes_the_step_and_saves(tmp_path):
    steps = []

    def step(batch):
        steps.append(batch)
        if batch == 6:
            signal.raise_signal(signal.SIGINT)
        return {"loss": 1.0}

    before = signal.getsignal(signal.SIGINT)
    with (
        pytest.raises(KeyboardInterrupt),
        runs.open_run(tmp_path / "run", runs.Identity({})) as run,
    ):
        training.fit(step, lambda i: i, 20, state={}, run=run)
    assert signal.getsignal(signal.SIGINT) is before
    assert runs.status(tmp_path / "run") == "interrupted"
    assert checkpoint.load(tmp_path / "run" / runs.CHECKPOINT)["step"] == 7
    with runs.open_run(tmp_path / "run", runs.Identity({})) as run:
        training.fit(step, lambda i: i, 20, state={}, run=run)
    assert steps == list(range(20))


def start(folder):
    return subprocess.Popen(
        [sys.executable, str(PROGRAM), str(folder), str(N_STEPS)], stdout=subprocess.PIPE
    )


def kill_at_random_moments(tmp_path, n_kills, moments):
    whole = start(tmp_path / "whole")
    assert whole.wait() == 0
    whole.stdout.close()
    folder = tmp_path / "killed"
    for kill in range(n_kills):
        child = start(folder)
        # Somewhere in this kill's share of the steps, then anywhere in the step and its writes.
        share = N_STEPS / n_kills
        step = int(moments.uniform(kill * share, (kill + 0.5) * share))
        while len(runs.read_metrics(folder)) < step:
            assert child.poll() is None
        time.sleep(moments.uniform(0, 0.01))
        child.kill()
        child.wait()
        child.stdout.close()
    # The test means something only if the kills came in the middle.
    assert len(runs.read_metrics(folder)) < N_STEPS
    assert runs.status(folder) == "interrupted"
    last = start(folder)
    assert last.wait() == 0
    last.stdout.close()
    assert runs.read_metrics(folder) == runs.read_metrics(tmp_path / "whole")
    assert runs.read_record(folder)["result"] == runs.read_record(tmp_path / "whole")["result"]
    assert len(runs.read_metrics(folder)) == N_STEPS


def test_three_kills_leave_no_trace_in_the_result(tmp_path):
    kill_at_random_moments(tmp_path, 3, random.Random(time.time_ns()))


@pytest.mark.long
def test_twenty_kills_leave_no_trace_in_the_result(tmp_path):
    kill_at_random_moments(tmp_path, 20, random.Random(time.time_ns()))
