"""From circuits back to equations: `to_equations` and `to_latex`."""

import dataclasses
import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from ...circuits.atoms import arithmetic, events, functions, registers
from ...circuits.atoms.unknown import Unknown
from ...circuits.circuit import Atom, Block, Circuit
from ...circuits.fields import check_flag
from ...circuits.graph import Graph, Node, flatten
from ...circuits.stream import Stream
from ...errors import CircuitError
from ...jaxprs.concrete import is_concrete
from ..functions.excerpt import Excerpt
from . import tree
from .block import Equations
from .elementary import FUNCTIONS, Chosen, Compared
from .formulas import factors_of, formulas, negative, number_of, product_of, sum_of, terms_of
from .latex import expression_latex, system_latex
from .names import RESERVED
from .reading import read
from .symbols import symbolic

_STATES = registers.Register | registers.StochasticRegister | events.Reset


def to_equations(circuit: Circuit, *, values: bool = False) -> str:
    """The equations of a circuit, as text for `equations`.

    Of a circuit made by `equations` it is the text that said it. Any other is read off its wiring
    graph. Each state is an integral from its initial value, `x = 2 + int(-x, t)`; wires have the
    names that `Var` or a function gives them, or else `x1`, `x2`, ..., and inputs `u1`, `u2`, ....
    Functions under `@ag.circuit`, `ag.ode` and the like are written out. An atom of your own is
    called by its name: `Valve(x)`.

    **Arguments:**

    - `circuit`: any circuit whose numbers are known scalars.
    - `values`: writes the values of all parameters. By default those of functions and other blocks
      are written by the names of `ag.parameters`, with `_` for what is no letter or digit.

    **Returns:** the text, from which `equations` makes the circuit again, once `inputs`, `noise`
    and `parameters` are said.

    **Raises:** `CircuitError` for atoms and functions that no equation says, and for arrays.

    ```python
    print(ag.to_equations((ag.Scalar(-1.0) >> ag.Register("t", 2.0) >> ag.Split()).trace()))
    # x1 = 2 + int(-x1, t)
    ```
    """
    return str(_system_of(circuit, values))


def to_latex(thing: Circuit | str | tree.System | tree.Expression, *, values: bool = False) -> str:
    """Equations as LaTeX: those of a circuit, or of a text for `equations`.

    **Arguments:** `thing`: the circuit or the text; `values`: as for `to_equations`.

    **Returns:** one equation as it stands, several in an `aligned` environment; neither has dollar
    signs around it.

    **Raises:** `ParseError` for a text that cannot be read, `CircuitError` for circuits that
    `to_equations` refuses.

    ```python
    ag.to_latex("diff(x, t) = -a*x")  # \\frac{d x}{d t} = -a\\,x
    ```
    """
    if isinstance(thing, Circuit):
        return system_latex(_system_of(thing, values))
    if isinstance(thing, str):
        return system_latex(read(thing))
    if isinstance(thing, tree.System):
        return system_latex(thing)
    if isinstance(thing, tree.Expression):
        return expression_latex(thing)
    raise CircuitError(f"to_latex takes a circuit or equations, not {type(thing).__name__}")


def _system_of(circuit: Circuit, values: bool) -> tree.System:
    if not isinstance(circuit, Circuit):
        raise CircuitError(f"to_equations takes a circuit, not {type(circuit).__name__}")
    check_flag("to_equations", "values", values)
    if isinstance(circuit, Equations):
        return circuit.system
    graph = flatten(circuit)
    taken = {*graph.names, *graph.dims, *RESERVED, *_noises(graph)}
    given = circuit.input_names if isinstance(circuit, Block) else ()
    inputs = {w: n for w, n in zip(graph.inputs, given, strict=False) if n not in taken}
    taken.update(inputs.values())
    if not values:
        graph, names = symbolic(circuit, graph, taken)
        taken.update(names)
    return _Reader(graph, inputs, taken).system()


@dataclasses.dataclass
class _Reader:
    """Reads equations off a graph. Wires that several read, and states, have names.

    `inputs` are the names of input wires that have one; `taken` are names that wires without a name
    of their own do not get.
    """

    graph: Graph
    inputs: Mapping[int, str]
    taken: Collection[str]

    def __post_init__(self):
        self.source = {wire: node for node in self.graph.nodes for wire in node.outs}
        self.names = self._wire_names()
        self.written: dict[int, tree.Expression] = {}

    def system(self) -> tree.System:
        found = []
        for wire, names in self._aliases().items():
            found += [tree.Equation(tree.Name(name), tree.Name(self.names[wire])) for name in names]
        for wire, name in self.names.items():
            if wire in self.source:
                found.append(tree.Equation(tree.Name(name), self._write(wire)))
                if isinstance(self.source[wire].atom, events.Reset):
                    _, *inputs = self._inputs(self.source[wire])
                    found.append(tree.Call("reset", (tree.Name(name), *inputs)))
        return tree.System(tuple(found))

    def _wire_names(self) -> dict[int, str]:
        """Names: of wires that have one, states, outputs and what has several readers."""
        graph = self.graph
        given = {wires[0]: name for name, wires in graph.names.items() if len(wires) == 1}
        given = {**given, **self.inputs}
        readers = Counter(wire for node in graph.nodes for wire in node.ins)
        named: dict[int, str] = {}
        for kind, wires in (
            ("u", graph.inputs),
            ("x", [wire for node in graph.nodes for wire in node.outs]),
        ):
            count = 0
            for wire in wires:
                node = self.source.get(wire)
                trivial = node is not None and not node.ins
                if wire in given:
                    named[wire] = given[wire]
                elif _holds(node) or wire in graph.outputs or (readers[wire] > 1 and not trivial):
                    count += 1
                    while f"{kind}{count}" in self.taken:
                        count += 1
                    named[wire] = f"{kind}{count}"
        return named

    def _aliases(self) -> dict[int, list[str]]:
        """Names of wires beyond the first."""
        found: dict[int, list[str]] = {}
        for name, wires in self.graph.names.items():
            if len(wires) == 1 and self.names.get(wires[0]) != name:
                found.setdefault(wires[0], []).append(name)
        return found

    def _write(self, root: int) -> tree.Expression:
        """What a wire is, of wires that have names."""
        pending = [root]
        while pending:
            wire = pending[-1]
            node = self._node(wire)
            missing = [w for w in node.ins if w not in self.names and w not in self.written]
            if missing:
                pending += missing
                continue
            pending.pop()
            self.written.update(zip(node.outs, self._made(node), strict=True))
        return self.written[root]

    def _inputs(self, node: Node) -> list[tree.Expression]:
        """What a node reads, once its inputs are written."""
        return [tree.Name(self.names[w]) if w in self.names else self.written[w] for w in node.ins]

    def _made(self, node: Node) -> list[tree.Expression]:
        """What a node drives, once its inputs are written."""
        parts = self._inputs(node)
        if isinstance(node.atom, Excerpt):
            return formulas(node.atom, parts)
        if isinstance(node.atom, registers.Delay) and node.atom.by is not None:
            return [self._late(node, node.atom, parts[0])]
        return [_expression(node.atom, parts)]

    def _late(self, node: Node, delay: registers.Delay, body: tree.Expression) -> tree.Expression:
        """A delay by a time: x(t - tau). Its history is what a text says of it by itself, the value
        at the start of a state or a sum of states; a text has no word for others."""
        history = _number(delay, delay.initial)
        if self._begins(node.ins[0], delay.dim) != _not_zero([history]):
            raise CircuitError(
                f"to_equations: there is no equation for {delay}: its history is not where a "
                "state, or a sum of states, that it delays begins"
            )
        by = _number(delay, delay.by)
        if isinstance(body, tree.Name):
            earlier = tree.Sum((tree.Name(delay.dim), tree.Negative(by)))
            return tree.Call(body.name, (earlier,))
        return tree.Call("delay", (body, by))

    def _begins(self, wire: int, dim: str) -> list[tree.Expression] | None:
        """The initial values of the states along `dim` that a wire is, or is the sum of."""
        node = self.source.get(wire)
        states = [node] if node is not None and _holds(node) else self._summed(wire)
        found = []
        for state in states or ():
            atom = state.atom
            if not isinstance(atom, _STATES) or atom.dim != dim or isinstance(atom.initial, Stream):
                return None
            found.append(_number(atom, atom.initial))
        return _not_zero(found) if states else None

    def _summed(self, wire: int) -> list[Node] | None:
        """The states that a wire is the sum of, None where it is no such sum."""
        node = self.source.get(wire)
        sources = [self.source.get(one) for one in node.ins] if node is not None else []
        states = {
            self.names[one.outs[0]]: one for one in sources if one is not None and _holds(one)
        }
        if node is None or not sources or len(states) < len(set(node.ins)):
            return None
        terms = terms_of(self._made(node)[node.outs.index(wire)])
        names = [term.name if isinstance(term, tree.Name) else "" for term in terms]
        return [states[name] for name in names] if states.keys() >= set(names) else None

    def _node(self, wire: int) -> Node:
        node = self.source[wire]
        if len(node.outs) != 1 and not isinstance(node.atom, Excerpt):
            raise CircuitError("to_equations: an atom of several outputs has no equation")
        return node


def _holds(node: Node | None) -> bool:
    """Whether a wire has a name in any case: one of an input or of an integral."""
    return node is None or isinstance(node.atom, _STATES)


def _not_zero(numbers: list[tree.Expression]) -> list[tree.Expression]:
    return [number for number in numbers if number != tree.Number(0.0)]


def _noises(graph: Graph) -> set[str]:
    atoms = [node.atom for node in graph.nodes]
    return {atom.noise for atom in atoms if isinstance(atom, registers.StochasticRegister)}


def _expression(atom: Atom, parts: list[tree.Expression]) -> tree.Expression:
    """What an atom drives, from what it reads."""
    match atom:
        case arithmetic.Add():
            return sum_of(parts)
        case arithmetic.Multiplication():
            return product_of(parts)
        case arithmetic.Scalar(factor):
            return _scaled(atom, factor, parts[0])
        case arithmetic.Const(value):
            return _number(atom, value)
        case arithmetic.Divide():
            return tree.Product((parts[0], tree.Reciprocal(parts[1])))
        case arithmetic.Power():
            whole = atom.integer
            exponent = (
                _number(atom, atom.exponent) if whole is None else _number(atom, float(whole))
            )
            return tree.Power(parts[0], exponent)
        case registers.Coordinate(dim):
            return tree.Name(dim)
        case registers.Register(dim, initial) | events.Reset(dim, initial):
            return _from(atom, initial, tree.Call("int", (parts[0], tree.Name(dim))))
        case registers.StochasticRegister(_, noise, initial):
            return _from(atom, initial, tree.Call("int", (parts[0], tree.Name(noise))))
        case registers.Deregister(dim):
            return tree.Call("diff", (parts[0], tree.Name(dim)))
        case registers.Delay(_, initial, None):
            return _delayed(_number(atom, initial), parts[0])
        case Unknown():
            return parts[0]
        case functions.Function():
            return _function(atom.fn, parts)
        case events.Relay(low, high, off, on):
            return _switching("relay", atom, parts, (low, high, off, on), (0.0, 1.0))
        case events.SampleHold(initial):
            return _switching("sample_hold", atom, parts, (initial,), (0.0,))
        case events.Counter(initial):
            return _switching("counter", atom, parts, (initial,), (0.0,))
        case events.Pulse(period, duty, phase):
            return _switching("pulse", atom, parts, (period, duty, phase), (0.5, 0.0))
        case events.Clock(period, phase):
            return _switching("clock", atom, parts, (period, phase), (0.0,))
        case registers.State() | registers.Substitution() | registers.TaylorPolynomial():
            raise CircuitError(f"to_equations: there is no equation for {atom}")
    return tree.Call(atom.text(), tuple(parts))


def _delayed(initial: tree.Expression, body: tree.Expression) -> tree.Expression:
    """What an expression was one sample before; initial + delay(body - initial) begins there."""
    if initial == tree.Number(0.0):
        return tree.Call("delay", (body,))
    body = sum_of([*terms_of(body), negative(initial)])
    return sum_of([*terms_of(initial), tree.Call("delay", (body,))])


def _switching(
    name: str,
    atom: Atom,
    parts: list[tree.Expression],
    numbers: tuple[Any, ...],
    defaults: tuple[float, ...],
) -> tree.Expression:
    """An atom of events as a call of its function; its last numbers may be left out."""
    shown = [_number(atom, number) for number in numbers]
    for default in reversed(defaults):
        if shown[-1] != tree.Number(default):
            break
        shown.pop()
    return tree.Call(name, (*parts, *shown))


def _function(fn: Callable[..., Any], parts: list[tree.Expression]) -> tree.Expression:
    if isinstance(fn, Compared):
        return tree.Comparison(fn.relation, parts[0], parts[1])
    if isinstance(fn, Chosen):
        condition = tree.Comparison(fn.relation, parts[0], parts[1])
        return tree.Call("if", (condition, parts[2], parts[3]))
    if fn is jnp.power:
        return tree.Power(parts[0], parts[1])
    name = getattr(fn, "__name__", type(fn).__name__)
    for own, function in FUNCTIONS.items():
        if function.listed and getattr(function.atom(), "fn", None) is fn:
            name = own
    return tree.Call(re.sub(r"\W", "", name) or "f", tuple(parts))


def _number(atom: Atom, value: Any) -> tree.Expression:
    return number_of(type(atom).__name__, value)


def _scaled(atom: Atom, factor: Any, body: tree.Expression) -> tree.Expression:
    number = _number(atom, factor)
    if isinstance(number, tree.Negative) and number.body == tree.Number(1.0):
        return tree.Negative(body)
    return product_of([*factors_of(number), body])


def _from(atom: Atom, initial: Any, integral: tree.Expression) -> tree.Expression:
    """An integral from an initial value."""
    start = _polynomial(atom, initial) if isinstance(initial, Stream) else _number(atom, initial)
    return integral if start == tree.Number(0.0) else sum_of([*terms_of(start), integral])


def _polynomial(atom: Atom, stream: Stream) -> tree.Expression:
    """A stream as a polynomial of coordinates."""
    if stream.value_shape or not is_concrete(stream.coefficients) or np.any(stream.center):
        raise CircuitError(f"to_equations: {type(atom).__name__} starts at a stream of arrays")
    terms = []
    for index, factor in np.ndenumerate(np.asarray(stream.coefficients)):
        if factor:
            parts = [_number(atom, factor)] if factor != 1 or not any(index) else []
            for dim, order in zip(stream.dims, index, strict=True):
                name = tree.Name(dim)
                if order:
                    parts.append(
                        name if order == 1 else tree.Power(name, tree.Number(float(order)))
                    )
            terms.append(product_of(parts))
    return sum_of(terms) if terms else tree.Number(0.0)
