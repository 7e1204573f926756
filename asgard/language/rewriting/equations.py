"""Equations as what rules rewrite: how their expressions are matched and built."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from ..equations import tree
from ..equations.elementary import FUNCTIONS
from .matching import Matcher
from .notation import Notation
from .rule import Condition, Rule, placeholder
from .trees import number, number_of, product_of, rebuilt, sum_of, value_of

# Functions that are constant where their arguments are. A text may define others by other names.
_POINTWISE = {"if", *(name for name, function in FUNCTIONS.items() if function.listed)}


@dataclasses.dataclass(frozen=True)
class Expressions(Notation):
    """Expressions of equations, some of whose names are known.

    `constants` are the names of numbers, `dims` those of coordinates.
    """

    constants: frozenset[str] = frozenset()
    dims: frozenset[str] = frozenset()

    def parts(self, node: tree.Expression) -> tuple[Any, ...]:
        return tree.children(node)

    def rebuilt(self, node: tree.Expression, parts: Any) -> tree.Expression:
        return rebuilt(node, parts)

    def text(self, node: tree.Expression) -> str:
        return tree.expression_text(node)

    def head(self, node: Any, pattern: bool = False) -> Any:
        """What a pattern shares with all that it fits."""
        return (type(node), node.function if isinstance(node, tree.Call) else None)

    def rewritten(self, rule: Rule, node: tree.Expression) -> Iterator[tree.Expression]:
        """What a rule makes of a node, in all the ways in which it applies."""
        matcher = Matcher(lambda name, value: self._admits(rule, name, value))
        for match in matcher.root(rule.left, node):
            if all(self.holds(condition, match.bindings) for condition in rule.conditions):
                found = self.built(rule.right, match.bindings)
                if found is not None:
                    joined = sum_of if isinstance(node, tree.Sum) else product_of
                    yield joined([found, *match.rest]) if match.rest else found

    def _admits(self, rule: Rule, name: str, value: tree.Expression) -> bool:
        """Whether the conditions on one placeholder alone hold."""
        return all(
            self.holds(condition, {name: value})
            for condition in rule.conditions
            if [placeholder(term) for term in condition.terms] == [name]
        )

    def built(
        self, result: tree.Expression, bindings: Mapping[str, tree.Expression]
    ) -> tree.Expression | None:
        """A rule's result; None where `value(...)` in it has no value."""

        def build(node: Any, parts: list[Any]) -> Any:
            name = placeholder(node)
            if name is not None:
                return bindings[name]
            if any(part is None for part in parts):
                return None
            made = rebuilt(node, parts)
            if isinstance(made, tree.Call) and made.function == "value" and len(parts) == 1:
                value = value_of(parts[0])
                return None if value is None else number_of(value)
            return made

        return tree.fold(result, build)

    def holds(self, condition: Condition, bindings: Mapping[str, Any]) -> bool:
        """Whether a condition holds of what placeholders stand for."""
        first, *others = (bindings.get(placeholder(term) or "", term) for term in condition.terms)
        if condition.kind == "number":
            return number(first) is not None
        if condition.kind == "integer":
            value = number(first)
            return value is not None and value.is_integer()
        if condition.kind == "constant":
            return self.free_of(first, None)
        (dim,) = others
        return isinstance(dim, tree.Name) and dim.name in self.dims and self.free_of(first, dim)

    def free_of(self, node: tree.Expression, dim: tree.Name | None) -> bool:
        """Whether an expression is made of what does not depend on a coordinate, or on any."""

        def free(current: Any, parts: list[bool]) -> bool:
            match current:
                case tree.Name(name):
                    coordinate = name in self.dims and name not in self.constants
                    return name in self.constants or (
                        coordinate and dim is not None and name != dim.name
                    )
                case tree.Output() | tree.Abstraction():
                    return False
                case tree.Call(function):
                    return all(parts) and function in _POINTWISE
            return all(parts)

        return tree.fold(node, free)
