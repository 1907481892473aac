"""Attacks find the worst case where it is known, stay inside their budget, and count honestly."""

import functools
import math

import pytest
import torch
from torch import nn

from sidle import seeding
from sidle.errors import ArgumentError, MissingExtraError, ShapeError
from sidle.evaluation import attacks
from sidle.evaluation.attacks import objectives

SHAPE = (1, 4, 4)
D = 16
DUAL = {"linf": 1, "l2": 2, "l1": math.inf}


class Linear(nn.Module):
    """Two classes by a linear function: the worst case in a ball of radius r is known.

    The margin falls by r times the dual norm of the weights, as long as no entry leaves [0, 1].
    """

    def __init__(self, noise=0.0):
        super().__init__()
        with seeding.scope(0):
            self.weight = nn.Parameter(torch.randn(D, dtype=torch.float64))
        self.noise = noise

    def forward(self, x):
        score = (x - 0.5).flatten(1) @ self.weight
        if self.noise:
            score = score + self.noise * torch.randn_like(score)
        return torch.stack([score, torch.zeros_like(score)], 1)


class Biased(Linear):
    """The same with another score where the classes meet."""

    def __init__(self, bias):
        super().__init__()
        self.bias = bias

    def forward(self, x):
        return super().forward(x) + torch.tensor([self.bias, 0.0])


def problem(n=60, seed=0, spread=0.1):
    generator = torch.Generator().manual_seed(seed)
    x = 0.5 + spread * (torch.rand(n, *SHAPE, generator=generator, dtype=torch.float64) - 0.5)
    model = Linear()
    return model, x, model(x).argmax(1)


def known(model, x, epsilon, norm):
    """Return whom some point of the ball breaks."""
    margin = model(x).detach()[:, 0].abs()
    fall = epsilon * torch.linalg.vector_norm(model.weight.detach(), ord=DUAL[norm])
    return margin < fall


EPSILON = {"linf": 0.01, "l2": 0.025, "l1": 0.05}


@pytest.mark.parametrize("loss", attacks.LOSSES)
@pytest.mark.parametrize("norm", attacks.NORMS)
def test_pgd_breaks_just_the_images_that_can_be_broken(norm, loss):
    model, x, y = problem()
    found = attacks.pgd(model, x, y, epsilon=EPSILON[norm], norm=norm, loss=loss, n_steps=40)
    expected = known(model, x, EPSILON[norm], norm)
    assert 10 < int(expected.sum()) < 50
    near = torch.isclose(
        model(x).detach()[:, 0].abs(),
        EPSILON[norm] * torch.linalg.vector_norm(model.weight.detach(), ord=DUAL[norm]),
        rtol=0.02,
    )
    assert torch.equal(found.success[~near], expected[~near])
    assert found.robust_accuracy == pytest.approx(1 - float(found.success.double().mean()))
    assert (found.distance <= EPSILON[norm] * (1 + 1e-6)).all()
    torch.testing.assert_close(found.success, model(found.x).argmax(1) != y)
    assert found.x.min() >= 0
    assert found.x.max() <= 1


def test_one_step_is_the_worst_case_of_a_linear_classifier():
    model, x, y = problem()
    found = attacks.fgsm(model, x, y, epsilon=0.01)
    assert torch.equal(found.success, known(model, x, 0.01, "linf"))
    moved = (found.x - x).abs()
    torch.testing.assert_close(
        moved[found.distance > 0], torch.full_like(moved, 0.01)[found.distance > 0]
    )


@pytest.mark.parametrize("norm", attacks.NORMS)
def test_attacks_without_gradients_come_near_those_with_them(norm):
    model, x, y = problem()
    found = attacks.spsa(
        model, x, y, epsilon=EPSILON[norm], norm=norm, n_steps=20, n_pairs=24, seed=1
    )
    expected = known(model, x, EPSILON[norm], norm)
    assert not (found.success & ~expected).any()
    assert int(found.success.sum()) >= 0.8 * int(expected.sum())
    assert (found.distance <= EPSILON[norm] * (1 + 1e-6)).all()
    assert all(one.grad is None for one in model.parameters())


def test_square_stays_in_its_ball_and_improves_with_queries():
    model, x, y = problem()
    few = attacks.square(model, x, y, epsilon=0.01, n_queries=1)
    many = attacks.square(model, x, y, epsilon=0.01, n_queries=400)
    expected = known(model, x, 0.01, "linf")
    assert not (many.success & ~expected).any()
    assert int(many.success.sum()) > int(few.success.sum())
    assert int(many.success.sum()) >= 0.85 * int(expected.sum())
    assert (many.distance <= 0.01 + 1e-9).all()
    with pytest.raises(ShapeError, match=r"\(N, C, H, W\)"):
        attacks.square(model, x.flatten(1), y, epsilon=0.01)


def three_classes():
    with seeding.scope(1):
        model = nn.Sequential(nn.Flatten(), nn.Linear(D, 12), nn.Tanh(), nn.Linear(12, 3)).double()
    x = torch.rand(40, *SHAPE, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    return model, x, model(x).argmax(1)


@pytest.mark.parametrize("loss", attacks.LOSSES)
def test_targeted_attacks_reach_the_class_wanted(loss):
    model, x, y = three_classes()
    target = attacks.choose_targets(y, 3)
    found = attacks.pgd(model, x, y, epsilon=0.5, target=target, loss=loss, n_steps=40)
    assert torch.equal(model(found.x).argmax(1) == target, found.success)
    assert found.success.float().mean() > 0.5
    untargeted = attacks.pgd(model, x, y, epsilon=0.5, loss=loss, n_steps=40)
    assert untargeted.success.sum() >= found.success.sum()


def test_targets_are_other_classes():
    y = torch.arange(9) % 3
    assert torch.equal(attacks.choose_targets(y, 3), (y + 1) % 3)
    drawn = attacks.choose_targets(y.repeat(50), 3, "random", seed=1)
    assert (drawn != y.repeat(50)).all()
    assert drawn[y.repeat(50) == 0].unique().tolist() == [1, 2]


def test_images_that_are_wrong_already_are_left_alone():
    model, x, y = problem()
    y = y.clone()
    y[:7] = 1 - y[:7]
    found = attacks.pgd(model, x, y, epsilon=0.001)
    assert found.success[:7].all()
    assert torch.equal(found.x[:7], x[:7])
    assert (found.distance[:7] == 0).all()


@pytest.mark.parametrize("loss", attacks.LOSSES)
def test_without_early_stop_as_many_are_broken_but_further_from_the_boundary(loss):
    model, x, y = three_classes()
    common = {"epsilon": 0.2, "n_steps": 15, "restarts": 3, "seed": 4, "loss": loss}
    slow = attacks.pgd(model, x, y, early_stop=False, **common)
    fast = attacks.pgd(model, x, y, **common)
    assert torch.equal(slow.success, fast.success)
    assert 10 < int(slow.success.sum()) < 40
    assert fast.n_evaluations < slow.n_evaluations

    def losses(found):
        return objectives.losses(model(found.x), y, loss).detach()

    gained = losses(slow) - losses(fast)
    assert (gained[slow.success] >= 0).all()
    assert (gained[slow.success] > 0.01).float().mean() > 0.8
    torch.testing.assert_close(slow.x[~slow.success], fast.x[~fast.success])


def test_restarts_help_and_seeds_decide():
    model, x, y = three_classes()
    one = attacks.pgd(model, x, y, epsilon=0.1, n_steps=3, seed=4)
    many = attacks.pgd(model, x, y, epsilon=0.1, n_steps=3, restarts=8, seed=4)
    assert (many.success | ~one.success).all()
    assert torch.equal(one.x, attacks.pgd(model, x, y, epsilon=0.1, n_steps=3, seed=4).x)
    assert not torch.equal(one.x, attacks.pgd(model, x, y, epsilon=0.1, n_steps=3, seed=5).x)


def test_a_gradient_that_is_no_number_does_not_protect():
    linear, x, y = problem()
    x = x.clone()
    x[:, :, 0] = 0.5  # where the slope of the root of a square is 0 / 0
    y = linear(x).argmax(1)

    def rooted(seen):
        sizes = (seen - 0.5).square().sqrt()
        return linear(0.5 + sizes * (seen - 0.5).sign().detach())

    for norm in attacks.NORMS:
        common = {"epsilon": EPSILON[norm], "norm": norm, "random_start": False, "n_steps": 40}
        # The first row of pixels is lost to the attack, the other three are not.
        found = attacks.pgd(rooted, x, y, **common).success.sum()
        assert found >= 0.6 * attacks.pgd(linear, x, y, **common).success.sum()


def test_a_model_without_a_gradient_is_refused_not_called_robust():
    linear, x, y = problem(6)

    @torch.no_grad()
    def closed(seen):
        return linear(seen)

    for model in (closed, lambda seen: linear.weight.exp()[:2].expand(len(seen), 2)):
        with pytest.raises(ArgumentError, match="without gradients: spsa"):
            attacks.pgd(model, x, model(x).argmax(1), epsilon=0.1)
    assert attacks.spsa(closed, x, y, epsilon=0.1).robust_accuracy < 1


def test_tries_after_the_first_start_anywhere():
    # At the image itself the slope is nothing; from anywhere else it leads out.
    def hill(seen):
        score = 0.05 - (seen - 0.5).flatten(1).square().sum(1)
        return torch.stack([score, torch.zeros_like(score)], 1)

    x, y = torch.full((8, *SHAPE), 0.5), torch.zeros(8, dtype=torch.int64)
    common = {"epsilon": 0.1, "n_steps": 10, "random_start": False}
    assert attacks.pgd(hill, x, y, **common).robust_accuracy == 1.0
    assert attacks.pgd(hill, x, y, restarts=2, **common).robust_accuracy == 0.0


def test_luck_of_a_classifier_that_draws_does_not_count():
    _, x, y = problem(n=40, spread=0.2)
    model = Linear(noise=0.4)
    y = Linear()(x).argmax(1)
    sure = Linear()(x).detach()[:, 0].abs() > 0.15
    x, y = x[sure], y[sure]
    # A tiny budget moves nothing: only luck could break an image. It is wrong of a single draw
    # now and then, hardly ever of the mean of 200.
    found = attacks.pgd(model, x, y, epsilon=1e-6, n_steps=5, samples=200)
    assert found.robust_accuracy > 0.9
    strong = attacks.pgd(model, x, y, epsilon=0.1, n_steps=5, samples=20)
    assert strong.robust_accuracy < 0.1


def test_a_transfer_attacks_one_and_judges_another():
    model, x, y = problem()
    same = attacks.transfer(model, model, x, y, epsilon=0.01, n_steps=20)
    expected = known(model, x, 0.01, "linf")
    near = int((same.success ^ expected).sum())
    assert near <= 3
    turned = Linear()
    turned.weight.data = -turned.weight.data
    # What lowers the score of one raises it for the other, whatever it says itself.
    helped = attacks.transfer(turned, model, x, y, epsilon=0.01, n_steps=20)
    assert (helped.distance <= 0.01 + 1e-9).all()
    torch.testing.assert_close(helped.success, model(helped.x).argmax(1) != y)
    other = nn.Sequential(nn.Flatten(), nn.Linear(D, 2)).double()
    weak = attacks.transfer(other, model, x, y, epsilon=0.01, n_steps=20)
    assert weak.success.sum() < same.success.sum()


def test_a_transfer_goes_on_where_the_surrogate_is_broken():
    # The surrogate's boundary is nearer than the model's, along the same direction.
    model, x, _ = problem()
    x = x[model(x).detach()[:, 0] > 0.05]
    y = torch.zeros(len(x), dtype=torch.int64)
    surrogate = Biased(-0.05)
    epsilon = 2.0 * float(model(x).detach()[:, 0].max() / model.weight.detach().abs().sum())
    found = attacks.transfer(surrogate, model, x, y, epsilon=epsilon, n_steps=20)
    assert found.robust_accuracy == 0.0


@pytest.mark.parametrize(
    ("attack", "settings"),
    [
        ("deepfool", {}),
        ("deepfool-linf", {}),
        ("carlini-wagner", {"steps": 60, "binary_search_steps": 3, "initial_const": 1.0}),
        ("ddn", {"steps": 40}),
        ("ead", {"steps": 60, "binary_search_steps": 3, "initial_const": 1.0}),
        ("boundary", {"steps": 100}),
        ("hop-skip-jump", {"steps": 4, "max_gradient_eval_steps": 100}),
        ("spatial", {}),
        ("salt-and-pepper", {"steps": 30}),
        ("contrast", {}),
    ],
)
def test_attacks_of_foolbox_run_in_our_frame(attack, settings):
    pytest.importorskip("foolbox")
    model, x, y = three_classes()
    x, y, model = x[:8].float(), y[:8], model.float()
    found = attacks.foolbox_attack(model, x, y, attack, settings=settings, seed=3)
    assert torch.equal(found.success, model(found.x).argmax(1) != y)
    assert torch.equal(found.x[~found.success], x[~found.success])
    assert found.x.min() >= 0
    assert found.x.max() <= 1
    again = attacks.foolbox_attack(model, x, y, attack, settings=settings, seed=3)
    assert torch.equal(found.x, again.x)
    norm = attacks.FOOLBOX_ATTACKS[attack][1]
    assert found.norm == norm
    if attack not in ("spatial", "contrast"):
        assert found.success.float().mean() > 0.8
        half = float(found.distance[found.success].median())
        inside = found.success & (found.distance <= half * (1 + 1e-6))
        assert found.robust_accuracy_within(half) == 1 - float(inside.double().mean())
        assert found.robust_accuracy_within(half) > found.robust_accuracy


@pytest.mark.parametrize(
    ("attack", "settings"),
    [
        ("boundary", {"steps": 60}),
        ("hop-skip-jump", {"steps": 2, "max_gradient_eval_steps": 50}),
        ("carlini-wagner", {"steps": 30, "binary_search_steps": 2, "initial_const": 1.0}),
    ],
)
def test_attacks_of_foolbox_run_on_a_classifier_that_draws(attack, settings):
    pytest.importorskip("foolbox")
    _, x, _ = problem(n=12, spread=0.3)
    y = Linear()(x).argmax(1)
    model = Linear(noise=0.3)
    found = attacks.foolbox_attack(model, x, y, attack, settings=settings, samples=8, seed=1)
    again = attacks.foolbox_attack(model, x, y, attack, settings=settings, samples=8, seed=1)
    assert torch.equal(found.x, again.x)
    assert found.success.float().mean() > 0.2


def test_a_budget_takes_a_classifier_that_draws_past_its_boundary():
    pytest.importorskip("foolbox")
    _, x, _ = problem(n=40, spread=0.3)
    y = Linear()(x).argmax(1)
    model, plain = Linear(noise=0.3), Linear()
    call = functools.partial(
        attacks.foolbox_attack,
        x=x, y=y, attack="carlini-wagner", samples=2, seed=1,
        settings={"steps": 30, "binary_search_steps": 3, "initial_const": 1.0},
    )  # fmt: skip
    nearest, farther = call(model), call(model, epsilon=0.5)
    reached = nearest.distance < 0.5
    assert reached.sum() > 20
    assert farther.distance.max() <= max(0.5, float(nearest.distance.max())) + 1e-6
    assert torch.equal(farther.x[~reached], nearest.x[~reached])
    # Their mean prediction is wrong more often, whatever is drawn.
    wrong = [(plain(found.x).argmax(1) != y)[reached].sum() for found in (nearest, farther)]
    assert wrong[1] >= wrong[0] + 5
    assert torch.equal(call(plain).x, call(plain, epsilon=0.5).x)
    with pytest.raises(ArgumentError, match="epsilon"):
        call(model, epsilon=-1.0)


def test_a_nearest_attack_finds_the_known_distance_of_a_linear_classifier():
    pytest.importorskip("foolbox")
    model, x, y = problem()
    distance = model(x).detach()[:, 0].abs() / model.weight.detach().norm()
    found = attacks.foolbox_attack(model.float(), x.float(), y, "deepfool")
    torch.testing.assert_close(
        found.distance.double(), distance, rtol=0.05, atol=1e-3
    )  # it overshoots by 2 %


def test_foolbox_takes_targets_where_it_can():
    pytest.importorskip("foolbox")
    model, x, y = three_classes()
    model, x = model.float(), x.float()
    target = attacks.choose_targets(y, 3)
    found = attacks.foolbox_attack(
        model, x, y, "carlini-wagner", target=target,
        settings={"steps": 60, "binary_search_steps": 3, "initial_const": 1.0},
    )  # fmt: skip
    assert torch.equal(found.success, model(found.x).argmax(1) == target)
    assert found.success.float().mean() > 0.9
    with pytest.raises(ArgumentError, match="takes no class wanted"):
        attacks.foolbox_attack(model, x, y, "spatial", target=target)


def test_without_foolbox_the_extra_is_named(monkeypatch):
    def gone(name):
        raise ImportError(name)

    monkeypatch.setattr("importlib.import_module", gone)
    model, x, y = problem(4)
    with pytest.raises(MissingExtraError, match=r"sidle\[attacks\]"):
        attacks.foolbox_attack(model, x, y, "deepfool")


MODEL, X, Y = problem(6)


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: attacks.pgd(MODEL, X, Y, epsilon=0.0), ArgumentError, "epsilon"),
        (lambda: attacks.pgd(MODEL, X, Y, epsilon=0.1, norm="l0"), ArgumentError, "l0"),
        (lambda: attacks.pgd(MODEL, X, Y, epsilon=0.1, loss="hinge"), ArgumentError, "hinge"),
        (lambda: attacks.pgd(MODEL, X, Y, epsilon=0.1, n_steps=0), ArgumentError, "n_steps"),
        (lambda: attacks.pgd(MODEL, X, Y, epsilon=0.1, step_size=-1.0), ArgumentError, "step_size"),
        (lambda: attacks.pgd(MODEL, X, Y, epsilon=0.1, noise=-1.0), ArgumentError, "noise"),
        (lambda: attacks.pgd(MODEL, X, Y + 1, epsilon=0.1), ArgumentError, "2 outputs"),
        (lambda: attacks.pgd(MODEL, X + 1, Y, epsilon=0.1), ArgumentError, "normalisation"),
        (lambda: attacks.spsa(MODEL, X, Y, epsilon=0.1, n_pairs=0), ArgumentError, "n_pairs"),
        (lambda: attacks.square(MODEL, X, Y, epsilon=0.1, n_queries=0), ArgumentError, "n_queries"),
        (lambda: attacks.transfer(MODEL, MODEL, X, Y[:2], epsilon=0.1), ShapeError, "6 integer"),
        (lambda: attacks.foolbox_attack(MODEL, X, Y, "bim"), ArgumentError, "deepfool"),
        (
            lambda: attacks.foolbox_attack(MODEL, X, Y, "deepfool", settings={"speed": 3}),
            ArgumentError,
            "speed",
        ),
        (lambda: attacks.choose_targets(Y, 2, "best"), ArgumentError, "best"),
    ],
)
def test_bad_input_is_refused(call, error, says):
    with pytest.raises(error, match=says):
        call()
