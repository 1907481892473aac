"""How the study `bottleneck` trains a network by a method, and measures it.

All methods share network, optimiser, schedule, batches and steps; they differ in the loss, and
adversarial training in the images it sees. The marginal m(z), of which the rate is taken, is
trained beside on z held fixed, by an optimiser of its own: nothing of it reaches the network, and
rates of all methods can be compared. VIB learns its marginal together with the encoder, as it
should; there it is the backward encoder that learns beside, so that residual information can be
told.

Letters: B = images of a batch; C = channels; H, W = height and width; S = draws of z.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sidle import seeding, training
from sidle.ceb import Annealing, Bottleneck, MeanPrediction
from sidle.ceb.information import label_entropy
from sidle.checkpoint import Restorable
from sidle.evaluation.adversarial import adversarial_batch
from sidle.evaluation.suites import Budgets
from sidle.runs import Run
from sidle.studies import bottleneck_tasks as tasks
from sidle.studies.bottleneck_tasks import Method, Task
from sidle.studies.bottleneck_trials import Subject

Images = tuple[Tensor, Tensor]  # x (N, C, H, W) uint8, labels (N,)

MEASURED_AT_ONCE = 500  # images
MOST_BYTES = 2**31  # of images kept whole on the device
MARGINAL_RATE = 5.0  # learning rate of the marginal over the network's: it is no deep network
# [CEB2] begins at 100, from where a line in rho spends most of its steps without compression.
ANNEALED_FROM = 6.0


@dataclass(frozen=True, eq=False)
class Network:
    """A network of the study, trained or not.

    Attributes:
        model: the bottleneck, or its deterministic twin.
        samples: S, draws of z that a prediction is the mean of.
        device: where it is.
    """

    model: Bottleneck
    samples: int
    device: str

    @torch.no_grad()
    def measure(self, x: Tensor, y: Tensor, *, seed: int) -> dict[str, float]:
        """Return ``accuracy`` of the mean prediction and, if z is drawn, ``R``, ``Re`` and ``I``.

        Args:
            x: images as bytes, (N, C, H, W) uint8.
            y: labels, (N,).
            seed: of the draws of z.
        """
        generator = seeding.torch_generator(seed, self.device)
        sums = dict.fromkeys(("accuracy", "R", "Re", "I"), 0.0)
        self.model.eval()
        for rows in torch.split(torch.arange(len(x)), MEASURED_AT_ONCE):
            images, labels = tasks.scaled(x[rows].to(self.device)), y[rows].to(self.device)
            terms = self.model.terms(images, labels, self.samples, generator=generator)
            probability_BC = terms.logits.softmax(-1).mean(0)
            found = {
                "accuracy": (probability_BC.argmax(1) == labels).double(),
                "R": terms.rate.double().mean(0),
                "Re": terms.residual.double(),
                "I": terms.log_likelihood.double().mean(0),
            }
            sums = {name: sums[name] + float(found[name].sum()) for name in sums}
        means = {name: value / len(x) for name, value in sums.items()}
        if not self.model.draws:
            return {"accuracy": means["accuracy"]}
        return means | {"I": label_entropy(y) + means["I"]}

    def subject(self) -> Subject:
        """Return the network as the trials see it."""
        if self.model.draws:
            return Subject(MeanPrediction(self.model, self.samples), MeanPrediction(self.model, 1))
        # Hides the twin's rate, which nothing was trained for, from `evaluation.outliers`.
        plain = nn.Sequential(self.model)
        return Subject(plain, plain)


_OBJECTIVES = {"consistent": "ceb", "adversarial": "deterministic"}


def make(task: Task, method: Method, samples: int, device: str, seed: int) -> Network:
    """Return the untrained network of a method; encoders of all methods begin alike."""
    _, classes = tasks.shape_and_classes(task)
    objective = method.objective
    with seeding.scope(seeding.split(seed, "bottleneck", "weights")):
        model = Bottleneck(
            tasks.encoder(task),
            classes,
            task.dim,
            objective=_OBJECTIVES.get(objective, objective),  # type: ignore[arg-type]
            rho=method.rho if method.rho is not None else math.inf,
            classifier="consistent" if objective == "consistent" else "linear",
            smoothing=tasks.SMOOTHING,
        )
    # Steps with channels-last weights take 12 % less time on the CPUs we measured.
    model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Network(model, samples, device)


def train(
    task: Task,
    method: Method,
    train: Images,
    test: Images | None,
    settings: Mapping[str, Any],
    seed: int,
    run: Run | None,
    *,
    epochs: int,
) -> tuple[Network, dict[str, list[float]]]:
    """Train a network by ``method`` on ``train``, from the run's checkpoint if there is one.

    Args:
        task: network, optimiser and schedule.
        method: what it minimises.
        train: images as bytes and labels.
        test: measured beside for the curve; may be missing.
        settings: of the cell; ``samples``, ``curve_points``, ``curve_images`` and ``device`` count.
        seed: of weights, order of images and all that is drawn.
        run: where checkpoints go; None keeps nothing.
        epochs: passes over the images.

    Returns:
        The network, and its curve: by name, an entry a point (``share`` of training done,
        ``accuracy``, ``R``, ``Re``, ``I`` of the first training images, and of test images with
        "test_" before; without the three informations where nothing is drawn).
    """
    network = make(task, method, settings["samples"], settings["device"], seed)
    n_steps = epochs * (len(train[0]) // task.batch_size)
    step, state = _step(network, task, method, n_steps, seed)
    n_shown = settings["curve_images"]
    shown = {"": train, "test_": test}

    def evaluate(number: int) -> dict[str, float]:
        named = seeding.split(seed, "bottleneck", "curve", number)
        measured = {"share": number / n_steps}
        for prefix, part in shown.items():
            if part is not None:
                found = network.measure(part[0][:n_shown], part[1][:n_shown], seed=named)
                measured |= {prefix + name: value for name, value in found.items()}
        return measured

    every = math.ceil(n_steps / settings["curve_points"])
    records = training.fit(
        step,
        _batches(train, task, seed, network.device),
        n_steps,
        state=state,
        run=run,
        evaluate=evaluate,
        evaluate_every=every,
        log_every=every,
        description=method.name,
    )
    points = [record for record in records if "share" in record]
    names = [name for name in points[0] if name not in ("step", "loss")]
    return network, {name: [round(point[name], 5) for point in points] for name in names}


def _step(
    network: Network, task: Task, method: Method, n_steps: int, seed: int
) -> tuple[Callable[[tuple[int, Tensor, Tensor]], training.Metrics], dict[str, Restorable]]:
    """Return a step of training, and all that it changes."""
    model, device = network.model, network.device
    optimizer = torch.optim.Adam(model.network_parameters(), lr=task.learning_rate, fused=True)
    draws = seeding.torch_generator(seeding.split(seed, "bottleneck", "draws"), device)
    starts = seeding.torch_generator(seeding.split(seed, "bottleneck", "attacks"))
    state: dict[str, Restorable] = {
        "model": model, "optimizer": optimizer, "draws": draws, "starts": starts,
    }  # fmt: skip
    marginal = None
    if model.draws and model.objective != "vib":
        marginal = torch.optim.Adam(model.marginal_parameters(), lr=task.learning_rate, fused=True)
        state["marginal"] = marginal
    annealing = None
    if method.rho is not None:
        start = max(ANNEALED_FROM, method.rho)
        annealing = Annealing(start, method.rho, round(task.annealing * n_steps))
    epsilon = 0.0
    if method.norm is not None:
        epsilon = Budgets.for_images(tasks.shape_and_classes(task)[0]).of(method.norm)

    def step(batch: tuple[int, Tensor, Tensor]) -> training.Metrics:
        index, pixels, y = batch
        x = tasks.scaled(pixels)
        rate = task.rate(index / n_steps)
        _set_rate(optimizer, rate)
        if annealing is not None:
            model.rho = annealing(index)
        if method.norm is not None:
            x = adversarial_batch(
                model, x, y, epsilon=epsilon, norm=method.norm, n_steps=task.attack_steps,
                generator=starts,
            )  # fmt: skip
        model.train()
        optimizer.zero_grad(set_to_none=True)
        found = model.loss(x, y, generator=draws)
        if marginal is not None and found.marginal_loss is not None:
            _set_rate(marginal, MARGINAL_RATE * rate)
            marginal.zero_grad(set_to_none=True)
            (found.loss + found.marginal_loss).backward()  # type: ignore[no-untyped-call]
            marginal.step()
        elif model.objective == "vib":
            residual = found.terms.residual.mean()
            backward = model.backward_CP
            (beside,) = torch.autograd.grad(residual, backward, retain_graph=True)
            found.loss.backward()  # type: ignore[no-untyped-call]
            backward.grad = beside
        else:
            found.loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return {"loss": found.loss.detach()}

    return step, state


def _set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


def _batches(
    images: Images, task: Task, seed: int, device: str
) -> Callable[[int], tuple[int, Tensor, Tensor]]:
    """Return ``batches(i)``: the step's number, images as bytes and labels, on the device."""
    x, y = images
    if x.nbytes <= MOST_BYTES:
        x, y = x.to(device), y.to(device)
    drawn = training.minibatches(
        (x, y), task.batch_size, seed=seeding.split(seed, "bottleneck", "order")
    )

    def batches(i: int) -> tuple[int, Tensor, Tensor]:
        pixels, labels = drawn(i)
        return i, pixels.to(device), labels.to(device)

    return batches
