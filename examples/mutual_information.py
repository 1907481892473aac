"""How much do x and y say about each other? Four bounds, on data where the answer is known."""

from sidle import seeding
from sidle.mi import BOUNDS, CorrelatedGaussians, estimate_all

problem = CorrelatedGaussians(dim=5, nats=2.0)
x_ND, y_ND = problem.sample(3000, seeding.torch_generator(seeding.split(0, "example")))

print(f"truth: {problem.nats:.2f} nats")
for found in estimate_all(x_ND, y_ND, n_steps=500):
    low, high = found.interval
    ceiling = "none" if found.ceiling is None else f"{found.ceiling:.2f}"
    print(
        f"{BOUNDS[found.bound].title:17} {found.nats:5.2f} nats   [{low:5.2f}, {high:5.2f}]   "
        f"guarantee {found.guarantee:6} ceiling {ceiling}"
    )

# Shuffled pairs have nothing in common: every bound should read about zero.
order = seeding.numpy_generator(seeding.split(0, "shuffle")).permutation(len(y_ND))
control = estimate_all(x_ND, y_ND[order], n_steps=100)
print("shuffled:", ", ".join(f"{found.bound} {abs(found.nats):.2f}" for found in control))
