"""What a run keeps of the events that it watches."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Int

from .methods.method import Mark
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
    layout: EventLayout = eqx.field(static=True)

    @classmethod
    def blank(cls, layout: EventLayout, begin: Point, size: int) -> "Records":
        """Nothing yet, of the types of a run's arrays, with so many numbers of a state."""
        rows, lanes, dtype = layout.most + 1, begin.time.shape, begin.time.dtype
        flags = packed_flags(jnp.zeros((layout.guards, *lanes), bool), dtype)
        return cls(
            jnp.zeros((rows, *lanes), dtype),
            jnp.zeros((rows, size, *lanes), begin.state.dtype),
            jnp.zeros((rows, *flags.shape), dtype),
            jnp.zeros(lanes, jnp.int32),
            layout,
        )

    @property
    def large(self) -> list[Any]:
        """Its arrays."""
        return [self.times, self.states, self.fired]

    @property
    def is_full(self) -> Array:
        """Whether more events have happened than there is room for."""
        return self.count > self.layout.most

    def with_step(
        self, point: Point, state: Array, mark: Mark | None, good: Array, write: Write
    ) -> "Records":
        """With the events at the start of a good step, and the state there; those past the last row
        are left out."""
        assert mark is not None
        kept = is_kept(self.layout, mark, good)
        row = jnp.where(kept & (self.count < self.layout.most), self.count, self.layout.most)
        return Records(
            write(self.times, row, point.time),
            write(self.states, row, state),
            write(self.fired, row, packed_flags(mark.fired, point.time.dtype)),
            self.count + kept,
            self.layout,
        )


def is_kept(layout: EventLayout, mark: Mark, good: Array) -> Array:
    """Whether a good step is a jump at an event that is watched."""
    watched = layout.watched.reshape(-1, *(1,) * good.ndim)
    return good & mark.jumps & jnp.any(mark.fired & watched, axis=0)
