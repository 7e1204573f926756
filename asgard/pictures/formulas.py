"""What a part of a Python function computes, as a formula."""

from collections.abc import Callable, Sequence
from typing import Any

from ..jaxprs.program import Equation
from ..language.functions.excerpt import Code

_BINARY = {"add": "+", "add_any": "+", "sub": "−", "mul": "·", "div": "/"}
# How tightly an operator binds; what binds less tightly is put in parentheses.
_BINDS = {"+": 1, "−": 1, "·": 2, "/": 2}
_TIGHTEST = 4
# What changes how a value is stored, not what it is.
_SILENT = {"convert_element_type", "broadcast_in_dim", "reshape", "squeeze", "copy", "copy_p"}
# Ports from the top on, for wires without a name.
_PORTS = "①②③④⑤⑥⑦⑧⑨⑩⑪⑫⑬⑭⑮⑯⑰⑱⑲⑳"
# Formulas of more equations are nothing to read.
_MOST_EQUATIONS = 40

Part = tuple[str, int]  # a formula, and how tightly it binds


def formula(
    code: Code, numbers: Sequence[Any], names: Sequence[str | None], number: Callable[[Any], str]
) -> str:
    """The formula of a code, or else the name of its function.

    Wires have their names, or the numbers of their ports. `number` writes a number.
    """
    short = len(code.equations) <= _MOST_EQUATIONS and len(code.reads) <= len(_PORTS)
    if not short or len(code.drives) != 1:
        return code.owner
    known: dict[int, Part] = {}
    for value, held in (*code.constants.items(), *zip(code.numbers, numbers, strict=True)):
        written = number(held)
        known[value] = (written, 2 if written.startswith("−") else _TIGHTEST)
    for port, value in enumerate(code.reads):
        name = names[port] if port < len(names) else None
        known[value] = (name or _PORTS[port], _TIGHTEST)
    for equation in code.equations:
        known.update(dict.fromkeys(equation.outs, _applied(equation, known)))
    return known[code.drives[0]][0]


def _applied(equation: Equation, known: dict[int, Part]) -> Part:
    parts = [known[value] for value in equation.ins]
    name = equation.name
    if name in _SILENT and len(parts) == 1:
        return parts[0]
    if name in _BINARY and len(parts) == 2:
        sign = _BINARY[name]
        binds = _BINDS[sign]
        # x − (y − z) and x / (y z) need their parentheses.
        right = binds + (sign in "−/")
        return f"{_inside(parts[0], binds)} {sign} {_inside(parts[1], right)}", binds
    if name == "neg":
        return f"−{_inside(parts[0], 2)}", 1
    if name == "square":
        return f"{_inside(parts[0], _TIGHTEST)}^2", 3
    if name == "integer_pow":
        return f"{_inside(parts[0], _TIGHTEST)}^{equation.params['y']}", 3
    return f"{name}({', '.join(text for text, _ in parts)})", _TIGHTEST


def _inside(part: Part, binds: int) -> str:
    text, own = part
    return text if own >= binds else f"({text})"
