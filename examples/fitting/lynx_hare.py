"""
Lynx and hare
=============

The Lotka–Volterra equations, fitted to the Hudson's Bay Company's records of pelts by least squares
of logarithms, from a rough start. The reference is SciPy's ``least_squares`` on its ``solve_ivp``.
"""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from scipy.integrate import solve_ivp
from scipy.optimize import least_squares

import asgard as ag

jax.config.update("jax_enable_x64", True)
file = Path(globals().get("__file__", "")).parent / "../data/lynx_hare.csv"
years, *species = np.loadtxt(file, delimiter=",", skiprows=1, unpack=True)
records = dict(zip(("hare", "lynx"), species, strict=True))  # in thousands of pelts a year


def rates(t, y, *, a, b, c, d):
    return y[0] * (a - b * y[1]), y[1] * (d * y[0] - c)


def model(circuit, years):
    run = ag.simulate(circuit, years, calculus=ag.Real(order=12, rtol=1e-8, max_steps=256))
    return dict(zip(records, run.outputs, strict=True))


def residuals(circuit, years, records):
    found = model(circuit, years)
    return jnp.stack([jnp.log(found[name] / records[name]) for name in records])


start = ag.ode(rates, (30.0, 4.0), a=1.0, b=0.05, c=1.0, d=0.05)
fit = ag.fit_residuals(start, residuals, args=(years, records), steps=50)
known = ag.uncertainty(fit.circuit, residuals, args=(years, records))
for name, value in zip(known.names, known.values, strict=True):
    print(f"{name:5} {value:9.5f} ± {known[name]:.5f}")


def by_scipy(numbers):
    constants = dict(zip("abcd", numbers[2:], strict=True))
    slopes, options = partial(rates, **constants), {"t_eval": years, "rtol": 1e-8}
    return np.log(solve_ivp(slopes, years[[0, -1]], numbers[:2], **options).y / species).ravel()


optimum = least_squares(by_scipy, 1.02 * known.values, x_scale="jac").x
print(f"SciPy's optimum differs by {np.max(np.abs(known.values / optimum - 1)):.1e}")
assert np.allclose(known.values, optimum, rtol=1e-5)  # it stops at a change of 1e-8 of the loss
axes = fit.plot_data(model, years, records, uncertainty=known)
axes.set(xlabel="year", ylabel="pelts (thousands a year)", xticks=range(1900, 1921, 4))
axes.figure.savefig("lynx_hare.png", dpi=140)
plt.show()
