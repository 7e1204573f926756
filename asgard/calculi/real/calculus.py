"""The Real calculus: wires carry functions, and a register is the integral."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from ...circuits.circuit import Circuit
from ...errors import CircuitError
from ...fixed_points.options import FixedPoint
from ...jaxprs.concrete import is_concrete, runs_eagerly
from ..calculus import Calculus
from ..series import series
from ..trajectory import Trajectory
from . import eager
from .dense import Dense
from .path import CHECKPOINTS
from .simulation import Options, Simulation


class Real(Calculus):
    """Functions of a real coordinate: `register(t)` is the integral from the start.

    A run takes adaptive Taylor steps. The defaults are those of machine precision; a looser `rtol`
    takes longer steps of the same order.

    **Arguments:**

    - `order`: the order of the Taylor steps, 2 or more; by default 20 in float64, 9 in float32.
      Under `compile`, the order of the series (also one for each dimension, by name).
    - `rtol`, `atol`: what error a step may make, relative to the size of each wire and absolute;
      by default an eighth of the dtype's resolution, and the resolution times `rtol`.
    - `max_steps`: how many steps a run may take.
    - `max_step`: the longest step, in units of time. Set it where an input has features that are
      narrow beside the time before them: a step cannot see what lies between the points at which it
      is checked.
    - `breakpoints`: times at which a step ends, for inputs that jump there.
    - `adjoint`: what reverse mode keeps of a run. "bounded": the starts of at most 1,024 steps,
      between which steps are taken once more; "recorded": those of all steps, in memory for
      `max_steps` of them, for runs of many steps and few states. Both keep `max_steps` step sizes
      for each run of a batch: lower that for gradients of thousands of runs.
    - `dense`: keeps where each step started, so that `trajectory.evaluate(ts)` works at any time of
      the run later. It takes the memory of `max_steps` states: lower that for large ones.
    - `fixed_point`: how loops that no register cuts are solved, at each evaluation.
    - `noise`: "off" runs a circuit with stochastic registers by its drift alone; "error" refuses.

    **Raises:** `CircuitError` for options out of range.
    """

    order: int | tuple[tuple[str, int], ...] | None = eqx.field(static=True)
    rtol: Float[Array, ""] | None
    atol: Float[Array, ""] | None
    max_steps: int = eqx.field(static=True)
    max_step: Float[Array, ""] | None
    breakpoints: Float[Array, " breakpoints"] | None
    noise: str = eqx.field(static=True)
    adjoint: str = eqx.field(static=True)
    dense: bool = eqx.field(static=True)
    fixed_point: FixedPoint

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
    ):
        self.order = tuple(order.items()) if isinstance(order, Mapping) else order
        self.rtol = _number("rtol", rtol)
        self.atol = _number("atol", atol)
        self.max_step = _number("max_step", max_step)
        self.breakpoints = None if breakpoints is None else jnp.atleast_1d(_float(breakpoints))
        stops = self.breakpoints
        if stops is not None and (
            stops.ndim != 1 or (is_concrete(stops) and not jnp.all(jnp.isfinite(stops)))
        ):
            raise CircuitError(f"Real: breakpoints must be finite times, not {breakpoints!r}")
        self.max_steps = max_steps
        self.noise = noise
        self.adjoint = adjoint
        self.dense = dense
        self.fixed_point = fixed_point
        if not isinstance(max_steps, int) or max_steps < 1:
            raise CircuitError(f"Real: max_steps must be a positive integer, not {max_steps!r}")
        if not isinstance(fixed_point, FixedPoint):
            raise CircuitError(f"Real: fixed_point must be a FixedPoint, not {fixed_point!r}")
        if noise not in ("error", "off"):
            raise CircuitError(f'Real: noise must be "error" or "off", not {noise!r}')
        if adjoint not in ("bounded", "recorded"):
            raise CircuitError(
                f'Real: adjoint must be "bounded" or "recorded", not {adjoint!r}; forward mode '
                "needs none: use jax.jvp or jax.jacfwd"
            )
        for number in [n for _, n in self.order] if isinstance(self.order, tuple) else [self.order]:
            if number is not None and (
                not isinstance(number, int) or isinstance(number, bool) or number < 0
            ):
                raise CircuitError(f"Real: order must be a count, not {number!r}")

    def simulate(
        self,
        circuit: Circuit,
        ts: Array,
        inputs: tuple[Any, ...],
        dim: str | None,
        state: Any,
    ) -> Trajectory:
        if runs_eagerly((circuit, self, ts, inputs, state)):
            return eager.run(_options(self), circuit, ts, inputs, dim, state)
        trajectory = _simulation(circuit, self, ts, inputs, dim).trajectory(state)
        if not self.dense:
            return trajectory
        arguments = (circuit, self, ts, inputs)
        dense = Dense(_simulation, arguments, dim, *trajectory.dense)
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
            return series(circuit, *inputs, order=order, fixed_point=self.fixed_point), state

        return run


def _simulation(
    circuit: Circuit, real: Real, ts: Array, inputs: tuple[Any, ...], dim: str | None
) -> Simulation:
    return Simulation(_options(real), circuit, ts, inputs, dim)


def _options(real: Real) -> Options:
    return Options(
        orders=dict(real.order) if isinstance(real.order, tuple) else real.order,
        rtol=real.rtol,
        atol=real.atol,
        max_steps=real.max_steps,
        max_step=real.max_step,
        breakpoints=real.breakpoints,
        noise=real.noise,
        dense=real.dense,
        checkpoints=CHECKPOINTS if real.adjoint == "bounded" else None,
        fixed_point=real.fixed_point,
    )


def _number(name: str, value: Any) -> Array | None:
    if value is None:
        return None
    array = _float(value)
    if array.shape != ():
        raise CircuitError(f"Real: {name} must be a number, not of shape {array.shape}")
    if is_concrete(array) and not (array > 0 or (array == 0 and name != "max_step")):
        bound = "positive" if name == "max_step" else "at least 0"
        raise CircuitError(f"Real: {name} must be {bound}, not {array}")
    return array


def _float(value: Any) -> Array:
    try:
        return jnp.asarray(value, dtype=jnp.result_type(float))
    except (TypeError, ValueError) as error:
        raise CircuitError(f"Real: expected a number, not {value!r}") from error
