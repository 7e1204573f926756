"""Whether a run's fixed points were found: its status and stats.

Inside a run, a solve that does not converge gives NaN, and the run stops there. `Real` evaluates
the loops once more after the run, at the saved states and where it stopped, to see how they were
solved. Calculi of fixed steps see it as they go.
"""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ..status import Status


class Solves(eqx.Module):
    """How each loop was solved, at each of some points."""

    turns: Int[Array, "*points loops"]
    residual: Float[Array, "*points loops"]
    failed: Bool[Array, "*points loops"]


def judge(
    solves: Solves, found: Array, status: Status, count: int
) -> tuple[Array, Status, dict[str, Array]]:
    """The number of good saved times, the status, and the stats.

    `solves` are those at `count` saved times, of which the run reached `found`, and then those at
    two points where it stands.
    """
    saved = jnp.arange(solves.failed.shape[0]) < found
    at_end = jnp.arange(solves.failed.shape[0]) >= count
    stopped = (status == Status.nonfinite) | (status == Status.step_size)
    stopped |= status == Status.newton
    failed = solves.failed & (saved | (at_end & stopped))[:, None]
    rows = jnp.any(failed, axis=1)
    good = jnp.minimum(found, jnp.argmax(jnp.append(rows[:count], True)))
    status = Status.where(jnp.any(rows), Status.not_converged, status)
    # Of those that failed, or else of all.
    return good, status, facts(solves, jnp.where(jnp.any(rows), failed, saved[:, None]))


def facts(solves: Solves, counted: Array) -> dict[str, Array]:
    """The stats of the solves that count; `counted` is `[points, loops]`."""
    residual = jnp.where(jnp.isnan(solves.residual), jnp.inf, solves.residual)
    residual = jnp.max(jnp.where(counted, residual, 0), axis=0)
    turns = jnp.max(jnp.where(counted, solves.turns, 0))
    # Where all miss by nothing, the one that took longest would do as well: the first is named.
    loop = jnp.argmax(jnp.where(jnp.any(counted, axis=0), residual, -1))
    return {"iterations": turns, "residual": residual[loop], "loop": loop}


def worst(first: Any, *others: Any) -> Any:
    """The maxima over several solves of the same loops: turns, residual, and whether any failed.
    None if there are no loops."""
    return jax.tree.map(lambda *x: functools.reduce(jnp.maximum, x), first, *others)
