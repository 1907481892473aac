"""Error and loss on the plane through three networks.

A place (u, v) on the plane is the state a + u e1 + v e2: the first axis points from network a to
network b, the second at right angles to it towards network c. Distances are L2 over the parameters,
so that shapes on the plane are the shapes in weight space [MC, section 3, figure 1].

Letters: V, U = rows and columns of the grid.
References: [MC] Garipov, Izmailov, Podoprikhin, Vetrov, Wilson 2018, arXiv:1802.10026.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Unpack

from torch import nn

from sidle.errors import ArgumentError
from sidle.lmc import batch_norm as normalisation
from sidle.lmc import measurement, paths, states
from sidle.lmc.barrier import Policy
from sidle.lmc.measurement import Data
from sidle.lmc.paths import Settings
from sidle.lmc.points import measure_points
from sidle.lmc.states import Network, State

RESOLUTION = 15
MARGIN = 0.2  # of the triangle's extent, on every side

_NEARLY_PARALLEL = 1e-6  # sine of the angle at a below which three networks lie on one line


@dataclass(frozen=True, eq=False)
class Plane:
    """Error and loss on a grid of places, and where the three networks lie.

    Attributes:
        u: U coordinates along the axis from a to b, in L2 distance of parameters.
        v: V coordinates along the axis at right angles to it.
        error: V rows of U errors, shares in [0, 1].
        loss: V rows of U mean losses.
        corners: (u, v) of the networks a, b and c.
        at_corners: error and loss of the three networks themselves.
        batch_norm: how running statistics were found; None in a network that keeps none.
        evaluation: how the points were computed, and why so.
    """

    u: tuple[float, ...]
    v: tuple[float, ...]
    error: tuple[tuple[float, ...], ...]
    loss: tuple[tuple[float, ...], ...]
    corners: tuple[tuple[float, float], ...]
    at_corners: tuple[tuple[float, float], ...]
    batch_norm: Policy | None
    evaluation: str

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        names = ("a", "b", "c")
        return {
            "u": list(self.u),
            "v": list(self.v),
            "error": [list(row) for row in self.error],
            "loss": [list(row) for row in self.loss],
            "corners": {name: list(at) for name, at in zip(names, self.corners, strict=True)},
            "at_corners": {
                name: {"error": error, "loss": loss}
                for name, (error, loss) in zip(names, self.at_corners, strict=True)
            },
            "batch_norm": self.batch_norm,
            "evaluation": self.evaluation,
        }


def loss_plane(
    a: Network,
    b: Network,
    c: Network,
    data: Data,
    *,
    resolution: int = RESOLUTION,
    margin: float = MARGIN,
    **settings: Unpack[Settings],
) -> Plane:
    """Measure error and loss on the plane through three networks.

    Args:
        a, b, c: classifiers of one architecture, modules or states, not on one straight line.
        data: as `paths.error_barrier`.
        resolution: U = V >= 2 places along each axis.
        margin: how far the grid reaches beyond the triangle, as a share of its extent; at least 0.
        settings: ``batch_norm`` ("interpolated", which carries statistics along like weights, or
            "re-estimated"), ``calibration``, ``model``, ``batch_size``, ``device``, ``loss`` and
            ``evaluation`` of `paths.error_barrier`.

    Raises:
        ArgumentError: networks on one line, a setting that planes do not have, or running
            variances that extrapolation makes negative; else as `paths.error_barrier`.
        ShapeError, NonFiniteError: as `paths.error_barrier`.
    """
    unknown = sorted(set(settings) & {"points", "train", "confidence", "seed"})
    if unknown:
        raise ArgumentError(
            f"loss_plane: a plane has no setting '{unknown[0]}'. Use resolution and margin."
        )
    full = paths.complete(settings, "loss_plane")
    paths.check_settings(full, "loss_plane")
    if resolution < 2 or not (math.isfinite(margin) and margin >= 0):
        raise ArgumentError(
            f"loss_plane: resolution must be at least 2 and margin at least 0, got {resolution} "
            f"and {margin}."
        )
    if full["batch_norm"] == "both":
        raise ArgumentError(
            "loss_plane: batch_norm must be 'interpolated' or 're-estimated', got 'both'. Call it "
            "once for each."
        )
    batch_size, device = full["batch_size"], full["device"]
    measurement.check(data, batch_size, "loss_plane")
    found = states.alike((a, b, c), ("a", "b", "c"), "loss_plane")
    model = paths.vessel((a, b, c), full["model"], "loss_plane")
    corners = triangle(found, [name for name, _ in model.named_parameters()])
    u, v = (_grid([corner[axis] for corner in corners], resolution, margin) for axis in (0, 1))
    places = [(x, y) for y in v for x in u] + list(corners)
    on_device = [states.moved(state, device) for state in found]
    path: Sequence[State] = _OnPlane(on_device, corners, places)
    keeps_statistics = bool(normalisation.layers(model))
    if full["batch_norm"] == "re-estimated":
        assert full["calibration"] is not None  # `check_settings` saw to it
        path = normalisation.re_estimated(
            model, path, full["calibration"], batch_size=batch_size, device=device,
            function="loss_plane",
        )  # fmt: skip
    elif keeps_statistics:
        _refuse_negative_variances(path, model)
    measured, how = measure_points(
        model, data, path, batch_size=batch_size, device=device, loss=full["loss"],
        evaluation=full["evaluation"], function="loss_plane",
        names=[f"the point at ({x:.3g}, {y:.3g})" for x, y in places],
    )  # fmt: skip
    values = [(one.error, one.loss) for one in measured]
    rows = [values[start : start + resolution] for start in range(0, resolution**2, resolution)]
    return Plane(
        u=tuple(u),
        v=tuple(v),
        error=tuple(tuple(error for error, _ in row) for row in rows),
        loss=tuple(tuple(loss for _, loss in row) for row in rows),
        corners=corners,
        at_corners=tuple(values[resolution**2 :]),
        batch_norm=full["batch_norm"] if keeps_statistics else None,
        evaluation=how,
    )


def triangle(
    networks: Sequence[State], parameters: Sequence[str]
) -> tuple[tuple[float, float], tuple[float, float], tuple[float, float]]:
    """Return the coordinates (u, v) of three states on the plane through them.

    Args:
        networks: the states a, b and c.
        parameters: the tensors over which distances are taken.

    Raises:
        ArgumentError: the three lie on one line, or two are the same.
    """
    a, b, c = networks
    to_b, to_c = (
        {name: states.numbers(end[name]) - states.numbers(a[name]) for name in parameters}
        for end in (b, c)
    )
    length = math.sqrt(states.inner_product(to_b, to_b, parameters))
    reach = math.sqrt(states.inner_product(to_c, to_c, parameters))
    if length and reach:
        along = states.inner_product(to_b, to_c, parameters) / length
        across = {name: to_c[name] - along / length * to_b[name] for name in parameters}
        height = math.sqrt(states.inner_product(across, across, parameters))
        if height > _NEARLY_PARALLEL * reach:
            return (0.0, 0.0), (length, 0.0), (along, height)
    raise ArgumentError(
        "loss_plane: the three networks lie on one straight line, so there is no one plane through "
        "them. Use error_barrier for a line, or a third network that was trained apart."
    )


class _OnPlane(Sequence[State]):
    """The states at ``places`` on the plane; each is made when it is asked for."""

    def __init__(
        self,
        networks: Sequence[State],
        corners: Sequence[tuple[float, float]],
        places: Sequence[tuple[float, float]],
    ) -> None:
        self._networks, self._corners, self._places = networks, corners, places

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return _OnPlane(self._networks, self._corners, self._places[index])
        (_, (length, _), (along, height)) = self._corners
        u, v = self._places[index]
        of_c = v / height
        of_b = (u - of_c * along) / length
        return states.combination(self._networks, (1 - of_b - of_c, of_b, of_c))


def _grid(ends: Sequence[float], resolution: int, margin: float) -> list[float]:
    low, high = min(ends), max(ends)
    low, high = low - margin * (high - low), high + margin * (high - low)
    return [low + (high - low) * index / (resolution - 1) for index in range(resolution)]


def _refuse_negative_variances(path: Sequence[State], model: nn.Module) -> None:
    names = [f"{name}.running_var".lstrip(".") for name in normalisation.layers(model)]
    for state in path:
        for name in names:
            if (state[name] < 0).any():
                raise ArgumentError(
                    f"loss_plane: outside the triangle '{name}' becomes negative where statistics "
                    "are carried along like weights. Use batch_norm='re-estimated' with "
                    "calibration, or a smaller margin."
                )
