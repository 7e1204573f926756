"""Stiff problems at errors near 1e-4, 1e-6 and 1e-9, against diffrax and SciPy.

Every solver runs at tolerances from 1e-2 to 1e-12, two to a factor of ten, with an absolute
tolerance for each entry of the state in proportion to its end; of the runs whose error is at most
the one asked for, the fastest counts. Errors are the largest of all entries, relative to the entry.
Ours and diffrax's are compiled with the tolerance traced; SciPy gets the bands of the wide problems
(LSODA) or their pattern.
"""

import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import krylov
import numpy as np
import peers
import problems
import scipy.integrate
import timing
from problems import Problem

import asgard as ag

ERRORS = (1e-4, 1e-6, 1e-9)
TOLERANCES = tuple(10.0 ** (-power / 2) for power in range(4, 25))
# A run that takes longer is timed once, and its solver is not tried at tighter tolerances;
# `PATIENCE` is for a solver that has met no error yet.
# Shorter ones than `SHORT` are timed more often.
LONGEST, PATIENCE, SHORT = 1.0, 30.0, 0.01
Run = Callable[[float], Any]


def unit(problem: Problem) -> np.ndarray:
    """What errors of each entry are relative to."""
    return np.maximum(np.abs(problem.exact), problem.floors)


def ours(problem: Problem, method: ag.StepMethod) -> Run:
    """y(end) as a function of the tolerance."""
    circuit = (
        ag.Function(problem.field, 1) >> ag.Register("t", jnp.array(problem.start)) >> ag.Split()
    ).trace()

    @jax.jit
    def run(tolerance: float) -> Any:
        calculus = ag.Real(method=method, rtol=tolerance, atol=tolerance * unit(problem))
        return ag.simulate(circuit, [0.0, problem.end], calculus=calculus, throw=False).output[-1]

    return run


def in_diffrax(problem: Problem, solver: diffrax.AbstractSolver) -> Run:
    """The same by diffrax."""
    term = diffrax.ODETerm(lambda t, y, args: problem.field(y))

    @jax.jit
    def run(tolerance: float) -> Any:
        control = diffrax.PIDController(rtol=tolerance, atol=tolerance * unit(problem))
        start = jnp.array(problem.start)
        found = diffrax.diffeqsolve(
            *(term, solver, 0.0, problem.end, None, start),
            stepsize_controller=control,
            max_steps=10**6,
            throw=False,
        )
        assert found.ys is not None
        return found.ys[-1]

    return run


def in_scipy(problem: Problem, method: str) -> Run:
    """The same by SciPy."""
    options: dict[str, Any] = {}
    if problem.band is not None and method == "LSODA":
        options = {"lband": problem.band, "uband": problem.band}
    elif problem.band is not None:
        options = {"jac_sparsity": problem.pattern}

    def run(tolerance: float) -> np.ndarray:
        found = scipy.integrate.solve_ivp(
            problem.field_of_floats,
            (0.0, problem.end),
            problem.start,
            method=method,
            rtol=max(tolerance, 3e-14),
            atol=tolerance * unit(problem),
            t_eval=[problem.end],
            **options,
        )
        ends = np.asarray(found.y)  # of a run that failed it is an empty list
        return ends[:, -1] if ends.size else np.full(len(problem.start), np.nan)

    return run


def fastest(problem: Problem, run: Run) -> dict[float, tuple[float, float]]:
    """For each error asked for, the seconds of the fastest run that meets it, and its tolerance."""
    best: dict[float, tuple[float, float]] = {}
    for tolerance in TOLERANCES:
        start = time.perf_counter()
        found = np.asarray(run(tolerance))
        seconds = time.perf_counter() - start
        error = np.max(np.abs(found - problem.exact) / unit(problem))
        if seconds < LONGEST:
            count = 25 if seconds < SHORT else 5
            times = sorted(timing.timed(lambda t=tolerance: run(t)) for _ in range(count))
            seconds = times[count // 2]
        for asked in ERRORS:
            if error <= asked and seconds < best.get(asked, (np.inf, 0.0))[0]:
                best[asked] = seconds, tolerance
        slow = seconds > (LONGEST if best else PATIENCE)
        if slow or (ERRORS[-1] in best and error < 1e-3 * ERRORS[-1]):
            break
    return best


def rows(problem: Problem) -> list[list[str]]:
    """A row for each solver, of its times; a ratio to ours beside those of peers."""
    runs: dict[str, Run] = {f"Radau({s})": ours(problem, ag.Radau(s)) for s in (3, 5, 7)}
    runs |= {
        f"diffrax {type(solver).__name__}": in_diffrax(problem, solver)
        for solver in (diffrax.Kvaerno3(), diffrax.Kvaerno5())
    }
    runs |= {f"SciPy {method}": in_scipy(problem, method) for method in ("Radau", "BDF", "LSODA")}
    found, firsts = {}, {}
    for name, run in runs.items():
        start = time.perf_counter()
        run(1e-4)
        firsts[name] = time.perf_counter() - start
        found[name] = fastest(problem, run)
    own = [found[f"Radau({stages})"] for stages in (3, 5, 7)]
    mine = {
        asked: min((best[asked][0] for best in own if asked in best), default=np.nan)
        for asked in ERRORS
    }
    table = []
    for name, best in found.items():
        cells = [problem.name, name]
        for asked in ERRORS:
            if asked not in best:
                cells.append("")
                continue
            seconds = best[asked][0]
            ratio = "" if name.startswith("Radau") else f" ({seconds / mine[asked]:.3g})"
            cells.append(timing.duration(seconds) + ratio)
        first = "" if name.startswith("SciPy") else f"{firsts[name]:.2f} s"
        table.append([*cells, first])
    return table


def main(wanted: list[str]) -> None:
    """Prints the table of "small" problems, of "wide" ones, or of both, problem by problem; or that
    of "krylov", by methods without matrices (`krylov.py`)."""
    if "krylov" in wanted:
        krylov.main()
        wanted = [kind for kind in wanted if kind != "krylov"]
        if not wanted:
            return
    jax.config.update("jax_enable_x64", True)
    timing.stay_in_thread()
    warnings.simplefilter("ignore")
    print(f"{timing.setting()}, {peers.versions('diffrax', 'scipy')}\n")
    header = ["problem", "solver", *(f"error {asked:.0e}" for asked in ERRORS), "first call"]
    chosen = [problem for kind in wanted for problem in PROBLEMS[kind]]
    timing.print_table(header, (row for problem in chosen for row in rows(problem)))


PROBLEMS = {"small": problems.STIFF, "wide": problems.WIDE}

if __name__ == "__main__":
    main(sys.argv[1:] or list(PROBLEMS))
