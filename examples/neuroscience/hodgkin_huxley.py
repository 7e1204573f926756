"""
Hodgkin and Huxley's axon
=========================

The squid's axon (1952): a membrane with gates that voltage opens and shuts. A current makes it
fire. The reference is SciPy's DOP853, told where the current switches.
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from scipy.integrate import solve_ivp

import asgard as ag

jax.config.update("jax_enable_x64", True)


def axon(math):  # in jnp or in NumPy; volts in mV above rest, times in ms

    def rates(t, y, current):
        v, m, h, n = y
        leaks = 120 * m**3 * h * (v - 115) + 36 * n**4 * (v + 12) + 0.3 * (v - 10.613)
        opens_m, shuts_m = 0.1 * (25 - v) / math.expm1((25 - v) / 10), 4 * math.exp(-v / 18)
        opens_h, shuts_h = 0.07 * math.exp(-v / 20), 1 / (math.exp((30 - v) / 10) + 1)
        opens_n, shuts_n = 0.01 * (10 - v) / math.expm1((10 - v) / 10), math.exp(-v / 80) / 8
        gates = ((m, opens_m, shuts_m), (h, opens_h, shuts_h), (n, opens_n, shuts_n))
        return current - leaks, *(opens * (1 - x) - shuts * x for x, opens, shuts in gates)

    return rates


def current(t):
    return jnp.where((t > 5) & (t < 45), 10.0, 0.0)


# %%
# Asgard finds by itself where the current switches; SciPy makes three runs, one after another.
rest = [0.0, 0.0529, 0.5961, 0.3177]
ts = np.linspace(0.0, 60.0, 601)
run = ag.simulate(ag.ode(axon(jnp), tuple(rest)), ts, inputs=(current,))
pieces, y = [], rest
for level, times in ((0.0, ts[:51]), (10.0, ts[50:451]), (0.0, ts[450:])):
    options = {"args": (level,), "t_eval": times, "rtol": 1e-12, "atol": 1e-12}
    found = solve_ivp(axon(np), times[[0, -1]], y, method="DOP853", **options).y
    pieces, y = [*pieces, found[:, :-1]], found[:, -1]
reference = np.concatenate([*pieces, y[:, None]], axis=1)
error = np.max(np.abs(run["y_0"] - reference[0]))
print(f"largest error {error:.1e} mV, in {run.stats['steps']} steps")
assert error < 1e-8  # of SciPy's, which adds up over three spikes
_, (above, below) = plt.subplots(2, sharex=True, layout="constrained")
above.plot(ts[::4], reference[0, ::4], "k.", markersize=3, label="SciPy")
above.plot(ts, run["y_0"], label="Asgard")
above.set_ylabel("potential (mV)")
above.legend()
below.plot(ts, np.array(run.outputs[1:]).T, label=["m", "h", "n"])
below.set(xlabel="time (ms)", ylabel="share of open gates")
below.legend(loc="right")
plt.show()
