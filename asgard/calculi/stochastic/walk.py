"""The paths of a tile through time in a run that stops and goes on."""

import dataclasses
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Int

from ...jaxprs.trees import select
from ..rows import only
from .tile import Interval, Paths, Tile

# How many numbers a turn moves on by a step, and how many steps it takes for that, at least and at
# most, as far as its interval has them: beside them the turn itself costs next to nothing.
_NUMBERS = 2**20
_LEAST, _MOST = 256, 8192


class Walk(eqx.Module):
    """Where a tile stands: its paths, how many turns they took, and the rows of outputs and named
    wires so far, `[times + 1, paths, …]`, of which the last one is for what is not saved.

    One that has not `begun` says nothing.
    """

    begun: Bool[Array, ""]
    turn: Int[Array, ""]
    paths: Paths
    rows: Any


@dataclasses.dataclass(frozen=True)
class Turns:
    """How the steps of a tile of some width are cut into turns, as many in each interval."""

    tile: Tile
    ts: Array
    width: int

    @property
    def ahead(self) -> int:
        """How many base steps a block has, whose noise is drawn at once."""
        return self.tile.steps.ahead(self.tile.draws.numbers_a_step)

    @property
    def blocks(self) -> int:
        """How many blocks an interval has."""
        return -(-self.tile.steps.most // self.ahead) if self.tile.steps.most else 0

    @property
    def blocks_a_turn(self) -> int:
        if not self.blocks:
            return 0
        numbers = self.width * sum(map(math.prod, self.tile.equation.pointwise.shapes))
        steps = max(_LEAST, min(_MOST, _NUMBERS // max(1, numbers)))
        return min(self.blocks, -(-steps // self.ahead))

    @property
    def of_interval(self) -> int:
        """How many turns an interval has."""
        return -(-self.blocks // self.blocks_a_turn) if self.blocks else 0

    @property
    def all(self) -> int:
        return (self.ts.shape[0] - 1) * self.of_interval

    def intervals(self, turn: Array) -> Array:
        """How many intervals are done after so many turns."""
        return turn // max(1, self.of_interval)

    def begin(self, start: Paths) -> Walk:
        """The paths at the first time."""
        found, paths = self.tile.saved(self.ts[0], start)
        count = self.ts.shape[0] + 1
        rows = jax.tree.map(
            lambda row: jnp.zeros((count, *row.shape), row.dtype).at[0].set(row), found
        )
        return Walk(jnp.ones((), bool), jnp.int32(0), paths, rows)

    def advance(self, start: Paths, now: Walk, turns: Array) -> tuple[Walk, Array]:
        """So many turns more of paths that begin at `start`, and how many are left."""
        first, paths = self.tile.saved(self.ts[0], start)
        paths = select(now.begun, now.paths, paths)
        rows = jax.tree.map(
            lambda rows, row: rows.at[0].set(jnp.where(now.begun, rows[0], row)), now.rows, first
        )
        now = Walk(jnp.ones((), bool), jnp.where(now.begun, now.turn, 0), paths, rows)
        if not self.all:
            return now, turns

        def goes_on(carry: tuple[Walk, Array]) -> Array:
            return (carry[0].turn < self.all) & (carry[1] > 0)

        def turn(carry: tuple[Walk, Array]) -> tuple[Walk, Array]:
            return self._turn(carry[0], start.base), carry[1] - 1

        return lax.while_loop(goes_on, turn, (now, turns))

    def known(self, now: Walk) -> Any:
        """The rows so far, `[times, paths, …]`, NaN from there on."""
        count = self.ts.shape[0]
        rows = jax.tree.map(lambda rows: rows[:count], now.rows)
        return only(jnp.arange(count) <= self.intervals(now.turn), rows)

    def _turn(self, now: Walk, base: Array) -> Walk:
        """One turn; the run began after `base` base steps."""
        number, part = jnp.divmod(now.turn, self.of_interval)
        begin, end = self.ts[number], self.ts[number + 1]
        count = jnp.asarray(self.tile.steps.counts, jnp.int32)[number]
        h = (end - begin) / count.astype(self.ts.dtype)
        interval = Interval(self.tile, begin, h, count, now.paths.base, base)
        first = part * self.blocks_a_turn
        paths = self._blocks(interval, now.paths, first)

        def save(paths: Paths) -> tuple[Any, Paths]:
            found, paths = self.tile.saved(end, paths)
            return found, dataclasses.replace(paths, base=paths.base + count, last=end)

        def go_on(paths: Paths) -> tuple[Any, Paths]:
            return jax.tree.map(lambda rows: jnp.zeros_like(rows[0]), now.rows), paths

        saves = part == self.of_interval - 1
        found, paths = lax.cond(saves, save, go_on, paths)
        index = jnp.where(saves, number + 1, self.ts.shape[0])
        rows = jax.tree.map(
            lambda rows, row: lax.dynamic_update_index_in_dim(rows, row, index, 0), now.rows, found
        )
        return Walk(now.begun, now.turn + 1, paths, rows)

    def _blocks(self, interval: Interval, paths: Paths, first: Array) -> Paths:
        """The paths after the blocks of a turn."""
        whole, rest = divmod(self.tile.steps.most, self.ahead)
        last = jnp.minimum(first + self.blocks_a_turn, whole)

        def block(carry: tuple[Paths, Array]) -> tuple[Paths, Array]:
            paths, number = carry
            return interval.some(self.ahead, paths, number * self.ahead), number + 1

        paths, _ = lax.while_loop(lambda carry: carry[1] < last, block, (paths, first))
        if not rest:
            return paths
        return lax.cond(
            first + self.blocks_a_turn > whole,
            lambda paths: interval.some(rest, paths, jnp.int32(whole * self.ahead)),
            lambda paths: paths,
            paths,
        )
