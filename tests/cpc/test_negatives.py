"""Plans hold what policies say: no positive, no copy, none of a sequence that is not allowed."""

import pytest
import torch

from sidle.cpc import Positions, negatives
from sidle.errors import ArgumentError

LENGTHS = torch.tensor([9, 7, 1, 8])
SPEAKERS = {"speaker": torch.tensor([0, 1, 1, 0])}
ALLOWED = {
    "mixed": (negatives.Mixed(5), lambda i, j: True),
    "mixed without the own": (negatives.Mixed(5, exclude_sequence=True), lambda i, j: i != j),
    "same sequence": (negatives.SameSequence(3), lambda i, j: i == j),
    "other sequences": (negatives.OtherSequences(5), lambda i, j: i != j),
    "one of each": (negatives.OtherSequences(2, one_each=True), lambda i, j: i != j),
    "same speaker": (
        negatives.SameGroup(key="speaker", n=4),
        lambda i, j: SPEAKERS["speaker"][i] == SPEAKERS["speaker"][j],
    ),
    "same speaker without the own": (
        negatives.SameGroup(key="speaker", n=4, exclude_sequence=True),
        lambda i, j: i != j and SPEAKERS["speaker"][i] == SPEAKERS["speaker"][j],
    ),
    "time gap": (negatives.TimeGap(3, gap=2), lambda i, j: i == j),
}


def plan_of(policy, *, sites=1, seed=0, items=None, steps=(1, 2, 4)):
    positions = Positions(LENGTHS, 9, sites, steps, SPEAKERS, items)
    return policy.plan(positions, torch.Generator().manual_seed(seed))


def softmaxes(plan):
    """Yield step, anchor, latent of the anchor and the negatives, of each softmax that counts."""
    positions = plan.positions
    for s in range(len(positions.steps)):
        for n, anchor in enumerate(positions.anchor_N.tolist()):
            if positions.positive_SN[s, n] >= 0:
                yield s, n, anchor, plan.negatives(s, n).tolist()


@pytest.mark.parametrize("per_step", [False, True])
@pytest.mark.parametrize("sites", [1, 3])
@pytest.mark.parametrize("name", ALLOWED)
def test_negatives_come_from_where_the_policy_says_and_are_no_positives(name, sites, per_step):
    policy, allowed = ALLOWED[name]
    values = vars(policy) | {"per_step": per_step}
    policy = type(policy)(**values)
    plan = plan_of(policy, sites=sites)
    plan.check()
    positions, seen = plan.positions, 0
    for s, n, anchor, found in softmaxes(plan):
        own = int(positions.sequence_M[anchor])
        others = [int(positions.sequence_M[m]) for m in found]
        assert all(allowed(own, other) for other in others)
        assert len(set(found)) == len(found)
        assert len(found) <= policy.n
        assert int(plan.n_candidates_SN[s, n]) == len(found) + 1
        steps = range(len(positions.steps)) if not per_step else [s]
        positives = {int(positions.positive_SN[k, n]) for k in steps}
        assert not positives & set(found)
        if policy.gap:
            near = [positions.time_M[p] for p in positives if p >= 0]
            assert all(abs(positions.time_M[m] - t) >= policy.gap for m in found for t in near)
        if name == "one of each":
            assert len(set(others)) == len(others)
        seen += len(found)
    assert seen > 0
    assert plan.guaranteed == (name == "one of each")


def test_without_a_number_all_that_is_allowed_is_taken():
    plan = plan_of(negatives.Mixed(None))
    assert all(len(found) == int(LENGTHS.sum()) - 1 for *_, found in softmaxes(plan))
    plan = plan_of(negatives.OtherSequences(None))
    for _, _, anchor, found in softmaxes(plan):
        own = int(plan.positions.sequence_M[anchor])
        assert len(found) == int(LENGTHS.sum()) - int(LENGTHS[own])


def test_every_allowed_negative_is_drawn_as_often_as_any_other():
    counts = torch.zeros(int(LENGTHS.sum()))
    n_draws = 3000
    for seed in range(n_draws):
        plan = plan_of(negatives.Mixed(4), seed=seed, steps=(1,))
        counts[plan.negatives(0, 0)] += 1
    positive = int(plan.positions.positive_SN[0, 0])
    assert counts[positive] == 0
    rest = torch.cat([counts[:positive], counts[positive + 1 :]])
    expected = 4 * n_draws / len(rest)
    # Five standard deviations of a binomial: 24 counts, once in 70,000 runs; seeds are fixed.
    assert (rest - expected).abs().max() < 5 * expected**0.5


def test_copies_of_the_positive_are_no_negatives_and_count_once():
    items = torch.arange(4 * 9).reshape(4, 9)
    items[:, 3] = 7  # one observation in all sequences, at step 3
    plan = plan_of(negatives.Mixed(None), items=items, steps=(1,))
    of_M = plan.positions.item_M
    for s, n, _, found in softmaxes(plan):
        positive = int(plan.positions.positive_SN[s, n])
        kinds = [int(of_M[m]) for m in found]
        assert int(of_M[positive]) not in kinds
        assert len(set(kinds)) == len(kinds)


def test_equal_seeds_draw_equal_plans_and_others_do_not():
    same, again, other = (plan_of(negatives.Mixed(5), seed=seed) for seed in (0, 0, 1))
    assert torch.equal(same.index_GNP, again.index_GNP)
    assert not torch.equal(same.index_GNP, other.index_GNP)


def test_a_plan_prints_what_it_does():
    text = str(plan_of(negatives.SameGroup(key="speaker", n=4)))
    assert "SameGroup(n=4, key=speaker)" in text
    assert "ceiling" in text


@pytest.mark.parametrize("name", ALLOWED)
def test_policies_come_back_from_plain_values(name):
    for policy in (ALLOWED[name][0], negatives.Hard(3, candidates=ALLOWED[name][0])):
        assert negatives.policy_of_dict(negatives.policy_as_dict(policy)) == policy


def test_wrong_policies_are_refused():
    with pytest.raises(ArgumentError, match="at least 1"):
        negatives.Mixed(0)
    with pytest.raises(ArgumentError, match="one_each"):
        negatives.OtherSequences(None, one_each=True)
    with pytest.raises(ArgumentError, match="may be any policy but Hard"):
        negatives.Hard(3, candidates=negatives.Hard(2))
    with pytest.raises(ArgumentError, match="no policy of negatives"):
        negatives.policy_of_dict({"policy": "Easy"})
