import decimal
import gzip
import os
import random
import tracemalloc
import zlib
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import scipy.sparse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reference import extreme as reference
from sidle.data import archives, extreme
from sidle.data.extreme import (
    ExtremeDataset,
    ExtremeHeader,
    iterate_xc,
    read_xc,
    read_xc_header,
    write_xc,
)
from sidle.errors import ArgumentError, DataError, DataNotFoundError, ShapeError

SMALL = b"4 10 6\n3,0 7:.5 2:1\n 1:5 9:1e-3\n5\n1,2,4 0:+0.25\n"


def save(folder, content, name="set.txt"):
    path = folder / name
    path.write_bytes(content)
    return path


def as_lists(dataset):
    """Labels and features of each row, in the form of `reference.Parsed`."""
    labels, features = dataset.labels, dataset.features
    label_lists = [part.tolist() for part in np.split(labels.indices, labels.indptr[1:-1])]
    indices = np.split(features.indices, features.indptr[1:-1])
    values = np.split(features.data, features.indptr[1:-1])
    pairs = [
        list(zip(index.tolist(), value.tolist(), strict=True))
        for index, value in zip(indices, values, strict=True)
    ]
    n_rows = dataset.header.n_rows
    return label_lists[:n_rows], pairs[:n_rows]


def assert_equals_reference(dataset, parsed):
    header = dataset.header
    assert (header.n_rows, header.n_features, header.n_labels) == parsed.shape
    assert as_lists(dataset) == (parsed.labels, parsed.features)
    for matrix in (dataset.features, dataset.labels):
        assert matrix.data.dtype == np.float32
        assert matrix.indices.dtype == matrix.indptr.dtype == np.int32
        matrix.check_format(full_check=True)
    assert (dataset.labels.data == 1).all()


def blocks_of(n_bytes):
    return mock.patch.object(extreme, "_BLOCK_BYTES", n_bytes)


def test_reads_what_the_format_says(tmp_path):
    dataset = read_xc(save(tmp_path, SMALL))
    assert dataset.header == ExtremeHeader(4, 10, 6)
    np.testing.assert_array_equal(
        dataset.features.toarray(),
        np.array(
            [
                [0, 0, 1, 0, 0, 0, 0, 0.5, 0, 0],
                [0, 5, 0, 0, 0, 0, 0, 0, 0, 1e-3],
                [0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
                [0.25, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            ],
            np.float32,
        ),
    )
    np.testing.assert_array_equal(
        dataset.labels.toarray(),
        [[1, 0, 0, 1, 0, 0], [0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1], [0, 1, 1, 0, 1, 0]],
    )
    assert_equals_reference(dataset, reference.parse(SMALL))


@pytest.mark.parametrize(
    "text",
    [
        SMALL.replace(b"\n", b"\r\n"),
        SMALL.removesuffix(b"\n"),
        SMALL.replace(b"\n", b"\r\n").removesuffix(b"\n"),
        SMALL.replace(b"\n", b" \t \n"),
        SMALL.replace(b" ", b"\t  "),
        SMALL.replace(b"3,0", b"03,000000000000000000000000"),
    ],
    ids=["crlf", "no last end", "only a last return", "trailing", "many blanks", "leading zeros"],
)
def test_tolerates(tmp_path, text):
    assert read_xc(save(tmp_path, text)).digest() == read_xc(save(tmp_path, SMALL)).digest()


def test_an_empty_set_is_a_set(tmp_path):
    path = save(tmp_path, b"0 7 3\n")
    assert read_xc(path).header == read_xc_header(path) == ExtremeHeader(0, 7, 3)
    assert list(iterate_xc(path, 5)) == []


@pytest.mark.parametrize("name", ["set.txt", "set.txt.gz"])
def test_compression_is_seen_in_the_content_not_in_the_name(tmp_path, name):
    members = gzip.compress(SMALL[:20]) + gzip.compress(SMALL[20:]) + b"\0" * 7
    expected = reference.parse(SMALL)
    assert_equals_reference(read_xc(save(tmp_path, SMALL, name)), expected)
    assert_equals_reference(read_xc(save(tmp_path, members, name)), expected)


def random_rows(seed, n_rows, n_features=5000, n_labels=400):
    """Text of rows of mixed length, a third of them unsorted."""
    rng = random.Random(seed)
    lines = [f"{n_rows} {n_features} {n_labels}"]
    for _ in range(n_rows):
        labels = rng.sample(range(n_labels), rng.choice([0, 1, 3, 40]))
        features = rng.sample(range(n_features), rng.choice([1, 2, 12, 300]))
        if rng.random() < 2 / 3:
            labels, features = sorted(labels), sorted(features)
        values = [
            f"{f}:{rng.choice(['1', '.093', '0.056726', f'{rng.random()}'])}" for f in features
        ]
        lines.append(" ".join([",".join(map(str, labels)), *values]))
    return ("\n".join(lines) + "\n").encode()


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("block_bytes", [1, 7, 100, 4096, 2**20])
def test_block_size_does_not_matter(tmp_path, block_bytes, compressed):
    text = random_rows(seed=1, n_rows=60 if block_bytes < 10 else 400)
    path = save(tmp_path, gzip.compress(text) if compressed else text)
    with blocks_of(block_bytes):
        assert_equals_reference(read_xc(path), reference.parse(text))


@pytest.mark.parametrize("rows_per_block", [1, 7, 100, 399, 400, 10**12])
def test_iterating_gives_the_same_rows_in_blocks(tmp_path, rows_per_block):
    path = save(tmp_path, random_rows(seed=2, n_rows=400))
    with blocks_of(3000):
        blocks = list(iterate_xc(path, rows_per_block))
    sizes = [block.header.n_rows for block in blocks]
    assert set(sizes[:-1]) <= {rows_per_block}
    assert 1 <= sizes[-1] <= rows_per_block
    whole = read_xc(path)
    for part in ("features", "labels"):
        stacked = scipy.sparse.vstack([getattr(block, part) for block in blocks], format="csr")
        difference = stacked != getattr(whole, part)
        assert difference.nnz == 0
        assert all(getattr(block, part).has_canonical_format for block in blocks)


def test_iterating_checks_before_the_first_block(tmp_path):
    with pytest.raises(ArgumentError, match="rows_per_block must be at least 1, got 0"):
        iterate_xc(save(tmp_path, SMALL), 0)
    with pytest.raises(DataNotFoundError):
        iterate_xc(tmp_path / "none.txt", 1)
    with pytest.raises(DataError, match="header"):
        iterate_xc(save(tmp_path, b"no header\n"), 1)


def test_iterating_names_the_line_of_the_whole_file(tmp_path):
    blocks = iterate_xc(save(tmp_path, SMALL.replace(b"5\n1,2", b"5\n1,x")), 2)
    assert next(blocks).header.n_rows == 2
    with pytest.raises(DataError) as caught:
        next(blocks)
    assert caught.value.line == 5


def test_wide_index_arrays_hold_the_same(tmp_path, monkeypatch):
    path = save(tmp_path, random_rows(seed=3, n_rows=50))
    narrow = read_xc(path)
    monkeypatch.setattr(extreme, "_MOST_SHORT_ENTRIES", 1000)
    with blocks_of(500):
        wide = read_xc(path)
    assert wide.features.indices.dtype == wide.labels.indptr.dtype == np.int64
    assert as_lists(wide) == as_lists(narrow)
    assert wide.digest() == narrow.digest()


# Values ------------------------------------------------------------------------------------------


def read_values(folder, texts):
    lines = "\n".join(f"0 0:{text}" for text in texts)
    return read_xc(save(folder, f"{len(texts)} 1 1\n{lines}\n".encode())).features.data


def assert_values_are_python_s(folder, texts):
    with np.errstate(over="ignore"):
        expected = np.array([np.float32(float(text)) for text in texts])
    np.testing.assert_array_equal(
        read_values(folder, texts).view(np.int32), expected.view(np.int32)
    )


def random_decimal(rng, most_digits):
    digits = "".join(rng.choices("0123456789", k=rng.randint(1, most_digits)))
    dot = rng.randint(0, len(digits))
    text = digits if rng.random() < 0.2 else f"{digits[:dot]}.{digits[dot:]}"
    if rng.random() < 0.5:
        text += f"{rng.choice('eE')}{rng.choice(['', '+', '-'])}{rng.randint(0, 20)}"
    return rng.choice(["", "", "+"]) + text


@pytest.mark.parametrize("most_digits", [4, 15, 17, 30])
def test_values_equal_python_s_rounded_to_float32(tmp_path, most_digits):
    rng = random.Random(most_digits)
    texts = [random_decimal(rng, most_digits) for _ in range(20_000)]
    texts = [text for text in texts if float(text) < 3e38]
    assert len(texts) > 15_000
    assert_values_are_python_s(tmp_path, texts)


def test_values_halfway_between_two_float32_round_as_python_s(tmp_path, monkeypatch):
    rng = np.random.default_rng(4)
    bits = rng.integers(1, 0x7F7FFFFF, 600)  # positive, finite, subnormal too
    low, high = bits.astype(np.int32).view(np.float32), (bits + 1).astype(np.int32).view(np.float32)
    texts = []
    with decimal.localcontext() as context:
        context.prec = 200
        for a, b in zip(low.tolist(), high.tolist(), strict=True):
            half = (decimal.Decimal(a) + decimal.Decimal(b)) / 2
            tiny = half * decimal.Decimal("1e-40")
            for value in (half, half + tiny, half - tiny):
                # 15 and 16 digits fit a float64, which with large powers of ten is not enough.
                texts += [f"{value:f}", f"{value:e}"]
                texts += [f"{value:.{digits}e}" for digits in (14, 15, 17)]
    decided = []
    monkeypatch.setattr(
        extreme._Reader,
        "_decide",
        lambda self, values, decide=extreme._Reader._decide: decided.append(decide(self, values)),
    )
    with blocks_of(5000):
        assert_values_are_python_s(tmp_path, texts)
    assert len(decided) > 1000, "the slow path was not taken where it must be"


def test_slow_values_of_an_unsorted_row_stay_with_their_features(tmp_path):
    values = ["16777217.0000000000000001", "16777219.0000000000000001", "1", "16777221e0"]
    row = " ".join(f"{3 - k}:{text}" for k, text in enumerate(values))
    dataset = read_xc(save(tmp_path, f"1 4 1\n {row}\n".encode()))
    expected = np.array([[np.float32(float(text)) for text in reversed(values)]])
    np.testing.assert_array_equal(dataset.features.toarray(), expected)


@pytest.mark.parametrize(
    "text",
    [
        *("0", "0.0", ".0", "0.", "5.", "+.5", "007", "0e999999999999999999999", "1e-45", "7e-46"),
        *("7.1e-46", "1e-99999999999999999999", "3.4028235e38", "3.4028235677973362e38", "1e22"),
        *("1e23", "9007199254740993", "0." + "0" * 5000 + "1e5001", "1" + "0" * 5000 + "e-5000"),
        *("123456789012345678901234567890e-29", "0" * 400 + "1.5", "1." + "0" * 400 + "1"),
    ],
)
def test_values_at_the_edges(tmp_path, text):
    assert_values_are_python_s(tmp_path, [text])


@pytest.mark.parametrize(
    "text", ["1e39", "3.4028236e38", "340282356779733661637539395458142568448", "1" + "0" * 99]
)
def test_values_beyond_float32_are_refused(tmp_path, text):
    with pytest.raises(DataError, match="beyond the range of float32") as caught:
        read_values(tmp_path, ["1", text])
    assert caught.value.line == 3


# Writing -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["set.txt", "set.txt.gz"])
def test_writing_and_reading_returns_the_same_arrays(tmp_path, name):
    rng = np.random.default_rng(5)
    bits = rng.integers(0, 0x7F7FFFFF, 5000, dtype=np.int32, endpoint=True)  # all finite float32
    places = rng.permutation(300 * 50)[: bits.size]
    features = scipy.sparse.csr_array(
        (bits.view(np.float32), (places // 50, places % 50)), shape=(300, 50)
    )
    labels = scipy.sparse.csr_array((rng.random((300, 20)) < 0.2).astype(np.float32))
    dataset = ExtremeDataset(features, labels)
    with mock.patch.object(extreme, "_WRITTEN_ROWS", 77):
        write_xc(tmp_path / name, dataset)
    assert read_xc(tmp_path / name).digest() == dataset.digest()
    first = (tmp_path / name).read_bytes()
    assert (first[:2] == b"\x1f\x8b") == name.endswith(".gz")
    with mock.patch("time.time", return_value=10**9):
        write_xc(tmp_path / name, dataset)
    assert (tmp_path / name).read_bytes() == first


def test_writes_the_shortest_text(tmp_path):
    write_xc(tmp_path / "set.txt", read_xc(save(tmp_path, SMALL)))
    expected = b"4 10 6\n0,3 2:1 7:0.5\n 1:5 9:0.001\n5\n1,2,4 0:0.25\n"
    assert (tmp_path / "set.txt").read_bytes() == expected


def test_writing_sorts_and_adds_up_without_touching_the_original(tmp_path):
    indices, values = np.array([7, 2, 7, 1]), np.float32([1, 2, 4, 8])
    features = scipy.sparse.csr_array((values, indices, np.array([0, 3, 4])), shape=(2, 9))
    labels = scipy.sparse.csc_array(np.float32([[1, 0], [1, 1]]))
    write_xc(tmp_path / "set.txt", ExtremeDataset(features, labels))
    assert (tmp_path / "set.txt").read_bytes() == b"2 9 2\n0 2:2 7:5\n0,1 1:8\n"
    assert features.indices.tolist() == [7, 2, 7, 1]


@pytest.mark.parametrize(
    ("features", "labels", "message"),
    [
        (np.array([[1.0]]), [[1]], "must be float32, got float64"),
        (np.float32([[-1]]), [[1]], "finite and at least 0"),
        (np.float32([[np.nan]]), [[1]], "finite and at least 0"),
        (np.float32([[np.inf]]), [[1]], "finite and at least 0"),
        (np.float32([[1]]), [[2]], "every entry of labels must be 1"),
        (np.float32([[1], [0]]), [[1], [0]], "row 1 has neither"),
    ],
)
def test_refuses_to_write_what_cannot_be_read(tmp_path, features, labels, message):
    path = save(tmp_path, SMALL)
    dataset = ExtremeDataset(scipy.sparse.csr_array(features), scipy.sparse.csr_array(labels))
    with pytest.raises(ArgumentError, match=message):
        write_xc(path, dataset)
    assert path.read_bytes() == SMALL


def test_features_and_labels_must_have_the_same_rows():
    with pytest.raises(ShapeError, match="same number of rows"):
        ExtremeDataset(scipy.sparse.csr_array((2, 3)), scipy.sparse.csr_array((3, 3)))


# Refusals ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        (b"", 1, "the file is empty"),
        (b"3,4 1:5\n", 1, "expected a header, found '3,4 1:5"),
        (b"1 2\n0 0:1\n", 1, "expected a header"),
        (b"1 2 3 4\n0 0:1\n", 1, "expected a header"),
        (b"-1 2 3\n", 1, "expected a header"),
        (b"\xef\xbb\xbf1 2 3\n0\n", 1, r"expected a header, found '\\xef\\xbb\\xbf1"),
        (b"9" * 5000 + b" 2 3\n", 1, "expected a header"),
        (b"1000000000000000000 2 3\n0\n", 1, "promises 1000000000000000000 rows, more than"),
        (b"3 2 3\n0\n1\n", 1, "promises 3 rows, more than 10 bytes of text"),
        (b"1 2147483648 3\n0\n", 1, "at most 2147483647"),
        (b"1 3 99999999999\n0\n", 1, "at most 2147483647"),
        (b"3 9 9\n0 1:.5\n1 1:.5\n", 4, "promises 3 rows, but the text ends here"),
        (b"1 9 9\n0 1:.5\n1 1:.5\n", 3, "promises 1 rows, but the text goes on"),
        (b"1 9 9\n0 1:.5\n\n", 3, "but the text goes on"),
        (b"2 9 9\n0 1:.5\n\n", 3, "neither labels nor features"),
        (b"2 9 9\n0 1:.5\n \t \n", 3, "neither labels nor features"),
        (b"2 9 9\n0\n3,,4 1:1\n", 3, "expected labels as integers of at least 0, found '3,,4'"),
        (b"2 9 9\n0\n3, 1:1\n", 3, "expected labels .* found '3,'|found ''"),
        (b"2 9 9\n0\n,3 1:1\n", 3, "expected labels .* found ',3'"),
        (b"2 9 9\n0\n-3 1:1\n", 3, "expected labels .* found '-3'"),
        (b"2 9 9\n0\n1:1 2:1\n", 3, "expected labels .* begin a row without labels with a blank"),
        (b"2 9 9\n0\n3, 4 1:1\n", 3, "expected labels"),
        (b"2 9 9\n0\n3 4 1:1\n", 3, "expected index:value .* found '4'"),
        (b"2 9 9\n0\n9 1:1\n", 3, "label '9' is not below the number"),
        (b"2 9 9\n0\n99999999999999999999999 1:1\n", 3, "label '9{23}' is not below"),
        (b"2 9 9\n0\n18446744073709551616 1:1\n", 3, "label '18446744073709551616' is not"),
        (b"2 9 9\n0\n 9:1\n", 3, "feature '9' is not below the number"),
        (b"2 9 9\n0\n 4294967296:1\n", 3, "feature '4294967296' is not below"),
        (b"2 9 9\n0\n 18446744073709551617:1\n", 3, "feature '18446744073709551617' is not"),
        (b"2 9 9\n0\n3,3 1:1\n", 3, "label 3 comes twice"),
        (b"2 9 9\n0\n 1:1 5:1 1:2\n", 3, "feature 1 comes twice"),
        (b"2 9 9\n0\n 1:1 1:2\n", 3, "feature 1 comes twice"),
        (b"2 9 9\n0\n -1:1\n", 3, "expected index:value .* found '-1:1'"),
        (b"2 9 9\n0\n 1:1 7\n", 3, "expected index:value .* found '7'"),
        (b"2 9 9\n0\n :1\n", 3, "expected index:value .* found ':1'"),
        (b"2 9 9\n0\n 1 :1\n", 3, "expected index:value"),
        (
            b"2 9 9\n0\n 1:\n",
            3,
            "expected a finite decimal of at least 0 behind the colon, found '1:'",
        ),
        (b"2 9 9\n0\n 1: 5\n", 3, "expected a finite decimal"),
        (b"2 9 9\n0\n 1:-1\n", 3, "expected a finite decimal .* found '1:-1'"),
        (b"2 9 9\n0\n 1:-0\n", 3, "expected a finite decimal .* found '1:-0'"),
        (b"2 9 9\n0\n 1:nan\n", 3, "expected a finite decimal .* found '1:nan'"),
        (b"2 9 9\n0\n 1:inf\n", 3, "expected a finite decimal .* found '1:inf'"),
        (b"2 9 9\n0\n 1:.\n", 3, "expected a finite decimal"),
        (b"2 9 9\n0\n 1:+\n", 3, "expected a finite decimal"),
        (b"2 9 9\n0\n 1:1e\n", 3, "expected a finite decimal"),
        (b"2 9 9\n0\n 1:1e+\n", 3, "expected a finite decimal"),
        (b"2 9 9\n0\n 1:1e5.\n", 3, "expected a finite decimal"),
        (b"2 9 9\n0\n 1:1_0\n", 3, "expected a finite decimal"),
        (b"2 9 9\n0\n 1:0x1\n", 3, "expected a finite decimal"),
        (b"2 9 9\n0\n 1:1:2\n", 3, "expected a finite decimal"),
        (b"2 9 9\n0\n 1:1e99x\n", 3, "expected a finite decimal"),
        (b"2 9 9\n0\n 1:5\r 2:1\n", 3, "expected a finite decimal"),
        (b"2 9 9\n0\n3\x00 1:5\n", 3, r"expected labels .* found '3\\x00'"),
        (b"2 9 9\n0\n 1:5\xc3\xa9\n", 3, r"found '1:5\\xc3\\xa9'"),
        ("2 9 9\n0\n \u0661:5\n".encode(), 3, "expected index:value"),
        (b"2 9 9\n0\n # comment\n", 3, "expected index:value .* found '#'"),
    ],
)
def test_refuses_and_names_the_line(tmp_path, text, line, message):
    path = save(tmp_path, text)
    with pytest.raises(DataError, match=message) as caught:
        read_xc(path)
    assert caught.value.line == line
    assert str(caught.value).startswith(f"{path}:{line}: ")
    with pytest.raises(ValueError, match=r"^\d+: "):
        reference.parse(text)


def test_refuses_what_is_no_file(tmp_path):
    with pytest.raises(DataNotFoundError, match="no such file"):
        read_xc(tmp_path / "none.txt")
    with pytest.raises(DataNotFoundError, match="no such file"):
        read_xc(save(tmp_path, SMALL) / "below_a_file.txt")
    with pytest.raises(DataError, match="expected a file, found a folder"):
        read_xc(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="found a pipe"):
        read_xc_header(tmp_path / "pipe")


@pytest.mark.parametrize("block_bytes", [3, 64, 4096])
def test_the_limit_of_a_line_is_exact(tmp_path, monkeypatch, block_bytes):
    monkeypatch.setattr(extreme, "MAX_LINE_BYTES", 100)
    row = b" " + b" ".join(b"%d:1" % k for k in range(10, 30))
    for end in (b"\n", b""):
        for excess in (0, 1):
            text = b"3 30 1\n0\n0\n" + row.ljust(100 + excess) + end
            with blocks_of(block_bytes):
                if excess:
                    with pytest.raises(DataError, match="a longer one") as caught:
                        read_xc(save(tmp_path, text))
                    assert caught.value.line == 4
                else:
                    assert read_xc(save(tmp_path, text)).features.nnz == 20


@pytest.mark.parametrize("filler", [b"9", b"\0", b" ", b"\n", b"1,"])
def test_a_huge_line_is_refused_in_little_memory(tmp_path, filler):
    header, huge = b"2 9 9\n0\n", filler * (10 * 2**20 // len(filler))
    for content in (header + huge, gzip.compress(header + huge, 1), huge):
        path = save(tmp_path, content)
        assert peak_memory_of_refusal(path) < 32 * 2**20


def peak_memory_of_refusal(path):
    tracemalloc.start()
    try:
        with pytest.raises(DataError):
            read_xc(path)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_header_alone_allocates_nothing(tmp_path):
    text = b"1000000 2147483647 2147483647\n0 1:1\n"
    assert peak_memory_of_refusal(save(tmp_path, gzip.compress(text))) < 2**24


def test_reading_takes_little_more_than_the_result(tmp_path):
    body = b"".join(random_rows(seed=6, n_rows=2000).splitlines(keepends=True)[1:])
    path = save(tmp_path, b"%d 5000 400\n" % (2000 * 6) + 6 * body)
    assert path.stat().st_size > 10_000_000
    tracemalloc.start()
    try:
        dataset = read_xc(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    arrays = [
        array
        for matrix in (dataset.features, dataset.labels)
        for array in (matrix.indptr, matrix.indices, matrix.data)
    ]
    # The line buffer, and the room for one more block that need not be filled.
    constant = extreme.MAX_LINE_BYTES + 6 * extreme._BLOCK_BYTES
    assert peak < 1.13 * sum(array.nbytes for array in arrays) + constant


def test_a_bomb_is_refused_at_the_ratio(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "ALLOWANCE_BYTES", 2**20)
    rows = b"0 0:1\n" * 1_000_000
    path = save(tmp_path, gzip.compress(b"500000 2 2\n" + rows))
    assert len(rows) > archives.MAX_COMPRESSION_RATIO * path.stat().st_size + 2**20
    with pytest.raises(DataError, match=r"more than 100 times larger.*gunzip"):
        read_xc(path)
    path = save(tmp_path, gzip.compress(b"1000000 2 2\n" + rows))
    with pytest.raises(DataError, match=r"promises 1000000 rows, more than.*gunzip"):
        read_xc(path)
    assert read_xc(save(tmp_path, b"1000000 2 2\n" + rows)).header.n_rows == 1_000_000


def test_refuses_every_truncation_of_a_compressed_file(tmp_path):
    content = gzip.compress(random_rows(seed=7, n_rows=3, n_features=400))
    for size in [
        *range(2, 40),
        *range(40, len(content) - 12, 97),
        *range(len(content) - 12, len(content)),
    ]:
        with pytest.raises(DataError, match=r"damaged or cut off.*Copy the file again") as caught:
            read_xc(save(tmp_path, content[:size]))
        assert caught.value.line is not None


def test_refuses_a_compressed_file_with_one_bit_flipped(tmp_path):
    content = gzip.compress(SMALL)
    for place in range(10, len(content)):  # behind the flags, name and time
        damaged = bytearray(content)
        damaged[place] ^= 4
        if place == len(content) - 9:
            continue  # the bit pads the last byte before the checksum and means nothing
        with pytest.raises(DataError):
            read_xc(save(tmp_path, bytes(damaged)))


# Random damage -----------------------------------------------------------------------------------

decimals = st.one_of(
    st.sampled_from(["1", "0", ".42", "5.", "1e-3", "+0.5", "3.4e38", "1e-46"]),
    st.floats(0, 2.0**100, width=32).map(repr),
    st.integers(0, 10**20).map(str),
)
rows = st.tuples(
    st.lists(st.integers(0, 12), max_size=5, unique=True),
    st.dictionaries(st.integers(0, 40), decimals, max_size=8),
).filter(lambda row: row[0] or row[1])


@st.composite
def texts(draw):
    content = draw(st.lists(rows, max_size=8))
    end = draw(st.sampled_from(["\n", "\r\n", " \n"]))
    lines = [f"{len(content)} 41 13"]
    for labels, features in content:
        pairs = [f"{index}:{value}" for index, value in features.items()]
        lines.append(" ".join([",".join(map(str, labels)), *pairs]))
    return (end.join(lines) + draw(st.sampled_from([end, ""]))).encode()


@st.composite
def damages(draw, content):
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(content)))
        stop = draw(st.integers(start, min(len(content), start + 12)))
        span = content[start:stop]
        lines = content.splitlines(keepends=True) or [b""]
        line = draw(st.sampled_from(lines))
        kind = draw(st.sampled_from(["flip", "delete", "truncate", "repeat line", "insert"]))
        if kind == "flip":
            bit = draw(st.integers(0, 7))
            content = (
                content[:start] + bytes(b ^ (1 << bit) for b in span[:1]) + content[start + 1 :]
            )
        elif kind == "delete":
            content = content[:start] + content[stop:]
        elif kind == "truncate":
            content = content[:start]
        elif kind == "repeat line":
            content = content.replace(line, line + line, 1)
        else:
            inserted = draw(
                st.one_of(
                    st.binary(max_size=6),
                    st.text("0123456789,:. \r\n+-eE", max_size=6).map(str.encode),
                )
            )
            content = content[:start] + inserted + content[start:]
    return content


def outcome_of_reference(content):
    try:
        return reference.parse(reference.decompress(content))
    except (ValueError, EOFError, OSError, zlib.error) as error:
        return error


def check_against_reference(path, block_bytes, rows_per_block):
    """Whatever the bytes, the reader accepts what the reference accepts, and reads the same."""
    expected = outcome_of_reference(path.read_bytes())
    with blocks_of(block_bytes):
        if not isinstance(expected, Exception):
            dataset = read_xc(path)
            assert_equals_reference(dataset, expected)
            counts = [block.header.n_rows for block in iterate_xc(path, rows_per_block)]
            assert sum(counts) == dataset.header.n_rows
            return
        with pytest.raises(DataError) as caught:
            read_xc(path)
        with pytest.raises(DataError):
            list(iterate_xc(path, rows_per_block))
    # The header's promise is held against the size of the file before any row is read.
    if type(expected) is ValueError and caught.value.line > 1:
        assert str(caught.value.line) == str(expected).partition(":")[0]


@settings(
    max_examples=int(os.environ.get("SIDLE_XC_EXAMPLES", "500")),
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data(), block_bytes=st.sampled_from([1, 5, 64, 2**20]))
def test_damaged_files_are_read_or_refused_never_worse(tmp_path, data, block_bytes):
    content = data.draw(texts())
    order = data.draw(st.sampled_from(["plain", "damage then compress", "compress then damage"]))
    if order == "compress then damage":
        content = gzip.compress(content, mtime=0)
    content = data.draw(damages(content))
    if order == "damage then compress":
        content = gzip.compress(content, mtime=0)
    path = save(tmp_path, content)
    check_against_reference(path, block_bytes, data.draw(st.integers(1, 9)))


# Real data ---------------------------------------------------------------------------------------

SETS = {
    "xc_bibtex": (4880, 1836, 159),
    "xc_delicious": (12920, 500, 983),
    "xc_finna_yso": (202074, 37504, 22078),
    "xc_rcv1sub1": (3000, 47236, 101),
}


def shared(name):
    beside = Path(__file__).parents[3] / "shared" / "data"
    for folder in os.environ.get("SIDLE_DATA", str(beside)).split(os.pathsep):
        if (Path(folder) / name).is_dir():
            return Path(folder) / name
    return pytest.skip(f"{name} is not in SIDLE_DATA")


@pytest.mark.parametrize("name", SETS)
def test_reads_real_sets_as_the_reference_does(tmp_path, name):
    path = shared(name) / "train.txt.gz"
    dataset = read_xc(path)
    assert dataset.header == read_xc_header(path) == ExtremeHeader(*SETS[name])
    with gzip.open(path) as file:
        file.readline()
        lines = [file.readline() for _ in range(1500)]
    prefix = b"1500 %d %d\n" % SETS[name][1:] + b"".join(lines)
    parsed = reference.parse(prefix)
    assert_equals_reference(read_xc(save(tmp_path, prefix)), parsed)
    head = ExtremeDataset(dataset.features[:1500], dataset.labels[:1500])
    assert as_lists(head) == (parsed.labels, parsed.features)


def test_writing_a_real_set_round_trips(tmp_path):
    dataset = read_xc(shared("xc_rcv1sub1") / "train.txt.gz")
    write_xc(tmp_path / "set.txt", dataset)
    assert read_xc(tmp_path / "set.txt").digest() == dataset.digest()
