"""Where a guard first passes zero upward within a step.

The search goes through the step in intervals. Guards and their slopes are read at both ends and in
the middle of each. An interval is halved where a guard could turn across zero between two of these
points, or where its middle is not what the ends let expect. The first change of sign is then
located by bisection.

Everything here may have lanes: one more axis at the end.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from .system import any_of

# Into how many intervals a step is cut at first, and what part of it is the shortest one.
INTERVALS, SHORTEST = 3.0, 2.0**-20
# By how much a guard in the middle may differ from a cubic through the ends: relative to its
# distance from zero, or to its size.
BY_DISTANCE, BY_SIZE = 0.25, 1e-3

# The guards at a distance from the start of a step, `[guards, *lanes]`.
Values = Callable[[Array], Array]


class Crossing(eqx.Module):
    """The first crossing of a step: whether there is one, the distance of the first number past
    it, which guards have passed zero there, and which are above zero there. Where there is none,
    `sides` are those at the end of the step."""

    found: Bool[Array, "*lanes"]
    distance: Float[Array, "*lanes"]
    fired: Bool[Array, "guards *lanes"]
    sides: Bool[Array, "guards *lanes"]


class _End(eqx.Module):
    """An end of an interval: its distance, the guards with their slopes, and their sides."""

    distance: Array
    values: Array
    slopes: Array
    sides: Array


class _Scan(eqx.Module):
    """A search that has come to the end `a`; `width` is that of the next interval. Once a crossing
    is `found`, it lies between `a` and `beyond`, where guards are above zero as `above` says."""

    a: _End
    width: Array
    found: Array
    beyond: Array
    above: Array


def first_crossing(
    values: Values, sides: Array, size: Array, time: Array, active: Array
) -> Crossing:
    """The first crossing in steps of some sizes, where they are active.

    `sides` says which guards count as above zero at the start, whatever rounding says.
    """
    scan = _scanned(values, sides, size, active)
    # What a guard is past its crossing is asked but once: XLA may round it another way elsewhere.
    beyond, above = _bisected(values, scan, time)
    distance = jnp.where(scan.found, beyond, size)
    fired = scan.found & ~scan.a.sides & above
    return Crossing(scan.found, distance, fired, jnp.where(scan.found, above, scan.a.sides))


def _scanned(values: Values, sides: Array, size: Array, active: Array) -> _Scan:
    shortest = SHORTEST * size

    def at(distance: Array) -> tuple[Array, Array]:
        return jax.jvp(values, (distance,), (jnp.ones_like(distance),))

    def is_open(now: _Scan) -> Array:
        return active & ~now.found & (now.a.distance < size)

    def turn(now: _Scan) -> _Scan:
        a, open_ = now.a, is_open(now)
        end = jnp.minimum(a.distance + now.width, size)
        # No sliver is left for one more interval.
        end = jnp.where(end > size - shortest, size, end)
        middle = a.distance + (end - a.distance) / 2
        found = lax.map(lambda x: at(x), jnp.stack([middle, end]))
        m, b = (
            _End(x, found[0][k], found[1][k], found[0][k] > 0) for k, x in enumerate((middle, end))
        )
        first = jnp.any(~a.sides & m.sides, axis=0)
        second = jnp.any(~m.sides & b.sides, axis=0)
        unclear = _turns(a, m) | _turns(m, b) | _differs(a, m, b)
        # What is unclear in the second half says nothing about a crossing in the first.
        halved = jnp.where(first, jnp.any(_turns(a, m), axis=0), jnp.any(unclear, axis=0))
        halved &= end - a.distance > shortest
        crossed = open_ & ~halved & (first | second)
        moved = open_ & ~halved & ~first
        start = jax.tree.map(
            lambda old, mid, new: jnp.where(moved & second, mid, jnp.where(moved, new, old)),
            *(a, m, b),
        )
        wider = jnp.where(halved, (end - a.distance) / 2, 2 * now.width)
        return _Scan(
            start,
            jnp.where(open_, wider, now.width),
            now.found | crossed,
            jnp.where(crossed, jnp.where(first, middle, end), now.beyond),
            jnp.where(crossed, jnp.where(first, m.sides, b.sides), now.above),
        )

    zero = jnp.zeros_like(size)
    begin, slopes = at(zero)
    start = _End(zero, begin, slopes, sides)
    begun = _Scan(start, size / INTERVALS, jnp.zeros(size.shape, bool), zero, sides)
    return lax.while_loop(lambda now: any_of(is_open(now)), turn, begun)


def _turns(a: _End, b: _End) -> Array:
    """Whether a guard that is on one side at both ends may be on the other between them."""
    reached = a.values + a.slopes * (b.distance - a.distance)
    over = ~a.sides & ~b.sides & (a.slopes > 0) & (b.slopes < 0) & (reached > 0)
    under = a.sides & b.sides & (a.slopes < 0) & (b.slopes > 0) & (reached < 0)
    return over | under


def _differs(a: _End, m: _End, b: _End) -> Array:
    """Whether a guard is not what a cubic through the ends says."""
    expected = (a.values + b.values) / 2 + (b.distance - a.distance) * (a.slopes - b.slopes) / 8
    sizes = [jnp.abs(x.values) for x in (a, m, b)]
    least = jnp.minimum(jnp.minimum(sizes[0], sizes[1]), sizes[2])
    most = jnp.maximum(jnp.maximum(sizes[0], sizes[1]), sizes[2])
    difference = jnp.abs(m.values - expected)
    return (difference > BY_DISTANCE * least) & (difference > BY_SIZE * most)


def _bisected(values: Values, scan: _Scan, time: Array) -> tuple[Array, Array]:
    """The first distance, to the last digit of time, at which a guard has passed zero; and which
    guards are above zero there."""
    eps = jnp.finfo(time.dtype).eps / 4

    def is_open(low: Array, high: Array, number: Array) -> Array:
        least = eps * jnp.maximum(jnp.abs(time), high)
        return scan.found & (high - low > least) & (number < 128)

    def halve(carry: tuple[Array, ...]) -> tuple[Array, ...]:
        low, high, number, above = carry
        middle = low + (high - low) / 2
        sides = values(middle) > 0
        past = jnp.any(~scan.a.sides & sides, axis=0)
        open_ = is_open(low, high, number)
        return (
            jnp.where(open_ & ~past, middle, low),
            jnp.where(open_ & past, middle, high),
            number + 1,
            jnp.where(open_ & past, sides, above),
        )

    begun = scan.a.distance, scan.beyond, jnp.zeros((), jnp.int32), scan.above
    found = lax.while_loop(lambda carry: any_of(is_open(*carry[:3])), halve, begun)
    return found[1], found[3]
