"""What a run is given: the problem, which is static, and the arguments, which are traced."""

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from ...jaxprs.fences import one_in_another
from ...jaxprs.hoisting import EXPANSIONS
from ...jaxprs.lanes import run_in_lanes, spread
from ...jaxprs.primitives import traits
from ...jaxprs.program import Program
from ...jaxprs.sparsity import Pattern
from . import path as paths
from .history import DelayLayout
from .methods.method import StepMethod
from .system import EventLayout, Point, StepControl, System

# A field of more equations is evaluated in a loop.
LONG = 100
# How many inputs a program has before its constants, where these are not time and state alone.
POINTS = {"precondition": 4}

# What multiplies many numbers by one operation.
PRODUCTS = ("dot_general", "conv_general_dilated")


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
    which take time, state, what else `POINTS` counts, and constants; `room` is of how many steps a
    path has the sizes, of the first ones if the run takes more; `rows` is how many points the path
    keeps, 0 for no path, and `checkpoints` how many to keep at most to differentiate by, None
    for all.
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
    room: int
    rows: int
    checkpoints: int | None
    leaves: Any
    layout: EventLayout | None = None
    delays: DelayLayout | None = None

    @property
    def is_brief(self) -> bool:
        """Whether a path has the first steps alone."""
        return self.room < self.max_steps

    @property
    def fields(self) -> tuple[int, ...]:
        """The shape of what a path keeps of a step."""
        return paths.fields_of(self.guards, self.delays is not None)

    @property
    def record(self) -> int:
        """How many bytes a path has for the sizes of all steps that a run may take."""
        field = self.programs["field"]
        itemsize = field.avals[field.inputs[0]].dtype.itemsize
        return self.max_steps * math.prod(self.fields) * itemsize

    def taken(self, numbers: Array) -> paths.Taken:
        """What a path keeps of a step, from these numbers."""
        taken = paths.Taken.unpacked(numbers, self.guards, self.delays is not None)
        # NaN where there is no path: for a pullback that is taken out of its batch.
        return dataclasses.replace(taken, size=taken.size + (taken.size - taken.size))

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

    def closed_over(self, name: str) -> list[Any]:
        """The types of what a program closes over."""
        program = self.programs[name]
        return [program.avals[number] for number in program.inputs[POINTS.get(name, 2) :]]

    @property
    def unrolls(self) -> bool:
        """Whether a kernel has the loop over a series' orders written out."""
        return "unrolled" in self.programs

    def unrolled(self, constants: Mapping[str, Any]) -> dict[str, Any]:
        """What is known of each program, such as its constants, with that of `unrolled` for
        `expand`."""
        return {**constants, "expand": constants["unrolled"]}

    @property
    def largest(self) -> int:
        """How many numbers the largest array of a program has, for one lane."""
        avals = (aval for program in self.programs.values() for aval in program.avals.values())
        return max(math.prod(aval.shape) for aval in avals)

    @property
    def multiplies(self) -> bool:
        """Whether a program multiplies by matrices or convolves. Then it is no kernel in lanes: all
        lanes go through it at once, and are multiplied at once."""
        programs = self.programs.values()
        return any(one.name in PRODUCTS for program in programs for one in program.equations)


def own_matrices(
    problem: Problem, constants: Mapping[str, Sequence[Any]], laned: Mapping[str, Sequence[bool]]
) -> dict[str, list[bool]]:
    """Which constants are matrices of which each lane has its own, in a problem with products.

    Their lanes stand first in loops. XLA would put them there for each product: 1,000 runs, each
    with a network of its own of 32 units, took twice as long, and their gradient four times.
    """
    return {
        name: [
            bool(flag) and x.ndim == 3 and problem.multiplies
            for x, flag in zip(values, laned[name], strict=True)
        ]
        for name, values in constants.items()
    }


def lanes_first(
    constants: Mapping[str, Sequence[Any]], matrices: Mapping[str, Sequence[bool]]
) -> dict[str, list[Any]]:
    """The constants, with the lanes of these matrices as their first axis."""

    def turned(matrix: Array) -> Array:
        return lax.optimization_barrier(jnp.moveaxis(matrix, -1, 0))

    return {
        name: [turned(x) if flag else x for x, flag in zip(values, matrices[name], strict=True)]
        for name, values in constants.items()
    }


def system_of(
    problem: Problem,
    constants: dict[str, list[Array]],
    laned: Mapping[str, Sequence[bool]],
    size: int,
    fenced: bool = False,
    matrices: Mapping[str, Sequence[bool]] | None = None,
) -> System:
    """The system on values with `size` lanes, or none where it is 0.

    `constants` are those of `Arguments`, and `laned` says which of them have lanes; if `matrices`
    are given, the lanes of these stand first already. If it is
    `fenced`, XLA's CPU backend compiles it, and must not fuse functions in the field that are
    faster apart.
    """
    field = problem.programs["field"]
    apart = one_in_another(field, field.inputs[:2], size) if fenced else set()

    if matrices is None:
        matrices = own_matrices(problem, constants, laned)
        constants = lanes_first(constants, matrices)

    def run(
        program: Program,
        values: list[Array],
        flags: Sequence[bool],
        first: Sequence[bool],
        *points: Array,
    ) -> Array:
        inputs = [*((point, size > 0) for point in points), *zip(values, flags, strict=True)]
        numbers = program.inputs[len(points) :]
        own = {number for number, is_first in zip(numbers, first, strict=True) if is_first}
        once = apart if program is field else ()
        (result,) = run_in_lanes(program, inputs, size, once, own)
        return spread(result, size) if size else result[0]

    calls = {
        name: functools.partial(run, program, constants[name], laned[name], matrices[name])
        for name, program in problem.programs.items()
    }
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
        along=calls.get("along"),
        past=calls.get("past"),
        precondition=calls.get("precondition"),
    )


def _length(program: Program) -> float:
    """How many equations of a program compute; infinite if it holds a search."""
    names = [equation.name for equation in program.equations]
    searches = any(name in EXPANSIONS for name in names)
    return math.inf if searches else float(sum(traits(name).computes for name in names))


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


def spread_tolerances(control: StepControl, laned: Any, size: int) -> StepControl:
    """With tolerances that have lanes where there are any, `[entries, *lanes]`."""
    if not size:
        return control
    rtol, atol = (control.rtol, laned.rtol), (control.atol, laned.atol)
    return dataclasses.replace(control, rtol=spread(rtol, size), atol=spread(atol, size))
