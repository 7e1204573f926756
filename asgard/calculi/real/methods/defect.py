"""The check of a step: up to where its polynomial satisfies the equation.

The decay of the coefficients alone steps over what a series cannot see: a kink, a jump, a narrow
pulse.

The first call of a run takes as long as there is to compile. So one loop does both, the checks of a
step and the bisection after them, and the field beside the step's start is evaluated as one batch.
But nearly all steps pass all checks, and nothing has to excuse a defect in them: programs that are
to run fast check that first, without a loop.
We use lax directly where we can: it traces faster than jnp.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from ....jaxprs.fences import always_true, computed_once
from ..polynomial import polynomial_at, polynomial_slope_at
from ..system import Point, StepControl, System, any_of, sizes_of

# How many sizes a step may refuse before the run fails.
REJECTIONS = 64
# The defect that is accepted, in units of the tolerance and of rounding.
DEFECT = 32.0
NOISE = 64.0
# Multiples of the golden ratio are spread evenly over [0, 1) and meet no period.
GOLDEN = 0.6180339887498949


def largest_size(
    system: System,
    coefficients: Array,
    scales: Array,
    point: Point,
    remaining: Array,
    size: Array,
    direction: Array,
    control: StepControl,
    at_once: bool,
) -> tuple[Array, Array, Array]:
    """The size, or the largest below it, up to which the polynomial satisfies the equation.

    Where it fails (a branch, a kink, a jump), the time from which on it does is located on the
    polynomial. Returns the size, how many sizes were rejected, and whether a size was found that
    time can resolve, each `[*lanes]`. With `at_once` the whole step is checked without a loop
    first: faster runs, and more to compile.
    """
    # What lies past the last time does not matter.
    used = lax.min(size, remaining)
    defect = _Defect(system, coefficients, scales, point, used, direction, control)

    def whole() -> tuple[Array, Array, Array]:
        return size, lax.full(size.shape, 0, jnp.int32), size > 0

    def part() -> tuple[Array, Array, Array]:
        return _part(defect, size, remaining)

    return lax.cond(defect.is_small(used), whole, part) if at_once else part()


def _part(defect: "_Defect", size: Array, remaining: Array) -> tuple[Array, Array, Array]:
    """The size, or the largest below it, that satisfies the checks; as `largest_size`."""
    shortest, excuses = defect.shortest, defect.excuses()

    def goes_on(size: Array, rejected: Array, small: Array) -> Array:
        return ~small & (size > shortest) & (rejected < REJECTIONS)

    def turn(carry: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        trial, *now = carry
        size, rejected, small = now
        active = goes_on(*now)
        good, bad = defect.extent(lax.min(trial, remaining), active, excuses)
        refused = active & (bad != jnp.inf)
        return (
            lax.select(refused, lax.max(good, 0.75 * shortest), trial),
            lax.select(active, trial, size),
            rejected + refused,
            small | (active & ~refused),
        )

    # Before the first trial the size is twice its own, so that the loop starts.
    none = lax.full(size.shape, False)
    carry = (size, 2 * size + shortest, lax.full(size.shape, 0, jnp.int32), none)
    _, size, rejected, small = lax.while_loop(
        lambda carry: any_of(goes_on(*carry[1:])), turn, carry
    )
    return size, rejected, small


class _Excuses(NamedTuple):
    """What excuses a defect, `[state, *lanes]`.

    `blur` is how far rounding of its arguments moves the field: no defect below that says anything.
    `jump` is how far the field jumps within the shortest of steps, which excuses no longer one.
    """

    blur: Array
    jump: Array


class _Defect:
    """How far a step's polynomial p is from p'(t) = f(t, p(t)), and how far it may be, by entry."""

    def __init__(
        self,
        system: System,
        coefficients: Array,
        scales: Array,
        point: Point,
        size: Array,
        direction: Array,
        control: StepControl,
    ):
        self.system, self.coefficients, self.control = system, coefficients, control
        self.time, self.direction = point.time, direction
        self.scales, self.slope = scales, sizes_of(system, coefficients[1])
        self.holds = lax.max(self.scales, self.slope) > 0
        self.resolution = resolution = jnp.finfo(point.time.dtype).eps
        shortest = 2 * resolution * lax.max(lax.abs(point.time), size)
        # Halves of longer ones are normal numbers. Others are 0 on some processors, and bisection
        # would not come to an end.
        least = 2 * float(jnp.finfo(shortest.dtype).tiny)
        self.shortest = shortest = lax.max(shortest, lax.full_like(shortest, least))
        self.point = point
        self.parts = _parts(system.checks, lax.abs(point.time) / lax.max(size, shortest))

    def excuses(self) -> _Excuses:
        """What excuses a defect: how the field moves beside the step's start."""
        system, point, coefficients = self.system, self.point, self.coefficients
        shortest = self.shortest
        # Entries are moved by different amounts, or what cancels between them would seem exact.
        amounts = 4 * self.resolution * (2 * (GOLDEN * np.arange(point.state.shape[0]) % 1) - 1)
        amounts = amounts.astype(shortest.dtype).reshape(-1, *(1,) * shortest.ndim)
        beside = [[-1, 1, -2, 2], [-1, 1, 0, 0], [0, 0, -2, 2]]
        rise = shortest * coefficients[1]

        def movement(by: Any, factor: Any, rises: Any) -> Array:
            state = point.state * (1 + factor * amounts) + rises * rise
            found = system.field(point.time + by * shortest, state)
            return sizes_of(system, found - coefficients[1])

        moved = self._each(movement, *np.asarray(beside, shortest.dtype))
        # Beside a kink the field may be still on the other side: its own slope counts too.
        own = shortest * sizes_of(system, 2 * coefficients[2])
        # A field that is no number beside the start excuses nothing.
        blur, jump = lax.max(lax.min(moved[0], moved[1]), own), lax.max(moved[2], moved[3])
        return _Excuses(*(jnp.where(moves > 0, moves, 0) for moves in (blur, jump)))

    def is_small(self, used: Array) -> Array:
        """Whether a step of a size passes all checks, in all lanes."""
        always = always_true(used)

        def are_small(parts: Array) -> Array:
            return self._are_small_at(used * parts, used, always, None)

        if self.system.one_by_one:
            passes = lax.map(lambda part: are_small(part[None]), self.parts)
        else:
            passes = are_small(self.parts)
        return lax.reduce_and(passes, range(passes.ndim))

    def extent(self, used: Array, active: Array, excuses: _Excuses) -> tuple[Array, Array]:
        """Up to where a step of a size is good, and from where on it is bad, infinite if nowhere.

        Goes through the checks; where one fails, a bisection follows between it and the one before.
        """
        count, points = (len(self.parts), 1) if self.system.one_by_one else (1, len(self.parts))
        sweeps = self.parts.reshape(count, points, *used.shape)

        def is_open(good: Array, bad: Array) -> Array:
            return active & (bad < jnp.inf) & (bad - good > self.shortest)

        def turn(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            number, good, bad = carry
            sweeping = number < count
            middle = good + (bad - good) / 2
            parts = lax.dynamic_index_in_dim(sweeps, number, keepdims=False)
            offsets = lax.select(sweeping, used * parts, lax.broadcast(middle, (points,)))
            tried = lax.select(sweeping, used, middle)
            passes = self._are_small_at(offsets, tried, number >= 0, excuses)
            # The first of the points that is bad, and the last before it.
            infinite, zero = (lax.full_like(offsets, bound) for bound in (jnp.inf, 0))
            first = lax.reduce_min(lax.select(passes, infinite, offsets), (0,))
            after = lax.min(bad, first)
            last = lax.reduce_max(lax.select(offsets < after, offsets, zero), (0,))
            changes = sweeping | is_open(good, bad)
            good = lax.select(changes, lax.max(good, last), good)
            bad = lax.select(changes, after, bad)
            goes_on = any_of(active & (bad == jnp.inf))
            return lax.select(goes_on, number + 1, lax.full_like(number, count)), good, bad

        def goes_on(carry: tuple[Array, Array, Array]) -> Array:
            number, good, bad = carry
            return (number < count) | any_of(is_open(good, bad))

        start = lax.full((), 0, jnp.int32), lax.full_like(used, 0), lax.full_like(used, jnp.inf)
        _, good, bad = lax.while_loop(goes_on, turn, start)
        return good, bad

    def _are_small_at(
        self, offsets: Array, used: Array, always: Array, excuses: _Excuses | None
    ) -> Array:
        """Whether the defects at some offsets, `[points, *lanes]`, are small for a step's size.

        `always` is true; without `excuses` there are none.
        """
        offsets = self.direction * offsets

        def polynomials() -> tuple[Array, Array]:
            """p and p', `[points, state, *lanes]`."""
            across = offsets[:, None]
            return (
                polynomial_at(self.coefficients[:, None], across),
                polynomial_slope_at(self.coefficients[:, None], across),
            )

        shape = (len(offsets), *self.coefficients.shape[1:])
        type_ = jax.ShapeDtypeStruct(shape, self.coefficients.dtype)
        states, expected = computed_once(polynomials, (type_, type_), always)

        def one(offset: Array, state: Array, expected: Array) -> Array:
            found = self.system.field(self.time + offset, state)
            return self._passes(found - expected, state, used, excuses)

        return self._each(one, offsets, states, expected)

    def _passes(self, defect: Array, state: Array, used: Array, excuses: _Excuses | None) -> Array:
        """Whether a defect at a state, both `[state, *lanes]`, is small for a step of a size."""
        control = self.control
        scale = lax.max(lax.max(self.scales, used * self.slope), sizes_of(self.system, state))
        allowed = DEFECT * (control.atol + control.rtol * scale)
        # An entry that holds nothing yet is judged by the rounding of the others.
        largest = lax.reduce_max(scale, (0,))
        noise = self.resolution * jnp.where(self.holds, scale, largest)
        if excuses is not None:
            noise += used * excuses.blur
        # A field that is nothing but noise is excused no more than half of the digits.
        allowed += jnp.minimum(NOISE * noise, self.resolution**0.5 * largest)
        if excuses is not None:
            allowed += 2 * lax.min(used, self.shortest) * excuses.jump
        return lax.reduce_and(used * sizes_of(self.system, defect) <= allowed, (0,))

    def _each(self, fn: Callable[..., Array], *columns: Array | np.ndarray) -> Array:
        """fn of each row of some arrays, side by side where the system allows that."""
        if not self.system.one_by_one:
            return jax.vmap(fn)(*columns)
        if len(columns[0]) == 1:
            return fn(*(column[0] for column in columns))[None]
        return lax.map(lambda row: fn(*row), columns)


def _parts(count: int, turn: Array) -> Array:
    """Where in a step it is checked, as parts of it in order, `[count, *lanes]`; the last is 1.

    The others are one in the middle half of each of `count - 1` equal pieces, elsewhere in each
    step: regular ones would meet the period of an input at the same phase for ever. `turn` is any
    number that changes from step to step.
    """
    numbers = np.arange(count - 1, dtype=turn.dtype).reshape(-1, *(1,) * turn.ndim)
    within = GOLDEN * (turn + numbers)
    within = 0.25 + 0.5 * (within - lax.floor(within))
    return jnp.concatenate(
        [(numbers + within) / (count - 1), jnp.ones((1, *turn.shape), turn.dtype)]
    )
