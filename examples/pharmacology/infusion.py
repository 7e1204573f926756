"""
An infusion in two compartments
===============================

A drug runs into the blood for an hour, four times a day, and passes between blood and tissue. The
infusion is a pulse: steps end where it switches. The reference are matrix exponentials, by SciPy.
"""

import jax
import matplotlib.pyplot as plt
import numpy as np
from scipy.linalg import expm

import asgard as ag

jax.config.update("jax_enable_x64", True)
RATES = {"k": 0.2, "into": 0.6, "back": 0.3}

patient = ag.equations(
    """
    infusion = dose*pulse(6, 1/6)          # an hour of six
    diff(blood, t) = infusion - k*blood - into*blood + back*tissue
    diff(tissue, t) = into*blood - back*tissue
    """,
    parameters={"dose": 100.0, **RATES},
)
ts = np.linspace(0.0, 48.0, 481)
run = ag.simulate(patient, ts)

# %%
# From one switch to the next the system is linear, with a constant beside it.
k, into, back = RATES.values()
matrix = np.array([[-k - into, back, 100.0], [into, -back, 0.0], [0.0, 0.0, 0.0]])
steps = {on: expm(0.1 * matrix * [1, 1, on]) for on in (0, 1)}
y, exact = np.array([0.0, 0.0, 1.0]), []
for n in range(len(ts)):
    exact.append(y[:2])
    y = steps[n % 60 < 10] @ y
exact = np.array(exact).T
error = np.max(np.abs(np.array([run["blood"], run["tissue"]]) - exact))
print(f"largest error {error:.1e} mg, in {run.stats['steps']} steps")
assert error < 1e-10  # of amounts of a hundred: a pulse begins some last digits early

_, axes = plt.subplots(layout="constrained")
axes.plot(ts[::8], exact[:, ::8].T, "k.", markersize=4)
run.plot("blood", "tissue", ax=axes, units={"time": "h"})
axes.set(title="One hour of infusion every six; dots: exact", ylabel="amount (mg)")
axes.set_xticks(range(0, 49, 6))
plt.show()
