"""
Bode plot of an arm under a PID controller
==========================================

An arm is held at 45 degrees by a PID controller, whose integral carries the torque. The operating
point is found by ``ag.equilibrium``, and there the frequency responses of the loop cut open and of
the closed one. The reference is the transfer function by hand.
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt

import asgard as ag

jax.config.update("jax_enable_x64", True)


@ag.circuit
def loop(reference, *, closed=True, proportional=30.0, integral=40.0, derivative=6.0, cutoff=100.0):
    """The arm and its controller. If not closed, the reference is the controller's error."""
    angle, speed = ag.register("t", 0.5), ag.register("t", 0.0)
    total, slow = ag.register("t", 0.0), ag.register("t", 0.0)
    error = reference - angle if closed else reference
    fast = cutoff * (error - slow)  # the derivative of the error, filtered
    torque = proportional * error + integral * total + derivative * fast
    total.input, slow.input = error, fast
    angle.input = speed
    speed.input = (torque - 2.0 * 9.81 * 0.5 * jnp.sin(angle) - 0.4 * speed) / 0.5
    return {"angle": angle, "speed": speed, "total": total, "slow": slow}


rest = ag.equilibrium(loop(), inputs=(jnp.pi / 4,))
w = jnp.logspace(-1, 3, 400)
about = {"at": rest.state, "inputs": (0.0,)}
opened = ag.frequency_response(loop(closed=False), w, **about)[:, 0, 0]
closed = ag.frequency_response(loop(), w, at=rest)[:, 0, 0]

# %%
# By hand: the controller times the arm, linear about 45 degrees.
s = 1j * w
by_hand = (30 + 40 / s + 6 * s / (1 + s / 100)) / (0.5 * s**2 + 0.4 * s + 9.81 / jnp.sqrt(2))
error = jnp.abs(opened / by_hand - 1).max(), jnp.abs(closed * (1 + by_hand) / by_hand - 1).max()
crossing = jnp.argmax(jnp.abs(opened) < 1)
margin = 180 + jnp.degrees(jnp.angle(opened[crossing]))
print(f"phase margin {margin:.1f} degrees; largest relative errors {error[0]:.0e}, {error[1]:.0e}")
assert max(error) < 1e-12  # solves of four equations, whose numbers span four decades

shown = {"output": "angle", "units": {"time": "s"}}
axes = ag.plot_frequency_response(loop(closed=False), w, label="open loop", **about, **shown)
ag.plot_frequency_response(loop(), w, at=rest, label="closed loop", axes=axes, **shown)
for panel in axes:
    panel.axvline(w[crossing], color="0.4", linewidth=0.8, linestyle=":")
plt.show()
