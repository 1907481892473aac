"""Files are whole or absent; digests see every change."""

import json
import math
import os
import stat
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from sidle import storage
from sidle.errors import ArgumentError, DataError, StorageError


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path):
    path = tmp_path / "new" / "file.txt"
    storage.write_text(path, "old")
    with pytest.raises(ZeroDivisionError), storage.replacing(path) as temporary:
        temporary.write_text("half of the n")
        _ = 1 / 0
    assert path.read_text() == "old"
    assert [entry.name for entry in path.parent.iterdir()] == ["file.txt"]


def test_readers_never_see_a_part(tmp_path):
    path = tmp_path / "file"
    storage.write_text(path, "old")
    with storage.replacing(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


def test_new_files_have_ordinary_permissions(tmp_path):
    before = os.umask(0o022)
    try:
        storage.write_text(tmp_path / "file", "x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o644


def test_refusals_name_file_and_cause(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match=r"file/below: the operating system refused"):
        storage.write_text(tmp_path / "file" / "below", "x")
    with pytest.raises(StorageError, match=r"No such file.*\. Check the path"):
        storage.read_json(tmp_path / "absent")


def test_full_disk(tmp_path):
    program = textwrap.dedent("""
        import resource, sys
        from sidle import storage
        from sidle.errors import StorageError
        storage.write_text(sys.argv[1], "old")
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        try:
            storage.write_text(sys.argv[1], "x" * 5000)
        except StorageError as error:
            print(error)
    """)
    path = tmp_path / "file"
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True
    )
    assert "File too large. Free some space" in done.stdout
    assert path.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_json_is_standard_and_sorted(tmp_path):
    storage.write_json(tmp_path / "file", {"b": 1, "a": "é"})
    assert (tmp_path / "file").read_text(encoding="utf-8") == '{\n  "a": "é",\n  "b": 1\n}\n'
    assert storage.read_json(tmp_path / "file") == {"a": "é", "b": 1}
    for value in (math.nan, math.inf, {1, 2}, np.zeros(2)):
        with pytest.raises(ArgumentError, match="JSON"):
            storage.to_json({"x": value})


def test_damaged_json_names_the_file(tmp_path):
    for content in (b'{"a": ', b"\xff\xfe", b""):
        (tmp_path / "file").write_bytes(content)
        with pytest.raises(DataError, match="file: expected JSON"):
            storage.read_json(tmp_path / "file")


def test_digest_separates_parts_types_and_shapes():
    array = np.arange(6, dtype=np.int32)
    digests = [
        storage.digest("ab", "c"),
        storage.digest("a", "bc"),
        storage.digest("abc"),
        storage.digest(array),
        storage.digest(array.reshape(2, 3)),
        storage.digest(array.astype(np.int64)),
        storage.digest(array.view(np.float32)),
    ]
    assert len(set(digests)) == len(digests)
    assert storage.digest(array[::2]) == storage.digest(array[::2].copy())
    assert storage.digest(np.zeros(())) != storage.digest(np.zeros(1))
    assert json.loads(storage.to_json({"digest": digests[0]}))["digest"] == digests[0]
