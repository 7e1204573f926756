"""The derivative of one step, transposed, as a program."""

import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array

from ...jaxprs.flags import flagged, merge
from ...jaxprs.program import Program, trace
from .events import Eventful
from .methods.checked import curve_of
from .methods.method import Mark, Stretch
from .problem import Problem, system_of
from .system import System


def transposed(problem: Problem, wanted: Sequence[bool], timed: bool) -> Program:
    """From a step's time, state, stretch and constants and the cotangents of what `step_made`
    gives, to the polynomial and the cotangents of time, state, offset and those constants that are
    wanted."""
    programs = problem.programs
    time, state = (programs["field"].avals[number] for number in programs["field"].inputs[:2])
    constants = {name: problem.closed_over(name) for name in programs}
    still = {name: (False,) * len(avals) for name, avals in constants.items()}
    moves = problem.with_derived(still, wanted)
    curve = jax.ShapeDtypeStruct((problem.degree + 1, *state.shape), state.dtype)
    marks, ends = [], []
    if problem.guards:
        marks = [jax.ShapeDtypeStruct((), jnp.int32)]
        marks.append(jax.ShapeDtypeStruct((problem.guards,), bool))
        ends = [time, state]
    avals = [time, state, time, time, time, *marks, *itertools.chain(*constants.values())]
    none = (False,) * (2 + len(marks))
    moving = (timed, True, timed, *none, *itertools.chain(*moves.values()))

    def pull(*values: Array) -> list[Array]:
        known, cotangents = values[: len(avals)], values[len(avals) :]

        def run(*changing: Array) -> list[Array]:
            time, state, offset, unit, latest, *rest = merge(moving, changing, known)
            mark = Mark(*rest[: len(marks)]) if marks else None
            values = iter(rest[len(marks) :])
            given = {name: [next(values) for _ in avals] for name, avals in constants.items()}
            system = system_of(problem, given, still, 0)
            stretch = Stretch(offset, unit, latest, mark)
            return step_made(problem, system, time, state, stretch)

        (coefficients, *_), back = jax.vjp(run, *flagged(moving, known))
        found = iter(back(list(cotangents)))
        time, state, offset = (
            next(found) if moves else jnp.zeros_like(value)
            for moves, value in zip(moving[:3], known[:3], strict=True)
        )
        return [coefficients, time, state, offset, *found]

    return trace(pull, *avals, curve, *ends)


def step_made(
    problem: Problem, system: System, time: Array, state: Array, stretch: Stretch
) -> list[Array]:
    """The polynomial of a step; with events also by how much its end moves, in time and state."""
    method = problem.method
    curve = curve_of(method, system, time, state, stretch)
    if not isinstance(method, Eventful):
        return [curve]
    return [curve, *method.shift(system, time, state, stretch, curve)]


def marks_of(stretch: Stretch) -> list[Array]:
    """The mark of a step as arrays; nothing without events."""
    return [] if stretch.mark is None else [stretch.mark.kind, stretch.mark.fired]
