"""The Steady calculus: wires carry constants, and the input of every register is 0."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Inexact

from ..circuits.atoms.events import Hybrid
from ..circuits.atoms.registers import Delay, Deregister, Register, Substitution
from ..circuits.circuit import Circuit
from ..circuits.fields import check_choice
from ..fixed_points.implicit import Facts, fixed_point
from ..fixed_points.layout import Layout
from ..fixed_points.linear import SMALL
from ..fixed_points.options import FixedPoint, check_fixed_point
from ..jaxprs.program import trace
from ..taylor.net import Piece
from ..taylor.network import Meanings, register
from ..taylor.packing import packed
from .calculus import Calculus, check_types
from .cut import Cut
from .meanings import FOR_SERIES, noise
from .pointwise import Contents, Guesses, Pointwise, Row
from .scanned import Scanned, blank, stretch
from .stretches import Stand, Stretches, unended
from .trajectory import Trajectory

MEANINGS: Meanings = {
    Register: register,
    Deregister: lambda node: Piece(node.ins, node.outs, fn=lambda x: (jnp.zeros_like(x),)),
    Delay: lambda node: Piece(node.ins, node.outs, fn=lambda x: (x,)),
    Hybrid: (
        "a steady state has no events: put a constant or a Register in its place, or run it over "
        "times under Real, Stochastic or Discrete"
    ),
    Substitution: FOR_SERIES,
}


class Steady(Calculus):
    """Steady states: every register holds the value at which its input is 0.

    So x = x0 + ∫ g(x) dt is the equation g(x) = 0, solved from the guess x0. A deregister gives 0,
    and a unit delay its input. The equations of all registers are solved at once, and derivatives
    are those of the implicit function theorem.

    `simulate` gives the steady state for the inputs and the coordinate at each time: one state at
    all times where these are constant. The first solve starts from the initial contents, or from
    the `state` of an earlier run, and each later one from the solution before it. Of several
    steady states the one is found to which the steps lead from there, stable or not.

    A steady state must be isolated: the reaction A ⇌ B has one for each sum of A and B,
    which it conserves, so let a circuit compute B as the total less A.

    **Arguments:**

    - `fixed_point`: how the equations are solved, as the fixed point of x + s g(x); s is a number
      for each entry of x that makes both parts of one size. Newton's method by default.
    - `noise`: "off" runs a circuit with noise by its drift alone; "error" refuses.

    **Raises:** `CircuitError` for options out of range. Where no steady state is found the status
    of a run is `not_converged`.

    ```python
    growth = ag.Function(lambda x: x * (2.0 - x), 1) >> ag.Register("t", 1.5) >> ag.Split()
    ag.simulate(growth.trace(), [0.0], calculus=ag.Steady()).output  # [2.]
    ```
    """

    fixed_point: FixedPoint = eqx.field(default_factory=lambda: FixedPoint("newton"))
    noise: str = eqx.field(static=True, default="error")

    def __check_init__(self):
        check_fixed_point("Steady", self.fixed_point)
        check_choice("Steady", "noise", self.noise, ("error", "off"))

    def simulate(
        self, circuit: Circuit, ts: Array, inputs: tuple[Any, ...], dim: str | None, state: Any
    ) -> Trajectory:
        run = SteadyRun(self, circuit, ts, inputs, dim, state)
        end, rows = lax.scan(run.at, run.start, run.times)
        return run.trajectory(end, rows)

    def stretches(
        self, circuit: Circuit, ts: Array, inputs: tuple[Any, ...], dim: str | None, state: Any
    ) -> Stretches[Any]:
        return SteadyRun(self, circuit, ts, inputs, dim, state)

    def solve(self, pointwise: Pointwise, t: Array, start: "Solution") -> tuple[Contents, Facts]:
        """The contents at which nothing goes into the registers, and how that was solved."""

        if not start.contents:
            return (), Facts(jnp.int32(0), jnp.zeros(()), jnp.array(True))

        def inputs(t: Array, *contents: Array) -> Contents:
            return pointwise.feeds(t, contents, start.guesses).values

        found, facts = root(inputs, (t,), start.contents, self.fixed_point)
        return tuple(found), facts


class SteadyRun(Stretches[Scanned]):
    """The steady states at some times, each solved from the one before it."""

    def __init__(
        self, steady: Steady, circuit: Circuit, ts: Array, inputs: Any, dim: str | None, state: Any
    ):
        self.steady, self.ts = steady, ts
        self.cut = Cut.of(
            circuit,
            ts[0],
            inputs,
            dim,
            calculus="Steady",
            meanings={**MEANINGS, **noise(steady.noise, "Steady", "Steady")},
            fixed_point=steady.fixed_point,
        )
        self.pointwise = Pointwise(self.cut, ts.dtype)
        self.cut.check_digits(node.outs[0] for node in self.pointwise.states)
        self.times = ts.astype(self.pointwise.time_dtype)
        self.start = Solution(self.pointwise.begin(), self.pointwise.start())
        if state is not None:
            check_types(state, self.start, "contents", "guesses")
            self.start = state

    def at(self, start: "Solution", t: Array) -> tuple["Solution", Row]:
        """The steady state at a time."""
        contents, facts = self.steady.solve(self.pointwise, t, start)
        row = self.pointwise.outputs(t, contents, start.guesses, {})
        return start.moved(contents), row.behind(*facts)

    def trajectory(self, end: "Solution", rows: Row) -> Trajectory:
        """What the states at all times give."""
        row, status, stats = rows.judged(self.ts)
        return Trajectory(
            ts=self.ts,
            outputs=row.outputs,
            names=row.names,
            status=status,
            stats=stats,
            state=end,
            loops=("the steady state", *self.cut.loop_names),
            wires=self.cut.output_names,
        )

    def blank(self) -> Scanned:
        return blank(self._some, self.start, len(self.ts))

    def advance(self, now: Scanned, turns: Array) -> Scanned:
        return stretch(self._some, self.start, len(self.ts), 1, now, turns)

    def stand(self, now: Scanned) -> Stand:
        return Stand(now.done == len(self.ts), self.ts[jnp.maximum(now.done - 1, 0)], now.done)

    def read(self, now: Scanned) -> Trajectory:
        rows = dataclasses.replace(
            now.rows, outputs=now.known(now.rows.outputs), names=now.known(now.rows.names)
        )
        return unended(self.trajectory(now.carry, rows), now.done == len(self.ts))

    def _some(self, start: "Solution", first: Array, size: int) -> tuple["Solution", Row]:
        times = lax.dynamic_slice_in_dim(self.times, first, size)
        return lax.scan(self.at, start, times)


class Solution(eqx.Module):
    """The registers' contents at a steady state, from which another solve may start; `guesses` are
    where the solves of loops without registers start."""

    contents: tuple[Inexact[Array, "..."], ...]
    guesses: Guesses

    def moved(self, contents: Contents) -> "Solution":
        """The solution with other contents, where they are finite."""
        found = zip(contents, self.contents, strict=True)
        kept = [jnp.where(jnp.all(jnp.isfinite(new)), new, old) for new, old in found]
        return Solution(tuple(map(lax.stop_gradient, kept)), self.guesses)


def root(
    equations: Callable[..., Sequence[Array]],
    arguments: Sequence[Array],
    start: Sequence[Array],
    options: FixedPoint,
) -> tuple[list[Array], Facts]:
    """The x at which equations(*arguments, *x) is 0, and how that was solved.

    The equations give an array of the shape of each x. They are solved from `start`, as the fixed
    point of x + s equations(…, x) with the s that makes both parts of one size.
    """
    layout = Layout(tuple(jax.ShapeDtypeStruct(x.shape, x.dtype) for x in start))
    if len(start) == 1 or layout.size <= SMALL:
        return _root(equations, arguments, start, options, layout.wires.tolist())
    whole = _as_one(equations, arguments, layout)
    found, facts = _root(whole, arguments, [layout.pack(start)], options, layout.wires.tolist())
    return layout.unpack(found[0]), facts


def _as_one(
    equations: Callable[..., Sequence[Array]], arguments: Sequence[Array], layout: Layout
) -> Callable[..., list[Array]]:
    """Equations of many arrays as those of one vector, where what many do alike is done at once.

    A solve compiles the equations several times, with their Jacobian. Measured with 100 scalars:
    3.4 s in place of 15.
    """
    given = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in map(jnp.asarray, arguments)]
    vector = jax.ShapeDtypeStruct((layout.size,), layout.dtype)

    def of_vector(*values: Array) -> list[Array]:
        *others, x = values
        if any(aval.shape for aval in layout.avals) or layout.size > len(layout.avals):
            return [layout.pack(equations(*others, *layout.unpack(x)))]
        # Real scalars: packing sees through these operations, and not through those of a layout.
        return [jnp.stack(equations(*others, *(x[index] for index in range(layout.size))))]

    return packed(trace(of_vector, *given, vector), [True] * (len(given) + 1)).run


def _root(
    equations: Callable[..., Sequence[Array]],
    arguments: Sequence[Array],
    start: Sequence[Array],
    options: FixedPoint,
    wires: Sequence[int],
) -> tuple[list[Array], Facts]:
    """`root` of equations that are solved as they are."""
    scales = _scales(lambda *x: equations(*arguments, *x), start)

    def moved(*values: Array) -> list[Array]:
        x = values[len(arguments) :]
        parts = zip(x, scales, equations(*values), strict=True)
        return [x + scale * value for x, scale, value in parts]

    return fixed_point(moved, arguments, start, options, wires)


def _scales(inputs: Any, contents: Sequence[Array]) -> list[Float[Array, "..."]]:
    """For each entry x the s that makes s g(x) change about as x does.

    So the sum x + s g(x) rounds off no digits of g, in whatever unit of time g is. g is probed
    along one direction, in which no two entries move alike.
    """
    sizes = [jnp.where(x == 0, 1, jnp.abs(x)) for x in contents]
    moves, count = [], 0
    for size, content in zip(sizes, contents, strict=True):
        parts = 1 + (jnp.arange(count + 1, count + 1 + size.size) * 0.6180339887498949) % 1
        moves.append((size * parts.reshape(size.shape)).astype(content.dtype))
        count += size.size
    changes = jax.jvp(inputs, tuple(contents), tuple(moves))[1]
    scales = [size / jnp.abs(change) for size, change in zip(sizes, changes, strict=True)]
    return [lax.stop_gradient(jnp.where(jnp.isfinite(s) & (s > 0), s, 1)) for s in scales]
