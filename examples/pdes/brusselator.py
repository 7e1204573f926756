"""
The Brusselator by lines
========================

Two chemicals react and diffuse along a rod (Lefever and Nicolis, 1971; as a stiff problem, Hairer
and Wanner). Lines at fifty points make a hundred stiff equations, whose Jacobian ``ag.Radau`` finds
to be a band. SciPy's LSODA is the reference.
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import scipy.integrate

import asgard as ag

jax.config.update("jax_enable_x64", True)

COUNT = 50
x = jnp.arange(1, COUNT + 1) / (COUNT + 1)


def spread(u, end):
    """The second derivative, with the value of both ends."""
    u = jnp.pad(u, 1, constant_values=end)
    return (u[2:] - 2 * u[1:-1] + u[:-2]) * (COUNT + 1) ** 2


def brusselator(t, y, *, diffusion=0.02):
    u, v = y["u"], y["v"]
    return {
        "u": 1 + u**2 * v - 4 * u + diffusion * spread(u, 1.0),
        "v": 3 * u - u**2 * v + diffusion * spread(v, 3.0),
    }


start = {"u": 1 + jnp.sin(2 * jnp.pi * x), "v": 3 * jnp.ones(COUNT)}
ts = jnp.linspace(0.0, 10.0, 101)
radau = ag.Real(method=ag.Radau(), rtol=1e-8, atol=1e-8, max_steps=1024)
run = ag.simulate(ag.ode(brusselator, start), ts, calculus=radau)


# %%
# LSODA runs the same lines, with the two chemicals of a point beside each other: then all that an
# entry depends on is at most two entries away.
@jax.jit
def lines(t, y):
    rates = brusselator(t, {"u": y[::2], "v": y[1::2]})
    return jnp.stack([rates["u"], rates["v"]], axis=1).ravel()


begin = jnp.stack([start["u"], start["v"]], axis=1).ravel()
tight = {"method": "LSODA", "rtol": 1e-11, "atol": 1e-11, "lband": 2, "uband": 2}
reference = scipy.integrate.solve_ivp(lines, (0, 10), begin, t_eval=ts, **tight).y
error = jnp.abs(run["u"] - reference[::2].T).max()
print(f"largest difference {error:.1e}, in {run.stats['steps']} steps")
assert error < 1e-7  # some steps' tolerances of 1e-8, as errors die away
axes = run.heat_map("u", space=x)
axes.set(title="The Brusselator on a rod", xlabel="t", ylabel="x")
plt.show()
