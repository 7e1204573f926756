"""Checks and conversions of the numbers, counts, orders and names that users give."""

import operator
import re
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ..errors import CircuitError
from ..jaxprs.concrete import is_concrete

# What JAX raises for a value that is no array of numbers, or an integer of more than 64 bits.
NOT_NUMBERS = (TypeError, ValueError, OverflowError)
# Counts are integers of 32 bits in compiled programs.
LARGEST_COUNT = 2**31 - 1


def check_count(
    owner: str, name: str, count: Any, least: int = 0, most: int = LARGEST_COUNT
) -> None:
    """Raises where `count` is no integer from `least` to `most`."""
    if not isinstance(count, int) or isinstance(count, bool) or count < least:
        hint = f": give int({count})" if isinstance(count, np.integer) else ""
        raise CircuitError(
            f"{owner}: {name} must be an integer of at least {least}, not {count!r}{hint}"
        )
    if count > most:
        raise CircuitError(f"{owner}: {name} must be at most {most}, not {count!r}")


def check_flag(owner: str, name: str, flag: Any) -> None:
    """Raises where `flag` is neither True nor False."""
    if not isinstance(flag, bool):
        raise CircuitError(f"{owner}: {name} must be True or False, not {flag!r}")


def check_name(owner: str, kind: str, name: Any) -> None:
    """Raises `CircuitError` unless `name` is an identifier, as the text notation needs."""
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z_][A-Za-z_0-9]*", name):
        foreign = isinstance(name, str) and name.isidentifier()
        hint = " of letters from A to Z" if foreign else ""
        raise CircuitError(f"{owner}: a {kind} is named by an identifier{hint}, not {name!r}")


def number_text(value: Any) -> str:
    """A number in the text notation: the fewest digits that its dtype reads back as the number."""
    if not is_concrete(value) or not hasattr(value, "dtype"):
        return "<traced>"
    array = np.asarray(value)
    if array.ndim:
        return f"<{array.dtype}[{','.join(map(str, array.shape))}]>"
    return str(array[()])


def precision(tree: Any) -> Any:
    """The widest float dtype of a tree's arrays; None where it has none."""
    dtypes = [x.dtype for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.inexact)]
    return max((jnp.finfo(dtype).dtype for dtype in dtypes), key=lambda d: d.itemsize, default=None)


def as_number(value: Any) -> Any:
    """Lists of numbers as arrays; a converter for fields that hold a number or array."""
    if value is None:
        raise CircuitError("None is no number")
    if hasattr(value, "n_in"):
        raise CircuitError(f"{value} is a circuit and no number")
    if isinstance(value, dict):
        raise CircuitError(
            f"{value!r} is a pytree, and a wire carries one array: give each leaf its own atom"
        )
    if not isinstance(value, list | tuple):
        return value
    try:
        return jnp.asarray(value)
    except NOT_NUMBERS as error:
        raise CircuitError(f"{value!r} is no array of numbers") from error


def as_array(owner: str, leaf: Any) -> jax.Array:
    """A number or array of numbers as an inexact array without weak type.

    Whole numbers become floats, so that every leaf of a circuit has a gradient.
    """
    if isinstance(leaf, jax.Array | np.ndarray | np.generic):
        if isinstance(leaf, np.ndarray | np.generic) and leaf.dtype.kind in "OSUMmV":
            raise CircuitError(f"{owner} holds {leaf!r}, which is no array of numbers")
        array = jnp.asarray(leaf)
        _check_is_no_key(owner, array)
        if not jnp.issubdtype(array.dtype, jnp.inexact):
            return array.astype(jnp.result_type(float))
        weak = getattr(array.aval, "weak_type", False)
        return jax.lax.convert_element_type(array, array.dtype) if weak else array
    if isinstance(leaf, bool | int | float | complex):
        kind = complex if isinstance(leaf, complex) else float
        try:
            return jnp.asarray(leaf, dtype=jnp.result_type(kind))
        except OverflowError as error:
            raise CircuitError(f"{owner} is more than a {kind.__name__} holds") from error
    if callable(leaf):
        raise CircuitError(
            f"{owner} holds {leaf!r}, which is no number or array: a function or a network is a "
            "circuit as Function(it, n_in), which may be a field and keeps its weights apart"
        )
    raise CircuitError(
        f"{owner} holds {leaf!r}, which is no number or array; declare the field with "
        "equinox.field(static=True) if it is part of the circuit's structure"
    )


def check_leaves(owner: Any) -> None:
    """Raises `CircuitError` where a field of a module that is not static holds no numbers."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(owner):
        if isinstance(leaf, str) or callable(leaf):
            raise CircuitError(
                f"{type(owner).__name__}{jax.tree_util.keystr(path)} holds {leaf!r}, which is no "
                "number or array; declare the field with equinox.field(static=True)"
            )


def as_inexact(owner: str, value: Any) -> Array:
    """Numbers as an inexact array; whole ones become floats, and no dtype stays weak."""
    try:
        array = jnp.asarray(value)
    except NOT_NUMBERS as error:
        raise CircuitError(f"{owner} must be numbers, not {value!r}") from error
    _check_is_no_key(owner, array)
    if not jnp.issubdtype(array.dtype, jnp.inexact):
        array = array.astype(jnp.result_type(float))
    return jax.lax.convert_element_type(array, array.dtype)


def as_reals(owner: str, value: Any) -> Array:
    """Real numbers as an array of floats; raises `CircuitError` for text, truth values and others.

    `owner` names the value in the message.
    """
    try:
        array = jnp.asarray(None if isinstance(value, str) else value)
    except NOT_NUMBERS as error:
        raise CircuitError(f"{owner} must be a number, not {value!r}") from error
    if not (jnp.issubdtype(array.dtype, jnp.integer) or jnp.issubdtype(array.dtype, jnp.floating)):
        raise CircuitError(f"{owner} must be a real number, not {value!r}")
    dtype = jnp.result_type(float)
    if isinstance(value, int | float | np.generic | np.ndarray):
        # JAX computes nothing inside of a `jax.shard_map` under an explicit mesh.
        return jnp.asarray(np.asarray(value, dtype))
    return array.astype(dtype)


def _check_is_no_key(owner: str, array: Array) -> None:
    """Raises `CircuitError` for a key of `jax.random`."""
    if jnp.issubdtype(array.dtype, jax.dtypes.extended):
        raise CircuitError(f"{owner} holds a random key, which is no number")


def as_order(owner: str, number: Any) -> int:
    """An order of a series as a plain integer, to compile by."""
    try:
        order = -1 if isinstance(number, bool) else operator.index(number)
    except TypeError:
        order = -1
    if not 0 <= order <= LARGEST_COUNT:
        raise CircuitError(f"{owner} must be an integer of at least 0, not {number!r}")
    return order


def check_choice(owner: str, name: str, value: Any, choices: Sequence[str]) -> None:
    """Raises `CircuitError` if `value` is not one of the choices."""
    if value not in choices:
        known = " or ".join(f'"{choice}"' for choice in choices)
        raise CircuitError(f"{owner}: {name} must be {known}, not {value!r}")
