"""A circuit as a run under `Real`: the system that its steps integrate, and their bounds.

`reading` gives what is read off of a run.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ...circuits.atoms.registers import Register
from ...circuits.circuit import Circuit
from ...errors import CircuitError
from ...jaxprs.own_functions import traceable
from ...jaxprs.powers import has_powers
from ...jaxprs.program import Program, trace
from ...jaxprs.small_algebra import few_products
from ...jaxprs.sparsity import Pattern
from ...taylor.net import Value, Wire
from ...taylor.network import coordinate_wire, initial_wire
from ..cut import Cut
from ..meanings import HYBRID, REAL
from ..meanings import noise as meanings_of_noise
from ..trajectory import StatePart
from . import integral
from .adaptive import beside, start
from .branches import branching
from .conditions import Conditions
from .delays import DEEPEST, Delays, resume
from .equations import Equations, known_at
from .events import Eventful
from .hybrid import Guarded
from .methods.checked import degree_of
from .methods.choice import chosen, most_products
from .methods.method import StepMethod
from .methods.taylor import Taylor
from .options import Options
from .problem import Problem, Storage
from .resumed import checked
from .smoothness import branches_along, curved_along
from .switches import Guards, Switches
from .system import EventLayout, Point, StepControl, System
from .tolerances import RTOL, by_entry, held_by, least_followed
from .transport import TRANSPORT, Transport
from .watched import ORDER


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
        self.cut.check_digits(self.registers)
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

    def switches(self, state: Any) -> Switches | None:
        """When what depends on time alone switches, in a run that goes on from a state."""
        time = coordinate_wire(self.cut.dim)
        if not self.registers or not any(time in piece.reads for piece in self.cut.net.pieces):
            return None
        asked = self.equations.field if self.layout_of_events is None else self._asked
        program, constants = integral.traced_program(asked, self._point_types)
        guards = Guards.of(program)
        if guards is None:
            return None
        start = self.ts[0] if state is None else state.point.time.astype(self.ts.dtype)
        return guards.between(start, self.ts[-1], constants)

    def problem(
        self, state: Any, switches: Switches | None, storage: Storage
    ) -> tuple[Problem, list[Array], Array]:
        """The run as a problem with its arguments; whether its first step was counted before."""
        control = self.control(switches)
        point, again, delays = self._start(state, control)
        problem, flat = integral.problem_of(
            self.method, self.system, self.ts, point, again, control, storage, delays
        )
        return problem, flat, again

    def _start(self, state: Any, control: StepControl) -> tuple[Point, Array, Delays | None]:
        """The point at which the run begins; whether an earlier run counted the step from it; its
        delays."""
        point, again, delays = self.begin(), jnp.zeros((), bool), self.delays()
        if state is not None:
            like = integral.blank_memory(self.method, self.system, point, self.ts, control, delays)
            pause = checked(state, dataclasses.replace(point, memory=like), self.method, delays)
            point, again, history = resume(
                self.method, self.system, self.ts, pause, control, delays
            )
            delays = delays and dataclasses.replace(delays, history=history)
        if self._solves_loops:
            solved = jax.lax.stop_gradient(self.equations.solved(point.time, point.state))
            is_state = jnp.arange(len(solved)) < self.equations.size
            state = jnp.where(again | is_state, point.state, solved)
            point = dataclasses.replace(point, state=state)
        return point, again, delays

    def _asked(self, t: Array, y: Array) -> Array:
        """All that a run with events asks for."""
        asked = self.equations
        return jnp.concatenate([asked.field(t, y), asked.watch(t, y), asked.jump(t, y)])

    @functools.cached_property
    def method(self) -> StepMethod:
        """How steps are made, with the circuit's events."""
        layout = self.layout_of_events
        return self._plain if layout is None else Eventful(self._plain, layout)

    @property
    def method_taken(self) -> StepMethod:
        """How steps are made between events, with nothing but what is static: arrays become their
        shapes, so that it costs a run nothing to say it."""
        method = self._plain
        if isinstance(method, Taylor):
            method = Taylor(degree_of(method, self.dtype), method.unroll)
        return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), method)

    @property
    def state_parts(self) -> tuple[StatePart, ...]:
        """What the state begins with: the registers, which the modes of branches follow."""
        names: dict[Wire, str] = {w: name for name, w in reversed(self.cut.named.items())}
        own = [wire for wire in self.registers if wire not in self.guarded.modes]
        return tuple(StatePart(names.get(w, ""), self.cut.state_shape(w)) for w in own)

    @property
    def needs_series(self) -> bool:
        """Whether the run's steps are power series, which some functions lack at some values."""
        return self._plain.is_series

    @functools.cached_property
    def _layout(self) -> EventLayout | None:
        """What is static of the run's events; None where it has none."""
        layout = self.guarded.layout(self.registers)
        if layout is None:
            return None
        begin = self.begin()
        # No event moves what the state has beside registers.
        others = np.full(len(begin.state) - len(layout.entries), -1)
        return dataclasses.replace(
            layout,
            entries=np.append(layout.entries, others),
            bands=np.append(layout.bands, others >= 0),
            held=np.append(layout.held, others >= 0),
        )

    @functools.cached_property
    def layout_of_events(self) -> EventLayout | None:
        """The same, with what the programs of guards say; None where there are no events."""
        layout, conditions = self._layout, self._conditions
        if layout is None:
            return None
        # The series of a guard says nothing of the branches that it may take.
        kinked = branches_along(self._guards, layout)
        watched = self._guards if conditions is None else self._traced(self._watch)
        curved = tuple(map(int, np.flatnonzero(curved_along(watched, layout))))
        return dataclasses.replace(
            layout,
            has_series=self._plain.is_series and not kinked,
            curved=curved,
            kinked=kinked,
            conditions=0 if conditions is None else conditions.count,
        )

    @functools.cached_property
    def _guards(self) -> Program:
        return self._traced(self.equations.watch)

    @functools.cached_property
    def _conditions(self) -> Conditions | None:
        """What the pieces of guards compare; None where that is nothing."""
        return None if self._layout is None else Conditions.of(self._guards, self._layout)

    def _traced(self, fn: Callable[[Array, Array], Array]) -> Program:
        return trace(lambda t, y: (fn(t, y),), *self._point_types)

    def _watch(self, t: Array, y: Array) -> Array:
        """The guards, and behind them their conditions."""
        conditions = self._conditions
        return self.equations.watch(t, y) if conditions is None else conditions.beside_guards(t, y)

    def _along(self, t: Array, y: Array) -> Array:
        layout = self.layout_of_events
        assert layout is not None
        chosen = np.asarray(layout.curved)
        return self.equations.along(t, y, ORDER, lambda t, y: self._watch(t, y)[chosen])

    @functools.cached_property
    def equations(self) -> Equations:
        """The circuit as functions of time and the flat state, as the method steps through them."""
        given = self._as_given
        if not self.registers:
            return given
        given = dataclasses.replace(given, has_powers=has_powers(self._field))
        few = few_products(self._field, *most_products(self._plain))
        return given.with_products_written_out() if few else given

    @functools.cached_property
    def _field(self) -> Program:
        """The rates as they are written."""
        return trace(lambda t, y: (self._as_given.field(t, y),), *self._point_types)

    @functools.cached_property
    def _as_given(self) -> Equations:
        """The circuit as functions of time and the flat state, as they are written."""
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
        branches = branches_along(self._field, self.guarded.layout(self.registers))
        size = self._as_given.size
        return chosen(self.real.tolerance, self._field, size, self.dtype, branches=branches)

    @property
    def system(self) -> System:
        """What the method asks of the circuit."""
        equations, reads, loops = self.equations, self.method.reads, self._solves_loops
        algebraic = self.equations.algebraic if loops else 0
        return System(
            field=equations.balance if loops else equations.field,
            expand=self._expand if "expand" in reads else None,
            jacobian=self._jacobian if "jacobian" in reads else None,
            size=equations.size + algebraic,
            pattern=self._pattern if "jacobian" in reads else None,
            algebraic=algebraic,
            solve=self.equations.solved if loops and self.stops else None,
            layout=self.layout_of_events,
            watch=self._watch,
            jump=self.equations.jump,
            along=self._along if "along" in reads else None,
            past=self._past if self.transport else None,
            unrolled=self._unrolled if self.method.unrolls else None,
            precondition=None if self.method.preconditioner is None else self._precondition,
        )

    def _expand(self, t: Array, y: Array, unroll: bool = False) -> Array:
        """The Taylor coefficients of the state about (t, y), and of its guards if the layout of
        events says so."""
        layout = self.layout_of_events
        with_guards = layout is not None and layout.has_series
        return self.equations.expand(t, y, degree_of(self.method, self.dtype), with_guards, unroll)

    def _unrolled(self, t: Array, y: Array) -> Array:
        return self._expand(t, y, unroll=True)

    def _jacobian(self, t: Array, y: Array) -> Array:
        """The derivatives of the field along the state."""
        return self.equations.jacobian(t, y, self._pattern, self._solves_loops)

    @functools.cached_property
    def _pattern(self) -> Pattern | None:
        """Where the Jacobian may differ from zero, if few derivatives give all of it."""
        begin = self.begin()
        return self.equations.pattern(begin.time, begin.state, self._solves_loops)

    def _precondition(self, t: Array, y: Array, scale: Array, vector: Array) -> Array:
        """The method's preconditioner, of what the circuit's registers hold; the rest is left."""
        rates = self.guarded.rates
        own = [wire for wire in self.registers if wire not in rates]
        count = sum(math.prod(self.cut.state_shape(wire)) for wire in own)
        assert self.method.preconditioner is not None
        with traceable("GMRES: preconditioner"):
            found = self.method.preconditioner(t, y[:count], scale, vector[:count])
        given = jax.tree.map(jnp.shape, found)
        if given != (count,) or not jnp.iscomplexobj(found):
            kind = " of real numbers" if given == (count,) else ""
            raise CircuitError(
                "GMRES: preconditioner must return a complex array like vector, of shape "
                f"({count},), not {given!s:.60}{kind}"
            )
        return jnp.concatenate([jnp.asarray(found, vector.dtype), vector[count:]])

    def _past(self, t: Array, s: Array) -> Array:
        """What the delays give before the start, at times s."""
        del t
        return self.transport.past(s, self.dtype)

    def delays(self) -> Delays | None:
        """The delays at the start of a run; None where there are none."""
        if not self.transport:
            return None
        columns, first = {}, 0
        for wire in self.registers:
            columns[wire] = first
            first += math.prod(self.cut.state_shape(wire))
        first += sum(self.equations.layout(loop).size for loop in self.warm)
        for wire in self.transport.derived:
            columns[wire] = first
            first += math.prod(self.cut.net.avals[wire].shape)
        deepest = min(degree_of(self.method, self.dtype), DEEPEST)
        # What evaluates a dense run reads what each of its steps has read.
        rows = self.real.max_history + (self.real.max_steps if self.real.dense else 0)
        layout = self.transport.layout(columns, rows, deepest, self._plain.is_series)
        return Delays(layout, self.transport.lags(self.ts.dtype))

    @property
    def _point_types(self) -> list[jax.ShapeDtypeStruct]:
        """The types of the time, and of a state with what the delays give behind it."""
        begin = self.begin()
        size = len(begin.state) + self.transport.entries
        return [
            jax.ShapeDtypeStruct((), begin.time.dtype),
            jax.ShapeDtypeStruct((size,), begin.state.dtype),
        ]

    def with_past(self, begin: Point) -> Array:
        """The state at the start, with what the delays give there."""
        if not self.transport:
            return begin.state
        s = begin.time - self.transport.lags(begin.time.dtype)
        return jnp.concatenate([begin.state, self._past(begin.time, s)])

    @property
    def _solves_loops(self) -> bool:
        """Whether steps solve for the unknowns of the loops that the state depends on."""
        return self.method.solves_loops and bool(self.warm)

    @property
    def dtype(self) -> Any:
        """The dtype of the flat state."""
        if not self.registers:
            return self.ts_given.dtype
        return jnp.result_type(*(self.cut.net.avals[wire].dtype for wire in self.registers))

    def begin(self) -> Point:
        """The registers' initial contents, at the first time."""
        flat = []
        for wire in self.registers:
            flat.append(self.cut.initial(wire).reshape(-1))
        flat += [self._as_given.layout(loop).pack(self.cut.guess(loop)) for loop in self.warm]
        flat.append(jnp.zeros(self.transport.carried, self.dtype))
        return start(self._first_time(), jnp.concatenate(flat, dtype=self.dtype))

    def _first_time(self) -> Array:
        """The time of the start, or just past it where a breakpoint stands there."""
        first = self.ts[0]
        if not self.stops:
            return first
        direction = self.direction()
        at_start = jnp.any(self._breakpoints(None) == first)
        return jnp.where(at_start, beside(first, direction), first)

    def direction(self) -> Array:
        return jnp.where(self.ts[-1] < self.ts[0], -1.0, 1.0).astype(self.ts.dtype)

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
        least = least_followed(self.begin().state[:size], relative)
        absolute = by_entry("atol", atol, held, least)
        # The modes of branches do not move along steps.
        still = self.equations.size - size
        relative = jnp.append(relative, jnp.full(still, jnp.min(relative, initial=1)))
        absolute = jnp.append(absolute, jnp.full(still, 1.0, dtype.dtype))
        if self._solves_loops:
            # Unknowns of loops are found as exactly as the tightest of the states.
            count = self.equations.algebraic
            relative = jnp.append(relative, jnp.full(count, jnp.min(relative)))
            absolute = jnp.append(absolute, jnp.full(count, dtype.tiny))
        return StepControl(relative, absolute, longest, stops)

    def _breakpoints(self, switches: Switches | None) -> Array:
        """The times that no step passes, in order: those asked for, those of samples, and those at
        which what depends on time alone switches."""
        stops = [stop.astype(self.ts.dtype) for stop in self.stops]
        if switches is not None:
            stops.append(switches.times)
        return jnp.sort(jnp.concatenate(stops)) if stops else jnp.zeros(0, self.ts.dtype)
