"""What README and docs tell people to type works, and what they show is what comes out.

In fenced blocks of kind "sh", each line is a command: `sidle ...` is run in a folder prepared
below (studies with --dry-run, because they take longer than a test may), `make TARGET` must be a
target. A block of kind "python" is run; if a block of kind "text" follows it, that is its output.
"""

import collections
import contextlib
import io
import itertools
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from safetensors.torch import save_file

from sidle import seeding, storage, studies
from sidle.cli import main, models, report
from sidle.data import extreme
from sidle.data.synthetic_extreme import power_law_rows
from sidle.errors import DataNotFoundError
from sidle.ppcg import play, playable
from sidle.ppcg.agents import NetworkSettings, agent
from sidle.ppcg.play import recording
from sidle.slide.classifier import ExtremeClassifier
from sidle.studies import execution
from sidle.studies.study import complete_seeds, judge

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
PAGES += sorted((ROOT / "docs").glob("*.md"))
# What a command line may begin with besides `sidle` and `make`; not run, because it would change
# the machine.
SETUP = ("git clone", "cd ", "pip install", ".venv/bin/pre-commit install")

# What the documented commands call networks:small.
NETWORKS = """
from torch import nn

def small():
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 10)
    )
"""


def blocks(page):
    text = page.read_text(encoding="utf-8")
    return re.findall(r"^```(\w+)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def commands():
    for page in PAGES:
        for kind, content in blocks(page):
            if kind == "sh":
                for line in content.replace("\\\n", " ").splitlines():
                    if line.strip():
                        yield pytest.param(line.split("#")[0].strip(), id=f"{page.name}: {line}")


def programs():
    for page in PAGES:
        kinds = [*blocks(page), ("", "")]
        for (kind, content), (following, output) in itertools.pairwise(kinds):
            if kind == "python":
                expected = output if following == "text" else None
                yield pytest.param(content, expected, id=f"{page.name}: {content[:40]}")


@pytest.fixture(scope="session")
def own_game(tmp_path_factory):
    """The game of docs/write-a-game.md, its levels, a recording, agents, and a classifier."""
    place = tmp_path_factory.mktemp("own_game")
    for kind, content in blocks(ROOT / "docs" / "write-a-game.md"):
        if kind in ("vgdl", "level"):
            name = "cheese.vgdl" if kind == "vgdl" else "cheese.txt"
            (place / name).write_text(content, encoding="utf-8")
    stage = playable.find(place / "cheese.vgdl")
    episode = play.Episode(stage.game, stage.levels[0], 0)
    for _ in range(9):
        episode.step(0)
    storage.write_json(place / "cheese-9-ticks.json", recording.record(episode).as_dict())
    for found in (stage, playable.find("frogs")):
        name = f"{found.game.name}-agent"
        agent.build(found.game, found.shape, "ppo", NetworkSettings()).save(place / name)
    rows = power_law_rows(
        300, n_features=200, n_labels=30, features_per_row=8, labels_per_row=2, seed=0, part="train"
    )
    extreme.write_xc(place / "rows.txt", rows)
    ExtremeClassifier(hidden=8, n_epochs=1).fit(rows.features, rows.labels).save(place / "model")
    unlabelled(place)
    return place


def unlabelled(place):
    """Make folders of sound, images and text, and a model of the text."""
    generator = np.random.default_rng(0)
    for name in ("recordings", "pictures", "pages"):
        (place / name).mkdir()
    for i in range(2):
        noise = 0.1 * generator.standard_normal(4000)
        soundfile.write(place / "recordings" / f"{i}.wav", noise, 8000, "PCM_16")
        pixels = generator.integers(0, 256, (12, 12, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(place / "pictures" / f"{i}.png")
        words = [f"The {word} saw it {i} times. It left." for word in ("cat", "dog", "fish")]
        (place / "pages" / f"{i}.txt").write_text(" ".join(words), encoding="utf-8")
    little = ("--steps", "1", "--features", "8", "--context-features", "8")
    out = str(place / "model-of-few-pages")
    with contextlib.redirect_stdout(io.StringIO()):
        main.main(["cpc", "train", str(place / "pages"), "--domain", "text", "--out", out, *little])


@pytest.fixture
def folder(tmp_path, own_game, monkeypatch):
    """A folder with the files that the documented commands name, and a study that was run."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(own_game, tmp_path, dirs_exist_ok=True)
    noise = np.random.default_rng(0).normal(size=(2, 400, 2)).astype(np.float32)
    np.save("x.npy", noise[0])
    np.save("y.npy", noise[0] + noise[1])
    Path("networks.py").write_text(NETWORKS, encoding="utf-8")
    for seed, name in enumerate(("a.pt", "b.pt")):
        with seeding.scope(seed):
            torch.save(models.build("networks:small").state_dict(), name)
    save_file(torch.load("a.pt", weights_only=True), "pruned.safetensors")
    with monkeypatch.context() as patch:
        patch.setattr(studies, "NAMES", {"toy": "programs.toy_study"})
        with contextlib.redirect_stdout(io.StringIO()):
            main.main(["run", "toy", "--workers", "1", "--seeds", "1"])
    name = next((tmp_path / "runs" / "toy").glob("up-*"))
    name.rename(name.with_name("critic-seed0-abc"))
    return tmp_path


@pytest.mark.parametrize("line", list(commands()))
def test_documented_command_works(line, folder, capsys):
    words = shlex.split(line)
    if words[0] == "make":
        done = subprocess.run(
            ["make", "--dry-run", *words[1:]], cwd=ROOT, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    elif words[0] == "sidle":
        if words[1] in ("run", "play", "train") and "--dry-run" not in words:
            words.append("--dry-run")
        assert main.main(words[1:]) == 0, capsys.readouterr().err
    else:
        assert line.startswith(SETUP), f"a documented command that no test runs: {line}"


@pytest.mark.parametrize(("program", "expected"), list(programs()))
def test_documented_program_works(program, expected, folder):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(program, "documentation", "exec"), {"__name__": "__main__"})
    if expected is not None:
        assert printed.getvalue().strip() == expected.strip()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    targets = [t for t in re.findall(r"\]\(([^)#]+)", text) if "://" not in t]
    assert all((page.parent / target).exists() for target in targets), targets


def test_every_command_is_documented():
    documented = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    assert all(f"sidle {name}" in documented or f"`{name}`" in documented for name in main.COMMANDS)


@pytest.mark.parametrize("name", sorted(folder.name for folder in (ROOT / "evidence").iterdir()))
def test_findings_come_from_committed_evidence(name):
    study = studies.find(name)
    readme = (ROOT / "README.md").read_text("utf-8")
    preset = re.search(rf"`sidle run {name} --preset (\w+)` \| `evidence/{name}/`", readme).group(1)
    try:
        cells = study.cells(study.presets[preset])
    except DataNotFoundError as error:
        pytest.skip(str(error))
    places = execution.Places(ROOT / "no runs", ROOT / "evidence")
    records = list(execution.find_records(study, cells, places).values())
    assert len(records) == len(cells)
    records = complete_seeds(cells, records)
    claims = [execution.judgement_as_json(judge(claim, records)) for claim in study.claims]
    assert report.markdown_table(claims) in (ROOT / "docs" / "findings.md").read_text("utf-8")
    counts = collections.Counter(claim["verdict"] for claim in claims)
    holds, not_, undecided = (counts[v] for v in ("holds", "does not hold", "undecided"))
    row = rf"\| `{name}` \| .* \| {holds} hold, {not_} do(?:es)? not, {undecided} undecided \|"
    assert re.search(row, readme), counts


def test_numbers_in_the_readme_come_from_committed_files():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    startup = (ROOT / "benchmarks" / "results" / "startup.md").read_text(encoding="utf-8")
    for command in ("sidle --help", "import sidle"):
        seconds = re.search(rf"\| {command} \| ([\d.]+) s", startup).group(1)
        assert re.search(rf"`{command}` [a-z ]+ {seconds} s", readme), command
    reader = (ROOT / "benchmarks" / "results" / "xc_reader.md").read_text(encoding="utf-8")
    rate = re.search(r"\| read_xc \| \d+ MB \| (\d+) MB/s", reader).group(1)
    ratio = re.search(r"([\d.]+) times scikit-learn", reader).group(1)
    memory = re.search(r"plain: ([\d.]+) times", reader).group(1)
    assert f"{rate} MB/s, {ratio} times scikit-learn's reader" in readme
    assert f"peak memory of {memory} times" in readme.replace("\n", " ")
    contrast = (ROOT / "benchmarks" / "results" / "contrast.md").read_text(encoding="utf-8")
    large = re.search(r"\*\*Large\*\*: (\d+) MB", contrast).group(1)
    faster, less = re.search(
        r"CPC_audio's criterion.*?\(([\d.]+) times faster\), ([\d.]+) times", contrast
    ).groups()
    assert f"{large} MB above the inputs" in readme
    assert f"{faster} times faster in {less} times less memory" in readme
    staircase = (ROOT / "benchmarks" / "results" / "mi_staircase.md").read_text(encoding="utf-8")
    share = re.search(r"One seed\*\* takes ([\d.]+) of torch-mist", staircase).group(1)
    ten = re.search(r"Ten seeds\*\* take ([\d.]+) times", staircase).group(1)
    assert f"takes {share} of torch-mist's time" in readme
    assert f"side by side {ten} times one seed's" in readme
    loop = (ROOT / "benchmarks" / "results" / "lmc_training.md").read_text(encoding="utf-8")
    bare = re.search(r"Against the bare loop\*\*: ([\d.]+) times", loop).group(1)
    theirs = re.search(r"Against open_lth's loop\*\*: ([\d.]+) times", loop).group(1)
    assert f"takes {bare} of the steps per second of a bare loop and {theirs} times" in readme
    engine = (ROOT / "benchmarks" / "results" / "engine.md").read_text(encoding="utf-8")
    for game in ("zelda", "solarfox", "frogs", "boulderdash"):
        rate = re.search(rf"\| {game} \| ([\d,]+) \|", engine).group(1)
        assert f"{int(rate.replace(',', '')) / 1e6:.1f}" in readme, game
    wide = (ROOT / "benchmarks" / "results" / "slide.md").read_text(encoding="utf-8")
    rate, times = re.search(
        r"## \(b\).*?\*\*([\d,]+)\*\*.*?at batch 128: met \((\d+)\)", wide, re.S
    ).groups()
    assert f"on {rate} samples a second, {times} times dense PyTorch" in readme
