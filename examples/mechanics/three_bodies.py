"""
Three bodies on a figure eight
==============================

Three equal masses follow one another on an eight (Chenciner and Montgomery, 2000). The start and
the period are Simó's numbers, to 14 and 11 digits. After a third of the period each body is where
the next one was, and after all of it where it was itself.
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt

import asgard as ag

jax.config.update("jax_enable_x64", True)

PERIOD = 6.32591398292
place = jnp.array([0.97000435669734, -0.24308753153583])
speed = jnp.array([-0.93240737144104, -0.86473146092102])
start = {
    "place": jnp.stack([place, -place, jnp.zeros(2)]),
    "speed": jnp.stack([-speed / 2, -speed / 2, speed]),
}


def gravity(t, y):
    """All pulls at once, [pulled, pulling, coordinate]. No body pulls itself."""
    between = y["place"] - y["place"][:, None]
    cubes = jnp.sum(between**2, axis=-1) + jnp.eye(3)
    return {"place": y["speed"], "speed": jnp.sum(between * cubes[..., None] ** -1.5, axis=1)}


ts = jnp.linspace(0.0, PERIOD, 301)
run = ag.simulate(ag.ode(gravity, start), ts)
places = run["place"]  # [times, bodies, coordinates]
third = jnp.abs(places[100] - places[0, jnp.array([2, 0, 1])]).max()
whole = jnp.abs(places[-1] - places[0]).max()
momentum = jnp.sum(jnp.cross(places, run["speed"]), axis=1)
print(f"missed after a third {third:.1e}, and after all of the period {whole:.1e}")
print(f"angular momentum kept to {jnp.ptp(momentum):.1e}")
assert jnp.ptp(momentum) < 1e-14
assert max(third, whole) < 1e-10  # speeds are up to 1.3, and the period has 11 digits

axes = plt.figure(figsize=(8, 4), layout="constrained").subplots()
axes.plot(*places[:, 0].T, color="0.8", linewidth=4)
for body in range(3):
    axes.plot(*places[:75, body].T, label=f"body {body + 1}")
    axes.plot(*places[74, body], "o", color=axes.lines[-1].get_color(), markersize=12)
axes.set(aspect="equal", ylim=(-0.6, 0.45), xlabel="x", ylabel="y", title="A quarter of the period")
axes.legend(loc="lower center", ncols=3)
plt.show()
