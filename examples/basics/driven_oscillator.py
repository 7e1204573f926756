"""
A driven oscillator and its resonance
=====================================

A damped mass on a spring is driven at many frequencies at once, by ``jax.vmap`` over the argument
of the input. Once the start has died away, it swings as the closed form of the steady oscillation
says.
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt

import asgard as ag

jax.config.update("jax_enable_x64", True)


def spring(t, y, force, *, damping=0.2):
    return {"x": y["v"], "v": force - damping * y["v"] - y["x"]}


def drive(t, w):
    return jnp.cos(w * t)


oscillator = ag.ode(spring, {"x": 0.0, "v": 0.0})


# %%
# The amplitude is read off the position and the speed at the end, by which time the start has
# decayed by exp(-0.1 * 400), about 4e-18.
def amplitude(w, end=400.0):
    run = ag.simulate(oscillator, [0.0, end], inputs=((drive, w),))
    return jnp.hypot(run["x"][-1], run["v"][-1] / w)


w = jnp.linspace(0.2, 2.0, 91)
found = jax.vmap(amplitude)(w)
exact = 1 / jnp.sqrt((1 - w**2) ** 2 + (0.2 * w) ** 2)
error = jnp.abs(found / exact - 1).max()
print(f"largest relative error {error:.1e}")
assert error < 1e-12  # hundreds of steps, each within rounding

# %%
# One of the runs, at the resonance.
ts = jnp.linspace(0.0, 80.0, 801)
run = ag.simulate(oscillator, ts, inputs=((drive, 1.0),))

left, right = plt.figure(figsize=(9, 4), layout="constrained").subplots(1, 2)
run.plot("x", ax=left).set(title="Driven at its resonance", xlabel="t")
right.plot(w, exact, label="closed form")
right.plot(w[::3], found[::3], "o", markersize=4, label="runs")
right.set(title="Amplitude", xlabel="frequency of the force")
right.legend()
plt.show()
