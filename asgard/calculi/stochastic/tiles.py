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
from jax import lax
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Bool, Int, UInt

from ...circuits.circuit import Circuit
from ...errors import CircuitError
from ...jaxprs.concrete import checkpoint
from ...jaxprs.trees import select
from ...status import Status
from ..rows import chosen
from .calculus import Stochastic
from .failures import Failures, bad_steps, status, unsolved_paths
from .noise import Words
from .tile import Paths, Tile


class Progress(eqx.Module):
    """What paths have given so far: the accumulators of all statistics, and failures. Where none
    were `started` it says nothing. With a row for each device, or without."""

    accumulators: tuple[Any, ...]
    failures: Failures
    started: Bool[Array, "*devices"]

    def merged(self, other: "Progress", reductions: Sequence[Any]) -> "Progress":
        """What these and some other paths give, of which at least one has started."""
        both = _merged(self.accumulators, other.accumulators, reductions)
        found = select(self.started, both, other.accumulators)
        failures = self.failures.merged(other.failures)
        return Progress(found, failures, jnp.ones_like(self.started))


class Reduced(eqx.Module):
    """What a reduced run has so far, a row for each device, to go on from with more paths.

    The rows hold what full rounds of full tiles gave, so that a run that goes on has the bits of
    one that was never interrupted. `words` are those of the key, and `label` says of which run it
    is.
    """

    progress: Progress
    rounds: Int[Array, ""]
    width: Int[Array, ""]
    words: UInt[Array, " 2"]
    label: Any = None


class Stored(eqx.Module):
    """What a run that stores its paths gives: `[paths, times, …]`, and `[paths]`.

    `first_bad` is the step at which each path ended, -1 where it did not.
    """

    outputs: tuple[Any, ...]
    names: dict[str, Any]
    end: Paths
    failures: Failures
    first_bad: Int[Array, " paths"]
    status: Status


@dataclasses.dataclass(frozen=True)
class Ran:
    """What one tile gave: the numbers of its paths, its start and its end, and outputs and named
    wires, `[paths, times, …]`."""

    paths: Array
    start: Paths
    end: Paths
    outputs: tuple[Array, ...]
    names: dict[str, Array]

    def failures(self, limit: Array) -> Failures:
        """The failures among the paths below a limit."""
        return Failures.of(
            self.end, self.paths, bad_steps(self.start, self.end), self.paths < limit
        )

    def kept(self, limit: Array) -> tuple[Any, Any]:
        """What is stored of the tile: path by path, and for all of them."""
        of_paths, of_tile = _split(self.end)
        bad = bad_steps(self.start, self.end)
        return (self.outputs, self.names, bad, of_paths), (self.failures(limit), of_tile)


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

    def stored(self, state: Paths | None) -> Stored:
        """All outputs and named wires, the paths' end, and how each ended."""
        numbers, given = self.numbers(), self.cut_up(state)

        def device(numbers: Array, given: Any, words: Any, ts: Array, limit: Array) -> Any:
            def one(_: None, x: tuple[Array, Paths | None]) -> Any:
                return None, self._run(*x, words, ts).kept(limit)

            own = jax.tree.map(lambda rows: rows[0], (numbers, given))
            found = lax.scan(one, None, own)[1]
            return jax.tree.map(lambda rows: rows[None], found)

        return self.stacked(*self.over_devices(device, 2)(numbers, given, *self.shared()))

    def stacked(self, by_path: Any, by_tile: Any) -> Stored:
        """What is stored of all tiles, `[devices, rounds, …]`, as rows of paths."""
        by_path = jax.tree.map(lambda x: x.reshape(-1, *x.shape[3:])[: self.paths], by_path)
        outputs, names, bad, of_paths = by_path
        failures, of_tile = jax.tree.map(lambda rows: rows.reshape(-1), by_tile)
        end = eqx.combine(of_paths, jax.tree.map(lambda rows: rows[0], of_tile))
        how = jax.vmap(status)(bad >= 0, unsolved_paths(end))
        return Stored(outputs, names, end, failures.folded(), bad, how)

    def reduced(
        self, reductions: Sequence[Any], before: Progress | None, done: int
    ) -> tuple[list[Any], Reduced, Failures]:
        """The statistics, what to go on from, and failures; `done` rounds were run `before`."""
        begin = self.begun(reductions, before)

        def device(rounds: Any, begin: Progress, words: Any, ts: Array, limit: Array) -> Any:
            def one(carry: tuple[Progress, Progress], x: tuple[Array, Array]) -> Any:
                (present, kept), (number, whole) = carry, x
                fresh = measured(self._run(number, None, words, ts), limit, reductions)
                present = present.merged(fresh, reductions)
                kept = select(whole, present, kept)
                return (present, kept), None

            rounds, begin = jax.tree.map(lambda rows: rows[0], (rounds, begin))
            one = checkpoint(one)
            found = lax.scan(one, (begin, begin), rounds)[0]
            return jax.tree.map(lambda x: x[None], found)

        rounds = self.rounds_from(done)
        present, kept = self.over_devices(device, 2)(rounds, begin, *self.shared())
        return self.joined(present, kept, reductions)

    def joined(
        self, present: Progress, kept: Progress, reductions: Sequence[Any]
    ) -> tuple[list[Any], Reduced, Failures]:
        """The statistics, what to go on from, and failures, of what all devices have."""
        first, *others = (
            jax.tree.map(lambda x, n=number: x[n], present.accumulators)
            for number in range(self.devices)
        )
        for other in others:
            first = _merged(first, other, reductions)
        results = [r.result(a) for r, a in zip(reductions, first, strict=True)]
        rounds, width = (jnp.asarray(n, jnp.int32) for n in (self.full_rounds, self.width))
        state = Reduced(kept, rounds, width, key_array(self.words))
        return results, state, present.failures.folded()

    def _run(self, number: Array, start: Paths | None, words: Any, ts: Array) -> Ran:
        """The tile of a number."""
        paths = self.paths_of(number)
        tile = self.make(words, paths)
        start = tile.begin(ts[0], self.width) if start is None else start
        end, found = tile.run(ts, start)
        outputs, names = jax.tree.map(lambda rows: jnp.moveaxis(rows, 0, 1), found)
        return Ran(paths, start, end, outputs, names)

    def paths_of(self, number: Array) -> Array:
        """The numbers of the paths of a tile."""
        return number * jnp.uint32(self.width) + jnp.arange(self.width, dtype=jnp.uint32)

    def numbers(self) -> Array:
        """The numbers of the tiles of each device, `[devices, rounds]`, where paths are stored."""
        numbers = jnp.arange(self.devices * self.rounds, dtype=jnp.uint32)
        return numbers.reshape(self.devices, self.rounds)

    def rounds_from(self, done: int) -> tuple[Array, Array]:
        """The numbers of the tiles that are left after some rounds, `[devices, rounds]`, where they
        are reduced, and whether the tiles of each are full.

        A round that is not full is run again where more paths are asked for.
        """
        rounds = jnp.arange(done, self.rounds, dtype=jnp.uint32)
        numbers = rounds * self.devices + jnp.arange(self.devices, dtype=jnp.uint32)[:, None]
        return numbers, jnp.broadcast_to(rounds < self.full_rounds, numbers.shape)

    @property
    def full_rounds(self) -> int:
        """How many rounds have full tiles."""
        return self.paths // (self.width * self.devices)

    def shared(self) -> tuple[Any, Array, Array]:
        """What all devices read: the key's words, the times, and the number of all paths."""
        return self.words, self.ts, jnp.asarray(self.paths, jnp.uint32)

    def over_devices(self, device: Callable[..., Any], own: int) -> Callable[..., Any]:
        """A device's program, over all of them: of its first arguments, `own` many, each device has
        a row."""
        if self.mesh is None:
            return device
        mesh, rows, whole = self.mesh, PartitionSpec(self.mesh.axis_names), PartitionSpec()

        def spread(*arguments: Any) -> Any:
            specs = tuple(rows if n < own else whole for n in range(len(arguments)))
            return jax.shard_map(
                device, mesh=mesh, in_specs=specs, out_specs=rows, check_vma=False
            )(*arguments)

        return spread

    def begun(self, reductions: Sequence[Any], before: Progress | None) -> Progress:
        """What a reduced run starts from, a row for each device."""
        begin = self._blank(reductions)
        if before is None:
            return begin
        if _types(before) != _types(begin):
            raise CircuitError("the state is that of other statistics, or of other times")
        return before

    def _blank(self, reductions: Sequence[Any]) -> Progress:
        """What stands for no paths at all, a row for each device."""
        limit = jnp.uint32(self.width)

        def one(words: Any) -> Progress:
            return measured(self._run(jnp.uint32(0), None, words, self.ts), limit, reductions)

        types = jax.eval_shape(one, self.words).accumulators
        rows = jax.tree.map(lambda x: jnp.zeros((self.devices, *x.shape), x.dtype), types)
        return Progress(rows, Failures.none(self.devices), jnp.zeros(self.devices, bool))

    def cut_up(self, state: Paths | None) -> Paths | None:
        """The fields of a state, `[devices, rounds, width, …]`, with the last path repeated."""
        if state is None:
            return None
        missing = self.devices * self.rounds * self.width - self.paths
        shape = (self.devices, self.rounds, self.width)

        def rows(array: Array) -> Array:
            tail = jnp.broadcast_to(array[-1:], (missing, *array.shape[1:]))
            return jnp.concatenate([array, tail]).reshape(*shape, *array.shape[1:])

        of_paths, of_tile = _split(state)
        copies = jax.tree.map(lambda x: jnp.broadcast_to(x, shape[:2]), of_tile)
        return eqx.combine(jax.tree.map(rows, of_paths), copies)


def tiles(
    stochastic: Stochastic, circuit: Circuit, ts: Array, inputs: tuple[Any, ...], dim: str | None
) -> Callable[[Words | None, Array], Tile]:
    """What runs the paths of some numbers, with the rows of handed increments that are theirs.

    The paths that fill the last tile up have the last row.
    """

    def make(words: Words | None, paths: Array) -> Tile:
        own = stochastic.with_rows(lambda value: value[jnp.minimum(paths, value.shape[0] - 1)])
        return own.tile(circuit, ts, inputs, dim, words, paths)

    return make


def key_array(words: Words | None) -> Array:
    """The words of a run's key as one array; zeros where it has none."""
    return jnp.zeros(2, jnp.uint32) if words is None else jnp.stack(words)


def measured(ran: Ran, limit: Array, reductions: Sequence[Any]) -> Progress:
    """What the paths of a tile below a limit give."""
    alive = ran.end.alive & (ran.paths < limit)
    # Of ended paths a statistic's function makes what has no derivative.
    one = jnp.argmax(alive)
    found = (ran.outputs, ran.names)
    stand_ins = jax.tree.map(lambda row: jnp.where(alive[one], row[one], 1), found)
    outputs, names = chosen(alive, found, stand_ins)
    accumulators = tuple(r.tile(r.values(outputs, names), alive) for r in reductions)
    return Progress(accumulators, ran.failures(limit), jnp.ones((), bool))


def _merged(first: Any, second: Any, reductions: Sequence[Any]) -> tuple[Any, ...]:
    """The accumulators of both."""
    parts = zip(reductions, first, second, strict=True)
    return tuple(reduction.merge(a, b) for reduction, a, b in parts)


def _types(tree: Any) -> Any:
    leaves, structure = jax.tree.flatten(tree)
    return structure, [(leaf.shape, leaf.dtype) for leaf in leaves]


def _split(paths: Paths) -> tuple[Paths, Paths]:
    """The fields that have a row for each path, and those that all paths of a tile share; None in
    place of the others. `eqx.combine` joins them."""
    is_shared = jax.tree.map(lambda _: False, paths)
    is_shared = eqx.tree_at(
        lambda p: (p.taken, p.base, p.last, p.h, p.before), is_shared, (True,) * 5
    )
    shared, own = eqx.partition(paths, is_shared)
    return own, shared
