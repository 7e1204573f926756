"""Delays by many samples: one ring of so many values, not as many registers in a chain."""

from collections.abc import Sequence
from typing import cast

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from ...circuits.atoms.functions import Function
from ...circuits.atoms.registers import Delay
from ...circuits.constraints import resolved
from ...circuits.graph import Node
from ...circuits.terms import brief
from ...errors import CircuitError
from ...jaxprs.concrete import is_concrete
from ...taylor.net import Piece
from ...taylor.network import Meaning, coordinate_wire, initial_wire, line_wire, register
from ..rings import written


def delay_of(most: int | None) -> Meaning:
    """The meaning of delays, where the longest is by so many samples."""

    def meaning(node: Node) -> Piece | Sequence[Piece]:
        atom = cast(Delay, node.atom)
        if atom.by is None:
            return register(node)
        if isinstance(atom.initial, Function):
            raise CircuitError(
                f"{brief(atom)}: a history along {atom.dim} belongs to Real; under Discrete there "
                "is one value for all samples before the first",
                atoms=[atom],
            )
        known = longest([atom])
        if known is not None:
            return _ring(node, known)
        if most is None:
            raise CircuitError(
                f"{brief(atom)}: by is traced: say how many samples the longest delay takes, "
                "Discrete(max_delay=...)",
                atoms=[atom],
            )
        return _ring(node, most)

    return meaning


def longest(delays: Sequence[Delay]) -> int | None:
    """How many samples the longest of some delays takes; None where one is not known, or there are
    none.

    Raises `CircuitError` for one that is no whole number.
    """
    found = 0
    for atom in delays:
        by = resolved(atom).by
        if by is None:
            continue
        if not is_concrete(by):
            return None
        number = float(np.asarray(by))
        if number != round(number):
            raise CircuitError(
                f"{brief(atom)}: under Discrete by is a whole number of samples, not {number}",
                atoms=[atom],
            )
        found = max(found, round(number))
    return found or None


def _ring(node: Node, rows: int) -> Sequence[Piece]:
    """A ring of so many values along the last axis: sample n is column n modulo their number."""
    atom, (source,), (out,) = cast(Delay, node.atom), node.ins, node.outs
    time, line, following = coordinate_wire(atom.dim), line_wire(out), ("following", out)
    by = jnp.asarray(resolved(atom).by)

    def read(time: Array, held: Array) -> tuple[Array]:
        held = jnp.broadcast_to(held, (*held.shape[:-1], rows))
        lag = jnp.round(by).astype(jnp.int32)
        column = jnp.mod(jnp.round(time).astype(jnp.int32) - lag, rows)
        value = lax.dynamic_index_in_dim(held, column, -1, keepdims=False)
        good = (by == lag) & (lag >= 1) & (lag <= rows)
        return (jnp.where(good, value, jnp.nan),)

    def write(time: Array, held: Array, value: Array) -> tuple[Array]:
        return (written(held, value, jnp.round(time).astype(jnp.int32), rows),)

    return [
        Piece((time, line), (out,), fn=read, atom=atom),
        Piece((time, line, source), (following,), fn=write, atom=atom),
        Piece((following,), (line,), sign=1, dim=atom.dim, initial=initial_wire(line)),
    ]
