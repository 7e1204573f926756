"""Where a pattern fits an expression of equations.

Sums and products fit in any order of their parts. A placeholder in a sum takes one term or, where
it is the last, all that is left; likewise in a product.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ..equations import tree
from .rule import placeholder
from .trees import product_of, single, sum_of

Bindings = Mapping[str, Any]
# From the name of a placeholder and what it may stand for to whether it may.
Admits = Callable[[str, Any], bool]


@dataclasses.dataclass(frozen=True)
class Match:
    """What placeholders stand for, and the terms or factors beside those that the pattern took."""

    bindings: Bindings
    rest: tuple[tree.Expression, ...] = ()


@dataclasses.dataclass(frozen=True)
class Matcher:
    """Fits patterns; `admits` refuses early what a condition would refuse."""

    admits: Admits

    def root(self, pattern: tree.Expression, node: tree.Expression) -> Iterator[Match]:
        """All ways in which the pattern fits a node, or some terms or factors of it."""
        if isinstance(pattern, tree.Sum | tree.Product) and type(pattern) is type(node):
            yield from self.unordered(pattern, node, {}, leaves_rest=True)
        else:
            for bindings in self.fits(pattern, node, {}):
                yield Match(bindings)

    def fits(self, pattern: Any, node: Any, bindings: Bindings) -> Iterator[Bindings]:
        """All ways in which the pattern fits the whole of a node."""
        name = placeholder(pattern)
        if name is not None:
            yield from self.bind(name, single(node), bindings)
        elif type(pattern) is not type(node) or _label(pattern) != _label(node):
            return
        elif isinstance(pattern, tree.Sum | tree.Product):
            for match in self.unordered(pattern, node, bindings, leaves_rest=False):
                yield match.bindings
        else:
            pairs = list(zip(tree.children(pattern), tree.children(node), strict=True))
            yield from self.all_fit(pairs, bindings)

    def all_fit(self, pairs: Sequence[tuple[Any, Any]], bindings: Bindings) -> Iterator[Bindings]:
        if not pairs:
            yield bindings
            return
        (pattern, node), *others = pairs
        for found in self.fits(pattern, node, bindings):
            yield from self.all_fit(others, found)

    def bind(self, name: str, node: tree.Expression, bindings: Bindings) -> Iterator[Bindings]:
        if name in bindings:
            if bindings[name] == node:
                yield bindings
        elif self.admits(name, node):
            yield {**bindings, name: node}

    def unordered(
        self, pattern: tree.Sum | tree.Product, node: Any, bindings: Bindings, leaves_rest: bool
    ) -> Iterator[Match]:
        """All ways to find the parts of the pattern among the terms or factors of a node."""
        parts, items = tree.children(pattern), tree.children(node)
        if _only_divides(pattern):
            parts, items = parts[1:], items[1:] if _only_divides(node) else items
        ordered = sorted(parts, key=lambda part: placeholder(part) is not None)
        yield from self._unordered(ordered, items, bindings, node, leaves_rest)

    def _unordered(
        self,
        parts: Sequence[Any],
        items: tuple[tree.Expression, ...],
        bindings: Bindings,
        node: tree.Sum | tree.Product,
        leaves_rest: bool,
    ) -> Iterator[Match]:
        if not parts:
            if leaves_rest or not items:
                yield Match(bindings, items)
            return
        if len(items) < len(parts) or (parts[0] == tree.Number(1.0) and _only_divides(node)):
            return
        first, *others = parts
        name = placeholder(first)
        if name is not None and name in bindings:
            rest = _without(items, bindings[name], node)
            if rest is not None:
                yield from self._unordered(others, rest, bindings, node, leaves_rest)
            return
        if name is not None and not others and len(items) > 1:
            for found in self.bind_part(name, _joined(items, node), bindings, node):
                yield Match(found)
        for index, item in enumerate(items):
            rest = (*items[:index], *items[index + 1 :])
            fitted = (
                self.fits(first, item, bindings)
                if name is None
                else self.bind_part(name, single(item), bindings, node)
            )
            for found in fitted:
                yield from self._unordered(others, rest, found, node, leaves_rest)

    def bind_part(
        self, name: str, part: tree.Expression, bindings: Bindings, node: Any
    ) -> Iterator[Bindings]:
        """A placeholder for a part of a node, which is less than the node.

        1/x is the factors 1 and 1/x, and its part 1/x would be all of it.
        """
        if part != node:
            yield from self.bind(name, part, bindings)


def _only_divides(node: tree.Sum | tree.Product) -> bool:
    """Whether a product is 1/x, where the 1 stands for no factor."""
    first, *others = tree.children(node)
    return first == tree.Number(1.0) and all(isinstance(one, tree.Reciprocal) for one in others)


def _joined(items: Sequence[tree.Expression], node: tree.Sum | tree.Product) -> tree.Expression:
    """Some terms or factors of a node as one expression."""
    return sum_of(items) if isinstance(node, tree.Sum) else product_of(items)


def _without(
    items: tuple[tree.Expression, ...], part: tree.Expression, node: tree.Sum | tree.Product
) -> tuple[tree.Expression, ...] | None:
    """The items but those that make a part of a node; None where they do not."""
    wanted = list(tree.children(part)) if type(part) is type(node) else [part]
    if wanted[0] == tree.Number(1.0) and isinstance(wanted[-1], tree.Reciprocal):
        wanted = wanted[1:]  # 1/x by itself is 1*(1/x); among other factors it is 1/x
    rest = list(items)
    for one in wanted:
        if one not in rest:
            return None
        rest.remove(one)
    return tuple(rest)


def _label(node: Any) -> Any:
    """What must be equal in nodes of one type beside their parts; the count of ordered parts."""
    match node:
        case tree.Number(value):
            return value
        case tree.Name(name) | tree.Parameter(name) | tree.Given(name):
            return name
        case tree.Output(system, name):
            return system, name
        case tree.Comparison(relation):
            return relation
        case tree.Call(function, arguments):
            return function, len(arguments)
        case tree.Abstraction(names):
            return names
    return None
