"""Text files become sentences in their order."""

import pytest

from sidle.data import documents
from sidle.errors import DataError, DataNotFoundError


def split(text):
    return list(documents.split(iter(text.splitlines())))


def test_sentences_end_at_marks_before_capitals_and_at_empty_lines():
    text = 'A Title\n\nFirst one. Second,\nof two lines! "Third?" (Fourth.) It costs 3.50 now.\n'
    assert split(text) == [
        "A Title",
        "First one.",
        "Second, of two lines!",
        '"Third?"',
        "(Fourth.)",
        "It costs 3.50 now.",
    ]
    assert split("e.g. this stays. And this goes.") == ["e.g. this stays.", "And this goes."]
    assert split(" \n\n") == []


def test_a_folder_is_read_in_the_order_of_names_at_any_depth(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "one.txt").write_text("One. Two.", encoding="utf-8")
    (tmp_path / "a.md").write_text("Three.", encoding="utf-8")
    (tmp_path / "empty.txt").write_text("", encoding="utf-8")
    (tmp_path / "picture.png").write_bytes(b"x")
    found = documents.read_folder(tmp_path)
    assert found.names == ("a.md", "b/one.txt", "empty.txt")
    assert found.sentences == (("Three.",), ("One.", "Two."), ())
    assert len(found) == 3
    same = documents.Documents(found.names, found.sentences)
    assert found.digest() == same.digest()
    moved = documents.Documents(found.names, (("Three.", "One."), ("Two.",), ()))
    assert found.digest() != moved.digest()


def test_what_is_no_text_is_refused(tmp_path):
    with pytest.raises(DataNotFoundError, match="no such folder"):
        documents.read_folder(tmp_path / "absent")
    with pytest.raises(DataError, match="found none"):
        documents.read_folder(tmp_path)
    (tmp_path / "empty.txt").write_text("\n", encoding="utf-8")
    with pytest.raises(DataError, match="only empty files"):
        documents.read_folder(tmp_path)
    (tmp_path / "bad.txt").write_bytes(b"fine\n\xff\xfe\n")
    with pytest.raises(DataError, match=r"bad\.txt:2"):
        documents.read_folder(tmp_path)
