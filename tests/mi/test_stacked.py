"""Critics side by side against the same critics one by one."""

import weakref

import pytest
import torch

from sidle import seeding, training
from sidle.errors import ArgumentError, ShapeError
from sidle.mi.bounds import infonce_bound, nwj_bound
from sidle.mi.critics import SeparableCritic
from sidle.mi.problems import Staircase
from sidle.mi.stacked import StackedSeparableCritic, stack, staircase_batches

STAIRCASE = Staircase(dim=4, levels=(1.0, 3.0), steps_per_level=30)


def build(seeds, dim_x=4, dim_y=4, *, dtype=torch.float32, **sizes):
    critics = []
    for seed in seeds:
        with seeding.scope(seed):
            critics.append(SeparableCritic(dim_x, dim_y, **sizes).to(dtype))
    return critics


def draw(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=seeding.torch_generator(seed), dtype=dtype)


def train(module, bound, batches, n_steps):
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-3)
    records = training.fit(
        training.supervised(module, optimizer, lambda m, pair: -bound(m(*pair)).sum()),
        batches,
        n_steps,
        state={"critic": module, "optimizer": optimizer},
    )
    return [record["loss"] for record in records]


@pytest.mark.parametrize("layers", [0, 1, 3])
@pytest.mark.parametrize(("dim_x", "dim_y"), [(4, 4), (5, 2), (2, 5)])
@pytest.mark.parametrize("n_columns", [6, 7])
def test_scores_are_those_of_each_critic_alone(layers, dim_x, dim_y, n_columns):
    critics = build(range(3), dim_x, dim_y, hidden=8, layers=layers, embedding=3)
    x_SBD, y_SCE = draw(3, 6, dim_x), draw(3, n_columns, dim_y, seed=1)
    scores_SBC = stack(critics)(x_SBD, y_SCE)
    assert scores_SBC.shape == (3, 6, n_columns)
    for critic, x_BD, y_CE, scores_BC in zip(critics, x_SBD, y_SCE, scores_SBC, strict=True):
        torch.testing.assert_close(scores_BC, critic(x_BD, y_CE), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("bound", [infonce_bound, nwj_bound])
@pytest.mark.parametrize("dim_y", [4, 3])
def test_trains_each_critic_as_it_would_train_alone(bound, dim_y):
    # In float64 rounding stays below 1e-10 over 50 steps of Adam, in either order of summation.
    seeds, batches = (0, 5, 7), staircase_batches(STAIRCASE, 16, (0, 5, 7))

    def batch(step):
        x_SBD, y_SBD = batches(step)
        return x_SBD.double(), y_SBD[..., :dim_y].double()

    alone = build(seeds, dim_y=dim_y, dtype=torch.float64, hidden=16, embedding=5)
    stacked = stack(build(seeds, dim_y=dim_y, dtype=torch.float64, hidden=16, embedding=5))
    losses = torch.tensor(train(stacked, bound, batch, 50), dtype=torch.float64)
    losses_alone = []
    for i, critic in enumerate(alone):

        def one(step, i=i):
            return tuple(part_SBD[i] for part_SBD in batch(step))

        losses_alone.append(train(critic, bound, one, 50))
        for found, expected in zip(
            stacked.unstack(i).parameters(), critic.parameters(), strict=True
        ):
            torch.testing.assert_close(found, expected, atol=1e-10, rtol=0)
    expected = torch.tensor(losses_alone, dtype=torch.float64).sum(0)
    torch.testing.assert_close(losses, expected, atol=1e-9, rtol=0)


def test_reads_the_same_nats_in_float32_as_alone():
    batches = staircase_batches(STAIRCASE, 16, (0, 1))
    stacked, alone = stack(build((0, 1))), build((0, 1))[1]
    optimizers = [
        torch.optim.Adam(stacked.parameters(), lr=5e-4, fused=True),
        torch.optim.Adam(alone.parameters(), lr=5e-4),
    ]
    for step in range(50):
        x_SBD, y_SBD = batches(step)
        nats_S = infonce_bound(stacked(x_SBD, y_SBD))
        nats = infonce_bound(alone(x_SBD[1], y_SBD[1]))
        # Moving the weights by one part in 1e7 moves later nats by 2e-4; allow ten times that.
        assert nats_S[1].item() == pytest.approx(nats.item(), abs=1e-6 if step == 0 else 2e-3)
        for optimizer, loss in zip(optimizers, (-nats_S.sum(), -nats), strict=True):
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    assert nats > 1.0  # there was something to learn


def test_no_critic_sees_another_ones_batch():
    stacked = StackedSeparableCritic(3, 4, 4, hidden=8)
    x_SBD, y_SBD = draw(3, 6, 4).requires_grad_(), draw(3, 6, 4, seed=1)
    infonce_bound(stacked(x_SBD, y_SBD))[1].backward()
    for parameter in (*stacked.weights, *stacked.biases):
        per_tower_T = parameter.grad.flatten(1).abs().sum(1)
        assert (per_tower_T > 0).tolist() == [False, True, False] * 2
    assert (x_SBD.grad.flatten(1).abs().sum(1) > 0).tolist() == [False, True, False]


def test_weights_of_filled_up_columns_stay_zero():
    stacked = stack(build((0, 1), dim_y=2, hidden=8))
    train(stacked, infonce_bound, lambda i: (draw(2, 9, 4, seed=i), draw(2, 9, 2, seed=i + 99)), 20)
    assert torch.count_nonzero(stacked.weights[0][2:, 2:]) == 0
    assert torch.count_nonzero(stacked.weights[0][2:, :2]) > 0
    assert stacked.unstack(1).embed_y[0].weight.shape == (8, 2)


@pytest.mark.parametrize("layers", [0, 2])
def test_unstack_gives_back_what_was_stacked(layers):
    critics = build((3, 4), 5, 2, hidden=8, layers=layers, embedding=3)
    stacked = stack(critics)
    for i, critic in enumerate(critics):
        found = stacked.unstack(i)
        assert type(found) is SeparableCritic
        assert found.state_dict().keys() == critic.state_dict().keys()
        for name, value in found.state_dict().items():
            assert torch.equal(value, critic.state_dict()[name])
        assert all(p.requires_grad and p.is_contiguous() for p in found.parameters())


def test_stack_and_unstack_copy_and_draw_nothing():
    critics = build((0, 1))
    before = torch.get_rng_state()
    stacked = stack(critics)
    one = stacked.unstack(0)
    assert torch.equal(torch.get_rng_state(), before)
    kept = [parameter.clone() for parameter in critics[0].parameters()]
    with torch.no_grad():
        for parameter in (*stacked.parameters(), *one.parameters()):
            parameter.add_(1)
    assert all(torch.equal(a, b) for a, b in zip(kept, critics[0].parameters(), strict=True))
    again = stacked.unstack(0)
    # The stack was moved once, not a second time by way of the critic taken out of it.
    for moved, old in zip(again.parameters(), kept, strict=True):
        assert torch.equal(moved, old + 1)


def test_draws_what_critics_built_one_after_the_other_draw():
    with seeding.scope(3):
        stacked = StackedSeparableCritic(2, 4, 3, hidden=8, layers=1, embedding=6)
    with seeding.scope(3):
        critics = [SeparableCritic(4, 3, hidden=8, layers=1, embedding=6) for _ in range(2)]
    for found, expected in zip(stacked.parameters(), stack(critics).parameters(), strict=True):
        assert torch.equal(found, expected)


def test_state_goes_from_one_stack_to_another():
    stacked = stack(build((0, 1), hidden=8))
    other = StackedSeparableCritic(2, 4, 4, hidden=8)
    other.load_state_dict(stacked.state_dict())
    x_SBD, y_SBD = draw(2, 6, 4), draw(2, 6, 4, seed=1)
    assert torch.equal(other(x_SBD, y_SBD), stacked(x_SBD, y_SBD))


def test_stack_refuses_critics_of_different_sizes_or_none():
    with pytest.raises(ArgumentError, match="of the same sizes"):
        stack([*build((0,), hidden=8), *build((1,), hidden=9)])
    with pytest.raises(ArgumentError, match="of the same sizes"):
        stack([*build((0,), hidden=8), *build((1,), hidden=8, layers=1)])
    with pytest.raises(ArgumentError, match="one or more critics"):
        stack([])


def test_refuses_wrong_sizes_and_shapes_and_names_them():
    with pytest.raises(ArgumentError, match="n_models must be at least 1, got 0"):
        StackedSeparableCritic(0, 4, 4)
    with pytest.raises(ArgumentError, match="at least"):
        StackedSeparableCritic(2, 4, 4, hidden=0)
    stacked = StackedSeparableCritic(2, 4, 3, hidden=8)
    with pytest.raises(ShapeError, match=r"x_SBD must have shape \(2, rows, 4\), got \(6, 4\)"):
        stacked(draw(6, 4), draw(2, 6, 3))
    with pytest.raises(ShapeError, match=r"y_SCE must have shape \(2, rows, 3\), got \(1, 6, 3\)"):
        stacked(draw(2, 6, 4), draw(1, 6, 3))
    with pytest.raises(ShapeError, match=r"y_SCE must have shape \(2, rows, 3\), got \(2, 6, 4\)"):
        stacked(draw(2, 6, 4), draw(2, 6, 4))
    for index in (-1, 2):
        with pytest.raises(ArgumentError, match=rf"index must lie in \[0, 2\), got {index}"):
            stacked.unstack(index)


def test_a_batch_depends_on_step_and_seed_alone():
    in_order, by_jumps = (staircase_batches(STAIRCASE, 8, (3, 4)) for _ in range(2))
    other_company = staircase_batches(STAIRCASE, 8, (9, 4, 1))
    drawn = [in_order(step) for step in range(STAIRCASE.n_steps)]
    for step in (59, 0, 31, 29, 30, 5):
        for found, expected in zip(by_jumps(step), drawn[step], strict=True):
            assert found.shape == (2, 8, 4)
            assert torch.equal(found, expected)
        assert torch.equal(other_company(step)[0][1], drawn[step][0][1])


def test_only_the_steps_drawn_last_are_kept():
    batches = staircase_batches(STAIRCASE, 8, (3, 4))
    drawn = weakref.ref(batches(0)[0]._base)
    batches(1)
    assert drawn() is not None
    batches(STAIRCASE.n_steps - 1)
    assert drawn() is None


def test_no_two_batches_are_alike():
    batches = staircase_batches(STAIRCASE, 8, (3, 4))
    x_TSBD = torch.stack([batches(step)[0] for step in range(STAIRCASE.n_steps)])
    rows_ND = x_TSBD.flatten(0, -2)
    assert len(rows_ND.unique(dim=0)) == len(rows_ND) == 60 * 2 * 8


@pytest.mark.parametrize("steps_per_level", [250, 17])
def test_batches_come_from_the_stair_of_their_step(steps_per_level):
    staircase = Staircase(dim=2, levels=(0.0, 4.0), steps_per_level=steps_per_level)
    batches = staircase_batches(staircase, 256, (0,))
    correlations = []
    for step in range(staircase.n_steps):
        x_SBD, y_SBD = batches(step)
        both = torch.stack([x_SBD.flatten(), y_SBD.flatten()])
        correlations.append(torch.corrcoef(both)[0, 1].item())
    # Six standard errors of a correlation of zero over 512 draws.
    assert max(map(abs, correlations[:steps_per_level])) < 6 / 512**0.5
    # 4 nats in two dimensions are a correlation of 0.991.
    assert min(correlations[steps_per_level:]) > 0.98


def test_batches_refuse_steps_beyond_the_staircase_and_no_seeds():
    with pytest.raises(ArgumentError, match="step must lie in"):
        staircase_batches(STAIRCASE, 8, (0,))(STAIRCASE.n_steps)
    with pytest.raises(ArgumentError, match="one or more seeds"):
        staircase_batches(STAIRCASE, 8, ())
    with pytest.raises(ArgumentError, match="batch_size >= 1, got"):
        staircase_batches(STAIRCASE, 0, (0,))
