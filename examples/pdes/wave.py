"""
Waves on a plucked string
=========================

The wave equation by the method of lines: sixty points of a string, each pulled by its neighbours.
The sum over the modes of such a chain is the reference, which is exact for these points.
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt

import asgard as ag

jax.config.update("jax_enable_x64", True)

COUNT = 60
x = jnp.arange(1, COUNT + 1) / (COUNT + 1)  # the ends of the string do not move
pluck = jnp.minimum(x / 0.3, (1 - x) / 0.7)


def string(t, y, *, speed=1.0):
    u = jnp.pad(y["u"], 1)
    pull = (u[2:] - 2 * u[1:-1] + u[:-2]) * (COUNT + 1) ** 2
    return {"u": y["v"], "v": speed**2 * pull}


ts = jnp.linspace(0.0, 3.0, 301)
calculus = ag.Real(rtol=1e-11, atol=1e-12)
run = ag.simulate(ag.ode(string, {"u": pluck, "v": jnp.zeros(COUNT)}), ts, calculus=calculus)

# %%
# Mode k has the shape sin(k pi x) and the frequency 2 (n + 1) sin(k pi / (2 n + 2)).
k = jnp.arange(1, COUNT + 1)
modes = jnp.sin(jnp.pi * k[:, None] * x)
frequencies = 2 * (COUNT + 1) * jnp.sin(jnp.pi * k / (2 * COUNT + 2))
amplitudes = 2 / (COUNT + 1) * modes @ pluck
exact = (amplitudes * jnp.cos(frequencies * ts[:, None])) @ modes
error = jnp.abs(run["u"] - exact).max()
print(f"largest error {error:.1e}, in {run.stats['steps']} steps")
assert error < 1e-11  # one step's tolerance; the chain keeps energy, and errors do not grow

axes = run.heat_map("u", space=x)
axes.set(title="A plucked string", ylabel="x", xlabel="t")
plt.show()
