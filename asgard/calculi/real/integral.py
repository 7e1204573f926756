"""The integration of a system as calls that run in lanes, and their derivatives.

A run is one call; its derivatives in forward mode are another, which takes the recorded steps once
more, and in reverse mode a third, which goes through them backward.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.interpreters import ad
from jaxtyping import Array, Float

from ...circuits.fields import LARGEST_COUNT
from ...jaxprs.fences import with_rounded_products
from ...jaxprs.kernel import LARGEST_SUM
from ...jaxprs.lane_call import (
    Avals,
    Flags,
    LaneCall,
    LinearCall,
    bind,
    flagged,
    in_lanes,
    inexact,
    merge,
    one_lane,
    sums_of,
)
from ...jaxprs.primitives import traits
from ...jaxprs.program import Equation, Program, trace
from ...status import Status
from . import path as paths
from . import runs
from .adaptive import reach_of
from .delays import Delays, Seen
from .methods.checked import degree_of, start_of
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
from .path import Path
from .retake import replay, retake
from .runs import Arguments, Problem, Run, Storage
from .sweep import Sweep
from .system import CHECKS, SMOOTH_CHECKS, EventLayout, Point, StepControl, System
from .tolerances import RTOL, TRACE

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
# How many runs of a batch go side by side on the CPU, at most.
TILE = 64
# The most operations of a kernel with events, which are many and small. The thermostat of
# benchmarks/events.py is past the usual limit, and is 5.6 times as fast as a kernel.
LONGEST_WITH_EVENTS = 2000
# The same with delays. The Mackey-Glass equation in `benchmarks/delays.py` has 900 with Taylor
# steps and 1,900 with Dopri8, and is 3 to 6 times as fast as a kernel.
LONGEST_WITH_DELAYS = 4000


def integrate(
    method: StepMethod,
    system: System,
    ts: Float[Array, " times"],
    begin: Point,
    again: Array,
    control: StepControl,
    storage: Storage,
    delays: Delays | None = None,
) -> tuple[Run, Array]:
    """Steps through `ts` from a point at or before `ts[0]`.

    The run ends with the point at the start of the step that covers `ts[-1]`. `again` says that the
    first step was counted in an earlier run.

    **Returns:** the run, and whether it ran as a kernel.
    """
    degree = degree_of(method, begin.state.dtype)
    reads = (*method.reads, *(() if system.solve is None else ("solve",)))
    if delays is not None:
        reads = (*reads, "past")
    traced = {
        name: traced_program(getattr(system, name), avals_of(name, begin, degree, delays))
        for name in reads
    }
    programs = {name: program for name, (program, _) in traced.items()}
    if "jacobian" in method.reads:
        # Newton's method finds the stages as exactly as the field is known.
        programs["field"] = with_rounded_products(programs["field"])
    constants = {name: values for name, (_, values) in traced.items()}
    control = _of_one_step(control, method.share(degree_of(method, begin.state.dtype)))
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
        rows=paths.rows_of(max_steps) if storage.dense else 0,
        checkpoints=storage.checkpoints,
        leaves=leaves,
        layout=system.layout,
        delays=None if delays is None else delays.layout,
    )
    call = Integral(problem)
    *results, is_kernel = bind(call, flat)
    return call.run_of(flat, (False,) * len(flat), results), is_kernel


def _of_one_step(control: StepControl, share: float) -> StepControl:
    """Tolerances of which a step may use a share; those at rounding stay as they are."""
    least = RTOL * jnp.finfo(control.rtol.dtype).eps
    rtol = jnp.maximum(share * control.rtol, jnp.minimum(control.rtol, least))
    atol = jnp.maximum(share * control.atol, jnp.minimum(control.atol, TRACE))
    return dataclasses.replace(control, rtol=rtol, atol=atol)


def traced_program(fn: Any, avals: Sequence[Any]) -> tuple[Program, list[Array]]:
    """A function of time and state as a program, and the values that it closes over."""
    return _with_constants_as_inputs(trace(lambda t, y: (fn(t, y),), *avals))


def avals_of(name: str, begin: Point, degree: int, delays: Delays | None) -> list[Any]:
    """The types of what a program of a system reads."""
    dtype, time = begin.state.dtype, jax.ShapeDtypeStruct((), begin.time.dtype)
    if delays is None:
        return [time, jax.ShapeDtypeStruct(begin.state.shape, dtype)]
    if name == "past":
        return [time, jax.ShapeDtypeStruct(delays.lags.shape, time.dtype)]
    orders = degree + 1 if name == "expand" else 1
    size = begin.state.shape[0] + orders * delays.layout.entries
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
        reach = reach_of(begin, ts[-1], runs.direction_of(ts), seen.control)
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


def branches_along(program: Program, layout: EventLayout | None) -> bool:
    """Whether what a program makes of time and state, its first two inputs, may jump or have kinks
    between events."""
    moving = set(program.inputs[:2])
    for equation in program.equations:
        if moving.isdisjoint(equation.ins) or _reads_modes(equation, program, layout):
            continue
        if equation.name == "ne" and equation.ins[0] == equation.ins[1]:
            continue  # whether it is no number
        held = equation.name == "select_n" and equation.ins[0] not in moving
        if not held and not traits(equation.name).smooth:
            return True
        moving.update(equation.outs)
    return False


def _reads_modes(equation: Equation, program: Program, layout: EventLayout | None) -> bool:
    """Whether an equation takes from the state what only jumps at events."""
    if layout is None or equation.name != "slice" or equation.ins[0] != program.inputs[1]:
        return False
    (start,), (limit,) = equation.params["start_indices"], equation.params["limit_indices"]
    held = layout.holds_modes[start:limit]  # what stands behind is no mode
    return len(held) == limit - start and bool(np.all(held))


def _checks(field: Program, layout: EventLayout | None) -> int:
    """At which points of a step a field is checked."""
    names_time = any(field.inputs[0] in equation.ins for equation in field.equations)
    return CHECKS if names_time or branches_along(field, layout) else SMOOTH_CHECKS


class Integral(LaneCall):
    """A run. Its operands are the leaves of `Arguments`."""

    reports_kernel = True

    def __init__(self, problem: Problem):
        self.problem = problem

    @property
    def longest(self) -> int | None:
        if self.problem.delays is not None:
            return LONGEST_WITH_DELAYS
        return LONGEST_WITH_EVENTS if self.problem.guards else None

    @property
    def tile(self) -> int:
        if self.problem.multiplies:
            return LARGEST_COUNT
        return max(1, min(TILE, (LARGEST_SUM - 1) // self.problem.largest))

    def outline(self, avals: Avals) -> list[Any]:
        return [*jax.tree.leaves(self.types(avals)), jax.ShapeDtypeStruct((), bool)]

    def room(self, avals: Avals) -> list[Any]:
        run = self.types(avals)
        return run.large

    def loop(
        self, room: list[Any], operands: list[Any], laned: Flags, size: int, kernel: bool
    ) -> list[Array]:
        arguments, flags = self.arguments(operands), self.arguments(laned)
        run = runs.run(self.problem, arguments, flags, size, room, scatter=not kernel)
        return jax.tree.leaves(run)

    def differentiate(
        self, primals: Sequence[Any], tangents: Sequence[Any], laned: Flags, size: int
    ) -> tuple[list[Array], list[Any]]:
        moving = tuple(not isinstance(tangent, ad.Zero) for tangent in tangents)
        rows = self.problem.rows or paths.rows_of(self.problem.max_steps, self.problem.checkpoints)
        kept = Integral(dataclasses.replace(self.problem, rows=rows))
        *recorded, is_kernel = bind(kept, primals, laned, size)
        run = kept.run_of(primals, laned, recorded)
        again = self.arguments(primals).again
        path = dataclasses.replace(run.path, taken=lax.stop_gradient(run.path.taken))
        counts = [run.count, run.steps + again]
        if run.records is not None:
            counts.append(run.records.count)
        known = [*primals, *jax.tree.leaves(path), *counts]
        flags = (*laned, *(size > 0,) * (len(known) - len(primals)), *flagged(moving, laned))
        call = Tangent(self.problem, rows, moving)
        results = run if self.problem.rows else dataclasses.replace(run, path=None)
        derivatives = bind(call, [*known, *flagged(moving, tangents)], flags, size)
        return [*jax.tree.leaves(results), is_kernel], derivatives

    def arguments(self, operands: Sequence[Any]) -> Arguments:
        """The operands, or what is said of each, by name."""
        return jax.tree.unflatten(self.problem.leaves, operands)

    def run_of(self, operands: Sequence[Any], laned: Flags, results: Sequence[Any]) -> Run:
        """The results as a run."""
        types = self.types(one_lane(operands, laned))
        return jax.tree.unflatten(jax.tree.structure(types), results)

    def types(self, avals: Avals) -> Run:
        """The types of the results, as a run."""
        given = self.arguments(avals)
        return jax.eval_shape(functools.partial(runs.blank, self.problem), given.ts, given.begin)


class _Derivative(LinearCall):
    """A call about a recorded run.

    Its operands are those of the run, the path, how many states were saved and steps taken, and
    then those in which it is linear.
    """

    def __init__(self, problem: Problem, rows: int, moving: Flags):
        self.problem, self.rows, self.moving = problem, rows, moving
        self.integral = Integral(problem)

    @property
    def longest(self) -> int | None:
        return None if self.problem.delays is None else LONGEST_WITH_DELAYS

    @property
    def tile(self) -> int:
        return self.integral.tile

    @property
    def known(self) -> int:
        """How many operands it is not linear in."""
        return len(self.moving) + _PATH + 2 + self.problem.keeps_events

    def split(self, operands: Sequence[Any]) -> tuple[Any, list[Any], list[Any]]:
        """The operands of the run, those about it, and the rest."""
        count = len(self.moving)
        about = list(operands[count : self.known])
        return list(operands[:count]), about, list(operands[self.known :])

    def replay(self, known: Sequence[Any], once: bool = False) -> Any:
        """From the moving operands to the inexact results, and the moving operands."""
        primals, about, _ = self.split(known)
        path, taken = about[:_PATH], about[_PATH + 1]

        def run(*values: Any) -> list[Any]:
            arguments = self.integral.arguments(merge(self.moving, values, primals))
            found = replay(self.problem, arguments, Path(*path), taken, once)
            return inexact(jax.tree.leaves(found))

        return run, flagged(self.moving, primals)


class Tangent(_Derivative):
    """The derivatives of a run's inexact results by the tangents of its moving operands."""

    def outline(self, avals: Avals) -> list[Any]:
        return inexact(self.integral.outline(self.split(avals)[0]))

    def room(self, avals: Avals) -> list[Any]:
        return 2 * self.integral.room(self.split(avals)[0])

    def loop(
        self, room: list[Any], operands: list[Any], laned: Flags, size: int, kernel: bool
    ) -> list[Array]:
        primals, about, tangents = self.split(operands)
        flags, *others = self.split(laned)
        values = in_lanes(flagged(self.moving, primals), flagged(self.moving, flags), size)
        tangents = in_lanes(tangents, others[1], size)
        flags = [f or (moves and size > 0) for f, moves in zip(flags, self.moving, strict=True)]
        path, taken, half = about[:_PATH], about[_PATH + 1], len(room) // 2

        def run(room: list[Any], values: list[Any]) -> list[Any]:
            arguments = self.integral.arguments(merge(self.moving, values, primals))
            found = retake(
                self.problem,
                arguments,
                Path(*path),
                taken,
                room,
                self.integral.arguments(flags),
                size,
                scatter=not kernel,
            )
            return inexact(jax.tree.leaves(found))

        return jax.jvp(run, (room[:half], values), (room[half:], tangents))[1]

    def plain(self, *operands: Any) -> list[Any]:
        run, values = self.replay(operands)
        return jax.jvp(run, values, list(operands[self.known :]))[1]

    def transpose(
        self, cotangents: Sequence[Any], operands: Sequence[Any], laned: Flags, size: int
    ) -> list[Array]:
        given = tuple(not isinstance(cotangent, ad.Zero) for cotangent in cotangents)
        moved = flagged(self.moving, laned[: len(self.moving)])
        pairs = zip(moved, laned[self.known :], strict=True)
        shared = tuple(size > 0 and not any(pair) for pair in pairs)
        sums = shared if self.problem.multiplies and any(shared) else None
        call = Cotangent(self.problem, self.rows, self.moving, given, sums)
        flags = (*laned[: self.known], *(size > 0,) * sum(given))
        return bind(call, [*operands[: self.known], *flagged(given, cotangents)], flags, size)


class Cotangent(_Derivative):
    """The cotangents of a run's moving operands by those of its inexact results that are given.

    Where a batch shares large operands, such as the weights of a network, their cotangents are sums
    over the lanes: see `LaneCall.sums`.
    """

    def __init__(
        self,
        problem: Problem,
        rows: int,
        moving: Flags,
        given: Flags,
        sums: Flags | None = None,
    ):
        super().__init__(problem, rows, moving)
        self.given, self.shared = given, sums

    @property
    def sums(self) -> Flags | None:
        return self.shared

    def by_lane(self) -> "Cotangent":
        return Cotangent(self.problem, self.rows, self.moving, self.given)

    def outline(self, avals: Avals) -> list[Any]:
        return flagged(self.moving, self.split(avals)[0])

    def room(self, avals: Avals) -> list[Any]:
        given = self.integral.arguments(self.split(avals)[0])
        constants = flagged(self._wanted, self.problem.derived_of(given.constants))
        # Sums have no lanes, which all room has.
        return [given.ts, given.control.breakpoints, *flagged(self._by_lane, constants)]

    @property
    def _wanted(self) -> tuple[bool, ...]:
        """Which constants of the programs that derivatives flow through move."""
        return tuple(self.problem.derived_of(self.integral.arguments(self.moving).constants))

    @property
    def _by_lane(self) -> tuple[bool, ...]:
        """Which of the wanted constants have cotangents for each lane."""
        if self.shared is None:
            return (True,) * sum(self._wanted)
        sums = merge(self.moving, self.shared, self.moving)
        found = self.problem.derived_of(self.integral.arguments(sums).constants)
        return tuple(not is_sum for is_sum in flagged(self._wanted, found))

    def loop(
        self, room: list[Any], operands: list[Any], laned: Flags, size: int, kernel: bool
    ) -> list[Array]:
        if self.problem.delays is not None:
            return self._replayed(operands, laned, size)
        primals, about, cotangents = self.split(operands)
        flags, others, more = self.split(laned)
        counts = in_lanes(about[_PATH:], others[_PATH:], size)
        cotangents = in_lanes(cotangents, more, size)
        arguments = self.integral.arguments(primals)
        moves = self.integral.arguments(self.moving)
        sweep = Sweep(
            problem=dataclasses.replace(self.problem, rows=self.rows),
            arguments=arguments,
            laned=self.integral.arguments(flags),
            size=size,
            given=self._results(one_lane(primals, flags), cotangents),
            wanted=self._wanted,
            sums=self.shared is not None,
            # Events move the times of steps.
            timed=self.problem.guards > 0
            or any((moves.ts, moves.begin.time, moves.begin.late, moves.control.breakpoints)),
            scatter=not kernel,
        )
        ts, stops, *own = room
        shared = flagged(self._wanted, self.problem.derived_of(arguments.constants))
        constants = merge(self._by_lane, own, [jnp.zeros_like(x) for x in shared])
        room = [ts, stops, *constants]
        found = sweep.run(Path(*about[:_PATH]), others[:_PATH], counts, room)
        zeros = in_lanes(primals, flags, size)
        nothing = self.integral.arguments([jnp.zeros_like(x) for x in zeros])
        none = self.problem.derived_of(nothing.constants)
        constants = merge(self._wanted, found.constants, none)
        whole = dataclasses.replace(
            nothing,
            ts=found.ts,
            begin=dataclasses.replace(found.point, memory=nothing.begin.memory),
            control=dataclasses.replace(nothing.control, breakpoints=found.breakpoints),
            constants=self.problem.with_derived(nothing.constants, constants),
        )
        results = flagged(self.moving, jax.tree.leaves(whole))
        pairs = zip(results, sums_of(self, results), flagged(self.moving, primals), strict=True)
        # What the sweep has not summed itself: all but the constants.
        return [
            jnp.sum(x, axis=-1) if is_sum and x.ndim > operand.ndim else x
            for x, is_sum, operand in pairs
        ]

    def _results(self, avals: Avals, cotangents: Sequence[Any]) -> Run:
        """The cotangents of all results, None for those that are not given."""
        leaves, structure = jax.tree.flatten(self.integral.types(avals))
        rest = iter(merge(self.given, cotangents, [None] * len(self.given)))
        found = [next(rest) if jnp.issubdtype(leaf.dtype, jnp.inexact) else None for leaf in leaves]
        return jax.tree.unflatten(structure, found)

    def _replayed(self, operands: list[Any], laned: Flags, size: int) -> list[Array]:
        """The cotangents by the loop that has all derivatives: a later step may read any earlier
        one, which the sweep has not gone through yet."""
        pull = functools.partial(self._pulled, once=True)
        if not size:
            return pull(*operands)
        axes = [-1 if flag else None for flag in laned]
        results = jax.vmap(pull, in_axes=axes, out_axes=-1)(*operands)
        sums = sums_of(self, results)
        return [
            jnp.sum(x, axis=-1) if is_sum else x for x, is_sum in zip(results, sums, strict=True)
        ]

    def plain(self, *operands: Any) -> list[Any]:
        return self._pulled(*operands)

    def _pulled(self, *operands: Any, once: bool = False) -> list[Any]:
        run, values = self.replay(operands, once)
        results, back = jax.vjp(run, *values)
        zeros = [jnp.zeros_like(x) for x in results]
        return list(back(merge(self.given, operands[self.known :], zeros)))

    def transpose(
        self, cotangents: Sequence[Any], operands: Sequence[Any], laned: Flags, size: int
    ) -> list[Array]:
        call = Tangent(self.problem, self.rows, self.moving)
        sums = sums_of(self, cotangents)
        flags = (*laned[: self.known], *(size > 0 and not is_sum for is_sum in sums))
        given = [ad.instantiate_zeros(cotangent) for cotangent in cotangents]
        results = bind(call, [*operands[: self.known], *given], flags, size)
        return flagged(self.given, results)


_PATH = len(dataclasses.fields(Path))
