"""What a circuit of equations is but for its numbers: its atoms and the wires between them."""

import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from ...circuits.assembly import Wired, assemble
from ...circuits.atoms.registers import Register
from ...circuits.circuit import Atom, Circuit
from ...circuits.stream import Stream
from ...errors import CircuitError
from .elementary import FUNCTIONS
from .expressions import (
    Apply,
    Node,
    Number,
    Parameter,
    Polynomial,
    Power,
    Product,
    Start,
    Sum,
    parts,
)


@dataclasses.dataclass(frozen=True)
class Numbered:
    """An atom that holds numbers: `kind(*arguments, *numbers)`, with the dimension `dim` if any."""

    kind: type
    arguments: tuple[Any, ...]
    numbers: tuple[int, ...]
    dim: str | None = None


@dataclasses.dataclass(frozen=True)
class Step:
    """An atom with the wires it reads and the one it drives."""

    atom: Atom | Numbered
    reads: tuple[int, ...]
    drives: int


@dataclasses.dataclass(frozen=True)
class Constant:
    """An expression of numbers and parameters, and its number."""

    index: int
    node: Node


@dataclasses.dataclass(frozen=True)
class Plan:
    """All of a circuit but its numbers. Plans are equal where their steps are.

    `constants` are in the order to compute them in. `names` are wires by name.
    """

    constants: tuple[Constant, ...]
    steps: tuple[Step, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    names: tuple[tuple[str, int], ...]

    @functools.cached_property
    def _key(self) -> int:
        # Atoms of numbers have no hash of their own.
        wires = tuple((step.reads, step.drives) for step in self.steps)
        return hash((self.constants, wires, self.inputs, self.outputs, self.names))

    def __hash__(self) -> int:
        return self._key

    def circuit(self, parameters: Mapping[str, Any], initial: Mapping[str, Any]) -> Circuit:
        """The circuit for some numbers."""
        values = computed(self.constants, parameters, initial)
        nodes = []
        for step in self.steps:
            atom = step.atom
            if isinstance(atom, Numbered):
                numbers = (values[number] for number in atom.numbers)
                along = {} if atom.dim is None else {"dim": atom.dim}
                atom = atom.kind(*atom.arguments, *numbers, **along)
            nodes.append(Wired(atom, step.reads, (step.drives,)))
        return assemble(nodes, self.inputs, self.outputs, dict(self.names))


def computed(
    constants: Iterable[Constant], parameters: Mapping[str, Any], initial: Mapping[str, Any]
) -> dict[int, Any]:
    """The values of expressions of numbers, parameters and initial values."""
    values: dict[int, Any] = {}
    for constant in constants:
        node = constant.node
        inner = [values[part] for part in parts(node)]
        match node:
            case Number(value):
                found = value
            case Parameter(name):
                found = parameters[name]
            case Start(name):
                found = initial[name]
            case Sum():
                found = functools.reduce(lambda one, other: one + other, inner)
            case Product():
                found = functools.reduce(lambda one, other: one * other, inner)
            case Power():
                found = jnp.power(*inner)
            case Apply(function):
                found = FUNCTIONS[function].atom()(*inner)
            case Polynomial(_, dims, exponents):
                found = _stream(inner, dims, exponents)
            case _:
                raise AssertionError(node)
        values[constant.index] = found
    return values


def _stream(
    factors: Sequence[Any], dims: tuple[str, ...], exponents: Sequence[tuple[int, ...]]
) -> Any:
    """A polynomial as a stream."""
    by_exponents = dict(zip(exponents, factors, strict=True))
    shape = tuple(max(orders) + 1 for orders in zip(*exponents, strict=True))
    entries = [by_exponents.get(index, 0.0) for index in np.ndindex(*shape)]
    return Stream(jnp.stack([jnp.asarray(entry) for entry in entries]).reshape(shape), dims)


def check_streams(plan: Plan, parameters: Mapping[str, Any]) -> None:
    """Raises `CircuitError` where a parameter that is a stream is no initial value as it stands."""
    streams = {name for name, value in parameters.items() if isinstance(value, Stream)}
    if not streams:
        return
    at = {c.index: c.node.name for c in plan.constants if isinstance(c.node, Parameter)}
    held = {index for index, name in at.items() if name in streams}
    wrong = [part for c in plan.constants for part in parts(c.node) if part in held]
    for step in plan.steps:
        atom = step.atom
        if isinstance(atom, Numbered) and atom.kind is not Register:
            wrong += held.intersection(atom.numbers)
    for index in wrong:
        raise CircuitError(
            f"parameters: {at[index]} is a Stream, which stands only for an initial value: "
            f"u = {at[index]} + int(..., t)"
        )
