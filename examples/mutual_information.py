"""How much do x and y say about each other? Several bounds, where the answer is known."""

from sidle import seeding
from sidle.mi import BOUNDS, CorrelatedGaussians, cross_checks, disagreements, estimate_all

problem = CorrelatedGaussians(dim=5, nats=2.0)
x_ND, y_ND = problem.sample(3000, seeding.torch_generator(seeding.split(0, "example")))
chosen = ("infonce", "nwj", "js", "dv", "club")

print(f"truth: {problem.nats:.2f} nats")
estimates = estimate_all(x_ND, y_ND, bounds=chosen, n_steps=500)
for found in estimates:
    interval = "none" if found.interval is None else "[{:.2f}, {:.2f}]".format(*found.interval)
    print(
        f"{BOUNDS[found.bound].title:17} {found.nats:5.2f} nats   {interval:14} "
        f"guarantee: {found.guarantee}"
    )

# Two estimators that train nothing, and what does not fit together.
checks = cross_checks(x_ND, y_ND)
print(", ".join(f"{name} {nats:.2f}" for name, nats in checks.items() if nats is not None))
for said in disagreements(estimates, checks):
    print(said)

# Shuffled pairs have nothing in common: every bound should read about zero.
order = seeding.numpy_generator(seeding.split(0, "shuffle")).permutation(len(y_ND))
control = estimate_all(x_ND, y_ND[order], bounds=chosen, n_steps=100)
print("shuffled:", ", ".join(f"{found.bound} {abs(found.nats):.2f}" for found in control))
