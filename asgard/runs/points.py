"""States as users give them to linear analysis: by name, from a run, or along one."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from ..calculi.discrete.delays import as_line
from ..calculi.discrete.sequence import Samplewise
from ..calculi.real.adaptive import Pause
from ..calculi.steady import Solution
from ..calculi.trajectory import Trajectory
from ..circuits.atoms.registers import Register
from ..circuits.fields import as_inexact
from ..errors import CircuitError
from ..taylor.net import Wire
from ..taylor.network import line_wire
from .registers import Registers, check_register

FORMS = (
    "a dictionary of arrays by the names of registers, a trajectory or its state, or an Equilibrium"
)


def as_point(owner: str, given: Any) -> Any:
    """A point as a pytree of arrays: names become arrays, the others stay as they are."""
    if isinstance(given, Mapping):
        return {name: as_inexact(f"{owner}[{name!r}]", value) for name, value in given.items()}
    if given is None or isinstance(given, Trajectory | Pause | Samplewise | Solution):
        return given
    raise CircuitError(f"{owner} must be {FORMS}, not {given!r:.60}")


def time_of(point: Any) -> Any:
    """The time, or the times, at which a point stands; 0 where it says none."""
    if isinstance(point, Trajectory):
        return point.ts
    return getattr(point, "last", 0.0)


def states_of(owner: str, point: Any, registers: Registers) -> list[Array]:
    """The states at a point, each of its own shape or with an axis of times before it.

    Raises `CircuitError` where the point is not one of this circuit.
    """
    names, begin = registers.names, registers.begin
    if isinstance(point, Trajectory):
        return _along(owner, point, registers)
    if point is None:
        return list(begin)
    if isinstance(point, dict):
        for name in point:
            check_register(owner, name, names)
        found = [point.get(name, start) for name, start in zip(names, begin, strict=True)]
    else:
        found = _held(owner, point, registers)
    # One value is that of all samples of a delay, as at rest.
    lines = [cell.wire == line_wire(cell.node.outs[0]) for cell in registers.cells]
    found = [
        jnp.broadcast_to(x[..., None], start.shape) if line and x.shape == start.shape[:-1] else x
        for x, line, start in zip(found, lines, begin, strict=True)
    ]
    for name, value, start in zip(names, found, begin, strict=True):
        if value.shape != start.shape and value.shape[1:] != start.shape:
            raise CircuitError(
                f"{owner}[{name!r}] must be an array of shape {start.shape}, or of such arrays at "
                f"some times, not of shape {value.shape}"
            )
        if jnp.issubdtype(value.dtype, jnp.complexfloating):
            raise CircuitError(f"{owner}[{name!r}] must be real")
    return [value.astype(start.dtype) for value, start in zip(found, begin, strict=True)]


def _along(owner: str, run: Trajectory, registers: Registers) -> list[Array]:
    """The states at the times of a trajectory, read off its outputs and named wires."""
    cut = registers.cut
    other = CircuitError(f"{owner} is a trajectory of another circuit")
    if len(run.outputs) != len(cut.graph.outputs) or run.names.keys() != cut.named.keys():
        raise other
    rows: dict[Wire, Array] = dict(zip(cut.graph.outputs, run.outputs, strict=True))
    rows |= {wire: run.names[name] for name, wire in cut.named.items()}
    found = []
    for name, cell in zip(registers.names, registers.cells, strict=True):
        rest = len(cut.rest[cell.wire])
        if cell.wire not in rows:
            raise CircuitError(
                f"{owner} is a trajectory, which does not show {name!r}: let the circuit give what "
                "that register holds as an output, or name its wire by Var"
            )
        row = jnp.moveaxis(rows[cell.wire], range(-rest, 0), range(1, rest + 1))
        if row.shape != (len(run.ts), *cut.state_shape(cell.wire)):
            raise other
        found.append(row.astype(cut.net.avals[cell.wire].dtype))
    return found


def _held(owner: str, state: Any, registers: Registers) -> Sequence[Array]:
    """The states that a run's state holds."""
    if isinstance(state, Pause):
        found = _of_pause(state, registers)
    else:
        found = _of_contents(state.contents)
    if found is None or len(found) != len(registers.begin):
        raise CircuitError(f"{owner} is the state of a run of another circuit")
    return found


def _of_contents(contents: Sequence[Array]) -> list[Array]:
    """The states among what the cells of a sequence hold."""
    found: list[Array] = []
    for content in contents:
        if jnp.issubdtype(content.dtype, jnp.integer):  # the column of the ring before it
            found[-1] = as_line(found[-1], content)
        elif jnp.issubdtype(content.dtype, jnp.inexact):  # and not the side of a guard
            found.append(content)
    return found


def _of_pause(pause: Pause, registers: Registers) -> Sequence[Array] | None:
    """The states of a run under `Real`, where registers come before atoms with events, and then
    where loops are solved from; None where it has other counts."""
    kinds = [isinstance(cell.node.atom, Register) for cell in registers.cells]
    order = sorted(range(len(kinds)), key=lambda index: not kinds[index])
    whole = pause.at(pause.last - pause.point.time - pause.point.late) + pause.point.remainder
    found, start = list(registers.begin), 0
    if whole.shape[0] != sum(x.size for x in found) + registers.unknowns:
        return None
    for index in order:
        like = found[index]
        found[index] = whole[start : start + like.size].reshape(like.shape)
        start += like.size
    return found
