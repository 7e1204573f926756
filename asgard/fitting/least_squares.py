"""`fit_residuals`: least squares by Levenberg-Marquardt or Gauss-Newton, of optimistix."""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array

from ..circuits.circuit import Circuit
from ..circuits.fields import check_count
from ..errors import CircuitError
from ..jaxprs.makeup import Compiled, Made
from .descent import like
from .fit import arrays, tolerance
from .free import Free, Trainable, chosen, free_values, joined
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
    tol = None if tol is None else tolerance(tol)
    found = _solve(problem, circuit, arrays(args), tol)
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
    loss: Array
    steps: Array
    status: FitStatus


def _run(problem: _Problem, circuit: Circuit, args: tuple[Any, ...], tol: Array | None) -> Fit:
    import optimistix

    given = free_values(circuit, problem.moved)
    if any(jnp.iscomplexobj(value) for value in given.values()):
        raise CircuitError("fit_residuals moves real numbers: for complex ones use fit")
    # In one dtype, as the solver takes it; the circuit keeps its own.
    dtype = jnp.result_type(float)
    free = {name: value.astype(dtype) for name, value in given.items()}

    def residuals(free: Free) -> Array:
        return flat(problem.residuals.value(joined(circuit, like(free, given)), *args))

    # Traced once, and not at each place at which the solver calls it.
    residuals = eqx.filter_closure_convert(residuals, free)
    own = jax.eval_shape(residuals, free)
    count = sum(value.size for value in given.values())
    if own.size < count:
        raise CircuitError(
            f"{own.size} residual{'s'[: own.size != 1]} for {count} numbers: return all residuals, "
            "not their sum of squares, or make fewer numbers trainable"
        )
    shape = jax.ShapeDtypeStruct(own.shape, dtype)

    def of(free: Free, _: Any) -> tuple[Array, None]:
        return residuals(free).astype(dtype), None

    if tol is None:
        coarsest = max(jnp.finfo(array.dtype).eps for array in (own, *given.values()))
        tol = jnp.sqrt(jnp.asarray(coarsest, dtype))
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
        losses = iteration.losses.at[iteration.steps].set(loss)
        loss = jnp.where(jnp.isfinite(loss), loss, iteration.loss)
        held = eqx.filter(state, eqx.is_array)
        return _Iteration(free, held, losses, loss, iteration.steps + 1, status)

    losses, loss = jnp.full(problem.steps, jnp.nan, dtype), jnp.asarray(jnp.inf, dtype)
    start = _Iteration(free, dynamic, losses, loss, jnp.zeros((), int), FitStatus.steps)
    end = jax.lax.while_loop(going, body, start)
    fitted = joined(circuit, like(end.free, given))
    return Fit(fitted, end.losses, end.loss, end.steps, end.status)


_solve = Compiled(_run)


def flat(residuals: Any) -> Array:
    """Residuals as one vector of real numbers."""
    leaves = jax.tree.leaves(residuals)
    if not leaves or not all(eqx.is_array_like(leaf) for leaf in leaves):
        raise CircuitError(f"residuals must be arrays, not {residuals!r:.60}")
    vector = ravel_pytree(residuals)[0]
    if not jnp.issubdtype(vector.dtype, jnp.floating) or vector.size == 0:
        raise CircuitError(f"residuals must be real numbers, not {vector.size} of {vector.dtype}")
    return vector
