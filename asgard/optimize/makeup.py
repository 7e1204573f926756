"""Functions compared by what they are made of.

Optimisers are closures, made anew by every `optax.adam(0.01)`, and so is a loss written in place.
JAX keeps a compilation by its functions' identity, and would compile for each again. `Made`
compares functions by their code and by what they close over, so that those made alike are one.
"""

import functools
import types
from collections.abc import Hashable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ..concrete import is_concrete


class Made:
    """A function, or a tuple of them, that equals another one made of the same."""

    def __init__(self, value: Any):
        self.value = value
        self.makeup = makeup(value)
        self._hash = hash(self.makeup)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Made) and self.makeup == other.makeup

    def __hash__(self) -> int:
        return self._hash


class _Itself:
    """An object that equals only itself, kept so that no other one takes its place in memory."""

    def __init__(self, value: Any):
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Itself) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


def makeup(value: Any, around: tuple[Any, ...] = ()) -> Hashable:
    """What a value is made of; `around` are the functions that close over it."""
    if isinstance(value, types.FunctionType):
        for depth, function in enumerate(around):
            if value is function:
                return "around", depth
        inner = (*around, value)
        held = [value.__defaults__, value.__kwdefaults__, *map(_content, value.__closure__ or ())]
        return value.__code__, id(value.__globals__), tuple(makeup(each, inner) for each in held)
    if isinstance(value, types.MethodType):
        return "method", makeup(value.__func__, around), makeup(value.__self__, around)
    if isinstance(value, functools.partial):
        held = (value.func, value.args, value.keywords)
        return "partial", tuple(makeup(each, around) for each in held)
    if isinstance(value, tuple | list):
        return type(value), tuple(makeup(each, around) for each in value)
    if type(value) is dict:
        pairs = tuple((makeup(key, around), makeup(each, around)) for key, each in value.items())
        return dict, pairs
    if eqx.is_array(value) or isinstance(value, np.ndarray | np.generic):
        return _array(value)
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        # With its type, and the sign of zero: 1, 1.0 and True are equal, and 0.0 and -0.0.
        return type(value), repr(value)
    return _Itself(value)


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # a name that has no value yet
        return None


def _array(value: Any) -> Hashable:
    if not is_concrete(value):
        return _Itself(value)
    kind = str(value.dtype)
    if jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        value = jax.random.key_data(value)
    array = np.asarray(value)
    return kind, array.shape, array.tobytes()
