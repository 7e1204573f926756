"""
An epidemic and its final size
==============================

The SIR model: the susceptible catch the disease from the infectious, who recover. How many are
spared does not depend on how fast it goes: s = exp(-R0 (1 - s)), which Lambert's W solves (Kermack
and McKendrick, 1927). The gradient of the final size goes through the whole run.
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
from scipy.special import lambertw

import asgard as ag

jax.config.update("jax_enable_x64", True)


@ag.circuit
def epidemic(*, reproduction=2.5, recovery=0.2, seed=1e-9):
    susceptible, infectious = ag.register("t", 1.0 - seed), ag.register("t", seed)
    infections = reproduction * recovery * susceptible * infectious
    recoveries = recovery * infectious
    susceptible.input = -infections
    infectious.input = infections - recoveries
    return {
        "susceptible": susceptible,
        "infectious": infectious,
        "recovered": 1 - susceptible - infectious,
    }


def spared(reproduction):
    run = ag.simulate(epidemic(reproduction=reproduction), [0.0, 500.0])
    return run["susceptible"][-1]


# %%
# The share that is spared, and its slope in R0, from the runs and from Lambert's W.
numbers = jnp.linspace(1.5, 4.0, 6)
found, slopes = jax.jit(jax.vmap(jax.value_and_grad(spared)))(numbers)
seed = 1e-9  # is infectious, and never susceptible
exact = -lambertw(-(1 - seed) * numbers * jnp.exp(-numbers)).real / numbers
exact_slopes = -exact * (1 - exact) / (1 - numbers * exact)  # of log(s) = -R0 (1 - s)
error, slope_error = jnp.max(jnp.abs(found - exact)), jnp.max(jnp.abs(slopes - exact_slopes))
print(f"largest error of the share spared {error:.1e}, of its slope {slope_error:.1e}")
# The run ends at t = 500, when the infectious have fallen to some 1e-11 at R0 = 1.5.
assert error < 1e-10
assert slope_error < 1e-6

run = ag.simulate(epidemic(), jnp.linspace(0.0, 160.0, 401))
_, axes = plt.subplots()
run.plot(ax=axes, units={"time": "d"})
axes.axhline(exact[2], color="0.4", linestyle=":", label="spared, by Lambert's W")
axes.set(ylabel="share of the population", title="An epidemic with R0 = 2.5")
axes.legend()
plt.show()
