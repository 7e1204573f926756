"""Expressions, each held once: what is written alike is one node, so it becomes one wire.

A `Pool` holds nodes in a list, parts before what is made of them. So whatever walks expressions is
a loop over ascending numbers, however deep they are. The pool's methods build nodes, fold numbers
and collect terms that are alike.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable
from typing import Any

from ..places import Source
from .elementary import FUNCTIONS


@dataclasses.dataclass(frozen=True)
class Number:
    value: float


@dataclasses.dataclass(frozen=True)
class Parameter:
    name: str


@dataclasses.dataclass(frozen=True)
class Input:
    name: str


@dataclasses.dataclass(frozen=True)
class Coordinate:
    dim: str


@dataclasses.dataclass(frozen=True)
class Variable:
    """An unknown, or a derivative of it.

    `orders` has each dimension and the order along it, sorted, where that is above 0.
    """

    name: str
    orders: tuple[tuple[str, int], ...] = ()

    def order(self, dim: str | None) -> int:
        """How often it is differentiated along a dimension."""
        return dict(self.orders).get(dim or "", 0)

    def along(self, dim: str, by: int = 1) -> "Variable":
        """The derivative along a dimension; the variable it is the derivative of, with `by=-1`."""
        orders = {**dict(self.orders), dim: self.order(dim) + by}
        return Variable(self.name, tuple(sorted((d, n) for d, n in orders.items() if n)))


@dataclasses.dataclass(frozen=True)
class Differential:
    """dx, dt or dW, while a stochastic equation is read."""

    name: str


@dataclasses.dataclass(frozen=True)
class Start:
    """An initial value, by the name that it was given under."""

    name: str


@dataclasses.dataclass(frozen=True)
class Polynomial:
    """A polynomial in coordinates as an initial value.

    `exponents` has for each of `parts`, its coefficients, one exponent for each of `dims`.
    """

    parts: tuple[int, ...]
    dims: tuple[str, ...]
    exponents: tuple[tuple[int, ...], ...]


@dataclasses.dataclass(frozen=True)
class Sum:
    parts: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Product:
    """A number, if there is one, stands first."""

    parts: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Power:
    parts: tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Apply:
    """A function of the table in `elementary`."""

    function: str
    parts: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Integral:
    """The integral along `dim`; against a noise, if one is named.

    `owner` is the unknown whose stochastic equation it stands in, if any: its initial value is that
    of the unknown.
    """

    parts: tuple[int]
    dim: str
    noise: str | None = None
    owner: str | None = None


@dataclasses.dataclass(frozen=True)
class Written:
    """Where a delay stands first, and how it prints. `plain` where each name in it is the text's
    own, and none stands for what a function or a sub-system is given."""

    source: Source
    place: int
    text: str
    plain: bool


@dataclasses.dataclass(frozen=True)
class Delay:
    """The delay of its first part along `dim`: by one sample, or by its second part."""

    parts: tuple[int, ...]
    dim: str
    written: Written | None = dataclasses.field(default=None, compare=False)


@dataclasses.dataclass(frozen=True)
class Switching:
    """A function of the table in `switching`: of wires, then of numbers."""

    function: str
    parts: tuple[int, ...]
    dim: str


@dataclasses.dataclass(frozen=True)
class Derivative:
    """The derivative of what is no unknown, along `dim`."""

    parts: tuple[int]
    dim: str


Leaf = Number | Parameter | Start | Input | Coordinate | Variable | Differential
# What follows from its body at other points: an unknown in there cannot be isolated.
Opaque = Integral | Delay | Switching | Derivative
Node = Leaf | Polynomial | Sum | Product | Power | Apply | Opaque


def parts(node: Node) -> tuple[int, ...]:
    """The numbers of the nodes that a node is made of."""
    return () if isinstance(node, Leaf) else node.parts


class Pool:
    """Nodes by number."""

    def __init__(self):
        self.nodes: list[Node] = []
        self._numbers: dict[Node, int] = {}
        # Whether a node is made of numbers, parameters and initial values only.
        self.constant: list[bool] = []

    def __getitem__(self, index: int) -> Node:
        return self.nodes[index]

    def add(self, node: Node) -> int:
        """The number of a node, as it stands."""
        found = self._numbers.get(node)
        if found is None:
            found = self._numbers[node] = len(self.nodes)
            self.nodes.append(node)
            if isinstance(node, Leaf):
                self.constant.append(isinstance(node, Number | Parameter | Start))
            else:
                opaque = isinstance(node, Opaque)
                self.constant.append(not opaque and all(self.constant[p] for p in node.parts))
        return found

    def number(self, value: float) -> int:
        return self.add(Number(float(value)))

    def value(self, index: int) -> float | None:
        """The number that a node is, None where it is none."""
        node = self.nodes[index]
        return node.value if isinstance(node, Number) else None

    def sum(self, terms: Iterable[int]) -> int:
        """The sum, with terms that are alike collected. Sums in it stay: they may be shared."""
        total = 0.0
        factors: dict[int, float] = {}
        for term in terms:
            factor, rest = self.factored(term)
            if rest is None:
                total += factor
            else:
                factors[rest] = factors.get(rest, 0.0) + factor
        found = [
            rest if factor == 1 else self.product((self.number(factor), rest))
            for rest, factor in factors.items()
            if factor
        ]
        if total or not found:
            found.append(self.number(total))
        return found[0] if len(found) == 1 else self.add(Sum(tuple(found)))

    def factored(self, term: int) -> tuple[float, int | None]:
        """A term as a number times the rest, which is None for a number."""
        node = self.nodes[term]
        if isinstance(node, Number):
            return node.value, None
        if isinstance(node, Product):
            value = self.value(node.parts[0])
            if value is not None:
                rest = node.parts[1:]
                return value, rest[0] if len(rest) == 1 else self.add(Product(rest))
        return 1.0, term

    def product(self, factors: Iterable[int]) -> int:
        """The product, with numbers multiplied. Products in it stay: they may be shared."""
        number = 1.0
        found: list[int] = []
        for factor in factors:
            value, rest = self.factored(factor)
            number *= value
            if rest is not None:
                found.append(rest)
        if number == 0 or not found:
            return self.number(number)
        if number != 1:
            found.insert(0, self.number(number))
        return found[0] if len(found) == 1 else self.add(Product(tuple(found)))

    def negative(self, index: int) -> int:
        return self.product((self.number(-1.0), index))

    def difference(self, left: int, right: int) -> int:
        """left - right, as one sum where these are sums."""
        return self.sum((*self.terms(left), *map(self.negative, self.terms(right))))

    def terms(self, index: int) -> tuple[int, ...]:
        """The terms of a sum; what is none is its only term."""
        node = self.nodes[index]
        return node.parts if isinstance(node, Sum) else (index,)

    def power(self, base: int, exponent: int) -> int:
        """base^exponent. The reciprocal of a product is one of its factors each."""
        number, power = self.value(base), self.value(exponent)
        if power == 1:
            return base
        if power == 0:
            return self.number(1.0)
        if number is not None and power is not None:
            try:
                folded = number**power
            except (OverflowError, ZeroDivisionError):
                folded = math.nan
            if isinstance(folded, float) and math.isfinite(folded):
                return self.number(folded)
        node = self.nodes[base]
        if power == -1 and isinstance(node, Product):
            return self.product([self.power(part, exponent) for part in node.parts])
        if power == -1 and isinstance(node, Power) and self.value(node.parts[1]) == -1:
            return node.parts[0]
        return self.add(Power((base, exponent)))

    def reciprocal(self, index: int) -> int:
        return self.power(index, self.number(-1.0))

    def apply(self, function: str, *arguments: int) -> int:
        return self.add(Apply(function, arguments))

    def inverse(self, function: str) -> Callable[["Pool", int], int] | None:
        """The inverse of a function, None where it may have several."""
        return FUNCTIONS[function].inverse

    def choice(self, condition: int, then: int, otherwise: int) -> int:
        """`then` where the condition holds: a comparison, or a number other than 0."""
        node = self.nodes[condition]
        relation, left, right = "!=", condition, self.number(0.0)
        if isinstance(node, Apply) and node.function in RELATIONS:
            relation, (left, right) = node.function, node.parts
        return self.apply(f"if{relation}", left, right, then, otherwise)

    def derivative(self, index: int, dim: str) -> int:
        """The derivative along a dimension, by no rule but those of leaves and integrals.

        What switches is constant between its events."""
        node = self.nodes[index]
        if self.constant[index] or isinstance(node, Switching):
            return self.number(0.0)
        if isinstance(node, Coordinate):
            return self.number(float(node.dim == dim))
        if isinstance(node, Variable):
            return self.add(node.along(dim))
        if isinstance(node, Integral) and node.dim == dim and node.noise is None:
            return node.parts[0]
        return self.add(Derivative((index,), dim))

    def reach(self, roots: Iterable[int], into: Callable[[Node], bool] | None = None) -> list[int]:
        """The nodes that these are made of, and they, ascending; parts of those `into` alone."""
        found: set[int] = set()
        pending = list(roots)
        while pending:
            index = pending.pop()
            if index not in found:
                found.add(index)
                node = self.nodes[index]
                if into is None or into(node):
                    pending.extend(parts(node))
        return sorted(found)

    def made(self, node: Node, new: tuple[int, ...]) -> int:
        """A node of the same kind, made of other parts."""
        match node:
            case Sum():
                return self.sum(new)
            case Product():
                return self.product(new)
            case Power():
                return self.power(*new)
            case Derivative(_, dim):
                return self.derivative(new[0], dim)
        return self.add(node if isinstance(node, Leaf) else dataclasses.replace(node, parts=new))

    def rebuilt(self, roots: Iterable[int], change: Callable[[int, Node], int | None]) -> Any:
        """A map from nodes to those with some replaced.

        `change` takes the number and node that stand after their parts were replaced, and returns
        the number to stand there, None for no change.
        """
        found: dict[int, int] = {}
        for index in self.reach(roots):
            node = self.nodes[index]
            new = index
            if not isinstance(node, Leaf):
                after = tuple(found[part] for part in node.parts)
                new = index if after == node.parts else self.made(node, after)
            changed = change(new, self.nodes[new])
            found[index] = new if changed is None else changed
        return found


RELATIONS = ("<", "<=", ">", ">=", "==", "!=")
