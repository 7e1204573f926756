"""
Thermal noise of a resistor and a capacitor
===========================================

A resistor makes white noise, of the density 4 k T R (Johnson and Nyquist, 1928), and a capacitor
beside it takes the energy k T / 2 in the mean. So its voltage has the variance k T / C, whatever
the resistor is, which says only how soon.
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt

import asgard as ag

jax.config.update("jax_enable_x64", True)

KT = 1.380649e-23 * 300 * 1e24  # at 300 K, in µV² pF; other units are kilo-ohms and nanoseconds


@ag.circuit
def noisy(*, resistor=1.0, capacity=1.0):
    decay, noise = ag.register("t", 0.0), ag.stochastic_register("t", "W")
    voltage = decay + noise
    decay.input = -voltage / (resistor * capacity)
    noise.input = jnp.sqrt(2 * KT / resistor) / capacity
    return {"voltage": voltage}


# %%
# The time constant is a nanosecond. Noise that does not depend on the state has a method of its
# own.
ts, paths = jnp.linspace(0.0, 4.0, 81), 20_000
calculus = ag.Stochastic(steps=2, method="additive")
found = ag.ensemble(noisy(), ts, calculus=calculus, key=jax.random.key(0), paths=paths)
variance = found["voltage"].var(axis=0)
exact = KT * -jnp.expm1(-2 * ts)
error = jnp.abs(variance - exact)[1:] / exact[1:]
print(f"deviation at last {jnp.sqrt(variance[-1]):.2f} µV, by kT/C {jnp.sqrt(exact[-1]):.2f} µV")
print(f"largest relative error of the variance {error.max():.4f}")
assert error.max() < 5 * jnp.sqrt(2 / paths)  # five standard errors; the steps' is 1e-6

axes = found.plot("voltage", units={"voltage": "µV", "time": "ns"})
axes.plot(ts, 2 * jnp.sqrt(exact), "k--")
axes.plot(ts, -2 * jnp.sqrt(exact), "k--")
axes.set(title="Thermal noise on a picofarad, and two deviations by kT/C")
plt.show()
