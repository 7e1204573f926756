"""What branching primitives do: their modes, their guards, and their results at a mode.

A branching primitive, such as a < b or max(a, b), has a *mode*: numbers that say which branch it
takes. Held at a mode it is smooth. Its *guard* is zero or less while the mode is right, and passes
zero where another branch begins.
"""

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from .moduli import MODULUS

# What a primitive is applied to.
Operands = Sequence[Any]
# After a kink that the solution stays at, its guard counts from this many roundings on.
ROUNDINGS = 64.0


class Branch(abc.ABC):
    """What a branching primitive does, at a mode of the result's shape."""

    @abc.abstractmethod
    def mode(self, operands: Operands) -> Array:
        """The mode that holds for operands."""

    @abc.abstractmethod
    def held(self, mode: Array, operands: Operands) -> Array:
        """The result at a mode."""

    @abc.abstractmethod
    def guard(self, mode: Array, operands: Operands) -> Array:
        """What passes zero where the mode ends."""

    @abc.abstractmethod
    def after(self, mode: Array, operands: Operands) -> Array:
        """The mode after that, for operands just past the end."""

    def band(self, operands: Operands) -> Array:
        """How far a guard must pass zero the next time, so that rounding alone does not pass it."""
        return jnp.zeros(jnp.broadcast_shapes(*map(jnp.shape, operands)))

    def unknown(self, mode: Array) -> Array:
        """The guard where an operand is no number, as in a branch around it that is not taken."""
        return -jnp.ones_like(mode)


@dataclasses.dataclass(frozen=True)
class Comparison(Branch):
    """`sign` (a - b) > 0, or >= 0 where `equal`. The mode is 1 where that is true, else 0."""

    sign: float
    equal: bool

    def mode(self, operands: Operands) -> Array:
        a, b = operands
        over = self.sign * (a - b)
        return jnp.where((over >= 0) if self.equal else (over > 0), 1.0, 0.0)

    def held(self, mode: Array, operands: Operands) -> Array:
        del operands
        return mode > 0.5

    def guard(self, mode: Array, operands: Operands) -> Array:
        a, b = operands
        over = self.sign * (a - b)
        return (1 - 2 * mode) * over

    def after(self, mode: Array, operands: Operands) -> Array:
        del operands
        return 1 - mode

    def unknown(self, mode: Array) -> Array:
        # Of what is no number every comparison is false.
        return 2 * mode - 1


@dataclasses.dataclass(frozen=True)
class Choice(Branch):
    """The larger of two numbers, or the smaller where `sign` is -1. The mode is 1 for the first."""

    sign: float

    def mode(self, operands: Operands) -> Array:
        a, b = operands
        return jnp.where(self.sign * (a - b) >= 0, 1.0, 0.0)

    def held(self, mode: Array, operands: Operands) -> Array:
        a, b = operands
        return _unless_unknown(jnp.where(mode > 0.5, a, b), operands)

    def guard(self, mode: Array, operands: Operands) -> Array:
        a, b = operands
        return (1 - 2 * mode) * (self.sign * (a - b))

    def after(self, mode: Array, operands: Operands) -> Array:
        del operands
        return 1 - mode

    def band(self, operands: Operands) -> Array:
        a, b = operands
        size = jnp.maximum(jnp.abs(a), jnp.abs(b))
        return jnp.where(jnp.isfinite(size), ROUNDINGS * jnp.finfo(size.dtype).eps * size, 0)


class Magnitude(Branch):
    """The absolute value. The mode is 1 where the number is not negative, else 0."""

    def mode(self, operands: Operands) -> Array:
        (x,) = operands
        return jnp.where(x >= 0, 1.0, 0.0)

    def held(self, mode: Array, operands: Operands) -> Array:
        (x,) = operands
        return jnp.where(mode > 0.5, x, -x)

    def guard(self, mode: Array, operands: Operands) -> Array:
        (x,) = operands
        return (1 - 2 * mode) * x

    def after(self, mode: Array, operands: Operands) -> Array:
        del operands
        return 1 - mode


class Sign(Branch):
    """The sign, which is the mode. A number that leaves zero ends the mode 0 at once."""

    def mode(self, operands: Operands) -> Array:
        (x,) = operands
        return jnp.sign(x)

    def held(self, mode: Array, operands: Operands) -> Array:
        (x,) = operands
        return _unless_unknown(mode.astype(x.dtype), operands)

    def guard(self, mode: Array, operands: Operands) -> Array:
        (x,) = operands
        return (1 - mode * mode) * x * x - mode * x

    def after(self, mode: Array, operands: Operands) -> Array:
        (x,) = operands
        return jnp.where(mode == 0, jnp.sign(x), -mode)


class Clamp(Branch):
    """A number between two others. The mode is 0 below the lower, 2 above the upper, else 1.

    Where the lower bound is above the upper, the upper is what JAX gives.
    """

    def mode(self, operands: Operands) -> Array:
        low, x, high = operands
        return jnp.where(x < low, 0.0, jnp.where(x > high, 2.0, 1.0))

    def held(self, mode: Array, operands: Operands) -> Array:
        low, x, high = operands
        inside = jnp.where(low < high, x, high)
        result = jnp.where(mode < 0.5, jnp.minimum(low, high), jnp.where(mode > 1.5, high, inside))
        return _unless_unknown(result, operands)

    def guard(self, mode: Array, operands: Operands) -> Array:
        low, x, high = operands
        outside = jnp.where(mode < 0.5, x - low, high - x)
        inside = self._inside(low, x, high)
        guard = jnp.where(jnp.abs(mode - 1) < 0.5, inside, outside)
        return jnp.where(low < high, guard, -jnp.ones_like(guard))

    def _inside(self, low: Any, x: Any, high: Any) -> Array:
        """What passes zero where a number between two bounds meets one; they may be infinite."""
        to_low = jnp.where(jnp.isfinite(low), x - low, 1)
        to_high = jnp.where(jnp.isfinite(high), high - x, 1)
        return -to_low * to_high

    def after(self, mode: Array, operands: Operands) -> Array:
        low, x, high = operands
        inside = jnp.where(2 * x < low + high, 0.0, 2.0)
        return jnp.where(jnp.abs(mode - 1) < 0.5, inside, 1.0)


@dataclasses.dataclass(frozen=True)
class Floor(Branch):
    """The floor of `sign` x + `shift`, times `sign`. The mode is that floor; or x as it is
    `rounded`, which says what halves become."""

    sign: float = 1.0
    shift: float = 0.0
    rounded: lax.RoundingMethod | None = None

    def _past(self, x: Any) -> Array:
        return self.sign * x + self.shift

    def mode(self, operands: Operands) -> Array:
        (x,) = operands
        return jnp.floor(self._past(x)) if self.rounded is None else lax.round(x, self.rounded)

    def held(self, mode: Array, operands: Operands) -> Array:
        (x,) = operands
        return _unless_unknown((self.sign * mode).astype(x.dtype), operands)

    def guard(self, mode: Array, operands: Operands) -> Array:
        (x,) = operands
        # To the next whole number without rounding: beside one, modes would take turns.
        return (self._past(x) - mode) * (self._past(x) - (mode + 1))

    def after(self, mode: Array, operands: Operands) -> Array:
        (x,) = operands
        return _floor_after(mode, self._past(x) - mode)


class Remainder(Branch):
    """What is left of a after whole multiples of b. The mode is how many: a / b without its
    fraction."""

    def mode(self, operands: Operands) -> Array:
        a, b = operands
        return jnp.trunc(a / b)

    def _past(self, mode: Array, operands: Operands) -> Array:
        """What is left, in parts of b: rounded as the result is, whose sign others may ask."""
        a, b = operands
        return (a - mode.astype(a.dtype) * b) / b

    def held(self, mode: Array, operands: Operands) -> Array:
        a, b = operands
        return a - mode.astype(a.dtype) * b

    def guard(self, mode: Array, operands: Operands) -> Array:
        past = self._past(mode, operands)
        above, below = self._past(mode + 1, operands), self._past(mode - 1, operands)
        return jnp.where(mode > 0, past * above, below * jnp.where(mode < 0, past, above))

    def after(self, mode: Array, operands: Operands) -> Array:
        past = self._past(mode, operands)
        middle = jnp.where(mode > 0, 0.5, jnp.where(mode < 0, -0.5, 0.0))
        beside = jnp.where(past > middle, mode + 1, mode - 1)
        return jnp.where(jnp.abs(past - middle) > 1.75, mode + jnp.trunc(past), beside)


class Modulus(Remainder):
    """What is left of a after whole multiples of b, with the sign of b: `a % b`, which is no
    primitive. The mode is how many: the floor of a / b.

    As a `Remainder` and what asks for its sign it would take two jumps where a / b is whole, and
    be off by b between them.
    """

    def mode(self, operands: Operands) -> Array:
        a, b = operands
        return jnp.floor(a / b)

    def guard(self, mode: Array, operands: Operands) -> Array:
        return self._past(mode, operands) * self._past(mode + 1, operands)

    def after(self, mode: Array, operands: Operands) -> Array:
        return _floor_after(mode, self._past(mode, operands))


BRANCHES: Mapping[str, Branch] = {
    "lt": Comparison(-1.0, equal=False),
    "le": Comparison(-1.0, equal=True),
    "gt": Comparison(1.0, equal=False),
    "ge": Comparison(1.0, equal=True),
    "max": Choice(1.0),
    "min": Choice(-1.0),
    "abs": Magnitude(),
    "sign": Sign(),
    "clamp": Clamp(),
    "floor": Floor(),
    "ceil": Floor(sign=-1.0),
    "round": Floor(shift=0.5),
    "rem": Remainder(),
    MODULUS: Modulus(),
}


def branch_of(name: str, params: Mapping[str, Any]) -> Branch:
    """The branch of a primitive with some parameters."""
    branch = BRANCHES[name]
    if not isinstance(branch, Floor) or name != "round":
        return branch
    return dataclasses.replace(branch, rounded=params["rounding_method"])


def _floor_after(mode: Array, past: Array) -> Array:
    """The floor of a number that is `past` another one which was its floor: the next one, or the
    one before, whatever rounding says, if it is not far past."""
    beside = jnp.where(past > 0.5, mode + 1, mode - 1)
    return jnp.where(jnp.abs(past - 0.5) > 1.25, mode + jnp.floor(past), beside)


def _unless_unknown(result: Array, operands: Operands) -> Array:
    """A result, or no number where an operand is none."""
    for x in operands:
        result = jnp.where(jnp.isnan(x), x, result)
    return result
