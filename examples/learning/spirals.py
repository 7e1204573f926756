"""
A neural ODE learns spirals
===========================

A network says how the state moves, and a fit makes its runs follow spirals of x' = A x^3 (Chen and
others, 2018). Two of eight spirals are kept aside to check it; linear dynamics are the baseline.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import optax

import asgard as ag

jax.config.update("jax_enable_x64", True)
MATRIX = jnp.array([[-0.1, 2.0], [-2.0, -0.1]])
CALCULUS = ag.Real(method=ag.Tsit5(), rtol=1e-4, atol=1e-4, max_steps=128)
ts = jnp.linspace(0.0, 4.0, 41)


def runs(circuit, starts, ts):
    def run(start):
        return ag.simulate(ag.update(circuit, {"y0": start}), ts, calculus=CALCULUS)["y"]

    return jax.vmap(run)(starts)


def loss(circuit, windows):
    return jnp.mean((runs(circuit, windows[:, 0], ts[:5]) - windows) ** 2)


angles = jnp.arange(8) * jnp.pi / 4
true = ag.ode(lambda t, y: (y**3) @ MATRIX, jnp.ones(2))
paths = runs(true, 1.5 * jnp.stack([jnp.cos(angles), jnp.sin(angles)], axis=1), ts)
seen, kept = paths[jnp.array([0, 1, 2, 4, 5, 6])], paths[jnp.array([3, 7])]
# Windows of five points, each run from its first: long runs have many local optima.
windows = jnp.concatenate([seen[:, first : first + 5] for first in range(0, 40, 4)])


def learn(motion, steps, **networks):
    start = ag.ode(motion, ag.Fixed(jnp.ones(2)), **networks)
    optimizer = optax.adam(optax.cosine_decay_schedule(0.03, steps))
    fit = ag.fit(start, loss, args=(windows,), optimizer=optimizer, steps=steps)
    return runs(fit.circuit, kept[:, 0], ts)


network = eqx.nn.MLP(2, 2, 16, 1, activation=jnp.tanh, key=jax.random.key(0))
found = learn(lambda t, y, *, network: network(y**3), 300, network=network)
linear = learn(lambda t, y, *, matrix: y @ matrix, 100, matrix=jnp.eye(2))
error, baseline = jnp.mean((found - kept) ** 2), jnp.mean((linear - kept) ** 2)
print(f"mean square on spirals kept aside: network {error:.1e}, linear dynamics {baseline:.1e}")
assert error < 0.05 * baseline
_, axes = plt.subplots()
axes.plot(*seen.T, color="0.85")
axes.plot(*kept.T, "k", linewidth=4, alpha=0.3)
axes.plot(*found.T)
axes.set(xlabel="x", ylabel="y", title="Grey: learned from; black: kept aside; colour: network")
plt.show()
