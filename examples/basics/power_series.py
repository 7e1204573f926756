"""
A power series beside its function
==================================

The circuit of y' = 1 + y², y(0) = 0 is a loop through one register. ``ag.series`` gives the
coefficients of its solution, the tangent, to any order. They are values of Riemann's zeta function,
and their quotients say where the tangent has its pole.
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import scipy.special

import asgard as ag

jax.config.update("jax_enable_x64", True)

tangent = ag.equations("y = int(1 + y^2, t)")
series = ag.series(tangent, order=39)
found = series.coefficients[1::2]  # the others are 0

# %%
# The coefficient of t^(2n - 1) is 2 (2/pi)^(2n) (1 + 3^(-2n) + 5^(-2n) + …), a zeta function.
n = jnp.arange(1, 21)
exact = 2 * (2 / jnp.pi) ** (2 * n) * (1 - 2.0 ** (-2 * n)) * scipy.special.zeta(2 * n)
error = jnp.abs(found / exact - 1).max()
pole = jnp.sqrt(found[-2] / found[-1])
print(f"largest relative error {error:.1e}; the pole is at {pole:.15f}")
assert error < 1e-13  # each order sums some tens of rounded products
assert abs(pole - jnp.pi / 2) < 1e-13  # the next pole is three times as far: 3^-39 is less

# %%
# About its centre the polynomial is as good as the function, and past the pole it is nothing like
# it.
axes = plt.figure(layout="constrained").subplots()
ts = jnp.linspace(-1.9, 1.9, 401)
for order in (1, 5, 13, 39):
    part = ag.Stream(series.coefficients[: order + 1], "t")
    axes.plot(ts, part.evaluate(t=ts), label=f"order {order}")
axes.plot(ts, jnp.where(jnp.abs(jnp.cos(ts)) > 0.05, jnp.tan(ts), jnp.nan), "k--", label="tan t")
axes.axvline(pole, color="0.6", linestyle=":")
axes.axvline(-pole, color="0.6", linestyle=":", label="poles")
axes.set(ylim=(-8, 8), xlabel="t", title="The tangent and its polynomials")
axes.legend()
plt.show()
