"""
Prices that jump
================

Merton's model (1976): a price moves as geometric Brownian motion, and jumps at random times. Given
the number of jumps the price is lognormal, so a call's price is a series of Black and Scholes's.
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import norm, poisson

import asgard as ag

jax.config.update("jax_enable_x64", True)
RATE, NOISE, JUMPS, MEAN, SPREAD = 0.03, 0.2, 1.0, -0.1, 0.15
PATHS, STRIKES = 100_000, np.linspace(0.7, 1.3, 13)
GAIN = np.exp(MEAN + SPREAD**2 / 2) - 1  # of the price, by a jump on average


@ag.circuit
def merton():
    drift, noise = ag.register("t", 1.0), ag.stochastic_register("t", "W")
    jumps = ag.jump_register("t", JUMPS, lambda z: jnp.expm1(MEAN + SPREAD * z), "N")
    price = drift + noise + jumps
    drift.input, noise.input = (RATE - JUMPS * GAIN) * price, NOISE * price
    jumps.input = price
    return price


def payoffs(price):
    return jnp.exp(-RATE) * jnp.maximum(price[-1] - STRIKES, 0)


def series(strike):
    """Of Black and Scholes's prices, by the number of jumps in the year."""
    count = np.arange(30)
    deviation = np.sqrt(NOISE**2 + count * SPREAD**2)
    forward = np.exp(RATE - JUMPS * GAIN + count * (MEAN + SPREAD**2 / 2))
    d = np.log(forward / strike) / deviation + deviation / 2
    calls = forward * norm.cdf(d) - strike * norm.cdf(d - deviation)
    return np.exp(-RATE) * np.sum(poisson.pmf(count, JUMPS) * calls)


kept = ag.statistics.Mean(payoffs), ag.statistics.Variance(payoffs)
options = {"calculus": ag.Stochastic(steps=64, method="milstein"), "key": jax.random.key(0)}
mean, variance = ag.ensemble(merton(), [0.0, 1.0], paths=PATHS, reduce=kept, **options).statistics
errors = np.sqrt(variance / PATHS)
exact = np.array([series(strike) for strike in STRIKES])
away = (mean - exact) / errors
print(f"prices of calls are {np.min(away):.2f} to {np.max(away):.2f} standard errors off")
assert np.max(np.abs(away)) < 4  # all are of the same paths, so nearly one number
_, axes = plt.subplots()
axes.plot(STRIKES, exact, label="Merton's series")
axes.errorbar(STRIKES, mean, 2 * errors, fmt="o", label="paths, two standard errors")
axes.set(xlabel="strike", ylabel="price of a call", title="A year's calls on a price that jumps")
axes.legend()
plt.show()
