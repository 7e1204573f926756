"""
An enzyme at work
=================

An enzyme binds what it works on, and lets it go as product. Where enzyme is rare this is stiff, and
near to Michaelis and Menten's equation, which Lambert's W solves (Schnell and Mendoza, 1997).
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from scipy.special import lambertw

import asgard as ag

jax.config.update("jax_enable_x64", True)
SPEED, HALF, START = 1.0, 0.5, 2.0  # greatest speed, and the substrate at half of it

reduced = ag.ode(lambda t, s: -SPEED * s / (HALF + s), START)
mechanism = ag.equations(
    """
    free = enzyme - bound
    diff(s, t) = back*bound - on*free*s
    diff(bound, t) = on*free*s - (back + out)*bound
    out = V/enzyme      # all enzyme is bound at the greatest speed
    back = out; on = (back + out)/K
    """,
    parameters={"V": SPEED, "K": HALF, "enzyme": 0.1},
    initial={"s": START},
)
ts = np.linspace(0.0, 6.0, 61)
exact = HALF * lambertw(START / HALF * np.exp((START - SPEED * ts) / HALF)).real
error = jnp.max(jnp.abs(ag.simulate(reduced, ts)["y"] - exact))
print(f"largest error of Michaelis and Menten's equation {error:.1e}")
assert error < 1e-14  # of numbers up to 2


# %%
# The mechanism, at less and less enzyme: a batch of stiff runs.
@jax.jit
@jax.vmap
def substrate(enzyme):
    stiff = ag.Real(method=ag.Radau(), rtol=1e-9, atol=1e-12)
    return ag.simulate(ag.update(mechanism, {"enzyme": enzyme}), ts, calculus=stiff)["s"]


amounts = np.array([0.5, 1e-1, 1e-2, 1e-3, 1e-4])
found = substrate(amounts)
away = np.max(np.abs(found - exact), axis=1)
print(f"largest distance of the mechanism from it {away.round(6)}")
assert abs(away[3] / away[4] - 10.0) < 0.1  # in proportion to the enzyme, where there is little

_, axes = plt.subplots()
for enzyme, line in zip(amounts[:3], found, strict=False):
    axes.plot(ts, line, label=f"mechanism, {enzyme:g} of enzyme")
axes.plot(ts, exact, "k.", label="Michaelis and Menten, closed form")
axes.set(xlabel="time", ylabel="substrate", title="An enzyme at work")
axes.legend()
plt.show()
