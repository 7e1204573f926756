"""
A thermostat
============

A relay heats a room from where it is colder than 19 degrees until it is warmer than 21. Between its
switches the temperature is an exponential, so the period is known in closed form. One run with
``jax.vmap`` sees rooms under several temperatures outside.
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt

import asgard as ag

jax.config.update("jax_enable_x64", True)

room = ag.equations(
    """
    diff(T, t) = (outside + power*heating - T)/tau
    heating = relay(-T, -21, -19)   # on where -T rises past -19, off where it falls below -21
    """,
    parameters={"outside": 5.0, "power": 20.0, "tau": 3.0},  # degrees, degrees, hours
    initial={"T": 16.0},
)
switched_off = ag.Event(lambda t, wires: wires["T"] - 21.0, direction=1, name="off")


def period(outside):
    circuit = ag.update(room, {"outside": outside})
    run = ag.simulate(circuit, [0.0, 24.0], events=switched_off)
    return jnp.diff(run.events["off"].times[:2])[0]


# %%
# From 19 to 21 towards outside + 20, and back towards outside.
outside = jnp.linspace(2.0, 17.0, 16)
found = jax.vmap(period)(outside)
exact = 3 * jnp.log((outside + 20 - 19) / (outside + 20 - 21) * (21 - outside) / (19 - outside))
error = jnp.abs(found - exact).max()
print(f"largest error {error:.1e} h; the shortest period is {found.min():.6f} h")
assert error < 1e-12  # hours: two switches, each located to a few roundings

left, right = plt.figure(figsize=(9, 4), layout="constrained").subplots(1, 2)
run = ag.simulate(room, jnp.linspace(0.0, 8.0, 801), events=switched_off)
run.plot("T", ax=left, units={"T": "°C", "time": "h"}).set(title="5 °C outside")
right.plot(outside, exact, label="closed form")
right.plot(outside, found, "o", label="runs")
right.set(title="How long a period is", xlabel="outside (°C)", ylabel="period (h)")
right.legend()
plt.show()
