"""
A Markov chain comes to rest
============================

The weather of tomorrow depends on that of today. The distribution over days is a recurrence of a
vector; where it comes to rest is an eigenvector of the transition matrix, which NumPy finds. The
second eigenvalue says how fast.
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import asgard as ag

jax.config.update("jax_enable_x64", True)

STATES = ("sunny", "cloudy", "rainy")
chances = jnp.array([[0.8, 0.15, 0.05], [0.3, 0.4, 0.3], [0.2, 0.4, 0.4]])  # from row to column


def tomorrow(n, today, *, chances):
    return today @ chances


weather = ag.recurrence(tomorrow, jnp.array([0.0, 0.0, 1.0]), chances=chances)
days = jnp.arange(21)
shares = ag.simulate(weather, days, calculus=ag.Discrete())["y"]

values, vectors = np.linalg.eig(np.asarray(chances).T)
order = np.argsort(-np.abs(values))
rest = vectors[:, order[0]] / vectors[:, order[0]].sum()
second = np.abs(values[order[1]])
away = jnp.linalg.norm(shares - rest, axis=1)
print(f"after 20 days {shares[-1].round(6)}, at rest {rest.round(6)}")
print(f"the distance falls by {away[16] / away[15]:.6f} a day, by NumPy {second:.6f}")
# The third eigenvalue is 0.045, so that after 15 days the second is all that is left.
assert abs(away[16] / away[15] - second) < 1e-9
assert jnp.max(jnp.abs(shares[-1] - rest)) < 1.1 * second**20
assert jnp.allclose(shares.sum(axis=1), 1.0, rtol=0, atol=1e-14)

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
for name, share, level in zip(STATES, shares.T, rest, strict=True):
    (line,) = left.plot(days, share, ".-", label=name)
    left.axhline(level, color=line.get_color(), linewidth=0.8, linestyle="--")
left.set(xlabel="day", ylabel="probability", title="After a rainy day; dashed: at rest")
left.legend()
right.semilogy(days, away, "o", label="distance from rest")
right.semilogy(days, away[5] * second ** (days - 5.0), label="second eigenvalue")
right.set(xlabel="day", title="How fast the start is forgotten")
right.legend()
plt.show()
