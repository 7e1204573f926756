"""The Mackey-Glass equation by delays against SciPy's DOP853, chained by intervals.

x' = 0.2 x(t - 17) / (1 + x(t - 17)^10) - 0.1 x from the history 1.2 to t = 500, and its gradient by
four numbers, the delay among them. SciPy's run is what a user would write without delays: a solve
of each interval of one delay, which reads the dense output of the one before.

Errors are those of x(500), beside Taylor steps of order 24. A run in float64 loses about a digit in
150 units of time here, as the equation is chaotic.
"""

import bisect
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import timing
from jax import Array
from scipy.integrate import solve_ivp

import asgard as ag

LAG, END = 17.0, 500.0
NUMBERS = (LAG, 0.2, 0.1, 1.2)
CALCULI = {
    "Taylor, default": ag.Real(max_steps=1023),
    "Dopri8, 1e-10": ag.Real(method=ag.Dopri8(), rtol=1e-10, atol=1e-12, max_steps=1023),
    "Dopri8, 1e-6": ag.Real(method=ag.Dopri8(), rtol=1e-6, atol=1e-8, max_steps=1023),
    "Tsit5, 1e-6": ag.Real(method=ag.Tsit5(), rtol=1e-6, atol=1e-8, max_steps=1023),
}


@ag.circuit
def mackey_glass(*, lag: Any, growth: Any, decay: Any, history: Any) -> Array:
    """White blood cells, which are made by their number some days ago."""
    x, late = ag.register("t", history), ag.delay("t", history, by=lag)
    late.input = x
    x.input = growth * late / (1 + late**10) - decay * x
    return x


def last(numbers: Array, calculus: ag.Real) -> Array:
    """x at the end."""
    lag, growth, decay, history = numbers
    circuit = mackey_glass(lag=lag, growth=growth, decay=decay, history=history)
    return ag.simulate(circuit, [0.0, END], calculus=calculus, throw=False).output[-1]


def chained(rtol: float) -> Callable[[], float]:
    """x at the end, by a solve for each interval of one delay."""
    lag, growth, decay, history = NUMBERS

    def run() -> float:
        ends, pieces, x = [], [], np.array([history])

        def rate(t: float, x: np.ndarray) -> np.ndarray:
            s = t - lag
            late = history if s <= 0 else pieces[bisect.bisect_left(ends, s)](s)[0]
            return growth * late / (1 + late**10) - decay * x

        begin = 0.0
        while begin < END:
            end = min(begin + lag, END)
            found = solve_ivp(
                rate, (begin, end), x, "DOP853", dense_output=True, rtol=rtol, atol=rtol / 100
            )
            ends.append(end)
            pieces.append(found.sol)
            x, begin = found.y[:, -1], end
        return float(x[0])

    return run


def main() -> None:
    jax.config.update("jax_enable_x64", True)
    numbers = jnp.array(NUMBERS)
    exact = float(last(numbers, ag.Real(order=24)))
    runs: dict[str, Callable[[], Any]] = {}
    for name, calculus in CALCULI.items():
        run = jax.jit(functools.partial(last, calculus=calculus))
        runs[name] = functools.partial(run, numbers)
    for rtol in (1e-10, 1e-6):
        runs[f"SciPy chained, {rtol:.0e}"] = chained(rtol)
    found = timing.interleaved(runs)
    print(timing.setting(), end="\n\n")
    print("| run to t = 500 | time | error |\n|---|---|---|")
    for name, seconds in found.items():
        error = abs(float(runs[name]()) - exact)
        print(f"| {name} | {timing.duration(seconds)} | {error:.1e} |")
    value = functools.partial(last, calculus=CALCULI["Taylor, default"])
    slopes = {
        "value": jax.jit(value),
        "forward": jax.jit(jax.jacfwd(value)),
        "reverse": jax.jit(jax.grad(value)),
    }
    times = timing.interleaved({k: functools.partial(run, numbers) for k, run in slopes.items()})
    for name, seconds in times.items():
        print(f"{name}: {timing.duration(seconds)}")


if __name__ == "__main__":
    main()
