"""The check of a step: up to where its polynomial satisfies the equation.

Coefficient decay alone steps over what a series cannot see: a kink, a jump, a narrow pulse.

How long the first call of a run takes is how much there is to compile, so a thing stands here once:
one loop goes through the checks of a step and then halves, and the field beside the step's start is
one batch. Where lax has an operation of its own it is taken, as it is traced much faster than that
of jnp.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from ...jaxprs.fences import computed_once
from .system import Control, Point, System, any_of, horner, orders, wire_norms

# How many sizes a step may refuse before it is given up.
REJECTIONS = 64
# The defect that is let pass, in units of the tolerance and of rounding.
DEFECT = 32.0
NOISE = 64.0


def largest_size(
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
    remaining = direction * (last - point.time)
    remaining = lax.max(remaining, lax.full_like(remaining, 0))
    defect = _Defect(system, coefficients, point, lax.min(size, remaining), direction, control)
    shortest = defect.shortest

    def goes_on(size: Array, rejected: Array, small: Array) -> Array:
        return ~small & (size > shortest) & (rejected < REJECTIONS)

    def turn(carry: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        trial, *now = carry
        size, rejected, small = now
        active = goes_on(*now)
        good, bad = defect.extent(lax.min(trial, remaining), active)
        refused = active & (bad != jnp.inf)
        return (
            lax.select(refused, lax.max(good, 0.75 * shortest), trial),
            lax.select(active, trial, size),
            rejected + refused,
            small | (active & ~refused),
        )

    # Before the first trial, twice its size stands for what is refused.
    none = lax.full(size.shape, False)
    carry = (size, 2 * size + shortest, lax.full(size.shape, 0, jnp.int32), none)
    _, size, rejected, small = lax.while_loop(
        lambda carry: any_of(goes_on(*carry[1:])), turn, carry
    )
    return size, rejected, small


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
        self.slopes = coefficients[1:] * orders(coefficients)[1:]
        self.scales = lax.abs(coefficients[0]), lax.abs(coefficients[1])
        self.resolution = resolution = jnp.finfo(point.time.dtype).eps
        shortest = 2 * resolution * lax.max(lax.abs(point.time), size)
        # No shorter than normal numbers: between smaller ones bisection finds nothing.
        shortest = lax.max(shortest, lax.full_like(shortest, jnp.finfo(shortest.dtype).tiny))
        self.shortest = shortest

        # How far rounding of its arguments moves the field: no defect below that says anything; and
        # how far the field jumps within the shortest of steps, which excuses no longer one.
        beside = [[-1, 1, -2, 2], [1 - 2 * resolution, 1 + 2 * resolution, 1, 1], [0, 0, -2, 2]]
        rise = shortest * coefficients[1]

        def movement(by: Any, factor: Any, rises: Any) -> Array:
            state = point.state * factor + rises * rise
            found = system.field(point.time + by * shortest, state)
            return wire_norms(system, found - coefficients[1])

        moved = self._each(movement, *np.asarray(beside, shortest.dtype))
        # Beside a kink the one that is not the step's may be still: its own slope counts too.
        own = shortest * wire_norms(system, 2 * coefficients[2])
        self.blur = lax.max(lax.min(moved[0], moved[1]), own)
        self.jump = lax.max(moved[2], moved[3])

    def extent(self, used: Array, active: Array) -> tuple[Array, Array]:
        """Up to where a step of a size is good, and from where on it is not, infinite if it all is.

        The checks are gone through, and where one fails a bisection follows, between it and the one
        before.
        """
        checks = np.asarray(self.system.checks, used.dtype)
        sweeps = checks.reshape((-1, 1) if self.system.one_by_one else (1, -1))
        count, points = sweeps.shape
        sweeps = sweeps.reshape(count, points, *(1,) * used.ndim)

        def is_open(good: Array, bad: Array) -> Array:
            return active & (bad < jnp.inf) & (bad - good > self.shortest)

        def turn(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            place, good, bad = carry
            sweeping = place < count
            middle = good + (bad - good) / 2
            parts = lax.dynamic_index_in_dim(sweeps, place, keepdims=False)
            offsets = lax.select(sweeping, used * parts, lax.broadcast(middle, (points,)))
            passes = self._are_small_at(offsets, lax.select(sweeping, used, middle), place)
            # The first of the points that is bad, and the last before it.
            infinite, zero = (lax.full_like(offsets, bound) for bound in (jnp.inf, 0))
            first = lax.reduce_min(lax.select(passes, infinite, offsets), (0,))
            after = lax.min(bad, first)
            last = lax.reduce_max(lax.select(offsets < after, offsets, zero), (0,))
            changes = sweeping | is_open(good, bad)
            good = lax.select(changes, lax.max(good, last), good)
            bad = lax.select(changes, after, bad)
            goes_on = any_of(active & (bad == jnp.inf))
            return lax.select(goes_on, place + 1, lax.full_like(place, count)), good, bad

        def goes_on(carry: tuple[Array, Array, Array]) -> Array:
            place, good, bad = carry
            return (place < count) | any_of(is_open(good, bad))

        start = lax.full((), 0, jnp.int32), lax.full_like(used, 0), lax.full_like(used, jnp.inf)
        _, good, bad = lax.while_loop(goes_on, turn, start)
        return good, bad

    def _are_small_at(self, offsets: Array, used: Array, place: Array) -> Array:
        """Whether the defects at some offsets are small for a step of a size."""
        offsets = self.direction * offsets

        def polynomials() -> tuple[Array, Array]:
            """p and p', `[points, state]`."""
            across = offsets[:, None]
            return horner(self.coefficients[:, None], across), horner(self.slopes[:, None], across)

        shape = (len(offsets), *self.coefficients.shape[1:])
        type_ = jax.ShapeDtypeStruct(shape, self.coefficients.dtype)
        states, expected = computed_once(polynomials, (type_, type_), place >= 0)

        def one(offset: Array, state: Array, expected: Array) -> Array:
            found = self.system.field(self.time + offset, state)
            return self._passes(lax.abs(found - expected), used)

        return self._each(one, offsets, states, expected)

    def _passes(self, defect: Array, used: Array) -> Array:
        """Whether a defect is small for a step of a size."""
        control = self.control
        scale = wire_norms(self.system, lax.max(self.scales[0], used * self.scales[1]))
        allowed = DEFECT * (control.atol + control.rtol * scale)
        # A field that is nothing but noise is excused no more than half of the digits.
        largest = lax.reduce_max(scale, (0,))
        noise = NOISE * (self.resolution * largest + used * self.blur)
        allowed += jnp.minimum(noise, self.resolution**0.5 * largest)
        allowed += 2 * lax.min(used, self.shortest) * self.jump
        return lax.reduce_and(used * wire_norms(self.system, defect) <= allowed, (0,))

    def _each(self, fn: Callable[..., Array], *columns: Array | np.ndarray) -> Array:
        """fn of each row of some arrays, side by side where the system allows that."""
        if not self.system.one_by_one:
            return jax.vmap(fn)(*columns)
        if len(columns[0]) == 1:
            return fn(*(column[0] for column in columns))[None]
        return lax.map(lambda row: fn(*row), columns)
