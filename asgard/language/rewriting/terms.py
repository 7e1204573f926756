"""Circuits as what rules rewrite: nested terms, how they are matched and built.

Compositions and products fit in order. In the outermost of a pattern each placeholder is one
circuit of the row, and the pattern fits anywhere in it; further in, a placeholder may be several
circuits beside one another.
"""

import dataclasses
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ...circuits import terms as flat
from ...circuits.atoms.arithmetic import Power
from ...circuits.circuit import Circuit, Composition, Monoidal, Trace
from ...circuits.graph import label
from ...errors import CircuitError, DegreeError
from ...jaxprs.concrete import is_concrete
from ..equations import tree
from ..keywords import KEYWORDS
from .arguments import call_of
from .notation import Notation
from .rule import Condition, Rule, placeholder
from .trees import number
from .wire_numbers import NoNumber, computed, whole

Bindings = Mapping[str, Any]
# How deep a term may nest that rules rewrite.
_DEEPEST = 100
_JOINS = ("composition", "monoidal")


@dataclasses.dataclass(frozen=True)
class Leaf:
    """An atom or block. Leaves of equal structure and numbers are equal."""

    key: Hashable
    circuit: Circuit = dataclasses.field(compare=False)


@dataclasses.dataclass(frozen=True)
class Joined:
    """A combinator with what it joins; `wires` is how many a trace feeds back."""

    word: str
    parts: tuple["Leaf | Joined", ...]
    wires: int = 0


Term = Leaf | Joined


def term_of(circuit: Circuit) -> Term:
    """A circuit as a nested term. Raises `CircuitError` for one that nests too deep."""
    depths: list[int] = []

    def part(circuit: Circuit) -> tuple[Term, int]:
        return Leaf(label(circuit), circuit), 0

    def combine(word: str, count: int, values: list[tuple[Term, int]]) -> tuple[Term, int]:
        depth = 1 + max(depth for _, depth in values)
        depths.append(depth)
        parts = tuple(term for term, _ in values)
        return Joined(word, parts, count if word == "trace" else 0), depth

    found, _ = flat.fold(circuit, part, combine)
    if max(depths, default=0) > _DEEPEST:
        raise CircuitError(
            f"rewrite: the circuit nests more than {_DEEPEST} deep; ag.simplify takes any depth"
        )
    return found


def circuit_of(term: Term) -> Circuit:
    """The circuit of a term. Raises `DegreeError` where its wires do not fit."""
    if isinstance(term, Leaf):
        return term.circuit
    parts = [circuit_of(part) for part in term.parts]
    if term.word == "trace":
        return Trace(parts[0], term.wires)
    return Composition(*parts) if term.word == "composition" else Monoidal(*parts)


def join(word: str, parts: Sequence[Term]) -> Term:
    """Parts side by side or one after another, taken apart where they are joined so themselves."""
    found: list[Term] = []
    for part in parts:
        if isinstance(part, Joined) and part.word == word:
            found.extend(part.parts)
        else:
            found.append(part)
    return Joined(word, tuple(found)) if len(found) > 1 else found[0]


@dataclasses.dataclass(frozen=True)
class Terms(Notation):
    """Terms of circuits, as a notation of `strategies`."""

    def parts(self, node: Term) -> tuple[Term, ...]:
        return node.parts if isinstance(node, Joined) else ()

    def rebuilt(self, node: Joined, parts: Sequence[Term]) -> Term:
        if node.word == "trace":
            return Joined("trace", tuple(parts), node.wires)
        return join(node.word, parts)

    def text(self, node: Term) -> str:
        return flat.brief(circuit_of(node))

    def head(self, node: Any, pattern: bool = False) -> Any:
        """The word of a combinator, or the class of an atom."""
        if pattern:
            word = str(call_of(node)[0]).lower()
            return word if word in (*_JOINS, "trace") else _CLASSES[word]
        return node.word if isinstance(node, Joined) else type(node.circuit)

    def holds(self, condition: Condition, bindings: Bindings) -> bool:
        """Whether a condition holds of what placeholders stand for."""
        return holds(condition, bindings)

    def rewritten(self, rule: Rule, node: Term) -> Iterator[Term]:
        """What a rule makes of a node, in all the ways in which it applies."""
        for bindings, start, end in _root(rule.left, node):
            if all(self.holds(condition, bindings) for condition in rule.conditions):
                try:
                    found = built(rule.right, bindings)
                except NoNumber:
                    continue
                if isinstance(node, Leaf) or node.word not in _JOINS:
                    _check_degrees(rule, node, found)
                    yield found
                    continue
                _check_degrees(rule, join(node.word, node.parts[start:end]), found)
                whole = end - start == len(node.parts)
                around = (*node.parts[:start], found, *node.parts[end:])
                yield found if whole else join(node.word, around)


def _check_degrees(rule: Rule, before: Term, after: Term) -> None:
    """Raises where the result of a rule has other wires than what it replaces."""
    left = circuit_of(before)
    try:
        right = circuit_of(after)
    except DegreeError as error:
        raise DegreeError(f"rewrite: the result of '{rule}' is no circuit: {error}") from None
    degrees = (left.n_in, left.n_out), (right.n_in, right.n_out)
    if degrees[0] != degrees[1]:
        shown = (f"{flat.brief(c)}, {c.n_in} -> {c.n_out}" for c in (left, right))
        raise DegreeError(
            f"rewrite: '{rule}' changes how many wires there are, from {' to '.join(shown)}: a "
            "condition such as '[F] is 1 -> 1' says where it holds"
        )


def _root(pattern: tree.Expression, node: Term) -> Iterator[tuple[Bindings, int, int]]:
    """All ways in which the pattern fits a node, or a stretch of what it joins."""
    word, arguments = call_of(pattern)
    if word is not None and word.lower() in _JOINS:
        if isinstance(node, Joined) and node.word == word.lower():
            count = len(arguments)
            for start in range(len(node.parts) - count + 1):
                pairs = list(zip(arguments, node.parts[start : start + count], strict=True))
                for bindings in _all_fit(pairs, {}):
                    yield bindings, start, start + count
        return
    for bindings in _fits(pattern, node, {}):
        yield bindings, 0, 1


def _all_fit(pairs: Sequence[tuple[Any, Term]], bindings: Bindings) -> Iterator[Bindings]:
    if not pairs:
        yield bindings
        return
    (pattern, node), *others = pairs
    for found in _fits(pattern, node, bindings):
        yield from _all_fit(others, found)


def _fits(pattern: tree.Expression, node: Term, bindings: Bindings) -> Iterator[Bindings]:
    """All ways in which the pattern fits the whole of a node."""
    name = placeholder(pattern)
    if name is not None:
        if name not in bindings:
            yield {**bindings, name: node}
        elif bindings[name] == node:
            yield bindings
        return
    found, arguments = call_of(pattern)
    word = str(found).lower()
    if word in _JOINS:
        if isinstance(node, Joined) and node.word == word:
            yield from _row(word, arguments, node.parts, bindings)
    elif word == "trace":
        if isinstance(node, Joined) and node.word == "trace":
            inner, *wires = arguments
            for first in _fits(inner, node.parts[0], bindings):
                yield from _value(wires[0] if wires else tree.Number(1.0), node.wires, first)
    elif isinstance(node, Leaf) and type(node.circuit) is _CLASSES[word]:
        yield from _atom(word, arguments, node.circuit, bindings)


def _row(
    word: str, patterns: Sequence[Any], items: Sequence[Term], bindings: Bindings
) -> Iterator[Bindings]:
    """All ways in which patterns fit a row of circuits, where placeholders may be several."""
    if not patterns:
        if not items:
            yield bindings
        return
    first, *others = patterns
    most = len(items) - len(others)
    lengths = range(1, most + 1) if placeholder(first) is not None else range(1, min(most, 1) + 1)
    for length in lengths:
        for found in _fits(first, join(word, items[:length]), bindings):
            yield from _row(word, others, items[length:], found)


_CLASSES: dict[str, Any] = {
    word: type(keyword.build(0)) if word == "permute" else keyword.build
    for word, keyword in KEYWORDS.items()
}


def _atom(
    word: str, patterns: Sequence[tree.Expression], atom: Circuit, bindings: Bindings
) -> Iterator[Bindings]:
    """All ways in which the arguments of a keyword fit those of an atom of its class."""
    values = _arguments(word, atom)
    if word == "permute":
        if len(patterns) == 1 and placeholder(patterns[0]) is not None:
            yield from _value(patterns[0], values, bindings)
            return
        if len(patterns) != len(values):
            return
    elif len(patterns) < len(values):
        # What is not written is what it is by default.
        default = KEYWORDS[word].build(*values[: len(patterns)]) if _shortens(word, patterns) else 0
        if not isinstance(default, Circuit) or label(default) != label(atom):
            return
    yield from _values(patterns, values, bindings)


def _shortens(word: str, patterns: Sequence[tree.Expression]) -> bool:
    return len(patterns) >= len(KEYWORDS[word].required)


def _arguments(word: str, atom: Any) -> tuple[Any, ...]:
    """The arguments of the keyword that gives an atom."""
    if word == "permute":
        return atom.order
    if isinstance(atom, Power):
        return (atom.exponent if atom.integer is None else atom.integer,)
    return tuple(getattr(atom, field.name) for field in dataclasses.fields(atom))


def _values(
    patterns: Sequence[tree.Expression], values: Sequence[Any], bindings: Bindings
) -> Iterator[Bindings]:
    if not patterns:
        yield bindings
        return
    for found in _value(patterns[0], values[0], bindings):
        yield from _values(patterns[1:], values[1:], found)


def _value(pattern: tree.Expression, value: Any, bindings: Bindings) -> Iterator[Bindings]:
    """Whether a number, a count or a name is what the pattern says."""
    name = placeholder(pattern)
    if name is not None:
        if name not in bindings:
            yield {**bindings, name: value}
        elif _same(bindings[name], value):
            yield bindings
    elif isinstance(pattern, tree.Name):
        if value == pattern.name:
            yield bindings
    else:
        wanted, known = number(pattern), _known(value)
        if wanted is not None and wanted == known:
            yield bindings


def _known(value: Any) -> float | None:
    """A number that is known and real; None of others."""
    if isinstance(value, int):
        return float(value)
    if not hasattr(value, "dtype") or not is_concrete(value):
        return None
    return float(value) if np.ndim(value) == 0 and not np.iscomplexobj(value) else None


def _same(left: Any, right: Any) -> bool:
    if left is right:
        return True
    if isinstance(left, str | tuple | int) or isinstance(right, str | tuple | int):
        return type(left) is type(right) and left == right
    return label(left) == label(right)


def built(result: tree.Expression, bindings: Bindings) -> Term:
    """The result of a rule as a term. Raises `NoNumber` where one of its numbers has no value."""
    name = placeholder(result)
    if name is not None:
        return bindings[name]
    found, arguments = call_of(result)
    word = str(found).lower()
    if word in _JOINS:
        return join(word, [built(argument, bindings) for argument in arguments])
    if word == "trace":
        inner, *wires = arguments
        count = whole(computed(wires[0], bindings)) if wires else 1
        return Joined("trace", (built(inner, bindings),), count)
    values: list[Any] = []
    for index, argument in enumerate(arguments):
        value = computed(argument, bindings)
        value = value if KEYWORDS[word].kind(index) == "number" else whole(value)
        values.extend(value if isinstance(value, tuple) else [value])
    try:
        circuit = KEYWORDS[word].build(*values)
    except CircuitError:  # such as split(0)
        raise NoNumber from None
    return Leaf(label(circuit), circuit)


def holds(condition: Condition, bindings: Bindings) -> bool:
    """Whether a condition holds of what placeholders stand for."""
    first = bindings.get(placeholder(condition.terms[0]) or "")
    if condition.kind == "circuit":
        try:
            circuit_of(built(condition.terms[0], bindings))
        except (DegreeError, NoNumber):
            return False
        return True
    if condition.kind == "degrees":
        if not isinstance(first, Leaf | Joined):
            return False
        circuit = circuit_of(first)
        pairs = zip(condition.words, (circuit.n_in, circuit.n_out), strict=True)
        return all(word in ("n", str(count)) for word, count in pairs)
    if condition.kind == "in order":
        return isinstance(first, tuple) and first == tuple(sorted(first))
    if condition.kind == "integer":
        return isinstance(first, int)
    return _known(first) is not None
