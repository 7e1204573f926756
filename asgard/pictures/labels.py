"""What a picture says of an atom or a block: a few words, and a kind for its shape and colour.

Labels speak of `Real`, as circuits do on paper: a register is an integral.
"""

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..circuits.atoms import arithmetic, events, registers
from ..circuits.atoms.unknown import Unknown
from ..circuits.circuit import Block, Circuit
from ..circuits.constraints import Constraint
from ..circuits.stream import Stream
from ..jaxprs.concrete import is_concrete
from ..language.functions.excerpt import Excerpt
from .formulas import formula

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
_LONGEST = 22


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
    name, detail = _words(atom, names)
    whole = name if isinstance(atom, Excerpt) else str(atom)
    if isinstance(atom, Excerpt) and len(name) > _LONGEST:
        name = str(atom)
    return Label(shortened(name), kind, shortened(detail), whole)


def shortened(text: str, length: int = _LONGEST) -> str:
    """A text of at most `length` letters."""
    return text if len(text) <= length else text[: length - 1] + "…"


def number(value: Any) -> str:
    """A number to four digits, or the shape of an array."""
    value = value.value if isinstance(value, Constraint) else value
    if isinstance(value, Stream):
        return f"stream over {', '.join(value.dims)}"
    if not is_concrete(value):
        return "…"
    array = np.asarray(value)
    if array.ndim:
        return f"[{'×'.join(map(str, array.shape))}]"
    return f"{array[()]:.4g}".replace("-", "−")


def _words(atom: Circuit, names: Sequence[str | None]) -> tuple[str, str]:
    """The name and the detail of an atom or a block."""
    match atom:
        case Excerpt():
            return formula(atom.code, atom.numbers, names, number), ""
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
            return f"delay {atom.dim}", _start(atom.initial)
        case Unknown():
            return "unknown", f"near {number(atom.guess)}"
    return _from_text(str(atom))


def _start(initial: Any) -> str:
    return f"from {number(initial)}"


def _from_text(text: str) -> tuple[str, str]:
    """The words of any other atom, from its text: what stands before the parenthesis, and inside.

    Digits past the fourth are left out.
    """
    name, _, inside = text.partition("(")
    short = re.sub(r"-?\d+\.\d+(e[-+]?\d+)?", lambda found: f"{float(found[0]):.4g}", inside)
    return name.replace("_", " "), short.removesuffix(")").replace("-", "−")
