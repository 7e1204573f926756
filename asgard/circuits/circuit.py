"""Circuits: atoms put together by composition, monoidal product and trace.

A circuit is a term. Its atoms and blocks are the leaves of the term and hold the numbers; the
combinators are its shape. `Composition`, `Monoidal` and `Trace` keep the two apart: `parts` are the
atoms and blocks from left to right, `shape` is the term in postfix notation. So a term is a flat
pytree at any depth, and everything that walks it is a loop over `shape` with a stack.
"""

import abc
import dataclasses
import itertools
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

import equinox as eqx
import jax

from ..errors import CircuitError, DegreeError
from .constraints import Constraint, resolved
from .fields import as_array, check_count, number_text

T = TypeVar("T")

# The tokens of a term in postfix notation: the next part, or a combinator and its count.
PART = ("part", 1)
Token = tuple[str, int]


class Shape(tuple[Token, ...]):
    """A term in postfix notation. A class of its own, so that pytrees take it as one leaf."""

    __slots__ = ()


_ONE_PART = Shape((PART,))


class Circuit(eqx.Module):
    """A typed circuit with `n_in` wires going in and `n_out` wires coming out.

    Circuits are frozen pytrees, all of whose leaves are arrays. `f >> g` is f, then g; `f @ g` is
    f beside g; `f.trace(wires)` feeds the last outputs back to the last inputs.
    """

    if TYPE_CHECKING:  # type checkers take abstract variables for fields of the dataclass
        n_in = n_out = cast(Any, 0)
        parts = cast(Any, ())
        shape = cast(Any, ())
    else:
        n_in: eqx.AbstractVar[int]
        n_out: eqx.AbstractVar[int]
        parts: eqx.AbstractVar[tuple["Circuit", ...]]
        shape: eqx.AbstractVar[Shape]

    def __check_init__(self):
        for name in ("n_in", "n_out"):
            count = getattr(self, name)
            if not isinstance(count, int) or isinstance(count, bool) or count < 0:
                raise DegreeError(f"{type(self).__name__}.{name} must be a count, not {count!r}")

    def __rshift__(self, other: "Circuit") -> "Composition":
        return Composition(self, other)

    def __matmul__(self, other: "Circuit") -> "Monoidal":
        return Monoidal(self, other)

    def trace(self, wires: int = 1) -> "Trace":
        """Feeds the last `wires` outputs back to the last `wires` inputs."""
        return Trace(self, wires)

    def __str__(self) -> str:
        return fold(resolved(self), lambda part: cast(Part, part).text(), _render_text)

    def __repr__(self) -> str:
        return fold(self, _repr_part, _render_repr)


class Part(Circuit):
    """What terms are made of: an atom or a block. Its fields hold arrays, or are static."""

    def __check_init__(self):
        for field in dataclasses.fields(self):
            if not field.metadata.get("static", False):
                value = jax.tree.map(
                    lambda leaf, name=field.name: as_array(f"{type(self).__name__}.{name}", leaf),
                    getattr(self, field.name),
                )
                # The instance is already frozen when invariants are checked.
                object.__setattr__(self, field.name, value)

    @property
    def parts(self) -> tuple[Circuit, ...]:
        return (self,)

    @property
    def shape(self) -> Shape:
        return _ONE_PART

    def text(self) -> str:
        """This part in the text notation."""
        return type(self).__name__


class Atom(Part):
    """A circuit of one node. Subclass it and write its value rule with jnp.

    `__call__` takes one value for each input wire and returns the value of the output wire, or a
    tuple of values where there are several. The rule says what happens at one point; the calculi
    lift it to series, paths and sequences. An atom that depends on coordinates (time, say) names
    them in `coordinates` and is called with their values before those of its wires.

    ```python
    class Saturation(ag.Atom):
        limit: jax.Array
        n_in = n_out = 1

        def __call__(self, x):
            return self.limit * jnp.tanh(x / self.limit)
    ```
    """

    coordinates: ClassVar[tuple[str, ...]] = ()

    if TYPE_CHECKING:  # a rule takes as many values as its atom has inputs
        __call__ = cast(Callable[..., Any], None)
    else:

        @abc.abstractmethod
        def __call__(self, *values: Any) -> Any: ...


class Block(Part):
    """A named composite. Subclass it, with numbers and circuits as fields, and write `circuit`.

    ```python
    class Decay(ag.Block):
        rate: jax.Array

        def circuit(self):
            return (ag.Scalar(-self.rate) >> ag.Register("t", 1.0) >> ag.Split()).trace()
    ```
    """

    @abc.abstractmethod
    def circuit(self) -> Circuit:
        """The wiring of this block."""

    def _degrees(self) -> tuple[int, int]:
        # Only the counts are kept, never the expansion: it may hold the tracers of a passing trace.
        degrees = self.__dict__.get("_known_degrees")
        if degrees is None:
            try:
                wiring = resolved(self).circuit()
            except RecursionError:
                raise CircuitError("blocks nest too deep, or a block holds itself") from None
            if not isinstance(wiring, Circuit):
                raise CircuitError(
                    f"{type(self).__name__}.circuit() must return a circuit, "
                    f"not {type(wiring).__name__}"
                )
            degrees = (wiring.n_in, wiring.n_out)
            object.__setattr__(self, "_known_degrees", degrees)
        return degrees

    @property
    def n_in(self) -> int:
        return self._degrees()[0]

    @property
    def n_out(self) -> int:
        return self._degrees()[1]


class _Term(Circuit):
    """What the three combinators share: parts, shape and counts, each held once and flat."""

    parts: tuple[Circuit, ...]
    shape: Shape = eqx.field(static=True)
    n_in: int = eqx.field(static=True)
    n_out: int = eqx.field(static=True)
    combinator: ClassVar[str]

    def _hold(self, parts: list[Circuit], shape: list[Token], n_in: int, n_out: int):
        self.parts = tuple(parts)
        self.shape = Shape(shape)
        self.n_in = n_in
        self.n_out = n_out

    @property
    def circuits(self) -> tuple[Circuit, ...]:
        """The circuits that this combinator joins."""
        spans: list[tuple[int, int]] = []  # where a subterm starts, in `shape` and in `parts`
        parts = 0
        for place, (combinator, count) in enumerate(self.shape[:-1]):
            if combinator == "part":
                spans.append((place, parts))
                parts += 1
            else:
                joined = 1 if combinator == "trace" else count
                spans[-joined:] = spans[-joined : len(spans) - joined + 1]
        ends = [*spans[1:], (len(self.shape) - 1, len(self.parts))]
        return tuple(
            _from_postfix(self.parts[p:p_end], Shape(self.shape[s:s_end]))
            for (s, p), (s_end, p_end) in zip(spans, ends, strict=True)
        )


class Composition(_Term):
    """One circuit after another: `Composition(f, g, h)` is f, then g, then h.

    Compositions inside are taken apart, so composition is associative by construction.
    """

    combinator = "composition"

    def __init__(self, *circuits: Circuit):
        _check_circuits("Composition", circuits)
        for place, (left, right) in enumerate(itertools.pairwise(circuits)):
            if left.n_out != right.n_in:
                raise DegreeError(
                    f"composition of {place + 1} and {place + 2}: {brief(left)} has {left.n_out} "
                    f"output{'s'[: left.n_out != 1]}, but {brief(right)} takes {right.n_in} "
                    f"input{'s'[: right.n_in != 1]}"
                )
        _flatten_into(self, circuits, circuits[0].n_in, circuits[-1].n_out)


class Monoidal(_Term):
    """Circuits side by side. Monoidal products inside are taken apart, as in `Composition`."""

    combinator = "monoidal"

    def __init__(self, *circuits: Circuit):
        _check_circuits("Monoidal", circuits)
        n_in, n_out = sum(c.n_in for c in circuits), sum(c.n_out for c in circuits)
        _flatten_into(self, circuits, n_in, n_out)


class Trace(_Term):
    """Feedback: the last `wires` outputs feed the last `wires` inputs."""

    combinator = "trace"

    def __init__(self, circuit: Circuit, wires: int = 1):
        _check_circuits("Trace", (circuit,), least=1)
        check_count("Trace", "wires", wires, least=1)
        if wires > min(circuit.n_in, circuit.n_out):
            raise DegreeError(
                f"trace over {wires} wire{'s'[: wires != 1]}: {brief(circuit)} has "
                f"{circuit.n_in} input{'s'[: circuit.n_in != 1]} and {circuit.n_out} "
                f"output{'s'[: circuit.n_out != 1]}"
            )
        shape = [*circuit.shape, ("trace", wires)]
        self._hold([*circuit.parts], shape, circuit.n_in - wires, circuit.n_out - wires)

    @property
    def wires(self) -> int:
        """How many wires are fed back."""
        return self.shape[-1][1]


def fold(
    circuit: Circuit, part: Callable[[Circuit], T], combine: Callable[[str, int, list[T]], T]
) -> T:
    """Folds a term from its leaves up, without recursion.

    **Arguments:** `part` maps an atom or block to a value; `combine(combinator, count, values)`
    maps a combinator and the values of what it joins to the combinator's value.
    """
    if circuit.shape == _ONE_PART:
        return part(circuit)
    parts = iter(circuit.parts)
    stack: list[T] = []
    for combinator, count in circuit.shape:
        if combinator == "part":
            stack.append(part(next(parts)))
        else:
            joined = 1 if combinator == "trace" else count
            values = stack[-joined:]
            del stack[-joined:]
            stack.append(combine(combinator, count, values))
    return stack[0]


def brief(circuit: Circuit, length: int = 60) -> str:
    """The circuit as text, cut to `length` characters, for messages."""
    if len(circuit.shape) > 200:
        return f"{type(circuit).__name__.lower()} of {len(circuit.parts)} atoms"
    text = str(circuit)
    return text if len(text) <= length else text[: length - 3] + "..."


def _check_circuits(owner: str, circuits: Iterable[Any], least: int = 2) -> None:
    circuits = tuple(circuits)
    if len(circuits) < least:
        raise DegreeError(f"{owner} takes {least} circuits or more, not {len(circuits)}")
    for circuit in circuits:
        if isinstance(circuit, type) and issubclass(circuit, Circuit):
            name = circuit.__name__
            raise CircuitError(f"{owner}: {name} is a class of circuits; did you mean {name}()?")
        if not isinstance(circuit, Circuit):
            raise CircuitError(f"{owner} joins circuits, not {type(circuit).__name__}")


def _flatten_into(term: _Term, circuits: tuple[Circuit, ...], n_in: int, n_out: int) -> None:
    """Assembles an associative combinator, taking apart those of its own kind."""
    parts: list[Circuit] = []
    shape: list[Token] = []
    joined = 0
    for circuit in circuits:
        parts.extend(circuit.parts)
        combinator, count = circuit.shape[-1]
        if combinator == term.combinator:
            shape.extend(circuit.shape[:-1])
            joined += count
        else:
            shape.extend(circuit.shape)
            joined += 1
    term._hold(parts, [*shape, (term.combinator, joined)], n_in, n_out)


def _from_postfix(parts: tuple[Circuit, ...], shape: Shape) -> Circuit:
    """The circuit of a postfix term that is known to be well formed."""
    if shape == _ONE_PART:
        return parts[0]
    term = object.__new__(_COMBINATORS[shape[-1][0]])
    counts: list[tuple[int, int]] = []
    remaining = iter(parts)
    for combinator, count in shape:
        if combinator == "part":
            part = next(remaining)
            counts.append((part.n_in, part.n_out))
            continue
        joined = 1 if combinator == "trace" else count
        inner = counts[-joined:]
        del counts[-joined:]
        if combinator == "trace":
            counts.append((inner[0][0] - count, inner[0][1] - count))
        elif combinator == "composition":
            counts.append((inner[0][0], inner[-1][1]))
        else:
            counts.append((sum(n for n, _ in inner), sum(n for _, n in inner)))
    fields = {"parts": parts, "shape": shape, "n_in": counts[0][0], "n_out": counts[0][1]}
    for name, value in fields.items():
        object.__setattr__(term, name, value)
    return term


_COMBINATORS: dict[str, type[_Term]] = {
    kind.combinator: kind for kind in (Composition, Monoidal, Trace)
}


def _render_text(combinator: str, count: int, values: list[str]) -> str:
    if combinator == "trace" and count > 1:
        return f"trace({values[0]}, {count})"
    return f"{combinator}({', '.join(values)})"


def _render_repr(combinator: str, count: int, values: list[str]) -> str:
    if combinator == "trace" and count > 1:
        return f"Trace({values[0]}, wires={count})"
    return f"{combinator.capitalize()}({', '.join(values)})"


def _repr_part(part: Circuit) -> str:
    fields = [
        f"{field.name}={_repr_value(getattr(part, field.name))}"
        for field in dataclasses.fields(part)
    ]
    return f"{type(part).__name__}({', '.join(fields)})"


def _repr_value(value: Any) -> str:
    if eqx.is_array(value):
        return number_text(value)
    if isinstance(value, Circuit | Constraint | str | int | tuple):
        return repr(value)
    return eqx.tree_pformat(value, width=10**6)
