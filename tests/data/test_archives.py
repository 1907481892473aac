import errno
import gzip
import io
import os
import random
import time
import tracemalloc
import zipfile
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.damage import damaged, refuses_or_reads
from sidle.data import archives
from sidle.errors import ArgumentError, DataError, DataNotFoundError, ShapeError, StorageError

ARRAYS = {
    "numbers": np.arange(12, dtype=np.int16).reshape(3, 4),
    "names": np.array(["a", "bé", "漢字"]),
    "weights": np.linspace(0, 1, 5),
    "one": np.array(7),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("archives")


def npy(array, **kwargs):
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.asarray(array), **kwargs)
    return stream.getvalue()


def npy_with_header(header, data=b""):
    padded = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded + data


def zipped(members, compression=zipfile.ZIP_DEFLATED):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content, compression)
    return stream.getvalue()


def save(folder, content, name="file.npz"):
    path = folder / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_reads_what_numpy_writes(tmp_path, write):
    write(tmp_path / "a.npz", **ARRAYS)
    read = archives.read_npz(tmp_path / "a.npz")
    assert list(read) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert read[name].dtype == array.dtype
        np.testing.assert_array_equal(read[name], array)
    assert list(archives.read_npz(tmp_path / "a.npz", ["one", "absent"])) == ["one"]


def test_write_npz_can_be_read_by_numpy_and_refuses_objects(tmp_path):
    archives.write_npz(tmp_path / "a.npz", ARRAYS)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as read:
        assert all((read[name] == array).all() for name, array in ARRAYS.items())
    with pytest.raises(ArgumentError, match="'bad' holds object"):
        archives.write_npz(tmp_path / "b.npz", {"bad": np.array([{}])})
    assert not (tmp_path / "b.npz").exists()


@pytest.mark.parametrize(
    "array",
    [
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(5, dtype=">i4"),
        np.array(["x", "yz"], dtype=">U3"),
        np.zeros((0, 3), np.uint8),
        np.array([True, False]),
    ],
    ids=["fortran", "big_endian", "big_endian_text", "empty", "bool"],
)
def test_read_npy_gives_native_c_arrays(tmp_path, array):
    np.save(tmp_path / "a.npy", array)
    read = archives.read_npy(tmp_path / "a.npy")
    np.testing.assert_array_equal(read, array)
    assert read.dtype.isnative
    assert read.shape == array.shape


REFUSED = {
    "pickle": (npy(np.array([{}, 1], object), allow_pickle=True), "objects would have to be"),
    "records": (npy(np.zeros(2, [("a", "i4")])), "only booleans, numbers and text"),
    "dates": (npy(np.array(["2020-01-01"], "M8[D]")), "only booleans, numbers and text"),
    "too_short": (npy(np.arange(9))[:-8], "promises int64 of shape"),
    "too_long": (npy(np.arange(9)) + b"more", "promises int64 of shape"),
    "huge": (
        npy_with_header("{'descr': '<f8', 'fortran_order': False, 'shape': (10**9, )}"),
        "damaged",
    ),
    "lying": (
        npy_with_header("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,)}"),
        "promises float64",
    ),
    "negative": (
        npy_with_header("{'descr': '|u1', 'fortran_order': False, 'shape': (-1, -4)}", b"abcd"),
        "promises uint8",
    ),
    "code": (npy_with_header("__import__('os').abort()"), "damaged"),
    "no_magic": (b"hello, world", "damaged"),
    "nothing": (b"", "damaged"),
    "no_characters": (
        npy_with_header(
            "{'descr': '<U1', 'fortran_order': False, 'shape': (1,)}", b"\xff\xff\xff\x7f"
        ),
        "no characters",
    ),
    "half_a_surrogate": (
        npy_with_header("{'descr': '<U1', 'fortran_order': False, 'shape': (1,)}", b"\0\xd8\0\0"),
        "no characters",
    ),
    "version": (b"\x93NUMPY\x09\x00" + b"\0" * 80, "unknown .npy version"),
}


@pytest.mark.parametrize(("content", "message"), REFUSED.values(), ids=REFUSED)
def test_malformed_arrays_are_refused(tmp_path, content, message):
    path = save(tmp_path, content, "a.npy")
    with pytest.raises(DataError, match=message) as refused:
        archives.read_npy(path)
    assert str(path) in str(refused.value)
    packed = save(tmp_path, zipped([("a.npy", content)]))
    with pytest.raises(DataError, match=message) as refused:
        archives.read_npz(packed)
    assert str(packed) in str(refused.value)


def test_nothing_is_ever_unpickled(tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "trapped"),)

    path = save(tmp_path, npy(np.array([Trap()], object), allow_pickle=True), "a.npy")
    with pytest.raises(DataError):
        archives.read_npy(path)
    assert not (tmp_path / "trapped").exists()


def test_malformed_zips_are_refused(tmp_path):
    good = zipped([("a.npy", npy(ARRAYS["numbers"]))])
    with pytest.raises(DataError, match="damaged or cut off"):
        archives.read_npz(save(tmp_path, good[:-30]))
    at = 60  # inside the compressed data
    flipped = good[:at] + bytes([good[at] ^ 0xFF]) + good[at + 1 :]
    with pytest.raises(DataError):
        archives.read_npz(save(tmp_path, flipped))
    with pytest.raises(DataError, match="cannot be bounded"):
        content = zipped([("a.npy", npy(ARRAYS["numbers"]))], zipfile.ZIP_BZIP2)
        archives.read_npz(save(tmp_path, content))
    with pytest.warns(UserWarning, match="Duplicate"):
        content = zipped([("a.npy", npy(np.arange(3)))] * 2)
    with pytest.raises(DataError, match="'a' occurs twice"):
        archives.read_npz(save(tmp_path, content))
    stored = bytearray(zipped([("a.npy", npy(np.arange(300)))], zipfile.ZIP_STORED))
    stored[200] ^= 1  # the checksum no longer fits
    with pytest.raises(DataError, match="CRC"):
        archives.read_npz(save(tmp_path, stored))


def test_members_that_are_no_arrays_are_passed_over(tmp_path):
    path = save(tmp_path, zipped([("README.txt", b"hi"), ("a.npy", npy(np.arange(3)))]))
    assert list(archives.read_npz(path)) == ["a"]


def small_and_quick(function):
    """Run ``function`` and return its error; fails if it took much time or memory."""
    tracemalloc.start()
    started = time.process_time()
    try:
        with pytest.raises(DataError) as refused:
            function()
        seconds, peak = time.process_time() - started, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert seconds < 3
    assert peak < 8 * 2**20
    return str(refused.value)


def test_a_bomb_in_an_npz_is_refused_before_it_is_unpacked(tmp_path):
    content = npy_with_header(
        "{'descr': '|u1', 'fortran_order': False, 'shape': (125829120,)}", bytes(120 * 2**20)
    )
    path = save(tmp_path, zipped([("a.npy", content)]))
    assert path.stat().st_size < 2**18
    assert "more than 100 times larger" in small_and_quick(lambda: archives.read_npz(path))
    many = save(tmp_path, zipped([(f"{k}.npy", bytes(8 * 2**20)) for k in range(12)]), "many.npz")
    assert "more than 100 times larger" in small_and_quick(lambda: archives.read_npz(many))


def test_a_size_in_a_zip_that_deflate_cannot_reach_is_refused(tmp_path):
    good = zipped([("a.npy", npy(np.arange(3)))])
    at = good.index(b"PK\x01\x02") + 24  # the uncompressed size in the directory
    lying = good[:at] + (2**31).to_bytes(4, "little") + good[at + 4 :]
    path = save(tmp_path, lying)
    assert "claims 2147483648 bytes" in small_and_quick(lambda: archives.read_npz(path))


def test_a_member_that_holds_less_than_the_zip_says_is_refused(tmp_path):
    content = npy(np.arange(4))[:-8]
    good = zipped([("a.npy", content)])
    at = good.index(b"PK\x01\x02") + 24  # the uncompressed size in the directory
    lying = good[:at] + (len(content) + 8).to_bytes(4, "little") + good[at + 4 :]
    with pytest.raises(DataError, match="'a' ends after 24 of 32 bytes"):
        archives.read_npz(save(tmp_path, lying))


def test_a_bomb_in_gzip_stops_at_its_bound(tmp_path):
    part = gzip.compress(bytes(2**24), 9)
    path = save(tmp_path, part * 64, "bomb.gz")  # 1 GiB in 1 MiB

    def read():
        with archives.content(path) as content:
            while content.read(2**20):
                pass

    assert "more than 100 times larger" in small_and_quick(read)


def test_content_is_told_by_its_first_bytes(tmp_path):
    for name, data in (("plain.gz", b"abc"), ("compressed.txt", gzip.compress(b"abc"))):
        with archives.content(save(tmp_path, data, name)) as content:
            assert content.read(10) == b"abc"
    with archives.content(save(tmp_path, b"", "empty")) as content:
        assert content.read(1) == b""


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_a_cut_gzip_is_refused(tmp_path, cut):
    path = save(tmp_path, gzip.compress(bytes(range(256)) * 9)[:-cut], "cut.gz")
    with (
        pytest.raises(DataError, match="damaged or cut off") as refused,
        archives.content(path) as content,
    ):
        while content.read(100):
            pass
    assert "Copy the file again" in str(refused.value)


def test_lines_have_limits_and_numbers(tmp_path):
    path = save(tmp_path, b"one\r\ntwo\n\nabcde\nlast", "lines.txt")
    with archives.content(path) as content:
        assert list(content.lines(5)) == [b"one", b"two", b"", b"abcde", b"last"]
    with (
        pytest.raises(DataError, match=r"lines.txt:4: the line is longer than 4 bytes"),
        archives.content(path) as content,
    ):
        list(content.lines(4))


def test_what_is_no_file_is_said_so(tmp_path):
    with pytest.raises(DataNotFoundError, match="no such file"):
        archives.read_npy(tmp_path / "absent.npy")
    save(tmp_path, b"", "file")
    with pytest.raises(DataNotFoundError, match="no such file"):
        archives.read_npy(tmp_path / "file" / "below")
    with pytest.raises(DataError, match="expected a file"):
        archives.read_npy(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="expected a file"):
        archives.read_npy(tmp_path / "pipe")


def test_refusals_of_the_disk_stay_what_they_are(tmp_path):
    path = save(tmp_path, npy(np.arange(3)), "a.npy")
    broken = OSError(errno.EIO, "Input/output error")
    with (
        mock.patch("numpy.lib.format.read_magic", side_effect=broken),
        pytest.raises(StorageError, match="Input/output error"),
    ):
        archives.read_npy(path)
    with (
        mock.patch("numpy.lib.format.read_magic", side_effect=MemoryError),
        pytest.raises(MemoryError),
    ):
        archives.read_npy(path)


def test_columns_are_checked():
    arrays = {"a": np.arange(3), "t": np.array(["x"])}
    assert archives.column("f", arrays, "a", "iu") is arrays["a"]
    with pytest.raises(DataError, match="expected an array 'b', found a, t"):
        archives.column("f", arrays, "b", "iu")
    with pytest.raises(DataError, match="'t' must be integer with 1 dimensions, found <U1"):
        archives.column("f", arrays, "t", "iu")
    with pytest.raises(DataError, match="'a' must be integer with 2 dimensions"):
        archives.column("f", arrays, "a", "iu", 2)


def test_offsets_are_checked():
    archives.check_offsets(np.array([0, 2, 2, 5]), 5, "f")
    archives.check_offsets(np.array([0]), 0, "f")
    for offsets in ([1, 5], [0, 4], [0, 6], [0, 3, 2, 5], [0, -1, 5]):
        with pytest.raises(ArgumentError, match="must rise from 0 to the 5"):
            archives.check_offsets(np.array(offsets), 5, "f")
    for offsets in (np.array([], np.int64), np.zeros((1, 1), np.int64), np.zeros(1, np.int32)):
        with pytest.raises(ShapeError, match="must be int64"):
            archives.check_offsets(offsets, 0, "f")


NPZ = zipped([(f"{name}.npy", npy(array)) for name, array in ARRAYS.items()])
NPY = npy(ARRAYS["numbers"])
TEXT = "".join(f"line {k}\n" for k in range(40)).encode()


def read_content(path):
    with archives.content(path) as content:
        list(content.lines(30))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damage_gives_arrays_or_one_kind_of_error(folder, data):
    refuses_or_reads(archives.read_npz, folder / "f", data.draw(damaged(NPZ)))
    inner = data.draw(damaged(NPY))
    refuses_or_reads(archives.read_npz, folder / "f", zipped([("a.npy", inner)]))
    refuses_or_reads(archives.read_npy, folder / "f", inner)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_damaged_gzip_gives_lines_or_one_kind_of_error(folder, data):
    refuses_or_reads(read_content, folder / "f", data.draw(damaged(gzip.compress(TEXT))))


def test_no_flipped_byte_of_gzip_goes_unnoticed(folder):
    """The checksum covers the content; only the ten bytes of the header say nothing of it."""
    content = gzip.compress(random.Random(0).randbytes(50), mtime=0)
    for at in range(10, len(content)):
        flipped = content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :]
        assert refuses_or_reads(read_content, folder / "f", flipped), at
