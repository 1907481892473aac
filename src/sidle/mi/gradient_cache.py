"""Gradients of a loss over a batch that is too large for its encoders' memory, exactly.

Inputs are encoded in chunks without a graph, the loss gives the gradient of every encoding, and
each chunk is encoded again with a graph that takes its gradient on.

Reference: [CACHE] Gao et al. 2021, "Scaling deep contrastive learning batch size under memory
limited setup", arXiv:2101.06983.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import final

import torch
from torch import Tensor

from sidle.errors import ArgumentError, ShapeError


def backward_through_encoders(
    encoders: Sequence[tuple[Callable[[Tensor], Tensor], Tensor]],
    loss: Callable[..., Tensor],
    *,
    chunk_rows: int,
) -> Tensor:
    """Compute a loss over a large batch, and its gradients in the encoders' parameters [CACHE].

    Inputs are encoded in chunks without a graph; the loss gives the gradient of every encoding;
    then each chunk is encoded again with a graph, which takes that gradient on. Exact: random
    states are restored, so that dropout drops the same. Layers that look across the batch (batch
    normalisation in training mode) see chunks, twice.

    Args:
        encoders: pairs of an encoder and its inputs, whose first dimension is the batch.
        loss: takes one tensor of encodings for each encoder; returns a scalar.
        chunk_rows: inputs encoded at a time, at least 1.

    Returns:
        The loss, detached.

    Raises:
        ArgumentError: ``chunk_rows`` is below 1, or there are no encoders.
        ShapeError: the loss is no scalar.
    """
    if chunk_rows < 1 or not encoders:
        raise ArgumentError(
            "backward_through_encoders: expected an encoder and chunk_rows >= 1, got "
            f"{len(encoders)} encoders and {chunk_rows}."
        )
    states: list[list[_RandomState]] = []
    encoded: list[Tensor] = []
    with torch.no_grad():
        for encode, inputs in encoders:
            parts = []
            states.append([])
            for chunk in torch.split(inputs, chunk_rows):
                states[-1].append(_RandomState(inputs.device))
                parts.append(encode(chunk))
            encoded.append(torch.cat(parts).requires_grad_())
    value = loss(*encoded)
    if value.ndim != 0:
        raise ShapeError(
            f"backward_through_encoders: loss must return a scalar, got {tuple(value.shape)}."
        )
    value.backward()  # type: ignore[no-untyped-call]
    after = _RandomState(encoders[0][1].device)
    for (encode, inputs), before, whole in zip(encoders, states, encoded, strict=True):
        if whole.grad is None:
            continue
        chunks = zip(
            torch.split(inputs, chunk_rows),
            torch.split(whole.grad, chunk_rows),
            before,
            strict=True,
        )
        for chunk, gradient, state in chunks:
            state.restore()
            encode(chunk).backward(gradient)  # type: ignore[no-untyped-call]
    after.restore()
    return value.detach()


@final
class _RandomState:
    """The state of torch's global generators, of the CPU and of a device."""

    def __init__(self, device: torch.device) -> None:
        self._cpu = torch.get_rng_state()
        self._device = device
        self._cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None

    def restore(self) -> None:
        """Put the state back."""
        torch.set_rng_state(self._cpu)
        if self._cuda is not None:
            torch.cuda.set_rng_state(self._cuda, self._device)
