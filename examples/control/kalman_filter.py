"""
A Kalman filter
===============

A filter that follows a moving body by noisy measurements of its place. Two delays hold the mean and
the covariance of what is known, and ``ag.Discrete`` runs the recursion. The reference knows no
recursion: it conditions a Gaussian of all samples on all measurements up to each time.
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import asgard as ag

jax.config.update("jax_enable_x64", True)

move = np.array([[1.0, 1.0], [0.0, 1.0]])  # place and speed, a unit of time later
kicks = 0.02 * np.array([[1 / 3, 1 / 2], [1 / 2, 1.0]])
begin, noise = np.diag([4.0, 1.0]), 4.0


@ag.circuit
def kalman(measured, *, move=move, kicks=kicks, noise=noise):
    mean, spread = ag.delay("n", jnp.zeros(2)), ag.delay("n", begin)
    x, p = move @ mean, move @ spread @ move.T + kicks  # predicted
    gain = p[:, 0] / (p[0, 0] + noise)
    mean.input, spread.input = x + gain * (measured - x[0]), p - jnp.outer(gain, p[0])
    return {"state": x + gain * (measured - x[0]), "variance": (1 - gain[0]) * p[0, 0]}


count, rng = 60, np.random.default_rng(1)
place = np.cumsum(np.cumsum(rng.normal(0, 0.15, count)))
data = place + rng.normal(0, 2, count)
run = ag.simulate(kalman(), range(count), inputs=(ag.Samples(data),), calculus=ag.Discrete())
known, r = run["state"][:, 0], range(count)

# %%
# The covariance of state n and measurement m is that of state m, moved from m to n.
states = [move @ begin @ move.T + kicks]
for _ in r:
    states.append(move @ states[-1] @ move.T + kicks)
moved = [np.linalg.matrix_power(move, n) for n in r]
cross = np.array([[moved[max(n - m, 0)] @ states[m][:, 0] for m in r] for n in r])
lower = np.tril(cross[:, :, 0])
seen = lower + np.tril(lower, -1).T + noise * np.eye(count)
exact = [cross[n, : n + 1].T @ np.linalg.solve(seen[: n + 1, : n + 1], data[: n + 1]) for n in r]
error = jnp.abs(run["state"] - jnp.array(exact)).max()
print(f"largest error {error:.1e}")
assert error < 1e-10  # the matrix of the reference has a condition of some thousands

axes, spread = plt.figure(layout="constrained").subplots(), 2 * jnp.sqrt(run["variance"])
axes.plot(data, ".", color="0.4", label="measured")
axes.plot(place, "k--", label="true place")
axes.plot(known, label="known by then, within two deviations")
axes.fill_between(r, known - spread, known + spread, alpha=0.25)
axes.set(title="A body followed by a Kalman filter", xlabel="sample", ylabel="place")
axes.legend()
plt.show()
