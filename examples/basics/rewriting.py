"""
Equations changed by rules
==========================

A rule is a line, ``pattern => result``. The library's own work out derivatives and collect terms;
one of ours says a double angle. The equations before and after are two circuits of different size
with one solution, and the pendulum has one in closed form, by Jacobi's sine.
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import scipy.special

import asgard as ag

jax.config.update("jax_enable_x64", True)

text = """
speed = diff(angle + 0*angle, t)
diff(speed, t) = diff(int(-2*k*sin(angle/2)*cos(angle/2), t), t)
"""
rules = [ag.rules.calculus, ag.rules.arithmetic, "2*sin([X]/2)*cos([X]/2) => sin([X])"]
simpler = ag.rewrite(text, rules)
print(simpler)

# %%
# Both texts are circuits. A picture counts the boxes.
numbers = {"parameters": {"k": 9.81}, "initial": {"angle": 2.0}}
before, after = ag.equations(text, **numbers), ag.equations(simpler, **numbers)
print(ag.draw(before), ag.draw(after), sep="\n")

# %%
# sin(angle / 2) is s sn(sqrt(k) t + K), with s = sin(1) for a start at rest at 2.
ts = jnp.linspace(0.0, 3.0, 301)
first, second = (ag.simulate(circuit, ts)["angle"] for circuit in (before, after))
m = np.sin(1.0) ** 2
sn = scipy.special.ellipj(np.sqrt(9.81) * ts + scipy.special.ellipk(m), m)[0]
exact = 2 * jnp.arcsin(jnp.sqrt(m) * sn)
errors = jnp.abs(first - exact).max(), jnp.abs(second - exact).max()
print("largest errors {:.1e}, {:.1e}".format(*errors))
assert max(errors) < 1e-13  # some tens of steps, each within rounding

above, below = plt.figure(figsize=(9, 6), layout="constrained").subplots(2, 1)
ag.draw(before, ax=above)
ag.draw(after, ax=below)
above.set_title("As it was written")
below.set_title("As the rules leave it")
plt.show()
