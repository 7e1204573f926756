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

from ...jaxprs.fences import computed_once
from .methods.defect import DEFECT, NOISE, largest_size
from .system import Point, StepControl, System, polynomial_at, sizes_of

# A step may be so many times the one before.
GROWTH = 2.0
# A step that is cut to less than this part of its size only crosses a jump.
CROSSING = 1 / 256
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
    """One step: its polynomial, its size, and whether it is accepted.

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


def resume(system: System, ts: Array, pause: Pause, control: StepControl) -> tuple[Point, Array]:
    """The point from which a run goes on, and whether it retakes the step that it stood in.

    If the system is unchanged, the last step is taken again, and all later steps are the same. If
    its parameters, inputs or direction changed, the run starts afresh at the time that it reached:
    the old step's polynomial holds up to there, the new system from there on.
    """
    point = pause.point
    offset = pause.last - point.time - point.late
    old = polynomial_at(pause.coefficients, offset) + point.remainder
    new = polynomial_at(system.expand(point.time, point.state), offset) + point.remainder
    scale = sizes_of(system, jnp.maximum(jnp.abs(old), jnp.abs(point.state)))
    allowed = DEFECT * (control.atol + control.rtol * scale)
    allowed += NOISE * jnp.finfo(ts.dtype).eps * jnp.max(scale)
    same = jnp.all(sizes_of(system, old - new) <= allowed)
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
    system: System, point: Point, last: Array, direction: Array, control: StepControl
) -> Step:
    """The step from a point towards the time `last`, in `direction` 1 or -1."""
    coefficients = system.expand(point.time, point.state)
    # Zero times what is finite is zero: a sum of numbers, which runs as vectors do, not of flags.
    finite = lax.reduce_sum(coefficients * 0, (0, 1)) == 0
    # Sizes are chosen by numbers that carry no derivative; a breakpoint's time carries its own.
    curve, here, end = lax.stop_gradient((coefficients, point, last))
    wall = next_breakpoint(point.time, direction, control)
    scales = entry_scales(system, curve)
    size = proposed = _propose(system, curve, scales, here, control)
    clipped = lax.full(size.shape, False)
    if wall is not None:
        before = direction * (beside(lax.stop_gradient(wall), -direction) - here.time)
        clipped = proposed >= before
        size = jnp.where(clipped, before, proposed)
    size, rejected, accepted = largest_size(
        system, curve, scales, here, end, size, direction, control
    )
    if wall is not None:
        # To a breakpoint that close the state does not move.
        clipped &= rejected == 0
        accepted |= clipped & (size <= 2 * jnp.finfo(size.dtype).eps * jnp.abs(point.time))
    offset = _offset(point, size, clipped, wall, direction)
    always = rejected[(0,) * rejected.ndim] >= 0
    change = computed_once(lambda: _change(coefficients, offset), point.state, always)
    after = _end(point, offset, coefficients[0], change, clipped, wall, direction)
    grown = _grown(point, size, proposed, rejected)
    after = dataclasses.replace(after, step=grown)
    return Step(coefficients, size, clipped, after, finite, accepted, rejected)


def _grown(point: Point, size: Array, proposed: Array, rejected: Array) -> Array:
    """The size from which the next step may grow, after one of a size.

    That is the size proposed: a breakpoint cuts a step, and not the next. But after a jump that was
    located it is the size taken, as what switched once may switch again. The short step that then
    crosses the jump says nothing.
    """
    before = lax.select(point.step > 0, lax.min(point.step, proposed), proposed)
    cut = lax.select(size < CROSSING * proposed, before, size)
    return lax.select(rejected > 0, cut, lax.max(size, proposed))


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
    return polynomial_at(coefficients[1:], offset) * offset


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


def entry_scales(system: System, coefficients: Array) -> Array:
    """What the tolerance of each entry is relative to, `[state, *lanes]`.

    That is its value, or if larger what it moves by while its slope lasts: |c1| T, with T the time
    after which another term, k |c_k| T^(k - 1), would outgrow the slope. So the steps of an
    oscillator are no shorter where it passes zero, and a quantity that grows from a small value is
    followed from there. The terms are those whose T takes square roots only.
    """
    order = coefficients.shape[0] - 1
    slope = sizes_of(system, coefficients[1])
    lasts = lax.full_like(slope, jnp.inf)
    # The roots of order k - 1 are taken together, one square root after each term.
    for k in (17, 9, 5, 3, 2):
        if k <= order:
            time = slope / (k * sizes_of(system, coefficients[k]))
            lasts = lax.min(time, lax.sqrt(lasts))
    # Of an entry that stands still, or moves at one speed, the value alone counts.
    moves = (slope > 0) & (lasts < jnp.inf)
    moved = lax.select(moves, slope * lasts, lax.full_like(slope, 0))
    return lax.max(sizes_of(system, coefficients[0]), moved)


def _propose(
    system: System, coefficients: Array, scales: Array, point: Point, control: StepControl
) -> Array:
    """The size that the decay of the coefficients allows, by at most `GROWTH` over the last.

    Each entry bounds it: its last two coefficients, c_k h^k, are at most its tolerance, or that of
    what its slope moves it by, |c1| h. An entry whose value and slope are zero bounds nothing.
    """
    order = coefficients.shape[0] - 1
    lowest = max(order - 1, 2)
    last = sizes_of(system, lax.slice_in_dim(coefficients, lowest, order + 1), axis=1)
    slope = sizes_of(system, coefficients[1])
    rows = (-1,) + (1,) * (last.ndim - 1)
    powers = np.arange(lowest, order + 1, dtype=last.dtype).reshape(rows)
    bounds = lax.log(control.atol + control.rtol * scales), lax.log(control.rtol * slope)
    bounding = (last > 0) & (lax.max(slope, scales) + control.atol > 0)
    last = lax.log(last)
    sizes = lax.max((bounds[0] - last) / powers, (bounds[1] - last) / (powers - 1))
    sizes = lax.select(bounding, sizes, lax.full_like(sizes, jnp.inf))
    size = lax.exp(lax.reduce_min(sizes, (0, 1))).astype(point.time.dtype)
    limit = lax.select(point.step > 0, GROWTH * point.step, size)
    size = jnp.minimum(lax.min(size, limit), control.max_step)
    return lax.select(lax.is_finite(size), size, lax.full_like(size, FIRST))


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


def at_number(ts: Array, number: Array) -> Array:
    """The time of a number, lane by lane."""
    if number.ndim == 0:
        return lax.dynamic_index_in_dim(ts, number, keepdims=False, allow_negative_indices=False)
    if ts.ndim == 1:
        return ts[number]
    return jnp.take_along_axis(ts, number[None], axis=0)[0]
