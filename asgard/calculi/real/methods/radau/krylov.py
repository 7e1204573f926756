"""The linear systems of Newton's iterations without a matrix: GMRES on products by the Jacobian.

A system of the tableau is mass - s J with the complex number s = h / (a - b i). It is solved as a
real one, for real and imaginary parts side by side: `[systems, parts, n, *lanes]`. The error of a
solution is at most about what is left of the residual where nothing grows faster than 1 / s, and so
is measured in the units of the state.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from .....circuits.fields import check_count
from .....errors import CircuitError
from .....fixed_points.gmres import gmres
from .....fixed_points.rounding import norm
from .....jaxprs.fences import largest_of
from .....jaxprs.own_functions import check_takes
from .factors import Factors, Solved
from .stages import differential
from .tableau import Tableau


class GMRES(eqx.Module):
    """How `ag.Radau` solves its linear systems without forming a matrix: by GMRES.

    For large stiff systems whose Jacobian is neither small, nor a band, nor has few colors, such as
    partial differential equations in two dimensions and dense couplings of thousands of states.
    Products by the Jacobian are derivatives of the equation along a vector.

    **Arguments:**

    - `rtol`: what part of its right-hand side a solve may leave. The Newton iterations around it
      are inexact: what is left is the next one's to find, and none ends before all of it is below
      what the tolerances of the run allow.
    - `restart`: after how many products GMRES starts anew from where it came. It keeps two vectors
      of the size of the state for each in memory.
    - `max_steps`: how many products a solve may take, or up to `restart` more. One that needs more
      has failed: the step is tried again at a smaller size, at last with the status `newton`. In a
      derivative, whose steps are those of the run, it makes NaN.
    - `preconditioner`: a function `fn(time, state, scale, vector)` that gives about
      (I - scale J)^-1 vector, where J is the Jacobian of the equation at `time` and `state`, a
      vector of what the registers hold, one after another, `[n]`. `scale` is a complex number of
      about the size of the step, and `vector` is complex, `[n]`. The result must be linear in
      `vector`, and may close over traced numbers. It is applied from the right: how good
      it is decides how many products there are, and not when they are enough. Like all functions,
      it is compared by identity: define it once, and not anew for each run.

    **Raises:** `CircuitError` for numbers out of range, and for a preconditioner that is no
    function of these, or gives another shape or real numbers.

    Sources: Saad and Schultz, *GMRES*, SIAM J. Sci. Stat. Comput. 7, 1986; Brown and Hindmarsh,
    *Matrix-free methods for stiff systems of ODE's*, SIAM J. Numer. Anal. 23, 1986.

    ```python
    method = ag.Radau(3, linear=ag.GMRES())
    ag.simulate(circuit, ts, calculus=ag.Real(method=method, rtol=1e-5, atol=1e-8))
    ```
    """

    rtol: Any = eqx.field(static=True, default=0.05)
    restart: Any = eqx.field(static=True, default=30)
    max_steps: Any = eqx.field(static=True, default=150)
    preconditioner: Any = eqx.field(static=True, default=None)

    def __check_init__(self):
        check_count("GMRES", "restart", self.restart, 1)
        check_count("GMRES", "max_steps", self.max_steps, 1)
        if type(self.rtol) not in (int, float) or not 0 < self.rtol < 1:
            raise CircuitError(f"GMRES: rtol must be a number between 0 and 1, not {self.rtol!r}")
        fn = self.preconditioner
        if fn is None:
            return
        if not callable(fn):
            raise CircuitError(
                "GMRES: preconditioner must be a function of time, state, scale and vector, not "
                f"{fn!r}"
            )
        check_takes("GMRES: preconditioner", fn, "time", "state", "scale", "vector")
        try:
            hash(fn)
        except TypeError:
            raise CircuitError(
                "GMRES: preconditioner must be a function, which is compared by identity; give "
                "arrays to it by a closure"
            ) from None


class Krylov(Factors):
    """What solves the systems of one step by products.

    - `push`: v to h J v, `[n, *lanes]`.
    - `precondition`: None, or from a complex scale `[*lanes]` and vector `[n, *lanes]` to about
      (I - scale J)^-1 vector.
    - `offset`: h. `unit`: what errors of the state are measured in, by entry.
    - `rtol`, `goal`: a solve may leave this part of its residual, or so much in these units.
    - `differential`: how many entries of a state have a derivative.
    """

    table: Tableau = eqx.field(static=True)
    options: GMRES = eqx.field(static=True)
    push: Callable[[Array], Array]
    precondition: Callable[[Array, Array], Array] | None
    offset: Float[Array, "*lanes"]
    differential: int = eqx.field(static=True)
    unit: Float[Array, "n *lanes"]
    rtol: float = eqx.field(static=True)
    goal: float = eqx.field(static=True)

    def measured(self, unit: Array, goal: float, rtol: float | None = None) -> "Krylov":
        rtol = self.options.rtol if rtol is None else rtol
        return dataclasses.replace(self, unit=unit, rtol=rtol, goal=goal)

    def solve(self, real: Array, imaginary: Array, transposed: bool) -> Solved:
        numbers = self.table.real - 1j * self.table.imaginary
        # From the errors of systems to those of stages.
        factor = float(np.max(np.sum(np.abs(self.table.to_stages), axis=1)))
        goal = self.goal / factor
        first = self._solved(numbers[:1], real[:1, None], goal, transposed)
        pairs = jnp.stack([real[1:], imaginary[1:]], 1)
        others = self._solved(numbers[1:], pairs, goal, transposed)
        x = lax.concatenate([first.x[:, 0], others.x[:, 0]], 0)
        y = lax.concatenate([jnp.zeros_like(first.x[:, 0]), others.x[:, 1]], 0)
        return Solved(x, y, factor * lax.max(first.left, others.left))

    def solve_real(self, right: Array) -> Array:
        numbers = self.table.real[:1] + 0j
        return self._solved(numbers, right[None, None], self.goal, False).x[0, 0]

    def spread(self, values: Array, transposed: bool) -> Array:
        # Large systems are measured as a whole.
        return jnp.broadcast_to(jnp.max(values, axis=0), values.shape)

    def _solved(self, numbers: np.ndarray, right: Array, goal: float, transposed: bool) -> "_Found":
        """The solutions of systems, `[systems, parts, n, *lanes]`, NaN where none are found."""
        shape, flat = right.shape, (right.shape[0], -1, *right.shape[3:])
        scale = self._scale(self._divided(numbers, right) if not transposed else None)

        def into(right: Array) -> Array:
            return self._divided(numbers, right) / scale

        def back(v: Array) -> Array:
            return self._preconditioned(numbers, scale * v)

        def product(v: Array) -> Array:
            v = back(v)
            moved = self._divided(numbers, jax.vmap(jax.vmap(self.push))(v))
            return (differential(v, self.differential, 2) - moved) / scale

        maps = (into, product, back)
        if transposed:
            maps = tuple(_transpose(fn, right) for fn in (back, product, into))
        before, linear, after = maps
        start = before(right).reshape(flat)
        tolerance = jnp.maximum(self.rtol * norm(start, 1), goal)
        found = gmres(
            lambda v: linear(v.reshape(shape)).reshape(flat),
            start,
            tolerance,
            self.options.restart,
            self.options.max_steps,
        )
        x = jnp.where(found.solved[:, None], found.x, jnp.nan).reshape(shape)
        left = lax.abs(found.left.reshape(shape)) * (scale / self.unit)
        return _Found(after(x), largest_of(left, (0, 1, 2)))

    def _scale(self, right: Array | None) -> Array:
        """What entries of vectors are measured in. None is much smaller than what rounding moves,
        so that all squares stay in the range of the dtype."""
        largest = lax.reduce_max(self.unit, (0,))
        if right is not None:
            largest = lax.max(largest, lax.reduce_max(lax.abs(right), (0, 1, 2)))
        resolution = jnp.finfo(self.unit.dtype)
        return self.unit + (resolution.eps * largest + resolution.tiny)

    def _divided(self, numbers: np.ndarray, values: Array) -> Array:
        """Values by (a - b i); those of unknowns of loops, which have no derivative, by h."""
        found = _times(1 / numbers, values)
        if self.differential == values.shape[2]:
            return found
        offset = jnp.where(self.offset == 0, 1, self.offset)
        entries = lax.broadcasted_iota(jnp.int32, values.shape, 2)
        return jnp.where(entries < self.differential, found, values / offset)

    def _preconditioned(self, numbers: np.ndarray, values: Array) -> Array:
        """Roughly the solutions for right-hand sides that are `_divided`."""
        precondition = self.precondition
        if precondition is None:
            return values
        dtype = jnp.result_type(values.dtype, jnp.complex64)
        scales = jnp.asarray(1 / numbers, dtype).reshape(-1, *(1,) * self.offset.ndim) * self.offset
        real = values[:, 0]
        imaginary = values[:, 1] if values.shape[1] > 1 else jnp.zeros_like(real)
        found = jax.vmap(precondition)(scales, lax.complex(real, imaginary))
        parts = (found.real, found.imag)[: values.shape[1]]
        return jnp.stack(parts, 1)


def krylov(
    options: GMRES,
    table: Tableau,
    move: Callable[[Array], Array],
    state: Float[Array, "n *lanes"],
    offset: Float[Array, "*lanes"],
    differential: int,
    precondition: Callable[[Array, Array], Array] | None,
) -> Krylov:
    """What solves the systems of a step, to rounding until it is `measured`.

    **Arguments:** `move(x)` is h f where the state is moved by x, `[n, *lanes]`; its derivatives
    are taken at `state`, that is at x = 0.
    """
    _, push = jax.linearize(move, jnp.zeros_like(state))
    sizes = lax.abs(state)
    # An entry that is 0 has no size of its own.
    least = jnp.finfo(state.dtype).eps ** 0.5 * lax.reduce_max(sizes, (0,))
    unit = sizes + (least + jnp.finfo(state.dtype).tiny)
    return Krylov(table, options, push, precondition, offset, differential, unit, options.rtol, 0.0)


class _Found(eqx.Module):
    """Solutions, and the largest entry of what is left of their residuals, in units."""

    x: Array
    left: Array


def _transpose(fn: Callable[[Array], Array], like: Array) -> Callable[[Array], Array]:
    transposed = jax.linear_transpose(fn, like)
    return lambda v: transposed(v)[0]


def _times(numbers: np.ndarray, values: Array) -> Array:
    """The product of a complex number for each system by `[systems, parts, ...]`; one part alone is
    real, and so is its number."""
    shape = (-1, *(1,) * (values.ndim - 2))
    parts = np.real(numbers), np.imag(numbers)
    real, imaginary = (jnp.asarray(x, values.dtype).reshape(shape) for x in parts)
    if values.shape[1] == 1:
        return real[:, None] * values
    x, y = values[:, 0], values[:, 1]
    return jnp.stack([real * x - imaginary * y, imaginary * x + real * y], 1)
