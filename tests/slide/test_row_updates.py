"""Updates of single rows: moments over gaps, and rows gathered in bfloat16."""

import numpy as np
import pytest
import torch

from sidle.slide.kernels import rows as kernels
from sidle.slide.row_updates import RowOptimizer, RowUpdates


@pytest.mark.parametrize("betas", [(0.8, 0.9), (0.0, 0.9)])
def test_adam_decays_moments_exactly_over_gaps(betas):
    first, second = betas
    weight = torch.zeros(2, 3)
    updates = RowUpdates(weight, RowOptimizer("adam", betas))
    mean = square = expected = 0.0
    for step, row in enumerate([0, 1, 1, 0, 1, 0], start=1):
        gradient = np.full((1, 3), float(step), np.float32)
        updates.update(weight, np.array([row]), gradient, scale=0.5, step=step, lr=0.1)
        seen = 0.5 * step * (row == 0)
        mean, square = first * mean + (1 - first) * seen, second * square + (1 - second) * seen**2
        if row == 0:  # what dense Adam moves the row in the steps between is dropped
            root = (square / (1 - second**step)) ** 0.5
            expected -= 0.1 * mean / (1 - first**step) / (root + 1e-8)
    assert weight[0].tolist() == pytest.approx([expected] * 3, abs=1e-6)
    state = updates.state("w")
    assert float(state["w.square"][0, 0]) == pytest.approx(square, rel=1e-6)
    assert ("w.mean" in state) == (first > 0)
    if first:
        assert float(state["w.mean"][0, 0]) == pytest.approx(mean, rel=1e-6)
    assert state["w.last"].tolist() == [6, 5]


def test_rows_are_rounded_to_bfloat16_as_torch_does():
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(50, 64, generator=generator) * 10.0 ** torch.arange(-25, 25)[:, None]
    weight[0, :4] = torch.tensor([1 + 2**-8, 1 + 3 * 2**-8, 0.0, -0.0])  # ties go to even
    rows = torch.arange(50).flip(0)
    found = np.empty((50, 64), np.uint16)
    kernels.gather(weight.numpy(), rows.numpy(), found, 0, 50)
    assert np.array_equal(found, weight[rows].bfloat16().view(torch.uint16).numpy())


@pytest.mark.parametrize(("first", "share"), [(0.0, 1.0), (0.5, 0.5), (0.9, 0.1)])
def test_a_row_touched_once_moves_by_one_minus_beta_of_what_dense_adam_moves_it(first, share):
    # Dense Adam goes on moving the row by what is left of its first moment: after a gradient g it
    # moves by beta^n of the first move in the n-th step thereafter, 1 / (1 - beta) of it in all.
    # Lazy updates drop all but the first. Late steps, where bias corrections are 1; the second
    # moment decays by 0.999 meanwhile, which makes the later moves larger, by 0.5 % at beta 0.9.
    n_rows, late = 3, 20_000
    lazy, dense = torch.zeros(n_rows, 4), torch.nn.Parameter(torch.zeros(n_rows, 4))
    updates = RowUpdates(lazy, RowOptimizer("adam", (first, 0.999)))
    optimizer = torch.optim.Adam([dense], lr=0.01, betas=(first, 0.999))
    gradient = np.random.default_rng(0).normal(size=(1, 4)).astype(np.float32)
    updates.update(lazy, np.array([1]), gradient, scale=1.0, step=late, lr=0.01)
    dense.grad = torch.zeros(n_rows, 4)
    optimizer.step()  # makes its state, whose clock is then set
    optimizer.state[dense]["step"].fill_(late - 1)
    dense.grad[1] = torch.from_numpy(gradient[0])
    for _ in range(200):
        optimizer.step()
        dense.grad.zero_()
    moved = lazy[1].numpy() / dense.detach()[1].numpy()
    assert moved == pytest.approx(share, rel=6e-3)


def test_rowwise_adagrad_keeps_one_second_moment_a_row():
    generator = np.random.default_rng(0)
    weight = torch.zeros(4, 5)
    expected, square = np.zeros((4, 5)), np.zeros(4)
    updates = RowUpdates(weight, RowOptimizer("rowwise_adagrad", eps=1e-3))
    for step in range(1, 6):
        rows = generator.choice(4, 2, replace=False)
        gradient = generator.normal(size=(2, 5)).astype(np.float32)
        if step % 2:
            updates.update(weight, rows, gradient, scale=0.5, step=step, lr=0.1)
            used = 0.5 * gradient.astype(np.float64)
        else:  # each row the sum of two entries: 1 and 3 times its gradient
            starts, samples = np.array([0, 2, 4]), np.array([0, 0, 1, 1])
            values = np.array([1, 3, 1, 3], np.float32)
            updates.update_grouped(
                weight, starts, samples, values, gradient, rows, step=step, lr=0.1
            )
            used = 4.0 * gradient.astype(np.float64)
        square[rows] += (used**2).mean(axis=1)
        expected[rows] -= 0.1 * used / (np.sqrt(square[rows]) + 1e-3)[:, None]
    assert weight.numpy() == pytest.approx(expected, rel=1e-5, abs=1e-7)  # float32
    assert updates.state("weight")["weight.square"].shape == (4, 1)


@pytest.mark.parametrize(
    ("name", "first", "of_row"),
    [("adam", 0.9, 1028), ("adam", 0.0, 516), ("adagrad", 0.0, 512), ("rowwise_adagrad", 0.0, 4),
     ("sgd", 0.0, 0)],
)  # fmt: skip
def test_says_how_much_it_remembers(name, first, of_row):
    rule = RowOptimizer(name, (first, 0.999))
    updates = RowUpdates(torch.zeros(3, 128), rule)
    assert rule.row_bytes(128) == of_row
    assert sum(t.numpy().nbytes for t in updates.state("weight").values()) == 3 * of_row
