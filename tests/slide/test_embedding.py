"""`SparseEmbedding` equals dense products and dense optimisers, and refuses what it cannot do."""

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array, csr_matrix

from sidle.errors import ArgumentError, CheckpointError, NonFiniteError, ShapeError
from sidle.provenance import usable_cores
from sidle.slide import SparseEmbedding
from sidle.slide.fused import PassOrderError

N, F, D = 9, 12, 5
# Sums of at most a dozen float32 products, each off by 6e-8: a few times 1e-7.
ROUNDING = {"rtol": 2e-6, "atol": 2e-6}


def rows(seed=0, n=N, features=F, density=0.4):
    generator = np.random.default_rng(seed)
    dense = generator.normal(size=(n, features)).astype(np.float32)
    dense[generator.random(dense.shape) > density] = 0
    dense[2] = 0  # a row without entries
    return csr_array(dense)


def dense(matrix):
    return torch.from_numpy(np.asarray(matrix.todense()))


@pytest.mark.parametrize("bias", [False, True])
def test_forward_is_a_matrix_product(bias):
    layer = SparseEmbedding(F, D, bias=bias)
    if bias:
        layer.bias.data.normal_(generator=torch.Generator().manual_seed(0))
    expected = dense(rows()) @ layer.weight + (layer.bias if bias else 0)
    torch.testing.assert_close(layer(rows()).detach(), expected.detach(), **ROUNDING)


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta state")  # torch's own
def test_all_forms_of_input_agree():
    layer = SparseEmbedding(F, D).eval()
    matrix = rows()
    expected = layer(matrix)
    torch_rows = torch.sparse_csr_tensor(
        torch.from_numpy(matrix.indptr), torch.from_numpy(matrix.indices),
        torch.from_numpy(matrix.data), matrix.shape, check_invariants=True,
    )  # fmt: skip
    parts = matrix.indices, matrix.indptr, matrix.data
    for given in (
        (csr_matrix(matrix),),
        (torch_rows,),
        parts,
        tuple(torch.from_numpy(part) for part in parts),
        (matrix.indices.astype(np.int64), *parts[1:]),
    ):
        assert torch.equal(layer(*given), expected)
    ones = csr_array((np.ones_like(matrix.data), matrix.indices, matrix.indptr), shape=(N, F))
    assert torch.equal(layer(matrix.indices, matrix.indptr), layer(ones))


def test_equals_embedding_bag():
    layer = SparseEmbedding(F, D)
    bag = torch.nn.EmbeddingBag(F, D, mode="sum", include_last_offset=True)
    bag.load_state_dict(layer.state_dict(), strict=True)
    matrix = rows()
    expected = bag(
        torch.from_numpy(matrix.indices.astype(np.int64)),
        torch.from_numpy(matrix.indptr.astype(np.int64)),
        per_sample_weights=torch.from_numpy(matrix.data),
    )
    torch.testing.assert_close(layer(matrix).detach(), expected.detach(), **ROUNDING)


@pytest.mark.parametrize("name", ["adam", "adagrad", "sgd"])
def test_updates_equal_dense_ones_where_all_rows_are_touched(name):
    layer = SparseEmbedding(F, D, optimizer=name, lr=0.05, betas=(0.9, 0.999), bias=True)
    reference = torch.nn.Linear(F, D)
    reference.weight.data, reference.bias.data = (
        layer.weight.data.T.clone(),
        layer.bias.data.clone(),
    )
    kinds = {"adam": torch.optim.Adam, "adagrad": torch.optim.Adagrad, "sgd": torch.optim.SGD}
    extra = {"eps": 1e-8} if name == "adagrad" else {}
    optimizer = kinds[name](reference.parameters(), lr=0.05, **extra)
    for step in range(12):
        matrix = rows(step, density=2.0)
        for model, given in ((layer, matrix), (reference, dense(matrix))):
            model(given).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    # Twelve steps carry roundings of gradients on; Adam divides by their size.
    torch.testing.assert_close(layer.weight.data.T, reference.weight.data, rtol=1e-4, atol=2e-5)
    torch.testing.assert_close(layer.bias.data, reference.bias.data, rtol=1e-4, atol=2e-5)


def test_moments_decay_exactly_over_gaps():
    layer = SparseEmbedding(2, 1, betas=(0.8, 0.9), lr=0.1)
    first = csr_array(np.array([[1.0, 0.0]], np.float32))
    other = csr_array(np.array([[0.0, 1.0]], np.float32))
    both = [first, other, other, other, first]
    mean = square = 0.0
    weight = float(layer.weight[0, 0])
    for step, matrix in enumerate(both, start=1):
        layer(matrix).sum().backward()  # the gradient of a touched row is 1
        touched = matrix is first
        mean, square = 0.8 * mean + 0.2 * touched, 0.9 * square + 0.1 * touched
        if touched:
            weight -= 0.1 * mean / (1 - 0.8**step) / ((square / (1 - 0.9**step)) ** 0.5 + 1e-8)
    assert float(layer.weight[0, 0]) == pytest.approx(weight, abs=1e-6)
    state = layer.training_state()
    assert float(state["weight.mean"][0, 0]) == pytest.approx(mean, rel=1e-6)
    assert float(state["weight.square"][0, 0]) == pytest.approx(square, rel=1e-6)
    assert state["weight.last"].tolist() == [5, 4]


def test_only_touched_rows_move():
    layer = SparseEmbedding(F, D)
    before = layer.weight.clone()
    matrix = rows(density=0.1)
    layer(matrix).sum().backward()
    moved = (layer.weight != before).any(dim=1)
    touched = torch.zeros(F, dtype=torch.bool)
    touched[torch.from_numpy(matrix.indices.astype(np.int64))] = True
    assert torch.equal(moved, touched)
    assert 0 < touched.sum() < F


def test_without_optimizer_gradients_are_row_sparse():
    layer = SparseEmbedding(F, D, optimizer=None, bias=True)
    matrix = rows(density=0.1)
    weights = torch.arange(1.0, N * D + 1).reshape(N, D)
    for _ in range(2):  # gradients gather
        (layer(matrix) * weights).sum().backward()
    assert layer.weight.grad.is_sparse
    torch.testing.assert_close(
        layer.weight.grad.to_dense(), 2 * dense(matrix).T @ weights, rtol=1e-5, atol=1e-4
    )
    assert set(layer.weight.grad.coalesce().indices()[0].tolist()) == set(matrix.indices.tolist())
    torch.testing.assert_close(layer.bias.grad, 2 * weights.sum(0))
    torch.optim.SGD(layer.parameters(), lr=0.1).step()


def test_forward_and_backward_take_turns():
    layer = SparseEmbedding(F, D)
    out = layer(rows())
    with pytest.raises(PassOrderError, match="forward was called again"):
        layer(rows())
    with torch.no_grad():
        layer(rows())
    out.sum().backward()
    assert layer.steps == 1
    out = layer(rows())
    layer.discard()
    with pytest.raises(PassOrderError, match="backward was called twice"):
        out.sum().backward()
    assert layer.steps == 1
    layer.eval()
    layer(rows())
    layer(rows())


@pytest.mark.skipif(usable_cores() < 2, reason="needs two cores")
def test_threads_change_nothing():
    results = []
    for threads in (1, 2):
        layer = SparseEmbedding(400, 8, threads=threads)
        for step in range(3):
            layer(rows(step, n=300, features=400)).square().sum().backward()
        results.append(layer.weight.clone())
    assert torch.equal(*results)


def test_training_state_continues_the_same_way():
    def train(layer, steps):
        for step in steps:
            layer(rows(step, density=0.15)).square().sum().backward()

    whole, first, second = (SparseEmbedding(F, D, seed=seed) for seed in (0, 0, 1))
    train(whole, range(6))
    train(first, range(3))
    second.load_state_dict(first.state_dict(), strict=True)
    second.load_training_state(first.training_state())
    train(second, range(3, 6))
    assert torch.equal(whole.weight, second.weight)
    assert second.steps == 6
    with pytest.raises(CheckpointError, match="steps"):
        second.load_training_state({})
    with pytest.raises(CheckpointError, match=r"weight\.square' of shape"):
        second.load_training_state(SparseEmbedding(F + 1, D).training_state())


def test_seed_decides_the_weights():
    same, other = SparseEmbedding(F, D, seed=0), SparseEmbedding(F, D, seed=1)
    assert torch.equal(SparseEmbedding(F, D, seed=0).weight, same.weight)
    assert not torch.equal(other.weight, same.weight)


def broken(**changed):
    matrix = rows()
    for name, (place, value) in changed.items():
        getattr(matrix, name)[place] = value
    return matrix


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((rows(features=F + 1),), ShapeError, r"expected shape \(N, 12\), got \(9, 13\)"),
        ((np.zeros((N, F), np.float32),), ShapeError, "expected a SciPy CSR matrix"),
        ((broken(indices=(0, F)),), ArgumentError, "from 0 to 11, got 12"),
        ((broken(indices=(0, -1)),), ArgumentError, "got -1"),
        ((broken(data=(0, np.nan)),), NonFiniteError, "NaN"),
        ((np.array([0, 1]), np.array([0, 1])), ShapeError, "rise from 0 to the number"),
        ((np.array([0, 1]), np.array([0, 2, 1, 2])), ShapeError, "rise from 0"),
        ((np.array([0.5]), np.array([0, 1])), ArgumentError, "int32 or int64, got float64"),
        ((np.array([[0]]), np.array([0, 1])), ShapeError, "one dimension"),
        ((rows(), None, np.ones(3)), ArgumentError, "weights go with offsets"),
    ],
)  # fmt: skip
def test_refuses_bad_rows(arguments, error, message):
    with pytest.raises(error, match=message):
        SparseEmbedding(F, D)(*arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_features": 0}, "at least 1"),
        ({"optimizer": "adamw"}, "adagrad, rowwise_adagrad, sgd or None"),
        ({"lr": -1.0}, "lr must be"),
        ({"betas": (0.9, 1.0)}, "betas must be"),
        ({"eps": 0.0}, "eps must be"),
        ({"threads": 0}, "threads must be"),
        ({"num_features": 10**12}, r"12,000.00 GB|need .* GB of memory"),
    ],
)
def test_refuses_bad_arguments(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        SparseEmbedding(**{"num_features": F, "dim": D} | arguments)


def test_refuses_gradients_that_are_not_finite():
    layer = SparseEmbedding(F, D)
    before = layer.weight.clone()
    with pytest.raises(NonFiniteError):
        (layer(rows()) * float("nan")).sum().backward()
    assert torch.equal(layer.weight, before)


def test_refuses_converted_parameters():
    with pytest.raises(ArgumentError, match="must be float32 on the CPU"):
        SparseEmbedding(F, D).double()(rows())
