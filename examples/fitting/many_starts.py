"""
Many starts
===========

The frequency of a wave has many local optima, at which other numbers of waves pass by the data.
Fits from sixteen starts run side by side, as one program, and ``agree`` counts those that found the
best. The reference is the sum of squares of the closed form, on a fine grid of frequencies.
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

import asgard as ag

jax.config.update("jax_enable_x64", True)

wave = ag.equations(
    "diff(x, t, 2) = -w^2*x", parameters={"w": 3.0}, initial={"x": 0.0, "diff(x, t)": 1.0}
)
ts = np.linspace(0.0, 8.0, 81)
data = np.sin(3.0 * ts) / 3.0 + 0.05 * np.random.default_rng(0).normal(size=81)


def loss(circuit, ts, data):
    run = ag.simulate(circuit, ts, calculus=ag.Real(order=12, rtol=1e-8, max_steps=64))
    return jnp.mean((run["x"] - data) ** 2)


# %%
# A start for each frequency, and one program for all.
first = jnp.linspace(1.0, 6.0, 16)
starts = [ag.update(wave, {"w": w}) for w in first]
options = {"optimizer": optax.adam(0.02), "steps": 300, "trainable": "w"}
fits = ag.fit_ensemble(starts, loss, args=(ts, data), **options)
best = ag.parameters(fits.best.circuit)["w"]

grid = np.linspace(0.5, 6.5, 600_001)
squares = np.zeros_like(grid)
for t, value in zip(ts, data, strict=True):
    squares += (np.sin(grid * t) / grid - value) ** 2 / len(ts)
exact = grid[np.argmin(squares)]
print(f"{fits.agree} of 16 starts found {best:.5f}; the least of the grid is at {exact:.5f}")
assert abs(best - exact) < 2e-5  # two parts of the grid

_, axes = plt.subplots()
axes.plot(grid[::1000], squares[::1000], color="0.6", label="closed form")
ends = ag.parameters(fits.all.circuit)["w"]
axes.plot(first, fits.all.losses[:, 0], "o", fillstyle="none", label="starts")
axes.plot(ends, fits.all.loss, "o", label="ends")
axes.set(xlabel="frequency", ylabel="mean square", ylim=(-0.02, 0.4), title="Starts and ends")
axes.legend()
plt.show()
