"""A batch in chunks leaves the gradients that one batch would, dropout included."""

import math

import pytest
import torch

from sidle import seeding
from sidle.errors import ArgumentError, ShapeError
from sidle.mi.contrast import info_nce
from sidle.mi.gradient_cache import backward_through_encoders

N, D = 13, 5
QUERY, KEY = (
    torch.randn(N, D, generator=seeding.torch_generator(seed), dtype=torch.float64)
    for seed in (0, 1)
)


@pytest.mark.parametrize("chunk_rows", [1, 5, 100])
def test_gradient_caching_equals_one_batch(chunk_rows):
    def encoders():
        with seeding.scope(0):
            return torch.nn.Linear(D, 4).double(), torch.nn.Linear(D, 4).double()

    def loss(query, key):
        return info_nce(query, key, symmetric=True).loss

    one, other = encoders()
    expected = loss(one(QUERY), other(KEY))
    expected.backward()
    cached = encoders()
    pairs = list(zip(cached, (QUERY, KEY), strict=True))
    found = backward_through_encoders(pairs, loss, chunk_rows=chunk_rows)
    torch.testing.assert_close(found, expected.detach())
    for module, original in zip(cached, (one, other), strict=True):
        torch.testing.assert_close(module.weight.grad, original.weight.grad)
        torch.testing.assert_close(module.bias.grad, original.bias.grad)


def test_gradient_caching_drops_the_same_units_twice():
    with seeding.scope(0):
        encoder = torch.nn.Sequential(torch.nn.Dropout(0.5), torch.nn.Linear(D, 4)).double()
        seen = []
        encoder[0].register_forward_hook(lambda m, i, o: seen.append(o.detach().clone()))
        before = torch.get_rng_state()
        backward_through_encoders([(encoder, QUERY)], lambda q: info_nce(q, q).loss, chunk_rows=5)
        first = torch.get_rng_state()
        chunks = math.ceil(N / 5)
        for without_graph, with_graph in zip(seen[:chunks], seen[chunks:], strict=True):
            assert torch.equal(without_graph, with_graph)
        # As many random numbers were used as one encoding takes.
        torch.set_rng_state(before)
        for chunk in torch.split(QUERY, 5):
            encoder(chunk)
        assert torch.equal(torch.get_rng_state(), first)


def test_bad_input_is_refused_with_a_reason():
    with pytest.raises(ArgumentError, match="0 encoders"):
        backward_through_encoders([], lambda: 0, chunk_rows=1)
    with pytest.raises(ArgumentError, match="and 0"):
        backward_through_encoders([(lambda x: x, QUERY)], lambda q: q.sum(), chunk_rows=0)
    with pytest.raises(ShapeError, match="must return a scalar"):
        backward_through_encoders([(lambda x: x, QUERY)], lambda q: q, chunk_rows=1)
