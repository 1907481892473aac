"""One numerical thread a process: the tests already run in one process a core."""

import os

for _library in ("OMP", "MKL", "OPENBLAS", "NUMBA"):
    # Set before torch and NumPy are loaded; programs that tests start inherit it.
    os.environ[f"{_library}_NUM_THREADS"] = "1"
