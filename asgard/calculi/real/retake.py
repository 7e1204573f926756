"""The steps of a run taken once more, at the sizes that it chose, so as to differentiate it.

`retake` is a plain loop, for forward mode, in lanes or not; `replay` a bounded one, of one lane,
that has derivatives in any mode; `sweep.py` goes through the steps backward.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from ...jaxprs.bounded_loop import bounded_while
from ...jaxprs.trees import select
from . import path as paths
from . import runs
from .adaptive import advance, at_number, covered, stretch_of
from .delays import Seen
from .events import Eventful
from .methods.checked import curve_of
from .methods.method import StepMethod, Stretch
from .path import Path, Taken
from .polynomial import value_at
from .problem import Arguments, Problem, direction_of, spread_begin, spread_delays, system_of
from .rows_of_lanes import scatter_row, write_row
from .runs import Run
from .system import Point, StepControl, System

# How many saved times one turn of the bounded loop reads off a step's polynomial.
SAVES = 16


class Retaken(eqx.Module):
    """A step that was taken once more: its stretch, its polynomial, the point at its end, and the
    last time at which it says what the state is."""

    stretch: Stretch
    coefficients: Array
    end: Point
    covered: Array


def retake_step(
    method: StepMethod,
    system: System,
    point: Point,
    taken: Taken,
    last: Array,
    direction: Array,
    control: StepControl,
    delayed: bool = False,
) -> Retaken:
    """A step that was taken from a point."""
    stretch = stretch_of(method, point, taken, last, direction, control)
    coefficients = curve_of(method, system, point.time, point.state, stretch)
    end = advance(method, coefficients, point, stretch, taken.clipped, direction, control)
    last = covered(stretch, taken.clipped, end.time, direction, delayed)
    # Where the time of an event is no number, as its derivatives were none, nothing after it is.
    last = jnp.where(jnp.isnan(point.time), direction * jnp.inf, last)
    if isinstance(method, Eventful):
        late, moved = method.shift(system, point.time, point.state, stretch, coefficients)
        end = dataclasses.replace(end, time=end.time + late, state=end.state + moved)
    return Retaken(stretch, coefficients, end, last)


@dataclasses.dataclass(frozen=True, eq=False)
class Retaking:
    """A run that is taken once more: what all of its steps share.

    `write` puts a value in a row of an array, as `write_row` does.
    """

    problem: Problem
    system: System
    ts: Array  # [times, *lanes]
    control: StepControl
    lags: Any  # [delays, *lanes], where there are delays
    write: Callable[[Array, Array, Array], Array]

    def step(self, run: Run, numbers: Array) -> tuple[Seen, Taken, Retaken]:
        """The next step of a run, of which a path has kept these numbers."""
        method, direction = self.problem.method, direction_of(self.ts)
        taken, last = self.problem.taken(numbers), self.ts[-1]
        seen = Seen.at(
            *(self.problem.delays, method, self.system, self.control, run.history, run.point),
            *(self.lags, direction),
            taken=taken,
        )
        step = retake_step(
            *(method, seen.system, run.point, taken, last, direction, seen.control),
            delayed=seen.view is not None,
        )
        return seen, taken, step

    def after(
        self,
        run: Run,
        seen: Seen,
        taken: Taken,
        step: Retaken,
        fresh: Array,
        leaves: Array,
    ) -> Run:
        """The run with a step on its path, in its events if it is `fresh`, and behind it if it
        `leaves`; `run` has the step's polynomial."""
        point, write = run.point, self.write
        path, events, history = run.path, run.records, run.history
        if path is not None:
            path = paths.add_point(path, point, run.steps, fresh, write)
        if events is not None:
            state = seen.with_delayed(point.time, point.state)
            events = events.with_step(point, state, step.stretch.mark, fresh, write)
        if history is not None:
            history = seen.after(
                *(history, self.problem.method, point, step.end, run.coefficients),
                *(step.stretch, taken, leaves, write),
            )
        end = select(leaves, step.end, point)
        return dataclasses.replace(run, point=end, path=path, records=events, history=history)


def retake(
    problem: Problem,
    arguments: Arguments,
    path: Path,
    taken: Array,
    room: Any,
    laned: Arguments,
    size: int,
    scatter: bool,
) -> Run:
    """The run of a path of `taken` steps once more, in lanes; `room` as in `runs.run`."""
    ts, write = arguments.ts, scatter_row if scatter else write_row
    system = system_of(problem, arguments.constants, laned.constants, size)
    begin = spread_begin(arguments, laned, size)
    lags, history = spread_delays(arguments, laned, size)
    again = Retaking(problem, system, ts, arguments.control, lags, write)
    count = ts.shape[0]

    def unfinished(run: Run) -> Array:
        return (run.count < count) & (run.steps < taken)

    def body(run: Run) -> Run:
        active = unfinished(run)
        numbers = jnp.where(active, _taken(path.taken, run.steps, problem.fields), 0)
        seen, size, step = again.step(run, numbers)
        unit = jnp.where(active, step.stretch.unit, run.unit)
        coefficients = jnp.where(active, step.coefficients, run.coefficients)
        run = dataclasses.replace(run, coefficients=coefficients, unit=unit)
        saved, number = runs.save(problem.method, seen, run, step.covered, ts, active, write)
        run = again.after(run, seen, size, step, active, active & (number < count))
        return dataclasses.replace(run, saved=saved, count=number, steps=run.steps + active)

    begun = runs.blank(problem, ts, dataclasses.replace(begin, step=lax.stop_gradient(begin.step)))
    begun = runs.with_history(runs.with_room(begun, room), history, write)
    if begun.path is not None:
        level = jnp.broadcast_to(path.level, begin.time.shape)
        begun = eqx.tree_at(lambda run: run.path.level, begun, level)
    return lax.while_loop(lambda run: jnp.any(unfinished(run)), body, begun)


def _taken(rows: Array, number: Array, fields: tuple[int, ...]) -> Array:
    """What a path keeps of a step, `[*fields, *lanes]`; its rows may lack the lanes of a number."""
    if fields and number.ndim and rows.ndim == 1 + len(fields):
        return jnp.moveaxis(rows[number], -1, 0)
    return at_number(rows, number)


def replay(
    problem: Problem, arguments: Arguments, path: Path, taken: Array, once: bool = False
) -> Run:
    """The same for one lane, in a bounded loop; for one derivative in reverse mode alone, `once`.

    Each turn saves several times, and each row once.
    """
    ts, begin = arguments.ts, arguments.begin
    still = jax.tree.map(lambda _: False, arguments.constants)
    system = system_of(problem, arguments.constants, still, 0)
    again = Retaking(problem, system, ts, arguments.control, arguments.lags, _put)
    count, direction = ts.shape[0], direction_of(ts)
    width = min(SAVES, count)
    padded = jnp.concatenate([ts, jnp.full(width, ts[-1])])

    def unfinished(carry: tuple[Run, Array]) -> Array:
        return (carry[0].count < count) & (carry[0].steps < taken)

    def body(carry: tuple[Run, Array]) -> tuple[Run, Array]:
        run, repeated = carry
        seen, size, step = again.step(run, path.taken[run.steps])
        run = dataclasses.replace(run, coefficients=step.coefficients, unit=step.stretch.unit)
        rows, values = _states(problem.method, seen, run, step.covered, padded, width)
        number = run.count + jnp.sum(rows < count, dtype=run.count.dtype)
        following = ts[jnp.minimum(number, count - 1)]
        # A step that covers more times than one turn saves is taken again for the next ones.
        stays = (number < count) & (direction * (following - step.covered) <= 0)
        leaves = ~stays & (number < count)
        run = again.after(run, seen, size, step, ~repeated, leaves)
        saved = run.saved.at[rows].set(values)
        return dataclasses.replace(run, saved=saved, count=number, steps=run.steps + leaves), stays

    start = runs.blank(problem, ts, begin)
    room = jnp.zeros((count + width, *start.saved.shape[1:]), begin.state.dtype)
    start = runs.with_history(dataclasses.replace(start, saved=room), arguments.history, _put)
    if start.path is not None:
        start = eqx.tree_at(lambda run: run.path.level, start, path.level)
    turns, begun = problem.max_steps + -(-count // width) + 1, (start, jnp.zeros((), bool))
    run, _ = bounded_while(
        unfinished,
        body,
        begun,
        max_steps=turns,
        buffers=functools.partial(_large, problem),
        once=once,
    )
    saved = jnp.concatenate([run.saved[:count], jnp.zeros_like(room[:1])])
    return dataclasses.replace(run, saved=saved)


def _states(
    method: StepMethod, seen: Seen, run: Run, end: Array, padded: Array, width: int
) -> tuple[Array, Array]:
    """The next `width` saved states, those that a step to the time `end` covers, and their rows.

    The run has the step's start and polynomial; `padded` are the saved times and `width` more. What
    the step does not cover has rows past those of the saved times, each its own: reverse mode takes
    each row to be written once.
    """
    point, count = run.point, padded.shape[0] - width
    direction = direction_of(padded)
    places = run.count + jnp.arange(width, dtype=run.count.dtype)
    times = padded[places]
    inside = (direction * (times - end) <= 0) & (places < count)
    passed = direction * (times - point.time) >= 0  # not beside a breakpoint at a start
    offsets = jnp.where(inside & passed, times - point.time - point.late, 0)
    offsets = seen.beside(point, times, inside & ~passed, offsets)
    parts = offsets / run.unit
    values = jax.vmap(lambda part: value_at(run.coefficients, part, method.centre))(parts)
    safe = jnp.where(inside & passed, times, point.time)
    values = jax.vmap(seen.with_delayed)(safe, values)
    return jnp.where(inside, places, count + jnp.arange(width, dtype=places.dtype)), values


def _large(problem: Problem, carry: tuple[Run, Any]) -> list[Any]:
    """The large arrays of a carry of `replay`."""
    run, path, events = carry[0], carry[0].path, carry[0].records
    found = [run.saved]
    if problem.rows:
        found += [path.time, path.late, path.state]
    if problem.keeps_events:
        assert events is not None
        found += [events.times, events.states]
    return found


def _put(rows: Any, row: Array, value: Array) -> Any:
    # A loop with derivatives hands out some arrays as buffers of its own.
    return rows.at[row].set(value)
