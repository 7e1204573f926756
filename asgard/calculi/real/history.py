"""The history of a run with delays: the polynomials of its last steps, and where it is not smooth.

Everything here may have lanes: one more axis at the end.
"""

import dataclasses
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from .adaptive import at_number
from .methods.method import Stretch
from .path import Write
from .system import Point

# The level of what does not jump in any derivative.
SMOOTH = 1e6


@dataclasses.dataclass(frozen=True, eq=False)
class DelayLayout:
    """What is static of a run's delays.

    The history is that of some numbers, `entries` of them, those of each delay side by side.
    `sizes` says how many each delay has, `columns` has the entry of the state that carries each
    number, `derived` says whether that is none of a register, and `direct[k, j]` says that what
    goes into delay k depends on what delay j gives with no register between. There is room for the
    last `rows` steps. Breaks of an order up to `deepest` propagate. `is_series` says that a step's
    polynomial is a series.
    """

    sizes: tuple[int, ...]
    columns: np.ndarray
    derived: np.ndarray
    direct: np.ndarray
    rows: int
    deepest: int
    is_series: bool

    @property
    def count(self) -> int:
        """How many delays there are."""
        return len(self.sizes)

    @property
    def entries(self) -> int:
        """How many numbers have a history."""
        return sum(self.sizes)


class Breaks(eqx.Module):
    """The times at which the solution is not smooth, in a ring, in order of time.

    `levels[:, k]` is the order of the derivative in which what goes into delay k jumps there.
    """

    times: Any  # [rows + 1, *lanes]
    levels: Any  # [rows + 1, delays, *lanes]
    count: Int[Array, "*lanes"]

    def with_one(self, time: Array, level: Array, good: Array, write: Write) -> "Breaks":
        """With one more; of two at one time the later one is kept."""
        rows = self.times.shape[0] - 1
        last = at_number(self.times, jnp.mod(self.count - 1, rows))
        number = self.count - (lax.stop_gradient(last) == lax.stop_gradient(time))
        row = jnp.where(good, jnp.mod(number, rows), rows)
        return Breaks(
            write(self.times, row, time),
            write(self.levels, row, level),
            jnp.where(good, number + 1, self.count),
        )

    def after(self, edge: Array) -> tuple[Array, Array]:
        """The first break after a time, one for each delay, infinite where there is none; and its
        level."""
        number = last_until(self.times, self.count, edge) + 1
        row = jnp.mod(number, self.times.shape[0] - 1)
        time = jnp.take_along_axis(self.times, row, axis=0)
        level = jnp.take_along_axis(self.levels, row[None], axis=0)[0]
        here = number < self.count
        return jnp.where(here, time, jnp.inf), jnp.where(here, level, SMOOTH)

    def resized(self, rows: int) -> "Breaks":
        """The last ones in a ring with room for so many."""
        place, count = _places(self.count, self.times.shape[0] - 1, rows)
        return Breaks(self.times[place], self.levels[place], count)


class History(eqx.Module):
    """The polynomials of the last steps, in a ring: step n is row n modulo their number.

    Each starts at `times + lates`, and is one in the time from there in `units`. The last row of
    each array is for what is not kept. `count` is the number of steps so far, and `began` when the
    first one starts. `longest` is the longest that the next step may be for the sake of what goes
    into the delays, and `scales` how large each number of that was lately. `present` is the
    polynomial of the last step that was tried, and `centre` that of all polynomials.
    """

    times: Any  # [rows + 1, *lanes]
    lates: Any  # [rows + 1, *lanes]
    units: Any  # [rows + 1, *lanes]
    coefficients: Any  # [rows + 1, orders, entries, *lanes]
    count: Int[Array, "*lanes"]
    breaks: Breaks
    began: Float[Array, "*lanes"]
    longest: Float[Array, "*lanes"]
    scales: Any  # [entries, *lanes]
    present: Any  # [orders, entries, *lanes]
    centre: float = eqx.field(static=True)

    @classmethod
    def blank(cls, layout: DelayLayout, degree: int, centre: float, begin: Point) -> "History":
        """Nothing yet."""
        lanes, rows = begin.time.shape, layout.rows + 1
        times = jnp.zeros((rows, *lanes), begin.time.dtype)
        coefficients = jnp.zeros((rows, degree + 1, layout.entries, *lanes), begin.state.dtype)
        levels = jnp.zeros((rows, layout.count, *lanes), begin.time.dtype)
        nothing = jnp.zeros(lanes, jnp.int32)
        return cls(
            times=times,
            lates=times,
            units=times,
            coefficients=coefficients,
            count=nothing,
            breaks=Breaks(times, levels, nothing),
            began=begin.time,
            longest=jnp.full(lanes, jnp.inf, begin.time.dtype),
            scales=jnp.zeros_like(jnp.abs(coefficients[0, 0])),
            present=coefficients[0],
            centre=centre,
        )

    @property
    def large(self) -> list[Any]:
        """Its large arrays."""
        arrays = [self.times, self.lates, self.units, self.coefficients]
        return [*arrays, self.breaks.times, self.breaks.levels]

    def started(self, begin: Point, write: Write) -> "History":
        """At the start, where what goes into the delays may jump."""
        zero = jnp.zeros_like(self.count)
        times = write(self.breaks.times, zero, begin.time)
        breaks = Breaks(times, self.breaks.levels, zero + 1)
        return dataclasses.replace(self, breaks=breaks, began=begin.time)

    @property
    def rows(self) -> int:
        """For how many steps there is room."""
        return self.times.shape[0] - 1

    def resized(self, rows: int) -> "History":
        """The last steps in a ring with room for so many; without lanes."""
        if rows == self.rows:
            return self
        place, count = _places(self.count, self.rows, rows)
        return dataclasses.replace(
            self,
            times=self.times[place],
            lates=self.lates[place],
            units=self.units[place],
            coefficients=self.coefficients[place],
            count=count,
            breaks=self.breaks.resized(rows),
        )

    def pushed(
        self,
        point: Point,
        coefficients: Array,
        stretch: Stretch,
        good: Array,
        write: Write,
    ) -> "History":
        """With the step from a point that was tried, and in the ring if it is a good one."""
        row = jnp.where(good, jnp.mod(self.count, self.rows), self.rows)
        return dataclasses.replace(
            self,
            times=write(self.times, row, point.time),
            lates=write(self.lates, row, point.late),
            units=write(self.units, row, stretch.unit),
            coefficients=write(self.coefficients, row, coefficients),
            count=self.count + good,
            present=coefficients,
        )


def _places(count: Array, before: int, rows: int) -> tuple[Array, Array]:
    """Where the rows of a new ring stand in an old one, `[rows + 1]`, and how many have something.

    The old ring has had `count` rows, of which it holds `before` at most. Those that both have room
    for are numbered anew from 0.
    """
    kept = jnp.minimum(count, min(before, rows))
    number = count - kept + jnp.arange(rows + 1)
    return jnp.where(number < count, jnp.mod(number, before), before), kept


def last_until(times: Array, count: Array, edge: Array) -> Array:
    """The number of the last of the times in a ring that is at most an edge, for each delay.

    The ring has the last `rows` of `count` times. One less than the oldest where all are later.
    Found by bisection: in long rings it is most of a step to compare all.
    """
    rows, edge = times.shape[0] - 1, lax.stop_gradient(edge)
    oldest = jnp.maximum(count - rows, 0)

    def halve(carry: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], None]:
        index, candidates = carry
        half = lax.div(candidates + 1, jnp.int32(2))
        middle = index + half
        row = jnp.mod(jnp.maximum(middle, 0), rows)
        reached = (half > 0) & (jnp.take_along_axis(times, row, axis=0) <= edge)
        left = jnp.where(reached, candidates - half, jnp.maximum(half - 1, 0))
        return (jnp.where(reached, middle, index), left), None

    start = jnp.broadcast_to(oldest - 1, edge.shape), jnp.broadcast_to(count - oldest, edge.shape)
    (index, _), _ = lax.scan(halve, start, length=(rows + 1).bit_length())
    return index
