"""The Brusselator in two dimensions without matrices, against diffrax and SciPy.

Hairer and Wanner, *Solving Ordinary Differential Equations II*, IV.10: two substances that react
and spread on a square whose opposite sides are joined, with a disc in which the first one is fed
from t = 1.1 on. On a grid of `side` points a side, 64 by default, the state has 2 side² numbers.
Every solver runs at three tolerances; errors at the end are relative to the largest entry of each
substance, against explicit steps of diffrax at 1e-10. A solver that took longer than `LONGEST` is
not tried at tighter tolerances; one whose first call, which compiles, took twice as long is not run
again.

diffrax's own root finder, `VeryChord`, takes no GMRES (diffrax 0.7.2: the operator would be part of
what its loop carries), so optimistix' `Newton` does; it hands no preconditioner on. SciPy gets the
pattern of the Jacobian, which it factors as a sparse matrix.
"""

import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import lineax
import numpy as np
import optimistix
import peers
import scipy.integrate
import scipy.sparse
import timing

import asgard as ag

TOLERANCES = (1e-3, 1e-5, 1e-7)
LONGEST = 10.0
SPREAD, FED, END = 0.1, 1.1, 11.5
Run = Callable[[float], Any]


class Brusselator:
    """The equations on a grid, u and v one after the other."""

    def __init__(self, side: int):
        self.side = side
        x, y = np.meshgrid(*2 * [np.arange(side) / side], indexing="ij")
        self.start = np.stack([22 * y * (1 - y) ** 1.5, 27 * x * (1 - x) ** 1.5]).reshape(-1)
        self.feed = np.where((x - 0.3) ** 2 + (y - 0.6) ** 2 <= 0.1**2, 5.0, 0.0)
        decays = -4 * side**2 * np.sin(np.pi * np.arange(side) / side) ** 2
        self.rates = SPREAD * (decays[:, None] + decays)

    def field(self, xp: Any, t: Any, y: Any) -> Any:
        """The slope, in JAX or NumPy."""
        u, v = y.reshape(2, self.side, self.side)
        meet, feed = u * u * v, xp.where(t >= FED, self.feed, 0.0)
        rate_u = 1.0 + meet - 4.4 * u + self._spread(u, xp) + feed
        rate_v = 3.4 * u - meet + self._spread(v, xp)
        return xp.stack([rate_u, rate_v]).reshape(-1)

    def _spread(self, u: Any, xp: Any) -> Any:
        around = xp.roll(u, 1, 0) + xp.roll(u, -1, 0) + xp.roll(u, 1, 1) + xp.roll(u, -1, 1)
        return SPREAD * self.side**2 * (around - 4.0 * u)

    def preconditioned(self, time: Any, state: Any, scale: Any, vector: Any) -> Any:
        """About (I - scale J)^-1 vector: exactly for what spreads, by Fourier transforms."""
        parts = jnp.fft.fft2(vector.reshape(2, self.side, self.side))
        return jnp.fft.ifft2(parts / (1 - scale * self.rates)).reshape(-1)

    @property
    def pattern(self) -> Any:
        """Where the Jacobian may differ from zero."""
        one = np.eye(self.side)
        ring = one + np.roll(one, 1, axis=0) + np.roll(one, -1, axis=0)
        grid = scipy.sparse.kron(ring, one) + scipy.sparse.kron(one, ring)
        whole = scipy.sparse.eye_array(self.side**2)
        return scipy.sparse.block_array([[grid, whole], [whole, grid]]).tocsr()


def ours(problem: Brusselator, method: ag.StepMethod) -> Run:
    """y(end) as a function of the tolerance."""
    circuit = ag.ode(lambda t, y: problem.field(jnp, t, y), jnp.asarray(problem.start))

    @jax.jit
    def run(tolerance: float) -> Any:
        calculus = ag.Real(method=method, rtol=tolerance, atol=tolerance)
        return ag.simulate(circuit, [0.0, END], calculus=calculus, throw=False).output[-1]

    return run


def in_diffrax(problem: Brusselator, solver: diffrax.AbstractSolver) -> Run:
    """The same by diffrax."""
    term = diffrax.ODETerm(lambda t, y, args: problem.field(jnp, t, y))

    @jax.jit
    def run(tolerance: float) -> Any:
        control = diffrax.PIDController(rtol=tolerance, atol=tolerance)
        found = diffrax.diffeqsolve(
            *(term, solver, 0.0, END, None, jnp.asarray(problem.start)),
            stepsize_controller=diffrax.ClipStepSizeController(control, jump_ts=jnp.array([FED])),
            max_steps=10**6,
            throw=False,
        )
        assert found.ys is not None
        good = found.result == diffrax.RESULTS.successful
        return jnp.where(good, found.ys[-1], jnp.nan)

    return run


def implicit_in_diffrax(problem: Brusselator, solver: type) -> Run:
    """Implicit steps of diffrax with lineax's GMRES."""
    linear = lineax.GMRES(rtol=1e-2, atol=1e-6, restart=30, max_steps=150, stagnation_iters=150)
    newton = diffrax.with_stepsize_controller_tols(optimistix.Newton)(linear_solver=linear)
    return in_diffrax(problem, solver(root_finder=newton))


def in_scipy(problem: Brusselator, method: str) -> Run:
    """The same by SciPy, in two pieces between which the feed begins."""

    def run(tolerance: float) -> np.ndarray:
        state = problem.start
        for begin, end in ((0.0, FED), (FED, END)):
            middle = (begin + end) / 2  # says whether it is fed
            found = scipy.integrate.solve_ivp(
                lambda t, y, middle=middle: problem.field(np, middle, y),
                (begin, end),
                state,
                method=method,
                rtol=tolerance,
                atol=tolerance,
                t_eval=[end],
                jac_sparsity=problem.pattern,
            )
            if not found.success:
                return np.full_like(state, np.nan)
            state = found.y[:, -1]
        return state

    return run


def rows(problem: Brusselator, name: str, run: Run, exact: np.ndarray) -> list[list[str]]:
    """A row for each tolerance of one solver."""
    scale = np.max(np.abs(exact.reshape(2, -1)), axis=1, keepdims=True)
    table, first = [], None
    for tolerance in TOLERANCES:
        if first is None and not name.startswith("SciPy"):
            start = time.perf_counter()
            jax.block_until_ready(run(tolerance))
            first = time.perf_counter() - start
        if first is not None and first > 2 * LONGEST:
            table.append([name, f"{tolerance:.0e}", "", "", f"{first:.2f} s"])
            break
        start = time.perf_counter()
        found = np.asarray(run(tolerance))
        seconds = time.perf_counter() - start
        if seconds < 1:
            seconds = sorted(timing.timed(lambda t=tolerance: run(t)) for _ in range(3))[1]
        error = np.max(np.abs((found - exact).reshape(2, -1)) / scale)
        compiles = "" if first is None or table else f"{first:.2f} s"
        table.append([name, f"{tolerance:.0e}", f"{error:.1e}", timing.duration(seconds), compiles])
        if seconds > LONGEST:
            break
    return table


def main(side: int = 64) -> None:
    """Prints the table."""
    jax.config.update("jax_enable_x64", True)
    warnings.simplefilter("ignore")
    versions = peers.versions("diffrax", "lineax", "optimistix", "scipy")
    print(f"{timing.setting()}, {versions}\n")
    problem = Brusselator(side)
    exact = np.asarray(in_diffrax(problem, diffrax.Dopri8())(1e-10))
    plain, by_fourier = ag.GMRES(), ag.GMRES(preconditioner=problem.preconditioned)
    runs = {
        "Radau(3), GMRES": ours(problem, ag.Radau(3, linear=plain)),
        "Radau(3), GMRES and Fourier": ours(problem, ag.Radau(3, linear=by_fourier)),
        "Radau(5), GMRES and Fourier": ours(problem, ag.Radau(5, linear=by_fourier)),
        "Tsit5": ours(problem, ag.Tsit5()),
        "diffrax Kvaerno3, GMRES": implicit_in_diffrax(problem, diffrax.Kvaerno3),
        "diffrax Kvaerno5, GMRES": implicit_in_diffrax(problem, diffrax.Kvaerno5),
        "diffrax Tsit5": in_diffrax(problem, diffrax.Tsit5()),
        "SciPy BDF": in_scipy(problem, "BDF"),
        "SciPy Radau": in_scipy(problem, "Radau"),
    }
    header = [f"{2 * side**2:,} numbers", "tolerance", "error", "time", "first call"]
    timing.print_table(
        header, (row for name in runs for row in rows(problem, name, runs[name], exact))
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
