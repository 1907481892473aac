"""Steps per second of LeNet-300-100: sidle's loop, a bare loop, and open_lth's own.

    git clone https://github.com/facebookresearch/open_lth ../open_lth
    python benchmarks/bench_lmc_training.py --open-lth ../open_lth    # or: make bench NAME=...

MNIST (in ``SIDLE_DATA``), batches of 60, Adam at 1.2e-3: the paper's LeNet. All train in one
process on one thread; in each round each takes its turn, dense and with one weight in five kept.

- *sidle*: `training.fit` with `supervised` and `minibatches`, as the study has it: a record of the
  loss every 100 steps, losses and gradients guarded against NaN, `Mask.hold` where pruned.
- *bare*: what one writes by hand over tensors in memory: an order, rows, forward, backward, step;
  where pruned, a product with the mask after each step (which lets momentum be).
- *open_lth*: its `train` with its model and its optimiser, on its `DataLoader`, without the
  callbacks that test and save; `PrunedModel` where pruned. Once on its MNIST data set, which turns
  each image into a tensor and normalises it, and once on tensors made ready before.

sidle and bare use torch's fused Adam. Before the clock starts, both train 100 steps in the same
order: their weights must agree to the bit. A ratio is the median over rounds of the ratio within a
round, so that what else the machine does hits both sides. Bars: dense, at least 0.95 times bare and
at least 3 times open_lth. open_lth asks for torchvision; where that is not installed, the three
transforms that it uses are written out below. ``--quick`` takes few steps and writes nothing. Else
the result goes to benchmarks/results/lmc_training.md.
"""

import argparse
import datetime
import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
import time
import types
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from sidle import progress, provenance, seeding, training
from sidle.data import images
from sidle.lmc import Mask, random_mask
from sidle.lmc.networks import LeNet

ROUNDS, STEPS, WARM_UP = 15, 300, 100
BATCH_SIZE, LEARNING_RATE, DENSITY, LOG_EVERY = 60, 1.2e-3, 0.2, 100
MEAN, DEVIATION = 0.1307, 0.3081  # of MNIST's pixels, as open_lth normalises them
BAR_BARE, BAR_PEER = 0.95, 3.0
TITLES = {
    "sidle": "sidle",
    "bare": "bare loop",
    "peer": "open_lth",
    "peer ready": "open_lth, tensors made ready",
}
HOW_TO_GET_PEER = """open_lth is not at {path}. Put a checkout anywhere outside of this repository:
    git clone https://github.com/facebookresearch/open_lth ../open_lth
    python benchmarks/bench_lmc_training.py --open-lth ../open_lth"""


def network():
    with seeding.scope(0):
        return LeNet((1, 28, 28))


def kept(model):
    """Return the mask of the pruned contestants: one weight in five of each layer, at random."""
    return random_mask(Mask.ones(model), 1 - DENSITY, seed=0, scope="layer")


def adam(model):
    return torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, fused=True)


class Ours:
    def __init__(self, x, y, *, pruned):
        self.model = network()
        self.optimizer = adam(self.model)
        if pruned:
            kept(self.model).hold(self.model, self.optimizer)
        self.step = training.supervised(
            self.model, self.optimizer, lambda model, pair: F.cross_entropy(model(pair[0]), pair[1])
        )
        self.batches = training.minibatches((x, y), BATCH_SIZE, seed=0)

    def train(self, n_steps):
        training.fit(
            self.step,
            self.batches,
            n_steps,
            state={"model": self.model, "optimizer": self.optimizer},
            log_every=LOG_EVERY,
        )


class Bare:
    def __init__(self, x, y, *, pruned):
        self.x, self.y = x, y
        self.model = network()
        self.optimizer = adam(self.model)
        self.mask = []
        if pruned:
            mask = kept(self.model)
            weights = dict(self.model.named_parameters())
            self.mask = [(weights[name], bits.float()) for name, bits in mask.items()]

    def train(self, n_steps):
        x, y, model, optimizer, mask = self.x, self.y, self.model, self.optimizer, self.mask
        model.train()
        for weight, bits in mask:
            weight.data.mul_(bits)
        step = epoch = 0
        while step < n_steps:
            generator = seeding.torch_generator(seeding.split(0, "epoch", epoch))
            order = torch.randperm(len(x), generator=generator)
            for start in range(0, len(x) - BATCH_SIZE + 1, BATCH_SIZE):
                if step == n_steps:
                    break
                rows = order[start : start + BATCH_SIZE]
                optimizer.zero_grad()
                loss = F.cross_entropy(model(x[rows]), y[rows])
                loss.backward()
                optimizer.step()
                for weight, bits in mask:
                    weight.data.mul_(bits)
                step += 1
            epoch += 1


class Peer:
    """open_lth's training loop, with its own model, loader, optimiser and pruned model."""

    def __init__(self, dataset, *, pruned, folder):
        from datasets import base
        from foundations import hparams
        from foundations.step import Step
        from models import mnist_lenet
        from pruning.mask import Mask as PeerMask
        from pruning.pruned_model import PrunedModel
        from training.train import train

        self.loader = base.DataLoader(dataset, BATCH_SIZE, num_workers=0)
        self.model = mnist_lenet.Model([300, 100], lambda module: None)
        ours = network()
        theirs = dict(zip(self.model.state_dict(), ours.state_dict().values(), strict=True))
        self.model.load_state_dict(theirs)
        if pruned:
            names = dict(zip(ours.state_dict(), self.model.state_dict(), strict=True))
            mask = PeerMask({names[name]: bits.float() for name, bits in kept(ours).items()})
            self.model = PrunedModel(self.model, mask)
        self.hparams = hparams.TrainingHparams(
            optimizer_name="adam", lr=LEARNING_RATE, training_steps="1000ep", data_order_seed=0
        )
        self.run, self.step, self.folder = train, Step, folder

    def train(self, n_steps):
        end = self.step.from_iteration(n_steps, int(self.loader.iterations_per_epoch))
        self.run(self.hparams, self.model, self.loader, self.folder, end_step=end)


def torchvision_written_out():
    """Return what open_lth calls of torchvision, as torchvision computes it."""

    class Compose:
        def __init__(self, transforms):
            self.transforms = transforms

        def __call__(self, image):
            for transform in self.transforms:
                image = transform(image)
            return image

    class ToTensor:
        def __call__(self, image):
            pixels = torch.from_numpy(np.array(image, np.uint8, copy=True))
            pixels = pixels.view(image.size[1], image.size[0], len(image.getbands()))
            return pixels.permute(2, 0, 1).contiguous().to(torch.float32).div(255)

    class Normalize:
        def __init__(self, mean, std):
            self.mean, self.std = mean, std

        def __call__(self, x):
            mean = torch.as_tensor(self.mean, dtype=x.dtype).view(-1, 1, 1)
            std = torch.as_tensor(self.std, dtype=x.dtype).view(-1, 1, 1)
            return x.clone().sub_(mean).div_(std)

    def module(name, **contents):
        made = types.ModuleType(name)
        made.__dict__.update(contents)
        return made

    nothing = type("Nothing", (), {})
    transforms = module("transforms", Compose=Compose, ToTensor=ToTensor, Normalize=Normalize)
    datasets = module("datasets", CIFAR10=nothing, ImageFolder=nothing, MNIST=nothing)
    resnet = module("resnet", ResNet=nothing, BasicBlock=nothing, Bottleneck=nothing)
    models = module("models", ResNet=nothing, resnet=resnet)
    return module("torchvision", transforms=transforms, datasets=datasets, models=models)


class Alone(nn.Module):
    """Stands where open_lth would train on many machines, which it does not do here."""


def load_peer(path):
    """Make open_lth importable; return its commit and where its transforms come from."""
    if not (path / "training" / "train.py").is_file():
        sys.exit(HOW_TO_GET_PEER.format(path=path))
    sys.path.insert(0, str(path))
    source = "torchvision"
    if importlib.util.find_spec("torchvision") is None:
        sys.modules["torchvision"] = torchvision_written_out()
        source = "its transforms written out, since torchvision is not installed"
    # open_lth is of 2020. NumPy has dropped a name since, and torch's class for many machines has
    # changed so that Python refuses the order in which open_lth derives from it.
    vars(np)["product"] = np.prod
    distributed, nn.parallel.DistributedDataParallel = nn.parallel.DistributedDataParallel, Alone
    try:
        import models.mnist_lenet  # noqa: F401
        import platforms.local
        import platforms.platform
        import training.train  # noqa: F401
    finally:
        nn.parallel.DistributedDataParallel = distributed
    platforms.platform._PLATFORM = platforms.local.Platform()
    commit = subprocess.run(
        ["git", "-C", str(path), "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True
    )
    return commit.stdout.strip() or "unknown", source


def peer_datasets(pixels, x, y):
    from datasets import base, mnist

    class Ready(base.Dataset):
        """Tensors made ready before, handed out row by row."""

        num_train_examples = num_test_examples = num_classes = None
        get_train_set = get_test_set = None

    return {
        "peer": mnist.Dataset(pixels, y),
        "peer ready": Ready(x.numpy(), y.numpy()),
    }


def check_same(x, y):
    """Raise unless sidle's loop and the bare one train the same weights, to the bit."""
    pairs = [Ours(x, y, pruned=False), Bare(x, y, pruned=False)]
    for one in pairs:
        one.train(WARM_UP)
    states = [one.model.state_dict() for one in pairs]
    for name, tensor in states[0].items():
        assert torch.equal(tensor, states[1][name]), name


def main(peer_path, *, quick):
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    load = os.getloadavg()[0]
    rounds, steps = (3, 60) if quick else (ROUNDS, STEPS)
    found = images.load("mnist")[0]
    pixels, y = torch.from_numpy(found.pixels[..., 0]), torch.from_numpy(found.labels)
    x = ((pixels.float() / 255 - MEAN) / DEVIATION).unsqueeze(1)
    commit, source = load_peer(peer_path)
    check_same(x, y)
    with tempfile.TemporaryDirectory() as folder:
        contestants = {}
        for pruned in (False, True):
            contestants["sidle", pruned] = Ours(x, y, pruned=pruned)
            contestants["bare", pruned] = Bare(x, y, pruned=pruned)
            for name, dataset in peer_datasets(pixels, x, y).items():
                contestants[name, pruned] = Peer(dataset, pruned=pruned, folder=folder)
        seconds = {key: [] for key in contestants}
        with progress.bar("rounds", rounds * len(contestants)) as bar:
            for turn in range(-1, rounds):
                # Forth and back: whoever comes first in one round comes last in the next.
                order = list(contestants)[:: 1 if turn % 2 else -1]
                for key in order:
                    began = time.perf_counter()
                    contestants[key].train(steps if turn >= 0 else WARM_UP)
                    if turn >= 0:
                        seconds[key].append(time.perf_counter() - began)
                        bar.advance(note=TITLES[key[0]])
    text = report(seconds, steps, commit, source, load)
    if not quick:
        path = Path(__file__).parent / "results" / "lmc_training.md"
        path.write_text(text, encoding="utf-8")
    print(text)


def ratios(seconds, other, pruned):
    """Return how many times as many steps a second sidle takes, round by round."""
    pairs = zip(seconds["sidle", pruned], seconds[other, pruned], strict=True)
    return sorted(theirs / ours for ours, theirs in pairs)


def report(seconds, steps, commit, source, load):
    machine = provenance.machine()
    lines = [
        "# LeNet-300-100: steps per second",
        "",
        f"`python benchmarks/bench_lmc_training.py --open-lth PATH`, {datetime.date.today()}, "
        f"{machine['processor']}, {machine['cores']} cores, Python {machine['python']}, torch "
        f"{torch.__version__}, open_lth {commit} ({source}); one thread, "
        f"{len(seconds['sidle', False])} rounds of {steps} steps in turn, load average {load:.1f} "
        "at the start.",
        "",
        f"MNIST, batches of {BATCH_SIZE}, Adam at {LEARNING_RATE:g}. Median (20th to 80th "
        "percentile) over rounds; ratios are taken within rounds.",
        "",
        f"| loop | dense | sidle's is | {DENSITY:.0%} of the weights kept | sidle's is |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, title in TITLES.items():
        cells = []
        for pruned in (False, True):
            rates = sorted(steps / s for s in seconds[name, pruned])
            low, high = (rates[round(q * (len(rates) - 1))] for q in (0.2, 0.8))
            cells.append(f"{statistics.median(rates):,.0f} /s ({low:,.0f} to {high:,.0f})")
            times = statistics.median(ratios(seconds, name, pruned))
            cells.append("" if name == "sidle" else f"{times:.2f} times")
        lines.append(f"| {title} | {' | '.join(cells)} |")
    bare, peer, ready = (
        statistics.median(ratios(seconds, name, False)) for name in ("bare", "peer", "peer ready")
    )
    met = {True: "met", False: "missed"}
    lines += [
        "",
        f"- **Against the bare loop**: {bare:.2f} times its steps per second, with guards against "
        f"NaN, records and progress. Bar: at least {BAR_BARE}; {met[bare >= BAR_BARE]}. 100 steps "
        "in the same order give the same weights to the bit.",
        f"- **Against open_lth's loop**: {peer:.1f} times. Bar: at least {BAR_PEER:g}; "
        f"{met[peer >= BAR_PEER]}. Were its tensors made ready before, {ready:.1f} times.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--open-lth", type=Path, default=Path("../open_lth"), help="a checkout of open_lth"
    )
    parser.add_argument("--quick", action="store_true", help="few steps, nothing written")
    options = parser.parse_args()
    main(options.open_lth.resolve(), quick=options.quick)
