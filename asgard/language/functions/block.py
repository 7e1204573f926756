"""Functions as blocks: `@ag.circuit`."""

import dataclasses
import functools
import inspect
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import equinox as eqx
import jax
import jax.numpy as jnp

from ...circuits.circuit import Block, Circuit, TypedBlock, Types, repr_value
from ...circuits.constraints import resolved
from ...circuits.fields import as_inexact, precision
from ...circuits.parameters import unknown
from ...circuits.recording import current
from ...errors import CircuitError, DegreeError
from ...jaxprs.concrete import is_concrete
from ...taylor.typed import type_of
from .numbers import Structure, as_value, parted
from .places import Place, blaming, of_error, of_function
from .reasons import reason
from .recorder import as_wire
from .traced import Traced, trace

Type = jax.ShapeDtypeStruct
_config: Any = jax.config  # whose flags type checkers do not know


@dataclasses.dataclass(frozen=True)
class Definition:
    """A function that says a circuit: `body` is called on wires, with numbers by keyword.

    `inputs` are the names of its wires, and `examples` their types where the function says them.
    Definitions that are equal share what is compiled.
    """

    name: str
    body: Callable[..., Any]
    inputs: tuple[str, ...]
    examples: tuple[Type | None, ...]
    place: Place | None

    def run(self, wires: Sequence[Any], numbers: Mapping[str, Any]) -> Any:
        """What the function returns; its errors as ours, with the line of the user's code."""
        try:
            return self.body(*wires, **numbers)
        except CircuitError as error:
            self.blame(error, of_error(error))
            raise
        except Exception as error:
            found = CircuitError(f"{self.name}: {self.reason(error)}")
            # A recursion ends on any line.
            place = None if isinstance(error, RecursionError) else of_error(error)
            raise self.blame(found, place) from error

    def blame(self, error: CircuitError, place: Place | None = None) -> CircuitError:
        """The error with the line of the user's code, where the function begins by default."""
        place = place or self.place
        return error if place is None else place.blame(error)

    def reason(self, error: Exception) -> str:
        """What went wrong, in the terms of wires."""
        pairs = zip(self.inputs, self.examples, strict=True)
        return reason(error, [name for name, example in pairs if example is None])


_cache: WeakKeyDictionary[Definition, dict[Any, Traced]] = WeakKeyDictionary()


class FunctionBlock(TypedBlock):
    """A circuit said by a Python function, with the numbers that it was given by keyword."""

    numbers: OrderedDict[str, Any]
    structure: tuple[tuple[str, Structure], ...] = eqx.field(static=True)
    definition: Definition = eqx.field(static=True)
    by_name = ("numbers",)

    def __init__(self, definition: Definition, values: Mapping[str, Any]):
        found = {name: parted(f"{definition.name}: {name}", v) for name, v in values.items()}
        # Pytrees sort the names of a plain dictionary.
        self.numbers = OrderedDict((name, numbers) for name, (numbers, _) in found.items())
        self.structure = tuple((name, structure) for name, (_, structure) in found.items())
        self.definition = definition

    @property
    def label(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.definition.name

    @property
    def input_names(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.definition.inputs

    @property
    def n_in(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return len(self.definition.inputs)

    @property
    def n_out(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return len(self._traced((None,) * self.n_in).outputs)

    @property
    def keywords(self) -> dict[str, Any]:
        """What the function is given by keyword: numbers, networks, circuits, by their names."""
        return self._values(resolved(self.numbers))

    def wiring(self, types: Types) -> Circuit:
        return self._traced(types).circuit(jax.tree.leaves(resolved(self.numbers)))

    def output_types(self, types: Types) -> Types:
        return self._traced(types).output_types

    def outline(self, types: Types | None = None) -> Circuit:
        """The wiring with each function that this one calls as a block of its own."""
        types = (None,) * self.n_in if types is None else types
        leaves = jax.tree.leaves(resolved(self.numbers))
        try:
            return self._traced(types, folds=True).circuit(leaves)
        except CircuitError:  # such as where a number of the called one is computed from wires
            return self.wiring(types)

    def __call__(self, *wires: Any) -> Any:
        """What the function returns on these wires, in another function under `@ag.circuit`."""
        recorder = current()
        if recorder is None:
            return super().__call__(*wires)
        if len(wires) != self.n_in:
            raise DegreeError(
                f"{self.definition.name} takes {self.n_in} wire{'s'[: self.n_in != 1]}, but is "
                f"called on {len(wires)}"
            )
        if not recorder.folds:
            return self.definition.run(wires, self.keywords)
        reads = [as_wire(wire, f"{self.definition.name} is called on") for wire in wires]
        types = tuple(map(type_of, reads))
        traced = self._traced(types)
        return traced.returned(recorder.fold(Called(self, types), reads, traced.output_types))

    def text(self) -> str:
        return self.definition.name

    def __repr__(self) -> str:
        held = {name: value for name, value in self.numbers.items() if jax.tree.leaves(value)}
        given = (f"{name}={repr_value(value)}" for name, value in held.items())
        return f"{self.definition.name}({', '.join(given)})"

    def _values(self, numbers: Mapping[str, Any]) -> dict[str, Any]:
        """What the function is given by keyword."""
        return {name: structure.joined(numbers[name]) for name, structure in self.structure}

    def _traced(self, types: Types, folds: bool = False) -> Traced:
        """The trace of the function, made once for types of wires and numbers."""
        definition = self.definition
        leaves, tree = jax.tree.flatten(resolved(self.numbers))
        numbers = [Type(leaf.shape, leaf.dtype) for leaf in leaves]
        number = Type((), precision(numbers) or jnp.result_type(float))
        known = tuple(
            next(one for one in (given, example, number) if one is not None)
            for given, example in zip(types, definition.examples, strict=True)
        )
        key = (self.structure, tree, tuple(numbers), known, folds, _settings())
        kept = _cache.setdefault(definition, {})
        if key in kept:
            return kept[key]

        def body(numbers: Any, wires: Sequence[Any]) -> Any:
            return definition.run(wires, self._values(numbers))

        try:
            given = jax.tree.unflatten(tree, numbers)
            traced = trace(definition.name, body, given, known, definition.place, folds)
        except jax.errors.UnexpectedTracerError as error:
            found = CircuitError(f"{definition.name}: {definition.reason(error)}")
            raise definition.blame(found) from error
        except CircuitError as error:
            definition.blame(error)
            raise
        if is_concrete(*traced.program.constants.values()):
            kept[key] = traced
        return traced


class Called(Block):
    """A call of a function in another one, for pictures: a block whose types are known."""

    function: FunctionBlock
    types: tuple[Type, ...] = eqx.field(static=True)

    @property
    def label(self) -> str:
        """What pictures call it."""
        return self.function.label

    def circuit(self) -> Circuit:
        return self.function.wiring(self.types)

    def outline(self) -> Circuit:
        return self.function.outline(self.types)

    def text(self) -> str:
        return self.function.text()


def _settings() -> tuple[Any, ...]:
    """What else a trace depends on."""
    names = ("enable_x64", "numpy_dtype_promotion", "numpy_rank_promotion")
    return tuple(getattr(_config, f"jax_{name}") for name in names)


class CircuitFunction:
    """A function under `@ag.circuit`. Called with its numbers by keyword, it gives a block."""

    def __init__(self, fn: Callable[..., Any]):
        functools.update_wrapper(self, fn)
        name, place = name_of_function(fn, "function"), of_function(fn)
        with blaming(place):
            wires, self.numbers = signature_of(name, fn)
            examples = tuple(example_of(name, parameter) for parameter in wires)
        inputs = tuple(parameter.name for parameter in wires)
        self.definition = Definition(name, fn, inputs, examples, place)

    def __call__(self, *wires: Any, **numbers: Any) -> FunctionBlock:
        """The block with these numbers, the defaults for others."""
        name = self.definition.name
        if wires:
            raise CircuitError(
                f"{name} takes its numbers by keyword, and then wires: {name}(…)(wire, …)"
            )
        with blaming(self.definition.place):
            values = given_numbers(name, self.numbers, numbers, self.definition.inputs)
        return FunctionBlock(self.definition, {n: as_value(value) for n, value in values.items()})

    def __rshift__(self, other: Any) -> Any:
        raise CircuitError(_not_called(self.definition.name))

    __matmul__ = trace = __rshift__

    def __repr__(self) -> str:
        return (
            f"<{self.definition.name}{inspect.signature(self)}, which gives a circuit when called>"
        )


def _not_called(name: str) -> str:
    return f"{name} is a function, and {name}(…) is a circuit: did you mean {name}()?"


def name_of_function(fn: Callable[..., Any], other: str) -> str:
    """The name of a function, or another where it has none, such as a lambda."""
    name = getattr(fn, "__name__", type(fn).__name__)
    return name if name.isidentifier() else other


def signature_of(
    name: str, fn: Callable[..., Any]
) -> tuple[list[inspect.Parameter], dict[str, Any]]:
    """The positional parameters of a function, and the keyword-only ones with their defaults."""
    parameters = _parameters(fn)
    for parameter in parameters:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise CircuitError(
                f"{name} takes {parameter}, but a circuit has a fixed number of wires and numbers: "
                "name each"
            )
    numbers = {p.name: p.default for p in parameters if p.kind == p.KEYWORD_ONLY}
    return [p for p in parameters if p.kind != p.KEYWORD_ONLY], numbers


def _parameters(fn: Callable[..., Any]) -> list[inspect.Parameter]:
    """The parameters of a function: of an `equinox.Partial`, those that are still to be given."""
    if not isinstance(fn, eqx.Partial):
        return list(inspect.signature(fn).parameters.values())
    parameters = _parameters(fn.func)
    positional = [p for p in parameters if p.kind != p.KEYWORD_ONLY]
    given = {p.name for p in positional[: len(fn.args)]} | set(fn.keywords)
    return [p for p in parameters if p.name not in given]


def example_of(name: str, parameter: inspect.Parameter) -> Type | None:
    """The type of a wire, from the default of its parameter."""
    if parameter.default is inspect.Parameter.empty:
        return None
    return type_of(as_inexact(f"{name}: the default of {parameter.name}", parameter.default))


def given_numbers(
    name: str, defaults: Mapping[str, Any], given: Mapping[str, Any], wires: Sequence[str]
) -> dict[str, Any]:
    """The numbers of a function: those given, and the defaults of others."""
    for number in given:
        if number in wires:
            raise CircuitError(
                f"{name}: {number} is an input wire, which a run gives by inputs=…; a parameter "
                f"after *, as in (…, *, {number}), is a number"
            )
        if number not in defaults:
            raise CircuitError(f"{name}: {unknown(number, defaults)}")
    values = {**defaults, **given}
    for number, value in values.items():
        if value is inspect.Parameter.empty:
            raise CircuitError(f"{name}: {number} has no default, so give it, as {number}=…")
    return values


def circuit(fn: Callable[..., Any]) -> CircuitFunction:
    """A decorator: the circuit that a function says.

    Inside, wires are arrays under a trace of JAX: any jnp code works on them, and so do equinox
    modules, `jax.vmap` and `jax.lax.cond`. `ag.register` and its like open a state: they give what
    it holds, and `wire.input = …` says what goes in. Any circuit can be called on wires.

    The function runs when a circuit is built, and when types are new; not in a run. Python's `for`
    and `if` on its structure build the circuit; on a wire use `jnp.where`. As for `jax.jit`,
    functions are compared by identity: blocks of one function share a compilation, whatever their
    numbers are.

    **Arguments:** `fn`, a function.

    - Its positional parameters are the circuit's input wires. Each is taken for a number until a
      run says more; a default says what it carries, as in `u=jnp.zeros(3)`.
    - Its keyword-only parameters are the circuit's numbers: numbers, arrays, lists of numbers,
      constraints such as `ag.Positive(1.0)`, circuits, equinox modules, and pytrees of these. What
      is none, such as text, a function or a truth value, is structure.
    - It returns the output wires: one, a tuple, or a dictionary of names and wires, which a
      trajectory has by name.

    **Returns:** a function of the numbers, by keyword, to a block; those with defaults may be left
    out. `ag.parameters` of the block has the names of the parameters.

    **Raises:** `CircuitError`, with the file and line of the code, when a block is built: for a
    state that is never fed, fed twice or fed a wrong shape; Python's `if` on a wire; a wire of
    another function; a value that is no wire; and whatever the function itself raises.

    ```python
    @ag.circuit
    def pendulum(torque, *, gravity=9.81, damping=0.1, start=1.0):
        angle, speed = ag.register("t", start), ag.register("t", 0.0)
        angle.input = speed
        speed.input = torque - gravity * jnp.sin(angle) - damping * speed
        return {"angle": angle, "speed": speed}

    ag.simulate(pendulum(gravity=9.7), ts, inputs=(0.0,))["angle"]
    ```
    """
    if not callable(fn) or isinstance(fn, Circuit | type):
        raise CircuitError(f"circuit decorates a function, not {fn!r:.60}")
    return CircuitFunction(fn)
