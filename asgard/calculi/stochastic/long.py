"""Many paths in stretches: tiles one after the other on each device, and each tile turn by turn."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Int

from ...jaxprs.trees import select
from ..rows import only
from .failures import Failures
from .tile import Paths
from .tiles import Progress, Ran, Stored, Tiles, measured
from .walk import Turns, Walk


class Crowd(eqx.Module):
    """Where an ensemble stands: how many tiles each device has `done`, how its present one stands,
    and what is `gathered` of the others. With a row for each device, or without."""

    done: Int[Array, "*devices"]
    walk: Walk
    gathered: Any


class Gains(eqx.Module):
    """What users are told: whether all paths are done, how many are, and how many have failed."""

    ended: Bool[Array, ""]
    paths: Array
    failed: Array


@dataclasses.dataclass(frozen=True)
class LongTiles:
    """The tiles of a run in stretches. With `reductions` their statistics are kept, of which the
    first `earlier` rounds are in `begin`; else their outputs, from the `start` of paths."""

    tiles: Tiles
    reductions: tuple[Any, ...]
    begin: Progress | None
    earlier: int
    start: Paths | None

    def blank(self) -> Crowd:
        """What is carried before the first turn, of which only the types count."""
        _, given, start = self._own(None)
        types = jax.eval_shape(self._begun, given, start, self.tiles.shared())
        count = (self.tiles.devices,)
        return jax.tree.map(lambda x: jnp.zeros(count + x.shape, x.dtype), types)

    def advance(self, now: Crowd, turns: Array) -> Crowd:
        """So many turns more, of all devices side by side."""

        def device(own: Any, shared: Any, turns: Array) -> Any:
            crowd, given, start = jax.tree.map(lambda rows: rows[0], own)
            found = self._advanced(crowd, given, start, shared, turns)
            return jax.tree.map(lambda x: x[None], found)

        return self.tiles.over_devices(device, 1)(self._own(now), self.tiles.shared(), turns)

    def gains(self, now: Crowd) -> Gains:
        """Where the ensemble stands."""
        done, tiles = now.done[0], self.tiles
        all_turns = self._turns(jnp.uint32(0), tiles.shared()).all
        part = jnp.where(now.walk.begun[0], now.walk.turn[0] / max(1, all_turns), 0)
        paths = (done + self.earlier + part) * (tiles.width * tiles.devices)
        ended = done == tiles.rounds - self.earlier
        failures = now.gathered[0].failures if self.reductions else now.gathered[1][0]
        return Gains(
            ended,
            jnp.where(ended, tiles.paths, jnp.minimum(paths, tiles.paths)),
            jnp.sum(failures.count, dtype=jnp.uint32),
        )

    def statistics(self, now: Crowd) -> tuple[list[Any], Any, Failures, Array]:
        """As `Tiles.reduced` gives them, of the tiles that are done; and how many paths these have.
        Statistics of no path are NaN."""
        present, kept = now.gathered
        results, state, failures = self.tiles.joined(present, kept, self.reductions)
        some = jnp.any(present.started)

        def known(result: Array) -> Array:
            inexact = jnp.issubdtype(result.dtype, jnp.inexact)
            return jnp.where(some, result, jnp.nan) if inexact else result

        full = (now.done[0] + self.earlier) * (self.tiles.width * self.tiles.devices)
        paths = jnp.minimum(full, self.tiles.paths)
        return jax.tree.map(known, results), state, failures, paths

    def stored(self, now: Crowd) -> tuple[Stored, Array]:
        """As `Tiles.stored` gives it, NaN where paths have not come to yet; and which paths are
        done, `[paths]`."""
        tile = jnp.arange(self.tiles.rounds)
        of_tile = jnp.broadcast_to(tile < now.done[0], (self.tiles.devices, self.tiles.rounds))
        begun = of_tile | (tile == now.done[0]) & now.walk.begun[0]
        by_path, (failures, end) = now.gathered
        none = Failures.none(self.tiles.rounds * self.tiles.devices)
        none = jax.tree.map(lambda rows: rows.reshape(begun.shape), none)
        found = self.tiles.stacked(by_path, (select(begun, failures, none), end))
        ended, begun = (
            jnp.repeat(rows.reshape(-1), self.tiles.width)[: self.tiles.paths]
            for rows in (of_tile, begun)
        )
        outputs, names = only(begun, (found.outputs, found.names))
        return dataclasses.replace(found, outputs=outputs, names=names), ended

    def _own(self, now: Crowd | None) -> tuple[Any, Any, Any]:
        """What each device has of its own: where it stands, the numbers of its tiles, and what
        these begin from."""
        if self.reductions:
            return now, self.tiles.rounds_from(self.earlier), self.begin
        return now, self.tiles.numbers(), self.tiles.cut_up(self.start)

    def _turns(self, number: Array, shared: Any) -> Turns:
        """The turns of the tile of a number."""
        words, ts, _ = shared
        tile = self.tiles.make(words, self.tiles.paths_of(number))
        return Turns(tile, ts, self.tiles.width)

    def _begun(self, given: Any, start: Any, shared: Any) -> Crowd:
        """What one device carries before its first turn; the arguments have rows for all."""
        given, start = jax.tree.map(lambda rows: rows[0], (given, start))
        zero = jnp.int32(0)
        turns, begin = self._tile(zero, given, start, shared)
        walk = turns.begin(begin)
        gathered = self._gathered(walk, turns, begin, given, zero, shared)
        if self.reductions:
            return Crowd(zero, walk, (gathered, gathered))
        count = self.tiles.rounds
        rows = jax.tree.map(lambda x: jnp.zeros((count, *x.shape), x.dtype), gathered)
        return Crowd(zero, walk, rows)

    def _tile(self, done: Array, given: Any, start: Any, shared: Any) -> tuple[Turns, Paths]:
        """The turns of a device's tile of a number, and the paths that it begins with."""
        numbers = given[0] if self.reductions else given
        turns = self._turns(numbers[done], shared)
        if self.reductions or start is None:
            return turns, turns.tile.begin(shared[1][0], self.tiles.width)
        return turns, jax.tree.map(lambda rows: rows[done], start)

    def _gathered(
        self, walk: Walk, turns: Turns, begin: Paths, given: Any, done: Array, shared: Any
    ) -> Any:
        """What a tile gives."""
        limit = shared[2]
        numbers = given[0] if self.reductions else given
        outputs, names = jax.tree.map(lambda rows: jnp.moveaxis(rows, 0, 1), turns.known(walk))
        ran = Ran(self.tiles.paths_of(numbers[done]), begin, walk.paths, outputs, names)
        return measured(ran, limit, self.reductions) if self.reductions else ran.kept(limit)

    def _advanced(self, crowd: Crowd, given: Any, start: Any, shared: Any, turns: Array) -> Crowd:
        """The turns of one device."""
        count = self.tiles.rounds - self.earlier
        if self.reductions:
            fresh = (crowd.done == 0) & ~crowd.walk.begun
            begun = select(fresh, (start, start), crowd.gathered)
            crowd = dataclasses.replace(crowd, gathered=begun)

        def goes_on(carry: tuple[Crowd, Array]) -> Array:
            return (carry[0].done < count) & (carry[1] > 0)

        def tile(carry: tuple[Crowd, Array]) -> tuple[Crowd, Array]:
            now, left = carry
            of_tile, begin = self._tile(now.done, given, start, shared)
            walk, left = of_tile.advance(begin, now.walk, left)
            ended = walk.turn == of_tile.all
            fresh = self._gathered(walk, of_tile, begin, given, now.done, shared)
            if self.reductions:
                present, kept = now.gathered
                after = present.merged(fresh, self.reductions)
                present = select(ended, after, present)
                gathered = present, select(ended & given[1][now.done], present, kept)
            else:
                gathered = jax.tree.map(
                    lambda rows, row: lax.dynamic_update_index_in_dim(rows, row, now.done, 0),
                    now.gathered,
                    fresh,
                )
            walk = dataclasses.replace(walk, begun=~ended)
            return Crowd(now.done + ended, walk, gathered), left

        return lax.while_loop(goes_on, tile, (crowd, turns))[0]
