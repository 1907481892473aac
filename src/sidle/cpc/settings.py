"""Presets: what a model of sound, images, text or observations consists of.

One frozen dataclass a domain holds every knob; `parts` makes encoder, context and predictor of it.
Defaults are the paper's where it gives them and a CPU can bear them; what differs says so.

References: [CPC] van den Oord, Li & Vinyals 2018, arXiv:1807.03748. [CPC2] Henaff et al. 2020,
arXiv:1905.09272.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import nn

from sidle.cpc.contexts import (
    CausalTransformerContext,
    GRUContext,
    MaskedConvolutionContext,
    RowGRUContext,
)
from sidle.cpc.encoders import (
    AudioEncoder,
    ObservationEncoder,
    SentenceEncoder,
    audio_strides,
    observation_network,
)
from sidle.cpc.negatives import Mixed, Policy, policy_as_dict, policy_of_dict
from sidle.cpc.patches import MLPPatchEncoder, ResidualPatchEncoder
from sidle.cpc.positions import checked_steps
from sidle.cpc.predictors import (
    ActionPredictor,
    LinearPredictor,
    MLPPredictor,
    TransformerPredictor,
)
from sidle.errors import ArgumentError, CheckpointError

ContextName = Literal["gru", "transformer"]
GridContextName = Literal["masked", "row-gru"]
PatchEncoderName = Literal["residual", "mlp"]
PredictorName = Literal["linear", "mlp", "transformer"]


@dataclass(frozen=True)
class AudioSettings:
    """Sound: five strided convolutions, a GRU, twelve steps of 10 ms [CPC, section 3.1]."""

    sample_rate: int = 16_000
    """Samples a second; strides are chosen so that a latent comes every 10 ms."""
    features: int = 512
    """Channels of the encoder, D."""
    normalisation: Literal["channel", "none"] = "channel"
    """Of the encoder; the paper has none."""
    context: ContextName = "gru"
    """What sums up the past."""
    context_features: int = 256
    """Units of the context, H."""
    context_layers: int = 1
    """Layers of the context."""
    steps: tuple[int, ...] = tuple(range(1, 13))
    """How far ahead is predicted, in latents."""
    predictor: PredictorName = "linear"
    """What predicts from the context."""
    negatives: Policy = field(default_factory=lambda: Mixed(128))
    """Which latents are negatives."""
    temperature: float = 1.0
    """Divides scores."""
    cosine: bool = False
    """Scores are cosines."""
    seed: int = 0
    """Names the initial weights and the draws of negatives."""


@dataclass(frozen=True)
class ImageSettings:
    """Images: a grid of overlapping patches, read from top to bottom [CPC, section 3.2]."""

    size: tuple[int, int] = (32, 32)
    """Height and width; (28, 28) is padded to the same grid."""
    channels: int = 3
    """1 for grey, 3 for colour."""
    grid: int = 7
    """Patches a side; they overlap by half."""
    features: int = 256
    """Features of a patch, D (1024 in the paper)."""
    encoder: PatchEncoderName = "residual"
    """What encodes a patch; "mlp" for patches of few pixels."""
    width: int = 64
    """Channels of the residual network's first stage, or units of the MLP's second layer."""
    blocks: int = 1
    """Residual blocks of each of its two stages; of no matter to the MLP."""
    context: GridContextName = "masked"
    """Masked convolutions (PixelCNN by rows), or a GRU down the rows."""
    context_features: int = 256
    """Units of the context, H."""
    context_layers: int = 3
    """Residual blocks of masked convolutions."""
    steps: tuple[int, ...] = (2, 3, 4, 5)
    """Rows down that are predicted: up to five as in the paper, without the next, which shares
    pixels [CPC2]."""
    predictor: PredictorName = "linear"
    """What predicts from the context."""
    negatives: Policy = field(default_factory=lambda: Mixed(128))
    """Which patches are negatives."""
    temperature: float = 1.0
    """Divides scores."""
    cosine: bool = False
    """Scores are cosines."""
    seed: int = 0
    """Names the initial weights and the draws of negatives."""


@dataclass(frozen=True)
class TextSettings:
    """Text: sentences in the order of their documents, three ahead [CPC, section 3.3]."""

    vocabulary_size: int = 20_000
    """How many words there are."""
    features: int = 512
    """Features of a sentence, D (2400 in the paper)."""
    word_features: int = 256
    """Features of a word (620 in the paper)."""
    kernel: int = 3
    """Words that the convolution sees; odd."""
    dropout: float = 0.0
    """Share of word features dropped in training."""
    context: ContextName = "gru"
    """What sums up the sentences before."""
    context_features: int = 512
    """Units of the context, H (2400 in the paper)."""
    context_layers: int = 1
    """Layers of the context."""
    steps: tuple[int, ...] = (1, 2, 3)
    """Sentences ahead that are predicted."""
    predictor: PredictorName = "linear"
    """What predicts from the context."""
    negatives: Policy = field(default_factory=lambda: Mixed(128))
    """Which sentences are negatives."""
    temperature: float = 1.0
    """Divides scores."""
    cosine: bool = False
    """Scores are cosines."""
    seed: int = 0
    """Names the initial weights and the draws of negatives."""


@dataclass(frozen=True)
class ObservationSettings:
    """What an agent sees, step by step [CPC, section 3.4]."""

    shape: tuple[int, ...] = (3, 64, 64)
    """(C, H, W) of images, or (F,) of vectors."""
    n_actions: int | None = None
    """How many actions there are: predictions then depend on those taken in between. None: they
    do not, as in the paper."""
    action_features: int | None = None
    """The same for actions that are vectors."""
    features: int = 256
    """Features of an observation, D."""
    context: ContextName = "gru"
    """What sums up the past."""
    context_features: int = 256
    """Units of the context, H."""
    context_layers: int = 1
    """Layers of the context."""
    steps: tuple[int, ...] = tuple(range(1, 9))
    """Steps ahead that are predicted (up to 30 in the paper)."""
    predictor: PredictorName = "linear"
    """What predicts from the context, where actions do not matter."""
    negatives: Policy = field(default_factory=lambda: Mixed(128))
    """Which observations are negatives."""
    temperature: float = 1.0
    """Divides scores."""
    cosine: bool = False
    """Scores are cosines."""
    seed: int = 0
    """Names the initial weights and the draws of negatives."""


Settings = AudioSettings | ImageSettings | TextSettings | ObservationSettings

DOMAINS: Mapping[str, type[Settings]] = {
    "audio": AudioSettings,
    "images": ImageSettings,
    "text": TextSettings,
    "observations": ObservationSettings,
}


def parts(settings: Settings) -> tuple[nn.Module, nn.Module, nn.Module]:
    """Return encoder, context and predictor, their weights drawn from torch's global generator.

    Raises:
        ArgumentError: a setting lies outside its range.
    """
    encoder: nn.Module
    if isinstance(settings, AudioSettings):
        encoder = AudioEncoder(
            audio_strides(settings.sample_rate),
            features=settings.features,
            normalisation=settings.normalisation,
        )
    elif isinstance(settings, ImageSettings):
        encoder = _patch_encoder(settings)
    elif isinstance(settings, TextSettings):
        encoder = SentenceEncoder(
            settings.vocabulary_size,
            features=settings.features,
            word_features=settings.word_features,
            kernel=settings.kernel,
            dropout=settings.dropout,
        )
    else:
        network = observation_network(settings.shape, settings.features)
        encoder = ObservationEncoder(network, settings.features)
    return encoder, _context(settings), _predictor(settings)


def _patch_encoder(settings: ImageSettings) -> nn.Module:
    shape: dict[str, Any] = {
        name: getattr(settings, name) for name in ("channels", "features", "grid", "width")
    }
    if settings.encoder == "mlp":
        return MLPPatchEncoder(settings.size, **shape)
    if settings.encoder == "residual":
        return ResidualPatchEncoder(settings.size, **shape, blocks=settings.blocks)
    raise ArgumentError(f"encoder must be residual or mlp, got {settings.encoder!r}.")


def settings_as_dict(settings: Settings) -> dict[str, Any]:
    """Return the settings as a tree of plain values, with the domain's name."""
    domain = next(name for name, kind in DOMAINS.items() if kind is type(settings))
    values = {f.name: getattr(settings, f.name) for f in dataclasses.fields(settings)}
    return {"domain": domain, **values, "negatives": policy_as_dict(settings.negatives)}


def settings_of_dict(tree: Mapping[str, Any]) -> Settings:
    """Return the settings that `settings_as_dict` turned into a tree.

    Raises:
        CheckpointError: it is none that this version knows.
    """
    values = dict(tree)
    kind = DOMAINS.get(values.pop("domain", ""))
    names = set() if kind is None else {field.name for field in dataclasses.fields(kind)}
    if kind is None or set(values) != names:
        raise CheckpointError(
            f"the settings of the model are of an unknown kind: {tree.get('domain')!r} with "
            f"{sorted(values)}. Load it with the version of sidle that wrote it."
        )
    values["negatives"] = policy_of_dict(values["negatives"])
    made: Any = kind
    found: Settings = made(**{
        name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
    })  # fmt: skip
    return found


def _context(settings: Settings) -> nn.Module:
    enters, leaves = settings.features, settings.context_features
    layers = settings.context_layers
    if settings.context == "gru":
        return GRUContext(enters, leaves, layers=layers)
    if settings.context == "transformer":
        return CausalTransformerContext(enters, leaves, layers=layers)
    if settings.context == "masked":
        return MaskedConvolutionContext(enters, leaves, layers=layers)
    if settings.context == "row-gru":
        return RowGRUContext(enters, leaves)
    raise ArgumentError(
        "context must be gru or transformer, for images masked or row-gru, got "
        f"{settings.context!r}."
    )


def _predictor(settings: Settings) -> nn.Module:
    enters, leaves = settings.context_features, settings.features
    steps = checked_steps(settings.steps)
    if isinstance(settings, ObservationSettings) and (
        settings.n_actions is not None or settings.action_features is not None
    ):
        return ActionPredictor(
            enters, leaves, steps,
            n_actions=settings.n_actions, action_features=settings.action_features,
        )  # fmt: skip
    kinds = {"linear": LinearPredictor, "mlp": MLPPredictor, "transformer": TransformerPredictor}
    if settings.predictor not in kinds:
        raise ArgumentError(
            f"predictor must be linear, mlp or transformer, got {settings.predictor!r}."
        )
    made: nn.Module = kinds[settings.predictor](enters, leaves, len(steps))
    return made
