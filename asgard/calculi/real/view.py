"""What one step reads of the history of a run with delays.

A step reads the history, which is known up to its start, so it is no longer than the shortest
delay (the method of steps: Bellman and Cooke, *Differential-Difference Equations*, 1963). Where the
solution is not smooth, what reads it later is not either: such points propagate by the delays, each
time one order smoother, and steps end at them (Bellen and Zennaro, *Numerical Methods for Delay
Differential Equations*, 2003, chapter 2).

A Taylor step needs the history as a series about its own time. That is the polynomial through
values at Chebyshev points of the time ahead, so a step may pass the ends of old steps. The series
of an old step about another time would do between its ends alone. Past them it is worse with each
delay that it passes: x' = -k x(t - d) with k d = π / 2 was off by 1e-10 after 25 delays. And with
two delays, steps that end where old ones do become twice as many in each.

Everything here may have lanes: one more axis at the end.
"""

import dataclasses
import functools
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from .adaptive import at_number
from .history import SMOOTH, DelayLayout, History, last_until
from .polynomial import value_at
from .system import Point, StepControl, System

# Times that differ by fewer resolutions are the same.
SAME = 8.0
# How long a time a step may see ahead beside the one before.
GROWTH = 2.0
# What is left out of a series, in units of rounding.
CHOPPED = 4.0
# By how much the time shrinks, at least and at most, where the series does not converge.
SHRINKING = (0.2, 0.9)
# How much more than the tolerance may be rounding.
NOISE = 1e5


@dataclasses.dataclass(frozen=True)
class View:
    """What a step from a point reads of the history.

    - `now`: the time of the point; `lags`: the delays, `[delays, *lanes]`; `began`: the start.
    - `past`: for each delay whether what it reads lies before the start.
    - `first`, `last`: for each delay the numbers of the steps that it may read.
    - `wall`: when the step meets a break, infinite if never; `breaks` and `orders`: for each delay
      the next one in its history, and its level.
    - `longest`: the longest step; `span`: the time that the series is right for, and `rows` the
      series, `[orders, entries, *lanes]`, None where none is read.
    - `lost`: whether it reads what is no longer held; `wrong`: whether a delay is not positive.
    """

    layout: DelayLayout
    system: System
    centre: float
    now: Array
    lags: Array
    began: Array
    past: Array
    history: History
    first: Array
    last: Array
    wall: Array
    breaks: Array
    orders: Array
    longest: Array
    lost: Array
    wrong: Array
    span: Array
    rows: Array | None = None

    @classmethod
    def of(
        cls,
        layout: DelayLayout,
        system: System,
        centre: float,
        history: History,
        point: Point,
        lags: Array,
    ) -> "View":
        """What a step from a point may read."""
        now = point.time + point.late
        lags = jnp.broadcast_to(lags, (layout.count, *now.shape))
        same = _same(now, lags)
        edge = lax.stop_gradient(now - lags) + same
        low = last_until(history.times, history.count, edge)
        breaks, orders = history.breaks.after(edge)
        # Whoever evaluates a run knows later ones too.
        breaks = jnp.where(breaks > now, jnp.inf, breaks)
        high = last_until(history.times, history.count, breaks - same)
        return cls(
            layout=layout,
            system=system,
            centre=centre,
            now=now,
            lags=lags,
            began=history.began,
            past=edge < history.began,
            history=history,
            first=low,
            last=jnp.maximum(low, high),
            wall=jnp.min(breaks + lags, axis=0),
            breaks=breaks,
            orders=orders,
            longest=jnp.minimum(lax.stop_gradient(jnp.min(lags, axis=0)), history.longest),
            lost=jnp.any(
                (low < jnp.maximum(history.count - history.rows, 0)) & (edge >= history.began),
                axis=0,
            ),
            wrong=jnp.any(~(lags > 0), axis=0),
            span=jnp.zeros_like(now),
        )

    def at(self, time: Array) -> Array:
        """What the delays give at a time of the step, `[entries, *lanes]`."""
        s = time - self.lags
        history, row = self.history, self._row(lax.stop_gradient(s))

        def read(array: Array) -> Array:
            return jnp.take_along_axis(array, row, axis=0)

        offset = s - read(history.times) - read(history.lates)
        unit = read(history.units)
        # Rows of no step yet have none.
        part = jnp.where(self.past, 0, offset) / jnp.where(unit == 0, 1, unit)
        bounds = np.cumsum((0, *self.layout.sizes))
        parts = [
            at_number(history.coefficients, row[k])[:, bounds[k] : bounds[k + 1]]
            for k in range(self.layout.count)
        ]
        coefficients = jnp.concatenate(parts, axis=1)
        found = value_at(coefficients, _spread(self.layout, part), self.centre)
        assert self.system.past is not None
        before = self.system.past(time, jnp.where(self.past, s, self.began))
        return jnp.where(_spread(self.layout, self.past), before, found)

    def _row(self, s: Array) -> Array:
        """The row of the step that times are read from, one for each delay: by bisection."""
        history = self.history

        def halve(carry: tuple[Array, Array]) -> tuple[Array, Array]:
            low, high = carry
            middle = lax.div(low + high + 1, jnp.int32(2))
            row = jnp.mod(jnp.maximum(middle, 0), history.rows)
            reached = jnp.take_along_axis(history.times, row, axis=0) <= s
            return jnp.where(reached, middle, low), jnp.where(reached, high, middle - 1)

        start = self.first, self.last
        low, _ = lax.while_loop(lambda carry: jnp.any(carry[0] < carry[1]), halve, start)
        return jnp.mod(jnp.maximum(low, 0), history.rows)

    def fitted(self, order: int, point: Point, control: StepControl) -> "View":
        """With the series to an order, over as long a time as it converges in."""
        longest = jnp.minimum(self.longest, control.max_step)
        first = _first_span(self, point, longest)
        rtol, atol = (lax.reduce_min(x, (0,)) for x in (control.rtol, control.atol))

        def unfinished(carry: tuple[Array, Array, Array, Array]) -> Array:
            return jnp.any(carry[3] != 0)

        def turn(
            carry: tuple[Array, Array, Array, Array],
        ) -> tuple[Array, Array, Array, Array]:
            span, longer, before, searching = carry
            excess = _excess(self._chebyshev(order, span), rtol, atol)
            # What no shorter time makes smaller is the rounding of the history.
            noise = (excess < NOISE) & (excess > 0.25 * before)
            open = (searching != 0) & (excess > 1)
            goes_on = open & ~noise & (span > shortest)
            factor = jnp.clip(0.9 * excess ** (-1 / degree_of(order)), *SHRINKING)
            stays = jnp.where(open & noise, longer, span)
            return (
                jnp.where(goes_on, factor.astype(span.dtype) * span, stays),
                jnp.where(goes_on, span, longer),
                jnp.where(goes_on, excess, before),
                goes_on.astype(jnp.int32),
            )

        shortest = 4 * jnp.finfo(first.dtype).eps * jnp.abs(self.now)
        infinite = jnp.full(first.shape, jnp.inf, control.rtol.dtype)
        begun = first, first, infinite, jnp.ones(first.shape, jnp.int32)
        span, *_ = lax.while_loop(unfinished, turn, begun)
        # A series that ends at a break says nothing of the size of later steps.
        longest = jnp.where(span == first, longest, span)
        return dataclasses.replace(self.along(order, span), longest=longest)

    def along(self, order: int, span: Array) -> "View":
        """With the series to an order that is right for a time."""
        found = self._chebyshev(order, span)
        size = jnp.max(jnp.abs(found), axis=0)
        noise = CHOPPED * jnp.finfo(size.dtype).eps * size
        # What rounding makes of high orders would pass for a solution that is not smooth.
        tail = lax.cummax(jnp.abs(found), axis=0, reverse=True)
        rows = _combined(chebyshev(degree_of(order))[1], jnp.where(tail > noise, found, 0))
        unit = jnp.where(span > 0, span, 1)
        steps = [jnp.ones_like(unit)]
        for _ in range(len(rows) - 1):
            steps.append(steps[-1] / unit)
        rows *= jnp.stack(steps)[:, None]
        rest = jnp.zeros((order + 1 - len(rows), *rows.shape[1:]), rows.dtype)
        return dataclasses.replace(self, span=span, rows=jnp.concatenate([rows, rest]))

    def _chebyshev(self, order: int, span: Array) -> Array:
        """The Chebyshev coefficients over a time ahead, `[degree + 1, entries, *lanes]`."""
        degree = degree_of(order)
        nodes = (0.5 - 0.5 * np.cos(np.pi * np.arange(degree + 1) / degree)).astype(span.dtype)
        values = lax.map(lambda node: self.at(self.now + node * span), nodes)
        return _combined(chebyshev(degree)[0], values)

    def seen(self) -> System:
        """The system as a method sees it: its functions read the history themselves."""

        def reading(fn: Any) -> Any:
            if fn is None:
                return None
            return lambda t, y, *more: fn(t, jnp.concatenate([y, self.at(t)]), *more)

        def expand(t: Array, y: Array) -> Array:
            assert self.system.expand is not None
            assert self.rows is not None
            flat = self.rows.reshape(-1, *self.rows.shape[2:])
            return self.system.expand(t, jnp.concatenate([y, flat]))

        names = ("field", "jacobian", "solve", "watch", "jump", "along", "precondition")
        calls = {name: reading(getattr(self.system, name)) for name in names}
        expansion = None if self.system.expand is None else expand
        return dataclasses.replace(self.system, **calls, expand=expansion)

    def level_after(self, clipped: Array, wall: Array, given: Array) -> Array:
        """The levels at the end of a step, `[delays, *lanes]`; `wall` is the break that bounds it,
        and `given` the next one that is not the history's, such as that of an input."""
        met = self.breaks + self.lags
        here = clipped & (jnp.abs(met - wall) <= _same(wall, self.lags))
        arrive = jnp.where(here, self.orders, SMOOTH)
        smoother = jnp.min(arrive, axis=0)[None] + 1
        direct = self.layout.direct.reshape(*self.layout.direct.shape, *(1,) * wall.ndim)
        passed = jnp.min(jnp.where(direct, arrive[None], SMOOTH), axis=1)
        level = jnp.minimum(smoother, passed)
        return jnp.where(clipped & (given <= wall), 0, level)


@functools.cache
def chebyshev(order: int) -> tuple[np.ndarray, np.ndarray]:
    """From values at the Chebyshev points of [0, 1] to Chebyshev coefficients, and from these to
    the coefficients of powers; two matrices `[order + 1, order + 1]`."""
    index = np.arange(order + 1)
    values = np.cos(np.pi * np.outer(index, index[::-1]) / order)
    weights = np.where((index == 0) | (index == order), 0.5, 1.0)
    found = 2 / order * weights[:, None] * values * weights[None]
    columns = [np.polynomial.Chebyshev.basis(k, domain=[0, 1]) for k in index]
    rows = [one.convert(kind=np.polynomial.Polynomial, domain=[-1, 1]).coef for one in columns]
    powers = np.stack([np.append(row, np.zeros(order + 1 - len(row))) for row in rows], axis=1)
    return found, np.round(powers)


def degree_of(order: int) -> int:
    """The degree of the polynomial that is the history in a step of an order.

    Chebyshev coefficients fall twice as fast as Taylor's terms. Of a higher degree the highest
    powers would be rounding, by which a Taylor step is sized.
    """
    return min(order, order // 2 + 2)


def _excess(found: Array, rtol: Array, atol: Array) -> Array:
    """How far Chebyshev coefficients are from falling to the tolerance, in units of that."""
    sizes = jnp.abs(found)
    allowed = atol + jnp.maximum(rtol, CHOPPED * jnp.finfo(sizes.dtype).eps) * jnp.max(
        sizes, axis=0
    )
    excess = jnp.max(sizes[-2:], axis=0) / (allowed + jnp.finfo(sizes.dtype).tiny)
    return jnp.max(excess, axis=0)


def _combined(matrix: np.ndarray, values: Array) -> Array:
    """The product of a matrix and values `[rows, ...]`, which is no product to a kernel."""
    weights = matrix.reshape(*matrix.shape, *(1,) * (values.ndim - 1)).astype(values.dtype)
    return lax.reduce_sum(weights * values[None], (1,))


def _first_span(view: View, point: Point, longest: Array) -> Array:
    """Over how long a time to fit a polynomial at first: no step is longer."""
    ahead = lax.stop_gradient(view.wall) - view.now
    grown = jnp.where(point.step > 0, GROWTH * point.step, longest)
    return lax.stop_gradient(jnp.minimum(jnp.minimum(ahead, grown), longest))


def _spread(layout: DelayLayout, values: Array) -> Array:
    """For each number of the history what its delay has, `[entries, *lanes]`."""
    if layout.count == layout.entries:
        return values
    rows = zip(values, layout.sizes, strict=True)
    return jnp.concatenate([jnp.broadcast_to(row, (size, *row.shape)) for row, size in rows])


def _same(time: Array, lags: Array) -> Array:
    """By how much times differ that are the same, `[delays, *lanes]`."""
    size = jnp.abs(time) + jnp.abs(lags)
    return lax.stop_gradient(SAME * jnp.finfo(time.dtype).eps * size)
