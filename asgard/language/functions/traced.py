"""A function traced on the types of its wires and numbers, and the circuit that it says."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ...circuits.assembly import Wired, assemble
from ...circuits.atoms.arithmetic import Const
from ...circuits.circuit import Circuit
from ...circuits.fields import check_name, precision
from ...circuits.recording import recording
from ...errors import CircuitError
from ...jaxprs.open_values import end
from ...jaxprs.program import Program, from_jaxpr
from ...jaxprs.settings import callers_promotion
from ...taylor.network import join
from ...taylor.typed import type_of
from .cutting import depends, excerpts, is_open, known
from .excerpt import Code, Excerpt, check_constants
from .places import Place
from .recorder import Entry, Recorder, as_wire

Type = jax.ShapeDtypeStruct
# From the numbers and the wires to what the function returns.
Body = Callable[[Any, Sequence[Any]], Any]


@dataclasses.dataclass(frozen=True)
class Node:
    """A node of the circuit: a circuit without its numbers, and the values that it reads, drives.

    Its numbers are the values `leaves`.
    """

    structure: Any
    leaves: tuple[int, ...]
    reads: tuple[int, ...]
    drives: tuple[int, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Traced:
    """A traced function: its program, cut into `codes`, and the nodes it made.

    `inputs` and `outputs` are the values of its wires, `names` those that have a name. `single`
    says that it returned one wire by itself.
    """

    program: Program
    codes: tuple[Code, ...]
    nodes: tuple[Node, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    names: dict[str, int]
    sources: dict[int, int]
    single: bool

    @property
    def output_types(self) -> list[Type]:
        """The types of what the outputs carry."""
        return [self.program.avals[value] for value in self.outputs]

    def returned(self, wires: Sequence[Any]) -> Any:
        """Output wires as the function returns them."""
        if self.names:
            return dict(zip(self.names, wires, strict=True))
        return wires[0] if self.single else tuple(wires)

    @functools.cached_property
    def constant(self) -> tuple[int, ...]:
        """The values of wires that depend on no source."""
        fed = (value for node in self.nodes for value in node.reads)
        return tuple(dict.fromkeys(v for v in (*self.outputs, *fed) if not self.sources[v]))

    def circuit(self, leaves: Sequence[Any]) -> Circuit:
        """The circuit that the function says for some numbers."""
        wanted = [*self.constant, *(v for code in self.codes for v in code.numbers)]
        values = known(self.program, leaves, [*wanted, *(v for n in self.nodes for v in n.leaves)])
        nodes = []
        for node in self.nodes:
            circuit = jax.tree.unflatten(node.structure, [values[v] for v in node.leaves])
            nodes.append(Wired(circuit, node.reads, node.drives))
        for code in self.codes:
            atom = Excerpt(tuple(values[value] for value in code.numbers), code)
            nodes.append(Wired(atom, code.reads, code.drives))
        nodes += [Wired(Const(values[value]), (), (value,)) for value in self.constant]
        return assemble(nodes, self.inputs, self.outputs, self.names)


def trace(
    name: str,
    body: Body,
    numbers: Any,
    types: Sequence[Type],
    place: Place | None,
    folds: bool = False,
) -> Traced:
    """Traces a function on numbers and wires of some types. `folds` keeps those it calls as blocks.

    A state whose feed is wider than its initial content, such as one of complex numbers that starts
    from a real one, makes the function be traced once more.
    """
    widened: dict[int, Type] = {}
    for _ in range(64):
        trial = _Trial(name, body, widened, place, folds)
        closed = jax.make_jaxpr(trial.run)(numbers, list(types))
        if not trial.wider:
            return trial.traced(closed, len(jax.tree.leaves(numbers)))
        widened = {**widened, **trial.wider}
    raise CircuitError(f"the shape of a state in {name} grows with every turn of its loop")


@dataclasses.dataclass(frozen=True)
class _Made:
    """What stays of an entry after the trace: how many leaves and reads it has among what the trace
    gives, and the numbers of the opened values that it drives."""

    name: str
    place: Place
    structure: Any
    leaves: int
    reads: int
    drives: range


class _Trial:
    """One trace of a function. `wider` has the states that are fed what is wider than they are."""

    def __init__(
        self, name: str, body: Body, widened: dict[int, Type], place: Place | None, folds: bool
    ):
        self.name, self.body, self.widened, self.place = name, body, widened, place
        self.folds, self.single = folds, False
        self.wider: dict[int, Type] = {}
        self.names: tuple[str, ...] = ()
        self.made: list[_Made] = []
        self.outputs = 0

    def run(self, numbers: Any, wires: Sequence[Any]) -> list[Any]:
        """What is traced: from numbers and wires to outputs, and for each node leaves and reads."""
        dtype = precision((numbers, wires)) or jnp.result_type(float)
        recorder = Recorder(self.name, dtype, self.widened, self.folds)
        with recording(recorder), callers_promotion():
            result = self.body(numbers, wires)
            entries = recorder.close()
            outputs = self._outputs(result)
        found = list(outputs)
        self.outputs = len(outputs)
        for index, entry in enumerate(entries):
            leaves, structure = jax.tree.flatten(entry.circuit)
            reads = self._reads(index, entry)
            drives = range(entry.first, entry.first + len(entry.drives))
            made = _Made(entry.name, entry.place, structure, len(leaves), len(reads), drives)
            self.made.append(made)
            found += [*leaves, *reads]
        end((numbers, wires, [entry.drives for entry in entries]))
        return found

    def _outputs(self, result: Any) -> list[Any]:
        """The output wires, from what the function returned."""
        what = f"{self.name} returns"
        if isinstance(result, dict):
            self.names = tuple(result)
            for name in self.names:
                check_name(f"{what} a dictionary", "wire", name)
            return [as_wire(value, f"{what}, as {name!r},") for name, value in result.items()]
        if isinstance(result, tuple | list):
            return [as_wire(value, what) for value in result]
        self.single = True
        return [as_wire(result, what)]

    def _reads(self, index: int, entry: Entry) -> list[Any]:
        """What an entry reads; what feeds a state, as the type that the state holds."""
        if entry.reads is None:
            raise entry.place.blame(
                CircuitError(f"{entry.name} is never fed: give it what goes in, as wire.input = …")
            )
        if entry.type is None:
            return list(entry.reads)
        first, *others = entry.reads
        wider = join(entry.type, type_of(first))
        if wider != entry.type:
            self.wider[index] = wider
        return [jnp.broadcast_to(first, wider.shape).astype(wider.dtype), *others]

    def traced(self, closed: Any, leaves: int) -> Traced:
        """The function cut into excerpts."""
        if closed.effects:
            raise CircuitError(
                f"{self.name} has side effects, such as jax.debug.print: a circuit has none"
            )
        program = from_jaxpr(closed, inlined=("jit", "pjit"))
        check_constants(self.name, program.constants.values())
        sources = depends(program, leaves)
        nodes = self._nodes(program, sources)
        inputs, outputs = program.inputs[leaves:], program.outputs[: self.outputs]
        sinks = [*outputs, *(value for node in nodes for value in node.reads)]
        codes = excerpts(self.name, program, sources, sinks)
        names = dict(zip(self.names, outputs, strict=False))
        parts = program, tuple(codes), tuple(nodes)
        return Traced(*parts, inputs, outputs, names, sources, self.single)

    def _nodes(self, program: Program, sources: dict[int, int]) -> list[Node]:
        """The nodes that the function made, by the values of its program."""
        values = {e.params["number"]: e.outs[0] for e in program.equations if is_open(e)}
        rest = iter(program.outputs[self.outputs :])
        nodes = []
        for made in self.made:
            leaves = tuple(next(rest) for _ in range(made.leaves))
            reads = tuple(next(rest) for _ in range(made.reads))
            if any(sources[value] for value in leaves):
                raise made.place.blame(
                    CircuitError(
                        f"a number of {made.name} depends on a wire: initial contents and other "
                        "numbers of circuits are known before a run"
                    )
                )
            # What nothing reads has no value in the program, and gets a number of its own.
            drives = tuple(values.get(number, -1 - number) for number in made.drives)
            nodes.append(Node(made.structure, leaves, reads, drives))
        return nodes
