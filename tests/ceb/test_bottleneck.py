"""A bottleneck's terms are what they say, gradients go where they should, files keep it."""

import math

import pytest
import torch
from torch import nn

from sidle import checkpoint, seeding
from sidle.ceb import Bottleneck, MeanPrediction, VonMisesFisher, measure
from sidle.errors import ArgumentError, CheckpointError, ShapeError
from sidle.mi.contrast import info_nce

FAMILIES = ("identity", "diagonal", "full", "von-mises-fisher")
X = torch.randn(9, 5, generator=torch.Generator().manual_seed(0))
Y = torch.tensor([0, 1, 2, 0, 1, 2, 0, 0, 1])


def made(seed=0, dim=3, family="identity", n_statistics=None, **settings):
    with seeding.scope(seed):
        statistics = n_statistics or {"diagonal": 2 * dim, "full": dim + dim * (dim + 1) // 2}.get(
            family, dim
        )
        encoder = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, statistics))
        return Bottleneck(encoder, 3, dim, family=family, **settings)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("family", FAMILIES)
def test_terms_are_those_of_the_distributions(family):
    model = made(family=family)
    terms = model.terms(X, Y, 4, generator=generator())
    statistics = model.encode(X)
    z = model.family.draw(statistics, 4, generator())
    torch.testing.assert_close(terms.z, z)
    torch.testing.assert_close(
        terms.rate, model.family.log_density(z, statistics) - model.marginal.log_density(z)
    )
    torch.testing.assert_close(
        terms.residual, model.family.divergence(statistics, model.backward_CP[Y])
    )
    log_c = model.classifier(z).log_softmax(-1)
    torch.testing.assert_close(terms.log_likelihood, log_c[:, torch.arange(9), Y])


def test_objectives_weigh_the_terms_as_written():
    for objective in ("ceb", "vib", "deterministic", "label-smoothing"):
        model = made(objective=objective, rho=1.5, smoothing=0.2)
        found = model.loss(X, Y, 2, generator=generator())
        terms, distortion = found.terms, -found.terms.log_likelihood.mean()
        expected = {
            "ceb": math.exp(-1.5) * terms.residual.mean() + distortion,
            "vib": terms.rate.mean() / (1 + math.exp(1.5)) + distortion,
            "deterministic": nn.functional.cross_entropy(model.classifier(model.encode(X)), Y),
            "label-smoothing": nn.functional.cross_entropy(
                model.classifier(model.encode(X)), Y, label_smoothing=0.2
            ),
        }[objective]
        torch.testing.assert_close(found.loss, expected)
        metrics = found.metrics()
        assert float(metrics["I"]) == pytest.approx(math.log(3) - distortion.item(), abs=1e-5)
        assert (found.marginal_loss is None) == (objective == "vib")


def gradients(loss, model):
    names, parameters = zip(*model.named_parameters(), strict=True)
    found = torch.autograd.grad(loss, parameters, allow_unused=True, retain_graph=True)
    return {
        name
        for name, gradient in zip(names, found, strict=True)
        if gradient is not None and bool((gradient != 0).any())
    }


def test_the_classifiers_gradient_reaches_the_encoder_through_z():
    model = made(rho=math.inf)
    reached = gradients(model.loss(X, Y, generator=generator()).loss, model)
    assert {"encoder.0.weight", "encoder.2.bias", "classifier.weight"} <= reached
    assert "backward_CP" not in reached  # nothing is asked of Re
    finite = made(rho=0.0)
    assert "backward_CP" in gradients(finite.loss(X, Y).loss, finite)


@pytest.mark.parametrize("objective", ["ceb", "deterministic", "label-smoothing"])
def test_measuring_the_rate_neither_helps_nor_hinders_the_network(objective):
    model = made(objective=objective)
    found = model.loss(X, Y, generator=generator())
    assert gradients(found.marginal_loss, model) == {
        "marginal.weights_K", "marginal.statistics_KP",
    }  # fmt: skip
    assert not any(name.startswith("marginal") for name in gradients(found.loss, model))
    theirs, own = set(model.network_parameters()), set(model.marginal_parameters())
    assert theirs | own == set(model.parameters())
    assert not theirs & own
    assert own == set(model.marginal.parameters())


def test_the_marginal_of_vib_learns_with_the_network():
    model = made(objective="vib")
    reached = gradients(model.loss(X, Y, generator=generator()).loss, model)
    assert "marginal.statistics_KP" in reached
    assert set(model.network_parameters()) == set(model.parameters())
    assert list(model.marginal_parameters()) == []


def test_a_consistent_classifier_is_bayes_rule():
    prior = torch.tensor([0.5, 0.3, 0.2])
    for family in FAMILIES:
        model = made(family=family, classifier="consistent", prior=2 * prior)
        z = model.family.draw(model.encode(X), 2, generator())
        joint = model.family.log_densities(z, model.backward_CP).exp() * prior
        torch.testing.assert_close(
            model.logits(z).softmax(-1), joint / joint.sum(-1, keepdim=True), atol=1e-5, rtol=1e-4
        )
        assert model.classifier is None


def test_the_contrastive_decoder_compares_the_labels_of_the_batch():
    model = made(classifier="contrastive", rho=1.0)
    terms = model.terms(X, Y, 2, generator=generator())
    log_b = model.family.log_densities(terms.z, model.backward_CP[Y])  # (S, B, B)
    own = log_b.diagonal(dim1=-2, dim2=-1)
    ratio = own - (log_b.logsumexp(-1) - math.log(9))
    torch.testing.assert_close(terms.log_likelihood + math.log(3), ratio)
    # H(Y) plus it is InfoNCE.
    keys = model.family.natural(model.backward_CP)[Y]
    bound = sum(info_nce(model.family.features(z), keys).bound for z in terms.z) / 2
    assert float(model.loss(X, Y, 2, generator=generator()).metrics()["I"]) == pytest.approx(
        bound, abs=1e-6
    )
    # It predicts as the consistent classifier of the same weights does.
    twin = made(classifier="consistent")
    twin.load_state_dict(model.state_dict())
    torch.testing.assert_close(twin.eval()(X), model.eval()(X))


def test_the_twin_has_the_same_parameters_and_the_same_start():
    twin, model = made(objective="deterministic"), made()
    assert model.state_dict().keys() == twin.state_dict().keys()
    for name, value in model.state_dict().items():
        assert torch.equal(value, twin.state_dict()[name])
    assert torch.equal(model.eval()(X), twin.eval()(X))
    assert twin.terms(X, Y, 5).z.shape == (1, 9, 3)


def test_predictions_take_the_mean_or_draws():
    model = made().eval()
    torch.testing.assert_close(model(X), model.classifier(model.encode(X)))
    with seeding.scope(3):
        found = MeanPrediction(model, 6)(X)
    with seeding.scope(3):
        z = model.family.draw(model.encode(X), 6, None)
    torch.testing.assert_close(found, model.classifier(z).softmax(-1).mean(0).log())
    model.samples = 6
    with seeding.scope(3):
        torch.testing.assert_close(model(X), found)
    model.train()
    with seeding.scope(3):
        one = model(X)
    with seeding.scope(3):
        torch.testing.assert_close(
            one, model.classifier(model.family.draw(model.encode(X), 1, None)[0])
        )


def test_outlier_scores_are_rate_and_distance_to_the_nearest_class():
    model = made().eval()
    with seeding.scope(0):
        found = model.outlier_scores(X)
    torch.testing.assert_close(
        found["Re"],
        torch.stack([model.family.divergence(model.encode(X), b) for b in model.backward_CP]).amin(
            0
        ),
    )
    with seeding.scope(0):
        z = model.family.draw(model.encode(X), 8, None)
    rate = model.family.log_density(z, model.encode(X)) - model.marginal.log_density(z)
    torch.testing.assert_close(found["R"], rate.mean(0))
    far = model.outlier_scores(100 * X)
    assert (far["Re"] > found["Re"]).float().mean() > 0.8
    assert made(objective="deterministic").outlier_scores(X) == {}
    assert MeanPrediction(model, 2).outlier_scores(X).keys() == {"R", "Re"}


def test_printing_tells_the_knob_under_all_its_names():
    text = repr(made(rho=2.0))
    assert "rho=2" in text
    assert "beta_VIB" in text
    assert "objective=ceb" in text


@pytest.mark.parametrize("family", FAMILIES)
def test_an_export_predicts_for_any_number_of_rows(family, tmp_path):
    model = made(family=family)
    model.samples = 3
    program = model.export(X[:4])
    torch.export.save(program, tmp_path / "model.pt2")
    loaded = torch.export.load(tmp_path / "model.pt2").module()
    assert model.training
    assert model.samples == 3
    model.eval().samples = 0
    torch.testing.assert_close(loaded(X), model(X))


def test_files_bring_back_weights_and_knobs(tmp_path):
    model = made(rho=0.5, samples=4, objective="vib")
    model.save(tmp_path / "m.safetensors", epoch=3)
    other = made(seed=1)
    assert other.restore(tmp_path / "m.safetensors") == {"epoch": 3}
    assert (other.rho, other.samples, other.objective) == (0.5, 4, "vib")
    for name, value in model.state_dict().items():
        assert torch.equal(value, other.state_dict()[name])


def test_files_of_other_models_are_refused(tmp_path):
    path = tmp_path / "m.safetensors"
    made().save(path)
    with pytest.raises(CheckpointError, match="dim"):
        made(dim=4).restore(path)
    with pytest.raises(CheckpointError, match="classifier"):
        made(classifier="consistent").restore(path)
    wide = Bottleneck(nn.Linear(6, 3), 3, 3)
    before = {name: value.clone() for name, value in wide.state_dict().items()}
    with pytest.raises(CheckpointError, match="does not fit"):
        wide.restore(path)
    few = made(seed=1, n_components=2)
    kept = few.encoder[0].weight.clone()
    with pytest.raises(CheckpointError, match=r"'marginal\.statistics_KP' has shape \(12, 3\)"):
        few.restore(path)
    # Nothing was taken over of what is not all of it.
    assert torch.equal(few.encoder[0].weight, kept)
    assert all(torch.equal(value, before[name]) for name, value in wide.state_dict().items())
    checkpoint.save(path, {"kind": "cpc"})
    with pytest.raises(CheckpointError, match=r"no model of sidle\.ceb"):
        made().restore(path)
    own = made(family=VonMisesFisher(3, 2.0))
    own.save(path)
    with pytest.raises(CheckpointError, match="concentration"):
        made(family=VonMisesFisher(3, 9.0)).restore(path)


def test_a_bottleneck_of_8192_dimensions_builds_no_square():
    with seeding.scope(0):
        model = Bottleneck(nn.Linear(5, 8192), 3, 8192)
    largest = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            nonlocal largest
            out = func(*args, **(kwargs or {}))
            for one in out if isinstance(out, tuple | list) else [out]:
                if isinstance(one, torch.Tensor):
                    largest = max(largest, one.numel())
            return out

    with Watch():
        model.loss(X, Y).loss.backward()
    assert 0 < largest <= 13 * 8192


def test_on_a_discrete_problem_the_optimum_is_the_point_of_minimum_necessary_information():
    # Six inputs in three classes: I(X;Y) = H(Y) = log 3 can be kept, the other bit dropped.
    x = torch.eye(6)
    y = torch.arange(6) // 2
    with seeding.scope(0):
        model = Bottleneck(nn.Linear(6, 2, bias=False), 3, 2, rho=0.0, n_components=3)
        network = torch.optim.Adam(model.network_parameters(), 0.05)
        marginal = torch.optim.Adam(model.marginal_parameters(), 0.05)
        for step in range(1500):
            for optimizer in (network, marginal):
                for group in optimizer.param_groups:
                    group["lr"] = 0.05 * (1 - step / 1500)
                optimizer.zero_grad()
            found = model.loss(x, y, 16)
            found.loss.backward()
            found.marginal_loss.backward()
            network.step()
            marginal.step()
        held = measure(model, x, y, samples=500)
    assert held.entropy == pytest.approx(math.log(3))
    assert held.residual < 0.01
    assert held.label == pytest.approx(math.log(3), abs=0.01)
    assert held.rate == pytest.approx(math.log(3), abs=0.02)
    assert held.accuracy > 0.99


def test_measures_are_means_over_all_rows_whatever_the_batches():
    model = made(objective="deterministic")
    model.train()
    found = measure(model, X, Y, batch_size=4)
    assert model.training
    terms = model.terms(X, Y)
    assert found.residual == pytest.approx(terms.residual.mean().item(), rel=1e-5)
    assert found.rate == pytest.approx(terms.rate.mean().item(), rel=1e-5)
    assert found.nll == pytest.approx(-terms.log_likelihood.mean().item(), rel=1e-5)
    assert found.label == pytest.approx(found.entropy - found.nll)
    assert found.entropy == pytest.approx(-sum(s * math.log(s) for s in (4 / 9, 3 / 9, 2 / 9)))
    assert found.accuracy == pytest.approx(float((terms.logits[0].argmax(-1) == Y).float().mean()))
    # Nothing is drawn, so more draws are the same again.
    assert measure(model, X, Y, samples=3).as_dict() == pytest.approx(found.as_dict())
    drawn = measure(made(), X, Y, samples=3, seed=1)
    closed = made().terms(X, Y).residual.mean().item()
    assert drawn.residual == pytest.approx(closed, rel=1e-5)
    assert drawn == measure(made(), X, Y, samples=3, seed=1)
    assert drawn != measure(made(), X, Y, samples=3, seed=2)


def test_a_measure_is_of_evaluation_mode_whatever_the_mode():
    encoder = nn.Sequential(nn.Linear(5, 3), nn.BatchNorm1d(3), nn.Dropout())
    model = Bottleneck(encoder, 3, 3)
    assert measure(model.train(), X, Y) == measure(model.eval(), X, Y)


def test_parts_kept_in_evaluation_stay_so():
    encoder = nn.Sequential(nn.Linear(5, 3), nn.BatchNorm1d(3), nn.Dropout())
    model = Bottleneck(encoder, 3, 3).train()
    encoder[1].eval()
    measure(model, X, Y)
    model.export(X)
    assert [one.training for one in (model, encoder, *encoder)] == [True, True, True, False, True]


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: made(objective="ib"), ArgumentError, "ceb, vib"),
        (lambda: made(classifier="none"), ArgumentError, "linear, consistent"),
        (lambda: made(rho=math.nan), ArgumentError, "rho"),
        (lambda: made(samples=-1), ArgumentError, "samples"),
        (lambda: made(prior=torch.tensor([1.0, 0.0, 1.0])), ArgumentError, "prior"),
        (lambda: made(n_components=-1), ArgumentError, "n_components"),
        (lambda: made(n_components=0), ArgumentError, "n_components"),
        (lambda: made().loss(X, Y, 0), ArgumentError, "samples"),
        (lambda: made(n_statistics=4).loss(X, Y), ShapeError, r"\(9, 3\)"),
        (lambda: made().loss(X, Y[:3]), ShapeError, r"\(9,\)"),
        (lambda: made(classifier="contrastive").loss(X, Y - 1), ArgumentError, "from -1 to"),
        (lambda: made().loss(X, Y + 9), ArgumentError, "got some from 9"),
        (lambda: measure(made(), X, Y[:3]), ShapeError, "labels"),
        (lambda: measure(made(), X, Y, samples=0), ArgumentError, "samples"),
        (lambda: MeanPrediction(made(), -1), ArgumentError, "samples"),
    ],
)
def test_bad_input_is_refused(call, error, says):
    with pytest.raises(error, match=says):
        call()
