"""The rule of fixed points: every order past the first is one linear solve with one inverse.

With z = g(a, z), coefficient n of g is linear in z_n: g_n = r_n + J z_n, where J is the Jacobian at
order 0 and r_n depends on lower orders. So z_n = (1 - J)^-1 r_n. A step with z_n = 0 gives r_n, and
a step with z_n gives the memory. (Griewank and Walther, *Evaluating Derivatives*, 2nd
ed., 2008, section 13.3, for implicit functions.)
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import ClosedJaxpr
from jaxtyping import Array

from ...fixed_points.implicit import FACTS, NUMBERS, Loop
from ...fixed_points.linear import DENSE, SMALL, add_to_diagonal, inverse, iterative_solve
from ..rule import Application, Need, Rule
from ..series import Order, Series
from .inner import Inner


def fixed_point(application: Application) -> Rule:
    """The rule of `asgard_fixed_point`: a step with z_n = 0, a solve, a step with z_n.

    The operands are the loop's inputs, the guesses and the numbers of a `FixedPoint`. The outputs
    are the unknowns, the other wires, and the facts, which have no series.
    """
    equation, carried = application.equation, application.carried
    loop, size = equation.params["call"], equation.params["size"]
    ins, unknowns, layout = loop.ins, loop.unknowns, loop.layout
    flags, lanes = equation.params["laned"][:ins], (size,) if size else ()
    inner = Inner(
        _body(loop, flags, size),
        series=(*carried[:ins], *[True] * unknowns),
        given=(*[True] * ins, *[False] * unknowns),
    )
    dense = layout.size <= DENSE

    def start(*operands: Any) -> Sequence[Any]:
        values = equation.bind(*operands)
        fixed, z = operands[:ins], values[:unknowns]
        _, histories, held = inner.start([*fixed, *z])
        kept = [_inverse(loop, flags, size, fixed, z)] if dense else []
        return [*values, *histories, *kept, *held]

    def step(n: Order, operands: list[Any], series: list[Series]) -> list[Array]:
        fixed, kept = operands[:ins], operands[len(carried) :]
        held = kept[dense:]
        histories = [one.body for one in series]

        def body(z: Sequence[Array]) -> tuple[list[Array], list[Array]]:
            return inner.step(n, [*fixed, *(Series([], one) for one in z)], histories, held)

        def g(vector: Array) -> Array:
            results, _ = body(layout.unpack(vector))
            return layout.pack(results[:unknowns])

        nothing = jnp.zeros((layout.size, *lanes), layout.dtype)
        z = layout.unpack(_times(kept[0], g(nothing)) if dense else _solved(g, nothing))
        results, after = body(z)
        return [*z, *results[unknowns:], *after]

    others = len(equation.outs) - FACTS
    return Rule(
        start,
        step,
        held=dense + len(inner.held),
        outputs=(*[True] * others, *[False] * FACTS),
        needs=(*inner.needs[:ins], *[Need.NOTHING] * (unknowns + NUMBERS)),
        own=False,
    )


def _inverse(
    loop: Loop, flags: Sequence[bool], size: int, fixed: Sequence[Any], z: Sequence[Any]
) -> Array:
    """(1 - J)^-1 at order 0."""

    def one(fixed: Sequence[Any], z: Sequence[Any]) -> Array:
        return inverse(add_to_diagonal(-loop.jacobian(fixed, z), 1.0))

    if not size:
        return one(fixed, z)
    axes = ([-1 if flag else None for flag in flags], [-1] * len(z))
    return jax.vmap(one, in_axes=axes, out_axes=-1, axis_size=size)(list(fixed), list(z))


def _times(matrix: Array, vector: Array) -> Array:
    if matrix.ndim == 2 and matrix.shape[0] > SMALL:
        return matrix @ vector
    return jnp.sum(matrix * vector[None], axis=1)


def _solved(g: Any, nothing: Array) -> Array:
    """The z with z = g(z), of an affine g."""
    right, push = jax.linearize(g, nothing)
    return lax.custom_linear_solve(lambda s: s - push(s), right, iterative_solve, iterative_solve)


def _body(loop: Loop, flags: Sequence[bool], size: int) -> ClosedJaxpr:
    """The body, over all lanes where there are any."""
    if not size:
        return loop.body
    axes = [-1 if flag else None for flag in (*flags, *[True] * loop.unknowns)]
    run = jax.vmap(loop.run, in_axes=axes, out_axes=-1, axis_size=size)
    return jax.make_jaxpr(run)(
        *(
            jax.ShapeDtypeStruct((*aval.shape, size) if axis else aval.shape, aval.dtype)
            for aval, axis in zip(loop.body.in_avals, axes, strict=True)
        )
    )
