"""Masks: which weights of a network are kept, and how the others stay exactly zero.

The object all functions share is the `Mask`: names of parameters, as in a ``state_dict``, with one
boolean tensor each, True where the weight is kept. A pruned weight is +0.0 and has no influence:
its gradient is zero before anybody clips it, and optimisers remember nothing for it.

Zeros are written by a bitwise AND with all ones (kept) or all zeros (pruned) in an integer view
of the numbers. Unlike a product with 0.0 that makes +0.0 of negative numbers, NaN and infinity,
and leaves every bit of a kept weight alone.

References: [LMC] Frankle, Dziugaite, Roy, Carbin 2020, arXiv:1912.05671.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Protocol, final

import torch
from torch import Tensor, nn

from sidle import checkpoint, storage
from sidle.errors import ArgumentError, CheckpointError, ShapeError
from sidle.lmc import states

_INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_LAYERS = (nn.Linear, *_CONVOLUTIONS, *_TRANSPOSED)
_PROJECTIONS = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")


def prunable(model: nn.Module) -> list[str]:
    """Return the names of the weights that are pruned by default, in the model's order.

    These are the weights of linear and convolutional layers and the input projections of
    `torch.nn.MultiheadAttention`: no biases, no normalisation, no embeddings. A tensor that several
    layers share is named once.

    Raises:
        ArgumentError: a layer's weight is no parameter (torch.nn.utils.prune, weight or spectral
            normalisation), or the model has no such layer.
    """
    names = [name for name, _ in model.named_parameters()]
    chosen = set()
    for path, module in model.named_modules(remove_duplicate=False):
        prefix = f"{path}." if path else ""
        if isinstance(module, _LAYERS):
            if "weight" not in dict(module.named_parameters(recurse=False)):
                raise ArgumentError(
                    f"prunable: the weight of '{path}' is computed from other parameters. Use "
                    "from_torch_prune for torch.nn.utils.prune, remove the parametrization, or "
                    "name the parameters to prune yourself."
                )
            chosen.add(f"{prefix}weight")
        elif isinstance(module, nn.MultiheadAttention):
            chosen |= {f"{prefix}{name}" for name in _PROJECTIONS}
    found = [name for name in names if name in chosen]
    if not found:
        raise ArgumentError(
            f"prunable: {type(model).__name__} has no linear, convolutional or attention layer. "
            "Name the parameters to prune yourself."
        )
    return found


@final
class Mask(Mapping[str, Tensor]):
    """Which weights are kept: a boolean tensor for each pruned parameter, by name.

    A mask never changes; pruning returns a new one. Equality compares names and bits.

    Args:
        kept: boolean tensors by name of parameter, True where the weight is kept. They are copied
            to the CPU.
        tied: further names in the ``state_dict`` of a tensor in ``kept``: ``{name: name in kept}``.

    Raises:
        ArgumentError: there are no tensors, one is not boolean, or ``tied`` names no tensor.
    """

    def __init__(
        self, kept: Mapping[str, Tensor], *, tied: Mapping[str, str] | None = None
    ) -> None:
        if not kept:
            raise ArgumentError("Mask: expected at least one tensor, got none.")
        for name, tensor in kept.items():
            if not isinstance(tensor, Tensor) or tensor.dtype != torch.bool:
                found = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
                raise ArgumentError(
                    f"Mask: '{name}' must be a boolean tensor, True where the weight is kept, "
                    f"got {found}."
                )
        tied = dict(tied or {})
        if strangers := sorted({*tied.values()} - {*kept} | {*tied} & {*kept}):
            raise ArgumentError(
                f"Mask: tied must lead from further names to names in kept; {strangers} do not."
            )
        self._kept = {
            name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in kept.items()
        }
        self.tied: Mapping[str, str] = MappingProxyType(tied)

    @classmethod
    def ones(cls, model: nn.Module | Mapping[str, Any], names: Iterable[str] | None = None) -> Mask:
        """Return the mask that keeps every weight of a model or ``state_dict``.

        Args:
            model: tensors that share memory in it are recognised as tied.
            names: which parameters may be pruned; by default `prunable` of a model, and of a
                ``state_dict``, which does not say which layers there are, the floating tensors of
                two or more dimensions.

        Raises:
            ArgumentError: no such parameter, twice the same one, not floating point, or a lazy
                module that never ran.
        """
        if isinstance(model, nn.Module):
            states.refuse_lazy(dict(model.named_parameters()))
            chosen = prunable(model) if names is None else list(names)
            tensors: dict[str, Any] = {
                name: parameter.detach()
                for name, parameter in model.named_parameters(remove_duplicate=False)
            }
        else:
            tensors = dict(model)
            chosen = list(_matrices(tensors)) if names is None else list(names)
        first: dict[object, str] = {}
        for name in chosen:
            tensor = tensors.get(name)
            if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
                what = "absent" if name not in tensors else "no floating-point tensor"
                raise ArgumentError(
                    f"Mask.ones: the parameter '{name}' is {what}. "
                    f"There are: {', '.join(_floating(tensors))}."
                )
            if (key := _place(tensor)) in first:
                raise ArgumentError(
                    f"Mask.ones: '{first[key]}' and '{name}' are the same tensor; name one."
                )
            first[key] = name
        tied = {
            name: first[_place(tensor)]
            for name, tensor in tensors.items()
            if isinstance(tensor, Tensor) and first.get(_place(tensor), name) != name
        }
        return cls(
            {name: torch.ones(tensors[name].shape, dtype=torch.bool) for name in chosen}, tied=tied
        )

    def __getitem__(self, name: str) -> Tensor:
        return self._kept[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._kept)

    def __len__(self) -> int:
        return len(self._kept)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Mask):
            return NotImplemented
        return self.digest() == other.digest()

    def __hash__(self) -> int:
        return hash(self.digest())

    def __reduce__(self) -> tuple[Any, ...]:
        return functools.partial(Mask, tied=dict(self.tied)), (self._kept,)

    def __repr__(self) -> str:
        return f"Mask({len(self)} parameters, {self.n_kept} of {self.n_weights} weights kept)"

    @property
    def n_weights(self) -> int:
        """How many weights the masked parameters have, kept or not."""
        return sum(tensor.numel() for tensor in self._kept.values())

    @property
    def n_kept(self) -> int:
        """How many of them are kept."""
        return sum(int(tensor.sum()) for tensor in self._kept.values())

    @property
    def density(self) -> float:
        """The share of the weights that is kept, in [0, 1]."""
        return self.n_kept / self.n_weights

    def densities(self) -> dict[str, float]:
        """Return the share of the weights kept in each parameter, in [0, 1]."""
        return {name: int(tensor.sum()) / tensor.numel() for name, tensor in self._kept.items()}

    def digest(self) -> str:
        """Return the SHA-256 of names, shapes and bits, as 64 hexadecimal digits."""
        parts: list[Any] = [storage.to_json(dict(self.tied))]
        for name in sorted(self._kept):
            parts += [name, self._kept[name].numpy()]
        return storage.digest(*parts)

    def apply(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """Return a ``state_dict`` with zeros where weights are pruned; the given one is unchanged.

        Raises:
            ArgumentError, ShapeError: a masked parameter is absent or of another shape.
        """
        self.check(state, "Mask.apply")
        applied = dict(state)
        for name, bits in self._names():
            applied[name] = state[name].detach().clone()
            _clear(applied[name], _bits(self._kept[bits], applied[name]))
        return applied

    def apply_(self, model: nn.Module) -> None:
        """Set the pruned weights of ``model`` to zero, once; `hold` keeps them there.

        Raises:
            ArgumentError, ShapeError: a masked parameter is absent or of another shape.
        """
        for name, parameter in self._parameters(model, "Mask.apply_").items():
            _clear(parameter, _bits(self._kept[name], parameter))

    def revived(self, state: Mapping[str, Any]) -> dict[str, int]:
        """Return how many pruned weights of each parameter are not zero; {} if the mask holds.

        Raises:
            ArgumentError, ShapeError: a masked parameter is absent or of another shape.
        """
        self.check(state, "Mask.revived")
        counts = {
            name: int((state[name].detach().cpu()[~self._kept[bits]] != 0).sum())
            for name, bits in self._names()
        }
        return {name: count for name, count in counts.items() if count}

    def hold(self, model: nn.Module, *optimizers: torch.optim.Optimizer) -> Hold:
        """Keep the pruned weights of ``model`` at zero while ``optimizers`` train it.

        From now on, and until the result's ``remove`` is called or its ``with`` block ends:
        gradients of pruned weights are zero as soon as they are accumulated, and once more before
        each step; after each step pruned weights are zero, and so is what the optimiser keeps for
        them (momentum, Adam's two moments, and all else of the parameter's shape); the same after
        ``load_state_dict`` of the model or an optimiser. So nothing revives, and neither the
        other weights nor a clipped gradient norm depend on what is pruned.

        Args:
            model: its masked parameters are set to zero at once.
            *optimizers: one or more that between them hold every masked parameter that is trained.

        Raises:
            ArgumentError: a masked parameter is absent, or in no optimiser (an optimiser that was
                made for another copy of the model, say).
            ShapeError: a masked parameter has another shape.
        """
        return Hold(self._parameters(model, "Mask.hold"), self, model, optimizers)

    def state_dict(self) -> dict[str, Any]:
        """Return the mask as a tree that `sidle.checkpoint` can write."""
        # Lists, so that nobody who looks for weights by name takes the mask for them.
        names, kept = list(self._kept), list(self._kept.values())
        return {"names": names, "kept": kept, "tied": dict(self.tied)}

    @classmethod
    def from_state_dict(cls, tree: Mapping[str, Any]) -> Mask:
        """Return the mask that `state_dict` described.

        Raises:
            ArgumentError: ``tree`` is no such tree.
        """
        if not {"names", "kept", "tied"} <= set(tree):
            raise ArgumentError(
                f"Mask.from_state_dict: expected 'names', 'kept' and 'tied', got {sorted(tree)}."
            )
        try:
            kept, tied = dict(zip(tree["names"], tree["kept"], strict=True)), dict(tree["tied"])
        except (TypeError, ValueError) as error:
            raise ArgumentError(
                "Mask.from_state_dict: expected lists of names and of tensors of one length, and "
                f"a dictionary of tied names ({error}). Give what Mask.state_dict returned."
            ) from error
        return cls(kept, tied=tied)

    def save(self, path: str | Path) -> None:
        """Write the mask to ``path``, one safetensors file, whole or not at all.

        Raises:
            StorageError: the disk refused; what was at ``path`` before is intact.
        """
        checkpoint.save(path, {"mask": self.state_dict()})

    @classmethod
    def load(cls, path: str | Path) -> Mask:
        """Read a mask from a file of `save`, or from any checkpoint with an entry "mask".

        Raises:
            StorageError, CheckpointError: as `sidle.checkpoint.load`, or there is no mask in it.
        """
        tree = checkpoint.load(path)
        try:
            return cls.from_state_dict(tree["mask"])
        except (KeyError, TypeError, ArgumentError) as error:
            raise CheckpointError(
                f"{path}: holds no mask ({error}). Name a file that Mask.save or `sidle prune` "
                "wrote."
            ) from error

    def check(self, state: Mapping[str, Any], function: str) -> None:
        """Raise unless every masked parameter is in ``state`` with the mask's shape.

        Args:
            state: a ``state_dict``.
            function: whose argument it is, for the message.

        Raises:
            ArgumentError: a parameter is absent or not floating point.
            ShapeError: a parameter has another shape.
        """
        for name, bits in self._names():
            tensor = state.get(name)
            if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
                what = "no floating-point tensor" if name in state else "absent"
                raise ArgumentError(
                    f"{function}: the masked parameter '{name}' is {what}. There are: "
                    f"{', '.join(_floating(state))}. Use the mask with the architecture it was "
                    "made for."
                )
            if tensor.shape != self._kept[bits].shape:
                raise ShapeError(
                    f"{function}: '{name}' must have the mask's shape "
                    f"{tuple(self._kept[bits].shape)}, got {tuple(tensor.shape)}. Use the mask "
                    "with the architecture it was made for."
                )

    def _names(self) -> list[tuple[str, str]]:
        """Return each name in the ``state_dict`` with the name in the mask."""
        return [*((name, name) for name in self._kept), *self.tied.items()]

    def _parameters(self, model: nn.Module, function: str) -> dict[str, nn.Parameter]:
        parameters = dict(model.named_parameters(remove_duplicate=False))
        self.check(parameters, function)
        for name, other in self.tied.items():
            if parameters[name] is not parameters[other]:
                raise ArgumentError(
                    f"{function}: '{name}' and '{other}' are one tensor for the mask, but two in "
                    "the model. Tie them, or make the mask from this model."
                )
        return {name: parameters[name] for name in self._kept}


class _Removable(Protocol):
    def remove(self) -> None: ...


@final
class Hold:
    """Pruned weights that stay zero; made by `Mask.hold`, ended by ``remove`` or a ``with``."""

    def __init__(
        self,
        parameters: Mapping[str, nn.Parameter],
        mask: Mask,
        model: nn.Module,
        optimizers: Iterable[torch.optim.Optimizer],
    ) -> None:
        self._mask, self._parameters, self._optimizers = mask, parameters, list(optimizers)
        self._known: dict[tuple[str, torch.device, torch.dtype], Tensor] = {}
        optimised = {
            id(parameter)
            for optimizer in self._optimizers
            for group in optimizer.param_groups
            for parameter in group["params"]
        }
        for name, parameter in parameters.items():
            if parameter.requires_grad and id(parameter) not in optimised:
                raise ArgumentError(
                    f"Mask.hold: no optimiser was given that holds '{name}'. Give every optimiser "
                    "of this model, made from this model's own parameters."
                )
        hooks: list[_Removable] = [
            parameter.register_post_accumulate_grad_hook(self._gradient_hook(name))  # type: ignore[no-untyped-call]
            for name, parameter in parameters.items()
            if parameter.requires_grad
        ]
        hooks.append(
            model.register_load_state_dict_post_hook(lambda *_: self.clear())  # type: ignore[no-untyped-call]
        )
        for optimizer in self._optimizers:
            hooks += [
                optimizer.register_step_pre_hook(lambda *_: self._clear_gradients()),
                optimizer.register_step_post_hook(lambda *_: self.clear()),
                optimizer.register_load_state_dict_post_hook(lambda *_: self.clear()),
            ]
        self._hooks = hooks
        self._clear_gradients()
        self.clear()

    def clear(self) -> None:
        """Set pruned weights, and what the optimisers keep for them, to zero."""
        for name, parameter in self._parameters.items():
            self._clear(name, parameter)
            for optimizer in self._optimizers:
                # A defaultdict: asking by [] would make a state where there is none.
                for kept in optimizer.state.get(parameter, {}).values():
                    if isinstance(kept, Tensor) and kept.shape == parameter.shape:
                        self._clear(name, kept)

    def remove(self) -> None:
        """Let go: from now on weights may revive."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    def __enter__(self) -> Hold:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.remove()

    def _clear_gradients(self) -> None:
        for name, parameter in self._parameters.items():
            if parameter.grad is not None:
                if parameter.grad.is_sparse:
                    raise ArgumentError(
                        f"Mask.hold: the gradient of '{name}' is sparse. Build the layer with "
                        "sparse=False, or leave it out of the mask."
                    )
                self._clear(name, parameter.grad)

    def _gradient_hook(self, name: str) -> Any:
        def clear_gradient(parameter: Tensor) -> None:
            if parameter.grad is not None and not parameter.grad.is_sparse:
                self._clear(name, parameter.grad)

        return clear_gradient

    def _clear(self, name: str, tensor: Tensor) -> None:
        if not tensor.is_floating_point():
            return
        key = name, tensor.device, tensor.dtype
        if key not in self._known:
            self._known[key] = _bits(self._mask[name], tensor)
        _clear(tensor, self._known[key])


def _bits(kept: Tensor, like: Tensor) -> Tensor:
    """Return integers as wide as the numbers of ``like``: all ones where kept, else zero."""
    integer = _INTEGERS[like.element_size()]
    bits = torch.empty_like(like, dtype=integer, requires_grad=False)  # in the same memory order
    return bits.copy_(kept).neg_()


def _clear(tensor: Tensor, bits: Tensor) -> None:
    # detach() shares memory and version counter: autograd notices a change it must notice.
    tensor.detach().view(bits.dtype).bitwise_and_(bits)


def _place(tensor: Tensor) -> object:
    if not tensor.numel():
        return id(tensor)
    return tensor.device, tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride()


def _floating(tensors: Mapping[str, Any]) -> list[str]:
    return [
        name
        for name, tensor in tensors.items()
        if isinstance(tensor, Tensor) and tensor.is_floating_point()
    ]


def _matrices(tensors: Mapping[str, Any]) -> Iterator[str]:
    known = set()
    for name in _floating(tensors):
        if tensors[name].ndim >= 2 and _place(tensors[name]) not in known:
            known.add(_place(tensors[name]))
            yield name
