"""Trains in a run folder until done; tests kill it and start it again.

Usage: python train_to_the_end.py FOLDER N_STEPS. Prints "training" when the loop begins. A
checkpoint is written after every step, so that a random moment often falls into a write. All
kinds of state take part: weights, Adam's moments, a scheduler, dropout (global generator), a
generator of our own, early stopping that never fires.
"""

import sys
from pathlib import Path

import torch
from torch import nn

from sidle import runs, seeding, training


def main(folder: Path, n_steps: int) -> None:
    identity = runs.Identity(settings={"n_steps": n_steps}, seed=3)
    with runs.open_run(folder, identity) as run, seeding.scope(3):
        if run.finished:
            return
        model = nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 1))
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n_steps)
        noise = seeding.torch_generator(seeding.split(3, "noise"))
        data = torch.randn(40, 5, generator=seeding.torch_generator(1))

        def loss(module: nn.Module, batch: tuple[torch.Tensor, ...]) -> torch.Tensor:
            (x,) = batch
            target = x.sum(1) + 0.1 * torch.randn(len(x), generator=noise)
            return (module(x).squeeze(1) - target).square().mean()

        step = training.supervised(model, optimizer, loss, scheduler=scheduler)
        print("training", flush=True)
        training.fit(
            step,
            training.minibatches((data,), 8, seed=3),
            n_steps,
            state={
                "model": model,
                "optimizer": optimizer,
                "scheduler": scheduler,
                "noise": noise,
            },
            run=run,
            stop=training.Patience("loss", patience=n_steps),
            checkpoint_every=0.0,
        )
        run.finish({"weights": sum(p.sum().item() for p in model.parameters())})


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]), int(sys.argv[2]))
