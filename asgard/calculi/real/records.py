"""What a run keeps of the events that it watches."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Int

from .methods.method import JUMP, Mark
from .path import packed_flags
from .system import EventLayout, Point

Write = Callable[[Array, Array, Array], Array]


class Records(eqx.Module):
    """The times of events, the states just before any jump there, and which guards have fired, as
    `packed_flags`. The last row of each array is for what is not kept."""

    times: Any  # [events + 1, *lanes]
    states: Any  # [events + 1, state, *lanes]
    fired: Any  # [events + 1, numbers, *lanes]
    count: Int[Array, "*lanes"]

    @property
    def large(self) -> list[Any]:
        """Its arrays."""
        return [self.times, self.states, self.fired]


def blank(layout: EventLayout, begin: Point) -> Records:
    """Nothing yet, of the types of a run's arrays."""
    rows, lanes, dtype = layout.most + 1, begin.time.shape, begin.time.dtype
    flags = packed_flags(jnp.zeros((layout.guards, *lanes), bool), dtype)
    return Records(
        jnp.zeros((rows, *lanes), dtype),
        jnp.zeros((rows, *begin.state.shape), begin.state.dtype),
        jnp.zeros((rows, *flags.shape), dtype),
        jnp.zeros(lanes, jnp.int32),
    )


def is_kept(layout: EventLayout, mark: Mark, good: Array) -> Array:
    """Whether a good step is a jump at an event that is watched."""
    watched = layout.watched.reshape(-1, *(1,) * good.ndim)
    return good & (mark.kind == JUMP) & jnp.any(mark.fired & watched, axis=0)


def record(
    layout: EventLayout, records: Records, point: Point, mark: Mark, good: Array, write: Write
) -> Records:
    """With the events at the start of a good step; those past the last row are left out."""
    kept = is_kept(layout, mark, good)
    row = jnp.where(kept & (records.count < layout.most), records.count, layout.most)
    return Records(
        write(records.times, row, point.time),
        write(records.states, row, point.state),
        write(records.fired, row, packed_flags(mark.fired, point.time.dtype)),
        records.count + kept,
    )
