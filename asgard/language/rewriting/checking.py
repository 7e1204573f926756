"""`check`: rules tried on random instances."""

import random
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from ...circuits.circuit import Circuit
from ...circuits.fields import check_count
from ...circuits.terms import brief
from ...errors import CircuitError, DegreeError, LoopError
from ..equations import tree
from ..places import shorten
from .collocation import outputs
from .equations import Expressions
from .functions import Unsure, value
from .instances import DIMS, KNOWN, circuit_values, expression_values, streams
from .reading import Rules
from .rule import Rule
from .terms import Terms, built, circuit_of
from .trees import normal
from .wire_numbers import NoNumber

# How many random values are tried for one instance that meets the conditions.
_TRIES = 400
_TOLERANCE = 1e-8


def check(
    rules: str | Rules | Rule, *, notation: str = "equations", instances: int = 20, seed: int = 0
) -> None:
    """Tries rules on random instances, and compares the values of both sides.

    What placeholders stand for is drawn at random, so that the conditions hold. Expressions are
    functions of the coordinates t and x, with exact derivatives and integrals; circuits run along
    t, from random inputs. A rule is also applied to its own left side. Where the left side has no
    real value, the right side may have any.

    **Arguments:**

    - `rules`: a text with a rule a line, a group of rules, or one rule.
    - `notation`: of a text, `"equations"` or `"circuits"`.
    - `instances`: how many instances of each rule are tried.
    - `seed`: what the instances are drawn from.

    **Raises:** `CircuitError` for a rule that is wrong, with the instance that shows it, and for
    one of which no instance with a value was found. `ParseError` for a text that cannot be read.

    ```python
    ag.rules.check("[X] + [Y] => [X]")  # CircuitError: ... is wrong: for [X] = ...
    ```
    """
    check_count("check", "instances", instances, least=1)
    for rule in _each(rules, notation):
        draw = random.Random(f"{seed} {rule.text}")
        tried = _check_circuits if rule.notation == "circuits" else _check_equations
        if tried(rule, draw, instances) == 0:
            raise CircuitError(
                f"'{rule}' was not checked: no instance was found on which its conditions hold and "
                "its left side has a value"
            )


def _each(rules: Any, notation: str) -> Iterable[Rule]:
    if isinstance(rules, str):
        return Rules(rules, notation)
    if isinstance(rules, Rule):
        return (rules,)
    if isinstance(rules, Rules):
        return rules
    raise CircuitError(f"check takes a text or a group of rules, not {type(rules).__name__}")


def _wrong(rule: Rule, shown: str, what: str) -> CircuitError:
    return CircuitError(f"'{rule}' is wrong: {shown}{what}")


def _shown(bindings: dict[str, Any], text: Any) -> str:
    listed = [f"[{name}] = {shorten(text(value), 60)[1:-1]}" for name, value in bindings.items()]
    return f"for {', '.join(listed)}, " if listed else ""


def _check_equations(rule: Rule, draw: random.Random, instances: int) -> int:
    """How many instances of a rule were compared."""
    notation = Expressions(frozenset({*KNOWN, "pi"}), frozenset(DIMS))
    compared = 0
    for bindings in _instances(rule, draw, instances, expression_values, notation.holds):
        left, right = notation.built(rule.left, bindings), notation.built(rule.right, bindings)
        if left is None or right is None:
            continue
        left, right = normal(left), normal(right)
        applied = next(notation.rewritten(rule, left), right)
        points = {dim: np.array([draw.uniform(0.2, 1.2) for _ in range(3)]) for dim in DIMS}
        try:
            expected, *others = (_values(side, points) for side in (left, right, normal(applied)))
        except Unsure:
            continue
        defined = np.isfinite(expected) & (
            abs(np.imag(expected)) <= _TOLERANCE * (1 + abs(expected))
        )
        compared += bool(defined.any())
        for side, found in zip((right, normal(applied)), others, strict=True):
            unequal = defined & ~(abs(found - expected) <= _TOLERANCE * (1 + abs(expected)))
            if unequal.any():
                index = int(np.argmax(unequal))
                place = ", ".join(f"{dim} = {points[dim][index]:.4g}" for dim in DIMS)
                raise _wrong(
                    rule,
                    _shown(bindings, tree.expression_text),
                    f"'{tree.expression_text(left)}' is {_number(expected[index])} at {place}, and "
                    f"'{tree.expression_text(side)}' is {_number(found[index])}",
                )
    return compared


def _values(node: tree.Expression, points: dict[str, np.ndarray]) -> np.ndarray:
    known = {name: np.asarray(number) for name, number in KNOWN.items()}
    at = {name: found.astype(complex) for name, found in {**points, **known}.items()}
    return np.broadcast_to(value(node, at), (3,))


def _number(value: Any) -> str:
    real = abs(value.imag) <= _TOLERANCE * (1 + abs(value))
    return f"{value.real:.6g}" if real else "no real number"


def _check_circuits(rule: Rule, draw: random.Random, instances: int) -> int:
    """How many instances of a rule were compared."""
    notation = Terms()
    compared = 0
    for bindings in _instances(rule, draw, instances, circuit_values, notation.holds):
        left = circuit_of(built(rule.left, bindings))
        shown = _shown(bindings, _argument_text)
        try:
            right = circuit_of(built(rule.right, bindings))
            applied = next(notation.rewritten(rule, built(rule.left, bindings)), None)
        except DegreeError as error:
            raise _wrong(rule, shown, str(error)) from None
        except NoNumber:
            continue
        degrees = [(circuit.n_in, circuit.n_out) for circuit in (left, right)]
        if degrees[0] != degrees[1]:
            texts = [f"{brief(c)} is {c.n_in} -> {c.n_out}" for c in (left, right)]
            raise _wrong(rule, shown, " and ".join(texts))
        inputs = streams(draw, left.n_in)
        expected = _outputs(left, inputs)
        if expected is None:
            continue
        compared += 1
        for side in (right, *([] if applied is None else [circuit_of(applied)])):
            found = _outputs(side, inputs)
            if found is None or np.any(abs(found - expected) > _TOLERANCE * (1 + abs(expected))):
                raise _wrong(
                    rule,
                    shown,
                    f"{brief(left)} gives {_first(expected)} and {brief(side)} {_first(found)} for "
                    "the same inputs",
                )
    return compared


def _outputs(circuit: Circuit, inputs: list[np.ndarray]) -> np.ndarray | None:
    try:
        return outputs(circuit, inputs)
    except LoopError:
        return None


def _first(values: np.ndarray | None) -> str:
    """A run in a few numbers."""
    if values is None:
        return "no values"
    return f"{', '.join(f'{value:.6g}' for value in values[:, -1])}"


def _argument_text(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return str(value) if isinstance(value, int | float | str) else Terms().text(value)


def _instances(
    rule: Rule, draw: random.Random, count: int, values: Any, holds: Any
) -> Iterator[dict[str, Any]]:
    """Random values of a rule's placeholders for which its conditions hold and its wires fit."""
    found = 0
    for _ in range(_TRIES * count):
        if found == count:
            return
        bindings = values(rule, draw)
        if bindings is not None and all(holds(one, bindings) for one in rule.conditions):
            found += 1
            yield bindings
