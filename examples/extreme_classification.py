"""Tag rows with a few of many labels, look at the best ones, and keep the model in a folder.

    python examples/extreme_classification.py

The rows are synthetic, so that the example runs anywhere; for your own, read XC text with
`sidle.data.extreme.read_xc`, or use `sidle xc train` at the command line.
"""

import tempfile

from sidle.data.synthetic_extreme import power_law_rows
from sidle.evaluation.ranking import propensities, ranking_metrics
from sidle.slide import ExtremeClassifier

SIZES = {"n_features": 2000, "n_labels": 300, "features_per_row": 15, "labels_per_row": 3}


def main() -> None:
    """Train, measure, save, load and predict."""
    train = power_law_rows(4000, part="train", seed=0, **SIZES)
    test = power_law_rows(500, part="test", seed=0, **SIZES)
    model = ExtremeClassifier(hidden=64, n_epochs=5).fit(train.features, train.labels)

    ranked, _ = model.predict_topk(test.features, k=5)
    found = ranking_metrics(ranked, test.labels, propensities(train.labels))
    print(", ".join(f"{name} {value:.3f}" for name, value in found.items()))

    with tempfile.TemporaryDirectory() as folder:
        model.save(folder)
        loaded = ExtremeClassifier.load(folder)
    best, scores = loaded.predict_topk(test.features[:1], k=3)
    print("the best labels of the first row:", best[0].tolist(), scores[0].round(2).tolist())


if __name__ == "__main__":
    main()
