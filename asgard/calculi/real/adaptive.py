"""One adaptive Taylor step: expand, choose the size, check it and sum.

The step size follows Jorba and Zou (*A software package for the numerical integration of ODEs by
means of high-order Taylor methods*, Experimental Mathematics 14, 2005, section 3.2): it is read off
the last two coefficients. That alone steps over what a series cannot see, so a step is accepted
only where its polynomial satisfies the equation at points inside it.

Everything here may have lanes: one more axis at the end, the same for all, of runs side by side.
"""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Inexact, Int

from .defect import DEFECT, NOISE, largest_size
from .system import Control, Point, System, horner, wire_norms

# A step may be so many times the one before.
GROWTH = 2.0
# The first step where the series gives none, as under a polynomial solution.
FIRST = 1 / 64


class Pause(eqx.Module):
    """Where a run stands: what it takes to go on as if it had not stopped.

    `point` is the start of the last step, `coefficients` are that step's polynomial, and `last` is
    the time to which the run came, within the step.
    """

    point: Point
    coefficients: Inexact[Array, "orders state"]
    last: Float[Array, ""]


class Step(eqx.Module):
    """What one step came to.

    `size` is positive, and `clipped` where a breakpoint bounds it; `after` is the point at its end.
    `finite` says whether its coefficients are, and `accepted` whether a size was found, after
    `rejected` ones.
    """

    coefficients: Inexact[Array, "orders state *lanes"]
    size: Float[Array, "*lanes"]
    clipped: Bool[Array, "*lanes"]
    after: Point
    finite: Bool[Array, "*lanes"]
    accepted: Bool[Array, "*lanes"]
    rejected: Int[Array, "*lanes"]


def start(time: Array, state: Array) -> Point:
    """The point at which a run begins."""
    zero = jnp.zeros_like(time)
    return Point(time, zero, state, jnp.zeros_like(state), step=zero)


def resume(system: System, ts: Array, pause: Pause, control: Control) -> tuple[Point, Array]:
    """The point from which a run goes on, and whether it retakes the step that it stood in.

    Where the system is what it was, the last step is taken anew, and all the same steps after it.
    Where it is another one now (parameters, inputs, direction), the run starts afresh at the time
    to which it had come: the old step's polynomial holds up to there, the new system from there on.
    """
    point = pause.point
    offset = pause.last - point.time - point.late
    old = horner(pause.coefficients, offset) + point.remainder
    new = horner(system.expand(point.time, point.state), offset) + point.remainder
    scale = wire_norms(system, jnp.maximum(jnp.abs(old), jnp.abs(point.state)))
    allowed = DEFECT * (control.atol + control.rtol * scale)
    allowed += NOISE * jnp.finfo(ts.dtype).eps * jnp.max(scale)
    same = jnp.all(wire_norms(system, old - new) <= allowed)
    direction = jnp.where(ts[-1] < ts[0], -1.0, 1.0).astype(ts.dtype)
    same &= direction * offset >= 0
    afresh = start(pause.last, old)
    return jax.tree.map(lambda one, other: jnp.where(same, one, other), point, afresh), same


def beside(time: Array, direction: Array) -> Array:
    """The next time that can be told from `time`: beside 0 the least normal number."""
    known = lax.stop_gradient(time)
    least = direction * jnp.finfo(time.dtype).tiny
    following = jnp.where(known == 0, least, jnp.nextafter(known, direction * jnp.inf))
    return time + (following - known)


def take_step(
    system: System, point: Point, last: Array, direction: Array, control: Control
) -> Step:
    """The step from a point towards the time `last`, in `direction` 1 or -1."""
    coefficients = system.expand(point.time, point.state)
    # Zero times what is finite is zero: a sum of numbers, which runs as vectors do, not of flags.
    finite = lax.reduce_sum(coefficients * 0, (0, 1)) == 0
    # Sizes are chosen by numbers that carry no derivative; a breakpoint's place carries its own.
    frozen = lax.stop_gradient((coefficients, point, last))
    wall = next_breakpoint(point.time, direction, control)
    size = proposed = _propose(system, *frozen[:2], control)
    clipped = lax.full(size.shape, False)
    if wall is not None:
        before = direction * (beside(lax.stop_gradient(wall), -direction) - frozen[1].time)
        clipped = proposed >= before
        size = jnp.where(clipped, before, proposed)
    size, rejected, accepted = largest_size(system, *frozen, size, direction, control)
    if wall is not None:
        # To a breakpoint that close the state does not move.
        clipped &= rejected == 0
        accepted |= clipped & (size <= 2 * jnp.finfo(size.dtype).eps * jnp.abs(point.time))
    offset = _offset(point, size, clipped, wall, direction)
    change = _change(coefficients, offset)
    after = _end(point, offset, coefficients[0], change, clipped, wall, direction)
    after = dataclasses.replace(after, step=lax.max(size, proposed))
    return Step(coefficients, size, clipped, after, finite, accepted, rejected)


def advance(
    coefficients: Array,
    point: Point,
    size: Array,
    clipped: Array,
    wall: Array | None,
    direction: Array,
) -> Point:
    """The point at the end of a step of a size, at the breakpoint `wall` where that clips it."""
    offset = _offset(point, size, clipped, wall, direction)
    change = _change(coefficients, offset)
    after = _end(point, offset, coefficients[0], change, clipped, wall, direction)
    return dataclasses.replace(after, step=size)


def _offset(
    point: Point, size: Array, clipped: Array, wall: Array | None, direction: Array
) -> Array:
    """From a point to the end of a step, in time."""
    offset = direction * size
    return offset if wall is None else jnp.where(clipped, wall - point.time - point.late, offset)


def _change(coefficients: Array, offset: Array) -> Array:
    """What the state changes by over a step."""
    return horner(coefficients[1:], offset) * offset


def _end(
    point: Point,
    offset: Array,
    begin: Array,
    change: Array,
    clipped: Array,
    wall: Array | None,
    direction: Array,
) -> Point:
    """The point at the end of a step, by compensated summation (Kahan) of time and state.

    What rounding leaves out is carried along. `begin` is the state at the point, and what guesses
    should have been there.
    """
    span = point.late + offset
    time = point.time + span
    late = span - (time - point.time)
    if wall is not None:
        beyond = beside(wall, direction)
        time, late = jnp.where(clipped, beyond, time), jnp.where(clipped, wall - beyond, late)
    increment = change + point.remainder
    state = begin + increment
    remainder = lax.stop_gradient(increment - (state - begin))
    return Point(time, lax.stop_gradient(late), state, remainder, lax.abs(offset))


def _propose(system: System, coefficients: Array, point: Point, control: Control) -> Array:
    """The size that the decay of the coefficients allows, by at most `GROWTH` over the last."""
    order = coefficients.shape[0] - 1
    lowest = max(order - 1, 2)
    first = wire_norms(system, lax.slice_in_dim(coefficients, 0, 2), axis=1)
    norms = wire_norms(system, lax.slice_in_dim(coefficients, lowest, order + 1), axis=1)
    # Rows are the value and the slope, and the last coefficients.
    rows = (-1,) + (1,) * (norms.ndim - 1)
    powers = np.arange(lowest, order + 1, dtype=norms.dtype).reshape(rows)
    bounds = lax.log(
        control.rtol * first + control.atol * np.eye(2, 1, dtype=norms.dtype).reshape(rows)
    )
    known = lax.log(norms)
    sizes = lax.max((bounds[:1] - known) / powers, (bounds[1:] - known) / (powers - 1))
    sizes = lax.select(norms > 0, sizes, lax.full_like(sizes, jnp.inf))
    size = lax.exp(lax.reduce_min(sizes, (0, 1))).astype(point.time.dtype)
    limit = lax.select(point.step > 0, GROWTH * point.step, size)
    size = jnp.minimum(lax.min(size, limit), control.max_step)
    return lax.select(lax.is_finite(size), size, lax.full_like(size, FIRST))


def next_breakpoint(time: Array, direction: Array, control: Control) -> Array | None:
    """The breakpoint ahead, infinitely far where there is none; None for a run without any."""
    stops = control.breakpoints
    if stops.shape[0] == 0:
        return None
    place = place_of_next(time, direction, control)
    found = at_number(stops, jnp.clip(place, 0, stops.shape[0] - 1))
    return jnp.where((place >= 0) & (place < stops.shape[0]), found, direction * jnp.inf)


def place_of_next(time: Array, direction: Array, control: Control) -> Array:
    """Which breakpoint is ahead: none, if it is not among their numbers."""
    stops, known = control.breakpoints, lax.stop_gradient(time)
    count = stops.shape[0]

    # A bisection that reads one of the sorted stops a turn.
    def halve(carry: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], None]:
        place, candidates = carry
        half = lax.div(candidates, jnp.int32(2))
        stop = at_number(stops, jnp.maximum(place + half - 1, 0))
        passed = jnp.where(direction > 0, stop <= known, stop < known)
        return (jnp.where(passed, place + half, place), candidates - half), None

    begin = jnp.zeros(time.shape, jnp.int32), jnp.int32(count + 1)
    (place, _), _ = lax.scan(halve, begin, length=count.bit_length())
    return jnp.where(direction > 0, place, place - 1)


def at_number(ts: Array, number: Array) -> Array:
    """The time of a number, lane by lane."""
    if number.ndim == 0:
        return lax.dynamic_index_in_dim(ts, number, keepdims=False, allow_negative_indices=False)
    if ts.ndim == 1:
        return ts[number]
    return jnp.take_along_axis(ts, number[None], axis=0)[0]
