"""Checkpoints: one `safetensors` file with tensors, settings, random states and a digest.

The object all functions share is a *tree*: dictionaries, lists and tuples whose leaves are
tensors, NumPy arrays, numbers, strings, booleans and None. A module's or optimiser's
``state_dict()`` is a tree. Arrays and tensors become tensors of the file; all else is JSON in
its metadata, with the SHA-256 of everything beside it, so that any changed bit is noticed.
A tensor comes back with the order of axes in memory that it had (channels last, say): fused
optimisers of torch walk through weights and momentum side by side and compute nonsense where the
two are laid out differently.
Nothing is ever unpickled. Files are replaced whole or not at all (`storage.replacing`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from sidle import storage
from sidle.errors import CheckpointError, StorageError

FORMAT = 1


@runtime_checkable
class Stateful(Protocol):
    """Anything with the ``state_dict`` and ``load_state_dict`` of torch."""

    def state_dict(self) -> Mapping[str, Any]:
        """Return the state as a tree."""
        ...

    def load_state_dict(self, state_dict: Any, /) -> Any:
        """Take over the state of a tree that ``state_dict`` returned."""
        ...


Restorable = Stateful | torch.Generator | np.random.Generator


def capture(objects: Mapping[str, Restorable]) -> dict[str, Any]:
    """Return the present state of each of ``objects`` as a tree, by name."""
    return {name: _state_of(item) for name, item in objects.items()}


def restore(objects: Mapping[str, Restorable], tree: Mapping[str, Any], *, path: Path) -> None:
    """Put the state in ``tree`` back into ``objects``.

    Args:
        objects: the same names as at `capture`.
        tree: what `capture` returned.
        path: the checkpoint, for the message.

    Raises:
        CheckpointError: names differ, or an object refuses its state.
    """
    if set(objects) != set(tree):
        raise CheckpointError(
            f"{path}: the checkpoint holds the states {sorted(tree)}, but {sorted(objects)} are "
            "to be restored. Load it with the code and settings that wrote it, or delete it."
        )
    for name, item in objects.items():
        try:
            if isinstance(item, torch.Generator):
                item.set_state(tree[name]["generator"])
            elif isinstance(item, np.random.Generator):
                item.bit_generator.state = tree[name]
            else:
                item.load_state_dict(tree[name])
        except (RuntimeError, ValueError, KeyError, TypeError) as error:
            raise CheckpointError(
                f"{path}: the state '{name}' does not fit the {type(item).__name__} it is "
                f"restored into: {error}. Load it with the code and settings that wrote it."
            ) from error


def save(path: str | Path, tree: Mapping[str, Any]) -> None:
    """Write ``tree`` to ``path``, whole or not at all.

    Raises:
        CheckpointError: a leaf is of a type that a checkpoint cannot hold.
        StorageError: the disk refused; a previous checkpoint at ``path`` is intact.
    """
    table = _TensorTable()
    encoded = _encode(tree, "", table)
    content = storage.to_json({"format": FORMAT, "tree": encoded, "strides": table.strides})
    metadata = {"sidle": content, "digest": _digest(content, table.by_name)}
    with storage.replacing(path) as temporary:
        try:
            save_file(table.by_name, temporary, metadata)
        except SafetensorError as error:
            raise StorageError(
                f"{path}: the checkpoint could not be written: {error}. Free some space or choose "
                "another folder; the previous checkpoint, if any, is intact."
            ) from error


def load(path: str | Path, *, device: str | torch.device = "cpu") -> dict[str, Any]:
    """Read and verify the tree that `save` wrote; tensors land on ``device``.

    Raises:
        StorageError: the file cannot be read.
        CheckpointError: it is truncated, altered, of another program, or of another format.
    """
    path = Path(path)
    with storage.refusals_of_disk(path):
        path.open("rb").close()
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, RuntimeError, ValueError) as error:
        raise CheckpointError(
            f"{path}: not a complete safetensors file: {error}. It was damaged after it was "
            "written, or is no checkpoint; use another copy or delete it."
        ) from error
    if "sidle" not in metadata or "digest" not in metadata:
        raise CheckpointError(
            f"{path}: a safetensors file, but not a checkpoint of sidle (its metadata says "
            "nothing of one). Name a file that sidle wrote."
        )
    if _digest(metadata["sidle"], tensors) != metadata["digest"]:
        raise CheckpointError(
            f"{path}: the content does not match its own SHA-256: the file was damaged or "
            "altered after it was written. Use another copy or delete it."
        )
    content = json.loads(metadata["sidle"])
    if content["format"] != FORMAT:
        raise CheckpointError(
            f"{path}: checkpoint format {content['format']}, but this version of sidle reads "
            f"format {FORMAT}. Use the version of sidle that wrote it."
        )
    for name, strides in content.get("strides", {}).items():
        tensors[name] = _laid_out(tensors[name], tuple(strides), path)
    tree: dict[str, Any] = _decode(content["tree"], tensors, device)
    return tree


def _state_of(item: Restorable) -> Any:
    if isinstance(item, torch.Generator):
        return {"generator": item.get_state()}
    if isinstance(item, np.random.Generator):
        return item.bit_generator.state
    return item.state_dict()


class _TensorTable:
    """The tensors of one file by name; tied tensors are stored once, views as copies."""

    def __init__(self) -> None:
        self.by_name: dict[str, Tensor] = {}
        self.strides: dict[str, tuple[int, ...]] = {}  # of those whose axes lie in another order
        self._names: dict[object, str] = {}
        # Tensors are told apart by their address, so none may be freed before the last is entered.
        self._entered: list[Tensor] = []
        self._storages: set[tuple[torch.device, int]] = set()

    def enter(self, tensor: Tensor, name: str) -> str:
        """Store ``tensor`` under ``name`` and return the name under which it is found."""
        tensor = tensor.detach()
        same = (tensor.device, tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
        if tensor.numel() and same in self._names:
            return self._names[same]
        while name in self.by_name:  # {"a": {"b": t}, "a/b": t} name one place twice
            name += "'"
        # safetensors refuses memory that two tensors share, or of which one is a part.
        storage_of_tensor = (tensor.device, tensor.untyped_storage().data_ptr())
        whole = tensor.numel() * tensor.element_size() == tensor.untyped_storage().nbytes()
        copied = tensor if whole and storage_of_tensor not in self._storages else tensor.clone()
        plain = copied.cpu().resolve_conj().resolve_neg().contiguous()
        # Axes of one entry may have any stride, and make no difference.
        usual = torch.empty(tensor.shape, device="meta").stride()
        self.by_name[name] = plain.as_strided(tensor.shape, usual)
        strides = _strides(tensor)
        if not tensor.is_contiguous() and strides != usual:
            self.strides[name] = strides
        self._names[same] = name
        self._storages.add(storage_of_tensor)
        self._entered.append(tensor)
        return name


def _strides(tensor: Tensor) -> tuple[int, ...]:
    """Return the strides of a copy that keeps the order of the axes in memory."""
    return torch.empty_like(tensor, device="meta").stride()


def _laid_out(tensor: Tensor, strides: tuple[int, ...], path: Path) -> Tensor:
    """Return a copy of ``tensor`` with other ``strides``, which fill memory without gaps."""
    like = torch.empty_strided(tensor.shape, strides, dtype=tensor.dtype, device="meta")
    if _strides(like) != strides:
        raise CheckpointError(
            f"{path}: strides {list(strides)} do not fit a tensor of shape {list(tensor.shape)}. "
            "No version of sidle writes that; use another copy or delete it."
        )
    return torch.empty_like(like, device="cpu").copy_(tensor)


def _encode(node: Any, name: str, table: _TensorTable) -> Any:
    """Return ``node`` as JSON; put its tensors into ``table`` under their place in the tree."""
    if isinstance(node, Tensor):
        return {"$tensor": table.enter(node, name or "/")}
    if isinstance(node, np.ndarray) and node.dtype.kind in "biufc":
        native = np.array(node, dtype=node.dtype.newbyteorder("="), order="C")
        return {"$array": table.enter(torch.from_numpy(native), name or "/")}
    if isinstance(node, np.generic):
        return _encode(node.item(), name, table)
    if isinstance(node, float) and not math.isfinite(node):
        return {"$float": repr(node)}
    if node is None or isinstance(node, (bool, int, float, str)):
        return node
    if isinstance(node, (list, tuple)):
        items = [_encode(item, f"{name}/{i}", table) for i, item in enumerate(node)]
        return {"$tuple": items} if isinstance(node, tuple) else items
    if isinstance(node, Mapping):
        if all(isinstance(key, str) and not key.startswith("$") for key in node):
            return {key: _encode(item, f"{name}/{key}", table) for key, item in node.items()}
        # JSON would turn other keys into strings (an optimiser numbers its parameters).
        pairs = [(_encode(key, name, table), key, item) for key, item in node.items()]
        return {
            "$items": [[code, _encode(item, f"{name}/{key}", table)] for code, key, item in pairs]
        }
    raise CheckpointError(
        f"save: '{name or '/'}' is a {type(node).__name__}, which a checkpoint cannot hold. "
        "Give tensors, arrays, numbers, strings, None, and lists, tuples and dictionaries of them."
    )


def _decode(node: Any, tensors: Mapping[str, Tensor], device: str | torch.device) -> Any:
    if isinstance(node, list):
        return [_decode(item, tensors, device) for item in node]
    if not isinstance(node, dict):
        return node
    if "$tensor" in node:
        return tensors[node["$tensor"]].to(device)
    if "$array" in node:
        return tensors[node["$array"]].numpy()
    if "$float" in node:
        return float(node["$float"])
    if "$tuple" in node:
        return tuple(_decode(item, tensors, device) for item in node["$tuple"])
    if "$items" in node:
        pairs = ((_decode(k, tensors, device), v) for k, v in node["$items"])
        return {key: _decode(item, tensors, device) for key, item in pairs}
    return {key: _decode(item, tensors, device) for key, item in node.items()}


def _digest(content: str, tensors: Mapping[str, Tensor]) -> str:
    parts: list[Any] = [content]
    for name in sorted(tensors):
        flat = tensors[name].reshape(-1).view(torch.uint8).numpy()
        parts += [f"{name} {tensors[name].dtype} {list(tensors[name].shape)}", flat]
    return storage.digest(*parts)
