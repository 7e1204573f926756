"""One adaptive step of a run, by any method: how far it may go, and the point at its end.

Everything here may have lanes: one more axis at the end, the same for all, of runs side by side.
"""

import dataclasses
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Inexact

from ...jaxprs.trees import select
from .methods.checked import attempt_of, curve_of, unit_of
from .methods.defect import DEFECT, NOISE
from .methods.method import PLAIN, Attempt, Mark, Reach, StepMethod, Stretch
from .path import Taken
from .polynomial import polynomial_at, value_at
from .system import Point, StepControl, System, sizes_of


class Pause(eqx.Module):
    """Where a run stands: what it takes to go on as if it had not stopped.

    `point` is the start of the last step, `coefficients` are that step's polynomial in
    (t - start) / `unit` with a `centre`, and `last` is the time to which the run came, within the
    step. `history` is what the run's delays read, None where it has none.
    """

    point: Point
    coefficients: Inexact[Array, "orders state"]
    unit: Float[Array, ""]
    centre: Float[Array, ""]
    last: Float[Array, ""]
    history: Any = None

    def at(self, offset: Array) -> Array:
        """The state at an offset from the start of the last step."""
        return value_at(self.coefficients, offset / self.unit, self.centre)

    def suspect(self) -> int | None:
        """The entry of the state that ended a run which failed: one that is not finite, or else the
        one with the largest last term of the polynomial. None where nothing tells it.

        Read when the run is over: `coefficients` are those of the last step that was tried.
        """
        rows, state = np.abs(self.coefficients), np.abs(self.point.state)
        for finite in (np.isfinite(state), np.isfinite(rows).all(axis=0)):
            if not finite.all():
                return int(np.argmin(finite)) if finite.any() or finite.size == 1 else None
        scale = np.maximum(rows[0], rows[1] * float(self.unit))
        parts = np.divide(rows[-1], scale, out=np.zeros_like(scale), where=scale > 0)
        return int(np.argmax(parts)) if parts.any() else None


class Step(eqx.Module):
    """One try of a step: what the method made of it, how far it goes, the point at its end."""

    attempt: Attempt
    stretch: Stretch
    after: Point


def start(time: Array, state: Array) -> Point:
    """The point at which a run begins. What its method remembers is not known yet."""
    zero = jnp.zeros_like(time)
    return Point(time, zero, state, jnp.zeros_like(state), step=zero, memory=None)


def ends(pause: Pause, direction: Array) -> tuple[Array, Array]:
    """Where a run stands, and just past that: times `[2]` and states `[2, state]`.

    A run that stops because a loop loses its solution stops one resolution of time before that.
    """
    point = pause.point
    offset = 16 * direction * jnp.finfo(point.time.dtype).eps * jnp.abs(point.time)
    after = pause.at(offset)
    return (
        jnp.stack([point.time, point.time + offset]),
        jnp.stack([point.state, jnp.where(jnp.isfinite(after), after, point.state)]),
    )


def resume(
    method: StepMethod,
    system: System,
    ts: Array,
    pause: Pause,
    control: StepControl,
    unchanged: Array | bool = True,
) -> tuple[Point, Array]:
    """The point from which a run goes on, and whether it retakes the step that it stood in.

    If the system and the method are unchanged, and so is what else the caller knows of, the last
    step is taken again, and all later steps are the same. If not, or if the direction changed, the
    run starts afresh at the time that it reached: the old step's polynomial holds up to there.
    """
    point = pause.point
    offset = pause.last - point.time - point.late
    old = pause.at(offset) + point.remainder
    afresh = start(pause.last, old)
    if point.memory is None:
        return afresh, jnp.zeros((), bool)
    direction = jnp.where(ts[-1] < ts[0], -1.0, 1.0).astype(ts.dtype)
    stretch = Stretch(pause.unit, pause.unit, point.time + point.late + pause.unit)
    curve = curve_of(method, system, point.time, point.state, stretch)
    new = value_at(curve, offset / pause.unit, method.centre) + point.remainder
    scale = sizes_of(system, jnp.maximum(jnp.abs(old), jnp.abs(point.state)))
    allowed = DEFECT * (control.atol + control.rtol * scale)
    allowed += NOISE * jnp.finfo(ts.dtype).eps * jnp.max(scale)
    same = jnp.all(sizes_of(system, old - new) <= allowed)
    same &= (direction * offset >= 0) & unchanged
    if system.watch is not None and system.layout is not None:
        # Another parameter may put a branch or a relay elsewhere.
        own = system.layout.at_start & ~point.memory.sides & ~point.memory.fired
        for time, state in ((point.time, point.state), (pause.last, old)):
            same &= ~jnp.any(own & (system.guards(time, state) > 0))
    afresh = dataclasses.replace(afresh, memory=point.memory)
    return select(same, point, afresh), same


def beside(time: Array, direction: Array) -> Array:
    """The next time that can be told from `time`: beside 0 the least normal number."""
    known = lax.stop_gradient(time)
    least = direction * jnp.finfo(time.dtype).tiny
    following = jnp.where(known == 0, least, jnp.nextafter(known, direction * jnp.inf))
    return time + (following - known)


def reach_of(
    point: Point, last: Array, direction: Array, control: StepControl, left: Array | None = None
) -> Reach:
    """How far a step may go from a point, in a run to the time `last` with so many steps left."""
    remaining = direction * (last - point.time)
    remaining = lax.max(remaining, lax.full_like(remaining, 0))
    wall = next_breakpoint(point.time, direction, control)
    latest = jnp.broadcast_to(last, point.time.shape)
    if wall is None:
        return Reach(remaining, None, None, latest, left)
    last_before = beside(lax.stop_gradient(wall), -direction)
    before = direction * (last_before - point.time)
    to_breakpoint = wall - point.time - point.late
    latest = jnp.where(direction * (last_before - latest) < 0, last_before, latest)
    return Reach(remaining, before, to_breakpoint, latest, left)


def take_step(
    method: StepMethod,
    system: System,
    point: Point,
    last: Array,
    direction: Array,
    control: StepControl,
    left: Array,
) -> Step:
    """One try of a step from a point towards the time `last`, in `direction` 1 or -1, with so many
    steps left."""
    reach = reach_of(point, last, direction, control, left)
    attempt = attempt_of(method, system, point, reach, direction, control)
    offset = reach.offset(attempt.size, attempt.clipped, direction)
    wall = next_breakpoint(point.time, direction, control)
    after = _end(point, offset, attempt.begin, attempt.change, attempt.clipped, wall, direction)
    after = _in_no_time(point, after, attempt.mark)
    after = dataclasses.replace(after, step=attempt.step, memory=attempt.memory)
    return Step(attempt, _stretch(method, offset, reach, attempt.mark), after)


def stretch_of(
    method: StepMethod,
    point: Point,
    taken: Taken,
    last: Array,
    direction: Array,
    control: StepControl,
) -> Stretch:
    """A step that was taken from a point."""
    reach = reach_of(point, last, direction, control)
    offset = reach.offset(lax.stop_gradient(taken.size), taken.clipped, direction)
    return _stretch(method, offset, reach, taken.mark)


def _stretch(method: StepMethod, offset: Array, reach: Reach, mark: Mark | None) -> Stretch:
    """A step to an offset. Of a run that ends where it begins that is 0, and no unit."""
    unit = lax.stop_gradient(unit_of(method, offset))
    unit = jnp.where(unit == 0, jnp.ones_like(unit), unit)
    return Stretch(offset, unit, lax.stop_gradient(reach.latest), mark)


def covered(stretch: Stretch, clipped: Array, end: Array, direction: Array, delayed: bool) -> Array:
    """The last time at which a step that ends at a time says what the state is.

    At an event that is what it is after the jump, so a step that ends at one says it up to there;
    and so does one that ends at a breakpoint in a run with delays, which may jump.
    """
    if stretch.mark is None:
        return jnp.where(clipped, stretch.latest, end) if delayed else end
    kind = stretch.mark.kind
    last = jnp.where(kind == PLAIN, end, beside(end, -direction))
    last = jnp.where(clipped, stretch.latest, last)
    return jnp.where(stretch.mark.jumps, -direction * jnp.inf, last)


def advance(
    method: StepMethod,
    coefficients: Array,
    point: Point,
    stretch: Stretch,
    clipped: Array,
    direction: Array,
    control: StepControl,
) -> Point:
    """The point at the end of a step that was taken, from its polynomial."""
    part = stretch.part
    change = polynomial_at(coefficients[1:], part - method.centre) * part
    wall = next_breakpoint(point.time, direction, control)
    after = _end(point, stretch.offset, coefficients[0], change, clipped, wall, direction)
    after = _in_no_time(point, after, stretch.mark)
    return dataclasses.replace(after, step=jnp.abs(stretch.offset))


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
    late = lax.stop_gradient(late)
    return Point(time, late, state, remainder, lax.abs(offset), point.memory)


def _in_no_time(point: Point, after: Point, mark: Mark | None) -> Point:
    """The point after a step, which is at the same time where it is a jump: what stands just past a
    breakpoint stays there."""
    if mark is None:
        return after
    jumps = mark.jumps
    time, late = jnp.where(jumps, point.time, after.time), jnp.where(jumps, point.late, after.late)
    return dataclasses.replace(after, time=time, late=late)


def next_breakpoint(time: Array, direction: Array, control: StepControl) -> Array | None:
    """The breakpoint ahead, infinitely far where there is none; None for a run without any."""
    stops = control.breakpoints
    if stops.shape[0] == 0:
        return None
    index = index_of_next(time, direction, control)
    found = at_number(stops, jnp.clip(index, 0, stops.shape[0] - 1))
    return jnp.where((index >= 0) & (index < stops.shape[0]), found, direction * jnp.inf)


def index_of_next(time: Array, direction: Array, control: StepControl) -> Array:
    """The index of the breakpoint ahead; none is where it is no index of one."""
    stops, known = control.breakpoints, lax.stop_gradient(time)
    count = stops.shape[0]

    # A bisection that reads one of the sorted stops a turn.
    def halve(carry: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], None]:
        index, candidates = carry
        half = lax.div(candidates, jnp.int32(2))
        stop = at_number(stops, jnp.maximum(index + half - 1, 0))
        passed = jnp.where(direction > 0, stop <= known, stop < known)
        return (jnp.where(passed, index + half, index), candidates - half), None

    begin = jnp.zeros(time.shape, jnp.int32), jnp.int32(count + 1)
    (index, _), _ = lax.scan(halve, begin, length=count.bit_length())
    return jnp.where(direction > 0, index, index - 1)


def at_number(rows: Array, number: Array) -> Array:
    """The row of a number, such as a time, lane by lane where each has its own."""
    if number.ndim == 0:
        return lax.dynamic_index_in_dim(rows, number, keepdims=False, allow_negative_indices=False)
    if rows.ndim == 1:
        return rows[number]
    places = jnp.broadcast_to(number, (1, *rows.shape[1:]))
    return jnp.take_along_axis(rows, places, axis=0)[0]
