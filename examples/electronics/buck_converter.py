"""
A buck converter
================

A switch connects a coil to 12 V for a part of each period, and to ground for the rest; a capacitor
smooths what comes out. All switches in time are found before the run. Between them the circuit is
linear, so matrix exponentials are the reference. At last the mean is the input times the duty.
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import scipy.linalg

import asgard as ag

jax.config.update("jax_enable_x64", True)

converter = ag.equations(
    """
    L*diff(i, t) = source*pulse(T, duty) - v   # volts, amperes, microseconds
    C*diff(v, t) = i - v/R                     # microhenries and microfarads
    diff(total, t) = v
    """,
    parameters={"L": 47.0, "C": 10.0, "R": 5.0, "source": 12.0, "T": 10.0, "duty": 0.4},
)
ts = 10.0 * jnp.arange(201)
run = ag.simulate(converter, ts)

# %%
# One period is two maps of (i, v, 1): the exponentials of the switch's two matrices.
on = np.array([[0, -1 / 47, 12 / 47], [1 / 10, -1 / 50, 0], [0, 0, 0]])
off = on * [1, 1, 0]
period = scipy.linalg.expm(6 * off) @ scipy.linalg.expm(4 * on)
states = [np.array([0.0, 0.0, 1.0])]
for _ in ts[1:]:
    states.append(period @ states[-1])
exact = np.array(states)
error = max(jnp.abs(run["i"] - exact[:, 0]).max(), jnp.abs(run["v"] - exact[:, 1]).max())
mean = (run["total"][-1] - run["total"][-2]) / 10
print(f"largest error {error:.1e}; mean of the last period {mean:.9f} V")
assert error < 1e-11  # of up to 8 V, after 400 switches with some roundings each
assert abs(mean - 0.4 * 12) < 1e-6  # what is left of the start: 8 exp(-2000 / 100) is 2e-8

# %%
# A saved time costs no step: the ripple, and the start.
fine = ag.simulate(converter, jnp.linspace(0.0, 300.0, 3001))
axes = fine.plot("i", "v", units={"time": "µs"})
axes.axhline(4.8, color="0.4", linestyle=":")
axes.set(title="A buck converter starts", ylabel="current (A), voltage (V)")
plt.show()
