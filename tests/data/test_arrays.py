"""Numbers come back as they were written; anything else is refused by file and line."""

import gzip

import numpy as np
import pytest

from sidle.data.arrays import read_rows
from sidle.errors import ArgumentError, DataError, DataNotFoundError


def test_npy_npz_and_csv_give_the_same_rows(tmp_path):
    rows = np.random.default_rng(0).normal(size=(5, 3))
    np.save(tmp_path / "a.npy", rows)
    np.savez(tmp_path / "one.npz", rows)
    np.savez(tmp_path / "two.npz", x=rows, y=rows[:, 0])
    text = "\n".join(",".join(map(repr, row)) for row in rows.tolist())
    (tmp_path / "plain.csv").write_text(text)
    (tmp_path / "named.csv").write_text("a,b,c\r\n" + text.replace("\n", "\r\n") + "\r\n")
    with gzip.open(tmp_path / "packed.csv.gz", "wt") as file:
        file.write("﻿" + text + "\n")
    for file in ("a.npy", "one.npz", "plain.csv", "named.csv", "packed.csv.gz"):
        np.testing.assert_array_equal(read_rows(tmp_path / file), rows)
    np.testing.assert_array_equal(read_rows(tmp_path / "two.npz", name="y"), rows[:, 0])


def test_number_types_are_kept(tmp_path):
    np.save(tmp_path / "a.npy", np.array([[1, 2]], dtype=np.uint8))
    assert read_rows(tmp_path / "a.npy").dtype == np.uint8


def test_names_of_arrays_are_asked_for_and_checked(tmp_path):
    np.savez(tmp_path / "two.npz", x=np.zeros(2), y=np.ones(2))
    with pytest.raises(ArgumentError, match=r"2 arrays \(x, y\); say which"):
        read_rows(tmp_path / "two.npz")
    with pytest.raises(ArgumentError, match=r"no array 'z'\. It holds: x, y"):
        read_rows(tmp_path / "two.npz", name="z")
    np.save(tmp_path / "a.npy", np.zeros(2))
    with pytest.raises(ArgumentError, match=r"only \.npz"):
        read_rows(tmp_path / "a.npy", name="x")
    with pytest.raises(ArgumentError, match=r"\.npy, \.npz, \.csv"):
        read_rows(tmp_path / "a.txt")
    with pytest.raises(DataNotFoundError):
        read_rows(tmp_path / "none.npy")


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("1,2\n3,x\n", 2, "found '3,x'"),
        ("1,2\n3\n", 2, "expected 2 numbers"),
        ("1,2\n\n3,4\n", 2, "finite numbers"),
        ("a,b\nc,d\n", 2, "finite numbers"),
        ("1,2\n3,nan\n", 2, "found '3,nan'"),
        ("1,inf\n", 1, "finite numbers"),
        ('1,"2\n', 1, "not CSV"),
        (b"1,2\n\xff,3\n", 2, "UTF-8"),
        ("1,2\n" + "3" * 10_000_000, 2, "longer than"),
    ],
)
def test_csv_errors_name_the_line(tmp_path, text, line, said):
    path = tmp_path / "a.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=said) as error:
        read_rows(path)
    assert error.value.line == line


@pytest.mark.parametrize(
    "array", [np.array(["a"]), np.zeros(0), np.array(3.0), np.array([1 + 2j]), np.zeros((0, 4))]
)
def test_arrays_that_are_no_rows_of_numbers_are_refused(tmp_path, array):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(DataError, match="expected rows of real numbers"):
        read_rows(tmp_path / "a.npy")


def test_nan_is_refused_by_row(tmp_path):
    np.save(tmp_path / "a.npy", np.array([[1.0, 2.0], [3.0, np.nan]]))
    with pytest.raises(DataError, match="row 1"):
        read_rows(tmp_path / "a.npy")
    (tmp_path / "empty.csv").write_text("a,b\n")
    with pytest.raises(DataError, match="no rows"):
        read_rows(tmp_path / "empty.csv")
