"""A run gone through backward: from the cotangents of its results to those of its arguments.

Each step of the recorded path is taken once more and its derivative transposed (reverse mode by
checkpoints: Griewank and Walther, *Evaluating Derivatives*, 2nd ed., chapters 3 and 12). Where the
path was thinned, the steps between two of its points are taken forward first.

`equinox.internal.while_loop(kind="checkpointed")` around the recorded steps does the same without
this file. It took 20 ms in place of 0.4 ms for the gradient of Lotka-Volterra in
`benchmarks/lotka_volterra.py`, as such a loop is no kernel, and 47 ms in place of 31 ms for 64 of
them under `jax.vmap`.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from ...jaxprs.flags import flagged, merge
from ...jaxprs.lanes import run_in_lanes, spread
from ...jaxprs.trees import select
from . import path as paths
from .adaptive import at_number, beside, index_of_next, stretch_of
from .methods.method import PLAIN, Stretch
from .path import Path, Taken
from .polynomial import orders
from .problem import Arguments, Problem, direction_of, spread_begin, system_of
from .records import is_kept
from .retake import retake_step
from .rows_of_lanes import scatter_row, write_row
from .runs import Run
from .system import Point
from .transposed import marks_of, step_made, transposed

# The fields of a point that carry derivatives.
POINT = ("time", "late", "state", "remainder", "step")


class Cotangents(eqx.Module):
    """The cotangents so far, each with lanes: of the start of the step at hand, of the saved times,
    of the breakpoints and of those constants of the method's program that are wanted."""

    point: Point
    ts: Array
    breakpoints: Array
    constants: list[Array]


class Recorded(eqx.Module):
    """A step of the path, gone through backward.

    `stretch` says how far it goes, to the breakpoint of index `stop` where that has `clipped` it.
    The saved times after `since` are read off it, but for those of later steps. `active` says that
    the run had it, and `final` that the run ended at its start.
    """

    point: Point
    stretch: Stretch
    clipped: Bool[Array, "*lanes"]
    stop: Int[Array, "*lanes"]
    since: Float[Array, "*lanes"]
    active: Bool[Array, "*lanes"]
    final: Bool[Array, "*lanes"]


@dataclasses.dataclass(frozen=True)
class _Pulled:
    """The polynomial of a step, and the cotangents of what it is made of."""

    coefficients: Array
    time: Array
    state: Array
    offset: Array
    constants: list[Array]


@dataclasses.dataclass(frozen=True)
class Sweep:
    """The backward pass of a run.

    `given` holds the cotangents of the results, None for those that are zero; `wanted` says of
    which constants of the method's program cotangents are asked for, `sums` whether as sums over
    the lanes where all lanes share a constant, and `timed` whether those of times are asked for.
    `constants` are the arguments' with the lanes of `matrices` first, as are the lanes of their
    cotangents: see `own_matrices`. The other fields are those of a run.
    """

    problem: Problem
    arguments: Arguments
    laned: Arguments
    size: int
    given: Run
    wanted: tuple[bool, ...]
    sums: bool
    matrices: Mapping[str, Sequence[bool]]
    constants: Mapping[str, Sequence[Any]]
    timed: bool
    scatter: bool

    def run(
        self, path: Path, flags: Sequence[bool], counts: Sequence[Array], room: list[Array]
    ) -> Cotangents:
        """The cotangents of the arguments of a run.

        `counts` says how many states it saved, how many steps it took and, where it watches any,
        how many events it kept. `flags` says which leaves of the path have lanes; `room` is zeros
        of the shapes of the cotangents of times, breakpoints and constants.
        """
        count, taken, *events = counts
        last = taken - 1
        final = jnp.where(count == self.ts.shape[0], last, -1)

        def segment(
            carry: tuple[Array, Any, Cotangents, Point],
        ) -> tuple[Array, Any, Cotangents, Point]:
            row, before, found, starts = carry
            starts, base, length = self._forward(path, flags, row, jnp.max(last), starts)

            def back(carry: tuple[Array, Any, Cotangents]) -> tuple[Array, Any, Cotangents]:
                index, (saved, *events), found = carry
                step = base + index
                point = jax.tree.map(lambda rows: _row(rows, index), starts)
                size = self._taken(path, flags, step)
                stretch, stop = self._stretch(point, size), self._stop(point)
                since = self._since(point, size, self._taken(path, flags, step - 1), step, stop)
                where = since, step <= last, step == final
                taken = Recorded(point, stretch, size.clipped, stop, *where)
                found, saved = self._step(taken, saved, found)
                if events:
                    found, events[0] = self._with_event(found, taken, events[0])
                found = self._with_path(found, path, step, step <= last)
                return index - 1, (saved, *events), found

            begin = length - 1, before, found
            _, before, found = lax.while_loop(lambda carry: carry[0] >= 0, back, begin)
            return row - 1, before, found, starts

        before = tuple(number - 1 for number in (count, *events))
        row = jnp.max(last) >> jnp.max(path.level)
        begin = row, before, self._nothing_yet(count, room), self._room()
        return lax.while_loop(lambda carry: carry[0] >= 0, segment, begin)[2]

    @property
    def ts(self) -> Array:
        """The saved times."""
        return self.arguments.ts

    def _nothing_yet(self, count: Array, room: list[Array]) -> Cotangents:
        """Before the last step: what is given of the point at which the run ended."""
        begin = spread_begin(self.arguments, self.laned, self.size)
        given = [
            jnp.zeros_like(getattr(begin, name)) if dot is None else dot
            for name in POINT
            for dot in [getattr(self.given.point, name)]
        ]
        if self.given.coefficients is not None:
            # The polynomial where a failed run stopped is that of no step of its path.
            given[2] = jnp.where(count == self.ts.shape[0], given[2], jnp.nan)
        times, stops, *constants = room
        return Cotangents(Point(*given, memory=None), times, stops, constants)

    def _spread(self, value: Array, is_laned: bool) -> Array:
        return spread((value, is_laned), self.size) if self.size else value

    @property
    def _depth(self) -> int:
        """How many steps there may be from a row of the path to the next."""
        return 1 << paths.levels(self.problem.rows, self.problem.room)

    def _room(self) -> Point:
        """Room for the points from a row of the path to the next."""
        begin = spread_begin(self.arguments, self.laned, self.size)
        one = Point(begin.time, begin.late, begin.state, begin.state, begin.time, memory=None)
        return jax.tree.map(lambda x: jnp.zeros((self._depth, *x.shape), x.dtype), one)

    def _forward(
        self, path: Path, flags: Sequence[bool], row: Array, last: Array, room: Point
    ) -> tuple[Point, Array, Array]:
        """The points from a row of the path to before the next, in `room` for them, the first's
        step, their count."""
        control = self.arguments.control
        level = jnp.max(path.level)
        base = row << level
        # Lanes that were thinned less often have the row of that step further on.
        own = jnp.minimum(base >> path.level, path.rows)
        rows = zip(path.large[:3], flags[:3], strict=True)
        time, late, state = (self._spread(_row_of_lane(x, own), flag) for x, flag in rows)
        first = Point(time, late, state, jnp.zeros_like(state), jnp.zeros_like(time), memory=None)
        length = jnp.minimum(1 << level, last - base + 1)
        if self._depth == 1:
            return jax.tree.map(lambda x: x[None], first), base, length
        system = system_of(self.problem, self.arguments.constants, self.laned.constants, self.size)
        direction = direction_of(self.ts)

        def put(rows: Point, index: Any, point: Point) -> Point:
            def update(rows: Array, x: Array) -> Array:
                return lax.dynamic_update_index_in_dim(rows, x, index, axis=0)

            return jax.tree.map(update, rows, point)

        def forth(carry: tuple[Array, Point, Point]) -> tuple[Array, Point, Point]:
            index, rows, point = carry
            size = self._taken(path, flags, base + index - 1)
            method, last = self.problem.method, self.ts[-1]
            end = retake_step(method, system, point, size, last, direction, control).end
            return index + 1, put(rows, index, end), end

        start = jnp.ones((), jnp.int32), put(room, 0, first), first
        _, rows, _ = lax.while_loop(lambda carry: carry[0] < length, forth, start)
        return rows, base, length

    def _taken(self, path: Path, flags: Sequence[bool], step: Array) -> Taken:
        """What the path keeps of a step; of the first, before that."""
        row = _row(path.taken, jnp.maximum(step, 0))
        return self.problem.taken(self._spread(row, flags[3]))

    def _since(self, point: Point, taken: Taken, before: Taken, step: Array, stop: Array) -> Array:
        """After which time saved states are read off a step: see `adaptive.covered`."""
        direction = direction_of(self.ts)
        since = point.time
        if taken.mark is not None and before.mark is not None:
            stops = self.arguments.control.breakpoints
            lower = beside(point.time, -direction)
            if stops.shape[0]:
                # Where a breakpoint has just been passed, its own time is one of this step.
                passed = jnp.where(direction > 0, stop - 1, stop + 1)
                inside = (passed >= 0) & (passed < stops.shape[0])
                wall = at_number(stops, jnp.clip(passed, 0, stops.shape[0] - 1))
                lower = jnp.where(inside & (wall == lower), beside(lower, -direction), lower)
            early = before.clipped | (before.mark.kind != PLAIN)
            since = jnp.where(early, lower, since)
        since = jnp.where(step == 0, -direction * jnp.inf, since)
        if taken.mark is None:
            return since
        return jnp.where(taken.mark.jumps, direction * jnp.inf, since)

    def _step(self, step: Recorded, number: Array, found: Cotangents) -> tuple[Cotangents, Array]:
        """From the end of a step to its start, and the number of the last saved time before it.

        From the time t, what rounding left out of it l, the state y, its remainder r and constants
        θ, a step makes

            s = size, or w - t - l where the breakpoint w clips it
            c = curve(t, y, s, θ), where c₀ = y
            y⁺ = Σ cₖ pₖ(x) + r,  x = s / u,  t⁺ = t + l + s
            vⱼ = Σ cₖ pₖ(xⱼ),  xⱼ = sⱼ / u,  sⱼ = τⱼ - t - l, for each saved time τⱼ in the step

        with p₀ = 1, pₖ(x) = x (x - m)ᵏ⁻¹, and the unit u and the centre m of the polynomial, which
        are constants. Its transpose takes the cotangents ȳ⁺ and t̄⁺ of the end and v̄ⱼ of the saved
        states to

            c̄ₖ = pₖ(x) ȳ⁺ + Σⱼ pₖ(xⱼ) v̄ⱼ
            (t̄, ȳ, s̃, θ̄) = curveᵀ(c̄), to which c̄₀ adds itself to ȳ, and not through curve
            s̄ = s̃ + Σ cₖ pₖ'(x) ȳ⁺ / u where clipped, else 0;  s̄ⱼ = Σ cₖ pₖ'(xⱼ) v̄ⱼ / u
            r̄ = ȳ⁺,  τ̄ⱼ = s̄ⱼ
            l̄ = t̄⁺ - s̄ - Σ s̄ⱼ, and t̄ grows by as much; where clipped t̄⁺ goes to w̄ = t̄⁺ + s̄ instead.

        Where an event cuts the step, t⁺ and y⁺ also have what `Eventful.shift` gives, and curveᵀ is
        that of all three. A jump has x = 1, and s = 0.
        """
        after = found.point
        onward, ended = step.active & ~step.final, step.active & step.final
        end = jax.tree.map(lambda x: jnp.where(onward, x, 0), after)
        extra = jax.tree.map(lambda x: jnp.where(ended, x, 0), after)
        unit = step.stretch.unit
        pushed = _curve(self.problem, step.stretch.part, end.state)
        read, moved, before = self._read(step, number)
        whole = pushed + read
        # Guesses are no part of the state, so their order 0 goes through the curve.
        entry = lax.broadcasted_iota(jnp.int32, whole.shape, 1)
        counted = (orders(whole) == 0) & (entry < self.problem.size)
        curve, direct = jnp.where(counted, 0, whole), jnp.where(counted[0], whole[0], 0)
        if self.given.coefficients is not None:
            curve += jnp.where(ended, self.given.coefficients, 0)
        pulled = self._pull(step, [curve, *([end.time, end.state] if self.problem.guards else [])])
        coefficients = pulled.coefficients
        constants = [a + b for a, b in zip(found.constants, pulled.constants, strict=True)]
        earlier = Point(
            pulled.time + extra.time,
            extra.late,
            direct + pulled.state + extra.state,
            end.state + extra.remainder,
            jnp.zeros_like(step.point.step),
            memory=None,
        )
        ts, stops = found.ts, found.breakpoints
        if self.timed:
            across = self._along(coefficients, pushed) / unit + pulled.offset
            across = jnp.where(step.clipped, across, 0)
            shift = jnp.where(step.clipped, 0, end.time) - across
            shift -= self._along(coefficients, moved) / unit
            earlier = dataclasses.replace(
                earlier, time=earlier.time + shift, late=earlier.late + shift
            )
            if stops.shape[0]:
                added = jnp.where(step.clipped, end.time, 0) + across
                stop = jnp.clip(step.stop, 0, stops.shape[0] - 1)
                stops = self._write(stops, stop, at_number(stops, stop) + added)
            ts = self._to_times(step, coefficients, number, ts)
        kept = select(step.active, earlier, after)
        return Cotangents(kept, ts, stops, constants), before

    def _stretch(self, point: Point, taken: Taken) -> Stretch:
        """How far a step that was taken goes."""
        direction, control = direction_of(self.ts), self.arguments.control
        return stretch_of(self.problem.method, point, taken, self.ts[-1], direction, control)

    def _stop(self, point: Point) -> Array:
        """Which breakpoint is ahead of a point: its index, or the count of all or -1 for none."""
        direction, control = direction_of(self.ts), self.arguments.control
        if control.breakpoints.shape[0] == 0:
            return jnp.zeros(point.time.shape, jnp.int32)
        return index_of_next(point.time, direction, control)

    def _covered(self, step: Recorded, number: Array) -> tuple[Array, Array, Array, Array]:
        """Whether the saved time of a number lies in a step, its offset there, its cotangent, and
        whether the offset moves with the times."""
        point, direction = step.point, direction_of(self.ts)
        time = at_number(self.ts, jnp.maximum(number, 0))
        here = step.active & (number >= 0) & (direction * (time - step.since) > 0)
        passed = here & (direction * (time - point.time) >= 0)
        offset = jnp.where(passed, time - point.time - point.late, 0)
        row = _row_of_lane(self.given.saved, jnp.maximum(number, 0))
        return here, offset, jnp.where(here, row, 0), passed

    def _read(self, step: Recorded, number: Array) -> tuple[Array, Array, Array]:
        """What the saved states in a step add to c̄, `[orders, state, *lanes]`: all of it, and the
        part of those whose offset moves; and the number of the last saved time before the step."""
        state = step.point.state
        nothing = jnp.zeros((self.problem.degree + 1, *state.shape), state.dtype)
        if self.given.saved is None:
            return nothing, nothing, number

        def is_open(carry: tuple[Array, Array, Array]) -> Array:
            return jnp.any(self._covered(step, carry[2])[0])

        def turn(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            read, moved, number = carry
            here, offset, value, passed = self._covered(step, number)
            curve = _curve(self.problem, offset / step.stretch.unit, value)
            return read + curve, moved + jnp.where(passed, curve, 0), number - here

        return lax.while_loop(is_open, turn, (nothing, nothing, number))

    def _to_times(self, step: Recorded, coefficients: Array, number: Array, ts: Array) -> Array:
        """The saved times' cotangents, `[times, *lanes]`, with those in a step."""
        if self.given.saved is None:
            return ts

        def is_open(carry: tuple[Array, Array]) -> Array:
            return jnp.any(self._covered(step, carry[1])[0])

        def turn(carry: tuple[Array, Array]) -> tuple[Array, Array]:
            ts, number = carry
            here, offset, value, passed = self._covered(step, number)
            unit = step.stretch.unit
            along = self._along(coefficients, _curve(self.problem, offset / unit, value)) / unit
            slope = jnp.where(passed, along, 0)
            row = jnp.maximum(number, 0)
            kept = jnp.where(here, slope, at_number(ts, row))
            return self._write(ts, row, kept), number - here

        return lax.while_loop(is_open, turn, (ts, number))[0]

    def _pull(self, step: Recorded, dots: list[Array]) -> _Pulled:
        """What the cotangent of a step's polynomial gives; with events, also those of its end."""
        if self.sums or any(map(any, self.matrices.values())):
            return self._pull_in_lanes(step, dots)
        problem, laned = self.problem, self.size > 0
        program = transposed(problem, self.wanted, self.timed)
        constants, flags = self.arguments.constants, self.laned.constants
        point, stretch = step.point, step.stretch
        known = (point.time, point.state, stretch.offset, stretch.unit, stretch.latest)
        inputs = [(x, laned) for x in (*known, *marks_of(stretch))]
        for name in problem.programs:
            inputs += zip(constants[name], flags[name], strict=True)
        results = run_in_lanes(program, [*inputs, *((dot, laned) for dot in dots)], self.size)
        values = [spread(result, self.size) if laned else result[0] for result in results]
        coefficients, *found = values
        time, state, offset, *changing = (jnp.where(step.active, dot, 0) for dot in found)
        return _Pulled(coefficients, time, state, offset, changing)

    def _pull_in_lanes(self, step: Recorded, dots: list[Array]) -> _Pulled:
        """The same, by a transpose in lanes: the cotangents of constants that all lanes share are
        sums, and those of a matrix are one product of matrices."""
        problem, constants = self.problem, self.constants
        derived = problem.derived_of(constants)
        begin = spread_begin(self.arguments, self.laned, self.size)
        # A lane that has ended adds zero times the slopes at its start, which are finite.
        time = jnp.where(step.active, step.point.time, begin.time)
        state = jnp.where(step.active, step.point.state, begin.state)
        offset = jnp.where(step.active, step.stretch.offset, jnp.ones_like(step.stretch.offset))
        unit = jnp.where(step.active, step.stretch.unit, offset)

        def run(time: Array, state: Array, offset: Array, changing: list[Array]) -> list[Array]:
            given = problem.with_derived(constants, merge(self.wanted, changing, derived))
            system = system_of(
                problem, given, self.laned.constants, self.size, matrices=self.matrices
            )
            stretch = Stretch(offset, unit, step.stretch.latest, step.stretch.mark)
            return step_made(problem, system, time, state, stretch)

        changing = flagged(self.wanted, derived)
        (coefficients, *_), back = jax.vjp(run, time, state, offset, changing)
        return _Pulled(coefficients, *back([jnp.where(step.active, dot, 0) for dot in dots]))

    def _along(self, coefficients: Array, curve: Array) -> Array:
        """The cotangent of the part, where `curve` is the coefficients'.

        With v = x - m, pₖ' = vᵏ⁻¹ + (k - 1) pₖ₋₁ and vᵏ = pₖ - m vᵏ⁻¹.
        """
        centre = self.problem.method.centre
        if centre:
            power, rows = curve[0], []
            for k in range(1, len(coefficients)):
                rows.append(power + (k - 1) * curve[k - 1])
                power = curve[k] - centre * power
            slopes = coefficients[1:] * jnp.stack(rows)
        else:
            slopes = (orders(coefficients) * coefficients)[1:] * curve[:-1]
        return jnp.sum(jnp.real(slopes), axis=(0, 1))

    def _with_event(
        self, found: Cotangents, step: Recorded, number: Array
    ) -> tuple[Cotangents, Array]:
        """With the cotangents of the event of a number, if it is kept at the start of a step; and
        the number of the one before."""
        given, mark = self.given.records, step.stretch.mark
        assert given is not None
        assert mark is not None
        kept = is_kept(given.layout, mark, step.active)
        row, point = jnp.clip(number, 0, given.layout.most), found.point
        names = {"time": given.times, "state": given.states}
        more = {
            name: getattr(point, name) + jnp.where(kept, _row_of_lane(rows, row), 0)
            for name, rows in names.items()
            if rows is not None
        }
        return dataclasses.replace(found, point=dataclasses.replace(point, **more)), number - kept

    def _with_path(self, found: Cotangents, path: Path, step: Array, active: Array) -> Cotangents:
        """With the cotangents of the path's row, if a step has one."""
        given = self.given.path
        if given is None:
            return found
        kept = active & (step & ((1 << path.level) - 1) == 0)
        row = jnp.minimum(step >> path.level, path.rows)
        names = ("time", "late", "state")
        rows = {name: getattr(given, name) for name in names if getattr(given, name) is not None}
        point = found.point
        more = {
            name: getattr(point, name) + jnp.where(kept, _row_of_lane(array, row), 0)
            for name, array in rows.items()
        }
        return dataclasses.replace(found, point=dataclasses.replace(point, **more))

    def _write(self, rows: Array, row: Array, value: Array) -> Array:
        return (scatter_row if self.scatter else write_row)(rows, row, value)


def _curve(problem: Problem, part: Array, cotangent: Array) -> Array:
    """The coefficients' cotangent from that of the polynomial's value at a part of its unit."""

    def power(carry: Array, _: None) -> tuple[Array, Array]:
        return carry * (part - problem.method.centre), carry

    _, powers = lax.scan(power, part, length=problem.degree)
    powers = jnp.concatenate([jnp.ones_like(part)[None], powers])
    return powers[:, None].astype(cotangent.dtype) * cotangent


def _row(rows: Array, row: Array) -> Array:
    return lax.dynamic_index_in_dim(rows, row, keepdims=False, allow_negative_indices=False)


def _row_of_lane(rows: Array, row: Array) -> Array:
    """A row, lane by lane where each has its own."""
    if row.ndim == 0:
        return _row(rows, row)
    places = jnp.broadcast_to(row, (1, *rows.shape[1:]))
    return jnp.take_along_axis(rows, places, axis=0)[0]
