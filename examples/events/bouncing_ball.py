"""
A bouncing ball
===============

The speed is a state that an event resets: where the height falls through zero it turns, and keeps
the part e. The times of the bounces are a geometric series, and so are known, with their
derivatives by e. The ball rests at last after infinitely many bounces, which the run notices.
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt

import asgard as ag

jax.config.update("jax_enable_x64", True)


@ag.circuit
def ball(*, e=0.8, gravity=9.81):
    height, speed = ag.register("t", 1.0), ag.reset("t", 0.0)
    height.input = speed
    speed.input = -gravity, -height, -e * speed  # rate, trigger, value after it
    return {"height": height, "speed": speed}


bounce = ag.Event("height", direction=-1, name="bounce")
first = jnp.sqrt(2 / 9.81)  # the fall from a height of 1


def bounces(e, count=10):
    run = ag.simulate(ball(e=e), [0.0, 3.7], events=bounce)
    return run.events["bounce"].times[:count]


def by_hand(e, count=10):
    """The first fall, and then up and down at speeds that are a power of e each."""
    return first * (2 * jnp.cumsum(e ** jnp.arange(count)) - 1)


errors = [jnp.abs(f(bounces)(0.8) - f(by_hand)(0.8)).max() for f in (lambda g: g, jax.jacfwd)]
print(f"largest error of ten times {errors[0]:.1e}, of their derivatives {errors[1]:.1e}")
assert errors[0] < 1e-13  # seconds: some roundings a bounce
assert errors[1] < 1e-11  # derivatives are sums over all bounces before

# %%
# The series ends at first * (1 + e) / (1 - e).
ts = jnp.linspace(0.0, 5.0, 1001)
options = {"calculus": ag.Real(max_events=2000), "throw": False}
run = ag.simulate(ball(), ts, events=bounce, **options)
print(f"at rest after {run.reached:.9f} s")
assert run.status == ag.Status.zeno
assert abs(run.reached - first * 9) < 1e-6

axes = run.plot("height", units={"height": "m", "time": "s"})
axes.set(title="A bouncing ball")
plt.show()
