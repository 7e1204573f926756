"""Radau IIA: implicit steps for stiff systems.

The choice of sizes follows Hairer and Wanner, *Solving Ordinary Differential Equations II*, IV.8.
"""

import dataclasses
import functools
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from .....errors import CircuitError
from .....jaxprs.kernel import LARGEST_SUM
from .....jaxprs.reductions import largest, total
from .....jaxprs.trees import select
from ...polynomial import rescaled
from ...system import Point, StepControl, System
from ..first_size import first_size, within_layer
from ..method import NEWTON, NO_STEP, NONFINITE, OK, Attempt, Reach, StepMethod, Stretch
from .collocation import collocate
from .factors import SMALL, Factors, blank, factored
from .krylov import GMRES, krylov
from .newton import Scale, Search, search
from .stages import Stages, combine, differential, extrapolated, rounding, stages_of
from .tableau import CENTRE, NODES, Tableau, tableau

# By how much a step may shrink or grow, and how much smaller it is than what the error allows.
LEAST, MOST, SAFETY = 0.2, 8.0, 0.9
# The first step is rather too long than too short: a refused one shrinks by this factor.
FIRST_CUT = 0.1
# A Jacobian is kept while iterations shrink by this factor in each turn.
KEEPS = 1e-3
# The size, and with it the factors, are kept while the step would grow by no more than this.
STAYS = 1.2
# Matrices of so many rows are wide enough by themselves: runs of a batch go one after the other.
# With 8 rows these take half of the time that they take side by side, with 3 rows 1.6 times.
ALONE = 8
# What rounding does to the error estimate, in units of rounding of the state.
NOISE = 8.0
# How exactly the error estimate is found, in units of the tolerance.
EXACT_ERROR = 0.1


class Memory(eqx.Module):
    """What Radau remembers between steps.

    - `rows`: the coefficients of the last step's polynomial about its end; `size`: its size,
      0 before the first; `error`: its error, in units of the tolerance.
    - `jacobian`; `current`: whether it is that of this point; `worn`: whether a new one is due.
    - `factors`, and `factored`, the signed size of the step that they are of. These and the
      Jacobian are None where no matrix is formed.
    - `gain`: the error after an iteration in units of its change.
    - `refused`: whether the last attempt was refused, or is the first.
    """

    rows: Float[Array, "stages state *lanes"]
    size: Float[Array, "*lanes"]
    error: Float[Array, "*lanes"]
    jacobian: Float[Array, "rows state *lanes"] | None
    current: Bool[Array, "*lanes"]
    worn: Bool[Array, "*lanes"]
    factors: Factors | None
    factored: Float[Array, "*lanes"]
    gain: Float[Array, "*lanes"]
    refused: Bool[Array, "*lanes"]


class Radau(StepMethod):
    """Implicit Runge-Kutta steps of the Radau IIA family, for stiff systems.

    They are L-stable: what decays fast does not bound their size. Each step solves for all its
    stages at once by Newton's method, with the Jacobian of the whole system. Loops that no register
    cuts are part of these equations, and are not solved anew at each evaluation.

    **Arguments:**

    - `stages`: 3, 5 or 7, for the orders 5, 9 and 13.
    - `linear`: how linear systems are solved. By default they are factored: elementwise where they
      are small, as a band where the Jacobian is one, else by LAPACK. `ag.GMRES()` forms no matrix.

    **Raises:** `CircuitError` for another number of stages, and for a `linear` that is no `GMRES`.

    Sources: Hairer and Wanner, *Solving Ordinary Differential Equations II*, 1996, section IV.8,
    and *Stiff differential equations solved by Radau methods*, Journal of Computational and Applied
    Mathematics 111, 1999.

    ```python
    ag.simulate(circuit, ts, calculus=ag.Real(method=ag.Radau(), rtol=1e-6, atol=1e-9))
    ```
    """

    stages: Any = eqx.field(static=True, default=5)
    linear: Any = None

    solves_loops: ClassVar[bool] = True
    only_finite: ClassVar[bool] = True
    derived: ClassVar[str] = "field"
    centre: ClassVar[float] = CENTRE

    def __check_init__(self):
        if type(self.stages) is not int or self.stages not in NODES:
            raise CircuitError(f"Radau: stages must be 3, 5 or 7, not {self.stages!r}")
        if not (self.linear is None or isinstance(self.linear, GMRES)):
            raise CircuitError(f"Radau: linear must be None or ag.GMRES(), not {self.linear!r}")

    @property
    def reads(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return ("field", "jacobian") if self.linear is None else ("field",)

    @property
    def preconditioner(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        return None if self.linear is None else self.linear.preconditioner

    @property
    def table(self) -> Tableau:
        """Its numbers."""
        return tableau(self.stages)

    @property
    def turns(self) -> int:
        """How many iterations a step may take."""
        return 7 + 5 * (self.stages - 3) // 2

    def degree(self, dtype: Any) -> int:
        return self.stages

    def side_by_side(self, size: int) -> int | None:
        if self.linear is not None or size > SMALL:
            return None
        if size >= ALONE:
            return 1
        # The largest sums are over the matrices of a step, and in gradients over those of stages.
        numbers = max((self.stages + 1) * size**2, self.stages**2 * size, 1)
        return (LARGEST_SUM - 1) // numbers

    def start(self, system: System, point: Point, control: StepControl, reach: Reach) -> Point:
        if jnp.issubdtype(point.state.dtype, jnp.complexfloating):
            raise CircuitError(
                "Radau: the state is complex; give its real and imaginary parts as two registers"
            )
        state, zero = point.state[: system.size], jnp.zeros_like(point.time)
        no = jnp.zeros(zero.shape, bool)
        slope = system.field(point.time, point.state)
        order = self.stages + 1
        step = first_size(system, point, slope, control, reach, order)
        step = within_layer(system, point, slope, control, reach, step, order)
        matrix, factors, pattern = None, None, system.pattern
        if self.linear is None:
            rows = system.size if pattern is None else pattern.count
            matrix = jnp.zeros((rows, *state.shape), state.dtype)
            factors = blank(self.table, state, system.differential, pattern)
        memory = Memory(
            rows=jnp.zeros((self.stages, *state.shape), state.dtype),
            size=zero,
            error=zero + 1,
            jacobian=matrix,
            current=no,
            worn=~no,
            factors=factors,
            factored=zero,
            gain=zero + 1,
            refused=~no,
        )
        return dataclasses.replace(point, step=step, memory=memory)

    def attempt(
        self, system: System, point: Point, reach: Reach, direction: Array, control: StepControl
    ) -> Attempt:
        table, known = self.table, point.memory
        if system.solve is not None:
            # Loops may have other solutions past a breakpoint.
            solved = system.solve(point.time, point.state)
            point = dataclasses.replace(point, state=solved)
        proposed = jnp.minimum(point.step, control.max_step)
        end = reach.whole
        # No sliver is left for one more step.
        size, clipped = reach.clip(jnp.where(1.01 * proposed >= end, end, proposed))
        offset = reach.offset(size, clipped, direction)
        stages = stages_of(system, table, point.time, point.state, offset, reach.latest)
        slope = system.field(point.time, point.state)
        known, factors = self._prepared(system, point, known, offset)
        noise = rounding(factors, stages.state)
        scale = Scale(control.atol, control.rtol, stages.state, noise)
        ratio = jnp.where(known.size > 0, size / known.size, 0)
        guess = extrapolated(table, known.rows, ratio, scale.unit(jnp.zeros_like(known.rows)))
        gain = lax.pow(known.gain, jnp.full_like(known.gain, 0.8))
        if system.branches:
            # What converged at once before a branch need not after it: two turns tell.
            gain = jnp.ones_like(gain)
        found = search(system, table, stages, factors, scale, guess, gain, self.turns)
        slopes = slope[: system.size]
        error = self._error(system, point, stages, known, factors, scale, found, slopes)
        accepted = found.converged & (error < 1)
        step = self._next_size(known, size, found, error, accepted)
        # A breakpoint or the last time cuts this step, and not the next.
        step = jnp.where(accepted & (size < proposed), lax.max(step, proposed), step)
        status = _status(point, slope, found, step, accepted)
        memory = self._remembered(known, size, found, error, accepted)
        return Attempt(
            size=size,
            clipped=clipped,
            begin=lax.concatenate([stages.state, slope[system.size :]], 0),
            change=_with_zeros(found.z[-1], stages.guesses),
            accepted=accepted & (status == OK),
            status=status,
            rejected=(~accepted).astype(jnp.int32),
            bounded=jnp.zeros(size.shape, bool),
            step=step,
            memory=memory,
            stages=found.z,
        )

    def unit(self, offset: Array) -> Array:
        return offset

    def polynomial(self, system: System, point: Point, attempt: Attempt, stretch: Stretch) -> Array:
        return self._polynomial(attempt.begin, attempt.stages)

    def curve(self, system: System, time: Array, state: Array, stretch: Stretch) -> Array:
        offset = stretch.offset
        if system.differential < system.size:
            # A jump takes no time. Unknowns of loops have no equations in a step of no size.
            least = jnp.finfo(offset.dtype).eps * jnp.where(stretch.latest < time, -1, 1)
            offset = jnp.where(offset == 0, least.astype(offset.dtype), offset)
        stages = stages_of(system, self.table, time, state, offset, stretch.latest)
        z = collocate(system, self.table, stages, self.linear)
        begin = state
        if system.size < len(state):
            begin = lax.concatenate([stages.state, system.field(time, state)[system.size :]], 0)
        # The unit is a constant; the polynomial is one in powers of the offset. Both are 0 where
        # there is no step.
        offset = jnp.where(stretch.offset == 0, 1, stretch.offset)
        ratio = jnp.where(stretch.offset == 0, 1, stretch.unit / offset)
        found = self._polynomial(begin, z)
        return lax.concatenate([found[:1], rescaled(found[1:], ratio, self.centre)], 0)

    def _polynomial(self, begin: Array, z: Array) -> Array:
        """The coefficients from those of order 0, with guesses, and the stages."""
        rows = combine(self.table.centred, z)
        nothing = jnp.zeros((len(rows), len(begin) - rows.shape[1], *rows.shape[2:]), rows.dtype)
        return lax.concatenate([begin[None], lax.concatenate([rows, nothing], 1)], 0)

    def _prepared(
        self, system: System, point: Point, known: Memory, offset: Array
    ) -> tuple[Memory, Factors]:
        """What is remembered, and what solves the linear systems of a step."""
        if self.linear is not None:
            known = dataclasses.replace(known, current=jnp.ones_like(known.current))
            return known, self._without_matrix(system, point, offset, self.linear)
        renews = known.worn & ~known.current

        def jacobian() -> Array:
            assert system.jacobian is not None
            found = system.jacobian(point.time, point.state)
            # Any Jacobian will do with which the iterations converge.
            return jnp.where(jnp.isfinite(found), found, 0)

        matrix = _renewed(renews, jacobian, known.jacobian)
        changes = renews | (offset != known.factored)

        def factors() -> Factors:
            return factored(self.table, offset * matrix, system.differential, system.pattern)

        found = _renewed(changes, factors, known.factors)
        known = dataclasses.replace(
            known,
            jacobian=matrix,
            current=known.current | renews,
            factors=found,
            factored=offset,
        )
        return known, found

    def _without_matrix(
        self, system: System, point: Point, offset: Array, options: GMRES
    ) -> Factors:
        """What solves the linear systems by derivatives of the field at a point."""
        time, state, precondition = point.time, point.state, system.precondition

        def move(x: Array) -> Array:
            moved = state + _with_zeros(x, state[system.size :])
            return offset * system.field(time, moved)[: system.size]

        if precondition is not None:
            precondition = functools.partial(precondition, time, state)
        values, count = state[: system.size], system.differential
        return krylov(options, self.table, move, values, offset, count, precondition)

    def _error(
        self,
        system: System,
        point: Point,
        stages: Stages,
        known: Memory,
        factors: Factors,
        scale: Scale,
        found: Search,
        slope: Array,
    ) -> Array:
        """The error of a step in units of the tolerance, that of its worst entry, `[*lanes]`.

        At the end it is by how much the polynomial's slope at the start misses the field, filtered
        by the real system (section IV.8, equation 8.19). After a refused step a large error is
        filtered once more (8.20), if the field does not branch: past a jump the field would tell
        nothing of the step before it. In between it is that of the polynomial: where a system is
        stiff, steps could be so long that only their ends are right.
        """
        count = stages.differential
        missing = differential(combine(self.table.first_slope[None], found.z)[0], count, 0)
        unit = scale.tolerance(found.z) + NOISE * scale.rounding
        unit += jnp.finfo(unit.dtype).tiny
        solver = factors.measured(unit, EXACT_ERROR, rtol=0.0)

        def worst(error: Array) -> Array:
            # The error of an unknown of a loop is that of the states on which it depends.
            return largest((lax.abs(error) / unit)[:count])

        def filtered(slope: Array) -> tuple[Array, Array]:
            error = solver.solve_real(stages.offset * slope - missing)
            return error, worst(error)

        highest = combine(self.table.onward[-1:], found.z)[0]
        between = self.table.between * worst(highest)
        shift, error = filtered(slope)
        if system.branches:
            return lax.max(error, between)
        again = known.refused & found.converged & (error >= 1)

        def once_more() -> Array:
            moved = point.state + _with_zeros(shift, stages.guesses)
            slope = system.field(point.time, moved)[: system.size]
            return jnp.where(again, filtered(slope)[1], error)

        return lax.max(lax.cond(jnp.any(again), once_more, lambda: error), between)

    def _next_size(
        self, known: Memory, size: Array, found: Search, error: Array, accepted: Array
    ) -> Array:
        """The size of the next attempt (Gustafsson's predictive controller, equation 8.25)."""
        most, power = self.turns, jnp.full_like(error, -1 / (self.stages + 1))
        error = lax.max(error, jnp.full_like(error, 1e-10))
        safety = SAFETY * (1 + 2 * most) / (found.turns.astype(error.dtype) + 2 * most)
        factor = safety * lax.pow(error, power)
        predicted = SAFETY * size / known.size * lax.pow(error * (error / known.error), power)
        before = known.size > 0
        grown = jnp.where(before, lax.min(factor, predicted), factor)
        grown = jnp.clip(grown, LEAST, jnp.where(known.refused & before, 1.0, MOST))
        stays = (found.rate < KEEPS) & (grown >= 1) & (grown <= STAYS)
        grown = jnp.where(stays, 1.0, grown)
        cut = jnp.where(before, jnp.clip(factor, LEAST, 0.9), FIRST_CUT)
        cut = jnp.where(error < jnp.inf, cut, FIRST_CUT)
        # With a new Jacobian the same size may converge.
        cut = jnp.where(found.converged, cut, jnp.where(known.current, found.smaller, 1.0))
        return size * jnp.where(accepted, grown, cut)

    def _remembered(
        self, known: Memory, size: Array, found: Search, error: Array, accepted: Array
    ) -> Memory:
        """What is remembered after an attempt."""

        def kept(new: Array, old: Array) -> Array:
            return jnp.where(accepted, new, old)

        least = jnp.finfo(error.dtype).eps
        worn = jnp.where(accepted, found.rate >= KEEPS, ~found.converged)
        return dataclasses.replace(
            known,
            rows=kept(combine(self.table.onward, found.z), known.rows),
            size=kept(size, known.size),
            error=kept(lax.max(error, jnp.full_like(error, 0.01)), known.error),
            current=known.current & ~accepted,
            worn=worn,
            gain=jnp.where(found.converged, lax.max(found.gain, jnp.full_like(error, least)), 1),
            refused=~accepted,
        )


def _status(point: Point, slope: Array, found: Search, step: Array, accepted: Array) -> Array:
    """How an attempt stands: it fails where time cannot resolve a smaller step."""
    resolution = jnp.finfo(step.dtype)
    shortest = jnp.maximum(2 * resolution.eps * jnp.abs(point.time), resolution.tiny)
    reason = jnp.where(found.converged, NO_STEP, NEWTON)
    status = jnp.where(~accepted & (step <= shortest), reason, OK)
    finite = total(slope * 0) == 0
    return jnp.where(finite, status, NONFINITE).astype(jnp.int32)


def _with_zeros(values: Array, guesses: Array) -> Array:
    """Entries of a state, and zeros for guesses."""
    return lax.concatenate([values, jnp.zeros_like(guesses)], 0)


def _renewed(wanted: Array, compute: Any, old: Any) -> Any:
    """What is computed, in lanes that want it; the old value in others, and if none does."""

    def renew() -> Any:
        return select(wanted, compute(), old)

    return lax.cond(jnp.any(wanted), renew, lambda: old)
