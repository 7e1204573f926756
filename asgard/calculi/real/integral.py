"""The integration of a system as calls that run in lanes, and their derivatives.

A run is one call; its derivatives in forward mode are another, which takes the recorded steps once
more, and in reverse mode a third, which goes through them backward.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.interpreters import ad
from jaxtyping import Array, Float

from ...jaxprs.fences import with_rounded_products
from ...jaxprs.flags import Avals, Flags, flagged, inexact, one_lane
from ...jaxprs.lane_call import bind
from ...jaxprs.program import Program, trace
from ...status import Status
from . import path as paths
from . import runs
from .adaptive import reach_of
from .again import Again, Recorders, has_no_path, is_apart, points_of
from .delays import Delays, Seen
from .derivatives import (
    LONGEST_WITH_DELAYS,
    Derivative,
    RunCall,
    Tangent,
    arguments_of,
    known_of,
    run_of,
    tile_of,
    types_of,
)
from .methods.checked import degree_of, start_of
from .methods.choice import is_small
from .methods.method import (
    EVENT,
    FULL,
    LAG,
    LOST,
    NEWTON,
    NO_STEP,
    NONFINITE,
    OUT_OF_STEPS,
    STIFF,
    ZENO,
    StepMethod,
)
from .problem import Arguments, Problem, Storage, direction_of
from .runs import Run
from .smoothness import branches_along, degree_along
from .system import (
    CHECKS,
    LOW_CHECKS,
    LOW_DEGREE,
    SMOOTH_CHECKS,
    EventLayout,
    Point,
    StepControl,
    System,
)
from .tolerances import RTOL, TRACE
from .watched import ORDER

_CODES = (OUT_OF_STEPS, NONFINITE, NO_STEP, NEWTON, STIFF, ZENO, EVENT, FULL, LOST, LAG)
_FAILURES = (
    Status.max_steps,
    Status.nonfinite,
    Status.step_size,
    Status.newton,
    Status.stiff,
    Status.zeno,
    Status.event,
    Status.events,
    Status.history,
    Status.delay,
)
# The most operations of a kernel with events, which are many and small. The thermostat of
# benchmarks/events.py is past the usual limit, and is 5.6 times as fast as a kernel.
LONGEST_WITH_EVENTS = 2000
# The same where guards are expanded, which adds 400 to 600.
LONGEST_WITH_SERIES = 3000
# The same where orders are unrolled. By how the equations are written, three bodies in a plane have
# 5,700 to 7,500, and compile for 3 to 16 s; four with 11,000 would for 18 to 56 s.
LONGEST_UNROLLED = 8000


def integrate(problem: Problem, flat: list[Array]) -> tuple[Run, Array]:
    """Steps through a run's times; the arguments are what `problem_of` returns.

    **Returns:** the run, and whether it ran as a kernel.
    """
    call = Integral(problem)
    *results, is_kernel = bind(call, flat)
    return run_of(problem, flat, (False,) * len(flat), results), is_kernel


def problem_of(
    method: StepMethod,
    system: System,
    ts: Float[Array, " times"],
    begin: Point,
    again: Array,
    control: StepControl,
    storage: Storage,
    delays: Delays | None = None,
) -> tuple[Problem, list[Array]]:
    """What of a run is static, and the leaves of its `Arguments`.

    The run steps through `ts` from a point at or before `ts[0]`, and ends with the point at the
    start of the step that covers `ts[-1]`. `again` says that the first step was counted in an
    earlier run.
    """
    degree = degree_of(method, begin.state.dtype)
    reads = (*method.reads, *(() if system.solve is None else ("solve",)))
    if delays is not None:
        reads = (*reads, "past")
    if system.precondition is not None:
        reads = (*reads, "precondition")
    if system.unrolled is not None:
        reads = (*reads, "unrolled")
    traced = {
        name: traced_program(
            getattr(system, name), avals_of(name, begin, degree, delays, system.size)
        )
        for name in reads
    }
    programs = {name: program.without_repeats() for name, (program, _) in traced.items()}
    if "jacobian" in method.reads or method.solves_loops:
        # Newton's method finds the stages as exactly as the field is known.
        programs["field"] = with_rounded_products(programs["field"])
    constants = {name: values for name, (_, values) in traced.items()}
    control = _of_one_step(control, method.share(degree, is_small(programs["field"], system.size)))
    if begin.memory is None:
        memory = blank_memory(method, system, begin, ts, control, delays)
        begin = dataclasses.replace(begin, memory=memory)
    lags, history = (None, None) if delays is None else (delays.lags, delays.history)
    arguments = Arguments(ts, begin, jnp.asarray(again), control, constants, lags, history)
    flat, leaves = jax.tree.flatten(arguments)
    max_steps = storage.max_steps
    problem = Problem(
        method=method,
        programs=programs,
        size=system.size,
        checks=_checks(programs["field"], system.layout) if delays is None else CHECKS,
        branches=branches_along(programs["field"], system.layout),
        pattern=system.pattern,
        algebraic=system.algebraic,
        degree=degree,
        max_steps=max_steps,
        room=max_steps,
        rows=paths.rows_of(max_steps) if storage.dense else 0,
        checkpoints=storage.checkpoints,
        leaves=leaves,
        layout=system.layout,
        delays=None if delays is None else delays.layout,
    )
    return problem, flat


def _of_one_step(control: StepControl, share: float) -> StepControl:
    """Tolerances of which a step may use a share; those at rounding stay as they are."""
    least = RTOL * jnp.finfo(control.rtol.dtype).eps
    rtol = jnp.maximum(share * control.rtol, jnp.minimum(control.rtol, least))
    atol = jnp.maximum(share * control.atol, jnp.minimum(control.atol, TRACE))
    return dataclasses.replace(control, rtol=rtol, atol=atol)


def traced_program(fn: Any, avals: Sequence[Any]) -> tuple[Program, list[Array]]:
    """A function of time and state as a program, and the values that it closes over."""
    return _with_constants_as_inputs(trace(lambda *point: (fn(*point),), *avals))


def avals_of(name: str, begin: Point, degree: int, delays: Delays | None, size: int) -> list[Any]:
    """The types of what a program of a system reads."""
    dtype, time = begin.state.dtype, jax.ShapeDtypeStruct((), begin.time.dtype)
    if name == "precondition":
        complex_ = jnp.result_type(dtype, jnp.complex64)
        vector = jax.ShapeDtypeStruct((size,), complex_)
        point = avals_of("field", begin, degree, delays, size)
        return [*point, jax.ShapeDtypeStruct((), complex_), vector]
    given = begin.state.shape[0]
    if name == "along":
        given = given * (ORDER + 1) + 1
    if delays is None:
        return [time, jax.ShapeDtypeStruct((given,), dtype)]
    if name == "past":
        return [time, jax.ShapeDtypeStruct(delays.lags.shape, time.dtype)]
    orders = degree + 1 if name in ("expand", "unrolled") else 1
    size = given + orders * delays.layout.entries
    return [time, jax.ShapeDtypeStruct((size,), dtype)]


def blank_memory(
    method: StepMethod,
    system: System,
    begin: Point,
    ts: Array,
    control: StepControl,
    delays: Delays | None = None,
) -> Any:
    """Zeros of the shapes of what the method remembers."""

    def begun(begin: Point) -> Any:
        seen = Seen(system, control)
        if delays is not None:
            seen = delays.seen(method, system, control, begin, degree_of(method, begin.state.dtype))
        reach = reach_of(begin, ts[-1], direction_of(ts), seen.control)
        return start_of(method, seen.system, begin, seen.control, reach).memory

    return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(begun, begin))


def status(run: Run) -> Status:
    """How a run ended."""
    found = Status.ok
    for number, member in zip(_CODES, _FAILURES, strict=True):
        found = Status.where(run.status == number, member, found)
    return found


def _with_constants_as_inputs(program: Program) -> tuple[Program, list[Array]]:
    """The program with what it closes over as further inputs, and the values of these."""
    numbers = tuple(n for n, value in program.constants.items() if isinstance(value, jax.Array))
    values = [program.constants[number] for number in numbers]
    rest = {n: value for n, value in program.constants.items() if n not in numbers}
    inputs = (*program.inputs, *numbers)
    return dataclasses.replace(program, inputs=inputs, constants=rest), values


def _checks(field: Program, layout: EventLayout | None) -> int:
    """At how many points of a step a field is checked."""
    if degree_along(field, layout) <= LOW_DEGREE:
        return LOW_CHECKS
    names_time = any(field.inputs[0] in equation.ins for equation in field.equations)
    return CHECKS if names_time or branches_along(field, layout) else SMOOTH_CHECKS


class Integral(RunCall):
    """A run. Its operands are the leaves of `Arguments`. If it is a kernel and `unrolls`, the loop
    over the orders of a series is written out. If its path is `spare`, it has none in batches whose
    derivatives run it again."""

    reports_kernel = True

    def __init__(self, problem: Problem, unrolls: bool = True, spare: bool = False):
        self.problem, self.spare = problem, spare
        self.unrolls = unrolls and problem.unrolls

    @property
    def shorter(self) -> "Integral | None":
        return Integral(self.problem, False, self.spare) if self.unrolls else None

    def in_batch(
        self, operands: Sequence[Any], laned: Flags, size: int, before: Flags, count: int
    ) -> list[Array]:
        if not self.spare or any(before) or not has_no_path(self.problem, count):
            return bind(self, operands, laned, size)
        bare = dataclasses.replace(self.problem, rows=0)
        *results, is_kernel = bind(Integral(bare), operands, laned, size)
        path = types_of(self.problem, one_lane(operands, laned)).path
        run = run_of(bare, operands, laned, results)
        run = dataclasses.replace(run, path=jax.tree.map(paths.nothing_like, path))
        return [*jax.tree.leaves(run), is_kernel]

    @property
    def longest(self) -> int | None:
        if self.unrolls:
            return LONGEST_UNROLLED
        if self.problem.delays is not None:
            return LONGEST_WITH_DELAYS
        if "along" in self.problem.programs:
            return LONGEST_WITH_SERIES
        return LONGEST_WITH_EVENTS if self.problem.guards else None

    @property
    def tile(self) -> int:
        return tile_of(self.problem)

    def outline(self, avals: Avals) -> list[Any]:
        return [*jax.tree.leaves(types_of(self.problem, avals)), jax.ShapeDtypeStruct((), bool)]

    def room(self, avals: Avals) -> list[Any]:
        run = types_of(self.problem, avals)
        return run.large

    def loop(
        self, room: list[Any], operands: list[Any], laned: Flags, size: int, kernel: bool
    ) -> list[Array]:
        problem = self.problem
        arguments, flags = arguments_of(problem, operands), arguments_of(problem, laned)
        if kernel and self.unrolls:
            arguments, flags = (
                dataclasses.replace(given, constants=problem.unrolled(given.constants))
                for given in (arguments, flags)
            )
            problem = dataclasses.replace(problem, programs=problem.unrolled(problem.programs))
        run = runs.run(problem, arguments, flags, size, room, scatter=not kernel)
        return jax.tree.leaves(run)

    def differentiate(
        self, primals: Sequence[Any], tangents: Sequence[Any], laned: Flags, size: int
    ) -> tuple[list[Array], list[Any]]:
        problem = self.problem
        if problem.is_brief:
            return self._without_path(primals, tangents, laned, size)
        moving = tuple(not isinstance(tangent, ad.Zero) for tangent in tangents)
        rows = problem.rows or points_of(problem, size)
        kept: RunCall = Integral(dataclasses.replace(problem, rows=rows))
        call: Derivative = Tangent(problem, rows, moving)
        pushed, pushed_lanes = flagged(moving, tangents), flagged(moving, laned)
        if not problem.rows and problem.delays is None:
            recorders = Recorders(Integral)
            if size:
                kept, call = recorders.along(Tangent(problem, rows, moving), size)
            else:
                kept = Integral(kept.problem, spare=True)
                call = Tangent(problem, rows, moving, recorders.in_batch)
            if is_apart(problem, size):
                again = Again(kept, call)
                derivatives = bind(again, [*primals, *pushed], (*laned, *pushed_lanes), size)
                return bind(self, primals, laned, size), derivatives
        *recorded, is_kernel = bind(kept, primals, laned, size)
        run = run_of(kept.problem, primals, laned, recorded)
        known, flags = known_of(problem, primals, laned, size, run)
        results = run if problem.rows else dataclasses.replace(run, path=None)
        derivatives = bind(call, [*known, *pushed], (*flags, *pushed_lanes), size)
        return [*jax.tree.leaves(results), is_kernel], derivatives

    def _without_path(
        self, primals: Sequence[Any], tangents: Sequence[Any], laned: Flags, size: int
    ) -> tuple[list[Array], list[Any]]:
        """What `differentiate` gives where the path has the first steps alone: only derivatives
        that run again are told of it, so that its own may be zero."""
        results = bind(self, primals, laned, size)
        run = run_of(self.problem, primals, laned, results[:-1])
        whole = dataclasses.replace(self.problem, rows=0, room=self.problem.max_steps)
        _, derivatives = Integral(whole).differentiate(primals, tangents, laned, size)
        rest, still = iter(derivatives), {id(x) for x in jax.tree.leaves(run.path)}
        leaves = inexact(jax.tree.leaves(run))
        return results, [jnp.zeros_like(x) if id(x) in still else next(rest) for x in leaves]
