"""The code digest follows imports, and only imports."""

import pytest

from sidle import provenance
from sidle.errors import ArgumentError


def test_closure_follows_imports_and_stays_inside():
    closure = provenance.closure("sidle.runs")
    assert {"sidle.runs", "sidle.storage", "sidle.errors", "sidle.checkpoint"} <= closure
    assert not any(name.startswith(("sidle.cli", "sidle.studies")) for name in closure)


def test_digest_changes_with_any_source_behind_it(tmp_path, monkeypatch):
    before = provenance.code_digest("sidle.runs")
    assert provenance.code_digest("sidle.runs") == before
    original = provenance.source_of

    def with_changed(changed):
        def source_of(module):
            path = original(module)
            if module != changed:
                return path
            copy = tmp_path / f"{module}.py"
            copy.write_text(path.read_text() + "\n# changed\n")
            return copy

        return source_of

    monkeypatch.setattr(provenance, "source_of", with_changed("sidle.errors"))
    assert provenance.code_digest("sidle.runs") != before
    monkeypatch.setattr(provenance, "source_of", with_changed("sidle.progress"))
    assert provenance.code_digest("sidle.runs") == before


def test_unknown_modules_are_refused():
    for name in ("sidle.absent", "no_such_package", "sidle.runs.find"):
        with pytest.raises(ArgumentError, match=name):
            provenance.source_of(name)


def test_machine_is_plain_values():
    machine = provenance.machine()
    assert {"platform", "processor", "cores", "python", "torch", "numpy", "sidle"} == set(machine)
    assert machine["cores"] >= 1
    assert machine["processor"]


def test_missing_packages_of_an_extra(monkeypatch):
    import importlib.metadata

    requirements = [
        "numpy>=1.26",
        "surely-not-installed>=1; extra == 'rl'",
        'pytest>=8; extra == "rl"',
        "other-absent; extra == 'play'",
    ]
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: requirements)
    assert provenance.missing_packages("rl") == ["surely-not-installed"]
    assert provenance.missing_packages("unknown") == []
