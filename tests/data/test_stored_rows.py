"""Rows written to disk in blocks come back as they were, mapped, and broken folders are refused."""

import numpy as np
import pytest
from scipy.sparse import csr_array, vstack

from sidle.data import stored_rows
from sidle.data.synthetic_extreme import power_law_rows
from sidle.errors import DataError, StorageError

SIZES = {"n_features": 50, "n_labels": 12, "features_per_row": 6, "labels_per_row": 2, "seed": 0}


@pytest.fixture
def rows():
    return power_law_rows(100, part="train", **SIZES)


def blocks(rows, size):
    for start in range(0, rows.features.shape[0], size):
        part = slice(start, start + size)
        yield rows.features[part], rows.labels[part]


def same(one, other):
    return (
        one.shape == other.shape
        and np.array_equal(one.indptr, other.indptr)
        and np.array_equal(one.indices, other.indices)
        and np.array_equal(one.data, other.data)
    )


def test_blocks_come_back_as_one_matrix_that_stays_on_disk(rows, tmp_path):
    stored_rows.write(tmp_path / "rows", blocks(rows, 7), lambda: {"names": ["a"]})
    found = stored_rows.read(tmp_path / "rows")
    assert same(found.features, rows.features)
    assert same(found.labels, rows.labels)
    assert found.notes == {"names": ["a"]}
    for matrix in (found.features, found.labels):
        for array in (matrix.data, matrix.indices):
            while isinstance(array.base, np.ndarray):
                array = array.base
            assert isinstance(array, np.memmap)


def test_the_digest_depends_on_the_rows_and_not_on_the_blocks(rows, tmp_path):
    for name, size in (("one", 7), ("two", 40)):
        stored_rows.write(tmp_path / name, blocks(rows, size), dict)
    digests = {stored_rows.read(tmp_path / name).digest for name in ("one", "two")}
    assert len(digests) == 1
    rows.labels.indices[0] = (rows.labels.indices[0] + 1) % 12
    stored_rows.write(tmp_path / "one", blocks(rows, 7), dict)  # what was there is replaced
    assert stored_rows.read(tmp_path / "one").digest not in digests


def test_rows_are_made_canonical_and_labels_may_come_late(tmp_path):
    twice = csr_array((np.array([1, 2, 0], "f"), np.array([3, 3, 1]), np.array([0, 3])), (1, 5))
    one = csr_array(np.ones((1, 2), np.float32))
    wide = csr_array(np.ones((1, 4), np.float32))
    stored_rows.write(tmp_path / "rows", [(twice, one), (twice, wide)], dict)
    found = stored_rows.read(tmp_path / "rows")
    assert np.array_equal(found.features.toarray(), [[0, 0, 0, 3, 0]] * 2)
    assert found.features.nnz == 2
    assert np.array_equal(found.labels.toarray(), [[1, 1, 0, 0], [1, 1, 1, 1]])


def test_rows_without_entries_are_rows(tmp_path):
    nothing = csr_array((3, 4), dtype=np.float32)
    stored_rows.write(tmp_path / "rows", [(nothing, nothing)], dict)
    found = stored_rows.read(tmp_path / "rows")
    assert found.features.shape == (3, 4)
    assert found.features.nnz == 0


def test_what_fails_half_way_leaves_nothing(rows, tmp_path):
    def broken():
        yield from blocks(rows, 50)
        raise DataError("rows.txt", "a line is wrong.", "Mend it.")

    with pytest.raises(DataError, match="a line is wrong"):
        stored_rows.write(tmp_path / "rows", broken(), dict)
    assert list(tmp_path.iterdir()) == []


def test_more_entries_than_indices_can_count_are_refused(rows, tmp_path, monkeypatch):
    monkeypatch.setattr(stored_rows, "MOST_ENTRIES", 300)
    with pytest.raises(DataError, match="more than 300 features"):
        stored_rows.write(tmp_path / "rows", blocks(rows, 50), dict)
    assert list(tmp_path.iterdir()) == []


def test_broken_folders_are_refused(rows, tmp_path):
    with pytest.raises(StorageError):
        stored_rows.read(tmp_path)
    stored_rows.write(tmp_path / "rows", blocks(rows, 50), dict)
    path = tmp_path / "rows" / "features.values"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(DataError, match=r"features\.values"):
        stored_rows.read(tmp_path / "rows")
    (tmp_path / "rows" / "rows.json").write_text('{"format": 0}')
    with pytest.raises(DataError, match="no rows of this version"):
        stored_rows.read(tmp_path / "rows")


def test_slices_of_mapped_rows_are_those_of_the_whole(rows, tmp_path):
    stored_rows.write(tmp_path / "rows", blocks(rows, 50), dict)
    found = stored_rows.read(tmp_path / "rows").features
    numbers = np.array([99, 3, 3, 41])
    assert same(found[numbers], csr_array(vstack([rows.features[[n]] for n in numbers])))
