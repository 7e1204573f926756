"""The Real calculus: wires carry functions, and a register is the integral."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from ...circuits.circuit import Circuit
from ...circuits.fields import as_reals, check_count, check_flag
from ...errors import CircuitError
from ...fixed_points.options import FixedPoint
from ...jaxprs.concrete import is_concrete, runs_eagerly
from ..calculus import Calculus
from ..events import Event
from ..stretches import Stretches
from ..trajectory import Trajectory
from . import eager, reading
from .dense import Dense
from .methods.checked import check_method
from .methods.choice import looseness
from .methods.method import StepMethod
from .path import CHECKPOINTS
from .problem import Storage
from .series import power_series
from .simulation import Simulation
from .stretches import RealStretches
from .tolerances import Tolerance, as_number, as_tolerance, check_resolution


class Real(Calculus):
    """Functions of a real coordinate: `register(t)` is the integral from the start.

    A run takes adaptive steps, by default to machine precision.

    **Arguments:**

    - `method`: how a step is made: `ag.Taylor`, `ag.Tsit5`, `ag.Dopri8`, `ag.Radau` for stiff
      systems, or one of your own. By default the run chooses when it is traced, by the tightest
      number of `rtol`, where that is known, and by the equation: `Dopri8` from 1e-11 on, `Taylor`
      below. States of more than 64 numbers, and equations with products of matrices, take `Tsit5`
      from 1e-4 on and `Dopri8` below, of small matrices `Taylor` at the default tolerance. Small
      systems without products that branch always take `Taylor`, whose steps find where.
      `trajectory.method` says what a run took.
    - `order`: short for `method=Taylor(order)`: the order of Taylor steps, 2 or more; by default 20
      in float64, 9 in float32. Under `compile`, the order of the series (also one for each
      dimension, by name; that along time is the order of the steps).
    - `rtol`, `atol`: what error a step may make in each entry of the state, relative to its size
      and absolute: `atol + rtol |y|`. A number; an array, one number for each entry of a register;
      or a dictionary of these by the names of wires (`Var`) or of registers, which are those of
      `ag.parameters` without `.initial`. By default `rtol` is an eighth of the dtype's resolution.
      The default `atol` drops nothing: small entries are followed as exactly as large ones. Where
      some are of no interest, as the far ends of a wave, a larger `atol` saves many steps.
    - `max_steps`: how many steps a run may take.
    - `max_step`: the longest step, in units of time. Set it where an input has features that are
      narrow beside the time before them: a step cannot see what lies between the points at which it
      asks for the equation.
    - `max_events`: how many times of events a run keeps, of all that it watches.
    - `max_history`: how many steps a run keeps for its delays to read; a dense one keeps all.
    - `breakpoints`: times at which a step ends, for inputs that jump there.
    - `adjoint`: what reverse mode keeps of a run. "bounded": the starts of at most 1,024 steps,
      between which steps are taken once more; "recorded": those of all steps, in memory for
      `max_steps` of them, for runs of many steps and few states. Both keep step sizes, of a batch
      up to `max_steps` for each run.
    - `dense`: keeps where each step started, so that `trajectory.evaluate(ts)` works at any time of
      the run later. It takes the memory of `max_steps` states: lower that for large ones.
    - `fixed_point`: how loops that no register cuts are solved, at each evaluation.
    - `noise`: "off" runs a circuit with stochastic registers by its drift alone; "error" refuses.

    **Raises:** `CircuitError` for options out of range.
    """

    order: int | tuple[tuple[str, int], ...] | None = eqx.field(static=True)
    method: StepMethod | None
    tolerance: str = eqx.field(static=True)
    rtol: Tolerance
    atol: Tolerance
    max_steps: int = eqx.field(static=True)
    max_step: Float[Array, ""] | None
    breakpoints: Float[Array, " breakpoints"] | None
    noise: str = eqx.field(static=True)
    adjoint: str = eqx.field(static=True)
    dense: bool = eqx.field(static=True)
    fixed_point: FixedPoint
    max_events: int = eqx.field(static=True)
    max_history: int = eqx.field(static=True)
    events: tuple[Event, ...]

    def __init__(
        self,
        order: int | Mapping[str, int] | None = None,
        rtol: Any = None,
        atol: Any = None,
        max_steps: int = 16**4,
        max_step: Any = None,
        breakpoints: Any = None,
        adjoint: str = "bounded",
        dense: bool = False,
        noise: str = "error",
        fixed_point: FixedPoint = FixedPoint(),  # noqa: B008 - frozen, and holds no array of JAX
        method: Any = None,
        max_events: int = 256,
        max_history: int = 1024,
    ):
        self.order = tuple(order.items()) if isinstance(order, Mapping) else order
        self.rtol, self.atol = as_tolerance("rtol", rtol), as_tolerance("atol", atol)
        self.max_step = None if max_step is None else _longest(max_step)
        self.breakpoints = None if breakpoints is None else _times(breakpoints)
        self.max_steps = max_steps
        self.noise = noise
        self.adjoint = adjoint
        self.dense = dense
        self.max_events, self.events = max_events, ()
        self.max_history = max_history
        self.fixed_point = fixed_point
        self.tolerance = looseness(self.rtol)
        self.method = _checked_method(method, order)
        check_count("Real", "max_steps", max_steps, 1)
        check_count("Real", "max_events", max_events, 1)
        check_count("Real", "max_history", max_history, 1)
        check_flag("Real", "dense", dense)
        if not isinstance(fixed_point, FixedPoint):
            raise CircuitError(f"Real: fixed_point must be a FixedPoint, not {fixed_point!r}")
        if noise not in ("error", "off"):
            raise CircuitError(f'Real: noise must be "error" or "off", not {noise!r}')
        if adjoint not in ("bounded", "recorded"):
            raise CircuitError(
                f'Real: adjoint must be "bounded" or "recorded", not {adjoint!r}; forward mode '
                "needs none: use jax.jvp or jax.jacfwd"
            )
        orders = self.order if isinstance(self.order, tuple) else (("time", self.order),)
        for _, number in orders:
            if number is not None:
                check_count("Real", "order", number)

    def check_precision(self, dtype: Any) -> None:
        check_resolution(self.rtol, self.atol, dtype)

    def with_events(self, events: tuple[Event, ...]) -> "Real":
        return eqx.tree_at(lambda real: real.events, self, events) if events else self

    def simulate(
        self,
        circuit: Circuit,
        ts: Array,
        inputs: tuple[Any, ...],
        dim: str | None,
        state: Any,
    ) -> Trajectory:
        if runs_eagerly((circuit, self, ts, inputs, state)):
            if self.events:
                raise CircuitError(
                    "Real: events are found in compiled runs: leave out jax.disable_jit or events"
                )
            if self.dense:
                raise CircuitError(
                    "Real: a dense run is compiled: leave out jax.disable_jit or dense"
                )
            return eager.run(circuit, self, ts, inputs, dim, state)
        simulation, storage = Simulation(circuit, self, ts, inputs, dim), self._storage()
        switches = simulation.switches(state)
        trajectory = reading.trajectory(simulation, state, switches, storage)
        return self._with_dense(trajectory, circuit, ts, inputs, dim)

    def stretches(
        self, circuit: Circuit, ts: Array, inputs: tuple[Any, ...], dim: str | None, state: Any
    ) -> Stretches[Any]:
        if runs_eagerly((circuit, self, ts, inputs, state)):
            return super().stretches(circuit, ts, inputs, dim, state)
        simulation = Simulation(circuit, self, ts, inputs, dim)
        if not simulation.registers:
            return super().stretches(circuit, ts, inputs, dim, state)

        def finished(trajectory: Trajectory) -> Trajectory:
            return self._with_dense(trajectory, circuit, ts, inputs, dim)

        return RealStretches(simulation, state, self._storage(), finished)

    def _storage(self) -> Storage:
        """What is kept of a run."""
        checkpoints = CHECKPOINTS if self.adjoint == "bounded" else None
        return Storage(self.max_steps, self.dense, checkpoints)

    def _with_dense(
        self, trajectory: Trajectory, circuit: Circuit, ts: Array, inputs: Any, dim: Any
    ) -> Trajectory:
        """A trajectory with what `evaluate` reads, of a dense run."""
        if not self.dense:
            return trajectory
        arguments = (circuit, self, ts, inputs)
        dense = Dense(arguments, dim, *trajectory.dense)
        return dataclasses.replace(trajectory, dense=dense)

    def compile(self, circuit: Circuit) -> Callable[[Any, Any], tuple[Any, Any]]:
        if self.order is None:
            raise CircuitError("compile needs the order of the series: Real(order=N)")
        order = dict(self.order) if isinstance(self.order, tuple) else self.order

        def run(inputs: Any, state: Any = None) -> tuple[Any, Any]:
            if not isinstance(inputs, tuple | list):
                raise CircuitError(
                    f"inputs must be a tuple with one stream for each wire, not {inputs!r}"
                )
            outputs = power_series(circuit, tuple(inputs), order, False, self.fixed_point)
            return outputs, state

        return run


def _checked_method(method: Any, order: Any) -> StepMethod | None:
    """The method; raises `CircuitError` for what is none, or where an order is given besides."""
    if method is None:
        return None
    if not isinstance(method, StepMethod):
        raise CircuitError(
            f"Real: method must be a method of stepping such as Tsit5(), not {method!r}"
        )
    check_method(method)
    if order is not None:
        raise CircuitError("Real: order is that of Taylor steps: give Taylor(order) as the method")
    return method


def _longest(given: Any) -> Float[Array, ""]:
    """The longest step as an array; raises `CircuitError` where it is no positive number."""
    longest = as_number("max_step", given, positive=True)
    if longest.ndim:
        raise CircuitError(f"Real: max_step must be a positive number, not {given!r}")
    return longest


def _times(given: Any) -> Float[Array, " breakpoints"]:
    """Breakpoints as an array; raises `CircuitError` where they are no finite times."""
    times = jnp.atleast_1d(as_reals("Real: breakpoints", given))
    if times.ndim != 1 or (is_concrete(times) and not jnp.all(jnp.isfinite(times))):
        raise CircuitError(f"Real: breakpoints must be finite times, not {given!r}")
    return times
