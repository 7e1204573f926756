"""
Measles with seasons
====================

Children meet more in term time, so the rate of contacts changes over the year. The SEIR model with
the numbers of measles then has an epidemic every second year (K. Dietz, 1976). It is said in
logarithms, as small numbers matter. The reference is SciPy's DOP853.
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from scipy.integrate import solve_ivp

import asgard as ag

jax.config.update("jax_enable_x64", True)

BIRTHS, LATENCY, RECOVERY, CONTACTS, SEASON = 0.02, 35.8, 100.0, 1800.0, 0.08


def rates(t, y, *, season=SEASON):
    """Logarithms of the shares that are susceptible, exposed and infectious; time in years."""
    s, e, i = y["susceptible"], y["exposed"], y["infectious"]
    contacts = CONTACTS * (1 + season * jnp.cos(2 * jnp.pi * t))
    return {
        "susceptible": BIRTHS * jnp.exp(-s) - BIRTHS - contacts * jnp.exp(i),
        "exposed": contacts * jnp.exp(s + i - e) - BIRTHS - LATENCY,
        "infectious": LATENCY * jnp.exp(e - i) - BIRTHS - RECOVERY,
    }


measles = ag.ode(rates, {"susceptible": -2.8, "exposed": -7.5, "infectious": -8.5})
ts = np.linspace(0.0, 40.0, 40 * 52 + 1)
run = ag.simulate(measles, ts, calculus=ag.Real(rtol=1e-10, atol=1e-10))


def by_numpy(t, y):
    s, e, i = y
    contacts = CONTACTS * (1 + SEASON * np.cos(2 * np.pi * t))
    births = BIRTHS * np.exp(-s) - BIRTHS - contacts * np.exp(i)
    exposed = contacts * np.exp(s + i - e) - BIRTHS - LATENCY
    return births, exposed, LATENCY * np.exp(e - i) - BIRTHS - RECOVERY


options = {"method": "DOP853", "rtol": 1e-11, "atol": 1e-11, "t_eval": ts}
reference = solve_ivp(by_numpy, (0.0, 40.0), (-2.8, -7.5, -8.5), **options).y[2]
error = np.max(np.abs(run["infectious"] - reference))
print(f"largest error of the logarithm {error:.1e}, in {run.stats['steps']} steps")
biennial = run["infectious"][-1] - run["infectious"][-1 - 104]
print(f"change of the logarithm over the last two years {biennial:.1e}")
assert error < 1e-7  # tolerances of 1e-10 a step, over some hundreds of steps for each epidemic

axes = run.plot("infectious", units={"time": "years"})
axes.plot(ts[::13], reference[::13], "k.", markersize=4, label="SciPy")
axes.set(xlim=(20, 40), ylabel="log of the share that is infectious")
axes.set_title("Measles: an epidemic every second year")
axes.legend()
plt.show()
