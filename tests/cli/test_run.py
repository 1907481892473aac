"""`sidle run`, `list`, `show`, `runs clean`, `claims`, `report` on a toy study, end to end."""

import dataclasses
import json

import pytest

from sidle import runs, storage, studies
from sidle.cli import main
from sidle.errors import DataNotFoundError


@pytest.fixture(autouse=True)
def toy(monkeypatch, tmp_path):
    monkeypatch.setattr(studies, "NAMES", {"toy": "programs.toy_study"})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")


def sidle(capsys, *words):
    code = main.main(list(words))
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def run_toy(capsys, *words):
    code, out, _ = sidle(capsys, "run", "toy", "--workers", "1", "--json", *words)
    return code, json.loads(out)["studies"][0]


def test_run_computes_judges_and_remembers(capsys):
    code, outcome = run_toy(capsys)
    assert code == 0
    assert (outcome["cells"], outcome["finished"], outcome["failures"]) == (10, 10, {})
    assert [claim["verdict"] for claim in outcome["claims"]] == ["holds", "does not hold"]
    started = {folder: runs.read_record(folder)["started"] for folder in runs.find("runs")}
    code, again = run_toy(capsys)
    assert code == 0
    assert again == outcome
    assert {f: runs.read_record(f)["started"] for f in runs.find("runs")} == started


def test_settings_are_flags_and_make_the_preset_custom(capsys):
    code, outcome = run_toy(capsys, "--seeds", "2", "--n-steps", "3")
    assert (code, outcome["cells"]) == (0, 4)
    summary = storage.read_json(outcome["summary"])
    assert summary["preset"] == "custom"
    assert summary["settings"]["n_steps"] == 3
    assert summary["command"].endswith("--seeds 2 --n-steps 3")


def test_a_preset_sets_the_defaults(capsys):
    _, outcome = run_toy(capsys, "--preset", "standard")
    assert (outcome["preset"], outcome["cells"]) == ("standard", 12)
    _, outcome = run_toy(capsys, "--preset=standard", "--seeds", "1")
    assert outcome["cells"] == 2


def test_evidence_of_quick_runs_is_named_so(capsys, tmp_path):
    run_toy(capsys, "--seeds", "1")
    run_toy(capsys, "--preset", "standard", "--seeds", "1", "--n-steps", "7")
    run_toy(capsys, "--preset", "standard")
    names = [path.name for path in (tmp_path / "evidence" / "toy").iterdir()]
    # Six seeds of the standard preset, one of quick, one with a setting changed by hand.
    assert sum(name.endswith(".quick.json") for name in names) == 4
    assert len(names) == 16


def test_failures_are_told_and_end_in_1(capsys):
    code, out, _ = sidle(
        capsys, "run", "toy", "--workers", "1", "--failing-seed", "2", "--seeds", "3"
    )
    assert code == 1
    assert "FAILED up-seed2: ValueError: this seed fails on purpose" in out
    assert "4 of 6 cells" in out


def test_dry_run_computes_nothing(capsys, tmp_path):
    code, out, _ = sidle(capsys, "run", "toy", "--dry-run")
    assert code == 0
    assert "10 cells, 10 to compute" in out
    assert not (tmp_path / "runs").exists()


def test_run_all_runs_every_study_or_says_why_not(capsys, monkeypatch):
    from programs import toy_study

    code, out, _ = sidle(capsys, "run", "all", "--workers", "1", "--seeds", "1", "--json")
    assert code == 0
    assert [study["cells"] for study in json.loads(out)["studies"]] == [2]
    monkeypatch.setattr("sidle.provenance.missing_packages", lambda extra: ["gymnasium"])
    monkeypatch.setattr(toy_study, "STUDY", dataclasses.replace(toy_study.STUDY, extras=("rl",)))
    code, out, _ = sidle(capsys, "run", "all")
    assert code == 0
    assert "Skipped toy" in out
    assert "pip install 'sidle[rl]'" in out
    code, _, err = sidle(capsys, "run", "toy")
    assert code == 1
    assert "pip install 'sidle[rl]'" in err


def test_a_study_whose_data_is_missing_is_left_out_of_all(capsys, monkeypatch):
    def cells(settings):
        raise DataNotFoundError("cifar10: not found in data.")

    without = dataclasses.replace(studies.find("toy"), cells=cells)
    monkeypatch.setattr(studies, "find", lambda name: without)
    code, out, _ = sidle(capsys, "run", "all")
    assert code == 0
    assert "Skipped toy: cifar10: not found" in out
    code, _, err = sidle(capsys, "run", "toy")
    assert code == 1
    assert "cifar10: not found" in err


def test_wrong_words_are_usage_errors(capsys):
    for words, said in [
        (["toys"], "There is no study 'toys'"),
        ([], "name a study"),
        (["toy", "--preset", "paper"], "has no preset 'paper'"),
    ]:
        code, _, err = sidle(capsys, "run", *words)
        assert code == 2
        assert said in err
    for flag, value in (("--seeds", "0"), ("--workers", "-1")):
        code, _, err = sidle(capsys, "run", "toy", flag, value)
        assert code == 2
        assert f"{flag} must be at least" in err
    code, out, err = sidle(capsys, "run", "all", "--preset", "paper")
    assert code == 2
    assert "Skipped toy: The study 'toy' has no preset 'paper'. It has: quick, standard." in out
    assert sidle(capsys, "run", "--preset", "quick", "toy", "--dry-run")[0] == 0


def test_list_and_show(capsys):
    code, out, _ = sidle(capsys, "list")
    assert code == 0
    assert "No runs" in out
    run_toy(capsys, "--seeds", "1")
    code, out, _ = sidle(capsys, "list")
    assert out.count("finished") == 2
    code, out, _ = sidle(capsys, "list", "--json")
    rows = json.loads(out)["runs"]
    assert [row["status"] for row in rows] == ["finished"] * 2
    code, out, _ = sidle(capsys, "show", "up-seed0")
    assert code == 0
    assert "result: position" in out
    assert "settings: arm" in out
    code, out, _ = sidle(capsys, "show", rows[0]["run"], "--json")
    assert json.loads(out)["record"]["settings"]["arm"] == "flat"
    code, _, err = sidle(capsys, "show", "seed0")
    assert code == 1
    assert "names of 2 runs" in err
    code, _, err = sidle(capsys, "show", "nothing")
    assert "no run's name" in err


def test_clean_deletes_what_is_of_no_use(capsys, tmp_path, monkeypatch):
    run_toy(capsys, "--seeds", "2", "--failing-seed", "1")
    code, _, err = sidle(capsys, "runs", "clean")
    assert code == 2
    assert "--yes" in err
    code, out, _ = sidle(capsys, "runs", "clean", "--yes", "--json")
    assert len(json.loads(out)["deleted"]) == 2
    assert len(list(runs.find("runs"))) == 2
    monkeypatch.setattr("sidle.studies.execution.code_digest", lambda module: "of newer code")
    code, out, _ = sidle(capsys, "runs", "clean", "--yes")
    assert "Deleted 2 runs" in out
    assert list(runs.find("runs")) == []
    assert list((tmp_path / "evidence").rglob("*.json"))


def test_clean_spares_finished_runs_unless_told(capsys):
    run_toy(capsys, "--seeds", "1")
    assert "Deleted 0 runs" in sidle(capsys, "runs", "clean", "--yes")[1]
    assert "Deleted 2 runs" in sidle(capsys, "runs", "clean", "--all", "--yes")[1]


def test_claims_and_report(capsys, tmp_path):
    code, _, err = sidle(capsys, "claims")
    assert code == 1
    assert "sidle run" in err
    run_toy(capsys)
    code, out, _ = sidle(capsys, "claims")
    assert code == 0
    assert "Up goes up." in out
    assert "2 of 2 claims decided" in out
    code, out, _ = sidle(capsys, "claims", "--json")
    claims = json.loads(out)
    assert [claim["verdict"] for claim in claims["claims"]] == ["holds", "does not hold"]
    assert claims["wrong_by_chance"] == pytest.approx(0.05)
    code, out, _ = sidle(capsys, "claims", "--markdown")
    assert (code, out.count("\n| ")) == (0, 4)
    assert "| Up goes up. |" in out
    assert out.count("5 seeds | ") == 2
    code, out, _ = sidle(capsys, "report")
    assert code == 0
    assert "Up goes up." in (tmp_path / "report" / "index.html").read_text(encoding="utf-8")


def test_report_copes_with_a_single_seed(capsys, tmp_path):
    run_toy(capsys, "--seeds", "1")
    code, _, err = sidle(capsys, "report")
    assert (code, err) == (0, "")
    assert "undecided" in (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
