"""`fit_residuals`: least squares by Levenberg-Marquardt or Gauss-Newton, of optimistix."""

import dataclasses
import os
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int

from ..circuits.circuit import Circuit
from ..circuits.fields import check_count
from ..errors import CircuitError
from ..jaxprs.own_functions import traceable
from ..jaxprs.settings import callers_promotion, nonfinite_allowed
from ..jaxprs.trees import select
from ..runs.stretches.report import Report
from .arguments import as_arrays, check_function, tolerance
from .compiled import Compiled
from .descent import like
from .free import Free, Trainable, Trained, free_values, joined, trained
from .long import LongFit, fit_in_stretches, is_long
from .result import Fit, FitStatus

# The solvers of optimistix by the names that users give.
METHODS = {"levenberg_marquardt": "LevenbergMarquardt", "gauss_newton": "GaussNewton"}


@nonfinite_allowed()
def fit_residuals(
    circuit: Circuit,
    residuals: Callable[..., Any],
    *,
    args: tuple[Any, ...] = (),
    steps: int,
    trainable: Trainable = None,
    tol: float | Array | None = None,
    method: str = "levenberg_marquardt",
    progress: bool | Report = False,
    checkpoint: str | os.PathLike[str] | None = None,
    every: int | None = None,
    throw: bool = True,
) -> Fit:
    """Moves a circuit's numbers so that a sum of squares falls.

    For tens of numbers and a smooth model this takes far fewer evaluations than `fit`, and finds
    optima from farther away. It is one compiled program, kept as that of `fit` is. It needs the
    package optimistix (`pip install "asgard[fit]"`).

    **Arguments:** `circuit`, `args`, `trainable` and `throw` as in `fit`, and

    - `residuals`: `residuals(circuit, *args)`, an array or a pytree of arrays.
    - `steps`: the largest number of evaluations of the residuals and their derivatives.
    - `tol`: the change of all free values and residuals, relative and absolute, at which the fit
      ends; by default the square root of the dtype's resolution.
    - `method`: "levenberg_marquardt" takes only steps that help. "gauss_newton" takes all steps,
      and needs a start that is near.
    - `progress`, `checkpoint`, `every`: as in `fit`, by evaluations, with the sum of squares.

    **Returns:** a `Fit`. Its losses are sums of squares: first that of the start, then after each
    evaluation that of the best numbers so far. It has no `state`: start again from its circuit.

    **Raises:** as `fit`, and `ImportError` without optimistix.

    ```python
    def residuals(circuit, ts, data):
        return ag.simulate(circuit, ts).output - data

    ag.fit_residuals(circuit, residuals, args=(ts, data), steps=50).circuit
    ```
    """
    moved = trained(circuit, trainable)
    check_count("fit_residuals", "steps", steps, least=1)
    if method not in METHODS:
        raise CircuitError(f"method must be one of {', '.join(METHODS)}, not {method!r}")
    data = as_arrays(args)
    check_function("residuals", residuals, data)
    try:
        import optimistix as _  # noqa: F401
    except ImportError as error:
        raise ImportError(
            'fit_residuals needs the package optimistix: pip install "asgard[fit]"'
        ) from error
    tol = None if tol is None else tolerance(tol)
    squares = _Squares(residuals, circuit, data, tol, moved, method)
    losses = jnp.full(steps, jnp.nan, jnp.result_type(float))
    if is_long(squares, progress, checkpoint, every, "fit_residuals"):
        work = _LongSquares(squares, losses)
        found = fit_in_stretches(work, progress, checkpoint, every)
    else:
        found = _found(*_solve(squares, losses))
    return found.check() if throw else found


class _Iteration(eqx.Module):
    """What the loop carries: the numbers, the solver's arrays, and what is recorded."""

    free: Free
    solver: tuple[Array, ...]
    losses: Float[Array, " steps"]
    loss: Float[Array, ""]
    steps: Int[Array, ""]
    status: FitStatus


def _found(end: _Iteration, circuit: Circuit) -> Fit:
    return Fit(circuit, end.losses, end.loss, end.steps, end.status)


@dataclasses.dataclass(frozen=True)
class _Loop:
    """The loop, while its program is traced.

    - `of`: the residuals as the solver calls them. `given`: the free values in their own dtypes.
    - `free`, `began`: the numbers and the solver's state before the first step. The state holds a
      program, which is another one in each trace, besides arrays that the loop carries.
    """

    solver: Any
    of: Callable[..., Any]
    given: Free
    free: Free
    began: Any

    def begin(self, losses: Array) -> _Iteration:
        """What is carried before the first step."""
        arrays = _arrays(self.began)
        loss, none = jnp.asarray(jnp.inf, losses.dtype), jnp.zeros((), int)
        return _Iteration(self.free, arrays, losses, loss, none, FitStatus.steps)

    def run(self, start: _Iteration, until: Any) -> _Iteration:
        """Takes steps up to a number, or to the end of the fit."""

        def going(now: _Iteration) -> Array:
            return (now.steps < until) & (now.status == FitStatus.steps)

        return jax.lax.while_loop(going, self._step, start)

    def _step(self, now: _Iteration) -> _Iteration:
        import optimistix

        arrays, program = eqx.partition(self.began, eqx.is_array)
        arrays = jax.tree.unflatten(jax.tree.structure(arrays), now.solver)
        state = eqx.combine(arrays, program)
        free, state, _ = self.solver.step(self.of, now.free, None, {}, state, frozenset())
        done, result = self.solver.terminate(self.of, free, None, {}, state, frozenset())
        loss = jnp.sum(state.f_info.residual**2)
        failed = ~jnp.isfinite(loss) | (result != optimistix.RESULTS.successful)
        status = FitStatus.where(done, FitStatus.converged, FitStatus.steps)
        status = FitStatus.where(failed, FitStatus.nonfinite, status)
        free = select(failed, now.free, free)
        losses = now.losses.at[now.steps].set(loss)
        loss = jnp.where(jnp.isfinite(loss), loss, now.loss)
        return _Iteration(free, _arrays(state), losses, loss, now.steps + 1, status)


def _arrays(state: Any) -> tuple[Array, ...]:
    """The arrays in a state."""
    return tuple(map(jnp.asarray, jax.tree.leaves(eqx.filter(state, eqx.is_array))))


class _Squares(eqx.Module):
    """A fit by least squares: the residuals, and what they read."""

    residuals: Callable[..., Any]
    circuit: Circuit
    args: tuple[Any, ...]
    tol: Array | None
    moved: Trained = eqx.field(static=True)
    method: str = eqx.field(static=True)

    def run(self, losses: Array) -> tuple[_Iteration, Circuit]:
        """All steps, with room for so many losses; and the circuit after them."""
        loop = self._loop()
        return self._with_circuit(loop, loop.run(loop.begin(losses), losses.shape[0]))

    def begin(self, losses: Array) -> _Iteration:
        """What the loop carries before the first step."""
        return self._loop().begin(losses)

    def advance(self, now: _Iteration, until: Array) -> tuple[_Iteration, Circuit]:
        """The same up to a step, from where the loop stands."""
        loop = self._loop()
        return self._with_circuit(loop, loop.run(now, until))

    def _with_circuit(self, loop: _Loop, end: _Iteration) -> tuple[_Iteration, Circuit]:
        return end, joined(self.circuit, like(end.free, loop.given))

    def _loop(self) -> _Loop:
        import optimistix

        given = free_values(self.circuit, self.moved)
        if any(map(jnp.iscomplexobj, given.values())):
            raise CircuitError("fit_residuals moves real numbers: for complex ones use fit")
        # In one dtype, as the solver takes it; the circuit keeps its own.
        dtype = jnp.result_type(float)
        free = {name: value.astype(dtype) for name, value in given.items()}
        residuals, own = self._residuals(given, free)
        shape = jax.ShapeDtypeStruct(own.shape, dtype)

        def of(free: Free, _: Any) -> tuple[Array, None]:
            return residuals(free).astype(dtype), None

        tol = self.tol
        if tol is None:
            coarsest = max(jnp.finfo(array.dtype).eps for array in (own, *given.values()))
            tol = jnp.sqrt(jnp.asarray(coarsest, dtype))
        solver = getattr(optimistix, METHODS[self.method])(rtol=tol, atol=tol)
        began = solver.init(of, free, None, {}, shape, None, frozenset())
        return _Loop(solver, of, given, free, began)

    def _residuals(self, given: Free, free: Free) -> tuple[Callable[[Free], Array], Any]:
        """The residuals as a function of the free values, and their shape and dtype."""

        def residuals(free: Free) -> Array:
            with traceable("the residuals"), callers_promotion():
                found = self.residuals(joined(self.circuit, like(free, given)), *self.args)
            return as_vector(found)

        # Traced once, and not wherever the solver calls it.
        residuals = eqx.filter_closure_convert(residuals, free)
        own = jax.eval_shape(residuals, free)
        count = sum(value.size for value in given.values())
        if own.size < count:
            raise CircuitError(
                f"{own.size} residual{'s'[: own.size != 1]} for {count} numbers: return all "
                "residuals, not their sum of squares, or make fewer numbers trainable"
            )
        return residuals, own


_solve, _begin = Compiled(_Squares.run), Compiled(_Squares.begin)
_advance = Compiled(_Squares.advance)


class _LongSquares(LongFit):
    """Least squares in stretches."""

    def __init__(self, squares: _Squares, losses: Array):
        super().__init__(_begin(squares, losses), squares)
        self.squares = squares

    def until(self, now: _Iteration, step: Array) -> tuple[_Iteration, Circuit]:
        return _advance(self.squares, now, step)

    def result(self, now: _Iteration, status: FitStatus) -> Fit:
        return dataclasses.replace(_found(now, self.circuit), status=status)


def as_vector(residuals: Any) -> Array:
    """Residuals as one vector of real numbers."""
    leaves = jax.tree.leaves(residuals)
    if not leaves or not all(eqx.is_array_like(leaf) for leaf in leaves):
        raise CircuitError(f"residuals must be arrays, not {residuals!r:.60}")
    vector = ravel_pytree(residuals)[0]
    if not jnp.issubdtype(vector.dtype, jnp.floating) or vector.size == 0:
        raise CircuitError(f"residuals must be real numbers, not {vector.size} of {vector.dtype}")
    return vector
