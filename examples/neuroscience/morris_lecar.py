"""
How fast a neuron fires
=======================

Morris and Lecar's neuron (1981) can fire at any slow rate: past the last current with a rest its
rate grows as a root. A batch of runs gives the rates; that current has a closed form.
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt

import asgard as ag

jax.config.update("jax_enable_x64", True)


def opened(v):  # the shares of open channels for calcium and potassium
    return (1 + jnp.tanh((v + 1.2) / 18)) / 2, (1 + jnp.tanh((v - 12) / 17.4)) / 2


def through(v, w):
    return 4 * opened(v)[0] * (v - 120) + 8 * w * (v + 84) + 2 * (v + 60)


@ag.circuit
def neuron(current):
    v, w = ag.register("t", -40.0), ag.register("t", 0.0)
    v.input = (current - through(v, w)) / 20
    w.input = 0.067 * jnp.cosh((v - 12) / 34.8) * (opened(v)[1] - w)
    return {"v": v, "w": w}


# At rest w is what v calls for. The current has its local maximum near -30 mV.
rests = jnp.linspace(-40.0, -20.0, 100_001)
onset = jnp.max(through(rests, opened(rests)[1]))
spike, loose = ag.Event("v", name="spike", direction=1), ag.Real(rtol=1e-9)


@jax.jit
@jax.vmap
def rate(current):  # spikes a second, from the last two of ten seconds
    run = ag.simulate(neuron(), [0.0, 1e4], inputs=(current,), events=spike, calculus=loose)
    found = run.events["spike"]
    return jnp.where(found.count < 2, 0.0, 1e3 / jnp.diff(found.times)[found.count - 2])


above = jnp.array([-0.5, -0.01, 0.01, 0.02, 0.1, 0.3, 1.0, 2.0, 4.0, 7.0, 12.0, 20.0])
rates = rate(onset + above)
first, second = rates[2:4] ** 2
zero = 0.01 * (second - 2 * first) / (second - first)  # where the line of both squares is 0
print(f"onset at a current of {onset:.4f}; by the squares of rates near it {onset + zero:.4f}")
assert abs(zero) < 1e-3  # squares are straight to some hundredths, over currents of 0.01
_, axes = plt.subplots()
axes.plot(onset + above, rates, "o-", label="rates of runs")
axes.plot(onset + above[2:], jnp.sqrt(first * above[2:] / 0.01), "--", label="a root")
axes.axvline(onset, color="0.4", linestyle=":", label="no rest from here on")
axes.set(xlabel="current (µA/cm²)", ylabel="spikes a second", ylim=(-1, 22))
axes.legend()
plt.show()
