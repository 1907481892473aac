"""`sidle prune`: prune a checkpoint, and say what is left and what it costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from sidle.cli import console
from sidle.errors import ArgumentError, UsageError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from sidle.lmc import Mask, Measurement, SpeedComparison

_TIMED_ROWS = 256  # of the data, for the speed of the compact model


@dataclass(frozen=True)
class PruneOptions:
    """Prune the weights of a checkpoint and write them, with their mask, to a new file.

    Weights come from .safetensors, .pt (tensors only) or checkpoints of sidle; a mask in the file,
    or one of torch.nn.utils.prune, is gone on from. Linear, convolutional and attention weights
    are pruned. The result is one .safetensors file with the entries "model" and "mask", which
    `sidle barrier` and `sidle.lmc.Mask.load` read. Pruned networks are usually trained on.
    """

    checkpoint: tyro.conf.Positional[Path]
    """File with the weights."""
    model: str
    """module:factory, called without arguments to make the network; the module may lie in the
    working folder."""
    out: Path
    """Where to write the pruned weights and the mask; ends in .safetensors."""
    density: float | None = None
    """Share of all prunable weights to keep, between 0 and 1."""
    fraction: float | None = None
    """Share of the weights that remain to prune, between 0 and 1; instead of --density."""
    scope: Literal["global", "layer"] = "global"
    """Compare all weights with each other, or those of one layer at a time."""
    criterion: Literal["magnitude", "random", "snip"] = "magnitude"
    """Which weights go: those closest to zero, any, or those that the loss on --train-data depends
    on least (SNIP, which is meant for initial weights)."""
    layers: tuple[str, ...] = ()
    """Names of the parameters to prune, where it is not to be all."""
    data: str | None = None
    """Test data, to measure the error before and after: an .npz file with arrays x and y, or a set
    of images (its test images): see `sidle data list`."""
    train_data: str | None = None
    """Data for SNIP: as --data; of a set, its training images."""
    compact: Path | None = None
    """Also write a compact model, linear layers in sparse rows, to this .safetensors file, and
    measure its speed on --data."""
    model_arguments: str = "{}"
    """Keywords of the factory, as a JSON object."""
    entry: str | None = None
    """Where the weights are, in a file that holds those of several networks."""
    batch_size: int = 1000
    """Examples evaluated at once."""
    device: str = "cpu"
    """Where to evaluate: cpu, cuda, mps."""
    seed: int = 0
    """Names what --criterion random draws."""
    json: bool = False
    """Print {"out", "density", "kept", "weights", "layers", "before", "after", "compact", ...} as
    JSON; errors are shares from 0 to 1."""


def prune(arguments: list[str]) -> int:
    """Run ``sidle prune`` with ``arguments``; return the exit code."""
    options = console.parse(
        PruneOptions,
        "prune",
        arguments,
        example="sidle prune trained.pt --model networks:LeNet --density 0.2 --data digits "
        "--out pruned.safetensors",
    )
    _check(options)
    from sidle import checkpoint, lmc
    from sidle.cli import labelled, models

    model = models.build(options.model, options.model_arguments)
    weights, given = _start(options, model)
    model.load_state_dict(weights, strict=False)
    data = None if options.data is None else labelled.read(options.data, "test")
    before = _measured(options, model, data)
    mask = _pruned(options, model, weights, given)
    mask.apply_(model)
    after = _measured(options, model, data)
    comparison = None
    if options.compact is not None:
        assert data is not None
        small = lmc.compacted(model)
        if not any(isinstance(layer, lmc.CompactLinear) for layer in small.modules()):
            raise ArgumentError(
                "sidle prune: --compact stores linear layers in sparse rows, and none of this "
                "network's becomes smaller by that. Prune more of them, or leave --compact away."
            )
        comparison = lmc.compare_speed(model.eval(), small, data[0][:_TIMED_ROWS])
        lmc.save_compact(options.compact, small)
    checkpoint.save(options.out, {"model": mask.apply(weights), "mask": mask.state_dict()})
    if options.json:
        console.print_json(_as_json(options, mask, before, after, comparison))
    else:
        _show(options, mask, before, after, comparison)
    return 0


def _check(options: PruneOptions) -> None:
    if (options.density is None) == (options.fraction is None):
        raise UsageError(
            "sidle prune: say how much with either --density (share to keep) or --fraction (share "
            "of the remaining weights to prune)."
        )
    for name in ("density", "fraction"):
        value = getattr(options, name)
        if value is not None and not 0 < value < 1:
            raise UsageError(f"sidle prune: --{name} must lie between 0 and 1, got {value}.")
    for name in ("out", "compact"):
        path = getattr(options, name)
        if path is not None and path.suffix != ".safetensors":
            raise UsageError(f"sidle prune: --{name} must end in .safetensors, got {path}.")
    if options.compact is not None and options.compact == options.out:
        raise UsageError("sidle prune: --out and --compact name one file; they are two.")
    if options.compact is not None and options.data is None:
        raise UsageError("sidle prune: --compact measures its speed on inputs: give --data.")
    if (options.criterion == "snip") != (options.train_data is not None):
        raise UsageError("sidle prune: --criterion snip and --train-data go together.")


def _start(options: PruneOptions, model: nn.Module) -> tuple[dict[str, Tensor], Mask | None]:
    """Return the weights in the checkpoint, and the mask in it if there is one."""
    from sidle import lmc
    from sidle.cli import models

    weights, mask = models.weights_and_mask_for(model, options.checkpoint, entry=options.entry)
    if mask is not None:
        return weights, mask
    found = models.read(options.checkpoint).get("mask")
    if not isinstance(found, Mapping):
        return weights, None
    mask = lmc.Mask.from_state_dict(found)
    mask.check(weights, f"sidle prune: {options.checkpoint}")
    return weights, mask


def _pruned(
    options: PruneOptions, model: nn.Module, weights: dict[str, Tensor], given: Mask | None
) -> Mask:
    from sidle import lmc
    from sidle.cli import labelled

    if given is not None and options.layers:
        raise ArgumentError(
            f"sidle prune: {options.checkpoint} is pruned already; the layers of its mask are "
            "pruned on. Leave --layers away."
        )
    mask = given if given is not None else lmc.Mask.ones(model, options.layers or None)
    fraction = options.fraction
    if fraction is None:
        assert options.density is not None
        gone = mask.n_kept - round(options.density * mask.n_weights)
        if not 0 < gone < mask.n_kept:
            raise ArgumentError(
                f"sidle prune: --density {options.density} of {mask.n_weights} weights, of which "
                f"{mask.n_kept} remain, leaves "
                + ("nothing to prune." if gone <= 0 else "no weight at all.")
            )
        fraction = gone / mask.n_kept
    elif round(fraction * mask.n_kept) == 0:
        raise ArgumentError(
            f"sidle prune: --fraction {fraction} of {mask.n_kept} weights is less than one."
        )
    if options.criterion == "random":
        return lmc.random_mask(mask, fraction, seed=options.seed, scope=options.scope)
    if options.criterion == "snip":
        assert options.train_data is not None
        x, y = labelled.read(options.train_data, "train")
        size = options.batch_size
        batches = [(x[i : i + size], y[i : i + size]) for i in range(0, len(x), size)]
        return lmc.snip(model, batches, mask, fraction, scope=options.scope, device=options.device)
    return lmc.magnitude(weights, mask, fraction, scope=options.scope)


def _measured(
    options: PruneOptions, model: nn.Module, data: tuple[Tensor, Tensor] | None
) -> Measurement | None:
    from sidle import lmc

    if data is None:
        return None
    return lmc.measure(model, data, batch_size=options.batch_size, device=options.device)


def _as_json(
    options: PruneOptions,
    mask: Mask,
    before: Measurement | None,
    after: Measurement | None,
    comparison: SpeedComparison | None,
) -> dict[str, Any]:
    def numbers(found: Measurement | None) -> dict[str, float] | None:
        return None if found is None else {"error": found.error, "loss": found.loss}

    layers = [
        {
            "name": name,
            "shape": list(kept.shape),
            "weights": kept.numel(),
            "kept": int(kept.sum()),
            "density": mask.densities()[name],
        }
        for name, kept in mask.items()
    ]
    compact = None
    if comparison is not None:
        compact = {"path": str(options.compact), **comparison.as_dict()}
    return {
        "out": str(options.out),
        "criterion": options.criterion,
        "scope": options.scope,
        "density": mask.density,
        "kept": mask.n_kept,
        "weights": mask.n_weights,
        "mask": mask.digest(),
        "layers": layers,
        "before": numbers(before),
        "after": numbers(after),
        "compact": compact,
    }


def _show(
    options: PruneOptions,
    mask: Mask,
    before: Measurement | None,
    after: Measurement | None,
    comparison: SpeedComparison | None,
) -> None:
    columns = ("layer", "shape", "weights", "kept", "density")
    made = console.table(f"Pruned by {options.criterion}", columns, right=columns[2:])
    densities = mask.densities()
    for name, kept in mask.items():
        shape = " x ".join(map(str, kept.shape))
        cells = (f"{kept.numel():,}", f"{int(kept.sum()):,}", f"{100 * densities[name]:.2f} %")
        made.add_row(name, shape, *cells)
    made.add_section()
    total = (f"{mask.n_weights:,}", f"{mask.n_kept:,}", f"{100 * mask.density:.2f} %")
    made.add_row("all", "", *total)
    console.show(made)
    empty = [name for name, density in densities.items() if density == 0]
    if empty:
        console.show(
            f"Nothing is left of {', '.join(empty)}: no signal passes there. --scope layer spares "
            "every layer a share."
        )
    if before is not None and after is not None:
        console.show(
            f"Error {100 * before.error:.2f} % before, {100 * after.error:.2f} % after; loss "
            f"{before.loss:.3f} before, {after.loss:.3f} after (nats), on {len(after.loss_N):,} "
            "examples."
        )
    if comparison is not None:
        console.show(f"{options.compact}: {comparison}.")
    console.show(f"Weights and mask are in {options.out}")
