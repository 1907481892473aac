"""A small vision transformer: order of the data and dropout are two sources of noise."""

import torch
from torch import nn
from torch.nn import functional

from sidle import seeding, training
from sidle.data import images
from sidle.lmc import instability, noise

STEPS, STOP = [0, 30], 120
(x, y), test = (
    (torch.from_numpy(part.pixels / 255).float().squeeze(3), torch.from_numpy(part.labels))
    for part in images.digits()
)


class VisionTransformer(nn.Module):
    """Attention over the 16 patches of 2 x 2 pixels of an image (B, 8, 8)."""

    def __init__(self, width=32):
        super().__init__()
        self.embed = nn.Linear(4, width)
        self.position = nn.Parameter(0.02 * torch.randn(16, width))
        self.layer = nn.TransformerEncoderLayer(
            width, nhead=4, dim_feedforward=64, dropout=0.1, batch_first=True, norm_first=True
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 10)

    def forward(self, pixels):
        patches = functional.unfold(pixels.unsqueeze(1), 2, stride=2).transpose(1, 2)
        tokens = self.layer(self.embed(patches) + self.position)
        return self.head(self.norm(tokens).mean(1))


def train(state, start, stop, seed):
    seeds = noise(seed)  # one seed for each source
    model = VisionTransformer()
    model.load_state_dict(state["model"])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    if "optimizer" in state:
        optimizer.load_state_dict(state["optimizer"])
    batches = training.minibatches((x, y), 64, seed=seeds["data_order"])
    for i in range(start, stop):
        rows, labels = batches(i)
        optimizer.zero_grad()
        # Drawn anew for each step, so that training in two stretches is training in one.
        with seeding.scope(seeding.split(seeds["dropout"], "step", i)):
            loss = functional.cross_entropy(model(rows), labels)
        loss.backward()
        optimizer.step()
    return {"model": model.state_dict(), "optimizer": optimizer.state_dict()}


table = instability(
    VisionTransformer, train, {"test": test, "train": (x, y)}, steps=STEPS, stop=STOP, points=11
)
print("         k   instability   loss barrier    error   labels differ   distance of losses")
for data in ("test", "train"):
    for mean in table.means(data):
        print(
            f"{data:6} {mean.k:3}   {mean.instability:11.2%}   {mean.loss_instability:7.3f} nats   "
            f"{mean.error:6.2%}   {mean.disagreement:13.2%}   {mean.loss_distance:13.3f} nats"
        )
print(f"\nseeds of the first copy: {table.seeds['copies'][0]}")
