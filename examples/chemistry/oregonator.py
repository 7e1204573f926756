"""
The Oregonator
==============

The Belousov–Zhabotinsky reaction turns from red to blue and back by itself. Field and Noyes's model
(1974) of it has three substances, whose amounts span six decades and change within seconds after
minutes of rest: a stiff problem, for ``ag.Radau``. The reference is SciPy's Radau.
"""

import jax
import matplotlib.pyplot as plt
import numpy as np
from scipy.integrate import solve_ivp

import asgard as ag

jax.config.update("jax_enable_x64", True)


@ag.circuit
def oregonator(*, s=77.27, w=0.161, q=8.375e-6):
    acid, bromide, cerium = (ag.register("t", start) for start in (1.0, 2.0, 3.0))
    acid.input = s * (bromide + acid * (1 - q * acid - bromide))
    bromide.input = (cerium - (1 + acid) * bromide) / s
    cerium.input = w * (acid - cerium)
    return {"acid": acid, "bromide": bromide, "cerium": cerium}


ts = np.linspace(0.0, 800.0, 801)
stiff = ag.Real(method=ag.Radau(), rtol=1e-9, atol=1e-12)
flash = ag.Event(lambda t, wires: wires["acid"] - 1e3, name="flash", direction=1)
run = ag.simulate(oregonator(), ts, calculus=stiff, events=flash)


# %%
# The same by SciPy.
def by_hand(t, y, s=77.27, w=0.161, q=8.375e-6):
    acid, bromide, cerium = y
    first = s * (bromide + acid * (1 - q * acid - bromide))
    return first, (cerium - (1 + acid) * bromide) / s, w * (acid - cerium)


options = {"method": "Radau", "rtol": 1e-9, "atol": 1e-12, "t_eval": ts}
reference = solve_ivp(by_hand, (0.0, ts[-1]), (1.0, 2.0, 3.0), **options).y
error = np.max(np.abs(np.array(run.outputs) / reference - 1))
times = run.events["flash"].times[:3]
print(f"largest relative error {error:.1e}, flashes at {times.round(3)} s")
assert error < 1e-7  # both have 1e-9 a step; where a flash is steep, its time counts
assert abs((times[2] - times[1]) / (times[1] - times[0]) - 1) < 1e-6  # a limit cycle

_, axes = plt.subplots(layout="constrained")
axes.plot(ts[::10], reference[:, ::10].T, "k.", markersize=3)
run.plot(ax=axes, units={"time": "s"})
axes.set(yscale="log", ylabel="amount (scaled)", title="Three flashes; dots: SciPy")
plt.show()
