"""Where latents lie: which may be contrasted, which predict, and what they are to predict.

An encoder gives latents z of shape (B, T, U, D). They are predicted along T: from the context at
(b, t, u), the latent at (b, t + k, u). Sound, text and agents have one site, U = 1; of an image, T
are rows of patches and U columns. Sequences may end before T.

`Positions` turns lengths into indices, once a batch and on the CPU, so that nothing has to wait for
an accelerator. Its *pool* lists the latents that are no padding, sequence after sequence, step
after step, site after site; all other indices point into it.

Letters: B = sequences; T = steps; U = sites; D = latent features; M = latents in the pool; N =
anchors, latents with something to predict; S = predicted steps.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from sidle.errors import ArgumentError, ShapeError


@dataclass(frozen=True, eq=False)
class Positions:
    """The latents of a batch.

    Args:
        length_B: int64 (B,), steps of each sequence, from 0 to ``n_times``.
        n_times: T, steps of the padded latents.
        n_sites: U, at least 1.
        steps: how far ahead is predicted, S rising numbers of at least 1.
        groups: by name, int64 (B,): sequences with equal numbers belong together.
        items: int64 (B, T) or (B, T, U): latents with equal numbers are copies of each other. None:
            there are no copies.

    Attributes:
        start_B: int64 (B + 1,), where each sequence begins in the pool; the last is M.
        sequence_M, time_M, site_M: int64 (M,), b, t and u of each latent.
        place_M: int64 (M,), its place in the flattened (B, T, U).
        item_M: int64 (M,), equal for copies.
        anchor_N: int64 (N,), latents with at least one of the steps inside their sequence.
        positive_SN: int64 (S, N), the latent to be predicted, -1 behind the end of the sequence.

    Raises:
        ArgumentError: steps or lengths out of range.
        ShapeError: groups or items that do not fit; no sequence is long enough to predict anything.
    """

    length_B: Tensor
    n_times: int
    n_sites: int
    steps: tuple[int, ...]
    groups: Mapping[str, Tensor] = field(default_factory=dict)
    items: Tensor | None = None
    start_B: Tensor = field(init=False)
    sequence_M: Tensor = field(init=False)
    time_M: Tensor = field(init=False)
    site_M: Tensor = field(init=False)
    place_M: Tensor = field(init=False)
    item_M: Tensor = field(init=False)
    anchor_N: Tensor = field(init=False)
    positive_SN: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self._check()
        T, U = self.n_times, self.n_sites
        n_latents_B = self.length_B * U
        start_B = torch.cat([torch.zeros(1, dtype=torch.int64), n_latents_B.cumsum(0)])
        sequence_M = torch.arange(len(n_latents_B)).repeat_interleave(n_latents_B)
        index_M = torch.arange(len(sequence_M))
        offset_M = index_M - start_B[sequence_M]
        time_M, site_M = offset_M // U, offset_M % U
        place_M = sequence_M * (T * U) + offset_M
        length_M = self.length_B[sequence_M]
        anchor_N = (time_M + self.steps[0] < length_M).nonzero().squeeze(1)
        if len(anchor_N) == 0:
            raise ShapeError(
                f"no sequence is long enough to predict {self.steps[0]} steps ahead: the longest "
                f"has {int(self.length_B.max())} latents. Give longer ones, or predict fewer steps."
            )
        ahead_S1 = torch.tensor(self.steps)[:, None]
        inside_SN = time_M[anchor_N] + ahead_S1 < length_M[anchor_N]
        # In the pool, the same site of the next step lies U places further on.
        positive_SN = torch.where(inside_SN, anchor_N + ahead_S1 * U, -1)
        item_M = index_M if self.items is None else self.items.reshape(-1)[place_M]
        made = {
            "start_B": start_B, "sequence_M": sequence_M, "time_M": time_M, "site_M": site_M,
            "place_M": place_M, "item_M": item_M, "anchor_N": anchor_N, "positive_SN": positive_SN,
        }  # fmt: skip
        for name, tensor in made.items():
            object.__setattr__(self, name, tensor)

    @property
    def n_latents(self) -> int:
        """M, how many latents are no padding."""
        return len(self.sequence_M)

    @property
    def full(self) -> bool:
        """Whether nothing is padding, so that the pool is all latents in their order."""
        return self.n_latents == len(self.length_B) * self.n_times * self.n_sites

    def group(self, key: str) -> Tensor:
        """Return the numbers of the sequences' groups, int64 (B,).

        Raises:
            ArgumentError: the batch says nothing of such groups.
        """
        if key not in self.groups:
            known = ", ".join(sorted(self.groups)) or "none"
            raise ArgumentError(
                f"negatives of the same '{key}' need to know each sequence's: give the batch "
                f"groups={{'{key}': int64 (B,)}}. It has: {known}."
            )
        return self.groups[key]

    def _check(self) -> None:
        B = len(self.length_B)
        if self.length_B.dtype != torch.int64 or self.length_B.ndim != 1 or B == 0:
            raise ShapeError(
                f"lengths must be int64 of shape (B,), got {self.length_B.dtype} "
                f"{tuple(self.length_B.shape)}."
            )
        if self.length_B.min() < 0 or self.length_B.max() > self.n_times:
            raise ArgumentError(
                f"lengths must lie from 0 to {self.n_times}, the steps of the latents, got "
                f"{int(self.length_B.min())} to {int(self.length_B.max())}."
            )
        for key, group_B in self.groups.items():
            if group_B.shape != (B,) or group_B.dtype != torch.int64 or not group_B.is_cpu:
                raise ShapeError(
                    f"groups['{key}'] must be int64 of shape ({B},) on the CPU, got "
                    f"{group_B.dtype} {tuple(group_B.shape)} on {group_B.device}."
                )
        expected = (B, self.n_times, self.n_sites)
        items = self.items
        if items is not None and (
            items.dtype != torch.int64
            or not items.is_cpu
            or tuple(items.shape) not in (expected, expected[:2] if self.n_sites == 1 else expected)
        ):
            raise ShapeError(
                f"items must be int64 of shape {expected} on the CPU, one for each latent, got "
                f"{items.dtype} {tuple(items.shape)} on {items.device}."
            )


def checked_steps(steps: int | Sequence[int]) -> tuple[int, ...]:
    """Return the steps ahead as rising numbers: ``K`` stands for 1 to K.

    Raises:
        ArgumentError: none, or not rising from at least 1.
    """
    found = tuple(range(1, steps + 1)) if isinstance(steps, int) else tuple(steps)
    if not found or found[0] < 1 or any(b <= a for a, b in itertools.pairwise(found)):
        raise ArgumentError(
            f"steps must be a number of at least 1, or rising numbers of at least 1, got {steps}."
        )
    return found


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Return ``tensor``, which lies on the CPU, on ``device``, without waiting for it."""
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
