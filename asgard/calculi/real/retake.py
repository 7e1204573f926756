"""The steps of a run taken once more, at the sizes that it chose, so as to differentiate it.

`retake` is a plain loop, for forward mode, in lanes or not; `replay` a bounded one, of one lane,
that has derivatives in any mode; `sweep.py` goes through the steps backward.
"""

import dataclasses
import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from ...jaxprs.bounded_loop import bounded_while
from . import path as paths
from . import runs
from .adaptive import advance, at_number, covered, stretch_of
from .delays import Seen
from .events import Eventful
from .methods.checked import curve_of
from .methods.method import StepMethod, Stretch
from .path import Path, Taken
from .polynomial import value_at
from .runs import Arguments, Problem, Run
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
    if isinstance(method, Eventful):
        late, moved = method.shift(system, point.time, point.state, stretch, coefficients)
        end = dataclasses.replace(end, time=end.time + late, state=end.state + moved)
    return Retaken(stretch, coefficients, end, last)


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
    ts, control, method = arguments.ts, arguments.control, problem.method
    system = runs.system_of(problem, arguments.constants, laned.constants, size)
    begin = runs.spread_begin(arguments, laned, size)
    lags, history = runs.spread_delays(arguments, laned, size)
    count, direction = ts.shape[0], runs.direction_of(ts)
    write = runs.scatter_row if scatter else runs.write_row

    def unfinished(run: Run) -> Array:
        return (run.count < count) & (run.steps < taken)

    def body(run: Run) -> Run:
        active = unfinished(run)
        row = jnp.where(active, _taken(path.taken, run.steps, problem.fields), 0)
        size = problem.taken(row)
        seen = Seen.at(
            *(problem.delays, method, system, control, run.history, run.point, lags, direction),
            taken=size,
        )
        step = retake_step(
            *(method, seen.system, run.point, size, ts[-1], direction, seen.control),
            delayed=seen.view is not None,
        )
        end, unit = step.end, jnp.where(active, step.stretch.unit, run.unit)
        coefficients = jnp.where(active, step.coefficients, run.coefficients)
        run = dataclasses.replace(run, coefficients=coefficients, unit=unit)
        saved, number = runs.save(method, seen, run, step.covered, ts, active, write)
        kept = run.path
        if kept is not None:
            kept = paths.add_point(kept, run.point, run.steps, active, write)
        events = run.records
        if events is not None:
            state = seen.with_delayed(run.point.time, run.point.state)
            events = events.with_step(run.point, state, step.stretch.mark, active, write)
        leaves = active & (number < count)
        point = jax.tree.map(lambda new, old: jnp.where(leaves, new, old), end, run.point)
        past = run.history
        if past is not None:
            past = seen.after(
                *(past, method, run.point, end, coefficients, step.stretch, size, leaves, write)
            )
        return dataclasses.replace(
            run,
            point=point,
            saved=saved,
            count=number,
            steps=run.steps + active,
            path=kept,
            records=events,
            history=past,
        )

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
    ts, begin, control = arguments.ts, arguments.begin, arguments.control
    lags = arguments.lags
    method = problem.method
    still = jax.tree.map(lambda _: False, arguments.constants)
    system = runs.system_of(problem, arguments.constants, still, 0)
    count, direction = ts.shape[0], runs.direction_of(ts)
    width = min(SAVES, count)
    padded = jnp.concatenate([ts, jnp.full(width, ts[-1])])

    def unfinished(carry: tuple[Run, Array]) -> Array:
        return (carry[0].count < count) & (carry[0].steps < taken)

    def body(carry: tuple[Run, Array]) -> tuple[Run, Array]:
        run, repeated = carry
        point = run.point
        size = problem.taken(path.taken[run.steps])
        seen = Seen.at(
            *(problem.delays, method, system, control, run.history, point, lags, direction),
            taken=size,
        )
        step = retake_step(
            *(method, seen.system, point, size, ts[-1], direction, seen.control),
            delayed=seen.view is not None,
        )
        coefficients, end = step.coefficients, step.end
        places = run.count + jnp.arange(width, dtype=run.count.dtype)
        times = padded[places]
        inside = (direction * (times - step.covered) <= 0) & (places < count)
        passed = direction * (times - point.time) >= 0  # not beside a breakpoint at a start
        offsets = jnp.where(inside & passed, times - point.time - point.late, 0)
        offsets = seen.beside(point, times, inside & ~passed, offsets)
        parts = offsets / step.stretch.unit
        values = jax.vmap(lambda part: value_at(coefficients, part, method.centre))(parts)
        safe = jnp.where(inside & passed, times, point.time)
        values = jax.vmap(seen.with_delayed)(safe, values)
        # Reverse mode takes each row to be written once: what is not covered goes past the last.
        rows = jnp.where(inside, places, count + jnp.arange(width, dtype=places.dtype))
        number = run.count + jnp.sum(inside, dtype=run.count.dtype)
        following = ts[jnp.minimum(number, count - 1)]
        # A step that covers more times than one turn saves is taken again for the next ones.
        stays = (number < count) & (direction * (following - step.covered) <= 0)
        kept = run.path
        if kept is not None:
            kept = paths.add_point(kept, point, run.steps, ~repeated, _put)
        events = run.records
        if events is not None:
            state = seen.with_delayed(point.time, point.state)
            events = events.with_step(point, state, step.stretch.mark, ~repeated, _put)
        leaves = ~stays & (number < count)
        past = run.history
        if past is not None:
            past = seen.after(
                *(past, method, point, end, coefficients, step.stretch, size, leaves, _put)
            )
        after = dataclasses.replace(
            run,
            point=jax.tree.map(lambda new, old: jnp.where(leaves, new, old), end, point),
            coefficients=coefficients,
            unit=step.stretch.unit,
            saved=run.saved.at[rows].set(values),
            count=number,
            steps=run.steps + leaves,
            path=kept,
            records=events,
            history=past,
        )
        return after, stays

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


def _put(rows: Array, row: Array, value: Array) -> Array:
    return rows.at[row].set(value)
