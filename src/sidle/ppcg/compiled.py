"""Compiled kernels that are older than what they were made of.

Numba keeps a kernel's compiled code beside its file, and compiles anew where that file changed.
But the compiled code holds functions and numbers of other files too: where one of those changed
alone, as after a checkout, old code would read new tables, and write where it must not.
"""

from __future__ import annotations

import contextlib
from pathlib import Path


def forget_stale(folder: Path) -> None:
    """Delete the indices of compiled code beside the sources in ``folder`` that a source outdates.

    Numba then compiles these kernels anew. Of compiled code kept elsewhere (NUMBA_CACHE_DIR)
    nothing is known, nor where the folder cannot be written.
    """
    with contextlib.suppress(OSError):
        youngest = max((s.stat().st_mtime_ns for s in folder.glob("*.py")), default=0)
        for index in (folder / "__pycache__").glob("*.nbi"):
            if index.stat().st_mtime_ns < youngest:
                index.unlink(missing_ok=True)
