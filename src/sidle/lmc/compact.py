"""Pruned networks that are really smaller: only the weights that are kept, in memory and on disk.

The object all functions share is a *compact* model: a copy of a pruned one in which linear layers
hold their weights in compressed sparse rows (`compacted`), or from which whole channels are gone
(`sidle.lmc.structured`), or both. It is made for evaluation. Whether it is also faster depends on
density, sizes, batch and machine: `compare_speed` measures that, and says so where it is slower.

Letters: B = rows of a batch; D, O = inputs and outputs of a layer; K = weights kept.
"""

from __future__ import annotations

import copy
import functools
import statistics
import time
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor, nn

from sidle import checkpoint
from sidle.errors import ArgumentError, CheckpointError, ShapeError
from sidle.lmc.masks import Mask

# Inputs of a block of rows, which the sparse product reads in no order: 1 MB stays in the cache.
# Measured on one core with 1,024 rows of 4,096 inputs: up to four times faster than all at once.
_BLOCK_INPUTS = 2**18
_FEWEST_ROWS = 64
# One kept weight takes its value and an int32 for its column.
_INDEX_BYTES = 4
# Parents that read the weight of a linear layer instead of calling it.
_READ_WEIGHTS = (nn.MultiheadAttention, nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)


@final
class CompactLinear(nn.Module):
    """A linear layer that holds its K nonzero weights in compressed sparse rows (CSR).

    The product is torch's own (MKL on Intel and AMD), in blocks of rows: it was faster than loops
    of ours, compiled, for every batch above one row. No gradient flows into the weights.

    Args:
        in_features: D.
        out_features: O.
        n_kept: K.
        bias: whether there is one.
        dtype: of the weights.
    """

    row_starts: Tensor
    columns: Tensor
    values: Tensor
    bias: Tensor | None

    def __init__(
        self,
        in_features: int,
        out_features: int,
        n_kept: int,
        *,
        bias: bool = True,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.in_features, self.out_features, self.n_kept = in_features, out_features, n_kept
        self.register_buffer("row_starts", torch.zeros(out_features + 1, dtype=torch.int32))
        self.register_buffer("columns", torch.zeros(n_kept, dtype=torch.int32))
        self.register_buffer("values", torch.zeros(n_kept, dtype=dtype))
        self.register_buffer("bias", torch.zeros(out_features, dtype=dtype) if bias else None)

    @classmethod
    def of(cls, layer: nn.Linear) -> CompactLinear:
        """Return the compact form of ``layer``; what is zero in its weight is left out."""
        weight_OD = layer.weight.detach()
        rows_K, columns_K = weight_OD.nonzero(as_tuple=True)
        made = cls(
            layer.in_features,
            layer.out_features,
            len(rows_K),
            bias=layer.bias is not None,
            dtype=weight_OD.dtype,
        ).to(weight_OD.device)
        per_row = torch.bincount(rows_K, minlength=layer.out_features)
        made.row_starts[1:] = per_row.cumsum(0)
        made.columns.copy_(columns_K)
        made.values.copy_(weight_OD[rows_K, columns_K])
        if made.bias is not None:
            made.bias.copy_(layer.bias.detach())
        return made.train(layer.training)

    def forward(self, x: Tensor) -> Tensor:
        """Return x W^T + b.

        Args:
            x: shape (..., D).

        Returns:
            Shape (..., O).

        Raises:
            ShapeError: x has another number of columns.
        """
        if x.ndim == 0 or x.shape[-1] != self.in_features:
            raise ShapeError(
                f"CompactLinear: x must have shape (..., {self.in_features}), got {tuple(x.shape)}."
            )
        x_BD = x.reshape(-1, self.in_features)
        weight_OD = self.sparse_weight()
        n = max(_BLOCK_INPUTS // max(self.in_features, 1), _FEWEST_ROWS)
        blocks = [_affine(rows, weight_OD, self.bias) for rows in torch.split(x_BD, n)]
        y_BO = blocks[0] if len(blocks) == 1 else torch.cat(blocks)
        return y_BO.reshape(*x.shape[:-1], self.out_features)

    def extra_repr(self) -> str:
        """Return what ``repr`` shows of the layer."""
        share = self.n_kept / (self.in_features * self.out_features)
        return f"{self.in_features}, {self.out_features}, {self.n_kept} weights ({share:.2%})"

    def sparse_weight(self, *, checked: bool = False) -> Tensor:
        """Return the weight as a sparse CSR tensor, shape (O, D), that shares the layer's memory.

        Args:
            checked: whether rows and columns are verified, which takes time.

        Raises:
            RuntimeError: they are inconsistent (only where ``checked``).
        """
        _hear_out_beta_warning()
        return torch.sparse_csr_tensor(
            self.row_starts,
            self.columns,
            self.values,
            size=(self.out_features, self.in_features),
            check_invariants=checked,
        )


def compacted(
    model: nn.Module, mask: Mask | None = None, *, names: Iterable[str] | None = None
) -> nn.Module:
    """Return a copy of ``model``, in evaluation mode, whose linear layers hold kept weights only.

    A layer is replaced where that makes it smaller, which takes less than about half of its
    weights. Layers stay dense whose weight another module reads: tied ones, and those inside
    torch's own attention and transformer layers. So do all that are not `torch.nn.Linear`.

    Args:
        model: stays as it is.
        mask: which weights are kept; None leaves out what is zero.
        names: which modules to replace, whatever they save; None decides as said above.

    Raises:
        ArgumentError: a named module is no plain linear layer; a masked parameter is absent.
        ShapeError: a masked parameter has another shape.
    """
    small = copy.deepcopy(model).eval()
    if mask is not None:
        mask.apply_(small)
    linear = _plain_linear(small)
    if names is None:
        chosen = [name for name, layer in linear.items() if _saves(layer)]
    else:
        chosen = list(names)
        if strangers := [name for name in chosen if name not in linear]:
            raise ArgumentError(
                f"compacted: {', '.join(strangers)} cannot be replaced: not a torch.nn.Linear, "
                f"or another module reads its weight. Choose from: {', '.join(linear)}."
            )
    for name in chosen:
        _replace(small, name, CompactLinear.of(linear[name]))
    return small


@dataclass(frozen=True)
class SpeedComparison:
    """A dense model against its compact form, measured on this machine.

    Attributes:
        batch: rows of the example.
        dense_seconds: median time of one forward pass.
        compact_seconds: the same of the compact form.
        dense_bytes: parameters and buffers in memory.
        compact_bytes: the same of the compact form.
        largest_difference: between the two outputs, absolute.
        output_scale: the largest absolute output of the dense model.
        threads: that torch used.
    """

    batch: int
    dense_seconds: float
    compact_seconds: float
    dense_bytes: int
    compact_bytes: int
    largest_difference: float
    output_scale: float
    threads: int

    @property
    def speedup(self) -> float:
        """How many times as fast the compact form is; below 1 it is slower."""
        return self.dense_seconds / self.compact_seconds

    def as_dict(self) -> dict[str, Any]:
        """Return all numbers, and ``speedup``, as JSON values."""
        return {**asdict(self), "speedup": self.speedup}

    def __str__(self) -> str:
        faster = (
            f"{self.speedup:.2f} times as fast as dense"
            if self.speedup >= 1
            else f"SLOWER than dense ({self.speedup:.2f} times as fast)"
        )
        return (
            f"compact: {faster} on {self.batch} rows and {self.threads} thread"
            f"{'s' if self.threads > 1 else ''}, "
            f"{self.compact_bytes / self.dense_bytes:.1%} of the memory, outputs within "
            f"{self.largest_difference:.1e}"
        )


def compare_speed(
    dense: nn.Module, small: nn.Module, example: Tensor, *, repeats: int = 15
) -> SpeedComparison:
    """Time a dense model and its compact form side by side on an example batch.

    Both run in evaluation mode without gradients, in turns, each at least ``repeats`` times and
    until it has had a fifth of a second; medians are compared.

    Args:
        dense: the pruned model as it was.
        small: its compact form.
        example: a batch as the model takes it, on the models' device.
        repeats: passes of each, at least 1.

    Raises:
        ArgumentError: ``repeats`` is below 1.
        ShapeError: the two outputs differ in shape.
    """
    if repeats < 1:
        raise ArgumentError(f"compare_speed: repeats must be at least 1, got {repeats}.")
    modes = [(module, module.training) for m in (dense, small) for module in m.modules()]
    try:
        with torch.inference_mode():
            first, second = dense.eval()(example), small.eval()(example)
            if first.shape != second.shape:
                raise ShapeError(
                    f"compare_speed: the dense model returns shape {tuple(first.shape)}, the "
                    f"compact one {tuple(second.shape)}. Are they the same network?"
                )
            seconds: tuple[list[float], list[float]] = ([], [])
            while len(seconds[0]) < repeats or min(map(sum, seconds)) < 0.2:
                for model, taken in zip((dense, small), seconds, strict=True):
                    taken.append(_seconds(model, example))
    finally:
        for module, mode in modes:
            module.training = mode
    return SpeedComparison(
        batch=len(example),
        dense_seconds=statistics.median(seconds[0]),
        compact_seconds=statistics.median(seconds[1]),
        dense_bytes=n_bytes(dense),
        compact_bytes=n_bytes(small),
        largest_difference=float((first - second).abs().max()),
        output_scale=float(first.abs().max()),
        threads=torch.get_num_threads(),
    )


def n_bytes(model: nn.Module) -> int:
    """Return what parameters and buffers of ``model`` take in memory, tied ones once."""
    tensors = {id(t): t for t in [*model.parameters(), *model.buffers()]}
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def save_compact(path: str | Path, model: nn.Module) -> None:
    """Write a compact model to ``path``, one safetensors file, whole or not at all.

    Raises:
        StorageError: the disk refused; what was at ``path`` before is intact.
    """
    layers = {
        name: {"n_kept": module.n_kept, "bias": module.bias is not None}
        for name, module in model.named_modules()
        if isinstance(module, CompactLinear)
    }
    sizes = {name: _sizes(module) for name, module in model.named_modules()}
    description = {"csr": layers, "sizes": sizes}
    checkpoint.save(path, {"compact": description, "model": dict(model.state_dict())})


def load_compact(path: str | Path, model: nn.Module) -> nn.Module:
    """Read a compact model that `save_compact` wrote.

    Args:
        path: the file.
        model: of the dense architecture, with any weights; stays as it is.

    Returns:
        The compact model, in evaluation mode.

    Raises:
        StorageError, CheckpointError: as `sidle.checkpoint.load`; not a compact model, or not one
            of this architecture.
    """
    tree = checkpoint.load(path)
    small = copy.deepcopy(model).eval()
    try:
        description, state = tree["compact"], tree["model"]
        modules = dict(small.named_modules())
        for name, layer in description["csr"].items():
            sizes = description["sizes"][name]
            _replace(
                small,
                name,
                CompactLinear(
                    sizes["in_features"],
                    sizes["out_features"],
                    layer["n_kept"],
                    bias=layer["bias"],
                    dtype=state[f"{name}.values"].dtype,
                ).eval(),
            )
        for name, sizes in description["sizes"].items():
            if name in description["csr"]:
                continue
            if unknown := sorted(set(sizes) - set(_sizes(modules[name]))):
                raise KeyError(f"{name}: no size is called {', '.join(unknown)}")
            for attribute, value in sizes.items():
                setattr(modules[name], attribute, value)
            _resize(modules[name], state, name)
        small.load_state_dict(state)
        for name in description["csr"]:
            layer = small.get_submodule(name)
            assert isinstance(layer, CompactLinear)
            # The product trusts its indices: wrong ones would read memory that is not theirs.
            layer.sparse_weight(checked=True)
    except (KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise CheckpointError(
            f"{path}: holds no compact form of a {type(model).__name__} ({error}). Give the "
            "architecture it was made from, and a file of save_compact or `sidle prune --compact`."
        ) from error
    return small


@functools.cache
def _hear_out_beta_warning() -> None:
    """Make the first sparse CSR tensor of the process, at which torch warns once."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")
        torch.sparse_csr_tensor([0, 0], [], torch.zeros(0), size=(1, 1), check_invariants=False)


def _affine(x_BD: Tensor, weight_OD: Tensor, bias_O: Tensor | None) -> Tensor:
    if len(x_BD) == 1 and torch.backends.mkl.is_available():  # type: ignore[no-untyped-call]
        # Half the time of the product of matrices; torch has it only where it has MKL.
        y_O = weight_OD @ x_BD[0]
        return (y_O if bias_O is None else y_O + bias_O)[None]
    y_OB = (
        weight_OD @ x_BD.t()
        if bias_O is None
        else torch.addmm(bias_O[:, None], weight_OD, x_BD.t())
    )
    return y_OB.t()


def _plain_linear(model: nn.Module) -> dict[str, nn.Linear]:
    """Return the linear layers, by name, whose weight nobody else reads."""
    owners: dict[int, int] = {}
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            owners[id(parameter)] = owners.get(id(parameter), 0) + 1
    read = {
        id(inner)
        for module in model.modules()
        if isinstance(module, _READ_WEIGHTS)
        for inner in module.modules()
    }
    return {
        name: module
        for name, module in model.named_modules()
        # Subclasses compute their weight (parametrizations) or something else than x W^T + b.
        if type(module) is nn.Linear and id(module) not in read and owners[id(module.weight)] == 1
    }


def _saves(layer: nn.Linear) -> bool:
    kept, width = int(layer.weight.count_nonzero()), layer.weight.element_size()
    compact = kept * (width + _INDEX_BYTES) + (layer.out_features + 1) * _INDEX_BYTES
    return compact < layer.weight.numel() * width


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    path, _, attribute = name.rpartition(".")
    parent = model.get_submodule(path)
    if not name:
        raise ArgumentError(
            "compacted: the model is a single linear layer. Wrap it: torch.nn.Sequential(layer)."
        )
    setattr(parent, attribute, module)


def _sizes(module: nn.Module) -> dict[str, Any]:
    """Return the whole numbers that describe a module's shape."""
    return {
        name: value
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (
            (isinstance(value, int) and not isinstance(value, bool))
            or (isinstance(value, tuple) and all(type(item) is int for item in value))
        )
    }


def _resize(module: nn.Module, state: Mapping[str, Any], name: str) -> None:
    """Give the module's own tensors the shapes that they have in ``state``."""
    prefix = f"{name}." if name else ""
    with torch.no_grad():
        for own, parameter in list(module.named_parameters(recurse=False)):
            shape = state[prefix + own].shape
            if parameter.shape != shape:
                fresh = nn.Parameter(parameter.new_empty(shape), parameter.requires_grad)
                setattr(module, own, fresh)
        for own, buffer in list(module.named_buffers(recurse=False)):
            if prefix + own in state and buffer.shape != state[prefix + own].shape:
                setattr(module, own, buffer.new_empty(state[prefix + own].shape))


def _seconds(model: nn.Module, example: Tensor) -> float:
    _synchronise(example)
    began = time.perf_counter()
    model(example)
    _synchronise(example)
    return time.perf_counter() - began


def _synchronise(example: Tensor) -> None:
    if example.device.type == "cuda":
        torch.cuda.synchronize(example.device)
