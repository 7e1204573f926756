"""
Heston's volatility
===================

The variance of a price moves at random too, against the price. A call's price is the mean payoff of
paths. The reference is one integral of the characteristic function (Heston, 1993; Lewis, 2001).
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import asgard as ag

jax.config.update("jax_enable_x64", True)
SPEED, LEVEL, NOISE, LINK = 2.0, 0.04, 0.5, -0.7
PATHS, STRIKES = 100_000, np.linspace(0.7, 1.3, 13)


@ag.circuit
def heston():
    drift, shock = ag.register("t", 0.0), ag.stochastic_register("t", "W")
    pull, shake = ag.register("t", LEVEL), ag.stochastic_register("t", "V")
    variance = jnp.maximum(pull + shake, 0.0)  # truncated as by Lord and others (2010)
    drift.input, shock.input = -variance / 2, jnp.sqrt(variance)
    pull.input, shake.input = SPEED * (LEVEL - variance), NOISE * jnp.sqrt(variance)
    return {"log_price": drift + shock}


def payoffs(log_price):
    return jnp.maximum(jnp.exp(log_price[-1]) - STRIKES, 0)


calculus = ag.Stochastic(steps=200, correlation={("W", "V"): LINK})
kept = ag.statistics.Mean(payoffs), ag.statistics.Variance(payoffs)
options = {"calculus": calculus, "key": jax.random.key(0), "reduce": kept}
mean, variance = ag.ensemble(heston(), [0.0, 1.0], paths=PATHS, **options).statistics

# %%
# The characteristic function of log_price at v, and Lewis's integral of it over u.
u = np.linspace(0.0, 100.0, 10_001)
v = u - 0.5j
pull = SPEED - LINK * NOISE * 1j * v
d = np.sqrt(pull**2 + NOISE**2 * (1j * v + v**2))
g, decay = (pull - d) / (pull + d), np.exp(-d)
level = SPEED * (pull - d - 2 * np.log((1 - g * decay) / (1 - g)))
start = (pull - d) * (1 - decay) / (1 - g * decay)
turned = np.exp(LEVEL * (level + start) / NOISE**2 - 1j * u * np.log(STRIKES)[:, None])
exact = 1 - np.sqrt(STRIKES) * np.trapezoid(turned.real / (u**2 + 0.25), u) / np.pi
errors = np.sqrt(variance / PATHS)
away = (mean - exact) / errors
print(f"prices of calls are {np.min(away):.2f} to {np.max(away):.2f} standard errors off")
assert np.max(np.abs(away)) < 4  # of the same paths, so nearly one number
(_, axes), now = plt.subplots(), np.maximum(1 - STRIKES, 0)
axes.plot(STRIKES, exact - now, label="Heston's integral")
axes.errorbar(STRIKES, mean - now, 2 * errors, fmt="o", label="paths, two standard errors")
axes.set(xlabel="strike", ylabel="price of a call, less its payoff today")
axes.legend()
plt.show()
