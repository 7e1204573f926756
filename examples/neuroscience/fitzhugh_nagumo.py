"""
Where a neuron begins to fire
=============================

FitzHugh and Nagumo's neuron rests at small currents and fires at larger ones. Between lies a Hopf
bifurcation, which ``ag.equilibrium`` and ``ag.linearize`` find; its current has a closed form.
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import asgard as ag

jax.config.update("jax_enable_x64", True)
A, B, SLOW = 0.7, 0.8, 0.08


@ag.circuit
def neuron(current):
    v, w = ag.register("t", -1.2), ag.register("t", -0.6)
    v.input = v - v**3 / 3 - w + current
    w.input = SLOW * (v + A - B * w)
    return {"v": v, "w": w}


@jax.jit
def growth(current):
    """Half the trace of the Jacobian at rest: the real part of both eigenvalues."""
    rest = ag.equilibrium(neuron(), inputs=(current,))
    return jnp.trace(ag.linearize(neuron(), at=rest).A) / 2


# %%
# The trace 1 - v^2 - SLOW B is zero at rest at v = -sqrt(1 - SLOW B).
low, high = 0.0, 0.8
for _ in range(50):
    middle = (low + high) / 2
    low, high = (middle, high) if growth(middle) < 0 else (low, middle)
v = -np.sqrt(1 - SLOW * B)
onset = (v + A) / B - v + v**3 / 3
print(f"it fires from a current of {low:.12f} on, by the closed form {onset:.12f}")
assert abs(low - onset) < 1e-13

# %%
# Below it and above it.
ts = jnp.linspace(0.0, 200.0, 2001)
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
for current in (0.25, 0.5):
    run = ag.simulate(neuron(), ts, inputs=(current,))
    run.plot("v", ax=left, label=f"current {current}")
    right.plot(run["v"], run["w"])
line = jnp.linspace(-2.2, 2.2, 200)
right.plot(line, (line + A) / B, ":", color="0.4")
right.plot(line, line - line**3 / 3 + 0.5, ":", color="0.4")
right.set(xlabel="v", ylabel="w", ylim=(-1.1, 1.9), title="dotted: no change of v, of w, at 0.5")
left.legend(loc="upper right", ncols=2)
left.set(ylim=(-2.2, 2.8))
plt.show()
