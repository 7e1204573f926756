"""Circuits: atoms put together by composition, monoidal product and trace.

A circuit is a term (`terms.py`). Its atoms and blocks hold the numbers; `Composition`, `Monoidal`
and `Trace` hold them side by side in `parts`, and say in `shape` how they are put together. So a
circuit is a flat pytree, however deep its term is.
"""

import abc
import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

import equinox as eqx
import jax
import numpy as np

from ..errors import CircuitError, DegreeError
from .constraints import Constraint, resolved
from .fields import as_array, check_count, number_text
from .pictured import picture
from .recording import current
from .terms import ONE_PART, Assembly, Shape, Subterm, Term, brief, fold, text

_ARRAYS = (jax.Array, np.ndarray, np.generic)
# The types of what wires carry; None is one that is not known.
Types = Sequence[jax.ShapeDtypeStruct | None]


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

    def __call__(self, *wires: Any) -> Any:
        """The output wires of the circuit for these input wires, in a function under `@ag.circuit`.

        One wire by itself, several as a tuple. Raises `CircuitError` outside of such a function.
        """
        recorder = current()
        if recorder is None:
            raise CircuitError(
                f"{brief(self)} is a circuit, which runs by ag.simulate or ag.series; it is called "
                "on wires, and only in a function under @ag.circuit"
            )
        return recorder.apply(self, wires)

    def __str__(self) -> str:
        return text(self)

    def __repr__(self) -> str:
        return fold(self, _repr_part, _render_repr)

    def _repr_svg_(self) -> str | None:
        """The picture that notebooks show; None for circuits too large to look at."""
        return picture("circuit", self)


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
        return ONE_PART

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

    def __init_subclass__(cls, **keywords: Any):
        super().__init_subclass__(**keywords)
        if "__call__" in cls.__dict__:
            cls.__call__ = _recorded(cls.__dict__["__call__"])

    def __check_init__(self):
        if isinstance(self.coordinates, str):
            raise CircuitError(
                f'{type(self).__name__}.coordinates must be a tuple of names, such as ("t",), '
                f"not {self.coordinates!r}"
            )

    if TYPE_CHECKING:  # a rule takes as many values as its atom has inputs
        __call__ = cast(Callable[..., Any], None)
    else:

        @abc.abstractmethod
        def __call__(self, *values: Any) -> Any: ...


def _recorded(rule: Callable[..., Any]) -> Callable[..., Any]:
    """A value rule that wires can be handed to, in a function under `@ag.circuit`."""

    @functools.wraps(rule)
    def call(self: Atom, *values: Any) -> Any:
        recorder = current()
        if recorder is None:
            return rule(self, *values)
        return recorder.evaluate(self, rule, values)

    return call


class Block(Part):
    """A named composite. Subclass it, with numbers and circuits as fields, and write `circuit`.

    ```python
    class Decay(ag.Block):
        rate: jax.Array

        def circuit(self):
            return (ag.Scalar(-self.rate) >> ag.Register("t", 1.0) >> ag.Split()).trace()
    ```

    `by_name` are fields that are dictionaries and do not show in the names of their numbers.
    `input_names` are the names of the input wires; it is empty where they have none.
    """

    by_name: ClassVar[tuple[str, ...]] = ()
    input_names: ClassVar[tuple[str, ...]] = ()

    def __check_init__(self):
        for index, name in enumerate(("n_in", "n_out")):
            said = getattr(type(self), name, None)
            if isinstance(said, int) and said != self._degrees()[index]:
                raise DegreeError(
                    f"{type(self).__name__}.{name} is {said}, but that of its circuit is "
                    f"{self._degrees()[index]}; leave it out, as a block has those of its circuit"
                )

    @abc.abstractmethod
    def circuit(self) -> Circuit:
        """The wiring of this block."""

    def outline(self) -> Circuit:
        """The wiring as pictures show it, level by level: the same circuit, by default."""
        return self.circuit()

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


class TypedBlock(Block):
    """A block whose wiring depends on the types of what its input wires carry.

    A run knows them all. Where a circuit is only looked at they are None, which stands for what the
    block takes its inputs for. In a term its numbers are named by `label`, or else its class.
    """

    label: ClassVar[str] = ""

    @abc.abstractmethod
    def wiring(self, types: Types) -> Circuit:
        """The wiring of this block for inputs of some types. There is no typed block in it."""

    @abc.abstractmethod
    def output_types(self, types: Types) -> Types:
        """The types of the outputs for inputs of some types."""

    def circuit(self) -> Circuit:
        return self.wiring((None,) * self.n_in)


class _Combined(Circuit):
    """What the three combinators share: parts, shape and counts, each held once and flat."""

    parts: tuple[Circuit, ...]
    shape: Shape = eqx.field(static=True)
    n_in: int = eqx.field(static=True)
    n_out: int = eqx.field(static=True)

    def _combine(self, combinator: str, circuits: Sequence[Term], count: int) -> None:
        assembly = Assembly(*circuits)
        assembly.combine(combinator, count)
        whole = assembly.pop()
        self.parts, self.shape = whole.parts, whole.shape
        self.n_in, self.n_out = whole.n_in, whole.n_out

    @property
    def circuits(self) -> tuple[Circuit, ...]:
        """The circuits that this combinator joins."""
        assembly, parts = Assembly(), iter(self.parts)
        for combinator, count in self.shape[:-1]:
            if combinator == "part":
                assembly.push(next(parts))
            else:
                assembly.combine(combinator, count)
        return tuple(circuit_of(term) for term in assembly.terms())


class Composition(_Combined):
    """One circuit after another: `Composition(f, g, h)` is f, then g, then h.

    Compositions inside are taken apart, so composition is associative by construction.
    """

    def __init__(self, *circuits: Circuit | Subterm):
        _check_circuits("Composition", circuits)
        self._combine("composition", circuits, len(circuits))


class Monoidal(_Combined):
    """Circuits side by side. Monoidal products inside are taken apart, as in `Composition`."""

    def __init__(self, *circuits: Circuit | Subterm):
        _check_circuits("Monoidal", circuits)
        self._combine("monoidal", circuits, len(circuits))


class Trace(_Combined):
    """Feedback: the last `wires` outputs feed the last `wires` inputs."""

    def __init__(self, circuit: Circuit | Subterm, wires: int = 1):
        _check_circuits("Trace", (circuit,), least=1)
        check_count("Trace", "wires", wires, least=1)
        self._combine("trace", (circuit,), wires)

    @property
    def wires(self) -> int:
        """How many wires are fed back."""
        return self.shape[-1][1]


def _check_circuits(owner: str, circuits: Sequence[Any], least: int = 2) -> None:
    if len(circuits) == 1 and isinstance(circuits[0], Subterm):
        return
    if len(circuits) < least:
        raise DegreeError(f"{owner} takes {least} circuits or more, not {len(circuits)}")
    for circuit in circuits:
        if isinstance(circuit, type) and issubclass(circuit, Circuit):
            name = circuit.__name__
            raise CircuitError(f"{owner}: {name} is a class of circuits; did you mean {name}()?")
        if not isinstance(circuit, Circuit):
            hint = "; did you mean to call it?" if callable(circuit) else ""
            raise CircuitError(f"{owner} joins circuits, not {type(circuit).__name__}{hint}")


def as_circuit(does: str, circuit: Any) -> Any:
    """A circuit that is about to run, all of whose leaves are arrays.

    Maps over pytrees and `equinox.tree_at` may have put Python's numbers in their places. `does`
    begins the message for what is no circuit, as in "simulate runs".
    """
    if not isinstance(circuit, Circuit):
        raise CircuitError(f"{does} a circuit, not {circuit!r:.60}")
    if all(isinstance(leaf, _ARRAYS) for leaf in jax.tree.leaves(circuit)):
        return circuit
    return jax.tree.map(functools.partial(as_array, f"{does} a circuit that"), circuit)


def circuit_of(term: Subterm) -> Circuit:
    """A part of a term as a circuit."""
    combinator, count = term.shape[-1]
    if combinator == "part":
        return term.parts[0]
    if combinator == "trace":
        inside = Subterm(term.parts, Shape(term.shape[:-1]), term.n_in + count, term.n_out + count)
        return Trace(inside, count)
    return Composition(term) if combinator == "composition" else Monoidal(term)


def _render_repr(combinator: str, count: int, values: list[str]) -> str:
    if combinator == "trace" and count > 1:
        values = [*values, f"wires={count}"]
    return f"{combinator.capitalize()}({', '.join(values)})"


def _repr_part(part: Circuit) -> str:
    fields = [
        f"{field.name}={repr_value(getattr(part, field.name))}"
        for field in dataclasses.fields(part)
        if field.repr
    ]
    return f"{type(part).__name__}({', '.join(fields)})"


def repr_value(value: Any) -> str:
    if eqx.is_array(value):
        return number_text(value)
    if isinstance(value, Circuit | Constraint | str | int | tuple):
        return repr(value)
    return eqx.tree_pformat(value, width=10**6)
