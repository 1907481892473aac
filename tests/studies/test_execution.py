"""Cells are computed once, survive failures and kills, and leave evidence and a summary."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from programs.toy_study import STUDY, Settings
from sidle import provenance, runs
from sidle.errors import ArgumentError, DataError, RunError
from sidle.studies import execution
from sidle.studies.study import complete_seeds, judge

TESTS = Path(__file__).parents[1]


@pytest.fixture
def places(tmp_path):
    return execution.Places(tmp_path / "runs", tmp_path / "evidence")


def run_here(settings, places, **options):
    return execution.execute(STUDY, STUDY.cells(settings), places, workers=1, **options)


def test_each_cell_is_computed_once(places):
    settings = Settings(seeds=2)
    first = run_here(settings, places)
    assert [record.source for record in first.records] == ["run"] * 4
    started = {folder: runs.read_record(folder) for folder in runs.find(places.runs)}
    assert len(started) == 4
    second = run_here(settings, places)
    assert {folder: runs.read_record(folder) for folder in runs.find(places.runs)} == started
    assert second == first
    # One more seed: only its cells are new.
    run_here(Settings(seeds=3), places)
    assert len(list(runs.find(places.runs))) == 6


def test_processes_give_the_result_of_one_process(places, tmp_path):
    settings = Settings(seeds=2)
    here = run_here(settings, places)
    others = execution.Places(tmp_path / "r2", tmp_path / "e2")
    there = execution.execute(STUDY, STUDY.cells(settings), others, workers=2)
    assert [r["position"] for r in there.records] == [r["position"] for r in here.records]
    threads = max(1, provenance.usable_cores() // 2)
    assert {record["threads"] for record in there.records} == {threads}


@pytest.mark.parametrize("workers", [1, 2])
def test_a_failing_cell_is_reported_and_the_others_finish(places, workers):
    settings = Settings(seeds=3, failing_seed=1)
    cells = STUDY.cells(settings)
    outcome = execution.execute(STUDY, cells, places, workers=workers)
    assert set(outcome.failures) == {"up-seed1", "flat-seed1"}
    assert "ValueError: this seed fails on purpose" in outcome.failures["up-seed1"]
    assert {record.cell.seed for record in outcome.records} == {0, 2}


def test_evidence_stands_in_for_runs(places, tmp_path):
    settings = Settings(seeds=2)
    first = run_here(settings, places, lasting=True)
    names = sorted(path.name for path in (places.evidence / "toy").iterdir())
    assert len(names) == 4
    assert not any(name.endswith(".quick.json") for name in names)
    elsewhere = execution.Places(tmp_path / "other runs", places.evidence)
    again = run_here(settings, elsewhere)
    assert [record.source for record in again.records] == ["evidence"] * 4
    assert [record["position"] for record in again.records] == [
        record["position"] for record in first.records
    ]
    assert not list(runs.find(elsewhere.runs))
    # A raised version asks for new cells.
    raised = dataclasses.replace(STUDY, version=2)
    assert execution.find_records(raised, STUDY.cells(settings), elsewhere) == {}


def test_evidence_of_other_code_is_used_and_marked(places, tmp_path):
    settings = Settings(seeds=1)
    run_here(settings, places)
    for path in (places.evidence / "toy").iterdir():
        assert path.name.endswith(".quick.json")
        evidence = json.loads(path.read_text())
        path.write_text(json.dumps(evidence | {"code_digest": "of other code"}))
    outcome = run_here(settings, execution.Places(tmp_path / "none", places.evidence))
    assert [record.other_code for record in outcome.records] == [True, True]


def test_evidence_that_a_killed_session_did_not_write_is_written_later(places):
    settings = Settings(seeds=1)
    run_here(settings, places)
    for path in (places.evidence / "toy").iterdir():
        path.unlink()
    run_here(settings, places, lasting=True)
    names = [path.name for path in (places.evidence / "toy").iterdir()]
    assert len(names) == 2
    assert not any(name.endswith(".quick.json") for name in names)


@pytest.mark.parametrize("missing", ["result", "machine", "wall_seconds", "code_digest", "seed"])
def test_evidence_without_one_of_its_parts_is_refused(places, tmp_path, missing):
    run_here(Settings(seeds=1), places)
    path = next((places.evidence / "toy").iterdir())
    evidence = json.loads(path.read_text())
    del evidence[missing]
    path.write_text(json.dumps(evidence))
    with pytest.raises(DataError, match="does not belong"):
        run_here(Settings(seeds=1), execution.Places(tmp_path / "none", places.evidence))


def test_a_run_of_something_else_under_the_cells_name_is_refused(places):
    settings = Settings(seeds=1)
    run_here(settings, places)
    folder = next(runs.find(places.runs))
    record = json.loads((folder / runs.RECORD).read_text())
    (folder / runs.RECORD).write_text(json.dumps(record | {"seed": 99}))
    with pytest.raises(RunError, match="other seed"):
        run_here(settings, places)


def test_two_cells_with_one_label_are_refused(places):
    cells = STUDY.cells(Settings(seeds=1))
    with pytest.raises(ArgumentError, match="two cells are called up-seed0"):
        execution.execute(STUDY, [*cells, cells[0]], places, workers=1)


def test_figures_or_claims_that_fail_do_not_take_the_results_with_them(places):
    def fail(records):
        raise ZeroDivisionError("on purpose")

    settings = Settings(seeds=5)
    claims = [dataclasses.replace(STUDY.claims[0], differences=fail), STUDY.claims[1]]
    broken = dataclasses.replace(STUDY, figures=fail, claims=claims)
    cells = STUDY.cells(settings)
    outcome = run_here(settings, places)
    with pytest.warns(UserWarning, match="no figures: ZeroDivisionError"):
        path, judgements = execution.summarise(
            broken, settings, cells, outcome, places, preset="quick", command=""
        )
    assert [judgement.verdict for judgement in judgements] == ["undecided", "does not hold"]
    assert json.loads(path.read_text())["figures"] == []


def test_code_digest_counts_how_cells_run_and_not_what_is_made_of_records():
    names = provenance.closure("sidle.studies.mutual_information", ("sidle.report",))
    assert "sidle.mi.bounds" in names
    assert not any(name.startswith("sidle.report") for name in names)
    parts = ("sidle.studies.mutual_information", "sidle.studies.execution")
    assert "sidle.studies.mutual_information_cells" in names
    made_of_records = {f"{parts[0]}_figures", f"{parts[0]}_claims"}
    assert made_of_records <= set(names)
    without = ("sidle.report", *sorted(made_of_records))
    expected = provenance.code_digest(*parts, without=without)
    assert execution.code_digest(parts[0]) == expected
    assert provenance.code_digest(parts[0], without=without) != expected


def test_evidence_that_was_tampered_with_is_refused(places, tmp_path):
    run_here(Settings(seeds=1), places)
    path = next((places.evidence / "toy").iterdir())
    evidence = json.loads(path.read_text())
    path.write_text(json.dumps(evidence | {"seed": 7}))
    with pytest.raises(DataError, match="does not belong to the cell"):
        run_here(Settings(seeds=1), execution.Places(tmp_path / "none", places.evidence))


def test_summary_holds_claims_figures_and_every_cell(places):
    settings = Settings(seeds=6, failing_seed=5)
    cells = STUDY.cells(settings)
    outcome = run_here(settings, places)
    path, judgements = execution.summarise(
        STUDY, settings, cells, outcome, places, preset="quick", command="sidle run toy"
    )
    assert [judgement.verdict for judgement in judgements] == ["holds", "does not hold"]
    assert judgements[0].interval.n == 5
    summary = json.loads(path.read_text())
    assert summary["settings"]["seeds"] == 6
    statuses = [cell["status"] for cell in summary["cells"]]
    assert statuses == ["finished"] * 10 + ["failed"] * 2
    assert "on purpose" in summary["cells"][-1]["error"]
    # Figures see complete seeds only.
    assert summary["figures"][0]["plotly"]["data"][0]["x"] == [s for s in range(5) for _ in "ab"]
    assert summary["claims"][1]["verdict"] == "does not hold"


def test_nothing_finished_is_undecided_not_an_error(places):
    settings = Settings(seeds=1, failing_seed=0)
    outcome = run_here(settings, places)
    _, judgements = execution.summarise(
        STUDY, settings, STUDY.cells(settings), outcome, places, preset="quick", command=""
    )
    assert {judgement.verdict for judgement in judgements} == {"undecided"}
    assert judgements[0].interval is None


def test_seeds_with_a_missing_cell_are_left_out(places):
    settings = Settings(seeds=5)
    records = run_here(settings, places).records
    kept = complete_seeds(STUDY.cells(settings), records[1:])
    assert {record.cell.seed for record in kept} == {1, 2, 3, 4}
    judgement = judge(STUDY.claims[0], kept)
    assert judgement.verdict == "undecided"
    assert "4 seeds" in judgement.reason


def command(places, settings):
    program = textwrap.dedent(f"""
        from pathlib import Path
        from programs.toy_study import STUDY, Settings
        from sidle.studies import execution
        if __name__ == "__main__":
            places = execution.Places(Path({str(places.runs)!r}), Path({str(places.evidence)!r}))
            try:
                execution.execute(STUDY, STUDY.cells({settings!r}), places, workers=2)
            except KeyboardInterrupt:
                raise SystemExit(7)
    """)
    script = places.runs.parent / "study.py"
    script.write_text(program)
    environment = os.environ | {"PYTHONPATH": str(TESTS)}
    return subprocess.Popen([sys.executable, str(script)], env=environment, start_new_session=True)


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def steps_done(places):
    return [len(runs.read_metrics(folder)) for folder in runs.find(places.runs)]


def nobody_runs(places):
    return all(runs.status(folder) != "running" for folder in runs.find(places.runs))


def stop_and_go_on(places, how, *, says):
    settings = Settings(seeds=1, n_steps=60, pause=0.02)
    process = command(places, settings)
    wait_for(lambda: len(steps_done(places)) == 2 and min(steps_done(places)) >= 5)
    process.send_signal(how)
    code = process.wait(timeout=60)
    wait_for(lambda: nobody_runs(places))
    done = steps_done(places)
    assert all(5 <= steps < 60 for steps in done)
    # Who was asked writes down that it was interrupted; who was killed cannot.
    assert {runs.read_record(folder)["status"] for folder in runs.find(places.runs)} == {says}
    before = [runs.read_metrics(folder) for folder in runs.find(places.runs)]
    outcome = run_here(settings, places)
    after = [runs.read_metrics(folder) for folder in runs.find(places.runs)]
    whole = run_here(dataclasses.replace(settings, pause=0.0), places)
    assert [r["position"] for r in outcome.records] == [r["position"] for r in whole.records]
    assert [len(metrics) for metrics in after] == [60, 60]
    return code, before, after


def test_ctrl_c_lets_workers_save_and_the_next_run_goes_on(places):
    code, before, after = stop_and_go_on(places, signal.SIGINT, says="interrupted")
    assert code == 7
    for metrics, finished in zip(before, after, strict=True):
        assert finished[: len(metrics)] == metrics
    statuses = [
        record.source
        for record in run_here(Settings(seeds=1, n_steps=60, pause=0.02), places).records
    ]
    assert statuses == ["run", "run"]


def test_ctrl_c_begins_no_waiting_cell(places):
    settings = Settings(seeds=4, n_steps=60, pause=0.05)
    process = command(places, settings)
    wait_for(lambda: len(steps_done(places)) == 2 and min(steps_done(places)) >= 3)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 7
    assert len(steps_done(places)) == 2
    assert max(steps_done(places)) < 60


def test_a_killed_command_leaves_no_workers_behind(places):
    code, _, _ = stop_and_go_on(places, signal.SIGKILL, says="running")
    assert code == -signal.SIGKILL
