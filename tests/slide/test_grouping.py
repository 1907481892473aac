"""Entries come out sorted by row, and sums of rows are those of a dense product."""

import numpy as np
import torch
from scipy.sparse import csr_array

from sidle.slide import grouping
from sidle.slide.grouping import Grouper
from sidle.slide.row_updates import RowOptimizer, RowUpdates

N, R, D = 9, 12, 5


def entries(seed=0):
    generator = np.random.default_rng(seed)
    dense = generator.normal(size=(N, R)).astype(np.float32)
    dense[generator.random((N, R)) < 0.6] = 0
    dense[3] = 0
    return csr_array(dense), generator.normal(size=(N, D)).astype(np.float32)


def test_entries_are_sorted_by_row():
    rows, source = entries()
    grouped = Grouper(R).group(rows.indptr.astype(np.int64), rows.indices, rows.data)
    dense = rows.toarray()
    assert sorted(grouped.rows.tolist()) == np.flatnonzero(dense.any(axis=0)).tolist()
    for u, row in enumerate(grouped.rows):
        part = slice(grouped.starts[u], grouped.starts[u + 1])
        assert grouped.samples[part].tolist() == np.flatnonzero(dense[:, row]).tolist()
        assert (grouped.values[part] == dense[grouped.samples[part], row]).all()
    # Sums of at most 9 numbers in float32.
    np.testing.assert_allclose(grouped.sums(), dense.sum(axis=0)[grouped.rows], atol=1e-5)
    expected = (dense.T @ source)[grouped.rows]
    np.testing.assert_allclose(grouped.gradient(source, 1).numpy(), expected, atol=1e-5)


def test_hogwild_parts_add_up(monkeypatch):
    """SGD adds up, so that parts in turn give the whole, but for rounding."""
    monkeypatch.setattr(grouping, "at_once", lambda works: [work() for work in works])
    rows, source = entries()
    dense = rows.toarray()
    for parts in (1, 3):
        weight, bias = torch.zeros(R, D), torch.zeros(R)
        rule = RowOptimizer("sgd")
        updates = RowUpdates(weight, rule), RowUpdates(bias.unsqueeze(1), rule)
        touched = Grouper(R, parts).update(
            weight, updates[0], (bias, updates[1]),
            (rows.indptr.astype(np.int64), rows.indices, rows.data), source,
            step=1, lr=0.5, threads=1,
        )  # fmt: skip
        assert len(touched) == parts
        np.testing.assert_allclose(weight, -0.5 * dense.T @ source, atol=1e-5)
        np.testing.assert_allclose(bias, -0.5 * dense.sum(axis=0), atol=1e-5)
