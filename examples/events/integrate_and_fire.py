"""
A neuron that integrates and fires
==================================

A potential leaks and is driven by a current. At 1 the neuron fires: the potential jumps to 0, and a
counter goes up. The time between spikes is log(I / (I - 1)), and so the rate is known. ``jax.vmap``
runs 60 neurons, each with spikes of its own.
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt

import asgard as ag

jax.config.update("jax_enable_x64", True)

neuron = ag.equations(
    """
    diff(v, t) = current - v
    reset(v, v > 1, 0)
    spikes = counter(v > 1)
    """,
    inputs=("current",),
)
fires = ag.Event(lambda t, wires: wires["v"] - 1.0, direction=1, name="spike")


def rate(current):
    run = ag.simulate(neuron, [0.0, 20.0], inputs=(current,), events=fires)
    return 1 / jnp.diff(run.events["spike"].times[:3])[1]


currents = jnp.linspace(1.02, 4.0, 60)
found = jax.vmap(rate)(currents)
exact = 1 / jnp.log(currents / (currents - 1))
error = jnp.abs(found / exact - 1).max()
print(f"largest relative error {error:.1e}")
# Near the threshold the potential creeps up to 1, and 1 - v has 2 digits less than v.
assert error < 1e-12


# %%
# A slow wave of current makes bursts. A spike is where the counter counts.
def wave(t):
    return 1.2 + jnp.sin(0.5 * t)


run = ag.simulate(neuron, jnp.linspace(0.0, 30.0, 3001), inputs=(wave,))
left, right = plt.figure(figsize=(9, 4), layout="constrained").subplots(1, 2)
run.plot("v", ax=left)
left.set(title=f"{int(run['spikes'][-1])} spikes, driven by a wave")
right.plot(currents, exact, label="closed form")
right.plot(currents[::3], found[::3], "o", markersize=4, label="runs")
right.set(title="Rate of firing", xlabel="current", ylabel="spikes per unit of time")
right.legend()
plt.show()
