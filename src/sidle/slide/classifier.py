"""`ExtremeClassifier`: rows of words to a few of very many labels.

It scores a row's candidate labels by a network (`network`) and by what training rows say directly
(`evidence`: label profiles, word shares, votes of the nearest rows). Held-out rows say how much
each counts (`blending`). The network generalises over words; the direct part keeps what rare words
say.
Letters: N = rows, D = features, L = labels, K = labels asked for.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_array, issparse
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import check_is_fitted, validate_data

from sidle import progress, provenance, seeding, training
from sidle.errors import ArgumentError, NonFiniteError
from sidle.evaluation.ranking import ranking_metrics
from sidle.runs import Run
from sidle.slide import blending, memory, model_folder, weighting
from sidle.slide.evidence import FEATURES, Evidence
from sidle.slide.network import (
    BagNetwork,
    BestWeights,
    TrainingState,
    minibatches,
    warm_up_then_fall,
)
from sidle.slide.weighting import WeightedRows

_Array = np.ndarray[Any, Any]
_NAME = "ExtremeClassifier"

_MOST_HELD_OUT = 6000  # rows
_HELD_OUT_SHARE = 0.1
_LARGE_SET = 50_000  # rows, from which batches are of 512
_LEAST_STEPS, _LEAST_EPOCHS = 1000, 3
_MOST_EVALUATIONS = 20
_WARM_UP = 50  # steps
_PROPOSED = 30  # labels of a row that the network names
_PREDICTED_AT_ONCE = 2048  # rows
# Where the weights of features start: a network's score is a log-probability but for a constant.
_START = {"cosine": 4.0, "log word share": 0.5, "log votes": 0.5, "log sharp votes": 0.25}


class ExtremeClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A classifier for sparse rows with up to millions of labels, several or one a row.

    Args:
        hidden: width of the network.
        residual: whether the network has a residual block.
        dropout: share of hidden units dropped in training, in [0, 1).
        n_epochs: passes over the rows at most; None: 3, and more where that is under 1000 steps.
        learning_rate: Adam's, at its highest; it rises over 50 steps, then falls linearly to 0.
        batch_size: rows of a step; None: 512 from 50,000 rows on, else 128.
        candidates: outputs a step is scored against beside its labels, where there are over 8192.
        weighting: "tfidf": entries are counts and get weights; "none": they have theirs; "auto":
            tfidf where all entries are whole numbers. Rows are scaled to length 1.
        neighbours: how many of the nearest training rows vote; 0: none.
        shortlist: labels that profiles and votes name for a row; the network adds its best 30.
        evidence_rows: how many training rows, drawn by chance, the profiles, word shares and votes
            are taken from and the model keeps, at most; None: all; 0: the network alone decides.
            What the rest of training holds in memory does not grow with the words of the rows.
        budget: postings (rows or labels linked to a word) read for a row at most, rarest words
            first.
        patience: evaluations on held-out rows without a better P@1 after which training stops.
        random_state: the seed of everything.
        threads: how many share the work; None: all cores. Results repeat to the last bit with 1;
            with more, the products of the decomposition may be summed in another order.

    Attributes:
        classes_: what the labels are called, (L,); for an indicator matrix 0 to L - 1.
        n_features_in_: D.
        network_, evidence_, blend_: the parts.
        n_rows_, rows_of_label_: rows trained on, and how many of them have each label, (L,).
        validation_: P@1, P@3 and P@5 on the held-out rows.
        history_: records of the network's training.
    """

    def __init__(
        self,
        *,
        hidden: int = 256,
        residual: bool = False,
        dropout: float = 0.3,
        n_epochs: int | None = None,
        learning_rate: float = 2e-3,
        batch_size: int | None = None,
        candidates: int = 4096,
        weighting: str = "auto",
        neighbours: int = 100,
        shortlist: int = 100,
        evidence_rows: int | None = None,
        budget: int = 60_000,
        patience: int = 5,
        random_state: int = 0,
        threads: int | None = None,
    ) -> None:
        self.hidden, self.residual, self.dropout = hidden, residual, dropout
        self.n_epochs, self.learning_rate, self.batch_size = n_epochs, learning_rate, batch_size
        self.candidates, self.weighting, self.neighbours = candidates, weighting, neighbours
        self.shortlist, self.budget, self.patience = shortlist, budget, patience
        self.evidence_rows = evidence_rows
        self.random_state, self.threads = random_state, threads

    def fit(self, X: Any, y: Any, *, run: Run | None = None) -> ExtremeClassifier:
        """Learn from rows and their labels.

        Args:
            X: (N, D), CSR or an array; NaN and infinity are refused. The arrays of a CSR matrix may
                be mapped from files, float32 and int32 (`data.stored_rows`): they stay there.
            y: an indicator matrix (N, L), CSR or an array of 0 and 1; or one class a row, (N,).
                Rows without labels are left out of the network's training.
            run: an open run folder: training is checkpointed there and resumes from it.

        Raises:
            ArgumentError: settings, X or y outside what is said here; more memory needed than
                there is (refused before it is allocated).
            NonFiniteError: training diverged.
        """
        self._check_settings()
        rows = self._read(X, reset=True)
        labels = self._read_labels(y, rows.shape[0])
        scheme = self.weighting
        if scheme == "auto":
            scheme = "tfidf" if weighting.are_counts(rows) else "none"
        if scheme == "tfidf" and not weighting.are_positive(rows):
            raise ArgumentError(
                f"{_NAME}: weighting 'tfidf' takes counts above 0, got {rows.data.min():g}. "
                "Use weighting='none'."
            )
        self.network_ = self._network()
        self.idf_ = weighting.inverse_frequency(rows) if scheme == "tfidf" else None
        weighted = weighting.WeightedRows(rows, self.idf_)
        self.n_rows_ = rows.shape[0]
        self.rows_of_label_ = np.bincount(labels.indices, minlength=labels.shape[1])
        order = seeding.numpy_generator(self._seed("held_out")).permutation(rows.shape[0])
        n_held = min(_MOST_HELD_OUT, max(1, round(_HELD_OUT_SHARE * rows.shape[0])))
        held, rest = np.sort(order[:n_held]), np.sort(order[n_held:])
        if len(rest) == 0 or labels[rest].nnz == 0:
            rest = held  # one or two rows: nothing can be held out
        held_rows, held_labels = weighted.take(held), labels[held]
        self._train(weighted, labels, rest, held_rows, held_labels, run)
        self.evidence_ = self._drawn(weighted, labels, rest)
        self._fit_blend(held_rows, held_labels)
        self.evidence_ = self._drawn(weighted, labels, np.arange(self.n_rows_))
        return self

    def predict_topk(self, X: Any, k: int = 5) -> tuple[_Array, _Array]:
        """Return the k best labels of each row and their scores, both (N, k), best first.

        Scores are log-probabilities over the row's candidates. Where a row has fewer than k
        candidates, which takes k above 30, the label is -1 and the score minus infinity.

        Args:
            X: (N, D), with as many features as in training.
            k: from 1 to L.
        """
        check_is_fitted(self, "blend_")
        rows = weighting.weigh(self._read(X, reset=False), self.idf_)
        if not 1 <= k <= len(self.classes_):
            raise ArgumentError(f"{_NAME}: k must be from 1 to {len(self.classes_)}, got {k}.")
        found = np.full((rows.shape[0], k), -1, np.int64)
        best = np.full((rows.shape[0], k), -np.inf, np.float64)
        with progress.bar("predicting", rows.shape[0]) as bar:
            for start in range(0, rows.shape[0], _PREDICTED_AT_ONCE):
                part = slice(start, start + _PREDICTED_AT_ONCE)
                labels, scores = self._ranked(rows[part], k)
                found[part, : labels.shape[1]], best[part, : labels.shape[1]] = labels, scores
                bar.advance(labels.shape[0])
        return found, best

    def predict(self, X: Any) -> Any:
        """Return what y was like: the best class of each row, or an indicator matrix.

        A label is in the matrix when its probability is at least a half. It is a CSR matrix of
        int64 where y was sparse, else an array.
        """
        check_is_fitted(self, "blend_")
        if not self.multilabel_:
            return self.classes_[self.predict_topk(X, 1)[0][:, 0]]
        matrix = self._probabilities(X)
        matrix.data = (matrix.data >= 0.5).astype(np.float64)
        matrix.eliminate_zeros()
        matrix = matrix.astype(np.int64)
        return matrix if self.sparse_ else matrix.toarray()

    def predict_proba(self, X: Any) -> Any:
        """Return probabilities, (N, L): of classes (rows sum to 1), or of each label on its own.

        Labels that are no candidates of a row have probability 0. For several labels a row it is a
        CSR matrix where y was sparse, else an array.
        """
        check_is_fitted(self, "blend_")
        matrix = self._probabilities(X)
        return matrix if self.multilabel_ and self.sparse_ else matrix.toarray()

    def save(self, folder: str | Path, **notes: Any) -> None:
        """Write ``model.safetensors`` and ``model.json`` into ``folder``; nothing is pickled.

        Args:
            folder: made if needed.
            **notes: what else the description shall say (JSON values).
        """
        check_is_fitted(self, "blend_")
        stored = model_folder.Stored(
            settings=self.get_params(),
            weights=dict(self.network_.state_dict()),
            idf=self.idf_,
            n_rows=self.n_rows_,
            rows_of_label=self.rows_of_label_,
            rows=self.evidence_.rows,
            labels=self.evidence_.labels,
            classes=self.classes_,
            blend=self.blend_,
            multilabel=self.multilabel_,
            sparse=self.sparse_,
            validation=self.validation_,
        )
        model_folder.write(Path(folder), stored, notes)

    @classmethod
    def load(cls, folder: str | Path) -> ExtremeClassifier:
        """Return the classifier that `save` wrote.

        Raises:
            StorageError, CheckpointError, DataError: it is not there, damaged, or something else.
        """
        stored = model_folder.read(Path(folder))
        made = cls(**stored.settings)
        made.multilabel_, made.sparse_ = stored.multilabel, stored.sparse
        made.classes_, made.n_features_in_ = stored.classes, stored.rows.shape[1]
        made.n_rows_, made.rows_of_label_ = stored.n_rows, stored.rows_of_label
        made.idf_, made.blend_ = stored.idf, stored.blend
        made.validation_, made.history_ = stored.validation, []
        made.network_ = made._network()
        made.network_.load_state_dict(stored.weights)
        made.network_.eval()
        made.evidence_ = made._index(stored.rows, stored.labels)
        return made

    def __sklearn_tags__(self) -> Tags:
        """Say what the estimator takes."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.classifier_tags.multi_label = True
        return tags

    def _seed(self, name: str) -> int:
        return seeding.split(self.random_state, "extreme_classifier", name)

    def _threads(self) -> int:
        return provenance.usable_cores() if self.threads is None else self.threads

    def _network(self) -> BagNetwork:
        """Return an untrained network; refused where it would not fit into memory."""
        return BagNetwork(
            self.n_features_in_, len(self.classes_), hidden=self.hidden, residual=self.residual,
            dropout=self.dropout, learning_rate=self.learning_rate, candidates=self.candidates,
            seed=self._seed("network"), threads=self._threads(),
        )  # fmt: skip

    def _check_settings(self) -> None:
        for name, least in (
            ("hidden", 1), ("n_epochs", 1), ("batch_size", 1), ("candidates", 1),
            ("neighbours", 0), ("shortlist", 1), ("budget", 1), ("patience", 1), ("threads", 1),
            ("evidence_rows", 0),
        ):  # fmt: skip
            value = getattr(self, name)
            optional = name in ("n_epochs", "batch_size", "threads", "evidence_rows")
            if not (value is None and optional) and value < least:
                raise ArgumentError(f"{_NAME}: {name} must be at least {least}, got {value}.")
        if not 0 <= self.dropout < 1 or not 0 < self.learning_rate < math.inf:
            raise ArgumentError(
                f"{_NAME}: dropout must lie in [0, 1) and learning_rate be above 0, got "
                f"{self.dropout} and {self.learning_rate}."
            )
        if self.weighting not in weighting.SCHEMES:
            raise ArgumentError(
                f"{_NAME}: weighting must be one of {weighting.SCHEMES}, got {self.weighting!r}."
            )

    def _read(self, X: Any, *, reset: bool) -> csr_array:
        """Return X as canonical float32 CSR without zeros."""
        try:
            checked = validate_data(
                self, X, reset=reset, accept_sparse="csr", dtype=np.float32,
                ensure_min_features=1,
            )  # fmt: skip
        except ValueError as error:
            if "NaN" in str(error) or "infinity" in str(error):
                raise _NotFinite(f"{_NAME}: {error}") from error
            raise ArgumentError(f"{_NAME}: {error}") from error
        rows = csr_array(checked)
        _check_indices(rows, "X")
        if not rows.has_canonical_format:
            rows = rows.copy()  # it may share memory with the caller's
            rows.sum_duplicates()
        if rows.nnz and not rows.data.all():
            rows = rows.copy()
            rows.eliminate_zeros()
        if rows.indices.dtype != np.int32:
            rows.indices = rows.indices.astype(np.int32)
        return rows

    def _read_labels(self, y: Any, n_rows: int) -> csr_array:
        """Note classes_ and return y as a CSR indicator."""
        if y is None:
            raise ArgumentError(
                f"{_NAME}: this estimator requires y to be passed, but the target y is None."
            )
        self.sparse_ = issparse(y)
        given = y if self.sparse_ else np.asarray(y)
        self.multilabel_ = self.sparse_ or (given.ndim == 2 and given.shape[1] > 1)
        if not self.multilabel_:
            labels = self._read_classes(given)
        else:
            n_labels = given.shape[1]
            needed = 4 * n_labels * self.hidden  # of weights alone; `_network` asks for the rest
            memory.require(needed, _NAME, f"{n_labels:,} labels of {self.hidden} weights each")
            labels = csr_array(given).astype(np.float32)  # a copy: y is the caller's
            _check_indices(labels, "y")
            labels.sum_duplicates()
            labels.eliminate_zeros()
            if not (labels.data == 1).all():
                raise ArgumentError(
                    f"{_NAME}: an indicator matrix has entries 0 and 1, got "
                    f"{labels.data[labels.data != 1][0]:g}."
                )
            self.classes_ = np.arange(labels.shape[1])
        if labels.shape[0] != n_rows:
            raise ArgumentError(
                f"{_NAME}: X has {n_rows} rows but y has {labels.shape[0]}: found input variables "
                "with inconsistent numbers of samples."
            )
        if labels.nnz == 0:
            raise ArgumentError(f"{_NAME}: no row has a label; there is nothing to learn.")
        if len(self.classes_) < 2:
            raise ArgumentError(
                f"{_NAME}: expected at least 2 classes, got one class only: {self.classes_}."
            )
        return labels

    def _read_classes(self, y: Any) -> csr_array:
        try:
            column = np.asarray(y)
            if column.ndim == 2:
                from sklearn.utils.validation import column_or_1d

                column = column_or_1d(column, warn=True)
            if column.ndim != 1:
                raise ValueError(f"y must be of shape (N,) or (N, L), got {column.shape}.")
            if column.dtype.kind == "f" and not np.isfinite(column).all():
                raise ValueError("Input y contains NaN or infinity.")
            check_classification_targets(column)
            if type_of_target(column) not in ("binary", "multiclass"):
                raise ValueError(f"Unknown label type: {type_of_target(column)}.")
        except ValueError as error:
            raise ArgumentError(f"{_NAME}: {error}") from error
        self.classes_, codes = np.unique(column, return_inverse=True)
        n = len(codes)
        return csr_array(
            (np.ones(n, np.float32), codes.astype(np.int32), np.arange(n + 1, dtype=np.int32)),
            shape=(n, len(self.classes_)),
        )

    def _train(
        self,
        rows: WeightedRows,
        labels: csr_array,
        numbers: _Array,
        held_rows: csr_array,
        held_labels: csr_array,
        run: Run | None,
    ) -> None:
        """Train the network on those rows of these numbers that have labels."""
        numbers = numbers[np.diff(labels.indptr)[numbers] > 0]
        batch_size = self.batch_size or (512 if len(numbers) >= _LARGE_SET else 128)
        per_epoch = math.ceil(len(numbers) / batch_size)
        epochs = self.n_epochs or max(_LEAST_EPOCHS, math.ceil(_LEAST_STEPS / per_epoch))
        every = per_epoch * math.ceil(epochs / _MOST_EVALUATIONS)
        network, n_steps = self.network_, epochs * per_epoch
        network.start(rows, labels, numbers)
        best = BestWeights(network)
        with progress.bar("evaluations", n_steps // every) as bar:

            def evaluate(step: int) -> dict[str, float]:
                network.eval()
                with torch.no_grad():
                    ranked = network.best(network.encode(held_rows), 1)
                found = ranking_metrics(ranked, held_labels, cutoffs=(1,))["p@1"]
                best.offer(found)
                bar.advance(note=f"P@1 of the network {found:.4f}")
                return {"p@1": found}

            self.history_ = training.fit(
                network.step(warm_up_then_fall(n_steps, min(_WARM_UP, n_steps))),
                minibatches(rows, labels, numbers, batch_size, self._seed("order")),
                n_steps,
                state={"network": TrainingState(network), "best": best},
                run=run,
                evaluate=evaluate,
                evaluate_every=every,
                stop=training.Patience("p@1", self.patience, lower_is_better=False),
                log_every=max(1, n_steps // 200),
                description="training",
            )
        best.restore()
        network.eval()

    def _drawn(self, rows: WeightedRows, labels: csr_array, numbers: _Array) -> Evidence:
        """Return the evidence of so many of these rows as `evidence_rows` allows."""
        some = weighting.some_of(numbers, self.evidence_rows, self._seed("evidence"))
        return self._index(rows.take(some), labels[some])

    def _index(self, rows: csr_array, labels: csr_array) -> Evidence:
        return Evidence(
            rows, labels, neighbours=self.neighbours, budget=self.budget,
            candidates=self.shortlist, threads=self._threads(), rows_of_label=self.rows_of_label_,
        )  # fmt: skip

    def _fit_blend(self, rows: csr_array, labels: csr_array) -> None:
        found, features = self._gather(rows)
        n, n_labels = labels.shape
        keys = np.arange(n, dtype=np.int64)[:, None] * n_labels + found
        truth = np.repeat(np.arange(n, dtype=np.int64), np.diff(labels.indptr)) * n_labels
        true = np.isin(keys, truth + labels.indices) & (found >= 0)
        start = np.array([*(_START.get(name, 0.0) for name in FEATURES), 1.0])
        self.blend_ = blending.fit_blend(features, found, true, start)
        k = min(5, n_labels)
        cutoffs = [at for at in (1, 3, 5) if at <= k]
        self.validation_ = ranking_metrics(self._ranked(rows, k)[0], labels, cutoffs=cutoffs)

    @torch.no_grad()
    def _gather(self, rows: csr_array) -> tuple[_Array, _Array]:
        """Return candidates of weighted rows, (N, C), and all their features, (N, C, F)."""
        from sidle.slide.kernels import retrieval as kernels
        from sidle.slide.threads import spread

        network = self.network_
        assert network.output.bias is not None
        network.eval()
        hidden = network.encode(rows)
        proposed = network.best(hidden, min(_PROPOSED, len(self.classes_)))
        found, features = self.evidence_(rows, proposed)
        scores = np.zeros(found.shape, np.float32)
        spread(
            kernels.dots, hidden.numpy(), network.output.weight.detach().numpy(),
            network.output.bias.detach().numpy(), found, scores,
            items=len(found), threads=self._threads(), least=16,
        )  # fmt: skip
        if not np.isfinite(scores).all():
            raise NonFiniteError(f"{_NAME}: a score is NaN or infinite. Scale the features down.")
        return found, np.concatenate([features, scores[:, :, None]], axis=2)

    def _ranked(self, rows: csr_array, k: int) -> tuple[_Array, _Array]:
        """Return labels and scores of weighted rows, best first, (N, at most k)."""
        found, features = self._gather(rows)
        scores = self.blend_.scores(features, found)
        # By label among equals, so that the order does not depend on how candidates were found.
        order = np.lexsort((found, -scores), axis=1)[:, :k]
        return (
            np.take_along_axis(found, order, 1).astype(np.int64),
            np.take_along_axis(scores, order, 1),
        )

    def _probabilities(self, X: Any) -> csr_array:
        width = min(self.shortlist + _PROPOSED, len(self.classes_))
        found, scores = self.predict_topk(X, width)
        values = self.blend_.probabilities(scores) if self.multilabel_ else np.exp(scores)
        there = found >= 0
        rows = np.repeat(np.arange(len(found)), there.sum(axis=1))
        shape = (len(found), len(self.classes_))
        memory.require(12 * len(rows), _NAME, f"{len(rows):,} probabilities")
        return csr_array((values[there], (rows, found[there])), shape=shape)


def _check_indices(matrix: csr_array, name: str) -> None:
    try:
        matrix.check_format(full_check=True)
    except ValueError as error:
        raise ArgumentError(
            f"{_NAME}: {name} is no sound CSR matrix of shape {matrix.shape}: {error}. An index is "
            "out of range, or rows overlap."
        ) from error


class _NotFinite(NonFiniteError, ArgumentError):
    """NaN or infinity in X; a ValueError too, as scikit-learn wants it."""
