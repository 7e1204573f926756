"""
Paths over devices
==================

A mesh spreads the paths of an ensemble over all devices that there are: accelerators, or the
virtual ones of ``XLA_FLAGS=--xla_force_host_platform_device_count=8``. They do not talk before
their last tile, and a histogram is that of one device to the bit. A closed form checks it.
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import norm

import asgard as ag

jax.config.update("jax_enable_x64", True)
PATHS, BINS = 100_000, 60
reverting = ag.sde(lambda t, x: -x, lambda t, x: 0.5, 2.0)  # of Ornstein and Uhlenbeck


def last(x):
    return x[-1]


kept = {"mean": ag.statistics.Mean(last), "bins": ag.statistics.Histogram(-1.0, 2.0, BINS, last)}
options = {"calculus": ag.Stochastic(steps=32, method="additive"), "key": jax.random.key(0)}
options |= {"paths": PATHS, "reduce": kept}
mesh = jax.make_mesh((jax.device_count(),), ("paths",))
found = ag.ensemble(reverting, [0.0, 1.0], mesh=mesh, **options).statistics
alone = ag.ensemble(reverting, [0.0, 1.0], **options).statistics

# %%
# The state after a unit of time is normal.
exact = norm(2 * np.exp(-1), 0.5 * np.sqrt((1 - np.exp(-2)) / 2))
away = (float(found["mean"]) - exact.mean()) * np.sqrt(PATHS) / exact.std()
print(f"{jax.device_count()} devices; the mean is {away:.2f} standard errors off")
assert jnp.array_equal(found["bins"], alone["bins"])
assert abs(found["mean"] - alone["mean"]) < 1e-14  # sums of the same numbers in another order
assert abs(away) < 4

_, axes = plt.subplots()
edges = np.linspace(-1.0, 2.0, BINS + 1)
shares = np.array(found["bins"])[1:-1] / PATHS / (3.0 / BINS)
axes.stairs(shares, edges, fill=True, alpha=0.4, label=f"{PATHS:,} paths")
axes.plot(edges, exact.pdf(edges), label="normal density")
axes.set(xlabel="x(1)", ylabel="density", title=f"Paths over {jax.device_count()} devices")
axes.legend()
plt.show()
