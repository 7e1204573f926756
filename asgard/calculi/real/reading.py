"""What is read off of a run under `Real`: its outputs at times, its events, how it ended."""

import dataclasses
import functools
import operator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Inexact, Int

from ...status import Status
from ..convergence import Solves, judge
from ..events import Occurrences
from ..rows import only
from ..trajectory import Trajectory
from . import integral
from .adaptive import Pause, ends, start, stretch_of
from .delays import Seen
from .equations import Wires
from .history import History
from .methods.checked import curve_of
from .methods.choice import COARSE
from .path import Path, Taken, unpacked_flags
from .polynomial import value_at
from .problem import Storage
from .records import Records
from .runs import Run
from .simulation import Simulation
from .switches import Switches

# What to try where a run by power series meets a value that is not finite.
_NO_SERIES = (
    "Real(rtol=1e-8), if the run begins at such an edge: Runge-Kutta steps need no power series, "
    "which sqrt(t) has none of at 0"
)
# The same in float32, where the coefficients of fast systems overflow: rates to the power of 9.
_NO_SERIES_SINGLE = (
    "Real(method=ag.Tsit5(), rtol=1e-5), if the run begins at such an edge; or other units, such "
    "as a shorter one of time: coefficients of power series overflow float32 at rates of 1e4 or so"
)
# So many digits beside an event a time is that of the event, for what held before it.
BESIDE = 16.0


class Ran(NamedTuple):
    """A run; whether an earlier run counted its first step; whether it was a kernel."""

    run: Run
    again: Bool[Array, ""]
    is_kernel: Bool[Array, ""]


@dataclasses.dataclass(frozen=True)
class _Found:
    """What a run found. It reached `count` of its times, and its path has so many `rows`."""

    states: Inexact[Array, "times state"]
    count: Int[Array, ""]
    status: Status
    stats: dict[str, Array]
    pause: Pause
    path: Path | None
    rows: Array
    is_kernel: Bool[Array, ""]


def trajectory(
    simulation: Simulation, state: Any, switches: Switches | None, storage: Storage
) -> Trajectory:
    """Runs from the state of an earlier trajectory, or None; gives the outputs at `ts`."""
    if not simulation.registers:
        return read(simulation, None, switches, storage)
    problem, flat, again = simulation.problem(state, switches, storage)
    run, is_kernel = integral.integrate(problem, flat)
    return read(simulation, Ran(run, again, is_kernel), switches, storage)


def read(
    simulation: Simulation, ran: Ran | None, switches: Switches | None, storage: Storage
) -> Trajectory:
    """The outputs at `ts` of what ran, None for a circuit without registers."""
    ts, loops = simulation.ts, simulation.cut.loop_names
    found = _without_registers(simulation) if ran is None else _of_run(simulation, ran)
    times, states, last = ts, found.states, found.pause.last
    count, status = found.count, found.status
    if switches is not None:
        known = jnp.sum(simulation.direction() * (ts - switches.known) <= 0)
        last = jnp.where(known < count, switches.known, last)
        status = Status.where(known < count, Status.switches, status)
        count = jnp.minimum(count, known)
    pause = dataclasses.replace(found.pause, last=last)
    stats = found.stats | {"reached": last, "kernel": found.is_kernel}
    if loops:
        solves = _solves(simulation, states, pause)
        came, (count, status, more) = count, judge(solves, count, status, len(ts))
        stats["reached"] = jnp.where(count < came, ts[count], last)
        stats |= more
    good = jnp.arange(len(ts)) < count
    if loops:
        # Derivatives at a row without a solution would be NaN, whatever their weight.
        times = jnp.where(good, times, times[0])
        states = jnp.where(good[:, None], states, states[0])
    wires = only(good, jax.vmap(simulation.equations.wires)(times, states))
    records = None if ran is None else ran.run.records
    return Trajectory(
        ts=simulation.ts_given,
        outputs=wires.apart(),
        names=wires.names,
        status=status,
        stats=stats,
        state=pause,
        dense=(found.path, found.rows, last, pause.history) if storage.dense else None,
        loops=loops,
        advice="" if ran is None else _advice(simulation),
        events={} if records is None else _occurrences(simulation, records),
        method=None if ran is None else simulation.method_taken,
        state_parts=() if ran is None else simulation.state_parts,
    )


def _advice(simulation: Simulation) -> str:
    """What to try where a run meets a value that is not finite."""
    if not simulation.needs_series:
        return ""
    return _NO_SERIES_SINGLE if jnp.finfo(simulation.dtype).eps > COARSE else _NO_SERIES


def _of_run(simulation: Simulation, ran: Ran) -> _Found:
    run, again, is_kernel = ran
    count, ts = len(simulation.ts), simulation.ts
    steps = run.steps - run.jumps
    stats = {
        "steps": steps,
        "rejected": run.rejected,
        "smallest_step": jnp.where(steps > 0, run.smallest, 0),
    }
    if simulation.layout_of_events is not None:
        stats["jumps"] = run.jumps
    last = jnp.where(run.count == count, ts[-1], run.point.time)
    centre = jnp.full_like(run.unit, simulation.method.centre)
    pause = Pause(run.point, run.coefficients, run.unit, centre, last, run.history)
    rows = again + run.steps
    return _Found(
        run.saved[:count], run.count, integral.status(run), stats, pause, run.path, rows, is_kernel
    )


def _without_registers(simulation: Simulation) -> _Found:
    """What a circuit without registers has for a run: no step."""
    ts, zero = simulation.ts, jnp.zeros((), jnp.int32)
    states = jnp.zeros((len(ts), 0), simulation.dtype)
    stats = {
        "steps": zero,
        "rejected": zero,
        "smallest_step": zero.astype(ts.dtype),
    }
    point, one = start(ts[-1], states[0]), jnp.ones((), ts.dtype)
    coefficients = jnp.zeros((1, 0), simulation.dtype)
    pause = Pause(point, coefficients, one, jnp.zeros_like(one), ts[-1])
    return _Found(
        states, jnp.asarray(len(ts)), Status.ok, stats, pause, None, zero, jnp.zeros((), bool)
    )


def _solves(simulation: Simulation, states: Array, pause: Pause) -> Solves:
    """How the loops were solved at the saved times and, of a run, at its ends."""
    times = simulation.ts
    if simulation.registers:
        more = ends(pause, simulation.direction())
        times, states = (jnp.concatenate(pair) for pair in zip((times, states), more, strict=True))
    return jax.vmap(simulation.equations.solves)(*jax.lax.stop_gradient((times, states)))


def _occurrences(simulation: Simulation, kept: Records) -> dict[str, Occurrences]:
    """When the events that are watched happened, by name, with the wires there."""
    layout, begin = simulation.layout_of_events, simulation.begin()
    assert layout is not None
    here = jnp.arange(layout.most) < kept.count
    # Derivatives at a row that is not used would be NaN, whatever their weight.
    times = jnp.where(here, kept.times[:-1], begin.time)
    states = jnp.where(here[:, None], kept.states[:-1], simulation.with_past(begin))
    wires = jax.vmap(simulation.equations.wires)(times, states)
    fired = jax.vmap(functools.partial(unpacked_flags, count=layout.guards))(kept.fired[:-1])
    rows = (times, wires.apart(), wires.names)
    found = {}
    numbers = simulation.guarded.numbers(layout)
    for event, guards in zip(simulation.real.events, numbers, strict=True):
        happened = here & jnp.any(fired[:, guards.start : guards.stop], axis=1)
        order = jnp.argsort(~happened, stable=True)
        own = only(happened[order], jax.tree.map(operator.itemgetter(order), rows))
        found[event.name] = Occurrences(
            times=own[0], count=jnp.sum(happened), outputs=own[1], names=own[2]
        )
    return found


def at(
    simulation: Simulation,
    times: Float[Array, " times"],
    path: Path | None,
    rows: Array,
    reached: Array,
    history: History | None,
    side: str,
) -> Wires:
    """The wires at any times of a run, from its path of so many rows and what its delays read; NaN
    outside of it.

    `side` says what holds at an event: "left" before its jump, "right" after it.
    """
    dtype, direction = simulation.ts.dtype, simulation.direction()
    times, first, reached = (x.astype(dtype) for x in (times, simulation.ts[0], reached))
    inside = (direction * (times - first) >= 0) & (direction * (reached - times) >= 0)
    equations = simulation.equations
    if path is None:
        empty = jnp.zeros((len(times), 0))
        return only(inside, jax.vmap(equations.wires)(times, empty))
    method, control = simulation.method, simulation.control(simulation.switches(None))
    layout = simulation.layout_of_events
    guards = 0 if layout is None else layout.guards
    delays = simulation.delays()
    layout_of_delays, lags = (None, None) if delays is None else (delays.layout, delays.lags)
    jumps = guards > 0 or delays is not None
    # A step from a breakpoint starts just past it, and late.
    starts = path.time + path.late if jumps else path.time
    starts = jnp.where(jnp.arange(path.time.shape[0]) < rows, direction * starts, jnp.inf)
    asked = direction * times
    if jumps and side == "left":
        # Users compute the times of clocks otherwise, and these tick a few digits early.
        asked -= BESIDE * jnp.finfo(dtype).eps * jnp.abs(times)

    def one(time: Array, asked: Array) -> Wires:
        row = jnp.searchsorted(starts, asked, side=side) - 1
        row = jnp.clip(row, 0, jnp.maximum(rows - 1, 0))
        point = start(path.time[row], path.state[row])
        point = dataclasses.replace(point, late=path.late[row])
        taken = Taken.unpacked(path.taken[row], guards, delays is not None)
        seen = Seen.at(
            *(layout_of_delays, method, simulation.system, control, history, point, lags),
            *(direction, taken),
        )
        last = simulation.ts[-1]
        stretch = stretch_of(method, point, taken, last, direction, seen.control)
        curve = curve_of(method, seen.system, point.time, point.state, stretch)
        offset = time - point.time - point.late
        state = value_at(curve, offset / stretch.unit, method.centre)
        return equations.wires(time, seen.with_delayed(time, state))

    return only(inside & (rows > 0), jax.vmap(one)(times, asked))
