"""One adaptive Taylor step: expand, choose the size, check it and sum.

The step size follows Jorba and Zou (*A software package for the numerical integration of ODEs by
means of high-order Taylor methods*, Experimental Mathematics 14, 2005, section 3.2): it is read off
the last two coefficients. That alone steps over what a series cannot see, so a step is accepted
only where its polynomial satisfies the equation at points inside it.

Everything here may have lanes: one more axis at the end, the same for all, of runs side by side.
"""

import dataclasses
import itertools
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Inexact, Int

# Where in a step its polynomial must satisfy the equation: at its end, and spread by the golden
# ratio, so as to meet no period. Fewer points do where the equation neither branches nor names
# time: then no kink and no pulse comes but by the solution itself.
CHECKS = (*sorted(k * 0.6180339887498949 % 1 for k in range(1, 12)), 1.0)
SMOOTH_CHECKS = (*sorted(k * 0.6180339887498949 % 1 for k in range(1, 4)), 1.0)
# A step may be so many times the one before.
GROWTH = 2.0
# The first step where the series gives none, as under a polynomial solution.
FIRST = 1 / 64
# How many sizes a step may refuse before it is given up.
REJECTIONS = 64
# The defect that is let pass, in units of the tolerance and of rounding.
DEFECT = 32.0
NOISE = 64.0


@dataclasses.dataclass(frozen=True)
class System:
    """y' = f(t, y) with a flat state.

    `expand(t, y)` gives the Taylor coefficients of the solution through (t, y), of shape
    `[order + 1, state]`; `field(t, y)` gives f; `wires[i]` is the wire that entry i belongs to;
    `checks` are the parts of a step at which it is checked, `one_by_one` or all at once.
    """

    expand: Callable[[Array, Array], Array]
    field: Callable[[Array, Array], Array]
    wires: np.ndarray
    checks: tuple[float, ...] = CHECKS
    one_by_one: bool = False


class Control(eqx.Module):
    """Tolerances and bounds of the steps; `breakpoints` are sorted times where no step may pass."""

    rtol: Float[Array, "*lanes"]
    atol: Float[Array, "*lanes"]
    max_step: Float[Array, "*lanes"]
    breakpoints: Float[Array, "breakpoints *lanes"]


class Point(eqx.Module):
    """A point of a run between two steps.

    The state is that at `time + late`, and `remainder` is what rounding left out of it so far.
    `step` is the size that the last step's series allowed, infinite before the first.
    """

    time: Float[Array, "*lanes"]
    late: Float[Array, "*lanes"]
    state: Inexact[Array, "state *lanes"]
    remainder: Inexact[Array, "state *lanes"]
    step: Float[Array, "*lanes"]


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
    scale = _wire_norms(system, jnp.maximum(jnp.abs(old), jnp.abs(point.state)))
    allowed = DEFECT * (control.atol + control.rtol * scale)
    allowed += NOISE * jnp.finfo(ts.dtype).eps * jnp.max(scale)
    same = jnp.all(_wire_norms(system, old - new) <= allowed)
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
    wall = lax.stop_gradient(_next_breakpoint(point.time, direction, control))
    proposed = _propose(system, *frozen[:2], control)
    before = direction * (beside(wall, -direction) - frozen[1].time)
    clipped = proposed >= before
    size = jnp.where(clipped, before, proposed)
    size, rejected, accepted = _check(system, *frozen, size, direction, control)
    clipped &= rejected == 0
    # To a breakpoint that close the state does not move.
    accepted |= clipped & (size <= 2 * jnp.finfo(size.dtype).eps * jnp.abs(point.time))
    after = advance(coefficients, point, size, clipped, direction, control)
    after = dataclasses.replace(after, step=jnp.maximum(size, proposed))
    return Step(coefficients, size, clipped, after, finite, accepted, rejected)


def advance(
    coefficients: Array,
    point: Point,
    size: Array,
    clipped: Array,
    direction: Array,
    control: Control,
) -> Point:
    """The point at the end of a step of a size, at the next breakpoint where that clips it."""
    wall = _next_breakpoint(point.time, direction, control)
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
    value, slope = (_wire_norms(system, coefficients[k]) for k in (0, 1))
    value = jnp.log(control.rtol * value + control.atol)
    slope = jnp.log(control.rtol * slope)
    sizes = []
    for k in {max(order - 1, 2), order}:
        norm = _wire_norms(system, coefficients[k])
        known = jnp.log(norm)
        size = jnp.maximum((value - known) / k, (slope - known) / (k - 1))
        sizes.append(jnp.where(norm > 0, size, jnp.inf))
    size = jnp.exp(jnp.min(jnp.stack(sizes), axis=(0, 1))).astype(point.time.dtype)
    limit = jnp.where(jnp.isfinite(point.step), GROWTH * point.step, size)
    size = jnp.minimum(jnp.minimum(size, limit), control.max_step)
    return jnp.where(jnp.isfinite(size), size, FIRST)


def _next_breakpoint(time: Array, direction: Array, control: Control) -> Array:
    """The breakpoint ahead, infinitely far where there is none."""
    stops = control.breakpoints
    if stops.shape[0] == 0:
        return jnp.full_like(time, jnp.inf) * direction
    count, known = stops.shape[0], lax.stop_gradient(time)

    # A bisection that reads one of the sorted stops a turn.
    def halve(carry: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], None]:
        place, candidates = carry
        half = lax.div(candidates, jnp.int32(2))
        stop = at_number(stops, jnp.maximum(place + half - 1, 0))
        passed = jnp.where(direction > 0, stop <= known, stop < known)
        return (jnp.where(passed, place + half, place), candidates - half), None

    begin = jnp.zeros(time.shape, jnp.int32), jnp.int32(count + 1)
    (place, _), _ = lax.scan(halve, begin, length=count.bit_length())
    place = jnp.where(direction > 0, place, place - 1)
    found = at_number(stops, jnp.clip(place, 0, count - 1))
    return jnp.where((place >= 0) & (place < count), found, direction * jnp.inf)


def at_number(ts: Array, number: Array) -> Array:
    """The time of a number, lane by lane."""
    if number.ndim == 0:
        return lax.dynamic_index_in_dim(ts, number, keepdims=False, allow_negative_indices=False)
    if ts.ndim == 1:
        return ts[number]
    return jnp.take_along_axis(ts, number[None], axis=0)[0]


def _check(
    system: System,
    coefficients: Array,
    point: Point,
    last: Array,
    size: Array,
    direction: Array,
    control: Control,
) -> tuple[Array, Array, Array]:
    """The size, or the largest below it, up to which the polynomial satisfies the equation.

    Where it does not, the place from which on it does not (a branch, a kink, a jump) is located on
    the polynomial. Returns the size, how many were rejected, and whether one was found that time
    can resolve.
    """
    # What lies past the last time is never asked about.
    remaining = jnp.maximum(direction * (last - point.time), 0)
    defect = _Defect(system, coefficients, point, jnp.minimum(size, remaining), direction, control)
    shortest = defect.shortest

    def goes_on(size: Array, rejected: Array, small: Array) -> Array:
        return ~small & (size > shortest) & (rejected < REJECTIONS)

    def turn(carry: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        trial, *now = carry
        size, rejected, small = now
        active = goes_on(*now)
        used = jnp.minimum(trial, remaining)
        good, bad = defect.extent(used)
        fits = good >= 1
        located = _bisect(defect, good * used, bad * used, active & ~fits)
        return (
            jnp.where(active & ~fits, jnp.maximum(located, 0.75 * shortest), trial),
            jnp.where(active, trial, size),
            rejected + (active & ~fits),
            small | (active & fits),
        )

    # Before the first trial, twice its size stands for what is refused.
    none = jnp.zeros(size.shape, bool)
    carry = (size, 2 * size + shortest, jnp.zeros(size.shape, jnp.int32), none)
    _, size, rejected, small = lax.while_loop(
        lambda carry: jnp.any(goes_on(*carry[1:])), turn, carry
    )
    return size, rejected, small


def _bisect(defect: "_Defect", good: Array, bad: Array, active: Array) -> Array:
    """The place between a good and a bad one where the defect grows too large."""

    def is_open(good: Array, bad: Array) -> Array:
        return active & (bad - good > defect.shortest)

    def halve(carry: tuple[Array, Array]) -> tuple[Array, Array]:
        good, bad = carry
        middle = good + (bad - good) / 2
        is_good, searched = defect.is_small_at(middle), is_open(good, bad)
        return (
            jnp.where(searched & is_good, middle, good),
            jnp.where(searched & ~is_good, middle, bad),
        )

    return lax.while_loop(lambda carry: jnp.any(is_open(*carry)), halve, (good, bad))[0]


class _Defect:
    """How far a step's polynomial p is from p'(t) = f(t, p(t)), and how far it may be."""

    def __init__(
        self,
        system: System,
        coefficients: Array,
        point: Point,
        size: Array,
        direction: Array,
        control: Control,
    ):
        self.system, self.coefficients, self.control = system, coefficients, control
        self.time, self.direction = point.time, direction
        self.slopes = coefficients[1:] * _orders(coefficients)[1:]
        self.resolution = resolution = jnp.finfo(point.time.dtype).eps
        self.shortest = 2 * resolution * jnp.maximum(jnp.abs(point.time), size)

        # How far rounding of its arguments moves the field: no defect below that says anything.
        def moved(time: Array, state: Array) -> Array:
            return _wire_norms(system, system.field(time, state) - coefficients[1])

        def blurred(side: int) -> Array:
            near = jnp.asarray(1 + side * 2 * resolution, point.time.dtype)
            return moved(point.time + side * self.shortest, point.state * near)

        # Beside a kink the one that is not the step's may be still: its own slope counts too.
        own = self.shortest * _wire_norms(system, 2 * coefficients[2])
        self.blur = jnp.maximum(jnp.minimum(blurred(-1), blurred(1)), own)

        # How far the field jumps within the shortest of steps, which excuses no longer one.
        def across(side: int) -> Array:
            span = side * 2 * self.shortest
            return moved(point.time + span, point.state + span * coefficients[1])

        self.jump = jnp.maximum(across(-1), across(1))

    def is_small_at(self, offset: Array) -> Array:
        """Whether the defect at one place is small for a step up to there."""
        return self._passes(self._at(offset, *self._polynomial(offset)), offset)

    def extent(self, size: Array) -> tuple[Array, Array]:
        """The last part of a step that is good, 1 if all are, and the first that is not."""
        parts = jnp.asarray(self.system.checks, size.dtype)
        if not self.system.one_by_one:
            states, expected = jax.vmap(self._polynomial)(size * parts)
            defects = jax.vmap(self._at)(size * parts, states, expected)
            passed = jax.vmap(lambda one: self._passes(one, size))(defects)
            count = jnp.sum(jnp.cumprod(passed))
            return jnp.where(count > 0, parts[count - 1], 0), parts[
                jnp.minimum(count, len(parts) - 1)
            ]

        # Point by point. The polynomial passes through the loop's carry, or it would be summed anew
        # wherever the field reads it.
        def one(place: Array, carry: tuple[Array, ...]) -> tuple[Array, ...]:
            good, bad, state, expected = carry
            passes = self._passes(self._at(size * parts[place], state, expected), size)
            part = parts[place]
            following = parts[jnp.minimum(place + 1, len(parts) - 1)]
            return (
                jnp.where(passes & (bad > 1), part, good),
                jnp.where(~passes & (bad > 1), part, bad),
                *self._polynomial(size * following),
            )

        start = (jnp.zeros_like(size), jnp.full_like(size, 2), *self._polynomial(size * parts[0]))
        good, bad, *_ = lax.fori_loop(0, len(parts), one, start)
        return good, bad

    def _polynomial(self, offset: Array) -> tuple[Array, Array]:
        """p and p' at an offset in the direction of time."""
        offset = self.direction * offset
        return horner(self.coefficients, offset), horner(self.slopes, offset)

    def _at(self, offset: Array, state: Array, expected: Array) -> Array:
        found = self.system.field(self.time + self.direction * offset, state)
        return jnp.abs(found - expected)

    def _passes(self, defect: Array, used: Array) -> Array:
        """Whether a defect is small for a step of a size."""
        control = self.control
        scale = jnp.maximum(jnp.abs(self.coefficients[0]), used * jnp.abs(self.coefficients[1]))
        scale = _wire_norms(self.system, scale)
        allowed = DEFECT * (control.atol + control.rtol * scale)
        allowed += NOISE * (self.resolution * jnp.max(scale, axis=0) + used * self.blur)
        allowed += 2 * jnp.minimum(used, self.shortest) * self.jump
        return jnp.all(used * _wire_norms(self.system, defect) <= allowed, axis=0)


def _wire_norms(system: System, values: Array) -> Array:
    """The largest magnitude on each wire."""
    sizes = jnp.abs(values)
    count = int(system.wires[-1]) + 1
    if count == len(system.wires):
        return sizes
    starts = np.searchsorted(system.wires, np.arange(count + 1))
    return jnp.stack([jnp.max(sizes[a:b], axis=0) for a, b in itertools.pairwise(starts)])


def horner(coefficients: Array, offset: Array) -> Array:
    """The sum of coefficients[k] offset^k, for one offset."""
    # Plain lax operations: this is traced many times, and jnp's indexing takes most of that time.
    rows = [lax.index_in_dim(coefficients, k, keepdims=False) for k in range(len(coefficients))]
    factor = lax.convert_element_type(offset, coefficients.dtype)
    factor = lax.broadcast_in_dim(factor, rows[0].shape, range(1, rows[0].ndim))
    value = rows.pop()
    while rows:
        value = lax.add(lax.mul(value, factor), rows.pop())
    return value


def _orders(coefficients: Array) -> Array:
    dtype = jnp.finfo(coefficients.dtype).dtype
    orders = jnp.arange(coefficients.shape[0], dtype=dtype)
    return orders.reshape((-1,) + (1,) * (coefficients.ndim - 1))
