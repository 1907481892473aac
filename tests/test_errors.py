"""Every error is a SidleError and a built-in, says what its table says, and travels."""

import inspect
import pickle
import re

import pytest

from sidle import errors

KINDS = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, errors.SidleError)
]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind is not errors.SidleError])
def test_each_refines_a_built_in_and_stands_in_the_table(kind):
    line = next(row for row in errors.__doc__.splitlines() if f" {kind.__name__} " in row)
    built_in = re.search(r"\((\w+)\)", line)
    if built_in is not None:
        assert issubclass(kind, __builtins__[built_in.group(1)])
    assert issubclass(kind, errors.SidleError)
    assert len(kind.__mro__) > 4


@pytest.mark.parametrize(
    "error",
    [
        errors.ShapeError("x must have shape (B, B), got (3,)."),
        errors.DataError("file.txt", "expected a number, found 'x'.", "Remove it.", line=7),
        errors.MissingExtraError("Playing", "play"),
        errors.StorageError("disk full"),
    ],
)
def test_errors_travel_between_processes(error):
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)


def test_messages_say_where_and_what_to_do():
    error = errors.DataError("a/file.txt", "expected a number, found 'x'.", "Remove it.", line=7)
    assert str(error) == "a/file.txt:7: expected a number, found 'x'. Remove it."
    assert "pip install 'sidle[play]'" in str(errors.MissingExtraError("Playing", "play"))
