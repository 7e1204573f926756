"""
A hundred million paths
=======================

Statistics are kept as paths run, tile by tile, so that memory does not grow with their number. Give
the number as an argument: ``python many_paths.py 100_000_000``. The reference is the closed form of
geometric Brownian motion, which the mean approaches as one over the root of the number.
"""

import resource
import sys

import jax
import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import lognorm

import asgard as ag

PATHS = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
GROWTH, NOISE = 0.1, 0.3
EXACT = lognorm(NOISE, scale=np.exp(GROWTH - NOISE**2 / 2))  # of the price after a year
price = ag.sde(lambda t, x: GROWTH * x, lambda t, x: NOISE * x, 1.0)


def last(x):
    return x[-1]


kept = {
    "mean": ag.statistics.Mean(last),
    "bins": ag.statistics.Histogram(low=0.0, high=4.0, of=last),
}
options = {"calculus": ag.Stochastic(steps=16, method="milstein"), "key": jax.random.key(0)}

# %%
# More and more paths, each run from the statistics of the one before. Numbers are float32.
memory, errors, runs = [], [], []
for count in (PATHS // 100, PATHS // 10, PATHS):
    state = runs[-1].state if runs else None
    run = ag.ensemble(price, [0.0, 1.0], paths=count, reduce=kept, state=state, **options)
    runs.append(run)
    errors.append(abs(float(run.statistics["mean"]) - EXACT.mean()) * np.sqrt(count) / EXACT.std())
    memory.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)  # from KB, on Linux
    print(f"{count:11,} paths: {errors[-1]:.2f} standard errors off, {memory[-1]:.0f} MB")
assert max(errors) < 4
assert memory[-1] - memory[0] < 0.2 * memory[0]  # all outputs would take 8 bytes a path, and more

_, axes = plt.subplots()
edges = np.linspace(0.0, 4.0, 101)
shares = np.array(runs[-1].statistics["bins"])[1:-1] / PATHS / 0.04
axes.stairs(shares, edges, fill=True, alpha=0.4, label=f"{PATHS:,} paths")
axes.plot(edges, EXACT.pdf(edges), label="lognormal density")
axes.set(xlabel="price after a year", ylabel="density", title=f"{memory[-1]:.0f} MB in all")
axes.legend()
plt.show()
