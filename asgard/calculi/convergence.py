"""Whether the fixed points of a run were found, as its status and stats say it.

Inside a run a solve that does not converge gives NaN, at which the run stops. Under `Real` the
loops are afterwards evaluated once more, at the saved states and where the run stopped, and asked
how it went; calculi of fixed steps ask as they go.
"""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ..status import Status
from .real.system import Point, polynomial_at


class Solves(eqx.Module):
    """How each loop was solved, at each of some points."""

    turns: Int[Array, "*points loops"]
    residual: Float[Array, "*points loops"]
    failed: Bool[Array, "*points loops"]


def ends(point: Point, coefficients: Array, direction: Array) -> tuple[Array, Array]:
    """Two points, `[2]` and `[2, state]`: where a run stands, and just past that.

    A step that ends where a loop ceases to have a solution ends short of it by what time resolves.
    """
    offset = 16 * direction * jnp.finfo(point.time.dtype).eps * jnp.abs(point.time)
    after = polynomial_at(coefficients, offset)
    return (
        jnp.stack([point.time, point.time + offset]),
        jnp.stack([point.state, jnp.where(jnp.isfinite(after), after, point.state)]),
    )


def judge(
    solves: Solves, found: Array, status: Status, count: int
) -> tuple[Array, Status, dict[str, Array]]:
    """How many saved times are good, the status, and the stats.

    `solves` are those at `count` saved times, of which the run came to `found`, and then at its
    ends.
    """
    saved = jnp.arange(solves.failed.shape[0]) < found
    at_end = jnp.arange(solves.failed.shape[0]) >= count
    stopped = (status == Status.nonfinite) | (status == Status.step_size)
    failed = solves.failed & (saved | (at_end & stopped))[:, None]
    rows = jnp.any(failed, axis=1)
    good = jnp.minimum(found, jnp.argmax(jnp.append(rows[:count], True)))
    status = Status.where(jnp.any(rows), Status.not_converged, status)
    # Of those that failed, or else of all.
    return good, status, facts(solves, jnp.where(jnp.any(rows), failed, saved[:, None]))


def facts(solves: Solves, counted: Array) -> dict[str, Array]:
    """What the stats say of the solves that count, `[points, loops]`."""
    residual = jnp.where(jnp.isnan(solves.residual), jnp.inf, solves.residual)
    residual = jnp.max(jnp.where(counted, residual, 0), axis=0)
    turns = jnp.max(jnp.where(counted, solves.turns, 0))
    # Where all miss by nothing, the one that took longest would do as well: the first is named.
    loop = jnp.argmax(jnp.where(jnp.any(counted, axis=0), residual, -1))
    return {"iterations": turns, "residual": residual[loop], "loop": loop}


def worst(first: Any, *others: Any) -> Any:
    """Of the solves of the same loops at some points the most turns, the most that one misses by,
    and whether any failed; None where there are no loops."""
    return jax.tree.map(lambda *x: functools.reduce(jnp.maximum, x), first, *others)
