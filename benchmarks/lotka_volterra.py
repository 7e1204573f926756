"""The Lotka-Volterra equations to t = 100 at 1e-6, and a gradient through them, against diffrax.

x' = a x - b x y, y' = -c y + d x y: hare and lynx. The gradient is that of a least-squares loss,
the sum of squared differences from records at 20 times, to a, b, c and d; diffrax takes it by its
default adjoint. Both sides have no more room for steps than they need, since reverse mode pays for
it. Errors are relative, against heyoka in 200 bits (the gradient's by the variational equations).
"""

from collections.abc import Callable
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import peers
import timing
from jax import Array

import asgard as ag

PARAMETERS = (0.55, 0.028, 0.8, 0.024)
START = (34.0, 5.9)
END = 100.0
RECORD_TIMES = tuple(5.0 * n for n in range(1, 21))
# The records come from a population of other parameters, counted to two decimals.
RECORDED = (0.56, 0.0275, 0.81, 0.0242)
TOLERANCES = (1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-10)
TOLERANCE = 1e-6
# Tsit5 goes by the tolerance; for us the order is a choice as well. Half the digits' natural
# logarithm is where Jorba and Zou put it, and a little more is no dearer here.
ORDER = 10
# Reverse mode pays by the step, so fewer and longer ones are cheaper.
GRADIENT_ORDER = 14
GRADIENT_ERROR = 1e-10


def rates(x: Any, y: Any, a: Any, b: Any, c: Any, d: Any) -> list[Any]:
    """x' and y'."""
    return [a * x - b * x * y, -c * y + d * x * y]


def numbers_given(x: Any, y: Any) -> list[Any]:
    """x' and y' with the parameters put in."""
    return rates(x, y, *PARAMETERS)


def circuit(parameters: Array) -> ag.Circuit:
    """Hare and lynx on a wire each, 0 -> 2."""
    a, b, c, d = parameters
    meet = ag.Multiplication() >> ag.Split()
    copies = ag.Split() @ ag.Split()  # x, x, y, y: what grows, what meets, what dies
    grow_and_meet = copies >> ag.Scalar(a) @ meet @ ag.Scalar(-c)
    balance = ag.Id() @ ag.Scalar(-b) @ ag.Scalar(d) @ ag.Id() >> ag.Add() @ ag.Add()
    registers = ag.Register("t", START[0]) @ ag.Register("t", START[1])
    twice = ag.Split() @ ag.Split() >> ag.Permute((0, 2, 1, 3))
    return (grow_and_meet >> balance >> registers >> twice).trace(2)


Solution = Callable[[Array], Array]


def ours(times: tuple[float, ...], calculus: ag.Real) -> Solution:
    """Parameters to the states at times, `[times, 2]`."""

    def run(parameters: Array) -> Array:
        ts = jnp.asarray((0.0, *times))
        found = ag.simulate(circuit(parameters), ts, calculus=calculus)
        return jnp.stack(found.outputs, axis=1)[1:]

    return run


def by_diffrax(
    times: tuple[float, ...], solver: diffrax.AbstractSolver, tolerance: float, max_steps: int
) -> Solution:
    """The same."""

    def run(parameters: Array) -> Array:
        solve = peers.in_diffrax(
            lambda y: jnp.stack(rates(*y, *parameters)),
            solver,
            tolerance,
            END,
            times if len(times) > 1 else None,
            max_steps=max_steps,
        )
        return solve(jnp.asarray(START))[0].reshape(-1, 2)

    return run


def worst(found: Any, expected: np.ndarray) -> float:
    """The largest relative error."""
    return float(np.max(np.abs(np.asarray(found) / expected - 1)))


def work_precision() -> list[list[str]]:
    """Rows of error and time to t = 100 against the tolerance; the end alone is saved."""
    parameters = jnp.asarray(PARAMETERS)
    expected = peers.exact(numbers_given, START, [END])
    rows = []
    for tolerance in TOLERANCES:
        made: dict[str, Solution] = {
            f"ours, order {order}": ours((END,), ag.Real(order=order, rtol=tolerance))
            for order in (ORDER, 14)
        }
        made["Tsit5"] = by_diffrax((END,), diffrax.Tsit5(), tolerance, 16**4)
        made["Dopri8"] = by_diffrax((END,), diffrax.Dopri8(), tolerance, 16**4)
        runs = {name: peers.compiled(run) for name, run in made.items()}
        times = timing.interleaved(
            {name: lambda run=run: run(parameters) for name, run in runs.items()}, rounds=21
        )
        row = [f"{tolerance:.0e}"]
        for name, run in runs.items():
            row += [timing.duration(times[name]), f"{worst(run(parameters), expected):.0e}"]
        rows.append([*row, f"{times['Tsit5'] / times[f'ours, order {ORDER}']:.2f}"])
    return rows


def sensitivities(x: Any, y: Any, *slopes: Any) -> list[Any]:
    """x', y', and the rates of their slopes to a, b, c and d: the variational equations."""
    a, b, c, d = PARAMETERS
    direct = [(x, 0.0 * x), (-1.0 * x * y, 0.0 * x), (0.0 * x, -1.0 * y), (0.0 * x, x * y)]
    found = numbers_given(x, y)
    for number, (to_x, to_y) in enumerate(direct):
        u, v = slopes[2 * number : 2 * number + 2]
        found += [(a - b * y) * u - b * x * v + to_x, d * y * u + (d * x - c) * v + to_y]
    return found


def records() -> np.ndarray:
    """What was counted at the times, `[times, 2]`."""
    counted = peers.exact(lambda x, y: rates(x, y, *RECORDED), START, RECORD_TIMES)
    return np.round(counted, 2)


def exact_gradient(counted: np.ndarray) -> np.ndarray:
    """The loss's slopes to a, b, c and d."""
    states = peers.exact(sensitivities, [*START, *[0.0] * 8], RECORD_TIMES)
    slopes = states[:, 2:].reshape(-1, 4, 2)
    return np.einsum("ti,tpi->p", 2 * (states[:, :2] - counted), slopes)


def gradients() -> tuple[list[list[str]], dict[str, tuple[float, float]]]:
    """Rows of the table of gradients, and each one's seconds and error."""
    counted = records()
    expected = exact_gradient(counted)
    parameters = jnp.asarray(PARAMETERS)

    def loss(run: Solution) -> Callable[[Array], Array]:
        return lambda p: jnp.sum((run(p) - counted) ** 2)

    reverse, forward = jax.grad, jax.jacfwd
    loose = ag.Real(order=GRADIENT_ORDER, rtol=TOLERANCE, max_steps=128)
    tight = ag.Real(order=20, rtol=1e-13, max_steps=256)
    methods = {
        "ours at 1e-6, reverse": reverse(loss(ours(RECORD_TIMES, loose))),
        "ours at 1e-6, forward": forward(loss(ours(RECORD_TIMES, loose))),
        "Tsit5 at 1e-6, reverse": reverse(
            loss(by_diffrax(RECORD_TIMES, diffrax.Tsit5(), 1e-6, 512))
        ),
        "ours at 1e-13, reverse": reverse(loss(ours(RECORD_TIMES, tight))),
        "ours at 1e-13, forward": forward(loss(ours(RECORD_TIMES, tight))),
        "Dopri8 at 1e-13, reverse": reverse(
            loss(by_diffrax(RECORD_TIMES, diffrax.Dopri8(), 1e-13, 2048))
        ),
    }
    runs, first, errors = {}, {}, {}
    for name, method in methods.items():
        run = peers.compiled(method)
        first[name] = timing.timed(lambda run=run: run(parameters))
        errors[name] = worst(run(parameters), expected)
        runs[name] = lambda run=run: run(parameters)
    times = timing.interleaved(runs, rounds=11)
    peer = dict.fromkeys(list(methods)[:3], "Tsit5 at 1e-6, reverse")
    rows = [
        [
            name,
            f"{errors[name]:.0e}",
            timing.duration(first[name]),
            timing.duration(times[name]),
            f"{times[peer.get(name, 'Dopri8 at 1e-13, reverse')] / times[name]:.2f}",
        ]
        for name in methods
    ]
    return rows, {name: (times[name], errors[name]) for name in methods}


def main() -> None:
    """Prints the tables and whether the targets are met."""
    print(f"{timing.setting()}, {peers.versions('diffrax', 'heyoka')}", end="\n\n")
    rows = work_precision()
    header = ["tolerance"]
    for name in (f"ours, order {ORDER}", "ours, order 14", "Tsit5", "Dopri8"):
        header += [name, "error"]
    print(timing.table([*header, f"Tsit5 / ours, order {ORDER}"], rows), end="\n\n")
    rows, found = gradients()
    header = ["gradient", "error", "first run (compiles)", "run", "times faster than diffrax"]
    print(timing.table(header, rows), end="\n\n")
    loose, tsit5 = found["ours at 1e-6, reverse"][0], found["Tsit5 at 1e-6, reverse"][0]
    tight, dopri8 = found["ours at 1e-13, reverse"][0], found["Dopri8 at 1e-13, reverse"][0]
    print(f"Gradient in reverse mode at 1e-6: {tsit5 / loose:.2f} times as fast as Tsit5's,")
    print(f"at 1e-13: {dopri8 / tight:.2f} times as fast as Dopri8's (target: 1).")
    error = found["ours at 1e-13, reverse"][1]
    print(f"Its error at 1e-13: {error:.0e} (target: {GRADIENT_ERROR:.0e}).")


if __name__ == "__main__":
    with jax.enable_x64(True):
        main()
