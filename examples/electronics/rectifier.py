"""
A rectifier: a diode that charges a capacitor
=============================================

A source drives a diode, with a resistor before it, into a capacitor with a load. The diode's
voltage is on a loop without registers, an equation that ``ag.Radau`` solves together with its
steps. The reference solves it in closed form, by Lambert's W, and steps with SciPy's LSODA.
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import scipy.integrate
import scipy.special

import asgard as ag

jax.config.update("jax_enable_x64", True)


def source(t):  # volts, at 50 Hz; times are in ms, currents in mA, resistances in kilo-ohms
    return 5 * jnp.sin(2 * jnp.pi * t / 20)


@ag.circuit
def rectifier(drive, *, resistor=0.05, load=1.0, capacity=40.0, saturation=1e-9, thermal=0.05):
    voltage, drop = ag.register("t", 0.0), ag.unknown()
    current = saturation * jnp.expm1(drop / thermal)
    drop.input = drive - voltage - resistor * current  # what is left for the diode
    voltage.input = (current - voltage / load) / capacity
    return {"voltage": voltage, "current": current}


ts = jnp.linspace(0.0, 60.0, 1201)
radau = ag.Real(method=ag.Radau(), rtol=1e-9, atol=1e-9)
run = ag.simulate(rectifier(), ts, inputs=(source,), calculus=radau)


# %%
# With the thermal voltage V and the saturation current I, R i = V W(x) - R I.
def by_hand(t, v):
    scale = 0.05 * 1e-9 / 0.05
    x = scale * np.exp((source(t) - v + 0.05 * 1e-9) / 0.05)
    return (scipy.special.lambertw(x).real / scale * 1e-9 - 1e-9 - v) / 40


tight = {"method": "LSODA", "t_eval": ts, "rtol": 1e-11, "atol": 1e-12, "max_step": 0.1}
reference = scipy.integrate.solve_ivp(by_hand, (0, 60), [0.0], **tight).y[0]
error = jnp.abs(run["voltage"] - reference).max()
print(f"largest difference {error:.1e} V, in {run.stats['steps']} steps")
assert error < 1e-7  # steps of 1e-9, as errors die away while the diode conducts

axes = plt.figure(layout="constrained").subplots()
axes.plot(ts, run["voltage"], label="capacitor")
axes.plot(ts, source(ts), "k:", label="source")
axes.plot(ts, run["current"] / 10, color="0.5", label="current (10 mA)")
axes.set(title="A rectifier", xlabel="time (ms)", ylabel="voltage (V)", ylim=(-7, 6))
axes.legend(loc="lower center", ncols=3)
plt.show()
