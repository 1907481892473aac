"""One integer in, any number of independent named random streams out.

    order = numpy_generator(split(seed, "data_order", epoch))

A stream is named, not numbered by use, so adding a consumer never changes what the others draw.
Code of ours draws only from generators made here and passed down. Libraries that draw from
global state (torch's initialisers and dropout, for example) run inside `scope`; this module is
the only one that touches the global generators.
"""

from __future__ import annotations

import contextlib
import hashlib
import random
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from sidle.errors import ArgumentError

if TYPE_CHECKING:
    import torch


def split(seed: int, *names: str | int) -> int:
    """Return the seed of the stream called ``names`` below ``seed``, in [0, 2^63).

    Args:
        seed: any non-negative integer; the same seed and names give the same result everywhere.
        names: what the stream is for, and its index if there are several: ``"batch", step``.

    Raises:
        ArgumentError: ``seed`` is negative or no integer, or no name is given.
    """
    _check(seed, "split")
    if not names:
        raise ArgumentError("split: expected at least one name for the stream, got none.")
    # repr keeps "1" and 1 apart; the separator cannot occur unescaped inside a repr.
    text = "\n".join([repr(int(seed)), *(repr(name) for name in names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def numpy_generator(seed: int) -> np.random.Generator:
    """Return a NumPy generator for ``seed``, a non-negative integer."""
    _check(seed, "numpy_generator")
    return np.random.default_rng(seed)


def torch_generator(seed: int, device: str | torch.device = "cpu") -> torch.Generator:
    """Return a torch generator on ``device`` for ``seed``, in [0, 2^63)."""
    import torch

    _check(seed, "torch_generator")
    return torch.Generator(device).manual_seed(seed)


@contextlib.contextmanager
def scope(seed: int) -> Iterator[None]:
    """Run the block with torch, NumPy and `random` seeded, then restore the caller's states.

    All CUDA devices are covered where CUDA is in use.
    """
    import torch

    _check(seed, "scope")
    callers = global_states()
    torch.manual_seed(split(seed, "torch"))
    np.random.seed(split(seed, "numpy") % 2**32)
    random.seed(split(seed, "python"))
    try:
        yield
    finally:
        restore_global_states(callers)


def global_states() -> dict[str, Any]:
    """Return the states of the global generators of torch, NumPy and `random`, as a tree."""
    import torch

    return {
        "torch": torch.get_rng_state(),
        "cuda": _cuda_states(),
        "numpy": np.random.get_state(legacy=False),
        "python": random.getstate(),
    }


def restore_global_states(states: Mapping[str, Any]) -> None:
    """Put back what `global_states` returned."""
    import torch

    torch.set_rng_state(states["torch"])
    if states["cuda"]:
        torch.cuda.set_rng_state_all(states["cuda"])
    np.random.set_state(states["numpy"])
    random.setstate(states["python"])


def _cuda_states() -> list[Any]:
    import torch

    # Asking for the states would start CUDA on every GPU of a machine that does not use it.
    started = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    return list(torch.cuda.get_rng_state_all()) if started else []


def _check(seed: int, function: str) -> None:
    if not isinstance(seed, (int, np.integer)) or isinstance(seed, bool) or seed < 0:
        raise ArgumentError(f"{function}: seed must be an integer of at least 0, got {seed!r}.")
