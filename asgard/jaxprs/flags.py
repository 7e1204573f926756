"""Values with flags: which of them have lanes, move, or have derivatives."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from .lanes import spread

Avals = Sequence[Any]
Flags = Sequence[bool]


def inexact(values: Sequence[Any]) -> list[Any]:
    """The values that have derivatives."""
    return [value for value in values if jnp.issubdtype(value.dtype, jnp.inexact)]


def flagged(flags: Flags, values: Sequence[Any]) -> list[Any]:
    """The values whose flag is set."""
    return [value for value, flag in zip(values, flags, strict=True) if flag]


def merge(flags: Flags, values: Sequence[Any], others: Sequence[Any]) -> list[Any]:
    """One value for each flag: the next of `values` if it is set, else that of `others`."""
    rest = iter(values)
    return [next(rest) if flag else other for flag, other in zip(flags, others, strict=True)]


def in_lanes(values: Sequence[Any], laned: Flags, size: int) -> list[Any]:
    """The values, all with lanes if there are any."""
    pairs = zip(values, laned, strict=True)
    return [spread(pair, size) if size else pair[0] for pair in pairs]


def one_lane(operands: Sequence[Any], laned: Flags) -> list[Any]:
    """The types of operands without their lanes."""
    return [
        jax.ShapeDtypeStruct(x.shape[: x.ndim - flag], x.dtype)
        for x, flag in zip(operands, laned, strict=True)
    ]
