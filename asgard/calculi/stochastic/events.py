"""Events at the ends of steps: a guard that a step lifts above zero has its event there.

All events at the end of one step read the values before any of them. What they lift in turn is
above zero at the end of the next step, and has its event there.
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool

from ...taylor.network import guard_wire, jump_wire
from ..convergence import Solves, worst
from ..cut import Cut
from ..hybrids import hybrids, jumped
from ..pointwise import Contents, Guesses, Pointwise

Sides = tuple[Bool[Array, "..."], ...]


class Happened(eqx.Module):
    """The contents after the events of one time; `sides`, for each guard whether it is left above
    zero; and how the loops were solved that they read."""

    contents: Contents
    sides: Sides
    solves: Solves | None


class Events:
    """The hybrid atoms of a circuit, for one path.

    `beside` is a time too short to count, in the direction of the run: steps end a few last digits
    beside the times at which generators switch, so guards and jumps are read so much later.
    """

    def __init__(self, cut: Cut, beside: Array):
        self.cut, self.beside, self.atoms = cut, beside, hybrids(cut)
        self.guards = tuple(map(guard_wire, self.atoms))
        self.jumps = tuple(map(jump_wire, self.atoms))

    def blank(self) -> Sides:
        """Sides of the types of those of a run."""
        return tuple(jnp.zeros(self.cut.net.avals[guard].shape, bool) for guard in self.guards)

    def start(self, pointwise: Pointwise, t: Array) -> Happened:
        """The initial contents, and the events at the very start of a run.

        They are those of guards that are lifted there by time itself; and of atoms whose guard is
        above zero and that say `at_start`.
        """
        contents, guesses = pointwise.begin(), pointwise.start()
        before, _ = self._guards(pointwise, t - 2 * self.beside.astype(t.dtype), contents, guesses)
        sides = tuple(
            (guard > 0) & (not atom.at_start)
            for guard, atom in zip(before, self.atoms.values(), strict=True)
        )
        return self.after(pointwise, t, contents, guesses, sides)

    def after(
        self, pointwise: Pointwise, t: Array, contents: Contents, guesses: Guesses, sides: Sides
    ) -> Happened:
        """The events at the end of a step, where guards were left on some sides before it."""
        values, solves = pointwise.watch(t + self.beside.astype(t.dtype), contents, guesses, {})
        guards = [values[wire] for wire in self.guards]
        fired = [(guard > 0) & ~side for guard, side in zip(guards, sides, strict=True)]
        found = {
            wire: (happens, values[jump], guard)
            for wire, happens, jump, guard in zip(
                self.atoms, fired, self.jumps, guards, strict=True
            )
        }

        def of_cell(wire: object, content: Array) -> Array:
            if wire not in found:
                return content
            happens, jump, guard = found[wire]
            return jumped(happens, jump, content, guard)

        cells = zip(pointwise.cells, contents, strict=True)
        contents = tuple(of_cell(cell.wire, content) for cell, content in cells)
        left, again = self._guards(pointwise, t, contents, guesses)
        # One that was below and that an event lifts counts as below, so that it has its own next.
        sides = tuple((a > 0) & (b > 0) for a, b in zip(guards, left, strict=True))
        return Happened(contents, sides, worst(solves, again))

    def _guards(
        self, pointwise: Pointwise, t: Array, contents: Contents, guesses: Guesses
    ) -> tuple[list[Array], Solves | None]:
        """The guards at one time, and how the loops were solved that they read."""
        values, solves = pointwise.watch(t + self.beside.astype(t.dtype), contents, guesses, {})
        return [values[wire] for wire in self.guards], solves
