"""Several separable critics of one architecture, trained side by side.

A stack scores S independent batches with S independent critics: x_SBD and y_SCE in, scores_SBC
out. Bounds take the leading dimension as it is, and the sum of S losses trains each critic as it
would train alone: no parameter is shared, and Adam works number by number. One batched product then
does the work of 2 S small ones, since all towers g and h stand in one tensor.

    critics = stack([...])  # or StackedSeparableCritic(10, 20, 20)
    optimizer = torch.optim.Adam(critics.parameters(), lr=5e-4, fused=True)
    (-infonce_bound(critics(x_SBD, y_SBD)).sum()).backward()
    optimizer.step()
    one = critics.unstack(3)

Letters: S = critics; T = 2 S towers, those of x before those of y; B, C = rows of x and of y;
D, E = dimensions of x and of y; I, O = inputs and outputs of a layer; N = steps drawn at once.
Reference: [VBMI] Poole et al. 2019, arXiv:1905.06922.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional

from sidle import seeding
from sidle.errors import ArgumentError, ShapeError
from sidle.mi.critics import SeparableCritic
from sidle.mi.problems import Staircase

Pair = tuple[Tensor, Tensor]

# Blocks of at most 2^15 numbers a tensor (25 steps of 64 pairs in 20 dimensions) are drawn fastest:
# torch makes them on one thread, in memory that it has at hand.
STEPS_DRAWN_AT_ONCE = 25


@final
class StackedSeparableCritic(nn.Module):
    """S critics f_s(x, y) = <g_s(x), h_s(y)>, each a `SeparableCritic` [VBMI, section 3].

    Parameters are drawn as by S critics built one after the other; use `stack` to give them.
    ``weights`` (T, I, O) and ``biases`` (T, 1, O), one of each a layer. Where x and y differ in
    dimensions, zeros fill up the narrower one; the weights there are zero and stay so under any
    optimiser that leaves a parameter at zero alone while its gradient is zero, as Adam does.

    Args:
        n_models: S, at least 1.
        dim_x: dimensions of x, at least 1.
        dim_y: dimensions of y, at least 1.
        hidden: width of each hidden layer, at least 1.
        layers: hidden layers in each of g and h; 0 makes both affine.
        embedding: dimensions of g(x) and h(y), at least 1.

    Raises:
        ArgumentError: an argument lies outside its range.
    """

    def __init__(
        self,
        n_models: int,
        dim_x: int,
        dim_y: int,
        *,
        hidden: int = 256,
        layers: int = 2,
        embedding: int = 32,
    ) -> None:
        super().__init__()
        if n_models < 1:
            raise ArgumentError(
                f"StackedSeparableCritic: n_models must be at least 1, got {n_models}."
            )
        self.n_models, self.dim_x, self.dim_y = n_models, dim_x, dim_y
        self.hidden, self.layers, self.embedding = hidden, layers, embedding
        critics = [
            SeparableCritic(dim_x, dim_y, hidden=hidden, layers=layers, embedding=embedding)
            for _ in range(n_models)
        ]
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for weight_TIO, bias_T1O in _towers(critics):
            self.weights.append(nn.Parameter(weight_TIO))
            self.biases.append(nn.Parameter(bias_T1O))

    def forward(self, x_SBD: Tensor, y_SCE: Tensor) -> Tensor:
        """Score every x with every y of the same critic.

        Args:
            x_SBD: shape (S, B, dim_x).
            y_SCE: shape (S, C, dim_y).

        Returns:
            Scores, shape (S, B, C).

        Raises:
            ShapeError: x_SBD or y_SCE has another shape.
        """
        S = self.n_models
        for name, value, dim in (("x_SBD", x_SBD, self.dim_x), ("y_SCE", y_SCE, self.dim_y)):
            if value.ndim != 3 or value.shape[0] != S or value.shape[2] != dim:
                raise ShapeError(
                    f"StackedSeparableCritic: {name} must have shape ({S}, rows, {dim}), got "
                    f"{tuple(value.shape)}. Each critic needs its own batch."
                )
        x_SBI, y_SCI = _to_columns(x_SBD, self._columns), _to_columns(y_SCE, self._columns)
        weights, biases = list(self.weights), list(self.biases)
        if x_SBI.shape == y_SCI.shape:
            both_TBK = _perceptrons(torch.cat([x_SBI, y_SCI]), weights, biases)
            g_SBK, h_SCK = both_TBK.chunk(2)
        else:
            g_SBK = _perceptrons(x_SBI, [w[:S] for w in weights], [b[:S] for b in biases])
            h_SCK = _perceptrons(y_SCI, [w[S:] for w in weights], [b[S:] for b in biases])
        return torch.bmm(g_SBK, h_SCK.mT)

    def unstack(self, index: int) -> SeparableCritic:
        """Return a copy of one critic, to be used alone.

        Args:
            index: which, in [0, S).

        Raises:
            ArgumentError: ``index`` lies outside its range.
        """
        S = self.n_models
        if not 0 <= index < S:
            raise ArgumentError(
                f"StackedSeparableCritic.unstack: index must lie in [0, {S}), got {index}."
            )
        parameters: dict[str, Tensor] = {}
        for layer, (weight_TIO, bias_T1O) in enumerate(zip(self.weights, self.biases, strict=True)):
            for part, tower, dim in (
                ("embed_x", index, self.dim_x),
                ("embed_y", S + index, self.dim_y),
            ):
                weight_IO = weight_TIO.detach()[tower, : dim if layer == 0 else None]
                name = f"{part}.{2 * layer}"  # a ReLU stands between two layers
                parameters[f"{name}.weight"] = weight_IO.T.clone(
                    memory_format=torch.contiguous_format
                )
                parameters[f"{name}.bias"] = bias_T1O.detach()[tower, 0].clone()
        with torch.device("meta"):  # no storage, and no random numbers drawn
            critic = SeparableCritic(
                self.dim_x,
                self.dim_y,
                hidden=self.hidden,
                layers=self.layers,
                embedding=self.embedding,
            )
        critic.load_state_dict(parameters, assign=True)
        return critic

    @property
    def _columns(self) -> int:
        return max(self.dim_x, self.dim_y)


def stack(critics: Sequence[SeparableCritic]) -> StackedSeparableCritic:
    """Return critics of one architecture as one module, with copies of their parameters.

    No random numbers are drawn, so that critic s can be built inside `sidle.seeding.scope` of
    seed s and starts as it would alone.

    Args:
        critics: S of them, at least 1, of the same sizes.

    Raises:
        ArgumentError: there are none, or their sizes differ.
    """
    sizes = [_sizes(critic) for critic in critics]
    if not sizes or sizes.count(sizes[0]) != len(sizes):
        raise ArgumentError(
            "stack: expected one or more critics of the same sizes, got (dim_x, dim_y, hidden, "
            f"layers, embedding) {sizes}."
        )
    dim_x, dim_y, hidden, layers, embedding = sizes[0]
    with torch.device("meta"):  # no storage, and no random numbers drawn
        stacked = StackedSeparableCritic(
            len(critics), dim_x, dim_y, hidden=hidden, layers=layers, embedding=embedding
        )
    parameters: dict[str, Tensor] = {}
    for layer, (weight_TIO, bias_T1O) in enumerate(_towers(critics)):
        parameters |= {f"weights.{layer}": weight_TIO, f"biases.{layer}": bias_T1O}
    stacked.load_state_dict(parameters, assign=True)
    return stacked


def staircase_batches(
    staircase: Staircase, batch_size: int, seeds: Sequence[int]
) -> Callable[[int], Pair]:
    """Return ``batches(step)``: fresh pairs of the staircase for each of S seeds.

    Up to 25 steps are drawn with one call for each seed: drawing them one by one, for ten
    seeds, took 0.23 ms a step, and takes 0.09 ms so.

    Args:
        staircase: knows the problem of each step.
        batch_size: B, at least 1.
        seeds: S of them, at least 1.

    Returns:
        A function of the step's number, in [0, ``staircase.n_steps``), to x_SBD and y_SBD,
        float32. What seed s gets depends on step and seed alone, not on what else is drawn.

    Raises:
        ArgumentError: there are no seeds or one is negative, or ``batch_size`` is below 1.
    """
    if not seeds or batch_size < 1:
        raise ArgumentError(
            "staircase_batches: expected one or more seeds and batch_size >= 1, got "
            f"{list(seeds)} and {batch_size}."
        )
    # A divisor of the steps of a stair, so that all steps drawn at once stand on one stair.
    N = math.gcd(staircase.steps_per_level, STEPS_DRAWN_AT_ONCE)
    known: dict[int, Pair] = {}

    def batches(step: int) -> Pair:
        problem = staircase.at(step)
        block, within = divmod(step, N)
        if block not in known:
            known.clear()
            generators = [
                seeding.torch_generator(seeding.split(seed, "batches", block)) for seed in seeds
            ]
            pairs = [problem.sample(N * batch_size, generator) for generator in generators]
            x_NSBD, y_NSBD = (
                torch.stack([rows_RD.unflatten(0, (N, batch_size)) for rows_RD in part], dim=1)
                for part in zip(*pairs, strict=True)
            )
            known[block] = x_NSBD, y_NSBD
        x_NSBD, y_NSBD = known[block]
        return x_NSBD[within], y_NSBD[within]

    return batches


def _perceptrons(inputs_TBI: Tensor, weights: list[Tensor], biases: list[Tensor]) -> Tensor:
    """Return the outputs of T multilayer perceptrons with ReLU, each on its own rows."""
    found_TBO = torch.baddbmm(biases[0], inputs_TBI, weights[0])
    for weight_TIO, bias_T1O in zip(weights[1:], biases[1:], strict=True):
        # In place: the product's own gradient does not need its result.
        found_TBO = torch.baddbmm(bias_T1O, found_TBO.relu_(), weight_TIO)
    return found_TBO


def _towers(critics: Sequence[SeparableCritic]) -> Iterable[Pair]:
    """Yield weights (T, I, O) and biases (T, 1, O), layer by layer."""
    columns = max(critics[0].dim_x, critics[0].dim_y)
    towers = [_linear(critic.embed_x) for critic in critics]
    towers += [_linear(critic.embed_y) for critic in critics]
    for layer, parts in enumerate(zip(*towers, strict=True)):
        weights_OI = [part.weight.detach() for part in parts]
        if layer == 0:
            weights_OI = [_to_columns(weight_OI, columns) for weight_OI in weights_OI]
        # Inputs before outputs, contiguous: the product's gradient then needs no copy.
        weight_TIO = torch.stack([weight_OI.T for weight_OI in weights_OI])
        yield weight_TIO, torch.stack([part.bias.detach()[None] for part in parts])


def _linear(perceptron: nn.Sequential) -> list[nn.Linear]:
    return [part for part in perceptron if isinstance(part, nn.Linear)]


def _sizes(critic: SeparableCritic) -> tuple[int, int, int, int, int]:
    """Return dim_x, dim_y, hidden, layers, embedding."""
    first, *rest = _linear(critic.embed_x)
    hidden = first.out_features if rest else 1  # any number: there is no hidden layer
    embedding = (rest or [first])[-1].out_features
    return critic.dim_x, critic.dim_y, hidden, len(rest), embedding


def _to_columns(rows: Tensor, columns: int) -> Tensor:
    missing = columns - rows.shape[-1]
    return functional.pad(rows, (0, missing)) if missing else rows
