"""Instability analysis: do copies of a network, trained under different noise, stay connected?

A *trunk* is trained from step 0 under one sample of the noise of training, and its state saved at
each step k that is asked for. From each, copies are trained to the last step T under samples of
their own, and every pair of them is compared: the mean error barrier on the lines between them is
the instability of the network at step k [LMC, algorithm 1].

    table = instability(model_fn, train_fn, (x, y), steps=[0, 20, 100], stop=2000)
    table.means()[0].instability, table.stable_from()

One integer seeds everything. The streams it splits into are named: "initialisation"; the noise of
the trunk; the noise of each copy. A training function splits its seed further with `noise`, so
that order of the data, augmentation and dropout are drawn apart.

Letters: k = a step at which copies are made; T = the last step.
References: [LMC] Frankle, Dziugaite, Roy, Carbin 2020, arXiv:1912.05671.
"""

from __future__ import annotations

import functools
import itertools
import math
import multiprocessing
import operator
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sidle import progress, provenance, seeding, storage
from sidle.errors import ArgumentError
from sidle.lmc import comparison, duties, stretches, training_function
from sidle.lmc.barrier import THRESHOLD
from sidle.lmc.batch_norm import Calibration
from sidle.lmc.comparison import Comparison, Evaluate
from sidle.lmc.masks import Mask
from sidle.lmc.measurement import BATCH_SIZE, Loss
from sidle.lmc.paths import POINTS, BatchNorm, Settings, check_settings, complete
from sidle.lmc.points import Evaluation
from sidle.lmc.training_function import State, TrainingFunction

NOISE = ("data_order", "augmentation", "dropout")
COPIES = 2


def noise(seed: int) -> dict[str, int]:
    """Return the seeds of the sources of noise below a training function's seed, by name.

    "data_order", "augmentation" and "dropout": drawn apart, so that a change to one, such as
    another augmentation, leaves the others as they were.
    """
    return {name: seeding.split(seed, name) for name in NOISE}


@dataclass(frozen=True, eq=False)
class Pair:
    """Two copies of one state, trained under different noise, and compared.

    Attributes:
        k: the step at which the copies were made.
        first: number of one copy.
        second: number of the other.
        schedule_reset: whether they were trained for T steps as if from step 0.
        density: share of the prunable weights that they keep; 1 for a dense network.
        compared: barrier and other distances.
    """

    k: int
    first: int
    second: int
    schedule_reset: bool
    density: float
    compared: Comparison

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {
            "k": self.k,
            "first": self.first,
            "second": self.second,
            "schedule_reset": self.schedule_reset,
            "density": self.density,
            **self.compared.as_dict(),
        }


@dataclass(frozen=True)
class Mean:
    """Means over all pairs of copies made at one step, on one set of data.

    Attributes:
        k: the step.
        schedule_reset: whether the copies were trained for T steps as if from step 0.
        density: share of the prunable weights that is kept.
        data: name of the data.
        instability: error barrier, in [0, 1] [LMC, section 2].
        split_instability: the barrier without the upward bias of a maximum.
        loss_instability: loss barrier, in nats for cross-entropy.
        error: error of the trained copies, in [0, 1].
        loss: their loss.
        l2_distance: Euclidean distance of their parameters.
        disagreement: share of examples that they label differently.
        loss_distance: root mean square of the difference of their losses.
        n_pairs: over how many pairs.
    """

    k: int
    schedule_reset: bool
    density: float
    data: str
    instability: float
    split_instability: float
    loss_instability: float
    error: float
    loss: float
    l2_distance: float
    disagreement: float
    loss_distance: float
    n_pairs: int


@dataclass(frozen=True, eq=False)
class Instability:
    """The outcome of an instability analysis.

    Attributes:
        stop: the last step, T.
        seed: the one integer that everything was drawn from.
        seeds: what it was split into, by name.
        pairs: every pair of copies, in order of k.
        notes: what a reader should know.
    """

    stop: int
    seed: int
    seeds: Mapping[str, Any]
    pairs: tuple[Pair, ...]
    notes: tuple[str, ...] = ()

    def means(self, data: str | None = None, *, schedule_reset: bool = False) -> list[Mean]:
        """Return the means over pairs, one for each k in rising order.

        Args:
            data: name of the data; None is the first.
            schedule_reset: of the control instead.

        Raises:
            ArgumentError: there is no data of that name.
        """
        known = list(self.pairs[0].compared.on)
        name = known[0] if data is None else data
        if name not in known:
            raise ArgumentError(f"means: data must be one of {', '.join(known)}, got {name!r}.")
        chosen = [pair for pair in self.pairs if pair.schedule_reset == schedule_reset]
        return [mean_of(list(pairs), name) for _, pairs in itertools.groupby(chosen, lambda p: p.k)]

    def stable_from(self, threshold: float = THRESHOLD, data: str | None = None) -> int | None:
        """Return the first k from which on instability stays below ``threshold``, if any.

        The paper calls a network stable where it is below 2 % [LMC, section 3].
        """
        found = None
        for mean in reversed(self.means(data)):
            if mean.instability >= threshold:
                break
            found = mean.k
        return found

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON values: every pair, and the means over pairs."""
        return {
            "stop": self.stop,
            "seed": self.seed,
            "seeds": dict(self.seeds),
            "pairs": [pair.as_dict() for pair in self.pairs],
            "means": [
                vars(mean)
                for reset in (False, True)
                for name in self.pairs[0].compared.on
                for mean in self.means(name, schedule_reset=reset)
            ],
            "notes": list(self.notes),
        }


def instability(
    model_fn: Callable[[], nn.Module],
    train_fn: TrainingFunction,
    evaluate_fn: Evaluate,
    *,
    steps: Sequence[int],
    stop: int,
    copies: int = COPIES,
    seed: int = 0,
    mask: Mask | Mapping[int, Mask] | None = None,
    schedule_reset: bool = False,
    folder: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    workers: int = 1,
    check: bool = True,
    points: int = POINTS,
    batch_norm: BatchNorm = "interpolated",
    calibration: Calibration | None = None,
    batch_size: int = BATCH_SIZE,
    device: str | torch.device = "cpu",
    loss: Loss | None = None,
    evaluation: Evaluation = "auto",
) -> Instability:
    """Train copies of a network from several steps on and compare all pairs of them.

    Args:
        model_fn: makes a freshly initialised model; torch's initialisers draw from ``seed``. The
            tree that training begins with is ``{"model": model.state_dict()}``.
        train_fn: ``train_fn(state, start, stop, seed) -> state``: see
            `sidle.lmc.training_function` for what it must honour; `noise` splits its seed.
        evaluate_fn: what the copies are compared on: data ``(x, y)`` or batches; data by name (the
            first counts, the others stand beside it); or a function of weights that returns a
            `Measurement`.
        steps: every k, in [0, T).
        stop: the last step, T.
        copies: n of them from each k, at least 2; they make n (n - 1) / 2 pairs.
        seed: the one integer that everything is drawn from.
        mask: which weights the copies keep, for all k, or by k (a ticket found by rewinding to k
            belongs to k). The trunk stays dense, as in [LMC, section 4].
        schedule_reset: from each k > 0 also train copies for T steps as if from step 0: only the
            weights of step k are kept, and ``train_fn`` is asked for steps 0 to T. This tells
            being further on in training from having fewer steps left [LMC, section 3].
        folder: where each stretch of training is kept in a run folder named by its content (state,
            mask, seed, steps, ``settings``, code): killed work goes on, nothing is trained twice,
            several processes may work in one folder. None keeps nothing.
        settings: what else training depends on (data, learning rate), as JSON values; they name
            the run folders.
        workers: processes that train copies, each with its share of the cores; 1 trains here. More
            take a ``folder``, and a ``train_fn`` that can be pickled.
        check: first find out in some 40 short steps whether ``train_fn`` honours its arguments
            (`duties.check`).
        points: as for `paths.error_barrier`, as for all that follow. A function of weights is
            called ``points`` times a pair; the others are its own business.
        batch_norm: "interpolated", "re-estimated" or "both".
        calibration: inputs to re-estimate from.
        batch_size: examples a batch in evaluation.
        device: where to evaluate.
        loss: another loss.
        evaluation: "auto", "sequential" or "batched".

    Raises:
        ArgumentError: a setting out of range (before any work); a training function that ignores
            its state, its start or stop step or its seed, or revives pruned weights; or as
            `comparison.compare`.
        ShapeError, NonFiniteError: as `comparison.compare` and `training_function.train`.
        CheckpointError, StorageError: as `stretches.trained`.
    """
    ks = _checked_steps(steps, stop)
    masks = _masks(mask, ks)
    if copies < 2 or workers < 1:
        raise ArgumentError(
            f"instability: expected copies >= 2 and workers >= 1, got {copies} and {workers}."
        )
    if workers > 1:
        _check_can_travel(train_fn, folder)
    if not comparison.is_function(evaluate_fn):
        comparison.data_by_name(evaluate_fn)
    comparing = Settings(
        points=points,
        batch_norm=batch_norm,
        calibration=calibration,
        batch_size=batch_size,
        device=device,
        seed=seeding.split(seed, "halves"),
        loss=loss,
        evaluation=evaluation,
    )
    check_settings(complete(comparing, "instability"), "instability")
    seeds = _seeds(seed, copies)
    with seeding.scope(seeds["initialisation"]):
        model = model_fn()
    if not isinstance(model, nn.Module):
        raise ArgumentError(
            f"instability: model_fn must return a torch module, got {type(model).__name__}."
        )
    initial: State = training_function.copied({"model": model.state_dict()})
    for one in masks.values():
        one.check(initial["model"], "instability")
        training_function.check_takes_mask(train_fn)
    if folder is not None:
        storage.write_json(Path(folder) / f"seeds-{seed}.json", seeds)
    notes = duties.check(train_fn, initial, stop=stop, seed=seed) if check else ()

    training = _Training(train_fn, folder, settings)
    jobs: dict[tuple[int, bool, int], Future[Any]] = {}
    n_jobs = copies * (len(ks) + (sum(k > 0 for k in ks) if schedule_reset else 0))
    with _pool(training, workers) as pool, progress.bar("instability", n_jobs) as bar:
        state, at = initial, 0
        for k in ks:
            state, at = training(state, at, k, seeds["trunk"]["seed"], None), k
            for reset in (False, True) if schedule_reset and k > 0 else (False,):
                begin = {"model": training_function.weights(state)} if reset else state
                for copy in range(copies):
                    own = seeds["copies"][copy]["seed"]
                    arguments = (begin, 0 if reset else k, stop, own, masks.get(k))
                    jobs[k, reset, copy] = pool.submit(*arguments)
                    jobs[k, reset, copy].add_done_callback(lambda _: bar.advance())
        trained = {key: training_function.weights(pool.result(job)) for key, job in jobs.items()}
    pairs = []
    for k, reset in dict.fromkeys(key[:2] for key in trained):
        for first, second in itertools.combinations(range(copies), 2):
            a, b = trained[k, reset, first], trained[k, reset, second]
            _check_differ(train_fn, a, b, k)
            compared = comparison.compare(a, b, evaluate_fn, model=model, settings=comparing)
            density = masks[k].density if k in masks else 1.0
            pairs.append(Pair(k, first, second, reset, density, compared))
    return Instability(stop, seed, seeds, tuple(pairs), notes)


def mean_of(pairs: Sequence[Pair], data: str) -> Mean:
    """Return the means over ``pairs`` of one step on the data of that name."""

    def mean(value: Callable[[Comparison], float]) -> float:
        return math.fsum(value(pair.compared) for pair in pairs) / len(pairs)

    return Mean(
        k=pairs[0].k,
        schedule_reset=pairs[0].schedule_reset,
        density=pairs[0].density,
        data=data,
        instability=mean(lambda found: found.on[data].barrier.barrier),
        split_instability=mean(lambda found: found.on[data].barrier.split_barrier),
        loss_instability=mean(lambda found: found.on[data].barrier.loss_barrier),
        error=mean(lambda found: found.on[data].error),
        loss=mean(lambda found: found.on[data].loss),
        l2_distance=mean(lambda found: found.l2_distance),
        disagreement=mean(lambda found: found.on[data].disagreement),
        loss_distance=mean(lambda found: found.on[data].loss_distance),
        n_pairs=len(pairs),
    )


@dataclass(frozen=True)
class _Training:
    """What all stretches are trained with; can be sent to a worker process."""

    train_fn: TrainingFunction
    folder: str | Path | None
    settings: Mapping[str, Any] | None

    def __call__(
        self, state: State, start: int, stop: int, seed: int, mask: Mask | None
    ) -> dict[str, Any]:
        return stretches.trained(
            self.train_fn,
            state,
            start,
            stop,
            seed,
            mask=mask,
            folder=self.folder,
            settings=self.settings,
        )


class _Here:
    """Trains at once, in this process."""

    def __init__(self, training: _Training) -> None:
        self._training = training

    def submit(self, *arguments: Any) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(self._training(*arguments))
        return done

    def result(self, job: Future[Any]) -> State:
        found: State = job.result()
        return found


class _Elsewhere:
    """Trains in other processes.

    States travel as plain pickles: multiprocessing's own keep a file open for every tensor, and
    some hundreds are soon too many.
    """

    def __init__(self, pool: ProcessPoolExecutor) -> None:
        self._pool = pool

    def submit(self, *arguments: Any) -> Future[Any]:
        return self._pool.submit(_train_in_worker, pickle.dumps(arguments))

    def result(self, job: Future[Any]) -> State:
        found: State = pickle.loads(job.result())
        return found


@contextmanager
def _pool(training: _Training, workers: int) -> Iterator[_Here | _Elsewhere]:
    if workers == 1:
        yield _Here(training)
        return
    threads = max(1, provenance.usable_cores() // workers)
    context = multiprocessing.get_context("spawn")
    begin = threads, pickle.dumps(training)
    with ProcessPoolExecutor(workers, context, _begin_worker, begin) as pool:
        try:
            yield _Elsewhere(pool)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


_sent = b""  # what this worker process trains with; sent once, because it may hold the data


def _begin_worker(threads: int, training: bytes) -> None:
    global _sent
    progress.silence()
    torch.set_num_threads(threads)
    _sent = training


def _train_in_worker(arguments: bytes) -> bytes:
    return pickle.dumps(_arrived(_sent)(*pickle.loads(arguments)))


@functools.cache
def _arrived(training: bytes) -> _Training:
    try:
        found: _Training = pickle.loads(training)
    except (ImportError, AttributeError) as error:
        raise ArgumentError(
            f"instability: a worker process does not find the training function: {error}. Define "
            "it in a module that can be imported by name, or use workers=1."
        ) from error
    return found


def _seeds(seed: int, copies: int) -> dict[str, Any]:
    """Return every seed that is used, by name."""
    trunk = seeding.split(seed, "trunk")
    own = [seeding.split(seed, "copy", copy) for copy in range(copies)]
    return {
        "seed": seed,
        "initialisation": seeding.split(seed, "initialisation"),
        "trunk": {"seed": trunk, **noise(trunk)},
        "copies": [{"seed": one, **noise(one)} for one in own],
    }


def _checked_steps(steps: Sequence[int], stop: int) -> list[int]:
    try:
        ks, last = sorted(operator.index(k) for k in steps), operator.index(stop)
    except TypeError:
        ks, last = [], 0
    if not ks or len(set(ks)) < len(ks) or not 0 <= ks[0] <= ks[-1] < last:
        raise ArgumentError(
            "instability: steps must be different whole numbers in [0, stop), at least one, got "
            f"{list(steps)} with stop {stop}."
        )
    return ks


def _masks(mask: Mask | Mapping[int, Mask] | None, ks: Sequence[int]) -> dict[int, Mask]:
    if mask is None:
        return {}
    if isinstance(mask, Mask):
        return dict.fromkeys(ks, mask)
    if missing := sorted(set(ks) - set(mask)):
        raise ArgumentError(f"instability: there is no mask for the steps {missing}.")
    return {k: mask[k] for k in ks}


def _check_can_travel(train_fn: TrainingFunction, folder: str | Path | None) -> None:
    if folder is None:
        raise ArgumentError(
            "instability: workers > 1 need a folder in which they keep what they trained."
        )
    try:
        pickle.dumps(train_fn)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ArgumentError(
            f"{training_function.name_of(train_fn)} cannot be sent to worker processes: {error}. "
            "Define it at the top of a module, with functools.partial for its data, or use "
            "workers=1."
        ) from error


def _check_differ(train_fn: TrainingFunction, a: State, b: State, k: int) -> None:
    if training_function.digest(dict(a)) == training_function.digest(dict(b)):
        raise ArgumentError(
            f"{training_function.name_of(train_fn)} ignores its seed: two copies trained from step "
            f"{k} under different seeds have the same weights. Draw the order of the data, "
            "augmentation and dropout from the seed."
        )
