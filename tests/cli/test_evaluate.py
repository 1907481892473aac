"""`sidle evaluate` on files: tables, JSON and a page; audits beside; what it refuses."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from sidle.cli import evaluate, labelled, main
from sidle.evaluation.corruptions import CORRUPTIONS

NETWORKS = '''
import torch
from torch import nn


def small():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))


class Rounded(nn.Module):
    """The same behind a step function, through which no gradient gets."""

    def __init__(self):
        super().__init__()
        self.inner = small()

    def forward(self, x):
        return self.inner(torch.round(8 * x) / 8)
'''


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "140")
    Path("evaluated.py").write_text(NETWORKS, encoding="utf-8")
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    x = torch.rand(60, 1, 8, 8)
    np.savez("test.npz", x=x.numpy(), y=model(x).argmax(1).numpy())
    np.savez("other.npz", x=np.zeros((20, 1, 8, 8), np.float32))
    torch.save(model.state_dict(), "small.pt")
    torch.save({f"inner.{name}": value for name, value in model.state_dict().items()}, "rounded.pt")


def run(capsys, *words):
    code = main.main(["evaluate", *words])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


SMALL = ("small.pt", "--model", "evaluated:small", "--data", "test.npz")
LITTLE = ("--attacked", "20", "--audited", "20", "--linf", "0.02", "--l2", "0.1", "--l1", "0.5")


@pytest.mark.usefixtures("files")
def test_tables_stand_beside_their_audit_and_the_page_is_written(capsys):
    code, out, err = run(capsys, *SMALL, *LITTLE)
    assert (code, err) == (0, "")
    for words in (
        "Brier score",
        "pgd-margin-l1",
        "worst of all",
        "loss surface",
        "AUROC",
        "elastic",
    ):
        assert words in out
    line = next(one for one in out.splitlines() if "worst in L-inf" in one)
    assert line.rstrip().endswith("passed")
    assert "No sign of masked gradients" in out
    page = Path("evaluation.html").read_text(encoding="utf-8")
    assert "How far can small.pt be trusted?" in page
    assert "audit passed" in page
    assert "sidle evaluate small.pt" in page


@pytest.mark.usefixtures("files")
def test_json_has_a_stable_schema_and_no_page_if_none_is_wanted(capsys):
    code, out, _ = run(
        capsys,
        *SMALL,
        *LITTLE,
        "--json",
        "--page",
        "None",
        "--outliers",
        "other.npz",
        "--seed",
        "3",
    )
    assert code == 0
    found = json.loads(out)
    assert set(found) == {
        "weights", "data", "page", "n", "draws", "accuracy", "calibration", "robustness",
        "outliers", "corruptions",
    }  # fmt: skip
    assert found["accuracy"] == 1.0
    assert found["page"] is None
    assert not Path("evaluation.html").exists()
    attacked = found["robustness"]
    assert attacked["n_images"] == 20
    assert {one["name"]: one["epsilon"] for one in attacked["attacks"]}["pgd-l2"] == 0.1
    assert attacked["worst_overall"] <= min(attacked["worst"].values())
    assert attacked["audit"]["l2"]["checks"][1]["name"] == "unbounded"
    assert list(found["outliers"]) == ["other.npz"]
    assert set(found["corruptions"]["accuracy"]) == set(CORRUPTIONS)


@pytest.mark.usefixtures("files")
def test_masked_gradients_are_told_beside_every_accuracy_under_attack(capsys):
    code, out, _ = run(
        capsys, "rounded.pt", "--model", "evaluated:Rounded", "--data", "test.npz", *LITTLE,
        "--linf", "0.06", "--no-corruptions",
    )  # fmt: skip
    assert code == 0
    for line in out.splitlines():
        if line.strip().startswith(("pgd-linf", "worst in L-inf")):
            assert "suspect" in line
            assert "unbounded" in line
    assert "Signs of masked gradients in L-inf" in out
    assert "elastic" not in out
    assert "is suspect" in Path("evaluation.html").read_text(encoding="utf-8")


@pytest.mark.usefixtures("files")
def test_parts_can_be_left_out(capsys):
    code, out, _ = run(capsys, *SMALL, "--suite", "none", "--no-corruptions", "--examples", "10")
    assert code == 0
    assert "under attack" not in out
    assert "not attacked" in Path("evaluation.html").read_text(encoding="utf-8")


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize("as_json", [True, False])
def test_what_was_found_is_told_where_the_page_cannot_be_written(capsys, as_json):
    Path("taken.html").mkdir()
    code, out, err = run(
        capsys, *SMALL, "--suite", "none", "--no-corruptions", "--page", "taken.html",
        *["--json"] * as_json,
    )  # fmt: skip
    assert code == 1
    assert "taken.html" in err
    if as_json:
        assert json.loads(out)["accuracy"] == 1.0
        assert json.loads(out)["page"] is None
    else:
        assert "Brier score" in out
        assert "The page is at" not in out


def test_sets_of_outliers_are_test_images_as_those_of_the_data_are():
    found = evaluate._outliers("digits", (1, 8, 8), 100)
    assert torch.equal(found, labelled.read("digits", "test")[0][:100])


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        ((*SMALL, "--page", "out.pdf"), 2, ".html"),
        ((*SMALL, "--attacked", "-1"), 2, "--attacked"),
        ((*SMALL, "--linf", "0"), 1, "linf must be positive"),
        ((*SMALL, "--outliers", "flat.npz"), 1, "same shape"),
        (("small.pt", "--model", "evaluated:small", "--data", "flat.npz"), 2, "--suite none"),
        (("small.pt", "--model", "evaluated:small", "--data", "wide.npz"), 1, "normalisation"),
        (("small.pt", "--model", "evaluated:small", "--data", "large.npz"), 1, "(1, 1, 9, 9)"),
        (("small.pt", "--model", "evaluated:small", "--data", "bytes.npz"), 1, "from 0 to 1"),
        ((*SMALL, "--device", "gpu"), 1, "device 'gpu'"),
        (("absent.pt", "--model", "evaluated:small", "--data", "test.npz"), 1, "absent.pt"),
    ],
)
def test_bad_input_is_refused(capsys, words, code, says):
    np.savez("flat.npz", x=np.zeros((3, 64), np.float32), y=np.zeros(3, int))
    np.savez("large.npz", x=np.zeros((3, 1, 9, 9)), y=np.zeros(3, int))
    np.savez("bytes.npz", x=np.zeros((3, 1, 8, 8), int), y=np.zeros(3, int))
    np.savez("wide.npz", x=np.full((3, 1, 8, 8), 9.0), y=np.zeros(3, int))
    found, out, err = run(capsys, *words)
    assert found == code
    assert says in err
    assert out == ""
