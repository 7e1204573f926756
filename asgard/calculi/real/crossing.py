"""Where a guard first passes zero upward within a step.

The search goes through the step in intervals. Guards and their slopes are read at both ends and in
the middle of each. An interval is halved where a guard could turn across zero between two of these
points, or where its middle is not what the ends let expect. The first change of sign is then
located between two points that close in on it: they stand beside where a line puts it, and cut off
two thirds where a line does not serve.

Everything here may have lanes: one more axis at the end.
"""

import dataclasses
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from ...jaxprs.fences import largest_of, smallest_of
from ...jaxprs.trees import select
from .system import any_of

# Into how many intervals a step is cut at first.
INTERVALS = 3.0
# By how much a guard in the middle may differ from a cubic through the ends: relative to its
# distance from zero, or to its size.
BY_DISTANCE, BY_SIZE = 0.25, 1e-3
# How narrow the first look beside a line's crossing is; and how many points a search may read.
NARROW, MOST_TURNS = 1 / 16, 200
# The least part of an interval to which it is cut where guards are smooth for less.
CLOSER = 1 / 64

# By so many roundings of its largest terms a slope of a step's polynomial may be off at the start.
ROUNDINGS = 16.0
# A guard that is by so many times what its slopes move it away from zero does not get there.
STEEPER = 2.0

# The guards at a distance from the start of a step, and their slopes, `[guards, *lanes]`.
Values = Callable[[Array], tuple[Array, Array]]
# How long guards are smooth about some distances, `[distances, *lanes]`, where that is asked.
Smooth = Callable[[Array, Array], Array]


class Crossing(eqx.Module):
    """The first crossing of a step: whether there is one, the distance of the first number past
    it, which guards have passed zero there, and which are above zero there.

    Where there is none, `distance` is how far the search has come, and `sides` are those there: the
    end of the step, or less where guards are nothing but rounding.

    Of a `Part` of a step it has the distance of the last number `before` the crossing, and of the
    last point that was read before that, with the sides there: `since` and `sides_since`.
    """

    found: Bool[Array, "*lanes"]
    distance: Float[Array, "*lanes"]
    fired: Bool[Array, "watched *lanes"]
    sides: Bool[Array, "guards *lanes"]
    before: Array | None = None
    since: Array | None = None
    sides_since: Array | None = None


class Part(eqx.Module):
    """The part of a step from `begin` on, of which the first interval has a `width`. Functions but
    the first `guards` are conditions: a guard may jump, or turn, where one of these passes zero."""

    begin: Float[Array, "*lanes"]
    width: Float[Array, "*lanes"]
    guards: int = eqx.field(static=True)

    def cut_by(self, crossed: Array) -> Array:
        """Which functions are guards that a condition may cut, as it has `crossed` zero."""
        own = are_guards(crossed, self.guards)
        return own & jnp.any(crossed & ~own, axis=0)


def are_guards(watched: Array, guards: int) -> Array:
    """Which of the functions that are watched are guards, and not conditions behind them."""
    return jnp.arange(len(watched)).reshape(-1, *(1,) * (watched.ndim - 1)) < guards


class _End(eqx.Module):
    """A point of a step: its distance, the guards with their slopes, and their sides; and how long
    they are smooth about it, None where they are everywhere."""

    distance: Array
    values: Array
    slopes: Array
    sides: Array
    reach: Array | None


class _Search(eqx.Module):
    """A search that has come to the point `a`; `width` is that of the next interval.

    Once a crossing is `found`, it lies between `a` and `beyond`, where guards are above zero as
    `above` says, and the largest of those that cross is `over` there. `narrow` is what part of the
    distance between the two is looked at next, beside where a line puts the crossing. Until a guard
    has `settled` it is on the side that it counts on at the start.
    """

    a: _End
    width: Array
    found: Array
    beyond: Array
    above: Array
    over: Array
    narrow: Array
    settled: Array
    turns: Array
    since: Array | None


def first_crossing(
    values: Values,
    smooth: Smooth | None,
    sides: Array,
    size: Array,
    time: Array,
    active: Array,
    noise: Array | None = None,
    part: Part | None = None,
) -> Crossing:
    """The first crossing in steps of some sizes, where they are active.

    `smooth` is None where guards are smooth all along. A slope of each guard may be off by its
    `noise`, which is none for None. `sides` says which guards count as above
    zero at the start, whatever rounding says. A `part` begins later in the step.
    """
    begin = 0 if part is None else part.begin
    eps = jnp.finfo(time.dtype).eps
    shortest = 16 * eps * jnp.maximum(jnp.abs(time), size)

    def is_scanning(now: _Search) -> Array:
        return active & ~now.found & (now.a.distance < size) & (now.turns < MOST_TURNS)

    def resolved(now: _Search) -> Array:
        """To what a crossing is located: to the last digit of its distance, as a run keeps what
        rounding leaves out of the time. One right at the start has no distance: by a step of the
        least numbers nothing is differentiated."""
        return eps * jnp.maximum(eps * jnp.maximum(jnp.abs(time), size), now.beyond)

    def is_open(now: _Search) -> Array:
        """Whether a crossing that was found is not located yet."""
        wide = now.beyond - now.a.distance > resolved(now)
        return active & now.found & wide & (now.turns < 2 * MOST_TURNS)

    # All evaluations are those of one loop, as the first call takes as long as there is to compile.
    def turn(now: _Search) -> _Search:
        end = jnp.minimum(now.a.distance + now.width, size)
        # No sliver is left for one more interval. Half of one that is halved is none.
        end = jnp.where(end > size - shortest / 2, size, end)
        middle = now.a.distance + (end - now.a.distance) / 2
        near, far = _beside_crossing(now, resolved(now))
        first, second = (
            jnp.where(now.found, x, jnp.where(now.turns > 0, y, begin))
            for x, y in ((near, middle), (far, end))
        )
        points = jnp.stack([first, second])
        found, slopes = lax.map(values, points)

        def above(distance: Array, values: Array) -> Array:
            return jnp.where(distance < now.settled, sides, values > 0)

        reach = (None, None) if smooth is None else smooth(points, ~now.found)
        one, other = (
            _End(points[k], found[k], slopes[k], above(points[k], found[k]), reach[k])
            for k in range(2)
        )
        begun = _begun(now, one, sides, shortest)
        scanned = _scanned(now, one, other, shortest, noise, part)
        closer = _closer(now, one, other)
        scanning, open_ = is_scanning(now), is_open(now)
        steps = (now.turns == 0, begun), (scanning, scanned), (open_, closer)
        for chosen, after in steps[::-1]:
            now = select(chosen, after, now)
        return now

    search = _start(values, smooth, sides, size, part)
    last = lax.while_loop(lambda now: any_of(is_scanning(now) | is_open(now)), turn, search)
    return _result(last, size, active, part)


def _result(last: _Search, size: Array, active: Array, part: Part | None) -> Crossing:
    """What a search has found at its end."""
    # What a guard is past its crossing is asked but once: XLA may round it another way elsewhere.
    fired = last.found & ~last.a.sides & last.above
    above = jnp.where(last.found, last.above, last.a.sides)
    came = jnp.where(active, last.a.distance, size)
    found = Crossing(last.found, jnp.where(last.found, last.beyond, came), fired, above)
    if part is None:
        return found
    return dataclasses.replace(
        found, before=last.a.distance, since=last.since, sides_since=last.a.sides
    )


def _start(
    values: Values, smooth: Smooth | None, sides: Array, size: Array, part: Part | None
) -> _Search:
    """A search that has read no point yet."""
    zero = jnp.zeros_like(size)
    guards, _ = jax.eval_shape(values, zero)
    blank = jnp.zeros(guards.shape, guards.dtype)
    begin = zero if part is None else part.begin
    return _Search(
        a=_End(begin, blank, blank, sides, None if smooth is None else zero),
        width=size / INTERVALS if part is None else part.width,
        found=jnp.zeros(size.shape, bool),
        beyond=zero,
        above=sides,
        over=zero.astype(blank.dtype),
        narrow=zero + NARROW,
        settled=jnp.broadcast_to(begin, blank.shape).astype(size.dtype),
        turns=jnp.zeros(size.shape, jnp.int32),
        since=None if part is None else part.begin,
    )


def _begun(now: _Search, start: _End, sides: Array, shortest: Array) -> _Search:
    """The search once it has read the guards at its start. What they are on another side by than
    they count on is rounding if they move back in less than time can tell."""
    slopes = jnp.where(sides, start.slopes, -start.slopes)
    returns = (sides != start.sides) & (jnp.abs(start.values) < shortest * slopes)
    settled = jnp.where(returns, start.distance + shortest, now.settled)
    start = dataclasses.replace(start, sides=sides)
    return dataclasses.replace(now, a=start, settled=settled, turns=now.turns + 1)


class Look(eqx.Module):
    """Guards with their slopes at both ends of a step and in the middle, `[3, guards, *lanes]`."""

    values: Array
    slopes: Array

    def is_clear(self, sides: Array, size: Array) -> Array:
        """Whether guards stay so far from zero along a step of a size, for their slopes, that none
        passes it."""
        least = smallest_of(jnp.abs(self.values), (0,))
        steepest = largest_of(jnp.abs(self.slopes), (0,))
        moves = STEEPER * size.astype(self.values.dtype) * steepest
        same = jnp.all((self.values > 0) == self._with_conditions(sides), axis=0)
        return jnp.all(same & (least > moves), axis=0)

    def _with_conditions(self, sides: Array) -> Array:
        """The sides of the guards, and those of conditions at the start."""
        if len(sides) == self.values.shape[1]:
            return sides
        return jnp.concatenate([sides, self.values[0, len(sides) :] > 0])

    @property
    def noise(self) -> Array:
        """By how much slopes may be off, for the rounding of the step's polynomial."""
        steepest = largest_of(jnp.abs(self.slopes), (0,))
        off = ROUNDINGS * jnp.finfo(steepest.dtype).eps * steepest
        return jnp.where(jnp.isfinite(off), off, 0)

    @property
    def rests(self) -> Array:
        """Which guards are zero all along, `[guards, *lanes]`."""
        return jnp.all((self.values == 0) & (self.slopes == 0), axis=0)


def looked(values: Values, size: Array) -> Look:
    """A look at guards along steps of some sizes."""
    return Look(*lax.map(values, jnp.stack([jnp.zeros_like(size), size / 2, size])))


def _scanned(
    now: _Search, m: _End, b: _End, shortest: Array, noise: Array | None, part: Part | None
) -> _Search:
    """The search after an interval with its middle and its end."""
    a, length = now.a, b.distance - now.a.distance
    # What dips below zero for less than time can tell has passed zero.
    dips = _dips(a, m) & (length <= shortest)
    cut = later = None
    if part is not None:
        # What comes before a condition passes zero is searched by itself.
        cut, later = part.cut_by(~a.sides & m.sides), part.cut_by(~m.sides & b.sides)
        dips &= ~cut
    a = dataclasses.replace(a, sides=a.sides & ~dips)
    first = jnp.any(~a.sides & m.sides, axis=0)
    second = jnp.any(~m.sides & b.sides, axis=0)
    turned, turns = _turns(a, m, noise), _turns(m, b, noise)
    differs = _differs(a, m, b, noise)
    if cut is not None and later is not None:
        turned, turns, differs = turned & ~cut, turns & ~later, differs & ~cut & ~later
    early = turned | _is_rough(a, m)
    unclear = early | turns | _is_rough(m, b) | differs
    # What is unclear in the second half says nothing about a crossing in the first.
    halved = jnp.where(first, jnp.any(early, axis=0), jnp.any(unclear, axis=0))
    halved &= length > shortest
    found, moved = ~halved & (first | second), ~halved & ~first

    def chosen(old: Array, middle: Array, end: Array) -> Array:
        return jnp.where(moved, jnp.where(second, middle, end), old)

    start = jax.tree.map(chosen, a, m, b)
    past = select(first, m, b)
    return _Search(
        a=start,
        width=_next_width(now, start, length, halved),
        found=found,
        beyond=jnp.where(found, past.distance, now.beyond),
        above=jnp.where(found, past.sides, now.above),
        over=jnp.where(found, _largest(past, start.sides), now.over),
        narrow=now.narrow,
        settled=now.settled,
        turns=now.turns + 1,
        since=None if now.since is None else start.distance,
    )


def _next_width(now: _Search, start: _End, length: Array, halved: Array) -> Array:
    """How wide the next interval is, from its start, after one of a length."""
    least, most = length / 2, 2 * now.width
    if start.reach is not None:
        least = jnp.minimum(least, jnp.maximum(start.reach, length * CLOSER))
        most = jnp.minimum(most, 2 * jnp.maximum(start.reach, length))
    return jnp.where(halved, least, most)


def _largest(point: _End, sides: Array) -> Array:
    """The largest of the guards that have not been above zero yet."""
    return jnp.max(jnp.where(sides, -jnp.inf, point.values), axis=0)


def _beside_crossing(now: _Search, least: Array) -> tuple[Array, Array]:
    """Two distances, by the `least` apart or more, between which a line puts the crossing."""
    low, high = now.a.distance, now.beyond
    under = _largest(now.a, now.a.sides)
    part = under / (under - now.over)
    part = jnp.where((part >= 0) & (part <= 1), part, 0.5).astype(low.dtype)
    # After a miss, two thirds are certain to be left out.
    width = high - low
    missed = (now.narrow >= 1) | (width <= 4 * least)
    half = jnp.maximum(now.narrow * width, least)
    near = jnp.where(missed, low + width / 3, jnp.maximum(low + part * width - half, low))
    far = jnp.where(missed, high - width / 3, jnp.minimum(low + part * width + half, high))
    return near, far


def _closer(now: _Search, near: _End, far: _End) -> _Search:
    """The search after two points between which the crossing may be."""
    sides = now.a.sides
    past_near = jnp.any(~sides & near.sides, axis=0)
    past_far = jnp.any(~sides & far.sides, axis=0)
    hit = ~past_near & past_far

    def low(old: Array, near: Array, far: Array) -> Array:
        return jnp.where(past_near, old, jnp.where(past_far, near, far))

    start = jax.tree.map(low, now.a, near, far)
    start = dataclasses.replace(start, sides=sides)
    past = select(past_near, near, far)
    any_ = past_near | past_far
    narrower = jnp.where(now.narrow >= 1, NARROW, now.narrow * now.narrow)
    return dataclasses.replace(
        now,
        a=start,
        beyond=jnp.where(any_, past.distance, now.beyond),
        above=jnp.where(any_, past.sides, now.above),
        over=jnp.where(any_, _largest(past, sides), now.over),
        narrow=jnp.where(hit, narrower, jnp.where(now.narrow >= 1, NARROW, 1)),
        turns=now.turns + 1,
    )


def _turns(a: _End, b: _End, noise: Array | None) -> Array:
    """Whether a guard that is on one side at both ends may be on the other between them."""
    reached = a.values + a.slopes * (b.distance - a.distance)
    over = ~a.sides & ~b.sides & (a.slopes > 0) & (b.slopes < 0) & (reached > _moved(noise, b))
    return over | _dips(a, b)


def _moved(noise: Array | None, end: _End) -> Array:
    """By how much guards may be off at the end of an interval: one that starts at zero is nothing
    but rounding just behind it."""
    zero = jnp.zeros_like(end.values)
    return zero if noise is None else noise * end.distance.astype(zero.dtype)


def _is_rough(a: _End, b: _End) -> Array:
    """Whether guards are not smooth all the way between two points."""
    if a.reach is None or b.reach is None:
        return jnp.zeros_like(a.sides)
    rough = jnp.minimum(a.reach, b.reach) < b.distance - a.distance
    return jnp.broadcast_to(rough, a.sides.shape)


def _dips(a: _End, b: _End) -> Array:
    """Whether a guard that is above zero at both ends may be below it between them."""
    reached = a.values + a.slopes * (b.distance - a.distance)
    return a.sides & b.sides & (a.slopes < 0) & (b.slopes > 0) & (reached < 0)


def _differs(a: _End, m: _End, b: _End, noise: Array | None) -> Array:
    """Whether a guard is not what a cubic through the ends says."""
    expected = (a.values + b.values) / 2 + (b.distance - a.distance) * (a.slopes - b.slopes) / 8
    sizes = [jnp.abs(x.values) for x in (a, m, b)]
    least = jnp.minimum(jnp.minimum(sizes[0], sizes[1]), sizes[2])
    most = jnp.maximum(jnp.maximum(sizes[0], sizes[1]), sizes[2])
    difference = jnp.abs(m.values - expected)
    differs = (difference > BY_DISTANCE * least) & (difference > BY_SIZE * most)
    return differs & (difference > _moved(noise, b))
