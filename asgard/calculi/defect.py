"""The check of a step: up to where its polynomial satisfies the equation.

Coefficient decay alone steps over what a series cannot see: a kink, a jump, a narrow pulse.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from .system import Control, Point, System, horner, orders, wire_norms

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
        self.slopes = coefficients[1:] * orders(coefficients)[1:]
        self.resolution = resolution = jnp.finfo(point.time.dtype).eps
        self.shortest = 2 * resolution * jnp.maximum(jnp.abs(point.time), size)

        # How far rounding of its arguments moves the field: no defect below that says anything.
        def moved(time: Array, state: Array) -> Array:
            return wire_norms(system, system.field(time, state) - coefficients[1])

        def blurred(side: int) -> Array:
            near = jnp.asarray(1 + side * 2 * resolution, point.time.dtype)
            return moved(point.time + side * self.shortest, point.state * near)

        # Beside a kink the one that is not the step's may be still: its own slope counts too.
        own = self.shortest * wire_norms(system, 2 * coefficients[2])
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
        scale = wire_norms(self.system, scale)
        allowed = DEFECT * (control.atol + control.rtol * scale)
        # A field that is nothing but noise is excused no more than half of the digits.
        largest = jnp.max(scale, axis=0)
        noise = NOISE * (self.resolution * largest + used * self.blur)
        allowed += jnp.minimum(noise, self.resolution**0.5 * largest)
        allowed += 2 * jnp.minimum(used, self.shortest) * self.jump
        return jnp.all(used * wire_norms(self.system, defect) <= allowed, axis=0)
