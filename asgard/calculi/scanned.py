"""A scan over rows, in stretches: the calculi whose runs are one."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Int

from ..jaxprs.trees import select
from .rows import only

# So many rows of up to so many numbers are one turn: what lasts long beside the turn itself.
_ROWS, _NUMBERS = 8192, 64

# block(carry, first, size): the carry after so many rows from number `first` on, and the rows.
Block = Callable[[Any, Array, int], tuple[Any, Any]]


class Scanned(eqx.Module):
    """Where a scan stands: how many rows are `done`, what it carries, and all its rows."""

    done: Int[Array, ""]
    carry: Any
    rows: Any

    def known(self, tree: Any) -> Any:
        """The rows of a tree that are done, NaN for the others."""
        count = jax.tree.leaves(tree)[0].shape[0] if jax.tree.leaves(tree) else 0
        return only(jnp.arange(count) < self.done, tree)


def rows_a_turn(contents: Any, count: int) -> int:
    """How many rows a turn takes, of a run that holds these arrays."""
    numbers = sum(leaf.size for leaf in jax.tree.leaves(contents))
    return max(1, min(count, _ROWS * _NUMBERS // max(_NUMBERS, numbers)))


def blank(block: Block, start: Any, count: int) -> Scanned:
    """A scan of so many rows before its first one, of which only the types count."""

    def whole() -> Scanned:
        carry, rows = block(start, jnp.int32(0), count)
        return Scanned(jnp.int32(0), carry, rows)

    types = jax.eval_shape(whole)
    return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), types)


def stretch(block: Block, start: Any, count: int, size: int, now: Scanned, turns: Array) -> Scanned:
    """So many turns more of a scan of `count` rows, each of `size` rows; it begins at `start`."""
    carry = select(now.done == 0, start, now.carry)
    full = count // size * size

    def goes_on(carried: tuple[Scanned, Array]) -> Array:
        return (carried[0].done < full) & (carried[1] > 0)

    def turn(carried: tuple[Scanned, Array]) -> tuple[Scanned, Array]:
        now, left = carried
        carry, found = block(now.carry, now.done, size)
        return Scanned(now.done + size, carry, _written(now.rows, found, now.done)), left - 1

    now, left = lax.while_loop(goes_on, turn, (Scanned(now.done, carry, now.rows), turns))
    rest = count - full
    if not rest:
        return now
    # The rows stay outside of the branches, which would copy them.
    held = jax.tree.map(lambda rows: lax.dynamic_slice_in_dim(rows, full, rest), now.rows)
    last = (now.done == full) & (left > 0)
    carry, found = lax.cond(
        last, lambda: block(now.carry, jnp.int32(full), rest), lambda: (now.carry, held)
    )
    done = now.done + jnp.where(last, rest, 0)
    return Scanned(done, carry, _written(now.rows, found, jnp.int32(full)))


def _written(rows: Any, found: Any, first: Array) -> Any:
    """The rows with those found, from number `first` on."""
    return jax.tree.map(
        lambda all_, some: lax.dynamic_update_slice_in_dim(all_, some, first, 0), rows, found
    )
