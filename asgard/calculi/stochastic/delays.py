"""Delays by whole steps: each holds the values of its wire at the last steps in a ring.

A step that starts at t_n writes x(t_n) into column n modulo their number before anything is read.
Between the times of steps what a delay gives is on a straight line.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from ...circuits.atoms.functions import Function
from ...circuits.atoms.registers import Delay
from ...circuits.circuit import Circuit
from ...circuits.constraints import resolved
from ...circuits.graph import Node, flatten
from ...circuits.terms import brief
from ...errors import CircuitError
from ...jaxprs.concrete import is_concrete
from ...taylor.net import Piece, Value
from ...taylor.network import Meaning, call, coordinate_wire, initial_wire, line_wire
from ..cut import Cut
from ..meanings import check_by
from ..pointwise import Contents, Pointwise
from ..rings import written

# A time is that of a step if it is this close to it, in parts of a step. Times of a long run in
# float32 are known to less.
CLOSE = 1 / 64
# How far a delay may be from a whole number of steps by rounding: in parts of a step, and in
# roundings of the times.
WHOLE, ROUNDINGS = 1e-6, 4.0
# How far at most, whatever the rounding.
FAR = 0.1
# By what part of it the size of steps may differ where one run goes on from another.
SAME = 1e-3


class Grid(eqx.Module):
    """The times of steps: `start` and the size `h` of each; `uneven` where they are not of one
    size, and `slack`, how far a delay may be from a whole number of steps."""

    start: Array
    h: Array
    uneven: Array
    slack: Array

    @classmethod
    def of(cls, ts: Any, counts: Sequence[int], halvings: int) -> "Grid":
        """That of a run through the times `ts` with so many steps in each interval, each halved so
        many times."""
        total = max(sum(counts), 1)
        h = (ts[-1] - ts[0]) / total
        known, numbers = jnp.where(h == 0, 1, h), np.asarray(counts, ts.dtype)
        rounding = jnp.finfo(ts.dtype).eps * jnp.max(jnp.abs(ts)) / jnp.abs(known)
        allowed = jnp.minimum(WHOLE + ROUNDINGS * rounding / numbers, FAR)
        uneven = jnp.any(jnp.abs(jnp.diff(ts) / numbers / known - 1) > allowed)
        return cls(ts[0], h / 2**halvings, uneven, rounding / total)

    def steps(self, by: Any) -> tuple[Array, Array]:
        """How many steps a delay takes, and whether that is a whole number of them."""
        number = jnp.asarray(by, self.h.dtype) / jnp.where(self.h == 0, jnp.nan, self.h)
        whole = jnp.round(number)
        slack = jnp.minimum(WHOLE + ROUNDINGS * self.slack * number, FAR)
        good = (jnp.abs(number - whole) <= slack) & (whole >= 1) & ~self.uneven
        return whole.astype(jnp.int32), good


@dataclasses.dataclass(frozen=True)
class Delays:
    """The meaning of delays, of which the longest takes `most` steps; None if that is not known."""

    most: int | None
    grid: Grid

    def meaning(self) -> Meaning:
        def pieces(node: Node) -> Sequence[Piece]:
            check_by(node, "Stochastic")
            if self.most is None:
                raise CircuitError(
                    f"{brief(node.atom)}: by or the times are traced: say how many steps the "
                    "longest delay takes, Stochastic(max_delay=...)",
                    atoms=[node.atom],
                )
            return self._ring(node, self.most + 1)

        return pieces

    def _ring(self, node: Node, rows: int) -> Sequence[Piece]:
        """A ring of so many values along the last axis."""
        atom, (source,), (out,) = cast(Delay, node.atom), node.ins, node.outs
        time, line, following = coordinate_wire(atom.dim), line_wire(out), ("following", out)
        lag, good = self.grid.steps(resolved(atom).by)
        good &= lag < rows

        def read(time: Array, held: Array) -> tuple[Array]:
            held = jnp.broadcast_to(held, (*held.shape[:-1], rows))
            number, part = self._place(time)

            def column(index: Array) -> Array:
                column = jnp.mod(index - lag, rows)
                return lax.dynamic_index_in_dim(held, column, -1, keepdims=False)

            first, second = column(number), column(number + 1)
            value = first + jnp.where(part > 0, part.astype(held.dtype) * (second - first), 0)
            return (jnp.where(good, value, jnp.nan),)

        def write(time: Array, held: Array, value: Array) -> tuple[Array]:
            return (written(held, value, self._place(time)[0], rows),)

        return [
            Piece((time, line), (out,), fn=read, atom=atom),
            Piece((time, line, source), (following,), fn=write, atom=atom),
            Piece((following,), (line,), sign=1, dim=atom.dim, initial=initial_wire(line)),
        ]

    def _place(self, time: Array) -> tuple[Array, Array]:
        """The number of the step at a time, and what part of it has passed there."""
        h = jnp.where(self.grid.h == 0, 1, self.grid.h).astype(time.dtype)
        offset = (time - self.grid.start.astype(time.dtype)) / h
        offset = lax.stop_gradient(offset)
        number = jnp.floor(offset + CLOSE)
        part = offset - number
        return number.astype(jnp.int32), jnp.where(part > CLOSE, part, 0)

    def with_histories(self, cut: Cut) -> Cut:
        """A cut circuit whose rings start from the histories that are functions of time."""
        known = dict(cut.known)
        for node in cut.nodes:
            atom = node.atom
            if not _is_delay(node, cut.dim) or not isinstance(atom.initial, Function):
                continue
            line = line_wire(node.outs[0])
            rows = cut.net.avals[line].shape[-1]
            earlier = np.arange(rows)
            # Nothing is read of the first column before it is written, and nothing past a delay.
            earlier = np.where(earlier == 0, 1, rows - earlier)
            by = jnp.asarray(resolved(atom).by, self.grid.h.dtype)
            times = self.grid.start - jnp.minimum(earlier * self.grid.h, by)
            values = jax.vmap(lambda t, fn=atom.initial: call(fn, t)[0])(times)
            known[initial_wire(line)] = Value(jnp.moveaxis(values, 0, -1))
        return dataclasses.replace(cut, known=known)


@dataclasses.dataclass(frozen=True)
class Rings:
    """The rings of a circuit for one path: the indices of what holds them among all contents, and
    the size of its steps."""

    indices: tuple[int, ...]
    h: Array

    @classmethod
    def of(cls, pointwise: Pointwise, grid: Grid) -> "Rings":
        cells = enumerate(pointwise.cells)
        indices = tuple(i for i, c in cells if _is_delay(c.node, pointwise.cut.dim))
        return cls(indices, grid.h)

    def continued(self, contents: Contents, h: Array, steps: Array) -> Contents:
        """The contents from which a run goes on, of one that took so many steps of a size: what was
        at column n is at column n less these steps. Rings of steps of another size are NaN."""
        same = jnp.abs(self.h - h) <= SAME * jnp.abs(h)
        return tuple(
            jnp.where(same, jnp.roll(part, -steps, axis=-1), jnp.nan) if i in self.indices else part
            for i, part in enumerate(contents)
        )

    def written(self, contents: Contents, feeds: Contents) -> Contents:
        """Contents whose rings have what goes into them now."""
        return tuple(
            feed if i in self.indices else part
            for i, (part, feed) in enumerate(zip(contents, feeds, strict=True))
        )


def longest(circuit: Circuit, ts: Any, counts: Sequence[int], halvings: int) -> int | None:
    """How many steps the longest delay of a circuit takes; None where that is not known, or where
    it has none.

    Raises `CircuitError` for one that takes no whole number of steps, and for steps that are not of
    one size.
    """
    delays = _delays_of(circuit)
    lags = [resolved(atom).by for atom in delays]
    if not delays or not is_concrete(ts, *lags):
        return None
    (first, *_) = delays
    with jax.ensure_compile_time_eval():
        grid, measured = _measured(jnp.asarray(ts), lags, tuple(counts), halvings)
        if len(ts) < 2 or float(grid.h) <= 0:
            raise CircuitError(
                f"{brief(first)}: under Stochastic a delay is by steps: give two times or more, "
                "which increase",
                atoms=[first],
            )
        if grid.uneven:
            raise CircuitError(
                f"{brief(first)}: under Stochastic a delay is by whole steps, and these are not of "
                "one size: give evenly spaced times, or as many steps in each interval as make "
                "them even",
                atoms=[first],
            )
        found = 0
        for atom, by, (number, good) in zip(delays, lags, measured, strict=True):
            if not good:
                size = float(grid.h)
                raise CircuitError(
                    f"{brief(atom)}: under Stochastic a delay is by whole steps, and by is "
                    f"{float(jnp.asarray(by)) / size:.6g} steps of {size:.6g}: choose the steps so "
                    "that they divide it",
                    atoms=[atom],
                )
            found = max(found, int(number))
    return found


# Compiled as a whole: one by one, its operations take half a second of a first call.
@functools.partial(jax.jit, static_argnums=(2, 3))
def _measured(
    ts: Array, lags: list[Any], counts: tuple[int, ...], halvings: int
) -> tuple[Grid, list[tuple[Array, Array]]]:
    """The grid of a run, and of each delay how many steps it takes and whether they are whole."""
    grid = Grid.of(ts, counts, halvings)
    return grid, [grid.steps(by) for by in lags]


# Whether circuits have delays, by their structure: to flatten one takes as long as a short run.
_FOUND: dict[Any, bool] = {}
_MOST_FOUND = 1024


def _delays_of(circuit: Circuit) -> list[Delay]:
    """The delays of a circuit by a time."""
    structure = jax.tree.structure(circuit)
    if not _FOUND.get(structure, True):
        return []
    atoms = [node.atom for node in flatten(circuit).nodes]
    delays = [atom for atom in atoms if isinstance(atom, Delay) and atom.by is not None]
    if len(_FOUND) >= _MOST_FOUND:
        _FOUND.clear()
    _FOUND[structure] = bool(delays)
    return delays


def _is_delay(node: Node, dim: str) -> bool:
    return isinstance(node.atom, Delay) and node.atom.dim == dim
