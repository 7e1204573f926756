"""The explicit Taylor step: expand, choose the size, check it.

The step size follows Jorba and Zou (*A software package for the numerical integration of ODEs by
means of high-order Taylor methods*, Experimental Mathematics 14, 2005, section 3.2): it is read off
the last two coefficients. That alone steps over what a series cannot see, so a step is accepted
only where its polynomial satisfies the equation at points inside it.
"""

import dataclasses
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from ....circuits.fields import check_count, check_flag
from ....errors import CircuitError
from ....jaxprs.fences import computed_once
from ..polynomial import polynomial_at
from ..system import Point, StepControl, System, sizes_of
from .defect import largest_size
from .logarithm import exponential, rough_logarithm
from .method import NO_STEP, NONFINITE, OK, Attempt, Reach, StepMethod, Stretch

# A step may be so many times the one before.
GROWTH = 2.0
# By how much a step is shorter than one that uses all of the tolerance.
SHORTER = 0.86
# A step that is cut to less than this part of its size only crosses a jump.
CROSSING = 1 / 256
# An entry near zero is measured by its movement in this many steps at most.
LASTING = 256.0
# The first step where the series gives none, as under a polynomial solution.
FIRST = 1 / 64
# Terms of lower orders do not tell stiffness from accuracy.
TELLING = 8
# Series of a lower order are not asked where they underflow.
FEWEST = 4
# How much smaller than expected an early term of a step is where stability bounds the step.
UNEVEN = 0.1


class Taylor(StepMethod):
    """Explicit Taylor steps of any order, for high accuracy.

    **Arguments:**

    - `order`: 2 or more; by default 20 in float64, 9 in float32.
    - `unroll`: writes out the loop over the orders where a run is a kernel on the CPU, and checks
      steps without a loop first. A run of two to four short equations takes about half the time,
      and its first call about twice as long; longer ones gain less and wait longer. For long runs
      and many calls.

    **Raises:** `CircuitError` for an order out of range, and for an `unroll` that is no flag.
    """

    order: int | None = eqx.field(static=True, default=None)
    unroll: bool = eqx.field(static=True, default=False)

    reads: ClassVar[tuple[str, ...]] = ("expand", "field")
    derived: ClassVar[str] = "expand"
    is_series: ClassVar[bool] = True
    only_finite: ClassVar[bool] = True

    def __check_init__(self):
        check_flag("Taylor", "unroll", self.unroll)
        if self.order is None:
            return
        if type(self.order) is not int or self.order < 2:
            raise CircuitError(
                f"Real: a Taylor step has an order of 2 or more, an integer, not {self.order!r}"
            )
        check_count("Taylor", "order", self.order)

    @property
    def unrolls(self) -> bool:
        return self.unroll

    def degree(self, dtype: Any) -> int:
        if self.order is not None:
            return self.order
        # Jorba and Zou, section 3.2: about half the digits' natural logarithm.
        return 20 if jnp.finfo(dtype).eps < 1e-10 else 9

    def share(self, degree: int, small: bool) -> float:
        # Steps are a seventh shorter at any order.
        return SHORTER**degree

    def start(self, system: System, point: Point, control: StepControl, reach: Reach) -> Point:
        return dataclasses.replace(point, memory=())

    def attempt(
        self, system: System, point: Point, reach: Reach, direction: Array, control: StepControl
    ) -> Attempt:
        assert system.expand is not None
        coefficients = system.expand(point.time, point.state)
        # Zero times what is finite is zero: a sum of numbers, which runs as vectors do, not flags.
        finite = lax.reduce_sum(coefficients * 0, (0, 1)) == 0
        values = sizes_of(system, coefficients[0])
        before = lax.select(point.step > 0, point.step, lax.full_like(point.step, FIRST))
        scales = lax.max(values, _movement(system, coefficients, before))
        proposed, by_series = _propose(system, coefficients, scales, point, before, control)
        size, clipped = reach.clip(proposed)
        size, rejected, accepted = largest_size(
            *(system, coefficients, values, point, reach.remaining, size, direction, control),
            at_once=self.unroll,
        )
        # A series that hardly reaches the next number after the time: beside a pole, which no step
        # may pass.
        resolved = 4 * jnp.finfo(size.dtype).eps * lax.abs(point.time)
        accepted &= ~by_series | (proposed > resolved)
        if reach.before is not None:
            # To a breakpoint that close the state does not move.
            clipped &= rejected == 0
            close = 2 * jnp.finfo(size.dtype).eps * jnp.abs(point.time)
            accepted |= clipped & (size <= close)
        offset = reach.offset(size, clipped, direction)
        always = rejected[(0,) * rejected.ndim] >= 0
        change = computed_once(lambda: _change(coefficients, offset), point.state, always)
        refused = jnp.where(accepted, OK, NO_STEP)
        status = jnp.where(finite, refused, NONFINITE).astype(jnp.int32)
        return Attempt(
            size=size,
            clipped=clipped,
            begin=coefficients[0],
            change=change,
            accepted=status == OK,
            status=status,
            rejected=rejected,
            bounded=_is_bounded(system, coefficients, scales, size, control)
            & ~_heads_for_a_pole(system, coefficients, direction)
            & by_series
            & (size == proposed),
            step=_grown(point, size, proposed, rejected),
            memory=(),
            stages=coefficients,
        )

    def unit(self, offset: Array) -> Array:
        return jnp.ones_like(offset)

    def polynomial(self, system: System, point: Point, attempt: Attempt, stretch: Stretch) -> Array:
        return attempt.stages

    def curve(self, system: System, time: Array, state: Array, stretch: Stretch) -> Array:
        assert system.expand is not None
        return system.expand(time, state)


def _change(coefficients: Array, offset: Array) -> Array:
    """What the state changes by over a step."""
    return polynomial_at(coefficients[1:], offset) * offset


def _is_bounded(
    system: System, coefficients: Array, scales: Array, size: Array, control: StepControl
) -> Array:
    """Whether stability bounds the size of a step.

    Where accuracy bounds it, terms fall evenly from the scale to the tolerance. In a stiff system
    the solution is smooth and its terms fall faster, until those of a perturbation by rounding take
    over: it decays fast, so its terms grow. Compared is the term at a quarter of the order.
    """
    order = coefficients.shape[0] - 1
    if order < TELLING:
        return lax.full(size.shape, False)
    quarter = order // 4
    term = sizes_of(system, coefficients[quarter]) * size.astype(scales.dtype) ** quarter
    even = scales * jnp.sqrt(jnp.sqrt(control.rtol)) + control.atol
    return lax.reduce_and(term < UNEVEN * even, (0,))


def _heads_for_a_pole(system: System, coefficients: Array, direction: Array) -> Array:
    """Whether a singularity ahead bounds the size of a step, such as that of log(1 - t) at 1.

    Its terms have one sign along the run. Those of what decays turn by a right angle at least from
    one order to the next, so no three have one sign. The largest entry counts most.
    """
    before, last = coefficients[-3:-1, : system.size], coefficients[-2:, : system.size]
    along = direction * lax.reduce_sum(jnp.real(last * jnp.conj(before)), (1,))
    return (along[0] > 0) & (along[1] > 0)


def _grown(point: Point, size: Array, proposed: Array, rejected: Array) -> Array:
    """The size from which the next step may grow, after one of a size.

    That is the size proposed: a breakpoint cuts a step, and not the next. But after a jump that was
    located it is the size taken, as what switched once may switch again. The short step that then
    crosses the jump says nothing.
    """
    before = lax.select(point.step > 0, lax.min(point.step, proposed), proposed)
    cut = lax.select(size < CROSSING * proposed, before, size)
    return lax.select(rejected > 0, cut, lax.max(size, proposed))


def _propose(
    system: System,
    coefficients: Array,
    scales: Array,
    point: Point,
    before: Array,
    control: StepControl,
) -> tuple[Array, Array]:
    """The size that the decay of the coefficients allows, by at most `GROWTH` over the last; and
    whether it is the coefficients that bound it.

    It is about the largest h, and no larger, with |c_k| h^k <= atol + rtol max(|c0|, |c1| T) in
    each entry, for the last two k. T is the time that the slope c1 lasts, between h and `LASTING`
    h. So the steps of an oscillator are no shorter where it passes zero. An entry whose value and
    slope are zero bounds nothing.

    The scales are max(|c0|, |c1| T) for the step `before`, g. If h < g, they are up to g / h times
    too large, and h (h / g)^(1 / (k - 1)) meets the condition.
    """
    order = coefficients.shape[0] - 1
    lowest = max(order - 1, 2)
    last = sizes_of(system, lax.slice_in_dim(coefficients, lowest, order + 1), axis=1)
    powers = np.arange(lowest, order + 1, dtype=last.dtype).reshape(-1, *(1,) * (last.ndim - 2))
    bound = control.atol + control.rtol * scales
    # In a unit in which nothing overflows; one logarithm for all entries of a coefficient.
    unit = jnp.finfo(last.dtype).eps
    weights = lax.select(bound > 0, unit / bound, lax.full_like(bound, 0))
    largest = rough_logarithm(lax.reduce_max(last * weights, (1,)))
    size = lax.reduce_min((np.log(unit) - largest) / powers, (0,))
    if jnp.finfo(last.dtype).bits == 32 and order > FEWEST:
        size = lax.min(size, _before_underflow(system, coefficients, scales, weights))
    shorter = size - rough_logarithm(before.astype(size.dtype))
    size += lax.min(shorter, lax.full_like(size, 0)) / (lowest - 1)
    size = exponential(size).astype(point.time.dtype)
    limit = lax.select(point.step > 0, GROWTH * point.step, size)
    longest = jnp.minimum(limit, control.max_step)
    by_series = (size < longest) | ((point.step == 0) & (size < control.max_step))
    size = lax.min(size, longest)
    return lax.select(lax.is_finite(size), size, lax.full_like(size, FIRST)), by_series


def _before_underflow(system: System, coefficients: Array, scales: Array, weights: Array) -> Array:
    """The logarithm of the size that the last two coefficients allow before all others are zero
    because they underflow; infinite where none do.

    In float32 that is at rates of 1e-4 and less. Zeros would say that the series ends, and allow
    steps without an error that they can tell. Entries that are near zero themselves do not count,
    and no step is bounded that is so short that terms which underflow are below the tolerance.
    """
    rows = sizes_of(system, coefficients, axis=1)
    kind = jnp.finfo(rows.dtype)
    counts = scales > kind.tiny / kind.eps**2
    rows, weights = jnp.where(counts, rows, 0), jnp.where(counts, weights, 0)
    largest = lax.reduce_max(rows, (1,))
    before, at, after, last = (largest[k : k - 3 or None] for k in range(4))
    # What a geometric series has next is none of this dtype.
    vanishes = at * (at / before) < kind.tiny
    ends = (at > 0) & (after == 0) & (last == 0) & vanishes
    parts = rough_logarithm(lax.reduce_max(rows[:-2] * weights, (1,)))
    powers = np.arange(1, len(parts), dtype=rows.dtype).reshape(-1, *(1,) * (parts.ndim - 1))
    allowed = (np.log(kind.eps) - parts[1:]) / powers
    size = jnp.minimum(allowed[1:], allowed[:-1])
    harmless = np.log(kind.eps) - np.log(kind.tiny) - rough_logarithm(lax.reduce_max(weights, (0,)))
    harmless = jnp.maximum(harmless / (len(rows) - 1), 0)
    return lax.max(lax.reduce_min(jnp.where(ends[1:], size, jnp.inf), (0,)), harmless)


def _movement(system: System, coefficients: Array, step: Array) -> Array:
    """By how much each entry moves while its slope lasts, `[state, *lanes]`.

    The slope lasts until a term of order 2 or 3 outgrows it: |c1| = k |c_k| T^(k - 1). We count
    one step at least and `LASTING` steps at most: both terms may be zero, or rounding.
    """
    slope = sizes_of(system, coefficients[1])
    lasts = slope / (2 * sizes_of(system, coefficients[2]))
    if coefficients.shape[0] > 3:
        lasts = lax.min(lasts, lax.sqrt(slope / (3 * sizes_of(system, coefficients[3]))))
    step = step.astype(slope.dtype)
    # An entry at rest gives 0 / 0: the comparisons are those that NaN does not pass.
    lasts = jnp.where(lasts > step, lasts, step)
    return slope * jnp.where(lasts < LASTING * step, lasts, LASTING * step)
