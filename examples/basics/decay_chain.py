"""
A chain of decays
=================

Lead-214 decays to bismuth-214, and that to polonium-214: three compartments, said as equations.
Bateman (1910) solved them in closed form, which is the reference.
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt

import asgard as ag

jax.config.update("jax_enable_x64", True)

chain = ag.equations(
    """
    diff(lead, t) = -a*lead
    diff(bismuth, t) = a*lead - b*bismuth
    diff(polonium, t) = b*bismuth
    total = lead + bismuth + polonium
    """,
    parameters={"a": jnp.log(2) / 26.8, "b": jnp.log(2) / 19.9},  # half-lives in minutes
    initial={"lead": 1.0},
)
ts = jnp.linspace(0.0, 180.0, 181)
run = ag.simulate(chain, ts)

# %%
# Bateman's solution for the middle of the chain. The parameters are read from the circuit.
a, b = (ag.parameters(chain)[name] for name in "ab")
bismuth = a / (b - a) * (jnp.exp(-a * ts) - jnp.exp(-b * ts))
error = jnp.abs(run["bismuth"] - bismuth).max()
lost = jnp.abs(run["total"] - 1).max()
print(f"largest error {error:.1e}, and of the total {lost:.1e}")
assert error < 1e-14  # the amounts are below 1, each within some roundings
assert lost < 1e-15

# %%
# There is most bismuth where it decays as fast as it is made: a run can watch for that.
most = ag.Event(lambda t, wires: a * wires["lead"] - b * wires["bismuth"], name="most bismuth")
run = ag.simulate(chain, ts, events=most)
time = run.events["most bismuth"].times[0]
print(f"most bismuth after {time:.3f} minutes")
assert abs(time - jnp.log(b / a) / (b - a)) < 1e-12  # minutes: 33, to a few roundings


axes = run.plot("lead", "bismuth", "polonium", units={"time": "min"})
axes.set(title="Lead-214 and what it decays to", ylabel="share of all atoms")
plt.show()
