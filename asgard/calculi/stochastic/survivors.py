"""A function of many paths, of which some end, with the derivatives of those that survive.

The cotangent of a path that ends is 0, but its derivatives may be infinite, and 0 times infinity is
NaN. The cotangents of a circuit's numbers are sums over paths, so one such path would spoil them.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun
from jaxtyping import Array, Bool

from ...jaxprs.concrete import runs_eagerly
from ...jaxprs.settings import default_promotion
from ..rows import chosen


def of_survivors(
    fn: Callable[..., Any],
    rows: Any,
    spare: Any,
    alive: Bool[Array, " paths"],
    survive: Callable[[Any], Bool[Array, " paths"]],
) -> Any:
    """fn of each path's row, with derivatives of the paths that survive, and 0 for the others.

    **Arguments:** `rows` is a tree of arrays `[paths, …]`, and `spare` one row. A path survives
    where it is `alive` before, and `survive(results)` says so after.

    **Returns:** the results of fn, `[paths, …]`.

    The derivatives of a path that ends are taken at a row that survives, and multiplied by 0. Where
    no path survives they are 0.
    """
    leaves, structure = jax.tree.flatten(rows)
    (count,) = alive.shape
    if runs_eagerly(rows):
        each = (jax.tree.unflatten(structure, row) for row in zip(*leaves, strict=True))
        return jax.tree.map(lambda *parts: jnp.stack(parts), *(fn(*row) for row in each))
    mapped = jax.vmap(lambda *row: fn(*jax.tree.unflatten(structure, row)), axis_size=count)
    closed, types = jax.make_jaxpr(mapped, return_shape=True)(*leaves)
    results = jax.tree.structure(types)
    # What fn closes over has derivatives too, so all of it is an argument.
    outside, inside = closed.jaxpr.constvars, closed.jaxpr.invars
    jaxpr = closed.jaxpr.replace(constvars=(), invars=(*outside, *inside))
    evaluate = jaxpr_as_fun(ClosedJaxpr(jaxpr, ()))

    @jax.custom_jvp
    def run(constants: Any, leaves: Any, spare: Any, alive: Array) -> list[Array]:
        del spare, alive
        return evaluate(*constants, *leaves)

    @run.defjvp
    @default_promotion()
    def _(primals: Any, tangents: Any) -> Any:
        constants, leaves, spare, alive = primals
        found = run(*primals)
        good = alive & survive(jax.tree.unflatten(results, found))
        one = jnp.argmax(good)
        sound = [
            chosen(good, row, jnp.where(good[one], row[one], other))
            for row, other in zip(leaves, spare, strict=True)
        ]
        dots = [*tangents[0], *tangents[1]]
        return found, _tangents(evaluate, good, [*constants, *sound], dots)

    return jax.tree.unflatten(results, run(closed.consts, leaves, jax.tree.leaves(spare), alive))


def _tangents(evaluate: Any, good: Array, primals: list[Array], dots: list[Any]) -> list[Any]:
    """The tangents of what `evaluate` gives at some primals, 0 in the rows that are not good.

    Where no row is good the tangents that go in are 0, too: its transpose selects 0 for their
    cotangents, which may be NaN. A branch would do the same, but has no transpose under `jax.vmap`.
    """
    some = jnp.any(good)

    def kept(tangent: Any) -> Any:
        moves = tangent.dtype != jax.dtypes.float0
        return jnp.where(some, tangent, jnp.zeros_like(tangent)) if moves else tangent

    tangents = jax.jvp(evaluate, tuple(primals), tuple(map(kept, dots)))[1]
    return [
        dot if dot.dtype == jax.dtypes.float0 else chosen(good, dot, jnp.zeros_like(dot))
        for dot in tangents
    ]
