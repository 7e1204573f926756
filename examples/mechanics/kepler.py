"""
Kepler's orbit, and Kepler's equation
=====================================

A comet on an ellipse of eccentricity 0.9. The run takes short steps where the comet is fast. The
reference is Kepler's equation E - e sin E = t, which is a circuit too: a loop without registers,
solved at each time as a fixed point.
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt

import asgard as ag

jax.config.update("jax_enable_x64", True)

e = 0.9  # the half axis is 1, and so is the sun's pull: the period is 2 pi
comet = ag.equations(
    """
    diff(x, t, 2) = -x/r^3
    diff(y, t, 2) = -y/r^3
    r = sqrt(x^2 + y^2)
    """,
    initial={"x": 1 - e, "diff(y, t)": jnp.sqrt((1 + e) / (1 - e))},
    outputs=("x", "y"),
)
ts = jnp.linspace(0.0, 2 * jnp.pi, 801)
run = ag.simulate(comet, ts)


# %%
# The angle E is a wire that is solved for. Each solve starts from the one before.
@ag.circuit
def kepler(mean, *, e=e):
    angle = ag.unknown()
    angle.input = mean + e * jnp.sin(angle)
    return {"angle": angle}


angle = ag.simulate(kepler(), ts, inputs=(lambda t: t,), calculus=ag.Steady())["angle"]
error = jnp.hypot(run["x"] - jnp.cos(angle) + e, run["y"] - jnp.sqrt(1 - e**2) * jnp.sin(angle))
print(
    f"largest error {error.max():.1e}, after a period {error[-1]:.1e}, {run.stats['steps']} steps"
)
# A rounding of the speed at the start makes a period longer or shorter, by (1 + e) / (1 - e)² times
# as much; the comet passes the sun at 4.4.
assert error.max() < 1e-12

axes = plt.figure(layout="constrained").subplots()
axes.plot(run["x"], run["y"])
axes.plot(run["x"][::20], run["y"][::20], "o", markersize=4, label="at equal times")
axes.plot(0.0, 0.0, "*", color="black", markersize=14, label="sun")
axes.set(title="A comet of eccentricity 0.9", xlabel="x", ylabel="y", aspect="equal")
axes.legend(loc="center")
plt.show()
