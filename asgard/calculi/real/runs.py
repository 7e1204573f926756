"""A run of adaptive steps through the times that are saved: a while loop, in lanes or not."""

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from ...jaxprs.hoisting import EXPANSIONS
from ...jaxprs.lanes import run_in_lanes, spread
from ...jaxprs.primitives import traits
from ...jaxprs.program import Program
from ...jaxprs.sparsity import Pattern
from . import path as paths
from .adaptive import Step, at_number, covered, reach_of, take_step
from .delays import Seen, holds_for_wires
from .history import DelayLayout, History
from .methods.checked import polynomial_of, start_of
from .methods.method import (
    FULL,
    MOST_REFUSED,
    NO_STEP,
    OK,
    OUT_OF_STEPS,
    PLAIN,
    STIFF,
    StepMethod,
)
from .polynomial import value_at
from .records import Records
from .system import EventLayout, Point, StepControl, System

# A field of more equations is evaluated in a loop.
LONG = 100
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


@dataclasses.dataclass(frozen=True)
class Storage:
    """How many steps a run may take, and what is kept of them.

    `dense` asks for the start of every step, `checkpoints` says of how many at most they are kept
    for derivatives, None for all.
    """

    max_steps: int
    dense: bool
    checkpoints: int | None


class Arguments(eqx.Module):
    """What of a run is traced; or of each leaf its type, or whether it has lanes, or moves.

    `again` says that the first step was counted in an earlier run. The constants are those that the
    programs of the system close over, by the names of these. A run with delays has `lags`, their
    lengths, and the history from which it goes on.
    """

    ts: Any  # [times, *lanes]
    begin: Any  # a Point
    again: Any  # [*lanes]
    control: Any  # a StepControl
    constants: dict[str, list[Any]]
    lags: Any = None  # [delays, *lanes]
    history: Any = None  # a History


@dataclasses.dataclass(frozen=True, eq=False)
class Problem:
    """What of a run is static: how steps are made, the system's programs, and how the arguments are
    laid out.

    `leaves` is the structure of `Arguments`; `programs` are those that the method reads, by name,
    which take time, state and constants; `rows` is how many points the path keeps, 0 for no path,
    and `checkpoints` how many to keep at most to differentiate by, None for all.
    """

    method: StepMethod
    programs: dict[str, Program]
    size: int
    checks: int
    branches: bool
    pattern: Pattern | None
    algebraic: int
    degree: int
    max_steps: int
    rows: int
    checkpoints: int | None
    leaves: Any
    layout: EventLayout | None = None
    delays: DelayLayout | None = None

    @property
    def fields(self) -> tuple[int, ...]:
        """The shape of what a path keeps of a step."""
        return paths.fields_of(self.guards, self.delays is not None)

    def taken(self, numbers: Array) -> paths.Taken:
        """What a path keeps of a step, from these numbers."""
        return paths.Taken.unpacked(numbers, self.guards, self.delays is not None)

    @property
    def guards(self) -> int:
        """How many guards have events."""
        return 0 if self.layout is None else self.layout.guards

    @property
    def delayed(self) -> int:
        """How many numbers the delays give."""
        return 0 if self.delays is None else self.delays.entries

    @property
    def keeps_events(self) -> bool:
        """Whether events are kept."""
        return self.layout is not None and self.layout.keeps

    @property
    def derived(self) -> tuple[str, ...]:
        """The programs through which derivatives flow."""
        return (self.method.derived, *(("watch", "jump") if self.guards else ()))

    def derived_of(self, constants: Mapping[str, Sequence[Any]]) -> list[Any]:
        """The constants of these programs, or what is said of each, one after another."""
        return [value for name in self.derived for value in constants[name]]

    def with_derived(
        self, constants: Mapping[str, Sequence[Any]], values: Sequence[Any]
    ) -> dict[str, list[Any]]:
        """Constants with other ones for these programs."""
        rest, found = iter(values), {name: list(given) for name, given in constants.items()}
        for name in self.derived:
            found[name] = [next(rest) for _ in found[name]]
        return found

    @property
    def largest(self) -> int:
        """How many numbers the largest array of a program has, for one lane."""
        avals = (aval for program in self.programs.values() for aval in program.avals.values())
        return max(math.prod(aval.shape) for aval in avals)

    @property
    def multiplies(self) -> bool:
        """Whether a program multiplies by matrices. Then it is no kernel in lanes: all lanes go
        through it at once, and are multiplied at once."""
        programs = self.programs.values()
        return any(one.name == "dot_general" for program in programs for one in program.equations)


def system_of(
    problem: Problem,
    constants: dict[str, list[Array]],
    laned: Mapping[str, Sequence[bool]],
    size: int,
) -> System:
    """The system on values with `size` lanes, or none where it is 0.

    `constants` are those of `Arguments`, and `laned` says which of them have lanes.
    """

    def run(
        program: Program, values: list[Array], flags: Sequence[bool], t: Array, y: Array
    ) -> Array:
        inputs = [(t, size > 0), (y, size > 0), *zip(values, flags, strict=True)]
        (result,) = run_in_lanes(program, inputs, size)
        return spread(result, size) if size else result[0]

    calls = {
        name: functools.partial(run, program, constants[name], laned[name])
        for name, program in problem.programs.items()
    }
    field = problem.programs["field"]
    return System(
        calls["field"],
        calls.get("expand"),
        calls.get("jacobian"),
        problem.size,
        problem.checks,
        # Side by side, lanes are all that a kernel holds, and a matrix by many vectors is no longer
        # a matrix by a vector, which is all that it multiplies.
        one_by_one=size > 0 or any(one.name == "dot_general" for one in field.equations),
        in_turn=_length(field) > LONG,
        pattern=problem.pattern,
        algebraic=problem.algebraic,
        solve=calls.get("solve"),
        branches=problem.branches,
        layout=problem.layout,
        watch=calls.get("watch"),
        jump=calls.get("jump"),
        past=calls.get("past"),
    )


def _length(program: Program) -> float:
    """How many equations of a program compute; infinite if it holds a search."""
    names = [equation.name for equation in program.equations]
    searches = any(name in EXPANSIONS for name in names)
    return math.inf if searches else float(sum(traits(name).computes for name in names))


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
        path = paths.blank(problem.rows, problem.max_steps, begin, problem.fields)
    layout, history = problem.layout, None
    if problem.delays is not None:
        history = History.blank(problem.delays, problem.degree, begin)
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


def direction_of(ts: Array) -> Array:
    return lax.stop_gradient(jnp.where(ts[-1] < ts[0], -1.0, 1.0).astype(ts.dtype))


def spread_begin(arguments: Arguments, laned: Arguments, size: int) -> Point:
    """The point at which a run begins, with lanes where there are any."""
    if not size:
        return arguments.begin
    return jax.tree.map(lambda x, flag: spread((x, flag), size), arguments.begin, laned.begin)


def spread_delays(arguments: Arguments, laned: Arguments, size: int) -> tuple[Any, Any]:
    """The delays and the history at the start, with lanes where there are any."""
    given = arguments.lags, arguments.history
    if not size:
        return given
    flags = laned.lags, laned.history
    return jax.tree.map(lambda x, flag: spread((x, flag), size), given, flags)


def _spread_tolerances(control: StepControl, laned: Any, size: int) -> StepControl:
    """With tolerances that have lanes where there are any, `[entries, *lanes]`."""
    if not size:
        return control
    rtol, atol = (control.rtol, laned.rtol), (control.atol, laned.atol)
    return dataclasses.replace(control, rtol=spread(rtol, size), atol=spread(atol, size))


class Carried(eqx.Module):
    """What the loop of a run carries: the run, whether its first step was counted in an earlier run
    and is not taken yet, and how many tries of the present step were refused."""

    run: Run
    first: Any  # [*lanes]
    refused: Any  # [*lanes]


class Loop(NamedTuple):
    """The loop of a run: where it begins, whether it goes on, and a turn. `begin` takes room for
    the large arrays."""

    begin: Callable[[Any], Carried]
    goes_on: Callable[[Carried], Array]
    turn: Callable[[Carried], Carried]


def run(
    problem: Problem, arguments: Arguments, laned: Arguments, size: int, room: Any, scatter: bool
) -> Run:
    """The run as a plain loop. `room` is for its saved states and its path."""
    loop = loop_of(problem, arguments, laned, size, scatter)
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
    loop = loop_of(problem, arguments, laned, 0, scatter)
    fresh = loop.begin(now.run.large)
    now = jax.tree.map(
        lambda old, new: old if new is old else jnp.where(begun, old, new), now, fresh
    )

    def goes_on(carry: tuple[Carried, Array]) -> Array:
        return loop.goes_on(carry[0]) & (carry[1] > 0)

    def turn(carry: tuple[Carried, Array]) -> tuple[Carried, Array]:
        return loop.turn(carry[0]), carry[1] - 1

    return lax.while_loop(goes_on, turn, (now, turns))[0]


def loop_of(
    problem: Problem, arguments: Arguments, laned: Arguments, size: int, scatter: bool
) -> Loop:
    """The loop of a run."""
    ts, control = arguments.ts, arguments.control
    system = system_of(problem, arguments.constants, laned.constants, size)
    begin = spread_begin(arguments, laned, size)
    control = _spread_tolerances(control, laned.control, size)
    count, direction = ts.shape[0], direction_of(ts)
    write = scatter_row if scatter else write_row
    lanes = begin.time.shape
    earlier = jnp.broadcast_to(arguments.again, lanes).astype(jnp.int32)
    lags, history = spread_delays(arguments, laned, size)

    def seen_from(point: Point, history: History | None) -> Seen:
        return Seen.at(
            problem.delays, problem.method, system, control, history, point, lags, direction
        )

    def unfinished(run: Run) -> Array:
        return (run.count < count) & (run.status == OK)

    def body(carry: Carried) -> Carried:
        run, first, in_a_row = carry.run, carry.first, carry.refused
        active = unfinished(run)
        seen = seen_from(run.point, run.history)
        step = take_step(problem.method, seen.system, run.point, ts[-1], direction, seen.control)
        step = _given_up(step, in_a_row)
        step = dataclasses.replace(step, attempt=seen.judged(step.attempt, direction))
        run = _with_polynomial(problem.method, seen, run, step, ts, active)
        run, step = _checked(problem, seen, run, step, active)
        attempt = step.attempt
        status = jnp.where(active, attempt.status, run.status)
        good = active & attempt.accepted
        delayed = seen.view is not None
        last = covered(step.stretch, attempt.clipped, step.after.time, direction, delayed)
        saved, count_saved = save(problem.method, seen, run, last, ts, good, write)
        path = _on_path(run, seen, step, jnp.where(first, 0, run.steps + earlier), good, write)
        fresh = good & ~first
        steps = run.steps + fresh
        jumps, sized = None, fresh
        if attempt.mark is not None:
            # Events cut steps to any size.
            jumps, sized = fresh & attempt.mark.jumps, fresh & (attempt.mark.kind == PLAIN)
        more = count_saved < count
        row = jnp.where(attempt.bounded, run.bounded + 1, 0)
        bounded = jnp.where(good, row, run.bounded)
        end = _out_of_steps(step, bounded, problem.max_steps - steps, ts)
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
        point = _where(leaves, step.after, _where(refused, tried, run.point))
        history = run.history
        if history is not None:
            history = seen.after(
                history,
                problem.method,
                run.point,
                step.after,
                run.coefficients,
                step.stretch,
                taken_of(step, seen),
                leaves,
                write,
            )
        after = Run(
            point=point,
            coefficients=run.coefficients,
            unit=run.unit,
            saved=saved,
            count=count_saved,
            status=status,
            steps=steps,
            jumps=run.jumps if jumps is None else run.jumps + jumps,
            rejected=run.rejected + jnp.where(active & ~first, attempt.rejected, 0),
            smallest=jnp.where(sized, jnp.minimum(run.smallest, attempt.size), run.smallest),
            bounded=bounded,
            path=path,
            records=kept,
            history=history,
        )
        return Carried(after, first & ~good, jnp.where(good, 0, in_a_row + 1))

    def started(room: Any) -> Carried:
        begun = with_history(with_room(blank(problem, ts, begin), room), history, write)
        first_seen = seen_from(begin, begun.history)
        point = _started(problem, first_seen.system, begin, ts, first_seen.control)
        begun = dataclasses.replace(begun, point=point)
        first = jnp.broadcast_to(arguments.again, lanes)
        return Carried(begun, first, jnp.zeros(lanes, jnp.int32))

    def goes_on(carry: Carried) -> Array:
        return jnp.any(unfinished(carry.run))

    return Loop(started, goes_on, body)


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
        memory=_where(refused, run.point.memory, attempt.memory),
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


def _where(chosen: Array, one: Any, other: Any) -> Any:
    """Of two pytrees the one that is chosen, lane by lane."""
    return jax.tree.map(lambda a, b: jnp.where(chosen, a, b), one, other)


def _started(
    problem: Problem, system: System, begin: Point, ts: Array, control: StepControl
) -> Point:
    """The point at which a run begins, with what its method remembers; unchanged where it has
    taken a step."""
    reach = reach_of(begin, ts[-1], direction_of(ts), control)
    fresh = start_of(problem.method, system, begin, control, reach)
    return _where(begin.step == 0, fresh, begin)


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


def write_row(saved: Array, row: Array, value: Array) -> Array:
    """Writes a row, lane after lane where each has its own."""
    if row.ndim == 0:
        return lax.dynamic_update_slice_in_dim(saved, value[None], row, axis=0)
    zeros = [jnp.zeros((), row.dtype)] * (value.ndim - 1)

    def one(lane: Array, saved: Array) -> Array:
        column = lax.dynamic_slice_in_dim(value, lane, 1, axis=-1)[None]
        number = lax.dynamic_index_in_dim(row, lane, keepdims=False)
        return lax.dynamic_update_slice(saved, column, (number, *zeros, lane.astype(row.dtype)))

    return lax.fori_loop(0, row.shape[0], one, saved)


def scatter_row(saved: Array, row: Array, value: Array) -> Array:
    """Writes a row, all lanes at once."""
    if row.ndim == 0:
        return lax.dynamic_update_slice_in_dim(saved, value[None], row, axis=0)
    lanes = jnp.arange(row.shape[0])
    return saved.at[row, ..., lanes].set(jnp.moveaxis(value, -1, 0))
