"""
An epidemic in a small village
==============================

Infections and recoveries as jumps, at rates that depend on how many are ill. It may die out by
chance. The reference is the master equation: the probabilities of all states, by SciPy.
"""

from itertools import accumulate

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from scipy.linalg import expm

import asgard as ag

jax.config.update("jax_enable_x64", True)
VILLAGE, CONTACTS, RECOVERY = 30, 0.6, 0.3


@ag.circuit
def epidemic():
    infected = ag.jump_register("t", None, 1.0, "infections", 2.0)
    recovered = ag.jump_register("t", None, 1.0, "recoveries")
    ill = jnp.maximum(infected - recovered, 0.0)
    infected.input = 1.0, CONTACTS * ill * jnp.maximum(1 - infected / VILLAGE, 0.0)
    recovered.input = 1.0, RECOVERY * ill
    return {"ill": ill}


def master_equation(ts):
    """The mean number of the ill, and the chance of none, at each of evenly spaced times."""
    states = [(s, i) for s in range(VILLAGE + 1) for i in range(VILLAGE + 1 - s)]
    index = {state: n for n, state in enumerate(states)}
    rates = np.zeros((len(states),) * 2)
    for (s, i), now in index.items():  # rates are 0 where there is no state to go to
        rates[index.get((s - 1, i + 1), 0), now] += CONTACTS * i * s / VILLAGE
        rates[index.get((s, i - 1), 0), now] += RECOVERY * i
    step = expm((rates - np.diag(rates.sum(axis=0))) * (ts[1] - ts[0]))
    start = np.eye(len(states))[index[VILLAGE - 2, 2]]
    found = np.array(list(accumulate(ts[1:], lambda now, _: step @ now, initial=start)))
    return np.stack([[i for _, i in states], [i == 0 for _, i in states]]) @ found.T


ts, paths = np.linspace(0.0, 50.0, 51), 8192
options = {"calculus": ag.Stochastic(dt=0.01), "key": jax.random.key(0)}
fan = ag.ensemble(epidemic(), ts, paths=paths, **options)
drawn, exact = np.stack([fan["ill"], fan["ill"] == 0]), master_equation(ts)
away = (drawn.mean(axis=1) - exact)[:, 1:] / drawn.std(axis=1)[:, 1:] * np.sqrt(paths)
worst = np.abs(away).max(axis=1)
print(f"in standard errors, the mean is {worst[0]:.2f} off and the chance of none {worst[1]:.2f}")
assert worst.max() < 4  # of 100 normal numbers one is past 4 with a chance below a hundredth
_, axes = plt.subplots()
fan.plot("ill", paths=4, ax=axes)
axes.plot(ts, exact[0], "k--", label="mean, by the master equation")
axes.set(xlabel="time (days)", ylabel="people who are ill")
axes.legend()
plt.show()
