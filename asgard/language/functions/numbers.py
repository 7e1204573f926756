"""What a function is given by keyword, as numbers and structure.

Arrays are numbers of the circuit, with names and gradients. All else (text, truth values,
functions, sizes of a network) is structure, by which runs compile.
"""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import numpy as np

from ...circuits.atoms.functions import HOLE, structural, unwrapped
from ...circuits.circuit import Circuit
from ...circuits.constraints import Constraint
from ...circuits.fields import NOT_NUMBERS, as_array, as_number
from ...circuits.stream import Stream
from ...errors import CircuitError

_NUMBERS = bool | int | float | complex | np.ndarray | np.generic | jax.Array


@dataclasses.dataclass(frozen=True)
class Structure:
    """What of a value is no number: its pytree, and its leaves with holes for numbers."""

    tree: Any
    leaves: tuple[Any, ...]

    def joined(self, numbers: Any) -> Any:
        """The value, from its numbers."""
        given = self.tree.flatten_up_to(numbers)
        leaves = [
            number if leaf is HOLE else unwrapped(leaf)
            for number, leaf in zip(given, self.leaves, strict=True)
        ]
        return jax.tree.unflatten(self.tree, leaves)


def parted(name: str, value: Any) -> tuple[Any, Structure]:
    """A value as its numbers, a pytree with None for all else, and its structure.

    Raises `CircuitError` for structure that cannot be hashed; `name` names the value there.
    """
    leaves, tree = jax.tree.flatten(value, is_leaf=is_whole)
    inside = isinstance(value, eqx.Module)  # whose plain numbers are structure, as equinox has it
    numeric = [is_number(leaf, inside) for leaf in leaves]
    numbers = [
        _as_leaf(name, leaf) if is_one else None
        for leaf, is_one in zip(leaves, numeric, strict=True)
    ]
    rest = tuple(
        HOLE if is_one else structural(leaf) for leaf, is_one in zip(leaves, numeric, strict=True)
    )
    structure = Structure(tree, rest)
    try:
        hash(structure)
    except TypeError as error:
        raise CircuitError(
            f"{name}: what is no number of {value!r:.60} must be hashable"
        ) from error
    return jax.tree.unflatten(tree, numbers), structure


def as_value(value: Any) -> Any:
    """A list or tuple of plain numbers, also nested, as an array; any other value as it is."""
    if isinstance(value, list | tuple) and value:
        leaves = jax.tree.leaves(value, is_leaf=lambda node: not isinstance(node, list | tuple))
        if all(isinstance(leaf, _NUMBERS) for leaf in leaves):
            return as_number(value)
    return value


def is_whole(node: Any) -> bool:
    """Whether a node of a pytree is one value, although it has parts."""
    return isinstance(node, Constraint | Stream | Circuit)


def is_number(leaf: Any, inside: bool = False) -> bool:
    """Whether a leaf is a number of the circuit; `inside` of an equinox module arrays alone are."""
    if is_whole(leaf) or eqx.is_inexact_array(leaf):
        return True
    if inside or isinstance(leaf, bool):
        return False
    return isinstance(leaf, _NUMBERS)


def _as_leaf(name: str, leaf: Any) -> Any:
    if is_whole(leaf):
        return leaf
    try:
        return as_array(name, leaf)
    except NOT_NUMBERS as error:
        raise CircuitError(f"{name} must be numbers, not {leaf!r:.60}") from error
