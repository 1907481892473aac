"""Training need not be a PyTorch loop: the instability of scikit-learn's MLPClassifier.

What the analysis needs is a torch model that computes the same from the same weights, and a
function that takes up training from given weights.
"""

import numpy as np
import torch
from sklearn.neural_network import MLPClassifier
from torch import nn

from sidle import seeding
from sidle.data import images
from sidle.lmc import instability

STEPS, STOP, HIDDEN = [0, 20, 60], 150, 50
train_images, test_images = images.digits()
x, y = train_images.pixels.reshape(-1, 64) / 255, train_images.labels
x_test, y_test = test_images.pixels.reshape(-1, 64) / 255, test_images.labels


def network():
    return nn.Sequential(nn.Linear(64, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 10)).double()


def classifier_of(weights):
    """Return a classifier with a network's weights, which scikit-learn keeps transposed."""
    classifier = MLPClassifier(
        (HIDDEN,), solver="sgd", momentum=0, learning_rate_init=1.0, alpha=0, shuffle=False
    )
    classifier.partial_fit(x[:2], y[:2], classes=np.arange(10))  # makes its arrays
    classifier.coefs_ = [weights[f"{i}.weight"].numpy().T.copy() for i in (0, 2)]
    classifier.intercepts_ = [weights[f"{i}.bias"].numpy().copy() for i in (0, 2)]
    return classifier


def weights_of(classifier):
    layers = zip((0, 2), classifier.coefs_, classifier.intercepts_, strict=True)
    return {
        name: torch.from_numpy(array.copy())
        for i, coefficients, intercepts in layers
        for name, array in ((f"{i}.weight", coefficients.T), (f"{i}.bias", intercepts))
    }


def train(state, start, stop, seed):
    """One call of partial_fit a step, on rows that follow from seed and number of the step."""
    classifier = classifier_of(state["model"])
    for i in range(start, stop):
        generator = np.random.default_rng(seeding.split(seed, "step", i))
        rows = generator.choice(len(x), 32, replace=False)
        classifier.partial_fit(x[rows], y[rows])
    return {"model": weights_of(classifier)}


test = torch.from_numpy(x_test), torch.from_numpy(y_test)
table = instability(network, train, test, steps=STEPS, stop=STOP, copies=3)
print("  k   instability   loss barrier   test error   L2 distance   labels differ")
for mean in table.means():
    print(
        f"{mean.k:3}   {mean.instability:11.2%}   {mean.loss_instability:7.3f} nats   "
        f"{mean.error:10.2%}   {mean.l2_distance:11.2f}   {mean.disagreement:13.2%}"
    )

model = network()
same = np.allclose(
    classifier_of(model.state_dict()).predict_proba(x_test),
    model(test[0]).softmax(1).detach(),
)
print(f"\nthe torch model computes what scikit-learn's does: {same}")
