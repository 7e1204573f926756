"""
An integral, and what it becomes at any time
============================================

A register under ``ag.Real`` is the integral of what goes in. Here that is a bell curve, which has
no elementary integral: the error function is its name, and the reference. A dense run gives the
integral between saved times too.
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt

import asgard as ag

jax.config.update("jax_enable_x64", True)


def bell(t):
    return 2 / jnp.sqrt(jnp.pi) * jnp.exp(-(t**2))


# %%
# The whole circuit is one register. The run begins at -3, where the integral is 0.
integral = ag.Register("t", 0.0)
run = ag.simulate(integral, [-3.0, 3.0], inputs=(bell,), calculus=ag.Real(dense=True))

# %%
# A dense run is a function of time, and so is its derivative by time: what went in.
ts = jnp.linspace(-3.0, 3.0, 121)
found = run.evaluate(ts).output
slope = jax.vmap(jax.grad(lambda t: run.evaluate(t).output))(ts)

exact = jax.scipy.special.erf(ts) - jax.scipy.special.erf(-3.0)
error = jnp.abs(found - exact).max()
print(f"largest error {error:.1e}, of the derivative {jnp.abs(slope - bell(ts)).max():.1e}")
assert error < 1e-14  # some roundings of numbers up to 2
assert jnp.abs(slope - bell(ts)).max() < 1e-12  # a derivative of the steps' polynomials

axes = plt.figure(layout="constrained").subplots()
axes.plot(ts, bell(ts), label="what goes in")
axes.plot(ts, found, label="its integral from -3")
axes.set(xlabel="t", title=f"An integral: largest error {error:.0e}")
axes.legend()
plt.show()
