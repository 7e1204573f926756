"""The ball and the thermostat of `events.py` in jaxonomy, which needs an environment of its own.

jaxonomy asks for an older JAX than ours. `pip install jaxonomy` in a new environment, run this
script there, and set its table beside that of `events.py`, made on the same machine.
"""

import logging
import statistics
import sys
import time
from importlib.metadata import version

import jax
import jax.numpy as jnp
import jaxonomy
import numpy as np
from jaxonomy import LeafSystem, SimulatorOptions

BOUNCES, RESTITUTION, GRAVITY = 30, 0.9, 9.81
CYCLES = 50
TOLERANCES = (1e-4, 1e-6, 1e-9)
REPEATS = 20


class Ball(LeafSystem):
    """Its state is the height, the speed and the time of the last bounce."""

    def __init__(self):
        super().__init__(name="ball")
        start = jnp.array([1.0, 0.0, 0.0])
        self.declare_continuous_state(default_value=start, ode=self.rates)
        self.declare_zero_crossing(
            guard=lambda time, state, **_: state.continuous_state[0],
            reset_map=self.bounce,
            direction="positive_then_non_positive",
            name="bounce",
        )

    def rates(self, time, state, **_):
        return jnp.array([state.continuous_state[1], -GRAVITY, 0.0])

    def bounce(self, time, state, **_):
        speed = -RESTITUTION * state.continuous_state[1]
        return state.with_continuous_state(jnp.array([0.0, speed, time]))


class Thermostat(LeafSystem):
    """Its state is the temperature, whether it heats, and the time of the last switch."""

    def __init__(self):
        super().__init__(name="thermostat")
        start = jnp.array([19.0, 1.0, 0.0])
        self.declare_continuous_state(default_value=start, ode=self.rates)
        for name, level, on in (("hot", 21.0, 0.0), ("cold", 19.0, 1.0)):
            sign = 1 if name == "hot" else -1
            self.declare_zero_crossing(
                guard=lambda time, state, level=level, sign=sign, **_: (
                    sign * (state.continuous_state[0] - level)
                ),
                reset_map=lambda time, state, on=on, **_: state.with_continuous_state(
                    jnp.array([state.continuous_state[0], on, time])
                ),
                direction="negative_then_non_negative",
                name=name,
            )

    def rates(self, time, state, **_):
        temperature, on, _ = state.continuous_state
        return jnp.array([10.0 + 20.0 * on - temperature, 0.0, 0.0])


def last_bounce():
    """The time of the last bounce, and one before the next."""
    flight = 2 * np.sqrt(2 / GRAVITY)
    last = flight / 2 + flight * sum(RESTITUTION**k for k in range(1, BOUNCES))
    return last, last + flight * RESTITUTION**BOUNCES / 2


def last_switch():
    """The time of the last switch, and one before the next."""
    half = np.log(11 / 9)
    return 2 * CYCLES * half, (2 * CYCLES + 0.5) * half


def measured(system, end, tolerance):
    """The last event's time, the median of the run's seconds, and those of the first call."""
    options = SimulatorOptions(
        rtol=tolerance, atol=tolerance, max_major_steps=400, precision="float64"
    )
    context = system.create_context()

    def run():
        begin = time.perf_counter()
        found = jaxonomy.simulate(system, context, (0.0, end), options=options)
        state = np.asarray(found.context.continuous_state)
        return state[2], time.perf_counter() - begin

    _, first = run()
    ends, seconds = zip(*(run() for _ in range(REPEATS)), strict=True)
    return ends[-1], statistics.median(seconds), first


def main():
    jax.config.update("jax_enable_x64", True)
    logging.disable(logging.INFO)
    names = ", ".join(f"{name} {version(name)}" for name in ("jaxonomy", "jax"))
    print(f"Python {sys.version.split()[0]}, {names}, {jax.devices()[0].platform}\n")
    print("| system | tolerance | error of the last event's time | run | first call |")
    print("|---|---|---|---|---|")
    for name, kind, (event, end) in (
        (f"ball, {BOUNCES} bounces", Ball, last_bounce()),
        (f"thermostat, {CYCLES} cycles", Thermostat, last_switch()),
    ):
        for tolerance in TOLERANCES:
            found, seconds, first = measured(kind(), end, tolerance)
            error = abs(found - event)
            row = (name, tolerance, f"{error:.1e}", f"{1e3 * seconds:.2f} ms", f"{first:.1f} s")
            print("| " + " | ".join(map(str, row)) + " |")


if __name__ == "__main__":
    main()
