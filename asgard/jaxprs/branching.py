"""Programs whose branches are held: what each branch says is given, and not asked again.

A solver may follow one branch past its end, find where that was by its guard, and take the next
mode there. `branches` says what modes and guards are.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from .branches import BRANCHES, Branch, branch_of
from .moduli import with_moduli
from .program import Equation, Program
from .shifts import shifts

# The band of a mode that is asked again where it is.
ASKED = -1.0
# An equation of more entries keeps asking: it belongs to a table or a layer of a network.
LARGEST = 8
# Where these are taken of a value that is compared with zero, or of its magnitude, up to factors,
# such branches keep asking: there is no series at zero, so no step should end there.
ROOTS = ("pow", "sqrt", "rsqrt", "log", "log2")
FACTORS = ("mul", "div", "convert_element_type", "broadcast_in_dim", "reshape", "squeeze")


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
        program = with_moduli(program)
        known = {number for number, moves in zip(program.inputs, moving, strict=True) if moves}
        same = program.first_alike()
        rooted, cancelling = _rooted(program, same), shifts(program)
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
            if size and equation.outs[0] not in cancelling:
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

    def after(self, modes: Array, bands: Array, inputs: Sequence[Any]) -> Array:
        """What each mode becomes where it ends, `[count]`; what holds where its band is `ASKED`."""
        asked = self._walk(inputs, modes)[1]
        after = self._joined([one.branch.after(one.mode, one.operands) for one in asked])
        holds = self._joined([one.branch.mode(one.operands) for one in asked])
        after = jnp.where(bands == ASKED, holds, after)
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
                branch = branch_of(equation.name, equation.params)
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
    return any(map(program.is_zero, equation.ins))


def _size_of_branch(equation: Equation, program: Program) -> int:
    """How many numbers the mode of an equation is; 0 where it keeps asking."""
    avals = [program.avals[number] for number in equation.ins]
    if equation.name not in BRANCHES:
        return 0
    size = math.prod(program.avals[equation.outs[0]].shape)
    real = all(jnp.issubdtype(aval.dtype, jnp.floating) for aval in avals)
    return size if real and 0 < size <= LARGEST else 0
