"""
A posterior of lynx and hare
============================

A run has gradients, so samplers take it as it is. Here numpyro's NUTS draws the numbers of the
Lotka–Volterra equations. The reference is Laplace's approximation, from least squares.
"""

import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import asgard as ag

jax.config.update("jax_enable_x64", True)
file = Path(globals().get("__file__", "")).parent / "../data/lynx_hare.csv"
years, *species = np.loadtxt(file, delimiter=",", skiprows=1, unpack=True)
text = "diff(x, t) = a*x - b*x*y; diff(y, t) = d*x*y - c*y"
rough, counts = {"a": 1.0, "b": 0.05, "c": 1.0, "d": 0.05}, {"x": 30.0, "y": 4.0}
start = ag.equations(text, parameters=rough, initial=counts)


def residuals(circuit):
    calculus = ag.Real(method=ag.Tsit5(), rtol=1e-6, atol=1e-6, max_steps=512)
    found = ag.simulate(circuit, years, calculus=calculus, throw=False).outputs
    return jnp.log(jnp.stack(found) / jnp.stack(species))


fit = ag.fit_residuals(start, residuals, steps=50)
known, variance = ag.uncertainty(fit.circuit, residuals), fit.loss / (42 - 6)


def potential(numbers):
    return jnp.sum(residuals(ag.update(start, numbers)) ** 2) / (2 * variance)


_, axes = plt.subplots()
if importlib.util.find_spec("numpyro") is None:
    print("numpyro draws the posterior: pip install numpyro")
else:
    from numpyro.infer import MCMC, NUTS

    kernel = NUTS(potential_fn=potential, dense_mass=True)
    sampler = MCMC(kernel, num_warmup=200, num_samples=500, progress_bar=False)
    sampler.run(jax.random.key(0), init_params=dict(zip(known.names, known.values, strict=True)))
    draws = np.stack([sampler.get_samples()[name] for name in known.names], axis=1)
    away = (draws - known.values) / known.standard_errors
    moments = np.stack([away.mean(axis=0), away.std(axis=0)])
    print(f"means and deviations, in standard errors:\n{moments.round(2)}")
    assert np.all(np.abs(moments - [[0], [1]]) < 0.3)  # the posterior is somewhat skew
    axes.hist(away[:, :4], bins=20, density=True, histtype="step", label=known.names[:4])
x = np.linspace(-3.0, 3.0, 61)
axes.plot(x, np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi), "k", label="Laplace")
axes.set(xlabel="standard errors from the optimum", ylabel="density")
axes.legend()
plt.show()
