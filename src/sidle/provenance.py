"""Where a result comes from: the machine it was made on and the code that made it."""

from __future__ import annotations

import ast
import functools
import importlib.metadata
import os
import platform
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sidle import storage
from sidle.errors import ArgumentError

_PACKAGES = ("sidle", "torch", "numpy")


def machine() -> dict[str, Any]:
    """Return platform, processor, cores usable by this process, and versions, as plain values."""
    versions = {name: importlib.metadata.version(name) for name in _PACKAGES}
    return {
        "platform": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": usable_cores(),
        "python": platform.python_version(),
        **versions,
    }


def missing_packages(extra: str) -> list[str]:
    """Return the packages of sidle's ``extra`` that are not installed."""
    requirements = importlib.metadata.requires("sidle") or []
    names = [
        re.split(r"[^A-Za-z0-9_.-]", requirement, maxsplit=1)[0]
        for requirement in requirements
        if re.search(rf"extra == ['\"]{re.escape(extra)}['\"]", requirement)
    ]
    return [name for name in names if not _installed(name)]


def usable_cores() -> int:
    """Return how many processor cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def code_digest(*modules: str, without: Sequence[str] = ()) -> str:
    """Return the SHA-256 of the sources of ``modules`` and of all of sidle that they stand on.

    Import statements are followed through the sources (also those inside functions), so the
    digest changes whenever the code behind a result changes, and with nothing else.

    Args:
        modules: dotted names.
        without: modules and packages that do not count, nor what only they import.

    Raises:
        ArgumentError: there is no such module.
    """
    names = {name for module in modules for name in closure(module, without)}
    files = {name: source_of(name) for name in names}
    parts = [part for name in sorted(files) for part in (name, files[name].read_bytes())]
    return storage.digest(*parts)


def closure(module: str, without: Sequence[str] = ()) -> set[str]:
    """Return ``module`` and every sidle module that it imports, directly or through others.

    Modules in ``without``, or inside a package in it, are left out and not followed.
    """
    found: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += sorted(
                imported
                for imported in imports(name) - found
                if not any(f"{imported}.".startswith(f"{part}.") for part in without)
            )
    return found


@functools.cache
def imports(module: str) -> frozenset[str]:
    """Return the modules of sidle, or of ``module``'s own package, that ``module`` imports.

    Statements inside functions and under ``if TYPE_CHECKING:`` count. Importing a submodule does
    not count as importing the packages around it: their ``__init__`` files hold names only.

    Raises:
        ArgumentError: there is no such module.
    """
    path = source_of(module)
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*parents, *filter(None, [node.module])]) if node.level else node.module
            for alias in node.names:
                # "from sidle import storage" imports a module, "from sidle.errors import X" a name.
                submodule = f"{base}.{alias.name}"
                found.add(submodule if _exists(submodule) else str(base))
    ours = {"sidle", module.split(".")[0]}
    return frozenset(name for name in found if name.split(".")[0] in ours)


def source_of(module: str) -> Path:
    """Return the source file of a module of sidle, or of one on the path, without importing it.

    Raises:
        ArgumentError: there is no such module.
    """
    for root in (Path(__file__).parent.parent, *map(Path, sys.path)):
        place = root.joinpath(*module.split("."))
        for path in (place / "__init__.py", place.with_suffix(".py")):
            if path.is_file():
                return path
    raise ArgumentError(f"source_of: there is no source file of a module '{module}'.")


def _exists(module: str) -> bool:
    try:
        source_of(module)
    except ArgumentError:
        return False
    return True


def _installed(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
