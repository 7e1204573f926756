"""A run of adaptive steps through the times that are saved: a while loop, in lanes or not."""

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

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
from .methods.checked import polynomial_of, start_of
from .methods.method import (
    FULL,
    JUMP,
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

    @property
    def large(self) -> list[Any]:
        """Its large arrays."""
        parts = [part.large for part in (self.records, self.path) if part is not None]
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
    programs of the system close over, by the names of these.
    """

    ts: Any  # [times, *lanes]
    begin: Any  # a Point
    again: Any  # [*lanes]
    control: Any  # a StepControl
    constants: dict[str, list[Any]]


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

    @property
    def guards(self) -> int:
        """How many guards have events."""
        return 0 if self.layout is None else self.layout.guards

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
    saved = jnp.zeros((ts.shape[0] + 1, *begin.state.shape), begin.state.dtype)
    infinite = jnp.full(lanes, jnp.inf, ts.dtype)
    path = None
    if problem.rows:
        path = paths.blank(problem.rows, problem.max_steps, begin, problem.guards)
    layout = problem.layout
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
        records=None if layout is None or not layout.keeps else Records.blank(layout, begin),
    )


def direction_of(ts: Array) -> Array:
    return lax.stop_gradient(jnp.where(ts[-1] < ts[0], -1.0, 1.0).astype(ts.dtype))


def spread_begin(arguments: Arguments, laned: Arguments, size: int) -> Point:
    """The point at which a run begins, with lanes where there are any."""
    if not size:
        return arguments.begin
    return jax.tree.map(lambda x, flag: spread((x, flag), size), arguments.begin, laned.begin)


def _spread_tolerances(control: StepControl, laned: Any, size: int) -> StepControl:
    """With tolerances that have lanes where there are any, `[entries, *lanes]`."""
    if not size:
        return control
    rtol, atol = (control.rtol, laned.rtol), (control.atol, laned.atol)
    return dataclasses.replace(control, rtol=spread(rtol, size), atol=spread(atol, size))


def run(
    problem: Problem, arguments: Arguments, laned: Arguments, size: int, room: Any, scatter: bool
) -> Run:
    """The run as a plain loop. `room` is for its saved states and its path."""
    ts, control = arguments.ts, arguments.control
    system = system_of(problem, arguments.constants, laned.constants, size)
    begin = spread_begin(arguments, laned, size)
    control = _spread_tolerances(control, laned.control, size)
    count, direction = ts.shape[0], direction_of(ts)
    write = scatter_row if scatter else write_row
    lanes = begin.time.shape
    earlier = jnp.broadcast_to(arguments.again, lanes).astype(jnp.int32)

    def unfinished(run: Run) -> Array:
        return (run.count < count) & (run.status == OK)

    def body(carry: tuple[Run, Array, Array]) -> tuple[Run, Array, Array]:
        run, first, in_a_row = carry
        active = unfinished(run)
        step = take_step(problem.method, system, run.point, ts[-1], direction, control)
        step = _given_up(step, in_a_row)
        attempt = step.attempt
        status = jnp.where(active, attempt.status, run.status)
        good = active & attempt.accepted
        run = _with_polynomial(problem.method, system, run, step, ts, active)
        last = covered(step.stretch, attempt.clipped, step.after.time, direction)
        saved, count_saved = save(problem.method, run, last, ts, good, write)
        path = _on_path(run, step, jnp.where(first, 0, run.steps + earlier), good, write)
        fresh = good & ~first
        steps = run.steps + fresh
        jumps, sized = None, fresh
        if attempt.mark is not None:
            # Events cut steps to any size.
            jumps, sized = fresh & (attempt.mark.kind == JUMP), fresh & (attempt.mark.kind == PLAIN)
        more = count_saved < count
        row = jnp.where(attempt.bounded, run.bounded + 1, 0)
        bounded = jnp.where(good, row, run.bounded)
        end = _out_of_steps(step, bounded, problem.max_steps - steps, ts)
        status = jnp.where(good & more & (end != OK), end, status).astype(jnp.int32)
        kept = run.records
        if kept is not None:
            kept = kept.with_step(run.point, attempt.mark, fresh, write)
            status = jnp.where(fresh & kept.is_full, FULL, status)
        # A refused step is tried again from the same point. A run that ends stays at its last step.
        refused = active & ~attempt.accepted & (status == OK)
        tried = dataclasses.replace(run.point, step=attempt.step, memory=attempt.memory)
        point = _where(good & more, step.after, _where(refused, tried, run.point))
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
        )
        return after, first & ~good, jnp.where(good, 0, in_a_row + 1)

    begun = with_room(blank(problem, ts, _started(problem, system, begin, ts, control)), room)
    first = jnp.broadcast_to(arguments.again, lanes)
    carry = begun, first, jnp.zeros(lanes, jnp.int32)
    return lax.while_loop(lambda carry: jnp.any(unfinished(carry[0])), body, carry)[0]


def _on_path(
    run: Run,
    step: Step,
    number: Array,
    good: Array,
    write: Callable[[Array, Array, Array], Array],
) -> Any:
    """The run's path with a good step of a number, None where it has none."""
    if run.path is None:
        return None
    attempt = step.attempt
    taken = paths.Taken(attempt.size, attempt.clipped, attempt.mark)
    path = paths.thinned(run.path, number, good)
    return paths.record(path, run.point, taken, number, good, write)


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
    method: StepMethod, system: System, run: Run, step: Step, ts: Array, active: Array
) -> Run:
    """The run with the polynomial of a step that was just tried, where that is read: in steps that
    cover saved times, and where the run fails."""
    attempt = step.attempt
    last = covered(step.stretch, attempt.clipped, step.after.time, direction_of(ts))
    saves = attempt.accepted & _covers(run.count, last, ts)
    read = active & (saves | (attempt.status != OK))

    def found() -> Array:
        polynomial = polynomial_of(method, system, run.point, attempt, step.stretch)
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
        part = offset / run.unit
        value = value_at(run.coefficients, part, method.centre)
        return write(saved, jnp.where(covered, number, count), value), number + covered

    start = run.saved, run.count
    return lax.while_loop(lambda carry: jnp.any(covers(carry[1])), turn, start)


def with_room(run: Run, room: Sequence[Array]) -> Run:
    """A run whose large arrays are given."""
    return eqx.tree_at(lambda run: run.large, run, list(room))


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
