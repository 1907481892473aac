"""`sidle mi estimate` on files, as a table and as JSON."""

import json
import math

import numpy as np
import pytest

from sidle.cli import main


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    draw = np.random.default_rng(0)
    x = draw.normal(size=(600, 1))
    y = x + 0.5 * draw.normal(size=(600, 1))
    np.save("x.npy", x)
    np.savez("both.npz", x=x, y=y)
    np.savetxt("y.csv", y, delimiter=",", header="reading", comments="")


def run(capsys, *words):
    code = main.main(["mi", "estimate", *words])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_json_has_the_documented_names_and_a_sensible_value(files, capsys):
    code, out, _ = run(capsys, "x.npy", "y.csv", "--n-steps", "300", "--json")
    assert code == 0
    (found,) = json.loads(out)["estimates"]
    assert {"bound", "nats", "guarantee", "ceiling", "interval"} <= set(found)
    assert (found["bound"], found["guarantee"]) == ("infonce", "lower")
    assert found["ceiling"] == pytest.approx(math.log(found["batch_size"]))
    truth = 0.5 * math.log(1 + 1 / 0.25)  # 0.80 nats
    low, high = found["interval"]
    assert low < found["nats"] < high
    # A lower bound from 150 test rows: below truth but for chance, and well above nothing.
    assert 0.3 < found["nats"] < truth + (high - low)


def test_all_bounds_in_a_table(files, capsys):
    words = ("--bound", "all", "--n-steps", "100", "--x-array", "x", "--y-array", "y")
    code, out, _ = run(capsys, "both.npz", "both.npz", *words)
    assert code == 0
    assert out.count("lower bound") == 3
    assert out.count("not a bound") == 1
    assert "Trained on 360 pairs, read on 150 others" in out


def test_same_seed_same_answer(files, capsys):
    first, second = (run(capsys, "x.npy", "y.csv", "--n-steps", "50", "--json") for _ in range(2))
    assert first == second
    assert run(capsys, "x.npy", "y.csv", "--n-steps", "50", "--json", "--seed", "1") != first


def test_problems_with_files_are_one_message(files, capsys):
    np.save("short.npy", np.zeros((500, 1)))
    for words, said in [
        (("x.npy", "absent.npy"), "no such file"),
        (("x.npy", "short.npy"), "same number of rows"),
        (("x.npy", "both.npz"), "say which one"),
        (("x.npy", "notes.txt"), ".csv"),
        (("short.npy", "short.npy", "--batch-size", "400"), "rows"),
    ]:
        code, out, err = run(capsys, *words)
        assert (code, out) == (1, "")
        assert said in err
        assert err.count("\n") == 1
