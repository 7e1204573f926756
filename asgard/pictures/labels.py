"""What a picture says of an atom or a block: a few words, and a kind for its shape and colour.

Labels speak of `Real`, as circuits do on paper: a register is an integral.
"""

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from ..circuits.atoms import arithmetic, events, registers
from ..circuits.atoms.functions import Function
from ..circuits.atoms.unknown import Unknown
from ..circuits.circuit import Block, Circuit
from ..circuits.constraints import Constraint
from ..circuits.stream import Stream
from ..errors import CircuitError
from ..jaxprs.concrete import is_concrete
from ..jaxprs.program import Equation
from ..language.equations import tree
from ..language.equations.formulas import Formula, holds, number_of, written
from ..language.functions.excerpt import Excerpt
from .entries import Entries, entries_of

# The first that fits is the kind.
_KINDS: tuple[tuple[Any, str], ...] = (
    (Block, "block"),
    (registers.NOISY, "noise"),
    (registers.Delay, "delay"),
    (registers.Deregister, "derivative"),
    (events.Hybrid | events.Pulse | events.Clock, "event"),
    (registers.State, "register"),
    (Unknown, "unknown"),
    (arithmetic.Const | registers.Coordinate, "constant"),
)
_SYMBOLS = {arithmetic.Add: "+", arithmetic.Multiplication: "×", arithmetic.Divide: "÷"}
# Primitives whose own names say little.
_OPERATIONS = {"convert_element_type": "int"}
_LONGEST = 22
# Formulas have wider boxes, as little else says what a part of a function does.
_LONGEST_FORMULA = 32
_LONGEST_WHOLE = 400


@dataclasses.dataclass(frozen=True)
class Label:
    """`name` in the middle of a box, `detail` in small letters under it, `whole` on hovering."""

    name: str
    kind: str
    detail: str = ""
    whole: str = ""


def label_of(atom: Circuit, names: Sequence[str | None] = ()) -> Label:
    """The label of an atom or a block. `names` has those of the wires that it reads, if any."""
    kind = next((kind for type, kind in _KINDS if isinstance(atom, type)), "pointwise")
    if isinstance(atom, Excerpt):
        driven = _formulas(atom, names)
        room = max(_LONGEST_FORMULA // len(driven), 10)
        short = ", ".join(shortened(one, room) for one in driven)
        return Label(short, kind, whole=shortened(", ".join(driven), _LONGEST_WHOLE))
    name, detail = _words(atom)
    return Label(shortened(name), kind, shortened(detail), str(atom))


def shortened(text: str, length: int = _LONGEST) -> str:
    """A text of at most `length` letters."""
    return text if len(text) <= length else text[: length - 1].rstrip("… ") + "…"


def number(value: Any) -> str:
    """A number to four digits, or the shape of an array."""
    value = value.value if isinstance(value, Constraint) else value
    if isinstance(value, Function):
        return value.text()
    if isinstance(value, Stream):
        return f"stream over {', '.join(value.dims)}"
    if not is_concrete(value):
        return "…"
    array = np.asarray(value)
    if array.ndim:
        return f"[{'×'.join(map(str, array.shape))}]"
    return f"{array[()]:.4g}".replace("-", "−")


def _words(atom: Circuit) -> tuple[str, str]:
    """The name and the detail of an atom or a block."""
    match atom:
        case Block():
            return (getattr(atom, "label", "") or type(atom).__name__), ""
        case arithmetic.Add() | arithmetic.Multiplication() | arithmetic.Divide():
            return _SYMBOLS[type(atom)], ""
        case arithmetic.Scalar():
            return f"× {number(atom.factor)}", ""
        case arithmetic.Const():
            return number(atom.value), ""
        case arithmetic.Power():
            exponent = atom.exponent if atom.integer is None else atom.integer
            return f"^ {number(exponent)}", ""
        case registers.Coordinate():
            return atom.dim, ""
        case registers.Deregister():
            return f"d/d{atom.dim}", ""
        case registers.Register():
            return f"∫ d{atom.dim}", _start(atom.initial)
        case registers.StochasticRegister() | registers.JumpRegister():
            return f"∫ d{atom.noise}", _start(atom.initial)
        case registers.Delay():
            by = "" if atom.by is None else f"by {number(atom.by)} "
            return f"delay {atom.dim}", by + _start(atom.initial)
        case Unknown():
            return "unknown", f"near {number(atom.guess)}"
    return _from_text(str(atom))


def _formulas(atom: Excerpt, names: Sequence[str | None]) -> list[str]:
    """What a part of a function computes, for each wire that it drives.

    Wires have their names, or the numbers of their ports from the top. What is no formula of
    numbers is shown as a call: of a matrix `dot([3×3], ①)`.
    """
    code = atom.code
    ports = [names[p] if p < len(names) else None for p in range(atom.n_in)]
    known = {
        value: Formula(tree.Name(name or _port(port)))
        for port, (value, name) in enumerate(zip(code.reads, ports, strict=True))
    }
    numbers = zip(code.numbers, atom.numbers, strict=True)
    for value, one in (*code.constants.items(), *numbers):
        known[value] = Formula(_operand(code.owner, one))
    taken: dict[int, Entries] = {}
    for equation in code.equations:
        parts = [known[value] for value in equation.ins]
        types = [code.types[value] for value in equation.ins]
        entries = None
        if parts:
            before = taken.get(equation.ins[0])
            entries = entries_of(equation, parts[0].expression, before, types[0].shape)
        if entries is None:
            made = _sketch(code.owner, equation, parts, types)
        else:
            made = Formula(entries.expression, 1 + parts[0].size)
            taken.update(dict.fromkeys(equation.outs, entries))
        known.update(dict.fromkeys(equation.outs, made))
    return [_rounded(tree.expression_text(known[value].expression)) for value in code.drives]


def _operand(owner: str, value: Any) -> tree.Expression:
    """A number, or a few letters for what is none."""
    try:
        return number_of(owner, value)
    except CircuitError:
        return tree.Name(number(value))


def _sketch(
    owner: str, equation: Equation, parts: list[Formula], types: list[jax.ShapeDtypeStruct]
) -> Formula:
    """What an equation makes of its operands, in a picture: of arrays as if they were numbers."""
    if holds(equation, types):
        return parts[0]
    size = 1 + sum(part.size for part in parts)
    if size > _LONGEST_WHOLE:
        parts, size = [Formula(tree.Name("…")) for _ in parts], 1 + len(parts)
    try:
        made = written(owner, equation, parts, types)
        return Formula(_clipped(made.expression), made.size)
    except CircuitError:
        operation = _OPERATIONS.get(equation.name) or equation.name
        operation = operation.removeprefix("reduce_").removesuffix("_general").strip("_")
        return Formula(tree.Call(operation, tuple(part.expression for part in parts)), size)


def _clipped(expression: tree.Expression) -> tree.Expression:
    """The least of a bound and a greatest as the `clip` that it is."""
    match expression:
        case tree.Call("minimum", (high, tree.Call("maximum", (low, value)))):
            return tree.Call("clip", (value, low, high))
    return expression


def _port(index: int) -> str:
    """A number in a circle, of which there are twenty."""
    return chr(ord("①") + index) if index < 20 else f"({index + 1})"


def _start(initial: Any) -> str:
    return f"from {number(initial)}"


def _from_text(text: str) -> tuple[str, str]:
    """The words of any other atom: what stands before the parenthesis in its text, and inside."""
    name, _, inside = text.partition("(")
    return name.replace("_", " "), _rounded(inside.removesuffix(")"))


def _rounded(text: str) -> str:
    """A text whose numbers have four digits."""
    short = re.sub(r"\d+\.\d+(e[-+]?\d+)?", lambda found: f"{float(found[0]):.4g}", text)
    return short.replace("-", "−")
