"""The guards of a run: those of its circuit's hybrid atoms, and those of the events it watches."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ...circuits.atoms.events import Counter, Hybrid, Relay, SampleHold
from ...circuits.atoms.functions import Function
from ...errors import CircuitError
from ...taylor.net import Piece, Wire
from ...taylor.network import call, coordinate_wire, guard_wire, jump_wire, rate_wire
from ..cut import Cut
from ..events import Event
from ..hybrids import hybrids
from .system import EventLayout


@dataclasses.dataclass(frozen=True)
class Guarded:
    """The hybrid atoms along time, by the wires that they drive; and the events that are watched,
    of which there is room for `most`. `modes` are the wires that carry the modes of branches."""

    cut: Cut
    atoms: dict[Wire, Hybrid]
    events: tuple[Event, ...]
    most: int
    modes: tuple[Wire, ...] = ()

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

    @property
    def contents(self) -> tuple[Wire, ...]:
        """The wires that carry what jumps at events."""
        return (*self.atoms, *self.modes)

    @property
    def rates(self) -> dict[Wire, Wire]:
        """What drives the rate of each content."""
        return {wire: rate_wire(wire) for wire in self.contents}

    @property
    def jumps(self) -> dict[Wire, Wire]:
        """The wires that carry what the contents become at events."""
        return {wire: jump_wire(wire) for wire in self.contents}

    @property
    def pieces(self) -> tuple[Piece, ...]:
        """The net's pieces, and those of the functions that are watched."""
        time, named = coordinate_wire(self.cut.dim), self.cut.named
        more = [
            Piece((time, *named.values()), (self._wire(event),), fn=_rule(event, list(named)))
            for event in self.events
            if event.wire is None
        ]
        return (*self.cut.net.pieces, *more)

    def types(self, time: Array) -> dict[Wire, jax.ShapeDtypeStruct]:
        """The types of the net's wires, and of what is watched; raises `CircuitError` where that is
        not one real number."""
        avals, named = self.cut.net.avals, self.cut.named
        known = [jax.ShapeDtypeStruct(time.shape, time.dtype), *(avals[w] for w in named.values())]
        found = dict(avals)
        for event in self.events:
            wire = self._wire(event)
            if event.wire is None:
                (found[wire],) = jax.eval_shape(_rule(event, list(named)), *known)
            _check(event, found[wire])
        return found

    @property
    def guards(self) -> list[Wire]:
        """The wires that carry what passes zero, or one of its sides, at an event."""
        return [*map(guard_wire, self.contents), *map(self._wire, self.events)]

    def joined(self, values: Sequence[Array]) -> Array:
        """All guards, from the values of the wires that carry them, `[*orders, *value]`, with one
        axis in place of the value's."""
        count, found = len(self.contents), []
        sides = [(1.0,)] * count + [_sides(event) for event in self.events]
        for value, wire, own in zip(values, self.guards, sides, strict=True):
            rank = len(self._shape(wire))
            flat = value.reshape(*value.shape[: value.ndim - rank], -1)
            found += [flat * side if side < 0 else flat for side in own]
        return jnp.concatenate(found, axis=-1)

    def _shape(self, wire: Wire) -> tuple[int, ...]:
        """The shape of a guard; that of a function which is watched is a number's."""
        aval = self.cut.net.avals.get(wire)
        return () if aval is None else aval.shape

    def _wire(self, event: Event) -> Wire:
        """The wire that carries what an event watches."""
        return self.cut.named[event.wire] if event.wire is not None else ("event", event.name)

    def layout(self, registers: Iterable[Wire]) -> EventLayout | None:
        """What is static of them, for a flat state of some registers; None where there are none."""
        if not self.contents and not self.events:
            return None
        numbers, at_start, branches = {}, [], []
        for wire in self.contents:
            shape = self.cut.net.avals[guard_wire(wire)].shape
            own = len(at_start) + np.arange(math.prod(shape)).reshape(shape)
            numbers[wire] = np.broadcast_to(own, self.cut.state_shape(wire)).reshape(-1)
            at_start += [wire not in self.atoms or self.atoms[wire].at_start] * own.size
            branches += [wire not in self.atoms] * own.size
        entries = [
            numbers.get(wire, np.full(math.prod(self.cut.state_shape(wire)), -1))
            for wire in registers
        ]
        own = [False] * len(at_start)
        watched = [event.terminal for event in self.events for _ in _sides(event)]
        bands = [self._bands(wire) for wire in registers]
        return EventLayout(
            entries=np.concatenate(entries),
            bands=np.concatenate(bands),
            held=np.concatenate([self._held(wire) for wire in registers]),
            at_start=np.array(at_start + [False] * len(watched)),
            branches=np.array(branches + [False] * len(watched)),
            watched=np.array(own + [True] * len(watched)),
            terminal=np.array(own + watched),
            most=self.most,
        )

    def _bands(self, wire: Wire) -> np.ndarray:
        """Which entries of what a register holds are bands: the second row of modes and bands."""
        size = math.prod(self.cut.state_shape(wire))
        return np.arange(size) >= (size // 2 if wire in self.modes else size)

    def _held(self, wire: Wire) -> np.ndarray:
        """Which entries of what a register holds only jump."""
        atom = self.atoms.get(wire)
        held = wire in self.modes or (atom is not None and only_jumps(atom))
        return np.full(math.prod(self.cut.state_shape(wire)), held)

    def numbers(self, layout: EventLayout) -> list[range]:
        """Which guards are those of each event."""
        first, found = layout.guards - sum(len(_sides(event)) for event in self.events), []
        for event in self.events:
            found.append(range(first, first + len(_sides(event))))
            first = found[-1].stop
        return found


def only_jumps(atom: Hybrid) -> bool:
    """Whether the content of an atom stands still between events: its rate is one of ours that are
    zero."""
    return type(atom).rate in {kind.rate for kind in (Hybrid, Counter, Relay, SampleHold)}


def _sides(event: Event) -> Sequence[float]:
    """By what the watched number is multiplied so that it passes zero upward at the event."""
    return (1.0, -1.0) if event.direction == 0 else (float(event.direction),)


def _rule(event: Event, names: Sequence[str]) -> Callable[..., tuple[Array]]:
    """The function that an event watches, of the time and the named wires one by one."""

    function = cast(Function, event.function)

    def by_name(t: Array, *wires: Array) -> Any:
        return function(t, dict(zip(names, wires, strict=True)))

    def rule(t: Array, *wires: Array) -> tuple[Array]:
        try:
            (found,) = call(function, t, *wires, rule=by_name)
        except CircuitError as error:
            known = ", ".join(names) or "nothing"
            raise CircuitError(
                f"Event {event.name!r}: {error}; the function is called with the time and a "
                f"dictionary of what is named once: {known}"
            ) from error
        return (found.reshape(()) if found.size == 1 else found,)

    return rule


def _check(event: Event, aval: jax.ShapeDtypeStruct) -> None:
    """Raises `CircuitError` where what an event watches is not one real number."""
    if math.prod(aval.shape) != 1 or jnp.issubdtype(aval.dtype, jnp.complexfloating):
        raise CircuitError(
            f"Event {event.name!r}: one real number is watched, not {aval.dtype}"
            f"{list(aval.shape)}; give a function that returns one"
        )
