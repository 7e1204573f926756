"""Streams as the values of wires, and values as streams: orders, coordinates, centres."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ..circuits.atoms.registers import State
from ..circuits.graph import Node
from ..circuits.stream import Stream
from ..circuits.terms import brief
from ..errors import CircuitError, DimensionError
from ..jaxprs.concrete import is_concrete
from .net import Frame, Value, promote, resize

# What has to hold of traced numbers, by the message where it does not.
Conditions = dict[str, jax.Array]


def check(conditions: Conditions) -> None:
    """Raises for a condition that is known not to hold."""
    for message, holds in conditions.items():
        if is_concrete(holds) and not holds:
            raise CircuitError(message)


def fitted(value: Value, orders: Mapping[str, int]) -> Value:
    """A value with as many coefficients along each of its dimensions as the orders ask for."""
    array = value.array
    for axis, dim in enumerate(value.dims):
        if dim not in orders:
            raise DimensionError(
                f"a stream along {dim} is given, but the run's dimensions are "
                f"{', '.join(orders) or 'none'}"
            )
        array = resize(array, orders[dim] + 1, axis)
    return Value(array, value.dims)


def as_stream(
    value: Value, orders: Mapping[str, int], frame: Frame, centers: Mapping[str, Any]
) -> Stream:
    """A value as a stream along all dimensions of a frame, to the given orders."""
    array = promote(value, frame.dims, frame).array
    for axis, dim in enumerate(frame.dims):
        array = resize(array, orders[dim] + 1, axis)
    count = len(frame.dims)
    center = jnp.stack([centers[dim] for dim in frame.dims]) if frame.dims else 0.0
    return Stream(jnp.moveaxis(array, range(count), range(-count, 0)), frame.dims, center)


def coordinate(dim: str, center: Any, order: int) -> Value:
    """The coordinate along `dim` as a series about `center`."""
    center = jnp.asarray(center)
    return Value(resize(jnp.stack([center, jnp.ones_like(center)]), order + 1), (dim,))


def centers(streams: Sequence[Stream], dims: Iterable[str]) -> tuple[dict[str, Any], Conditions]:
    """The centre along each dimension: that of the streams that have it, else 0.

    It is NaN where streams differ; the conditions say so.
    """
    dtype = jnp.result_type(*(s.center for s in streams)) if streams else jnp.result_type(float)
    about: dict[str, Any] = {}
    conditions: Conditions = {}
    for dim in dims:
        found = [stream.center_of(dim).astype(dtype) for stream in streams if dim in stream.dims]
        about[dim] = found[0] if found else jnp.zeros((), dtype)
        if len(found) > 1:
            one = jnp.stack(found) == found[0]
            conditions[f"the streams along {dim} are about different centres"] = one.all()
            about[dim] = jnp.where(one.all(), found[0], jnp.nan)
    return about, conditions


def check_coordinates(nodes: Sequence[Node], named: Iterable[str]) -> None:
    """Raises for a coordinate that neither a state atom names nor `named` has: it would be 0."""
    dims = {*named, *(node.atom.dim for node in nodes if isinstance(node.atom, State))}
    for node in nodes:
        for dim in node.atom.coordinates:
            if dims and dim not in dims:
                raise DimensionError(
                    f"{brief(node.atom)}: no register, stream or dim is along {dim}; the run's "
                    f"dimensions are {', '.join(sorted(dims))}",
                    atoms=[node.atom],
                )
