import gzip
import sysconfig
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.damage import damaged, refuses_or_reads, shared
from sidle.data import text
from sidle.data.text import LabelledSentences, SourceText
from sidle.errors import ArgumentError, DataError, DataNotFoundError, ShapeError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("text")


@pytest.fixture(scope="module")
def library():
    return text.standard_library()


def save(folder, content, name="file.txt"):
    (folder / name).write_bytes(content)
    return folder / name


# Lines


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_reads_lines(tmp_path, compress):
    path = save(tmp_path, compress("\ufeffé 漢字\r\n\ntwo\u2028words\nlast".encode()))
    # Only line feeds end a line, so that its number is what an editor shows.
    assert list(text.read_lines(path)) == ["é 漢字", "", "two\u2028words", "last"]
    assert list(text.read_lines(save(tmp_path, compress(b"")))) == []


def test_bytes_that_are_no_text_are_refused_with_their_line(tmp_path):
    path = save(tmp_path, b"good\nbad \xe9 here\n")
    lines = text.read_lines(path)
    assert next(lines) == "good"
    with pytest.raises(DataError, match=r"file.txt:2: byte 5 of the line, 0xe9, is not utf-8"):
        next(lines)
    assert list(text.read_lines(path, encoding="latin-1"))[1] == "bad é here"


def test_a_line_of_ten_megabytes_is_refused(tmp_path):
    for content in (b"x" * 10_000_000, gzip.compress(b"x" * 10_000_000)):
        path = save(tmp_path, b"short\n" + content if content[:1] == b"x" else content)
        tracemalloc.start()
        with pytest.raises(DataError, match=r"the line is longer than 1048576 bytes"):
            list(text.read_lines(path))
        assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
        tracemalloc.stop()
    assert len(next(text.read_lines(save(tmp_path, b"x" * 2**20 + b"\n")))) == 2**20


def test_a_missing_file_is_refused_at_once(tmp_path):
    with pytest.raises(DataNotFoundError, match="no such file"):
        text.read_lines(tmp_path / "absent.txt")
    with pytest.raises(DataError, match="expected a file"):
        text.read_lines(tmp_path)


# Sentences with classes


def test_reads_labelled_sentences(tmp_path):
    content = "1 a sentence , with caf\xe9 .\n0 5 is a number\n12 \n".encode("latin-1")
    for compress in (bytes, gzip.compress):
        read = text.read_labelled_sentences(save(tmp_path, compress(content)))
        assert read.labels.tolist() == [1, 0, 12]
        assert read.labels.dtype == np.int64
        assert read.sentences == ("a sentence , with café .", "5 is a number", "")
        assert len(read) == 3


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"", "found an empty line"),
        (b"   ", "found an empty line"),
        (b"no label here", "found 'no label here'"),
        (b"3", "found '3'"),
        (b"3.5 words", "found '3.5 words'"),
        (b"-1 words", "the class -1 is negative"),
        (b"99999999999 words", "found '99999999999 words'"),
    ],
)
def test_malformed_lines_are_refused_with_their_number(tmp_path, line, message):
    path = save(tmp_path, b"0 fine\n1 fine\n" + line + b"\n0 fine\n")
    with pytest.raises(DataError, match=f"file.txt:3: .*{message}"):
        text.read_labelled_sentences(path)


def test_a_file_without_sentences_is_refused(tmp_path):
    with pytest.raises(DataError, match="has no lines"):
        text.read_labelled_sentences(save(tmp_path, b""))


def test_labelled_sentences_must_fit():
    good = LabelledSentences(np.array([0, 1]), ("a", "b"))
    assert good.digest() != LabelledSentences(np.array([0, 1]), ("a", "c")).digest()
    assert good.digest() != LabelledSentences(np.array([1, 1]), ("a", "b")).digest()
    for labels in (np.array([0]), np.array([0, 1], np.int32)):
        with pytest.raises(ShapeError, match="must be int64 of shape"):
            LabelledSentences(labels, ("a", "b"))


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("rt-polarity", [5331, 5331]),
        ("custrev", [1368, 2407]),
        ("subj", [5000, 5000]),
        ("mpqa", [7294, 3312]),
        ("TREC.train", None),
        ("TREC.test", None),
    ],
)
def test_shared_sentences(name, counts):
    path = shared("sentence_classification", f"{name}.all.gz")
    read = text.read_labelled_sentences(path)
    found = np.bincount(read.labels)
    if counts is None:
        assert len(found) == 6
        assert len(read) == {"TREC.train": 5452, "TREC.test": 500}[name]
    else:
        assert found.tolist() == counts


def test_shared_corpus_is_text():
    lines = text.read_lines(shared("lm_corpus", "brown.txt.gz"))
    tokens = [token for line in lines for token in line.lower().split()]
    assert round(len(tokens), -4) == 1_160_000


# Vocabularies


def test_vocabulary_ranks_by_count_then_alphabet():
    tokens = list("bacabdeee")
    found = text.vocabulary(tokens)
    assert found.words == ("<unk>", "e", "a", "b", "c", "d")
    assert found.counts.tolist() == [0, 3, 2, 2, 1, 1]
    assert found.encode(["a", "z", "e"]).tolist() == [2, 0, 1]
    assert found.encode([]).dtype == np.int64
    assert found.digest() == text.vocabulary(reversed(tokens)).digest()


def test_vocabulary_limits_count_what_they_leave_out():
    tokens = [*"bacabdeee", "<unk>", "<unk>"]
    rare = text.vocabulary(tokens, min_count=2)
    assert (rare.words, rare.counts.tolist()) == (("<unk>", "e", "a", "b"), [4, 3, 2, 2])
    small = text.vocabulary(tokens, max_size=3)
    assert (small.words, small.counts.tolist()) == (("<unk>", "e", "a"), [6, 3, 2])
    assert small.counts.sum() == len(tokens)
    assert len(text.vocabulary(tokens, max_size=1)) == 1
    for limits in ({"min_count": 0}, {"max_size": 0}):
        with pytest.raises(ArgumentError, match="must be at least 1"):
            text.vocabulary(tokens, **limits)


def test_words():
    found = text.words("It's a well-known FACT, isn't it? (No: 3.5!)")
    assert " ".join(found) == "it's a well-known fact , isn't it ? ( no : 3 . 5 ! )"


# The embedded standard library


def test_the_standard_library_is_a_real_wide_vocabulary(library):
    assert {"ast.py", "json/decoder.py", "this.py"} <= set(library.names)
    assert list(library.names) == sorted(library.names)
    assert not [name for name in library.names if {"test", "site-packages"} & {*name.split("/")}]
    assert library.texts[library.names.index("this.py")].startswith('s = """Gur Mra')
    tokens = text.source_tokens(library)
    assert len(tokens) > 1_000_000
    assert len(text.vocabulary(tokens)) > 25_000
    assert library.digest() == text.standard_library().digest()


def test_the_standard_library_is_bounded(library):
    part = text.standard_library(max_bytes=3_000_000)
    assert sum(len(source.encode()) for source in part.texts) <= 3_000_000
    assert part.names == library.names[: len(part.names)]
    assert part.digest() != library.digest()


@pytest.mark.parametrize("exists", [True, False])
def test_a_python_without_source_is_refused(tmp_path, monkeypatch, exists):
    root = tmp_path if exists else tmp_path / "python311.zip"
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(root))
    with pytest.raises(DataNotFoundError, match=r"found 0 files. Use a Python that comes with it"):
        text.standard_library()


def test_source_tokens():
    source = SourceText(("a.py",), ("def f(x_1):  # it's\n    return x_1 ** 2.5e3 != 'é'\n",))
    found = " ".join(text.source_tokens(source))
    assert found == "def f ( x_1 ) : # it ' s return x_1 ** 2.5e3 != ' é '"


SOURCE = '''"""Return nothing at all. It never fails, whatever happens!

Too short. this sentence begins without a capital letter.

    >>> This.is(code, not_prose) or it.would_be_here.
"""
# A comment may go on
# over two lines like this one. X = [1, 2]; this is {code}, not a sentence.
value = "This is a string and no docstring."
'''


def test_sentences_come_from_docstrings_and_comments():
    source = SourceText(("a.py", "b.py"), (SOURCE, ""))
    assert text.sentences(source) == (
        (
            "Return nothing at all.",
            "It never fails, whatever happens!",
            "A comment may go on over two lines like this one.",
        ),
        (),
    )


def test_the_standard_library_holds_thousands_of_sentences(library):
    found = text.sentences(library)
    assert len(found) == len(library.names)
    everything = [sentence for inside in found for sentence in inside]
    assert len(set(everything)) > 8_000
    assert all(4 <= len(sentence.split()) <= 60 for sentence in everything)
    frequent = text.vocabulary(token for line in everything for token in text.words(line)).words
    assert {"the", "a", "is", "."} <= set(frequent[:12])  # it is English


# Damage

LABELLED = b"1 one sentence , and more .\n0 another one\n" * 3


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_damaged_text(folder, data):
    path = folder / "f"
    broken = data.draw(damaged("é sentence\nand\nmore 漢字\n".encode() * 4))
    refuses_or_reads(lambda file: list(text.read_lines(file)), path, broken)
    refuses_or_reads(text.read_labelled_sentences, path, data.draw(damaged(LABELLED)))
    broken = data.draw(damaged(gzip.compress(LABELLED)))
    refuses_or_reads(text.read_labelled_sentences, path, broken)
