"""
Van der Pol's oscillator, very stiff
====================================

With mu = 1000 the oscillator creeps along a curve for hundreds of units of time, and jumps within
thousandths. ``ag.Radau`` takes both. The references are the test set for initial value problems of
Mazzia and Magherini (2008), and an asymptotic expansion of the period.
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt

import asgard as ag

jax.config.update("jax_enable_x64", True)


def van_der_pol(t, y, *, mu=1000.0):
    return {"x": y["v"], "v": mu * (1 - y["x"] ** 2) * y["v"] - y["x"]}


stiff = ag.Real(method=ag.Radau(7), rtol=1e-11, atol=1e-11, max_steps=8192)
up = ag.Event("x", direction=1, name="up")
oscillator = ag.ode(van_der_pol, {"x": 2.0, "v": 0.0})
ts = jnp.linspace(0.0, 4000.0, 4001)
run = ag.simulate(oscillator, ts, calculus=stiff, events=up)

# %%
# The test set has the state at 2000.
error = abs(run["x"][2000] - 1.706167732170469), abs(run["v"][2000] + 0.8928097010248e-3)
print(f"errors at 2000: {error[0]:.1e}, {error[1]:.1e}, in {run.stats['steps']} steps")

# %%
# The period between two rises through 0, by its two leading terms; 2.338107 is where Airy's
# function is first zero. The next terms are of the size log(mu) / mu.
mu, times = 1000.0, run.events["up"].times
period, by_hand = times[1] - times[0], (3 - 2 * jnp.log(2)) * mu + 3 * 2.338107 * mu ** (-1 / 3)
print(f"period {period:.9f}, by its leading terms {by_hand:.6f}")
assert error[0] < 1e-10  # 761 steps of 1e-11 each
assert error[1] < 1e-12  # speeds are a thousandth of places there
assert abs(period - by_hand) < jnp.log(mu) / mu

figure = plt.figure(figsize=(9, 4), layout="constrained")
left, right = figure.subplots(1, 2)
run.plot("x", ax=left).set(title="Relaxation oscillations", xlabel="t")
jump = times[0] + jnp.linspace(-0.02, 0.02, 401)
near = ag.simulate(oscillator, jnp.concatenate([jnp.zeros(1), jump]), calculus=stiff)
right.plot(1000 * (jump - times[0]), near["x"][1:])
right.set(title="One of the jumps", xlabel="thousandths of t about the event", ylabel="x")
plt.show()
