"""The chunked loss equals the dense one, value and gradient, in every mode; memory stays small."""

import itertools
import math

import pytest
import torch
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from reference import contrast as reference
from sidle import seeding
from sidle.errors import ArgumentError, ShapeError
from sidle.mi import candidates, contrast
from sidle.mi.bounds import infonce_bound
from sidle.mi.contrast import (
    InfoNCELoss,
    info_nce,
    info_nce_with_negatives,
    info_nce_with_sampler,
)

N, M, D, P, S = 13, 17, 5, 6, 3
every_chunk = pytest.mark.parametrize("chunk_rows", [1, 4, 13, 50, None])


def draw(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=seeding.torch_generator(seed), dtype=dtype)


QUERY, KEY = draw(N, D), draw(M, D, seed=1)
WEIGHT = draw(N, seed=2)
OWN = torch.arange(N)[:, None]
MASK = draw(N, M, seed=3) < 0
MASK[3] = False  # a query without negatives
INDEX = torch.zeros(N, P, dtype=torch.int64)
WEIGHT_SN = draw(S, N, seed=4).abs() / 100


def gradients(function, tensors):
    leaves = [tensor.detach().clone().requires_grad_() for tensor in tensors]
    value = function(*leaves)
    value.backward()
    return [value.detach(), *(leaf.grad for leaf in leaves)]


def assert_same(chunked, dense, *tensors):
    """Value and gradients agree to rounding: 1e-12 is ten thousand times that of float64."""
    found, expected = gradients(chunked, tensors), gradients(dense, tensors)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


@every_chunk
@pytest.mark.parametrize("mask", [None, MASK], ids=["all", "masked"])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_rectangular_in_batch(reduction, mask, chunk_rows):
    def chunked(query, key):
        loss = info_nce(query, key, mask_NM=mask, reduction=reduction, chunk_rows=chunk_rows).loss
        return (loss * WEIGHT).sum() if reduction == "none" else loss

    def dense(query, key):
        losses = reference.info_nce(query, key, OWN, mask)
        return {"mean": losses.mean(), "sum": losses.sum(), "none": (losses * WEIGHT).sum()}[
            reduction
        ]

    assert_same(chunked, dense, QUERY, KEY)


def test_groups_are_a_mask_that_takes_no_memory():
    groups = torch.arange(N) % 3, torch.arange(M) % 3
    mask = groups[0][:, None] != groups[1]
    assert_same(
        lambda query, key: info_nce(query, key, groups=groups, chunk_rows=4).loss,
        lambda query, key: reference.info_nce(query, key, OWN, mask).mean(),
        QUERY,
        KEY,
    )
    both = info_nce(QUERY, KEY, groups=groups, mask_NM=MASK)
    assert both.loss == pytest.approx(reference.info_nce(QUERY, KEY, OWN, mask & MASK).mean())


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_several_positives_are_each_contrasted_with_the_negatives_alone(reduction):
    generator = seeding.torch_generator(4)
    positive = torch.stack([torch.randperm(M, generator=generator)[:3] for _ in range(N)])
    positive[2, 1:] = positive[5, 2] = -1  # fewer of them
    weight = draw(N, 3, seed=5)

    def chunked(query, key):
        found = info_nce(query, key, positive=positive, reduction=reduction, chunk_rows=4)
        return (found.loss * weight).sum() if reduction == "none" else found.loss

    def dense(query, key):
        losses = reference.info_nce(query, key, positive)
        return (losses * weight[positive >= 0]).sum() if reduction == "none" else losses.mean()

    assert_same(chunked, dense, QUERY, KEY)
    found = info_nce(QUERY, KEY, positive=positive)
    torch.testing.assert_close(found.losses, reference.info_nce(QUERY, KEY, positive))
    expected = [M - len(set(row) - {-1}) + 1 for row in positive.tolist()]
    counts = [n for n, row in zip(expected, positive, strict=True) for p in row if p >= 0]
    assert found.n_candidates.tolist() == counts


SHARES = (draw(N, seed=6) ** 2).masked_fill(torch.arange(N) == 4, 0.0)  # one counts for nothing


@every_chunk
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("own", [False, True], ids=["shared", "own"])
def test_weights_count_each_loss(reduction, own, chunk_rows):
    places = torch.randint(M, (N, P), generator=seeding.torch_generator(7))

    def chunked(query, key):
        settings = {"weight": SHARES, "reduction": reduction, "chunk_rows": chunk_rows}
        if own:
            return info_nce_with_negatives(query, key[:N], places, pool_MD=key, **settings).loss
        return info_nce(query, key, **settings).loss

    def dense(query, key):
        if own:
            scores = (query * key[:N]).sum(1), (query[:, None] * key[places]).sum(2)
            losses = reference.softmax_loss(*scores)
        else:
            losses = reference.info_nce(query, key, OWN)
        total = (losses * SHARES).sum()
        return total / SHARES.sum() if reduction == "mean" else total

    assert_same(chunked, dense, QUERY, KEY)


def test_places_are_checked_unless_they_are_known_to_lie_in_the_pool():
    far = torch.full((N, P), M, dtype=torch.int64)
    with pytest.raises(ArgumentError, match="negatives must be int64"):
        info_nce_with_negatives(QUERY, QUERY, far, pool_MD=KEY)
    with pytest.raises((IndexError, RuntimeError), match=r"out of (bounds|range)"):
        info_nce_with_negatives(QUERY, QUERY, far, pool_MD=KEY, check=False)
    plain = info_nce_with_negatives(QUERY, QUERY, INDEX, pool_MD=KEY)
    unchecked = info_nce_with_negatives(QUERY, QUERY, INDEX, pool_MD=KEY, check=False)
    assert torch.equal(plain.losses, unchecked.losses)


def test_weights_of_other_shapes_or_where_they_have_no_meaning_are_refused():
    for settings, error in (
        ({"weight": SHARES[:3]}, ShapeError),
        ({"weight": torch.ones(N, dtype=torch.int64)}, ShapeError),
        ({"weight": SHARES, "reduction": "none"}, ArgumentError),
        ({"weight": SHARES, "positive": torch.arange(N)[:, None].expand(N, 2)}, ArgumentError),
    ):
        with pytest.raises(error, match="weight"):
            info_nce(QUERY, KEY, **settings)
    with pytest.raises(ArgumentError, match="weight"):
        info_nce(QUERY, KEY[:N], symmetric=True, weight=SHARES)


@every_chunk
@pytest.mark.parametrize("mask", [None, MASK[:, :N]], ids=["all", "masked"])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_symmetric_is_the_mean_of_both_directions(reduction, mask, chunk_rows):
    if mask is not None:
        mask = mask.clone()
        mask[:, 6] = False  # a key without negatives

    def weighted(losses):
        return {"mean": losses.mean(), "sum": losses.sum(), "none": (losses * WEIGHT).sum()}[
            reduction
        ]

    def chunked(query, key):
        loss = info_nce(
            query, key, symmetric=True, mask_NM=mask, reduction=reduction, chunk_rows=chunk_rows
        ).loss
        return weighted(loss) if reduction == "none" else loss

    def dense(query, key):
        forth = reference.info_nce(query, key, OWN, mask)
        back = reference.info_nce(key, query, OWN, None if mask is None else mask.T)
        return weighted((forth + back) / 2)

    assert_same(chunked, dense, QUERY, KEY[:N])


def test_several_steps_at_once():
    query = draw(S, N, D, seed=6)
    positive = torch.arange(S * N).reshape(S, N) % M
    found = info_nce(query, KEY, positive=positive)
    assert found.losses.shape == found.hits.shape == found.n_candidates.shape == (S, N)
    assert_same(
        lambda query, key: info_nce(query, key, positive=positive, chunk_rows=4).loss,
        lambda query, key: torch.stack(
            [reference.info_nce(query[s], key, positive[s][:, None]) for s in range(S)]
        ).mean(),
        query,
        KEY,
    )
    default = info_nce(query, KEY)
    alone = torch.stack([info_nce(part, KEY).losses for part in query])
    torch.testing.assert_close(default.losses, alone)


def test_cosine_and_a_learned_temperature():
    def normal(part):
        return part / part.norm(dim=-1, keepdim=True)

    assert_same(
        lambda query, key, t: info_nce(query, key, cosine=True, temperature=t).loss,
        lambda query, key, t: reference.info_nce(normal(query) / t, normal(key), OWN).mean(),
        QUERY,
        KEY,
        torch.tensor(0.3, dtype=torch.float64),
    )


@every_chunk
@pytest.mark.parametrize("masked", [False, True])
def test_negatives_of_each_row(masked, chunk_rows):
    negatives = draw(N, P, D, seed=7)
    mask = draw(N, P, seed=8) < 0 if masked else None
    if mask is not None:
        mask[1] = False

    def dense(query, positive, negatives):
        scores = torch.einsum("nd,npd->np", query, negatives)
        return reference.softmax_loss((query * positive).sum(-1), scores, mask).mean()

    assert_same(
        lambda query, positive, negatives: (
            info_nce_with_negatives(
                query, positive, negatives, mask_NP=mask, chunk_rows=chunk_rows
            ).loss
        ),
        dense,
        QUERY,
        draw(N, D, seed=9),
        negatives,
    )


@every_chunk
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("product", [False, True])
def test_steps_share_negatives_named_by_their_places(chunk_rows, masked, product, monkeypatch):
    monkeypatch.setattr(contrast, "by_product", lambda *sizes: product)
    places = torch.randint(0, M, (N, P), generator=seeding.torch_generator(1))
    places[:, 1] = places[:, 0]  # counts twice
    mask = draw(N, P, seed=8) < 0.5 if masked else None
    if mask is not None:
        mask[1] = False
    query, positive = draw(S, N, D, seed=6), draw(S, N, D, seed=9)

    def chunked(query, positive, pool):
        found = info_nce_with_negatives(
            query, positive, places, pool_MD=pool, mask_NP=mask, temperature=0.5,
            chunk_rows=chunk_rows, reduction="sum", weight=WEIGHT_SN,
        )  # fmt: skip
        assert found.losses.shape == (S, N)
        return found.loss

    def dense(query, positive, pool):
        scores = torch.einsum("snd,npd->snp", query, pool[places]) / 0.5
        losses = reference.softmax_loss((query * positive).sum(-1) / 0.5, scores, mask)
        return (losses * WEIGHT_SN).sum()

    assert_same(chunked, dense, query, positive, KEY)
    found = info_nce_with_negatives(query, positive, places, pool_MD=KEY, mask_NP=mask)
    scores = torch.einsum("snd,npd->snp", query, KEY[places])
    there = torch.ones(N, P, dtype=torch.bool) if mask is None else mask
    largest = scores.masked_fill(~there, -torch.inf).amax(-1)
    assert torch.equal(found.hits, (query * positive).sum(-1) > largest)


def test_scores_of_all_keys_are_taken_where_that_is_less_work_than_gathering():
    assert candidates.by_product(M=512, P=128, S=12, D=512)
    assert not candidates.by_product(M=4096, P=128, S=12, D=512)
    assert not candidates.by_product(M=2**20, P=128, S=1, D=128)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_negatives_that_all_rows_share(reduction):
    def chunked(query, positive, negatives):
        loss = info_nce_with_negatives(
            query, positive, negatives, reduction=reduction, chunk_rows=4
        ).loss
        return (loss * WEIGHT).sum() if reduction == "none" else loss

    def dense(query, positive, negatives):
        losses = reference.softmax_loss((query * positive).sum(-1), query @ negatives.T)
        return {"mean": losses.mean(), "sum": losses.sum(), "none": (losses * WEIGHT).sum()}[
            reduction
        ]

    assert_same(chunked, dense, QUERY, draw(N, D, seed=9), KEY)


needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@needs_cuda
@pytest.mark.parametrize(
    "call",
    [
        lambda q, k: info_nce(q, k, chunk_rows=4),
        lambda q, k: info_nce(q, k, chunk_rows=4, reduction="none"),
        lambda q, k: info_nce(q, k[:N], chunk_rows=4, symmetric=True, cosine=True),
        lambda q, k: info_nce(q, k, mask_NM=MASK.to(q.device), chunk_rows=4),
        lambda q, k: info_nce(q, k, positive=torch.arange(2 * N).reshape(N, 2) % M),
        lambda q, k: info_nce_with_negatives(q, k[:N], INDEX, pool_MD=k, chunk_rows=4),
        lambda q, k: info_nce_with_negatives(q, k[:N], k),
        lambda q, k: info_nce_with_sampler(
            q, k, torch.arange(N), Uniform(torch.ones(M) / M), 9, seeding.torch_generator(0)
        ),
    ],
    ids=["mean", "none", "symmetric", "masked", "positives", "pool", "shared", "sampler"],
)
def test_a_gpu_gives_what_the_cpu_gives(call):
    sides = [], []
    for device, side in zip(("cpu", "cuda"), sides, strict=True):
        found = []

        def loss(query, key, found=found):
            found.append(call(query, key))
            return found[0].loss.sum()

        tensors = QUERY.to(device), KEY.to(device)
        side.extend(part.cpu() for part in gradients(loss, tensors))
        side.extend(torch.tensor(value) for value in (found[0].bound, found[0].accuracy))
    for one, other in zip(*sides, strict=True):
        torch.testing.assert_close(other, one, rtol=0, atol=1e-12)


@pytest.mark.parametrize("frozen", [0, 1])
def test_one_side_without_gradient(frozen):
    sides = [QUERY.clone(), KEY.clone()]
    sides[1 - frozen].requires_grad_()
    info_nce(*sides).loss.backward()
    whole = gradients(lambda query, key: info_nce(query, key).loss, (QUERY, KEY))
    assert sides[frozen].grad is None
    torch.testing.assert_close(sides[1 - frozen].grad, whole[2 - frozen])


def test_incoming_gradients_scale():
    plain = gradients(lambda query, key: info_nce(query, key).loss, (QUERY, KEY))
    scaled = gradients(lambda query, key: -3 * info_nce(query, key).loss, (QUERY, KEY))
    for one, other in zip(scaled, plain, strict=True):
        torch.testing.assert_close(one, -3 * other)


@pytest.mark.parametrize("symmetric", [False, True])
def test_large_scores_neither_overflow_nor_lose_the_gradient(symmetric):
    query, key = draw(N, D, dtype=torch.float32) * 1e3, draw(N, D, seed=1, dtype=torch.float32)
    found = gradients(
        lambda query, key: info_nce(query, key * 1e3, symmetric=symmetric).loss, (query, key)
    )
    assert all(part.isfinite().all() for part in found)
    assert found[1].abs().max() > 1


def test_half_precision_is_computed_in_float32():
    query, key = QUERY.half(), KEY.half()
    found = info_nce(query, key)
    assert found.loss.dtype == torch.float32
    torch.testing.assert_close(found.loss, info_nce(query.float(), key.float()).loss)
    leaf = query.clone().requires_grad_()
    info_nce(leaf, key).loss.backward()
    assert leaf.grad.dtype == torch.float16


def test_bound_ceiling_and_accuracy_are_those_of_the_matrix():
    found = info_nce(QUERY, KEY)
    scores_NM = QUERY @ KEY.T
    assert found.bound == pytest.approx(infonce_bound(scores_NM).item(), abs=1e-12)
    assert found.ceiling == pytest.approx(math.log(M))
    assert found.accuracy == (scores_NM.argmax(1) == torch.arange(N)).double().mean()
    assert found.guarantee == "lower"
    masked = info_nce(QUERY, KEY, mask_NM=MASK)
    alone = MASK.clone()
    alone[OWN, OWN] = False
    assert masked.n_candidates.tolist() == (alone.sum(1) + 1).tolist()


@pytest.mark.parametrize("masked", [False, True])
def test_symmetric_bound_is_the_mean_of_both_directions(masked):
    key = KEY[:N]
    mask = MASK[:, :N] if masked else None
    back = None if mask is None else mask.T
    found = info_nce(QUERY, key, symmetric=True, mask_NM=mask, chunk_rows=4)
    sides = info_nce(QUERY, key, mask_NM=mask), info_nce(key, QUERY, mask_NM=back)
    assert found.bound == pytest.approx(sum(side.bound for side in sides) / 2, abs=1e-12)
    assert found.n_candidates.tolist() == [side.n_candidates.tolist() for side in sides]
    # Scores that know nothing read nothing, however uneven the mask.
    assert info_nce(0 * QUERY, key, symmetric=True, mask_NM=mask).bound == pytest.approx(0)


def test_negatives_picked_for_what_they_are_make_no_bound():
    # x and y both are one of two letters, the same: log 2 nats.
    letter = torch.arange(40) % 2
    code = 50 * functional.one_hot(letter).double()
    plain = info_nce(code, code)
    assert plain.guarantee == "lower"
    assert plain.bound == pytest.approx(math.log(2))
    for settings in ({"groups": (letter, letter)}, {"mask_NM": letter[:, None] != letter}):
        found = info_nce(code, code, **settings)
        assert found.bound > 3 > math.log(2)
        assert found.guarantee == "none"
    own = torch.zeros(40, 3, 2, dtype=torch.float64)
    assert info_nce_with_negatives(code, code, own).guarantee == "lower"
    mask = torch.ones(40, 3, dtype=torch.bool)
    assert info_nce_with_negatives(code, code, own, mask_NP=mask).guarantee == "none"


@pytest.mark.parametrize("settings", [{}, {"reduction": "none"}, {"symmetric": True}])
def test_second_derivatives_are_refused(settings):
    query = QUERY.clone().requires_grad_()
    loss = info_nce(query, KEY[:N], **settings).loss.sum()
    with pytest.raises(ArgumentError, match="first derivatives only"):
        torch.autograd.grad(loss, query, create_graph=True)


class Largest(TorchDispatchMode):
    """Notes the number of elements of the largest tensor that is made."""

    elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        for part in found if isinstance(found, (tuple, list)) else [found]:
            if isinstance(part, torch.Tensor):
                self.elements = max(self.elements, part.numel())
        return found


@pytest.mark.parametrize("settings", [{}, {"symmetric": True}, {"reduction": "sum"}])
def test_no_tensor_is_larger_than_inputs_or_a_chunk(settings):
    n, d, chunk = 512, 8, 4
    query, key = (draw(n, d, seed=s).requires_grad_() for s in (0, 1))
    with Largest() as largest:
        info_nce(query, key, chunk_rows=chunk, **settings).loss.backward()
    assert largest.elements == max(n * d, chunk * n)


class Uniform:
    """Draws from a pool with given probabilities."""

    def __init__(self, probability_M):
        self.probability_M = probability_M

    def sample(self, n, generator):
        index = torch.multinomial(self.probability_M, n, replacement=True, generator=generator)
        return index, self.probability_M[index].log()


def test_sampled_partition_is_unbiased_and_its_log_is_not():
    positive = torch.arange(N)
    probability = torch.rand(M, generator=seeding.torch_generator(2), dtype=torch.float64) + 0.2
    sampler = Uniform(probability / probability.sum())
    query = QUERY / 2
    generator = seeding.torch_generator(3)
    draws = torch.stack(
        [
            info_nce_with_sampler(query, KEY, positive, sampler, 4, generator).losses
            for _ in range(4000)
        ]
    )
    exact = info_nce(query, KEY).losses
    partition = draws.exp()  # the partition function over exp of the positive's score
    error = partition.std(0) / math.sqrt(len(draws))
    assert ((partition.mean(0) - exact.exp()).abs() < 4 * error).all()
    assert (draws.mean(0) < exact).all()
    found = info_nce_with_sampler(query, KEY, positive, sampler, 4, generator)
    assert found.guarantee == "none"
    assert found.ceiling == pytest.approx(math.log(M))


def test_sampler_that_draws_everything_evenly_gives_the_exact_loss_and_gradient():
    class Everything:
        def sample(self, n, generator):
            return torch.arange(M), torch.full((M,), -math.log(M), dtype=torch.float64)

    def sampled(query, key):
        generator = seeding.torch_generator(0)
        return info_nce_with_sampler(
            query, key, torch.arange(N), Everything(), M, generator, chunk_rows=4
        ).loss

    assert_same(sampled, lambda query, key: info_nce(query, key).loss, QUERY, KEY)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_module_is_the_one_proposed_for_torch(reduction):
    query, positive = draw(N, D), draw(N, D, seed=1)
    loss = InfoNCELoss(temperature=0.2, reduction=reduction)
    unit_query, unit_positive, unit_key = (
        functional.normalize(part, dim=-1) for part in (query, positive, KEY)
    )
    scores = unit_query @ unit_positive.T / 0.2
    expected = functional.cross_entropy(scores, torch.arange(N), reduction=reduction)
    torch.testing.assert_close(loss(query, positive), expected)
    own = (unit_query * unit_positive).sum(-1, keepdim=True)
    scores = torch.cat([own, unit_query @ unit_key.T], dim=1) / 0.2
    expected = functional.cross_entropy(
        scores, torch.zeros(N, dtype=torch.int64), reduction=reduction
    )
    torch.testing.assert_close(loss(query, positive_key=positive, negative_keys=KEY), expected)


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda: info_nce(QUERY, KEY[:, :4]), ShapeError, r"\(13, 5\) and \(17, 4\)"),
        (lambda: info_nce(QUERY[0], KEY), ShapeError, r"queries must have shape"),
        (lambda: info_nce(QUERY[:0], KEY), ShapeError, r"at least one query"),
        (lambda: info_nce(QUERY, KEY[:9]), ShapeError, r"13 queries and only 9 keys"),
        (lambda: info_nce(QUERY.long(), KEY), ArgumentError, r"floating point"),
        (lambda: info_nce(QUERY, KEY, temperature=0.0), ArgumentError, r"temperature .* got 0"),
        (lambda: info_nce(QUERY, KEY, chunk_rows=0), ArgumentError, r"chunk_rows .* got 0"),
        (lambda: info_nce(QUERY, KEY, reduction="max"), ArgumentError, r"reduction .* 'max'"),
        (lambda: info_nce(QUERY, KEY, symmetric=True), ArgumentError, r"13 queries and 17 keys"),
        (lambda: info_nce(QUERY, KEY, mask_NM=MASK.T), ShapeError, r"mask_NM .* \(17, 13\)"),
        (lambda: info_nce(QUERY, KEY, groups=(OWN, OWN)), ShapeError, r"groups must have"),
        (lambda: info_nce(QUERY, KEY, positive=OWN + 9), ArgumentError, r"\[0, 17\)"),
        (lambda: info_nce(QUERY, KEY, positive=OWN[:4]), ShapeError, r"positive must be int64"),
        (
            lambda: info_nce(QUERY[None], KEY, mask_NM=MASK),
            ArgumentError,
            r"queries of shape \(N, D\)",
        ),
        (
            lambda: info_nce_with_negatives(QUERY, KEY, KEY),
            ShapeError,
            r"query and positive must have one shape",
        ),
        (
            lambda: info_nce_with_negatives(QUERY, QUERY, KEY[None]),
            ShapeError,
            r"negatives must have shape \(13, P, 5\) or \(M, 5\), got \(1, 17, 5\)",
        ),
        (
            lambda: info_nce_with_negatives(QUERY, QUERY, INDEX + M, pool_MD=KEY),
            ArgumentError,
            r"negatives must be int64 in \[0, 17\)",
        ),
        (
            lambda: info_nce_with_negatives(QUERY, QUERY, KEY, mask_NP=MASK),
            ShapeError,
            r"mask_NP must be bool of shape \(N, P\)",
        ),
        (
            lambda: info_nce_with_negatives(QUERY, QUERY, INDEX, pool_MD=KEY, reduction="none"),
            ArgumentError,
            r"reduction must be",
        ),
        (lambda: InfoNCELoss(temperature=-1.0), ArgumentError, r"got -1"),
        (lambda: InfoNCELoss()(QUERY, KEY), ShapeError, r"one shape \(N, D\)"),
    ],
)
def test_bad_input_is_refused_with_a_reason(call, error, said):
    with pytest.raises(error, match=said):
        call()


def test_sampler_that_breaks_its_contract_is_named():
    class Wrong:
        def __init__(self, answer):
            self.answer = answer

        def sample(self, n, generator):
            return self.answer

    good = torch.zeros(2, dtype=torch.int64), torch.zeros(2)
    wrong = [((good[0][:1], good[1]), ShapeError), ((good[0] + M, good[1]), ArgumentError)]
    for (answer, error), positive in itertools.product(wrong, [torch.arange(N)]):
        with pytest.raises(error, match="sampler"):
            info_nce_with_sampler(
                QUERY, KEY, positive, Wrong(answer), 2, seeding.torch_generator(0)
            )
    with pytest.raises(ArgumentError, match="n_negatives"):
        info_nce_with_sampler(
            QUERY, KEY, torch.arange(N), Wrong(good), 0, seeding.torch_generator(0)
        )
