"""Programs whose branches are held: what each branch says is given, and not asked again.

A branching equation, such as a < b or max(a, b), has a *mode*: numbers that say which branch it
takes. Held at a mode it is smooth. Its *guard* is zero or less while the mode is right, and passes
zero where another branch begins. So a solver may follow one branch past its end, find where that
was, and take the next mode there.
"""

import abc
import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from .program import Equation, Program

# What a primitive is applied to.
Operands = Sequence[Any]
# An equation of more entries keeps asking: it belongs to a table or a layer of a network.
LARGEST = 8
# Where these are taken of a value that is compared with zero, or of its magnitude, up to factors,
# such branches keep asking: there is no series at zero, so no step should end there.
ROOTS = ("pow", "sqrt", "rsqrt", "log", "log2")
FACTORS = ("mul", "div", "convert_element_type", "broadcast_in_dim", "reshape", "squeeze")
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
    """The floor of `sign` x + `shift`, times `sign`. The mode is that floor."""

    sign: float = 1.0
    shift: float = 0.0

    def _past(self, x: Any) -> Array:
        return self.sign * x + self.shift

    def mode(self, operands: Operands) -> Array:
        (x,) = operands
        return jnp.floor(self._past(x))

    def held(self, mode: Array, operands: Operands) -> Array:
        (x,) = operands
        return _unless_unknown((self.sign * mode).astype(x.dtype), operands)

    def guard(self, mode: Array, operands: Operands) -> Array:
        (x,) = operands
        past = self._past(x) - mode
        return past * (past - 1)

    def after(self, mode: Array, operands: Operands) -> Array:
        (x,) = operands
        past = self._past(x) - mode
        beside = jnp.where(past > 0.5, mode + 1, mode - 1)
        return jnp.where(jnp.abs(past - 0.5) > 1.25, mode + jnp.floor(past), beside)


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
        return jnp.where(
            mode > 0, past * (past - 1), (past + 1) * jnp.where(mode < 0, past, past - 1)
        )

    def after(self, mode: Array, operands: Operands) -> Array:
        past = self._past(mode, operands)
        middle = jnp.where(mode > 0, 0.5, jnp.where(mode < 0, -0.5, 0.0))
        beside = jnp.where(past > middle, mode + 1, mode - 1)
        return jnp.where(jnp.abs(past - middle) > 1.75, mode + jnp.trunc(past), beside)


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
}


@dataclasses.dataclass(frozen=True)
class Held:
    """A program with branches that can be held, `count` numbers in all.

    `places` says where the mode of an equation stands among these, by the number of its result.
    """

    program: Program
    places: dict[int, slice]
    count: int

    @classmethod
    def of(cls, program: Program, moving: Sequence[bool]) -> "Held":
        """The branches that depend on the inputs that are `moving`, and are small."""
        known = {number for number, moves in zip(program.inputs, moving, strict=True) if moves}
        same = _same(program)
        rooted = _rooted(program, same)
        places, count = {}, 0
        for equation in program.equations:
            if known.isdisjoint(equation.ins):
                continue
            known.update(equation.outs)
            if any(same[number] in rooted for number in equation.ins) and _is_at_zero(
                equation, program
            ):
                continue
            size = _size_of_branch(equation, program)
            if size:
                places[equation.outs[0]] = slice(count, count + size)
                count += size
        return cls(program, places, count)

    def modes(self, inputs: Sequence[Any]) -> Array:
        """The modes that hold for the program's inputs, `[count]`."""
        modes = self._joined([one.branch.mode(one.operands) for one in self._walk(inputs, None)[1]])
        return jnp.where(jnp.isnan(modes), 0, modes)

    def outputs(self, modes: Array, inputs: Sequence[Any]) -> list[Array]:
        """The program's results at its modes."""
        return self._walk(inputs, modes)[0]

    def guards(self, modes: Array, bands: Array, inputs: Sequence[Any]) -> Array:
        """What passes zero where a mode ends, `[count]`; `bands` as `bands` gave them."""
        asked = self._walk(inputs, modes)[1]
        return self._joined([one.guard() for one in asked]) - bands

    def after(self, modes: Array, inputs: Sequence[Any]) -> Array:
        """What each mode becomes where it ends, `[count]`."""
        asked = self._walk(inputs, modes)[1]
        after = self._joined([one.branch.after(one.mode, one.operands) for one in asked])
        return jnp.where(jnp.isnan(after), 0, after)

    def bands(self, modes: Array, inputs: Sequence[Any]) -> Array:
        """How far guards must pass zero the next time, `[count]`."""
        asked = self._walk(inputs, modes)[1]
        return lax.stop_gradient(self._joined([one.branch.band(one.operands) for one in asked]))

    def _walk(self, inputs: Sequence[Any], modes: Array | None) -> tuple[list[Any], list["_Asked"]]:
        """The program's results, and what its branches were asked; at modes if these are given."""
        program, asked = self.program, []
        values: dict[int, Any] = {
            **program.constants,
            **dict(zip(program.inputs, inputs, strict=True)),
        }
        for equation in program.equations:
            operands = [values[number] for number in equation.ins]
            place = self.places.get(equation.outs[0])
            if place is None:
                results = equation.bind(*operands)
            else:
                branch = BRANCHES[equation.name]
                aval = program.avals[equation.outs[0]]
                own = jnp.zeros(aval.shape) if modes is None else modes[place].reshape(aval.shape)
                asked.append(_Asked(branch, own, operands))
                results = (
                    equation.bind(*operands) if modes is None else [branch.held(own, operands)]
                )
            values.update(zip(equation.outs, results, strict=True))
        return [values[number] for number in program.outputs], asked

    def _joined(self, values: Sequence[Array]) -> Array:
        """The numbers of all branches, in one vector."""
        sizes = [place.stop - place.start for place in self.places.values()]
        flat = [
            jnp.broadcast_to(jnp.ravel(value), (size,))
            for value, size in zip(values, sizes, strict=True)
        ]
        return jnp.concatenate(flat)


@dataclasses.dataclass(frozen=True)
class _Asked:
    """A branch with the mode that it is held at, and its operands."""

    branch: Branch
    mode: Array
    operands: list[Any]

    def guard(self) -> Array:
        """What passes zero where the mode ends."""
        found = self.branch.guard(self.mode, self.operands)
        unknown = self.branch.unknown(self.mode)
        return jnp.where(jnp.isnan(found), unknown.astype(found.dtype), found)


def _unless_unknown(result: Array, operands: Operands) -> Array:
    """A result, or no number where an operand is none."""
    for x in operands:
        result = jnp.where(jnp.isnan(x), x, result)
    return result


def _same(program: Program) -> dict[int, int]:
    """For each value the first one that is computed alike."""
    same, first = {number: number for number in program.avals}, {}
    for equation in program.equations:
        alike = dataclasses.replace(equation, ins=tuple(same[one] for one in equation.ins))
        outs = first.setdefault(alike.key or equation.outs, equation.outs)
        same.update(zip(equation.outs, outs, strict=True))
    return same


def _rooted(program: Program, same: Mapping[int, int]) -> set[int]:
    """The values of which, or of whose magnitude, there is a root, a power or a logarithm, up to
    factors."""
    roots: set[int] = set()
    for equation in reversed(program.equations):
        if equation.name in ROOTS:
            roots.add(equation.ins[0])
        elif equation.name in (*FACTORS, "abs") and not roots.isdisjoint(equation.outs):
            roots.update(equation.ins)
    return {same[number] for number in roots if number not in program.constants}


def _is_at_zero(equation: Equation, program: Program) -> bool:
    """Whether a branching equation branches where an operand is zero."""
    if len(equation.ins) == 1:
        return equation.name in ("abs", "sign")
    known = [program.constants[one] for one in equation.ins if one in program.constants]
    return any(
        isinstance(x, (int, float, np.ndarray, np.generic)) and np.all(x == 0) for x in known
    )


def _size_of_branch(equation: Equation, program: Program) -> int:
    """How many numbers the mode of an equation is; 0 where it keeps asking."""
    avals = [program.avals[number] for number in equation.ins]
    if equation.name not in BRANCHES or equation.function is not None:
        return 0
    size = math.prod(program.avals[equation.outs[0]].shape)
    real = all(jnp.issubdtype(aval.dtype, jnp.floating) for aval in avals)
    return size if real and 0 < size <= LARGEST else 0
