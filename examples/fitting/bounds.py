"""
Numbers with bounds
===================

Two decays overlap, and data cannot say which of them is called the fast one. ``ag.Bounded`` keeps
numbers where they are meant to be. The reference is SciPy's ``least_squares`` with bounds.
"""

import jax
import matplotlib.pyplot as plt
import numpy as np
from scipy.optimize import least_squares

import asgard as ag

jax.config.update("jax_enable_x64", True)


@ag.circuit
def activity(*, share, fast, slow):
    one, two = ag.register("t", share), ag.register("t", 1.0 - share)
    one.input, two.input = -fast * one, -slow * two
    return one + two


def model(circuit, ts):
    return ag.simulate(circuit, ts, calculus=ag.Real(rtol=1e-10, max_steps=256)).output


def residuals(circuit, ts, data):
    return model(circuit, ts) - data


def exact(share, fast, slow):
    return share * np.exp(-fast * ts) + (1 - share) * np.exp(-slow * ts)


ts = np.linspace(0.0, 4.0, 41)
data = exact(0.7, 3.0, 0.4) + 0.01 * np.random.default_rng(0).normal(size=41)

# %%
# From one start the rates end exchanged. Bounds say which is which.
free = activity(share=0.5, fast=0.9, slow=1.1)
bounded = (ag.Bounded(0.5, 0.0, 1.0), ag.Bounded(1.1, 1.0, 30.0), ag.Bounded(0.9, 0.0, 1.0))
held = activity(share=bounded[0], fast=bounded[1], slow=bounded[2])
fits = [ag.fit_residuals(start, residuals, args=(ts, data), steps=50) for start in (free, held)]
found = [np.array(list(ag.parameters(fit.circuit).values())) for fit in fits]
print(f"share, fast, slow without bounds {found[0].round(4)}, with bounds {found[1].round(4)}")

options = {"bounds": ([0, 1, 0], [1, 30, 1]), "xtol": 1e-12, "ftol": 1e-12}
optimum = least_squares(lambda p: exact(*p) - data, (0.5, 1.1, 0.9), **options).x
assert np.allclose(found[1], optimum, rtol=1e-6)  # the sum of squares is flat there to 1e-12
assert np.allclose(found[0], [1 - optimum[0], optimum[2], optimum[1]], rtol=1e-6)

known = ag.uncertainty(fits[1].circuit, residuals, args=(ts, data))
fits[1].plot_data(model, ts, data, uncertainty=known).set_ylabel("activity")
plt.show()
