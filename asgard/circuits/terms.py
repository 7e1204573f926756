"""Terms in postfix notation: how circuits are put together, read and printed without recursion.

A term has `parts`, its atoms and blocks from left to right, and a `shape`, the same with its
combinators: a list of tokens in postfix notation. Everything that walks a term is a loop over its
shape with a stack, so terms may nest deeper than Python's stack.
"""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

from ..errors import DegreeError
from .constraints import resolved

T = TypeVar("T")

# The next part, as ("part", 1), or a combinator and its count: how many circuits a composition or
# a monoidal product joins, how many wires a trace feeds back.
Token = tuple[str, int]
PART: Token = ("part", 1)


class Shape(tuple[Token, ...]):
    """A term's tokens. A class of its own, so that pytrees take it as one leaf."""

    __slots__ = ()


ONE_PART = Shape((PART,))


@runtime_checkable
class Term(Protocol):
    """What circuits and parts of terms have in common."""

    @property
    def parts(self) -> tuple[Any, ...]: ...
    @property
    def shape(self) -> Shape: ...
    @property
    def n_in(self) -> int: ...
    @property
    def n_out(self) -> int: ...


@dataclasses.dataclass(frozen=True)
class Subterm:
    """A part of a term, as a term of its own."""

    parts: tuple[Any, ...]
    shape: Shape
    n_in: int
    n_out: int


def fold(term: Term, part: Callable[[Any], T], combine: Callable[[str, int, list[T]], T]) -> T:
    """Folds a term from its leaves up.

    **Arguments:** `part` maps an atom or block to a value; `combine(combinator, count, values)`
    maps a combinator and the values of the circuits that it joins to the combinator's value.
    """
    parts = iter(term.parts)
    stack: list[T] = []
    for combinator, count in term.shape:
        if combinator == "part":
            stack.append(part(next(parts)))
        else:
            joined = 1 if combinator == "trace" else count
            values = stack[-joined:]
            del stack[-joined:]
            stack.append(combine(combinator, count, values))
    return stack[0]


def text(term: Term) -> str:
    """The term in the text notation."""

    def render(combinator: str, count: int, values: list[str]) -> str:
        if combinator == "trace" and count > 1:
            values = [*values, str(count)]
        return f"{combinator}({', '.join(values)})"

    return fold(term, lambda part: resolved(part).text(), render)


def brief(term: Term, length: int = 60) -> str:
    """The term as text, cut to `length` characters, for messages."""
    if len(term.shape) > 200:
        return f"{term.shape[-1][0]} of {len(term.parts)} atoms"
    whole = text(term)
    return whole if len(whole) <= length else whole[: length - 3] + "..."


@dataclasses.dataclass(frozen=True)
class _Span:
    """Where a subterm starts among an assembly's parts and tokens, and its wire counts."""

    part: int
    token: int
    n_in: int
    n_out: int


class Assembly:
    """Terms under construction, side by side, from their leaves up.

    It takes time linear in the terms' size. Compositions inside compositions are taken apart, and
    monoidal products inside monoidal products: their tokens are dropped.
    """

    def __init__(self, *terms: Term):
        self._parts: list[Any] = []
        self._tokens: list[Token] = []
        self._dropped: list[int] = []
        self._spans: list[_Span] = []
        for term in terms:
            self.push(term)

    def __len__(self) -> int:
        return len(self._spans)

    def push(self, term: Term) -> None:
        """Adds a term to the right."""
        self._spans.append(_Span(len(self._parts), len(self._tokens), term.n_in, term.n_out))
        self._parts.extend(term.parts)
        self._tokens.extend(term.shape)

    def degrees(self, count: int) -> list[tuple[int, int]]:
        """How many wires go into each of the last `count` terms, and come out of it."""
        return [(span.n_in, span.n_out) for span in self._spans[-count:]]

    def combine(self, combinator: str, count: int) -> None:
        """Joins the last `count` terms, or feeds the last `count` wires of the last term back.

        Raises `DegreeError` where the wires do not fit.
        """
        joined = 1 if combinator == "trace" else count
        spans = self._spans[-joined:]
        n_in, n_out = _DEGREES[combinator](self, spans, count)
        if combinator != "trace":
            ends = [*(span.token - 1 for span in spans[1:]), len(self._tokens) - 1]
            inside = [end for end in ends if self._tokens[end][0] == combinator]
            count += sum(self._tokens[end][1] - 1 for end in inside)
            self._dropped += inside
        self._tokens.append((combinator, count))
        self._spans[-joined:] = [_Span(spans[0].part, spans[0].token, n_in, n_out)]

    def pop(self) -> Subterm:
        """Takes the last term off."""
        span = self._spans.pop()
        term = self._subterm(span, _Span(len(self._parts), len(self._tokens), 0, 0))
        del self._parts[span.part :], self._tokens[span.token :]
        while self._dropped and self._dropped[-1] >= span.token:
            self._dropped.pop()
        return term

    def terms(self) -> list[Subterm]:
        """The terms, from left to right."""
        end = _Span(len(self._parts), len(self._tokens), 0, 0)
        return [self._subterm(*pair) for pair in itertools.pairwise([*self._spans, end])]

    def _subterm(self, span: _Span, end: _Span) -> Subterm:
        """The term between the starts of two spans."""
        shape: list[Token] = []
        start = span.token
        for dropped in sorted(d for d in self._dropped if span.token <= d < end.token):
            shape += self._tokens[start:dropped]
            start = dropped + 1
        shape += self._tokens[start : end.token]
        parts = tuple(self._parts[span.part : end.part])
        return Subterm(parts, Shape(shape), span.n_in, span.n_out)


def _of_composition(assembly: Assembly, spans: Sequence[_Span], count: int) -> tuple[int, int]:
    for index, (left, right) in enumerate(itertools.pairwise(spans)):
        if left.n_out != right.n_in:
            first, second = assembly.terms()[len(assembly) - count :][index : index + 2]
            raise DegreeError(
                f"composition of {index + 1} and {index + 2}: {brief(first)} has {left.n_out} "
                f"output{'s'[: left.n_out != 1]}, but {brief(second)} takes {right.n_in} "
                f"input{'s'[: right.n_in != 1]}"
            )
    return spans[0].n_in, spans[-1].n_out


def _of_monoidal(assembly: Assembly, spans: Sequence[_Span], count: int) -> tuple[int, int]:
    return sum(span.n_in for span in spans), sum(span.n_out for span in spans)


def _of_trace(assembly: Assembly, spans: Sequence[_Span], count: int) -> tuple[int, int]:
    (span,) = spans
    if count > min(span.n_in, span.n_out):
        raise DegreeError(
            f"trace over {count} wire{'s'[: count != 1]}: {brief(assembly.pop())} has "
            f"{span.n_in} input{'s'[: span.n_in != 1]} and {span.n_out} "
            f"output{'s'[: span.n_out != 1]}"
        )
    return span.n_in - count, span.n_out - count


# The wire counts of a combinator from those of the terms that it joins.
_DEGREES = {"composition": _of_composition, "monoidal": _of_monoidal, "trace": _of_trace}
