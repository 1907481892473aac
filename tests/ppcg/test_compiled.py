"""Compiled code is used only as long as no source beside it is younger."""

import os

from sidle.ppcg.compiled import forget_stale


def test_what_a_younger_source_outdates_is_forgotten(tmp_path):
    (tmp_path / "__pycache__").mkdir()
    for number, name in enumerate(("old.nbi", "old.nbc", "codes.py", "new.nbi")):
        path = tmp_path / ("." if name.endswith(".py") else "__pycache__") / name
        path.touch()
        os.utime(path, ns=(10**18 + number, 10**18 + number))
    forget_stale(tmp_path)
    assert sorted(p.name for p in (tmp_path / "__pycache__").iterdir()) == ["new.nbi", "old.nbc"]


def test_a_folder_that_holds_nothing_compiled_is_left_alone(tmp_path):
    forget_stale(tmp_path)
    (tmp_path / "codes.py").touch()
    forget_stale(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["codes.py"]
