"""What the cells of the study `mutual-information` compute, one function a kind.

Letters: S = seeds side by side; B = pairs in a batch; D = dimensions; L = stairs.
References: [VBMI] Poole et al. 2019, arXiv:1905.06922. [SMILE] Song & Ermon 2020,
arXiv:1910.06222. [BN] Czyz et al. 2023, arXiv:2306.11078.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from sidle import seeding, training
from sidle.data import images
from sidle.mi import bounds, densities
from sidle.mi.beyond_normal import BEYOND_NORMAL
from sidle.mi.classical import cca, ksg
from sidle.mi.critics import SeparableCritic
from sidle.mi.estimate import LEARNING_RATE, N_STEPS, estimate, fit_and_read
from sidle.mi.guarantees import BOUNDS, Bound, exact_outputs, outputs
from sidle.mi.problems import CorrelatedGaussians, Staircase
from sidle.mi.stacked import stack, staircase_batches
from sidle.runs import Run
from sidle.studies.study import Cell

CURVE_POINTS = 25  # points of a training curve kept as evidence
SCATTER_POINTS = 150  # pairs of scores kept as evidence
ROW_QUARTERS = {"fashion_mnist": 7, "cifar10": 8, "digits": 2}  # rows in a quarter of an image

Pair = tuple[Tensor, Tensor]
Reads = Mapping[str, Callable[..., Tensor]]


def run_cell(cell: Cell, run: Run) -> dict[str, Any]:
    """Compute one cell."""
    return {
        "staircase": climb,
        "critic": learn_critic,
        "sandwich": enclose,
        "negatives": keep_what_tells_apart,
        "task": estimate_task,
        "rows": read_rows,
        "processing": read_rows,
        "additivity": read_rows,
    }[cell.settings["kind"]](cell, run)


def climb(cell: Cell, run: Run) -> dict[str, Any]:
    """Train up the staircase, several seeds side by side; read at the end of each stair.

    Returns:
        ``reads``: by name of a read-out, ``mean`` and ``deviation`` (standard deviation over
        batches) in nats, a row a seed and a column a stair. The bound itself has its own name, and
        ``exact`` if the exact critic takes the place of the trained one. ``curve``: the bound on
        training batches, averaged over equal parts of the training, a row a seed.
    """
    settings, seeds = cell.settings, cell.settings["seeds"]
    bound, reads = _bound(settings["bound"], settings["alpha"])
    K, read_batches = settings["batch_size"], settings["read_batches"]
    staircase = Staircase(
        settings["dim"],
        tuple(settings["levels"]),
        settings["steps_per_level"],
        settings["transform"],
    )
    network = _side_by_side(bound, settings, seeds)
    optimizer = torch.optim.Adam(network.parameters(), lr=settings["learning_rate"], fused=True)

    def step(pair: Pair) -> Mapping[str, Tensor]:
        optimizer.zero_grad()
        found = outputs(network, *pair)
        # Summed, not averaged: each seed trains as it would alone.
        loss = -bound.objective(*found).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        with torch.no_grad():
            # In float64, exp of a wild score is huge rather than infinite.
            values_S = bound.value(*(part.detach().double() for part in found))
            return {"loss": loss} | {f"nats-{s}": values_S[i] for i, s in enumerate(seeds)}

    def read(number: int) -> dict[str, float]:
        problem = staircase.at(number - 1)
        generators = [
            seeding.torch_generator(seeding.split(seed, "read", number)) for seed in seeds
        ]
        found: dict[str, list[Tensor]] = {name: [] for name in [*reads, "exact"]}
        network.eval()
        with torch.no_grad():
            for _ in range(read_batches):
                pairs = [problem.sample(K, generator) for generator in generators]
                x_SBD, y_SBD = (torch.stack(part) for part in zip(*pairs, strict=True))
                learned = tuple(part.double() for part in outputs(network, x_SBD, y_SBD))
                for name, function in reads.items():
                    found[name].append(function(*learned))
                exact_SBB = torch.stack([problem.log_ratio(*pair) for pair in pairs])
                found["exact"].append(bound.value(*exact_outputs(bound, exact_SBB)))
        network.train()
        result: dict[str, float] = {}
        for name, values in found.items():
            values_RS = torch.stack(values).double()
            for seed, mean, deviation in zip(
                seeds, values_RS.mean(0).tolist(), values_RS.std(0).tolist(), strict=True
            ):
                result |= {f"{name}-mean-{seed}": mean, f"{name}-deviation-{seed}": deviation}
        return result

    records = training.fit(
        step,
        staircase_batches(staircase, K, seeds),
        staircase.n_steps,
        state={"critics": network, "optimizer": optimizer},
        run=run,
        evaluate=read,
        evaluate_every=staircase.steps_per_level,
        log_every=10,
        description=cell.label,
    )
    stairs = [record for record in records if f"exact-mean-{seeds[0]}" in record]
    curves = [[record[f"nats-{seed}"] for record in records] for seed in seeds]
    return {
        "reads": {
            name: {
                what: [[round(stair[f"{name}-{what}-{s}"], 5) for stair in stairs] for s in seeds]
                for what in ("mean", "deviation")
            }
            for name in [*reads, "exact"]
        },
        "curve": [
            [
                round(float(part.mean()), 2)
                for part in np.array_split(curve, min(CURVE_POINTS, len(curve)))
            ]
            for curve in curves
        ],
    }


def _bound(name: str, alpha: float | None) -> tuple[Bound, Reads]:
    """Return the bound, with its alpha if it has one, and all that its critic is read with."""
    bound = BOUNDS[name]
    if alpha is not None:
        function = functools.partial(bounds.interpolated_bound, alpha=alpha)
        bound = dataclasses.replace(bound, objective=function, value=function)
    if name == "js":
        # One critic, read in several ways: the unclipped ones show what the clip is for.
        return bound, {
            "js": bounds.js_bound,
            "smile": functools.partial(bounds.smile_estimate, tau=5.0),
            "smile-1": functools.partial(bounds.smile_estimate, tau=1.0),
            "dv": bounds.dv_estimate,
            "infonce": bounds.infonce_bound,
        }
    return bound, {name: bound.value}


def _side_by_side(bound: Bound, settings: Mapping[str, Any], seeds: list[int]) -> nn.Module:
    """Return one network for all seeds: x_SBD, y_SBD to outputs with a leading S."""
    build = functools.partial(SeparableCritic, hidden=settings["hidden"], layers=settings["layers"])
    networks = []
    for seed in seeds:
        with seeding.scope(seeding.split(seed, "critic")):
            networks.append(bound.network(build, settings["dim"], settings["dim"]))
    critics = [network for network in networks if isinstance(network, SeparableCritic)]
    return stack(critics) if len(critics) == len(networks) else _Abreast(networks)


@final
class _Abreast(nn.Module):
    """Networks called one after the other, each with its own batch."""

    def __init__(self, networks: list[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, x_SBD: Tensor, y_SBD: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs of all, stacked."""
        found = [
            outputs(network, x_BD, y_BD)
            for network, x_BD, y_BD in zip(self.networks, x_SBD, y_SBD, strict=True)
        ]
        return tuple(torch.stack(part) for part in zip(*found, strict=True))


def learn_critic(cell: Cell, run: Run) -> dict[str, Any]:
    """Train with InfoNCE and compare the scores with the exact log density ratio.

    Returns:
        ``r_squared``: share of the variance of the exact log ratio that the learned scores
        explain, after the mean over y has been taken off both for each x (InfoNCE leaves a
        function of x free); ``r_squared_raw`` without that; ``r_squared_untrained`` of the same
        network before training; ``learned`` and ``exact``, some of the centred pairs.
    """
    settings = cell.settings
    problem = CorrelatedGaussians(settings["critic_dim"], settings["critic_nats"])
    critic = SeparableCritic(
        problem.dim, problem.dim, hidden=settings["hidden"], layers=settings["layers"]
    )
    optimizer = torch.optim.Adam(critic.parameters(), lr=settings["learning_rate"], fused=True)
    generator = seeding.torch_generator(seeding.split(cell.seed, "test"))
    x_ND, y_ND = problem.sample(1000, generator)
    exact_NN = problem.log_ratio(x_ND, y_ND)

    def scores() -> Tensor:
        with torch.no_grad():
            learned: Tensor = critic(x_ND, y_ND)
            return learned

    def batch(step: int) -> Pair:
        generator = seeding.torch_generator(seeding.split(cell.seed, "batch", step))
        return problem.sample(settings["batch_size"], generator)

    untrained_NN = scores()
    training.fit(
        training.supervised(
            critic, optimizer, lambda module, pair: -bounds.infonce_bound(module(*pair))
        ),
        batch,
        settings["critic_steps"],
        state={"critic": critic, "optimizer": optimizer},
        run=run,
        description=cell.label,
    )
    learned_NN = scores()
    pairs = torch.randint(1000, (2, SCATTER_POINTS), generator=generator)
    return {
        "r_squared": r_squared(centred(learned_NN), centred(exact_NN)),
        "r_squared_raw": r_squared(learned_NN, exact_NN),
        "r_squared_untrained": r_squared(centred(untrained_NN), centred(exact_NN)),
        "learned": [round(v, 3) for v in centred(learned_NN)[pairs[0], pairs[1]].tolist()],
        "exact": [round(v, 3) for v in centred(exact_NN)[pairs[0], pairs[1]].tolist()],
    }


def centred(scores_NN: Tensor) -> Tensor:
    """Take the mean over y off each row: what is left ignores any function of x alone."""
    return scores_NN - scores_NN.mean(dim=1, keepdim=True)


def r_squared(a_NN: Tensor, b_NN: Tensor) -> float:
    """Return the squared correlation of two matrices of scores."""
    both = torch.stack([a_NN.double().flatten(), b_NN.double().flatten()])
    return float(torch.corrcoef(both)[0, 1] ** 2)


def enclose(cell: Cell, run: Run) -> dict[str, Any]:
    """Read the two structured bounds with the known p(y | x), at growing batch sizes.

    Returns:
        ``lower`` and ``upper``: mean over batches in nats, one entry a batch size.
    """
    settings = cell.settings
    problem = CorrelatedGaussians(settings["dim"], settings["sandwich_nats"])
    lower, upper = [], []
    for K in settings["sandwich_sizes"]:
        generator = seeding.torch_generator(seeding.split(cell.seed, "sandwich", K))
        values = []
        for _ in range(max(1, settings["sandwich_pairs"] // K)):
            log_conditional_KK = problem.log_conditional(*problem.sample(K, generator))
            values.append(
                (
                    densities.structured_lower_bound(log_conditional_KK).item(),
                    densities.leave_one_out_upper_bound(log_conditional_KK).item(),
                )
            )
        means = np.mean(values, axis=0)
        lower.append(round(float(means[0]), 5))
        upper.append(round(float(means[1]), 5))
    return {"lower": lower, "upper": upper}


def keep_what_tells_apart(cell: Cell, run: Run) -> dict[str, Any]:
    """Learn from the two halves of a digit, with negatives of all classes or of one.

    Returns:
        ``class_accuracy`` of a linear probe on the embedding of left halves, test images;
        ``within_nats``, how well the critic finds the right half among those of one class:
        InfoNCE on test batches of one class.
    """
    from sklearn.linear_model import LogisticRegression

    settings = cell.settings
    train, test = images.digits()
    (train_x, train_y), (test_x, test_y) = _halves(train), _halves(test)
    by_class = [torch.from_numpy(np.flatnonzero(train.labels == c)) for c in range(10)]
    K = settings["negatives_batch_size"]
    critic = SeparableCritic(
        train_x.shape[1], train_y.shape[1], hidden=settings["hidden"], layers=1, embedding=16
    )
    optimizer = torch.optim.Adam(critic.parameters(), lr=settings["learning_rate"], fused=True)

    def batch(step: int) -> Pair:
        generator = seeding.torch_generator(seeding.split(cell.seed, "batch", step))
        among = torch.arange(len(train_x))
        if settings["negatives"] == "same class":
            among = by_class[int(torch.randint(10, (), generator=generator))]
        chosen = among[torch.randperm(len(among), generator=generator)[:K]]
        return train_x[chosen], train_y[chosen]

    training.fit(
        training.supervised(
            critic, optimizer, lambda module, pair: -bounds.infonce_bound(module(*pair))
        ),
        batch,
        settings["negatives_steps"],
        state={"critic": critic, "optimizer": optimizer},
        run=run,
        description=cell.label,
    )
    with torch.no_grad():
        train_embedding, test_embedding = (
            critic.embed_x(part).numpy() for part in (train_x, test_x)
        )
        within = []
        for c in range(10):
            chosen = torch.from_numpy(np.flatnonzero(test.labels == c)[:32])  # each has more
            within.append(bounds.infonce_bound(critic(test_x[chosen], test_y[chosen])).item())
    mean, deviation = train_embedding.mean(0), train_embedding.std(0) + 1e-6
    probe = LogisticRegression(max_iter=2000)
    probe.fit((train_embedding - mean) / deviation, train.labels)
    accuracy = probe.score((test_embedding - mean) / deviation, test.labels)
    return {"class_accuracy": float(accuracy), "within_nats": float(np.mean(within))}


def _halves(part: images.Images) -> Pair:
    pixels = torch.from_numpy(part.pixels[..., 0]).float() / 255 - 0.5
    return pixels[:, :, :4].flatten(1), pixels[:, :, 4:].flatten(1)


def estimate_task(cell: Cell, run: Run) -> dict[str, Any]:
    """Estimate the information of a task of [BN], and how often the confidence bound holds.

    Returns:
        ``nats``, ``low`` (low end of the interval, null without one) by bound; ``ksg``, ``cca``;
        ``coverage``: share of fresh test samples, critic and clip left as they are, for which
        InfoNCE's lower confidence bound lies at or below the truth; ``truth``.
    """
    settings, task = cell.settings, BEYOND_NORMAL[cell.settings["task"]]
    generator = seeding.torch_generator(seeding.split(cell.seed, "sample", task.name))
    x_ND, y_NE = task.sample(settings["task_pairs"], generator)
    nats: dict[str, float] = {}
    low: dict[str, float | None] = {}
    coverage = None
    for name in settings["task_bounds"]:
        fitted, found = fit_and_read(
            x_ND,
            y_NE,
            bound=name,
            critic="separable",
            batch_size=None,
            n_steps=N_STEPS,
            learning_rate=LEARNING_RATE,
            seed=cell.seed,
            device="cpu",
        )
        nats[name] = found.nats
        low[name] = None if found.interval is None else found.interval[0]
        if name == "infonce":
            covered = 0
            for _ in range(settings["redraws"]):
                fresh = task.sample(found.n_test, generator)
                x_MD, y_ME = (part.double().numpy() for part in fresh)
                covered += fitted.lower_confidence_bound(x_MD, y_ME) <= task.nats
            coverage = covered / settings["redraws"]
    return {
        "nats": nats,
        "low": low,
        "coverage": coverage,
        "ksg": ksg(x_ND, y_NE),
        "cca": cca(x_ND, y_NE),
        "truth": task.nats,
    }


def read_rows(cell: Cell, run: Run) -> dict[str, Any]:
    """Estimate the information between images and their top rows, or what must follow from it.

    *rows*: an image and its own top t rows (or another image's). *processing*: the same, with the
    top half of those rows added to y, which says nothing new [SMILE, section 5.2]. *additivity*:
    two images and the top rows of both, which say twice as much; read beside one image from as
    many pairs.

    Returns:
        ``nats``, the estimate on held-out images, and its ``ceiling`` (null without one);
        ``alone_nats`` of one image for *additivity*.
    """
    settings = cell.settings
    pixels = _pixels(settings["dataset"], settings["image_rows"], cell.seed)
    generator = seeding.numpy_generator(seeding.split(cell.seed, "view"))
    noise = generator.standard_normal(pixels.shape, dtype=np.float32)
    seen = pixels if settings["paired"] else generator.permutation(pixels)
    t = settings["rows"]
    x, y = _flat(pixels), _flat((seen + settings["noise"] * noise)[:, :t])
    if settings["kind"] == "processing":
        y = np.concatenate([y, _flat((seen + settings["noise"] * noise)[:, : t // 2])], axis=1)
    read = functools.partial(
        estimate,
        bound=settings["bound"],
        batch_size=settings["rows_batch_size"],
        n_steps=settings["rows_steps"],
        seed=cell.seed,
    )
    if settings["kind"] != "additivity":
        found = read(x, y, run=run)
        return {"nats": found.nats, "ceiling": found.ceiling}
    half = len(x) // 2
    alone = read(x[:half], y[:half])
    twice = (np.concatenate([part[:half], part[half : 2 * half]], axis=1) for part in (x, y))
    found = read(*twice, run=run)
    return {"nats": found.nats, "ceiling": found.ceiling, "alone_nats": alone.nats}


def _pixels(dataset: str, n: int, seed: int) -> npt.NDArray[np.float32]:
    """Return n images, all if there are fewer, drawn at random; grey levels, (N, H, W, C)."""
    both = images.load(dataset)
    pixels = np.concatenate([part.pixels for part in both])
    generator = seeding.numpy_generator(seeding.split(seed, "images"))
    return pixels[generator.permutation(len(pixels))[:n]].astype(np.float32)


def _flat(pixels: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return pixels.reshape(len(pixels), -1)
