"""`sidle mi estimate` on files, as a table and as JSON."""

import json
import math
import typing

import numpy as np
import pytest

from sidle.cli import main
from sidle.cli.mi import EstimateOptions
from sidle.mi import BOUNDS, CRITICS


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
    table, words = out.split("Trained on")
    assert table.count("lower bound") == 6
    assert table.count("not a bound") == 8
    promise = "lower bound, in expectation over batches of independent pairs that the critic never"
    assert f"InfoNCE; NWJ; TUBA; Jensen-Shannon; I_alpha, alpha 0.01; FLO: {promise}" in words
    assert "SMILE, tau 5: not a bound: the clip biases it in either direction." in words
    assert out.count("cross-check, not a bound") == 2
    assert "Trained on 360 pairs, read on 150 others" in out
    # CLUB reads rho^2 / (1 - rho^2) = 4 nats in the limit, with 0.8 nats there.
    assert "Disagreement:" in out
    assert "CLUB reads" in out


def test_all_bounds_as_json_come_with_their_checks(files, capsys):
    words = ("--bound", "all", "--n-steps", "25", "--json")
    content = json.loads(run(capsys, "x.npy", "y.csv", *words)[1])
    assert set(content) == {"estimates", "cross_checks", "disagreements"}
    assert [found["bound"] for found in content["estimates"]] == list(BOUNDS)
    assert content["cross_checks"]["cca"] == pytest.approx(0.80, abs=0.1)
    assert all(isinstance(said, str) for said in content["disagreements"])


def test_bits_are_nats_over_log_2(files, capsys):
    words = ("x.npy", "y.csv", "--n-steps", "50")
    nats = json.loads(run(capsys, *words, "--json", "--bits")[1])["estimates"][0]["nats"]
    out = run(capsys, *words, "--bits")[1]
    assert "in bits" in out
    assert f" {nats / math.log(2):.3f} " in out
    assert f" {nats:.3f} " in run(capsys, *words)[1]


def test_every_bound_and_critic_can_be_asked_for(files, capsys):
    hints = typing.get_type_hints(EstimateOptions)
    assert set(typing.get_args(hints["bound"])) == {*BOUNDS, "all"}
    assert set(typing.get_args(hints["critic"])) == set(CRITICS)


def test_same_seed_same_answer(files, capsys):
    first, second = (run(capsys, "x.npy", "y.csv", "--n-steps", "50", "--json") for _ in range(2))
    assert first == second
    other = run(capsys, "x.npy", "y.csv", "--n-steps", "50", "--json", "--seed", "1")
    nats = [json.loads(found[1])["estimates"][0]["nats"] for found in (first, other)]
    assert nats[0] != nats[1]


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
