"""Explicit Runge-Kutta steps, accepted by their embedded error.

The size follows a PI controller (Hairer, Nørsett and Wanner, *Solving Ordinary Differential
Equations I*, 1993, section II.4; Hairer and Wanner, *Solving Ordinary Differential Equations II*,
1996, section IV.2).
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Inexact

from ....errors import CircuitError
from ....jaxprs.fences import always_true, stored_if_small
from ....jaxprs.reductions import combined, largest, total
from ..polynomial import centred, rescaled
from ..system import Point, StepControl, System, sizes_of
from .first_size import first_size, with_guesses
from .logarithm import rough_logarithm, short_exponential
from .method import NO_STEP, NONFINITE, OK, Attempt, Reach, StepMethod, Stretch, up_to
from .tableau import Row, Tableau
from .tableaus import DOPRI8, TSIT5

# By how much a step may grow or shrink, and how much smaller it is than what the error allows.
GROWTH, SHRINKING, SAFETY = 10.0, 0.2, 0.8
# How strongly the controller damps changes of the error (Gustafsson's beta).
DAMPING = 0.04
# Its logarithm remembers no smaller error than this.
LEAST = math.log(1e-4)

# What part of the tolerance an error of a step of order 5 or 8 may be. With all of it the errors of
# `Tsit5` on orbits end up to 130 tolerances off, with a tenth 16, with this part 6. Where an
# evaluation takes long, as in networks, most runs have few steps whose errors could add up, and a
# step uses all of the tolerance, as in other libraries.
SHARE_OF_5, SHARE_OF_8 = 0.05, 0.25

# By rounding, an error estimate is right to so many resolutions of the state.
ROUNDING = 0.6
# Steady steps are taken to have no smaller errors than this, about that of order 8.
SMALLEST = 1 / 64
# Of two estimates, e5 and e3 relative to the state, e5 is at least this much times e3 cubed. For
# x' = -x that of `Dopri8` is 0 at a step of 5.65, which multiplies x by -0.25; so after a switch a
# step was off by 1e-2 at 1e-6. Where steps are right e5 is larger: 0.05 e3^1.5 for short ones.
BY_CHANCE = 10.0


class Memory(eqx.Module):
    """What is remembered between steps: the slope at the point, and the logarithm of the error of
    the last step in units of the tolerance."""

    slope: Inexact[Array, "state *lanes"]
    error: Float[Array, "*lanes"]


class RungeKutta(StepMethod):
    """An explicit Runge-Kutta method. One of your own is a subclass with a tableau."""

    if TYPE_CHECKING:  # type checkers take abstract variables for fields of the dataclass
        tableau: ClassVar[Tableau]
    else:
        tableau: eqx.AbstractClassVar[Tableau]

    centre: ClassVar[float] = 0.5
    only_finite: ClassVar[bool] = True

    def __check_init__(self):
        name = type(self).__name__
        if not isinstance(self.tableau, Tableau):
            raise CircuitError(f"{name}: tableau must be a Tableau, not {self.tableau!r:.60}")
        if any(field.name == "tableau" for field in dataclasses.fields(self)):
            raise CircuitError(f"{name}: tableau is no field: declare it as ClassVar[ag.Tableau]")

    def degree(self, dtype: Any) -> int:
        return len(self.tableau.dense[0])

    @property
    def _dense(self) -> np.ndarray:
        """The weights of the slopes in the rows of a polynomial, `[stages, degree]`."""
        return centred(np.array(self.tableau.dense).T, self.centre).T

    def start(self, system: System, point: Point, control: StepControl, reach: Reach) -> Point:
        slope = system.field(point.time, point.state)
        size = first_size(system, point, slope, control, reach, self.tableau.order)
        error = jnp.full_like(point.time, LEAST)
        return dataclasses.replace(point, step=size, memory=Memory(slope, error))

    def attempt(
        self, system: System, point: Point, reach: Reach, direction: Array, control: StepControl
    ) -> Attempt:
        proposed = lax.min(point.step, jnp.broadcast_to(control.max_step, point.step.shape))
        size, clipped = reach.clip(lax.min(proposed, reach.whole))
        slope = point.memory.slope
        if reach.before is not None:
            # A breakpoint may lie between the end of the last step and this point.
            slope = system.field(point.time, point.state)
        stretch = Stretch(direction * size, direction * size, reach.latest)
        slopes, changes = self._stages(system, point.time, point.state, slope, stretch)
        change = changes[-1]
        end = point.state + change
        error = self._error(system, point.state, end, slopes, size, control)
        accepted = error <= 1
        finite = total(slope * 0) == 0
        memory: Memory = point.memory
        log_error = rough_logarithm(error)
        factor = self._factor(log_error, memory.error, accepted)
        step = size * factor
        # A breakpoint or the last time cuts this step, and not the next.
        step = lax.select(accepted & (size < proposed), lax.max(step, proposed), step)
        status = _status(size, step, point, accepted, finite, error)
        # Measured for 200 states: the test takes a sixth of a step of `Tsit5`.
        far = reach.is_far(size)
        bounded = lax.cond(
            jnp.any(far),
            lambda: far & self._is_bounded(system, slopes, changes, stretch),
            lambda: lax.full(size.shape, False),
        )
        return Attempt(
            size=size,
            clipped=clipped,
            begin=with_guesses(system, point.state, slope),
            change=with_guesses(system, change, jnp.zeros_like(change)),
            accepted=accepted & (status == OK),
            status=status,
            rejected=(~accepted).astype(jnp.int32),
            bounded=bounded,
            step=step,
            memory=Memory(
                jnp.where(accepted, slopes[-1], slope),
                jnp.where(accepted, lax.max(log_error, jnp.full_like(error, LEAST)), memory.error),
            ),
            stages=slopes,
        )

    def unit(self, offset: Array) -> Array:
        return offset

    def polynomial(self, system: System, point: Point, attempt: Attempt, stretch: Stretch) -> Array:
        return self._polynomial(system, point.time, point.state, attempt.stages, stretch)

    def curve(self, system: System, time: Array, state: Array, stretch: Stretch) -> Array:
        # A loop over the stages: what is written out has derivatives that are many times as long.
        slopes, _ = self._in_turn(system, time, state, [], self._count, stretch)
        rows = combined(self._dense, slopes) * stretch.offset
        # The unit is a constant; the polynomial is one in powers of the offset. Both are 0 where
        # there is no step.
        offset = jnp.where(stretch.offset == 0, 1, stretch.offset)
        ratio = jnp.where(stretch.offset == 0, 1, stretch.unit / offset)
        rows = rescaled(rows, ratio, self.centre)
        rows = jax.vmap(lambda row: with_guesses(system, row, jnp.zeros_like(row)))(rows)
        begin = with_guesses(system, state, slopes[0])
        return jnp.concatenate([begin[None], rows])

    def _stages(
        self, system: System, time: Array, state: Array, slope: Array, stretch: Stretch
    ) -> tuple[list[Array], list[Array]]:
        """The slopes of all stages, of which the first is known, and what the state changes by up
        to the last two at least."""
        count = len(self.tableau.stages) + 1
        if system.in_turn:
            found = self._in_turn(system, time, state, [slope], count, stretch)
            return list(found[0][:count]), list(found[1])
        slopes, changes = [slope], []
        for row, part in zip(self.tableau.stages, self.tableau.times[1:], strict=False):
            if len(slopes) < count - 2:
                stage = self._moved(row, slopes, stretch, state)
            else:
                changes.append(self._moved(row, slopes, stretch))
                stage = state + changes[-1]
            stage = with_guesses(system, stage, slopes[-1])
            slopes.append(system.field(_time(time, part, stretch), stage))
        return slopes, changes

    @property
    def _count(self) -> int:
        """How many stages there are, with those that only the dense output needs."""
        return len(self.tableau.times)

    def _in_turn(
        self,
        system: System,
        time: Array,
        state: Array,
        known: Sequence[Array],
        last: int,
        stretch: Stretch,
    ) -> tuple[Array, Array]:
        """The slopes of all stages after the known ones and before stage `last`, by a loop.

        **Returns:** the slopes, `[stages, state, *lanes]`, those of later stages 0; and what the
        state changes by up to each stage that was found.
        """
        first, tableau = len(known), self.tableau
        rows = [(), *tableau.stages, *tableau.more]
        matrix = np.array([(*row, *(0.0,) * (self._count - len(row))) for row in rows])

        def turn(carry: tuple[Array, Array], stage: Any) -> tuple[tuple[Array, Array], Array]:
            (slopes, latest), (number, row, part) = carry, stage
            change = combined(row, slopes) * stretch.offset
            stage = with_guesses(system, state + change, latest)
            slope = system.field(_time(time, part, stretch), stage)
            return (lax.dynamic_update_index_in_dim(slopes, slope, number, 0), slope), change

        slopes = jnp.zeros((self._count, *state.shape), state.dtype)
        for number, slope in enumerate(known):
            slopes = lax.dynamic_update_index_in_dim(slopes, slope, number, 0)
        weights = matrix.astype(jnp.finfo(state.dtype).dtype)[first:last]
        parts = np.array(tableau.times).astype(time.dtype)[first:last]
        numbers = np.arange(first, last, dtype=np.int32)
        begin = slopes, known[-1] if known else state
        (slopes, _), changes = lax.scan(turn, begin, (numbers, weights, parts))
        return slopes, changes

    def _moved(
        self, row: Row, slopes: Sequence[Array], stretch: Stretch, state: Array | None = None
    ) -> Array:
        """What the state changes by up to a stage, or with `state` what it is there."""

        def moved() -> Array:
            last = max((number for number, weight in enumerate(row) if weight), default=0)
            latest = slopes[last] * (row[last] * stretch.offset)
            if not any(row[:last]):
                return latest if state is None else state + latest
            rest = self._combined(row[:last], slopes) * stretch.offset
            # Only a product and a sum wait for the slope that is found last.
            return rest + latest if state is None else (state + rest) + latest

        # Measured for Lorenz-96 of 40 numbers, which reads each state four times: without the fence
        # a step of order 8 takes 5 times as long.
        return stored_if_small(moved, slopes[0], always_true(stretch.offset))

    def _combined(self, row: Row, slopes: Sequence[Array]) -> Array:
        terms = [slope * weight for weight, slope in zip(row, slopes, strict=False) if weight]
        total = terms[0] if terms else jnp.zeros_like(slopes[0])
        for term in terms[1:]:
            total = total + term
        return total

    def _polynomial(
        self,
        system: System,
        time: Array,
        state: Array,
        slopes: Sequence[Array],
        stretch: Stretch,
    ) -> Array:
        """The dense output in powers of the part of the step, `[degree + 1, state, *lanes]`."""
        slopes = list(slopes)
        begin = with_guesses(system, state, slopes[0])
        if system.in_turn and self.tableau.more:
            slopes = list(self._in_turn(system, time, state, slopes, self._count, stretch)[0])
        left = self._count - len(slopes)
        rows = self.tableau.more[len(self.tableau.more) - left :]
        for row, part in zip(rows, self.tableau.times[len(slopes) :], strict=True):
            stage = self._moved(row, slopes, stretch, state)
            stage = with_guesses(system, stage, slopes[-1])
            slopes.append(system.field(_time(time, part, stretch), stage))
        columns = zip(*self._dense.tolist(), strict=True)
        powers = [self._combined(column, slopes) * stretch.offset for column in columns]
        powers = [with_guesses(system, power, jnp.zeros_like(power)) for power in powers]
        return jnp.stack([begin, *powers])

    def _error(
        self,
        system: System,
        before: Array,
        after: Array,
        slopes: Sequence[Array],
        size: Array,
        control: StepControl,
    ) -> Array:
        """The error of a step in units of the tolerance, that of its worst entry, `[*lanes]`."""
        scale = lax.max(sizes_of(system, before), sizes_of(system, after))
        # What passes zero is measured by what it moves by.
        scale = lax.max(scale, size * sizes_of(system, slopes[0]))
        # Rounding of the estimate itself is no error of the step, and bounds no size.
        least = ROUNDING * float(jnp.finfo(scale.dtype).eps) / self._steady
        rtol = lax.max(control.rtol, jnp.full_like(control.rtol, least))
        unit = control.atol + rtol * scale
        tiny = jnp.finfo(unit.dtype).tiny
        found = [
            size * sizes_of(system, self._combined(row, slopes)) for row in self.tableau.errors
        ]
        if len(found) == 2:
            # The better estimate passes zero by chance where a step is far too long.
            part = found[1] / (scale + tiny)
            found[0] = lax.max(found[0], BY_CHANCE * scale * (part * part * part))
        found = [largest(one / (unit + tiny)) for one in found]
        if len(found) == 1:
            return found[0]
        # Of two estimates, as in section II.10 of the book.
        high, low = found
        below = jnp.sqrt(high * high + 0.01 * low * low)
        return jnp.where(high > 0, high * (high / below), high)

    def _factor(self, error: Array, before: Array, accepted: Array) -> Array:
        """By how much the next step is longer, from the logarithms of the errors."""
        exponent = self._exponent
        # One exponential for both.
        power = jnp.where(
            accepted, DAMPING * before - exponent * error, -error / self.tableau.order
        )
        # An error that is no number, or infinite, shrinks the step as much as any.
        least, most = math.log(SHRINKING), math.log(GROWTH)
        power = jnp.where(error < jnp.inf, math.log(SAFETY) + power, least)
        return short_exponential(jnp.clip(power, least, most))

    @property
    def _exponent(self) -> float:
        """The power of the error by which the next step is shorter."""
        return 1 / self.tableau.order - 0.75 * DAMPING

    @property
    def _steady(self) -> float:
        """The error, in units of the tolerance, of steps that stay as long as they are; at high
        orders, where damping leaves the controller little to tell it by, not that little."""
        power = self._exponent - DAMPING
        return max(SAFETY ** (1 / power), SMALLEST) if power > 0 else SMALLEST

    def _is_bounded(
        self,
        system: System,
        slopes: Sequence[Array],
        changes: Sequence[Array],
        stretch: Stretch,
    ) -> Array:
        """Whether stability bounds a step.

        The last two slopes belong to one time, and their difference tells the largest eigenvalue
        (Hairer and Wanner, section IV.2). What grows so fast is no stiffness but a pole.
        """
        rise, run = slopes[-1] - slopes[-2], changes[-1] - changes[-2]
        along = total(jnp.real(rise * jnp.conj(run))[: system.size])
        rise, run = (sizes_of(system, x) for x in (rise, run))
        rise, run = (total(x * x) for x in (rise, run))
        product = stretch.offset**2 * rise
        grows = stretch.offset * along > 0.5 * jnp.sqrt(product * run)
        return (product > (0.9 * self.tableau.stability) ** 2 * run) & ~grows


class Tsit5(RungeKutta):
    """Tsitouras' method of order 5, for loose tolerances and large networks.

    Its error is estimated to order 4, and its polynomial has order 4. Source: Tsitouras,
    *Runge-Kutta pairs of order 5(4) satisfying only the first column simplifying assumption*,
    Computers & Mathematics with Applications 62, 2011.

    ```python
    ag.simulate(circuit, ts, calculus=ag.Real(method=ag.Tsit5(), rtol=1e-4, atol=1e-6))
    ```
    """

    tableau: ClassVar[Tableau] = TSIT5

    def share(self, degree: int, small: bool) -> float:
        return SHARE_OF_5 if small else 1.0


class Dopri8(RungeKutta):
    """Dormand and Prince's method of order 8, for middle tolerances and large systems.

    Its errors are estimated to orders 5 and 3, and its polynomial has order 7.

    Source: Hairer, Nørsett and Wanner, *Solving Ordinary Differential Equations I*, 1993, sections
    II.5 and II.6.

    ```python
    ag.simulate(circuit, ts, calculus=ag.Real(method=ag.Dopri8(), rtol=1e-8, atol=1e-10))
    ```
    """

    tableau: ClassVar[Tableau] = DOPRI8

    def share(self, degree: int, small: bool) -> float:
        return SHARE_OF_8


def _time(time: Array, part: Any, stretch: Stretch) -> Array:
    """The time of a stage, which no rounding moves past the latest one."""
    found = time + part * stretch.offset
    return jnp.where(part >= 1, up_to(stretch.latest, found, stretch.offset), found)


def _status(
    size: Array, step: Array, point: Point, accepted: Array, finite: Array, error: Array
) -> Array:
    """How an attempt stands: it fails where time cannot resolve a smaller step."""
    resolution = jnp.finfo(size.dtype)
    shortest = jnp.maximum(2 * resolution.eps * jnp.abs(point.time), resolution.tiny)
    refused = jnp.where(jnp.isfinite(error), NO_STEP, NONFINITE)
    status = jnp.where(~accepted & (step <= shortest), refused, OK)
    return jnp.where(finite, status, NONFINITE).astype(jnp.int32)
