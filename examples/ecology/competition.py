"""
Two species compete
===================

Where two species hurt one another more than themselves, one of them dies out, and the start decides
which: here the diagonal divides the starts. Forty starts run as one program, by ``jax.vmap``.
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import asgard as ag

jax.config.update("jax_enable_x64", True)


def rates(t, y, *, harm=1.5):
    return {name: y[name] * (1 - y[name] - harm * y[other]) for name, other in ("xy", "yx")}


def competition(start):
    return ag.ode(rates, {"x": start[0], "y": start[1]})


@jax.jit
@jax.vmap
def orbits(start):
    run = ag.simulate(competition(start), jnp.linspace(0.0, 40.0, 401))
    return run["x"], run["y"]


starts = jax.random.uniform(jax.random.key(0), (40, 2), minval=0.02, maxval=1.4)
x, y = orbits(starts)
ends = jnp.stack([x[:, -1], y[:, -1]], axis=1)
winners = jnp.eye(2)[jnp.argmax(starts, axis=1)]
distance = jnp.max(jnp.abs(ends - winners))
print(f"largest distance from the equilibrium of the winner {distance:.1e}")
# The loser dies out as exp(-t / 2), later where the start is near the diagonal.
assert distance < 1e-4

# %%
# Between both lies the equilibrium at 1 / (1 + harm), with the eigenvalues -1 and
# (harm - 1) / (harm + 1): it draws along the diagonal and drives away from it.
model = competition([0.5, 0.3])
rest = ag.equilibrium(model)
eigenvalues = np.sort(np.linalg.eigvals(ag.linearize(model, at=rest).A).real)
print(f"equilibrium {rest['x']:.12f}, eigenvalues {eigenvalues}")
assert abs(rest["x"] - 0.4) < 1e-12
assert np.allclose(eigenvalues, [-1.0, 0.2], atol=1e-12)

figure, axes = plt.subplots(figsize=(6, 5.5), layout="constrained")
for one, (u, v) in enumerate(zip(x, y, strict=True)):
    axes.plot(u, v, color="C0" if winners[one, 0] else "C1", linewidth=1)
axes.plot([0, 1.4], [0, 1.4], "k--", linewidth=1, label="divides the starts")
axes.plot([1, 0, 0.4], [0, 1, 0.4], "ko", label="equilibria")
axes.set(xlabel="x", ylabel="y", title="40 starts: blue where x wins, orange where y wins")
axes.legend()
plt.show()
