"""Programs: a jaxpr as a flat list of equations over numbered values.

Calls (`jit`, custom derivatives, checkpoints) are inlined and what no output needs is dropped, so a
program is a plain sequence that the series rules read off one equation at a time.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Literal, Primitive

# Primitives that only call a jaxpr, and the parameter that holds it.
CALLS = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "closed_call": "call_jaxpr",
    "core_call": "call_jaxpr",
    "remat2": "jaxpr",
    "checkpoint": "jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
    "custom_vjp_call_jaxpr": "fun_jaxpr",
}


@dataclasses.dataclass(frozen=True)
class Equation:
    """One primitive applied to the values numbered `ins`, giving those numbered `outs`."""

    primitive: Primitive
    params: dict[str, Any]
    ins: tuple[int, ...]
    outs: tuple[int, ...]

    @property
    def name(self) -> str:
        return self.primitive.name

    def bind(self, *values: Any) -> list[Any]:
        """The primitive's own value on values."""
        result = self.primitive.bind(*values, **self.params)
        return list(result) if self.primitive.multiple_results else [result]


@dataclasses.dataclass(frozen=True)
class Program:
    """Equations in order. `constants` are known beforehand; `avals` has every value's type."""

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    constants: dict[int, Any]
    equations: tuple[Equation, ...]
    avals: dict[int, jax.ShapeDtypeStruct]


def trace(fn: Callable[..., Any], *avals: jax.ShapeDtypeStruct) -> Program:
    """The program of a function from flat arrays to a flat sequence of arrays."""
    return _Builder().build(jax.make_jaxpr(fn)(*avals))


class _Builder:
    """Numbers the values of a jaxpr and of all it calls."""

    def __init__(self):
        self.constants: dict[int, Any] = {}
        self.equations: list[Equation] = []
        self.avals: dict[int, jax.ShapeDtypeStruct] = {}

    def build(self, closed: ClosedJaxpr) -> Program:
        inputs = [self.new(var.aval) for var in closed.jaxpr.invars]
        outputs = self.inline(closed.jaxpr, closed.consts, inputs)
        equations, needed = _live(self.equations, outputs)
        return Program(
            inputs=tuple(inputs),
            outputs=tuple(outputs),
            constants={number: c for number, c in self.constants.items() if number in needed},
            equations=equations,
            avals=self.avals,
        )

    def new(self, aval: Any) -> int:
        number = len(self.avals)
        self.avals[number] = jax.ShapeDtypeStruct(aval.shape, aval.dtype)
        return number

    def constant(self, value: Any, aval: Any) -> int:
        number = self.new(aval)
        self.constants[number] = value
        return number

    def inline(self, jaxpr: Any, consts: Sequence[Any], inputs: Sequence[int]) -> list[int]:
        numbers: dict[Any, int] = dict(zip(jaxpr.invars, inputs, strict=True))
        for var, value in zip(jaxpr.constvars, consts, strict=True):
            numbers[var] = self.constant(value, var.aval)

        def read(atom: Any) -> int:
            if isinstance(atom, Literal):
                return self.constant(atom.val, atom.aval)
            return numbers[atom]

        for eqn in jaxpr.eqns:
            ins = [read(atom) for atom in eqn.invars]
            body = eqn.params.get(CALLS.get(eqn.primitive.name, ""))
            if body is None:
                outs = [self.new(var.aval) for var in eqn.outvars]
                equation = Equation(eqn.primitive, eqn.params, tuple(ins), tuple(outs))
                self.equations.append(equation)
            else:
                inner, constants = (
                    (body.jaxpr, body.consts) if isinstance(body, ClosedJaxpr) else (body, ())
                )
                outs = self.inline(inner, constants, ins)
            numbers.update(zip(eqn.outvars, outs, strict=True))
        return [read(atom) for atom in jaxpr.outvars]


def _live(
    equations: Sequence[Equation], outputs: Sequence[int]
) -> tuple[tuple[Equation, ...], set[int]]:
    needed = set(outputs)
    kept = []
    for equation in reversed(equations):
        if needed.intersection(equation.outs):
            needed.update(equation.ins)
            kept.append(equation)
    return tuple(reversed(kept)), needed
