"""Damaged copies of valid files, for tests that readers refuse them in one way only."""

import os
from pathlib import Path

import pytest
from hypothesis import strategies as st

from sidle.errors import SidleError


@st.composite
def damaged(draw, content):
    """Bytes of ``content`` flipped, cut off, deleted or inserted, one to four times."""
    data = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(["flip", "truncate", "delete", "insert"]))
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        if kind == "flip" and data:
            data[at] ^= draw(st.integers(1, 255))
        elif kind == "truncate":
            del data[at:]
        elif kind == "delete":
            del data[at : at + draw(st.integers(1, 40))]
        else:
            data[at:at] = draw(st.binary(min_size=1, max_size=12))
    return bytes(data)


def refuses_or_reads(reader, path, content):
    """Write ``content`` to ``path`` and read it: success and `SidleError` are both fine."""
    path.write_bytes(content)
    try:
        reader(path)
    except SidleError as error:
        message = str(error)
    else:
        return False
    assert len(message) > 20  # says something
    return True


def shared(*names):
    """The path of the data set or file ``names`` in the shared data; skips where absent."""
    beside = Path(__file__).parents[3] / "shared" / "data"
    for folder in [*os.environ.get("SIDLE_DATA", "").split(os.pathsep), str(beside)]:
        if folder and Path(folder, *names).exists():
            return Path(folder, *names)
    return pytest.skip(f"{'/'.join(names)} is in no folder of SIDLE_DATA")
