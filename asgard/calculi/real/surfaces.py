"""What a state does where a branch ends: it may be driven back there from both sides, or rest.

Everything here may have lanes: one more axis at the end.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from .system import EventLayout, Point, System, any_of

# A guard is back at zero within this part of a step where the rates lead it back.
AT_ONCE = 1e-3


def across_jump(
    system: System,
    layout: EventLayout,
    before: Point,
    after: Point,
    fired: Array,
    direction: Array,
) -> tuple[Array, Array, Array]:
    """The guards before a jump and after it; and whether it is one of branches alone whose guards
    all move back to zero at once: then the rates on both sides lead there, and the state slides."""

    # One loop, so that what a jump does not move is not rounded another way after it.
    def both(read: Callable[[Array], Any]) -> Any:
        return lax.map(read, jnp.stack([before.state, after.state]))

    if not np.any(layout.branches):
        guards = both(lambda state: system.guards(after.time, state))
        return guards[0], guards[1], jnp.zeros(after.time.shape, bool)
    rates = system.field(after.time, after.state) * direction.astype(after.state.dtype)
    along = jnp.broadcast_to(direction, after.time.shape)

    def pushed(state: Array) -> tuple[Array, Array]:
        return jax.jvp(system.guards, (after.time, state), (along, rates))

    (first, guards), (_, slopes) = both(pushed)
    within = (AT_ONCE * after.step).astype(guards.dtype) * slopes
    returns = (slopes > 0) & (guards + within > 0) & _of_guards(layout.branches, after)
    return first, guards, jnp.all(returns | ~fired, axis=0)


def ends_at_rest(
    layout: EventLayout, point: Point, rests: Array, change: Callable[[Array], Array]
) -> Array:
    """Which guards stay at zero along a step, as `rests` says, where their branch is another one:
    `x > 0` is false of an x that has come down to 0 and stays there.

    `change` is what the state changes by where guards have fired.
    """
    if not np.any(layout.branches):
        return jnp.zeros_like(rests)
    asked = rests & _of_guards(layout.branches, point)

    def moved() -> Array:
        entries = change(asked) != 0
        rows = [np.flatnonzero(layout.entries == guard) for guard in range(layout.guards)]
        return jnp.stack([jnp.any(entries[row], axis=0) for row in rows])

    return lax.cond(any_of(jnp.any(asked, axis=0)), moved, lambda: jnp.zeros_like(asked))


def _of_guards(flags: np.ndarray, point: Point) -> np.ndarray:
    """What is said of each guard, beside values of some lanes."""
    return flags.reshape(-1, *(1,) * point.time.ndim)
