"""A classifier whose representation keeps what the label needs and little else.

    model = Bottleneck(encoder, n_classes=10, dim=64, rho=2.0)
    found = model.loss(x, y)
    found.loss.backward()
    print(model, found.metrics())     # R, Re and the bound on I(Y;Z), in nats

An encoder network returns, for an input x, the statistics of a distribution e(z|x) of z in D
dimensions (`sidle.ceb.families`); of the family "identity" they are its mean, so that any network
with D outputs is an encoder. A row of statistics for each class is the backward encoder b(z|y), and
a classifier c(y|z) reads z. What is minimised, and the one knob rho with its three names, is in
`sidle.ceb.objectives`:

    ceb              e^-rho Re - log c(y|z),        Re = KL(e(.|x) || b(.|y)), in closed form
    vib              beta R - log c(y|z),           R = log e(z|x) - log m(z), beta = 1/(1 + e^rho)
    deterministic    -log c(y|mean of e(.|x)): the same network and parameters, nothing drawn
    label-smoothing  the same with smoothed labels

Classifiers: "linear"; "consistent", c(y|z) = b(z|y) p(y) / sum_k b(z|k) p(k), which has no
parameters of its own; "contrastive", the CatGen decoder, log of b(z|y_i) over its mean over the
batch's labels (`sidle.mi.contrast`), which predicts as "consistent" does; or any module from z to
logits.

The marginal m(z) is a part of the objective of VIB. For all others it only measures the rate: its
loss is ``found.marginal_loss``, on draws held fixed, and its parameters (`marginal_parameters`)
want an optimiser of their own, so that nothing of it reaches the network. In turn the objectives
other than CEB leave b(z|y) alone: their Re means something only after b was trained on it.

Letters: B = rows; C = classes; D = dimensions of z; P = statistics; S = draws.
References: [CEB1] Fischer 2020, doi:10.3390/e22090999, sections 2 and 3. [CEB2] Fischer and Alemi
2020, doi:10.3390/e22101081, section 2. [VIB] Alemi et al. 2017, arXiv:1612.00410.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, final, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sidle import checkpoint
from sidle.ceb import families, objectives
from sidle.ceb.families import Family
from sidle.ceb.marginals import MixtureMarginal
from sidle.ceb.objectives import Objective
from sidle.errors import ArgumentError, CheckpointError, ShapeError
from sidle.evaluation import classifiers
from sidle.mi.contrast import info_nce

Classifier = Literal["linear", "consistent", "contrastive"]

SMOOTHING = 0.1  # of labels: the usual share (Szegedy et al. 2016, section 7)
BACKWARD_SPREAD = 0.1  # of the backward encoder's statistics at the start
MOST_COMPONENTS = 500  # of the marginal by default, as [CEB1]


@dataclass(frozen=True, eq=False)
class Terms:
    """The terms of objectives for S draws of B rows, in nats, with gradients.

    Attributes:
        z: draws, (S, B, D); the mean alone where nothing is drawn.
        logits: log c(y|z) up to a constant, (S, B, C).
        log_likelihood: log c(y|z) of the labels, (S, B).
        residual: Re, (B,).
        log_encoder: log e(z|x), (S, B).
        log_marginal: log m(z), (S, B).
    """

    z: Tensor
    logits: Tensor
    log_likelihood: Tensor
    residual: Tensor
    log_encoder: Tensor
    log_marginal: Tensor

    @property
    def rate(self) -> Tensor:
        """R, log e(z|x) - log m(z), (S, B)."""
        return self.log_encoder - self.log_marginal


@dataclass(frozen=True, eq=False)
class BottleneckLoss:
    """What a batch says.

    Attributes:
        loss: what the network minimises: a scalar, in nats.
        marginal_loss: what the marginal's own optimiser minimises, -mean log m(z); no gradient of
            it reaches the network. None for VIB, whose marginal learns by ``loss``.
        terms: the parts.
        entropy: H(Y) of the classes in the long run, in nats.
    """

    loss: Tensor
    marginal_loss: Tensor | None
    terms: Terms
    entropy: float

    def metrics(self) -> dict[str, Tensor]:
        """Return ``loss``, ``R``, ``Re``, ``I`` (lower bound on I(Y;Z)), detached, in nats."""
        terms = self.terms
        return {
            "loss": self.loss.detach(),
            "R": terms.rate.detach().mean(),
            "Re": terms.residual.detach().mean(),
            "I": self.entropy + terms.log_likelihood.detach().mean(),
        }


class Bottleneck(nn.Module):
    """An encoder, a backward encoder, a classifier and a marginal, with an objective.

    Args:
        encoder: maps inputs to statistics (B, P); P = D for the families "identity" and
            "von-mises-fisher", see `sidle.ceb.families`.
        n_classes: C, at least 2.
        dim: D.
        family: "identity", "diagonal", "full", "von-mises-fisher", or a `Family`.
        objective: "ceb", "vib", "deterministic" or "label-smoothing".
        rho: the knob, e^-rho the weight of Re: 0 asks for the minimum necessary information,
            infinity for nothing. May be set anew at any time (`sidle.ceb.schedules`).
        classifier: "linear", "consistent", "contrastive", or a module from z (..., D) to logits
            (..., C).
        samples: draws of z whose mean probability a prediction is; 0 predicts from the mean of
            e(.|x), without chance, which is what `export` writes.
        n_components: of the marginal; None: four a class, 500 at most.
        prior: p(y), (C,); None: all classes alike.
        smoothing: share of the labels' mass spread over all classes, for "label-smoothing".

    Raises:
        ArgumentError: a setting lies outside its range.
    """

    backward_CP: nn.Parameter
    log_prior_C: Tensor

    def __init__(
        self,
        encoder: nn.Module,
        n_classes: int,
        dim: int,
        *,
        family: str | Family = "identity",
        objective: Objective = "ceb",
        rho: float = 2.0,
        classifier: Classifier | nn.Module = "linear",
        samples: int = 0,
        n_components: int | None = None,
        prior: Tensor | None = None,
        smoothing: float = SMOOTHING,
    ) -> None:
        super().__init__()
        _check(n_classes, objective, classifier, samples, smoothing)
        objectives.check_rho("Bottleneck", rho)
        self.encoder = encoder
        self.family = families.find(family, dim)
        self.n_classes, self.dim = n_classes, dim
        self.objective, self.rho, self.smoothing = objective, rho, smoothing
        self.samples = samples
        if isinstance(classifier, nn.Module):
            self.classifier: nn.Module | None = classifier
            self.reads = "module"
        else:
            self.classifier = nn.Linear(dim, n_classes) if classifier == "linear" else None
            self.reads = classifier
        statistics_CP = BACKWARD_SPREAD * torch.randn(n_classes, self.family.n_statistics)
        self.backward_CP = nn.Parameter(statistics_CP)
        if n_components is None:
            n_components = min(4 * n_classes, MOST_COMPONENTS)
        self.marginal = MixtureMarginal(self.family, n_components)
        self.register_buffer("log_prior_C", _log_prior(prior, n_classes))

    @property
    def device(self) -> torch.device:
        """Where the backward encoder is, and everything should be."""
        return self.backward_CP.device

    @property
    def draws(self) -> bool:
        """Whether the objective trains on draws of z, rather than on its mean."""
        return self.objective in objectives.RANDOM

    def network_parameters(self) -> Iterator[nn.Parameter]:
        """Return what the network's optimiser trains: all but the marginal, and it too for VIB."""
        marginal = set() if self.objective == "vib" else set(self.marginal.parameters())
        return (one for one in self.parameters() if one not in marginal)

    def marginal_parameters(self) -> Iterator[nn.Parameter]:
        """Return what an optimiser of its own trains by ``marginal_loss``; nothing for VIB."""
        return iter(()) if self.objective == "vib" else self.marginal.parameters()

    def encode(self, x: Tensor) -> Tensor:
        """Return the statistics of e(z|x), (B, P).

        Raises:
            ShapeError: the encoder returned another shape.
        """
        statistics_BP: Tensor = self.encoder(x)
        expected = (x.shape[0], self.family.n_statistics)
        if statistics_BP.shape != expected:
            raise ShapeError(
                f"Bottleneck: the encoder must return shape {expected} for the family "
                f"{self.family.name} with dim={self.dim}, got {tuple(statistics_BP.shape)}."
            )
        return statistics_BP

    def logits(self, z: Tensor) -> Tensor:
        """Return what c(y|z) is the softmax of, (..., C), for z of (..., D)."""
        if self.classifier is not None:
            found: Tensor = self.classifier(z)
            return found
        # The carrier of log b(z|y) is the same for all classes.
        return self.family.features(z) @ self.family.natural(self.backward_CP).mT + self.log_prior_C

    def terms(
        self,
        x: Tensor,
        y: Tensor,
        samples: int = 1,
        *,
        generator: torch.Generator | None = None,
    ) -> Terms:
        """Return the terms of all objectives for rows x (B, ...) with labels y, int64 (B,).

        Args:
            x: inputs.
            y: labels from 0 to C - 1.
            samples: draws of z for each row; without effect where the objective draws nothing.
            generator: draws z; None: torch's global one.

        Raises:
            ShapeError: x and y, or what the encoder returns, do not fit.
            ArgumentError: ``samples`` is below 1, or a label is none of the classes (looked at on
                the CPU alone: elsewhere it would wait for the device).
        """
        classifiers.check_counts("Bottleneck", samples=samples)
        if y.shape != (len(x),):
            raise ShapeError(
                f"Bottleneck: expected labels of shape ({len(x)},), got {tuple(y.shape)}."
            )
        if y.is_cpu and len(y) and not 0 <= int(y.min()) <= int(y.max()) < self.n_classes:
            raise ArgumentError(
                f"Bottleneck: expected labels from 0 to {self.n_classes - 1}, got some from "
                f"{int(y.min())} to {int(y.max())}."
            )
        statistics_BP = self.encode(x)
        if self.draws:
            z = self.family.draw(statistics_BP, samples, generator)
        else:
            z = self.family.mean(statistics_BP)[None]
        logits = self.logits(z)
        return Terms(
            z=z,
            logits=logits,
            log_likelihood=self._log_likelihood(z, logits, y),
            residual=self.family.divergence(statistics_BP, self.backward_CP[y]),
            log_encoder=self.family.log_density(z, statistics_BP),
            # Of VIB the marginal is a part of the objective; else z is held fixed.
            log_marginal=self.marginal.log_density(z if self.objective == "vib" else z.detach()),
        )

    def loss(
        self,
        x: Tensor,
        y: Tensor,
        samples: int = 1,
        *,
        generator: torch.Generator | None = None,
    ) -> BottleneckLoss:
        """Return the objective on a batch; arguments and errors as `terms`."""
        terms = self.terms(x, y, samples, generator=generator)
        if self.objective == "ceb":
            loss = objectives.ceb_loss(terms.residual, terms.log_likelihood, self.rho)
        elif self.objective == "vib":
            loss = objectives.vib_loss(terms.rate, terms.log_likelihood, self.rho)
        else:
            loss = -terms.log_likelihood.mean()
        if self.objective == "label-smoothing":
            everywhere = -terms.logits.log_softmax(-1).mean()
            loss = (1 - self.smoothing) * loss + self.smoothing * everywhere
        entropy = float(-(self.log_prior_C.exp() * self.log_prior_C).sum())
        marginal_loss = None if self.objective == "vib" else -terms.log_marginal.mean()
        return BottleneckLoss(loss, marginal_loss, terms, entropy)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, C): in training of one draw, else the prediction; see ``samples``.

        In evaluation with ``samples`` of 1 or more: the logarithm of the mean probability of so
        many draws, from torch's global generator.
        """
        return self.predict(x, 1 if self.training else self.samples)

    def predict(self, x: Tensor, samples: int) -> Tensor:
        """Return logits (B, C) of the mean probability of draws; 0: from the mean of e(.|x)."""
        statistics_BP = self.encode(x)
        if samples == 0 or not self.draws:
            return self.logits(self.family.mean(statistics_BP))
        logits_SBC = self.logits(self.family.draw(statistics_BP, samples, None))
        if samples == 1:
            return logits_SBC[0]
        return logits_SBC.log_softmax(-1).logsumexp(0) - math.log(samples)

    def outlier_scores(self, x: Tensor, samples: int = 8) -> dict[str, Tensor]:
        """Return how odd inputs look, each (B,), in nats [CEB1, section 4.3].

        "R": the rate, mean over ``samples`` draws. "Re": residual information to the class that is
        nearest, min_y KL(e(.|x) || b(.|y)), as the label is not known. Nothing of an objective that
        draws no z, for which neither means anything.
        """
        if not self.draws:
            return {}
        statistics_BP = self.encode(x)
        z = self.family.draw(statistics_BP, samples, None)
        rate_SB = self.family.log_density(z, statistics_BP) - self.marginal.log_density(z)
        apart_BC = self.family.divergences(statistics_BP, self.backward_CP)
        return {"R": rate_SB.mean(0), "Re": apart_BC.amin(1)}

    def export(self, example: Tensor) -> torch.export.ExportedProgram:
        """Return the prediction from the mean of e(.|x) as a program for `torch.export.save`.

        Args:
            example: inputs (B, ...), B >= 2; any number of rows works afterwards.
        """
        samples, self.samples = self.samples, 0
        try:
            with classifiers.evaluating(self):
                rows = torch.export.Dim("rows")
                return torch.export.export(self, (example,), dynamic_shapes=({0: rows},))
        finally:
            self.samples = samples

    def save(self, path: str | Path, **notes: Any) -> None:
        """Write weights and settings to one file, whole or not at all.

        Args:
            path: where to.
            notes: numbers, text, lists and dictionaries to keep beside them.

        Raises:
            StorageError: the disk refused; what was there is intact.
        """
        tree = {
            "kind": "ceb", "settings": self._settings(), "state": self.state_dict(),
            "notes": notes,
        }  # fmt: skip
        checkpoint.save(path, tree)

    def restore(self, path: str | Path) -> dict[str, Any]:
        """Take over weights, objective and rho of a file that `save` wrote; return its notes.

        Raises:
            StorageError: the file cannot be read.
            CheckpointError: it is damaged, or of another model; this one is as it was.
        """
        tree = checkpoint.load(path)
        if tree.get("kind") != "ceb":
            raise CheckpointError(f"{path}: a checkpoint of sidle, but no model of sidle.ceb.")
        knobs = ("objective", "rho", "samples", "smoothing")
        shape = {name: value for name, value in self._settings().items() if name not in knobs}
        written = {name: tree["settings"].get(name) for name in shape}
        if written != shape:
            raise CheckpointError(
                f"{path}: holds a bottleneck with {written}, this one has {shape}. Make it as when "
                "the file was written."
            )
        # Compared first: `load_state_dict` takes over what fits before it refuses the rest.
        own, held = (
            {name: tuple(getattr(value, "shape", ())) for name, value in state.items()}
            for state in (self.state_dict(), tree["state"])
        )
        if own != held:
            name = next(one for one in sorted(own | held) if own.get(one) != held.get(one))
            raise CheckpointError(
                f"{path}: does not fit this model: '{name}' has shape {held.get(name, 'none')} in "
                f"the file and {own.get(name, 'none')} here. Make it as when the file was written."
            )
        self.load_state_dict(tree["state"])
        for name in knobs:
            setattr(self, name, tree["settings"][name])
        notes: dict[str, Any] = tree["notes"]
        return notes

    def extra_repr(self) -> str:
        """Return the objective and its knob under all names, for printing."""
        knob = objectives.conventions(self.rho) if self.draws else ""
        return f"objective={self.objective}, classifier={self.reads}" + (knob and f", {knob}")

    def _settings(self) -> dict[str, Any]:
        return {
            "n_classes": self.n_classes,
            "dim": self.dim,
            "family": self.family.extra_repr(),
            "family_name": self.family.name,
            "classifier": self.reads,
            "objective": self.objective,
            "rho": self.rho,
            "samples": self.samples,
            "smoothing": self.smoothing,
        }

    def _log_likelihood(self, z: Tensor, logits: Tensor, y: Tensor) -> Tensor:
        if self.reads != "contrastive":
            # cross_entropy wants classes second.
            labels = y.expand(len(z), -1)
            return -F.cross_entropy(logits.movedim(-1, 1), labels, reduction="none")
        return self._contrasted(z, y)

    def _contrasted(self, z: Tensor, y: Tensor) -> Tensor:
        """Return log c(y|z) of the CatGen decoder, (S, B) [CEB1, section 2.4].

        It is log p(y) + log b(z_i|y_i) - log of the mean of b(z_i|y_k) over the batch, so that H(Y)
        plus its mean is InfoNCE between z and y, at most log B.
        """
        key_BK = self.family.natural(self.backward_CP)[y]
        losses_SB = info_nce(self.family.features(z), key_BK, reduction="none").loss
        return math.log(len(y)) - losses_SB + self.log_prior_C[y]


@final
class MeanPrediction(nn.Module):
    """The prediction of a bottleneck from so many draws, whatever the bottleneck's own setting.

    Args:
        bottleneck: which one; shared, not copied.
        samples: draws whose mean probability is taken; 0 takes the mean of e(.|x) instead.

    Raises:
        ArgumentError: ``samples`` is negative.
    """

    def __init__(self, bottleneck: Bottleneck, samples: int) -> None:
        super().__init__()
        if samples < 0:
            raise ArgumentError(f"MeanPrediction: samples must be at least 0, got {samples}.")
        self.bottleneck, self.samples = bottleneck, samples

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, C)."""
        return self.bottleneck.predict(x, self.samples)

    def outlier_scores(self, x: Tensor) -> dict[str, Tensor]:
        """As `Bottleneck.outlier_scores`."""
        return self.bottleneck.outlier_scores(x)


def _log_prior(prior: Tensor | None, n_classes: int) -> Tensor:
    if prior is None:
        return torch.full((n_classes,), -math.log(n_classes))
    if prior.shape != (n_classes,) or not bool((prior > 0).all() and prior.isfinite().all()):
        raise ArgumentError(
            f"Bottleneck: prior must hold a positive number for each of {n_classes} classes, got "
            f"{tuple(prior.shape)} with a minimum of {float(prior.min()):g}."
        )
    return (prior / prior.sum()).log()


def _check(
    n_classes: int, objective: str, classifier: str | nn.Module, samples: int, smoothing: float
) -> None:
    if n_classes < 2 or samples < 0 or not 0 <= smoothing < 1:
        raise ArgumentError(
            "Bottleneck: expected n_classes of at least 2, samples of at least 0 and smoothing in "
            f"[0, 1), got {n_classes}, {samples} and {smoothing}."
        )
    if objective not in objectives.OBJECTIVES:
        raise ArgumentError(
            f"Bottleneck: objective must be one of {', '.join(objectives.OBJECTIVES)}, got "
            f"{objective!r}."
        )
    if not isinstance(classifier, nn.Module) and classifier not in get_args(Classifier):
        raise ArgumentError(
            f"Bottleneck: classifier must be a module or one of {', '.join(get_args(Classifier))}, "
            f"got {classifier!r}."
        )
