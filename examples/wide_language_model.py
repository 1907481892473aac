"""Train a transformer on Python's standard library; of its 25,000 outputs each step scores a tenth.

Any network can end in a `WideSoftmax`: it takes hidden rows and the next tokens and gives the loss;
its backward pass updates its own rows. The rest of the network has an optimizer as always.
"""

import time

import torch
from torch import nn

from sidle.data import text
from sidle.slide import WideSoftmax

CONTEXT, WIDTH, BATCH, STEPS = 32, 64, 64, 250
torch.manual_seed(0)
tokens = text.source_tokens(text.standard_library(max_bytes=4_000_000))
words = text.vocabulary(tokens)
coded = torch.from_numpy(words.encode(tokens)).long()
training, held_out = coded[: len(coded) * 9 // 10], coded[len(coded) * 9 // 10 :]
print(f"{len(coded):,} tokens, {len(words):,} different ones")

embedding = nn.Embedding(len(words), WIDTH)
place = nn.Parameter(torch.randn(CONTEXT, WIDTH) / WIDTH**0.5)
blocks = nn.TransformerEncoder(
    nn.TransformerEncoderLayer(WIDTH, 4, 128, dropout=0.0, batch_first=True), 2
)
to_past = nn.Transformer.generate_square_subsequent_mask(CONTEXT)
output = WideSoftmax(WIDTH, len(words), lr=3e-3, betas=(0.0, 0.999), candidates=2048)
optimizer = torch.optim.Adam([*embedding.parameters(), place, *blocks.parameters()], lr=2e-3)


def batch(data):
    """Return tokens (BATCH, CONTEXT) and the token after each."""
    starts = torch.randint(len(data) - CONTEXT, (BATCH, 1))
    windows = data[starts + torch.arange(CONTEXT + 1)]
    return windows[:, :-1], windows[:, 1:]


def loss_of(data):
    given, wanted = batch(data)
    hidden = blocks(embedding(given) + place, mask=to_past, is_causal=True)
    return output(hidden.flatten(0, 1), wanted.flatten())


def held_out_loss():
    """Return the mean loss of ten batches over all tokens: in evaluation mode it is exact."""
    output.eval()
    with torch.no_grad():
        mean = sum(float(loss_of(held_out)) for _ in range(10)) / 10
    output.train()
    return mean


print(f"before: {held_out_loss():.2f} nats a token")
started = time.perf_counter()
for _ in range(STEPS):
    optimizer.zero_grad()
    loss_of(training).backward()  # the output layer moves here
    optimizer.step()
report = output.report()
print(f"after {STEPS} steps, {time.perf_counter() - started:.0f} s: {held_out_loss():.2f} nats")
print(
    f"engine {output.engine_used!r}: {report.active_per_batch:,.0f} of {len(words):,} outputs a "
    f"batch, {report.seconds:.0f} s of the time"
)
