"""
A pendulum that is held upright
===============================

The pendulum is linearized where it stands, SciPy solves Riccati's equation for the gains that cost
least, and the loop is closed around the nonlinear pendulum. Its cost has a second derivative by the
start, through the whole run; that is the matrix of Riccati's equation, twice.
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import scipy.linalg

import asgard as ag

jax.config.update("jax_enable_x64", True)


@ag.circuit
def pendulum(torque, *, start=(0.0, 0.0)):  # the angle is from upright
    angle, speed = ag.register("t", start[0]), ag.register("t", start[1])
    angle.input, speed.input = speed, 9.81 * jnp.sin(angle) - 0.1 * speed + torque
    return {"angle": angle, "speed": speed}


A, B, _, _ = ag.linearize(pendulum(), inputs=(0.0,))
riccati = scipy.linalg.solve_continuous_are(A, B, np.diag([10.0, 1.0]), np.eye(1))
gains = (B.T @ riccati)[0]


@ag.circuit
def held(*, plant, gains=gains):
    """``ag.unknown`` opens the wire of the torque, as ``plant`` has to be called on it first."""
    cost, torque = ag.register("t", 0.0), ag.unknown()
    angle, speed = plant(torque).values()
    torque.input = -gains[0] * angle - gains[1] * speed
    cost.input = 10 * angle**2 + speed**2 + torque**2
    return {"angle": angle, "torque": torque, "cost": cost}


def run(start, ts, **options):
    return ag.simulate(held(plant=pendulum(start=start)), ts, calculus=ag.Real(**options))


# %%
# At rest nothing tells a run how short its steps must be for the sake of derivatives: we say it.
curvature = jax.hessian(lambda start: run(start, [0.0, 8.0], max_step=0.2)["cost"][-1])(
    jnp.zeros(2)
)
error = jnp.abs(curvature - 2 * riccati).max()
print(f"gains {gains}; the cost's second derivative misses by {error:.1e}")
assert error < 1e-10  # of entries up to 180; the slowest part has decayed by exp(-2 * 2.6 * 8)

above, below = plt.figure(layout="constrained").subplots(2, 1, sharex=True)
held_up = run(jnp.array([0.5, 0.0]), jnp.linspace(0.0, 3.0, 301))
held_up.plot("angle", ax=above).set(title="A pendulum held upright", xlabel="")
held_up.plot("torque", ax=below).set(xlabel="time (s)")
plt.show()
