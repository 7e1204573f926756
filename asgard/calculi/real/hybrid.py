"""The hybrid atoms of a cut circuit: their guards, and what they become at events."""

import dataclasses
import math

import jax.numpy as jnp
import numpy as np

from ...circuits.atoms.events import Hybrid
from ...circuits.terms import brief
from ...errors import CircuitError
from ...taylor.net import Wire
from ...taylor.network import guard_wire, jump_wire, rate_wire
from ..cut import Cut
from .system import EventLayout


@dataclasses.dataclass(frozen=True)
class Hybrids:
    """The hybrid atoms along time, by the wires that they drive."""

    cut: Cut
    atoms: dict[Wire, Hybrid]

    @classmethod
    def of(cls, cut: Cut) -> "Hybrids":
        """Those of a cut circuit; raises `CircuitError` where their types do not fit."""
        nodes = (node for node in cut.nodes if isinstance(node.atom, Hybrid))
        atoms = {n.outs[0]: n.atom for n in nodes if n.atom.dim == cut.dim}
        for wire, atom in atoms.items():
            _check(cut, wire, atom)
        return cls(cut, atoms)

    def rates(self) -> dict[Wire, Wire]:
        """What drives the rate of each."""
        return {wire: rate_wire(wire) for wire in self.atoms}

    @property
    def guards(self) -> list[Wire]:
        """The wires that carry their guards."""
        return [guard_wire(wire) for wire in self.atoms]

    @property
    def jumps(self) -> list[Wire]:
        """The wires that carry what they become at events."""
        return [jump_wire(wire) for wire in self.atoms]

    def layout(self, registers: dict[Wire, Wire]) -> EventLayout | None:
        """Which guard each entry of the flat state has; None where nothing has one."""
        if not self.atoms:
            return None
        numbers, at_start, count = {}, [], 0
        for wire, atom in self.atoms.items():
            shape = self.cut.net.avals[guard_wire(wire)].shape
            size = math.prod(shape)
            own = count + np.arange(size).reshape(shape)
            numbers[wire] = np.broadcast_to(own, self.cut.state_shape(wire)).reshape(-1)
            at_start += [atom.at_start] * size
            count += size
        entries = [
            numbers.get(wire, np.full(math.prod(self.cut.state_shape(wire)), -1))
            for wire in registers
        ]
        return EventLayout(np.concatenate(entries), np.array(at_start))


def _check(cut: Cut, wire: Wire, atom: Hybrid) -> None:
    """Raises where a content is not real, or its guard or jump has another shape."""
    content = cut.net.avals[wire]
    if cut.rest[wire]:
        raise CircuitError(
            f"{brief(atom)}: the content also depends on {', '.join(cut.rest[wire])}; events are "
            "those of one time",
            atoms=[atom],
        )
    for name, other in (("guard", guard_wire(wire)), ("jump", jump_wire(wire))):
        found = cut.net.avals[other]
        if any(jnp.issubdtype(x.dtype, jnp.complexfloating) for x in (content, found)):
            raise CircuitError(f"{brief(atom)}: events are those of real wires", atoms=[atom])
        shape = np.broadcast_shapes(found.shape, (1,) * len(content.shape))
        fits = len(shape) == len(content.shape) and all(
            size in (1, whole) for size, whole in zip(shape, content.shape, strict=True)
        )
        if not fits:
            raise CircuitError(
                f"{brief(atom)}: its {name} has the shape {found.shape}, which does not fit its "
                f"content's, {content.shape}",
                atoms=[atom],
            )
