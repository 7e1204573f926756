"""The stages of a step of a known size, from its start alone, exact to rounding.

Their derivatives come from the implicit function theorem. With M = D - h J, where J holds the exact
Jacobians at the stages, M dz is by how much h f moves at fixed z. So the tangent is one linear
solve, whatever the iterations did, and reverse mode transposes it.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun
from jaxtyping import Array

from .....jaxprs.reductions import largest
from .....jaxprs.sparsity import Pattern
from .....jaxprs.trees import select
from ...system import System
from .factors import Factors, factored
from .krylov import GMRES, krylov
from .stages import Stages, correction, rounding
from .tableau import Tableau

# Turns after which stages, or linear systems, are given up.
TURNS = 60
# Factors are made anew where a turn shrinks the change by less.
SLOW = 0.1
# Changes that shrink no more are rounding if they are below so many units of it.
NOISE = 1e4


class _Iteration(eqx.Module):
    """Where corrections of z stand: its factors, the size of the last change in units of rounding,
    which lanes want new factors, which are not done, and the turns taken."""

    z: Array
    factors: Any
    moved: Array
    renews: Any
    active: Array
    turns: Array


@dataclasses.dataclass(frozen=True, eq=False)
class _Equations:
    """The system's programs as functions of the stages and of what they close over."""

    table: Tableau
    slopes: Callable[..., Array]  # (z, stages, *constants) -> h f
    linear: "Factored | Matrixless"

    def factors(self, z: Array, stages: Stages, constants: Any, adjoint: bool = False) -> Factors:
        """What solves the linear systems, with the Jacobian in the middle of the step."""
        return self.linear.factors(self.table, z, stages, constants, adjoint)


@dataclasses.dataclass(frozen=True, eq=False)
class Factored:
    """Linear systems solved by factors of the Jacobian."""

    jacobian: Callable[..., Array]  # (z, stages, *constants) -> h J in the middle of the step
    pattern: Pattern | None
    keeps: ClassVar[bool] = True

    def factors(
        self, table: Tableau, z: Array, stages: Stages, constants: Any, adjoint: bool
    ) -> Factors:
        matrix = self.jacobian(z, stages, *constants)
        count = stages.differential
        return factored(table, matrix, count, self.pattern, adjoint, bounded=True)


@dataclasses.dataclass(frozen=True, eq=False)
class Matrixless:
    """Linear systems solved by products."""

    options: GMRES
    move: Callable[..., Array]  # (x, z, stages, *constants) -> h f in the middle, moved by x
    precondition: Callable[..., Array] | None  # (scale, vector, z, stages, *constants)
    count: int  # how many of the constants are those of `move`
    keeps: ClassVar[bool] = False

    def factors(
        self, table: Tableau, z: Array, stages: Stages, constants: Any, adjoint: bool
    ) -> Factors:
        moving, rest = constants[: self.count], constants[self.count :]
        fn = self.precondition

        def precondition(scale: Array, vector: Array) -> Array:
            assert fn is not None
            return fn(scale, vector, z, stages, *rest)

        return krylov(
            self.options,
            table,
            lambda x: self.move(x, z, stages, *moving),
            stages.state,
            stages.offset,
            stages.differential,
            fn and precondition,
        )


def collocate(
    system: System, table: Tableau, stages: Stages, options: GMRES | None = None
) -> Array:
    """The stages z, `[stages, state, *lanes]`; NaN where none are found.

    They are differentiable in `stages` and in what the system's field closes over. `options` say
    how linear systems are solved without factors.
    """
    z = jnp.zeros((table.stages, *stages.state.shape), stages.state.dtype)

    def slopes(z: Array, stages: Stages) -> Array:
        return stages.slopes(system, z)

    slopes, field = _converted(slopes, z, stages)
    if options is None:
        linear, constants = _by_factors(system, z, stages)
    else:
        linear, constants = _by_products(system, options, z, stages)
    return _solved(_Equations(table, slopes, linear), stages, field, constants)


def _by_factors(system: System, z: Array, stages: Stages) -> tuple[Factored, list[Any]]:
    """How linear systems are solved with a matrix, and what that closes over."""

    def jacobian(z: Array, stages: Stages) -> Array:
        assert system.jacobian is not None
        return stages.offset * system.jacobian(*stages.whole(len(z) // 2, z))

    fn, constants = _converted(jacobian, z, stages)
    return Factored(fn, system.pattern), constants


def _by_products(
    system: System, options: GMRES, z: Array, stages: Stages
) -> tuple[Matrixless, list[Any]]:
    """How linear systems are solved without a matrix, and what that closes over."""
    like, size = stages.state, len(stages.state)

    def move(x: Array, z: Array, stages: Stages) -> Array:
        time, state = stages.whole(len(z) // 2, z + x[None])
        return stages.offset * system.field(time, state)[:size]

    fn, constants = _converted(move, like, z, stages)
    if system.precondition is None:
        return Matrixless(options, fn, None, len(constants)), constants
    solve = system.precondition

    def precondition(scale: Array, vector: Array, z: Array, stages: Stages) -> Array:
        return solve(*stages.whole(len(z) // 2, z), scale, vector)

    dtype = jnp.result_type(like.dtype, jnp.complex64)
    scale, vector = stages.offset.astype(dtype), like.astype(dtype)
    rough, more = _converted(precondition, scale, vector, z, stages)
    return Matrixless(options, fn, rough, len(constants)), [*constants, *more]


def _converted(fn: Callable[..., Array], *operands: Any) -> tuple[Callable[..., Array], list[Any]]:
    """A function that takes what it closes over as further operands, and the values of these.

    `jax.closure_convert` leaves whole numbers inside, such as indices that an equation closes over.
    """
    closed = jax.make_jaxpr(fn)(*operands)

    def run(*values: Any) -> Array:
        count = len(operands)
        constants = [jnp.asarray(value) for value in values[count:]]
        leaves = jax.tree.leaves(values[:count])
        return jaxpr_as_fun(ClosedJaxpr(closed.jaxpr, constants))(*leaves)[0]

    return run, list(map(jnp.asarray, closed.consts))


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _solved(equations: _Equations, stages: Stages, field: Any, jacobian: Any) -> Array:
    table = equations.table

    def turn(now: _Iteration) -> _Iteration:
        factors = _renewed(equations, now, stages, jacobian)
        residual = equations.slopes(now.z, stages, *field) - stages.rates(table, now.z)
        step = correction(table, factors, residual).z
        noise = rounding(factors, largest(jnp.abs(stages.state[None] + now.z)))
        moved, ratio, done = _measured(step, noise, now.moved)
        z = jnp.where(now.active, now.z + step, now.z)
        factors = factors if equations.linear.keeps else None
        return _Iteration(z, factors, moved, ratio > SLOW, now.active & ~done, now.turns + 1)

    z = jnp.zeros((table.stages, *stages.state.shape), stages.state.dtype)
    yes = jnp.ones(stages.offset.shape, bool)
    factors = None
    if equations.linear.keeps:
        blank = jax.eval_shape(lambda: equations.factors(z, stages, jacobian))
        factors = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), blank)
    infinite = jnp.full_like(stages.offset, jnp.inf)
    start = _Iteration(z, factors, infinite, yes, yes, jnp.int32(0))
    end = lax.while_loop(_goes_on, turn, start)
    return jnp.where(end.active, jnp.nan, end.z)


def _renewed(equations: _Equations, now: _Iteration, stages: Stages, constants: Any) -> Factors:
    """What solves the linear systems of a turn: new factors in lanes that want them."""
    if not equations.linear.keeps:
        return equations.factors(now.z, stages, constants)
    renews = now.renews & now.active

    def renewed() -> Factors:
        new = equations.factors(now.z, stages, constants)
        return select(renews, new, now.factors)

    return lax.cond(jnp.any(renews), renewed, lambda: now.factors)


@_solved.defjvp
def _differentiate(equations: _Equations, primals: Any, tangents: Any) -> tuple[Array, Array]:
    stages, field, jacobian = primals
    z, table = _solved(equations, stages, field, jacobian), equations.table

    def at_fixed(stages: Stages, field: Any) -> Array:
        return equations.slopes(z, stages, *field)

    _, right = jax.jvp(at_fixed, (stages, field), tuple(tangents[:2]))
    _, push = jax.linearize(lambda z: equations.slopes(z, stages, *field), z)
    known = lax.stop_gradient((z, stages, jacobian))
    factors = equations.factors(*known, adjoint=True)

    def product(v: Array) -> Array:
        return stages.rates(table, v) - push(v)

    def solve(transposed: bool) -> Callable[..., Array]:
        return lambda product, right: _linear_solve(table, factors, product, right, transposed)

    return z, lax.custom_linear_solve(product, right, solve(False), solve(True))


def _linear_solve(
    table: Tableau, factors: Factors, product: Callable, right: Array, transposed: bool
) -> Array:
    """The v with product(v) = right, by corrections of what is missing; NaN if they fail."""

    def turn(now: _Iteration) -> _Iteration:
        step = correction(table, factors, right - product(now.z), transposed).z
        after = now.z + step
        noise = rounding(factors, largest(jnp.abs(after)), transposed)
        # Products of small numbers underflow, and what they miss is no part of the bound.
        noise += jnp.finfo(noise.dtype).tiny / jnp.finfo(noise.dtype).eps ** 2
        moved, _, done = _measured(step, noise, now.moved)
        z = jnp.where(now.active, after, now.z)
        return _Iteration(z, None, moved, None, now.active & ~done, now.turns + 1)

    lanes = right.shape[2:]
    infinite = jnp.full(lanes, jnp.inf, right.dtype)
    yes = jnp.ones(lanes, bool)
    start = _Iteration(jnp.zeros_like(right), None, infinite, None, yes, jnp.int32(0))
    end = lax.while_loop(_goes_on, turn, start)
    return jnp.where(end.active, jnp.nan, end.z)


def _goes_on(now: _Iteration) -> Array:
    return jnp.any(now.active) & (now.turns < TURNS)


def _measured(step: Array, noise: Array, before: Array) -> tuple[Array, Array, Array]:
    """A change in units of rounding, by what it shrank, and whether it was the last."""
    step = largest(lax.abs(step))
    moved = largest(step / (noise + jnp.finfo(step.dtype).tiny))
    ratio = moved / before
    done = (moved <= 1) | ((moved <= NOISE) & (ratio > 0.5))
    return moved, ratio, done
