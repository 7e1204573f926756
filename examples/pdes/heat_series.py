"""
Heat as a series in time and space
==================================

The heat equation is a loop along time that takes two orders in space for each order in time. From
the series of a bell curve ``ag.series`` makes that of the solution in both dimensions. The
reference is the bell that spreads, in closed form.
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt

import asgard as ag

jax.config.update("jax_enable_x64", True)

ORDER = {"t": 30, "x": 60}

# %%
# The data is exp(-x²), as the series of a differential equation along x. It has to have the orders
# that the derivatives use up.
bell = ag.equations("diff(u, x) = -2*x*u", initial={"u": 1.0})
data = ag.series(bell, order=ORDER["x"] + 2 * ORDER["t"])

heat = ag.equations("diff(u, t) = k*diff(u, x, 2)", parameters={"k": 1.0}, initial={"u": data})
series = ag.series(heat, order=ORDER)
print(f"{series.coefficients.size} coefficients, along {' and '.join(series.dims)}")

# %%
# The solution is exp(-x² / (1 + 4 t)) / sqrt(1 + 4 t). Its series in t goes as far as 1/4.
t, x = jnp.linspace(0.0, 0.1, 41), jnp.linspace(-2.0, 2.0, 81)
found = series.evaluate(t=t, x=x)
exact = jnp.exp(-(x**2) / (1 + 4 * t[:, None])) / jnp.sqrt(1 + 4 * t[:, None])
error = jnp.abs(found - exact)
print(f"largest error {error.max():.1e}, to t = 0.05 {error[:21].max():.1e}")
assert error.max() < jnp.exp(4.0) * 0.4**30  # 0.4 for each order, of terms that grow with exp(x²)

axes = plt.figure(layout="constrained").subplots()
for row in range(0, 41, 10):
    axes.plot(x, found[row], color=plt.get_cmap("plasma")(row / 50), label=f"t = {t[row]:.3f}")
axes.set(title="A bell of heat that spreads", xlabel="x", ylabel="temperature")
axes.legend()
plt.show()
