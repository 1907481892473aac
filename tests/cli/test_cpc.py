"""`sidle cpc` on folders of sound, images and text: train, go on, embed, and what is refused."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from sidle.cli import main, unlabelled
from sidle.cpc import ContrastivePredictiveCoding, batches
from sidle.data import documents, text
from sidle.data.text import Vocabulary

LITTLE = ("--features", "8", "--context-features", "8", "--batch-size", "3", "--steps", "4")


def run(capsys, *words):
    code = main.main(["cpc", *map(str, words)])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a folder of each domain."""
    folder = tmp_path_factory.mktemp("cpc")
    generator = np.random.default_rng(0)
    for name in ("audio", "images/deep", "text"):
        (folder / name).mkdir(parents=True)
    for i, n in enumerate((5000, 9000, 7000)):
        soundfile.write(
            folder / "audio" / f"{i}.wav", 0.1 * generator.standard_normal(n), 8000, "PCM_16"
        )
    for i in range(4):
        pixels = generator.integers(0, 256, (20, 14, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / ("images/deep" if i % 2 else "images") / f"{i}.png")
    for i in range(3):
        words = [f"The {w} saw {i} things. It left." for w in ("cat", "dog", "fish", "bird")]
        (folder / "text" / f"{i}.txt").write_text(" ".join(words), encoding="utf-8")
    return folder


NAMES = {
    "audio": ["0.wav", "1.wav", "2.wav"],
    "images": ["0.png", "2.png", "deep/1.png", "deep/3.png"],
    "text": ["0.txt", "1.txt", "2.txt"],
}


@pytest.mark.parametrize("domain", NAMES)
def test_a_folder_is_learned_from_and_embedded(capsys, place, domain):
    model, out = place / f"model-{domain}", place / f"{domain}.npz"
    words = ("train", place / domain, "--domain", domain, "--out", model, *LITTLE)
    code, said, err = run(capsys, *words, "--dry-run")
    assert (code, err) == (0, "")
    assert "Would learn from" in said
    assert not model.exists()
    code, said, err = run(capsys, *words, "--json")
    assert (code, err) == (0, "")
    result = json.loads(said)
    assert set(result) == {
        "model", "domain", "sequences", "parameters", "steps", "seconds", "loss", "accuracy",
        "bound", "ceiling",
    }  # fmt: skip
    assert result["sequences"] == len(NAMES[domain])
    assert result["bound"] == pytest.approx(result["ceiling"] - result["loss"], abs=1e-4)
    # The same command again finds it done.
    code, said, _ = run(capsys, *words)
    assert code == 0
    assert "The model is in" in said

    code, said, err = run(
        capsys, "embed", model, place / domain, "--out", out, "--pool", "2", "--json"
    )
    assert (code, err) == (0, "")
    assert json.loads(said)["features"] == 16
    with np.load(out, allow_pickle=False) as found:
        assert found["names"].tolist() == NAMES[domain]
        assert found["embeddings"].shape == (len(NAMES[domain]), 16)
        assert found["embeddings"].dtype == np.float32
        assert len(np.unique(found["embeddings"], axis=0)) == len(NAMES[domain])


def test_patches_of_few_pixels_go_through_layers_and_are_pooled_in_quarters(capsys, place):
    model, out = place / "model-of-patches", place / "patches.npz"
    words = ("train", place / "images", "--domain", "images", "--encoder", "mlp", "--out", model)
    assert run(capsys, *words, *LITTLE)[0] == 0
    loaded = ContrastivePredictiveCoding.load(model / "model.safetensors")
    assert type(loaded.encoder).__name__ == "MLPPatchEncoder"
    words = ("embed", model, place / "images", "--out", out, "--pool", "quarters", "--json")
    code, said, _ = run(capsys, *words)
    assert code == 0
    assert json.loads(said)["features"] == 32


def test_embeddings_are_what_the_model_represents(capsys, place):
    model, out = place / "model-of-sound", place / "sound.npz"
    run(capsys, "train", place / "audio", "--domain", "audio", "--out", model, *LITTLE)
    run(capsys, "embed", model, place / "audio", "--out", out, "--level", "encoder")
    loaded = ContrastivePredictiveCoding.load(model / "model.safetensors")
    with np.load(out, allow_pickle=False) as found:
        for row, name in enumerate(found["names"]):
            samples, _ = soundfile.read(place / "audio" / str(name), dtype="int16")
            alone = torch.from_numpy(samples.astype(np.float32) / 32768)[None]
            expected = loaded.represent(alone, level="encoder", pool="mean")[0]
            torch.testing.assert_close(
                torch.from_numpy(found["embeddings"][row]), expected, atol=1e-5, rtol=1e-4
            )


def test_documents_are_embedded_in_the_pieces_they_were_learned_in(capsys, place):
    model, out = place / "model-of-pieces", place / "pieces.npz"
    settings = (*LITTLE, "--piece-words", "2", "--kernel", "1", "--n-negatives", "0")
    run(capsys, "train", place / "text", "--domain", "text", "--out", model, *settings)
    run(capsys, "embed", model, place / "text", "--out", out)
    loaded, notes = ContrastivePredictiveCoding.load_with_notes(model / "model.safetensors")
    assert loaded.settings.kernel == 1
    assert loaded.settings.negatives.n is None  # all of the batch
    words = Vocabulary(tuple(notes["vocabulary"]), np.zeros(len(notes["vocabulary"])))
    document = documents.split((place / "text" / "0.txt").read_text("utf-8").splitlines())
    numbers = [words.encode(text.words(one)) for one in document]
    pieces = batches.pieces(numbers, 2)
    assert len(pieces) > len(numbers)
    with np.load(out, allow_pickle=False) as found:
        expected = loaded.represent(unlabelled.passages(pieces), level="context", pool="mean")
        torch.testing.assert_close(torch.from_numpy(found["embeddings"][:1]), expected)


def test_training_that_was_killed_goes_on_to_the_same_model(place):
    def command(out, steps="300"):
        words = ["cpc", "train", str(place / "text"), "--domain", "text", "--out", str(out)]
        code = f"import sys; from sidle.cli import main; sys.exit(main.main({[*words, *LITTLE]!r}))"
        return [sys.executable, "-c", code.replace("'4'", f"'{steps}'")]

    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run(command(place / "whole"), check=True, env=environment, capture_output=True)
    killed = place / "killed"
    process = subprocess.Popen(
        command(killed), env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        if (killed / "metrics.jsonl").exists() and (killed / "metrics.jsonl").stat().st_size > 500:
            process.send_signal(signal.SIGINT)
            break
        time.sleep(0.01)
    process.wait(60)
    assert process.returncode == 1
    assert (killed / "checkpoint.safetensors").exists()
    assert not (killed / "model.safetensors").exists()
    subprocess.run(command(killed), check=True, env=environment, capture_output=True)
    states = [
        ContrastivePredictiveCoding.load(folder / "model.safetensors").state_dict()
        for folder in (place / "whole", killed)
    ]
    for name, value in states[0].items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(value, states[1][name]), name


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("train", "absent", "--domain", "text", "--out", "m"), 1, "absent"),
        (("train", "text", "--domain", "images", "--out", "m"), 1, "text"),
        (("train", "images", "--domain", "text", "--out", "m"), 1, "found none"),
        (("train", "images", "--domain", "audio", "--out", "m"), 1, "images"),
        (("train", "text", "--domain", "text", "--out", "m", "--steps", "0"), 2, "--steps"),
        (("train", "text", "--domain", "text", "--out", "m", "--sentences", "1"), 2, "--sentences"),
        (("train", "text", "--domain", "text", "--out", "m", "--n-negatives", "-1"), 2, "least 0"),
        (("train", "text", "--domain", "text", "--out", "m", "--piece-words", "0"), 2, "--piece"),
        (("train", "text", "--domain", "text", "--out", "m", "--kernel", "2"), 1, "kernel odd"),
        (
            ("train", "text", "--domain", "text", "--out", "m", "--negatives", "same-speaker"),
            2,
            "audio",
        ),
        (
            ("train", "audio", "--domain", "audio", "--out", "m", "--negatives", "same-speaker"),
            1,
            "who speaks",
        ),
        (("embed", "absent", "text", "--out", "e.npz"), 1, "absent"),
        (("embed", "m", "text", "--out", "e.csv"), 2, ".npz"),
        (("embed", "m", "text", "--out", "e.npz", "--pool", "all"), 2, "--pool"),
    ],
)
def test_bad_input_is_refused(capsys, place, monkeypatch, words, code, says):
    monkeypatch.chdir(place)
    found, out, err = run(capsys, *words)
    assert found == code
    assert says in err
    assert out == ""
    assert not (place / "m").exists()


def test_a_model_made_in_python_tells_how_to_embed(capsys, place, tmp_path):
    model = ContrastivePredictiveCoding.text(vocabulary_size=5, features=4, context_features=4)
    model.save(tmp_path / "model.safetensors")
    code, _, err = run(capsys, "embed", tmp_path, place / "text", "--out", tmp_path / "e.npz")
    assert code == 1
    assert "represent" in err
