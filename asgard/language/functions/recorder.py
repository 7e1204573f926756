"""What a function does while it is traced: the states it opens and the circuits it calls."""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ...circuits.atoms.events import Clock, Pulse
from ...circuits.atoms.registers import Coordinate, State, Substitution
from ...circuits.atoms.wiring import Var
from ...circuits.circuit import Atom, Circuit
from ...circuits.constraints import resolved
from ...circuits.fields import NOT_NUMBERS
from ...circuits.terms import brief
from ...errors import CircuitError, DegreeError
from ...jaxprs.open_values import Properties, opened, trace_state
from ...taylor.typed import join, output_types, settled, start_of, type_of
from .places import Place, here
from .reasons import closed_form
from .states import OPEN_FORMS

Type = jax.ShapeDtypeStruct


@dataclasses.dataclass
class Entry:
    """A node of the circuit that a function says.

    `drives` are its output wires, `first` is the number of the first of these; `reads` are its
    input wires, None until a state atom is fed; `place` is the line of the user's code, `fed` that
    of the feeding. `type` is that of what an opened state atom holds.
    """

    circuit: Circuit
    first: int
    drives: tuple[Any, ...]
    place: Place
    type: Type | None = None
    reads: tuple[Any, ...] | None = None
    fed: Place | None = None

    @property
    def name(self) -> str:
        """What errors call it."""
        return name_of(self.circuit)


class Recorder:
    """The nodes of one function, in the order in which it makes them.

    **Arguments:** `name` is the function's; `precision` the dtype of coordinates; `widened` has,
    by the index of its entry, the type of a state that is wider than its initial content. `folds`
    keeps functions that are called as blocks.
    """

    def __init__(self, name: str, precision: Any, widened: Mapping[int, Type], folds: bool = False):
        self.name, self.precision, self.widened, self.folds = name, precision, widened, folds
        self.entries: list[Entry] = []
        self._state = trace_state()
        self._count = 0
        self._opened: dict[int, Entry] = {}
        self._coordinates: dict[str, Any] = {}
        self._properties = Properties("input", self._fed, self._feed)
        self._closed: dict[int, str] | None = None

    def close(self) -> list[Entry]:
        """The function has returned: its wires are no longer fed. Gives the entries, and keeps of
        them the names alone, since no traced value may outlive its trace."""
        self._closed = {wire: entry.name for wire, entry in self._opened.items()}
        entries, self.entries = self.entries, []
        self._opened.clear()
        self._coordinates.clear()
        return entries

    def open(self, atom: Atom) -> Any:
        """The output wire of a state atom that is fed later, with the attribute `input`."""
        self._check_level(f"{name_of(atom)} is opened")
        atom = resolved(atom)
        start = start_of(atom)
        type = self.widened.get(len(self.entries), type_of(0.0 if start is None else start))
        entry = self._add(atom, [type])
        entry.type = type
        (wire,) = entry.drives
        self._properties.give(wire)
        self._opened[id(wire)] = entry
        return wire

    def apply(self, circuit: Circuit, wires: Sequence[Any]) -> Any:
        """The output wires of a circuit, which becomes a node of its own."""
        self._check_level(f"{name_of(circuit)} is called")
        self._check_count(circuit, len(wires))
        circuit = resolved(circuit)
        reads = tuple(as_wire(wire, f"{brief(circuit)} is called on") for wire in wires)
        types = [type_of(wire) for wire in reads]
        found = [one for one in output_types(circuit, types) if one is not None]
        if len(found) < circuit.n_out:
            raise CircuitError(f"{brief(circuit)} gives no values on wires of types {types}")
        entry = self._add(settled(circuit, types), found)
        entry.reads = reads
        return entry.drives[0] if circuit.n_out == 1 else entry.drives

    def fold(self, circuit: Circuit, wires: Sequence[Any], types: Sequence[Type]) -> Any:
        """The output wires, of these types, of a circuit that stays as it is."""
        self._check_level(f"{name_of(circuit)} is called")
        entry = self._add(circuit, types)
        entry.reads = tuple(wires)
        return entry.drives

    def evaluate(self, atom: Atom, rule: Callable[..., Any], wires: Sequence[Any]) -> Any:
        """The output wires of a pointwise atom, by its value rule."""
        # A pulse stays whole, since calculi read it in their own ways.
        if isinstance(atom, State | Substitution | Var) or (
            isinstance(atom, Pulse | Clock) and not wires
        ):
            return self.apply(atom, wires)
        given = list(wires)
        if len(given) != len(atom.coordinates) + atom.n_in:
            self._check_count(atom, len(given))
            given = [*map(self._coordinate, atom.coordinates), *given]
        result = rule(resolved(atom), *given)
        results = tuple(result) if isinstance(result, tuple | list) else (result,)
        if len(results) != atom.n_out:
            raise CircuitError(
                f"{name_of(atom)} has n_out = {atom.n_out}, but returned {len(results)}"
            )
        return results[0] if len(results) == 1 else results

    def _coordinate(self, dim: str) -> Any:
        if dim not in self._coordinates:
            self._check_level(f"{dim} is read")
            entry = self._add(Coordinate(dim), [Type((), self.precision)])
            entry.reads = ()
            self._coordinates[dim] = entry.drives[0]
        return self._coordinates[dim]

    def _add(self, circuit: Circuit, types: Sequence[Type]) -> Entry:
        drives = tuple(opened(self._count + port, one) for port, one in enumerate(types))
        entry = Entry(circuit, self._count, drives, here())
        self._count += len(drives)
        self.entries.append(entry)
        return entry

    def _fed(self, wire: Any) -> Any:
        entry = self._entry(wire)
        if entry.reads is None:
            raise CircuitError(f"{entry.name} has not been fed yet")
        return entry.reads[0] if len(entry.reads) == 1 else entry.reads

    def _feed(self, wire: Any, value: Any) -> None:
        entry = self._entry(wire)
        if entry.fed is not None:
            raise CircuitError(f"{entry.name} is fed twice, the first time at {entry.fed}")
        count = entry.circuit.n_in
        given = tuple(value) if count != 1 and isinstance(value, tuple | list) else (value,)
        if len(given) != count:
            raise DegreeError(f"{entry.name} takes {count} wires, but is fed {len(given)}")
        entry.reads = tuple(as_wire(one, f"{entry.name} is fed") for one in given)
        entry.fed = here()
        assert entry.type is not None
        try:
            join(entry.type, type_of(entry.reads[0]))
        except ValueError:
            raise CircuitError(
                f"{entry.name} holds a value of shape {entry.type.shape}, but is fed one of shape "
                f"{entry.reads[0].shape}"
            ) from None

    def _entry(self, wire: Any) -> Entry:
        names = self._closed
        name = self._opened[id(wire)].name if names is None else names.get(id(wire), "a state")
        self._check_level(f"{name} is fed")
        return self._opened[id(wire)]

    def _check_level(self, what: str) -> None:
        """Raises where the function is not what runs now, but a loop or branch inside of it is."""
        if self._closed is not None:
            raise CircuitError(f"{what} after {self.name} has returned, whose wire it is")
        if trace_state() != self._state:
            raise CircuitError(
                f"{what} in {self.name} inside of a jax.jit, jax.vmap, jax.lax.scan, jax.lax.cond "
                "or the like: states and circuits are made and fed by the function itself"
            )

    def _check_count(self, circuit: Circuit, count: int) -> None:
        if count != circuit.n_in:
            raise DegreeError(
                f"{brief(circuit)} takes {circuit.n_in} wire{'s'[: circuit.n_in != 1]}, but is "
                f"called on {count}"
            )


def name_of(circuit: Circuit) -> str:
    """What errors call a circuit: its text, without numbers that are not known."""
    return re.sub(r"(, |\()<traced>", "", brief(circuit))


def as_wire(value: Any, what: str) -> Any:
    """A value as what a wire carries, an inexact array; `what` names it in the error."""
    if isinstance(value, list | tuple):
        raise CircuitError(f"{what} {len(value)} values, which are no wire: jnp.stack makes one")
    if isinstance(value, dict):
        raise CircuitError(f"{what} a dictionary, which is no wire: name its wires one by one")
    if type(value).__name__ in OPEN_FORMS:
        raise CircuitError(f"{what} no wire: {closed_form(type(value).__name__)}")
    if isinstance(value, Circuit):
        raise CircuitError(f"{what} the circuit {brief(value)}, which is no wire: call it on wires")
    try:
        array = jnp.asarray(value)
    except NOT_NUMBERS as error:
        raise CircuitError(f"{what} {value!r:.60}, which is no wire") from error
    if jnp.issubdtype(array.dtype, jax.dtypes.extended):
        raise CircuitError(f"{what} a random key, which is no wire")
    if not jnp.issubdtype(array.dtype, jnp.inexact):
        array = array.astype(jnp.result_type(float))
    return jax.lax.convert_element_type(array, array.dtype)
