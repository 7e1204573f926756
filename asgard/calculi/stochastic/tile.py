"""A tile of paths through time: steps side by side, their noise drawn as they go.

Noise is made for a few steps at once, for the whole tile, and then consumed step by step. So XLA
makes it in one pass over one array, computes no number twice, and nothing of it outlives the steps.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Inexact, Int, Shaped

from ..convergence import Solves, worst
from ..pointwise import Contents, Guesses
from .methods import Method, Noise
from .noise import SIGN, Numbers, Pairs, bridge, increments, label
from .sde import Equation
from .survivors import of_survivors

# How many numbers a path draws at once, at most; but for two steps at least, which share a block.
_AHEAD = 64


class Paths(eqx.Module):
    """Where the paths of a tile are: what their state atoms hold after so many steps.

    `good` counts the steps that each path has taken with finite values; a path that has taken fewer
    than `taken` has ended; `base` counts steps before they are halved, by which noise is drawn.
    `output` is the place of the output or named wire at which a path ended,
    0 where it was at none. `last` is the time they have come to. `guesses` are where the next
    solves of loops without registers start, and `solves` says how they went: of a path that ended
    at one, the solves of that step, else the worst so far. It is None where there are no loops.
    """

    contents: tuple[Shaped[Array, "paths ..."], ...]
    guesses: tuple[Shaped[Array, "paths ..."], ...]
    solves: Solves | None
    good: Int[Array, " paths"]
    output: Int[Array, " paths"]
    taken: Int[Array, ""]
    base: Int[Array, ""]
    last: Float[Array, ""]


class Drawn(eqx.Module):
    """What a step draws, for a step of length 1: increments and space-time Lévy areas by source,
    signs, and by the place of its register what makes jumps."""

    increments: dict[str, Inexact[Array, "..."]]
    areas: dict[str, Inexact[Array, "..."]]
    signs: Inexact[Array, "..."] | None
    jumps: dict[int, Any]


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
    """What runs the paths of a tile. `handed` are increments from outside, `[paths, steps, …]`."""

    equation: Equation
    method: Method
    steps: Steps
    numbers: Numbers | None
    handed: Mapping[str, Array]

    def begin(self, start: Array, paths: int) -> Paths:
        """The initial contents, the same for so many paths."""
        pointwise = self.equation.pointwise
        contents, guesses, solves = jax.tree.map(
            lambda part: jnp.broadcast_to(part, (paths, *part.shape)),
            (pointwise.begin(), pointwise.start(), pointwise.unsolved()),
        )
        none, zero = jnp.zeros(paths, jnp.int32), jnp.zeros((), jnp.int32)
        return Paths(contents, guesses, solves, none, none, zero, zero, start)

    def run(self, ts: Array, start: Paths) -> tuple[Paths, Any]:
        """The paths at the last time, and outputs and named wires at all, `[times, paths, …]`.

        Outputs are NaN where a path has ended; one that is not finite ends its path too.
        """
        first, start = self._saved(ts[0], start)
        if ts.shape[0] == 1:
            return start, jax.tree.map(lambda row: row[None], first)

        def interval(paths: Paths, x: tuple[Array, Array, Array]) -> tuple[Paths, Any]:
            begin, end, count = x
            paths = self._advanced(
                begin, (end - begin) / count.astype(ts.dtype), count, paths, start
            )
            found, paths = self._saved(end, paths)
            return dataclasses.replace(paths, base=paths.base + count, last=end), found

        counts = jnp.asarray(self.steps.counts, jnp.int32)
        interval = jax.checkpoint(interval, prevent_cse=False)
        end, rest = lax.scan(interval, start, (ts[:-1], ts[1:], counts))
        return end, jax.tree.map(lambda row, rows: jnp.concatenate([row[None], rows]), first, rest)

    def _advanced(self, t: Array, h: Array, count: Array, paths: Paths, start: Paths) -> Paths:
        """The paths after an interval of base steps of length h from t."""
        ahead, most = self.steps.ahead(self._drawn_a_step), self.steps.most
        base, halves = paths.base, 2**self.steps.halvings

        def draw_and_step(number: int) -> Callable[[Paths, Array], Paths]:
            # XLA makes a loop of one turn none, and then other bits: a second turn does nothing.
            turns = max(2, number * halves)
            drawn_for = -(-turns // halves)

            def some(paths: Paths, first: Array) -> Paths:
                pairs, rows = self._draw(base + first, drawn_for, base - start.base + first)
                end = jnp.minimum(first + number, count) * halves

                def step(paths: Paths, x: tuple[Array, Drawn]) -> tuple[Paths, None]:
                    place, drawn = x
                    own = {name: both.row(place)[0] for name, both in pairs.items()}
                    drawn = dataclasses.replace(drawn, increments=drawn.increments | own)
                    place = first * halves + place
                    args = t, h / halves, place, paths, drawn
                    if self.steps.even and turns == number * halves:
                        return self._step(*args), None
                    return lax.cond(place < end, self._step, lambda *args: args[3], *args), None

                return lax.scan(step, paths, (jnp.arange(turns), rows))[0]

            if self.steps.even:
                return some
            return lambda paths, first: lax.cond(first < count, some, lambda *a: a[0], paths, first)

        whole = most // ahead
        paths = _repeated(draw_and_step(ahead), paths, whole, ahead)
        if most % ahead:
            paths = draw_and_step(most % ahead)(paths, jnp.asarray(whole * ahead))
        return paths

    @property
    def _drawn_a_step(self) -> int:
        """How many numbers a path draws for a step."""
        parts = 2 if self.steps.halvings or self.method.integral else 1
        begin = self.equation.pointwise.begin()
        jumps = sum((1 + atom.most) * begin[place].size for place, atom in self.equation.jumping)
        return parts * self.equation.size + jumps

    def _step(self, t: Array, h: Array, place: Array, paths: Paths, drawn: Drawn) -> Paths:
        """One step of every path; one that has ended stays as it was."""
        t = t + place.astype(t.dtype) * h

        def one(contents: Contents, guesses: Guesses, drawn: Drawn) -> Any:
            first = self.equation.feeds(t, contents, guesses)
            noise = self._scaled(drawn, h)
            after, solves = self.method.step(self.equation, t, h, contents, first, noise)
            if drawn.jumps:
                gained = self.equation.jumps(first, h, drawn.jumps)
                after = tuple(part + gained.get(p, 0) for p, part in enumerate(after))
            return after, first.guesses, solves

        alive = paths.good == paths.taken
        after, guesses, solves = self._of_survivors(
            *(one, paths, (drawn,), alive),
            lambda found: _sound(found[0], found[2], alive.shape),
        )
        contents = chosen(alive, after, paths.contents)
        guesses = chosen(alive, guesses, paths.guesses)
        solves = _judged(alive, solves, paths.solves)
        # Read off what is kept: read off `after`, XLA would compute that, noise and all, once more.
        good = paths.good + (alive & _sound(contents, solves, alive.shape))
        return dataclasses.replace(
            paths,
            contents=contents,
            guesses=guesses,
            solves=solves,
            good=good,
            taken=paths.taken + 1,
        )

    def _draw(self, first: Array, number: int, row: Array) -> tuple[dict[str, Pairs], Drawn]:
        """What base steps from `first` on draw: increments in pairs by source, and all else.

        `row` is the first one's place among the increments that are handed in.
        """
        first, halvings = first.astype(jnp.uint32), self.steps.halvings
        count = number * 2**halvings
        pairs: dict[str, Pairs] = {}
        rows: dict[str, Array] = {}
        areas: dict[str, Array] = {}
        for source in self.equation.sources:
            name = source.name
            if name in self.handed:
                given = lax.dynamic_slice_in_dim(self.handed[name], row, count, axis=1)
                rows[name] = jnp.moveaxis(given, 1, 0)
            elif halvings or self.method.integral:
                rows[name], area = bridge(self._numbers, source, first, number, halvings)
                areas |= {name: area} if self.method.integral else {}
            else:
                pairs[name] = increments(self._numbers, source, first, number)
        signs = None
        if self.method.signs and self.equation.size > 1:
            name = " ".join(source.name for source in self.equation.sources)
            labels = [label(SIGN, halvings, place) for place in range(2**halvings)]
            key = self._numbers.key(name, labels, self.equation.size**2)
            signs = self._numbers.signs(key, first, number, (self.equation.size**2,))
            signs = signs.reshape(count, *signs.shape[2:])
        jumps = {}
        if self.equation.jumping:
            jumps = self.equation.draw_jumps(self._numbers, first, number)
        return pairs, Drawn(rows, areas, signs, jumps)

    @property
    def _numbers(self) -> Numbers:
        assert self.numbers is not None
        return self.numbers

    def _saved(self, t: Array, paths: Paths) -> tuple[Any, Paths]:
        """Outputs and named wires at one time, and the paths without those that end there."""

        def one(contents: Contents, guesses: Guesses) -> Any:
            row = self.equation.pointwise.outputs(t, contents, guesses, {})
            return (row.outputs, row.names), row.solves

        alive = paths.good == paths.taken
        found, solves = self._of_survivors(
            one, paths, (), alive, lambda found: _sound(found[0], found[1], alive.shape)
        )
        stays = alive & _sound(found, solves, alive.shape)
        # A path that ends at an output lacks the step that led there.
        good = jnp.where(alive & ~stays, paths.taken - 1, paths.good)
        solves = _judged(alive, solves, paths.solves)
        wires = [_sound(wire, None, alive.shape) for wire in jax.tree.leaves(found)]
        if wires:
            first = jnp.argmin(jnp.stack(wires), axis=0).astype(jnp.int32)
            paths = dataclasses.replace(paths, output=jnp.where(alive, first, paths.output))
        paths = dataclasses.replace(paths, good=good, solves=solves)
        nothing = jax.tree.map(lambda row: jnp.full_like(row, jnp.nan), found)
        return chosen(stays, found, nothing), paths

    def _of_survivors(
        self, fn: Any, paths: Paths, drawn: tuple[Any, ...], alive: Array, survive: Any
    ) -> Any:
        """fn of each path's contents, guesses and what it drew."""
        rows = paths.contents, paths.guesses, *drawn
        still = jax.tree.map(lambda row: jnp.zeros(row.shape[1:], row.dtype), drawn)
        spare = self.equation.pointwise.begin(), self.equation.pointwise.start(), *still
        return of_survivors(fn, rows, spare, alive, survive)

    def _scaled(self, drawn: Drawn, h: Array) -> Noise:
        """What was drawn for base steps of length 1, for a step of length h."""
        root = jnp.sqrt(h * 2**self.steps.halvings)

        def scaled(name: str, value: Array) -> Array:
            return value if name in self.handed else value * root.astype(value.dtype)

        increments = {name: scaled(name, value) for name, value in drawn.increments.items()}
        if not self.method.integral:
            return Noise(increments, None, drawn.signs)
        integrals = {
            name: h.astype(value.dtype) * (value / 2 + scaled(name, drawn.areas[name]))
            for name, value in increments.items()
        }
        return Noise(increments, integrals, drawn.signs)


def chosen(rows: Array, first: Any, second: Any) -> Any:
    """Of all arrays `[paths, …]` of two trees the rows of the first that are chosen."""

    def one(first: Array, second: Array) -> Array:
        return jnp.where(rows.reshape(-1, *(1,) * (first.ndim - 1)), first, second)

    return jax.tree.map(one, first, second)


def _judged(alive: Array, new: Solves | None, old: Solves | None) -> Solves | None:
    """How loops were solved, with what a step or a saved time adds, `[paths, loops]`."""
    if new is None:
        return None
    failed = jnp.any(new.failed, axis=1)
    return chosen(alive, chosen(failed, new, worst(old, new)), old)


def _sound(tree: Any, solves: Solves | None, shape: tuple[int, ...]) -> Array:
    """Whether all is finite that each path has in a tree, and all its loops were solved."""
    found = jnp.ones(shape, bool)
    for leaf in jax.tree.leaves(tree):
        found &= jnp.all(jnp.isfinite(leaf).reshape(*shape, -1), axis=1)
    return found if solves is None else found & ~jnp.any(solves.failed, axis=1)


def _repeated(
    advance: Callable[[Paths, Array], Paths], paths: Paths, count: int, stride: int
) -> Paths:
    """advance(paths, k stride) for k = 0 … count - 1.

    Reverse mode keeps the paths at some sqrt(count) places and runs the stretches between again.
    """

    def one(at: tuple[Paths, Array], _: None) -> tuple[tuple[Paths, Array], None]:
        paths, number = at
        return (advance(paths, number * stride), number + 1), None

    def stretch(at: tuple[Paths, Array], _: None) -> tuple[tuple[Paths, Array], None]:
        return lax.scan(jax.checkpoint(one, prevent_cse=False), at, length=length)[0], None

    most = math.isqrt(max(count, 1))
    length = max(n for n in range(1, most + 1) if count % n == 0)
    stretch = jax.checkpoint(stretch, prevent_cse=False)
    return lax.scan(stretch, (paths, jnp.int32(0)), length=count // length)[0][0]
