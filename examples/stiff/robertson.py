"""
Robertson's reactions over eleven decades
=========================================

Three reactions whose rates differ by nine powers of ten (H. H. Robertson, 1966), a classic of stiff
systems. ``ag.Radau`` takes some hundred implicit steps from 10⁻⁵ to 10¹¹. The reference are the
numbers of Hairer and Wanner, *Solving Ordinary Differential Equations II*, at the end.
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt

import asgard as ag

jax.config.update("jax_enable_x64", True)

reactions = ag.equations(
    """
    diff(a, t) = -slow*a + middle*b*c
    diff(b, t) = slow*a - middle*b*c - fast*b^2
    diff(c, t) = fast*b^2
    """,
    parameters={"slow": 0.04, "middle": 1e4, "fast": 3e7},
    initial={"a": 1.0},
)

# %%
# ``atol`` says from what size on each amount matters: b is never above 4e-5.
radau = ag.Real(
    method=ag.Radau(7), rtol=1e-11, atol={"a": 1e-18, "b": 1e-22, "c": 1e-18}, max_steps=4096
)
ts = jnp.concatenate([jnp.zeros(1), jnp.logspace(-5, 11, 161)])
run = ag.simulate(reactions, ts, calculus=radau)

reference = {"a": 0.2083340149701255e-07, "b": 0.8333360770334713e-13, "c": 0.9999999791665050}
errors = [abs(run[name][-1] / value - 1) for name, value in reference.items()]
mass = jnp.abs(sum(run.outputs) - 1).max()
print("relative errors {:.1e}, {:.1e}, {:.1e}".format(*errors))
print(f"mass kept to {mass:.1e}, in {run.stats['steps']} steps")
assert max(errors) < 1e-10  # 313 steps of 1e-11
assert mass < 1e-15  # the equations cancel, to a rounding of 1

axes = plt.figure(layout="constrained").subplots()
for name, factor in (("a", 1), ("b", 1e4), ("c", 1)):
    label = name if factor == 1 else f"{factor:,.0f} {name}"
    axes.semilogx(ts[1:], factor * run[name][1:], label=label)
axes.set(title="Robertson's reactions", xlabel="t", ylabel="amount")
axes.legend()
plt.show()
