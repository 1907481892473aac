"""A run folder belongs to one piece of work and one writer, and survives both."""

import json
import math
import subprocess
import sys
import textwrap

import pytest
import torch

from sidle import runs
from sidle.errors import (
    ArgumentError,
    CheckpointError,
    DataError,
    NonFiniteError,
    RunError,
    StorageError,
)

WHAT = runs.Identity(
    settings={"lr": 0.1, "layers": [3, 4]}, seed=5, data_digest="d", code_digest="c"
)


def test_record_holds_what_was_asked_where_and_the_result(tmp_path):
    folder = tmp_path / "study" / WHAT.folder_name("cell")
    with runs.open_run(folder, WHAT) as run:
        assert not run.finished
        assert runs.status(folder) == "running"
        with pytest.raises(RunError, match="not finished"):
            _ = run.result
        run.log(1, {"loss": 2.0})
        run.finish({"accuracy": 0.75})
    record = runs.read_record(folder)
    assert record["settings"] == {"lr": 0.1, "layers": [3, 4]}
    assert (record["seed"], record["data_digest"], record["code_digest"]) == (5, "d", "c")
    assert record["machine"]["torch"] == torch.__version__
    assert record["status"] == runs.status(folder) == "finished"
    assert record["wall_seconds"] > 0
    assert list(runs.find(tmp_path)) == [folder]
    with runs.open_run(folder, WHAT) as again:
        assert again.finished
        assert again.result == {"accuracy": 0.75}


def test_every_part_of_the_identity_changes_the_folder():
    import dataclasses

    others = [
        dataclasses.replace(WHAT, settings={"lr": 0.2, "layers": [3, 4]}),
        dataclasses.replace(WHAT, seed=6),
        dataclasses.replace(WHAT, data_digest="e"),
        dataclasses.replace(WHAT, code_digest="e"),
    ]
    names = {identity.folder_name("cell") for identity in [WHAT, *others]}
    assert len(names) == 5


def test_another_run_in_the_same_folder_is_refused_by_name(tmp_path):
    with runs.open_run(tmp_path, WHAT):
        pass
    other = runs.Identity({"lr": 0.2, "layers": [3, 4]}, 5, "d", "c")
    with pytest.raises(RunError, match="other settings 'lr'"), runs.open_run(tmp_path, other):
        pass
    other = runs.Identity(WHAT.settings, 6, "d", "c")
    with pytest.raises(RunError, match="other seed"), runs.open_run(tmp_path, other):
        pass


def test_metrics_are_lines_in_order_and_finite(tmp_path):
    with runs.open_run(tmp_path, WHAT) as run:
        run.log(1, {"loss": 2.0})
        run.log(5, {"loss": 1.0, "accuracy": 0.5})
        assert run.metrics() == [
            {"step": 1, "loss": 2.0},
            {"step": 5, "loss": 1.0, "accuracy": 0.5},
        ]
        with pytest.raises(ArgumentError, match="step 5 does not follow step 5"):
            run.log(5, {})
        with pytest.raises(NonFiniteError, match="'loss' is nan"):
            run.log(6, {"loss": math.nan})
        with pytest.raises(NonFiniteError, match="'loss' is -inf"):
            run.log(6, {"loss": -math.inf})
        with pytest.raises(ArgumentError, match="'step'"):
            run.log(6, {"step": 3.0})
    assert len((tmp_path / runs.METRICS).read_text().splitlines()) == 2


def test_metrics_damaged_behind_the_checkpoint_are_cut_and_before_it_refused(tmp_path):
    for damaged, expected in (("1", None), ("3", [1, 2])):
        folder = tmp_path / damaged
        with runs.open_run(folder, WHAT) as run:
            for step in (1, 2, 3):
                run.log(step, {"loss": 1.0})
                if step == 2:
                    run.save(step, {})
        path = folder / runs.METRICS
        path.write_text(path.read_text().replace(f'"step": {damaged}', "\0\0"))
        with runs.open_run(folder, WHAT) as run:
            if expected is None:
                with pytest.raises(DataError, match=r"metrics\.jsonl:1: damaged before step 2"):
                    run.resume()
            else:
                assert run.resume()[0] == 2
                assert [line["step"] for line in run.metrics()] == expected


def test_a_result_that_cannot_be_written_leaves_the_run_unfinished(tmp_path):
    with runs.open_run(tmp_path, WHAT) as run:
        with pytest.raises(ArgumentError, match="JSON"):
            run.finish({"accuracy": math.nan})
        assert not run.finished
    assert runs.read_record(tmp_path)["status"] == "interrupted"


@pytest.mark.parametrize("missing", ["status", "result", "machine", "wall_seconds", "settings"])
def test_a_record_without_one_of_its_parts_is_damaged(tmp_path, missing):
    with runs.open_run(tmp_path, WHAT):
        pass
    record = json.loads((tmp_path / runs.RECORD).read_text())
    del record[missing]
    (tmp_path / runs.RECORD).write_text(json.dumps(record))
    with pytest.raises(DataError, match="whole run record"):
        runs.read_record(tmp_path)


def test_a_torn_last_line_is_left_out_and_other_damage_is_named(tmp_path):
    path = tmp_path / runs.METRICS
    path.write_text('{"step": 1}\n{"step": 2}\n{"st')
    assert runs.read_metrics(tmp_path) == [{"step": 1}, {"step": 2}]
    path.write_text('{"step": 1}\n{"st\n{"step": 3}\n')
    with pytest.raises(DataError, match=r"metrics\.jsonl:2"):
        runs.read_metrics(tmp_path)


def test_resuming_drops_metrics_after_the_checkpoint(tmp_path):
    with runs.open_run(tmp_path, WHAT) as run:
        assert run.resume() is None
        for step in (1, 2, 3):
            run.log(step, {"loss": float(step)})
            if step == 2:
                run.save(step, {"weights": torch.ones(2)})
    whole = (tmp_path / runs.METRICS).read_text()
    (tmp_path / runs.METRICS).write_text(whole + '{"step": 4, "lo')
    assert runs.status(tmp_path) == "interrupted"
    with runs.open_run(tmp_path, WHAT) as run:
        step, tree = run.resume()
        assert step == 2
        assert torch.equal(tree["weights"], torch.ones(2))
        run.log(3, {"loss": 30.0})
    assert [line["loss"] for line in runs.read_metrics(tmp_path)] == [1.0, 2.0, 30.0]


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    other = runs.Identity({"lr": 3.0})
    with runs.open_run(tmp_path / "other", other) as run:
        run.save(1, {})
    with runs.open_run(tmp_path / "mine", WHAT) as run:
        (tmp_path / "other" / runs.CHECKPOINT).rename(tmp_path / "mine" / runs.CHECKPOINT)
        with pytest.raises(RunError, match="belongs to a run with other settings"):
            run.resume()


def test_a_damaged_checkpoint_is_refused_on_resume(tmp_path):
    with runs.open_run(tmp_path, WHAT) as run:
        run.save(1, {"weights": torch.ones(100)})
    path = tmp_path / runs.CHECKPOINT
    path.write_bytes(path.read_bytes()[:-1])
    with (
        pytest.raises(CheckpointError, match="damaged"),
        runs.open_run(tmp_path, WHAT) as run,
    ):
        run.resume()
    assert runs.status(tmp_path) == "failed"
    assert "damaged" in runs.read_record(tmp_path)["error"]


def test_failure_keeps_the_message_and_the_next_session_clears_it(tmp_path):
    with pytest.raises(ZeroDivisionError), runs.open_run(tmp_path, WHAT):
        _ = 1 / 0
    assert runs.read_record(tmp_path)["error"] == "ZeroDivisionError: division by zero"
    with runs.open_run(tmp_path, WHAT) as run:
        run.finish({})
    assert runs.read_record(tmp_path)["error"] is None


def test_damaged_record_is_refused(tmp_path):
    for content in ("", "{", "[]", '{"format": 99}'):
        (tmp_path / runs.RECORD).write_text(content)
        with pytest.raises(DataError, match=r"run\.json"):
            runs.read_record(tmp_path)
        with pytest.raises(DataError), runs.open_run(tmp_path, WHAT):
            pass


def test_time_of_all_sessions_is_added_up(tmp_path):
    with runs.open_run(tmp_path, WHAT):
        pass
    first = runs.read_record(tmp_path)["wall_seconds"]
    with runs.open_run(tmp_path, WHAT) as run:
        run.save(1, {})
        assert run.seconds > first
    assert runs.read_record(tmp_path)["wall_seconds"] > first > 0


WRITER = textwrap.dedent("""
    import sys, time
    from sidle import runs
    folder, name = sys.argv[1:]
    with runs.open_run(folder, runs.Identity({})) as run:
        found = run.resume()
        start = 0 if found is None else found[0]
        print(name, start, flush=True)
        if not run.finished:
            for step in range(start + 1, start + 41):
                run.log(step, {"value": step})
                run.save(step, {"by": name})
            if start:
                run.finish({"steps": start + 40})
""")


def test_two_processes_take_turns(tmp_path):
    both = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), name], stdout=-1, text=True)
        for name in ("a", "b")
    ]
    outputs = [process.communicate()[0].split() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    # One came first and did 40 steps; the other went on from there: no step lost or doubled.
    assert sorted(int(start) for _, start in outputs) == [0, 40]
    assert [line["step"] for line in runs.read_metrics(tmp_path)] == list(range(1, 81))
    assert runs.read_record(tmp_path)["result"] == {"steps": 80}


def test_a_killed_writer_leaves_no_lock(tmp_path):
    program = WRITER.replace("run.save", "time.sleep(60); run.save")
    child = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path), "a"], stdout=-1, text=True
    )
    child.stdout.readline()
    assert runs.status(tmp_path) == "running"
    child.kill()
    child.communicate()
    assert runs.status(tmp_path) == "interrupted"
    (tmp_path / ".run.json.abc").write_text("left by a killed write")
    with runs.open_run(tmp_path, runs.Identity({})) as run:
        run.finish({})
    assert not list(tmp_path.glob(".run.json.*"))


def test_full_disk_is_one_clear_error(tmp_path):
    program = textwrap.dedent("""
        import resource, sys, torch
        from sidle import runs
        from sidle.errors import StorageError
        with runs.open_run(sys.argv[1], runs.Identity({})) as run:
            run.log(1, {"x": 1.0})
            run.save(1, {"x": torch.zeros(10)})
            resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
            for action in (
                lambda: run.save(2, {"x": torch.zeros(10_000)}),
                lambda: [run.log(i, {"x": 1.0}) for i in range(2, 10_000)],
                lambda: run.finish({"text": "x" * 10_000}),
            ):
                try:
                    action()
                except StorageError as error:
                    print(error)
    """)
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 3, done.stderr
    # The program ends with the disk still full: one clear error, not the operating system's.
    assert done.stderr.splitlines()[-1].startswith("sidle.errors.StorageError")
    assert all("File too large" in line or "could not be written" in line for line in lines)
    assert runs.status(tmp_path) == "interrupted"
    with runs.open_run(tmp_path, runs.Identity({})) as run:
        assert run.resume()[0] == 1
        assert run.metrics() == [{"step": 1, "x": 1.0}]


def test_a_folder_that_cannot_be_made_is_a_storage_error(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(StorageError, match="file"),
        runs.open_run(tmp_path / "file" / "run", WHAT),
    ):
        pass


def test_tensorboard_events_are_written_on_request(tmp_path):
    pytest.importorskip("tensorboard", reason="the extra 'tensorboard' is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with runs.open_run(tmp_path, WHAT, tensorboard=True) as run:
        for step in (1, 2):
            run.log(step, {"loss": 1.0 / step})
    events = EventAccumulator(str(tmp_path / "events"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(1, 1.0), (2, 0.5)]
    json.dumps(runs.read_record(tmp_path))
