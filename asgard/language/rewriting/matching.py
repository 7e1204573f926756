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
            yield from self.unordered(pattern, tree.children(node), {}, leaves_rest=True)
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
            parts = tree.children(node)
            for match in self.unordered(pattern, parts, bindings, leaves_rest=False):
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
        self,
        pattern: tree.Sum | tree.Product,
        items: Sequence[tree.Expression],
        bindings: Bindings,
        leaves_rest: bool,
    ) -> Iterator[Match]:
        """All ways to find the parts of the pattern among the terms or factors of a node."""
        parts = sorted(tree.children(pattern), key=lambda part: placeholder(part) is not None)
        joined = sum_of if isinstance(pattern, tree.Sum) else product_of
        yield from self._unordered(parts, tuple(items), bindings, leaves_rest, joined)

    def _unordered(
        self,
        parts: Sequence[Any],
        items: tuple[tree.Expression, ...],
        bindings: Bindings,
        leaves_rest: bool,
        joined: Callable[[Sequence[tree.Expression]], tree.Expression],
    ) -> Iterator[Match]:
        if not parts:
            if leaves_rest or not items:
                yield Match(bindings, items)
            return
        if len(items) < len(parts):
            return
        first, *others = parts
        name = placeholder(first)
        if name in bindings:
            rest = _without(items, bindings[name], joined)
            if rest is not None:
                yield from self._unordered(others, rest, bindings, leaves_rest, joined)
            return
        if name is not None and not others and len(items) > 1:
            for found in self.bind(name, joined(items), bindings):
                yield Match(found)
        for index, item in enumerate(items):
            for found in self.fits(first, item, bindings):
                rest = (*items[:index], *items[index + 1 :])
                yield from self._unordered(others, rest, found, leaves_rest, joined)


def _without(
    items: tuple[tree.Expression, ...], node: tree.Expression, joined: Any
) -> tuple[tree.Expression, ...] | None:
    """The items but those that make a node; None where they do not."""
    kind = tree.Sum if joined is sum_of else tree.Product
    wanted = list(tree.children(node)) if isinstance(node, kind) else [node]
    if isinstance(node, tree.Product) and kind is tree.Product:
        # 1/x by itself is 1*(1/x); among other factors it is 1/x.
        if node.factors[0] == tree.Number(1.0) and isinstance(node.factors[1], tree.Reciprocal):
            wanted = list(node.factors[1:])
    rest = list(items)
    for part in wanted:
        if part not in rest:
            return None
        rest.remove(part)
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
