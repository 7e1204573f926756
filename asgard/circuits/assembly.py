"""From nodes that read and drive numbered wires to a circuit: the inverse of `graph.flatten`.

The term is one feedback loop around all nodes. Side by side, they drive their wires; `Split` copies
each wire for its readers, `Permute` brings the copies into order, and the trace feeds them back. So
its size is linear in the number of nodes and wires.
"""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence

from ..errors import CircuitError, DegreeError
from .atoms.wiring import Discard, Id, Permute, Split, Var
from .circuit import Circuit, Composition, Monoidal, Trace
from .terms import brief


@dataclasses.dataclass(frozen=True)
class Wired:
    """A circuit, such as an atom, with the wires that it reads and those that it drives."""

    circuit: Circuit
    reads: tuple[int, ...]
    drives: tuple[int, ...]


def assemble(
    nodes: Sequence[Wired],
    inputs: Sequence[int],
    outputs: Sequence[int],
    names: Mapping[str, int] | None = None,
) -> Circuit:
    """The circuit of nodes that are joined by wires.

    Wires are any integers. Each has one source, a node or an input, and any number of readers, also
    none. Nodes may stand in any order and may read what they drive. `flatten` of the circuit has
    their atoms in the order given.

    **Arguments:**

    - `nodes`: circuits with the wires they read and drive.
    - `inputs`, `outputs`: the wires that come from outside, and those that go out. A wire may go
      out several times.
    - `names`: wires by name, to be read off a trajectory: each gets a `Var`.

    **Returns:** a circuit of `len(inputs)` inputs and `len(outputs)` outputs.

    **Raises:** `DegreeError` for a node whose wires do not fit its circuit; `CircuitError` for a
    wire with no source or with several, and where there is neither a node nor a wire.

    ```python
    assemble([Wired(ag.Register("t", 1.0), (0,), (0,))], [], [0])  # x' = x from 1
    ```
    """
    names = {} if names is None else names
    read = [wire for node in nodes for wire in node.reads]
    driven = [*inputs, *(wire for node in nodes for wire in node.drives)]
    ends = [*outputs, *read]
    _check(nodes, driven, [*ends, *names.values()])
    counts = Counter(ends)
    labels: dict[int, list[Circuit]] = {}
    for name, wire in names.items():
        labels.setdefault(wire, []).append(Var(name))
    layers = [
        [*[Id()] * len(inputs), *(node.circuit for node in nodes)],
        [_copies(labels.get(wire, []), counts[wire]) for wire in driven],
        _reordering(driven, ends, counts),
    ]
    whole = _joined(layers, Id(len(inputs)) if inputs else None)
    return Trace(whole, len(read)) if read else whole


def _check(nodes: Sequence[Wired], driven: Sequence[int], read: Sequence[int]) -> None:
    """Raises where nodes and wires do not fit together."""
    for node in nodes:
        circuit, given = node.circuit, (len(node.reads), len(node.drives))
        if (circuit.n_in, circuit.n_out) != given:
            raise DegreeError(
                f"{brief(circuit)} is {circuit.n_in} -> {circuit.n_out}, but is given {given[0]} "
                f"wires to read and {given[1]} to drive"
            )
    twice = [wire for wire, count in Counter(driven).items() if count > 1]
    if twice:
        raise CircuitError(f"wire {twice[0]} has more than one source")
    sources = set(driven)
    loose = next((wire for wire in read if wire not in sources), None)
    if loose is not None:
        raise CircuitError(f"wire {loose} is read, but nothing drives it")


def _copies(labels: Sequence[Circuit], count: int) -> Circuit:
    """One wire with its names, into so many copies."""
    ends = [Discard()] if count == 0 else [Split(count)] if count > 1 else []
    parts = [*labels, *ends] or [Id()]
    return parts[0] if len(parts) == 1 else Composition(*parts)


def _reordering(
    driven: Sequence[int], ends: Sequence[int], counts: Mapping[int, int]
) -> list[Circuit]:
    """From the copies of each driven wire, side by side, to the wires in the order of `ends`."""
    following: dict[int, int] = {}
    start = 0
    for wire in driven:
        following[wire] = start
        start += counts[wire]
    order = []
    for wire in ends:
        order.append(following[wire])
        following[wire] += 1
    return [] if order == list(range(len(order))) else [Permute(tuple(order))]


def _joined(layers: Sequence[Sequence[Circuit]], passing: Circuit | None) -> Circuit:
    """One layer of circuits after another, without those that change nothing.

    `passing` is the circuit where no layer is left, None where there is no wire either.
    """
    kept = [
        layer[0] if len(layer) == 1 else Monoidal(*layer)
        for layer in layers
        if not all(isinstance(circuit, Id) for circuit in layer)
    ]
    if kept:
        return kept[0] if len(kept) == 1 else Composition(*kept)
    if passing is None:
        raise CircuitError("a circuit has a node or a wire, and there is neither")
    return passing
