"""Learn digits without labels from their upper rows, then read them with a linear classifier."""

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sidle.cpc import ContrastivePredictiveCoding, ImageSettings, batches, negatives, train
from sidle.data import images

training, test = images.load("digits")
settings = ImageSettings(
    size=(8, 8), channels=1, grid=3, width=8, features=32, context_features=32, steps=(1, 2),
    negatives=negatives.OtherSequences(64),
)  # fmt: skip
model = ContrastivePredictiveCoding.of(settings)
untrained = ContrastivePredictiveCoding.of(settings)

batch_of = batches.images(training.pixels, 64, seed=0)
print(model.eval().loss(batch_of(0)).plan)
records = train(model, batch_of, 250, learning_rate=2e-3)
print(
    f"loss {records[-1]['loss']:.2f} nats, positives found {records[-1]['accuracy']:.0%}, "
    f"at least {records[-1]['bound']:.2f} of {records[-1]['ceiling']:.2f} nats"
)

for name, one in (("untrained", untrained), ("trained", model)):
    features = [
        np.asarray(one.represent(part.pixels, level="encoder", pool="mean"))
        for part in (training, test)
    ]
    few = slice(0, 135)  # a tenth of the labels
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
    probe.fit(features[0][few], training.labels[few])
    print(f"{name}: {probe.score(features[1], test.labels):.1%} of digits read")
