"""
Stick and slip
==============

A block on a moving belt is held by a spring. It sticks to the belt until the spring pulls harder
than static friction holds, slips back under the weaker kinetic friction, and sticks again where it
is as fast as the belt: so a bow moves a string. Both phases have closed forms, and so has the
period.
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt

import asgard as ag

jax.config.update("jax_enable_x64", True)


@ag.circuit
def block(*, belt=0.2, stiffness=4.0, static=1.0, kinetic=0.6):
    x, v, sticks = ag.register("t", 0.0), ag.reset("t", belt), ag.reset("t", 1.0)
    x.input = v
    pull = jnp.where(sticks > 0.5, 0.0, kinetic - stiffness * x)  # of a mass of 1
    change = jnp.where(sticks > 0.5, stiffness * x - static, v - belt)  # rises through zero
    v.input = pull, change, belt
    sticks.input = 0.0, change, 1.0 - sticks
    return {"x": x, "v": v, "sticks": sticks}


slips = ag.Event(lambda t, wires: 0.5 - wires["sticks"], direction=1, name="slips")


def period(static):
    run = ag.simulate(block(static=static), [0.0, 20.0], events=slips)
    return jnp.diff(run.events["slips"].times[:2])[0]


# %%
# The block slips about the place where kinetic friction balances the spring, by d to each side. On
# its circle of positions and speeds that is half a turn and two arcs; then it sticks for 2 d /
# belt.
def by_hand(static, belt=0.2, stiffness=4.0, kinetic=0.6):
    d, w = (static - kinetic) / stiffness, jnp.sqrt(stiffness)
    return (jnp.pi + 2 * jnp.arctan(belt / (w * d))) / w + 2 * d / belt


(found, slope), exact = jax.value_and_grad(period)(1.0), jax.value_and_grad(by_hand)(1.0)
print(f"period {found:.12f}, error {abs(found - exact[0]):.1e}")
print(f"its slope by the static friction {slope:.12f}, error {abs(slope - exact[1]):.1e}")
assert abs(found - exact[0]) < 1e-13  # events are located to a few roundings
assert abs(slope - exact[1]) < 1e-12

run = ag.simulate(block(), jnp.linspace(0.0, 12.0, 1201))
axes = run.plot("x", "v")
axes.set(title="A block that sticks to a belt, and slips")
plt.show()
