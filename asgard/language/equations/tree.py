"""The syntax tree of equations, and its text.

`str` of a tree is text that reads as the same tree. `place` is where a node starts in the text it
was read from, and does not count when trees are compared.
"""

import dataclasses
import math
import textwrap
from collections.abc import Callable
from typing import Any, TypeVar

Value = TypeVar("Value")


def _place() -> Any:
    return dataclasses.field(default=0, compare=False, repr=False, kw_only=True)


@dataclasses.dataclass(frozen=True)
class Number:
    """A number that is not negative."""

    value: float
    place: int = _place()


@dataclasses.dataclass(frozen=True)
class Name:
    """A name: `names.py` says what it stands for."""

    name: str
    place: int = _place()


@dataclasses.dataclass(frozen=True)
class Parameter:
    """A parameter, said to be one: `$a`."""

    name: str
    place: int = _place()


@dataclasses.dataclass(frozen=True)
class Output:
    """A wire of a sub-system: `tank.level`."""

    system: str
    name: str
    place: int = _place()


@dataclasses.dataclass(frozen=True)
class Negative:
    """-x. In a sum, a term that is subtracted."""

    body: "Expression"
    place: int = _place()


@dataclasses.dataclass(frozen=True)
class Reciprocal:
    """1/x, a factor of a product: one that is divided by."""

    body: "Expression"
    place: int = _place()


@dataclasses.dataclass(frozen=True)
class Sum:
    """Two terms or more."""

    terms: tuple["Expression", ...]
    place: int = _place()


@dataclasses.dataclass(frozen=True)
class Product:
    """Two factors or more, of which the first is no reciprocal."""

    factors: tuple["Expression", ...]
    place: int = _place()


@dataclasses.dataclass(frozen=True)
class Power:
    """base^exponent."""

    base: "Expression"
    exponent: "Expression"
    place: int = _place()


@dataclasses.dataclass(frozen=True)
class Comparison:
    """left < right, or another of the six relations."""

    relation: str
    left: "Expression"
    right: "Expression"
    place: int = _place()


@dataclasses.dataclass(frozen=True)
class Given:
    """An argument by name: `inflow=2` in `tank(inflow=2)`."""

    name: str
    value: "Expression"
    place: int = _place()


@dataclasses.dataclass(frozen=True)
class Call:
    """A function, an operator such as `diff`, a sub-system or an unknown, with its arguments."""

    function: str
    arguments: tuple["Expression | Given", ...]
    place: int = _place()


@dataclasses.dataclass(frozen=True)
class Abstraction:
    """The function of `names` whose value is `body`: `abstraction v. v*v`."""

    names: tuple[str, ...]
    body: "Expression"
    place: int = _place()


Expression = (
    Number
    | Name
    | Parameter
    | Output
    | Negative
    | Reciprocal
    | Sum
    | Product
    | Power
    | Comparison
    | Call
    | Abstraction
)


@dataclasses.dataclass(frozen=True)
class Equation:
    """left = right."""

    left: Expression
    right: Expression
    place: int = _place()

    def __str__(self) -> str:
        left = expression_text(self.left, _SUM)
        # A line that begins with a minus would go on the one before.
        left = f"({left})" if left.startswith("-") else left
        return f"{left} = {expression_text(self.right)}"


@dataclasses.dataclass(frozen=True)
class Definition:
    """A sub-system, used as often as one likes: `system name(inputs) -> outputs { ... }`."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    statements: tuple["Statement", ...]
    place: int = _place()

    def __str__(self) -> str:
        inside = textwrap.indent("\n".join(map(statement_text, self.statements)), "    ")
        head = f"system {self.name}({', '.join(self.inputs)}) -> {', '.join(self.outputs)}"
        return f"{head} {{\n{inside}\n}}"


Statement = Equation | Call | Definition


@dataclasses.dataclass(frozen=True)
class System:
    """The whole text: its equations, statements and sub-systems in their order."""

    statements: tuple[Statement, ...]

    def __str__(self) -> str:
        return "\n".join(map(statement_text, self.statements))


def statement_text(statement: Statement) -> str:
    """A statement as text that reads as the same statement."""
    return expression_text(statement) if isinstance(statement, Call) else str(statement)


def children(node: Expression | Given) -> tuple[Any, ...]:
    """The parts of an expression, from left to right."""
    match node:
        case Negative(body) | Reciprocal(body) | Abstraction(_, body):
            return (body,)
        case Sum(parts) | Product(parts) | Call(_, parts):
            return parts
        case Power(left, right) | Comparison(_, left, right):
            return (left, right)
        case Given(_, value):
            return (value,)
    return ()


def fold(node: Expression, combine: Callable[[Any, list[Value]], Value]) -> Value:
    """The value of an expression from the values of its parts, however deep it is."""
    done: list[Value] = []
    pending: list[tuple[Any, bool]] = [(node, False)]
    while pending:
        current, ready = pending.pop()
        parts = children(current)
        if ready or not parts:
            count = len(parts)
            values = done[len(done) - count :]
            del done[len(done) - count :]
            done.append(combine(current, values))
        else:
            pending.append((current, True))
            pending.extend((part, False) for part in reversed(parts))
    return done[0]


# How tightly a text binds: what stands where a tighter one is needed gets parentheses.
_LOOSE, _SUM, _PRODUCT, _FACTOR, _POWER, _ATOM = range(6)


@dataclasses.dataclass(frozen=True)
class _Text:
    """A text, how tightly it binds, and the text of its body, where that shows without its sign."""

    text: str
    binds: int
    body: "_Text | None" = None

    def at(self, least: int) -> str:
        return self.text if self.binds >= least else f"({self.text})"


def expression_text(node: Expression, least: int = _LOOSE) -> str:
    """An expression as text that reads as the same expression."""
    return fold(node, _text).at(least)


def _text(node: Expression | Given, parts: list[_Text]) -> _Text:
    match node:
        case Number(value):
            return _Text(number_text(value), _ATOM)
        case Name(name):
            return _Text(name, _ATOM)
        case Parameter(name):
            return _Text(f"${name}", _ATOM)
        case Output(system, name):
            return _Text(f"{system}.{name}", _ATOM)
        case Negative():
            return _Text(f"-{parts[0].at(_FACTOR)}", _FACTOR, body=parts[0])
        case Reciprocal():
            return _Text(f"1/{parts[0].at(_POWER)}", _PRODUCT, body=parts[0])
        case Sum(terms):
            texts = [parts[0].at(_PRODUCT)]
            for term, part in zip(terms[1:], parts[1:], strict=True):
                subtracted = isinstance(term, Negative)
                body = part.body if subtracted and part.body else part
                texts.append((" - " if subtracted else " + ") + body.at(_PRODUCT))
            return _Text("".join(texts), _SUM)
        case Product(factors):
            texts = [parts[0].at(_FACTOR)]
            for factor, part in zip(factors[1:], parts[1:], strict=True):
                divides = isinstance(factor, Reciprocal)
                body = part.body if divides and part.body else part
                texts.append(("/" if divides else "*") + body.at(_POWER))
            return _Text("".join(texts), _PRODUCT)
        case Power():
            return _Text(f"{parts[0].at(_ATOM)}^{parts[1].at(_POWER)}", _POWER)
        case Comparison(relation):
            return _Text(f"{parts[0].at(_SUM)} {relation} {parts[1].at(_SUM)}", _LOOSE)
        case Given(name):
            return _Text(f"{name}={parts[0].text}", _LOOSE)
        case Call(function):
            return _Text(f"{function}({', '.join(part.text for part in parts)})", _ATOM)
        case Abstraction(names):
            return _Text(f"abstraction {', '.join(names)}. {parts[0].text}", _LOOSE)


def number_text(value: float) -> str:
    """A number in the fewest digits that read as it."""
    whole = math.isfinite(value) and value == int(value) and abs(value) < 1e16
    return str(int(value)) if whole else repr(float(value))
