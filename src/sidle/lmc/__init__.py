"""Linear mode connectivity: paths between networks, barriers on them, and what trains into one.

from sidle.lmc import error_barrier
print(error_barrier(a, b, (x, y)).barrier)
"""

from sidle.lmc.alignment import Alignment, align, find_alignment
from sidle.lmc.barrier import Barrier, SplitEstimate, split_estimate
from sidle.lmc.batch_norm import re_estimate
from sidle.lmc.compact import (
    CompactLinear,
    SpeedComparison,
    compacted,
    compare_speed,
    load_compact,
    save_compact,
)
from sidle.lmc.comparison import Comparison, OnData, compare
from sidle.lmc.criteria import magnitude, random_mask, reinitialised, shuffled, snip
from sidle.lmc.curves import Curve, curve_barrier, train_curve
from sidle.lmc.instability import Instability, Mean, Pair, instability, noise
from sidle.lmc.masks import Hold, Mask, prunable
from sidle.lmc.measurement import Measurement, measure
from sidle.lmc.paths import Barriers, error_barrier, error_barriers, interpolate
from sidle.lmc.permutations import Group, Specification, derive_specification
from sidle.lmc.planes import Plane, loss_plane
from sidle.lmc.pruning import Round, control, iterative, one_shot
from sidle.lmc.states import distance, state_of
from sidle.lmc.structured import prune_channels, without_dead_channels
from sidle.lmc.torch_prune import from_torch_prune, to_torch_prune, to_torch_prune_state
from sidle.lmc.training_function import TrainingFunction

__all__ = [
    "Alignment",
    "Barrier",
    "Barriers",
    "CompactLinear",
    "Comparison",
    "Curve",
    "Group",
    "Hold",
    "Instability",
    "Mask",
    "Mean",
    "Measurement",
    "OnData",
    "Pair",
    "Plane",
    "Round",
    "Specification",
    "SpeedComparison",
    "SplitEstimate",
    "TrainingFunction",
    "align",
    "compacted",
    "compare",
    "compare_speed",
    "control",
    "curve_barrier",
    "derive_specification",
    "distance",
    "error_barrier",
    "error_barriers",
    "find_alignment",
    "from_torch_prune",
    "instability",
    "interpolate",
    "iterative",
    "load_compact",
    "loss_plane",
    "magnitude",
    "measure",
    "noise",
    "one_shot",
    "prunable",
    "prune_channels",
    "random_mask",
    "re_estimate",
    "reinitialised",
    "save_compact",
    "shuffled",
    "snip",
    "split_estimate",
    "state_of",
    "to_torch_prune",
    "to_torch_prune_state",
    "train_curve",
    "without_dead_channels",
]
