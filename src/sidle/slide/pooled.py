"""One pass of a batch over one pool of outputs: scores, loss and gradients as matrix products.

    S = H W_pool^T + b,  G = dloss / dS (`kernels.softmax`),  dH = G W_pool,  dW_pool = G^T H

The pool's rows are gathered side by side first, as bfloat16 or float32, so that all three products
are dense. Flops: 6 N M D in products. Letters: N = rows, D = features, L = outputs, M = pool.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from sidle.slide.kernels import rows as row_kernels
from sidle.slide.kernels import softmax as kernels
from sidle.slide.pools import Pool
from sidle.slide.row_updates import RowUpdates
from sidle.slide.threads import spread

_Array = np.ndarray[Any, Any]


class PooledPass:
    """What forward computes, and backward needs.

    Args:
        weight: (L, D).
        bias: (L,) or None.
        hidden_ND: float32.
        indptr_N: where each row's labels begin, and the end.
        pool: whose ``label_places`` are the labels.
        objective: see `WideSoftmax`.
        dtype: of gathered rows, scores and gradients: float32 or bfloat16.
        threads: how many share the work; results do not depend on it.

    Attributes:
        loss: mean over rows, nats; NaN or infinite where scores are.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        hidden_ND: Tensor,
        indptr_N: _Array,
        pool: Pool,
        objective: str,
        dtype: torch.dtype,
        threads: int,
    ) -> None:
        self._pool, self._threads = pool, threads
        N, M = len(hidden_ND), len(pool)
        self._weight_MD = torch.empty(M, weight.shape[1], dtype=dtype)
        spread(
            row_kernels.gather, weight.detach().numpy(), pool.outputs, bits(self._weight_MD),
            items=M, threads=threads,
        )  # fmt: skip
        bias_M = np.zeros(M, np.float32)
        if bias is not None:
            bias_M = bias.detach().numpy()[pool.outputs]
        self._hidden_ND = hidden_ND.to(dtype)
        self._gradient_NM = self._hidden_ND @ self._weight_MD.T
        loss_N = np.empty(N)
        kernel, weight_M = kernels.softmax, pool.log_weight
        if objective == "one_versus_all":
            kernel, weight_M = kernels.one_versus_all, np.exp(pool.log_weight)
        scores_NM = bits(self._gradient_NM)  # the kernel turns scores into gradients in place
        spread(
            kernel, scores_NM, bias_M, weight_M, indptr_N, pool.label_places, 1 / N, scores_NM,
            loss_N, items=N, threads=threads,
        )  # fmt: skip
        self.loss = float(loss_N.mean())

    def hidden_gradient(self) -> Tensor:
        """Return d loss / d hidden, float32, (N, D)."""
        return (self._gradient_NM @ self._weight_MD).float()

    def gradients(self) -> tuple[_Array, Tensor, Tensor]:
        """Return the rows touched, int64 (M,), their gradients (M, D), and their biases' (M,)."""
        gradient_MD = self._gradient_NM.T @ self._hidden_ND
        return self._pool.outputs, gradient_MD.float(), torch.from_numpy(self._bias_gradient())

    def update(
        self,
        weight: Tensor,
        updates: RowUpdates,
        bias: tuple[Tensor, RowUpdates] | None,
        *,
        scale: float,
        step: int,
        lr: float,
    ) -> list[_Array]:
        """Move the rows of the pool; return which they are."""
        rows_M = self._pool.outputs
        how: dict[str, Any] = {"scale": scale, "step": step, "lr": lr, "threads": self._threads}
        gradient_MD = self._gradient_NM.T @ self._hidden_ND
        updates.update(weight, rows_M, bits(gradient_MD), **how)
        if bias is not None:
            bias[1].update(bias[0].unsqueeze(1), rows_M, self._bias_gradient()[:, None], **how)
        return [rows_M]

    def _bias_gradient(self) -> _Array:
        gradient_M = np.empty(len(self._pool), np.float32)
        kernels.add_rows(bits(self._gradient_NM), gradient_M)
        return gradient_M


def bits(tensor: Tensor) -> _Array:
    """Return the memory of a float32 tensor, or of a bfloat16 one as uint16."""
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.uint16).numpy()
    return tensor.numpy()
