"""Whether two circuits are the same system, whichever way each of them was said.

A circuit is cut at its states, its inputs and its loops without states. What is left is formulas of
these, written as polynomials in one form. Then states that start alike are told apart by what feeds
them, as states of automata are: two that nothing tells apart are the same (Paige and Tarjan, 1987).
"""

import dataclasses
from collections.abc import Hashable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ...circuits.atoms.registers import State, Substitution
from ...circuits.atoms.unknown import Unknown
from ...circuits.circuit import Circuit
from ...circuits.graph import Node, flatten, label
from ...jaxprs.program import Equation, Program, trace
from ...taylor.network import call
from ...taylor.typed import wire_types
from ..equations.formulas import holds
from .polynomials import Form, Forms, number, value_of


def same_system(first: Circuit, second: Circuit) -> bool:
    """Whether two circuits have the same outputs, by their wiring graphs and numbers.

    Sums and products count in any order and bracket, numbers to 12 digits, and copies of one state
    are one. Names do not count. Where a loop without states is solved from does. True is certain
    for inputs that carry numbers, but for which of several solutions such a loop finds. False is
    not: it may take a law that this does not know, such as sin² + cos² = 1.
    """
    if (first.n_in, first.n_out) != (second.n_in, second.n_out):
        return False
    systems = [_System.of(circuit) for circuit in (first, second)]
    colours = [system.beginning() for system in systems]
    forms = Forms()
    count = 0
    while True:
        both = list(zip(systems, colours, strict=True))
        values = [system.formulas(forms, known) for system, known in both]
        numbers: dict[Hashable, int] = {}
        colours = [
            {
                wire: numbers.setdefault(key, len(numbers))
                for wire, key in system.refined(known, found).items()
            }
            for (system, known), found in zip(both, values, strict=True)
        ]
        if len(numbers) == count:
            left, right = (s.outputs(found) for s, found in zip(systems, values, strict=True))
            return left == right
        count = len(numbers)


@dataclasses.dataclass(frozen=True)
class _System:
    """A circuit's nodes in an order in which each pointwise one can be computed.

    `cuts` are the wires at which formulas end, each with what drives it: a node and the index of
    its output; the index of an input.
    """

    order: tuple[Node, ...]
    programs: dict[int, Program]
    cuts: dict[int, tuple[Node, int] | int]
    ends: tuple[int, ...]

    @classmethod
    def of(cls, circuit: Circuit) -> "_System":
        graph = flatten(circuit)
        nodes = graph.needed(graph.outputs)
        plain = jax.ShapeDtypeStruct((), jnp.result_type(float))
        types = wire_types(graph, [plain] * circuit.n_in)
        programs = {}
        for node in nodes:
            program = _program(node.atom, [types.get(wire, plain) for wire in node.ins])
            if program is not None:
                programs[id(node)] = program
        cuts: dict[int, Any] = {wire: index for index, wire in enumerate(graph.inputs)}
        held = [node for node in nodes if id(node) not in programs]
        order, looped = _ordered([node for node in nodes if id(node) in programs])
        for node in (*held, *looped):
            cuts.update({wire: (node, index) for index, wire in enumerate(node.outs)})
        return cls(tuple(order + looped), programs, cuts, graph.outputs)

    def beginning(self) -> dict[int, Hashable]:
        """What is known of each cut by itself."""
        return {
            wire: ("input", cut) if isinstance(cut, int) else (self._kind(cut[0]), cut[1])
            for wire, cut in self.cuts.items()
        }

    def _kind(self, node: Node) -> Hashable:
        solved = id(node) in self.programs and not isinstance(node.atom, Unknown)
        return "loop" if solved else _kind(node.atom)

    def formulas(self, forms: Forms, colours: dict[int, Any]) -> dict[int, Form]:
        """The form of each wire, and under `-1 - wire` that of what drives a wire of a loop."""
        values = {wire: forms.value(("cut", colour)) for wire, colour in colours.items()}
        for node in self.order:
            made = _applied(self.programs[id(node)], node, values, forms)
            for wire, form in zip(node.outs, made, strict=True):
                values[-1 - wire if wire in self.cuts else wire] = form
        return values

    def refined(self, colours: dict[int, Any], values: dict[int, Form]) -> dict[int, Hashable]:
        """Each cut's colour with the forms of what drives it."""
        found: dict[int, Hashable] = {}
        for wire, cut in self.cuts.items():
            if isinstance(cut, int):
                found[wire] = colours[wire]
            elif id(cut[0]) in self.programs:
                found[wire] = (colours[wire], values[-1 - wire])
            else:
                found[wire] = (colours[wire], tuple(values[read] for read in cut[0].ins))
        return found

    def outputs(self, values: dict[int, Form]) -> tuple[Form, ...]:
        return tuple(values[wire] for wire in self.ends)


def _kind(atom: Any) -> Hashable:
    """What a state or an atom without a formula is, with its numbers."""
    numbers, structure = jax.tree.flatten(atom)
    if all(np.ndim(one) == 0 and not np.iscomplexobj(one) for one in numbers):
        return structure, tuple(float(f"{float(one):.11e}") for one in numbers)
    return label(atom)


def _program(atom: Any, types: Sequence[jax.ShapeDtypeStruct]) -> Program | None:
    """The value rule of a pointwise atom as a program; None of what has none."""
    if isinstance(atom, State | Substitution):
        return None
    number = jax.ShapeDtypeStruct((), jnp.result_type(float))
    return trace(lambda *values: call(atom, *values), *[number] * len(atom.coordinates), *types)


def _ordered(nodes: Sequence[Node]) -> tuple[list[Node], list[Node]]:
    """Nodes after those that they read, and those that cut loops: unknowns, if there are some."""
    waiting, order, cut = list(nodes), [], []
    blocked = {wire for node in nodes for wire in node.outs}
    while waiting:
        ready = [node for node in waiting if blocked.isdisjoint(node.ins)]
        if ready:
            order += ready
        else:
            looped = [node for node in waiting if _reaches(node, waiting)]
            ready = sorted(looped, key=lambda node: not isinstance(node.atom, Unknown))[:1]
            cut += ready
        blocked.difference_update(wire for node in ready for wire in node.outs)
        waiting = [node for node in waiting if all(node is not one for one in ready)]
    return order, cut


def _reaches(start: Node, nodes: Sequence[Node]) -> bool:
    """Whether a node is on a loop of some nodes."""
    readers: dict[int, list[Node]] = {}
    for node in nodes:
        for wire in node.ins:
            readers.setdefault(wire, []).append(node)
    pending, seen = list(start.outs), set(start.outs)
    while pending:
        for node in readers.get(pending.pop(), ()):
            if node is start:
                return True
            pending.extend(wire for wire in node.outs if wire not in seen)
            seen.update(node.outs)
    return False


def _applied(
    program: Program, node: Node, values: dict[int, Form], forms: Forms
) -> tuple[Form, ...]:
    """The forms of a node's outputs."""
    coordinates = [forms.value(("coordinate", dim)) for dim in node.atom.coordinates]
    known = dict(
        zip(program.inputs, [*coordinates, *(values[wire] for wire in node.ins)], strict=True)
    )
    for name, constant in program.constants.items():
        known[name] = _constant(constant, forms)
    for equation in program.equations:
        operands = [known[name] for name in equation.ins]
        types = [program.avals[name] for name in equation.ins]
        shapes = {one.shape for one in types}
        pointwise = shapes <= {(), program.avals[equation.outs[0]].shape}
        same = len({*shapes, program.avals[equation.outs[0]].shape}) == 1
        made = operands if same and holds(equation, types) else None
        if made is None:
            made = _result(equation, operands, forms, pointwise)
        known.update(zip(equation.outs, made, strict=True))
    return tuple(known[name] for name in program.outputs)


def _constant(constant: Any, forms: Forms) -> Form:
    array = np.asarray(constant)
    if array.ndim or np.iscomplexobj(array):
        return forms.value(("array", str(array.dtype), array.shape, array.tobytes()))
    return number(float(array))


def _result(equation: Equation, operands: list[Form], forms: Forms, pointwise: bool) -> list[Form]:
    """The forms of an equation's results. A `pointwise` one acts on each entry of arrays."""
    name, params = equation.name, equation.params
    if pointwise:
        if name in ("add", "add_any"):
            return [forms.sum(operands)]
        if name == "sub":
            return [forms.sum([operands[0], forms.product(number(-1.0), operands[1])])]
        if name == "neg":
            return [forms.product(number(-1.0), operands[0])]
        if name == "mul":
            return [forms.product(*operands)]
        exponent = {"integer_pow": params.get("y"), "square": 2}.get(name)
        if name == "pow":
            known = value_of(operands[1])
            exponent = int(known) if known is not None and known.is_integer() else None
        raised = None if exponent is None else forms.power(operands[0], exponent)
        if raised is not None:
            return [raised]
        inverse = forms.power(operands[1], -1) if name == "div" else None
        if inverse is not None:
            return [forms.product(operands[0], inverse)]
        numbers = [value_of(operand) for operand in operands]
        if len(equation.outs) == 1 and all(one is not None for one in numbers):
            found = np.asarray(equation.bind(*map(jnp.asarray, numbers))[0])
            if np.issubdtype(found.dtype, np.inexact) and np.isfinite(found):
                return [number(float(found))]
    call = (name, str(sorted(params.items(), key=str)), tuple(operands))
    return [forms.value((call, index)) for index in range(len(equation.outs))]
