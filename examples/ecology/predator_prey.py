"""
Predator and prey
=================

Lotka and Volterra's equations, from the text of a paper. Each orbit keeps d x - c log x + b y -
a log y, and over one period the populations have the means c / d and a / b, wherever the orbit
starts (V. Volterra, 1926). An event finds the period.
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt

import asgard as ag

jax.config.update("jax_enable_x64", True)
a, b, c, d = 1.0, 0.5, 0.8, 0.2

populations = ag.equations(
    """
    diff(x, t) = a*x - b*x*y      # prey breeds, and is eaten
    diff(y, t) = d*x*y - c*y      # predators breed by what they eat, and die
    diff(eaten, t) = x            # sums, to find means
    diff(hunted, t) = y
    """,
    parameters={"a": a, "b": b, "c": c, "d": d},
    initial={"x": 8.0, "y": 1.0},
)

# %%
# The prey is at its greatest where its slope falls through zero, which is where y rises past a / b.
peak = ag.Event(lambda t, wires: wires["y"] - a / b, name="most prey", direction=1)
ts = jnp.linspace(0.0, 30.0, 601)
run = ag.simulate(populations, ts, events=peak)

peaks = run.events["most prey"]
period = peaks.times[1] - peaks.times[0]
means = [jnp.diff(peaks[name][:2])[0] / period for name in ("eaten", "hunted")]
kept = d * run["x"] - c * jnp.log(run["x"]) + b * run["y"] - a * jnp.log(run["y"])
drift = jnp.max(jnp.abs(kept / kept[0] - 1))
print(f"period {period:.6f}, means {means[0]:.12f} {means[1]:.12f}, drift {drift:.1e}")
# Rounding of some hundred steps at the default tolerance, which is that of float64.
assert drift < 1e-13
assert abs(means[0] - c / d) < 1e-12
assert abs(means[1] - a / b) < 1e-12

# %%
# The populations over time, and about the point of their means.
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
run.plot("x", "y", ax=left)
left.set(ylabel="population", ylim=(0, 14))
run.phase("x", "y", ax=right)
right.plot(c / d, a / b, "k+", markersize=10, label="means of a period")
right.set(xlabel="prey x", ylabel="predators y")
right.legend()
plt.show()
