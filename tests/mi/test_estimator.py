"""The scikit-learn face: the numbers of `estimate`, a critic that is kept, scikit-learn's rules."""

import functools
import inspect

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils import estimator_checks

from sidle import seeding
from sidle.errors import ArgumentError, ShapeError
from sidle.mi import MutualInformationEstimator, estimate
from sidle.mi.critics import SeparableCritic
from sidle.mi.problems import CorrelatedGaussians

SETTINGS = {
    "critic": functools.partial(SeparableCritic, hidden=32),
    "n_steps": 200,
    "learning_rate": 2e-3,
}


def gaussians(n, seed=0):
    return CorrelatedGaussians(2, 1.0).sample(n, seeding.torch_generator(seed))


@pytest.mark.parametrize("bound", ["infonce", "nwj", "club"])
def test_reads_what_estimate_reads(bound):
    x_ND, y_ND = gaussians(600)
    fitted = MutualInformationEstimator(bound=bound, **SETTINGS).fit(x_ND, y_ND)
    assert fitted.estimate_ == estimate(x_ND, y_ND, bound=bound, **SETTINGS)
    assert fitted.nats_ == fitted.estimate_.nats
    assert (fitted.n_features_in_, fitted.n_features_y_) == (2, 2)


def test_defaults_are_those_of_estimate():
    ours = inspect.signature(MutualInformationEstimator).parameters
    theirs = inspect.signature(estimate).parameters
    shared = set(theirs) - {"x", "y", "run"}
    assert set(ours) == shared
    assert all(ours[name].default == theirs[name].default for name in shared)


def test_fresh_rows_are_read_with_the_critic_of_fit():
    fitted = MutualInformationEstimator(**SETTINGS).fit(*gaussians(2000))
    first, second = (fitted.read(*gaussians(1000, seed)) for seed in (1, 2))
    assert first.n_test == 1000
    assert first.nats != second.nats
    # Rows of the same distribution read the same but for chance, and rows torn apart nothing.
    assert first.nats == pytest.approx(second.nats, abs=0.15)
    assert 0.7 < first.nats < 1.1
    x_ND, y_ND = gaussians(1000, 1)
    assert fitted.score(x_ND, y_ND) == first.nats
    assert fitted.score(x_ND, y_ND.flip(0)) < 0.05


def test_confidence_bound_alone_is_the_low_end_of_the_interval():
    fitted = MutualInformationEstimator(**SETTINGS).fit(*gaussians(2000))
    x_ND, y_ND = (part.double().numpy() for part in gaussians(1000, 1))
    low = fitted._fitted.lower_confidence_bound(x_ND, y_ND)
    assert low == fitted.read(x_ND, y_ND).interval[0] > 0.3
    other = MutualInformationEstimator(bound="nwj", **SETTINGS).fit(*gaussians(600))
    with pytest.raises(ArgumentError, match="expected InfoNCE"):
        other._fitted.lower_confidence_bound(x_ND, y_ND)


def test_reading_needs_fit_the_same_columns_and_a_batch():
    with pytest.raises(NotFittedError):
        MutualInformationEstimator().read(*gaussians(100))
    fitted = MutualInformationEstimator(**SETTINGS).fit(*gaussians(600))
    x_ND, y_ND = gaussians(100)
    with pytest.raises(ShapeError, match="2 and 2 columns as in fit, got 1 and 2"):
        fitted.read(x_ND[:, :1], y_ND)
    with pytest.raises(ArgumentError, match="at least a batch of 30 rows, got 29"):
        fitted.read(x_ND[:29], y_ND[:29])


# Those of scikit-learn's checks that make sense for an estimator of (x, y) that predicts nothing.
@pytest.mark.parametrize(
    "check",
    [
        estimator_checks.check_no_attributes_set_in_init,
        estimator_checks.check_parameters_default_constructible,
        estimator_checks.check_get_params_invariance,
        estimator_checks.check_set_params,
        estimator_checks.check_estimator_cloneable,
        estimator_checks.check_estimator_repr,
        estimator_checks.check_estimators_overwrite_params,
        estimator_checks.check_requires_y_none,
        estimator_checks.check_estimators_unfitted,
    ],
    ids=lambda check: check.__name__,
)
def test_scikit_learns_own_checks(check):
    made = MutualInformationEstimator(n_steps=1, batch_size=2)
    name = type(made).__name__
    if check is estimator_checks.check_parameters_default_constructible:
        check(name, made)
    else:
        check(name, clone(made))


def test_copies_with_the_same_settings_read_the_same():
    made = MutualInformationEstimator(**SETTINGS, seed=3)
    x_ND, y_ND = gaussians(400)
    assert clone(made).fit(x_ND, y_ND).nats_ == made.fit(x_ND, y_ND).nats_
    assert (
        made.set_params(seed=4).fit(x_ND, y_ND).nats_
        != clone(made).set_params(seed=3).fit(np.asarray(x_ND), np.asarray(y_ND)).nats_
    )
