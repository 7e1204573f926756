"""
Burgers' equation before the shock
==================================

In u_t + u u_x = 0 each value travels at its own speed, so waves steepen until they break, here at t
= 1. Until then each value comes from where its characteristic started, which is the reference.
Space is a circle of points, and the derivative along it is spectral.
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import scipy.optimize

import asgard as ag

jax.config.update("jax_enable_x64", True)

COUNT = 96
x = 2 * jnp.pi * jnp.arange(COUNT) / COUNT

# %%
# The derivative of the trigonometric polynomial through all points is a matrix, here by way of FFT.
orders = jnp.fft.rfftfreq(COUNT, 1 / COUNT)
SLOPE = jnp.fft.irfft(1j * orders * jnp.fft.rfft(jnp.eye(COUNT)), axis=1).T


def burgers(t, u):
    return -u * (SLOPE @ u)


ts = jnp.array([0.0, 0.25, 0.5, 0.75])
run = ag.simulate(ag.ode(burgers, jnp.sin(x)), ts, calculus=ag.Real(rtol=1e-10, atol=1e-12))


# %%
# A characteristic starts at z = x - sin(z) t, and keeps the value sin(z).
def exact(t):
    return jnp.sin(scipy.optimize.newton(lambda z: z + t * jnp.sin(z) - x, x, tol=1e-14))


errors = [jnp.abs(u - exact(t)).max() for t, u in zip(ts[1:], run.output[1:], strict=True)]
print("largest errors {:.1e}, {:.1e}, {:.1e}".format(*errors))
# The wave is analytic in a strip of this half width, and 96 points see 48 orders of it.
strip = jnp.arccosh(1 / ts[1:]) - jnp.sqrt(1 - ts[1:] ** 2)
assert jnp.all(jnp.array(errors) < 1e-10 + jnp.exp(-COUNT / 2 * strip))

axes = plt.figure(layout="constrained").subplots()
for t, u in zip(ts, run.output, strict=True):
    axes.plot(x, u, ".-", markersize=4, label=f"t = {t:.2f}")
axes.set(title="A wave that steepens", xlabel="x", ylabel="u")
axes.legend()
plt.show()
