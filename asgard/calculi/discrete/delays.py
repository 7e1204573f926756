"""Delays by many samples: one ring of so many values, not as many registers in a chain."""

from collections.abc import Callable, Sequence
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
from ...taylor.network import Meaning, initial_wire, line_wire, register
from ..rings import written


def delay_of(most: int | None, lines: bool = False) -> Meaning:
    """The meaning of delays, where the longest is by so many samples: rings, or `lines`, which take
    longer to move and are alike at every sample."""
    hold = _line if lines else _ring

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
            return hold(node, known)
        if most is None:
            raise CircuitError(
                f"{brief(atom)}: by is traced: say how many samples the longest delay takes, "
                "Discrete(max_delay=...)",
                atoms=[atom],
            )
        return hold(node, most)

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
    """A ring of so many values along the last axis, and the column of the present sample.

    The column is counted, and not read off the coordinate: in float32 that ends at sample 2^24.
    """
    atom, (source,), (out,) = cast(Delay, node.atom), node.ins, node.outs
    line, following = line_wire(out), ("following", out)
    column, turned = ("column", out), ("turned", out)

    def read(column: Array, held: Array) -> tuple[Array]:
        return (_read(atom, held, rows, lambda lag: jnp.mod(column - lag, rows)),)

    def write(column: Array, held: Array, value: Array) -> tuple[Array]:
        return (written(held, value, column, rows),)

    def turn(column: Array) -> tuple[Array]:
        return (jnp.mod(column + jnp.int32(1), rows),)

    return [
        Piece((column, line), (out,), fn=read, atom=atom),
        Piece((column, line, source), (following,), fn=write, atom=atom),
        Piece((following,), (line,), sign=1, dim=atom.dim, initial=initial_wire(line)),
        Piece((column,), (turned,), fn=turn, atom=atom),
        Piece((turned,), (column,), sign=1, dim=atom.dim, initial=initial_wire(column)),
    ]


def _line(node: Node, rows: int) -> Sequence[Piece]:
    """The last values, the latest first: a linear system that is the same at every sample."""
    atom, (source,), (out,) = cast(Delay, node.atom), node.ins, node.outs
    line, following = line_wire(out), ("following", out)

    def read(held: Array) -> tuple[Array]:
        return (_read(atom, held, rows, lambda lag: lag - 1),)

    def move(held: Array, value: Array) -> tuple[Array]:
        return (written(jnp.roll(held, 1, -1), value, jnp.int32(0), rows),)

    return [
        Piece((line,), (out,), fn=read, atom=atom),
        Piece((line, source), (following,), fn=move, atom=atom),
        Piece((following,), (line,), sign=1, dim=atom.dim, initial=initial_wire(line)),
    ]


def as_line(ring: Array, column: Array) -> Array:
    """What a ring holds before the sample of a column, the latest value first."""
    return jnp.roll(jnp.flip(ring, -1), column, -1)


def _read(atom: Delay, held: Array, rows: int, column: Callable[[Array], Array]) -> Array:
    """The value of a delay, from the column for its lag; NaN where that is no lag of so many."""
    by = jnp.asarray(resolved(atom).by)
    lag = jnp.round(by).astype(jnp.int32)
    held = jnp.broadcast_to(held, (*held.shape[:-1], rows))
    value = lax.dynamic_index_in_dim(held, column(lag), -1, keepdims=False)
    return jnp.where((by == lag) & (lag >= 1) & (lag <= rows), value, jnp.nan)
