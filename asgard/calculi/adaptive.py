"""Adaptive Taylor steps: one bounded loop that expands, chooses a step, checks it and sums.

The step size follows Jorba and Zou (*A software package for the numerical integration of ODEs by
means of high-order Taylor methods*, Experimental Mathematics 14, 2005, section 3.2): it is read off
the last two coefficients. That alone steps over what a series cannot see, so a step is accepted
only where its polynomial satisfies the equation at points inside it.
"""

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Inexact, Int

from ..loop import bounded_while
from ..status import Status

# Where in a step its polynomial must satisfy the equation: at its end, and spread by the golden
# ratio, so as to meet no period.
CHECKS = (*sorted(k * 0.6180339887498949 % 1 for k in range(1, 12)), 1.0)
# How many saved times one turn of the loop reads off a step's polynomial.
SAVES = 16
# A step may be so many times the one before.
GROWTH = 2.0
# The first step where the series gives none, as under a polynomial solution.
FIRST = 1 / 64
# How often a step is halved before it is given up.
REJECTIONS = 64
# The defect that is let pass, in units of the tolerance and of rounding.
DEFECT = 32.0
NOISE = 64.0


@dataclasses.dataclass(frozen=True)
class System:
    """y' = f(t, y) with a flat state.

    `expand(t, y)` gives the Taylor coefficients of the solution through (t, y), of shape
    `[order + 1, state]`; `field(t, y)` gives f; `wires[i]` is the wire that entry i belongs to.
    """

    expand: Callable[[Array, Array], Array]
    field: Callable[[Array, Array], Array]
    wires: np.ndarray


class Control(eqx.Module):
    """Tolerances and bounds of the steps; `breakpoints` are times where no step may pass."""

    rtol: Float[Array, ""]
    atol: Float[Array, ""]
    max_step: Float[Array, ""]
    breakpoints: Float[Array, " breakpoints"]
    max_steps: int = eqx.field(static=True)


class Point(eqx.Module):
    """A point of a run between two steps.

    `step` is the size of the last step taken, infinite before the first; `remainder` is what
    rounding left out of `state` so far.
    """

    time: Float[Array, ""]
    state: Inexact[Array, " state"]
    remainder: Inexact[Array, " state"]
    step: Float[Array, ""]


class Pause(eqx.Module):
    """Where a run stands: what it takes to go on as if it had not stopped.

    `point` is the start of the last step, `coefficients` are that step's polynomial, and `last` is
    the time to which the run came, within the step.
    """

    point: Point
    coefficients: Inexact[Array, "orders state"]
    last: Float[Array, ""]


class Statistics(eqx.Module):
    """`steps` taken, `rejected` step sizes, and the `smallest` step taken."""

    steps: Int[Array, ""]
    rejected: Int[Array, ""]
    smallest: Float[Array, ""]


class Run(eqx.Module):
    """The loop's carry. `saved` holds the states at the times that are read off so far."""

    point: Point
    coefficients: Inexact[Array, "orders state"]
    saved: Any  # [times, state]; in the loop, a buffer that stands for it
    count: Int[Array, ""]
    again: Array  # whether the step at hand was taken before, for more saved times
    status: Status
    statistics: Statistics


def start(time: Array, state: Array) -> Point:
    """The point at which a run begins."""
    infinite = jnp.full((), jnp.inf, time.dtype)
    return Point(time, state, jnp.zeros_like(state), infinite)


def no_statistics(dtype: Any) -> Statistics:
    """The statistics of no step."""
    zero = jnp.zeros((), jnp.int32)
    return Statistics(zero, zero, jnp.full((), jnp.inf, dtype))


def resume(system: System, ts: Array, pause: Pause, control: Control) -> tuple[Point, Array]:
    """The point from which a run goes on, and whether it retakes the step that it stood in.

    Where the system is what it was, the last step is taken anew, and all the same steps after it.
    Where it is another one now (parameters, inputs, direction), the run starts afresh at the time
    to which it had come: the old step's polynomial holds up to there, the new system from there on.
    """
    point = pause.point
    offset = pause.last - point.time
    old = _horner(pause.coefficients, offset) + point.remainder
    new = _horner(system.expand(point.time, point.state), offset) + point.remainder
    scale = _wire_norms(system, jnp.maximum(jnp.abs(old), jnp.abs(point.state)))
    allowed = DEFECT * (control.atol + control.rtol * scale)
    allowed += NOISE * jnp.finfo(ts.dtype).eps * jnp.max(scale)
    same = jnp.all(_wire_norms(system, old - new) <= allowed)
    direction = jnp.where(ts[-1] < ts[0], -1.0, 1.0).astype(ts.dtype)
    same &= direction * offset >= 0
    afresh = start(pause.last, old)
    return jax.tree.map(lambda one, other: jnp.where(same, one, other), point, afresh), same


def integrate(system: System, ts: Array, begin: Point, again: Array, control: Control) -> Run:
    """Steps through `ts` from a point at or before `ts[0]`.

    The run ends with the point at the start of the step that covers `ts[-1]`. `again` says that the
    first step was counted in an earlier run.
    """
    count = ts.shape[0]
    width = min(SAVES, count)
    saved = jnp.zeros((count + width, *begin.state.shape), begin.state.dtype)
    none, zero = no_statistics(ts.dtype), jnp.zeros((), jnp.int32)
    kind = jax.eval_shape(system.expand, begin.time, begin.state)
    unknown = jnp.zeros(kind.shape, kind.dtype)
    run = Run(begin, unknown, saved, zero, again, Status.ok, none)
    padded = jnp.concatenate([ts, jnp.full(width, ts[-1])])

    def unfinished(run: Run) -> Array:
        return (run.count < count) & (run.status == Status.ok)

    def body(run: Run) -> Run:
        return _turn(system, padded, count, width, control, run)

    turns = control.max_steps + -(-count // width) + 1
    run = bounded_while(unfinished, body, run, max_steps=turns, buffers=lambda run: run.saved)
    exhausted = (run.count < count) & (run.status == Status.ok)
    status = Status.where(exhausted, Status.max_steps, run.status)
    return eqx.tree_at(lambda run: run.status, run, status)


def beside(time: Array, direction: Array) -> Array:
    """The next time that can be told from `time`: beside 0 the least normal number."""
    known = lax.stop_gradient(time)
    least = direction * jnp.finfo(time.dtype).tiny
    following = jnp.where(known == 0, least, jnp.nextafter(known, direction * jnp.inf))
    return time + (following - known)


def _turn(system: System, ts: Array, count: int, width: int, control: Control, run: Run) -> Run:
    """One turn: a step, and the saved times that it covers, `width` at most."""
    point = run.point
    last = ts[count - 1]
    direction = lax.stop_gradient(jnp.where(last < ts[0], -1.0, 1.0).astype(ts.dtype))
    coefficients = system.expand(point.time, point.state)
    finite = jnp.all(jnp.isfinite(coefficients))
    # Sizes are chosen by numbers that carry no derivative; a breakpoint's place carries its own.
    wall = _next_breakpoint(point.time, direction, control)
    frozen = lax.stop_gradient((coefficients, point, last))
    size, clipped = _propose(system, *frozen[:2], lax.stop_gradient(wall), direction, control)
    size, rejected, accepted = _check(system, *frozen, size, direction, control)
    clipped &= rejected == 0
    offset = jnp.where(clipped, beside(wall, -direction) - point.time, direction * size)
    time = jnp.where(clipped, beside(wall, direction), point.time + offset)
    # Compensated summation (Kahan): what rounding leaves out goes into the next step.
    increment = _horner(coefficients[1:], offset) * offset + point.remainder
    state = point.state + increment
    remainder = lax.stop_gradient(increment - (state - point.state))

    places = run.count + jnp.arange(width, dtype=run.count.dtype)
    times = ts[places]
    covered = (direction * (times - time) <= 0) & (places < count) & accepted & finite
    passed = direction * (times - point.time) >= 0  # not so where a run starts beside a breakpoint
    inside = jnp.where(covered & passed, times - point.time, 0)
    values = point.state + jax.vmap(lambda s: _horner(coefficients[1:], s) * s)(inside)
    # Reverse mode takes each row to be written once: what is not covered goes past the last one.
    rows = jnp.where(covered, places, count + jnp.arange(width, dtype=places.dtype))
    saved = run.saved.at[rows].set(values)
    found = run.count + jnp.sum(covered, dtype=run.count.dtype)
    again = (found < count) & (direction * (ts[jnp.minimum(found, count - 1)] - time) <= 0)
    advance = finite & accepted & ~again & (found < count)
    after = Point(time, state, remainder, size)
    point = jax.tree.map(lambda new, old: jnp.where(advance, new, old), after, point)
    status = Status.where(
        finite, Status.where(accepted, Status.ok, Status.step_size), Status.nonfinite
    )
    fresh = finite & accepted & ~run.again
    statistics = Statistics(
        run.statistics.steps + fresh,
        run.statistics.rejected + jnp.where(run.again, 0, rejected),
        jnp.where(fresh, jnp.minimum(run.statistics.smallest, size), run.statistics.smallest),
    )
    out_of_steps = (statistics.steps >= control.max_steps) & (found < count) & ~again
    status = Status.where((status == Status.ok) & out_of_steps, Status.max_steps, status)
    return Run(point, coefficients, saved, found, again, status, statistics)


def _propose(
    system: System,
    coefficients: Array,
    point: Point,
    wall: Array,
    direction: Array,
    control: Control,
) -> tuple[Array, Array]:
    """The size of the step, and whether the breakpoint `wall` clips it."""
    order = coefficients.shape[0] - 1
    last = {max(order - 1, 2), order}
    norm = {k: _wire_norms(system, coefficients[k]) for k in {0, 1} | last}
    sizes = []
    for k in last:
        size = _root((control.rtol * norm[0] + control.atol) / norm[k], k)
        size = jnp.maximum(size, _root(control.rtol * norm[1] / norm[k], k - 1))
        sizes.append(jnp.where(norm[k] > 0, size, jnp.inf))
    size = jnp.min(jnp.stack(sizes)).astype(point.time.dtype)
    limit = jnp.where(jnp.isfinite(point.step), GROWTH * point.step, size)
    size = jnp.minimum(jnp.minimum(size, limit), control.max_step)
    size = jnp.where(jnp.isfinite(size), size, FIRST)
    before = direction * (beside(wall, -direction) - point.time)
    clipped = size >= before
    return jnp.where(clipped, before, size), clipped


def _next_breakpoint(time: Array, direction: Array, control: Control) -> Array:
    """The breakpoint ahead, infinitely far where there is none."""
    ahead = direction * control.breakpoints
    ahead = jnp.where(ahead > direction * time, ahead, jnp.inf)
    return direction * jnp.min(ahead, initial=jnp.inf)


def _root(ratio: Array, k: int) -> Array:
    return jnp.exp(jnp.log(ratio) / k)


def _check(
    system: System,
    coefficients: Array,
    point: Point,
    last: Array,
    size: Array,
    direction: Array,
    control: Control,
) -> tuple[Array, Array, Array]:
    """The largest of size, size/2, … at which the polynomial satisfies the equation.

    Returns the size, how many were rejected, and whether one was found that time can resolve.
    """
    resolution = jnp.finfo(size.dtype).eps
    shortest = 2 * resolution * jnp.abs(point.time)
    remaining = jnp.maximum(direction * (last - point.time), 0)
    slopes = coefficients[1:] * _orders(coefficients)[1:]
    # How far rounding of its arguments moves the field: no defect below that says anything. At a
    # jump the field moves to one side only, which excuses no step but the shortest.
    nearby = 1 + 2 * resolution * jnp.asarray([-1, 1], size.dtype)
    moved = jax.vmap(lambda near: system.field(point.time * near, point.state * near))(nearby)
    moved = jax.vmap(lambda slope: _wire_norms(system, slope - coefficients[1]))(moved)
    blur, jump = jnp.min(moved, axis=0), jnp.max(moved, axis=0)

    def defect_is_small(size: Array) -> Array:
        # What lies past the last time is never asked about.
        used = jnp.minimum(size, remaining)
        offsets = direction * used * jnp.asarray(CHECKS, size.dtype)
        states = jax.vmap(lambda s: _horner(coefficients, s))(offsets)
        expected = jax.vmap(lambda s: _horner(slopes, s))(offsets)
        found = jax.vmap(system.field)(point.time + offsets, states)
        defect = used * jnp.max(jnp.abs(found - expected), axis=0)
        scale = jnp.maximum(jnp.abs(coefficients[0]), used * jnp.abs(coefficients[1]))
        scale = _wire_norms(system, scale)
        allowed = DEFECT * (control.atol + control.rtol * scale)
        allowed += NOISE * (resolution * jnp.max(scale) + used * blur)
        allowed += 2 * jnp.minimum(used, shortest) * jump
        return jnp.all(_wire_norms(system, defect) <= allowed)

    def halve(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        size, rejected, _ = carry
        return size / 2, rejected + 1, defect_is_small(size / 2)

    def go_on(carry: tuple[Array, Array, Array]) -> Array:
        size, rejected, small = carry
        return ~small & (size > shortest) & (rejected < REJECTIONS)

    # Twice the size is taken for rejected, so that the check is compiled once.
    before = (2 * size, -jnp.ones((), jnp.int32), jnp.zeros((), bool))
    size, rejected, small = lax.while_loop(go_on, halve, before)
    return size, jnp.maximum(rejected, 0), small


def _wire_norms(system: System, values: Array) -> Array:
    """The largest magnitude on each wire."""
    sizes = jnp.abs(values)
    count = int(system.wires[-1]) + 1
    if count == len(system.wires):
        return sizes
    starts = np.searchsorted(system.wires, np.arange(count + 1))
    return jnp.stack([jnp.max(sizes[a:b]) for a, b in itertools.pairwise(starts)])


def _horner(coefficients: Array, offset: Array) -> Array:
    """The sum of coefficients[k] offset^k, for one offset."""
    value = coefficients[-1]
    for k in range(coefficients.shape[0] - 2, -1, -1):
        value = value * offset + coefficients[k]
    return value


def _orders(coefficients: Array) -> Array:
    dtype = jnp.finfo(coefficients.dtype).dtype
    return jnp.arange(coefficients.shape[0], dtype=dtype)[:, None]
