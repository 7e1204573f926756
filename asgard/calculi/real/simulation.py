"""One run under `Real`: how its steps are made, and what is read off."""

import dataclasses
import functools
import math
import operator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ...circuits.atoms.registers import Register
from ...circuits.circuit import Circuit
from ...errors import CircuitError
from ...jaxprs.program import trace
from ...jaxprs.sparsity import Pattern
from ...status import Status
from ...taylor.net import Value, Wire
from ...taylor.network import coordinate_wire, initial_wire
from ..convergence import Solves, judge
from ..cut import Cut
from ..events import Occurrences
from ..meanings import HYBRID, REAL
from ..meanings import noise as meanings_of_noise
from ..rows import only
from ..trajectory import Trajectory
from . import integral
from .adaptive import Pause, beside, ends, start, stretch_of
from .branches import branching
from .delays import DEEPEST, Delays, resume
from .equations import Equations, Wires, known_at
from .events import Eventful
from .history import History
from .hybrid import Guarded
from .methods.checked import curve_of, degree_of
from .methods.choice import chosen
from .methods.method import StepMethod
from .methods.taylor import Taylor
from .options import Options
from .path import Path, Taken, unpacked_flags
from .polynomial import value_at
from .problem import Problem, Storage
from .records import Records
from .runs import Run
from .switches import Guards, Switches
from .system import EventLayout, Point, StepControl, System
from .tolerances import RTOL, TRACE, by_entry, held_by
from .transport import TRANSPORT, Transport


class Ran(NamedTuple):
    """A run; whether an earlier run counted its first step; whether it was a kernel."""

    run: Run
    again: Array
    is_kernel: Array


class Simulation:
    """A circuit cut at its registers along time: the system to integrate, and what to read off."""

    def __init__(
        self,
        circuit: Circuit,
        real: Options,
        ts: Array,
        inputs: tuple[Any, ...],
        dim: str | None,
    ):
        """Cuts the circuit; the arguments are those of `Calculus.simulate`."""
        self.circuit, self.real, self.ts_given = circuit, real, ts
        orders = dict(real.order) if isinstance(real.order, tuple) else {}
        self.cut = Cut.of(
            circuit,
            ts[0],
            inputs,
            dim,
            calculus="Real",
            meanings={
                **REAL,
                **HYBRID,
                **TRANSPORT,
                **meanings_of_noise(real.noise, "Real", "Real"),
            },
            fixed_point=real.fixed_point,
            orders=orders,
        )
        along_time = orders.get(self.cut.dim) if isinstance(real.order, tuple) else real.order
        self._given = real.method if along_time is None else Taylor(along_time)
        given = () if real.breakpoints is None else (real.breakpoints,)
        self.stops = (*self.cut.stops, *given)
        self.registers: dict[Wire, Wire] = {
            node.outs[0]: node.ins[0]
            for node in self.cut.nodes
            if isinstance(node.atom, Register) and node.atom.dim == self.cut.dim
        }
        self.guarded = Guarded.of(self.cut, real.events, real.max_events)
        self.registers |= self.guarded.rates
        if real.events and not self.registers:
            raise CircuitError(
                "events are found in the steps of a run, and this circuit has no register"
            )
        # Time runs in the precision of the state.
        self.ts = ts.astype(jnp.finfo(self.dtype).dtype)
        self.transport = Transport.of(self.cut, self.registers)
        self._hold_branches()
        self.transport = dataclasses.replace(self.transport, cut=self.cut)
        if self.transport and not self.registers:
            raise CircuitError(
                "a delay under Real reads the steps of a run, and this circuit has no register"
            )
        # The loops that the state depends on: the state keeps where each of their solves starts.
        self.warm = self.cut.loops_behind(self.registers)

    def _hold_branches(self) -> None:
        """Makes events of the branches that the rates ask."""
        if not self.registers:
            return
        contents = {
            initial_wire(wire): Value(
                self.cut.initial(wire).astype(self.cut.net.avals[wire].dtype), self.cut.rest[wire]
            )
            for wire in self.registers
        }
        if self.transport:
            s = self._first_time() - self.transport.lags(self.ts.dtype)
            late = self.transport.contents(self.transport.past(s, self.dtype))
            contents |= {initial_wire(wire): value for wire, value in late.items()}
        known = known_at(self.cut, self._first_time(), contents, 0)
        held = branching(self.cut, list(self.registers.values()), known, self.ts.dtype)
        self.cut = held.cut
        self.guarded = dataclasses.replace(self.guarded, cut=held.cut, modes=held.modes)
        self.registers |= self.guarded.rates

    def trajectory(self, state: Any, switches: Switches | None, storage: Storage) -> Trajectory:
        """Runs from the state of an earlier trajectory, or None; gives the outputs at `ts`."""
        if not self.registers:
            return self.read(None, switches, storage)
        return self.read(self._run(state, switches, storage), switches, storage)

    def read(self, ran: Ran | None, switches: Switches | None, storage: Storage) -> Trajectory:
        """The outputs at `ts` of what ran, None for a circuit without registers."""
        count, records = self.ts.shape[0], None
        if ran is not None:
            run, again, is_kernel = ran
            path, records = run.path, run.records
            states, found, status = run.saved[:count], run.count, integral.status(run)
            steps = run.steps - run.jumps
            smallest = jnp.where(steps > 0, run.smallest, 0)
            counts = {"steps": steps, "rejected": run.rejected, "smallest_step": smallest}
            if self._layout_of_events is not None:
                counts["jumps"] = run.jumps
            point, coefficients, unit = run.point, run.coefficients, run.unit
            centre = jnp.full_like(unit, self.method.centre)
        else:
            run, states, found = None, jnp.zeros((count, 0), self.dtype), jnp.asarray(count)
            status = Status.ok
            path, again, is_kernel = None, False, jnp.zeros((), bool)
            zero = jnp.zeros((), jnp.int32)
            counts = {"steps": zero, "rejected": zero, "smallest_step": zero.astype(self.ts.dtype)}
            point, coefficients = start(self.ts[-1], states[0]), jnp.zeros((1, 0), self.dtype)
            unit, centre = jnp.ones_like(point.time), jnp.zeros_like(point.time)
        last = jnp.where(found == count, self.ts[-1], point.time)
        if switches is not None:
            known = jnp.sum(self._direction() * (self.ts - switches.known) <= 0)
            last = jnp.where(known < found, switches.known, last)
            status = Status.where(known < found, Status.switches, status)
            found = jnp.minimum(found, known)
        history = None if run is None else run.history
        pause = Pause(point, coefficients, unit, centre, last, history)
        rows = again + counts["steps"] + counts.get("jumps", 0)
        dense = (path, rows, last) if storage.dense else None
        times, loops = self.ts, self.cut.loop_names
        counts |= {"reached": last, "kernel": is_kernel}
        if loops:
            solves = self._solves(times, states, pause)
            came, (found, status, more) = found, judge(solves, found, status, count)
            counts["reached"] = jnp.where(found < came, times[found], last)
            counts |= more
        good = jnp.arange(count) < found
        if loops:
            # Derivatives at a row without a solution would be NaN, whatever their weight.
            times = jnp.where(good, times, times[0])
            states = jnp.where(good[:, None], states, states[0])
        wires = only(good, jax.vmap(self._equations.wires)(times, states))
        return Trajectory(
            ts=self.ts_given,
            outputs=wires.apart(),
            names=wires.names,
            status=status,
            stats=counts,
            state=pause,
            dense=dense,
            loops=loops,
            events={} if records is None else self._occurrences(records),
        )

    def _occurrences(self, kept: Records) -> dict[str, Occurrences]:
        """When the events that are watched happened, by name, with the wires there."""
        layout, begin = self._layout_of_events, self._begin()
        assert layout is not None
        here = jnp.arange(layout.most) < kept.count
        # Derivatives at a row that is not used would be NaN, whatever their weight.
        times = jnp.where(here, kept.times[:-1], begin.time)
        states = jnp.where(here[:, None], kept.states[:-1], self._with_past(begin))
        wires = jax.vmap(self._equations.wires)(times, states)
        fired = jax.vmap(functools.partial(unpacked_flags, count=layout.guards))(kept.fired[:-1])
        rows = (times, wires.apart(), wires.names)
        found = {}
        numbers = self.guarded.numbers(layout)
        for event, guards in zip(self.real.events, numbers, strict=True):
            happened = here & jnp.any(fired[:, guards.start : guards.stop], axis=1)
            order = jnp.argsort(~happened, stable=True)
            own = only(happened[order], jax.tree.map(operator.itemgetter(order), rows))
            found[event.name] = Occurrences(
                times=own[0], count=jnp.sum(happened), outputs=own[1], names=own[2]
            )
        return found

    def switches(self, state: Any) -> Switches | None:
        """When what depends on time alone switches, in a run that goes on from a state."""
        time = coordinate_wire(self.cut.dim)
        if not self.registers or not any(time in piece.reads for piece in self.cut.net.pieces):
            return None
        asked = self._equations.field if self._layout_of_events is None else self._asked
        program, constants = integral.traced_program(asked, self._point_types)
        guards = Guards.of(program)
        if guards is None:
            return None
        start = self.ts[0] if state is None else state.point.time.astype(self.ts.dtype)
        return guards.between(start, self.ts[-1], constants)

    def _run(self, state: Any, switches: Switches | None, storage: Storage) -> Ran:
        """The whole run."""
        problem, flat, again = self.problem(state, switches, storage)
        run, is_kernel = integral.integrate(problem, flat)
        return Ran(run, again, is_kernel)

    def problem(
        self, state: Any, switches: Switches | None, storage: Storage
    ) -> tuple[Problem, list[Array], Array]:
        """The run as a problem with its arguments; whether its first step was counted before."""
        control = self.control(switches)
        point, again, delays = self._start(state, control)
        problem, flat = integral.problem_of(
            self.method, self._system, self.ts, point, again, control, storage, delays
        )
        return problem, flat, again

    def _start(self, state: Any, control: StepControl) -> tuple[Point, Array, Delays | None]:
        """The point at which the run begins; whether an earlier run counted the step from it; its
        delays."""
        point, again, delays = self._begin(), jnp.zeros((), bool), self._delays()
        if state is not None:
            pause = self._checked(state, control)
            point, again, history = resume(
                self.method, self._system, self.ts, pause, control, delays
            )
            delays = delays and dataclasses.replace(delays, history=history)
        if self._solves_loops:
            solved = jax.lax.stop_gradient(self._equations.solved(point.time, point.state))
            is_state = jnp.arange(len(solved)) < self._equations.size
            state = jnp.where(again | is_state, point.state, solved)
            point = dataclasses.replace(point, state=state)
        return point, again, delays

    def _asked(self, t: Array, y: Array) -> Array:
        """All that a run with events asks for."""
        asked = self._equations
        return jnp.concatenate([asked.field(t, y), asked.watch(t, y), asked.jump(t, y)])

    @functools.cached_property
    def method(self) -> StepMethod:
        """How steps are made, with the circuit's events."""
        layout = self._layout_of_events
        return self._plain if layout is None else Eventful(self._plain, layout)

    @functools.cached_property
    def _layout_of_events(self) -> EventLayout | None:
        """What is static of the run's events; None where it has none."""
        layout = self.guarded.layout(self.registers)
        if layout is None:
            return None
        begin = self._begin()
        # No event moves what the state has beside registers.
        others = np.full(len(begin.state) - len(layout.entries), -1)
        layout = dataclasses.replace(
            layout,
            entries=np.append(layout.entries, others),
            bands=np.append(layout.bands, others >= 0),
        )
        if not self._plain.is_series:
            return layout
        # The series of a guard says nothing of the branches that it may take.
        program = trace(lambda t, y: (self._equations.watch(t, y),), *self._point_types)
        smooth = not integral.branches_along(program, layout)
        return dataclasses.replace(layout, has_series=smooth)

    @functools.cached_property
    def _equations(self) -> Equations:
        """The circuit as functions of time and the flat state."""
        return Equations(
            cut=self.cut,
            registers=self.registers,
            guarded=self.guarded,
            transport=self.transport,
            loops=self.warm,
            pieces=self.transport.without(self.guarded.pieces),
            types=self.guarded.types(self.ts[0]),
            dtype=self.dtype,
            time=self.ts.dtype,
        )

    @functools.cached_property
    def _plain(self) -> StepMethod:
        """How steps are made between events: as was asked for, or by the system and its
        tolerance."""
        if self._given is not None:
            return self._given
        field = trace(lambda t, y: (self._equations.field(t, y),), *self._point_types)
        branches = integral.branches_along(field, self.guarded.layout(self.registers))
        size = self._equations.size
        return chosen(self.real.tolerance, field, size, self.dtype, branches=branches)

    @property
    def _system(self) -> System:
        """What the method asks of the circuit."""
        equations, reads, loops = self._equations, self.method.reads, self._solves_loops
        algebraic = self._equations.algebraic if loops else 0
        return System(
            field=equations.balance if loops else equations.field,
            expand=self._expand if "expand" in reads else None,
            jacobian=self._jacobian if "jacobian" in reads else None,
            size=equations.size + algebraic,
            pattern=self._pattern if "jacobian" in reads else None,
            algebraic=algebraic,
            solve=self._equations.solved if loops and self.stops else None,
            layout=self._layout_of_events,
            watch=self._equations.watch,
            jump=self._equations.jump,
            past=self._past if self.transport else None,
        )

    def _expand(self, t: Array, y: Array) -> Array:
        """The Taylor coefficients of the state about (t, y), and of its guards if the layout of
        events says so."""
        layout = self._layout_of_events
        with_guards = layout is not None and layout.has_series
        return self._equations.expand(t, y, degree_of(self.method, self.dtype), with_guards)

    def _jacobian(self, t: Array, y: Array) -> Array:
        """The derivatives of the field along the state."""
        return self._equations.jacobian(t, y, self._pattern, self._solves_loops)

    @functools.cached_property
    def _pattern(self) -> Pattern | None:
        """Where the Jacobian may differ from zero, if few derivatives give all of it."""
        begin = self._begin()
        return self._equations.pattern(begin.time, begin.state, self._solves_loops)

    def _past(self, t: Array, s: Array) -> Array:
        """What the delays give before the start, at times s."""
        del t
        return self.transport.past(s, self.dtype)

    def _delays(self) -> Delays | None:
        """The delays at the start of a run; None where there are none."""
        if not self.transport:
            return None
        columns, first = {}, 0
        for wire in self.registers:
            columns[wire] = first
            first += math.prod(self.cut.state_shape(wire))
        first += sum(self._equations.layout(loop).size for loop in self.warm)
        for wire in self.transport.derived:
            columns[wire] = first
            first += math.prod(self.cut.net.avals[wire].shape)
        deepest = min(degree_of(self.method, self.dtype), DEEPEST)
        layout = self.transport.layout(
            columns, self.real.max_history, deepest, self._plain.is_series
        )
        return Delays(layout, self.transport.lags(self.ts.dtype))

    @property
    def _point_types(self) -> list[jax.ShapeDtypeStruct]:
        """The types of the time, and of a state with what the delays give behind it."""
        begin = self._begin()
        size = len(begin.state) + self.transport.entries
        return [
            jax.ShapeDtypeStruct((), begin.time.dtype),
            jax.ShapeDtypeStruct((size,), begin.state.dtype),
        ]

    def _with_past(self, begin: Point) -> Array:
        """The state at the start, with what the delays give there."""
        if not self.transport:
            return begin.state
        s = begin.time - self.transport.lags(begin.time.dtype)
        return jnp.concatenate([begin.state, self._past(begin.time, s)])

    @property
    def _solves_loops(self) -> bool:
        """Whether steps solve for the unknowns of the loops that the state depends on."""
        return self.method.solves_loops and bool(self.warm)

    def at(self, times: Array, path: Path | None, rows: Array, reached: Array, side: str) -> Wires:
        """The wires at any times of a run, from its path of so many rows; NaN outside of it.

        `side` says what holds at an event: "left" before its jump, "right" after it.
        """
        times, first, reached = (x.astype(self.ts.dtype) for x in (times, self.ts[0], reached))
        direction = self._direction()
        inside = (direction * (times - first) >= 0) & (direction * (reached - times) >= 0)
        if path is None:
            empty = jnp.zeros((len(times), 0))
            return only(inside, jax.vmap(self._equations.wires)(times, empty))
        control = self.control(self.switches(None))
        layout = self._layout_of_events
        guards = 0 if layout is None else layout.guards
        # A step from a breakpoint starts just past it, and late.
        starts = path.time + path.late if guards else path.time
        starts = jnp.where(jnp.arange(path.time.shape[0]) < rows, direction * starts, jnp.inf)

        def one(time: Array) -> Wires:
            row = jnp.searchsorted(starts, direction * time, side=side) - 1
            row = jnp.clip(row, 0, jnp.maximum(rows - 1, 0))
            point = start(path.time[row], path.state[row])
            point = dataclasses.replace(point, late=path.late[row])
            taken = Taken.unpacked(path.taken[row], guards)
            stretch = stretch_of(self.method, point, taken, self.ts[-1], direction, control)
            curve = curve_of(self.method, self._system, point.time, point.state, stretch)
            offset = time - point.time - point.late
            state = value_at(curve, offset / stretch.unit, self.method.centre)
            return self._equations.wires(time, state)

        return only(inside & (rows > 0), jax.vmap(one)(times))

    @property
    def dtype(self) -> Any:
        """The dtype of the flat state."""
        if not self.registers:
            return self.ts_given.dtype
        return jnp.result_type(*(self.cut.net.avals[wire].dtype for wire in self.registers))

    def _solves(self, times: Array, states: Array, pause: Pause) -> Solves:
        """How the loops were solved at the saved times and, of a run, at its ends."""
        if self.registers:
            more = ends(pause, self._direction())
            times, states = (
                jnp.concatenate(pair) for pair in zip((times, states), more, strict=True)
            )
        return jax.vmap(self._equations.solves)(*jax.lax.stop_gradient((times, states)))

    def _begin(self) -> Point:
        """The registers' initial contents, at the first time."""
        flat = []
        for wire in self.registers:
            flat.append(self.cut.initial(wire).reshape(-1))
        flat += [self._equations.layout(loop).pack(self.cut.guess(loop)) for loop in self.warm]
        flat.append(jnp.zeros(self.transport.carried, self.dtype))
        return start(self._first_time(), jnp.concatenate(flat, dtype=self.dtype))

    def _first_time(self) -> Array:
        """The time of the start, or just past it where a breakpoint stands there."""
        first = self.ts[0]
        if not self.stops:
            return first
        direction = self._direction()
        at_start = jnp.any(self._breakpoints(None) == first)
        return jnp.where(at_start, beside(first, direction), first)

    def _direction(self) -> Array:
        return jnp.where(self.ts[-1] < self.ts[0], -1.0, 1.0).astype(self.ts.dtype)

    def _checked(self, state: Any, control: StepControl) -> Pause:
        """A state as one of this run's. What another method remembered is left out."""
        size = len(self._begin().state)
        if not isinstance(state, Pause) or state.point.state.shape != (size,):
            raise CircuitError(
                f"state must be the state of a trajectory of this circuit, with {size} numbers, "
                f"not {state!r}"
            )
        dtype, time = self.dtype, self.ts.dtype
        point = state.point
        memory = integral.blank_memory(
            self.method, self._system, self._begin(), self.ts, control, self._delays()
        )
        shapes = (jax.tree.map(jnp.shape, tree) for tree in (point.memory, memory))
        known = (
            operator.eq(*shapes) and len(state.coefficients) == degree_of(self.method, dtype) + 1
        )
        as_known = functools.partial(jax.tree.map, lambda x, like: x.astype(like.dtype))
        point = Point(
            point.time.astype(time),
            point.late.astype(time),
            point.state.astype(dtype),
            point.remainder.astype(dtype),
            point.step.astype(time),
            jax.lax.stop_gradient(as_known(point.memory, memory)) if known else None,
        )
        unit, centre, last = (x.astype(time) for x in (state.unit, state.centre, state.last))
        coefficients = state.coefficients.astype(dtype)
        return Pause(point, coefficients, unit, centre, last, self._checked_history(state))

    def _checked_history(self, state: Pause) -> History | None:
        """The history of a state as one of this run's."""
        delays = self._delays()
        if delays is None:
            return None
        like = delays.begun(degree_of(self.method, self.dtype), self._begin())
        shapes = (jax.tree.map(jnp.shape, tree) for tree in (state.history, like))
        if not operator.eq(*shapes):
            raise CircuitError(
                "state must be that of a run with the same delays, method and max_history: it has "
                "the history that the delays read"
            )
        return jax.tree.map(lambda x, like: x.astype(like.dtype), state.history, like)

    def control(self, switches: Switches | None) -> StepControl:
        """Tolerances by entry, and the bounds of steps, which end at switches."""
        stops = self._breakpoints(switches)
        rtol, atol, max_step = self.real.rtol, self.real.atol, self.real.max_step
        dtype, time = jnp.finfo(self.dtype), self.ts.dtype
        longest = jnp.asarray(jnp.inf if max_step is None else max_step, time)
        nothing = jnp.zeros(0, dtype.dtype)
        if not self.registers:
            return StepControl(nothing, nothing, longest, stops)
        by_name = isinstance(rtol, dict) or isinstance(atol, dict)
        modes = self.guarded.modes
        named = [wire for wire in self.registers if wire not in modes]
        held = held_by(self.circuit, self.cut, named, by_name)
        size = sum(one.size for one in held)
        relative = jnp.full(size, RTOL * dtype.eps, dtype.dtype)
        relative = by_entry("rtol", rtol, held, relative)
        absolute = by_entry("atol", atol, held, self._least(relative))
        # The modes of branches do not move along steps.
        still = self._equations.size - size
        relative = jnp.append(relative, jnp.full(still, jnp.min(relative, initial=1)))
        absolute = jnp.append(absolute, jnp.full(still, 1.0, dtype.dtype))
        if self._solves_loops:
            # Unknowns of loops are found as exactly as the tightest of the states.
            count = self._equations.algebraic
            relative = jnp.append(relative, jnp.full(count, jnp.min(relative)))
            absolute = jnp.append(absolute, jnp.full(count, dtype.tiny))
        return StepControl(relative, absolute, longest, stops)

    def _least(self, rtol: Array) -> Array:
        """The default `atol`, `[state]`: it drops nothing that the state holds at the start.

        An entry that is zero there is followed from `TRACE` on, or from where it can be told beside
        the largest entry: the first traces of a pulse, or of a wave in cells that it has not
        reached, would cost many steps.
        """
        initial = jnp.abs(self._begin().state[: len(rtol)])
        dtype = jnp.finfo(initial.dtype)
        told = jnp.maximum(TRACE, rtol * dtype.eps * jnp.max(initial, initial=0))
        return jnp.where(initial > 0, dtype.tiny, told).astype(dtype.dtype)

    def _breakpoints(self, switches: Switches | None) -> Array:
        """The times that no step passes, in order: those asked for, those of samples, and those at
        which what depends on time alone switches."""
        stops = [stop.astype(self.ts.dtype) for stop in self.stops]
        if switches is not None:
            stops.append(switches.times)
        return jnp.sort(jnp.concatenate(stops)) if stops else jnp.zeros(0, self.ts.dtype)
