"""`sidle data`: what is known, where it is, and packing a folder of one's own."""

import json

import numpy as np
import pytest

from sidle.cli import main
from sidle.data import sources


@pytest.fixture(autouse=True)
def empty_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv(sources.VARIABLE, str(tmp_path / "data"))
    monkeypatch.setattr(sources, "cache_folder", lambda: tmp_path / "cache")


def sidle(capsys, *words):
    code = main.main(["data", *words])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_list_says_what_is_there(capsys, tmp_path):
    code, out, _ = sidle(capsys, "list")
    assert code == 0
    assert "digits" in out
    (tmp_path / "data" / "xc_bibtex").mkdir(parents=True)
    for name in ("train.txt", "test.txt.gz"):
        (tmp_path / "data" / "xc_bibtex" / name).write_bytes(b"")
    code, out, _ = sidle(capsys, "list", "--json")
    rows = {row["name"]: row for row in json.loads(out)["data"]}
    assert rows["digits"]["status"] == "embedded"
    assert rows["fashion_mnist"]["status"] == "fetchable"
    assert rows["xc_delicious"]["status"] == "missing"
    assert rows["xc_bibtex"]["path"] == str(tmp_path / "data" / "xc_bibtex")


def test_where_prints_a_path_or_what_to_do(capsys, tmp_path):
    (tmp_path / "data" / "mine").mkdir(parents=True)
    assert sidle(capsys, "where", "mine")[1].strip() == str(tmp_path / "data" / "mine")
    assert "needs no file" in sidle(capsys, "where", "digits")[1]
    assert json.loads(sidle(capsys, "where", "digits", "--json")[1])["path"] is None
    code, _, err = sidle(capsys, "where", "fashion_mnist")
    assert code == 1
    assert "sidle data fetch fashion_mnist" in err
    assert "train-images-idx3-ubyte" in err


def test_fetch_refuses_what_has_no_checksum(capsys):
    code, out, _ = sidle(capsys, "fetch", "fashion_mnist", "--dry-run", "--json")
    assert code == 0
    assert len(json.loads(out)["urls"]) == 4
    assert "not fetchable" in sidle(capsys, "fetch", "mnist", "--dry-run")[1]
    for name in ("mnist", "no_such_set"):
        assert sidle(capsys, "fetch", name)[0] == 1


def test_pack_makes_a_file_that_reads_the_same(capsys, tmp_path):
    from PIL import Image

    from sidle.data import images

    draw = np.random.default_rng(0)
    for split in ("train", "test"):
        for kind in ("cat", "dog"):
            folder = tmp_path / "pets" / split / kind
            folder.mkdir(parents=True)
            for i in range(3):
                pixels = draw.integers(0, 256, (5, 4, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    code, out, _ = sidle(capsys, "pack", "pets", "pets.npz", "images", "--json")
    assert code == 0
    assert json.loads(out)["bytes"] == (tmp_path / "pets.npz").stat().st_size
    for packed, tree in zip(images.load("pets.npz"), images.load("pets"), strict=True):
        assert packed.digest() == tree.digest()
    code, _, err = sidle(capsys, "pack", "pets", "pets.zip", "images")
    assert code == 2
    assert ".npz" in err


def test_pack_of_sound(capsys, tmp_path):
    import soundfile

    from sidle.data import audio

    (tmp_path / "voices").mkdir()
    wave = np.sin(np.arange(800) / 20).astype(np.float32) / 2
    soundfile.write(tmp_path / "voices" / "a.wav", wave, 8000)
    assert sidle(capsys, "pack", "voices", "voices.npz", "audio")[0] == 0
    assert audio.load("voices.npz").digest() == audio.load("voices").digest()
    assert sidle(capsys, "pack", "absent", "x.npz", "audio")[0] == 1
