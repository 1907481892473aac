"""Keep of digits what tells them apart: a bottleneck, its twin, and what each keeps and resists."""

import torch
from torch import nn

from sidle import seeding
from sidle.ceb import Bottleneck, MeanPrediction, conventions, measure
from sidle.data import images
from sidle.evaluation.assessment import assess

train, test = images.load("digits")
x, y = (torch.from_numpy(part) for part in (train.pixels[..., 0] / 255, train.labels))
x_test, y_test = (torch.from_numpy(part) for part in (test.pixels[..., 0] / 255, test.labels))
x, x_test = x[:, None].float(), x_test[:, None].float()
print(conventions(0.0))

for objective in ("deterministic", "ceb"):
    with seeding.scope(0):
        encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 8))
        model = Bottleneck(encoder, 10, 8, objective=objective, rho=0.0)
        network = torch.optim.Adam(model.network_parameters(), 3e-3)
        marginal = torch.optim.Adam(model.marginal_parameters(), 2e-2)
        for step in range(800):
            rows = torch.randint(len(x), (100,))
            model.rho = max(10.0 * (1 - step / 400), 0.0)  # tighten over the first half
            found = model.loss(x[rows], y[rows])
            network.zero_grad()
            marginal.zero_grad()
            (found.loss + found.marginal_loss).backward()
            network.step()
            marginal.step()
    kept = measure(model, x_test, y_test, samples=4)
    seen = assess(
        MeanPrediction(model.eval(), 8), x_test[:300], y_test[:300], n_images=20, audit_images=10
    )
    print(f"\n{objective}: {seen.calibration.accuracy:.1%} right")
    if model.draws:
        print(
            f"  rate {kept.rate:.2f} nats, residual {kept.residual:.2f}, of the label "
            f"{kept.label:.2f} of {kept.entropy:.2f}"
        )
    worst = ", ".join(
        f"{norm} {value:.0%} (audit {seen.robustness.audit[norm].verdict})"
        for norm, value in seen.robustness.worst.items()
    )
    print(f"  confidence off by {seen.calibration.ece:.1%}; under attack: {worst}")
