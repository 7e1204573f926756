"""
A recurrent network
===================

A gated recurrent unit learns whether the last two of a stream of signs are alike, which no linear
filter does. The checks are streams that it never saw, and a finite difference for its gradient.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

import asgard as ag

jax.config.update("jax_enable_x64", True)


@ag.circuit
def recurrent(sign, *, cell, read):
    state = ag.delay("n", jnp.zeros(8))
    state.input = new = cell(sign[None], state)
    return read(new)


@jax.jit
def loss(circuit, signs):
    run = ag.compile(circuit, ag.Discrete())  # a function of a chunk of samples
    found = jax.vmap(lambda stream: run((stream,), None)[0])(signs)
    return jnp.mean((found[:, 1:] - signs[:, 1:] * signs[:, :-1]) ** 2)


signs = jax.random.rademacher(jax.random.key(0), (256, 32), dtype=float)
learned, kept = signs[:128], signs[128:]
one, two = jax.random.split(jax.random.key(1))
read = eqx.nn.Linear(8, "scalar", key=one)
start = recurrent(cell=eqx.nn.GRUCell(1, 8, key=two), read=read)
options = {"optimizer": optax.adam(0.02), "steps": 200, "batch": 32, "key": jax.random.key(2)}
fit = ag.fit(start, loss, args=(learned,), **options)

past = np.stack([kept[:, 3 - k : 32 - k].ravel() for k in range(4)], axis=1)
alike = np.ravel(kept[:, 3:] * kept[:, 2:-1])
baseline = np.linalg.lstsq(past, alike, rcond=None)[1][0] / len(alike)
error = loss(fit.circuit, kept)
print(f"mean square on streams that it never saw {error:.1e}, of the best filter {baseline:.3f}")
assert error < 0.01 * baseline
slope = jax.grad(loss)(start, kept)  # a circuit too, of the numbers' slopes
ahead = jax.tree.map(lambda x, d: x + 1e-4 * d, start, slope)
behind = jax.tree.map(lambda x, d: x - 1e-4 * d, start, slope)
change = (loss(ahead, kept) - loss(behind, kept)) / 2e-4
squares = sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(slope))
print(f"slope uphill {squares:.8f}, by a finite difference {change:.8f}")
assert abs(change / squares - 1) < 1e-7  # h^2 of the third derivative

axes = fit.plot()
axes.axhline(float(baseline), color="0.4", linestyle="--")
axes.set_title("How the network learns; dashed: the best linear filter")
plt.show()
