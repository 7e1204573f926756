"""Arithmetic atoms."""

import functools
import operator
from typing import Any, cast

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from ..circuit import Atom
from ..constraints import Constraint, Number
from ..fields import as_number, check_count, number_text


class Add(Atom):
    """The sum of `n` wires."""

    n: int = eqx.field(static=True, default=2)
    n_out = 1

    def __check_init__(self):
        check_count("Add", "n", self.n, least=1)

    @property
    def n_in(self) -> int:
        return self.n

    def __call__(self, *values: Any) -> Any:
        return functools.reduce(operator.add, values)

    def text(self) -> str:
        return "add" if self.n == 2 else f"add({self.n})"


class Multiplication(Atom):
    """The product of `n` wires."""

    n: int = eqx.field(static=True, default=2)
    n_out = 1

    def __check_init__(self):
        check_count("Multiplication", "n", self.n, least=1)

    @property
    def n_in(self) -> int:
        return self.n

    def __call__(self, *values: Any) -> Any:
        return functools.reduce(operator.mul, values)

    def text(self) -> str:
        return "multiplication" if self.n == 2 else f"multiplication({self.n})"


class Scalar(Atom):
    """A wire times the number `factor`."""

    factor: Number = eqx.field(converter=as_number)
    n_in = 1
    n_out = 1

    def __call__(self, x: Any) -> Any:
        return self.factor * x

    def text(self) -> str:
        return f"scalar({number_text(self.factor)})"


class Const(Atom):
    """The constant function `value`, in every calculus."""

    value: Number = eqx.field(converter=as_number)
    n_in = 0
    n_out = 1

    def __call__(self) -> Any:
        return self.value

    def text(self) -> str:
        return f"const({number_text(self.value)})"


class Divide(Atom):
    """The first wire divided by the second."""

    n_in = 2
    n_out = 1

    def __call__(self, x: Any, y: Any) -> Any:
        return x / y

    def text(self) -> str:
        return "divide"


class Power(Atom):
    """A wire to the power `exponent`.

    A Python integer as the exponent is part of the structure, and the base may be zero. Any other
    exponent is a number of the circuit, which fits can move, and the base must not be zero.
    """

    exponent: Number | None
    integer: int | None = eqx.field(static=True)
    n_in = 1
    n_out = 1

    def __init__(self, exponent: int | float | jax.Array | Constraint):
        if isinstance(exponent, int) and not isinstance(exponent, bool):
            self.integer, self.exponent = exponent, None
        else:
            self.integer, self.exponent = None, cast(Array, exponent)

    def __call__(self, x: Any) -> Any:
        if self.exponent is None:
            return jax.lax.integer_pow(x, cast(int, self.integer))
        return jnp.power(x, self.exponent)

    def text(self) -> str:
        if self.integer is not None:
            return f"power({self.integer})"
        return f"power({number_text(self.exponent)})"

    def __repr__(self) -> str:
        if isinstance(self.exponent, Constraint):
            return f"Power({self.exponent!r})"
        return f"Power({self.integer if self.exponent is None else number_text(self.exponent)})"
