"""
A latent stochastic differential equation
=========================================

Noisy readings of dz = -z dt + s dW are known. A network pushes paths to them, at a cost, for a
lower bound of the log likelihood (X. Li and others, 2020). Here there are closed forms for both.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from jax.scipy.stats import norm
from scipy.stats import multivariate_normal

import asgard as ag

jax.config.update("jax_enable_x64", True)
NOISE, BLUR, READ = 0.8, 0.2, slice(4, None, 4)
ts = np.linspace(0.0, 4.0, 41)
covariance = NOISE**2 / 2 * (np.exp(-np.abs(ts[:, None] - ts)) - np.exp(-ts[:, None] - ts))
seen = multivariate_normal(np.zeros(10), covariance[READ, READ] + BLUR**2 * np.eye(10))
data = jnp.asarray(seen.rvs(random_state=1))
mean = covariance[:, READ] @ np.linalg.solve(seen.cov, data)


def drift(t, y, *, network):
    ahead = jnp.floor(t / 0.4 + 1e-6).astype(int)  # the index of the next reading
    push = network(jnp.stack([y["z"], 0.4 * (ahead + 1) - t, data[ahead], data[ahead + 1]]))
    return {"z": -y["z"] + NOISE * push, "cost": push**2 / 2}


def paths(circuit, key, n):
    return ag.ensemble(circuit, ts, calculus=ag.Stochastic(steps=2), key=key, paths=n, tile=n)


def loss(circuit, data, key):
    found = paths(circuit, key, 64)
    readings = norm.logpdf(data, found["z"][:, READ], BLUR)
    return jnp.mean(found["cost"][:, -1] - readings.sum(axis=1))


network = eqx.nn.MLP(4, "scalar", 16, 2, activation=jnp.tanh, key=jax.random.key(0))
start = {"z": ag.Fixed(0.0), "cost": ag.Fixed(0.0)}
latent = ag.sde(drift, lambda t, y: {"z": NOISE, "cost": 0.0}, start, network=network)
options = {"optimizer": optax.adam(optax.cosine_decay_schedule(0.02, 400)), "steps": 400}
fit = ag.fit(latent, loss, args=(data,), key=jax.random.key(1), **options)
found = paths(fit.circuit, jax.random.key(2), 2048)
bound, exact = -np.mean(fit.losses[-40:]), seen.logpdf(data)
away = np.max(np.abs(found["z"].mean(axis=0) - mean))
print(f"log likelihood {exact:.2f}, bound {bound:.2f}; the state's mean is off by {away:.3f}")
assert exact - 5.0 < bound < exact + 0.2  # it starts far below; its error is that of 2560 paths
assert away < 0.15  # less than the state's own deviation, which is about 0.2
_, axes = plt.subplots()
axes.plot(ts, mean, "k--", label="exact mean")
axes.plot(ts[READ], data, "ro", label="readings")
found.plot("z", ax=axes)
plt.show()
