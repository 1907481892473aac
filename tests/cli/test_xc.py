"""`sidle xc` on XC text, .npz and raw text: train, predict, evaluate, info, and what is refused."""

import gzip
import json

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array, save_npz

from reference import ranking as reference
from sidle.cli import extreme_files, main
from sidle.data import extreme
from sidle.data.synthetic_extreme import power_law_rows
from sidle.errors import DataError, UsageError
from sidle.slide.classifier import ExtremeClassifier

SIZES = {"n_features": 300, "n_labels": 40, "features_per_row": 10, "labels_per_row": 2, "seed": 0}
QUICK = ("--hidden", "8", "--n-epochs", "2", "--threads", "1")


def run(capsys, *words):
    code = main.main(["xc", *map(str, words)])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with rows of each kind, and a model of the XC text."""
    folder = tmp_path_factory.mktemp("xc")
    train = power_law_rows(500, part="train", **SIZES)
    test = power_law_rows(120, part="test", **SIZES)
    extreme.write_xc(folder / "train.txt", train)
    extreme.write_xc(folder / "test.txt.gz", test)
    save_npz(folder / "x.npz", train.features)
    save_npz(folder / "y.npz", train.labels)
    words = ["cat purrs softly", "dog barks loudly", "fish swims deep", "cat and dog play"]
    marks = ["__label__cat", "__label__dog", "__label__fish", "__label__cat __label__dog"]
    lines = [f"{mark} {text} {i % 7}" for i in range(40) for mark, text in zip(marks, words)]  # noqa: B905
    (folder / "lines.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    words = ["xc", "train", folder / "train.txt", "--out", folder / "model", *QUICK]
    assert main.main(list(map(str, words))) == 0
    return folder


def test_evaluation_has_the_documented_names_and_matches_the_slow_reference(place, capsys):
    code, out, _ = run(capsys, "evaluate", place / "model", place / "test.txt.gz", "--json")
    assert code == 0
    found = json.loads(out)
    names = {f"{name}@{k}" for name in ("p", "ndcg", "psp") for k in (1, 3, 5)}
    assert set(found) == names | {"rows", "seconds"}
    out_file = place / "predicted.txt"
    words = ("predict", place / "model", place / "test.txt.gz", "--out", out_file, "--json")
    code, out, _ = run(capsys, *words)
    assert (code, json.loads(out)) == (0, {"rows": 120, "k": 5, "out": str(out_file)})
    ranked = [
        [int(pair.split(":")[0]) for pair in line.split()]
        for line in out_file.read_text().splitlines()
    ]
    labels = extreme.read_xc(place / "test.txt.gz").labels
    truths = [set(labels.indices[labels.indptr[i] : labels.indptr[i + 1]]) for i in range(120)]
    for k in (1, 3, 5):
        expected = np.mean([reference.precision(r, t, k) for r, t in zip(ranked, truths)])  # noqa: B905
        assert found[f"p@{k}"] == pytest.approx(expected, abs=1e-12)


def test_tables_for_people(place, capsys):
    code, out, _ = run(capsys, "evaluate", place / "model", place / "test.txt.gz")
    assert code == 0
    assert "nDCG@k" in out
    code, out, _ = run(capsys, "info", place / "model")
    assert code == 0
    assert "500" in out
    assert "p@1 on held-out rows" in out
    code, out, _ = run(capsys, "info", place / "model", "--json")
    assert json.loads(out)["n_labels"] == 40


def test_npz_gives_the_model_of_the_same_rows_as_text(place, capsys, tmp_path):
    words = ("train", place / "x.npz", "--labels", place / "y.npz", "--out", tmp_path, *QUICK)
    code, out, _ = run(capsys, *words, "--json")
    assert code == 0
    assert json.loads(out)["rows"] == 500
    texts = [
        run(capsys, "predict", model, place / "x.npz")[1] for model in (tmp_path, place / "model")
    ]
    assert texts[0] == texts[1]


def test_raw_text_is_learned_with_the_names_of_its_labels(place, capsys, tmp_path):
    code, _, err = run(capsys, "train", place / "lines.txt", "--out", tmp_path / "m", *QUICK)
    assert code == 0, err
    (tmp_path / "new.txt").write_text("a dog barks\nfish swims\n", encoding="utf-8")
    code, out, _ = run(capsys, "predict", tmp_path / "m", tmp_path / "new.txt", "--k", 1, "--json")
    assert [row[0]["label"] for row in json.loads(out)["predictions"]] == ["dog", "fish"]
    (tmp_path / "seen.txt").write_text("__label__dog dog barks loudly\n__label__new odd\n")
    code, out, _ = run(capsys, "evaluate", tmp_path / "m", tmp_path / "seen.txt", "--json")
    assert json.loads(out)["p@1"] == 0.5  # a label never seen is a miss, not an error


def test_finished_training_is_not_done_again_and_another_is_refused(place, capsys):
    words = ["train", place / "train.txt", "--out", place / "model", *QUICK]
    before = (place / "model" / "model.safetensors").stat().st_mtime_ns
    assert run(capsys, *words)[0] == 0
    assert (place / "model" / "model.safetensors").stat().st_mtime_ns == before
    code, _, err = run(capsys, *words, "--seed", 1)
    assert code == 1
    assert "another folder" in err
    assert not (place / "model" / "checkpoint.safetensors").exists()


def test_dry_run_starts_nothing(place, capsys, tmp_path):
    words = ("train", place / "train.txt", "--out", tmp_path / "m", "--dry-run")
    code, out, _ = run(capsys, *words)
    assert code == 0
    assert "300 features, 40 labels" in " ".join(out.split())  # lines break where the path ends
    assert not (tmp_path / "m").exists()
    assert json.loads(run(capsys, *words, "--json")[1])["features"] == 300


def test_refuses_what_cannot_be_read(place, capsys, tmp_path):
    code, _, err = run(capsys, "train", place / "x.npz", "--out", tmp_path)
    assert (code, "--labels" in err) == (2, True)
    code, _, err = run(
        capsys, "train", place / "train.txt", "--labels", place / "y.npz", "--out", tmp_path
    )
    assert (code, "leave --labels out" in err) == (2, True)
    np.savez(tmp_path / "dense.npz", x=np.ones(3))
    with pytest.raises(DataError, match="save_npz"):
        extreme_files.shape(tmp_path / "dense.npz", place / "y.npz")
    (tmp_path / "empty.txt").write_text("")
    code, _, err = run(capsys, "train", tmp_path / "empty.txt", "--out", tmp_path / "m4")
    assert (code, "there are no rows" in err) == (1, True)
    assert not list(tmp_path.glob("m*/rows-*"))
    (tmp_path / "wide.txt").write_text("1 299 40\n3 5:1\n")
    code, _, err = run(capsys, "predict", place / "model", tmp_path / "wide.txt")
    assert (code, "299 features" in err) == (1, True)
    (tmp_path / "other.txt").write_text("1 300 41\n3 5:1\n")
    code, _, err = run(capsys, "evaluate", place / "model", tmp_path / "other.txt")
    assert (code, "41 labels" in err) == (1, True)
    (tmp_path / "label.txt").write_text("1 300 40\n40 5:1\n")
    code, _, err = run(capsys, "train", tmp_path / "label.txt", "--out", tmp_path / "m")
    assert (code, "label '40' is not below" in err) == (1, True)
    (tmp_path / "nan.txt").write_text("1 300 40\n4 5:nan\n")
    code, _, err = run(capsys, "train", tmp_path / "nan.txt", "--out", tmp_path / "m")
    assert (code, "finite decimal" in err) == (1, True)
    (tmp_path / "none.txt").write_text("2 300 40\n 5:1\n 6:1\n")
    code, _, err = run(capsys, "train", tmp_path / "none.txt", "--out", tmp_path / "m2")
    assert (code, "no row has a label" in err) == (1, True)
    (tmp_path / "huge.txt").write_text("2 300 2147483647\n0 5:1\n1 6:1\n")
    code, _, err = run(capsys, "train", tmp_path / "huge.txt", "--out", tmp_path / "m3")
    assert (code, "available" in err) == (1, True)
    code, _, err = run(capsys, "info", tmp_path)
    assert code == 1
    with pytest.raises(UsageError, match="--k"):
        from sidle.cli import xc

        xc.predict([str(place / "model"), str(place / "test.txt.gz"), "--k", "0"])


def test_matrices_with_broken_indices_or_values_are_refused(tmp_path):
    matrix = csr_array(np.eye(3, dtype=np.float32))
    matrix.indices[1] = 7
    save_npz(tmp_path / "index.npz", matrix)
    with pytest.raises(DataError, match="sparse matrix"):
        extreme_files._read_npz(tmp_path / "index.npz")
    matrix = csr_array(np.eye(3, dtype=np.float32) * np.nan)
    save_npz(tmp_path / "nan.npz", matrix)
    with pytest.raises(DataError, match="NaN"):
        extreme_files._read_npz(tmp_path / "nan.npz")


def test_kinds_are_told_apart_by_content(place, tmp_path):
    assert extreme_files.kind_of(place / "train.txt") == "xc"
    assert extreme_files.kind_of(place / "test.txt.gz") == "xc"
    assert extreme_files.kind_of(place / "x.npz") == "npz"
    assert extreme_files.kind_of(place / "lines.txt") == "text"
    with gzip.open(tmp_path / "lines.gz", "wt") as file:
        file.write("__label__a some words\n")
    assert extreme_files.kind_of(tmp_path / "lines.gz") == "text"
    with extreme_files.stored(tmp_path / "lines.gz", None, tmp_path) as rows:
        assert rows.notes == {"names": ["a"]}
        assert rows.features.sum() == 3  # "some", "words" and their pair


def test_rows_on_disk_make_the_model_that_rows_in_memory_make(place):
    rows = extreme.read_xc(place / "train.txt")
    model = ExtremeClassifier(hidden=8, n_epochs=2, threads=1).fit(rows.features, rows.labels)
    loaded = ExtremeClassifier.load(place / "model")
    for one, other in zip(
        model.network_.state_dict().values(), loaded.network_.state_dict().values(), strict=True
    ):
        assert torch.equal(one, other)
    assert loaded.blend_.weights == model.blend_.weights
    assert not list((place / "model").glob("rows-*"))  # they have done their work


def test_interrupted_training_does_not_read_its_file_again(place, capsys, tmp_path, monkeypatch):
    words = ("train", place / "train.txt", "--out", tmp_path, *QUICK)
    fit = ExtremeClassifier.fit

    def interrupted(*arguments, **settings):
        raise KeyboardInterrupt

    monkeypatch.setattr(ExtremeClassifier, "fit", interrupted)
    assert run(capsys, *words)[0] == 1
    (kept,) = tmp_path.glob("rows-*")
    monkeypatch.setattr(ExtremeClassifier, "fit", fit)
    read = []
    blocks = extreme_files.blocks
    monkeypatch.setattr(
        extreme_files, "blocks", lambda *given, **how: read.append(given) or blocks(*given, **how)
    )
    assert run(capsys, *words)[0] == 0
    assert not read
    assert not kept.exists()
    # Another file, if only a newer one, is read.
    (tmp_path / "other").mkdir()
    newer = tmp_path / "train.txt"
    newer.write_bytes((place / "train.txt").read_bytes())
    with extreme_files.stored(newer, None, tmp_path / "other") as rows:
        assert rows.features.shape == (500, 300)
    assert read


def test_a_model_may_keep_few_rows_or_none(place, capsys, tmp_path):
    found = {}
    for n in (0, 100):
        folder = tmp_path / str(n)
        words = ("train", place / "train.txt", "--out", folder, *QUICK, "--evidence-rows", n)
        assert run(capsys, *words)[0] == 0
        content = json.loads(run(capsys, "info", folder, "--json")[1])
        assert (content["n_rows"], content["n_evidence_rows"]) == (500, n)
        words = ("evaluate", folder, place / "test.txt.gz", "--json")
        found[n] = json.loads(run(capsys, *words)[1])
    whole = json.loads(run(capsys, "evaluate", place / "model", place / "test.txt.gz", "--json")[1])
    assert found[0]["p@1"] > 0.1  # of 40 labels
    assert whole["p@5"] >= found[100]["p@5"] >= found[0]["p@5"] - 0.02
