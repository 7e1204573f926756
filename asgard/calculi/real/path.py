"""The path of a run: the points at which its steps started, as many as there is room for."""

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from .methods.method import Mark
from .system import Point

# How many points a path keeps to differentiate a run by, a power of two so that rows can be halved
# down to one; the steps between are taken again.
CHECKPOINTS = 1024


# How many flags one number keeps: float32 tells whole numbers of so many bits apart.
FLAGS = 24


class Taken(eqx.Module):
    """The size of a step that was taken, whether a breakpoint clipped it, and its mark; and for
    how long a time the series of what it read was right, in a run with delays."""

    size: Array
    clipped: Array
    mark: Mark | None = None
    span: Array | None = None

    def packed(self) -> Array:
        """All as one number, or a few, `[fields, *lanes]`, in a run with events or delays; in which
        a path keeps them: an array of flags has no tangents."""
        signed = jnp.where(self.clipped, -self.size, self.size)
        if self.mark is None and self.span is None:
            return signed
        fields = [signed[None]] if self.span is None else [signed[None], self.span[None]]
        if self.mark is not None:
            flags = packed_flags(self.mark.fired, signed.dtype)
            fields += [self.mark.kind.astype(signed.dtype)[None], flags]
        return jnp.concatenate(fields)

    @classmethod
    def unpacked(cls, numbers: Array, guards: int, delayed: bool = False) -> "Taken":
        """The inverse of `packed`, in a run with so many guards, and with delays or without."""
        if not guards and not delayed:
            return cls(jnp.abs(numbers), numbers < 0)
        signed, *rest = numbers
        span = rest.pop(0) if delayed else None
        mark = None
        if guards:
            kind, *flags = rest
            mark = Mark(kind.astype(jnp.int32), unpacked_flags(flags, guards))
        return cls(jnp.abs(signed), signed < 0, mark, span)


def packed_flags(flags: Array, dtype: Any) -> Array:
    """Flags `[count, *lanes]` as numbers of a float dtype, `[numbers, *lanes]`."""
    weights = (2.0 ** (np.arange(len(flags)) % FLAGS)).astype(dtype)
    weighted = flags.astype(dtype) * weights.reshape(-1, *(1,) * (flags.ndim - 1))
    parts = range(0, len(flags), FLAGS)
    return jnp.stack([jnp.sum(weighted[first : first + FLAGS], axis=0) for first in parts])


def unpacked_flags(numbers: Sequence[Array] | Array, count: int) -> Array:
    """The inverse of `packed_flags`, for so many flags."""
    flags = (numbers[k // FLAGS] * 0.5 ** (k % FLAGS) for k in range(count))
    return jnp.stack([jnp.floor(flag) % 2 == 1 for flag in flags])


def fields_of(guards: int, delayed: bool = False) -> tuple[int, ...]:
    """The shape of what `Taken.packed` gives in a run with so many guards, with delays or not."""
    if not guards and not delayed:
        return ()
    return (1 + delayed + (1 + -(-guards // FLAGS) if guards else 0),)


class Path(eqx.Module):
    """Where the steps of a run started, and their sizes.

    Row r is the start of step r 2^level: whenever the rows are full, every other one is dropped.
    `taken` has all steps, as `Taken.packed` gives them. The last row of each array is for what is
    not kept.
    """

    time: Any  # [rows, *lanes]
    late: Any  # [rows, *lanes]
    state: Any  # [rows, state, *lanes]
    taken: Any  # [steps, *fields, *lanes]
    level: Any  # [*lanes]

    @property
    def rows(self) -> int:
        """How many points it has room for."""
        return self.time.shape[0] - 1

    @property
    def large(self) -> list[Any]:
        """Its arrays."""
        return [self.time, self.late, self.state, self.taken]


def nothing_like(array: Any) -> Array:
    """An array of the path of a run that has none, of infinite sizes. They are not NaN, at which
    `jax_debug_nans` would stop."""
    floating = jnp.issubdtype(array.dtype, jnp.inexact)
    return jnp.full(array.shape, jnp.inf if floating else 0, array.dtype)


Write = Callable[[Array, Array, Array], Array]


def blank(rows: int, max_steps: int, begin: Point, fields: tuple[int, ...]) -> Path:
    """A path of nothing yet, of the types of a run's arrays."""
    lanes, dtype = begin.time.shape, begin.time.dtype
    times = jnp.zeros((rows + 1, *lanes), dtype)
    states = jnp.zeros((rows + 1, *begin.state.shape), begin.state.dtype)
    sizes = jnp.zeros((max_steps + 2, *fields, *lanes), dtype)
    return Path(times, times, states, sizes, jnp.zeros(lanes, jnp.int32))


def levels(rows: int, max_steps: int) -> int:
    """How often the rows of a path may be thinned."""
    return max_steps.bit_length() - (rows - 1).bit_length()


def record(path: Path, point: Point, step: Taken, number: Array, good: Array, write: Write) -> Path:
    """The path with a step of a number, if it is a good one, in rows that are not full."""
    last = path.taken.shape[0] - 1
    taken = write(path.taken, jnp.where(good, number, last), step.packed())
    return eqx.tree_at(lambda path: path.taken, add_point(path, point, number, good, write), taken)


def add_point(path: Path, point: Point, number: Array, good: Array, write: Write) -> Path:
    """The path with the start of a step, where it is one of those that are kept."""
    kept = good & (number & ((1 << path.level) - 1) == 0)
    row = jnp.where(kept, number >> path.level, path.rows)
    arrays = (path.time, path.late, path.state)
    values = (point.time, point.late, point.state)
    time, late, state = (write(x, row, value) for x, value in zip(arrays, values, strict=True))
    return Path(time, late, state, path.taken, path.level)


def thinned(path: Path, number: Array, good: Array) -> Path:
    """The path with room for the start of a step of a number."""
    if levels(path.rows, path.taken.shape[0] - 2) == 0:
        return path
    full = jnp.any(good & (number >> path.level >= path.rows))

    # A loop that moves rows one by one, or a kernel would hold all of them at once.
    def move(carry: tuple[Array, list[Array]]) -> tuple[Array, list[Array]]:
        row, arrays = carry
        moved = [
            lax.dynamic_update_slice_in_dim(
                array, lax.dynamic_slice_in_dim(array, 2 * row, 1, axis=0), row, axis=0
            )
            for array in arrays
        ]
        return row + 1, moved

    count = jnp.where(full, path.rows // 2, 0)
    start = jnp.zeros((), jnp.int32), [path.time, path.late, path.state]
    _, (time, late, state) = lax.while_loop(lambda carry: carry[0] < count, move, start)
    return Path(time, late, state, path.taken, path.level + full)


def rows_of(max_steps: int, most: int | None = None) -> int:
    """For how many points there is room: for all that there may be, or so many at most."""
    return max_steps + 1 if most is None else min(most, max_steps + 1)
