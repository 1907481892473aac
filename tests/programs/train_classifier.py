"""Train a small extreme classifier in a run folder, a checkpoint after every step.

    python train_classifier.py FOLDER N_EPOCHS

An epoch has five steps. What a test kills and starts again.
"""

import sys
from pathlib import Path

from sidle import runs, training
from sidle.data.synthetic_extreme import power_law_rows
from sidle.slide.classifier import ExtremeClassifier


def main(folder: Path, n_epochs: int) -> None:
    # Checkpoints as dense as that, so that many kills come while one is being written.
    training.fit.__kwdefaults__["checkpoint_every"] = 0.0
    rows = power_law_rows(
        600, n_features=400, n_labels=60, features_per_row=12, labels_per_row=2, seed=0,
        part="train",
    )  # fmt: skip
    with runs.open_run(folder, runs.Identity(settings={"n_epochs": n_epochs})) as run:
        if not run.finished:
            model = ExtremeClassifier(
                hidden=16, residual=True, n_epochs=n_epochs, patience=n_epochs, threads=1
            )
            model.fit(rows.features, rows.labels, run=run)
            model.save(folder)
            run.finish({"validation": model.validation_})


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
