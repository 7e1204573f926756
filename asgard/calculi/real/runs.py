"""A run of adaptive steps through the times that are saved: a while loop, in lanes or not."""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from ...jaxprs.trees import select
from . import path as paths
from .adaptive import Step, at_number, covered, reach_of, take_step
from .delays import Seen, holds_for_wires
from .history import History
from .methods.checked import polynomial_of, start_of
from .methods.method import (
    FULL,
    MOST_REFUSED,
    NO_STEP,
    OK,
    OUT_OF_STEPS,
    PLAIN,
    STIFF,
    Attempt,
    StepMethod,
)
from .polynomial import value_at
from .problem import (
    Arguments,
    Problem,
    direction_of,
    spread_begin,
    spread_delays,
    spread_tolerances,
    system_of,
)
from .records import Records
from .rows_of_lanes import scatter_row, write_row
from .system import Point, StepControl, System

# After so many steps in a row that stability bounds, a run that cannot end within its steps is
# stiff.
STIFF_STEPS = 25


class Run(eqx.Module):
    """A run: the start of its last step, that step's polynomial with its unit, and what is saved.

    `saved` holds the states at the first `count` times; what lies past them is of no meaning, and
    its last row is for what is not saved.
    `steps` are those taken, of which so many are `jumps`, `rejected` the sizes refused, `smallest`
    the smallest step, `bounded` how many steps in a row stability has bounded, and `path` has the
    starts of steps, from the one that was counted in an earlier run on.
    """

    point: Point
    coefficients: Any  # [orders, state, *lanes]
    unit: Any  # [*lanes]
    saved: Any  # [times + 1, state, *lanes]
    count: Int[Array, "*lanes"]
    status: Int[Array, "*lanes"]
    steps: Int[Array, "*lanes"]
    jumps: Int[Array, "*lanes"]
    rejected: Int[Array, "*lanes"]
    smallest: Float[Array, "*lanes"]
    bounded: Int[Array, "*lanes"]
    path: Any  # a Path where it is asked for, else None
    records: Records | None = None  # where events are watched
    history: History | None = None  # where there are delays

    @property
    def large(self) -> list[Any]:
        """Its large arrays."""
        kept = (self.records, self.path, self.history)
        parts = [part.large for part in kept if part is not None]
        return [self.saved, *itertools.chain(*parts)]


def blank(problem: Problem, ts: Array, begin: Point) -> Run:
    """The run before its first step; its arrays have the types of all runs."""
    lanes = begin.time.shape
    zero = jnp.zeros(lanes, jnp.int32)
    coefficients = jnp.zeros((problem.degree + 1, *begin.state.shape), begin.state.dtype)
    size = begin.state.shape[0] + problem.delayed
    saved = jnp.zeros((ts.shape[0] + 1, size, *lanes), begin.state.dtype)
    infinite = jnp.full(lanes, jnp.inf, ts.dtype)
    path = None
    if problem.rows:
        path = paths.blank(problem.rows, problem.room, begin, problem.fields)
    layout, history = problem.layout, None
    if problem.delays is not None:
        history = History.blank(problem.delays, problem.degree, problem.method.centre, begin)
    return Run(
        point=begin,
        coefficients=coefficients,
        unit=jnp.ones(lanes, ts.dtype),
        saved=saved,
        count=zero,
        status=zero + OK,
        steps=zero,
        jumps=zero,
        rejected=zero,
        smallest=infinite,
        bounded=zero,
        path=path,
        records=None if layout is None or not layout.keeps else Records.blank(layout, begin, size),
        history=history,
    )


class Carried(eqx.Module):
    """What the loop of a run carries: the run, whether its first step was counted in an earlier run
    and is not taken yet, and how many tries of the present step were refused."""

    run: Run
    first: Any  # [*lanes]
    refused: Any  # [*lanes]


def run(
    problem: Problem, arguments: Arguments, laned: Arguments, size: int, room: Any, scatter: bool
) -> Run:
    """The run as a plain loop. `room` is for its saved states and its path."""
    loop = Loop.of(problem, arguments, laned, size, scatter)
    return lax.while_loop(loop.goes_on, loop.turn, loop.begin(room)).run


def stretch(
    problem: Problem,
    arguments: Arguments,
    laned: Arguments,
    now: Carried,
    begun: Array,
    turns: Array,
    scatter: bool,
) -> Carried:
    """So many turns more of the loop of a run, or as many as there are.

    What a run carries that has not `begun` is zeros.
    """
    loop = Loop.of(problem, arguments, laned, 0, scatter)
    fresh = loop.begin(now.run.large)
    now = jax.tree.map(
        lambda old, new: old if new is old else jnp.where(begun, old, new), now, fresh
    )

    def goes_on(carry: tuple[Carried, Array]) -> Array:
        return loop.goes_on(carry[0]) & (carry[1] > 0)

    def turn(carry: tuple[Carried, Array]) -> tuple[Carried, Array]:
        return loop.turn(carry[0]), carry[1] - 1

    return lax.while_loop(goes_on, turn, (now, turns))[0]


@dataclasses.dataclass(frozen=True, eq=False)
class Loop:
    """The loop of a run: a turn is the try of a step.

    `earlier` is 1 where the first step was counted in an earlier run, else 0; `lags` and `history`
    are there with delays. `write` puts a value in a row of an array, as `write_row` does.
    """

    problem: Problem
    system: System
    control: StepControl
    ts: Array  # [times, *lanes]
    start: Point
    earlier: Array  # [*lanes]
    lags: Any  # [delays, *lanes]
    history: History | None
    write: Callable[[Array, Array, Array], Array]

    @staticmethod
    def of(
        problem: Problem, arguments: Arguments, laned: Arguments, size: int, scatter: bool
    ) -> "Loop":
        """The loop of a run with `size` lanes, or none where it is 0."""
        start = spread_begin(arguments, laned, size)
        earlier = jnp.broadcast_to(arguments.again, start.time.shape).astype(jnp.int32)
        return Loop(
            problem,
            system_of(problem, arguments.constants, laned.constants, size, fenced=not scatter),
            spread_tolerances(arguments.control, laned.control, size),
            arguments.ts,
            start,
            earlier,
            *spread_delays(arguments, laned, size),
            write=scatter_row if scatter else write_row,
        )

    @property
    def direction(self) -> Array:
        """1 forward in time, -1 backward."""
        return direction_of(self.ts)

    def begin(self, room: Any) -> Carried:
        """What the loop starts from; `room` is for the large arrays."""
        problem, ts, start = self.problem, self.ts, self.start
        begun = with_room(blank(problem, ts, start), room)
        begun = with_history(begun, self.history, self.write)
        seen = self._seen(start, begun.history)
        point = _started(problem, seen.system, start, ts, seen.control)
        begun = dataclasses.replace(begun, point=point)
        return Carried(begun, self.earlier > 0, jnp.zeros_like(self.earlier))

    def goes_on(self, carry: Carried) -> Array:
        """Whether a lane has not come to its end."""
        return jnp.any(self._unfinished(carry.run))

    def turn(self, carry: Carried) -> Carried:
        """The run after one more try of a step."""
        first, count, write = carry.first, self.ts.shape[0], self.write
        # Without lanes, a turn is one of a run that goes on.
        active = self._unfinished(carry.run) if self.start.time.ndim else jnp.ones((), bool)
        seen, run, step = self._tried(carry, active)
        attempt = step.attempt
        good = active & attempt.accepted
        fresh = good & ~first
        delayed = seen.view is not None
        last = covered(step.stretch, attempt.clipped, step.after.time, self.direction, delayed)
        saved, number = save(self.problem.method, seen, run, last, self.ts, good, write)
        more = number < count
        index = jnp.where(first, 0, run.steps + self.earlier)
        recorded = good & (index <= self.problem.room) if self.problem.is_brief else good
        path = _on_path(run, seen, step, index, recorded, write)
        after = _counted(run, attempt, active, first, good)
        status = jnp.where(active, attempt.status, run.status)
        end = _out_of_steps(step, after.bounded, self.problem.max_steps - after.steps, self.ts)
        status = jnp.where(good & more & (end != OK), end, status).astype(jnp.int32)
        kept = run.records
        if kept is not None:
            at_event = seen.with_delayed(run.point.time, run.point.state)
            kept = kept.with_step(run.point, at_event, attempt.mark, fresh, write)
            status = jnp.where(fresh & kept.is_full, FULL, status)
        # A refused step is tried again from the same point. A run that ends stays at its last step.
        refused = active & ~attempt.accepted & (status == OK)
        tried = dataclasses.replace(run.point, step=attempt.step, memory=attempt.memory)
        leaves = good & more
        after = dataclasses.replace(
            after,
            point=select(leaves, step.after, select(refused, tried, run.point)),
            saved=saved,
            count=number,
            status=status,
            path=path,
            records=kept,
            history=self._history(seen, run, step, leaves),
        )
        return Carried(after, first & ~good, jnp.where(good, 0, carry.refused + 1))

    def _unfinished(self, run: Run) -> Array:
        return (run.count < self.ts.shape[0]) & (run.status == OK)

    def _seen(self, point: Point, history: History | None) -> Seen:
        """What a step from a point sees."""
        return Seen.at(
            *(self.problem.delays, self.problem.method, self.system, self.control, history, point),
            *(self.lags, self.direction),
        )

    def _tried(self, carry: Carried, active: Array) -> tuple[Seen, Run, Step]:
        """The try of a step, what it sees, and the run with its polynomial."""
        run, method, ts = carry.run, self.problem.method, self.ts
        seen = self._seen(run.point, run.history)
        left = self.problem.max_steps - run.steps
        step = take_step(method, seen.system, run.point, ts[-1], self.direction, seen.control, left)
        step = _given_up(step, carry.refused)
        step = dataclasses.replace(step, attempt=seen.judged(step.attempt, self.direction))
        run = _with_polynomial(method, seen, run, step, ts, active)
        return seen, *_checked(self.problem, seen, run, step, active)

    def _history(self, seen: Seen, run: Run, step: Step, leaves: Array) -> History | None:
        """What delays read, with a step where that `leaves`."""
        if run.history is None:
            return None
        return seen.after(
            *(run.history, self.problem.method, run.point, step.after, run.coefficients),
            *(step.stretch, taken_of(step, seen), leaves, self.write),
        )


def _counted(run: Run, attempt: Attempt, active: Array, first: Array, good: Array) -> Run:
    """The run with the try of a step counted; a `first` one was counted in an earlier run."""
    fresh = good & ~first
    jumps, sized = run.jumps, fresh
    if attempt.mark is not None:
        # Events cut steps to any size.
        jumps = jumps + (fresh & attempt.mark.jumps)
        sized = fresh & (attempt.mark.kind == PLAIN)
    in_a_row = jnp.where(attempt.bounded, run.bounded + 1, 0)
    return dataclasses.replace(
        run,
        steps=run.steps + fresh,
        jumps=jumps,
        rejected=run.rejected + jnp.where(active & ~first, attempt.rejected, 0),
        smallest=jnp.where(sized, jnp.minimum(run.smallest, attempt.size), run.smallest),
        bounded=jnp.where(good, in_a_row, run.bounded),
    )


def _on_path(
    run: Run,
    seen: Seen,
    step: Step,
    number: Array,
    good: Array,
    write: Callable[[Array, Array, Array], Array],
) -> Any:
    """The run's path with a good step of a number, None where it has none."""
    if run.path is None:
        return None
    path = paths.thinned(run.path, number, good)
    return paths.record(path, run.point, taken_of(step, seen), number, good, write)


def taken_of(step: Step, seen: Seen) -> paths.Taken:
    """What a path keeps of a step."""
    attempt = step.attempt
    span = None if seen.view is None else seen.view.span
    return paths.Taken(attempt.size, attempt.clipped, attempt.mark, span)


def _checked(problem: Problem, seen: Seen, run: Run, step: Step, active: Array) -> tuple[Run, Step]:
    """The try of a step, refused where what goes into a delay is no polynomial over it.

    A method knows of the state alone. Then the next one is at most half as long.
    """
    layout, history = problem.delays, run.history
    if layout is None or history is None:
        return run, step
    attempt = step.attempt
    holds, scales = holds_for_wires(
        *(layout, problem.method, seen, run.point, run.coefficients, step.stretch),
        *(attempt.mark, history.scales),
    )
    refused = active & attempt.accepted & ~holds
    accepted = active & attempt.accepted & holds
    longest = jnp.where(accepted, 2 * history.longest, history.longest)
    longest = jnp.where(refused, attempt.size / 2, longest)
    attempt = dataclasses.replace(
        attempt,
        accepted=attempt.accepted & holds,
        rejected=attempt.rejected + refused,
        step=jnp.where(refused, attempt.size / 2, attempt.step),
        memory=select(refused, run.point.memory, attempt.memory),
    )
    scales = jnp.where(accepted, scales, history.scales)
    history = dataclasses.replace(history, longest=longest, scales=scales)
    return dataclasses.replace(run, history=history), dataclasses.replace(step, attempt=attempt)


def _given_up(step: Step, in_a_row: Array) -> Step:
    """The try of a step, failed where it is refused after too many others in a row."""
    attempt = step.attempt
    endless = ~attempt.accepted & (attempt.status == OK) & (in_a_row >= MOST_REFUSED)
    attempt = dataclasses.replace(attempt, status=jnp.where(endless, NO_STEP, attempt.status))
    return dataclasses.replace(step, attempt=attempt)


def _out_of_steps(step: Step, bounded: Array, left: Array, ts: Array) -> Array:
    """How a run ends after a step that leaves so many: `OK` where it goes on.

    A stiff one ends as soon as it could not get to its end by steps like this one.
    """
    ahead = jnp.abs(ts[-1] - step.after.time) / step.attempt.size
    stiff = (bounded >= STIFF_STEPS) & (ahead > left)
    return jnp.where(stiff, STIFF, jnp.where(left <= 0, OUT_OF_STEPS, OK))


def _started(
    problem: Problem, system: System, begin: Point, ts: Array, control: StepControl
) -> Point:
    """The point at which a run begins, with what its method remembers; unchanged where it has
    taken a step."""
    reach = reach_of(begin, ts[-1], direction_of(ts), control)
    fresh = start_of(problem.method, system, begin, control, reach)
    return select(begin.step == 0, fresh, begin)


def _with_polynomial(
    method: StepMethod, seen: Seen, run: Run, step: Step, ts: Array, active: Array
) -> Run:
    """The run with the polynomial of a step that was just tried, where that is read: in steps that
    cover saved times, where the run fails, and in all steps where there are delays."""
    attempt = step.attempt
    delayed = seen.view is not None
    last = covered(step.stretch, attempt.clipped, step.after.time, direction_of(ts), delayed)
    saves = attempt.accepted & _covers(run.count, last, ts)
    read = active & (saves | (attempt.status != OK) | delayed)

    def found() -> Array:
        polynomial = polynomial_of(method, seen.system, run.point, attempt, step.stretch)
        return jnp.where(read, polynomial, run.coefficients)

    coefficients = lax.cond(jnp.any(read), found, lambda: run.coefficients)
    unit = jnp.where(read, step.stretch.unit, run.unit)
    return dataclasses.replace(run, coefficients=coefficients, unit=unit)


def _covers(number: Array, end: Array, ts: Array) -> Array:
    """Whether there is a saved time of a number, at or before the end of a step."""
    time = at_number(ts, jnp.minimum(number, ts.shape[0] - 1))
    return (number < ts.shape[0]) & (direction_of(ts) * (time - end) <= 0)


def save(
    method: StepMethod,
    seen: Seen,
    run: Run,
    end: Array,
    ts: Array,
    good: Array,
    write: Callable[[Array, Array, Array], Array],
) -> tuple[Array, Array]:
    """The saved states with all those that a good step to the time `end` covers, and how many there
    are. The run has the step's start and polynomial."""
    count, direction = ts.shape[0], direction_of(ts)

    def covers(number: Array) -> Array:
        return good & _covers(number, end, ts)

    def turn(carry: tuple[Array, Array]) -> tuple[Array, Array]:
        saved, number = carry
        covered = covers(number)
        time = at_number(ts, jnp.minimum(number, count - 1))
        passed = direction * (time - run.point.time) >= 0  # not beside a breakpoint at a start
        offset = jnp.where(covered & passed, time - run.point.time - run.point.late, 0)
        offset = seen.beside(run.point, time, covered & ~passed, offset)
        part = offset / run.unit
        value = value_at(run.coefficients, part, method.centre)
        value = seen.with_delayed(jnp.where(covered & passed, time, run.point.time), value)
        return write(saved, jnp.where(covered, number, count), value), number + covered

    start = run.saved, run.count
    return lax.while_loop(lambda carry: jnp.any(covers(carry[1])), turn, start)


def with_room(run: Run, room: Sequence[Array]) -> Run:
    """A run whose large arrays are given."""
    return eqx.tree_at(lambda run: run.large, run, list(room))


def with_history(run: Run, given: History | None, write: Any) -> Run:
    """A run that goes on from a history, or starts one."""
    if given is None and run.history is not None:
        given = run.history.started(run.point, write)
    return dataclasses.replace(run, history=given)
