"""The guards of a run: those of its circuit's hybrid atoms, and those of the events it watches."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import cast

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ...circuits.atoms.events import Hybrid
from ...circuits.atoms.functions import Function
from ...errors import CircuitError
from ...taylor.net import Wire
from ...taylor.network import call, guard_wire, jump_wire, rate_wire
from ..cut import Cut
from ..events import Event
from ..hybrids import hybrids
from .system import EventLayout


@dataclasses.dataclass(frozen=True)
class Guarded:
    """The hybrid atoms along time, by the wires that they drive; and the events that are watched,
    of which there is room for `most`."""

    cut: Cut
    atoms: dict[Wire, Hybrid]
    events: tuple[Event, ...]
    most: int

    @classmethod
    def of(cls, cut: Cut, events: tuple[Event, ...], most: int) -> "Guarded":
        """Those of a cut circuit; raises `CircuitError` where their types do not fit, or an event
        names no wire."""
        atoms = hybrids(cut)
        for event in events:
            if event.wire is not None and event.wire not in cut.named:
                known = ", ".join(cut.named) or "none"
                raise CircuitError(
                    f"Event: no wire, or more than one, is named {event.wire!r}; wires named "
                    f"once: {known}"
                )
        return cls(cut, atoms, events, most)

    def rates(self) -> dict[Wire, Wire]:
        """What drives the rate of each atom."""
        return {wire: rate_wire(wire) for wire in self.atoms}

    @property
    def jumps(self) -> dict[Wire, Wire]:
        """The wires that carry what the atoms become at events."""
        return {wire: jump_wire(wire) for wire in self.atoms}

    @property
    def read(self) -> list[Wire]:
        """The wires that guards read."""
        named = self.cut.named
        if any(event.function is not None for event in self.events):
            watched = list(named.values())
        else:
            watched = [named[event.wire] for event in self.events if event.wire is not None]
        return list(dict.fromkeys([*map(guard_wire, self.atoms), *watched]))

    def guards(self, t: Array, value: Callable[[Wire], Array]) -> list[Array]:
        """All guards, flat, from the values of the wires that they read."""
        found = [value(guard_wire(wire)).reshape(-1) for wire in self.atoms]
        for event in self.events:
            watched = _watched(event, t, self.cut.named, value)
            found += [watched * side for side in _sides(event)]
        return found

    def layout(self, registers: Iterable[Wire]) -> EventLayout | None:
        """What is static of them, for a flat state of some registers; None where there are none."""
        if not self.atoms and not self.events:
            return None
        numbers, at_start = {}, []
        for wire, atom in self.atoms.items():
            shape = self.cut.net.avals[guard_wire(wire)].shape
            own = len(at_start) + np.arange(math.prod(shape)).reshape(shape)
            numbers[wire] = np.broadcast_to(own, self.cut.state_shape(wire)).reshape(-1)
            at_start += [atom.at_start] * own.size
        entries = [
            numbers.get(wire, np.full(math.prod(self.cut.state_shape(wire)), -1))
            for wire in registers
        ]
        own = [False] * len(at_start)
        watched = [event.terminal for event in self.events for _ in _sides(event)]
        return EventLayout(
            entries=np.concatenate(entries),
            at_start=np.array(at_start + [False] * len(watched)),
            watched=np.array(own + [True] * len(watched)),
            terminal=np.array(own + watched),
            most=self.most,
        )

    def numbers(self, layout: EventLayout) -> list[range]:
        """Which guards are those of each event."""
        first, found = layout.guards - sum(len(_sides(event)) for event in self.events), []
        for event in self.events:
            found.append(range(first, first + len(_sides(event))))
            first = found[-1].stop
        return found


def _sides(event: Event) -> Sequence[float]:
    """By what the watched number is multiplied so that it passes zero upward at the event."""
    return (1.0, -1.0) if event.direction == 0 else (float(event.direction),)


def _watched(
    event: Event, t: Array, named: Mapping[str, Wire], value: Callable[[Wire], Array]
) -> Array:
    """The number that an event watches, `[1]`; raises `CircuitError` where it is none."""
    if event.wire is not None:
        found = value(named[event.wire])
    else:
        wires = {name: value(wire) for name, wire in named.items()}
        (found,) = call(cast(Function, event.function), t, wires)
    if found.size != 1 or jnp.issubdtype(found.dtype, jnp.complexfloating):
        raise CircuitError(
            f"Event {event.name!r}: one real number is watched, not {found.dtype}"
            f"{list(found.shape)}; give a function that returns one"
        )
    return found.reshape(-1)
