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

from ....circuits.fields import check_count
from ....errors import CircuitError
from ....jaxprs.fences import computed_once
from ..system import Point, StepControl, System, polynomial_at, sizes_of
from .defect import largest_size
from .method import NO_STEP, NONFINITE, OK, Attempt, Reach, StepMethod, Stretch

# A step may be so many times the one before.
GROWTH = 2.0
# A step that is cut to less than this part of its size only crosses a jump.
CROSSING = 1 / 256
# The first step where the series gives none, as under a polynomial solution.
FIRST = 1 / 64
# How much smaller than expected an early term of a step is where stability bounds the step.
UNEVEN = 0.1


class Taylor(StepMethod):
    """Explicit Taylor steps of any order, for high accuracy.

    **Arguments:** `order`: 2 or more; by default 20 in float64, 9 in float32.

    **Raises:** `CircuitError` for an order out of range.
    """

    order: int | None = eqx.field(static=True, default=None)

    reads: ClassVar[tuple[str, ...]] = ("expand", "field")
    derived: ClassVar[str] = "expand"

    def __check_init__(self):
        if self.order is not None:
            check_count("Taylor", "order", self.order)
            if self.order < 2:
                raise CircuitError(
                    f"Real: a Taylor step has an order of 2 or more, not {self.order}"
                )

    def degree(self, dtype: Any) -> int:
        if self.order is not None:
            return self.order
        # Jorba and Zou, section 3.2: about half the digits' natural logarithm.
        return 20 if jnp.finfo(dtype).eps < 1e-10 else 9

    def start(self, system: System, point: Point, control: StepControl, reach: Reach) -> Point:
        return dataclasses.replace(point, memory=())

    def attempt(
        self, system: System, point: Point, reach: Reach, direction: Array, control: StepControl
    ) -> Attempt:
        assert system.expand is not None
        coefficients = system.expand(point.time, point.state)
        # Zero times what is finite is zero: a sum of numbers, which runs as vectors do, not flags.
        finite = lax.reduce_sum(coefficients * 0, (0, 1)) == 0
        scales = entry_scales(system, coefficients)
        proposed = _propose(system, coefficients, scales, point, control)
        size, clipped = reach.clip(proposed)
        size, rejected, accepted = largest_size(
            *(system, coefficients, scales, point, reach.remaining, size, direction, control)
        )
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
            bounded=_is_bounded(system, coefficients, scales, size, control) & (size == proposed),
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
    quarter = max(2, (coefficients.shape[0] - 1) // 4)
    term = sizes_of(system, coefficients[quarter]) * size.astype(scales.dtype) ** quarter
    even = scales * jnp.sqrt(jnp.sqrt(control.rtol)) + control.atol
    return lax.reduce_and(term < UNEVEN * even, (0,))


def _grown(point: Point, size: Array, proposed: Array, rejected: Array) -> Array:
    """The size from which the next step may grow, after one of a size.

    That is the size proposed: a breakpoint cuts a step, and not the next. But after a jump that was
    located it is the size taken, as what switched once may switch again. The short step that then
    crosses the jump says nothing.
    """
    before = lax.select(point.step > 0, lax.min(point.step, proposed), proposed)
    cut = lax.select(size < CROSSING * proposed, before, size)
    return lax.select(rejected > 0, cut, lax.max(size, proposed))


def entry_scales(system: System, coefficients: Array) -> Array:
    """What the tolerance of each entry is relative to, `[state, *lanes]`.

    That is its value, or if larger what it moves by while its slope lasts: |c1| T, with T the time
    after which another term, k |c_k| T^(k - 1), would outgrow the slope. So the steps of an
    oscillator are no shorter where it passes zero, and a quantity that grows from a small value is
    followed from there. The terms are those whose T takes square roots only.
    """
    order = coefficients.shape[0] - 1
    slope = sizes_of(system, coefficients[1])
    lasts = lax.full_like(slope, jnp.inf)
    # The roots of order k - 1 are taken together, one square root after each term.
    for k in (17, 9, 5, 3, 2):
        if k <= order:
            time = slope / (k * sizes_of(system, coefficients[k]))
            lasts = lax.min(time, lax.sqrt(lasts))
    # Of an entry that stands still, or moves at one speed, the value alone counts.
    moves = (slope > 0) & (lasts < jnp.inf)
    moved = lax.select(moves, slope * lasts, lax.full_like(slope, 0))
    return lax.max(sizes_of(system, coefficients[0]), moved)


def _propose(
    system: System, coefficients: Array, scales: Array, point: Point, control: StepControl
) -> Array:
    """The size that the decay of the coefficients allows, by at most `GROWTH` over the last.

    Each entry bounds it: its last two coefficients, c_k h^k, are at most its tolerance, or that of
    what its slope moves it by, |c1| h. An entry whose value and slope are zero bounds nothing.
    """
    order = coefficients.shape[0] - 1
    lowest = max(order - 1, 2)
    last = sizes_of(system, lax.slice_in_dim(coefficients, lowest, order + 1), axis=1)
    slope = sizes_of(system, coefficients[1])
    rows = (-1,) + (1,) * (last.ndim - 1)
    powers = np.arange(lowest, order + 1, dtype=last.dtype).reshape(rows)
    bounds = lax.log(control.atol + control.rtol * scales), lax.log(control.rtol * slope)
    bounding = (last > 0) & (lax.max(slope, scales) + control.atol > 0)
    last = lax.log(last)
    sizes = lax.max((bounds[0] - last) / powers, (bounds[1] - last) / (powers - 1))
    sizes = lax.select(bounding, sizes, lax.full_like(sizes, jnp.inf))
    size = lax.exp(lax.reduce_min(sizes, (0, 1))).astype(point.time.dtype)
    limit = lax.select(point.step > 0, GROWTH * point.step, size)
    size = jnp.minimum(lax.min(size, limit), control.max_step)
    return lax.select(lax.is_finite(size), size, lax.full_like(size, FIRST))
