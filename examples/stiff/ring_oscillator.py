"""
A ring oscillator
=================

Three inverters in a ring have no state of rest that is stable, so they oscillate: the clock of many
chips. Each charges a wire slowly, and switches ten thousand times faster, which is stiff. In the
limit of inverters that switch at once the period is 6 log((1 + sqrt(5)) / 2), by the golden ratio.
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt

import asgard as ag

jax.config.update("jax_enable_x64", True)


def ring(t, y, *, gain=1e4, delay=1e-4):
    """Wires follow their inverters; each inverter turns the sign of the wire before it."""
    target = -jnp.tanh(gain * jnp.roll(y["wire"], 1))
    return {"wire": y["gate"] - y["wire"], "gate": (target - y["gate"]) / delay}


start = {"wire": jnp.array([0.5, -0.3, 0.1]), "gate": jnp.zeros(3)}
rises = ag.Event(lambda t, wires: wires["wire"][0], direction=1, name="rises")
stiff = ag.Real(method=ag.Radau(), rtol=1e-8, atol=1e-8)
ts = jnp.linspace(0.0, 30.0, 3001)
run = ag.simulate(ag.ode(ring, start), ts, calculus=stiff, events=rises)
period = jnp.diff(run.events["rises"].times)[8]


# %%
# Where inverters switch at once, only signs matter. A sign of a state is an event of the run, and
# between events nothing is stiff.
def at_once(t, y):
    return {"wire": -jnp.sign(jnp.roll(y["wire"], 1)) - y["wire"]}


limit = ag.simulate(ag.ode(at_once, {"wire": start["wire"]}), [0.0, 48.0], events=rises)
golden = (1 + jnp.sqrt(5)) / 2
exact = 6 * jnp.log(golden)
error = abs(jnp.diff(limit.events["rises"].times)[13] - exact)
# Each delay makes the period longer by 4 / (3 golden - 4), and so do the three, twice a period.
longer = 12 / (3 * golden - 4) * 1e-4
print(f"period {exact:.12f} in the limit, error {error:.1e}")
print(f"with delays longer by {period - exact:.3e}, to first order {longer:.3e}")
assert error < 1e-13  # the start has died away, and events are located to a few roundings
assert abs(period - exact - longer) < 1e-6  # of second order in the delay and in 1 / gain

axes = run.plot("wire")
axes.set(title="Three inverters in a ring", xlim=(0, 12), xlabel="t")
plt.show()
