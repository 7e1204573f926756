"""What a call costs besides the steps of a run: the Lorenz system for a thousandth of a second.

Called from outside, as in a notebook, and inside of `jax.jit`, against diffrax and SciPy. Each run
takes a step or a few. With the word `direct`, JAX runs programs in the thread that calls them.
"""

import sys
from collections.abc import Callable
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import scipy.integrate
import timing
from jax import Array

import asgard as ag

TIMES = np.array([0.0, 1e-3])
START = (1.0, 1.0, 1.0)
TOLERANCE = 1e-6


def rates(t: Any, y: Any, args: Any = None) -> list[Any]:
    """The Lorenz system."""
    a, b, c = y
    return [10.0 * (b - a), a * (28.0 - c) - b, a * b - 8.0 / 3.0 * c]


def calls() -> dict[str, Callable[[], Any]]:
    """What is timed, by name."""
    circuit = ag.ode(lambda t, y: jnp.stack(rates(t, y)), jnp.array(START))
    tight, loose = ag.Real(), ag.Real(rtol=TOLERANCE)
    first = jax.jit(lambda circuit: ag.simulate(circuit, TIMES, calculus=tight).outputs)
    second = jax.jit(lambda circuit: ag.simulate(circuit, TIMES, calculus=loose).outputs)
    term = diffrax.ODETerm(lambda t, y, args: jnp.stack(rates(t, y)))
    controller = diffrax.PIDController(rtol=TOLERANCE, atol=TOLERANCE)

    def solved(start: Array) -> Any:
        found = diffrax.diffeqsolve(
            *(term, diffrax.Tsit5(), TIMES[0], TIMES[1], TIMES[1], start),
            stepsize_controller=controller,
        )
        return found.ys

    start, solved_in_jit = jnp.array(START), jax.jit(solved)
    return {
        "asgard, Taylor at 1e-14": lambda: ag.simulate(circuit, TIMES, calculus=tight).outputs,
        "asgard, Dopri8 at 1e-6": lambda: ag.simulate(circuit, TIMES, calculus=loose).outputs,
        "asgard, Taylor, in jit": lambda: first(circuit),
        "asgard, Dopri8, in jit": lambda: second(circuit),
        "diffrax, Tsit5 at 1e-6": lambda: solved(start),
        "diffrax, Tsit5, in jit": lambda: solved_in_jit(start),
        "SciPy, RK45 at 1e-6": lambda: (
            scipy.integrate.solve_ivp(rates, TIMES, START, rtol=TOLERANCE, atol=TOLERANCE).y
        ),
    }


def main() -> None:
    seconds = timing.interleaved(calls(), rounds=25)
    least = min(second for name, second in seconds.items() if name.endswith("in jit"))
    rows = [
        [name, timing.duration(second), f"{second / least:.1f}"] for name, second in seconds.items()
    ]
    timing.print_table(["a call", "time", "times the shortest"], rows)


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    if "direct" in sys.argv[1:]:
        timing.stay_in_thread()
    print(timing.setting())
    main()
