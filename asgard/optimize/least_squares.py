"""`fit_residuals`: least squares by Levenberg-Marquardt or Gauss-Newton, of optimistix."""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array

from ..circuit import Circuit
from ..errors import CircuitError
from ..fields import check_count
from .fit import arrays
from .free import Free, Trainable, chosen, free_values, joined
from .makeup import Made
from .result import Fit, FitStatus

METHODS = ("levenberg_marquardt", "gauss_newton")


def fit_residuals(
    circuit: Circuit,
    residuals: Callable[..., Any],
    *,
    args: tuple[Any, ...] = (),
    steps: int,
    trainable: Trainable = None,
    tol: float | Array | None = None,
    method: str = "levenberg_marquardt",
    throw: bool = True,
) -> Fit:
    """Moves a circuit's numbers so that a sum of squares falls.

    For tens of numbers and a smooth model this takes far fewer evaluations than `fit`, and finds
    optima from farther away. It is one compiled program, which is kept, as that of `fit`. It needs
    the package optimistix (`pip install "asgard[fit]"`).

    **Arguments:** `circuit`, `args`, `trainable` and `throw` are those of `fit`, and

    - `residuals`: `residuals(circuit, *args)`, an array or a pytree of arrays.
    - `steps`: how many evaluations of the residuals and their derivatives to make at most.
    - `tol`: the change of all free values and residuals, relative and absolute, at which the fit
      ends; by default the square root of the dtype's resolution.
    - `method`: "levenberg_marquardt", which takes only steps that help, or "gauss_newton", which
      takes all, and needs a start that is near.

    **Returns:** a `Fit`. Its losses are sums of squares, after each evaluation those of the best
    numbers so far; the first is that of the start.

    **Raises:** `CircuitError` for what is wrong beforehand, `ImportError` without optimistix,
    `FitError` for a fit that failed.

    ```python
    def residuals(circuit, ts, data):
        return ag.simulate(circuit, ts).output - data

    ag.fit_residuals(circuit, residuals, args=(ts, data), steps=50).circuit
    ```
    """
    moved = chosen(circuit, trainable)
    check_count("fit_residuals", "steps", steps, least=1)
    if method not in METHODS:
        raise CircuitError(f"method must be one of {', '.join(METHODS)}, not {method!r}")
    if not callable(residuals):
        raise CircuitError(f"residuals are a function of the circuit, not {residuals!r}")
    try:
        import optimistix as _  # noqa: F401
    except ImportError as error:
        raise ImportError(
            'fit_residuals needs the package optimistix: pip install "asgard[fit]"'
        ) from error
    problem = _Problem(Made(residuals), moved, method, steps)
    tolerance = None if tol is None else jnp.asarray(tol, float)
    found = _solve(problem, circuit, arrays(args), tolerance)
    return found.check() if throw else found


@dataclasses.dataclass(frozen=True)
class _Problem:
    """What a fit compiles by."""

    residuals: Made
    moved: tuple[bool, ...]
    method: str
    steps: int

    def solver(self, tolerance: Array) -> Any:
        import optimistix

        kinds = {
            "levenberg_marquardt": optimistix.LevenbergMarquardt,
            "gauss_newton": optimistix.GaussNewton,
        }
        return kinds[self.method](rtol=tolerance, atol=tolerance)


class _Iteration(eqx.Module):
    """What the loop carries."""

    free: Free
    solver: Any
    losses: Array
    steps: Array
    status: FitStatus


def _run(problem: _Problem, circuit: Circuit, args: tuple[Any, ...], tol: Array | None) -> Fit:
    import optimistix

    free = free_values(circuit, problem.moved)

    def of(free: Free, _: Any) -> tuple[Array, None]:
        return flat(problem.residuals.value(joined(circuit, free), *args)), None

    # Traced once, and not at each place at which the solver calls it.
    of = eqx.filter_closure_convert(of, free, None)
    shape = jax.eval_shape(of, free, None)[0]
    if tol is None:
        tol = jnp.sqrt(jnp.finfo(shape.dtype).eps)
    solver = problem.solver(jnp.asarray(tol, shape.dtype))
    began = solver.init(of, free, None, {}, shape, None, frozenset())
    # The state of the solver holds a program, besides arrays that the loop carries.
    dynamic, static = eqx.partition(began, eqx.is_array)

    def going(iteration: _Iteration) -> Array:
        return (iteration.steps < problem.steps) & (iteration.status == FitStatus.steps)

    def body(iteration: _Iteration) -> _Iteration:
        state = eqx.combine(iteration.solver, static)
        free, state, _ = solver.step(of, iteration.free, None, {}, state, frozenset())
        done, result = solver.terminate(of, free, None, {}, state, frozenset())
        loss = jnp.sum(state.f_info.residual**2)
        failed = ~jnp.isfinite(loss) | (result != optimistix.RESULTS.successful)
        status = FitStatus.where(done, FitStatus.converged, FitStatus.steps)
        status = FitStatus.where(failed, FitStatus.nonfinite, status)
        free = jax.tree.map(lambda new, old: jnp.where(failed, old, new), free, iteration.free)
        losses = iteration.losses.at[iteration.steps].set(loss.astype(iteration.losses.dtype))
        held = eqx.filter(state, eqx.is_array)
        return _Iteration(free, held, losses, iteration.steps + 1, status)

    losses = jnp.full(problem.steps, jnp.nan, jnp.result_type(float))
    start = _Iteration(free, dynamic, losses, jnp.zeros((), int), FitStatus.steps)
    end = jax.lax.while_loop(going, body, start)
    return Fit(joined(circuit, end.free), end.losses, end.steps, end.status)


_solve = jax.jit(_run, static_argnums=0)


def flat(residuals: Any) -> Array:
    """Residuals as one vector of real numbers."""
    leaves = jax.tree.leaves(residuals)
    if not leaves or not all(eqx.is_array_like(leaf) for leaf in leaves):
        raise CircuitError(f"residuals must be arrays, not {residuals!r:.60}")
    vector = ravel_pytree(residuals)[0]
    if not jnp.issubdtype(vector.dtype, jnp.floating) or vector.size == 0:
        raise CircuitError(f"residuals must be real numbers, not {vector.size} of {vector.dtype}")
    return vector
