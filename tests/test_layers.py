"""Imports point down, rooms do not know each other, and nothing goes in circles."""

import ast
from pathlib import Path

import pytest

from sidle import provenance

SOURCE = Path(provenance.__file__).parent

# Design, section 2: the floor of each room or module directly below the package.
FLOORS = {
    "errors": 0, "seeding": 0, "storage": 0,
    "provenance": 1, "progress": 1, "checkpoint": 1, "runs": 1,
    "training": 2, "data": 2, "evaluation": 2,
    "mi": 3, "slide": 3, "lmc": 3, "ppcg": 3,
    "ceb": 4, "cpc": 4,
    "studies": 5, "report": 5,
    "cli": 6,
}  # fmt: skip
METHODS = {"mi", "slide", "lmc", "ppcg", "ceb", "cpc"}
ALLOWED_BETWEEN_METHODS = {("ceb", "mi"), ("cpc", "mi")}


def modules():
    for path in sorted(SOURCE.rglob("*.py")):
        parts = ["sidle", *path.relative_to(SOURCE).with_suffix("").parts]
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room(module):
    return module.split(".")[1]


INSIDE = [module for module in modules() if module != "sidle"]


@pytest.mark.parametrize("module", INSIDE)
def test_imports_point_down(module):
    assert room(module) in FLOORS, f"give the new room '{room(module)}' a floor"
    for imported in provenance.imports(module) - {"sidle"}:
        here, there = room(module), room(imported)
        assert FLOORS[there] <= FLOORS[here], f"{module} imports {imported}, which is above it"
        if here != there and {here, there} <= METHODS:
            assert (here, there) in ALLOWED_BETWEEN_METHODS, f"{module} imports {imported}"
        if here == "report":
            assert there not in METHODS | {"studies"}, f"{module} imports {imported}"


def test_there_are_no_circles():
    state = {}

    def visit(module, path):
        assert state.get(module) != "open", f"circle: {' -> '.join([*path, module])}"
        if module not in state:
            state[module] = "open"
            for imported in provenance.imports(module):
                visit(imported, [*path, module])
            state[module] = "closed"

    for module in modules():
        visit(module, [])


def test_the_package_itself_imports_nothing():
    assert provenance.imports("sidle") == frozenset()


@pytest.mark.parametrize("module", INSIDE)
def test_names_that_say_nothing_do_not_exist(module):
    forbidden = {"utils", "util", "common", "helpers", "helper", "base", "misc"}
    assert not forbidden & set(module.split("."))


@pytest.mark.parametrize(
    "path", [path for path in sorted(SOURCE.rglob("*.py")) if "kernels" not in path.parts]
)
def test_compiled_code_lives_in_kernels_only(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
        )
    }
    assert not {"numba", "triton"} & imported
