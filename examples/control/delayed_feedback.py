"""
Feedback that comes late
========================

A shower's knob, a deciding committee: x' = -k x(t - 1). With little gain the error dies away, with
more it swings, and past k = pi / 2 the swings grow. The method of steps gives the solution as a
polynomial on each unit of time.
"""

import jax
import jax.numpy as jnp
import jax.scipy.special
import matplotlib.pyplot as plt

import asgard as ag

jax.config.update("jax_enable_x64", True)

late = ag.equations("diff(x, t) = -k*x(t - 1)", parameters={"k": 1.0}, initial={"x": 1.0})
ts = jnp.linspace(0.0, 12.0, 241)


def feedback(k):
    return ag.simulate(ag.update(late, {"k": k}), ts)["x"]


# %%
# Each unit of time adds a term: the sum of (-k (t - j + 1))^j / j! over j up to t + 1.
def by_hand(k):
    j = jnp.arange(14.0)
    since = jnp.maximum(ts[:, None] - j + 1, 0.0)
    terms = (-k * since) ** j / jax.scipy.special.factorial(j)
    return jnp.sum(jnp.where(since > 0, terms, 0.0), axis=1)


# %%
# Four gains in one batch: the error creeps to 0 up to k = 1 / e, and swings for ever at pi / 2.
gains = jnp.array([1 / jnp.e, 1.0, jnp.pi / 2, 1.7])
found, exact = jax.vmap(feedback)(gains), jax.vmap(by_hand)(gains)
error = jnp.abs(found - exact).max()
print(f"largest error {error:.1e}")
assert error < 1e-9  # the terms of the sum are up to 1e6 and cancel

axes = plt.figure(layout="constrained").subplots()
labels = ("1 / e", "1", "pi / 2", "1.7")
for x, label in zip(found, labels, strict=True):
    axes.plot(ts, x, label=f"k = {label}")
axes.set(title="Feedback that is a unit of time late", xlabel="t", ylabel="x")
axes.legend()
plt.show()
