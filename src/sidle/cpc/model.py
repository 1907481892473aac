"""Contrastive Predictive Coding: encode, sum up, predict, contrast [CPC].

    model = ContrastivePredictiveCoding.audio(sample_rate=16_000)
    found = model.loss(waveforms)      # (B, L)
    found.loss.backward()
    print(found.bound_S)               # nats, one for each step ahead
    features = model.represent(waveforms, level="context")

An encoder makes latents z of inputs, a context network sums up those up to t into c_t, and a
predictor says what z_{t+k} will be. InfoNCE asks for each anchor and each step which of N
candidates is the latent that came: -log of exp <z, p> of the positive over the sum of it and of the
negatives [CPC, eq. 4], computed exactly and in chunks by `sidle.mi.contrast`. What is a negative is
a policy's choice (`sidle.cpc.negatives`). The domains differ only in encoder,
context and layout of latents.

Indices are planned on the CPU, and no loss waits for an accelerator.

Letters: B = sequences; T = steps of latents; U = sites; D = latent features; H = context features;
S = predicted steps; N = anchors; M = latents in the pool.
References: [CPC] van den Oord, Li & Vinyals 2018, arXiv:1807.03748.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from sidle import checkpoint, seeding
from sidle.cpc.batches import Batch
from sidle.cpc.losses import StepLosses, contrast
from sidle.cpc.negatives import Mixed, Policy
from sidle.cpc.pooling import Pool, pooled
from sidle.cpc.positions import Positions, checked_steps
from sidle.cpc.predictors import LinearPredictor
from sidle.cpc.settings import (
    AudioSettings,
    ImageSettings,
    ObservationSettings,
    Settings,
    TextSettings,
    parts,
    settings_as_dict,
    settings_of_dict,
)
from sidle.errors import ArgumentError, CheckpointError, ShapeError

Level = Literal["encoder", "context"]


@final
class ContrastivePredictiveCoding(nn.Module):
    """An encoder, a context network and a predictor, trained to tell what comes.

    Args:
        encoder: maps inputs to latents (B, T, D) or (B, T, U, D); has ``features``, D. Where
            sequences vary in length, it takes lengths of inputs as a second argument, and
            ``latent_lengths`` tells those of latents.
        context: maps latents to contexts of the same layout; has ``features``, H. Looks at nothing
            that comes later along T.
        predictor: see `sidle.cpc.predictors`; None: `LinearPredictor`, z^T W_k c [CPC, eq. 3].
        steps: how far ahead is predicted: K for 1 to K, or rising numbers.
        negatives: which latents are negatives.
        temperature: divides scores, above 0.
        cosine: scores are cosines of predictions and latents.
        seed: names the draws of negatives.

    Raises:
        ArgumentError: a setting lies outside its range, or a part does not tell its features.
    """

    def __init__(
        self,
        encoder: nn.Module,
        context: nn.Module,
        predictor: nn.Module | None = None,
        *,
        steps: int | Sequence[int] = 12,
        negatives: Policy | None = None,
        temperature: float = 1.0,
        cosine: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not temperature > 0:
            raise ArgumentError(
                f"ContrastivePredictiveCoding: temperature must be above 0, got {temperature}."
            )
        for name, part in (("encoder", encoder), ("context", context)):
            if not isinstance(getattr(part, "features", None), int):
                raise ArgumentError(
                    f"ContrastivePredictiveCoding: the {name}, a {type(part).__name__}, must have "
                    "an attribute `features`: the last dimension of what it returns."
                )
        self.encoder, self.context = encoder, context
        self.steps = checked_steps(steps)
        if predictor is None:
            features: tuple[Any, Any] = (context.features, encoder.features)
            predictor = LinearPredictor(*features, len(self.steps))
        self.predictor = predictor
        self.negatives = Mixed() if negatives is None else negatives
        self.temperature, self.cosine, self.seed = temperature, cosine, seed
        self.n_losses = 0
        self.settings: Settings | None = None

    @classmethod
    def of(cls, settings: Settings) -> ContrastivePredictiveCoding:
        """Return the model that a preset's settings describe, its weights drawn from their seed.

        Raises:
            ArgumentError: a setting lies outside its range.
        """
        with seeding.scope(seeding.split(settings.seed, "weights")):
            encoder, context, predictor = parts(settings)
        model = cls(
            encoder,
            context,
            predictor,
            steps=settings.steps,
            negatives=settings.negatives,
            temperature=settings.temperature,
            cosine=settings.cosine,
            seed=settings.seed,
        )
        model.settings = settings
        return model

    @classmethod
    def audio(cls, **settings: Any) -> ContrastivePredictiveCoding:
        """Return a model of waveforms (B, L); settings as fields of `AudioSettings`."""
        return cls.of(AudioSettings(**_with_steps(settings)))

    @classmethod
    def images(cls, **settings: Any) -> ContrastivePredictiveCoding:
        """Return a model of images (B, H, W, C); settings as fields of `ImageSettings`."""
        return cls.of(ImageSettings(**_with_steps(settings)))

    @classmethod
    def text(cls, **settings: Any) -> ContrastivePredictiveCoding:
        """Return a model of passages (B, T, W); settings as fields of `TextSettings`."""
        return cls.of(TextSettings(**_with_steps(settings)))

    @classmethod
    def observations(cls, **settings: Any) -> ContrastivePredictiveCoding:
        """Return a model of episodes (B, T, ...); settings as fields of `ObservationSettings`."""
        return cls.of(ObservationSettings(**_with_steps(settings)))

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def latent_lengths(self, length_B: Tensor) -> Tensor:
        """Return how many latents inputs of these lengths have, int64 (B,)."""
        told = getattr(self.encoder, "latent_lengths", None)
        return length_B if told is None else told(length_B)

    def encode(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return latents (B, T, D) or (B, T, U, D); those behind a sequence's end mean nothing.

        Args:
            x: inputs.
            lengths: int64 (B,), on the CPU, of inputs; None: all are full.
        """
        z: Tensor = self.encoder(x) if lengths is None else self.encoder(x, lengths)
        return z

    def loss(
        self, batch: Batch | Tensor, *, generator: torch.Generator | None = None
    ) -> StepLosses:
        """Return the loss of every step ahead, and what else its scores say.

        Args:
            batch: inputs with what is known of them, or inputs alone, on the model's device.
            generator: on the CPU, draws negatives. None: they follow from the model's seed and the
                number of losses it computed in training mode; in evaluation mode always the same.

        Raises:
            ShapeError: the batch does not fit, or no sequence is long enough.
            ArgumentError: the policy lacks something, groups say.
        """
        batch = Batch(batch) if isinstance(batch, Tensor) else batch
        if batch.lengths is not None and (
            batch.lengths.shape != (len(batch.x),) or not batch.lengths.is_cpu
        ):
            raise ShapeError(
                f"loss: lengths must be int64 of shape ({len(batch.x)},) on the CPU, got "
                f"{tuple(batch.lengths.shape)} on {batch.lengths.device}."
            )
        z = self.encode(batch.x, batch.lengths)
        return self.contrast(
            z,
            lengths=None if batch.lengths is None else self.latent_lengths(batch.lengths),
            groups=batch.groups,
            items=batch.items,
            actions=batch.actions,
            generator=generator,
        )

    def contrast(
        self,
        z: Tensor,
        context: Tensor | None = None,
        *,
        lengths: Tensor | None = None,
        groups: Mapping[str, Tensor] | None = None,
        items: Tensor | None = None,
        actions: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> StepLosses:
        """As `loss`, of latents that are there already, and of contexts if they are.

        Args:
            z: latents, (B, T, D) or (B, T, U, D).
            context: contexts of the same layout, (B, T, H) or (B, T, U, H); None: the model's.
            lengths: int64 (B,), on the CPU, of latents; None: all are full.
            groups, items, actions: as of a `Batch`.
            generator: as for `loss`.

        Raises:
            ShapeError, ArgumentError: as `loss`.
        """
        if z.ndim not in (3, 4):
            raise ShapeError(
                f"contrast: latents must have shape (B, T, D) or (B, T, U, D), got "
                f"{tuple(z.shape)}."
            )
        context = self.context(z) if context is None else context
        assert context is not None
        if context.shape[:-1] != z.shape[:-1]:
            raise ShapeError(
                f"contrast: contexts must have the layout of latents, {tuple(z.shape[:-1])}, got "
                f"{tuple(context.shape[:-1])}."
            )
        z_BTUD = z[:, :, None] if z.ndim == 3 else z
        context_BTUH = context[:, :, None] if z.ndim == 3 else context
        B, T, U, _ = z_BTUD.shape
        length_B = torch.full((B,), T) if lengths is None else lengths
        positions = Positions(length_B, T, U, self.steps, groups or {}, items)
        plan = self.negatives.plan(positions, generator or self._generator())
        return contrast(
            z_BTUD,
            context_BTUH,
            plan,
            self.predictor,
            self.negatives,
            actions=actions,
            temperature=self.temperature,
            cosine=self.cosine,
        )

    @torch.no_grad()
    def represent(
        self,
        x: Tensor | npt.NDArray[Any],
        *,
        level: Level = "encoder",
        pool: Pool = None,
        lengths: Tensor | None = None,
        batch_size: int = 64,
    ) -> Tensor:
        """Return features of inputs, on the CPU, without gradient and in evaluation mode.

        Args:
            x: inputs, first dimension N.
            level: "encoder", latents z, or "context", contexts c.
            pool: None: of every latent, (N, T, F) or (N, T, U, F), 0 behind the end of a sequence;
                "mean" or "max" over all latents of a sequence, (N, F); "last", its last step, the
                mean over sites, (N, F); a number k: means of k segments of time of equal length,
                side by side, (N, k F); "quarters": of images, means of their quarters, (N, 4 F).
            lengths: int64 (N,), of inputs; None: all are full.
            batch_size: inputs at a time.

        Raises:
            ArgumentError: a setting lies outside its range.
            ShapeError: inputs do not fit, or a sequence has no latent to pool.
        """
        if level not in ("encoder", "context") or batch_size < 1:
            raise ArgumentError(
                f"represent: level must be encoder or context and batch_size at least 1, got "
                f"{level!r} and {batch_size}."
            )
        rows = torch.from_numpy(x) if isinstance(x, np.ndarray) else x
        lengths = None if lengths is None else lengths.cpu()
        was_training = self.training
        self.eval()
        try:
            found = []
            for start in range(0, len(rows), batch_size):
                some = rows[start : start + batch_size].to(self.device)
                length_B = None if lengths is None else lengths[start : start + batch_size]
                z = self.encode(some, length_B)
                features = z if level == "encoder" else self.context(z)
                n_latents = None if length_B is None else self.latent_lengths(length_B)
                found.append(pooled(features, n_latents, pool).cpu())
        finally:
            self.train(was_training)
        if not found:
            raise ShapeError("represent: expected at least one input, got none.")
        return torch.cat(found)

    def get_extra_state(self) -> dict[str, int]:
        """Return what the next draw of negatives depends on."""
        return {"seed": self.seed, "n_losses": self.n_losses}

    def set_extra_state(self, state: Mapping[str, int]) -> None:
        """Take over what `get_extra_state` returned."""
        self.seed, self.n_losses = int(state["seed"]), int(state["n_losses"])

    def save(self, path: str | Path, **notes: Any) -> None:
        """Write the model to one file, whole or not at all.

        Args:
            path: where to.
            notes: numbers, text, lists and dictionaries to keep beside it.

        Raises:
            StorageError: the disk refused; what was there is intact.
        """
        settings = None if self.settings is None else settings_as_dict(self.settings)
        tree = {"kind": "cpc", "settings": settings, "state": self.state_dict(), "notes": notes}
        checkpoint.save(path, tree)

    @classmethod
    def load(
        cls, path: str | Path, *, device: str | torch.device = "cpu"
    ) -> ContrastivePredictiveCoding:
        """Read a model of a preset that `save` wrote.

        Raises:
            StorageError: the file cannot be read.
            CheckpointError: it is damaged, or no model of a preset.
        """
        return cls.load_with_notes(path, device=device)[0]

    @classmethod
    def load_with_notes(
        cls, path: str | Path, *, device: str | torch.device = "cpu"
    ) -> tuple[ContrastivePredictiveCoding, dict[str, Any]]:
        """Return the model as `load`, and the notes that `save` was given; errors as `load`."""
        tree = _read(path)
        if tree["settings"] is None:
            raise CheckpointError(
                f"{path}: holds a model that was put together of parts, which a file cannot tell. "
                "Make it as before and call restore(path)."
            )
        model = cls.of(settings_of_dict(tree["settings"]))
        model.load_state_dict(tree["state"])
        return model.to(device), tree["notes"]

    def restore(self, path: str | Path) -> dict[str, Any]:
        """Take over weights and draws of a file that `save` wrote; return its notes.

        Raises:
            StorageError: the file cannot be read.
            CheckpointError: it is damaged, or of another model.
        """
        tree = _read(path)
        try:
            self.load_state_dict(tree["state"])
        except RuntimeError as error:
            raise CheckpointError(
                f"{path}: does not fit this model: {error}. Make it as when the file was written."
            ) from error
        notes: dict[str, Any] = tree["notes"]
        return notes

    def _generator(self) -> torch.Generator:
        names = ("negatives", self.n_losses) if self.training else ("negatives", "evaluation")
        self.n_losses += self.training
        return seeding.torch_generator(seeding.split(self.seed, *names))


def _with_steps(settings: dict[str, Any]) -> dict[str, Any]:
    """Return settings in which K stands for the steps 1 to K, and lists for tuples."""
    given = {name: tuple(v) if isinstance(v, list) else v for name, v in settings.items()}
    return given | ({"steps": checked_steps(given["steps"])} if "steps" in given else {})


def _read(path: str | Path) -> dict[str, Any]:
    tree = checkpoint.load(path)
    if tree.get("kind") != "cpc":
        raise CheckpointError(f"{path}: a checkpoint of sidle, but no model of sidle.cpc.")
    return tree
