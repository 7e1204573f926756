"""A tile of paths through time: steps side by side, their noise drawn as they go.

Noise is made for a few steps at once, for the whole tile, and then consumed step by step. So XLA
makes it in one pass over one array, computes no number twice, and nothing of it outlives the steps.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Shaped

from ...errors import CircuitError
from ...jaxprs import fences
from ...jaxprs.concrete import checkpoint
from ...jaxprs.own_functions import traceable
from ..convergence import Solves, worst
from ..pointwise import Contents, Guesses
from ..rows import chosen, finite, only
from .delays import Rings
from .draws import Drawn, Draws
from .events import Events, Sides
from .sde import After, Equation
from .survivors import of_survivors

# How many numbers a path draws at once, at most; but for two steps at least, which share a block.
_AHEAD = 64


class Paths(eqx.Module):
    """Where the paths of a tile stand.

    - `contents`: what the state atoms hold; `sides`: for each guard of events, whether it was left
      above zero; `guesses`: where the next solves of loops without registers start.
    - `solves`: how these went: of a path that ended at one, the solves of that step, else the worst
      so far; None where there are no loops.
    - `good`: how many steps each path has taken with finite values. A path that has taken fewer
      than `taken` has ended.
    - `output`: the index of the output or named wire at which a path ended, 0 where at none.
    - `base`: how many steps were taken, before they are halved; noise is drawn by that.
    - `last`: the time that was reached.
    - `h`: the size of the steps that the rings of delays are of, and `before`, how many were taken
      before the run, in which they are counted anew.
    """

    contents: tuple[Shaped[Array, "paths ..."], ...]
    sides: tuple[Bool[Array, "paths ..."], ...]
    guesses: tuple[Shaped[Array, "paths ..."], ...]
    solves: Solves | None
    good: Int[Array, " paths"]
    output: Int[Array, " paths"]
    taken: Int[Array, ""]
    base: Int[Array, ""]
    last: Float[Array, ""]
    h: Float[Array, ""]
    before: Int[Array, ""]

    @property
    def alive(self) -> Array:
        """The paths that have not ended."""
        return self.good == self.taken


@dataclasses.dataclass(frozen=True)
class Steps:
    """How time is cut: `counts` base steps in each interval, each halved so many times."""

    counts: tuple[int, ...]
    halvings: int

    @property
    def most(self) -> int:
        return max(self.counts, default=0)

    @property
    def even(self) -> bool:
        return len(set(self.counts)) <= 1

    def ahead(self, numbers: int) -> int:
        """For how many base steps noise is drawn at once, where a path draws so many a step.

        It divides the number of steps where it can.
        """
        most = min(self.most, max(1, max(2, _AHEAD // max(1, numbers)) >> self.halvings))
        fitting = [n for n in range(1, most + 1) if self.most % n == 0]
        return fitting[-1] if 2 * fitting[-1] > most else most

    def times(self, ts: Array, halves: Array) -> Array:
        """The times after so many steps from the start."""
        bounds = np.concatenate([[0], np.cumsum(self.counts)]) * 2**self.halvings
        interval = jnp.clip(jnp.searchsorted(jnp.asarray(bounds), halves, side="right") - 1, 0)
        interval = jnp.minimum(interval, max(len(self.counts) - 1, 0))
        start, end = ts[interval], ts[jnp.minimum(interval + 1, len(ts) - 1)]
        counts = np.asarray([*self.counts, 1]) * 2**self.halvings
        part = (halves - jnp.asarray(bounds)[interval]) / jnp.asarray(counts)[interval]
        return start + (end - start) * part.astype(ts.dtype)


@dataclasses.dataclass(frozen=True)
class Tile:
    """What runs the paths of a tile."""

    equation: Equation
    draws: Draws
    steps: Steps
    events: Events
    rings: Rings

    def begin(self, start: Array, paths: int) -> Paths:
        """What so many paths start from, at the time `start`: all from the same."""
        if not self.events.atoms:
            return self.blank(start, paths)
        pointwise = self.equation.pointwise
        first = self.events.start(pointwise, start.astype(pointwise.time_dtype))
        return self._alike(start, paths, first.contents, first.sides)

    def blank(self, start: Array, paths: int) -> Paths:
        """The same, but for events at the very start."""
        return self._alike(start, paths, self.equation.pointwise.begin(), self.events.blank())

    def _alike(self, start: Array, paths: int, contents: Contents, sides: Sides) -> Paths:
        pointwise = self.equation.pointwise
        contents, sides, guesses, solves = jax.tree.map(
            lambda part: jnp.broadcast_to(part, (paths, *part.shape)),
            (contents, sides, pointwise.start(), pointwise.unsolved()),
        )
        none, zero = jnp.zeros(paths, jnp.int32), jnp.zeros((), jnp.int32)
        return Paths(
            contents, sides, guesses, solves, none, none, zero, zero, start, self.rings.h, zero
        )

    def run(self, ts: Array, start: Paths) -> tuple[Paths, Any]:
        """The paths at the last time, and outputs and named wires at all, `[times, paths, …]`.

        Outputs are NaN where a path has ended; one that is not finite ends its path too.
        """
        first, start = self.saved(ts[0], start)
        if ts.shape[0] == 1:
            return start, jax.tree.map(lambda row: row[None], first)

        def interval(paths: Paths, x: tuple[Array, Array, Array]) -> tuple[Paths, Any]:
            begin, end, count = x
            h = (end - begin) / count.astype(ts.dtype)
            paths = Interval(self, begin, h, count, paths.base, start.base).run(paths)
            found, paths = self.saved(end, paths)
            return dataclasses.replace(paths, base=paths.base + count, last=end), found

        counts = jnp.asarray(self.steps.counts, jnp.int32)
        interval = checkpoint(interval)
        end, rest = lax.scan(interval, start, (ts[:-1], ts[1:], counts))
        return end, jax.tree.map(lambda row, rows: jnp.concatenate([row[None], rows]), first, rest)

    def step(self, t: Array, h: Array, paths: Paths, drawn: Drawn) -> Paths:
        """One step of every path from t; one that has ended stays as it was."""

        def one(contents: Contents, guesses: Guesses, sides: Sides, drawn: Drawn) -> Any:
            first = self.equation.at(t, contents, guesses)
            contents = self.rings.written(contents, first.feeds.values)
            first = dataclasses.replace(first, contents=contents)
            with traceable(f"{type(self.draws.method).__name__}: step"):
                after = self.draws.method.step(first, h, self.draws.scaled(drawn, h))
            _check_after(self.draws.method, after, contents)
            moved = after.contents
            if drawn.jumps:
                gained = self.equation.jumps.gained(first.feeds, h, drawn.jumps)
                moved = tuple(part + gained.get(i, 0) for i, part in enumerate(moved))
            if not sides:
                return moved, first.feeds.guesses, sides, after.solves
            found = self.events.after(first.equation.pointwise, t + h, moved, guesses, sides)
            solves = worst(after.solves, found.solves)
            return found.contents, first.feeds.guesses, found.sides, solves

        alive = paths.alive

        def survive(found: Any) -> Array:
            contents, _, _, solves = found
            return _sound(contents, solves, len(alive))

        found = self._of_survivors(one, paths, (paths.sides, drawn), survive)
        after, guesses, sides, solves = found
        contents = chosen(alive, after, paths.contents)
        guesses = chosen(alive, guesses, paths.guesses)
        sides = chosen(alive, sides, paths.sides)
        solves = _judged(alive, solves, paths.solves)
        # Read off what is kept: read off `after`, XLA would compute that, noise and all, once more.
        good = paths.good + (alive & _sound(contents, solves, len(alive)))
        return dataclasses.replace(
            paths,
            contents=contents,
            sides=sides,
            guesses=guesses,
            solves=solves,
            good=good,
            taken=paths.taken + 1,
        )

    def saved(self, t: Array, paths: Paths) -> tuple[Any, Paths]:
        """Outputs and named wires at one time, and the paths without those that end there."""

        def one(contents: Contents, guesses: Guesses) -> Any:
            row = self.equation.pointwise.outputs(t, contents, guesses, {})
            return (row.outputs, row.names), row.solves

        alive = paths.alive

        def survive(found: Any) -> Array:
            wires, solves = found
            return _sound(wires, solves, len(alive))

        found, solves = self._of_survivors(one, paths, (), survive)
        stays = alive & _sound(found, solves, len(alive))
        # A path that ends at an output lacks the step that led there.
        good = jnp.where(alive & ~stays, paths.taken - 1, paths.good)
        solves = _judged(alive, solves, paths.solves)
        wires = [finite(wire, len(alive)) for wire in jax.tree.leaves(found)]
        if wires:
            first = jnp.argmin(jnp.stack(wires), axis=0).astype(jnp.int32)
            paths = dataclasses.replace(paths, output=jnp.where(alive, first, paths.output))
        return only(stays, found), dataclasses.replace(paths, good=good, solves=solves)

    def _of_survivors(self, fn: Any, paths: Paths, drawn: tuple[Any, ...], survive: Any) -> Any:
        """fn of each path's contents, guesses and what it drew."""
        pointwise = self.equation.pointwise
        rows = paths.contents, paths.guesses, *drawn
        still = jax.tree.map(lambda row: jnp.zeros(row.shape[1:], row.dtype), drawn)
        spare = pointwise.begin(), pointwise.start(), *still
        return of_survivors(fn, rows, spare, paths.alive, survive)


@dataclasses.dataclass(frozen=True)
class Interval:
    """The steps between two saved times: `count` base steps of length h from t.

    `base` is how many base steps were taken before, and `start` how many before the run.
    """

    tile: Tile
    t: Array
    h: Array
    count: Array
    base: Array
    start: Array

    def run(self, paths: Paths) -> Paths:
        """The paths at the end of the interval."""
        steps, most = self.tile.steps, self.tile.steps.most
        ahead = steps.ahead(self.tile.draws.numbers_a_step)
        whole = most // ahead
        paths = _repeated(lambda p, first: self.some(ahead, p, first), paths, whole, ahead)
        if most % ahead:
            paths = self.some(most % ahead, paths, jnp.asarray(whole * ahead))
        return paths

    def some(self, number: int, paths: Paths, first: Array) -> Paths:
        """The paths after `number` base steps from `first` on, as far as the interval has them."""
        if self.tile.steps.even:
            return self._drawn(number, paths, first)
        return lax.cond(
            first < self.count, lambda p: self._drawn(number, p, first), lambda p: p, paths
        )

    def _drawn(self, number: int, paths: Paths, first: Array) -> Paths:
        """The same, with the noise of these steps drawn at once."""
        halves = 2**self.tile.steps.halvings
        turns = fences.turns(number * halves)
        begin = self.base + first
        ahead = self.tile.draws.ahead(begin, -(-turns // halves), begin - self.start)
        end = jnp.minimum(first + number, self.count) * halves
        surely = self.tile.steps.even and turns == number * halves
        h = self.h / halves

        def step(paths: Paths, x: tuple[Array, Drawn]) -> tuple[Paths, None]:
            turn, row = x
            number = first * halves + turn
            t = self.t + number.astype(self.t.dtype) * h
            args = t, h, paths, ahead.step(turn, row)
            if surely:
                return self.tile.step(*args), None
            return lax.cond(number < end, self.tile.step, lambda *args: args[2], *args), None

        return lax.scan(step, paths, (jnp.arange(turns), ahead.rows))[0]


def _check_after(method: Any, after: Any, contents: Contents) -> None:
    """Raises `CircuitError` where a method does not return contents like those at the start."""

    def types(tree: Any) -> Any:
        return jax.tree.map(lambda part: (jnp.shape(part), jnp.result_type(part)), tree)

    if not isinstance(after, After) or types(after.contents) != types(contents):
        raise CircuitError(
            f"{type(method).__name__}: step must return start.after(contents), with arrays of the "
            f"shapes and dtypes of start.contents, not {after!r}"
        )


def _judged(alive: Array, new: Solves | None, old: Solves | None) -> Solves | None:
    """How loops were solved, with what a step or a saved time adds, `[paths, loops]`."""
    if new is None:
        return None
    failed = jnp.any(new.failed, axis=1)
    return chosen(alive, chosen(failed, new, worst(old, new)), old)


def _sound(tree: Any, solves: Solves | None, paths: int) -> Array:
    """Whether all is finite that each path has in a tree, and all its loops were solved."""
    found = finite(tree, paths)
    return found if solves is None else found & ~jnp.any(solves.failed, axis=1)


def _repeated(
    advance: Callable[[Paths, Array], Paths], paths: Paths, count: int, stride: int
) -> Paths:
    """advance(paths, k stride) for k = 0 … count - 1.

    Reverse mode keeps the paths at some sqrt(count) points and runs the stretches between again.
    """

    def one(at: tuple[Paths, Array], _: None) -> tuple[tuple[Paths, Array], None]:
        paths, number = at
        return (advance(paths, number * stride), number + 1), None

    def stretch(at: tuple[Paths, Array], _: None) -> tuple[tuple[Paths, Array], None]:
        return lax.scan(checkpoint(one), at, length=length)[0], None

    most = math.isqrt(max(count, 1))
    length = max(n for n in range(1, most + 1) if count % n == 0)
    stretch = checkpoint(stretch)
    return lax.scan(stretch, (paths, jnp.int32(0)), length=count // length)[0][0]
