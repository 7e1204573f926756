"""
One circuit under three calculi
===============================

Everything but the registers acts at each point by itself; a calculus says what a register does. So
one circuit is e^(mu t) under ``ag.Real``, (1 + mu)^n under ``ag.Discrete``, and with its noise
under ``ag.Stochastic`` geometric Brownian motion. All three have closed forms.
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt

import asgard as ag

jax.config.update("jax_enable_x64", True)


@ag.circuit
def growth(*, mu=0.1, sigma=0.3):
    steady, noisy = ag.register("t", 1.0), ag.stochastic_register("t", "W")
    x = steady + noisy
    steady.input, noisy.input = mu * x, sigma * x
    return {"x": x}


ts = jnp.arange(6.0)
real = ag.simulate(growth(), ts, calculus=ag.Real(noise="off"))
discrete = ag.simulate(growth(), ts, calculus=ag.Discrete(noise="off"))
paths, noise = 20_000, ag.Stochastic(steps=20, method="milstein", commutative=True)
stochastic = ag.ensemble(growth(), ts, calculus=noise, key=jax.random.key(0), paths=paths)

# %%
# The mean of the paths is e^(mu t), but for the noise of a mean, and an error of Milstein's steps
# which is smaller: (1 + mu h)^n in place of e^(mu t).
mean, exact = stochastic["x"].mean(axis=0), jnp.exp(0.1 * ts)
deviation = exact * jnp.sqrt((jnp.exp(0.3**2 * ts) - 1) / paths)
errors = (
    jnp.abs(real["x"] - exact).max(),
    jnp.abs(discrete["x"] - 1.1**ts).max(),
    jnp.abs(mean - exact).max(),
)
print("largest errors, Real {:.1e}, Discrete {:.1e}, mean of paths {:.1e}".format(*errors))
assert errors[0] < 1e-14  # some roundings of numbers up to 1.7
assert errors[1] < 1e-14
assert jnp.all(jnp.abs(mean - exact) <= 4 * deviation)

axes = stochastic.plot("x")
real.plot("x", ax=axes, label="Real: e^(mu t)")
discrete.plot("x", ax=axes, label="Discrete: (1 + mu)^n")
axes.set(title="One circuit under three calculi", xlabel="t")
plt.show()
