"""
A neural term in a known equation
=================================

Growth and predation of prey are known, and how much a predator can eat is not: a small network
stands for it (a universal differential equation, Rackauckas and others, 2020). After the fit its
curve is compared with the true one, Holling's h(x) = x / (1 + x / 3), which it never saw.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt

import asgard as ag

jax.config.update("jax_enable_x64", True)
CALCULUS = ag.Real(method=ag.Tsit5(), rtol=1e-6, atol=1e-6, max_steps=256)


@ag.circuit
def chain(*, eaten):
    prey, predators = ag.register("t", 1.0), ag.register("t", 0.5)
    prey.input = prey * (1 - prey / 8) - eaten(prey) * predators
    predators.input = 0.5 * eaten(prey) * predators - 0.4 * predators
    return {"prey": prey, "predators": predators}


def holling(x):
    return x / (1 + x / 3)


def model(circuit, ts):
    return jnp.stack(ag.simulate(circuit, ts, calculus=CALCULUS).outputs)


def residuals(circuit, ts, data):
    return (model(circuit, ts) - data).ravel()


ts = jnp.linspace(0.0, 30.0, 121)
data = model(chain(eaten=ag.Function(holling, 1)), ts)
network = eqx.nn.MLP("scalar", "scalar", 6, 1, activation=jnp.tanh, key=jax.random.key(0))
start = chain(eaten=network)
fit = ag.fit_residuals(start, residuals, args=(ts, data), steps=60)
x = jnp.linspace(data[0].min(), data[0].max(), 100)
learned = jax.vmap(fit.circuit.keywords["eaten"])(x)
slope = x @ holling(x) / (x @ x)  # of the best line through zero
error, line = jnp.abs(learned - holling(x)).max(), jnp.abs(slope * x - holling(x)).max()
print(f"largest error of the learned term {error:.4f}, of a line {line:.4f}")
assert error < 0.1 * line  # noise there is none: what is left is the network's

_, axes = plt.subplots()
axes.plot(x, holling(x), "k", label="true")
axes.plot(x, learned, "--", label="learned")
axes.plot(x, slope * x, ":", label="best line")
axes.set(xlabel="prey", ylabel="eaten by a predator", title="The term that was unknown")
axes.legend()
plt.show()
