"""What layers that update themselves share: one forward, its backward, their training state.

A fused layer is a module whose backward pass is its optimiser's step. Its parameters do not require
gradients, so that other optimisers pass them by; ``state_dict()`` holds the parameters only, and
`training_state` all that the next step depends on besides.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sidle.errors import ArgumentError, CheckpointError, SidleError
from sidle.slide import memory
from sidle.slide.row_updates import RowOptimizer, RowUpdates, check_rate
from sidle.slide.threads import check_threads


class PassOrderError(SidleError, RuntimeError):
    """Forward and backward passes of a fused layer that do not take turns."""


class FusedLayer(nn.Module):
    """The shared part of `SparseEmbedding` and `WideSoftmax`; not used alone.

    Attributes:
        optimizer: the rule of the updates, None where gradients are left to others.
        lr: the learning rate of the next update.
        steps: how many updates there were.
        threads: how many threads share the work.
    """

    def __init__(
        self,
        name: str,
        shape: tuple[int, int],
        optimizer: RowOptimizer | None,
        *,
        lr: float,
        threads: int,
    ) -> None:
        super().__init__()
        check_rate(lr, name)
        if not all(isinstance(size, int) and size >= 1 for size in shape):
            raise ArgumentError(f"{name}: sizes must be integers of at least 1, got {shape}.")
        of_row = 4 * shape[1] + (optimizer.row_bytes(shape[1]) if optimizer is not None else 0)
        memory.require(
            shape[0] * of_row, name,
            f"weights of {shape[0]:,} x {shape[1]:,} and what the optimizer remembers "
            f"({of_row:,} bytes a row)",
        )  # fmt: skip
        self.name, self.optimizer, self.lr = name, optimizer, lr
        self.threads = check_threads(threads, name)
        self.steps = 0
        self._updates: dict[str, RowUpdates] = {}
        self._waiting = False
        # Makes the output require a gradient where neither input nor parameters do.
        self._anchor = torch.zeros((), requires_grad=True)

    def discard(self) -> None:
        """Forget a forward pass whose backward will not come."""
        self._waiting = False

    def training_state(self) -> dict[str, Any]:
        """Return what training needs besides ``state_dict()``: tensors and numbers by name.

        The tensors share memory with the layer; save or copy them before the next step.
        """
        state: dict[str, Any] = {"steps": self.steps, "lr": self.lr}
        for name, updates in self._updates.items():
            state |= updates.state(name)
        return state

    def load_training_state(self, state: Mapping[str, Any]) -> None:
        """Take over what `training_state` of a layer of the same kind and sizes returned.

        Raises:
            CheckpointError: something is missing or has another shape.
        """
        missing = {"steps", "lr"} - set(state)
        if missing:
            raise CheckpointError(
                f"load_training_state: expected the entries {sorted(missing)}, which are missing. "
                f"Pass what training_state() of a {self.name} returned."
            )
        for name, updates in self._updates.items():
            updates.load(name, state)
        self.steps, self.lr = int(state["steps"]), float(state["lr"])
        self._waiting = False

    def _begin(self) -> None:
        """Note that a backward pass is due."""
        if self._waiting:
            raise PassOrderError(
                f"{self.name}: forward was called again before the backward pass of the call "
                "before, which updates the weights. Call backward() on each loss first, use "
                "torch.no_grad() or eval() to look without training, discard() to drop a pass, or "
                "optimizer=None to gather gradients."
            )
        check_rate(self.lr, self.name)
        self._waiting = True

    def _finish(self) -> None:
        """Count a step; refuse a second backward pass of one forward."""
        if not self._waiting:
            raise PassOrderError(
                f"{self.name}: backward was called twice for one forward, or after discard(). The "
                "update was made, or dropped; call forward again."
            )
        self._waiting = False
        self.steps += 1

    def _check_parameters(self) -> None:
        """Refuse parameters that were moved or converted to where the kernels cannot follow."""
        for name, parameter in self.named_parameters():
            if parameter.dtype != torch.float32 or parameter.device.type != "cpu":
                raise ArgumentError(
                    f"{self.name}: {name} must be float32 on the CPU, found {parameter.dtype} on "
                    f"{parameter.device}. Do not convert or move this layer; its kernels are "
                    "compiled for that."
                )

    def _described(self) -> str:
        return f"optimizer={self.optimizer.name if self.optimizer else None}, lr={self.lr:g}"


def plain(tensor: Tensor) -> Tensor:
    """Return ``tensor`` detached, float32 and contiguous."""
    return tensor.detach().float().contiguous()


def row_sparse(
    rows_M: np.ndarray[Any, Any], values: Tensor, shape: tuple[int, ...] | torch.Size
) -> Tensor:
    """Return a coalesced sparse tensor of ``shape`` whose rows ``rows_M`` are ``values``."""
    places = torch.from_numpy(rows_M).unsqueeze(0)
    return torch.sparse_coo_tensor(places, values, shape, check_invariants=False).coalesce()
