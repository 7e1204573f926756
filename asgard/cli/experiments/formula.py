"""Formulas in the notation of equations, as functions of named numbers: they run no code."""

import dataclasses
import functools
import operator
from collections.abc import Iterable, Mapping
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from ...errors import CircuitError
from ...language.equations import tree
from ...language.equations.elementary import FUNCTIONS, Compared
from ...language.equations.reading import read_expression
from ...language.places import Source
from .document import Document, Path
from .kinds import did_you_mean

_CONSTANTS = {"pi": np.pi}
_LISTED = [*(name for name, function in FUNCTIONS.items() if function.listed), "if"]


@dataclasses.dataclass(frozen=True)
class Formula:
    """An expression. Equal texts are equal formulas, so that a run is not compiled anew."""

    tree: tree.Expression

    @property
    def names(self) -> set[str]:
        """The names that it reads."""
        return tree.fold(self.tree, _names) - _CONSTANTS.keys()

    def __call__(self, values: Mapping[str, Any]) -> Any:
        """Its value, from those of its names."""

        def combine(node: Any, parts: list[Any]) -> Any:
            return _value(node, parts, values)

        return tree.fold(self.tree, combine)

    def __str__(self) -> str:
        return tree.expression_text(self.tree)

    def passing(self) -> "tuple[Formula, bool]":
        """What passes zero where it begins to hold, and whether it is a comparison: v - 30 rises
        where v > 30 begins."""
        if not isinstance(self.tree, tree.Comparison) or self.tree.relation in ("==", "!="):
            return self, False
        low, high = self.tree.right, self.tree.left
        if self.tree.relation[0] == "<":
            low, high = high, low
        return Formula(tree.Sum((high, tree.Negative(low)))), True


def read_formula(
    text: str, known: Iterable[str], path: Path, document: Document, of: str
) -> Formula:
    """The formula that a text says.

    Raises `InputError` for a text that is none, and for a name that is not `known`; `of` says in
    words what formulas of this kind are made of.
    """
    try:
        found = Formula(read_expression(text))
        known = set(known)
        tree.fold(found.tree, lambda node, _: _check(node, known, text, of))
    except CircuitError as error:
        raise document.fault_within(path, error) from None
    return found


class AtTime(eqx.Module):
    """A formula as an input: a function of the time, with numbers that may change."""

    formula: Formula = eqx.field(static=True)
    time: str = eqx.field(static=True)

    def __call__(self, t: Any, numbers: Mapping[str, Any]) -> Any:
        return jnp.asarray(self.formula({**numbers, self.time: t}))


class Watched(eqx.Module):
    """A formula as what an event watches: a function of the time and of wires by name."""

    formula: Formula = eqx.field(static=True)
    time: str = eqx.field(static=True)
    numbers: dict[str, Any]

    def __call__(self, t: Any, wires: Mapping[str, Any]) -> Any:
        return self.formula({**self.numbers, **wires, self.time: t})


def _check(node: Any, known: set[str], text: str, of: str) -> None:
    """Raises for a part of a formula that has no value."""
    source = Source(text)
    match node:
        case tree.Name(name) | tree.Parameter(name):
            label = name
        case tree.Output(system, name):
            label = f"{system}.{name}"
        case tree.Abstraction() | tree.Given():
            raise source.error(node.place, "a formula has no functions of its own")
        case tree.Call(function, arguments):
            count = 3 if function == "if" else None
            if function in _LISTED:
                count = count or FUNCTIONS[function].arity
            if count is None:
                near = did_you_mean(function, _LISTED) or f"; there are {', '.join(_LISTED)}"
                raise source.error(node.place, f"a formula has no function {function}{near}")
            if len(arguments) != count:
                given = f"{function} takes {count}, not {len(arguments)} arguments"
                raise source.error(node.place, given)
            return
        case _:
            return
    if label not in known and label not in _CONSTANTS:
        near = did_you_mean(label, known)
        raise source.error(node.place, f"unknown name {label}; a formula is made of {of}{near}")


def _names(node: Any, parts: list[set[str]]) -> set[str]:
    match node:
        case tree.Name(name) | tree.Parameter(name):
            return {name}
        case tree.Output(system, name):
            return {f"{system}.{name}"}
    return set().union(*parts)


def _value(node: Any, parts: list[Any], values: Mapping[str, Any]) -> Any:
    match node:
        case tree.Number(value):
            return value
        case tree.Name(name) | tree.Parameter(name):
            return values[name] if name in values else _CONSTANTS[name]
        case tree.Output(system, name):
            return values[f"{system}.{name}"]
        case tree.Negative():
            return -parts[0]
        case tree.Reciprocal():
            return 1.0 / jnp.asarray(parts[0])
        case tree.Sum():
            return functools.reduce(operator.add, parts)
        case tree.Product():
            return functools.reduce(operator.mul, parts)
        case tree.Power():
            return _power(node, *parts)
        case tree.Comparison(relation):
            return Compared(relation)(*parts)
        case tree.Call("if"):
            return jnp.where(jnp.asarray(parts[0]) != 0, parts[1], parts[2])
        case tree.Call(function):
            return FUNCTIONS[function].atom()(*map(jnp.asarray, parts))
    raise AssertionError(node)


def _power(node: tree.Power, base: Any, exponent: Any) -> Any:
    """A whole exponent in the text is one: x^2 has derivatives at 0, and below it a value."""
    whole = isinstance(node.exponent, tree.Number) and float(exponent).is_integer()
    if whole and exponent < 100:
        return jnp.asarray(base) ** int(exponent)
    return jnp.power(jnp.asarray(base), exponent)
