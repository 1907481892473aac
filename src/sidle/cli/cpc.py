"""`sidle cpc train` and `embed`: representations of a user's own sound, images or text."""

from __future__ import annotations

import dataclasses
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from sidle.cli import console
from sidle.errors import CheckpointError, DataError, UsageError

if TYPE_CHECKING:
    from sidle.cli.unlabelled import Content, Domain
    from sidle.cpc import ContrastivePredictiveCoding
    from sidle.cpc.batches import Batches
    from sidle.cpc.negatives import Policy
    from sidle.cpc.patches import PatchEncoder
    from sidle.data.text import Vocabulary

MODEL = "model.safetensors"
_BATCH_SIZES = {"audio": 8, "images": 32, "text": 32}
_SIZE = 32  # pixels a side of images from a folder


@dataclass(frozen=True)
class TrainOptions:
    """Learn to represent sound, images or text by predicting what comes (van den Oord et al. 2018).

    DIR is a folder of WAV/FLAC, PNG/JPEG or text files, at any depth, or the name of a set (see
    `sidle data list`). No labels are needed. Ctrl-C keeps what was learned: the same command goes
    on from there. Settings left out are those of the paper's preset.
    """

    dir: tyro.conf.Positional[str]
    """Where the files are."""
    domain: Literal["audio", "images", "text"]
    """What they are."""
    out: Path
    """Folder of the model."""
    steps: int = 2000
    """Steps of training."""
    batch_size: int | None = None
    """Sequences of a step; 8 windows of sound, 32 images, 32 passages by default."""
    learning_rate: float = 2e-4
    """Adam's."""
    features: int | None = None
    """Features of a latent; 512 for sound and text, 256 for images."""
    context_features: int | None = None
    """Units of the context; 256, for text 512."""
    ahead: int | None = None
    """How many steps ahead are predicted, at most: 12 latents of sound, 5 rows of an image, 3
    sentences."""
    negatives: Literal["mixed", "same-sequence", "other-sequences", "same-speaker"] = "mixed"
    """What a positive is told from: latents of all sequences of the batch, of its own, of the
    others, or of the same speaker (where files tell speakers)."""
    n_negatives: int = 128
    """How many; 0 takes all that there are in a batch."""
    sample_rate: int | None = None
    """Resample sound to so many samples a second; by default as the files have."""
    window: float = 1.28
    """Seconds of sound that a sequence takes."""
    encoder: Literal["residual", "mlp"] = "residual"
    """What encodes a patch of an image; mlp is faster, and better for patches of few pixels."""
    alter_patches: bool = False
    """Move each patch of an image by a pixel at most and make it up to half darker or brighter:
    what is learned then tells classes from fewer labels."""
    size: int | None = None
    """Height and width to resize images of a folder to; 32 by default."""
    vocabulary: int = 20_000
    """Words of text that are told apart, at most."""
    sentences: int = 8
    """Sentences of a passage, or pieces of them."""
    max_words: int = 64
    """Words of a sentence that are read."""
    piece_words: int | None = None
    """Cut sentences into pieces of about so many words, and predict pieces; 8 is good with little
    text."""
    kernel: int = 3
    """Words that a sentence's convolution sees; odd. 1 is good with little text."""
    device: str = "cpu"
    """Where to compute: cpu, cuda, mps."""
    seed: int = 0
    """Names all chance."""
    dry_run: bool = False
    """Read the files, say what would be done, and end."""
    json: bool = False
    """Print {"model", "domain", "sequences", "parameters", "steps", "seconds", "loss", "accuracy",
    "bound", "ceiling"}; bound and ceiling in nats, means over steps ahead."""


@dataclass(frozen=True)
class EmbedOptions:
    """Write an embedding of each recording, image or document of a folder.

    The .npz file holds embeddings, (N, F) float32, and names, (N,) text: paths below the folder.
    """

    model: tyro.conf.Positional[Path]
    """Folder that `sidle cpc train` wrote."""
    dir: tyro.conf.Positional[str]
    """Where the files are."""
    out: Path
    """The .npz file to write."""
    level: Literal["encoder", "context"] = "context"
    """What is embedded: latents, or contexts, which know what came before."""
    pool: str = "mean"
    """Over time and place: mean, max, last, a number of segments whose means stand side by side, or
    quarters (of images)."""
    batch_size: int = 16
    """Files at once, of similar length."""
    device: str = "cpu"
    """Where to compute: cpu, cuda, mps."""
    json: bool = False
    """Print {"out", "embeddings", "features", "level", "pool"}."""


def train(arguments: list[str]) -> int:
    """Run ``sidle cpc train`` with ``arguments``; return the exit code."""
    options = console.parse(
        TrainOptions, "cpc train", arguments,
        example="sidle cpc train recordings --domain audio --out model",
    )  # fmt: skip
    _check(options)
    from sidle import cpc, provenance, runs
    from sidle.cli import unlabelled

    size = options.size or (_SIZE if Path(options.dir).expanduser().is_dir() else None)
    found = unlabelled.read(options.dir, options.domain, sample_rate=options.sample_rate, size=size)
    model, batches, notes = _prepared(options, found)
    shape = {
        "domain": options.domain,
        "sequences": len(found),
        "parameters": sum(one.numel() for one in model.parameters()),
        "steps": options.steps,
    }
    if options.dry_run:
        _say_what_would_be_done(options, shape)
        return 0
    settings = dataclasses.asdict(options)
    for name in ("dir", "out", "json", "dry_run", "device"):
        del settings[name]
    identity = runs.Identity(
        settings=settings,
        seed=options.seed,
        data_digest=found.digest(),
        code_digest=provenance.code_digest("sidle.cpc"),
    )
    try:
        with runs.open_run(options.out, identity) as run:
            if not run.finished:
                records = cpc.train(
                    model.to(options.device), batches, options.steps,
                    learning_rate=options.learning_rate, run=run,
                    log_every=max(1, options.steps // 100), description="training",
                )  # fmt: skip
                model.cpu().save(options.out / MODEL, **notes)
                last = {
                    name: records[-1][name] for name in ("loss", "accuracy", "bound", "ceiling")
                }
                seconds = {"seconds": round(run.seconds, 3)}
                run.finish({"model": str(options.out), **shape, **seconds, **last})
                (options.out / runs.CHECKPOINT).unlink(missing_ok=True)
            result = run.result
    except KeyboardInterrupt:
        again = shlex.join(["sidle", "cpc", "train", *arguments])
        print(f"\nWhat was learned is kept. To go on: {again}", file=sys.stderr)
        raise
    _announce(options, result)
    return 0


def embed(arguments: list[str]) -> int:
    """Run ``sidle cpc embed`` with ``arguments``; return the exit code."""
    options = console.parse(
        EmbedOptions, "cpc embed", arguments,
        example="sidle cpc embed model recordings --out embeddings.npz",
    )  # fmt: skip
    if options.out.suffix != ".npz":
        raise UsageError(f"sidle cpc embed: --out must end in .npz, got {options.out}.")
    pool = _pool(options.pool)
    if options.batch_size < 1:
        raise UsageError(
            f"sidle cpc embed: --batch-size must be at least 1, got {options.batch_size}."
        )
    import numpy as np

    from sidle.cli import unlabelled
    from sidle.cpc import ContrastivePredictiveCoding
    from sidle.data import archives

    path = options.model / MODEL
    model, notes = ContrastivePredictiveCoding.load_with_notes(path, device=options.device)
    domain: Domain = notes.get("domain")  # type: ignore[assignment]
    if domain not in ("audio", "images", "text"):
        raise CheckpointError(
            f"{path}: was not written by `sidle cpc train`, so that nothing says how to read files "
            "for it. Use ContrastivePredictiveCoding.load and represent."
        )
    found = unlabelled.read(
        options.dir, domain, sample_rate=notes["sample_rate"], size=notes["size"]
    )
    embeddings = _embedded(model, found, notes, options, pool)
    archives.write_npz(
        options.out, {"embeddings": embeddings, "names": np.array(found.names, np.str_)}
    )
    n, features = embeddings.shape
    if options.json:
        console.print_json(
            {
                "out": str(options.out),
                "embeddings": n,
                "features": features,
                "level": options.level,
                "pool": options.pool,
            }
        )
    else:
        console.show(f"Wrote {n:,} embeddings of {features:,} features to {options.out}.")
    return 0


def _check(options: TrainOptions) -> None:
    for name in ("steps", "n_negatives", "sentences", "max_words", "vocabulary"):
        least = {"sentences": 2, "n_negatives": 0}.get(name, 1)
        if (value := getattr(options, name)) < least:
            flag = name.replace("_", "-")
            raise UsageError(f"sidle cpc train: --{flag} must be at least {least}, got {value}.")
    for name in ("batch_size", "features", "context_features", "ahead", "sample_rate", "size",
                 "piece_words"):  # fmt: skip
        value = getattr(options, name)
        if value is not None and value < 1:
            flag = name.replace("_", "-")
            raise UsageError(f"sidle cpc train: --{flag} must be at least 1, got {value}.")
    if not options.learning_rate > 0 or not options.window > 0:
        raise UsageError("sidle cpc train: --learning-rate and --window must be above 0.")


def _prepared(
    options: TrainOptions, found: Content
) -> tuple[ContrastivePredictiveCoding, Batches, dict[str, Any]]:
    """Return an untrained model, what it learns from, and what embedding must know."""
    from sidle.cli import unlabelled
    from sidle.cli.unlabelled import Pictures
    from sidle.cpc import ContrastivePredictiveCoding, batches
    from sidle.cpc.patches import AlteredPatches
    from sidle.data.recordings import Recordings

    size = options.batch_size or _BATCH_SIZES[options.domain]
    common = {
        name: value
        for name in ("features", "context_features")
        if (value := getattr(options, name)) is not None
    }
    common |= {"negatives": _policy(options), "seed": options.seed}
    notes: dict[str, Any] = {"domain": options.domain, "sample_rate": None, "size": None}
    if isinstance(found, Recordings):
        if options.negatives == "same-speaker" and found.speakers is None:
            raise DataError(options.dir, "nothing tells who speaks.", "Choose other --negatives.")
        model = ContrastivePredictiveCoding.audio(
            sample_rate=found.sample_rate, steps=options.ahead or 12, **common
        )
        hop: int = model.encoder.hop  # type: ignore[assignment]
        window = max(2, round(options.window * found.sample_rate / hop)) * hop
        made = batches.audio(
            found, size, window, hop=hop, seed=options.seed,
            same_group=options.negatives == "same-speaker",
        )  # fmt: skip
        return model, made, notes | {"sample_rate": found.sample_rate}
    if isinstance(found, Pictures):
        _, height, width, channels = found.pixels.shape
        model = ContrastivePredictiveCoding.images(
            size=(height, width),
            channels=channels,
            steps=tuple(range(2, (options.ahead or 5) + 1)) or (1,),
            encoder=options.encoder,
            width=512 if options.encoder == "mlp" else 64,
            **common,
        )
        encoder: PatchEncoder = model.encoder  # type: ignore[assignment]
        made = batches.images(
            found.pixels, min(size, len(found)), seed=options.seed,
            augmentation=AlteredPatches(encoder) if options.alter_patches else None,
        )  # fmt: skip
        return model, made, notes | {"size": height if height == width else None}
    words = unlabelled.vocabulary(found, options.vocabulary)
    model = ContrastivePredictiveCoding.text(
        vocabulary_size=len(words), steps=options.ahead or 3, kernel=options.kernel, **common
    )
    rows = unlabelled.encoded(found, words, options.max_words, options.piece_words)
    made = batches.text(
        rows, size, options.sentences, seed=options.seed, max_words=options.max_words
    )
    notes |= {"max_words": options.max_words, "piece_words": options.piece_words}
    return model, made, notes | {"vocabulary": list(words.words)}


def _policy(options: TrainOptions) -> Policy:
    from sidle.cpc import negatives

    n = options.n_negatives or None
    if options.negatives == "same-sequence":
        return negatives.SameSequence(n)
    if options.negatives == "other-sequences":
        return negatives.OtherSequences(n)
    if options.negatives == "same-speaker":
        if options.domain != "audio":
            raise UsageError("sidle cpc train: --negatives same-speaker is for --domain audio.")
        return negatives.SameGroup(n, key="speaker")
    return negatives.Mixed(n)


def _pool(text: str) -> Any:
    if text in ("mean", "max", "last", "quarters"):
        return text
    if text.isdecimal() and int(text) >= 1:
        return int(text)
    raise UsageError(
        f"sidle cpc embed: --pool must be mean, max, last, quarters or a number of segments, "
        f"got {text!r}."
    )


def _embedded(
    model: ContrastivePredictiveCoding,
    found: Content,
    notes: dict[str, Any],
    options: EmbedOptions,
    pool: Any,
) -> Any:
    """Return the embedding of each file, (N, F) float32."""
    import numpy as np

    from sidle import progress
    from sidle.cli import unlabelled
    from sidle.cli.unlabelled import Pictures
    from sidle.data.recordings import Recordings

    settings: dict[str, Any] = {"level": options.level, "pool": pool}
    if isinstance(found, Pictures):
        return model.represent(found.pixels, batch_size=options.batch_size, **settings).numpy()
    if isinstance(found, Recordings):
        # Of similar length together: little padding.
        length_N = np.diff(found.offsets)
        rows: Any = np.argsort(length_N, kind="stable")
        groups = [rows[i : i + options.batch_size] for i in range(0, len(rows), options.batch_size)]
    else:
        words = _vocabulary(notes)
        encoded = unlabelled.encoded(found, words, notes["max_words"], notes["piece_words"])
        groups = [np.array([row]) for row in range(len(found))]
    made: dict[int, Any] = {}
    with progress.bar("embedding", len(groups)) as bar:
        for group in groups:
            if isinstance(found, Recordings):
                some = [found.samples[found.offsets[row] : found.offsets[row + 1]] for row in group]
                x, lengths = unlabelled.padded(some)
                result = model.represent(x, lengths=lengths, **settings)
            else:
                sentences = encoded[int(group[0])]
                if not sentences:
                    raise DataError(
                        found.names[int(group[0])], "holds no sentence.", "Take the file away."
                    )
                result = model.represent(unlabelled.passages(sentences), **settings)
            made |= dict(zip(group.tolist(), result.numpy(), strict=True))
            bar.advance()
    return np.stack([made[row] for row in range(len(found))])


def _vocabulary(notes: dict[str, Any]) -> Vocabulary:
    import numpy as np

    from sidle.data.text import Vocabulary

    words = tuple(notes["vocabulary"])
    return Vocabulary(words, np.zeros(len(words), np.int64))


def _say_what_would_be_done(options: TrainOptions, shape: dict[str, Any]) -> None:
    if options.json:
        console.print_json({"model": str(options.out), **shape})
        return
    console.show(
        f"Would learn from {shape['sequences']:,} {_what(options.domain)}: a model of "
        f"{shape['parameters']:,} parameters, {options.steps:,} steps, into {options.out}."
    )


def _what(domain: str) -> str:
    return {"audio": "recordings", "images": "images", "text": "documents"}[domain]


def _announce(options: TrainOptions, result: dict[str, Any]) -> None:
    if options.json:
        console.print_json(result)
        return
    made = console.table("", ("", "value"), right=("value",))
    rows = (
        (f"learned from {_what(options.domain)}", f"{result['sequences']:,}"),
        ("parameters", f"{result['parameters']:,}"),
        ("steps", f"{result['steps']:,}"),
        ("time", console.seconds(result["seconds"])),
        ("loss (nats)", f"{result['loss']:.3f}"),
        ("positives found", f"{100 * result['accuracy']:.1f} %"),
        ("information, at least (nats)", f"{result['bound']:.3f}"),
        ("which cannot be told beyond (nats)", f"{result['ceiling']:.3f}"),
    )
    for row in rows:
        made.add_row(*row)
    console.show(made, f"The model is in {options.out}.")
