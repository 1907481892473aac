"""`sidle barrier` on files: the answer in words, as JSON and as a page, and what it refuses."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from sidle.cli import main

NETWORKS = '''
import torch
from torch import nn


class Product(nn.Module):
    """Right for any two weights of one sign, blind where one of them is 0."""

    def __init__(self):
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(2))

    def forward(self, x):
        return torch.stack([torch.zeros(len(x)), self.weights.prod() * x[:, 0]], 1)


def small(width=6, batch_norm=True):
    norm = nn.BatchNorm1d(width) if batch_norm else nn.Identity()
    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), norm, nn.ReLU(), nn.Linear(width, 10))
'''


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    Path("barrier_networks.py").write_text(NETWORKS, encoding="utf-8")
    torch.save({"weights": torch.tensor([1.0, 1.0])}, "plus.pt")
    torch.save({"weights": torch.tensor([-1.0, -1.0])}, "minus.pt")
    torch.save({"weights": torch.tensor([2.0, 1.0])}, "near.pt")
    x = ((np.arange(2000) + 0.5) / 1000 - 1)[:, None]
    np.savez("test.npz", x=x, y=(x[:, 0] > 0).astype(int))
    np.savez("few.npz", x=x[::100], y=(x[::100, 0] > 0).astype(int))
    for seed in (0, 1):
        torch.manual_seed(seed)
        model = nn.Sequential(
            nn.Flatten(), nn.Linear(64, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 10)
        )
        torch.save(model.state_dict(), f"net{seed}.pt")


def run(capsys, *words):
    code = main.main(["barrier", *words])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


PRODUCT = ("--model", "barrier_networks:Product", "--data", "test.npz", "--points", "31")
SMALL = ("net0.pt", "net1.pt", "--model", "barrier_networks:small", "--data", "digits")


def test_a_known_barrier_in_words(files, capsys):
    code, out, err = run(capsys, "plus.pt", "minus.pt", *PRODUCT)
    assert (code, err) == (0, "")
    words = " ".join(out.split())
    assert "Not linearly connected on this data." in words
    assert "does not lie below the threshold of 2 %." in words
    assert "barrier 50.0 %" in words
    assert "at (A is 0, B is 1) 0.50" in words
    assert "merge" not in words
    assert "Error on the straight line" in words
    assert "━━ error" in words
    assert "BatchNorm" not in words


def test_connected_networks_in_words(files, capsys):
    _, out, _ = run(capsys, "plus.pt", "near.pt", *PRODUCT)
    words = " ".join(out.split())
    assert words.count("Linearly connected on this data.") == 1
    assert "barrier 0.0 %" in words


def test_few_examples_leave_it_open(files, capsys):
    _, out, _ = run(capsys, "plus.pt", "near.pt", *PRODUCT, "--data", "few.npz")
    words = " ".join(out.split())
    assert "Undecided on this data." in words
    assert "contains the threshold of 2 %" in words
    assert "More test data would narrow the interval." in words
    assert "By the paper's rule, which looks at the highest of 31 points" in words


def test_json_has_the_documented_names(files, capsys):
    code, out, _ = run(capsys, "plus.pt", "minus.pt", *PRODUCT, "--json")
    found = json.loads(out)
    assert code == 0
    assert (found["a"], found["b"], found["threshold"]) == ("plus.pt", "minus.pt", 0.02)
    assert (found["verdict"], found["linearly_connected"]) == ("not connected", False)
    assert (found["barrier"], found["at"], found["split_barrier"]) == (0.5, 0.5, 0.5)
    assert found["interval"][0] < 0.5 < found["interval"][1]
    assert len(found["alphas"]) == len(found["error"]) == len(found["loss"]) == 31
    assert found["n"] == 2000
    assert found["train"] is found["aligned"] is found["page"] is found["batch_norm"] is None
    assert found["by_policy"] == {}
    _, out, _ = run(capsys, "plus.pt", "minus.pt", *PRODUCT, "--json", "--threshold", "0.6")
    assert json.loads(out)["linearly_connected"] is True


def test_the_same_file_twice_is_exactly_connected(files, capsys):
    _, out, _ = run(capsys, "net0.pt", *SMALL[:1], *SMALL[2:], "--json")
    found = json.loads(out)
    assert found["barrier"] == found["loss_barrier"] == 0
    assert found["interval"] == [0, 0]
    assert found["verdict"] == "connected"


def test_both_policies_training_data_and_alignment(files, capsys):
    words = (*SMALL, "--batch-norm", "both", "--calibration", "digits", "--train-data", "digits")
    _, out, _ = run(capsys, *words, "--align", "--json")
    found = json.loads(out)
    assert found["batch_norm"] == "interpolated"
    anew = found["by_policy"]["re-estimated"]
    assert (found["n"], found["train"]["n"], anew["train"]["n"]) == (450, 1347, 1347)
    for one in (found, anew, found["aligned"], found["aligned"]["by_policy"]["re-estimated"]):
        assert one["verdict"] in ("connected", "not connected", "undecided")
    # Permuting units changes nothing of what a network computes.
    assert found["aligned"]["error"][-1] == pytest.approx(found["error"][-1], abs=1 / 450)
    _, out, _ = run(capsys, *words[:-2], "--align")
    said = " ".join(out.split())
    assert "The answer is for interpolated BatchNorm statistics. With re-estimated ones:" in said
    assert "With the units of B permuted to fit A:" in said
    for column in ("as they are, BatchNorm interpolated", "aligned, BatchNorm re-estimated"):
        assert f"━━ {column}" in said


def test_batch_norm_is_noted(files, capsys):
    _, out, _ = run(capsys, *SMALL)
    said = " ".join(out.split())
    assert "BatchNorm statistics between the networks were interpolated." in said
    assert "--batch-norm both --calibration FILE shows it." in said


def test_the_page_is_one_file_with_the_answer(files, capsys):
    code, out, _ = run(capsys, "plus.pt", "minus.pt", *PRODUCT, "--page", "answer.html")
    assert (code, "The page is at answer.html" in out) == (0, True)
    html = Path("answer.html").read_text(encoding="utf-8")
    assert "Not linearly connected on this data" in html
    assert "sidle barrier plus.pt minus.pt --model barrier_networks:Product" in html
    assert "http" not in html.split("</style>")[1].split("<script>")[0]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("plus.pt", "absent.pt", *PRODUCT), 1, "no such file"),
        (("plus.pt", "net0.pt", *PRODUCT), 1, "do not belong to Product"),
        ((*SMALL, "--data", "test.npz"), 1, "mat1 and mat2"),
        ((*SMALL, "--data", "nowhere.npz"), 1, "nowhere.npz"),
        ((*SMALL, "--batch-norm", "both"), 1, "--calibration FILE_OR_NAME"),
        ((*SMALL, "--calibration", "digits"), 2, "--batch-norm re-estimated or both"),
        ((*SMALL, "--threshold", "2"), 2, "2 % is 0.02"),
        ((*SMALL, "--page", "answer.pdf"), 2, "must end in .html"),
        ((*SMALL, "--model", "barrier_networks"), 2, "expected module:factory"),
        ((*SMALL, "--points", "1"), 1, "points must be at least 2"),
    ],
)
def test_problems_are_one_message(words, code, said, files, capsys):
    found, out, err = run(capsys, *words)
    assert (found, out) == (code, "")
    assert said in err
    assert "Traceback" not in err
