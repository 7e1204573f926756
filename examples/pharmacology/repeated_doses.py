"""
A drug taken every eight hours
==============================

A dose is an event, which a clock sets off; between doses the drug decays. Amounts build up as a
geometric series, D (1 - q^n) / (1 - q) with q = exp(-k tau). Gradients go through all events.
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt

import asgard as ag

jax.config.update("jax_enable_x64", True)


body = ag.equations(
    """
    diff(amount, t) = -k*amount
    reset(amount, clock(tau, tau), amount + dose)   # from the time tau on, once in tau
    """,
    parameters={"k": 0.15, "tau": 8.0, "dose": 200.0},
    initial={"amount": 200.0},
)
ts = jnp.linspace(0.0, 72.0, 577)
run = ag.simulate(body, ts)

# %%
# Just after dose n, at (n - 1) 8 hours.
n = jnp.arange(1, 10)
q = jnp.exp(-0.15 * 8.0)
peaks = 200.0 * (1 - q**n) / (1 - q)
error = jnp.max(jnp.abs(run["amount"][:-1:64] - peaks))
print(f"peaks {peaks[0]:.0f}, {peaks[1]:.1f} … {peaks[-1]:.2f} mg, largest error {error:.1e}")
assert error < 1e-11  # a clock ticks some last digits early, so that times at a tick are after it


# %%
# The trough before dose 10, and its slope in the rate of decay: the events do not stop gradients.
def trough(k):
    calculus = ag.Real(max_steps=64)  # what a gradient has room for
    return ag.simulate(ag.update(body, {"k": k}), [0.0, 71.999], calculus=calculus).output[-1]


def closed(k):
    q = jnp.exp(-8.0 * k)
    return 200.0 * (1 - q**9) / (1 - q) * jnp.exp(-7.999 * k)


slope, exact = jax.jit(jax.jacfwd(trough))(0.15), jax.grad(closed)(0.15)
print(f"slope of the trough in the rate {slope:.6f}, by the closed form {exact:.6f}")
assert abs(slope / exact - 1) < 1e-12

_, axes = plt.subplots()
run.plot(ax=axes, units={"amount": "mg", "time": "h"})
axes.plot(8 * (n - 1), peaks, "ko", label="geometric series")
axes.set(title="200 mg every eight hours", xticks=range(0, 73, 8), ylim=(0, 340))
axes.legend(ncols=2)
plt.show()
