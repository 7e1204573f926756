"""
Fibonacci's rabbits
===================

A recurrence is a circuit with delays, and runs under ``ag.Discrete``. Binet's formula is the
reference: f(n) is the power n of the golden ratio over the root of 5, rounded. The same circuit is
linear, so an associative scan runs it in parallel over samples.
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt

import asgard as ag

jax.config.update("jax_enable_x64", True)

rabbits = ag.equations(
    "f = delay(f) + delay(delay(f))", initial={"delay(f)": 0.0, "delay(delay(f))": 1.0}
)
n = jnp.arange(1, 71)
found = ag.simulate(rabbits, n, calculus=ag.Discrete())["f"]
parallel = ag.simulate(rabbits, n, calculus=ag.Discrete(parallel=True))["f"]

ratio = (1 + jnp.sqrt(5.0)) / 2
binet = jnp.round(ratio**n / jnp.sqrt(5.0))
print(f"f(70) = {found[-1]:.0f}, by Binet's formula {binet[-1]:.0f}")
# Sums of whole numbers below 2^53 are exact. The power of a rounded ratio is, up to n = 70.
assert jnp.array_equal(found, binet)
assert jnp.array_equal(parallel, found)

# %%
# Neighbours' ratio comes to the golden one, from both sides in turn.
figure, axes = plt.subplots(layout="constrained")
ratios = found[1:] / found[:-1]
axes.semilogy(n[1:36], jnp.abs(ratios - ratio)[:35], "o", label="|f(n) / f(n - 1) - golden ratio|")
axes.semilogy(n[1:36], jnp.sqrt(5.0) * ratio ** (-2.0 * n[:35]), label="√5 / golden ratio^(2n - 2)")
axes.set(xlabel="n", title="Ratios of neighbours in Fibonacci's sequence")
axes.legend()
plt.show()
