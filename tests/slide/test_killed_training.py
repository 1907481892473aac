"""A training of the extreme classifier killed at random moments ends with the same model."""

import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from sidle import checkpoint, runs
from sidle.slide.model_folder import MODEL

PROGRAM = Path(__file__).parents[1] / "programs" / "train_classifier.py"
N_EPOCHS = 40
N_STEPS = 5 * N_EPOCHS


def start(folder):
    return subprocess.Popen([sys.executable, str(PROGRAM), str(folder), str(N_EPOCHS)])


def leaves(tree):
    if isinstance(tree, dict):
        return [leaf for name in sorted(tree) for leaf in leaves(tree[name])]
    if isinstance(tree, list):
        return [leaf for part in tree for leaf in leaves(part)]
    return [tree]


def kill_at_random_moments(tmp_path, n_kills, moments):
    assert start(tmp_path / "whole").wait() == 0
    folder = tmp_path / "killed"
    for kill in range(n_kills):
        child = start(folder)
        share = 0.8 * N_STEPS / n_kills
        step = int(moments.uniform(kill * share, (kill + 0.5) * share))
        while len(runs.read_metrics(folder)) < step:
            assert child.poll() is None
        time.sleep(moments.uniform(0, 0.01))
        child.kill()
        child.wait()
        # The test means something only if the kills came in the middle.
        assert len(runs.read_metrics(folder)) < N_STEPS
        assert runs.status(folder) == "interrupted"
    assert start(folder).wait() == 0
    assert runs.read_metrics(folder) == runs.read_metrics(tmp_path / "whole")
    assert len(runs.read_metrics(folder)) == N_STEPS
    trees = [leaves(checkpoint.load(place / MODEL)) for place in (folder, tmp_path / "whole")]
    for one, other in zip(*trees, strict=True):
        assert np.array_equal(np.asarray(one), np.asarray(other))


def test_a_kill_leaves_no_trace_in_the_model(tmp_path):
    kill_at_random_moments(tmp_path, 1, random.Random(time.time_ns()))


@pytest.mark.long
def test_twenty_kills_leave_no_trace_in_the_model(tmp_path):
    kill_at_random_moments(tmp_path, 20, random.Random(time.time_ns()))
