"""Equations as LaTeX."""

import dataclasses
import re
from typing import Any

from . import tree
from .names import differentials, sides, walk

_GREEK = re.findall(
    r"\w+",
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau "
    "upsilon phi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega",
)
# Functions that LaTeX has a command for.
_COMMANDS = re.findall(r"\w+", "exp log sin cos tan arcsin arccos arctan sinh cosh tanh")
_RELATIONS = {"<": "<", "<=": r"\leq", ">": ">", ">=": r"\geq", "==": "=", "!=": r"\neq"}
# How tightly a text binds, as in `tree`.
_LOOSE, _SUM, _PRODUCT, _FACTOR, _ATOM = range(5)


def system_latex(system: tree.System) -> str:
    """A system as LaTeX: one equation as it is, several aligned at their equals signs."""
    writer = _Writer(_partial(system.statements))
    lines = writer.statements(system.statements)
    if len(lines) == 1:
        return re.sub(r" &(=|\\leftarrow) ", r" \1 ", lines[0], count=1)
    return "\\begin{aligned}\n" + " \\\\\n".join(lines) + "\n\\end{aligned}"


def expression_latex(expression: tree.Expression) -> str:
    """An expression as LaTeX."""
    return tree.fold(expression, _Writer(False).text).text


def name_latex(name: str) -> str:
    """A name: one letter or a Greek one as a symbol, a longer one upright; digits and what follows
    an underscore as indices."""
    head, *rest = re.sub(r"(?<=[A-Za-z])([0-9]+)(?=_|$)", r"_\1", name).split("_")
    index = ",".join(_symbol(part) for part in rest if part)
    return f"{_symbol(head)}_{{{index}}}" if index and head else _symbol(head or name)


def _symbol(word: str) -> str:
    if word in _GREEK:
        return f"\\{word}"
    plain = word.replace("_", r"\_")
    return plain if len(word) <= 1 or word.isdigit() else f"\\mathrm{{{plain}}}"


def _partial(statements: tuple[tree.Statement, ...]) -> bool:
    """Whether there are derivatives along several dimensions."""
    dims = set()
    for statement in statements:
        if isinstance(statement, tree.Definition) and _partial(statement.statements):
            return True
        for node, _ in walk(*sides(statement)):
            if isinstance(node, tree.Call) and node.function == "diff":
                dims.update(one.name for one in node.arguments[1:2] if isinstance(one, tree.Name))
    return len(dims) > 1


@dataclasses.dataclass(frozen=True)
class _Text:
    """LaTeX, how tightly it binds, and what a sum or a product shows of it: its body.

    A derivative has its `body`, `dims` and `order`, so that one of a derivative is of second order.
    """

    text: str
    binds: int
    body: "_Text | None" = None
    dims: tuple[str, ...] = ()
    delays: int = 0

    def at(self, least: int) -> str:
        return self.text if self.binds >= least else f"\\left({self.text}\\right)"


@dataclasses.dataclass
class _Writer:
    partial: bool
    # Of the equation that is written: the names of its differentials.
    differential: frozenset[str] = frozenset()

    def statements(self, statements: tuple[tree.Statement, ...]) -> list[str]:
        lines = []
        for statement in statements:
            match statement:
                case tree.Equation(left, right):
                    found = differentials(statement, frozenset())
                    self.differential = frozenset(found) if "t" in found else frozenset()
                    lines.append(f"{self.of(left)} &= {self.of(right)}")
                case tree.Definition(name, inputs, outputs, inner):
                    wires = [", ".join(map(name_latex, names)) for names in (inputs, outputs)]
                    head = f"{name_latex(name)}\\left({wires[0]}\\right) \\to {wires[1]}:"
                    lines.append(head)
                    lines += [rf"\quad {line}" for line in self.statements(inner)]
                case tree.Call("sde", (drift, diffusion, unknown, *noise)):
                    change, source = self.of(unknown), self.of(noise[0]) if noise else "W"
                    steady, noisy = _factor(self.of(drift)), _factor(self.of(diffusion))
                    lines.append(f"d{change} &= {steady}\\,dt + {noisy}\\,d{source}")
                case tree.Call("reset", (unknown, trigger, value)):
                    where = f"\\text{{where }} {self.of(_rising(trigger))}"
                    lines.append(f"{self.of(unknown)} &\\leftarrow {self.of(value)} \\quad {where}")
                case tree.Call():
                    lines.append(self.of(statement))
        return lines

    def of(self, expression: tree.Expression | tree.Given) -> str:
        return tree.fold(expression, self.text).text  # pyright: ignore[reportArgumentType]

    def text(self, node: tree.Expression | tree.Given, parts: list[_Text]) -> _Text:
        """The LaTeX of a node from that of its parts."""
        match node:
            case tree.Number(value):
                return _number(value)
            case tree.Name(name) if name[1:] in self.differential and name[0] == "d":
                return _Text(f"d{name_latex(name[1:])}", _ATOM)
            case tree.Name(name) | tree.Parameter(name):
                return _Text(name_latex(name), _ATOM)
            case tree.Output(system, name):
                return _Text(f"{_symbol(name)}_{{{_symbol(system)}}}", _ATOM)
            case tree.Negative():
                return _Text(f"-{parts[0].at(_FACTOR)}", _SUM, body=parts[0])
            case tree.Reciprocal():
                return _Text(f"\\frac{{1}}{{{parts[0].text}}}", _ATOM, body=parts[0])
            case tree.Sum(terms):
                return _sum(terms, parts)
            case tree.Product(factors):
                return _product(factors, parts)
            case tree.Power():
                return _Text(f"{parts[0].at(_ATOM)}^{{{parts[1].text}}}", _FACTOR)
            case tree.Comparison(relation):
                sides = parts[0].at(_SUM), parts[1].at(_SUM)
                return _Text(f"{sides[0]} {_RELATIONS[relation]} {sides[1]}", _LOOSE)
            case tree.Given(name):
                return _Text(f"{name_latex(name)} = {parts[0].text}", _LOOSE)
            case tree.Abstraction(names):
                bound = ", ".join(map(name_latex, names))
                shown = bound if len(names) == 1 else f"\\left({bound}\\right)"
                return _Text(f"{shown} \\mapsto {parts[0].text}", _LOOSE)
            case tree.Call(function):
                return self.call(function, node.arguments, parts)

    def call(self, function: str, arguments: tuple, parts: list[_Text]) -> _Text:
        match function, len(parts):
            case "diff", 2 | 3:
                order = arguments[2] if len(parts) == 3 else tree.Number(1.0)
                times = int(order.value) if isinstance(order, tree.Number) else 1
                return self.derivative(parts[0], parts[1].text, times)
            case "int", 2:
                return _Text(f"\\int {_factor(parts[0].text)}\\,d{parts[1].text}", _PRODUCT)
            case "delay", 1:
                return _delayed(parts[0])
            case "if", 3:
                condition, then, otherwise = (part.text for part in parts)
                return _Text(
                    f"\\begin{{cases}} {then} & {condition} \\\\ {otherwise} & \\text{{else}} "
                    "\\end{cases}",
                    _PRODUCT,
                )
            case "sqrt", 1:
                return _Text(f"\\sqrt{{{parts[0].text}}}", _ATOM)
            case "abs", 1:
                return _Text(f"\\left|{parts[0].text}\\right|", _ATOM)
            case "apply", n if n > 1:
                return _called(parts[0].at(_ATOM), parts[1:])
        if function in _COMMANDS:
            return _called(f"\\{function}", parts)
        return _called(name_latex(function), parts)

    def derivative(self, body: _Text, dim: str, order: int) -> _Text:
        dims = (*body.dims, *[dim] * order)
        inner = body.body if body.dims and body.body is not None else body
        sign = r"\partial" if self.partial else "d"
        counts = {one: dims.count(one) for one in dims}
        under = r"\,".join(f"{sign} {one}{_order(count)}" for one, count in counts.items())
        total = _order(len(dims))
        if inner.binds == _ATOM:
            text = f"\\frac{{{sign}{total} {inner.text}}}{{{under}}}"
        else:
            text = f"\\frac{{{sign}{total}}}{{{under}}}\\left({inner.text}\\right)"
        return _Text(text, _FACTOR, body=inner, dims=dims)


def _rising(trigger: Any) -> tree.Expression:
    """Where a trigger rises through zero: v > 30 for v > 30 and for v - 30."""
    match trigger:
        case tree.Comparison():
            return trigger
        case tree.Negative(body):
            return tree.Comparison("<", body, tree.Number(0.0))
        case tree.Sum((*terms, tree.Negative(last))):
            left = terms[0] if len(terms) == 1 else tree.Sum(tuple(terms))
            return tree.Comparison(">", left, last)
    return tree.Comparison(">", trigger, tree.Number(0.0))


def _order(count: int) -> str:
    return "" if count == 1 else f"^{{{count}}}"


def _number(value: float) -> _Text:
    text = tree.number_text(value)
    if "e" not in text:
        return _Text(text, _ATOM)
    digits, exponent = text.split("e")
    power = f"10^{{{int(exponent)}}}"
    return _Text(power if digits == "1" else f"{digits} \\cdot {power}", _FACTOR)


def _called(function: str, parts: list[_Text]) -> _Text:
    arguments = ", ".join(part.text for part in parts)
    return _Text(f"{function}\\left({arguments}\\right)", _ATOM)


def _delayed(body: _Text) -> _Text:
    """delay(x) is x with the index n - 1, and one of an expression is so in brackets."""
    inner = body.body if body.delays and body.body is not None else body
    count = body.delays + 1
    simple = re.fullmatch(r"\\?\w+|\\mathrm\{\w+\}", inner.text)
    base = inner.text if simple else f"\\left({inner.text}\\right)"
    return _Text(f"{base}_{{n-{count}}}", _ATOM, body=inner, delays=count)


def _factor(text: str) -> str:
    """A text before a differential."""
    depth = 0
    for token in re.findall(r"\\left(?![a-z])|\\right(?![a-z])|[{}]|(?<=\S) [+-] ", text):
        if token[0] == " " and depth == 0:
            return f"\\left({text}\\right)"
        depth += {"\\left": 1, "{": 1, "\\right": -1, "}": -1}.get(token, 0)
    return text


def _sum(terms: tuple, parts: list[_Text]) -> _Text:
    texts = [parts[0].at(_SUM)]
    for term, part in zip(terms[1:], parts[1:], strict=True):
        subtracted = isinstance(term, tree.Negative) and part.body is not None
        body = part.body if subtracted and part.body is not None else part
        texts.append((" - " if subtracted else " + ") + body.at(_PRODUCT))
    return _Text("".join(texts), _SUM)


def _product(factors: tuple, parts: list[_Text]) -> _Text:
    over = [p for f, p in zip(factors, parts, strict=True) if not isinstance(f, tree.Reciprocal)]
    under = [
        part.body or part
        for factor, part in zip(factors, parts, strict=True)
        if isinstance(factor, tree.Reciprocal)
    ]
    sign = ""
    first = factors[0]
    if isinstance(first, tree.Negative) and over[0].body is not None:
        # The sign of a product stands before it.
        sign, over = "-", [over[0].body, *over[1:]]
    if under:
        numerator = over[0].text if len(over) == 1 else _row(over)
        denominator = under[0].text if len(under) == 1 else _row(under)
        return _Text(f"{sign}\\frac{{{numerator}}}{{{denominator}}}", _SUM if sign else _FACTOR)
    return _Text(sign + _row(over), _SUM if sign else _PRODUCT)


def _row(parts: list[_Text]) -> str:
    """Factors side by side; a dot stands before one that begins with a digit."""
    texts = [parts[0].at(_FACTOR)]
    for part in parts[1:]:
        text = part.at(_FACTOR)
        texts.append((r" \cdot " if text[0].isdigit() else r"\,") + text)
    return "".join(texts)
