"""Explicit methods at equal errors, values and gradients, against diffrax's.

Every method runs at tolerances from 1e-1 to 1e-13; of the runs whose error at the end is at most
the one asked for, the fastest counts. Those of all methods are then timed in turn. Errors are
relative to the largest entry of the end. The gradient is that of the end's first entry to the
start, in reverse mode with diffrax's default adjoint. Lorenz-96 has no reference of many digits:
its errors are against our Dopri8 at 1e-14.
"""

import functools
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import peers
import problems
import timing
from problems import Problem

import asgard as ag

ERRORS = (1e-2, 1e-4, 1e-6, 1e-8, 1e-10)
TOLERANCES = tuple(10.0**-power for power in range(1, 14))
OURS = {
    "Tsit5": ag.Tsit5(),
    "Dopri8": ag.Dopri8(),
    "Taylor(12)": ag.Taylor(12),
    "Taylor(20)": ag.Taylor(20),
}
SMALL = OURS | {
    "Taylor(12), unrolled": ag.Taylor(12, unroll=True),
    "Taylor(20), unrolled": ag.Taylor(20, unroll=True),
}
PEERS = {
    f"diffrax {type(solver).__name__}": solver
    for solver in (diffrax.Tsit5(), diffrax.Dopri5(), diffrax.Dopri8())
}
SIZES = (40, 200, 1000, 5000)
End = Callable[[Any, Any], Any]


def ours(problem: Problem, method: ag.StepMethod) -> End:
    """y(end) of the start and the tolerance."""

    def run(start: Any, tolerance: Any) -> Any:
        register = ag.Register("t", start)
        circuit = (ag.Function(problem.field, 1) >> register >> ag.Split()).trace()
        calculus = ag.Real(method=method, rtol=tolerance, atol=tolerance, max_steps=16**4)
        return ag.simulate(circuit, [0.0, problem.end], calculus=calculus, throw=False).output[-1]

    return run


def in_diffrax(problem: Problem, solver: diffrax.AbstractSolver) -> End:
    """The same by diffrax."""
    term = diffrax.ODETerm(lambda t, y, args: problem.field(y))

    def run(start: Any, tolerance: Any) -> Any:
        found = diffrax.diffeqsolve(
            *(term, solver, 0.0, problem.end, None, start),
            stepsize_controller=diffrax.PIDController(rtol=tolerance, atol=tolerance),
            max_steps=16**4,
            throw=False,
        )
        assert found.ys is not None
        return found.ys[-1]

    return run


def picked(
    problem: Problem, end: End, exact: np.ndarray, gradient: bool
) -> dict[float, Callable[[], Any]]:
    """For each error asked for, the run at the tolerance that meets it fastest."""
    start, best = jnp.array(problem.start), {}
    value = jax.jit(end)
    run = value
    if gradient:
        run = jax.jit(jax.value_and_grad(lambda start, tolerance: end(start, tolerance)[0]))
    for tolerance in TOLERANCES:
        error = np.max(np.abs(np.asarray(value(start, tolerance)) - exact)) / np.max(np.abs(exact))
        timing.timed(lambda t=tolerance: run(start, t))
        seconds = min(timing.timed(lambda t=tolerance: run(start, t)) for _ in range(3))
        for asked in ERRORS:
            if error <= asked and seconds < best.get(asked, (np.inf, 0.0))[0]:
                best[asked] = seconds, tolerance
        if ERRORS[-1] in best:
            break
    return {asked: functools.partial(run, start, t) for asked, (_, t) in best.items()}


def rows(
    problem: Problem,
    exact: np.ndarray,
    gradient: bool = False,
    methods: Mapping[str, ag.StepMethod] = OURS,
) -> list[list[str]]:
    """A row for each of our methods and one for diffrax's best, of times and its ratio to ours."""
    ends = {name: ours(problem, method) for name, method in methods.items()}
    ends |= {name: in_diffrax(problem, solver) for name, solver in PEERS.items()}
    runs = {name: picked(problem, end, exact, gradient) for name, end in ends.items()}
    times = {
        asked: timing.interleaved(
            {name: run[asked] for name, run in runs.items() if asked in run}, rounds=7, least=0.003
        )
        for asked in ERRORS
    }

    def best(names: Iterable[str], asked: float) -> float:
        return min((times[asked][name] for name in names if name in times[asked]), default=np.nan)

    name = problem.name + (", gradient" if gradient else "")
    table = []
    for method in methods:
        cells = (timing.duration(best([method], asked)) for asked in ERRORS)
        table.append([name, method, *("" if cell == "nan s" else cell for cell in cells)])
    cells = []
    for asked in ERRORS:
        mine, peer = best(methods, asked), best(PEERS, asked)
        cells.append(f"{timing.duration(peer)} ({peer / mine:.2g})" if peer == peer else "")
    return [*table, [name, "diffrax's best", *cells]]


def lorenz_96(size: int) -> list[list[str]]:
    """The same for Lorenz-96 of some size."""
    problem = problems.lorenz_96(size)
    run = jax.jit(ours(problem, ag.Dopri8()))
    return rows(problem, np.asarray(run(jnp.array(problem.start), 1e-14)))


def at_machine_precision(size: int) -> list[list[str]]:
    """Rows of Lorenz-96 as exactly as floats allow: ours, diffrax's Dopri8, and heyoka's method.

    Errors are against heyoka's end.
    """
    problem = problems.lorenz_96(size)
    assert problem.rates is not None
    start, given = jnp.array(problem.start), np.array(problem.start)
    heyoka = peers.in_heyoka(problem.rates, size, 2.0**-52, problem.end, compact=size > 40)
    taylor, dopri8 = (jax.jit(ours(problem, m)) for m in (ag.Taylor(), ag.Dopri8()))
    peer = jax.jit(in_diffrax(problem, diffrax.Dopri8()))
    runs: dict[str, Callable[[], Any]] = {
        "Taylor(20)": lambda: taylor(start, 2.0**-55),
        "Dopri8 at 1e-13": lambda: dopri8(start, 1e-13),
        "diffrax Dopri8 at 1e-14": lambda: peer(start, 1e-14),
        "heyoka": lambda: heyoka(given)[0],
    }
    expected = runs["heyoka"]()
    times = timing.interleaved(runs, rounds=9)
    return [
        [
            problem.name,
            name,
            f"{np.max(np.abs(np.asarray(run()) - expected)) / np.max(np.abs(expected)):.0e}",
            timing.duration(times[name]),
            f"{times[name] / times['heyoka']:.2f}",
        ]
        for name, run in runs.items()
    ]


def main(wanted: list[str]) -> None:
    """Prints the tables: of "small" problems, of "wide" ones, of "precise" runs, or all."""
    jax.config.update("jax_enable_x64", True)
    timing.stay_in_thread()
    print(f"{timing.setting()}, {peers.versions('diffrax')}\n")
    header = ["problem", "method", *(f"error {asked:.0e}" for asked in ERRORS)]
    if "small" in wanted:
        small = (
            row
            for problem in problems.EXPLICIT
            for gradient in (False, True)
            for row in rows(problem, problem.exact, gradient, SMALL)
        )
        timing.print_table(header, small)
    if "wide" in wanted:
        timing.print_table(header, (row for size in SIZES for row in lorenz_96(size)))
    if "precise" in wanted:
        header = ["machine precision", "method", "error", "time", "times heyoka's"]
        sizes = SIZES[:3]
        timing.print_table(header, (row for size in sizes for row in at_machine_precision(size)))


if __name__ == "__main__":
    main(sys.argv[1:] or ["small", "wide", "precise"])
