"""Elementary functions as atoms, and any function or equinox module as an atom."""

from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ...errors import CircuitError
from ...jaxprs.concrete import is_concrete
from ..circuit import Atom
from ..constraints import is_constraint
from ..fields import check_count


class Elementary(Atom):
    """An elementary function, applied pointwise."""

    function: ClassVar[Callable[..., Any]]
    n_in = 1
    n_out = 1

    def __call__(self, *values: Any) -> Any:
        return type(self).function(*values)

    def text(self) -> str:
        return type(self).__name__.lower()


class Exp(Elementary):
    """e^x."""

    function = jnp.exp


class Log(Elementary):
    """The natural logarithm."""

    function = jnp.log


class Sqrt(Elementary):
    """The square root."""

    function = jnp.sqrt


class Sin(Elementary):
    """The sine of an angle in radians."""

    function = jnp.sin


class Cos(Elementary):
    """The cosine of an angle in radians."""

    function = jnp.cos


class Tan(Elementary):
    """The tangent of an angle in radians."""

    function = jnp.tan


class Arcsin(Elementary):
    """The inverse sine, in radians."""

    function = jnp.arcsin


class Arccos(Elementary):
    """The inverse cosine, in radians."""

    function = jnp.arccos


class Arctan(Elementary):
    """The inverse tangent, in radians."""

    function = jnp.arctan


class Sinh(Elementary):
    """The hyperbolic sine."""

    function = jnp.sinh


class Cosh(Elementary):
    """The hyperbolic cosine."""

    function = jnp.cosh


class Tanh(Elementary):
    """The hyperbolic tangent."""

    function = jnp.tanh


class Sigmoid(Elementary):
    """The logistic function, 1 / (1 + e^-x)."""

    function = jax.lax.logistic


class Erf(Elementary):
    """The error function."""

    function = jax.lax.erf


class Abs(Elementary):
    """The absolute value. Series take the branch at the centre."""

    function = jnp.abs


class Maximum(Elementary):
    """The larger of two wires. Series take the branch at the centre."""

    function = jnp.maximum
    n_in = 2


class Minimum(Elementary):
    """The smaller of two wires. Series take the branch at the centre."""

    function = jnp.minimum
    n_in = 2


class Function(Atom):
    """Any jnp callable or equinox module as an atom of `n_in` inputs and `n_out` outputs.

    The arrays of `fn` become leaves of the circuit; the rest is structure. `fn` takes one value for
    each input wire. It returns the value of the output wire, or a tuple if `n_out` is not 1. Two
    circuits share a compilation only if `fn` is the same object: define a function once, outside
    loops, and do not write a new lambda each time.
    """

    arrays: Any
    structure: Any = eqx.field(static=True)
    n_in: int = eqx.field(static=True)
    n_out: int = eqx.field(static=True)

    def __init__(self, fn: Callable[..., Any], n_in: int, n_out: int = 1):
        if not callable(fn):
            raise CircuitError(f"Function wraps a callable, not {fn!r}")
        check_count("Function", "n_in", n_in)
        check_count("Function", "n_out", n_out)
        leaves, treedef = jax.tree.flatten(fn, is_leaf=is_constraint)
        array = [eqx.is_inexact_array(leaf) or is_constraint(leaf) for leaf in leaves]
        self.arrays = tuple(leaf for leaf, is_array in zip(leaves, array, strict=True) if is_array)
        rest = tuple(
            HOLE if is_array else structural(leaf)
            for leaf, is_array in zip(leaves, array, strict=True)
        )
        try:
            hash((treedef, rest))
        except TypeError as error:
            raise CircuitError(f"Function: what is no array of {fn!r} must be hashable") from error
        self.structure = (treedef, rest)
        self.n_in = n_in
        self.n_out = n_out

    @property
    def fn(self) -> Callable[..., Any]:
        """The callable, with its arrays."""
        treedef, rest = self.structure
        arrays = iter(self.arrays)
        return jax.tree.unflatten(
            treedef, [next(arrays) if leaf is HOLE else unwrapped(leaf) for leaf in rest]
        )

    def __call__(self, *values: Any) -> Any:
        return self.fn(*values)

    def text(self) -> str:
        fn = self.fn
        name = getattr(fn, "__name__", type(fn).__name__)
        return name if name.isidentifier() else "Function"

    def __repr__(self) -> str:
        return f"Function({self.text()}, {self.n_in}, {self.n_out})"


class _Hole:
    """Stands for an array in the structure of a `Function`."""

    def __repr__(self) -> str:
        return "array"

    def __reduce__(self) -> str:
        return "HOLE"  # copies are the same object


HOLE = _Hole()


class _Table:
    """An array of whole numbers in the structure of a `Function`: it has no gradient."""

    def __init__(self, array: Any):
        self.array = np.asarray(array)
        self.key = (self.array.shape, str(self.array.dtype), self.array.tobytes())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Table) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)


def structural(leaf: Any) -> Any:
    """A leaf that is no number, as what can be compared and hashed."""
    if not eqx.is_array(leaf) and not isinstance(leaf, np.ndarray):
        return leaf
    if not is_concrete(leaf):
        raise CircuitError("Function: arrays of whole numbers are structure, and cannot be traced")
    return _Table(leaf)


def unwrapped(leaf: Any) -> Any:
    """The leaf of which `structural` made this."""
    return jnp.asarray(leaf.array) if isinstance(leaf, _Table) else leaf
