"""The guards along a step, read on its polynomial: their values, and how long they are smooth.

Points at which guards are read may be no further apart than guards are smooth: two crossings hide
between others. A guard that is a linear function is as smooth as the step itself. Any other is
expanded about some points: where the last terms of its series are no longer little beside others,
it may turn.

Everything here may have lanes: one more axis at the end.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from ...jaxprs.trees import select
from .crossing import Smooth, Values
from .guard_series import smooth_for
from .methods.method import Stretch
from .polynomial import change_and_slope, series_about
from .system import Point, System, any_of

# To which order guards are expanded to tell how long they are smooth.
ORDER = 8
# At how many points of a step guards are expanded, at least and at most, to see whether they are
# smooth all along; and at how many their series are compared with what they are. A step that is
# much of what is left of a run has more: there are few such steps.
EXPANDED, COMPARED = (2, 16), (6, 64)


@dataclasses.dataclass(frozen=True)
class Watched:
    """The guards of a system along a step from a point, with a polynomial, over a size; of what
    is `remaining` of a run."""

    system: System
    point: Point
    curve: Array
    centre: float
    stretch: Stretch
    direction: Array
    size: Array
    remaining: Array

    def values(self, distance: Array) -> tuple[Array, Array]:
        """All guards at a distance, and their slopes."""
        watch, unit, direction = self.system.watch, self.stretch.unit, self.direction
        assert watch is not None
        part, time = direction * distance / unit, self._time(distance)
        change, slope = change_and_slope(self.curve, part, self.centre)
        slope = slope * (direction / unit).astype(slope.dtype)
        moves = jnp.broadcast_to(direction, time.shape)
        return jax.jvp(watch, (time, self.curve[0] + change), (moves, slope))

    def is_rough(self) -> Array:
        """Whether guards are not smooth all along the step, or may have kinks."""
        layout = self.system.layout
        if self.system.along is None or layout is None:
            return jnp.zeros(self.size.shape, bool)
        if layout.kinked:
            return self.size > 0
        return self._anywhere(EXPANDED, lambda part: self._reach(part * self.size) < self.size)

    def smooth(self, rough: Array) -> Smooth | None:
        """How long guards are smooth, where they are `rough`, or else as long as the step; None
        where all are linear functions."""
        apart = self.size / jnp.maximum(self._count(EXPANDED), 3)

        def found(distances: Array, asked: Array) -> Array:
            whole = jnp.broadcast_to(self.size, distances.shape)
            asked = asked & rough
            reach = lax.cond(any_of(asked), lambda: lax.map(self._reach, distances), lambda: whole)
            return jnp.where(asked, jnp.minimum(reach, apart), whole)

        return None if self.system.along is None else found

    def _reach(self, distance: Array) -> Array:
        """How long guards are smooth about a distance, up to the size of the step."""
        unit, along = self.stretch.unit, self.system.along
        assert along is not None
        part = self.direction * distance / unit
        rows = series_about(self.curve, part, self.centre, ORDER + 1)
        flat = [rows.reshape(-1, *distance.shape), unit[None].astype(rows.dtype)]
        series = along(self._time(distance), jnp.concatenate(flat))
        part = smooth_for(series, jnp.abs(self.size / unit))
        return self.size * jnp.min(part, axis=0).astype(self.size.dtype)

    def differs(self, series: Values, size: Array) -> Array:
        """Whether guards are not what their series say along a part of the step: from the start a
        series does not see a pulse, or a tanh that is 1 to the last digit."""
        if self.system.along is None:
            return jnp.zeros(size.shape, bool)

        def is_other(part: Array) -> Array:
            (found, _), (expected, _) = self.values(part * size), series(part * size)
            least = jnp.sqrt(jnp.finfo(found.dtype).eps)
            return jnp.any(jnp.abs(found - expected) > least * jnp.abs(found), axis=0)

        return self._anywhere(COMPARED, is_other)

    def _count(self, counts: tuple[int, int]) -> Array:
        """How many points of the step are asked, between the least and the most."""
        least, most = counts
        share = self.size / jnp.where(self.remaining > 0, self.remaining, 1)
        return jnp.clip(jnp.ceil(most * share), least, most)

    def _anywhere(self, counts: tuple[int, int], asked: Callable[[Array], Array]) -> Array:
        """Whether something is true at one of some points, of which it is asked by parts of the
        step."""
        count = self._count(counts)

        def is_open(carry: tuple[Array, Array]) -> Array:
            number, found = carry
            return any_of(~found & (number < count))

        def turn(carry: tuple[Array, Array]) -> tuple[Array, Array]:
            number, found = carry
            return number + 1, found | (asked((number + 0.5) / count) & (number < count))

        begun = jnp.zeros_like(count), jnp.zeros(count.shape, bool)
        return lax.while_loop(is_open, turn, begun)[1]

    def where(self, chosen: Array, series: Values) -> Values:
        """The guards as they are read in some lanes, and by their series in others."""

        def values(distance: Array) -> tuple[Array, Array]:
            found = lax.cond(any_of(chosen), self.values, series, distance)
            return found if chosen.ndim == 0 else select(chosen, found, series(distance))

        return series if self.system.along is None else values

    def _time(self, distance: Array) -> Array:
        direction, latest = self.direction, self.stretch.latest
        time = self.point.time + (self.point.late + direction * distance)
        return jnp.where(direction * (time - latest) > 0, latest, time)
