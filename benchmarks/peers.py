"""What the benchmarks measure against: diffrax and heyoka at their best settings, and the truth.

A system is given once, as `rates(*state)`: a sequence of expressions that JAX and heyoka both read.
"""

import importlib.metadata
from collections.abc import Callable, Sequence
from typing import Any

import diffrax
import heyoka as hy
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

# The bits of a reference: some 60 digits, of which chaos and rounding leave many more than 30.
BITS = 200

Rates = Callable[..., Sequence[Any]]


def versions(*names: str) -> str:
    """The versions of the peers that are measured."""
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)


def vector_field(rates: Rates) -> Callable[[Array], Array]:
    """The rates as a function of one vector."""
    return lambda y: jnp.stack(rates(*y))


def in_diffrax(
    field: Callable[[Array], Array],
    solver: diffrax.AbstractSolver,
    tolerance: float | Array,
    end: float,
    times: Sequence[float] | None = None,
    first_step: float | None = None,
    max_steps: int = 16**5,
) -> Callable[[Array], tuple[Array, Array]]:
    """y(0) to y(end), or to y at `times`, and how many steps were tried; to be compiled."""
    control = diffrax.PIDController(rtol=tolerance, atol=tolerance)
    saveat = diffrax.SaveAt(t1=True) if times is None else diffrax.SaveAt(ts=jnp.asarray(times))
    term = diffrax.ODETerm(lambda t, y, args: field(y))

    def run(start: Array) -> tuple[Array, Array]:
        found = diffrax.diffeqsolve(
            *(term, solver, 0.0, end, first_step, start),
            saveat=saveat,
            stepsize_controller=control,
            max_steps=max_steps,
            throw=False,
        )
        values = found.ys
        assert values is not None
        return (values[-1] if times is None else values), found.stats["num_steps"]

    return run


def in_heyoka(
    rates: Rates, size: int, tolerance: float, end: float, compact: bool = False
) -> Callable[[np.ndarray], tuple[np.ndarray, int]]:
    """y(0) to y(end) by heyoka's scalar integrator, and the number of steps.

    `compact` is for large systems, whose code would take minutes to compile.
    """
    equations = _equations(rates, size)
    integrator = hy.taylor_adaptive(equations, [1.0] * size, tol=tolerance, compact_mode=compact)

    def run(start: np.ndarray) -> tuple[np.ndarray, int]:
        integrator.time = 0.0
        integrator.state[:] = start
        _, _, _, steps, *_ = integrator.propagate_until(end)
        return integrator.state.copy(), steps

    return run


def in_heyoka_batches(
    rates: Rates, size: int, tolerance: float, end: float
) -> Callable[[np.ndarray], np.ndarray]:
    """The same for `starts[run, state]` by heyoka's batch integrator, as wide as the vectors of
    the processor."""
    width = hy.recommended_simd_size()
    blank = np.ones((size, width))
    integrator = hy.taylor_adaptive_batch(_equations(rates, size), blank, tol=tolerance)

    def run(starts: np.ndarray) -> np.ndarray:
        ends = np.empty_like(starts)
        for first in range(0, len(starts), width):
            integrator.set_time(0.0)
            integrator.state[:] = starts[first : first + width].T
            integrator.propagate_until([end] * width)
            ends[first : first + width] = integrator.state.T
        return ends

    return run


def exact(rates: Rates, start: Sequence[float], times: Sequence[float]) -> np.ndarray:
    """y at increasing times after 0 to some 60 digits, rounded once at the end.

    By heyoka in multiple precision. Floats in `rates` and `start` are taken as the numbers that
    they are.
    """
    state = np.array([hy.real(float(number), BITS) for number in start])
    equations = _equations(rates, len(state))
    integrator = hy.taylor_adaptive(equations, state, fp_type=hy.real, prec=BITS)
    found = []
    for time in times:
        integrator.propagate_until(hy.real(float(time), BITS))
        found.append([float(str(number)) for number in integrator.state])
    return np.array(found)


def _equations(rates: Rates, size: int) -> list[tuple[Any, Any]]:
    symbols = hy.make_vars(*(f"y{i}" for i in range(size)))
    return list(zip(symbols, rates(*symbols), strict=True))


def compiled(run: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """A run in a jit of its own, so that nothing compiled earlier is found again."""
    return jax.jit(lambda *arguments: run(*arguments), **options)
