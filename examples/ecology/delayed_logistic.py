"""
A population that reacts late
=============================

Hutchinson's equation x' = r x (1 - x(t - 1)): food is short by how many there were a unit of time
ago. The delay alone makes a steady population oscillate, from r = pi / 2 on. Over the first two
units of time the solution has a closed form, found by the method of steps.
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt

import asgard as ag

jax.config.update("jax_enable_x64", True)


@ag.circuit
def population(*, r=1.0, start=0.2):
    x = ag.register("t", start)
    late = ag.delay("t", start, by=1.0)
    late.input = x
    x.input = r * x * (1 - late)
    return {"x": x}


def by_steps(t, r, start):
    """Up to t = 1 x grows at one rate, from the history ``start``; so up to 2 its past is known."""
    rate = r * (1 - start)
    grown = start / rate * jnp.expm1(rate * jnp.clip(t - 1, 0, 1))  # the integral of x(t - 1)
    return start * jnp.exp(rate * jnp.clip(t, 0, 1) + r * (jnp.clip(t - 1, 0, 1) - grown))


# %%
# Below pi / 2 oscillations die out, above it they last.
rates = (0.3, 1.2, 2.0)
ts = jnp.linspace(0.0, 40.0, 801)
runs = [ag.simulate(population(r=r), ts) for r in rates]

early = ts <= 2
for r, run in zip(rates, runs, strict=True):
    error = jnp.max(jnp.abs(run["x"] - by_steps(ts, r, 0.2))[early])
    swing = jnp.ptp(run["x"][-200:])
    print(f"r = {r}: largest error up to t = 2 {error:.1e}, swing at the end {swing:.4f}")
    assert error < 1e-14  # some units in the last digit of numbers about 1
assert jnp.ptp(runs[1]["x"][-200:]) < 0.02 < 1.0 < jnp.ptp(runs[2]["x"][-200:])

_, axes = plt.subplots()
for r, run in zip(rates, runs, strict=True):
    run.plot("x", ax=axes, label=f"r = {r}")
axes.plot(ts[early][::5], by_steps(ts[early][::5], 2.0, 0.2), "k.", label="closed form, r = 2.0")
axes.set(ylabel="population", ylim=(0, 4), title="The same delay, faster growth")
axes.legend(ncols=2, loc="upper right")
plt.show()
