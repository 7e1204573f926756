"""
A PID controller whose output is limited
========================================

A heater gives no more than its full power. While it does, the integral of a PI controller winds up,
and the temperature overshoots; leading the excess back to the integral prevents that. The limit is
an event of the run. SciPy's DOP853 is the reference.
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import scipy.integrate

import asgard as ag

jax.config.update("jax_enable_x64", True)


@ag.circuit
def controller(error, *, proportional=4.0, integral=6.0, back=0.0):
    """Proportional and integral, with a limit; ``back`` is how fast the integral forgets excess."""
    total = ag.register("t", 0.0)
    wanted = proportional * error + total
    given = jnp.clip(wanted, 0.0, 1.0)
    total.input = integral * error + back * (given - wanted)
    return given


@ag.circuit
def oven(target, *, control):
    temperature = ag.register("t", 0.0)
    power = control(target - temperature)
    temperature.input = power - temperature
    return {"temperature": temperature, "power": power}


def by_hand(t, y, back):
    wanted = 4 * (0.8 - y[0]) + y[1]
    given = np.clip(wanted, 0, 1)
    return [given - y[0], 6 * (0.8 - y[0]) + back * (given - wanted)]


# %%
# SciPy sees no events, so its steps are kept short.
ts = jnp.linspace(0.0, 8.0, 801)
tight = {"t_eval": ts, "method": "DOP853", "rtol": 1e-12, "atol": 1e-12, "max_step": 0.01}
above, below = plt.figure(layout="constrained").subplots(2, 1, sharex=True)
for name, back in (("winds up", 0.0), ("excess led back", 10.0)):
    run = ag.simulate(oven(control=controller(back=back)), ts, inputs=(0.8,))
    reference = scipy.integrate.solve_ivp(by_hand, (0, 8), [0, 0], args=(back,), **tight).y[0]
    error = jnp.abs(run["temperature"] - reference).max()
    print(f"{name}: up to {run['temperature'].max():.4f}, from SciPy's {error:.1e}")
    assert error < 1e-9  # a step of SciPy's goes over the limit without noticing
    run.plot("temperature", ax=above, label=name).set(
        title="An oven under a PI controller", xlabel=""
    )
    run.plot("power", ax=below, label=name).set(xlabel="time")
plt.show()
