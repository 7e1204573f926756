"""Explicit methods at equal errors, values and gradients, against diffrax's.

Every method runs at tolerances from 1e-2 to 1e-13; of the runs whose error at the end is at most
the one asked for, the fastest counts. Errors are relative to the largest entry of the end. The
gradient is that of the end's first entry to the start, in reverse mode with diffrax's default
adjoint. Lorenz-96 has no reference of many digits: its errors are against our Dopri8 at 1e-14.
"""

import sys
from collections.abc import Callable
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
TOLERANCES = tuple(10.0**-power for power in range(2, 14))
OURS = {
    "Tsit5": ag.Tsit5(),
    "Dopri8": ag.Dopri8(),
    "Taylor(12)": ag.Taylor(12),
    "Taylor(20)": ag.Taylor(20),
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


def fastest(problem: Problem, end: End, exact: np.ndarray, gradient: bool) -> dict[float, float]:
    """For each error asked for, the seconds of the fastest run that meets it."""
    start, best = jnp.array(problem.start), {}
    value = jax.jit(end)
    run = value
    if gradient:
        run = jax.jit(jax.value_and_grad(lambda start, tolerance: end(start, tolerance)[0]))
    for tolerance in TOLERANCES:
        error = np.max(np.abs(np.asarray(value(start, tolerance)) - exact)) / np.max(np.abs(exact))
        one = timing.interleaved({"": lambda t=tolerance: run(start, t)}, rounds=5, least=0.002)
        for asked in ERRORS:
            if error <= asked:
                best[asked] = min(one[""], best.get(asked, np.inf))
        if ERRORS[-1] in best:
            break
    return best


def rows(problem: Problem, exact: np.ndarray, gradient: bool) -> list[list[str]]:
    """A row for each of our methods and one for diffrax's best, of times and its ratio to ours."""
    own = {n: fastest(problem, ours(problem, m), exact, gradient) for n, m in OURS.items()}
    others = [fastest(problem, in_diffrax(problem, s), exact, gradient) for s in PEERS.values()]
    name = problem.name + (", gradient" if gradient else "")
    table = []
    for method, best in own.items():
        cells = (timing.duration(best[asked]) if asked in best else "" for asked in ERRORS)
        table.append([name, method, *cells])
    cells = []
    for asked in ERRORS:
        mine = min((best[asked] for best in own.values() if asked in best), default=np.nan)
        peer = min((best[asked] for best in others if asked in best), default=np.nan)
        cells.append(f"{timing.duration(peer)} ({peer / mine:.2g})" if peer == peer else "")
    return [*table, [name, "diffrax's best", *cells]]


def lorenz_96(size: int) -> list[list[str]]:
    """The same for Lorenz-96 of some size."""
    problem = problems.lorenz_96(size)
    run = jax.jit(ours(problem, ag.Dopri8()))
    return rows(problem, np.asarray(run(jnp.array(problem.start), 1e-14)), gradient=False)


def main(wanted: list[str]) -> None:
    """Prints the tables: of "small" problems, of "wide" ones, or of both."""
    jax.config.update("jax_enable_x64", True)
    print(f"{timing.setting()}, {peers.versions('diffrax')}\n")
    header = ["problem", "method", *(f"error {asked:.0e}" for asked in ERRORS)]
    if "small" in wanted:
        small = (
            row
            for problem in problems.EXPLICIT
            for gradient in (False, True)
            for row in rows(problem, problem.exact, gradient)
        )
        timing.print_table(header, small)
    if "wide" in wanted:
        timing.print_table(header, (row for size in SIZES for row in lorenz_96(size)))


if __name__ == "__main__":
    main(sys.argv[1:] or ["small", "wide"])
