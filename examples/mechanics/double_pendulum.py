"""
A double pendulum from its Lagrangian
=====================================

The equations of motion are not worked out by hand: ``jax.grad`` and ``jax.jacfwd`` make them from
the Lagrangian, and the right-hand side solves for the accelerations. Energy is kept, and SciPy's
DOP853 runs the same pendulum by the textbook's formula.
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import scipy.integrate

import asgard as ag

jax.config.update("jax_enable_x64", True)
G = 9.81  # both rods have length 1, both masses are 1


def lagrangian(q, w):
    """Kinetic less potential energy, by the angles and their speeds."""
    kinetic = w[0] ** 2 + w[1] ** 2 / 2 + w[0] * w[1] * jnp.cos(q[0] - q[1])
    return kinetic + G * (2 * jnp.cos(q[0]) + jnp.cos(q[1]))


momentum = jax.grad(lagrangian, argnums=1)


def motion(t, y):
    q, w = y["angle"], y["speed"]
    by_angle, masses = jax.jacfwd(momentum, argnums=(0, 1))(q, w)
    force = jax.grad(lagrangian)(q, w) - by_angle @ w
    return {"angle": w, "speed": jnp.linalg.solve(masses, force)}


def textbook(t, y):
    a, b, v, w = y
    s, c = np.sin(a - b), np.cos(a - b)
    force = [-s * w**2 - 2 * G * np.sin(a), s * v**2 - G * np.sin(b)]
    return [v, w, *np.linalg.solve([[2, c], [c, 1]], force)]


ts, start = jnp.linspace(0.0, 5.0, 1001), jnp.array([2.0, 2.5])
run = ag.simulate(ag.ode(motion, {"angle": start, "speed": jnp.zeros(2)}), ts)
energy = jax.vmap(lambda q, w: momentum(q, w) @ w - lagrangian(q, w))(run["angle"], run["speed"])
tight = {"method": "DOP853", "rtol": 3e-14, "atol": 1e-14}
reference = scipy.integrate.solve_ivp(textbook, (0, 5), [*start, 0, 0], **tight).y
error, drift = jnp.abs(run["angle"][-1] - reference[:2, -1]).max(), jnp.ptp(energy)
print(f"energy kept to {drift:.1e}, from SciPy's {error:.1e}")
assert drift < 1e-12  # of terms up to 60
assert error < 1e-10  # SciPy's tolerance, which the pendulum amplifies 100 times

x, y = jnp.cumsum(jnp.sin(run["angle"]), axis=1), -jnp.cumsum(jnp.cos(run["angle"]), axis=1)
plt.plot(x, y, label=["first mass", "second mass"])
plt.axis("equal")
plt.title("Five seconds of a double pendulum")
plt.legend(loc="upper right")
plt.show()
