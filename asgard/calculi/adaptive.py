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
    infinite = jnp.full((), jnp.inf, time.dtype)
    return Point(time, jnp.zeros_like(time), state, jnp.zeros_like(state), infinite)


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
    finite = jnp.all(jnp.isfinite(coefficients), axis=(0, 1))
    # Sizes are chosen by numbers that carry no derivative; a breakpoint's place carries its own.
    frozen = lax.stop_gradient((coefficients, point, last))
    wall = next_breakpoint(point.time, direction, control)
    proposed = _propose(system, *frozen[:2], control)
    before = direction * (beside(lax.stop_gradient(wall), -direction) - frozen[1].time)
    clipped = proposed >= before
    size = jnp.where(clipped, before, proposed)
    size, rejected, accepted = largest_size(system, *frozen, size, direction, control)
    clipped &= rejected == 0
    # To a breakpoint that close the state does not move.
    accepted |= clipped & (size <= 2 * jnp.finfo(size.dtype).eps * jnp.abs(point.time))
    after = advance(coefficients, point, size, clipped, wall, direction)
    after = dataclasses.replace(after, step=jnp.maximum(size, proposed))
    return Step(coefficients, size, clipped, after, finite, accepted, rejected)


def advance(
    coefficients: Array,
    point: Point,
    size: Array,
    clipped: Array,
    wall: Array,
    direction: Array,
) -> Point:
    """The point at the end of a step of a size, at the breakpoint `wall` where that clips it."""
    offset = jnp.where(clipped, wall - point.time - point.late, direction * size)
    # Compensated summation (Kahan) of time and state: what rounding leaves out is carried along.
    span = point.late + offset
    time = jnp.where(clipped, beside(wall, direction), point.time + span)
    late = jnp.where(clipped, wall - beside(wall, direction), span - (time - point.time))
    increment = horner(coefficients[1:], offset) * offset + point.remainder
    state = point.state + increment
    remainder = lax.stop_gradient(increment - (state - point.state))
    return Point(time, lax.stop_gradient(late), state, remainder, size)


def _propose(system: System, coefficients: Array, point: Point, control: Control) -> Array:
    """The size that the decay of the coefficients allows, by at most `GROWTH` over the last."""
    order = coefficients.shape[0] - 1
    value, slope = (wire_norms(system, coefficients[k]) for k in (0, 1))
    value = jnp.log(control.rtol * value + control.atol)
    slope = jnp.log(control.rtol * slope)
    sizes = []
    for k in {max(order - 1, 2), order}:
        norm = wire_norms(system, coefficients[k])
        known = jnp.log(norm)
        size = jnp.maximum((value - known) / k, (slope - known) / (k - 1))
        sizes.append(jnp.where(norm > 0, size, jnp.inf))
    size = jnp.exp(jnp.min(jnp.stack(sizes), axis=(0, 1))).astype(point.time.dtype)
    limit = jnp.where(jnp.isfinite(point.step), GROWTH * point.step, size)
    size = jnp.minimum(jnp.minimum(size, limit), control.max_step)
    return jnp.where(jnp.isfinite(size), size, FIRST)


def next_breakpoint(time: Array, direction: Array, control: Control) -> Array:
    """The breakpoint ahead, infinitely far where there is none."""
    stops = control.breakpoints
    if stops.shape[0] == 0:
        return jnp.full_like(time, jnp.inf) * direction
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
