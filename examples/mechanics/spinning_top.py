"""
A spinning top
==============

A heavy symmetric top nods between two heights while its axis goes round. Its kept quantities, the
energy and two angular momenta, make the height of its tip a Jacobi elliptic function of time: a
closed form for what the run finds from Lagrange's equations.
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import scipy.special

import asgard as ag

jax.config.update("jax_enable_x64", True)

# %%
# Angular momenta about the vertical and about the top's own axis are L and S, in units of its
# moment of inertia, and g is the torque of its weight in the same units.
top = ag.equations(
    """
    diff(theta, t, 2) = (g - round*(S - round*cos(theta)))*sin(theta)
    diff(phi, t) = round
    round = (L - S*cos(theta))/sin(theta)^2
    """,
    parameters={"g": 1.0, "S": 3.0, "L": 2.2},
    initial={"theta": 1.2},
)
ts = jnp.linspace(0.0, 20.0, 2001)
run = ag.simulate(top, ts)
height = jnp.cos(run["theta"])

# %%
# With the energy E the height u has u'² = 2 (E - g u) (1 - u²) - (L - S u)², a cubic. The tip moves
# between its first two roots, and starts at the first.
g, S, L = (ag.parameters(top)[name] for name in "gSL")
E = (run["round"][0] * jnp.sin(1.2)) ** 2 / 2 + g * height[0]
low, high, third = np.sort(np.roots([2 * g, -(2 * E + S**2), 2 * L * S - 2 * g, 2 * E - L**2]).real)
sn = scipy.special.ellipj(np.sqrt(g * (third - low) / 2) * ts, (high - low) / (third - low))[0]
error = jnp.abs(height - (low + (high - low) * sn**2)).max()
print(f"the tip is between {low:.4f} and {high:.4f}; largest error {error:.1e}")
assert error < 1e-12  # np.roots has 14 digits, and an error of the period grows with time

axes = plt.figure(layout="constrained").add_subplot(projection="3d")
across = jnp.sin(run["theta"])
axes.plot(across * jnp.cos(run["phi"]), across * jnp.sin(run["phi"]), height)
axes.plot([0, across[0]], [0, 0], [0, height[0]], "k", linewidth=3, label="the top at the start")
axes.set(xticks=(-1, 0, 1), yticks=(-1, 0, 1), zticks=(0, 0.5, 1))
axes.set(title="Where the tip of a top goes", xlabel="x", ylabel="y", zlabel="height")
axes.legend()
plt.show()
