"""A network's graph: traced once on an example, then run on any state of the same architecture.

    graph = trace(network, (x,))
    outputs = graph.run(graph.tensors_of(other_network), (x,))

Traced is what the network computes in evaluation mode, as a graph of torch's aten operations
(``torch.export``), so that any Python that depends on shapes alone is allowed.
"""

from __future__ import annotations

import contextlib
import copy
import io
import itertools
import logging
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.export.graph_signature import InputKind
from torch.fx import Interpreter, Node

from sidle.errors import ArgumentError

Arguments = tuple[Any, ...]


@dataclass(frozen=True, eq=False)
class Graph:
    """What a network computes on inputs of the example's shapes.

    Attributes:
        module: the graph; it takes all tensors of the network, then the inputs.
        tensors: name in the network of each tensor the graph takes, by name in the graph; None
            for a constant.
        constants: the values of the latter, by name in the graph.
        passing: names of buffers that the network's state does not hold.
    """

    module: torch.fx.GraphModule
    tensors: Mapping[str, str | None]
    constants: Mapping[str, Any]
    passing: frozenset[str]

    @property
    def nodes(self) -> list[Node]:
        """The operations in the order in which they run."""
        return list(self.module.graph.nodes)

    def run(
        self,
        tensors: Mapping[str, Tensor],
        example: Arguments,
        watch: Callable[[Node, Any], None] | None = None,
    ) -> list[Tensor]:
        """Return the outputs for tensors by name in the network; ``watch`` sees each result."""
        values = [
            self.constants[name] if target is None else tensors[target].clone()
            for name, target in self.tensors.items()
        ]
        # Operations in place must not reach the caller's tensors: all are copies.
        inputs = torch.utils._pytree.tree_map_only(Tensor, torch.clone, _leaves(example))
        with torch.no_grad():
            found = _Watched(self.module, watch).run(*values, *inputs)
        return outputs_of(found)


class _Watched(Interpreter):
    def __init__(
        self, module: torch.fx.GraphModule, watch: Callable[[Node, Any], None] | None
    ) -> None:
        super().__init__(module)
        self._watch = watch

    def run_node(self, n: Node) -> Any:
        found = super().run_node(n)
        if self._watch is not None:
            self._watch(n, found)
        return found


def arguments(example: Any) -> Arguments:
    """Return the positional arguments that ``example`` stands for: a tensor is the only one."""
    return tuple(example) if isinstance(example, (tuple, list)) else (example,)


def trace(network: nn.Module, example: Arguments) -> Graph:
    """Return the graph of ``network`` in evaluation mode; the network is not changed.

    Args:
        network: any module; what it does may depend on the shapes of its inputs, not on values.
        example: its positional arguments.

    Raises:
        ArgumentError: the network cannot be copied, run or traced on the example; names the line
            where Python's control flow depends on values.
    """
    module = evaluating(network)
    outputs(module, example, "align")
    with _quiet():
        try:
            program = torch.export.export(module, example, strict=False)
        except Exception as error:
            raise ArgumentError(_why_untraceable(network, error)) from error
    tensors: dict[str, str | None] = {}
    constants: dict[str, Any] = {}
    passing = set()
    for spec in program.graph_signature.input_specs:
        name = spec.arg.name
        if spec.kind in (InputKind.PARAMETER, InputKind.BUFFER):
            tensors[name] = spec.target
            if spec.kind is InputKind.BUFFER and not spec.persistent:
                passing.add(str(spec.target))
        elif spec.kind is not InputKind.USER_INPUT:
            tensors[name] = None
            constants[name] = program.constants[str(spec.target)]
    return Graph(program.graph_module, tensors, constants, frozenset(passing))


def evaluating(network: nn.Module, dtype: torch.dtype | None = None) -> nn.Module:
    """Return a copy of ``network`` in evaluation mode, its floating tensors in ``dtype``."""
    try:
        module = copy.deepcopy(network).eval()
    except Exception as error:
        raise ArgumentError(
            f"align: the {type(network).__name__} cannot be copied ({error}). Remove what hinders "
            "copy.deepcopy, such as hooks or cached tensors that need gradients."
        ) from error
    return module if dtype is None else module.to(dtype)


def outputs(network: nn.Module, example: Arguments, where: str) -> list[Tensor]:
    """Return all tensors that ``network`` returns for ``example``, in order."""
    copies = torch.utils._pytree.tree_map_only(Tensor, torch.clone, example)
    try:
        with torch.no_grad():
            return outputs_of(network(*copies))
    except Exception as error:
        raise ArgumentError(
            f"{where}: the {type(network).__name__} cannot be run on the example ({error}). Give "
            "example= a tensor that it takes, or a tuple of its positional arguments."
        ) from error


def outputs_of(found: Any) -> list[Tensor]:
    """Return the tensors in what a network returned."""
    return [leaf for leaf in _leaves(found) if isinstance(leaf, Tensor)]


def named_tensors(network: nn.Module) -> dict[str, Tensor]:
    """Return parameters and buffers by name; a tensor with several names under each of them."""
    return dict(network.named_parameters(remove_duplicate=False)) | dict(
        network.named_buffers(remove_duplicate=False)
    )


def shared_names(tensors: Mapping[str, Tensor]) -> list[list[str]]:
    """Return the names of each tensor, in groups.

    Raises:
        ArgumentError: two different tensors share memory, so that they cannot be permuted apart.
    """
    groups: dict[int, list[str]] = {}
    for name, tensor in tensors.items():
        groups.setdefault(id(tensor), []).append(name)
    spans: list[tuple[int, int, str]] = []
    for names in groups.values():
        tensor = tensors[names[0]]
        if tensor.numel():
            first = tensor.data_ptr()
            reach = sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride(), strict=True))
            spans.append((first, first + (reach + 1) * tensor.element_size(), names[0]))
    spans.sort()
    for (_, end, name), (start, _, other) in itertools.pairwise(spans):
        if start < end:
            raise ArgumentError(
                f"align: '{name}' and '{other}' are different tensors in the same memory. Tie "
                "weights by using one parameter twice, and transpose it in forward."
            )
    return list(groups.values())


def _leaves(found: Any) -> Sequence[Any]:
    leaves: Sequence[Any] = torch.utils._pytree.tree_leaves(found)
    return leaves


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep away what the tracer says and logs on the way; what matters is in the error."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _why_untraceable(network: nn.Module, error: Exception) -> str:
    text = str(error)
    # torch tells the user's line below this heading, or below "from user code".
    found = re.search(r"(?:raised this error|from user code):?\s*\n(\s+File .*\n.*)", text)
    place = " ".join(found.group(1).split()) if found else ""
    data_dependent = "data-dependent" in text or "Dynamic" in text
    reason = (
        "its control flow depends on the values of tensors"
        if data_dependent
        else f"{type(error).__name__}: {text.strip().splitlines()[0] if text.strip() else ''}"
    )
    return (
        f"align: the {type(network).__name__} cannot be traced: {reason}"
        f"{f', at {place}' if place else ''}. Permutations are derived from the graph, so "
        "its forward must run the same operations for every input; use torch.where or masks "
        "instead of 'if' on values, and no .item() or .tolist()."
    )
