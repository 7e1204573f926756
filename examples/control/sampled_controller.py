"""
A controller that samples
=========================

A digital controller reads a motor's speed once a period, and holds its output until the next one.
Between samples the motor is linear, so each period is one step of a recursion in closed form. It
also says from which period on the loop is unstable.
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt

import asgard as ag

jax.config.update("jax_enable_x64", True)

motor = ag.equations(
    """
    diff(speed, t) = drive - a*speed
    drive = sample_hold(k*(target - speed), clock(T))
    """,
    parameters={"a": 0.5, "k": 4.0, "target": 1.0, "T": 0.2},
)


def samples(period, count=25):
    """The speed at the times of the samples."""
    ts = period * jnp.arange(count)
    return ag.simulate(ag.update(motor, {"T": period}), ts)["speed"]


# %%
# Over a period the speed keeps the part e of itself, and gains (1 - e) / a times the drive.
def by_hand(period, a=0.5, k=4.0, count=25):
    e = jnp.exp(-a * period)
    kept = e - k * (1 - e) / a  # of the distance from rest
    rest = k / (a + k)
    return rest * (1 - kept ** jnp.arange(count))


periods = jnp.array([0.1, 0.2, 0.4])
found, exact = jax.vmap(samples)(periods), jax.vmap(by_hand)(periods)
error = jnp.abs(found - exact).max()
limit = 2 * jnp.log((4 + 0.5) / (4 - 0.5))  # where a distance is kept but for its sign
print(f"largest error {error:.1e}; stable for periods below {limit:.4f}")
assert error < 1e-13

axes = plt.figure(layout="constrained").subplots()
for period in (0.1, 0.4, float(limit)):
    run = ag.simulate(ag.update(motor, {"T": period}), jnp.linspace(0.0, 5.0, 1001))
    run.plot("speed", ax=axes, label=f"a sample each {period:.2f} s")
axes.axhline(1.0, color="0.5", linestyle=":")
axes.set(title="A motor under a controller that samples", xlabel="time (s)")
plt.show()
