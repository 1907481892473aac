"""The softmax kernel: gradients that are tiny become 0, others stay what they are."""

import numpy as np
import pytest

from sidle.slide.kernels import softmax as kernels

LEAST_NORMAL = 1.1754944e-38


@pytest.mark.parametrize("spread", [1.0, 20.0, 60.0])
@pytest.mark.parametrize("objective", ["softmax", "one_versus_all"])
def test_gradients_are_exact_and_never_denormal(objective, spread):
    generator = np.random.default_rng(0)
    n, m = 32, 300
    scores = (generator.normal(size=(n, m)) * spread).astype(np.float32)
    labels = generator.integers(0, m, n)
    weight = np.zeros(m, np.float32) if objective == "softmax" else np.ones(m, np.float32)
    found, loss = np.empty_like(scores), np.empty(n)
    getattr(kernels, objective)(
        scores, np.zeros(m, np.float32), weight, np.arange(n + 1), labels, 1 / n, found, loss, 0, n
    )
    wide = scores.astype(np.float64)
    if objective == "softmax":
        expected = np.exp(wide - wide.max(axis=1, keepdims=True))
        expected /= expected.sum(axis=1, keepdims=True)
    else:
        expected = 1 / (1 + np.exp(-wide))
    expected[np.arange(n), labels] -= 1
    # A few units of float32 in the exponential and the sum of 300.
    np.testing.assert_allclose(found, expected / n, rtol=2e-5, atol=1e-8)
    assert not ((found != 0) & (np.abs(found) < LEAST_NORMAL)).any()
