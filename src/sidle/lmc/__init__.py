"""Linear mode connectivity: paths between networks, barriers on them, and what trains into one.

from sidle.lmc import error_barrier
print(error_barrier(a, b, (x, y)).barrier)
"""

from sidle.lmc.barrier import Barrier, SplitEstimate, split_estimate
from sidle.lmc.batch_norm import re_estimate
from sidle.lmc.curves import Curve, curve_barrier, train_curve
from sidle.lmc.measurement import Measurement, measure
from sidle.lmc.paths import Barriers, error_barrier, error_barriers, interpolate
from sidle.lmc.planes import Plane, loss_plane
from sidle.lmc.states import distance, state_of

__all__ = [
    "Barrier",
    "Barriers",
    "Curve",
    "Measurement",
    "Plane",
    "SplitEstimate",
    "curve_barrier",
    "distance",
    "error_barrier",
    "error_barriers",
    "interpolate",
    "loss_plane",
    "measure",
    "re_estimate",
    "split_estimate",
    "state_of",
    "train_curve",
]
