"""Iterative pruning against the loop of the paper written out, rewinding, controls, resuming."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from sidle import seeding
from sidle.errors import ArgumentError, NonFiniteError
from sidle.lmc import criteria, training_function
from sidle.lmc.masks import Mask, prunable
from sidle.lmc.pruning import control, iterative, one_shot

T = 30


def network():
    return nn.Sequential(nn.Linear(8, 24), nn.ReLU(), nn.Linear(24, 3))


def initial(seed=0):
    with seeding.scope(seed):
        return {"model": network().state_dict()}


def examples():
    x = torch.randn(200, 8, generator=seeding.torch_generator(0))
    return x, x[:, :3].argmax(1)


class Training:
    """SGD with momentum under a schedule; takes notes of how it was called."""

    def __init__(self):
        self.calls = []

    def __call__(self, state, start, stop, seed, mask=None):
        self.calls.append((start, stop, seed, 1.0 if mask is None else mask.density))
        model = network()
        model.load_state_dict(state["model"])
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
        if "optimizer" in state:
            optimizer.load_state_dict(state["optimizer"])
        if mask is not None:
            mask.hold(model, optimizer)
        x, y = examples()
        for i in range(start, stop):
            optimizer.param_groups[0]["lr"] = 0.1 * (1 - i / (T + 1))
            generator = seeding.torch_generator(seeding.split(seed, "batch", i))
            rows = torch.randint(len(x), (32,), generator=generator)
            optimizer.zero_grad()
            functional.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
        return {"model": model.state_dict(), "optimizer": optimizer.state_dict()}


def evaluate(state):
    model = network()
    model.load_state_dict(state["model"])
    x, y = examples()
    return {"error": float((model(x).argmax(1) != y).float().mean())}


def same(a, b):
    return training_function.digest(a) == training_function.digest(b)


def ones():
    return Mask.ones(network())


@pytest.mark.parametrize("rewind", ["weights", "learning_rate"])
@pytest.mark.parametrize("k", [0, 7])
def test_is_the_papers_loop_written_out(rewind, k):
    train_fn, start = Training(), initial()
    copied = training_function.copied  # the optimiser would go on in the memory it is given
    rounds = list(
        iterative(train_fn, start, ones(), stop=T, rounds=3, rewind=rewind, rewind_step=k, seed=5)
    )
    noise = [seeding.split(5, "round", n) for n in range(4)]
    trunk = train_fn(start, 0, k, seeding.split(5, "trunk")) if k else start
    trained, mask = train_fn(copied(trunk), k, T, noise[0]), ones()
    assert same(rounds[0].trained, trained)
    for number in (1, 2, 3):
        mask = criteria.magnitude(trained["model"], mask, 0.2)
        begin = trunk if rewind == "weights" else {**trunk, "model": trained["model"]}
        begin = {**begin, "model": mask.apply(begin["model"])}
        trained = train_fn(copied(begin), k, T, noise[number], mask)
        found = rounds[number]
        assert found.mask == mask
        assert same(found.ticket, begin)
        assert same(found.trained, trained)
        assert (found.number, found.start, found.stop, found.name) == (number, k, T, "ticket")
    assert [found.density for found in rounds] == pytest.approx(
        [0.8**n for n in range(4)], abs=3e-3
    )


def test_rewinding_to_initialisation_is_rewinding_to_step_0():
    settings = {"stop": T, "rounds": 2}
    for one, other in zip(
        iterative(Training(), initial(), ones(), rewind="initialisation", **settings),
        iterative(Training(), initial(), ones(), rewind_step=0, **settings),
        strict=True,
    ):
        assert same(one.trained, other.trained)
    assert same(one.ticket["model"], one.mask.apply(initial()["model"]))


def test_layer_scope_prunes_each_layer_alike():
    found = list(iterative(Training(), initial(), ones(), stop=T, rounds=1, scope="layer"))[1]
    assert found.mask.densities() == pytest.approx({"0.weight": 0.8, "2.weight": 0.8}, abs=0.01)


def test_rounds_come_as_they_are_trained_and_are_evaluated():
    train_fn = Training()
    rounds = iterative(
        train_fn, initial(), ones(), stop=T, rounds=9, rewind_step=4, evaluate_fn=evaluate
    )
    assert train_fn.calls == []
    dense = next(rounds)
    assert [call[:2] for call in train_fn.calls] == [(0, 4), (4, T)]
    assert dense.metrics == evaluate(dense.trained)
    next(rounds)
    assert len(train_fn.calls) == 3


def test_one_shot_reaches_a_density_at_once():
    train_fn = Training()
    dense, ticket = one_shot(train_fn, initial(), ones(), stop=T, density=0.1, rewind_step=3)
    assert dense.density == 1
    assert ticket.mask.n_kept == ticket.mask.n_weights - criteria.n_pruned(
        ticket.mask.n_weights, 0.9
    )
    assert [call[:2] for call in train_fn.calls] == [(0, 3), (3, T), (3, T)]


def test_a_bare_state_dict_will_do():
    def train_fn(state, start, stop, seed, mask=None):
        return Training()({"model": state}, start, stop, seed, mask)["model"]

    found = list(
        iterative(train_fn, initial()["model"], ones(), stop=T, rounds=1, rewind="learning_rate")
    )
    assert set(found[1].trained) == set(initial()["model"])
    kept = found[1].mask["0.weight"]
    assert torch.equal(found[1].ticket["0.weight"][kept], found[0].trained["0.weight"][kept])


def test_an_interrupted_procedure_goes_on_and_trains_nothing_twice(tmp_path):
    train_fn = Training()
    settings = {"stop": T, "rewind_step": 5, "folder": tmp_path, "settings": {"lr": 0.1}}
    interrupted = iterative(train_fn, initial(), ones(), rounds=3, **settings)
    first = [next(interrupted), next(interrupted)]
    assert len(train_fn.calls) == 3  # trunk, dense, one ticket
    rounds = list(iterative(train_fn, initial(), ones(), rounds=3, **settings))
    assert len(train_fn.calls) == 5
    assert all(same(a.trained, b.trained) for a, b in zip(first, rounds, strict=False))
    again = list(iterative(train_fn, initial(), ones(), rounds=3, **settings))
    assert len(train_fn.calls) == 5
    assert all(same(a.trained, b.trained) for a, b in zip(again, rounds, strict=True))
    list(iterative(train_fn, initial(), ones(), rounds=4, **settings))  # one round more
    assert len(train_fn.calls) == 6
    next(iterative(train_fn, initial(), ones(), rounds=3, **settings | {"settings": {"lr": 1}}))
    assert len(train_fn.calls) == 8
    free = list(iterative(train_fn, initial(), ones(), rounds=3, stop=T, rewind_step=5))
    assert all(same(a.trained, b.trained) for a, b in zip(free, rounds, strict=True))


def test_controls_are_as_sparse_as_the_ticket():
    train_fn = Training()
    ticket = list(iterative(train_fn, initial(), ones(), stop=T, rounds=4, rewind_step=5, seed=1))[
        -1
    ]
    train_fn.calls.clear()
    needs = {"model_fn": network, "data": examples(), "evaluate_fn": evaluate, "seed": 2}
    kinds = ("random", "reinitialised", "snip", "magnitude")
    found = {kind: control(ticket, train_fn, kind, **needs) for kind in kinds}
    for kind, one in found.items():
        assert one.name == kind
        assert one.mask.n_kept == ticket.mask.n_kept
        assert one.mask.revived(one.trained["model"]) == {}
        assert one.metrics == evaluate(one.trained)
    assert [call[:2] for call in train_fn.calls] == [(5, T), (0, T), (0, T), (0, T)]
    shuffled = found["random"]
    assert shuffled.mask.densities() == ticket.mask.densities()
    assert shuffled.mask != ticket.mask
    assert same(shuffled.rewound, ticket.rewound)
    drawn = found["reinitialised"]
    assert drawn.mask == ticket.mask
    assert not torch.equal(drawn.rewound["model"]["0.weight"], initial()["model"]["0.weight"])
    every, fraction = ones(), 1 - ticket.density
    assert found["magnitude"].mask == criteria.magnitude(initial()["model"], every, fraction)
    model = network()
    model.load_state_dict(initial()["model"])
    assert found["snip"].mask == criteria.snip(model, examples(), every, fraction)
    assert same(control(ticket, train_fn, "random", seed=2).trained, shuffled.trained)
    assert not same(control(ticket, train_fn, "random", seed=3).trained, shuffled.trained)


def test_controls_that_cannot_be_made_are_refused():
    def fixed():
        with seeding.scope(0):
            return network()

    dense, ticket = iterative(Training(), initial(), ones(), stop=T, rounds=1)
    with pytest.raises(ArgumentError, match="keeps every weight"):
        control(dense, Training(), "random", seed=0)
    with pytest.raises(ArgumentError, match="'snip' needs model_fn and data"):
        control(ticket, Training(), "snip", seed=0)
    with pytest.raises(ArgumentError, match=r"one of random, .*, got 'grasp'"):
        control(ticket, Training(), "grasp", seed=0)
    with pytest.raises(ArgumentError, match="made the weights that the ticket began with"):
        control(ticket, Training(), "reinitialised", seed=0, model_fn=fixed)
    *_, late = iterative(Training(), initial(), ones(), stop=T, rounds=2, rewind="learning_rate")
    assert (
        late.rewound["model"]["0.weight"] == 0
    ).any()  # which a control would have to begin with
    with pytest.raises(ArgumentError, match="begin with less than the ticket"):
        control(late, Training(), "random", seed=0)


def test_a_training_that_revives_weights_is_refused_by_parameter():
    def forgetful(state, start, stop, seed, mask=None):
        return Training()(state, start, stop, seed)

    rounds = iterative(forgetful, initial(), ones(), stop=T, rounds=1)
    next(rounds)
    with pytest.raises(ArgumentError, match=r"revived pruned weights in '0.weight' \(\d+\), '2"):
        next(rounds)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"fraction": 1.0}, "fraction must lie"),
        ({"scope": "row"}, "scope must be"),
        ({"rewind": "late"}, "rewind must be"),
        ({"rounds": 0}, "rounds >= 1"),
        ({"rewind_step": T}, "rewind_step < stop"),
        ({"rewind": "initialisation", "rewind_step": 3}, "goes back to step 0"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_bad_arguments_are_refused_before_any_work(settings, said):
    with pytest.raises(ArgumentError, match=said):
        iterative(Training(), initial(), ones(), **{"stop": T, "rounds": 1} | settings)


def test_other_misuse_is_refused_before_any_work():
    def maskless(state, start, stop, seed):
        raise AssertionError

    with pytest.raises(ArgumentError, match="takes no `mask`"):
        iterative(maskless, initial(), ones(), stop=T, rounds=1)
    with pytest.raises(ArgumentError, match="is absent"):
        iterative(Training(), initial(), Mask({"w": torch.ones(1) > 0}), stop=T, rounds=1)
    with pytest.raises(ArgumentError, match="density must lie"):
        one_shot(Training(), initial(), ones(), stop=T, density=1.0)
    with pytest.raises(NonFiniteError, match="the metric 'loss' is nan"):
        next(
            iterative(
                Training(),
                initial(),
                ones(),
                stop=T,
                rounds=1,
                evaluate_fn=lambda state: {"loss": float("nan")},
            )
        )


def test_pruning_goes_on_from_a_mask():
    given = criteria.random_mask(ones(), 0.5, seed=0)
    train_fn = Training()
    dense, ticket = iterative(train_fn, initial(), given, stop=T, rounds=1, rewind_step=2)
    assert train_fn.calls[0][3] == given.density
    assert dense.mask == given
    assert ticket.mask.n_kept == given.n_kept - criteria.n_pruned(given.n_kept, 0.2)
    assert all(not (ticket.mask[name] & ~given[name]).any() for name in prunable(network()))
