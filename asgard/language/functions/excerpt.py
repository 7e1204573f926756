"""A part of a function as an atom."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from ...circuits.circuit import Atom
from ...errors import CircuitError
from ...jaxprs.open_values import is_over
from ...jaxprs.program import Equation

Type = jax.ShapeDtypeStruct


@dataclasses.dataclass(frozen=True, eq=False)
class Code:
    """Equations of a program: from the values numbered `reads` and `numbers` to those of `drives`.

    `constants` are the values that the equations hold. `owner` is the name of the function.
    Compared by identity: the code of one traced function is made once.
    """

    owner: str
    equations: tuple[Equation, ...]
    reads: tuple[int, ...]
    numbers: tuple[int, ...]
    drives: tuple[int, ...]
    constants: Mapping[int, Any]
    types: Mapping[int, Type]

    def run(self, numbers: Sequence[Array], wires: Sequence[Any]) -> tuple[Any, ...]:
        """The values driven, from the numbers and the wires."""
        check_constants(self.owner, self.constants.values())
        values = dict(self.constants)
        values.update(zip(self.numbers, numbers, strict=True))
        for name, wire in zip(self.reads, wires, strict=True):
            values[name] = self._fitted(wire, self.types[name])
        for equation in self.equations:
            results = equation.bind(*(values[name] for name in equation.ins))
            values.update(zip(equation.outs, results, strict=True))
        return tuple(values[name] for name in self.drives)

    def _fitted(self, wire: Any, type: Type) -> Any:
        """A wire as the type for which the function was traced: time has its own precision."""
        wire = jnp.asarray(wire)
        if (wire.shape, wire.dtype) == (type.shape, type.dtype):
            return wire
        complex_lost = jnp.iscomplexobj(wire) and not jnp.issubdtype(
            type.dtype, jnp.complexfloating
        )
        try:
            fits = not complex_lost and jnp.broadcast_shapes(wire.shape, type.shape) == type.shape
        except ValueError:
            fits = False
        if not fits:
            raise CircuitError(
                f"{self.owner} takes a wire for {type.dtype}{list(type.shape)}, which carries "
                f"{wire.dtype}{list(wire.shape)}"
            )
        return jnp.broadcast_to(wire, type.shape).astype(type.dtype)


def check_constants(owner: str, constants: Iterable[Any]) -> None:
    """Raises `CircuitError` where a function holds a wire of a function that has returned."""
    if any(map(is_over, constants)):
        raise CircuitError(
            f"{owner} uses a wire of another function: what a function reads are its arguments, "
            "and what others read it returns"
        )


class Excerpt(Atom):
    """A part of a Python function, as its trace says it. `numbers` are the values that it reads."""

    numbers: tuple[jax.Array, ...]
    code: Code = eqx.field(static=True)

    @property
    def n_in(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return len(self.code.reads)

    @property
    def n_out(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return len(self.code.drives)

    def __call__(self, *values: Any) -> Any:
        found = self.code.run(self.numbers, values)
        return found[0] if len(found) == 1 else found

    def text(self) -> str:
        return self.code.owner
