"""The network of the extreme classifier: how it starts, batches, schedules, keeps its best."""

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array, random_array

from sidle.slide import weighting
from sidle.slide.network import BagNetwork, BestWeights, minibatches, warm_up_then_fall
from sidle.slide.weighting import WeightedRows, weigh

N, D, L = 70, 50, 9


@pytest.fixture(scope="module")
def data():
    generator = np.random.default_rng(0)
    rows = csr_array(random_array((N, D), density=0.2, rng=generator, dtype=np.float32))
    labels = generator.integers(0, L, N)
    return rows, csr_array((np.ones(N, np.float32), (np.arange(N), labels)), shape=(N, L))


def network(**changes):
    settings = {"hidden": 8, "residual": False, "dropout": 0.2, "learning_rate": 0.01,
                "candidates": 100, "seed": 0, "threads": 1}  # fmt: skip
    return BagNetwork(D, L, **(settings | changes))


def test_starts_in_the_space_of_the_largest_singular_vectors(data):
    # Rows of exact rank 8: the randomised decomposition must then find their space exactly.
    generator = np.random.default_rng(1)
    low = generator.normal(size=(N, 8)) @ generator.normal(size=(8, D))
    made = network()
    low /= np.linalg.norm(low, axis=1, keepdims=True)
    rows = WeightedRows(csr_array(low.astype(np.float32)), None)
    made.start(rows, data[1], np.arange(N))
    basis = np.linalg.svd(low, full_matrices=False)[2][:8]
    embedding = made.embedding.weight.numpy().astype(np.float64)  # (D, 8)
    outside = embedding - basis.T @ (basis @ embedding)
    # float32 products over 70 terms
    assert np.abs(outside).max() < 1e-4 * np.abs(embedding).max()


def test_scores_start_as_cosines_to_the_mean_of_a_label(data):
    rows, labels = data
    made = network(dropout=0.0)
    made.start(WeightedRows(rows, None), labels, np.arange(N))
    with torch.no_grad():
        hidden = made.encode(weigh(rows, None))
    means = labels.toarray().T @ torch.nn.functional.normalize(hidden, dim=1).numpy()
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    assert made.output.weight.numpy() == pytest.approx(8 * means, abs=1e-4)  # float32


def test_the_start_does_not_depend_on_how_many_rows_are_held_at_once(data, monkeypatch):
    rows = WeightedRows(data[0], None)
    numbers = np.flatnonzero(np.arange(N) % 7)  # not all rows
    starts = []
    for at_once in (1000, 7):
        monkeypatch.setattr(weighting, "_ROWS_AT_ONCE", at_once)
        made = network()
        made.start(rows, data[1], numbers)
        starts.append(made)
    apart = [(one - other).abs().max() for one, other in zip(
        starts[0].state_dict().values(), starts[1].state_dict().values(), strict=True)]  # fmt: skip
    assert max(apart) < 1e-5  # float32 sums in another order


def test_of_many_rows_some_are_decomposed(data, monkeypatch):
    monkeypatch.setattr("sidle.slide.network._MOST_DECOMPOSED", 40)
    taken = []

    class Counting(WeightedRows):
        def take(self, numbers):
            taken.append(len(numbers))
            return super().take(numbers)

    network().start(Counting(data[0], None), data[1], np.arange(N))
    assert taken == [40, N]


def test_few_rows_leave_the_random_start(data):
    made = network()
    before = made.embedding.weight.clone()
    made.start(
        WeightedRows(data[0], None), data[1], np.arange(17)
    )  # 18 columns are drawn for the decomposition
    assert torch.equal(made.embedding.weight, before)


def test_the_residual_block_starts_as_the_identity(data):
    plain, residual = network(), network(residual=True)
    with torch.no_grad():
        assert torch.equal(plain.encode(data[0]), residual.encode(data[0]))


def test_best_is_an_exact_search(data):
    made = network()
    with torch.no_grad():
        hidden = made.encode(data[0])
        scores = hidden @ made.output.weight.T + made.output.bias
    assert np.array_equal(made.best(hidden, 3), scores.topk(3, dim=1)[1].numpy())


def test_an_epoch_has_each_row_once_and_batches_depend_on_their_number_alone(data):
    rows, labels = WeightedRows(data[0], None), data[1]
    batches = minibatches(rows, labels, np.arange(N), 16, seed=3)  # 5 an epoch, the last of 6 rows
    for epoch in range(2):
        parts = [batches(5 * epoch + i) for i in range(5)]
        assert [part[1].shape[0] for part in parts] == [16, 16, 16, 16, 6]
        seen = np.concatenate([part[1].toarray() for part in parts])
        order = np.lexsort(seen.T)
        expected = rows.take(np.arange(N)).toarray()
        assert np.array_equal(seen[order], expected[np.lexsort(expected.T)])
    again = minibatches(rows, labels, np.arange(N), 16, seed=3)
    for i in (7, 2, 9, 0):
        assert np.array_equal(again(i)[1].toarray(), batches(i)[1].toarray())
        assert np.array_equal(again(i)[2].toarray(), batches(i)[2].toarray())
    assert not np.array_equal(batches(0)[1].toarray(), batches(5)[1].toarray())


def test_the_rate_rises_then_falls_to_almost_nothing():
    factor = warm_up_then_fall(100, 10)
    assert factor(0) == pytest.approx(0.1)
    assert factor(9) == pytest.approx(0.91)
    assert factor(50) == pytest.approx(0.5)
    assert factor(99) == pytest.approx(0.01)
    assert factor(100) == 1e-3


def test_steps_lower_the_loss_and_repeat_from_a_state(data):
    rows, labels = WeightedRows(data[0], None), data[1]
    one, other = network(residual=True), network(residual=True, seed=0)
    batches = minibatches(rows, labels, np.arange(N), 35, seed=0)
    step, again = (made.step(lambda _: 1.0) for made in (one, other))
    losses = [float(step(batches(i))["loss"]) for i in range(20)]
    assert losses[-1] < losses[0]
    # seven steps, then the state moves to a third network, which goes on alike
    for i in range(7):
        again(batches(i))
    third = network(residual=True)
    third.load_training_state(other.training_state())
    go_on = third.step(lambda _: 1.0)
    assert [float(go_on(batches(i))["loss"]) for i in range(7, 20)] == losses[7:]


def test_the_best_weights_come_back():
    made = network()
    best = BestWeights(made)
    best.restore()  # nothing yet
    best.offer(0.5)
    kept = made.output.weight.clone()
    with torch.no_grad():
        made.output.weight.zero_()
    best.offer(0.5)  # no better
    other = BestWeights(made)
    other.load_state_dict(best.state_dict())
    other.restore()
    assert torch.equal(made.output.weight, kept)
