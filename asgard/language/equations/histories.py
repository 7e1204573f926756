"""What a delay by a time gives before the start: the value there, where nothing else is said.

Values at the start follow from initial values. They are expressions of numbers, parameters and
initial values, as all that an atom holds, so that derivatives and new values reach them.
"""

import dataclasses
import re
from collections.abc import Mapping

from ...errors import EquationError
from .expressions import (
    Apply,
    Coordinate,
    Delay,
    Derivative,
    Input,
    Integral,
    Number,
    Parameter,
    Polynomial,
    Pool,
    Power,
    Product,
    Sum,
    Variable,
)


class _UnknownError(Exception):
    """A value at the start that does not follow from initial values, and why."""


@dataclasses.dataclass
class Histories:
    """The histories of the delays of a system.

    The fields are those of a `Planner`, of the same names. `streams` are the numbers of initial
    values and parameters that are streams: no expression may hold them.
    """

    pool: Pool
    along: Mapping[str, str | None]
    order: Mapping[str, int]
    solutions: Mapping[int, int]
    starts: Mapping[int, int]
    guesses: Mapping[int, int]
    streams: frozenset[int]

    def __post_init__(self):
        self._known: dict[int, int] = {}

    def of(self, index: int, delay: Delay) -> int:
        """The history of a delay with this number: a constant.

        Raises `EquationError` where it is neither said nor the known value of the body.
        """
        if index in self.starts:
            return self.starts[index]
        try:
            return self._at_start(delay.parts[0], delay.dim)
        except _UnknownError as unknown:
            raise self._error(delay, str(unknown)) from None

    def _at_start(self, root: int, dim: str) -> int:
        """The value of an expression at the start. It has a stack of its own, as expressions nest
        deeper than Python's."""
        pending = [root]
        opened: set[int] = set()
        while pending:
            index = pending[-1]
            if index in self._known:
                pending.pop()
                continue
            needed = self._needed(index, dim)
            missing = [part for part in needed if part not in self._known]
            if opened.intersection(missing):
                raise _UnknownError("it depends on itself there")
            if missing:
                opened.add(index)
                pending += missing
                continue
            self._known[index] = self._value(index, needed)
            opened.discard(index)
        return self._known[root]

    def _needed(self, index: int, dim: str) -> tuple[int, ...]:
        """Whose values at the start say that of an expression; none where it is an initial one."""
        node = self.pool[index]
        if self.pool.constant[index]:
            return ()
        if index in self.guesses:
            raise _UnknownError(f"{self._shown(index)} is solved for there")
        if index in self.solutions:
            return (self.solutions[index],)
        match node:
            case Sum() | Product() | Power() | Apply():
                return node.parts
            case Delay((body, _), _):
                return () if index in self.starts else (body,)
            case Integral() | Delay() if node.dim == dim:
                return ()
            case Variable() if self._is_state(node, dim):
                return ()
            case Input():
                raise _UnknownError(f"the input {node.name} is known from then on")
            case Coordinate():
                raise _UnknownError(f"it depends on {node.dim}")
        raise _UnknownError(f"it depends on {self._shown(index)}")

    def _is_state(self, node: Variable, dim: str) -> bool:
        own = set(dict(node.orders)) <= {dim} and self.along[node.name] == dim
        return own and node.order(dim) < self.order[node.name]

    def _value(self, index: int, needed: tuple[int, ...]) -> int:
        """The value at the start of an expression, where those that it needs are known."""
        pool = self.pool
        if pool.constant[index]:
            return index
        node = pool[index]
        if not needed:
            start = self.starts.get(index, pool.number(0.0))
            if isinstance(node, Delay):
                self._check_number(start)
            return start
        values = tuple(self._known[part] for part in needed)
        if index in self.solutions:
            return values[0]
        if isinstance(node, Delay):
            self._check_number(values[0])
            return values[0]
        for value in values:
            self._check_number(value)
        return pool.made(node, values)

    def _check_number(self, value: int) -> None:
        """Raises where a value is a function: of an earlier time, or of other coordinates."""
        if value in self.streams or isinstance(self.pool[value], Polynomial):
            raise _UnknownError("it follows from an initial value that is a function")

    def _shown(self, index: int) -> str:
        node = self.pool[index]
        if not isinstance(node, Variable):
            return "a derivative" if isinstance(node, Derivative) else "what switches at events"
        name = _named(node)
        return f"a derivative of {name}" if node.orders else name

    def _error(self, delay: Delay, why: str) -> EquationError:
        written = delay.written
        assert written is not None
        key = written.text if written.plain else self._key(delay)
        advice = (
            f'give it as initial={{"{key}": ...}}'
            if key is not None
            else 'give what is delayed a name, z = ..., and give initial={"delay(z, ...)": ...}'
        )
        return written.source.error(
            written.place,
            f"nothing says what {written.text} is before the start, and the value at the start is "
            f"not known: {why}; {advice}",
        )

    def _key(self, delay: Delay) -> str | None:
        """How `initial` names a delay in a function or a sub-system, None where it cannot."""
        body, by = (self.pool[part] for part in delay.parts)
        if not isinstance(body, Variable) or body.orders or not isinstance(by, Number | Parameter):
            return None
        late = by.name if isinstance(by, Parameter) else f"{by.value:g}"
        return f"delay({_named(body)}, {late})"


def _named(node: Variable) -> str:
    """An unknown as `initial` names it: those of sub-systems in expressions by the definition."""
    return re.sub(r"\[[0-9]+\]", "", node.name)
