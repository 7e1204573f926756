"""Many paths as tiles: one after the other on each device, and devices side by side.

Tiles have one width, and the last is padded, so that one compiled program runs any number of paths.
Devices do not communicate while they run.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Bool, Float, Int, UInt

from ...circuits.circuit import Circuit
from ...errors import CircuitError
from ...status import Status
from ..convergence import facts
from .calculus import Stochastic, broken, continued
from .noise import Words
from .tile import Paths, Tile, chosen

_NONE = np.uint32(2**32 - 1)


class Failures(eqx.Module):
    """How many paths ended, how many of them at a loop without a solution, and the first by number.

    `step` is the step at which the first one ended; `state` the place of the state atom that was
    not finite, past the last that of an output; `loop` the place of the loop that was not
    solved, -1 where all were, with its `iterations` and its `residual`.
    """

    count: UInt[Array, "*batch"]
    unsolved: UInt[Array, "*batch"]
    path: UInt[Array, "*batch"]
    step: Int[Array, "*batch"]
    state: Int[Array, "*batch"]
    loop: Int[Array, "*batch"]
    iterations: Int[Array, "*batch"]
    residual: Float[Array, "*batch"]


class Reduced(eqx.Module):
    """What a reduced run has so far, a row for each device, to go on from with more paths.

    The rows hold what full rounds of full tiles gave, so that a run that goes on has the bits of
    one that was never interrupted. `words` are those of the key, and `run` says of which run it is.
    """

    accumulators: Any
    failures: Failures
    started: Bool[Array, " devices"]
    rounds: Int[Array, ""]
    width: Int[Array, ""]
    words: UInt[Array, " 2"]
    run: UInt[Array, " 2"]


@dataclasses.dataclass(frozen=True)
class Tiles:
    """How `paths` are cut into tiles; `make` gives what runs the paths of some numbers."""

    make: Callable[[Words | None, Array], Tile]
    ts: Array
    words: Words | None
    paths: int
    width: int
    mesh: Mesh | None

    @property
    def devices(self) -> int:
        return 1 if self.mesh is None else self.mesh.size

    @property
    def rounds(self) -> int:
        """How many tiles the busiest device runs."""
        return -(-self.paths // (self.width * self.devices))

    def stored(self, state: Paths | None) -> tuple[Any, Paths, Failures, Array, Status]:
        """All outputs and named wires, `[paths, times, …]`, the paths' end, failures, and of each
        path its bad step and its status."""
        numbers = jnp.arange(self.devices * self.rounds, dtype=jnp.uint32)
        numbers = numbers.reshape(self.devices, self.rounds)
        given = None if state is None else self._cut_up(state)

        def device(numbers: Array, given: Any, words: Any, ts: Array, limit: Array) -> Any:
            def one(_: None, x: Any) -> Any:
                number, given = x
                paths, start, end, found = self._run(number, given, words, ts)
                bad = _bad_steps(start, end)
                failures = _failures(end, paths, bad, paths < limit)
                outputs = jax.tree.map(lambda rows: jnp.moveaxis(rows, 0, 1), found)
                return None, ((outputs, bad, _by_path(end)), (failures, _by_tile(end)))

            found = lax.scan(one, None, (numbers[0], jax.tree.map(lambda x: x[0], given)))[1]
            return jax.tree.map(lambda rows: rows[None], found)

        kept, others = self._spread(device)(numbers, given, *self._shared())
        kept = jax.tree.map(lambda rows: rows.reshape(-1, *rows.shape[3:])[: self.paths], kept)
        outputs, bad, kept = kept
        failures, shared = jax.tree.map(lambda rows: rows.reshape(-1), others)
        end = _paths(kept, jax.tree.map(lambda rows: rows[0], shared))
        status = jax.vmap(_status)(bad >= 0, _unsolved(end))
        return outputs, end, _folded(failures), bad, status

    def reduced(
        self, reductions: Sequence[Any], state: Reduced | None, done: int
    ) -> tuple[list[Any], Reduced, Failures]:
        """The statistics, what to go on from, and failures; `done` rounds are in the state."""
        rounds = jnp.arange(done, self.rounds, dtype=jnp.uint32)
        numbers = rounds * self.devices + jnp.arange(self.devices, dtype=jnp.uint32)[:, None]
        # A round that is not full is run again where more paths are asked for.
        full = self.paths // (self.width * self.devices)
        whole = jnp.broadcast_to(rounds < full, numbers.shape)
        blank = self._blank(reductions)
        if state is not None:
            given = state.accumulators, state.failures, state.started
            if _types(given) != _types(blank):
                raise CircuitError("the state is that of other statistics, or of other times")
            blank = given

        def device(rounds: Any, kept: Any, words: Any, ts: Array, limit: Array) -> Any:
            rounds, kept = jax.tree.map(lambda x: x[0], (rounds, kept))

            def one(carry: Any, x: tuple[Array, Array]) -> Any:
                (present, kept), (number, whole) = carry, x
                paths, start, end, (outputs, _) = self._run(number, None, words, ts)
                alive = (end.good == end.taken) & (paths < limit)
                outputs = tuple(jnp.moveaxis(rows, 0, 1) for rows in outputs)
                # Of ended paths a statistic's function makes what has no derivative.
                one = jnp.argmax(alive)
                stand_ins = tuple(jnp.where(alive[one], row[one], 1) for row in outputs)
                outputs = chosen(alive, outputs, stand_ins)
                new = tuple(r.tile(r.values(outputs), alive) for r in reductions)
                accumulators, failures, started = present
                both = tuple(
                    r.merge(a, b) for r, a, b in zip(reductions, accumulators, new, strict=True)
                )
                merged = jax.tree.map(lambda a, b: jnp.where(started, a, b), both, new)
                fresh = _failures(end, paths, _bad_steps(start, end), paths < limit)
                present = merged, _merged(failures, fresh), jnp.ones_like(started)
                kept = jax.tree.map(lambda a, b: jnp.where(whole, a, b), present, kept)
                return (present, kept), None

            one = jax.checkpoint(one, prevent_cse=False)
            found = lax.scan(one, (kept, kept), rounds)[0]
            return jax.tree.map(lambda x: x[None], found)

        present, kept = self._spread(device)((numbers, whole), blank, *self._shared())
        accumulators, *others = (
            jax.tree.map(lambda x, n=number: x[n], present[0]) for number in range(self.devices)
        )
        for other in others:
            accumulators = tuple(
                r.merge(a, b) for r, a, b in zip(reductions, accumulators, other, strict=True)
            )
        results = [r.result(a) for r, a in zip(reductions, accumulators, strict=True)]
        rounds, width = (jnp.asarray(n, jnp.int32) for n in (full, self.width))
        words = key_array(self.words)
        nothing = jnp.zeros(2, jnp.uint32)
        state = Reduced(kept[0], kept[1], kept[2], rounds, width, words, nothing)
        return results, state, _folded(present[1])

    def _run(
        self, number: Array, given: Any, words: Any, ts: Array
    ) -> tuple[Array, Paths, Paths, Any]:
        """One tile: the numbers of its paths, its start, its end and what was saved."""
        paths = number * jnp.uint32(self.width) + jnp.arange(self.width, dtype=jnp.uint32)
        tile = self.make(words, paths)
        start = tile.begin(ts[0], self.width) if given is None else _paths(*given)
        end, found = tile.run(ts, start)
        return paths, start, end, found

    def _shared(self) -> tuple[Any, Array, Array]:
        return self.words, self.ts, jnp.asarray(self.paths, jnp.uint32)

    def _spread(self, device: Callable[..., Any]) -> Callable[..., Any]:
        """A device's program, over all of them: its first two arguments have a row for each."""
        if self.mesh is None:
            return device
        rows, whole = PartitionSpec(self.mesh.axis_names), PartitionSpec()
        specs = (rows, rows, whole, whole, whole)
        return jax.shard_map(
            device, mesh=self.mesh, in_specs=specs, out_specs=rows, check_vma=False
        )

    def _blank(self, reductions: Sequence[Any]) -> Any:
        """What stands for no paths at all, a row for each device."""

        def one(words: Any) -> Any:
            outputs = self._run(jnp.uint32(0), None, words, self.ts)[3][0]
            outputs = tuple(jnp.moveaxis(rows, 0, 1) for rows in outputs)
            alive = jnp.ones(self.width, bool)
            return tuple(r.tile(r.values(outputs), alive) for r in reductions)

        types = jax.eval_shape(one, self.words)
        rows = jax.tree.map(lambda x: jnp.zeros((self.devices, *x.shape), x.dtype), types)
        none = jnp.full(self.devices, _NONE, jnp.uint32)
        zero = jnp.zeros(self.devices, jnp.int32)
        count, residual = zero.astype(jnp.uint32), zero.astype(jnp.float32)
        failures = Failures(count, count, none, zero, zero, zero - 1, zero, residual)
        return rows, failures, jnp.zeros(self.devices, bool)

    def _cut_up(self, state: Paths) -> Any:
        """The fields of a state, `[devices, rounds, width, …]`, with the last path repeated."""
        missing = self.devices * self.rounds * self.width - self.paths
        shape = (self.devices, self.rounds, self.width)

        def rows(array: Array) -> Array:
            tail = jnp.broadcast_to(array[-1:], (missing, *array.shape[1:]))
            return jnp.concatenate([array, tail]).reshape(*shape, *array.shape[1:])

        def copies(array: Array) -> Array:
            return jnp.broadcast_to(array, shape[:2])

        kept = jax.tree.map(rows, _by_path(state))
        return kept, jax.tree.map(copies, _by_tile(state))


def tiles(
    stochastic: Stochastic,
    circuit: Circuit,
    ts: Array,
    inputs: tuple[Any, ...],
    dim: str | None,
) -> Callable[[Words | None, Array], Tile]:
    """What runs the paths of some numbers, with the rows of handed increments that are theirs.

    The paths that fill the last tile up have the last row.
    """

    def make(words: Words | None, paths: Array) -> Tile:
        handed = {
            name: value[jnp.minimum(paths, value.shape[0] - 1)]
            for name, value in stochastic.handed.items()
        }
        own = eqx.tree_at(lambda s: s.handed, stochastic, handed) if handed else stochastic
        return own.tile(circuit, ts, inputs, dim, words, paths)

    return make


def key_array(words: Words | None) -> Array:
    """The words of a run's key as one array; zeros where it has none."""
    return jnp.zeros(2, jnp.uint32) if words is None else jnp.stack(words)


def _types(tree: Any) -> Any:
    leaves, structure = jax.tree.flatten(tree)
    return structure, [(leaf.shape, leaf.dtype) for leaf in leaves]


def _by_path(paths: Paths) -> tuple[Any, ...]:
    """The fields that have a row for each path."""
    return paths.contents, paths.guesses, paths.solves, paths.good, paths.output


def _by_tile(paths: Paths) -> tuple[Array, ...]:
    """The fields that all paths share."""
    return paths.taken, paths.base, paths.last


def _paths(kept: tuple[Any, ...], shared: tuple[Array, ...]) -> Paths:
    """The inverse of `_by_path` and `_by_tile`."""
    return Paths(*kept, *shared)


def checked(tile: Tile, state: Any, paths: int) -> Paths | None:
    """The state of all paths, where there is one."""
    return None if state is None else continued(tile, state, paths)


def _bad_steps(start: Paths, end: Paths) -> Array:
    """The step of this run at which each path ended, -1 where it did not."""
    steps = jnp.maximum(end.good - start.taken, 0)
    return jnp.where(end.good == end.taken, -1, steps)


def _failures(end: Paths, paths: Array, bad: Array, counted: Array) -> Failures:
    """The failures of one tile, among the paths that are not padding."""
    failed = (bad >= 0) & counted
    first = jnp.argmax(failed)
    count = jnp.sum(failed, dtype=jnp.uint32)
    path = jnp.where(failed[first], paths[first], _NONE)
    loop, iterations = jnp.int32(-1), jnp.int32(0)
    residual = jnp.float32(0)
    unsolved = failed & _unsolved(end)
    if end.solves is not None:
        own = jax.tree.map(lambda rows: rows[first][None], end.solves)
        said = facts(own, own.failed)
        loop = jnp.where(unsolved[first], said["loop"], -1).astype(jnp.int32)
        iterations = said["iterations"].astype(jnp.int32)
        residual = said["residual"].astype(jnp.float32)
    return Failures(
        *(count, jnp.sum(unsolved, dtype=jnp.uint32), path),
        *(bad[first].astype(jnp.int32), broken(end, first)),
        *(loop, iterations, residual),
    )


def _unsolved(end: Paths) -> Array:
    """Which paths ended at a loop that was not solved."""
    if end.solves is None:
        return jnp.zeros(end.good.shape, bool)
    return jnp.any(end.solves.failed, axis=1)


def _status(ended: Array, unsolved: Array) -> Status:
    how = Status.where(unsolved, Status.not_converged, Status.nonfinite)
    return Status.where(ended, how, Status.ok)


def _merged(first: Failures, second: Failures) -> Failures:
    """The failures of both: the count of all, and the first path."""
    earlier = first.path <= second.path
    chosen = jax.tree.map(lambda a, b: jnp.where(earlier, a, b), first, second)
    count, unsolved = first.count + second.count, first.unsolved + second.unsolved
    return dataclasses.replace(chosen, count=count, unsolved=unsolved)


def _folded(rows: Failures) -> Failures:
    """The failures of all rows."""
    first = jnp.argmin(rows.path)
    chosen = jax.tree.map(lambda row: row[first], rows)
    count, unsolved = (jnp.sum(x, dtype=jnp.uint32) for x in (rows.count, rows.unsolved))
    return dataclasses.replace(chosen, count=count, unsolved=unsolved)
