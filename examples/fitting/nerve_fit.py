"""
A nerve's numbers from its voltage
==================================

FitzHugh and Nagumo's neuron. A fit of a whole record ends in a local optimum, where spikes miss one
another. With a horizon that grows it finds what made the data, within standard errors.
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt

import asgard as ag

jax.config.update("jax_enable_x64", True)


@ag.circuit
def nerve(*, a, b, rate, current=0.6):
    v, w = ag.register("t", -1.0), ag.register("t", -0.5)
    v.input = v - v**3 / 3 - w + current
    w.input = rate * (v + a - b * w)
    return {"v": v}


def model(circuit, ts):
    return ag.simulate(circuit, ts, calculus=ag.Real(order=10, rtol=1e-7, max_steps=1024))["v"]


def residuals(circuit, ts, data, horizon):
    return jnp.where(ts <= horizon, model(circuit, ts) - data, 0.0)


true = {"a": 0.7, "b": 0.8, "rate": 0.08}
ts = jnp.linspace(0.0, 100.0, 201)
data = model(nerve(**true), ts) + 0.05 * jax.random.normal(jax.random.key(0), ts.shape)
start, moved = nerve(a=0.3, b=0.3, rate=ag.Positive(0.2)), list(true)


def fitted(circuit, horizon):
    args = ts, data, horizon
    return ag.fit_residuals(circuit, residuals, args=args, steps=40, trainable=moved)


stuck = fitted(start, 100.0)
early = fitted(fitted(start, 20.0).circuit, 50.0)
fit = fitted(early.circuit, 100.0)
known = ag.uncertainty(fit.circuit, residuals, args=(ts, data, 100.0), trainable=moved)
away = (known.values - jnp.array(list(true.values()))) / known.standard_errors
print(f"squares {fit.loss:.3f} (at once {stuck.loss:.1f}); {away.round(2)} standard errors off")
assert jnp.all(jnp.abs(away) < 3)
assert abs(fit.loss / (0.05**2 * 198) - 1) < 0.3  # chi squared of 198: 1 within three times 0.1
assert stuck.loss > 100 * fit.loss
_, axes = plt.subplots()
fit.plot_data(model, ts, data, ax=axes, uncertainty=known)
axes.plot(ts, model(stuck.circuit, ts), ":", label="fitted at once")
axes.set(ylabel="v", ylim=(-2.5, 3.6))
axes.legend(ncols=2, loc="upper right")
plt.show()
