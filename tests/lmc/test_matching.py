"""Matching: against all permutations enumerated, a score that never falls, joint assignments."""

import itertools

import pytest
import torch
from torch import nn

from lmc.architectures import ARCHITECTURES, mlp, permuted_copy, randomised
from sidle.lmc import derive_specification, distance, find_alignment, matching, state_of


def every(specification):
    """Return all permutations there are of all groups."""
    names, choices = list(specification.groups), []
    for group in specification.groups.values():
        orders = [torch.tensor(p) for p in itertools.permutations(range(group.size))]
        outer = 1 if group.outer is None else specification.groups[group.outer].size
        rows = itertools.product(orders, repeat=outer)
        choices.append([row[0] if group.outer is None else torch.stack(row) for row in rows])
    return [dict(zip(names, chosen, strict=True)) for chosen in itertools.product(*choices)]


def weights(state, specification):
    """Return all numbers that weight matching compares, in one row."""
    moved = dict.fromkeys(b.tensor for b in specification.blocks)
    kept = [state[name] for name in moved if name not in specification.statistics]
    return torch.cat([tensor.flatten() for tensor in kept]).double()


def perceptron():
    return nn.Sequential(
        nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)
    )  # fmt: skip


def grouped():
    return nn.Sequential(
        nn.Conv1d(2, 4, 1), nn.ReLU(), nn.Conv1d(4, 6, 1, groups=2), nn.ReLU(), nn.Conv1d(6, 2, 1)
    )  # fmt: skip


def attention():
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.inputs, self.outputs = nn.Linear(3, 12, bias=False), nn.Linear(4, 2)

        def forward(self, x):
            q, k, v = self.inputs(x).unflatten(-1, (3, 2, 2)).movedim(-3, 0)
            mixed = nn.functional.scaled_dot_product_attention(
                q.transpose(-2, -3), k.transpose(-2, -3), v.transpose(-2, -3)
            )
            return self.outputs(mixed.transpose(-2, -3).flatten(-2))

    return Attention()


@pytest.mark.parametrize(
    ("make", "example", "n"),
    [
        (perceptron, torch.zeros(2, 3), 144),  # 4! 3!
        (grouped, torch.zeros(2, 2, 5), 288),  # 2 (2!)^2 (3!)^2
        (attention, torch.zeros(2, 5, 3), 8),  # 2 (2!)^2
    ],
)
@pytest.mark.parametrize("seed", range(4))
def test_weight_matching_finds_the_best_of_all_permutations(make, example, n, seed):
    a, b = randomised(make(), seed), randomised(make(), seed + 100)
    specification = derive_specification(a, example)
    states = state_of(a), state_of(b)
    ours = weights(states[0], specification)
    scores = [
        float(ours @ weights(specification.permute(states[1], p), specification))
        for p in every(specification)
    ]
    assert len(scores) == n
    found = find_alignment(a, b, example=example, restarts=30)
    # The score is a sum of float32 products.
    assert found.match.score == pytest.approx(max(scores), rel=1e-5)
    reached = weights(state_of(found.model), specification)
    assert float(ours @ reached) == pytest.approx(max(scores), rel=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_activation_matching_finds_the_best_of_all_permutations(seed):
    a, b = randomised(perceptron(), seed), randomised(perceptron(), seed + 100)
    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(seed))
    specification = derive_specification(a, x)
    found = find_alignment(a, b, example=x, method="activations")

    def correlations(layers):
        """Return numpy's correlations of every unit of a with every one of b, where one varies."""
        with torch.no_grad():
            rows = [network[:layers](x).T.double() for network in (a, b)]
        n = len(rows[0])
        both = torch.cat(rows)
        both = both - both.mean(1, keepdim=True)
        norms = both.norm(dim=1)
        return ((both @ both.T) / norms.outer(norms)).nan_to_num()[:n, n:]

    for layers, group in ((1, "0.weight[0]"), (3, "2.weight[0]")):
        before, after = correlations(layers), correlations(layers + 1)
        n = len(before)
        best = max(
            float((before + after)[torch.arange(n), torch.tensor(p)].sum())
            for p in itertools.permutations(range(n))
        )
        p = found.permutations[group]
        assert float((before + after)[torch.arange(n), p].sum()) == pytest.approx(best, abs=1e-9)
    assert set(found.permutations) == set(specification.groups)


@pytest.mark.parametrize("name", ["mlp", "residual", "grouped", "transformer", "hand_written"])
@pytest.mark.parametrize("method", ["weights", "activations"])
def test_the_score_never_falls(name, method, monkeypatch):
    make, example, _ = ARCHITECTURES[name]
    a, b = randomised(make(), 0), randomised(make(), 1)
    scores = []
    descend, improve = matching._Descent.descend, matching._Descent._improve

    def watched_descend(self, permutations, generator):
        scores.append([self.score(permutations)])
        descend(self, permutations, generator)

    def watched_improve(self, one, permutations):
        done = improve(self, one, permutations)
        scores[-1].append(self.score(permutations))
        return done

    monkeypatch.setattr(matching._Descent, "descend", watched_descend)
    monkeypatch.setattr(matching._Descent, "_improve", watched_improve)
    found = find_alignment(a, b, example=example, method=method, restarts=4)
    assert len(scores) == 4
    for start in scores:
        # All scores are sums anew: differences of equal ones are rounding in float32.
        slack = 1e-6 * max(abs(score) for score in start)
        assert all(after >= before - slack for before, after in itertools.pairwise(start))
    assert any(start[-1] > start[0] + 1e-3 for start in scores)
    assert found.match.scores == tuple(start[-1] for start in scores)
    assert found.match.score == max(found.match.scores)


def test_a_larger_score_is_a_smaller_distance():
    a, b = (
        randomised(nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2)), s) for s in (1, 2)
    )
    found = find_alignment(a, b, example=torch.zeros(1, 3))
    fixed = float(a[2].bias.detach() @ b[2].bias.detach())
    squares = sum(float(state_of(one)[k].square().sum()) for one in (a, b) for k in state_of(one))
    # |a - b|^2 = |a|^2 + |b|^2 - 2 <a, b>; the last bias is no part of the score.
    squared = squares - 2 * (found.match.score + fixed)
    assert distance(state_of(a), state_of(found.model)) ** 2 == pytest.approx(squared, rel=1e-5)


def test_more_starts_never_score_less():
    make, example, _ = ARCHITECTURES["residual"]
    a, b = randomised(make(), 0), randomised(make(), 1)
    scores = [find_alignment(a, b, example=example, restarts=n).match.scores for n in (1, 2, 5)]
    assert scores[0] == scores[2][:1]
    assert scores[1] == scores[2][:2]


def test_statistics_are_no_weights():
    a = randomised(mlp(), 0)
    b, _ = permuted_copy(a, torch.zeros(2, 6))
    with torch.no_grad():
        b[1].running_mean.mul_(-1000)
    found = find_alignment(a, b, example=torch.zeros(2, 6))
    assert torch.equal(found.model[0].weight, a[0].weight)


def test_a_network_without_permutations_stays():
    a, b = (randomised(nn.Linear(3, 2), seed) for seed in (0, 1))
    found = find_alignment(a, b, example=torch.zeros(1, 3))
    assert found.match.score == 0
    assert torch.equal(found.model.weight, b.weight)
