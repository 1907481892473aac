"""`WideSoftmax` equals dense PyTorch over all outputs, and estimates without bias over few."""

import math

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array
from torch.nn import functional

from sidle import checkpoint
from sidle.errors import ArgumentError, NonFiniteError, ShapeError
from sidle.provenance import usable_cores
from sidle.slide import Hashing, WideSoftmax
from sidle.slide.fused import PassOrderError

N, D, L = 6, 7, 40
OBJECTIVES = ("softmax", "multilabel", "one_versus_all")
every_objective = pytest.mark.parametrize("objective", OBJECTIVES)


def hidden(seed=0, n=N, requires_grad=False):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, D, generator=generator).requires_grad_(requires_grad)


def labels(objective, seed=0, n=N, n_labels=L):
    generator = np.random.default_rng(seed)
    if objective == "softmax":
        return torch.from_numpy(generator.integers(0, n_labels, n))
    table = (generator.random((n, n_labels)) < 0.1).astype(np.float32)
    table[:, 3] = 1
    if objective == "one_versus_all":
        table[1:2] = 0  # a row without labels
    return csr_array(table)


def targets(given, n_labels=L):
    if isinstance(given, torch.Tensor):
        return functional.one_hot(given, n_labels).float()
    return torch.from_numpy(np.asarray(given.todense()))


def dense_loss(objective, scores_NL, target_NL):
    """What the layer's objective is, said in PyTorch."""
    if objective == "one_versus_all":
        return functional.binary_cross_entropy_with_logits(
            scores_NL, target_NL, reduction="sum"
        ) / len(scores_NL)
    return functional.cross_entropy(scores_NL, target_NL / target_NL.sum(1, keepdim=True))


def make(objective="softmax", **settings):
    return WideSoftmax(D, L, **{"objective": objective, "precision": "float32"} | settings)


def linear(layer):
    same = torch.nn.Linear(D, layer.out_features, bias=layer.bias is not None)
    same.load_state_dict(layer.state_dict(), strict=True)
    return same


@every_objective
@pytest.mark.parametrize(
    "engine",
    [
        {"engine": "dense"},
        {"engine": "sampled", "candidates": L},
        {"engine": "sampled", "candidates": L, "sampling": "per_sample"},
        {"engine": "sampled", "candidates": L, "sampling": "per_sample", "hashed_share": 0.5},
        {"engine": "sampled", "candidates": L, "hashed_share": 0.5},
    ],
)
@pytest.mark.parametrize("bias", [True, False])
def test_all_candidates_give_the_dense_loss_and_gradients(objective, engine, bias):
    layer = make(objective, optimizer=None, bias=bias, **engine)
    if bias:
        layer.bias.data.normal_(generator=torch.Generator().manual_seed(5))
    reference = linear(layer)
    given, other = hidden(requires_grad=True), hidden(requires_grad=True)
    loss = layer(given, labels(objective))
    expected = dense_loss(objective, reference(other), targets(labels(objective)))
    (3 * loss).backward()
    (3 * expected).backward()
    # float32 sums over 40 outputs and 7 features: some 1e-6 relative.
    near = {"rtol": 1e-5, "atol": 2e-6}
    torch.testing.assert_close(loss.detach(), expected.detach(), **near)
    torch.testing.assert_close(given.grad, other.grad, **near)
    torch.testing.assert_close(layer.weight.grad.to_dense(), reference.weight.grad, **near)
    if bias:
        torch.testing.assert_close(layer.bias.grad.to_dense(), reference.bias.grad, **near)


@every_objective
def test_exact_loss_in_evaluation_mode(objective):
    layer = make(objective, candidates=2)
    expected = dense_loss(objective, linear(layer)(hidden()), targets(labels(objective)))
    with torch.no_grad():
        torch.testing.assert_close(layer(hidden(), labels(objective)), expected.detach())
    layer.eval()
    torch.testing.assert_close(layer(hidden(), labels(objective)), expected.detach())


@every_objective
@pytest.mark.parametrize("sampling", ["per_batch", "per_sample"])
def test_gradient_of_the_sampled_objective_is_exact(objective, sampling):
    """What is scored depends on labels and step only: finite differences see one objective."""
    given, wanted = hidden(n=2, requires_grad=True), labels(objective, n=2)
    settings = {"engine": "sampled", "candidates": 6, "optimizer": None, "seed": 3}
    settings["sampling"] = sampling
    make(objective, **settings)(given, wanted).backward()
    step, numeric = 1e-2, torch.empty(2, D)
    for n in range(2):
        for d in range(D):
            values = []
            for sign in (1, -1):
                moved = given.detach().clone()
                moved[n, d] += sign * step
                values.append(float(make(objective, **settings)(moved, wanted).detach()))
            numeric[n, d] = (values[0] - values[1]) / (2 * step)
    # Central differences: rounding 1e-6 / 1e-2, and a third derivative below 1 times 1e-4 / 6.
    torch.testing.assert_close(given.grad, numeric, rtol=0, atol=4e-4)


@pytest.mark.parametrize("objective", ["softmax", "one_versus_all"])
@pytest.mark.parametrize("sampling", ["per_batch", "per_sample"])
@pytest.mark.parametrize("hashed_share", [0, 0.25])
def test_estimates_of_sums_over_outputs_are_unbiased(objective, sampling, hashed_share):
    """exp(loss + label score) estimates Z; the loss itself is the sum in one versus all."""
    layer = make(
        objective, engine="sampled", candidates=8, optimizer=None, sampling=sampling,
        hashed_share=hashed_share, hashing=Hashing(n_digits=2, n_tables=3, rebuild="never"),
    )  # fmt: skip
    layer.weight.data.mul_(6)  # scores that differ
    given, wanted = hidden(n=1), labels(objective, n=1)
    exact = float(layer.eval()(given, wanted))
    layer.train()
    draws = np.array([float(layer(given, wanted).detach()) for _ in range(4000)])
    if objective == "softmax":
        score = float(layer.scores(given)[0, int(wanted[0])].detach())
        assert draws.mean() < exact  # the log of an unbiased estimate is too low on average
        draws, exact = np.exp(draws + score), math.exp(exact + score)
    error = draws.std() / math.sqrt(len(draws))
    assert error < 0.03 * exact
    # Four standard errors: a right estimate fails once in 16,000 seeds, and the seed is fixed.
    assert abs(draws.mean() - exact) < 4 * error


@pytest.mark.parametrize("name", ["adam", "adam without mean", "adagrad", "sgd"])
@pytest.mark.parametrize(
    "engine", [{"engine": "dense"}, {"sampling": "per_sample", "candidates": L}]
)
@every_objective
def test_updates_equal_dense_ones_where_all_rows_are_touched(name, objective, engine):
    betas = (0.9, 0.999) if name == "adam" else (0.0, 0.999)
    name = name.split()[0]
    layer = make(objective, optimizer=name, lr=0.02, betas=betas, **{"engine": "sampled"} | engine)
    reference = linear(layer)
    kinds = {"adam": torch.optim.Adam, "adagrad": torch.optim.Adagrad, "sgd": torch.optim.SGD}
    extra = {"adagrad": {"eps": 1e-8}, "adam": {"betas": betas}, "sgd": {}}[name]
    optimizer = kinds[name](reference.parameters(), lr=0.02, **extra)
    for step in range(15):
        given, wanted = hidden(step), labels(objective, step)
        layer(given, wanted).backward()
        optimizer.zero_grad()
        dense_loss(objective, reference(given), targets(wanted)).backward()
        optimizer.step()
    # Where a gradient is nearly 0, Adam divides rounding by rounding: at most lr a step there.
    torch.testing.assert_close(layer.weight.data, reference.weight.data, rtol=1e-3, atol=2e-4)
    torch.testing.assert_close(layer.bias.data, reference.bias.data, rtol=1e-3, atol=2e-4)
    assert layer.steps == 15


@pytest.mark.parametrize("sampling", ["per_batch", "per_sample"])
def test_adam_without_mean_equals_dense_adam_between_touches(sampling):
    """With a first beta of 0 dense Adam leaves rows without gradient alone, as the layer does."""
    layer = make(
        betas=(0.0, 0.9), lr=0.02, engine="sampled", candidates=3, sampling=sampling, seed=1
    )
    reference = make(optimizer=None, engine="sampled", candidates=3, sampling=sampling, seed=1)
    optimizer = torch.optim.Adam(reference.parameters(), lr=0.02, betas=(0.0, 0.9))
    for step in range(12):
        given, wanted = hidden(step), labels("softmax", step)
        layer(given, wanted).backward()
        optimizer.zero_grad()
        reference(given, wanted).backward()
        for parameter in reference.parameters():
            parameter.grad = parameter.grad.to_dense()
        optimizer.step()
    torch.testing.assert_close(layer.weight.data, reference.weight.data, rtol=1e-3, atol=2e-4)
    torch.testing.assert_close(layer.bias.data, reference.bias.data, rtol=1e-3, atol=2e-4)


def test_only_the_pool_moves():
    layer = make(engine="sampled", candidates=4)
    before = layer.weight.clone()
    wanted = labels("softmax")
    layer(hidden(), wanted).backward()
    moved = (layer.weight != before).any(dim=1)
    assert moved[wanted].all()
    assert int(moved.sum()) == len(wanted.unique()) + 4


def test_only_active_outputs_move():
    layer = make(engine="sampled", candidates=2, sampling="per_sample")
    before = layer.weight.clone()
    wanted = labels("softmax")
    layer(hidden(), wanted).backward()
    moved = (layer.weight != before).any(dim=1)
    assert moved[wanted].all()
    assert len(wanted.unique()) < int(moved.sum()) <= 3 * N
    report = layer.report()
    assert report.active_per_batch == int(moved.sum())
    assert report.active_per_sample == 3


@pytest.mark.parametrize("sampling", ["per_batch", "per_sample"])
def test_backward_scales_by_the_incoming_gradient(sampling):
    settings = {"optimizer": "sgd", "candidates": 5, "sampling": sampling, "engine": "sampled"}
    layers = [make(lr=lr, **settings) for lr in (0.3, 0.1)]
    for layer, scale in zip(layers, (1.0, 3.0), strict=True):
        (layer(hidden(), labels("softmax")) * scale).backward()
    torch.testing.assert_close(layers[0].weight, layers[1].weight, rtol=1e-6, atol=1e-7)


def test_bfloat16_is_near():
    exact, rounded = (
        make(engine="dense", precision=precision, optimizer=None)
        for precision in ("float32", "bfloat16")
    )
    grads = []
    for layer in (exact, rounded):
        given = hidden(requires_grad=True)
        layer(given, labels("softmax")).backward()
        grads.append(given.grad)
    # bfloat16 keeps 8 bits: 0.4 % of each factor, and of each of the 40 terms.
    torch.testing.assert_close(*grads, rtol=0.05, atol=3e-3)


def test_state_dict_is_that_of_a_linear_layer():
    layer, other = make(seed=1), torch.nn.Linear(D, L)
    assert set(layer.state_dict()) == {"weight", "bias"}
    other.load_state_dict(layer.state_dict(), strict=True)
    back = make(seed=2)
    back.load_state_dict(other.state_dict(), strict=True)
    assert torch.equal(back.weight, layer.weight)
    torch.testing.assert_close(back.scores(hidden()), other(hidden()))


@pytest.mark.parametrize("sampling", ["per_batch", "per_sample"])
@pytest.mark.parametrize("hashed_share", [0, 0.5])
def test_training_state_continues_the_same_way(sampling, hashed_share, tmp_path):
    settings = {
        "engine": "sampled", "candidates": 6, "sampling": sampling, "hashed_share": hashed_share,
        "hashing": Hashing(n_digits=3, n_tables=4, rebuild="exponential", every=2), "lr": 0.1,
    }  # fmt: skip

    def train(layer, steps):
        for step in steps:
            layer(hidden(step), labels("softmax", step)).backward()

    whole, first = make(**settings), make(**settings)
    second = make(**settings)
    train(whole, range(8))
    train(first, range(4))
    second.load_state_dict(first.state_dict())
    checkpoint.save(tmp_path / "state", first.training_state())
    second.load_training_state(checkpoint.load(tmp_path / "state"))
    train(second, range(4, 8))
    assert torch.equal(whole.weight, second.weight)
    assert torch.equal(whole.bias, second.bias)


def test_forward_and_backward_take_turns():
    layer = make()
    loss = layer(hidden(), labels("softmax"))
    with pytest.raises(PassOrderError, match="forward was called again"):
        layer(hidden(), labels("softmax"))
    loss.backward(retain_graph=True)
    with pytest.raises(PassOrderError, match="backward was called twice"):
        loss.backward()
    layer(hidden(), labels("softmax"))
    layer.discard()
    layer(hidden(), labels("softmax")).backward()
    assert layer.steps == 2


@pytest.mark.skipif(usable_cores() < 2, reason="needs two cores")
@pytest.mark.parametrize("sampling", ["per_batch", "per_sample"])
@pytest.mark.parametrize("hashed_share", [0, 0.5])
def test_threads_change_nothing(sampling, hashed_share):
    results = []
    for threads in (1, 2):
        layer = WideSoftmax(
            D, 3000, candidates=500, engine="sampled", threads=threads, sampling=sampling,
            hashed_share=hashed_share,
        )  # fmt: skip
        for step in range(3):
            wanted = labels("softmax", step, n=200, n_labels=3000)
            layer(hidden(step, n=200), wanted).backward()
        results.append(layer.weight.clone())
    assert torch.equal(*results)


@pytest.mark.skipif(usable_cores() < 2, reason="needs two cores")
@pytest.mark.parametrize("optimizer", ["adam", "adagrad", "rowwise_adagrad", "sgd"])
def test_hogwild_learns_as_well(optimizer):
    """Races lose a few updates; what is learned is the same but for noise."""
    losses = []
    for deterministic in (True, False):
        layer = WideSoftmax(
            D, 300, candidates=40, engine="sampled", threads=2, sampling="per_sample",
            deterministic=deterministic, optimizer=optimizer, lr=3.0 if optimizer == "sgd" else 0.1,
        )  # fmt: skip
        given, wanted = hidden(n=200), labels("softmax", n=200, n_labels=300)
        for _ in range(60):
            layer(given, wanted).backward()
        losses.append(float(layer.eval()(given, wanted)))
    start = math.log(300)
    assert max(losses) < start - 1
    # Within a tenth of what was learned.
    assert losses[1] == pytest.approx(losses[0], abs=0.1 * (start - losses[0]))


def trained(n_outputs=2000, **settings):
    """Return a layer whose outputs point at clusters of hidden rows, and such rows."""
    layer = WideSoftmax(D, n_outputs, candidates=200, engine="sampled", **settings)
    generator = torch.Generator().manual_seed(3)
    centres = torch.randn(20, D, generator=generator)
    which = torch.randint(20, (n_outputs,), generator=generator)
    noise = torch.randn(n_outputs, D, generator=generator)
    layer.weight.data = 3 * centres[which] + noise
    return layer, centres.repeat(2, 1) + 0.1 * torch.randn(40, D, generator=generator)


@pytest.mark.parametrize("bias", [True, False])
def test_top_by_hashing_finds_most_of_the_best(bias):
    layer, given = trained(bias=bias, hashing=Hashing(n_digits=5, n_tables=30))
    values, outputs = layer.topk(given, 5)
    best_values, best = layer.topk(given, 5, exact=True)
    scores = layer.scores(given)
    torch.testing.assert_close(values, scores.gather(1, outputs), rtol=1e-5, atol=1e-5)
    assert (values.diff(dim=1) <= 0).all()
    same = np.mean(
        [len(set(a) & set(b)) / 5 for a, b in zip(outputs.tolist(), best.tolist(), strict=True)]
    )
    assert same == pytest.approx(layer.recall(given, 5), abs=1e-9)
    assert 0.6 < same < 1  # chance: 200 of 2000 outputs, 0.1
    assert (best_values >= values - 1e-4).all()


def test_fewer_candidates_are_those_that_most_tables_return():
    layer, given = trained(hashing=Hashing(n_digits=5, n_tables=30))
    recalls = [layer.recall(given, 5, candidates=n) for n in (5, 20, 80, 2000)]
    assert recalls == sorted(recalls)
    assert layer.recall(given, 5) == layer.recall(given, 5, candidates=max(layer.candidates, 80))
    assert 0.02 < recalls[0] < recalls[-1]  # chance: 5 of 2000, 0.0025
    few = layer.topk(given, 5, candidates=5)
    found, numbers = layer._index.find(given, 2000)
    for row in np.flatnonzero(numbers >= 5):
        assert set(few[1][row].tolist()) == set(found[row, :5].tolist())
    with pytest.raises(ArgumentError, match="at least k, which is 5, got 4"):
        layer.topk(given, 5, candidates=4)


def test_top_by_hashing_follows_the_weights():
    layer, given = trained(hashing=Hashing(n_digits=5, n_tables=30))
    layer.topk(given, 5)
    layer.weight.data = layer.weight.flip(0).contiguous()
    before = layer.recall(given, 5)
    with torch.no_grad():
        layer.weight.mul_(-1)
    assert layer.recall(given, 5) > 0.6 < before
    layer.train()
    wanted = torch.arange(40)
    layer.lr = 3.0
    for _ in range(3):
        layer(given, wanted).backward()
    assert layer._index._touched.any()
    layer.topk(given, 1)
    assert layer._index.tables.out_of_date(
        np.arange(2000), layer._index._vectors()[:]
    ) == 0  # fmt: skip


def test_rows_that_hashing_finds_too_little_for_are_searched_exactly():
    layer, given = trained(hashing=Hashing(n_digits=14, n_tables=1, bucket_size=1))
    assert layer.recall(given, 5) < 0.3
    for found, expected in zip(layer.topk(given, 5), layer.topk(given, 5, exact=True), strict=True):
        assert torch.equal(found, expected)


@pytest.mark.parametrize("sampling", ["per_batch", "per_sample"])
def test_tables_bring_outputs_of_high_score(sampling):
    layer, given = trained(
        sampling=sampling, hashed_share=0.5, hashing=Hashing(n_digits=5, n_tables=20),
        optimizer=None,
    )  # fmt: skip
    made = layer._run(given, np.arange(41), np.zeros(40, np.int64))
    report = layer.report()
    assert report.hashed_share == pytest.approx(0.5, abs=0.05)
    assert report.occupancy > 10
    assert (report.steps, report.rebuilds) == (1, 0)
    assert report.seconds > report.rebuild_seconds > 0
    if sampling == "per_batch":
        firsts = layer._index.find(given, 1)[0][:, 0]
        assert set(firsts.tolist()) - {0} <= set(made._pool.outputs[1 : 1 + 100].tolist())
        return
    scores = layer.scores(given).detach()
    best = scores.topk(10).indices
    found = 0
    for n in range(40):
        first = made._sets.indptr[n] + 1
        hashed = made._sets.outputs[first : first + made._sets.n_hashed[n]]
        found += len(set(hashed.tolist()) & set(best[n].tolist()))
    assert found / 40 > 5  # by chance 100 outputs of 2000 hold half of one of the best ten


def test_rebuilds_follow_the_schedule():
    layer = make(
        engine="sampled", candidates=8, hashed_share=0.5,
        hashing=Hashing(n_digits=2, n_tables=2, rebuild="fixed", every=3),
    )  # fmt: skip
    for step in range(10):
        layer(hidden(step), labels("softmax", step)).backward()
    assert layer.report().rebuilds == 3


def test_the_engine_is_chosen_by_cost():
    few, many = WideSoftmax(16, 100), WideSoftmax(16, 200_000, candidates=256)
    for layer in (few, many):
        assert layer.engine_used is None
        wanted = torch.zeros(4, dtype=torch.int64)
        layer(torch.ones(4, 16), wanted).backward()
    assert (few.engine_used, many.engine_used) == ("dense", "sampled")
    resumed = WideSoftmax(16, 100)
    resumed.load_training_state(few.training_state())
    assert resumed.engine_used == "dense"


@pytest.mark.parametrize("objective", ["softmax", "one_versus_all"])
def test_log_prob_and_exact_top(objective):
    layer = make(objective)
    scores = linear(layer)(hidden())
    expected = scores.log_softmax(1) if objective == "softmax" else functional.logsigmoid(scores)
    torch.testing.assert_close(layer.log_prob(hidden()), expected)
    values, indices = layer.topk(hidden(), 3, exact=True)
    assert torch.equal(indices, scores.topk(3).indices)
    torch.testing.assert_close(values, scores.topk(3).values)


def test_extreme_scores_stay_finite():
    layer = make(engine="dense", optimizer=None)
    given = (hidden() * 1e6).requires_grad_()
    loss = layer(given, labels("softmax"))
    loss.backward()
    expected = functional.cross_entropy(linear(layer)(given), labels("softmax"))
    torch.testing.assert_close(loss.detach(), expected.detach(), rtol=1e-5, atol=0)
    assert torch.isfinite(given.grad).all()


def entries(**changed):
    given = labels("multilabel")
    for name, (place, value) in changed.items():
        getattr(given, name)[place] = value
    return given


@pytest.mark.parametrize(
    ("objective", "given", "error", "message"),
    [
        ("softmax", torch.tensor([0, 1, 2, 3, 4, L]), ArgumentError, "from 0 to 39, got 40"),
        ("softmax", torch.tensor([0, 1, 2, 3, 4, -100]), ArgumentError, "got -100"),
        ("softmax", torch.zeros(5, dtype=torch.int64), ArgumentError, "6 rows .* 5 of labels"),
        ("softmax", torch.zeros(N), ShapeError, "must be integers"),
        ("softmax", labels("multilabel"), ArgumentError, "takes one label a row"),
        ("multilabel", labels("one_versus_all"), ArgumentError, "row 1 has no label"),
        ("multilabel", labels("multilabel", n_labels=L + 1), ShapeError, "expected shape"),
        ("multilabel", entries(data=(0, 2.0)), ArgumentError, "entries of labels must be 1"),
        ("multilabel", entries(indices=(1, 0)), ArgumentError, "row 0 do not ascend"),
        ("multilabel", entries(indices=(1, 2)), ArgumentError, "one comes twice"),
    ],
)  # fmt: skip
def test_refuses_bad_labels(objective, given, error, message):
    layer = make(objective)
    with pytest.raises(error, match=message):
        layer(hidden(), given)
    layer(hidden(), labels(objective)).backward()  # nothing is pending


@pytest.mark.parametrize(
    ("given", "error"),
    [
        (torch.zeros(N, D + 1), ShapeError),
        (torch.zeros(0, D), ShapeError),
        (torch.full((N, D), float("nan")), NonFiniteError),
    ],
)
def test_refuses_bad_hidden(given, error):
    with pytest.raises(error):
        make()(given, labels("softmax"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"out_features": 0}, "at least 1"),
        ({"objective": "hinge"}, "objective must be"),
        ({"optimizer": "lamb"}, "optimizer must be"),
        ({"sampling": "per_token"}, "sampling must be"),
        ({"engine": "fast"}, "engine must be"),
        ({"precision": "int4"}, "precision must be"),
        ({"device": "cuda"}, "device must be"),
        ({"candidates": 0}, "candidates must be at least 1"),
        ({"hashed_share": 1.5}, "hashed_share from 0 to 1"),
        ({"hashing": Hashing(rebuild="daily")}, "kind must be one of"),
        ({"hashing": Hashing(family="md5")}, "family must be one of"),
        ({"out_features": 10**12}, "of memory, but"),
        ({"out_features": 10**12, "optimizer": "rowwise_adagrad"}, "bytes a row"),
    ],
)
def test_refuses_bad_arguments(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        WideSoftmax(**{"in_features": D, "out_features": L} | arguments)


def test_a_loss_that_is_not_finite_changes_nothing():
    layer = make(engine="dense")
    layer.weight.data[0, 0] = float("inf")
    before = layer.bias.clone()
    with pytest.raises(NonFiniteError, match="No weight was changed"):
        layer(hidden(), labels("softmax"))
    assert torch.equal(layer.bias, before)
    with pytest.raises(NonFiniteError):
        layer(hidden(), labels("softmax"))  # not PassOrderError: the pass was dropped
