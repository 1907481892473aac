"""`MutualInformationEstimator`: `estimate` in scikit-learn's manner."""

from __future__ import annotations

from typing import Any, Self

import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from sidle.errors import ArgumentError, ShapeError
from sidle.mi import rows
from sidle.mi.estimate import LEARNING_RATE, N_STEPS, fit_and_read
from sidle.mi.guarantees import CriticBuilder
from sidle.mi.reading import Estimate
from sidle.mi.rows import Array


class MutualInformationEstimator(BaseEstimator):  # type: ignore[misc]
    """Mutual information between the rows of x and y, with the critic kept for further rows.

    Args:
        bound, critic, batch_size, n_steps, learning_rate, seed, device: as for
            `sidle.mi.estimate`.

    Attributes:
        estimate_: the `Estimate` read on the rows of ``fit`` that the critic did not see.
        nats_: its value in nats.
        n_features_in_: columns of x.
        n_features_y_: columns of y.
    """

    def __init__(
        self,
        *,
        bound: str = "infonce",
        critic: str | CriticBuilder = "separable",
        batch_size: int | None = None,
        n_steps: int = N_STEPS,
        learning_rate: float = LEARNING_RATE,
        seed: int = 0,
        device: str | torch.device = "cpu",
    ) -> None:
        self.bound = bound
        self.critic = critic
        self.batch_size = batch_size
        self.n_steps = n_steps
        self.learning_rate = learning_rate
        self.seed = seed
        self.device = device

    def fit(self, x: Array, y: Array) -> Self:
        """Train a critic on part of the rows and read the bound on others.

        Args, raises: as `sidle.mi.estimate`.
        """
        if y is None:  # as pipelines pass it on where there is none
            raise ArgumentError(
                "MutualInformationEstimator.fit requires y to be passed, but the target y is None. "
                "Give the rows that belong to those of x."
            )
        x_ND, y_NE = rows.paired(x, y, "MutualInformationEstimator.fit")
        self._fitted, self.estimate_ = fit_and_read(x_ND, y_NE, **self.get_params(deep=False))
        self.nats_ = self.estimate_.nats
        self.n_features_in_, self.n_features_y_ = x_ND.shape[1], y_NE.shape[1]
        return self

    def read(self, x: Array, y: Array) -> Estimate:
        """Read the bound on fresh pairs with the critic of ``fit``.

        Args:
            x: N rows with the columns of ``fit``, at least as many as a batch, none of them seen
                by ``fit``.
            y: N rows, likewise.

        Raises:
            sklearn.exceptions.NotFittedError: ``fit`` was not called.
            ShapeError, NonFiniteError, ArgumentError: as `sidle.mi.estimate`; also if the number
                of columns differs from that in ``fit``, or the rows are fewer than a batch.
        """
        check_is_fitted(self)
        x_ND, y_NE = rows.paired(x, y, "MutualInformationEstimator.read")
        found, expected = (x_ND.shape[1], y_NE.shape[1]), (self.n_features_in_, self.n_features_y_)
        if found != expected:
            raise ShapeError(
                f"MutualInformationEstimator.read: x and y must have {expected[0]} and "
                f"{expected[1]} columns as in fit, got {found[0]} and {found[1]}."
            )
        if len(x_ND) < self._fitted.batch_size:
            raise ArgumentError(
                "MutualInformationEstimator.read: expected at least a batch of "
                f"{self._fitted.batch_size} rows, got {len(x_ND)}. Give more rows, or fit with a "
                "smaller batch_size."
            )
        return self._fitted.read(x_ND, y_NE)

    def score(self, x: Array, y: Array) -> float:
        """Return the value of `read`, in nats: larger is the better critic for a lower bound."""
        return self.read(x, y).nats

    def __sklearn_is_fitted__(self) -> bool:
        """Whether ``fit`` was called."""
        return hasattr(self, "_fitted")

    def __sklearn_tags__(self) -> Any:
        """What scikit-learn asks of estimators: y is required, and may have several columns."""
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.target_tags.multi_output = True
        return tags
