"""
A reaction that goes both ways
==============================

A and B join to C, and C comes apart again. One circuit gives the way under ``ag.Real`` and the rest
under ``ag.Steady``. By the law of mass action both have a closed form.
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt

import asgard as ag

jax.config.update("jax_enable_x64", True)


@ag.circuit
def reaction(*, join=2.0, part=0.5, a=1.0, b=1.7):
    c = ag.register("t", 0.0)
    c.input = join * (a - c) * (b - c) - part * c
    return {"A": a - c, "B": b - c, "C": c}


def rests(join, part, a, b):
    """The two roots c of join (a - c) (b - c) = part c."""
    half = (a + b + part / join) / 2
    root = jnp.sqrt(half**2 - a * b)
    return half - root, half + root


# %%
# c' = join (c - less) (c - more), by partial fractions.
ts = jnp.linspace(0.0, 2.0, 61)
run = ag.simulate(reaction(), ts)
less, more = rests(2.0, 0.5, 1.0, 1.7)
decay = jnp.exp(-2.0 * (more - less) * ts)
exact = less * more * (1 - decay) / (more - less * decay)
error = jnp.max(jnp.abs(run["C"] - exact))
print(f"largest error on the way {error:.1e}")
assert error < 1e-15  # some units in the last digit of numbers below 1


# %%
# At rest, and how that moves with a constant: by the implicit function theorem, without a long run.
def rest(part):
    return ag.simulate(reaction(part=part), [0.0], calculus=ag.Steady())["C"][0]


value, slope = jax.value_and_grad(rest)(0.5)
exact_slope = jax.grad(lambda part: rests(2.0, part, 1.0, 1.7)[0])(0.5)
print(f"at rest {value:.6f}, error {value - less:.1e}, of the slope {slope - exact_slope:.1e}")
assert abs(value - less) < 1e-15
assert abs(slope - exact_slope) < 1e-14

axes = run.plot(units={"time": "min"})
axes.set(ylabel="concentration (mol/l)", title="A + B ⇌ C; dotted: C at rest")
axes.axhline(float(less), color="0.4", linestyle=":")
plt.show()
