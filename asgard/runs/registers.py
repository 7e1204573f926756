"""What the registers of a cut circuit hold, by name: states of other solvers and of linear
analysis."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from ..calculi.cut import Cut
from ..calculi.pointwise import Cell, Contents, Pointwise
from ..calculi.real.tolerances import held_by
from ..circuits.circuit import Circuit
from ..errors import CircuitError
from ..taylor.net import Wire


@dataclasses.dataclass(frozen=True)
class Registers:
    """The registers of a cut circuit: what holds a number, and the `names` that go with them.

    Other cells hold truths: under `Discrete`, whether the sample before left a guard above zero.
    """

    pointwise: Pointwise
    cells: tuple[Cell, ...]
    names: tuple[str, ...]

    @classmethod
    def of(cls, circuit: Circuit, pointwise: Pointwise) -> "Registers":
        """Those of a circuit, in its order."""
        cut = pointwise.cut
        cells = tuple(c for c in pointwise.cells if cut.net.avals[c.wire].dtype != bool)
        return cls(pointwise, cells, register_names(circuit, cut, [c.node.outs[0] for c in cells]))

    @property
    def cut(self) -> Cut:
        """The circuit cut at its registers."""
        return self.pointwise.cut

    @functools.cached_property
    def begin(self) -> list[Array]:
        """What the registers hold at the start."""
        return self.among(self.pointwise.begin())

    @property
    def unknowns(self) -> int:
        """How many numbers the loops have that are solved for what goes into the registers."""
        loops = self.pointwise.driving
        return sum(guess.size for loop in loops for guess in self.cut.guess(loop))

    def among(self, contents: Sequence[Array]) -> list[Array]:
        """The registers' part of what belongs to all cells."""
        wires = {cell.wire for cell in self.cells}
        cells = zip(self.pointwise.cells, contents, strict=True)
        return [content for cell, content in cells if cell.wire in wires]

    def contents(self, held: Sequence[Array]) -> Contents:
        """What all cells hold between events, where the registers hold this.

        A guard that was left above zero does not pass it.
        """
        known = {cell.wire: x for cell, x in zip(self.cells, held, strict=True)}
        cells = zip(self.pointwise.cells, self.pointwise.begin(), strict=True)
        return tuple(known.get(cell.wire, jnp.ones_like(content)) for cell, content in cells)


def register_names(circuit: Circuit, cut: Cut, wires: Sequence[Wire]) -> tuple[str, ...]:
    """A name for each register, by the wires that they drive.

    It is the name of that wire, else the register's own in `ag.parameters`, else its position.
    """
    found: list[str] = []
    for index, held in enumerate(held_by(circuit, cut, wires, True)):
        # A register's own name may be that of another wire.
        known = (n for n in held.names if cut.named.get(n, wires[index]) == wires[index])
        found.append(next((n for n in known if n not in found), f"register {index}"))
    return tuple(found)


def check_register(owner: str, name: Any, names: Sequence[str]) -> None:
    """Raises `CircuitError` where a name is that of no register."""
    if name not in names:
        known = ", ".join(names) or "none"
        raise CircuitError(f"{owner} names {name!r}, which is no register; registers are {known}")


def check_held(owner: str, value: Array, shape: tuple[int, ...]) -> None:
    """Raises `CircuitError` where a value is not of the shape of what a register holds."""
    if value.shape != shape:
        raise CircuitError(f"{owner} must be an array of shape {shape}, not {value.shape}")
