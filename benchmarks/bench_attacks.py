"""What attacks cost: the fast suite, and ours beside foolbox's.

    python benchmarks/bench_attacks.py

A convolutional network (1 x 28 x 28; 16 and 32 channels, stride 2) is trained on 10,000 images of
Fashion-MNIST for six passes, on both cores of the machine. Then:

- *suite*: `robustness(model, x, y, "fast")` on 1,000 test images, with its audit of 50;
- *beside foolbox*: PGD of 20 steps from one random start with the same budget and step, on the same
  images, by us and by foolbox, who take turns. Ours lets broken images leave; that changes nothing
  of the result, so both numbers are given, with and without.

Robust accuracies must agree within two points (starts are random). Bar: the suite in under three
minutes. The result goes to benchmarks/results/attacks.md.
"""

import datetime
import statistics
import time
from pathlib import Path

import foolbox
import torch
from torch import nn

from sidle import provenance, seeding
from sidle.data import images
from sidle.evaluation import attacks
from sidle.evaluation.robustness import robustness
from sidle.evaluation.suites import Budgets

TRAIN, TEST, EPOCHS, BATCH, ROUNDS = 10_000, 1_000, 6, 100, 5
BUDGETS = Budgets.for_images((1, 28, 28))
THEIRS = {
    "linf": foolbox.attacks.LinfProjectedGradientDescentAttack,
    "l2": foolbox.attacks.L2ProjectedGradientDescentAttack,
}
RESULTS = Path(__file__).parent / "results" / "attacks.md"


def tensors(part, n):
    pixels = torch.from_numpy(part.pixels[:n]).permute(0, 3, 1, 2).float() / 255
    return pixels.contiguous(), torch.from_numpy(part.labels[:n]).long()


def trained(x, y):
    with seeding.scope(0):
        model = nn.Sequential(
            nn.Conv2d(1, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(),
            nn.Flatten(), nn.Linear(32 * 49, 10),
        )  # fmt: skip
        optimizer = torch.optim.Adam(model.parameters(), 2e-3)
        for _ in range(EPOCHS):
            for rows in torch.randperm(len(x)).split(BATCH):
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
                optimizer.step()
    return model.eval()


def ours(model, x, y, norm, early_stop):
    found = attacks.pgd(
        model, x, y, epsilon=BUDGETS.of(norm), norm=norm, n_steps=20, early_stop=early_stop
    )
    return found.robust_accuracy


def theirs(model, x, y, norm):
    wrapped = foolbox.PyTorchModel(model, bounds=(0, 1))
    attack = THEIRS[norm](steps=20, rel_stepsize=2.5 / 20)
    broken = [
        attack(wrapped, images, labels, epsilons=BUDGETS.of(norm))[2]
        for images, labels in zip(x.split(200), y.split(200), strict=True)
    ]
    return 1 - float(torch.cat(broken).double().mean())


def timed(call, *arguments):
    began = time.perf_counter()
    return call(*arguments), time.perf_counter() - began


def main():
    train, test = images.load("fashion_mnist")
    model = trained(*tensors(train, TRAIN))
    x, y = tensors(test, TEST)
    suite, seconds = timed(robustness, model, x, y, "fast")
    lines = []
    for norm in THEIRS:
        rows = {"ours": [], "ours, nobody leaves": [], "foolbox": []}
        for _ in range(ROUNDS):
            rows["ours"].append(timed(ours, model, x, y, norm, True))
            rows["ours, nobody leaves"].append(timed(ours, model, x, y, norm, False))
            rows["foolbox"].append(timed(theirs, model, x, y, norm))
        accuracy = {name: statistics.median(a for a, _ in some) for name, some in rows.items()}
        taken = {name: statistics.median(s for _, s in some) for name, some in rows.items()}
        assert abs(accuracy["ours"] - accuracy["foolbox"]) < 0.02, accuracy
        lines += [
            f"| {norm} | {name} | {accuracy[name]:.1%} | {taken[name]:.2f} s | "
            f"{taken['foolbox'] / taken[name]:.2f} |"
            for name in rows
        ]
    worst = ", ".join(f"{norm} {value:.1%}" for norm, value in suite.worst.items())
    audits = {one.verdict for one in suite.audit.values()}
    text = f"""# What attacks cost

`python benchmarks/bench_attacks.py` on {datetime.date.today()},
{provenance.machine()["processor"]}, torch {torch.__version__}, {torch.get_num_threads()} threads,
foolbox {foolbox.__version__}.

The fast suite with its audit took **{seconds:.0f} s** for {TEST:,} images (bar: 180 s). Accuracy
{suite.accuracy:.1%}, in the worst case {worst}; audit {", ".join(sorted(audits))}.

PGD, 20 steps, {TEST:,} images, medians of {ROUNDS} rounds:

| norm | attack | accuracy under it | time | times as fast as foolbox |
| --- | --- | ---: | ---: | ---: |
"""
    RESULTS.write_text(text + "\n".join(lines) + "\n", encoding="utf-8")
    print(RESULTS.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
