"""Networks that users name on the command line: ``module:factory``, and weights from their files.

Weights are read from .safetensors files, checkpoints of sidle and .pt files; the last only with
``torch.load(weights_only=True)``, so that nothing is unpickled that could run code. Building a
model runs the user's own ``factory``, which is what naming it asks for.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import pickle
import sys
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from sidle import checkpoint, seeding
from sidle.data import archives
from sidle.errors import ArgumentError, CheckpointError, UsageError
from sidle.lmc import Mask, from_torch_prune

# What wrappers put before every name: DataParallel and torch.compile.
_PREFIXES = ("module.", "_orig_mod.")
_MOST_LISTED = 6


def build(specification: str, arguments: str = "{}") -> nn.Module:
    """Return the model that ``module:factory`` makes; the module may lie in the working folder.

    Args:
        specification: a module and, after a colon, a callable in it (a class or a function).
        arguments: keywords of the callable, a JSON object.

    Raises:
        UsageError: of another form, no such module or callable, or arguments that are no object.
        ArgumentError: the callable raised an error, or returned no module.
    """
    module_name, colon, factory_name = specification.partition(":")
    if not (module_name and colon and factory_name):
        raise UsageError(
            f"--model: expected module:factory, got {specification!r}. Example: --model "
            "networks:LeNet, where networks.py lies in this folder and LeNet() makes the network."
        )
    keywords = _keywords(arguments)
    with _working_folder_importable():
        try:
            found: Any = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
                raise ArgumentError(
                    f"--model: importing '{module_name}' failed: {error}."
                ) from error
            raise UsageError(
                f"--model: there is no module '{module_name}' in the working folder or among the "
                "installed packages. Run sidle where the file lies."
            ) from error
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
            raise ArgumentError(f"--model: importing '{module_name}' failed: {problem}.") from error
        for part in factory_name.split("."):
            if not hasattr(found, part):
                raise UsageError(f"--model: '{module_name}' has no '{factory_name}'.")
            found = getattr(found, part)
        try:
            with seeding.scope(0):  # initial weights are drawn globally, and overwritten later
                made = found(**keywords)
        except Exception as error:
            raise ArgumentError(
                f"--model: {specification} called with {keywords or 'no arguments'} raised "
                f"{type(error).__name__}: {error}. --model-arguments gives keywords as JSON."
            ) from error
    if not isinstance(made, nn.Module):
        raise ArgumentError(
            f"--model: {specification} returned {type(made).__name__}, expected an nn.Module."
        )
    return made


def load(
    path: Path, specification: str, *, arguments: str = "{}", entry: str | None = None
) -> nn.Module:
    """Return a new model of ``module:factory`` with the weights in ``path``, in evaluation mode.

    Args:
        path: .safetensors, a checkpoint of sidle, or .pt.
        specification, arguments: as `build`.
        entry: where in the file the weights are, for a file that holds those of several networks.

    Raises:
        UsageError, ArgumentError: as `build`.
        DataNotFoundError: there is no such file.
        CheckpointError: it is damaged, holds objects, or holds no weights that fit the model.
        StorageError: the operating system refused.
    """
    model = build(specification, arguments)
    model.load_state_dict(weights_for(model, path, entry=entry), strict=False)
    return model.eval()


def weights_for(model: nn.Module, path: Path, *, entry: str | None = None) -> dict[str, Tensor]:
    """Return the weights in ``path`` that belong to ``model``, wherever in the file they are.

    Raises:
        DataNotFoundError, CheckpointError, StorageError: as `load`.
    """
    return weights_and_mask_for(model, path, entry=entry)[0]


def weights_and_mask_for(
    model: nn.Module, path: Path, *, entry: str | None = None
) -> tuple[dict[str, Tensor], Mask | None]:
    """Return the same weights, and the mask if torch.nn.utils.prune kept one beside them.

    Raises:
        DataNotFoundError, CheckpointError, StorageError: as `load`.
        ArgumentError: a mask of torch.nn.utils.prune that is none.
    """
    own = {name: value for name, value in model.state_dict().items() if isinstance(value, Tensor)}
    masks: dict[str, Mask] = {}
    found: dict[str, dict[str, Tensor]] = {}
    for place, state in _states(read(path)):
        found[place] = state
        pruned = any(name.endswith("_orig") and f"{name[:-5]}_mask" in state for name in state)
        if pruned and set(state) != set(own):  # a factory may prune what it makes
            found[place], masks[place] = from_torch_prune(state)
    if entry is not None:
        if entry not in found:
            raise CheckpointError(
                f"{path}: holds no weights under '{entry}'. It holds some under: {_listed(found)}."
            )
        found = {entry: found[entry]}
    fitting = {place: state for place, state in found.items() if set(state) == set(own)}
    if len(fitting) > 1:
        raise CheckpointError(
            f"{path}: holds weights of this model in several places: {_listed(fitting)}. Say which "
            "with --entry."
        )
    if not fitting:
        raise CheckpointError(f"{path}: {_misfit(found, own, model)}")
    ((place, state),) = fitting.items()
    for name, tensor in own.items():
        if state[name].shape != tensor.shape:
            raise CheckpointError(
                f"{path}: '{name}' has shape {tuple(state[name].shape)} in the file and "
                f"{tuple(tensor.shape)} in {type(model).__name__}. Build the model with the "
                "settings it was trained with: --model-arguments."
            )
    return state, masks.get(place)


def read(path: Path) -> Mapping[str, Any]:
    """Return what a file of weights holds, as a tree of dictionaries with tensors as leaves.

    Raises:
        DataNotFoundError: there is no such file.
        CheckpointError: it is damaged, or would have to be unpickled.
        StorageError: the operating system refused.
    """
    with archives.opened(path):
        pass
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # remarks on the pickle protocol
            tree = torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path}: is no file of torch.save, or holds Python objects, which could run code when "
            "they are unpickled. Save the weights alone: torch.save(model.state_dict(), path)."
        ) from error
    except Exception as error:  # the reader promises no particular exceptions on damaged bytes
        # The message of a KeyError is a key, that of others may be empty.
        said = "" if isinstance(error, LookupError) else str(error).partition("\n")[0].rstrip(".")
        problem = said or f"its content is damaged ({type(error).__name__})"
        raise CheckpointError(
            f"{path}: not a complete file of torch.save: {problem}. Copy it again, or save the "
            "weights again."
        ) from error
    if not isinstance(tree, Mapping):
        raise CheckpointError(
            f"{path}: expected weights by name, found {type(tree).__name__}. Save "
            "model.state_dict()."
        )
    try:
        _go_through(tree)
    except RecursionError as error:
        raise CheckpointError(
            f"{path}: a dictionary in it contains itself. Save model.state_dict()."
        ) from error
    return tree


def _go_through(node: Any) -> None:
    for item in node.values() if isinstance(node, Mapping) else ():
        _go_through(item)


def _read_safetensors(path: Path) -> Mapping[str, Any]:
    try:
        with safe_open(path, framework="pt") as file:
            if "sidle" not in (file.metadata() or {}):
                return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, RuntimeError, ValueError) as error:
        raise CheckpointError(
            f"{path}: not a complete safetensors file: {error}. Copy it again."
        ) from error
    return checkpoint.load(path)


def _states(tree: Any, place: str = "") -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Yield every mapping inside ``tree`` that holds tensors by name, with its place."""
    if not isinstance(tree, Mapping):
        return
    tensors = {
        name: value
        for name, value in tree.items()
        if isinstance(name, str) and isinstance(value, Tensor)
    }
    if tensors:
        yield place or "the top", _without_prefix(tensors)
    for name, inner in tree.items():
        yield from _states(inner, f"{place}.{name}".lstrip("."))


def _without_prefix(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    for prefix in _PREFIXES:
        if all(name.startswith(prefix) for name in tensors):
            return _without_prefix({name[len(prefix) :]: t for name, t in tensors.items()})
    return tensors


def _misfit(found: Mapping[str, Any], own: Mapping[str, Any], model: nn.Module) -> str:
    """Return how the weights that come nearest to ``own`` differ from them."""
    if not found:
        return "holds no tensors by name. Save model.state_dict()."
    place, nearest = max(found.items(), key=lambda item: len(set(item[1]) & set(own)))
    lacking, unknown = sorted(set(own) - set(nearest)), sorted(set(nearest) - set(own))
    parts = [f"it lacks {_listed(lacking)}"] * bool(lacking)
    parts += [f"the model lacks {_listed(unknown)}"] * bool(unknown)
    return (
        f"the weights (under {place}) do not belong to {type(model).__name__}: "
        f"{'; '.join(parts)}. Name the factory, and the --model-arguments, that they were trained "
        "with."
    )


def _listed(names: Any) -> str:
    known = [f"'{name}'" for name in names]
    rest = len(known) - _MOST_LISTED
    return ", ".join(known[:_MOST_LISTED]) + (f" and {rest} more" if rest > 0 else "")


def _keywords(arguments: str) -> dict[str, Any]:
    try:
        keywords = json.loads(arguments)
    except ValueError as error:
        raise UsageError(f"--model-arguments: not JSON: {error}.") from error
    if not isinstance(keywords, dict):
        raise UsageError(
            "--model-arguments: expected a JSON object such as '{\"width\": 64}', got "
            f"{arguments!r}."
        )
    return keywords


@contextlib.contextmanager
def _working_folder_importable() -> Iterator[None]:
    folder = str(Path.cwd())
    sys.path.insert(0, folder)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(folder)
