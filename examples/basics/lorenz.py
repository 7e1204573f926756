"""
Lorenz's attractor, and how volumes shrink
==========================================

Lorenz's equations (1963) are chaotic: what starts close is soon far apart. Yet volumes shrink at
the same rate everywhere, s + 1 + b. So the derivative of the end by the start, a matrix that
``jax.jacfwd`` takes through the run, has a determinant in closed form (Liouville).
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt

import asgard as ag

jax.config.update("jax_enable_x64", True)

lorenz = ag.equations(
    """
    diff(x, t) = s*(y - x)
    diff(y, t) = x*(r - z) - y
    diff(z, t) = x*y - b*z
    """,
    parameters={"s": 10.0, "r": 28.0, "b": 8 / 3},
    initial={"x": 1.0, "y": 1.0, "z": 1.0},
)


def end(start, time=1.0):
    x, y, z = start
    circuit = ag.update(lorenz, {"initial.x": x, "initial.y": y, "initial.z": z})
    return jnp.stack([output[-1] for output in ag.simulate(circuit, [0.0, time]).outputs])


slopes = jax.jacfwd(end)(jnp.ones(3))
volume, exact = jnp.linalg.det(slopes), jnp.exp(-(10 + 1 + 8 / 3))
print(f"volume {volume:.12e}, in closed form {exact:.12e}")
# The determinant cancels from the stretches' sizes, about 10, down to 1e-6.
assert abs(volume / exact - 1) < 1e-8

# %%
# Two runs that start 1e-9 apart, side by side, are as far apart as the attractor is wide in the
# end.
ts = jnp.linspace(0.0, 40.0, 8001)
first = ag.simulate(lorenz, ts)
second = ag.simulate(ag.update(lorenz, {"initial.x": 1.0 + 1e-9}), ts)

figure = plt.figure(figsize=(9, 4), layout="constrained")
space = figure.add_subplot(1, 2, 1, projection="3d")
space.plot(first["x"], first["y"], first["z"], linewidth=0.5)
space.set(title="Lorenz's attractor", xlabel="x", ylabel="y", zlabel="z")
apart = figure.add_subplot(1, 2, 2)
distance = jnp.linalg.norm(jnp.stack(first.outputs) - jnp.stack(second.outputs), axis=0)
apart.semilogy(ts, distance)
apart.set(title="How far apart two runs are", xlabel="t")
plt.show()
