"""One numerical thread a process, and a reason where tests lack their data.

The tests already run in one process a core. Those that need a data set which is neither embedded
nor in the folders of SIDLE_DATA are skipped where no such folder is named.
"""

import os

for _library in ("OMP", "MKL", "OPENBLAS", "NUMBA"):
    # Set before torch and NumPy are loaded; programs that tests start inherit it.
    os.environ[f"{_library}_NUM_THREADS"] = "1"

import pytest  # noqa: E402

from sidle.errors import DataNotFoundError  # noqa: E402


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item):
    with _SkippedWithoutData():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    with _SkippedWithoutData():
        return (yield)


class _SkippedWithoutData:
    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if isinstance(error, DataNotFoundError) and not os.environ.get("SIDLE_DATA"):
            pytest.skip(f"set SIDLE_DATA: {str(error).split('. ')[0]}")
