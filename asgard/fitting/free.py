"""The numbers of a circuit that a fit moves, and their free values by name."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ..circuits.circuit import Circuit
from ..circuits.constraints import (
    Bounded,
    Constraint,
    Fixed,
    Positive,
    constraints,
    is_constraint,
)
from ..circuits.parameters import parameters, unknown
from ..errors import CircuitError
from ..jaxprs.concrete import is_concrete
from ..jaxprs.own_functions import check_takes

# How a user says which numbers a fit moves: see `trained`.
Trainable = Any
# Whether a fit moves each of a circuit's numbers, in the order of its leaves.
Trained = tuple[bool, ...]
# The numbers that an optimiser sees.
Free = dict[str, Array]


def trained(circuit: Any, trainable: Trainable) -> Trained:
    """Whether a fit moves each of a circuit's numbers. Raises if one violates its constraint.

    `trainable` is None for all that are not `Fixed`, names as in `parameters`, a dictionary from
    names to bools, a function `(name, value) -> bool`, or a pytree of the circuit's structure with
    a bool for each number.
    """
    if not isinstance(circuit, Circuit):
        raise CircuitError(f"a fit takes a circuit, not {circuit!r}")
    for constraint in constraints(circuit):
        constraint.check()
        _check_maps(constraint)
    numbers = parameters(circuit)
    wanted = _wanted(circuit, trainable, numbers)
    leaves = jax.tree.leaves(circuit, is_leaf=is_constraint)
    if isinstance(trainable, str | Iterable) and not isinstance(trainable, Circuit):
        for name, want, leaf in zip(numbers, wanted, leaves, strict=True):
            if want and isinstance(leaf, Fixed):
                raise CircuitError(f"trainable names {name}, which is Fixed")
    moved = tuple(
        want and not isinstance(leaf, Fixed) for want, leaf in zip(wanted, leaves, strict=True)
    )
    if not any(moved):
        raise CircuitError("no number of the circuit is trainable: there is nothing to fit")
    return moved


def _check_maps(constraint: Constraint) -> None:
    """Raises `CircuitError` where the two maps of a constraint of one's own are not inverse."""
    if isinstance(constraint, Positive | Bounded | Fixed):
        return
    owner, value = type(constraint).__name__, constraint.value
    check_takes(f"{owner}: at", constraint.at, "a free value")
    free = constraint.free()
    if not eqx.is_array(free) or not jnp.issubdtype(free.dtype, jnp.inexact):
        raise CircuitError(f"{owner}: free must return an array of numbers, not {free!r:.60}")
    again = constraint.at(free)
    if not isinstance(again, Constraint) or again.value.shape != value.shape:
        raise CircuitError(
            f"{owner}: at must return the constraint at a free value, with a number of shape "
            f"{value.shape}, not {again!r:.60}"
        )
    close = jnp.allclose(again.value, value, rtol=float(jnp.finfo(value.dtype).eps) ** 0.5)
    if is_concrete(close) and not close:
        raise CircuitError(
            f"{owner}: at(free()) must be the number, {value}, not {again.value}: what a fit moves "
            "stands for it"
        )


def _wanted(circuit: Circuit, trainable: Trainable, numbers: dict[str, Array]) -> list[bool]:
    if trainable is None:
        return [True] * len(numbers)
    if jax.tree.structure(trainable) == jax.tree.structure(circuit):
        wanted = jax.tree.leaves(trainable)
        if not all(isinstance(want, bool | np.bool_) for want in wanted):
            raise CircuitError("trainable, as a pytree, holds True or False for each number")
        return [bool(want) for want in wanted]
    if isinstance(trainable, Callable) and not isinstance(trainable, Circuit):
        try:
            return [bool(trainable(name, value)) for name, value in numbers.items()]
        except jax.errors.ConcretizationTypeError as error:
            raise CircuitError(
                "trainable: in a JAX transformation numbers are not known; choose them by name"
            ) from error
    if isinstance(trainable, Mapping):
        if not all(isinstance(want, bool | np.bool_) for want in trainable.values()):
            raise CircuitError("trainable, as a dictionary by name, holds True or False")
        known(trainable, numbers)
        return [bool(trainable.get(name, False)) for name in numbers]
    names = {trainable} if isinstance(trainable, str) else trainable
    if not isinstance(names, Iterable) or isinstance(names, Circuit):
        raise CircuitError(
            "trainable must be names as in parameters, a function of a name and its value, or a "
            f"pytree of the circuit's structure with True and False, not {trainable!r:.60}"
        )
    names = set(names)
    known(names, numbers)
    return [name in names for name in numbers]


def known(names: Iterable[Any], numbers: dict[str, Array]) -> None:
    """Raises if a circuit has no number with one of the names."""
    for name in names:
        if name not in numbers:
            raise CircuitError(unknown(name, numbers))


def free_values(circuit: Circuit, moved: Trained) -> Free:
    """The free values of the numbers that a fit moves, by name."""
    leaves = jax.tree.leaves(circuit, is_leaf=is_constraint)
    return {
        name: leaf.free() if isinstance(leaf, Constraint) else leaf
        for name, leaf, move in zip(parameters(circuit), leaves, moved, strict=True)
        if move
    }


def joined(circuit: Circuit, free: Free) -> Circuit:
    """The circuit at other free values."""
    leaves, structure = jax.tree.flatten(circuit, is_leaf=is_constraint)
    placed = [
        leaf if name not in free else _at(leaf, free[name])
        for name, leaf in zip(parameters(circuit), leaves, strict=True)
    ]
    return jax.tree.unflatten(structure, placed)


def _at(leaf: Any, free: Array) -> Any:
    return leaf.at(free) if isinstance(leaf, Constraint) else free
